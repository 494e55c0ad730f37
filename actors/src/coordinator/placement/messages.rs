//! What the placement actor can be told.

use dfs_wire::status::Status;

use super::state::{PlaceChunks, Placed};
use crate::supervisor::Reply;

/// A message to the placement actor.
#[derive(Debug)]
pub enum PlacementMsg {
    /// Choose nodes: for all of the chunks, or for none.
    Place(PlaceChunks, Reply<Result<Vec<Placed>, Status>>),
}
