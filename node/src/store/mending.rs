//! A disk that refuses writes may take them again: a file system is mounted read-only and then for writing, a permission is
//! missing and then given. So such a disk is tried now and then. One that failed is not: what it lost is unknown.
//!
//! Before it takes anything new, what was left undone while it refused is done: every directory is synced, since what the
//! sweep found in them may be in memory only, and the identity is stored, which was only remembered. An fsync that fails in
//! this fails the disk like any other.

use std::io::{self, IoSlice};
use std::sync::atomic::Ordering;

use super::core::Core;
use super::data_dir::SaveError;
use super::disk_io::WriteMode;

/// How often a disk that refuses writes is tried.
const TRY_EVERY_MS: u64 = 10_000;

impl Core {
    /// Tries a disk that refuses writes, if it is time. Runs on an I/O thread.
    pub(crate) fn try_to_mend(&self) {
        if !self.disk.is_read_only() {
            return;
        }
        let now = u64::try_from(self.disk.io.uptime().as_millis()).unwrap_or(u64::MAX);
        let due = self.mend_at.load(Ordering::Relaxed);
        if due == 0 || now >= due {
            self.mend_at.store(now.saturating_add(TRY_EVERY_MS), Ordering::Relaxed);
        }
        if due == 0 || now < due {
            return;
        }
        match self.mend() {
            Ok(()) => {
                self.mend_at.store(0, Ordering::Relaxed);
                self.disk.recover();
            }
            Err(SaveError::Sync(error)) => {
                self.disk.give_up(format!("a sync after it was read-only: {error}"))
            }
            Err(error) => tracing::debug!(disk = %self.disk.label, %error, "disk refuses writes still"),
        }
    }

    fn mend(&self) -> Result<(), SaveError> {
        let disk = &self.disk;
        self.write_something().map_err(SaveError::Write)?;
        let aside = [disk.layout.quarantine_dir()].into_iter().chain(disk.kept_open());
        for dir in disk.layout.leaves().into_iter().chain(aside) {
            disk.watch.step();
            disk.sync_names(&dir).map_err(SaveError::Sync)?;
        }
        match self.dir.identity() {
            Some(identity) => self.dir.save(identity),
            None => Ok(()),
        }
    }

    /// A file of its own, which nobody is told of.
    fn write_something(&self) -> io::Result<()> {
        let path = self.disk.layout.tmp_file(self.next_name());
        let file = self.disk.io.create(&path, WriteMode::Buffered)?;
        let written = file.write_at(&mut [IoSlice::new(b"dfs")], 0).and_then(|()| file.sync_data());
        drop(file);
        let removed = self.disk.io.unlink(&path);
        written.and(removed)
    }
}
