//! What the owner of the links can be told.

use dfs_wire::id::NodeId;
use dfs_wire::link::{Dialed, Link};
use dfs_wire::status::Status;

use crate::supervisor::Reply;

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
pub enum ReplicationMsg {
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
