//! What a datanode really has, told to the coordinator page by page.
//!
//! A report covers a contiguous range of (chunk, generation): from just after the previous page to `upto`, so that
//! what is missing from a page is known to be missing from the node. The answer says what to put into quarantine. The node
//! does so at the end of the report, and asks again just before: what was superfluous an hour ago may be the last copy now.

use serde::{Deserialize, Serialize};

use crate::id::{ChunkId, ChunkKey, Epoch, Generation, Incarnation, NodeId};

/// What a datanode reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum InventoryRequest {
    /// A page of what the node has.
    Report(InventoryReport),
    /// Is the node still to get rid of these? Asked just before it does.
    Confirm(InventoryConfirm),
}

impl InventoryRequest {
    /// A short name for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Report(_) => "inventory.report",
            Self::Confirm(_) => "inventory.confirm",
        }
    }
}

/// One page of an inventory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryReport {
    /// The node that holds the copies.
    pub node: NodeId,
    /// Which run of that node speaks: a late word of an earlier one is refused.
    pub incarnation: Incarnation,
    /// Covers copies after this one; `None` = from the start.
    pub after: Option<ChunkKey>,
    /// Covers copies up to and including this one; `None` = to the end.
    pub upto: Option<ChunkKey>,
    /// The latest time of the coordinator that the node had heard when it cut the page: what was recorded before is in
    /// the page, or not on the node. 0 = none yet.
    pub heard_ms: u64,
    /// Every copy in that range, in order.
    pub copies: Vec<InventoryEntry>,
}

/// A copy that a node has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryEntry {
    /// The chunk that it is a copy of.
    pub chunk: ChunkId,
    /// The attempt at the chunk that it holds.
    pub generation: Generation,
    /// Bytes of its contents.
    pub len: u32,
    /// The node knows it to be bad.
    pub corrupt: bool,
}

impl InventoryEntry {
    /// The part that names the bytes.
    pub const fn key(&self) -> ChunkKey {
        ChunkKey { chunk: self.chunk, generation: self.generation }
    }
}

/// Is the node still to get rid of these?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryConfirm {
    /// The node that is to get rid of them.
    pub node: NodeId,
    /// Which run of that node speaks: a late word of an earlier one is refused.
    pub incarnation: Incarnation,
    /// Copies that the answer to a page ordered into quarantine, at most
    /// [`INVENTORY_PAGE_MAX`](crate::limits::INVENTORY_PAGE_MAX).
    pub copies: Vec<ChunkKey>,
}

/// What the coordinator answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum InventoryResponse {
    /// The page was taken in.
    Accepted(InventoryAccepted),
    /// Of the copies asked about, those that are still to go.
    Confirmed(InventoryAccepted),
}

/// What is to go into quarantine, as of now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryAccepted {
    /// The coordinator's reign: a node that has seen a higher one does not obey.
    pub epoch: Epoch,
    /// The commit position of its metadata: the node keeps it before it obeys.
    pub position: u64,
    /// Copies that no version, upload or lease reaches and that are older than the grace.
    pub quarantine: Vec<ChunkKey>,
}
