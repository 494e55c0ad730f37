//! What the repairer is told, by itself.

use dfs_wire::id::ChunkId;
use dfs_wire::status::Status;

use super::state::Found;
use super::tally::Repaired;
use crate::coordinator::metadata::model::records::ChunkRecord;

/// Its own words.
pub(crate) enum RepairMsg {
    /// A read of a look has ended.
    Looked(Result<Found, Status>),
    /// The chunks that are next, each with its record as it is now; `None` = it is gone.
    Read(Vec<ChunkId>, Result<Vec<Option<ChunkRecord>>, Status>),
    /// What was done about a chunk.
    Ended(ChunkId, Result<Repaired, Status>),
}
