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

/// Opens the engine on a file.
pub(super) fn open_file(
    path: &Path,
    options: &RedbOptions,
    history: &Arc<FileHistory>,
    opening: Opening,
    sync_dir: &dyn Fn(&Path) -> io::Result<()>,
) -> Result<Database, DatabaseError> {
    let path = &resolved(path).map_err(StorageError::Io)?;
    let is_new = is_missing(path);
    if is_new && matches!(opening, Opening::Again { .. }) {
        let gone = "it is gone, or empty: mount the disk it was on, or restore it from a backup";
        return Err(StorageError::Io(io::Error::new(io::ErrorKind::NotFound, gone)).into());
    }
    let unfinished = path.with_extension(UNFINISHED);
    let (at, flags) = if is_new { (&unfinished, OFlags::NOFOLLOW) } else { (path, OFlags::empty()) };
    let mut how = File::options();
    how.read(true).write(true).create(is_new).truncate(false).mode(FILE_MODE);
    let named = |e: io::Error| match e.raw_os_error() {
        // What it means is decided by its number.
        Some(_) if !is_new || is_full(&e) => e,
        _ => io::Error::new(e.kind(), format!("{}: {e}", at.display())),
    };
    let file = private::open(&mut how, flags, at).map_err(named).map_err(StorageError::Io)?;
    let lose = |error: &io::Error| {
        if !is_full(error) {
            history.lose("syncing", error);
        }
    };
    if is_new {
        claim(&file, path)?;
    }
    show_what_is_durable(&file).inspect_err(lose).map_err(StorageError::Io)?;
    let backend = FileBackend::new(file)?;
    let name = || if is_new { std::fs::rename(&unfinished, path) } else { Ok(()) };
    let sync_name = || path.parent().map_or(Ok(()), sync_dir);
    open_backend(backend, options, history, opening, (&name, &sync_name))
}

/// The file that a link in its place leads to: a new one is made beside it, not in the place of the link.
fn resolved(path: &Path) -> io::Result<PathBuf> {
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

/// Takes the unfinished file of `path` for this process, and empties it of what a start left that died with it.
fn claim(unfinished: &File, path: &Path) -> Result<(), DatabaseError> {
    // The engine takes the same lock of the same open file once more, and keeps it under the file's new name.
    match unfinished.try_lock() {
        Ok(()) if is_missing(path) => Ok(unfinished.set_len(0).map_err(StorageError::Io)?),
        // In the meantime it was made: by whoever has it now, and this may be that very file.
        Ok(()) | Err(TryLockError::WouldBlock) => Err(DatabaseError::DatabaseAlreadyOpen),
        Err(TryLockError::Error(error)) => Err(StorageError::Io(error).into()),
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
        // At every opening: whoever gave the file its name may have died before that was durable (R3).
        sync_name().inspect_err(|error| history.lose("syncing", error)).map_err(StorageError::Io)?;
    }
    Ok(database)
}

/// Makes what was written durable, and drops what the kernel keeps of the file: pages that only look clean, because an
/// earlier sync of them failed, are read back from the disk.
fn show_what_is_durable(file: &File) -> io::Result<()> {
    file.sync_all()?;
    Ok(fadvise(file, 0, None, Advice::DontNeed)?)
}

#[cfg(test)]
mod tests;
