//! What the coordinator answers about copies within the cluster, and about uploads that are gone on with.

use serde::{Deserialize, Serialize};

use crate::id::{Generation, InodeId, SessionId, VersionId};

/// A copy that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyOpened {
    /// The upload session that it is.
    pub session: SessionId,
    /// How long its lease lasts; each step renews it.
    pub lease_ms: u64,
    /// The version that is copied, whatever becomes of its path.
    pub version: VersionId,
    /// Bytes of that version.
    pub size: u64,
    /// Chunks of that version.
    pub chunk_count: u32,
}

/// How far a copy has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyProgress {
    /// Chunks that the copy has.
    pub copied: u32,
    /// Chunks that it will have.
    pub chunk_count: u32,
}

/// An open upload that can be gone on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadFound {
    /// Names the upload in every later request about it.
    pub session: SessionId,
    /// What its opener said of where the bytes come from.
    pub resume: u128,
    /// The inode the file will have.
    pub inode: InodeId,
    /// How long its lease lasts from now on.
    pub lease_ms: u64,
    /// Bytes of each chunk but the last.
    pub chunk_size: u32,
    /// Copies.
    pub replication: u8,
    /// Durable copies that are enough.
    pub min_ack: u8,
    /// Chunks that are durable.
    pub stored: u32,
}

/// A page of an upload's chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadedPage {
    /// The chunks that were allocated, in order.
    pub chunks: Vec<UploadedChunk>,
    /// Where to continue; `None` = done.
    pub next: Option<u32>,
}

/// One chunk of an open upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadedChunk {
    /// Its place in the file.
    pub index: u32,
    /// The attempt that counts.
    pub generation: Generation,
    /// What is durable of it; `None` = nothing yet.
    pub stored: Option<StoredBytes>,
}

/// The bytes of a durable chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredBytes {
    /// How many.
    pub len: u32,
    /// Their SHA-256.
    pub sha256: [u8; 32],
}
