//! What the operations can be told, and what they tell.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use dfs_wire::id::{ChunkId, InodeId, NodeId, OpId, VersionId};
use dfs_wire::message::metadata::{FileStat, PinnedVersion, Precondition};
use dfs_wire::path::DfsPath;
use tokio::io::AsyncRead;

use crate::error::Error;
use crate::progress::ProgressFn;

/// Where the bytes of a put come from.
pub enum PutSource {
    /// A regular file of this machine: read in parallel, and read again when a chunk has to be sent again. A pipe
    /// or device named here is read as a stream.
    Path(PathBuf),
    /// Bytes in memory: never copied.
    Bytes(Bytes),
    /// A stream of unknown length. Each chunk is kept in memory until it is durable.
    Reader(Box<dyn AsyncRead + Send + Unpin>),
}

impl PutSource {
    /// Reads the file (or pipe) at `path`.
    pub fn path(path: impl Into<PathBuf>) -> Self {
        Self::Path(path.into())
    }

    /// Reads `reader` to its end.
    pub fn reader(reader: impl AsyncRead + Send + Unpin + 'static) -> Self {
        Self::Reader(Box::new(reader))
    }
}

impl From<Bytes> for PutSource {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Vec<u8>> for PutSource {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<&Path> for PutSource {
    fn from(path: &Path) -> Self {
        Self::Path(path.to_owned())
    }
}

impl fmt::Debug for PutSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "Path({})", path.display()),
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::Reader(_) => f.write_str("Reader"),
        }
    }
}

/// How to put a file.
#[derive(Clone)]
#[non_exhaustive]
pub struct PutOptions {
    /// Bytes of each chunk but the last, 64 KiB to 64 MiB; `None` = the cluster's default.
    pub chunk_size: Option<u32>,
    /// Copies, 1 to 7; `None` = the cluster's default.
    pub replication: Option<u8>,
    /// When the file may become visible.
    pub precondition: Precondition,
    /// Make missing parent directories.
    pub parents: bool,
    /// Store what was read even if a file changed while it was read; [`PutOutcome::source_changed`] then says so. What is
    /// stored may be no state that the file ever had.
    pub allow_changing: bool,
    /// Modification time to keep, nanoseconds since 1970 (negative before); `None` = the time of the commit.
    pub mtime_ns: Option<i64>,
    /// Keep the SHA-256 of the whole with the file, for [`crate::Client::checksum`].
    pub checksum: bool,
    /// Go on with a put of the same file to the same path, with the same options, that was interrupted: what it stored is
    /// proved by hash and not sent again. If this one fails or is dropped, what it stored is kept for the next, for as long
    /// as the lease of an upload lasts. What is no file, or an empty one, is put whole.
    pub resume: bool,
    /// Called while bytes move.
    pub progress: Option<ProgressFn>,
    /// The identity of this put; `None` = a new one. After [`crate::ErrorKind::OutcomeUnknown`], putting the same
    /// bytes with the error's operation id within 24 h cannot happen twice.
    pub op: Option<OpId>,
}

impl Default for PutOptions {
    fn default() -> Self {
        Self {
            chunk_size: None,
            replication: None,
            precondition: Precondition::Any,
            parents: false,
            allow_changing: false,
            mtime_ns: None,
            checksum: false,
            resume: false,
            progress: None,
            op: None,
        }
    }
}

impl fmt::Debug for PutOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PutOptions")
            .field("chunk_size", &self.chunk_size)
            .field("replication", &self.replication)
            .field("precondition", &self.precondition)
            .field("parents", &self.parents)
            .field("allow_changing", &self.allow_changing)
            .field("mtime_ns", &self.mtime_ns)
            .field("checksum", &self.checksum)
            .field("resume", &self.resume)
            .field("op", &self.op)
            .finish_non_exhaustive()
    }
}

/// A file was put: it is visible, and every byte is durable.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PutOutcome {
    /// The file, as of the version that was committed.
    pub stat: FileStat,
    /// Chunks with fewer durable copies than asked for; the coordinator remembers that copies are missing.
    pub degraded: Vec<DegradedChunk>,
    /// The file that was read changed meanwhile, which was allowed: how.
    pub source_changed: Option<String>,
    /// Steps that were tried again.
    pub retries: u64,
    /// Times that other nodes had to take over.
    pub failovers: u64,
    /// Bytes of them that an earlier put had stored (proved again now).
    pub resumed_bytes: u64,
}

/// How to copy a file within the cluster.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CopyOptions {
    /// Only if this is the version that is copied.
    pub if_match: Option<VersionId>,
    /// When the copy may become visible.
    pub precondition: Precondition,
    /// Make missing parent directories.
    pub parents: bool,
    /// Keep the modification time.
    pub preserve: bool,
    /// The identity of this copy; `None` = a new one.
    pub op: Option<OpId>,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self { if_match: None, precondition: Precondition::Any, parents: false, preserve: false, op: None }
    }
}

/// The SHA-256 of a whole file.
#[derive(Debug, Clone)]
pub struct Checksum {
    /// The file, as of the version it is of.
    pub stat: FileStat,
    /// Of the whole file's bytes.
    pub sha256: [u8; 32],
    /// It was kept with the file when it was put, and is not read from it now.
    pub kept: bool,
}

/// A chunk with fewer durable copies than asked for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DegradedChunk {
    /// Its place in the file.
    pub index: u32,
    /// Its id in the cluster.
    pub chunk: ChunkId,
    /// Copies that are durable now.
    pub copies: usize,
    /// Copies asked for.
    pub wanted: usize,
    /// Nodes that failed, and why.
    pub failed: Vec<(NodeId, String)>,
}

/// How to get a file.
#[derive(Clone)]
#[non_exhaustive]
pub struct GetOptions {
    /// Only these bytes; the end is cut at the end of the file. `None` = the whole file.
    pub range: Option<Range<u64>>,
    /// Go on where an interrupted get of the same version to the same path ended, and keep what was verified if this
    /// one is interrupted, too. A file of the right length that is there already is checked, and fetched only if it
    /// is another.
    pub resume: bool,
    /// Keep what was verified when the get to a path is interrupted or fails, for a later one with `resume`. It lies in a
    /// file beside the path whose name is random.
    pub keep_partial: bool,
    /// Replace a file that is there already (only for a get to a path). The new one has its permissions, and its owner
    /// and group where this process may give files away.
    pub overwrite: bool,
    /// The version to read, even if it was replaced or deleted since; `None` = the current one.
    pub version: Option<PinnedVersion>,
    /// Called while bytes move.
    pub progress: Option<ProgressFn>,
}

impl Default for GetOptions {
    fn default() -> Self {
        Self {
            range: None,
            resume: false,
            keep_partial: false,
            overwrite: true,
            version: None,
            progress: None,
        }
    }
}

impl fmt::Debug for GetOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GetOptions")
            .field("range", &self.range)
            .field("resume", &self.resume)
            .field("keep_partial", &self.keep_partial)
            .field("overwrite", &self.overwrite)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// A file, or a range of it, was read and verified.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GetOutcome {
    /// The file, as of the version read.
    pub stat: FileStat,
    /// Bytes that were delivered, all of them verified.
    pub bytes: u64,
    /// Bytes of them that were there already from an earlier get (checked again now).
    pub resumed_bytes: u64,
    /// Copies that turned out bad; others were read instead.
    pub bad_copies: Vec<BadCopy>,
    /// Steps that were tried again.
    pub retries: u64,
    /// Times that another replica had to take over.
    pub failovers: u64,
}

/// A copy of a chunk that could not be read as what it should be.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BadCopy {
    /// The chunk's place in the file.
    pub index: u32,
    /// The chunk's id in the cluster.
    pub chunk: ChunkId,
    /// The node that holds it.
    pub node: NodeId,
    /// What was wrong.
    pub error: Error,
}

/// How to make a directory.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct MkdirOptions {
    /// Make missing parents too, and accept a directory that exists.
    pub parents: bool,
    /// The identity of this mutation; `None` = a new one.
    pub op: Option<OpId>,
}

/// How to rename.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RenameOptions {
    /// Replace a file, or an empty directory, that is there.
    pub replace: bool,
    /// The identity of this mutation; `None` = a new one.
    pub op: Option<OpId>,
}

/// How to delete.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct DeleteOptions {
    /// Allow a directory that is not empty.
    pub recursive: bool,
    /// Give the space back at once instead of after the time in the trash.
    pub skip_trash: bool,
    /// Only if this is the current version.
    pub if_match: Option<VersionId>,
    /// The identity of this mutation; `None` = a new one.
    pub op: Option<OpId>,
}

/// What to bring back from the trash.
#[derive(Debug, Clone)]
pub enum TrashTarget {
    /// The latest deletion of this path.
    Path(DfsPath),
    /// The entry whose root has this inode, as the list of the trash says.
    Inode(InodeId),
}

/// What a tree holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Files in it.
    pub files: u64,
    /// Directories in it, as the coordinator counts them.
    pub directories: u64,
    /// Bytes, counted once.
    pub bytes: u64,
    /// The same times the copies asked for.
    pub raw_bytes: u64,
}

/// What reading every copy of a file found.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct VerifyReport {
    /// The file, as of the version that was read.
    pub stat: FileStat,
    /// One for each chunk, in order.
    pub chunks: Vec<ChunkCheck>,
}

impl VerifyReport {
    /// Whether every chunk has as many good copies as the file asks for, and no bad one.
    pub fn is_clean(&self) -> bool {
        self.chunks.iter().all(|c| {
            c.good() >= usize::from(self.stat.replication) && c.copies.iter().all(|r| r.result.is_ok())
        })
    }

    /// Good copies of the chunk that has the fewest; `None` for an empty file.
    pub fn fewest_good(&self) -> Option<usize> {
        self.chunks.iter().map(ChunkCheck::good).min()
    }
}

/// What reading every copy of one chunk found.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ChunkCheck {
    /// Its place in the file.
    pub index: u32,
    /// Its id in the cluster.
    pub chunk: ChunkId,
    /// Bytes of the chunk.
    pub len: u32,
    /// What its SHA-256 must be.
    pub sha256: [u8; 32],
    /// One for each copy.
    pub copies: Vec<CopyCheck>,
}

impl ChunkCheck {
    /// Copies that were read in full and match.
    pub fn good(&self) -> usize {
        self.copies.iter().filter(|c| c.result.is_ok()).count()
    }
}

/// What reading one copy found.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CopyCheck {
    /// The node that holds it.
    pub node: NodeId,
    /// Its name for people.
    pub name: String,
    /// Where it listens.
    pub address: String,
    /// `Ok` if every byte was read and the SHA-256 matches.
    pub result: Result<(), Error>,
}
