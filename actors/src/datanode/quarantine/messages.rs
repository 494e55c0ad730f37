//! What the quarantine's actor is told, by its own tasks.

use crate::datanode::chunk_store::{Purged, StoreError};

/// A message to the actor.
#[derive(Debug)]
pub enum QuarantineMsg {
    /// Its own: a round ended.
    Ended(Result<Purged, StoreError>),
}
