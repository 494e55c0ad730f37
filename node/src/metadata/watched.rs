//! The file below the engine, watched: what failed, and whether anything may have been lost.
//!
//! The engine's own errors do not say which call failed, and the difference decides what may be done next:
//!
//! | failed | means | next |
//! |---|---|---|
//! | a write or a resize, for want of space, before pages of the commit were synced | nothing was committed | open anew |
//! | the same, after that, or in a sync | unknown: what was acknowledged is there, what was not may be | open anew |
//! | any other write, any sync | what can be read may not be what is durable | nothing more in this process |
//! | a read | nothing was lost | open anew |

use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::redb::{BackendError, StorageBackend};
use rustix::io::Errno;

/// The engine's header: the file's first page. Commits are made in two phases: first their pages are synced, then a
/// header that makes them count. Before that the header is only written to resize the file.
const HEADER_BYTES: u64 = 4096;

#[derive(Debug, Default)]
struct FileEvents {
    lost: Option<String>,
    full: Option<String>,
    /// Pages were written and not synced.
    pages: bool,
    /// Pages were written and synced, or that was tried.
    synced: bool,
}

/// What has happened to a store's file, across all its openings by this process.
#[derive(Debug, Default)]
pub(super) struct FileHistory(Mutex<FileEvents>);

impl FileHistory {
    fn seen(&self) -> MutexGuard<'_, FileEvents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A commit begins.
    pub(super) fn begin(&self) {
        let mut seen = self.seen();
        (seen.full, seen.pages, seen.synced) = (None, false, false);
    }

    /// Why the file must not be used any more, if it must not.
    pub(super) fn lost(&self) -> Option<String> {
        self.seen().lost.clone()
    }

    /// Why the commit certainly did not happen: the disk was full before any page of it was synced.
    pub(super) fn full(&self) -> Option<String> {
        let seen = self.seen();
        seen.full.clone().filter(|_| !seen.synced)
    }

    /// Something may have been lost; the first such event is kept.
    pub(super) fn lose(&self, action: &str, error: &io::Error) {
        let mut seen = self.seen();
        seen.lost.get_or_insert_with(|| format!("{action}: {error}"));
    }

    fn write<T>(&self, action: &str, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            match is_full(error) {
                true => self.seen().full = Some(error.to_string()),
                false => self.lose(action, error),
            }
        }
        result
    }

    fn page(&self, offset: u64) {
        self.seen().pages |= offset >= HEADER_BYTES;
    }

    fn sync(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        // From the first try on nobody knows what the disk has.
        let mut seen = self.seen();
        seen.synced |= seen.pages;
        drop(seen);
        // Opening anew reads what is durable, as a new process would. No sync is repeated for what this one did not write.
        sync().inspect_err(|error| match is_full(error) {
            true => self.seen().full = Some(error.to_string()),
            false => self.lose("syncing", error),
        })
    }
}

/// Whether an error says that there is no room.
pub(super) fn is_full(error: &io::Error) -> bool {
    let full = [Errno::NOSPC, Errno::DQUOT].map(|errno| Some(errno.raw_os_error()));
    full.contains(&error.raw_os_error())
}

/// A backend that tells its [`FileHistory`] of every failure.
#[derive(Debug)]
pub(super) struct Watched<B> {
    inner: B,
    history: Arc<FileHistory>,
}

impl<B> Watched<B> {
    pub(super) fn new(inner: B, history: &Arc<FileHistory>) -> Self {
        Self { inner, history: Arc::clone(history) }
    }
}

impl<B: StorageBackend> StorageBackend for Watched<B> {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.history.write("resizing", self.inner.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.history.sync(|| self.inner.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.history.page(offset);
        self.history.write("writing", self.inner.write(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_full_disk_before_the_first_sync_of_pages_is_a_definite_failure() {
        let history = FileHistory::default();
        let full = || Err::<(), _>(io::Error::from(Errno::NOSPC));
        history.begin();
        assert!(history.write("writing", full()).is_err());
        assert!(history.full().is_some() && history.lost().is_none());
        history.begin();
        assert!(history.full().is_none(), "of an earlier commit");
        history.page(0);
        history.sync(|| Ok(())).unwrap();
        assert!(history.write("writing", full()).is_err());
        assert!(history.full().is_some(), "only the file was resized");
        history.page(HEADER_BYTES);
        history.sync(|| Ok(())).unwrap();
        assert!(history.full().is_none() && history.lost().is_none(), "unknown, but nothing was lost");
        assert!(history.sync(full).is_err());
        assert!(history.full().is_none() && history.lost().is_none(), "unknown, and read anew from the disk");
        assert!(history.sync(|| Err(io::Error::from(Errno::IO))).is_err());
        assert!(history.lost().is_some_and(|cause| cause.contains("syncing")), "any other is a loss");
        let history = FileHistory::default();
        assert!(history.write("writing", Err::<(), _>(io::Error::from(Errno::IO))).is_err());
        assert!(history.lost().is_some_and(|cause| cause.contains("writing")));
    }
}
