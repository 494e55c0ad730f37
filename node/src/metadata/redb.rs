//! The embedded engine: redb, one table of bytes to bytes, every commit durable (DESIGN section 5).
//!
//! - Files up to a bound are checked whole at each open, so that a flipped byte is an honest error. Above it the
//!   check would cost minutes, and a flip in a key could hide that key until fsck finds the loose end.
//! - Each value carries a CRC32 of its key and itself, checked at each read: it is right or it is an error.
//! - Quick repair is on: opening after a crash does not walk the file.
//! - A failure or a panic inside a commit poisons the store: it answers nothing until [`MetadataStore::reopen`]
//!   has closed the file and opened it again from what is durable (R5 of the contract).
//! - redb holds an exclusive lock on the file while it is open, so a second process is refused.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use ::redb::{
    Builder, Database, DatabaseError, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable,
    StorageBackend, StorageError, Table, TableDefinition,
};
use dfs_actors::metadata::store::{
    Batch, BatchOutcome, Condition, KeyRange, MetaStoreError, MetadataSnapshot, MetadataStore, Pair,
    SCAN_PAIRS_MAX,
};

const TABLE: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("metadata");
const CRC_BYTES: usize = 4;

/// How to open a store.
#[derive(Debug, Clone)]
pub struct RedbOptions {
    /// Memory for pages of the file.
    pub cache_bytes: usize,
    /// A file no larger than this is checked whole when it is opened.
    pub check_on_open_bytes_max: u64,
}

impl Default for RedbOptions {
    fn default() -> Self {
        Self { cache_bytes: 256 * 1024 * 1024, check_on_open_bytes_max: 1024 * 1024 * 1024 }
    }
}

type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>;

enum State {
    Open(Database),
    Poisoned(String),
}

/// A store in one redb file.
pub struct RedbStore {
    state: RwLock<State>,
    open: Opener,
    what: String,
}

impl RedbStore {
    /// Opens the store in the file `path`, or makes it; its directory must exist.
    ///
    /// # Errors
    /// [`MetaStoreError::Locked`] if another process has it, [`MetaStoreError::Corrupt`] if it is not what was
    /// written, [`MetaStoreError::Io`] otherwise.
    pub fn open(path: &Path, options: &RedbOptions) -> Result<Self, MetaStoreError> {
        let what = format!("metadata file {}", path.display());
        let (path, options) = (path.to_owned(), options.clone());
        Self::with_opener(what, Box::new(move || open_file(&path, &options)))
    }

    /// Opens the store on what `backend` gives at each opening: how tests tear and lose its writes.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn with_backend<B: StorageBackend>(
        what: &str,
        backend: impl Fn() -> io::Result<B> + Send + Sync + 'static,
    ) -> Result<Self, MetaStoreError> {
        let open = move || Builder::new().create_with_backend(backend().map_err(StorageError::Io)?);
        Self::with_opener(what.to_owned(), Box::new(open))
    }

    fn with_opener(what: String, open: Opener) -> Result<Self, MetaStoreError> {
        let database = open_checked(&what, &open)?;
        Ok(Self { state: RwLock::new(State::Open(database)), open, what })
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn poison(&self, cause: &MetaStoreError) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Open(_)) {
            *state = State::Poisoned(cause.to_string());
        }
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
            State::Poisoned(cause) => Err(MetaStoreError::Poisoned { cause: cause.clone() }),
        }
    }
}

fn open_file(path: &PathBuf, options: &RedbOptions) -> Result<Database, DatabaseError> {
    let len = std::fs::metadata(path).map(|m| m.len()).unwrap_or(0);
    let database = Builder::new()
        .set_cache_size(options.cache_bytes)
        .set_check_integrity_on_open(len <= options.check_on_open_bytes_max)
        .create(path)?;
    if len == 0
        && let Some(directory) = path.parent()
    {
        // The file is not there after a power cut unless its directory entry is durable too (R3).
        File::open(directory).and_then(|d| d.sync_all()).map_err(StorageError::Io)?;
    }
    Ok(database)
}

fn open_checked(what: &str, open: &Opener) -> Result<Database, MetaStoreError> {
    let corrupt = |cause: String| MetaStoreError::Corrupt { what: what.to_owned(), cause };
    let opened = catch_unwind(AssertUnwindSafe(open)).map_err(|p| corrupt(panic_text(p.as_ref())))?;
    let database = opened.map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            MetaStoreError::Locked { what: what.to_owned() }
        }
        DatabaseError::Storage(StorageError::Io(e)) if e.kind() == io::ErrorKind::InvalidData => {
            corrupt(e.to_string())
        }
        DatabaseError::Storage(StorageError::Io(e)) if e.kind() == io::ErrorKind::UnexpectedEof => {
            corrupt(format!("the file is cut short: {e}"))
        }
        DatabaseError::Storage(StorageError::Corrupted(cause)) => corrupt(cause),
        DatabaseError::UpgradeRequired(version) => {
            corrupt(format!("file format {version} is older than this build reads"))
        }
        other => {
            MetaStoreError::Io { action: "opening the metadata store", cause: format!("{what}: {other}") }
        }
    })?;
    // Readers need the table to be there; only a new file lacks it.
    let made = catch_unwind(AssertUnwindSafe(|| make_table(&database)));
    made.unwrap_or_else(|p| Err(corrupt(panic_text(p.as_ref()))))?;
    Ok(database)
}

fn make_table(database: &Database) -> Result<(), MetaStoreError> {
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

struct RedbSnapshot {
    table: ReadOnlyTable<&'static [u8], &'static [u8]>,
    what: String,
}

impl RedbSnapshot {
    fn guarded<T>(&self, work: impl FnOnce() -> Result<T, MetaStoreError>) -> Result<T, MetaStoreError> {
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            Err(MetaStoreError::Corrupt { what: self.what.clone(), cause: panic_text(panic.as_ref()) })
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
        self.guarded(|database| {
            let txn = database.begin_read().map_err(|e| io_error("beginning a metadata read", e))?;
            let table = txn.open_table(TABLE).map_err(|e| io_error("beginning a metadata read", e))?;
            let snapshot: Box<dyn MetadataSnapshot> =
                Box::new(RedbSnapshot { table, what: self.what.clone() });
            Ok(snapshot)
        })
    }

    fn commit(&self, batches: &[Batch]) -> Result<Vec<BatchOutcome>, MetaStoreError> {
        batches.iter().try_for_each(Batch::check_bounds)?;
        let committed = self.guarded(|database| {
            let txn = begin_write(database)?;
            let outcomes = {
                let mut table =
                    txn.open_table(TABLE).map_err(|e| io_error("opening the metadata table", e))?;
                batches.iter().map(|batch| apply(&mut table, batch)).collect::<Result<Vec<_>, _>>()?
            };
            txn.commit().map_err(|e| io_error("committing metadata", e))?;
            Ok(outcomes)
        });
        if let Err(cause) = &committed
            && !matches!(cause, MetaStoreError::Poisoned { .. })
        {
            self.poison(cause);
        }
        committed
    }

    fn reopen(&self) -> Result<(), MetaStoreError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        // The file is locked while it is open: close first. Dropping can panic too if the engine is confused.
        let old = std::mem::replace(&mut *state, State::Poisoned("the store is being reopened".to_owned()));
        let _closed = catch_unwind(AssertUnwindSafe(|| drop(old)));
        match open_checked(&self.what, &self.open) {
            Ok(database) => *state = State::Open(database),
            Err(error) => {
                *state = State::Poisoned(error.to_string());
                return Err(error);
            }
        }
        Ok(())
    }
}
