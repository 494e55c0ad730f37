//! `dfsctl nodes token` and `nodes revoke`: which nodes may belong to the cluster.

use std::time::Duration;

use dfs_wire::message::admin::{JoinTokenMade, RevokeKeys};
use serde::{Serialize, Serializer};

use crate::connect::invocation::Invocation;
use crate::output::View;
use crate::output::exit::Exit;
use crate::output::failure::Outcome;
use crate::output::object::object;
use crate::output::page::Page;
use crate::output::text::duration;

/// What `nodes token` prints.
struct TokenView(JoinTokenMade);

impl Serialize for TokenView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let made = &self.0;
        object!(serializer, {
            "token": made.token.reveal(),
            "node": made.node.map(|node| node.to_string()),
            "left_ms": made.left_ms,
        })
    }
}

impl View for TokenView {
    // The token alone, so that it can be sent on its way with a pipe.
    fn page(&self, page: &mut Page) {
        page.whole(&self.0.token.reveal());
    }
}

/// Runs `dfsctl nodes token`.
///
/// # Errors
/// If the cluster makes none.
pub(super) async fn token(invocation: &Invocation, node: Option<&str>, lasts: Duration) -> Outcome<Exit> {
    let client = invocation.operator().await?;
    let made = client.make_join_token(node, lasts).await?;
    let left = duration(made.left_ms);
    invocation.output.note(format!(
        "good for one certificate within {left}: put it into a file that only the node's user can read, and name that in \
         security.join_token_file; it is not shown again"
    ));
    invocation.output.print(&TokenView(made))?;
    Ok(Exit::Ok)
}

/// Runs `dfsctl nodes revoke`.
///
/// # Errors
/// If there is nothing to revoke.
pub(super) async fn revoke(invocation: &Invocation, node: String) -> Outcome<Exit> {
    crate::revoke::run(invocation, RevokeKeys::Node(node)).await
}
