//! What the parts of one open store share.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use dfs_actors::datanode::chunk_store::{ChunkInfo, ReplicaState, StoreError, StoreStats};
use dfs_wire::id::{ChunkKey, ClusterId};
use rustix::io::Errno;
use tokio::sync::Semaphore;

use super::aligned::BufferPool;
use super::commit::Committer;
use super::config::{ReadMode, StoreConfig};
use super::data_dir::{DataDir, SaveError};
use super::disk::{Disk, count};
use super::disk_io::WriteMode;
use super::file_system;
use super::index::{Entry, Index};
use super::jobs::Jobs;
use super::open_files::{OpenChunk, OpenFiles};
use super::pool::{IoPool, NoAnswer};
use super::quarantine::HourlyQuarantine;

/// Read buffers kept for reuse: one per read thread, and some that are on their way to sockets.
const READ_BUFFERS_KEPT: usize = 16;
/// Files let go when descriptors are short: room for one, and for what else the process opens at such a time.
const EVICTED_AT_ONCE: usize = 32;

/// The shared part of a store. Threads hold it, so it must not own what stops them.
pub(crate) struct Core {
    pub(crate) disk: Arc<Disk>,
    /// Locked for as long as any thread may still write to it.
    pub(crate) dir: Arc<DataDir>,
    pub(crate) index: Index,
    pub(crate) writes: Arc<IoPool>,
    pub(crate) reads: Arc<IoPool>,
    pub(crate) committer: Committer,
    pub(crate) open_files: OpenFiles,
    pub(crate) buffers: BufferPool,
    pub(crate) write_mode: WriteMode,
    pub(crate) read_mode: ReadMode,
    file_system: u128,
    pub(crate) writers: Arc<Semaphore>,
    writers_max: usize,
    /// Whose turn it is to store the identity.
    pub(crate) saving: Arc<Semaphore>,
    pub(crate) quarantine: HourlyQuarantine,
    /// Threads that write; one where the disk runs the jobs.
    pub(crate) io_threads: usize,
    names: AtomicU64,
    /// When a disk that refuses writes is tried next, by its uptime; 0 while it takes them.
    pub(crate) mend_at: AtomicU64,
    measuring: AtomicBool,
}

/// What [`Core::new`] is made from.
pub(crate) struct Parts {
    pub(crate) disk: Arc<Disk>,
    pub(crate) dir: Arc<DataDir>,
    pub(crate) index: Index,
    pub(crate) quarantine: HourlyQuarantine,
    pub(crate) writes: Arc<IoPool>,
    pub(crate) reads: Arc<IoPool>,
    pub(crate) write_mode: WriteMode,
    pub(crate) jobs: Option<Arc<Jobs>>,
}

impl Core {
    pub(crate) fn new(parts: Parts, config: &StoreConfig) -> Self {
        let writers_max = config.open_writers_max.clamp(1, Semaphore::MAX_PERMITS);
        // A leftover of an earlier run that could not be swept must not be in the way of a new file.
        let first_name = parts.disk.unix_ms().1.saturating_mul(1_000_000);
        Self {
            file_system: file_system::id_of(&*parts.disk.io, parts.disk.layout.root()),
            disk: parts.disk,
            dir: parts.dir,
            index: parts.index,
            writes: parts.writes,
            reads: parts.reads,
            committer: Committer::new(config.group_commit_delay, parts.jobs),
            open_files: OpenFiles::new(config.open_files_max),
            buffers: BufferPool::new(READ_BUFFERS_KEPT),
            write_mode: parts.write_mode,
            read_mode: config.read_mode,
            writers: Arc::new(Semaphore::new(writers_max)),
            writers_max,
            saving: Arc::new(Semaphore::new(1)),
            quarantine: parts.quarantine,
            io_threads: config.io_threads.max(1),
            names: AtomicU64::new(first_name),
            mend_at: AtomicU64::new(0),
            measuring: AtomicBool::new(false),
        }
    }

    /// A number no other file name of this run has.
    pub(crate) fn next_name(&self) -> u64 {
        self.names.fetch_add(1, Ordering::Relaxed)
    }

    /// The cluster whose chunks this directory holds, once it has joined one.
    pub(crate) fn cluster(&self) -> Option<ClusterId> {
        self.dir.identity().and_then(|identity| identity.cluster)
    }

    /// What to say when a job never answered: the store was closed, or the job panicked (and was logged).
    pub(crate) fn no_answer(&self, _: NoAnswer) -> StoreError {
        if self.is_closed() {
            return self.disk.closed();
        }
        self.disk.io_error("an I/O job", io::Error::other("the job ended without an answer"))
    }

    /// What it means that the identity was not stored.
    pub(crate) fn identity_failed(&self, error: SaveError) -> StoreError {
        match error {
            SaveError::Write(e) => self.disk.write_failed("storing the identity", 0, e),
            SaveError::Sync(e) => self.disk.sync_failed("sync of the identity", &e),
            SaveError::Released => self.disk.closed(),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.writers.is_closed()
    }

    /// Opens a file. If there are too few file descriptors, lets go of files that wait for their next reader, and tries
    /// once more.
    pub(crate) fn opening<T>(&self, open: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match open() {
            Err(e)
                if matches!(Errno::from_io_error(&e), Some(Errno::MFILE | Errno::NFILE))
                    && self.open_files.evict(EVICTED_AT_ONCE) > 0 =>
            {
                open()
            }
            other => other,
        }
    }

    /// Takes a chunk out of service after a mismatch that was seen twice.
    pub(crate) fn condemn(&self, chunk: &OpenChunk, detail: &str) -> StoreError {
        let key = chunk.info.key();
        count(&self.disk.counters.read_errors, 1);
        tracing::error!(disk = %self.disk.label, %key, detail, "chunk replica is corrupt");
        self.index.set_state(key, chunk.instance, ReplicaState::Corrupt);
        self.open_files.remove(key);
        self.disk.corrupt(key, detail)
    }

    /// Forgets a chunk whose file is not there any more.
    pub(crate) fn vanished(&self, entry: Entry) -> StoreError {
        let key = entry.info.key();
        if self.index.remove_instance(key, entry.instance) {
            count(&self.disk.counters.read_errors, 1);
            tracing::error!(disk = %self.disk.label, %key, "the file of a chunk is gone");
            self.open_files.remove(key);
        }
        self.disk.not_found(key)
    }

    /// The entry's info, or the error that a reader gets for it.
    pub(crate) fn already(&self, key: ChunkKey) -> Option<ChunkInfo> {
        self.index.get(key).map(|e| e.info).filter(|info| info.state != ReplicaState::Corrupt)
    }

    /// Measures free space on an I/O thread, and tries a disk that refuses writes, unless that is under way.
    fn refresh_space(self: &Arc<Self>) {
        if self.measuring.swap(true, Ordering::AcqRel) {
            return;
        }
        let core = self.clone();
        self.reads.submit(move || {
            if let Err(error) = core.disk.measure() {
                count(&core.disk.counters.read_errors, 1);
                tracing::warn!(disk = %core.disk.label, %error, "free space could not be measured");
            }
            core.try_to_mend();
            core.measuring.store(false, Ordering::Release);
        });
    }

    /// The numbers now.
    pub(crate) fn stats(self: &Arc<Self>) -> StoreStats {
        self.refresh_space();
        let (space, promised_bytes, reserve_bytes) = self.disk.space();
        let (totals, quarantine) = (self.index.totals(), self.quarantine.totals());
        let counters = &self.disk.counters;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let now = self.disk.io.uptime();
        let silent = self.disk.watch.oldest(now);
        StoreStats {
            disk: self.disk.label.to_string(),
            state: self.disk.state(now),
            capacity_bytes: space.capacity,
            available_bytes: space.available,
            reserve_bytes,
            promised_bytes,
            file_system: self.file_system,
            used_bytes: totals.bytes,
            footer_bytes: totals.files.saturating_sub(totals.bytes),
            chunks: totals.chunks,
            corrupt: totals.corrupt,
            temporary: self.writers_max.saturating_sub(self.writers.available_permits()) as u64,
            quarantined: quarantine.held.files,
            quarantined_bytes: quarantine.held.bytes,
            damaged: quarantine.damaged.files,
            queue_depth: (self.writes.depth() + self.reads.depth()) as u64,
            queue_depth_max: (self.writes.depth_max() + self.reads.depth_max()) as u64,
            oldest_job_ms: u64::try_from(silent.as_millis()).unwrap_or(u64::MAX),
            read_errors: get(&counters.read_errors),
            write_errors: get(&counters.write_errors),
            written_bytes: get(&counters.written_bytes),
            read_bytes: get(&counters.read_bytes),
            fsyncs: get(&counters.fsyncs),
            fsync_micros: get(&counters.fsync_micros),
        }
    }

    /// Removes a temporary file. On a disk that takes no writes it is left for the sweep at the next start.
    pub(crate) fn discard(&self, tmp: &std::path::Path) {
        if self.disk.check_writable().is_err() {
            return;
        }
        if let Err(error) = self.disk.io.unlink(tmp) {
            let error = self.disk.write_failed("unlink of a temporary file", 0, error);
            tracing::warn!(disk = %self.disk.label, %error, "temporary file left behind");
        }
    }

    /// Stops handing out anything new. The threads finish what was accepted.
    pub(crate) fn refuse_new(&self) {
        self.writers.close();
        self.writes.close();
        self.reads.close();
    }
}
