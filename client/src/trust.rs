//! Who is let into the cluster, and who not any more.

use std::time::Duration;

use dfs_wire::message::admin::{
    AdminRequest, AdminResponse, JoinTokenMade, KeysRevoked, MakeJoinToken, RevokeKeys,
};
use dfs_wire::message::enroll::JoinRole;

use crate::client::Client;
use crate::error::Error;
use crate::rpc::unexpected;

impl Client {
    /// Makes a join token for a datanode: it is good for one certificate. With the name or id of a `node` for that one only, which the
    /// cluster may know; without one for any that it does not know. Zero: as long as is usual.
    ///
    /// # Errors
    /// `NotFound` of a datanode that is not known; `InvalidArgument` of more than seven days; `Unsupported` where certificates are
    /// an operator's own.
    pub async fn make_join_token(&self, node: Option<&str>, lasts: Duration) -> Result<JoinTokenMade, Error> {
        let for_ms = u64::try_from(lasts.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        let word = MakeJoinToken { role: JoinRole::Datanode, node: node.map(str::to_owned), for_ms };
        match self.inner.rpc.admin(None, AdminRequest::MakeJoinToken(word)).await? {
            AdminResponse::JoinTokenMade(made) => Ok(made),
            other => Err(unexpected(&other)),
        }
    }

    /// Has nobody in the cluster believe any more the certificates that somebody was given up to now.
    ///
    /// # Errors
    /// `NotFound` of somebody who has none.
    pub async fn revoke_keys(&self, whose: RevokeKeys) -> Result<KeysRevoked, Error> {
        match self.inner.rpc.admin(None, AdminRequest::RevokeKeys(whose)).await? {
            AdminResponse::KeysRevoked(revoked) => Ok(revoked),
            other => Err(unexpected(&other)),
        }
    }
}
