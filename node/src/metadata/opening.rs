//! How the file of a store is opened.
//!
//! - A new file has another name until it is whole: a start that dies in the middle leaves nothing that stops the next.
//!   Under that name it is locked before it is touched, and whether there is a file is looked at again under the lock: of
//!   several processes that start in one directory, one makes it, and none takes its place.
//! - Each opening first syncs the file and then has the kernel drop what it keeps of it, so that what is read is what
//!   is durable: after a failed sync, or a kill between write and sync, the page cache shows more than the disk has.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::redb::backends::FileBackend;
use ::redb::{Builder, Database, DatabaseError, StorageBackend, StorageError};
use dfs_wire::bugs::{self, Bug};
use rustix::fs::{Advice, OFlags, fadvise};

use super::watched::{FileHistory, Watched, is_full};
use crate::private::{self, FILE_MODE};

/// What a new file's name ends with until it is whole.
const UNFINISHED: &str = "unfinished";

/// How to open a store.
#[derive(Debug, Clone)]
pub struct RedbOptions {
    /// Memory for pages of the file.
    pub cache_bytes: usize,
    /// A file no larger than this is checked whole when it is opened.
    pub check_on_open_bytes_max: u64,
    /// Space of its disk kept free, but never more than 5 % of the disk.
    pub reserve_bytes: u64,
}

impl Default for RedbOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 256 * 1024 * 1024,
            check_on_open_bytes_max: 1024 * 1024 * 1024,
            reserve_bytes: 64 * 1024 * 1024,
        }
    }
}

/// When a store is opened.
#[derive(Debug, Clone, Copy)]
pub(super) enum Opening {
    /// For the first time in this process: its file is checked, and made if it is not there.
    First,
    /// After it was closed, and whether the reason calls for a check. A file that is gone is an error: what was in it
    /// was acknowledged.
    Again { check: bool },
}

impl Opening {
    /// Whether the file is checked, if it is not too long for that.
    pub(super) const fn checks(self) -> bool {
        matches!(self, Self::First | Self::Again { check: true })
    }
}

/// The file system that the file of a store is on.
pub trait StoreFiles {
    /// An open file.
    type File;
    /// What the engine reads and writes it by.
    type Backend: StorageBackend;

    /// The file that a link in its place leads to: a new one is made beside it, not in the place of the link.
    ///
    /// # Errors
    /// As the operating system; if the link leads nowhere.
    fn resolved(&self, path: &Path) -> io::Result<PathBuf>;

    /// Whether there is no file, or an empty one.
    fn is_missing(&self, path: &Path) -> bool;

    /// Opens a file to read and write it; makes it if it is to be a new one and is not there.
    ///
    /// # Errors
    /// As the operating system.
    fn open(&self, path: &Path, is_new: bool) -> io::Result<Self::File>;

    /// Locks it, if nobody else has.
    ///
    /// # Errors
    /// As the operating system; a lock that is taken is not an error.
    fn lock(&self, file: &Self::File) -> io::Result<bool>;

    /// Takes all out of it.
    ///
    /// # Errors
    /// As the operating system.
    fn empty(&self, file: &Self::File) -> io::Result<()>;

    /// Makes what was written durable, and drops what the kernel keeps of the file: pages that only look clean, because an
    /// earlier sync of them failed, are read back from the disk.
    ///
    /// # Errors
    /// As the operating system.
    fn show_what_is_durable(&self, file: &Self::File) -> io::Result<()>;

    /// Gives the file to the engine.
    ///
    /// # Errors
    /// If another has it.
    fn backend(&self, file: Self::File) -> Result<Self::Backend, DatabaseError>;

    /// Gives a file another name.
    ///
    /// # Errors
    /// As the operating system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// As the operating system.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
}

/// Those of the operating system; how a directory is synced is told.
pub(super) struct OsFiles<S>(pub(super) S);

impl<S: Fn(&Path) -> io::Result<()>> StoreFiles for OsFiles<S> {
    type File = File;
    type Backend = FileBackend;

    fn resolved(&self, path: &Path) -> io::Result<PathBuf> {
        match std::fs::symlink_metadata(path) {
            Ok(found) if found.is_symlink() => std::fs::canonicalize(path).map_err(|e| {
                io::Error::new(
                    e.kind(),
                    format!("it is a link that leads nowhere ({e}); mount what it leads to, or remove it"),
                )
            }),
            _ => Ok(path.to_owned()),
        }
    }

    fn is_missing(&self, path: &Path) -> bool {
        is_missing(path)
    }

    fn open(&self, path: &Path, is_new: bool) -> io::Result<File> {
        let flags = if is_new { OFlags::NOFOLLOW } else { OFlags::empty() };
        let mut how = File::options();
        how.read(true).write(true).create(is_new).truncate(false).mode(FILE_MODE);
        private::open(&mut how, flags, path)
    }

    fn lock(&self, file: &File) -> io::Result<bool> {
        match file.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn empty(&self, file: &File) -> io::Result<()> {
        file.set_len(0)
    }

    fn show_what_is_durable(&self, file: &File) -> io::Result<()> {
        file.sync_all()?;
        Ok(fadvise(file, 0, None, Advice::DontNeed)?)
    }

    fn backend(&self, file: File) -> Result<FileBackend, DatabaseError> {
        FileBackend::new(file)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0(path)
    }
}

/// Opens the engine on a file.
pub(super) fn open_file(
    files: &impl StoreFiles,
    path: &Path,
    options: &RedbOptions,
    history: &Arc<FileHistory>,
    opening: Opening,
) -> Result<Database, DatabaseError> {
    let path = &files.resolved(path).map_err(StorageError::Io)?;
    let is_new = files.is_missing(path);
    if is_new && matches!(opening, Opening::Again { .. }) {
        let gone = "it is gone, or empty: mount the disk it was on, or restore it from a backup";
        return Err(StorageError::Io(io::Error::new(io::ErrorKind::NotFound, gone)).into());
    }
    let unfinished = path.with_extension(UNFINISHED);
    let at = if is_new { &unfinished } else { path };
    let named = |e: io::Error| match e.raw_os_error() {
        // What it means is decided by its number.
        Some(_) if !is_new || is_full(&e) => e,
        _ => io::Error::new(e.kind(), format!("{}: {e}", at.display())),
    };
    let file = files.open(at, is_new).map_err(named).map_err(StorageError::Io)?;
    let lose = |error: &io::Error| {
        if !is_full(error) {
            history.lose("syncing", error);
        }
    };
    if is_new {
        claim(files, &file, path)?;
    }
    files.show_what_is_durable(&file).inspect_err(lose).map_err(StorageError::Io)?;
    let backend = files.backend(file)?;
    let name = || if is_new { files.rename(&unfinished, path) } else { Ok(()) };
    let sync_name = || path.parent().map_or(Ok(()), |parent| files.sync_dir(parent));
    open_backend(backend, options, history, opening, (&name, &sync_name))
}

/// Takes the unfinished file of `path` for this process, and empties it of what a start left that died with it.
fn claim<F: StoreFiles>(files: &F, unfinished: &F::File, path: &Path) -> Result<(), DatabaseError> {
    // The engine takes the same lock of the same open file once more, and keeps it under the file's new name.
    match files.lock(unfinished).map_err(StorageError::Io)? {
        true if files.is_missing(path) => Ok(files.empty(unfinished).map_err(StorageError::Io)?),
        // In the meantime it was made: by whoever has it now, and this may be that very file.
        true | false => Err(DatabaseError::DatabaseAlreadyOpen),
    }
}

/// Whether there is no file, or an empty one: a file has its name only once it is whole. What is there and is no file (a FIFO)
/// is not missing: opening it says what it is.
pub fn is_missing(path: &Path) -> bool {
    match std::fs::metadata(path) {
        Ok(found) => found.is_file() && found.len() == 0,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Opens the engine on a backend that shows what is durable.
pub(super) fn open_backend(
    backend: impl StorageBackend,
    options: &RedbOptions,
    history: &Arc<FileHistory>,
    opening: Opening,
    (name, sync_name): (&dyn Fn() -> io::Result<()>, &dyn Fn() -> io::Result<()>),
) -> Result<Database, DatabaseError> {
    let len = backend.len().map_err(StorageError::Io)?;
    let database = Builder::new()
        .set_cache_size(options.cache_bytes)
        .set_check_integrity_on_open(opening.checks() && len <= options.check_on_open_bytes_max)
        .create_with_backend(Watched::new(backend, history))?;
    name().map_err(StorageError::Io)?;
    if !bugs::is(Bug::SkipMetadataName) {
        // At every opening: whoever gave the file its name may have died before that was durable.
        sync_name().inspect_err(|error| history.lose("syncing", error)).map_err(StorageError::Io)?;
    }
    Ok(database)
}

#[cfg(test)]
mod tests;
