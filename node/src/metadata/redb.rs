//! The embedded engine: redb, one table of bytes to bytes, every commit durable.
//!
//! - Files up to a bound are checked whole at each open, so that a flipped byte is an honest error. Above it the
//!   check would cost minutes, and a flip in a key could hide that key until fsck finds the loose end.
//! - Each value carries a CRC32 of its key and itself, checked at each read: it is right or it is an error.
//! - Quick repair is on: opening after a crash does not walk the file.
//! - A panic inside a commit, a read error or a full disk poisons the store: it answers nothing until
//!   [`MetadataStore::reopen`] has closed the file and opened it again. Readers are told so
//!   meanwhile; they never wait for a file to open.
//! - Nor do they wait for a commit: the engine grows its file under a lock that a reader takes to begin, and a disk may take
//!   for ever. So the writer's thread begins one read after each commit and publishes it, and all readers share that one.
//! - A lost write or a failed sync fails the store for the rest of the process: it stays up, says
//!   so in its health, and answers `Unavailable` until it is started anew.
//! - Below a reserve of free space it reports to be tight, so that deletes still find room.
//! - redb holds an exclusive lock on the file while it is open, so a second process is refused.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::redb::{
    Database, DatabaseError, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, StorageError, Table,
    TableDefinition, TableError,
};
use arc_swap::ArcSwap;
use dfs_actors::coordinator::metadata::table::store::{
    Batch, BatchOutcome, Condition, KeyRange, MetaStoreError, MetadataSnapshot, MetadataStore, Pair,
    SCAN_PAIRS_MAX, StoreSpace,
};
use dfs_wire::bugs::{self, Bug};
use rustix::fs::statvfs;

#[cfg(test)]
use super::opening::open_backend;
use super::opening::{Opening, OsFiles, open_file};
pub use super::opening::{RedbOptions, StoreFiles, is_missing};
use super::watched::{FileHistory, is_full};
use crate::private;

const TABLE: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("metadata");
const CRC_BYTES: usize = 4;

/// Opens the file for the first time or again.
type Opener = Box<dyn Fn(&Arc<FileHistory>, Opening) -> Result<Database, DatabaseError> + Send + Sync>;

enum State {
    Open(Database),
    Closed(Closed),
}

/// Why a store is not open.
#[derive(Debug, Clone)]
enum Closed {
    /// Until it is reopened; whether the reason calls for a check of the whole file then.
    Poisoned { cause: String, check: bool },
    /// For the rest of the process.
    Failed(String),
}

impl Closed {
    fn error(&self) -> MetaStoreError {
        match self.clone() {
            Self::Poisoned { cause, .. } => MetaStoreError::Poisoned { cause },
            Self::Failed(cause) => MetaStoreError::Failed { cause },
        }
    }
}

/// What readers find: the state after the last commit, or why there is none.
type Published = Result<RedbSnapshot, Closed>;

/// A store in one redb file.
pub struct RedbStore {
    /// Held for as long as the disk takes: by the writer's thread, and by no reader.
    state: Mutex<State>,
    published: ArcSwap<Published>,
    open: Opener,
    history: Arc<FileHistory>,
    what: String,
    /// Its file, and the space kept free on its disk.
    disk: Option<(PathBuf, u64)>,
}

impl RedbStore {
    /// Opens the store in the file `path`, or makes it; its directory must exist.
    ///
    /// # Errors
    /// [`MetaStoreError::Locked`] if another process has it, [`MetaStoreError::Corrupt`] if it is not what was
    /// written, [`MetaStoreError::NoSpace`], [`MetaStoreError::Failed`] if its disk lost something, and
    /// [`MetaStoreError::Io`] otherwise.
    pub fn open(path: &Path, options: &RedbOptions) -> Result<Self, MetaStoreError> {
        let what = format!("metadata file {}", path.display());
        let disk = Some((path.to_owned(), options.reserve_bytes));
        Self::with_opener(what, disk, opener(OsFiles(private::sync_dir), path, options))
    }

    /// As [`Self::open`], on a file system that is given.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_on(
        files: impl StoreFiles + Send + Sync + 'static,
        path: &Path,
        options: &RedbOptions,
    ) -> Result<Self, MetaStoreError> {
        Self::with_opener(format!("metadata file {}", path.display()), None, opener(files, path, options))
    }

    /// Opens the store on what `backend` gives at each opening: how tests tear and lose its writes. It must show what
    /// is durable and nothing else, as `open_file` sees to for a file; `name` gives a new one its name, `sync_name` makes
    /// the name durable.
    ///
    /// # Errors
    /// As [`Self::open`].
    #[cfg(test)]
    pub(super) fn with_backend<B: ::redb::StorageBackend>(
        what: &str,
        options: &RedbOptions,
        backend: impl Fn() -> io::Result<B> + Send + Sync + 'static,
        name: impl Fn() -> io::Result<()> + Send + Sync + 'static,
        sync_name: impl Fn() -> io::Result<()> + Send + Sync + 'static,
    ) -> Result<Self, MetaStoreError> {
        let options = options.clone();
        let open = move |history: &Arc<FileHistory>, opening| {
            let backend = backend().inspect_err(|error| history.lose("opening", error));
            open_backend(backend.map_err(StorageError::Io)?, &options, history, opening, (&name, &sync_name))
        };
        Self::with_opener(what.to_owned(), None, Box::new(open))
    }

    fn with_opener(what: String, disk: Option<(PathBuf, u64)>, open: Opener) -> Result<Self, MetaStoreError> {
        let history = Arc::default();
        let database = open_checked(&what, &open, &history, Opening::First)?;
        let published = ArcSwap::from_pointee(Ok(RedbSnapshot::begin(&database, &what)?));
        Ok(Self { state: Mutex::new(State::Open(database)), published, open, history, what, disk })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows readers what was committed.
    fn publish(&self, database: &Database) -> Result<(), MetaStoreError> {
        let snapshot = RedbSnapshot::begin(database, &self.what)?;
        self.published.store(Arc::new(Ok(snapshot)));
        Ok(())
    }

    /// Closes the store after a failed commit, and says what the failure means.
    fn fail(&self, cause: MetaStoreError) -> MetaStoreError {
        let (lost, full) = (self.history.lost(), self.history.full());
        let (why, said) = match (lost, full) {
            (Some(lost), _) => (Closed::Failed(lost), cause),
            (None, Some(full)) => {
                let full = MetaStoreError::NoSpace { action: "committing metadata", cause: full };
                (Closed::Poisoned { cause: full.to_string(), check: false }, full)
            }
            (None, None) => (Closed::Poisoned { cause: cause.to_string(), check: true }, cause),
        };
        self.close(why);
        said
    }

    /// Closes the store. Closing may write, wait, and even panic if the engine is confused: readers do not wait for it.
    fn close(&self, why: Closed) {
        self.published.store(Arc::new(Err(why.clone())));
        let old = std::mem::replace(&mut *self.state(), State::Closed(why));
        let _closed = catch_unwind(AssertUnwindSafe(|| drop(old)));
    }

    /// Runs `work` on the open database; a panic in it is an error like any other.
    fn guarded<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, MetaStoreError>,
    ) -> Result<T, MetaStoreError> {
        match &*self.state() {
            State::Open(database) => {
                catch_unwind(AssertUnwindSafe(|| work(database))).unwrap_or_else(|panic| {
                    Err(MetaStoreError::Corrupt {
                        what: self.what.clone(),
                        cause: panic_text(panic.as_ref()),
                    })
                })
            }
            State::Closed(why) => Err(why.error()),
        }
    }
}

fn opener(files: impl StoreFiles + Send + Sync + 'static, path: &Path, options: &RedbOptions) -> Opener {
    let (path, options) = (path.to_owned(), options.clone());
    Box::new(move |history, opening| open_file(&files, &path, &options, history, opening))
}

fn open_checked(
    what: &str,
    open: &Opener,
    history: &Arc<FileHistory>,
    opening: Opening,
) -> Result<Database, MetaStoreError> {
    let opened = open_once(what, open, history, opening);
    match history.lost() {
        Some(cause) => Err(MetaStoreError::Failed { cause }),
        None => opened,
    }
}

fn open_once(
    what: &str,
    open: &Opener,
    history: &Arc<FileHistory>,
    opening: Opening,
) -> Result<Database, MetaStoreError> {
    let corrupt = |cause: String| MetaStoreError::Corrupt { what: what.to_owned(), cause };
    let opened = catch_unwind(AssertUnwindSafe(|| open(history, opening)));
    let database = opened.map_err(|p| corrupt(panic_text(p.as_ref())))?.map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            MetaStoreError::Locked { what: what.to_owned() }
        }
        DatabaseError::Storage(StorageError::Io(e)) if e.kind() == io::ErrorKind::InvalidData => {
            corrupt(e.to_string())
        }
        DatabaseError::Storage(StorageError::Io(e)) if e.kind() == io::ErrorKind::UnexpectedEof => {
            corrupt(format!("the file is cut short: {e}"))
        }
        DatabaseError::Storage(StorageError::Io(e)) if is_full(&e) => {
            MetaStoreError::NoSpace { action: "opening the metadata store", cause: format!("{what}: {e}") }
        }
        DatabaseError::Storage(StorageError::Corrupted(cause)) => corrupt(cause),
        DatabaseError::UpgradeRequired(version) => {
            corrupt(format!("file format {version} is older than this build reads"))
        }
        other => {
            MetaStoreError::Io { action: "opening the metadata store", cause: format!("{what}: {other}") }
        }
    })?;
    // Readers need the table to be there.
    let made = catch_unwind(AssertUnwindSafe(|| make_table(&database)));
    made.unwrap_or_else(|p| Err(corrupt(panic_text(p.as_ref()))))?;
    Ok(database)
}

/// Makes the table in a new file. In every other a commit would only ask for space.
fn make_table(database: &Database) -> Result<(), MetaStoreError> {
    let txn = database.begin_read().map_err(|e| io_error("beginning a metadata read", e))?;
    match txn.open_table(TABLE) {
        Ok(_) => return Ok(()),
        Err(TableError::TableDoesNotExist(_)) => drop(txn),
        Err(error) => return Err(io_error("opening the metadata table", error)),
    }
    let txn = begin_write(database)?;
    txn.open_table(TABLE).map_err(|e| io_error("making the metadata table", e))?;
    txn.commit().map_err(|e| io_error("making the metadata table", e))
}

fn begin_write(database: &Database) -> Result<::redb::WriteTransaction, MetaStoreError> {
    let mut txn = database.begin_write().map_err(|e| io_error("beginning a metadata transaction", e))?;
    txn.set_durability(Durability::Immediate).map_err(|e| io_error("beginning a metadata transaction", e))?;
    txn.set_quick_repair(true);
    Ok(txn)
}

fn io_error(action: &'static str, cause: impl Into<::redb::Error>) -> MetaStoreError {
    MetaStoreError::Io { action, cause: cause.into().to_string() }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("the engine panicked: {}", text.unwrap_or_else(|| "no message".to_owned()))
}

fn seal(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(value.len() + CRC_BYTES);
    sealed.extend_from_slice(value);
    sealed.extend_from_slice(&crc(key, value).to_le_bytes());
    sealed
}

fn crc(key: &[u8], value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(value);
    hasher.finalize()
}

fn unseal(key: &[u8], sealed: &[u8]) -> Result<Vec<u8>, MetaStoreError> {
    let body = sealed.split_last_chunk::<CRC_BYTES>();
    match body {
        Some((value, sum)) if u32::from_le_bytes(*sum) == crc(key, value) => Ok(value.to_vec()),
        _ => Err(MetaStoreError::Corrupt {
            what: format!("the value of metadata key {}", key.escape_ascii()),
            cause: "its checksum does not match".to_owned(),
        }),
    }
}

/// Clones are the same one, which ends with the last of them.
#[derive(Clone)]
struct RedbSnapshot {
    table: Arc<ReadOnlyTable<&'static [u8], &'static [u8]>>,
    what: Arc<str>,
}

impl RedbSnapshot {
    /// The state after the last commit. Waits for the engine: not for readers to call.
    fn begin(database: &Database, what: &str) -> Result<Self, MetaStoreError> {
        let txn = database.begin_read().map_err(|e| io_error("beginning a metadata read", e))?;
        let table = txn.open_table(TABLE).map_err(|e| io_error("beginning a metadata read", e))?;
        Ok(Self { table: Arc::new(table), what: what.into() })
    }

    fn guarded<T>(&self, work: impl FnOnce() -> Result<T, MetaStoreError>) -> Result<T, MetaStoreError> {
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            Err(MetaStoreError::Corrupt { what: self.what.to_string(), cause: panic_text(panic.as_ref()) })
        })
    }
}

impl MetadataSnapshot for RedbSnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, MetaStoreError> {
        self.guarded(|| {
            let found = self.table.get(key).map_err(|e| io_error("reading metadata", e))?;
            found.map(|guard| unseal(key, guard.value())).transpose()
        })
    }

    fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<Pair>, MetaStoreError> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        self.guarded(|| {
            let bounds = (range.start_bound(), range.end_bound());
            let pairs = self.table.range::<&[u8]>(bounds).map_err(|e| io_error("scanning metadata", e))?;
            pairs
                .take(limit.min(SCAN_PAIRS_MAX))
                .map(|pair| {
                    let (key, value) = pair.map_err(|e| io_error("scanning metadata", e))?;
                    Ok((key.value().to_vec(), unseal(key.value(), value.value())?))
                })
                .collect()
        })
    }
}

type WriteTable<'txn> = Table<'txn, &'static [u8], &'static [u8]>;

fn refused(table: &WriteTable<'_>, batch: &Batch) -> Result<Option<usize>, MetaStoreError> {
    for (place, condition) in batch.conditions.iter().enumerate() {
        let (key, wanted) = match condition {
            Condition::Absent(key) => (key, None),
            Condition::Equals(key, value) => (key, Some(value)),
        };
        let found = table.get(key.as_slice()).map_err(|e| io_error("checking a condition", e))?;
        let found = found.map(|guard| unseal(key, guard.value())).transpose()?;
        if found.as_ref() != wanted {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

fn apply(table: &mut WriteTable<'_>, batch: &Batch) -> Result<BatchOutcome, MetaStoreError> {
    if let Some(place) = refused(table, batch)? {
        return Ok(BatchOutcome::Refused(place));
    }
    for (key, value) in &batch.writes {
        match value {
            Some(value) => table.insert(key.as_slice(), seal(key, value).as_slice()).map(drop),
            None => table.remove(key.as_slice()).map(drop),
        }
        .map_err(|e| io_error("writing metadata", e))?;
    }
    Ok(BatchOutcome::Applied)
}

impl MetadataStore for RedbStore {
    fn snapshot(&self) -> Result<Box<dyn MetadataSnapshot>, MetaStoreError> {
        match &**self.published.load() {
            Ok(snapshot) => Ok(Box::new(snapshot.clone())),
            Err(why) => Err(why.error()),
        }
    }

    fn commit(&self, batches: &[Batch]) -> Result<Vec<BatchOutcome>, MetaStoreError> {
        batches.iter().try_for_each(Batch::check_bounds)?;
        self.history.begin();
        let committed = self.guarded(|database| {
            let mut txn = begin_write(database)?;
            let outcomes = {
                let mut table =
                    txn.open_table(TABLE).map_err(|e| io_error("opening the metadata table", e))?;
                batches.iter().map(|batch| apply(&mut table, batch)).collect::<Result<Vec<_>, _>>()?
            };
            if bugs::is(Bug::AckBeforeCommit) && batches.len() > 1 {
                let late = txn.set_durability(Durability::None);
                late.map_err(|e| io_error("committing metadata", e))?;
            }
            txn.commit().map_err(|e| io_error("committing metadata", e))?;
            self.publish(database)?;
            Ok(outcomes)
        });
        committed.map_err(|cause| match cause {
            closed @ (MetaStoreError::Poisoned { .. } | MetaStoreError::Failed { .. }) => closed,
            cause => self.fail(cause),
        })
    }

    fn reopen(&self) -> Result<(), MetaStoreError> {
        let check = match &*self.state() {
            State::Closed(why @ Closed::Failed(_)) => return Err(why.error()),
            State::Closed(Closed::Poisoned { check, .. }) => *check,
            State::Open(_) => true,
        };
        // The file is locked while it is open: close first.
        self.close(Closed::Poisoned { cause: "the store is being reopened".to_owned(), check });
        let opened = open_checked(&self.what, &self.open, &self.history, Opening::Again { check })
            .and_then(|database| self.publish(&database).map(|()| database));
        match opened {
            Ok(database) => {
                *self.state() = State::Open(database);
                Ok(())
            }
            Err(error) => {
                self.close(match &error {
                    MetaStoreError::Failed { cause } => Closed::Failed(cause.clone()),
                    other => Closed::Poisoned { cause: other.to_string(), check },
                });
                Err(error)
            }
        }
    }

    fn space(&self) -> Option<StoreSpace> {
        let (file, configured) = self.disk.as_ref()?;
        let found = statvfs(file).ok()?;
        let capacity = found.f_blocks.saturating_mul(found.f_frsize);
        let reserve = (*configured).min(capacity / 20);
        let available = found.f_bavail.saturating_mul(found.f_frsize);
        let used = std::fs::metadata(file).map_or(0, |file| file.len());
        Some(StoreSpace { available, reserve, used })
    }
}
