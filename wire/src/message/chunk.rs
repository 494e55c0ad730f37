//! Streaming sessions between a client and a datanode: prepare, stream, durable answer; or a verified read.
//!
//! ```text
//! write:  Request(Write) -> [window ...] data ... End -> Response(Stored)        one session per chunk
//! read:   Request(Read)  -> data ... (under the client's windows) -> Response(Read)
//! ```

use serde::{Deserialize, Serialize};

use super::facts::ChunkFacts;
use crate::auth::{Grant, Mac, Receipt};
use crate::id::NodeId;
use crate::status::Status;

/// A replica to forward to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The node that is to hold the copy.
    pub node: NodeId,
    /// Where it listens, `host:port`.
    pub address: String,
    /// The grant's signature for that node.
    pub mac: Mac,
}

/// What a client asks of a datanode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChunkRequest {
    /// Store a chunk here and on the replicas.
    Write(WriteChunk),
    /// Send a part of a chunk.
    Read(ReadChunk),
    /// Read the whole chunk here, check every checksum, and say what was found.
    Verify(VerifyChunk),
}

impl ChunkRequest {
    /// A short name for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Write(_) => "chunk.write",
            Self::Read(_) => "chunk.read",
            Self::Verify(_) => "chunk.verify",
        }
    }
}

/// Store a chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteChunk {
    /// Leave to write.
    pub grant: Grant,
    /// The grant's signature for the primary.
    pub mac: Mac,
    /// Expected length, for the reservation of space; the truth comes with the end.
    pub len_hint: u32,
    /// The other copies, forwarded to while receiving.
    pub replicas: Vec<Target>,
    /// Durable copies, this node's included, that are enough to answer when the others fall behind.
    pub min_ack: u8,
}

/// Send bytes `offset .. offset + len` of a chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadChunk {
    /// Leave to read.
    pub grant: Grant,
    /// The grant's signature for this node.
    pub mac: Mac,
    /// First byte.
    pub offset: u32,
    /// How many bytes.
    pub len: u32,
    /// Tell what the chunk says of itself, too.
    pub facts: bool,
}

/// Check a whole chunk where it lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyChunk {
    /// Leave to read.
    pub grant: Grant,
    /// The grant's signature for this node.
    pub mac: Mac,
}

/// What a datanode answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChunkResponse {
    /// The chunk is durable on every node with a receipt.
    Stored(ChunkStored),
    /// All asked bytes were sent.
    Read(ChunkRead),
    /// The chunk was checked and is good.
    Verified(ChunkVerified),
}

/// The end of a write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkStored {
    /// One for each durable copy, the primary's first.
    pub receipts: Vec<Receipt>,
    /// Replicas without a copy, and why.
    pub failed: Vec<ReplicaFailure>,
}

/// A replica that has no durable copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaFailure {
    /// The node that was to hold the copy.
    pub node: NodeId,
    /// Why it has none.
    pub status: Status,
}

/// The end of a read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkRead {
    /// Bytes sent.
    pub len: u32,
    /// Length of the whole chunk.
    pub chunk_len: u32,
    /// SHA-256 of the whole chunk.
    pub chunk_sha256: [u8; 32],
    /// What the chunk says of itself, if that was asked for.
    pub facts: Option<Box<ChunkFacts>>,
}

/// A chunk that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkVerified {
    /// Bytes of the chunk, all of them read.
    pub len: u32,
    /// The SHA-256 computed from its bytes.
    pub sha256: [u8; 32],
}
