//! The settings of one chunk store. Plain and typed: names, units and texts of the user's configuration are elsewhere.

use std::path::PathBuf;
use std::time::Duration;

/// Whether chunk files are written past the page cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DirectIo {
    /// O_DIRECT if a probe at start shows that the file system takes it.
    #[default]
    Auto,
    /// O_DIRECT, or the store does not open.
    On,
    /// Through the page cache.
    Off,
}

/// How chunks are read for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadMode {
    /// By pread into a reused buffer.
    #[default]
    Pread,
    /// By mapping the range. See `map.rs` for what that rests on, and why it is not the default.
    Mmap,
}

/// Settings of one disk's store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// The data directory.
    pub data_dir: PathBuf,
    /// I/O threads for writes, and as many again for reads, so that a read never waits behind an fsync. They
    /// mostly wait: 64 writers of 64 KiB chunks got 2,700 commits/s from 4, 4,100 from 8, 6,100 from 16. With 0 the
    /// disk itself runs every job (`DiskIo::run`): for a deterministic simulation, not for a real disk.
    pub io_threads: usize,
    /// Frames (of 256 KiB) and jobs that may wait for the threads of each kind.
    pub queue_depth: usize,
    /// Whether chunk files are written past the page cache.
    pub direct_io: DirectIo,
    /// How chunks are read for clients.
    pub read_mode: ReadMode,
    /// Free space that new chunks may not use. Never more than 5 % of the disk, whatever is set.
    pub reserve_bytes: u64,
    /// How long a finished file waits for others that are being synced, to share their directory fsync. A file
    /// that nobody follows does not wait.
    pub group_commit_delay: Duration,
    /// Committed files kept open for the next reader.
    pub open_files_max: usize,
    /// Writers open at once.
    pub open_writers_max: usize,
}

impl StoreConfig {
    /// The defaults for a data directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            io_threads: 8,
            queue_depth: 256,
            direct_io: DirectIo::Auto,
            read_mode: ReadMode::Pread,
            reserve_bytes: 1024 * 1024 * 1024,
            group_commit_delay: Duration::from_millis(2),
            open_files_max: 1024,
            open_writers_max: 512,
        }
    }
}
