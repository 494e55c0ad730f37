//! Who a datanode obeys: the seam between data requests and what the heartbeat has learned.

use dfs_wire::auth::{Grant, GrantOp, Mac, Receipt};
use dfs_wire::id::{ChunkKey, ClusterId, NodeId};
use dfs_wire::identity::KeyDigest;
use dfs_wire::status::Status;

/// Checks grants and signs receipts with what this node knows of its coordinator.
pub trait Authority: Send + Sync + 'static {
    /// The node that checks and signs.
    fn node(&self) -> NodeId;

    /// The cluster that it has joined.
    ///
    /// # Errors
    /// `NotRegistered` before the node has joined one.
    fn cluster(&self) -> Result<ClusterId, Status>;

    /// Where the coordinator says that a node of the cluster listens; `None` if it has told of no such node (yet).
    fn address_of(&self, node: NodeId) -> Option<String>;

    /// Has the coordinator asked what changed in the cluster, soon. Does not wait.
    fn want_news(&self);

    /// Whether the coordinator has said that certificates for this key are not believed any more.
    fn is_revoked(&self, key: &KeyDigest) -> bool;

    /// Checks a grant: signature, operation, expiry in coordinator time, epoch.
    ///
    /// # Errors
    /// `PermissionDenied`, `StaleEpoch` or `NotRegistered`, with the reason.
    fn check(&self, grant: &Grant, mac: &Mac, op: GrantOp) -> Result<(), Status>;

    /// Signs for a durable copy.
    ///
    /// # Errors
    /// `NotRegistered` before the node has a key.
    fn sign(&self, copy: ChunkKey, len: u32, sha256: [u8; 32]) -> Result<Receipt, Status>;
}
