//! What the actor of the scrub is told: by operators, and by its own tasks.

use dfs_wire::id::ChunkKey;
use dfs_wire::message::admin::{ScrubPace, ScrubStatus};
use dfs_wire::status::Status;

use super::cursor::ScrubCursor;
use crate::datanode::chunk_store::{ChunkInfo, StoreError};
use crate::supervisor::Reply;

/// A message to the actor.
#[derive(Debug)]
pub enum ScrubMsg {
    /// Begin a round now, at this pace; the answer is its number.
    Start(ScrubPace, Reply<u64>),
    /// How does it do now?
    Status(Reply<ScrubStatus>),
    /// Its own: time may have come for something.
    Wake,
    /// Its own: the cursor of the life before, if there is one.
    Loaded(Result<Option<Box<ScrubCursor>>, Status>),
    /// Its own: what reading a chunk came to; `None` = the disk gave no answer in time.
    Read(ChunkKey, Option<Result<ChunkInfo, StoreError>>),
    /// Its own: the cursor is durable, or not.
    Saved(Result<(), Status>),
}
