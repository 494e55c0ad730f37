//! What was taken out of service: moved aside into a directory of the hour, in which it waits.
//!
//! ```text
//! chunks/x/y/<chunk> --rename--> quarantine/<hour>/ --all of the hour are old enough (purge.rs)--> unlinked, directory removed
//!                         \--no room for a directory--> quarantine/ --there is--> quarantine/<hour>/
//! found damaged at a start -----> quarantine/damaged/, for an operator
//! ```
//! While it waits it costs nothing: nothing is listed or opened for it, at a start neither. How much it is says the ledger
//! (hours.rs). The directory of an hour is made with the first file that goes there, and its name is durable before that.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use dfs_actors::datanode::chunk_store::StoreError;
use rustix::io::Errno;

use super::disk::{Disk, count, lock};
use super::disk_io::DiskDir;
use super::hours::{Amount, Hour, HourLedger};
use super::layout::Aside;

const MAKING: &str = "making a directory of the quarantine";

#[derive(Default)]
struct State {
    ledger: HourLedger,
    damaged: Amount,
}

/// What is in quarantine, as far as it is counted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct QuarantineTotals {
    /// All of it, what is damaged as well.
    pub(crate) held: Amount,
    /// How much of it is kept for an operator.
    pub(crate) damaged: Amount,
    /// The hours in which the first and the last of it came that will be purged.
    pub(crate) hours: Option<(Hour, Hour)>,
}

/// See the module's documentation.
#[derive(Default)]
pub(crate) struct HourlyQuarantine {
    state: Mutex<State>,
}

impl HourlyQuarantine {
    /// The quarantine of a disk that is being opened.
    pub(crate) fn open(disk: &Disk) -> Self {
        let ledger = HourLedger::read(&*disk.io, &disk.layout.quarantine_totals()).unwrap_or_else(|error| {
            count(&disk.counters.read_errors, 1);
            tracing::warn!(disk = %disk.label, %error, "what is in quarantine is not known before it is purged");
            HourLedger::default()
        });
        let this = Self { state: Mutex::new(State { ledger, damaged: Amount::default() }) };
        this.sync_latest(disk);
        this.count_damaged(disk);
        this
    }

    /// What an earlier process moved before it was killed must not come back once that was reported.
    fn sync_latest(&self, disk: &Disk) {
        let now = Hour::of(disk.unix_ms().1);
        let known = lock(&self.state).ledger.ends().map(|(_, last)| last);
        let hours: BTreeSet<Hour> = known.into_iter().chain([now, Hour(now.0.saturating_sub(1))]).collect();
        for hour in hours {
            let path = disk.layout.hour_dir(hour);
            match disk.io.open_dir(&path) {
                Ok(dir) if disk.check_writable().is_ok() => {
                    let _told_by_the_disk = disk.sync_opened(&path, &*dir);
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!(disk = %disk.label, %error, "an hour of the quarantine is not synced")
                }
            }
        }
    }

    fn count_damaged(&self, disk: &Disk) {
        let names = match disk.io.list(&disk.layout.damaged_dir()) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                count(&disk.counters.read_errors, 1);
                return tracing::warn!(disk = %disk.label, %error, "what was found damaged is not counted");
            }
        };
        for aside in names.iter().filter_map(|name| Aside::parse(name)) {
            self.note_damaged(aside.bytes.unwrap_or(0));
        }
    }

    /// Counts a file that is kept as damaged.
    pub(crate) fn note_damaged(&self, bytes: u64) {
        lock(&self.state).damaged.add(Amount { files: 1, bytes });
    }

    /// Moves a file of `bytes` bytes into the directory of the hour of `at_ms`. Returns where it is now, or nothing if the
    /// file is not there.
    pub(crate) fn take_in(
        &self,
        disk: &Disk,
        from: &Path,
        (name, at_ms, bytes): (&str, u64, u64),
    ) -> Result<Option<PathBuf>, StoreError> {
        for again in [true, false] {
            let (dir, hour) = self.place(disk, at_ms)?;
            match disk.io.rename(from, &dir.join(name)) {
                Ok(()) => {
                    if let Some(hour) = hour {
                        lock(&self.state).ledger.add(hour, Amount { files: 1, bytes });
                    }
                    return Ok(Some(dir));
                }
                // A purge believed in a later hour, and has removed the directory.
                Err(e) if again && e.kind() == io::ErrorKind::NotFound && disk.io.open(from).is_ok() => {
                    disk.let_go(&dir);
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(e) => {
                    let operation = format!("moving {} to quarantine", from.display());
                    return Err(disk.write_failed(&operation, 0, e));
                }
            }
        }
        Ok(None)
    }

    /// The directory of an hour, made if need be; the one above it where there is no room for one.
    fn place(&self, disk: &Disk, at_ms: u64) -> Result<(PathBuf, Option<Hour>), StoreError> {
        let hour = Hour::of(at_ms);
        let (path, above) = (disk.layout.hour_dir(hour), disk.layout.quarantine_dir());
        if disk.has_open(&path) {
            return Ok((path, Some(hour)));
        }
        match disk.io.create_dir(&path).and_then(|_| disk.keep_open(&path)) {
            Ok(()) => {
                // One that was there as well: whoever made it may not have come to sync its name.
                disk.sync_dir(&above)?;
                Ok((path, Some(hour)))
            }
            Err(e) if is_lack(&e) => Ok((above, None)),
            Err(e) => Err(disk.write_failed(MAKING, 0, e)),
        }
    }

    /// Counts a file that was moved on into an hour.
    pub(crate) fn moved_on(&self, hour: Hour, bytes: u64) {
        lock(&self.state).ledger.add(hour, Amount { files: 1, bytes });
    }

    /// Counts what was purged of an hour.
    pub(crate) fn purged(&self, hour: Hour, held: Amount) {
        lock(&self.state).ledger.take(hour, held);
    }

    /// These hours have directories, and no others.
    pub(crate) fn has_only(&self, hours: &BTreeSet<Hour>) {
        lock(&self.state).ledger.keep_only(hours);
    }

    /// Writes the ledger, as far as it has changed. An error means nothing to whoever moved or purged.
    pub(crate) fn write_down(&self, disk: &Disk) {
        let written = lock(&self.state).ledger.write(&*disk.io, &disk.layout.quarantine_totals());
        if let Err(error) = written {
            let error = disk.write_failed("writing the totals of the quarantine", 0, error);
            tracing::debug!(disk = %disk.label, %error, "the totals of the quarantine are late");
        }
    }

    /// Makes the ledger durable.
    pub(crate) fn sync_ledger(&self, disk: &Disk) -> Result<(), StoreError> {
        let synced = lock(&self.state).ledger.sync();
        match synced {
            Ok(true) => disk.sync_dir(&disk.layout.quarantine_dir()),
            Ok(false) => Ok(()),
            Err(e) if is_lack(&e) => Ok(()),
            Err(e) => Err(disk.sync_failed("sync of the totals of the quarantine", &e)),
        }
    }

    /// What there is.
    pub(crate) fn totals(&self) -> QuarantineTotals {
        let state = lock(&self.state);
        let mut held = state.ledger.total();
        held.add(state.damaged);
        QuarantineTotals { held, damaged: state.damaged, hours: state.ledger.ends() }
    }
}

/// A directory of the quarantine that is synced by whoever asks, made if need be, its name durable. Nothing if there is no
/// room for it.
pub(crate) fn open_place(disk: &Disk, path: &Path) -> Result<Option<Box<dyn DiskDir>>, StoreError> {
    match disk.io.create_dir(path).and_then(|_| disk.io.open_dir(path)) {
        Ok(dir) => {
            disk.sync_dir(&disk.layout.quarantine_dir())?;
            Ok(Some(dir))
        }
        Err(e) if is_lack(&e) => Ok(None),
        Err(e) => Err(disk.write_failed(MAKING, 0, e)),
    }
}

/// Whether an error says that there is too little of something, and no more.
pub(crate) fn is_lack(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(
        errno,
        Some(Errno::NOSPC | Errno::DQUOT | Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::MLINK)
    )
}
