//! The order to write a chunk here: one value from the request to the disk.

use dfs_wire::auth::Grant;
use dfs_wire::id::OpId;
use dfs_wire::link::Stream;
use dfs_wire::message::chunk::{Target, WriteChunk};
use dfs_wire::message::replication::Replicate;
use dfs_wire::slab::Reservation;

use super::turns::Turn;

/// Longer uploads than this count as bulk.
const BULK_BYTES: u32 = 1024 * 1024;

/// Who sends the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A client: its SHA-256 is checked here, and it is told of every copy.
    Client,
    /// The primary of the chunk: the CRC of each frame is checked, its SHA-256 is trusted, its answer is a bare receipt.
    Primary,
}

/// A chunk that is to be written here, as it was asked for.
#[derive(Debug, Clone)]
pub struct WriteOrder {
    /// The request that it belongs to, the same on each replica.
    pub op: OpId,
    /// Who sends the bytes.
    pub origin: Origin,
    /// Leave to write.
    pub grant: Grant,
    /// Bytes that the sender expects the chunk to have.
    pub len_hint: u32,
    /// The other copies; empty on a replica.
    pub replicas: Vec<Target>,
    /// Durable copies that are enough.
    pub min_ack: u8,
}

impl WriteOrder {
    /// What a client asks of a primary.
    pub fn of_client(op: OpId, word: WriteChunk) -> Self {
        let WriteChunk { grant, len_hint, replicas, min_ack, .. } = word;
        Self { op, origin: Origin::Client, grant, len_hint, replicas, min_ack }
    }

    /// What a primary asks of a replica.
    pub fn of_primary(op: OpId, word: Replicate) -> Self {
        let Replicate { grant, len_hint, .. } = word;
        Self { op, origin: Origin::Primary, grant, len_hint, replicas: Vec::new(), min_ack: 1 }
    }

    /// Whether the places for large uploads count for it.
    pub fn is_bulk(&self) -> bool {
        self.len_hint > BULK_BYTES
    }
}

/// An order that was let in, with all it takes to carry it out.
pub struct Admitted {
    /// What is to be written.
    pub order: WriteOrder,
    /// Where to receive and to answer.
    pub stream: Stream,
    /// Memory for it.
    pub reservation: Reservation,
    /// Its places among the uploads, given back when it ends.
    pub turns: Vec<Turn>,
}
