//! Who this node is, and what it keeps of its membership.

use dfs_wire::auth::NodeKey;
use dfs_wire::id::{ClusterId, Epoch, Incarnation, NodeId};
use dfs_wire::status::Status;
use futures_util::future::BoxFuture;

/// Who this node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelfDescription {
    /// Made at the first start and kept on disk.
    pub node: NodeId,
    /// The number of this run, one higher at each start.
    pub incarnation: Incarnation,
    /// Its name for people.
    pub name: String,
    /// Its failure domain.
    pub zone: String,
    /// Where it is reached, `host:port`.
    pub address: String,
    /// Version of its software.
    pub version: String,
}

/// What is kept on disk of the membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The cluster that took the node in, for good.
    pub cluster: ClusterId,
    /// This node's key.
    pub key: NodeKey,
    /// The reign that took the node in last.
    pub epoch: Epoch,
    /// The highest commit position heard of in that reign that had to be kept.
    pub position: u64,
}

/// The latest point of the metadata's history that the node has heard of, from a coordinator that it obeys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Heard {
    /// The reign that took the node in last; 0 for none.
    pub epoch: Epoch,
    /// The highest commit position of it.
    pub position: u64,
}

/// Where the membership of this node is kept: its data directory.
pub trait IdentityStore: Send + Sync + 'static {
    /// What was saved last, if this node has joined a cluster.
    fn joined(&self) -> Option<Joined>;

    /// Makes `joined` durable before it answers.
    fn save(&self, joined: Joined) -> BoxFuture<'static, Result<(), Status>>;

    /// Makes durable that the node has heard of this point of the metadata's history; at once if that is known already.
    /// To be done before an order to delete is obeyed: whoever obeyed it can then prove that an older copy of the metadata
    /// is one.
    ///
    /// # Errors
    /// If it cannot be stored, or another reign has taken the node in since.
    fn keep(&self, heard: Heard) -> BoxFuture<'static, Result<(), Status>>;
}
