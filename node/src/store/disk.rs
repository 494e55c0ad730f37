//! One disk's health, free space and counters, and the one place that decides what an error means.
//!
//! ```text
//!  Writable <----> Full              by the latest numbers (watermarks.rs); and for a while after ENOSPC, EDQUOT
//!     |  \
//!     |   +-- EROFS, EACCES, EPERM --> ReadOnly   until a try succeeds (mending.rs)
//!     +------ EIO, failed fsync -----> Failed     until the process starts anew
//!
//!  Writable, Full <-- no answer for 30 s, an answer --> Stalled   (watch.rs)
//! ```
//! An fsync that failed is never repeated: the kernel may have marked the lost pages clean, and the second call
//! would report success (Rebello et al., USENIX ATC 2020). A directory that is synced is open before
//! anything is done in it: so a failed sync is an fsync that failed, and never a lack of file descriptors.
//!
//! A file system that gives space only when data are written back says ENOSPC or EDQUOT as late as at the fsync of a file.
//! That is a full disk and not a failed one: the file has no name yet and goes, and is not synced again.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use dfs_actors::datanode::chunk_store::{DiskState, StoreError};
use dfs_wire::bugs::{self, Bug};
use dfs_wire::id::ChunkKey;
use rustix::io::Errno;

use super::disk_io::{DiskDir, DiskFile, DiskIo};
use super::layout::Layout;
use super::watch::{STALLED_AFTER, Watch};
use super::watermarks::{self, Full, Space};

/// Counters since the start. Statistics only: nothing is decided by them.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) read_errors: AtomicU64,
    pub(crate) write_errors: AtomicU64,
    pub(crate) written_bytes: AtomicU64,
    pub(crate) read_bytes: AtomicU64,
    pub(crate) fsyncs: AtomicU64,
    pub(crate) fsync_micros: AtomicU64,
}

pub(crate) fn count(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

/// Locks, taking no notice of a panic elsewhere: every critical section of the store leaves its data whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Directories of the quarantine that are kept open: those of the latest hours.
const HOURS_OPEN: usize = 4;

/// How long a disk counts as full after it refused something for want of space, whatever its numbers say: they do not tell
/// of quotas, nor of inodes.
const FULL_FOR: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
struct Ledger {
    space: Space,
    promised: u64,
    /// When something was refused for want of space last, unless something was stored since.
    refused: Option<Duration>,
}

/// See the module's documentation.
pub(crate) struct Disk {
    pub(crate) label: Arc<str>,
    pub(crate) io: Arc<dyn DiskIo>,
    pub(crate) layout: Layout,
    pub(crate) counters: Counters,
    pub(crate) watch: Arc<Watch>,
    /// Those that hold chunks, and the quarantine.
    dirs: BTreeMap<PathBuf, Box<dyn DiskDir>>,
    /// The latest directories of the quarantine, by which those are known that can be moved to.
    hours: Mutex<BTreeMap<PathBuf, Arc<dyn DiskDir>>>,
    /// The wall clock at uptime zero, as it was believed when this run began.
    epoch: Duration,
    reserve_configured: u64,
    /// `Writable` until a write fails.
    health: Mutex<DiskState>,
    ledger: Mutex<Ledger>,
}

impl Disk {
    /// A disk whose directories are there.
    pub(crate) fn open(io: Arc<dyn DiskIo>, layout: Layout, reserve_configured: u64) -> io::Result<Self> {
        let mut dirs = BTreeMap::new();
        for path in layout.leaves().into_iter().chain([layout.quarantine_dir()]) {
            let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
            dirs.insert(path.clone(), io.open_dir(&path).map_err(named)?);
        }
        let wall = io.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self {
            label: layout.root().to_string_lossy().into(),
            epoch: wall.saturating_sub(io.uptime()),
            watch: Arc::new(Watch::new(Arc::clone(&io))),
            io,
            layout,
            counters: Counters::default(),
            dirs,
            hours: Mutex::default(),
            reserve_configured,
            health: Mutex::default(),
            ledger: Mutex::default(),
        })
    }

    /// Measures free space.
    pub(crate) fn measure(&self) -> io::Result<Space> {
        let space = self.io.space(self.layout.root())?;
        lock(&self.ledger).space = space;
        Ok(space)
    }

    /// Latest space, what is promised, and the reserve in force.
    pub(crate) fn space(&self) -> (Space, u64, u64) {
        let ledger = lock(&self.ledger);
        (
            ledger.space,
            ledger.promised,
            watermarks::reserve_of(ledger.space.capacity, self.reserve_configured),
        )
    }

    /// The state at `now`.
    pub(crate) fn state(&self, now: Duration) -> DiskState {
        let (stalled, news) = self.watch.is_stalled(now);
        match news {
            true if stalled => tracing::error!(disk = %self.label, "disk does not answer"),
            true => tracing::warn!(disk = %self.label, "disk answers again"),
            false => {}
        }
        let health = lock(&self.health).clone();
        match health {
            DiskState::Writable if stalled => DiskState::Stalled(stalled_reason()),
            DiskState::Writable if self.is_full(now) => DiskState::Full,
            other => other,
        }
    }

    fn is_full(&self, now: Duration) -> bool {
        let (space, promised, reserve) = self.space();
        let refused = lock(&self.ledger).refused;
        let lately = refused.is_some_and(|at| now.saturating_sub(at) < FULL_FOR);
        lately || watermarks::is_full(space, promised, reserve)
    }

    /// Whether the file system has refused writes.
    pub(crate) fn is_read_only(&self) -> bool {
        matches!(*lock(&self.health), DiskState::ReadOnly(_))
    }

    /// An error if the disk takes no writes, full ones aside.
    pub(crate) fn check_writable(&self) -> Result<(), StoreError> {
        match &*lock(&self.health) {
            DiskState::ReadOnly(reason) | DiskState::Failed(reason) => Err(self.failed(reason.clone())),
            DiskState::Writable | DiskState::Full | DiskState::Stalled(_) => Ok(()),
        }
    }

    /// `Busy` if the disk does not answer: whoever has a choice should not wait for it.
    pub(crate) fn check_answers(&self) -> Result<(), StoreError> {
        match self.watch.oldest(self.io.uptime()) >= STALLED_AFTER {
            true => Err(StoreError::Busy { disk: self.label.clone(), what: stalled_reason() }),
            false => Ok(()),
        }
    }

    /// Promises `needed` bytes to a writer, if the watermarks allow it.
    pub(crate) fn promise(self: &Arc<Self>, needed: u64) -> Result<Promise, StoreError> {
        let mut promise = Promise { disk: self.clone(), total: 0, outstanding: 0 };
        promise.raise_to(needed)?;
        Ok(promise)
    }

    /// Syncs the contents of a file of `bytes` bytes that has no name yet. An error fails the disk, unless it is full: then
    /// the file is lost, and nobody was told of it.
    pub(crate) fn sync_file(&self, file: &dyn DiskFile, key: ChunkKey, bytes: u64) -> Result<(), StoreError> {
        let operation = || format!("fdatasync of chunk {key}");
        if bugs::is(Bug::SkipFileSync) {
            return Ok(());
        }
        match self.timed_sync(|| file.sync_data()) {
            Ok(()) => {
                lock(&self.ledger).refused = None;
                Ok(())
            }
            Err(e) if is_want_of_space(&e) => Err(self.write_failed(&operation(), bytes, e)),
            Err(e) => Err(self.sync_failed(&operation(), &e)),
        }
    }

    /// Syncs the names in a directory that holds chunks. An error fails the disk.
    pub(crate) fn sync_dir(&self, path: &Path) -> Result<(), StoreError> {
        let operation = || format!("fsync of directory {}", path.display());
        if bugs::is(Bug::SkipDirSync) {
            return Ok(());
        }
        self.sync_names(path).map_err(|e| self.sync_failed(&operation(), &e))
    }

    /// As [`Self::sync_dir`]; what an error means is for the caller to say.
    pub(crate) fn sync_names(&self, path: &Path) -> io::Result<()> {
        if let Some(dir) = self.dirs.get(path) {
            return self.timed_sync(|| dir.sync());
        }
        let dir = lock(&self.hours).get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        self.timed_sync(|| dir.sync())
    }

    /// Whether a directory that is not there for ever is open, to be synced.
    pub(crate) fn has_open(&self, path: &Path) -> bool {
        lock(&self.hours).contains_key(path)
    }

    /// Opens a directory that is not there for ever. The latest are kept open, by their names.
    pub(crate) fn keep_open(&self, path: &Path) -> io::Result<()> {
        let dir = self.io.open_dir(path)?;
        let mut hours = lock(&self.hours);
        hours.insert(path.to_owned(), dir.into());
        while hours.len() > HOURS_OPEN {
            hours.pop_first();
        }
        Ok(())
    }

    /// Those that are.
    pub(crate) fn kept_open(&self) -> Vec<PathBuf> {
        lock(&self.hours).keys().cloned().collect()
    }

    /// Lets go of such a directory, which may be removed.
    pub(crate) fn let_go(&self, path: &Path) {
        lock(&self.hours).remove(path);
    }

    /// Syncs the names in a directory that the caller has opened. An error fails the disk.
    pub(crate) fn sync_opened(&self, path: &Path, dir: &dyn DiskDir) -> Result<(), StoreError> {
        if bugs::is(Bug::SkipDirSync) {
            return Ok(());
        }
        let synced = self.timed_sync(|| dir.sync());
        synced.map_err(|e| self.sync_failed(&format!("fsync of directory {}", path.display()), &e))
    }

    fn timed_sync(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.watch.step();
        let start = self.io.uptime();
        let result = sync();
        count(&self.counters.fsyncs, 1);
        count(
            &self.counters.fsync_micros,
            u64::try_from(self.io.uptime().saturating_sub(start).as_micros()).unwrap_or(u64::MAX),
        );
        result
    }

    /// What a failed sync means.
    pub(crate) fn sync_failed(&self, operation: &str, error: &io::Error) -> StoreError {
        count(&self.counters.write_errors, 1);
        self.fail(DiskState::Failed(format!("{operation}: {error}")))
    }

    /// What a failed write (or create, allocate, rename, unlink) means. Counts it, logs it, fails the disk if it must.
    pub(crate) fn write_failed(&self, operation: &str, needed: u64, error: io::Error) -> StoreError {
        count(&self.counters.write_errors, 1);
        match Errno::from_io_error(&error) {
            Some(Errno::NOSPC | Errno::DQUOT) => {
                lock(&self.ledger).refused = Some(self.io.uptime());
                let (space, promised, reserve) = self.space();
                let available = space.available.saturating_sub(promised);
                StoreError::NoSpace { disk: self.label.clone(), needed, available, reserve }
            }
            Some(Errno::ROFS | Errno::ACCESS | Errno::PERM) => {
                self.fail(DiskState::ReadOnly(format!("{operation}: {error}")))
            }
            Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN) => {
                StoreError::Busy { disk: self.label.clone(), what: format!("{operation}: {error}") }
            }
            Some(Errno::INVAL | Errno::FBIG | Errno::ISDIR) => self.io_error(operation, error),
            _ => self.fail(DiskState::Failed(format!("{operation}: {error}"))),
        }
    }

    /// What a failed read means: nothing about the bytes, and nothing about later writes.
    pub(crate) fn read_failed(&self, operation: &str, error: io::Error) -> StoreError {
        count(&self.counters.read_errors, 1);
        if matches!(Errno::from_io_error(&error), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM)) {
            return StoreError::Busy { disk: self.label.clone(), what: format!("{operation}: {error}") };
        }
        tracing::warn!(disk = %self.label, operation, %error, "chunk store read failed");
        self.io_error(operation, error)
    }

    pub(crate) fn io_error(&self, operation: &str, error: io::Error) -> StoreError {
        let (disk, operation) = (self.label.clone(), operation.to_owned());
        StoreError::Io { disk, operation, source: Arc::new(error) }
    }

    pub(crate) fn invalid(&self, key: ChunkKey, reason: impl Into<String>) -> StoreError {
        StoreError::Invalid { disk: self.label.clone(), key, reason: reason.into() }
    }

    pub(crate) fn not_found(&self, key: ChunkKey) -> StoreError {
        StoreError::NotFound { disk: self.label.clone(), key }
    }

    pub(crate) fn corrupt(&self, key: ChunkKey, detail: impl Into<String>) -> StoreError {
        StoreError::Corrupt { disk: self.label.clone(), key, detail: detail.into() }
    }

    pub(crate) fn closed(&self) -> StoreError {
        StoreError::Closed { disk: self.label.clone() }
    }

    /// The time now in Unix milliseconds: the earliest and the latest that it may be. One is by the wall clock, the other
    /// is what that said when this run began and the time since. Whoever keeps something for a time counts from the
    /// latest to the earliest: a clock that is set while the node runs may make it stay longer, never shorter.
    pub(crate) fn unix_ms(&self) -> (u64, u64) {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let wall = millis(self.io.now().duration_since(UNIX_EPOCH).unwrap_or_default());
        let counted = millis(self.epoch + self.io.uptime());
        (wall.min(counted), wall.max(counted))
    }

    fn failed(&self, reason: String) -> StoreError {
        StoreError::DiskFailed { disk: self.label.clone(), reason }
    }

    /// Keeps the first failure: later ones are its echo.
    fn fail(&self, state: DiskState) -> StoreError {
        let (DiskState::Failed(reason) | DiskState::ReadOnly(reason)) = &state else {
            unreachable!("only these two states are failures");
        };
        let reason = reason.clone();
        let mut health = lock(&self.health);
        if *health == DiskState::Writable {
            tracing::error!(disk = %self.label, reason, "disk takes no writes any more");
            *health = state;
        }
        drop(health);
        self.failed(reason)
    }

    /// A disk that refused writes takes them again.
    pub(crate) fn recover(&self) {
        let mut health = lock(&self.health);
        if let DiskState::ReadOnly(reason) = &*health {
            tracing::warn!(disk = %self.label, after = reason, "disk takes writes again");
            *health = DiskState::Writable;
        }
    }

    /// A disk that refused writes has failed.
    pub(crate) fn give_up(&self, reason: String) {
        let mut health = lock(&self.health);
        if matches!(*health, DiskState::ReadOnly(_)) {
            tracing::error!(disk = %self.label, reason, "disk takes no writes any more");
            *health = DiskState::Failed(reason);
        }
    }

    fn full(&self, full: Full) -> StoreError {
        let Full { needed, available, reserve } = full;
        StoreError::NoSpace { disk: self.label.clone(), needed, available, reserve }
    }
}

/// Whether an error says that there is no room.
pub(crate) fn is_want_of_space(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT))
}

fn stalled_reason() -> String {
    format!("an I/O operation has not ended for more than {} s", STALLED_AFTER.as_secs())
}

/// Space promised to one writer; what is left of the promise is given back when dropped.
pub(crate) struct Promise {
    disk: Arc<Disk>,
    total: u64,
    outstanding: u64,
}

impl Promise {
    /// Raises the promise to `total` bytes in all.
    pub(crate) fn raise_to(&mut self, total: u64) -> Result<(), StoreError> {
        let more = total.saturating_sub(self.total);
        if more == 0 {
            return Ok(());
        }
        let mut ledger = lock(&self.disk.ledger);
        let reserve = watermarks::reserve_of(ledger.space.capacity, self.disk.reserve_configured);
        watermarks::admit(ledger.space, ledger.promised, reserve, more)
            .map_err(|full| self.disk.full(full))?;
        ledger.promised += more;
        self.outstanding += more;
        self.total = total;
        Ok(())
    }

    /// Says that `bytes` of the promise are allocated, and so have left the free space by themselves.
    pub(crate) fn fulfil(&mut self, bytes: u64) {
        let bytes = bytes.min(self.outstanding);
        self.outstanding -= bytes;
        let mut ledger = lock(&self.disk.ledger);
        ledger.promised -= bytes;
        ledger.space.available = ledger.space.available.saturating_sub(bytes);
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        lock(&self.disk.ledger).promised -= self.outstanding;
    }
}
