//! What needs attention, what happened, and what operators want to hear nothing of.

use std::time::Duration;

use dfs_wire::message::admin::{
    AdminRequest, AdminResponse, ClusterEvent, MuteFinding, MutedFinding, ReadEvents,
};

use crate::client::Client;
use crate::error::Error;
use crate::rpc::unexpected;

impl Client {
    /// Mutes a finding for a while: it is listed, but does not count for the health of the cluster. It is heard again when that
    /// is over; an error always is. Zero ends a mute. With an empty `subject` whatever datanode it is about. Returns all
    /// that is muted then.
    ///
    /// # Errors
    /// `InvalidArgument` of a code that no finding has, or of more than thirty days; `NotFound` of a datanode that is not known.
    pub async fn mute_finding(
        &self,
        code: &str,
        subject: &str,
        lasts: Duration,
    ) -> Result<Vec<MutedFinding>, Error> {
        let for_ms = u64::try_from(lasts.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        let word = MuteFinding { code: code.to_owned(), subject: subject.to_owned(), for_ms };
        match self.inner.rpc.admin(None, AdminRequest::MuteFinding(word)).await? {
            AdminResponse::Mutes(all) => Ok(all),
            other => Err(unexpected(&other)),
        }
    }

    /// All that is muted.
    ///
    /// # Errors
    /// If the coordinator cannot be asked.
    pub async fn mutes(&self) -> Result<Vec<MutedFinding>, Error> {
        match self.inner.rpc.admin(None, AdminRequest::Mutes).await? {
            AdminResponse::Mutes(all) => Ok(all),
            other => Err(unexpected(&other)),
        }
    }

    /// At most `most` of what happened to the cluster, the oldest first: after the event of the number `after`, or else the last.
    ///
    /// # Errors
    /// If the coordinator cannot be asked.
    pub async fn events(&self, after: Option<u64>, most: u32) -> Result<Vec<ClusterEvent>, Error> {
        match self.inner.rpc.admin(None, AdminRequest::Events(ReadEvents { after, most })).await? {
            AdminResponse::Events(events) => Ok(events),
            other => Err(unexpected(&other)),
        }
    }
}
