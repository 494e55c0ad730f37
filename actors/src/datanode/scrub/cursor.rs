//! What a scrub keeps over restarts.

use dfs_wire::id::ChunkKey;
use dfs_wire::message::admin::{ScrubPace, ScrubRound};
use dfs_wire::status::Status;
use futures_util::future::BoxFuture;

/// Copies that are remembered as bad or unreadable; more are found again by the next round.
pub const DOUBTED_MAX: usize = 256;

/// How far a scrub has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScrubCursor {
    /// The round under way, or the last one: `ended_ms` is 0 while it is under way.
    pub round: ScrubRound,
    /// How fast it reads.
    pub pace: ScrubPace,
    /// Milliseconds that the node has run since the round began.
    pub spent_ms: u64,
    /// Milliseconds that the node has run since a round last ended.
    pub since_ms: u64,
    /// The last chunk that was read; `None` = none yet.
    pub after: Option<ChunkKey>,
    /// The last chunk that is to be read in this round; `None` = no round is under way.
    pub upto: Option<ChunkKey>,
    /// Chunks that there were when the round began.
    pub chunks_total: u64,
    /// Bytes of them.
    pub bytes_total: u64,
    /// The last round that ended.
    pub last: Option<ScrubRound>,
    /// Copies that were bad or could not be read, in order, at most [`DOUBTED_MAX`].
    pub doubted: Vec<ChunkKey>,
}

/// Where the cursor is kept.
pub trait CursorStore: Send + Sync + 'static {
    /// The cursor as last kept; `None` if there is none, or none that can be believed.
    ///
    /// # Errors
    /// If the disk cannot say.
    fn load(&self) -> BoxFuture<'static, Result<Option<ScrubCursor>, Status>>;

    /// Keeps a cursor, durably: after a crash it is the old one or the new one.
    ///
    /// # Errors
    /// If the disk takes no writes.
    fn save(&self, cursor: ScrubCursor) -> BoxFuture<'static, Result<(), Status>>;
}
