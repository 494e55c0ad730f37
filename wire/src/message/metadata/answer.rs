//! What the coordinator answers about the namespace, upload sessions and chunk locations.

use serde::{Deserialize, Serialize};

use super::life::CopyEvent;
use super::resume::{CopyOpened, CopyProgress, UploadFound, UploadedPage};
use crate::auth::{Grant, Mac};
use crate::id::{ChunkId, Epoch, Generation, InodeId, NodeId, SessionId, VersionId};
use crate::message::chunk::Target;
use crate::message::membership::NodeState;
use crate::path::DfsPath;

/// File or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum EntryKind {
    /// Has a version, and chunks.
    File,
    /// Holds entries; has neither version nor chunks.
    Directory,
}

/// Attributes of a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStat {
    /// Where it was found.
    pub path: DfsPath,
    /// The inode: stays through renames, and names the entry in the trash.
    pub inode: InodeId,
    /// File or directory.
    pub kind: EntryKind,
    /// Bytes; 0 for a directory.
    pub size: u64,
    /// Last modification, nanoseconds since 1970; negative before.
    pub mtime_ns: i64,
    /// Creation, milliseconds since 1970.
    pub created_ms: u64,
    /// Version of the contents (the entity tag); 0 for a directory.
    pub version: VersionId,
    /// Bytes of each chunk but the last; 0 for a directory.
    pub chunk_size: u32,
    /// Chunks.
    pub chunk_count: u32,
    /// Copies wanted.
    pub replication: u8,
}

/// A file that has just become visible, at the path its upload was opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommittedFile {
    /// The inode: stays through renames, and names the entry in the trash.
    pub inode: InodeId,
    /// Bytes.
    pub size: u64,
    /// Last modification, nanoseconds since 1970; negative before.
    pub mtime_ns: i64,
    /// Creation, milliseconds since 1970.
    pub created_ms: u64,
    /// Version of the contents.
    pub version: VersionId,
    /// Bytes of each chunk but the last.
    pub chunk_size: u32,
    /// Chunks.
    pub chunk_count: u32,
    /// Copies wanted.
    pub replication: u8,
}

impl CommittedFile {
    /// Its attributes, with the path that its upload was opened for.
    pub fn at(self, path: DfsPath) -> FileStat {
        let Self { inode, size, mtime_ns, created_ms, version, chunk_size, chunk_count, replication } = self;
        let kind = EntryKind::File;
        FileStat {
            path,
            inode,
            kind,
            size,
            mtime_ns,
            created_ms,
            version,
            chunk_size,
            chunk_count,
            replication,
        }
    }
}

/// What the coordinator answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetadataResponse {
    /// Done; nothing to say.
    Done,
    /// Attributes of the path that was asked about.
    Stat(FileStat),
    /// A page of entries.
    Listed(Listed),
    /// Moved to the trash (or released at once).
    Deleted(Deleted),
    /// A page of the trash.
    Trash(TrashPage),
    /// A step of counting.
    DiskUsage(DiskUsageStep),
    /// The upload is open.
    UploadOpened(UploadOpened),
    /// Where to put chunks.
    Allocated(Allocated),
    /// The chunks are recorded.
    Recorded,
    /// The file is visible.
    Committed(CommittedFile),
    /// The lease is kept.
    Renewed(LeaseLeft),
    /// Where chunks are.
    ReadOpened(ReadOpened),
    /// Why chunks are where they are.
    Explained(Explained),
    /// A step of checking.
    Fsck(FsckStep),
    /// How many trash entries will be released.
    Purged(u64),
    /// The copy has begun.
    CopyOpened(CopyOpened),
    /// How far the copy has come.
    CopyProgress(CopyProgress),
    /// Uploads that can be gone on with, the latest first.
    Uploads(Vec<UploadFound>),
    /// A page of an upload's chunks.
    UploadedChunks(UploadedPage),
}

/// A page of entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The entries, in order.
    pub entries: Vec<FileStat>,
    /// Where to continue; `None` = this was the last page.
    pub next: Option<DfsPath>,
}

/// What became of a deleted file or directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// Its inode: the name of the trash entry.
    pub inode: InodeId,
    /// When the trash forgets it, milliseconds since 1970; `None` = it never was in the trash.
    pub expires_ms: Option<u64>,
}

/// A page of the trash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrashPage {
    /// The entries, in the order of their inodes.
    pub entries: Vec<TrashItem>,
    /// Where to continue; `None` = this was the last page.
    pub next: Option<InodeId>,
}

/// One thing in the trash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrashItem {
    /// What it was, with the path it had.
    pub stat: FileStat,
    /// When it was deleted, milliseconds since 1970.
    pub deleted_ms: u64,
    /// When it will be forgotten, milliseconds since 1970.
    pub expires_ms: u64,
}

/// A step of counting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskUsageStep {
    /// Files in this step.
    pub files: u64,
    /// Directories in this step.
    pub directories: u64,
    /// Bytes of those files, counted once.
    pub bytes: u64,
    /// The same times the copies they ask for.
    pub raw_bytes: u64,
    /// Where to continue; `None` = done.
    pub next: Option<DfsPath>,
}

/// The upload is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadOpened {
    /// Names the upload in every later request about it.
    pub session: SessionId,
    /// The inode the file will have.
    pub inode: InodeId,
    /// How long the lease lasts without renewal.
    pub lease_ms: u64,
    /// Bytes of each chunk but the last.
    pub chunk_size: u32,
    /// Copies.
    pub replication: u8,
    /// Durable copies that are enough when one falls behind.
    pub min_ack: u8,
    /// The coordinator's reign.
    pub epoch: Epoch,
    /// The first chunks, if any were asked for.
    pub allocations: Vec<Allocation>,
}

/// Where to put a chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocation {
    /// The chunk's place in the file.
    pub index: u32,
    /// Leave to write it.
    pub grant: Grant,
    /// The nodes, the primary first.
    pub targets: Vec<Target>,
}

/// Where to put chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocated {
    /// One for each chunk asked for.
    pub allocations: Vec<Allocation>,
}

/// The lease is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseLeft {
    /// How long it lasts without another renewal.
    pub lease_ms: u64,
}

/// Where the chunks of a version are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadOpened {
    /// The file, as of that version.
    pub stat: FileStat,
    /// How long the read lease lasts; ask for the page again to renew it.
    pub lease_ms: u64,
    /// The chunks of the page, in order.
    pub chunks: Vec<ChunkLocation>,
    /// SHA-256 of the whole file, if it is kept; with the first page only.
    pub sha256: Option<[u8; 32]>,
}

/// Where one chunk is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkLocation {
    /// Its place in the file.
    pub index: u32,
    /// Leave to read it.
    pub grant: Grant,
    /// Bytes of the chunk.
    pub len: u32,
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
    /// Its copies, best first.
    pub replicas: Vec<ReplicaLocation>,
}

/// One copy of a chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaLocation {
    /// The node that holds it.
    pub node: NodeId,
    /// Its name for people.
    pub name: String,
    /// Where it listens; empty if unknown.
    pub address: String,
    /// The grant's signature for that node.
    pub mac: Mac,
    /// How the node is.
    pub node_state: NodeState,
    /// How the copy is.
    pub copy: CopyState,
}

/// How one copy of a chunk is, as far as the coordinator knows. What it is worth depends on its node's state too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CopyState {
    /// A receipt or a later check says it is good.
    Good,
    /// Reported by a returning node, not checked since.
    Unverified,
    /// A mismatch was read twice.
    Corrupt,
    /// It was never acknowledged, or the node says it does not have it.
    Missing,
    /// Its node has been or will be told to delete it.
    Dropping,
}

impl CopyState {
    /// The one word for it in text, metrics and documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Unverified => "unverified",
            Self::Corrupt => "corrupt",
            Self::Missing => "missing",
            Self::Dropping => "dropping",
        }
    }
}

/// What a chunk is worth, from the states of its copies and of their nodes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ChunkHealth {
    /// As many good copies as asked for can be read now.
    Safe,
    /// It would be safe if the nodes that announced a short absence were back.
    Maintenance,
    /// It can be read; fewer good copies than asked for can.
    UnderReplicated,
    /// No copy can be read now; some are on nodes that may come back.
    Unreachable,
    /// No copy is known that may be good.
    Lost,
}

impl ChunkHealth {
    /// All of them, from the best to the worst.
    pub const ALL: [Self; 5] =
        [Self::Safe, Self::Maintenance, Self::UnderReplicated, Self::Unreachable, Self::Lost];

    /// The one word for it in text, metrics and documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Safe => "safe",
            Self::Maintenance => "maintenance",
            Self::UnderReplicated => "under_replicated",
            Self::Unreachable => "unreachable",
            Self::Lost => "lost",
        }
    }
}

/// Why chunks are where they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// The file that was asked about, as it is now.
    pub stat: FileStat,
    /// The chunks of this page.
    pub chunks: Vec<ChunkExplanation>,
    /// Where to continue; `None` = done.
    pub next: Option<u32>,
}

/// Why one chunk is where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkExplanation {
    /// Its place in the file.
    pub index: u32,
    /// Id of the chunk, as in logs and on disks.
    pub chunk: ChunkId,
    /// Which attempt was committed.
    pub generation: Generation,
    /// Bytes of the chunk.
    pub len: u32,
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
    /// Versions that hold it.
    pub references: u32,
    /// What it is worth now.
    pub health: ChunkHealth,
    /// Every copy that is known of, whatever it is worth.
    pub replicas: Vec<ReplicaLocation>,
    /// What placement thought of each node when it chose.
    pub reasons: Vec<PlacementReason>,
    /// When its nodes were chosen and it began to be written, by the wall clock, in milliseconds since 1970; `None` = before
    /// that was kept.
    pub placed_ms: Option<u64>,
    /// What became of its copies since, the oldest first.
    pub life: Vec<CopyEvent>,
    /// How much of it was let go to make room: what came before.
    pub life_forgotten: u32,
}

/// What placement thought of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementReason {
    /// The node that was thought of.
    pub node: NodeId,
    /// Its name for people.
    pub name: String,
    /// Whether it was chosen.
    pub chosen: bool,
    /// Stable word for the rule that decided (`chosen`, `down`, `full`, `excluded`, `zone`, `busier`, `enough`...).
    pub rule: String,
    /// The numbers behind it.
    pub detail: String,
}

/// A step of checking the metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FsckStep {
    /// Files looked at.
    pub files: u64,
    /// Directories looked at.
    pub directories: u64,
    /// Chunks looked at.
    pub chunks: u64,
    /// Copies looked at.
    pub copies: u64,
    /// What this step found wrong.
    pub problems: Vec<FsckProblem>,
    /// Where to continue; `None` = done.
    pub next: Option<Vec<u8>>,
}

/// What kind of thing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FsckKind {
    /// No copy of a chunk is known that may be good.
    ChunkLost,
    /// No copy of a chunk can be read now; some are on nodes that may come back.
    ChunkUnreachable,
    /// Fewer good copies than asked for.
    UnderReplicated,
    /// A copy that should be there is not.
    CopyMissing,
    /// A copy is bad.
    CopyCorrupt,
    /// A node holds a chunk that nothing refers to.
    Orphan,
    /// The tables contradict each other.
    Metadata,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FsckProblem {
    /// The rule that is broken.
    pub kind: FsckKind,
    /// The file, if it has a path.
    pub path: Option<DfsPath>,
    /// The chunk, if the problem is of one.
    pub chunk: Option<ChunkId>,
    /// The node, if the problem is of what one holds.
    pub node: Option<NodeId>,
    /// What was found, in a sentence for people.
    pub detail: String,
}
