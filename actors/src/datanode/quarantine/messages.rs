//! What the quarantine's actor can be told.

use dfs_wire::message::admin::Garbage;

use crate::datanode::chunk_store::{Purged, StoreError};
use crate::supervisor::Reply;

/// A message to the actor.
#[derive(Debug)]
pub enum QuarantineMsg {
    /// Its own: a round ended.
    Ended(Result<Purged, StoreError>),
    /// How much is there, and until when?
    Look(Reply<Garbage>),
    /// Somebody does not want to wait for the next round.
    Begin(Reply<()>),
}
