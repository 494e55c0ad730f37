//! What is stored under the keys. [`crate::coordinator::metadata::table::format`] says how a record becomes a value, and how old values are read.

use dfs_wire::auth::ClusterKey;
use dfs_wire::id::{ChunkId, ClusterId, Generation, InodeId, NodeId, OpId, SessionId, VersionId};
use dfs_wire::message::metadata::{CopyState, EntryKind, Precondition};
use dfs_wire::path::DfsPath;
use dfs_wire::status::Status;
use serde::{Deserialize, Serialize};

use super::outcome::Outcome;

mod health;
mod jobs;
mod life;
mod maintenance;
mod nodes;
mod reigns;
mod trash;
mod trust;

pub use health::{EventRecord, FindingKey, HealthBook, Mute, StandingFinding};
pub use jobs::JobRecord;
pub use life::{LIFE_KEPT_MAX, Reasons, StoredTurn};
pub use maintenance::{MaintainedNodes, Maintenance};
pub use nodes::{NodeRecord, Standing};
pub use reigns::{Known, ReignStart, Reigns, UnknownReign};
pub use trash::{TrashEntry, TrashSweep, TrashWalk};
pub use trust::{AuthorityRecord, IssuedKeys, JoinTokenRecord, RevokedKeys};

/// Chunk places of one segment.
pub const SEGMENT_CHUNKS: u32 = 32;

/// The identity of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterMeta {
    /// The format of this store.
    pub format: u32,
    /// Made when the store was formatted, of the time and at random.
    pub cluster: ClusterId,
    /// Secret: what the keys of nodes and of grants come from.
    pub key: StoredKey,
    /// When it was formatted.
    pub created_ms: u64,
}

/// The key of a cluster, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoredKey {
    /// As it is: by a build that did not wrap it.
    Bare(ClusterKey),
    /// Under a key that is not in the metadata.
    Wrapped(Vec<u8>),
}

/// What a name in a directory stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where the attributes are.
    pub inode: InodeId,
    /// File or directory.
    pub kind: EntryKind,
}

/// Attributes of a file or directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inode {
    /// The directory it is in; the last one for something in the trash.
    pub parent: InodeId,
    /// Its name there; empty for the root.
    pub name: String,
    /// When it was first made, by the wall clock, in milliseconds since 1970.
    pub created_ms: u64,
    /// Last modification, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// It is the root of something in the trash, or was and is being purged.
    pub trashed: bool,
    /// Its contents; `None` for a directory.
    pub file: Option<FileBody>,
}

impl Inode {
    /// File or directory.
    pub fn kind(&self) -> EntryKind {
        if self.file.is_some() { EntryKind::File } else { EntryKind::Directory }
    }
}

/// The current contents of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileBody {
    /// New with every change of the contents.
    pub version: VersionId,
    /// Bytes of the whole file.
    pub size: u64,
    /// Bytes of each chunk but the last.
    pub chunk_size: u32,
    /// Chunks of the whole file; 0 if it is empty.
    pub chunk_count: u32,
    /// Copies that each chunk is to have.
    pub replication: u8,
}

/// Whether the contents of a version may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum VersionState {
    /// The current contents of its inode.
    Live,
    /// Replaced or deleted; readers that opened it may go on until the release begins.
    Superseded,
    /// Its chunks are being released (or it never was committed): nobody may read it.
    Releasing,
}

/// One version of a file's contents, independent of the inode's fate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The inode it is or was the contents of.
    pub inode: InodeId,
    /// Size, chunks and copies of this version.
    pub body: FileBody,
    /// When the file was first made, in milliseconds since 1970: kept when its contents are replaced.
    pub created_ms: u64,
    /// Last modification, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Whether it may be read.
    pub state: VersionState,
    /// SHA-256 of the whole contents, if whoever stored it said it.
    pub sha256: Option<[u8; 32]>,
}

/// One place in a chunk list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Slot {
    /// Nothing there yet.
    #[default]
    Empty,
    /// A chunk that is being uploaded.
    Allocated(ChunkId),
    /// A durable chunk.
    Stored(ChunkId),
}

impl Slot {
    /// The chunk, whatever its state.
    pub fn chunk(self) -> Option<ChunkId> {
        match self {
            Self::Empty => None,
            Self::Allocated(chunk) | Self::Stored(chunk) => Some(chunk),
        }
    }
}

/// A run of [`SEGMENT_CHUNKS`] places of a chunk list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The places, from the first on; missing ones at the end are empty.
    pub slots: Vec<Slot>,
}

impl Segment {
    /// The place of the chunk with this index in the file.
    pub fn slot(&self, index: u32) -> Slot {
        self.slots.get((index % SEGMENT_CHUNKS) as usize).copied().unwrap_or_default()
    }

    /// Fills the place of the chunk with this index in the file.
    pub fn set(&mut self, index: u32, slot: Slot) {
        let place = (index % SEGMENT_CHUNKS) as usize;
        if self.slots.len() <= place {
            self.slots.resize(place + 1, Slot::Empty);
        }
        if let Some(found) = self.slots.get_mut(place) {
            *found = slot;
        }
    }
}

/// The life of a chunk.
///
/// ```text
/// Pending --receipts recorded--> Live --last reference gone--> Dying --all tombstones confirmed--> (no record)
///    +--------------------------- upload given up ---------------^
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChunkState {
    /// Allocated by this operation, bytes on their way.
    Pending(OpId),
    /// Durable; belongs to a version or to an open upload.
    Live,
    /// Nothing refers to it; its nodes are being told to delete it.
    Dying,
}

/// What is known of a chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkRecord {
    /// The attempt that counts.
    pub generation: Generation,
    /// Where in its life it is.
    pub state: ChunkState,
    /// The file it was written for.
    pub file: InodeId,
    /// The version it was written for.
    pub version: VersionId,
    /// Its place in that version.
    pub index: u32,
    /// Its length; the most it may have while pending.
    pub len: u32,
    /// SHA-256 of its bytes; zeros while pending.
    pub sha256: [u8; 32],
    /// Versions (or open uploads) that hold it.
    pub references: u32,
    /// Copies that it is to have.
    pub wanted: u8,
    /// Its copies; the planned ones while pending.
    pub copies: Vec<CopyRecord>,
}

impl ChunkRecord {
    /// Copies known to be good.
    pub fn good(&self) -> usize {
        self.copies.iter().filter(|c| c.state == CopyState::Good).count()
    }

    /// Whether something refers to the chunk and every copy of it is corrupt or missing.
    pub fn is_lost(&self) -> bool {
        let gone = |copy: &CopyRecord| matches!(copy.state, CopyState::Corrupt | CopyState::Missing);
        self.state == ChunkState::Live && self.references > 0 && self.copies.iter().all(gone)
    }

    /// The number under which the chunk stands among the endangered, if it is.
    pub fn risk(&self) -> Option<u8> {
        let good = u8::try_from(self.good()).unwrap_or(u8::MAX);
        (self.state == ChunkState::Live && self.references > 0 && good < self.wanted).then_some(good)
    }

    /// The copy on a node.
    pub fn copy(&self, node: NodeId) -> Option<&CopyRecord> {
        self.copies.iter().find(|c| c.node == node)
    }
}

/// One copy of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyRecord {
    /// The node that has it, or is to have it.
    pub node: NodeId,
    /// How it is.
    pub state: CopyState,
    /// Since when; inventories older than this say nothing about it.
    pub since_ms: u64,
}

/// What placement thought of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredReason {
    /// The node that was looked at.
    pub node: NodeId,
    /// Whether it was chosen.
    pub chosen: bool,
    /// The rule that decided.
    pub rule: String,
    /// The numbers behind it.
    pub detail: String,
}

/// An upload in progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadSession {
    /// Where it will be visible.
    pub path: DfsPath,
    /// The inode it will have.
    pub inode: InodeId,
    /// Bytes of each chunk but the last.
    pub chunk_size: u32,
    /// Copies that each chunk is to have.
    pub replication: u8,
    /// Durable copies that a chunk needs at least.
    pub min_ack: u8,
    /// When it may be committed.
    pub precondition: Precondition,
    /// Make missing parents at the commit.
    pub parents: bool,
    /// Modification time to keep, nanoseconds since 1970.
    pub mtime_ns: Option<i64>,
    /// When it began.
    pub opened_ms: u64,
    /// When it ends unless renewed.
    pub lease_until_ms: u64,
    /// Places filled with durable chunks.
    pub stored: u32,
    /// Bytes of those.
    pub bytes: u64,
    /// One more than the highest index ever stored.
    pub high: u32,
    /// One more than the highest index ever allocated.
    pub allocated: u32,
    /// The one place with a chunk shorter than `chunk_size`, if any: it must be the last.
    pub short: Option<u32>,
    /// What it is a copy of, if it is one: then its chunks come from there.
    pub source: Option<CopySource>,
    /// What whoever goes on with it after an interruption must know: a digest of where the bytes come from.
    pub resume: Option<u128>,
}

/// What a copy is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopySource {
    /// The path it had.
    pub path: DfsPath,
    /// The version whose chunks are shared.
    pub version: VersionId,
    /// Bytes of the whole file.
    pub size: u64,
    /// Chunks of the whole file.
    pub chunk_count: u32,
    /// SHA-256 of the whole, if it is known.
    pub sha256: Option<[u8; 32]>,
}

/// The version that a session writes: the same bits, so that neither needs the other's name.
pub fn version_of(session: SessionId) -> VersionId {
    VersionId(session.0)
}

/// The session that wrote a version.
pub fn session_of(version: VersionId) -> SessionId {
    SessionId(version.0)
}

/// The first outcome of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpOutcome {
    /// The beginning of the request's SHA-256: the same id with another request is an error.
    pub digest: [u8; 8],
    /// What was answered.
    pub result: Result<Outcome, Status>,
}

/// What is remembered of operations, and what was forgotten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcomes {
    /// Outcomes that are kept now.
    pub rows: u64,
    /// What they take, about.
    pub bytes: u64,
    /// The highest stamp of an operation whose outcome was forgotten.
    pub low_water_ms: Option<u64>,
}

impl Outcomes {
    /// How far back they reach, if none is older than `most_ms`.
    pub fn reach_ms(&self, now_ms: u64, most_ms: u64) -> u64 {
        self.low_water_ms.map_or(most_ms, |mark| now_ms.saturating_sub(mark).min(most_ms))
    }
}

/// How far the release of a version has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseJob {
    /// The next segment to look at.
    pub segment: u32,
    /// The next place in it.
    pub slot: u32,
    /// Only what the upload allocated beyond the end of the committed file goes; the version stays.
    pub trim: bool,
}

/// Copies of generations that an allocation gave up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrphanBatch {
    /// What to turn into tombstones.
    pub orphans: Vec<Orphan>,
}

/// Copies of one given-up generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orphan {
    /// The chunk whose allocation was given up.
    pub chunk: ChunkId,
    /// The attempt that was given up.
    pub generation: Generation,
    /// Where it may lie.
    pub nodes: Vec<NodeId>,
}

/// What a node still has to delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// When it was laid down, in the coordinator's time.
    pub since_ms: u64,
}

/// What a node should have of one chunk: what an inventory is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyRow {
    /// The attempt that counts.
    pub generation: Generation,
    /// Bytes of the chunk.
    pub len: u32,
    /// How the copy is.
    pub state: CopyState,
    /// Since when; an inventory that was taken earlier says nothing about it.
    pub since_ms: u64,
}

/// The live chunks that want as many copies and have the same ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRow {
    /// Chunks of the group.
    pub chunks: u64,
    /// Their bytes, each counted once.
    pub bytes: u64,
}
