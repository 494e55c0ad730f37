//! What the placement actor can be told.

use dfs_wire::id::NodeId;
use dfs_wire::status::Status;

use super::state::Placed;
use crate::supervisor::Reply;

/// Chunks of one file to find nodes for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceChunks {
    /// Room that a copy of each chunk may take; one entry a chunk.
    pub bytes: Vec<u64>,
    /// Copies of each.
    pub copies: u8,
    /// Fewest copies to go on with.
    pub min_ack: u8,
    /// Nodes that just failed the client.
    pub exclude: Vec<NodeId>,
}

/// A message to the placement actor.
#[derive(Debug)]
pub enum PlacementMsg {
    /// Choose nodes: for all of the chunks, or for none.
    Place(PlaceChunks, Reply<Result<Vec<Placed>, Status>>),
}
