//! Purging the quarantine: in steps of some hundred files, over all threads that write, for a while and no longer.
//!
//! ```text
//! find: what lies loose, else the first hour that is old enough --names, so many at most--> jobs, one a thread: unlink
//!   ^                                                                                           |
//!   +------ until nothing is found, or time is up ---- sync of the directory, ledger <----------+
//! ```
//! An hour is old enough as a whole: so a file stays as long as it is to, and up to an hour longer, and nobody has to look which
//! ones are due. Only where less than an hour is asked for, the files of an hour are told apart, by their names.
//!
//! What lies loose was moved aside by an older version, or while there was no room for a directory: it is purged if it is old
//! enough, and else moved to where it belongs, some hundred files a step.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dfs_actors::datanode::chunk_store::{Purged, StoreError};
use futures_util::future::join_all;
use rustix::io::Errno;

use super::core::Core;
use super::disk_io::DiskDir;
use super::hours::{Amount, Hour};
use super::layout::Aside;
use super::quarantine::open_place;

/// Files of one job.
const STEP_FILES: usize = 128;
/// Directories of hours that one look takes in.
const HOURS_MAX: usize = 1024;
/// How far the clock may go astray in silence.
const CLOCK_SLACK_MS: u64 = 3_600_000;
const HOUR_MS: u64 = 3_600_000;

/// What is old enough.
#[derive(Clone, Copy)]
struct Age {
    now_ms: u64,
    least_ms: u64,
}

impl Age {
    fn is_due(self, since_ms: u64) -> bool {
        self.now_ms.saturating_sub(since_ms) >= self.least_ms
    }

    /// Whether anything of an hour may be due. Of a long retention an hour is due as a whole.
    fn is_hour_due(self, hour: Hour) -> bool {
        self.is_due(if self.least_ms >= HOUR_MS { hour.ends_ms() } else { hour.begins_ms() })
    }

    /// How long it is until that is so of the first and the last of some hours.
    fn until(self, first: Hour, last: Hour) -> (Duration, Duration) {
        // Told apart, no file of an hour is younger than this moment.
        let (first, last) = match self.least_ms >= HOUR_MS {
            true => (first.ends_ms(), last.ends_ms()),
            false => (first.begins_ms(), last.ends_ms().min(self.now_ms)),
        };
        let left = |at_ms: u64| at_ms.saturating_add(self.least_ms).saturating_sub(self.now_ms);
        (Duration::from_millis(left(first)), Duration::from_millis(left(last)))
    }
}

/// In how long the first and the last of what is in quarantine are old enough, as far as hours tell.
pub(crate) fn ends(core: &Core, older_than: Duration) -> Option<(Duration, Duration)> {
    let (first, last) = core.quarantine.totals().hours?;
    let least_ms = u64::try_from(older_than.as_millis()).unwrap_or(u64::MAX);
    Some(Age { now_ms: core.disk.unix_ms().0, least_ms }.until(first, last))
}

/// What a step has to do.
enum Work {
    /// Unlink these files of an hour.
    Unlink(Hour, Vec<String>),
    /// Unlink these loose files, or move them to where they belong.
    Settle(Vec<String>),
    /// There is nothing to do.
    Nothing,
}

/// What a job did, and the names that it could do nothing about.
type Unlinked = Result<(Amount, Vec<String>), StoreError>;

/// A round: ends when nothing is old enough any more, or `within` has passed.
pub(crate) async fn round(
    core: Arc<Core>,
    older_than: Duration,
    within: Duration,
) -> Result<Purged, StoreError> {
    let until = core.disk.io.uptime() + within;
    let least_ms = u64::try_from(older_than.as_millis()).unwrap_or(u64::MAX);
    let (mut purged, mut passed) = (Purged::default(), BTreeSet::new());
    loop {
        let (age, without) = (age_of(&core, least_ms), passed.clone());
        let work = on_disk(&core, move |core| find(core, age, &without)).await?;
        let (amount, left) = match work {
            Work::Nothing => break,
            Work::Settle(names) => on_disk(&core, move |core| settle(core, names, age)).await?,
            Work::Unlink(hour, names) => unlink_all(&core, hour, &names).await?,
        };
        purged.files += amount.files;
        purged.bytes += amount.bytes;
        passed.extend(left);
        if core.disk.io.uptime() >= until {
            purged.more = true;
            break;
        }
    }
    on_disk(&core, |core| core.quarantine.sync_ledger(&core.disk)).await?;
    Ok(purged)
}

async fn on_disk<T: Send + 'static>(
    core: &Arc<Core>,
    work: impl FnOnce(&Core) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let inner = Arc::clone(core);
    let ended = core.writes.run(move || inner.disk.check_writable().and_then(|()| work(&inner))).await;
    ended.map_err(|none| core.no_answer(none))?
}

fn age_of(core: &Core, least_ms: u64) -> Age {
    let (now_ms, latest) = core.disk.unix_ms();
    if latest - now_ms > least_ms.max(CLOCK_SLACK_MS) {
        let ahead_s = (latest - now_ms) / 1000;
        tracing::warn!(disk = %core.disk.label, ahead_s, "the clock was set while this node ran: what is in quarantine stays longer");
    }
    Age { now_ms, least_ms }
}

/// Looks for the next step, and removes the directories of hours of which nothing is left.
fn find(core: &Core, age: Age, passed: &BTreeSet<String>) -> Result<Work, StoreError> {
    let (disk, most) = (&core.disk, STEP_FILES * core.io_threads);
    let failed = |e| disk.read_failed("listing the quarantine", e);
    let root = disk.layout.quarantine_dir();
    let is_loose = |name: &str| Aside::parse(name).is_some() && !passed.contains(name);
    let loose = disk.io.list_some(&root, most, &is_loose).map_err(failed)?;
    if !loose.is_empty() {
        return Ok(Work::Settle(loose));
    }
    let hours = disk.io.list_some(&root, HOURS_MAX, &|name| Hour::parse(name).is_some()).map_err(failed)?;
    let mut hours: BTreeSet<Hour> = hours.iter().filter_map(|name| Hour::parse(name)).collect();
    let mut removed = BTreeSet::new();
    let mut work = Work::Nothing;
    for hour in hours.iter().copied().filter(|hour| age.is_hour_due(*hour)) {
        let dir = disk.layout.hour_dir(hour);
        let is_due = |name: &str| {
            Aside::parse(name).is_some_and(|aside| !aside.damaged && age.is_due(aside.since_ms))
                && !passed.contains(name)
        };
        let names = disk.io.list_some(&dir, most, &is_due).map_err(failed)?;
        if !names.is_empty() {
            work = Work::Unlink(hour, names);
            break;
        }
        let over = hour < Hour::of(age.now_ms);
        let gone = over
            && disk.io.remove_dir(&dir).map_err(|e| disk.write_failed("removing an empty hour", 0, e))?;
        if gone {
            disk.let_go(&dir);
            removed.insert(hour);
        }
    }
    hours.retain(|hour| !removed.contains(hour));
    core.quarantine.has_only(&hours);
    core.quarantine.write_down(disk);
    if !removed.is_empty() {
        disk.sync_dir(&root)?;
    }
    Ok(work)
}

/// Unlinks files of an hour, on as many threads as there are, and syncs its directory.
async fn unlink_all(core: &Arc<Core>, hour: Hour, names: &[String]) -> Unlinked {
    let jobs = names.chunks(STEP_FILES).map(|names| {
        let names = names.to_vec();
        on_disk(core, move |core| unlink_some(core, hour, names))
    });
    let (mut amount, mut passed) = (Amount::default(), Vec::new());
    for done in join_all(jobs).await {
        let (more, left) = done?;
        amount.add(more);
        passed.extend(left);
    }
    on_disk(core, move |core| {
        let path = core.disk.layout.hour_dir(hour);
        let dir = core
            .disk
            .io
            .open_dir(&path)
            .map_err(|e| core.disk.read_failed("opening an hour of the quarantine", e))?;
        core.disk.sync_opened(&path, &*dir)?;
        core.quarantine.write_down(&core.disk);
        Ok(())
    })
    .await?;
    Ok((amount, passed))
}

fn unlink_some(core: &Core, hour: Hour, names: Vec<String>) -> Unlinked {
    let dir = core.disk.layout.hour_dir(hour);
    let (mut amount, mut passed) = (Amount::default(), Vec::new());
    for name in names {
        match unlink(core, &dir.join(&name), &name)? {
            Some(bytes) => {
                let one = Amount { files: 1, bytes };
                core.quarantine.purged(hour, one);
                amount.add(one);
            }
            None => passed.push(name),
        }
    }
    Ok((amount, passed))
}

/// Unlinks one file; returns its bytes, or nothing if it is a directory.
fn unlink(core: &Core, path: &Path, name: &str) -> Result<Option<u64>, StoreError> {
    let disk = &core.disk;
    disk.watch.step();
    let bytes = bytes_of(core, path, name);
    match disk.io.unlink(path) {
        Ok(()) => Ok(Some(bytes)),
        Err(e) if Errno::from_io_error(&e) == Some(Errno::ISDIR) => {
            tracing::warn!(disk = %disk.label, path = %path.display(), "a directory in the quarantine is left alone");
            Ok(None)
        }
        Err(e) => Err(disk.write_failed("purging the quarantine", 0, e)),
    }
}

/// By its name, or, if an older version gave that, by a look at the file.
fn bytes_of(core: &Core, path: &Path, name: &str) -> u64 {
    let said = Aside::parse(name).and_then(|aside| aside.bytes);
    said.unwrap_or_else(|| core.disk.io.open(path).and_then(|file| file.file_len()).unwrap_or(0))
}

/// Where loose files are moved to, each directory opened; nothing where there is no room for one.
type Places = BTreeMap<PathBuf, Option<Box<dyn DiskDir>>>;

/// Where a loose file belongs; nowhere if it is due.
fn place_of(core: &Core, aside: &Aside<'_>, age: Age) -> Option<(PathBuf, Option<Hour>)> {
    let layout = &core.disk.layout;
    let hour = Hour::of(aside.since_ms);
    match aside.damaged {
        true => Some((layout.damaged_dir(), None)),
        false if age.is_due(aside.since_ms) => None,
        false => Some((layout.hour_dir(hour), Some(hour))),
    }
}

/// Unlinks loose files that are due, and moves the others to where they belong.
fn settle(core: &Core, names: Vec<String>, age: Age) -> Unlinked {
    let disk = &core.disk;
    let root = disk.layout.quarantine_dir();
    let mut places = Places::new();
    // All of them before anything is moved: to make one durable is to make durable what has left the directory above.
    for (path, _) in names.iter().filter_map(|name| place_of(core, &Aside::parse(name)?, age)) {
        if !places.contains_key(&path) {
            places.insert(path.clone(), open_place(disk, &path)?);
        }
    }
    let (mut amount, mut passed) = (Amount::default(), Vec::new());
    for name in names {
        let Some(aside) = Aside::parse(&name) else { continue };
        let from = root.join(&name);
        let Some((place, hour)) = place_of(core, &aside, age) else {
            match unlink(core, &from, &name)? {
                Some(bytes) => amount.add(Amount { files: 1, bytes }),
                None => passed.push(name),
            }
            continue;
        };
        if places.get(&place).is_none_or(Option::is_none) {
            passed.push(name);
            continue;
        }
        disk.watch.step();
        let bytes = bytes_of(core, &from, &name);
        let to = place.join(Aside { bytes: Some(bytes), ..aside }.to_string());
        disk.io.rename(&from, &to).map_err(|e| disk.write_failed("moving on in the quarantine", 0, e))?;
        match hour {
            Some(hour) => core.quarantine.moved_on(hour, bytes),
            None => core.quarantine.note_damaged(bytes),
        }
    }
    // Where files went before where they came from.
    for (path, dir) in &places {
        dir.iter().try_for_each(|dir| disk.sync_opened(path, &**dir))?;
    }
    disk.sync_dir(&root)?;
    core.quarantine.write_down(disk);
    Ok((amount, passed))
}
