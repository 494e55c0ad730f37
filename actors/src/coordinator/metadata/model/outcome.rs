//! What changes answer, as it is remembered and given again.

use dfs_wire::id::{ChunkId, Generation, InodeId, NodeId, SessionId};
use dfs_wire::message::metadata::{CommittedFile, CopyOpened, CopyProgress, Deleted, FileStat};
use serde::{Deserialize, Serialize};

/// What a change answers. The first one of an operation is stored and given again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Done.
    Done,
    /// Moved to the trash or released.
    Deleted(Deleted),
    /// Back at this path.
    Restored(FileStat),
    /// So many trash entries will be released.
    Purged(u64),
    /// The upload is open (never stored: the record of its session says it).
    Opened(OpenedUpload),
    /// Chunks were allocated (never stored: the chunk records remember them).
    Allocated(Vec<AllocatedChunk>),
    /// The file is visible.
    Committed(CommittedFile),
    /// The lease is kept so long.
    Renewed(u64),
    /// The bounded step did so much, and there may be more.
    Progress(StepProgress),
    /// The copy is open (never stored, as above).
    CopyOpened(CopyOpened),
    /// How far the copy has come (never stored: its session says it).
    Copied(CopyProgress),
}

/// How far a bounded step came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepProgress {
    /// Things done.
    pub done: u64,
    /// There is more to do now.
    pub more: bool,
}

/// An open upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenedUpload {
    /// The session.
    pub session: SessionId,
    /// The inode the file will have.
    pub inode: InodeId,
    /// How long the lease lasts without renewal.
    pub lease_ms: u64,
    /// Bytes of each chunk but the last.
    pub chunk_size: u32,
    /// Copies.
    pub replication: u8,
    /// Durable copies that are enough.
    pub min_ack: u8,
    /// The first chunks, if any were asked for (never stored).
    pub allocations: Vec<AllocatedChunk>,
}

/// An allocated chunk: what a grant says, and for whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocatedChunk {
    /// Its place in the file.
    pub index: u32,
    /// The chunk.
    pub chunk: ChunkId,
    /// Which attempt.
    pub generation: Generation,
    /// The file.
    pub file: InodeId,
    /// Most bytes it may have.
    pub len_max: u32,
    /// The nodes, the primary first.
    pub nodes: Vec<NodeId>,
}
