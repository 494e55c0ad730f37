//! The namespace, upload sessions, and where the chunks of a file are.
//!
//! An upload is a *metadata session*:
//!
//! ```text
//! OpenUpload -> AllocateChunks -> (bytes to datanodes) -> RecordChunks -> ... -> CommitUpload
//!      |              (the first may ride in OpenUpload, the last record in CommitUpload)   |
//!      +--- lease runs out, or AbortUpload: nothing was ever visible                        +-> one atomic commit
//! ```
//!
//! Every mutation carries its operation id in the request head: 48 bits of the coordinator's time in milliseconds (as
//! [`crate::handshake::Welcome`] told it, counted on since), then 80 random bits. Repeating it gives the first outcome for as
//! long as that is remembered, and `StaleOperation` after; an id is never done twice. The id of `OpenUpload` is also
//! that of the session.

use serde::{Deserialize, Serialize};

use crate::auth::Receipt;
use crate::id::{Generation, InodeId, NodeId, SessionId, VersionId};
use crate::path::DfsPath;

mod answer;
mod life;
mod resume;

pub use answer::*;
pub use life::*;
pub use resume::*;

/// What a client asks of the coordinator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetadataRequest {
    /// Make a directory.
    Mkdir(Mkdir),
    /// Attributes of a path.
    Stat(PathOnly),
    /// A page of a directory.
    List(List),
    /// Move a file or directory.
    Rename(Rename),
    /// Move a file or directory to the trash.
    Delete(Delete),
    /// A page of the trash.
    TrashList(TrashList),
    /// Bring something back from the trash.
    Undelete(Undelete),
    /// Drop something from the trash now.
    TrashPurge(TrashPurge),
    /// A bounded step of counting what a tree holds.
    DiskUsage(DiskUsage),
    /// Begin a file.
    OpenUpload(OpenUpload),
    /// Ask where to put chunks.
    AllocateChunks(AllocateChunks),
    /// Say that chunks are durable.
    RecordChunks(RecordChunks),
    /// Make the file visible.
    CommitUpload(CommitUpload),
    /// Give the upload up.
    AbortUpload(SessionOnly),
    /// Keep the upload's lease.
    RenewSession(SessionOnly),
    /// Where the chunks of a version are, a page at a time; holds a read lease.
    OpenRead(OpenRead),
    /// Why each chunk of a file is where it is.
    Explain(Explain),
    /// A bounded step of checking the metadata.
    Fsck(Fsck),
    /// Begin a copy of a file that shares its chunks.
    OpenCopy(OpenCopy),
    /// A bounded step of a copy; repeated until it has all chunks, then committed like any upload.
    CopyChunks(SessionOnly),
    /// The uploads to a path that can be gone on with.
    FindUploads(PathOnly),
    /// A page of an upload's chunks: what is durable, and what is not yet.
    UploadedChunks(UploadedChunks),
}

impl MetadataRequest {
    /// A short name for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Mkdir(_) => "metadata.mkdir",
            Self::Stat(_) => "metadata.stat",
            Self::List(_) => "metadata.list",
            Self::Rename(_) => "metadata.rename",
            Self::Delete(_) => "metadata.delete",
            Self::TrashList(_) => "metadata.trash_list",
            Self::Undelete(_) => "metadata.undelete",
            Self::TrashPurge(_) => "metadata.trash_purge",
            Self::DiskUsage(_) => "metadata.disk_usage",
            Self::OpenUpload(_) => "metadata.open_upload",
            Self::AllocateChunks(_) => "metadata.allocate_chunks",
            Self::RecordChunks(_) => "metadata.record_chunks",
            Self::CommitUpload(_) => "metadata.commit_upload",
            Self::AbortUpload(_) => "metadata.abort_upload",
            Self::RenewSession(_) => "metadata.renew_session",
            Self::OpenRead(_) => "metadata.open_read",
            Self::Explain(_) => "metadata.explain",
            Self::Fsck(_) => "metadata.fsck",
            Self::OpenCopy(_) => "metadata.open_copy",
            Self::CopyChunks(_) => "metadata.copy_chunks",
            Self::FindUploads(_) => "metadata.find_uploads",
            Self::UploadedChunks(_) => "metadata.uploaded_chunks",
        }
    }

    /// Whether it changes anything (and so needs an operation id and the writer).
    pub fn is_mutation(&self) -> bool {
        !matches!(
            self,
            Self::Stat(_)
                | Self::List(_)
                | Self::TrashList(_)
                | Self::DiskUsage(_)
                | Self::OpenRead(_)
                | Self::Explain(_)
                | Self::Fsck(_)
                | Self::FindUploads(_)
                | Self::UploadedChunks(_)
        )
    }
}

/// A request that is about a path and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathOnly {
    /// What it is about: a file or a directory.
    pub path: DfsPath,
}

/// A request that is about an upload session and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionOnly {
    /// What it is about: as `OpenUpload` or `OpenCopy` named it.
    pub session: SessionId,
}

/// Make a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mkdir {
    /// The directory to make.
    pub path: DfsPath,
    /// Make missing parents too, and accept a directory that exists (`mkdir -p`).
    pub parents: bool,
}

/// A page of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// The directory (or a file: lists itself).
    pub path: DfsPath,
    /// Descend, depth first, a directory before what it holds.
    pub recursive: bool,
    /// Continue after the entry with this path, as given by the page before.
    pub after: Option<DfsPath>,
    /// Most entries wanted; 0 = as many as fit.
    pub limit: u32,
}

/// Move a file or directory; one atomic commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rename {
    /// The file or directory to move, with all that it holds.
    pub from: DfsPath,
    /// Its new path, exactly (never "into it").
    pub to: DfsPath,
    /// Replace a file that is there (a directory is replaced only if it is empty).
    pub replace: bool,
}

/// Move a file or directory to the trash; one atomic commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delete {
    /// The file or directory to delete.
    pub path: DfsPath,
    /// Allow a directory that is not empty.
    pub recursive: bool,
    /// Give its space back as soon as read leases allow, without the time in the trash.
    pub skip_trash: bool,
    /// Only if this is its current version.
    pub if_match: Option<VersionId>,
}

/// A page of the trash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrashList {
    /// Continue after this entry.
    pub after: Option<InodeId>,
    /// Most entries wanted.
    pub limit: u32,
}

/// Bring something back from the trash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undelete {
    /// What was deleted, by the path it had (the latest deletion counts) ...
    pub path: Option<DfsPath>,
    /// ... or by the inode that `trash` shows.
    pub inode: Option<InodeId>,
    /// Where to put it; `None` = where it was.
    pub to: Option<DfsPath>,
}

/// Drop something from the trash now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrashPurge {
    /// The entry; `None` = everything in the trash.
    pub inode: Option<InodeId>,
}

/// A bounded step of counting what a tree holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskUsage {
    /// The root of the tree: a directory, or a single file.
    pub path: DfsPath,
    /// Continue after this path, as given by the step before.
    pub after: Option<DfsPath>,
}

/// The condition of a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Precondition {
    /// Create or replace.
    Any,
    /// Only if nothing is there.
    Absent,
    /// Only if this version is there.
    Match(VersionId),
}

/// Begin a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenUpload {
    /// Where it will be visible.
    pub path: DfsPath,
    /// Bytes of each chunk but the last; 0 = the cluster's default.
    pub chunk_size: u32,
    /// Copies; 0 = the cluster's default.
    pub replication: u8,
    /// When it may be committed.
    pub precondition: Precondition,
    /// Make missing parent directories.
    pub parents: bool,
    /// Expected size, if known: refuses early what has no room.
    pub size_hint: Option<u64>,
    /// Chunks to allocate at once, from index 0.
    pub allocate: u32,
    /// Modification time to keep, nanoseconds since 1970 (negative before); `None` = the time of the commit.
    pub mtime_ns: Option<i64>,
    /// Let the upload be found by its path, with this digest of where the bytes come from, to go on with it after an
    /// interruption: [`MetadataRequest::FindUploads`].
    pub resume: Option<u128>,
}

/// Ask where to put chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocateChunks {
    /// The open upload that the chunks belong to.
    pub session: SessionId,
    /// Place in the file of the first chunk wanted.
    pub first: u32,
    /// How many, up to [`crate::limits::CHUNKS_PER_REQUEST_MAX`].
    pub count: u32,
    /// The generation of these chunks that is given up; 0 = they were never allocated. A chunk of exactly this generation
    /// gets the next one, a chunk of a later one keeps it: so a repeat, however late, allocates nothing.
    pub above: Generation,
    /// Nodes that just failed this client.
    pub exclude: Vec<NodeId>,
}

/// A chunk that is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredChunk {
    /// Its place in the file.
    pub index: u32,
    /// What the nodes say.
    pub receipts: Vec<Receipt>,
}

/// Say that chunks are durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordChunks {
    /// The open upload that the chunks belong to.
    pub session: SessionId,
    /// The chunks, up to [`crate::limits::CHUNKS_PER_REQUEST_MAX`].
    pub chunks: Vec<StoredChunk>,
}

/// Make the file visible: one atomic commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitUpload {
    /// The open upload that ends here.
    pub session: SessionId,
    /// The last chunks, if not recorded before.
    pub chunks: Vec<StoredChunk>,
    /// Bytes of the whole file.
    pub size: u64,
    /// Chunks of the whole file.
    pub chunk_count: u32,
    /// SHA-256 of the whole file, to be kept with it. Nobody but the sender checks it.
    pub sha256: Option<[u8; 32]>,
}

/// Where the chunks of a version are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRead {
    /// The file to read.
    pub path: DfsPath,
    /// The version to keep reading, even if it was replaced or deleted since; `None` = the current one.
    pub version: Option<PinnedVersion>,
    /// First chunk of the page.
    pub first: u32,
    /// Most chunks of the page; 0 = as many as fit.
    pub count: u32,
}

/// A version that a reader opened before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedVersion {
    /// The file's inode.
    pub inode: InodeId,
    /// The version of its contents that was opened.
    pub version: VersionId,
}

/// Why each chunk of a file is where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explain {
    /// The file whose chunks are explained.
    pub path: DfsPath,
    /// First chunk of the page.
    pub first: u32,
}

/// A bounded step of checking the metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fsck {
    /// Opaque cursor of the step before.
    pub cursor: Option<Vec<u8>>,
}

/// Begin a copy of a file: a new version that shares the chunks of the one that is at `from` now. No byte moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenCopy {
    /// The file to copy.
    pub from: DfsPath,
    /// Where its copy will be visible.
    pub to: DfsPath,
    /// Only if this is the version at `from`.
    pub if_match: Option<VersionId>,
    /// When the copy may be committed.
    pub precondition: Precondition,
    /// Make missing parent directories.
    pub parents: bool,
    /// Keep the modification time.
    pub preserve: bool,
}

/// A page of an upload's chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadedChunks {
    /// The open upload that the chunks belong to.
    pub session: SessionId,
    /// First place of the page.
    pub first: u32,
}
