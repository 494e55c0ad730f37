//! The messages, one module a conversation.
//!
//! | conversation | from, to | about |
//! |---|---|---|
//! | [`metadata`] | client, coordinator | the namespace, upload sessions, where chunks are |
//! | [`chunk`] | client, datanode | streaming sessions: one chunk written or read |
//! | [`replication`] | datanode, datanode | the same chunk on its way to the other copies |
//! | [`membership`] | datanode, coordinator | registration, heartbeats, cluster state, tombstones |
//! | [`inventory`] | datanode, coordinator | what a node really has |
//! | [`admin`] | anyone, any node | status, nodes, actors, health |
//! | [`enroll`] | anyone, coordinator | certificates |
//! | [`job`] | client, coordinator | long work: emptying datanodes, balancing, progress |
//!
//! Enum variants are only ever appended; a struct never changes its fields within a protocol version. No message
//! is recursive or holds a list of zero-sized things (bincode bounds neither).

mod absent;
pub mod admin;
pub mod chunk;
pub mod enroll;
pub mod facts;
mod gc;
pub mod health;
pub mod inventory;
pub mod job;
pub mod membership;
pub mod metadata;
pub mod replication;
mod trust;

use serde::{Deserialize, Serialize};

use crate::id::OpId;
use crate::status::Status;

/// W3C trace context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceContext {
    /// Trace id.
    pub trace_id: [u8; 16],
    /// Id of the span that sent the request.
    pub span_id: [u8; 8],
    /// Trace flags.
    pub flags: u8,
}

/// What opens a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestHead {
    /// The operation. For a mutation, repeating it returns the first outcome; for others, the id for logs.
    pub op: OpId,
    /// How long the sender will wait, in milliseconds from the sending; 0 = the server's own limit.
    pub deadline_ms: u32,
    /// Trace context, if the sender traces.
    pub trace: Option<TraceContext>,
    /// The request itself.
    pub body: Request,
}

/// Every request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Namespace, upload sessions, chunk locations.
    Metadata(metadata::MetadataRequest),
    /// One chunk written or read.
    Chunk(chunk::ChunkRequest),
    /// One chunk on its way to another copy.
    Replication(replication::ReplicationRequest),
    /// Registration and heartbeats.
    Membership(membership::MembershipRequest),
    /// What a node has.
    Inventory(inventory::InventoryRequest),
    /// Status and inspection.
    Admin(admin::AdminRequest),
    /// Certificates.
    Enroll(enroll::EnrollRequest),
}

impl Request {
    /// A short name for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Metadata(r) => r.name(),
            Self::Chunk(r) => r.name(),
            Self::Replication(r) => r.name(),
            Self::Membership(r) => r.name(),
            Self::Inventory(r) => r.name(),
            Self::Admin(r) => r.name(),
            Self::Enroll(r) => r.name(),
        }
    }
}

/// Every answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// To a [`Request::Metadata`].
    Metadata(metadata::MetadataResponse),
    /// To a [`Request::Chunk`].
    Chunk(chunk::ChunkResponse),
    /// To a [`Request::Replication`].
    Replication(replication::ReplicationResponse),
    /// To a [`Request::Membership`].
    Membership(membership::MembershipResponse),
    /// To a [`Request::Inventory`].
    Inventory(inventory::InventoryResponse),
    /// To a [`Request::Admin`].
    Admin(admin::AdminResponse),
    /// To a [`Request::Enroll`].
    Enroll(enroll::EnrollResponse),
}

/// What ends a stream: one per request, always.
pub type ResponseHead = Result<Response, Status>;

/// The sender of data has sent all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndHead {
    /// Bytes sent in data frames.
    pub len: u64,
    /// SHA-256 of them.
    pub sha256: [u8; 32],
    /// What the chunk is to say of itself.
    pub facts: Box<facts::ChunkFacts>,
}
