//! A node as a user names it.

use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};
use crate::output::text::plain;
use dfs_client::Client;

/// The address of the node that a user calls `text`: an address, the name or the id of a datanode, or `coordinator`.
///
/// # Errors
/// If there is no such node: the message names those there are.
pub(crate) async fn address_of(client: &Client, text: &str) -> Outcome<Option<String>> {
    if text == "coordinator" {
        return Ok(None);
    }
    let nodes = client.nodes().await?;
    let named = nodes.iter().find(|node| node.name == text || node.node.to_string() == text);
    match named {
        Some(node) => Ok(Some(node.address.clone())),
        None if text.contains(':') => Ok(Some(text.to_owned())),
        None => {
            let names: Vec<_> = nodes.iter().map(|node| plain(&node.name)).collect();
            let message = format!("there is no node '{}'", plain(text));
            Err(Failure::new(Exit::NotFound, "NoSuchNode", message)
                .hint(format!("write coordinator, HOST:PORT, or one of {}", names.join(", "))))
        }
    }
}
