//! What the inventory actor can be told.

use dfs_wire::id::{ChunkKey, Epoch};
use dfs_wire::status::Status;

/// A message to the inventory actor.
#[derive(Debug)]
pub enum InventoryMsg {
    /// Report everything from the start, even if a report is under way.
    Take,
    /// The coordinator lacks a report: the one under way will do.
    Wanted,
    /// Its own: time may have come for something.
    Wake,
    /// Its own: the answer to a page: of which reign, and what to put into quarantine.
    Answered(Result<(Epoch, Vec<ChunkKey>), Status>),
    /// Its own: the answer to a confirmation: of which reign, and what is still to go.
    Confirmed(Result<(Epoch, Vec<ChunkKey>), Status>),
    /// Its own: a batch was put into quarantine; so many could not be.
    Quarantined(usize),
}
