//! What the actors may ask of the chunks on a node's disk, and what they may rely on.
//!
//! ```text
//!            create            write*           commit                 quarantine        purge_quarantine
//!  (absent) -------> temporary ------> temporary ------> COMMITTED ---------------> quarantined -------> (gone)
//!                        |                 |             immutable      (moved aside, never served)
//!                        +---- drop -------+--> (absent)     |
//!                                                            | open, read, verify
//!                                              Verified <-> Unverified -> Corrupt (a mismatch read twice)
//! ```
//!
//! Invariants an implementation keeps:
//! - A chunk that [`ChunkWriter::commit`] reported durable survives a power cut at any later instant; one that was
//!   not committed is gone after a restart. There is nothing in between.
//! - A committed chunk never changes. Another attempt at its bytes is another [`Generation`], stored beside it.
//! - [`ChunkReader::read`] returns bytes whose checksums were just verified, or an error; never other bytes.
//! - A disk that failed an fsync or a write takes no further write until the process starts anew; reads are still tried.
//! - No work is torn by dropping a future: what was handed to an I/O thread is finished or undone there.
//! - Memory, open files and queues are bounded by the implementation's configuration, whatever is asked.
//!
//! The futures are `'static` where they can be, so that an actor may spawn them; none of them blocks its thread.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dfs_wire::id::{ChunkId, ChunkKey, ClusterId, Generation, InodeId, NodeId};
use dfs_wire::message::facts::ChunkFacts;
use dfs_wire::status::{Status, StatusCode};
use futures_util::future::BoxFuture;

/// Longest range of one [`ChunkReader::read`].
pub const READ_BYTES_MAX: u32 = 1024 * 1024;

/// Everything a chunk says of itself that is known before its bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkIdentity {
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// The chunk's id, the same on every replica.
    pub chunk: ChunkId,
    /// Which attempt at the chunk's bytes.
    pub generation: Generation,
    /// The file it is a part of.
    pub file: InodeId,
    /// Which part: the first chunk of a file is 0.
    pub index: u32,
}

impl ChunkIdentity {
    /// The part that names the bytes.
    pub const fn key(&self) -> ChunkKey {
        ChunkKey { chunk: self.chunk, generation: self.generation }
    }
}

/// What is known of a chunk once all its bytes were seen. The caller has verified the hash, or trusts who did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkSeal {
    /// Length in bytes.
    pub len: u32,
    /// SHA-256 of all the bytes.
    pub sha256: [u8; 32],
}

/// What this node knows of the bytes of a committed replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplicaState {
    /// Committed by this run of the process, or wholly re-read by it since.
    Verified,
    /// Found at start with a sound footer; the data has not been wholly re-read since.
    Unverified,
    /// A checksum did not match, twice. Not served; kept until it is quarantined or replaced by a new commit.
    Corrupt,
}

/// A committed replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkInfo {
    /// Who it is.
    pub identity: ChunkIdentity,
    /// Length in bytes.
    pub len: u32,
    /// SHA-256 of all the bytes, as sealed.
    pub sha256: [u8; 32],
    /// What is known of its bytes.
    pub state: ReplicaState,
}

impl ChunkInfo {
    /// The part that names the bytes.
    pub const fn key(&self) -> ChunkKey {
        self.identity.key()
    }

    /// The seal it was committed with.
    pub const fn seal(&self) -> ChunkSeal {
        ChunkSeal { len: self.len, sha256: self.sha256 }
    }
}

/// Whether a disk takes new chunks. Computed from its latest numbers; only `ReadOnly` and `Failed` last until a restart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum DiskState {
    /// New chunks are taken.
    #[default]
    Writable,
    /// Free space less what is promised is below the reserve. Reads and deletes work.
    Full,
    /// The file system refuses writes. Reads work.
    ReadOnly(String),
    /// An operation has not ended for a long time: the disk does not answer. Until it does, expect nothing of it.
    Stalled(String),
    /// A write or an fsync failed: nothing is written any more, reads are tried.
    Failed(String),
}

/// Numbers and gauges of one disk, cheap to take. Counters are since the start of the process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoreStats {
    /// Which disk: its data directory.
    pub disk: String,
    /// Whether new chunks are taken.
    pub state: DiskState,
    /// Size of the file system.
    pub capacity_bytes: u64,
    /// Free to this process, as last measured; the reserve is part of it.
    pub available_bytes: u64,
    /// Kept free: new chunks are refused when they would eat into it.
    pub reserve_bytes: u64,
    /// Promised to open writers and not yet allocated.
    pub promised_bytes: u64,
    /// Which file system it is, among all hosts; 0 if that is not known.
    pub file_system: u128,
    /// Payload of committed chunks.
    pub used_bytes: u64,
    /// What their files take besides: footers, and what fills the last page.
    pub footer_bytes: u64,
    /// Committed chunks, corrupt ones included.
    pub chunks: u64,
    /// Committed chunks known to be corrupt.
    pub corrupt: u64,
    /// Open writers, each with a temporary file.
    pub temporary: u64,
    /// Files in quarantine.
    pub quarantined: u64,
    /// Bytes of the files in quarantine.
    pub quarantined_bytes: u64,
    /// Files in quarantine that were found damaged at a start. Nothing purges them: an operator does.
    pub damaged: u64,
    /// Frames and jobs that wait for an I/O thread or are on one.
    pub queue_depth: u64,
    /// The most that [`Self::queue_depth`] can be.
    pub queue_depth_max: u64,
    /// Milliseconds that the oldest operation under way has taken so far.
    pub oldest_job_ms: u64,
    /// Failed reads, checksum mismatches included.
    pub read_errors: u64,
    /// Failed writes and fsyncs.
    pub write_errors: u64,
    /// Payload bytes written.
    pub written_bytes: u64,
    /// Payload bytes read.
    pub read_bytes: u64,
    /// fsync and fdatasync calls.
    pub fsyncs: u64,
    /// Microseconds spent in them, summed.
    pub fsync_micros: u64,
}

/// What a round of purging came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Purged {
    /// Files that are gone for good.
    pub files: u64,
    /// Bytes of these files.
    pub bytes: u64,
    /// Time was up, and there is more.
    pub more: bool,
}

/// Why the store did not do as asked. Names the disk, the chunk and the numbers; [`Self::code`] is stable.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No such committed chunk here.
    #[error("chunk {key} is not on disk {disk}")]
    NotFound {
        /// Name of the data directory.
        disk: Arc<str>,
        /// What was asked for.
        key: ChunkKey,
    },
    /// These bytes are already committed here. If the seal is the wanted one, that is success; but before vouching
    /// for a replica that is `Unverified`, [`verify`](ChunkStore::verify) it.
    #[error("chunk {} is already committed ({} bytes)", .0.key(), .0.len)]
    AlreadyCommitted(Box<ChunkInfo>),
    /// A checksum did not match in two independent reads. Read another replica; this one needs repair.
    #[error("chunk {key} on disk {disk} is corrupt: {detail}")]
    Corrupt {
        /// Name of the data directory.
        disk: Arc<str>,
        /// The chunk that was read.
        key: ChunkKey,
        /// What did not match, and where.
        detail: String,
    },
    /// The chunk would eat into the reserve, or the file system itself is full. Free space or use another node.
    #[error("disk {disk} is full: {needed} bytes needed, {available} available, {reserve} kept in reserve")]
    NoSpace {
        /// Name of the data directory.
        disk: Arc<str>,
        /// Bytes asked for.
        needed: u64,
        /// Bytes free and promised to nobody.
        available: u64,
        /// Bytes kept free.
        reserve: u64,
    },
    /// The disk takes no writes any more: it failed one, or is read-only. Replace it, or restart after a repair.
    #[error("disk {disk} takes no writes: {reason}")]
    DiskFailed {
        /// Name of the data directory.
        disk: Arc<str>,
        /// The first failure.
        reason: String,
    },
    /// The operating system refused; nothing is known about the chunk's bytes.
    #[error("{operation} on disk {disk} failed: {source}")]
    Io {
        /// Name of the data directory.
        disk: Arc<str>,
        /// What was tried, with the chunk's name where there is one.
        operation: String,
        /// What it said.
        source: Arc<io::Error>,
    },
    /// A bound is reached (writers, open files, memory). Try again later or elsewhere.
    #[error("disk {disk} is busy: {what}")]
    Busy {
        /// Name of the data directory.
        disk: Arc<str>,
        /// The bound that is reached.
        what: String,
    },
    /// The store is shutting down.
    #[error("the chunk store of disk {disk} is closed")]
    Closed {
        /// Name of the data directory.
        disk: Arc<str>,
    },
    /// The request contradicts itself or the interface: a bug of the caller or of its peer.
    #[error("invalid request for chunk {key} on disk {disk}: {reason}")]
    Invalid {
        /// Name of the data directory.
        disk: Arc<str>,
        /// The chunk that was asked for.
        key: ChunkKey,
        /// What is wrong with it.
        reason: String,
    },
}

impl StoreError {
    /// A stable, machine-readable name of the kind.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "chunk_not_found",
            Self::AlreadyCommitted(_) => "chunk_already_committed",
            Self::Corrupt { .. } => "chunk_corrupt",
            Self::NoSpace { .. } => "disk_full",
            Self::DiskFailed { .. } => "disk_failed",
            Self::Io { .. } => "disk_io",
            Self::Busy { .. } => "disk_busy",
            Self::Closed { .. } => "store_closed",
            Self::Invalid { .. } => "chunk_invalid",
        }
    }

    /// The failure as it travels from `node`, whose disk this is.
    pub fn status(&self, node: NodeId) -> Status {
        let code = match self {
            Self::NotFound { .. } => StatusCode::NotFound,
            Self::AlreadyCommitted(_) => StatusCode::ChunkExists,
            Self::Corrupt { .. } => StatusCode::Corrupt,
            Self::NoSpace { .. } => StatusCode::NoSpace,
            Self::DiskFailed { .. } | Self::Io { .. } => StatusCode::DiskFailed,
            Self::Busy { .. } => StatusCode::Busy,
            Self::Closed { .. } => StatusCode::Unavailable,
            Self::Invalid { .. } => StatusCode::InvalidArgument,
        };
        Status::new(code, self.to_string()).at_node(node)
    }
}

/// One disk full of chunks.
pub trait ChunkStore: Send + Sync + 'static {
    /// Opens a temporary file for a chunk of about `len_hint` bytes (0 = unknown) and promises it the space.
    ///
    /// Several writers of one key may be open at once: the first to commit wins. A chunk known to be corrupt may
    /// be written again: the commit moves the corrupt file to quarantine.
    ///
    /// # Errors
    /// [`StoreError::AlreadyCommitted`] if this very chunk and generation is here and not known to be corrupt;
    /// `NoSpace`, `DiskFailed`, `Busy` (too many writers), `Closed`, `Io`, `Invalid` (another cluster, too long).
    ///
    /// Cancel safety: dropping the future leaves nothing behind.
    fn create(
        &self,
        identity: ChunkIdentity,
        len_hint: u32,
    ) -> BoxFuture<'static, Result<Box<dyn ChunkWriter>, StoreError>>;

    /// Opens a committed chunk for reading. The reader keeps working if the chunk is quarantined meanwhile.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt` (known to be), `Busy`, `Closed`, `Io`.
    fn open(&self, key: ChunkKey) -> BoxFuture<'static, Result<Arc<dyn ChunkReader>, StoreError>>;

    /// Takes chunks out of service and moves them aside, durably, before it answers. An unknown chunk is `Ok`.
    ///
    /// Works on a full disk. Once started it is finished even if the future is dropped.
    fn quarantine(&self, keys: Vec<ChunkKey>) -> BoxFuture<'static, Vec<(ChunkKey, Result<(), StoreError>)>>;

    /// Unlinks what has been in quarantine for longer than `older_than`, and may leave for another time what would have to
    /// be looked for. Ends after `within`, give or take a step.
    ///
    /// # Errors
    /// `DiskFailed`, `Closed`, `Io`; what was unlinked before the error stays so.
    fn purge_quarantine(
        &self,
        older_than: Duration,
        within: Duration,
    ) -> BoxFuture<'static, Result<Purged, StoreError>>;

    /// In how long the first and the last of what is in quarantine are old enough to be purged, if anything is there that
    /// ever will be. From memory.
    fn quarantine_ends(&self, _older_than: Duration) -> Option<(Duration, Duration)> {
        None
    }

    /// Committed chunks after `after`, in key order, at most `limit`. From memory.
    fn inventory(&self, after: Option<ChunkKey>, limit: usize) -> Vec<ChunkInfo>;

    /// The last of the committed chunks in key order. From memory.
    fn newest(&self) -> Option<ChunkKey>;

    /// Whether the chunk is in the inventory, good or bad. From memory.
    fn holds(&self, key: ChunkKey) -> bool {
        let before = match key.generation.0.checked_sub(1) {
            Some(generation) => ChunkKey { generation: Generation(generation), ..key },
            None => match key.chunk.0.checked_sub(1) {
                Some(chunk) => ChunkKey { chunk: ChunkId(chunk), generation: Generation(u32::MAX) },
                None => return self.inventory(None, 1).first().is_some_and(|info| info.key() == key),
            },
        };
        self.inventory(Some(before), 1).first().is_some_and(|info| info.key() == key)
    }

    /// Re-reads a whole chunk from the disk, past the page cache where possible: every CRC and the SHA-256.
    ///
    /// A success makes the replica `Verified`. It becomes `Corrupt` only if the same mismatch is seen in a second read.
    ///
    /// # Errors
    /// `Corrupt`; `NotFound`; `Io`, `Busy` and `Closed` say nothing about the bytes.
    fn verify(&self, key: ChunkKey) -> BoxFuture<'static, Result<ChunkInfo, StoreError>>;

    /// The numbers now. Never blocks: free space is as last measured, and being measured again when this returns.
    fn stats(&self) -> StoreStats;

    /// Takes no more requests, finishes what was accepted, stops the I/O threads, gives the data directory up.
    /// Repeatable. Cancel safety: the work starts with the call and goes on without the future.
    fn close(&self) -> BoxFuture<'static, ()>;
}

/// Writes one chunk. Dropping it without a commit removes the temporary file, on an I/O thread.
pub trait ChunkWriter: Send {
    /// Queues the next frame: in order, each exactly [`DATA_FRAME_BYTES`](dfs_wire::limits::DATA_FRAME_BYTES) but
    /// the last, with the CRC32 of each of its blocks of [`BLOCK_BYTES`](dfs_wire::limits::BLOCK_BYTES).
    ///
    /// Waits for room in the disk's queue, not for the disk. The frame is dropped as soon as it is written, which
    /// gives its memory and the sender's credit back. Memory aligned to 4 KiB is written without a copy. The CRCs
    /// are stored as given: the caller has checked them.
    ///
    /// # Errors
    /// A failure of the disk surfaces here at a later frame, or in the commit. `Invalid` for a frame out of shape.
    ///
    /// Cancel safety: if the future is dropped before it is done, the frame was not taken and may be written again.
    fn write(&mut self, frame: Bytes, block_crcs: &[u32]) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Makes the chunk durable under its name: footer, fdatasync, rename, directory fsync. Returns after all that. The facts
    /// are kept in the footer as they are given, but for a path that does not fit.
    ///
    /// The work starts with the call, not with the first poll.
    ///
    /// # Errors
    /// `AlreadyCommitted` if another writer of the same key came first; `Invalid` if `seal.len` is not what was
    /// written, or the facts cannot be those of so many bytes; `NoSpace`, `DiskFailed`, `Io`, `Closed`. After any error nothing is left but, at worst, an orphan
    /// that the inventory reports.
    ///
    /// Cancel safety: dropping the future tears nothing; the chunk ends up committed or absent.
    fn commit(
        self: Box<Self>,
        seal: ChunkSeal,
        facts: ChunkFacts,
    ) -> BoxFuture<'static, Result<(), StoreError>>;
}

/// Bytes of a chunk that were verified, with what a frame's checksum is combined from.
#[derive(Clone)]
pub struct Verified {
    /// The bytes asked for, all of them checked.
    pub bytes: Bytes,
    /// CRC32 of each block of [`BLOCK_BYTES`](dfs_wire::limits::BLOCK_BYTES) of them, from the first on; the last may be
    /// shorter.
    pub block_crcs: Vec<u32>,
}

// Payload is never printed, nor looked at.
impl std::fmt::Debug for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Verified({} bytes)", self.bytes.len())
    }
}

/// Reads one committed chunk.
pub trait ChunkReader: Send + Sync {
    /// What it is, as of the opening.
    fn info(&self) -> &ChunkInfo;

    /// What it says of itself and its file.
    fn facts(&self) -> &ChunkFacts;

    /// Reads `len` bytes (at most [`READ_BYTES_MAX`]) at `offset`. Every block touched was verified just before.
    ///
    /// The bytes may be a mapping of the file: they are for a socket, and no program may look at them again, since a device
    /// that fails meanwhile would end the process. They stay valid for as long as they are held, so hold them briefly.
    ///
    /// # Errors
    /// `Corrupt` after a mismatch in two reads, which also marks the replica; `Invalid` for a range outside the
    /// chunk; `Io`, `Closed`.
    fn read(&self, offset: u32, len: u32) -> BoxFuture<'static, Result<Verified, StoreError>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_disk_chunk_and_numbers() {
        let key = ChunkKey { chunk: ChunkId(0xabc), generation: Generation(7) };
        let disk: Arc<str> = Arc::from("/data/a");
        let full = StoreError::NoSpace { disk: disk.clone(), needed: 3, available: 2, reserve: 1 };
        assert_eq!(full.to_string(), "disk /data/a is full: 3 bytes needed, 2 available, 1 kept in reserve");
        assert_eq!(full.code(), "disk_full");
        let lost = StoreError::NotFound { disk, key };
        assert_eq!(lost.to_string(), format!("chunk {:032x}.7 is not on disk /data/a", 0xabc));
    }

    #[test]
    fn keys_order_by_chunk_then_generation() {
        let key = |chunk, generation| ChunkKey { chunk: ChunkId(chunk), generation: Generation(generation) };
        assert!(key(1, 9) < key(2, 0) && key(2, 0) < key(2, 1));
    }

    #[test]
    fn the_traits_are_object_safe() {
        fn takes(
            _: Option<Arc<dyn ChunkStore>>,
            _: Option<Box<dyn ChunkWriter>>,
            _: Option<Arc<dyn ChunkReader>>,
        ) {
        }
        takes(None, None, None);
    }
}
