//! Having nobody believe somebody's certificates any more.

use dfs_wire::message::admin::{KeysRevoked, RevokeKeys};
use serde::{Serialize, Serializer};

use crate::connect::invocation::Invocation;
use crate::output::View;
use crate::output::exit::Exit;
use crate::output::failure::Outcome;
use crate::output::object::object;
use crate::output::page::Page;
use crate::output::text::{count, plain};

/// What is printed of it.
struct RevokedView(KeysRevoked);

impl Serialize for RevokedView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let revoked = &self.0;
        object!(serializer, { "who": revoked.who, "keys": revoked.keys, })
    }
}

impl View for RevokedView {
    fn page(&self, page: &mut Page) {
        let KeysRevoked { who, keys } = &self.0;
        page.line(format!("{} of {} believed no more", count(*keys, "certificate"), plain(who)));
    }
}

/// Does it, and prints what came of it.
///
/// # Errors
/// If there is nothing to revoke.
pub(crate) async fn run(invocation: &Invocation, whose: RevokeKeys) -> Outcome<Exit> {
    let client = invocation.operator().await?;
    invocation.output.print(&RevokedView(client.revoke_keys(whose).await?))?;
    Ok(Exit::Ok)
}
