//! What can be done with the metadata, one file a family. Pure: time and ids come in, nothing else.
//!
//! | family | changes | reads |
//! |---|---|---|
//! | [`cluster`] | format, open a reign, nodes | totals, nodes |
//! | [`names`] | mkdir, rename, delete | stat |
//! | [`list`] | | list, du |
//! | [`trash`] | undelete, purge | trash list |
//! | [`trash_usage`] | count what the trash takes | whether it is being counted |
//! | [`upload`] | open, commit, abort, renew, lease expiry | |
//! | [`transfer`] | allocate and record chunks | |
//! | [`copy`] | open a copy, share chunks | |
//! | [`resume`] | | open uploads of a path, their chunks |
//! | [`read`] | | open_read, explain |
//! | [`gc`] | trash expiry, purge and release steps, tombstones, outcome expiry | tombstones of a node |
//! | [`waiting`] | | what waits to be freed |
//! | [`forget`] | forget a node, step by step | what would be lost with it |
//! | [`maintenance`] | which nodes may be away | the same |
//! | [`surplus`] | drop and keep a copy | orders of a node |
//! | `life` | note what became of a copy | |
//! | [`inventory`] | copies missing, returned, corrupt, verified | verdicts on a report |
//! | [`fsck`] | | check |
//! | [`outcome`] | let an operation begin, remember its first outcome | |
//! | [`batches`] | the rows of a queue, in many batches of one group | |
//! | [`mutation`] | the door for the writer: any change, by value | |

pub mod batches;
pub mod cluster;
pub mod copy;
pub mod events;
pub mod forget;
pub mod fsck;
pub mod gc;
pub mod inventory;
pub mod jobs;
pub(crate) mod life;
pub mod list;
pub mod maintenance;
pub mod mutation;
pub mod names;
pub mod outcome;
pub mod read;
pub mod replication;
pub mod resume;
pub mod surplus;
pub mod transfer;
pub mod trash;
pub mod trash_usage;
pub mod trust;
pub mod upload;
pub mod waiting;

use dfs_wire::id::{ChunkId, OpId, SessionId};
use dfs_wire::limits::{CHUNK_BYTES_DEFAULT, MIN_ACK_DEFAULT, REPLICATION_DEFAULT};

/// Bytes of names and paths that fill a page of an answer: a head has room for little more.
pub const PAGE_BYTES_MAX: usize = 40 * 1024;

/// The cluster's defaults and times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How long an upload lives without renewal.
    pub upload_lease_ms: u64,
    /// How long a superseded version stays readable for those who opened it.
    pub read_lease_ms: u64,
    /// How long deleted things stay in the trash.
    pub trash_ms: u64,
    /// How long outcomes of operations are remembered.
    pub outcome_ms: u64,
    /// Bytes that they take at most, about; then the oldest are forgotten sooner.
    pub outcome_bytes_max: u64,
    /// How old an unknown copy must be before it is an orphan, and how old a known one before it can be missing.
    pub orphan_grace_ms: u64,
    /// Bytes of a chunk where the client does not say.
    pub chunk_size: u32,
    /// Copies where the client does not say.
    pub replication: u8,
    /// Durable copies that a chunk needs at least (fewer if fewer are asked for).
    pub min_ack: u8,
}

impl Default for Policy {
    fn default() -> Self {
        const MINUTE: u64 = 60 * 1000;
        Self {
            upload_lease_ms: 15 * MINUTE,
            read_lease_ms: 10 * MINUTE,
            trash_ms: 120 * MINUTE,
            outcome_ms: 24 * 60 * MINUTE,
            outcome_bytes_max: 256 << 20,
            orphan_grace_ms: 60 * MINUTE,
            chunk_size: CHUNK_BYTES_DEFAULT,
            replication: REPLICATION_DEFAULT,
            min_ack: MIN_ACK_DEFAULT,
        }
    }
}

/// What one operation is told of the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpContext {
    /// The coordinator's clock: what expires, and the ids.
    pub now_ms: u64,
    /// The wall clock: what people are shown.
    pub wall_ms: u64,
    /// By which a repeated request is known.
    pub op: OpId,
    /// Fresh random bits, from which the ids of this operation are made.
    pub entropy: u128,
    /// The cluster's defaults and times.
    pub policy: Policy,
}

impl OpContext {
    /// The session that this operation opens.
    pub fn session(&self) -> SessionId {
        SessionId(self.op.0)
    }

    /// The `n`-th fresh chunk id.
    pub fn chunk(&self, n: u32) -> ChunkId {
        ChunkId::time_ordered(self.now_ms, self.entropy.rotate_left(64).wrapping_add(u128::from(n)))
    }
}
