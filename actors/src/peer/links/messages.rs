//! What the owner of the links can be told.

use std::time::Duration;

use dfs_wire::id::NodeId;
use dfs_wire::link::{Dialed, Link};
use dfs_wire::status::{Status, StatusCode};

use crate::supervisor::{Addr, Reply};

/// Patience with the owner of the links and the dial behind it.
const LINK_TIMEOUT: Duration = Duration::from_secs(4);

/// A link to the node that listens at `address`: one there is, or a new one.
///
/// Cancel safety: dropping the future costs nothing.
///
/// # Errors
/// `Unavailable` and what the dial failed with.
pub async fn link(links: &Addr<LinksMsg>, node: NodeId, address: String) -> Result<Link, Status> {
    let request = |reply| LinksMsg::Link(LinkRequest { node, address, reply });
    let asked = links.ask(request, LINK_TIMEOUT).await;
    asked.unwrap_or_else(|e| Err(Status::new(StatusCode::Unavailable, format!("no link to the peer: {e}"))))
}

/// A request for a link.
#[derive(Debug)]
pub struct LinkRequest {
    /// The peer to link to.
    pub node: NodeId,
    /// Where it listens, by the coordinator's word.
    pub address: String,
    /// Where the link goes.
    pub reply: Reply<Result<Link, Status>>,
}

/// What the actor can be told.
#[derive(Debug)]
pub enum LinksMsg {
    /// Somebody needs a link.
    Link(LinkRequest),
    /// A dial ended.
    Dialed {
        /// The peer that was dialled.
        node: NodeId,
        /// Where it was dialled.
        address: String,
        /// The link, or why there is none.
        outcome: Box<Result<Dialed, Status>>,
    },
}
