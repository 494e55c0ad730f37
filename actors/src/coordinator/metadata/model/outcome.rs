//! What changes answer, as it is remembered and given again.

use dfs_wire::id::{ChunkId, Generation, InodeId, NodeId, SessionId};
use dfs_wire::message::metadata::{CommittedFile, CopyOpened, CopyProgress, Deleted, FileStat};
use serde::{Deserialize, Serialize};

/// What a change answers. The first one of an operation is stored and given again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It was done, and there is nothing more to say.
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
    /// How many things were done; which, the kind of the step says.
    pub done: u64,
    /// There is more to do now.
    pub more: bool,
}

/// An open upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenedUpload {
    /// Names the upload in every later request.
    pub session: SessionId,
    /// The inode the file will have.
    pub inode: InodeId,
    /// How long the lease lasts without renewal.
    pub lease_ms: u64,
    /// Bytes of each chunk but the last.
    pub chunk_size: u32,
    /// Copies that each chunk is to have.
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
    /// The id by which datanodes know it, with the generation.
    pub chunk: ChunkId,
    /// Which attempt at the chunk's bytes.
    pub generation: Generation,
    /// The inode that the file has or will have.
    pub file: InodeId,
    /// Most bytes it may have.
    pub len_max: u32,
    /// The nodes, the primary first.
    pub nodes: Vec<NodeId>,
}
