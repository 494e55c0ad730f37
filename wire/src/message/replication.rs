//! A chunk on its way from one datanode to another.

use serde::{Deserialize, Serialize};

use super::chunk::Target;
use crate::auth::{Grant, Mac, Receipt};

/// What one datanode asks of another, or the coordinator of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReplicationRequest {
    /// Store the chunk that follows in data frames (a primary forwards while it receives).
    Replicate(Replicate),
    /// Fetch a chunk from a peer and store it: the coordinator's order, for repair.
    Copy(CopyChunk),
}

impl ReplicationRequest {
    /// A short name for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Replicate(_) => "replication.replicate",
            Self::Copy(_) => "replication.copy",
        }
    }
}

/// Store the chunk that follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replicate {
    /// The client's leave to write.
    pub grant: Grant,
    /// The grant's signature for this replica.
    pub mac: Mac,
    /// Expected length.
    pub len_hint: u32,
}

/// Fetch and store a chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyChunk {
    /// Leave to write here.
    pub grant: Grant,
    /// Its signature for this node.
    pub mac: Mac,
    /// Leave to read at the source.
    pub source_grant: Grant,
    /// The source, with the signature of `source_grant` for it.
    pub source: Target,
}

/// What the replica answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReplicationResponse {
    /// The chunk is durable here.
    Stored(Receipt),
}
