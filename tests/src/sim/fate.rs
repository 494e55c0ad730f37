//! Where a process is to end: just before or just after one of the steps by which it changes the world.
//!
//! A step is a change (or sync) of the host's disk, or a frame that it sends. Both are counted from the beginning of the
//! world, over all lives of the host, so that a number that was seen in one run names the same step in the next.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::id::HostId;

/// What a step changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The host's disk.
    Disk,
    /// What others know: a frame leaves.
    Frame,
}

/// The end of a process at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crash {
    /// Whose process ends.
    pub host: HostId,
    /// What kind of step.
    pub place: Place,
    /// Which of the host's steps of that kind.
    pub number: u64,
    /// After it, not before.
    pub after: bool,
    /// The machine loses power; else only the process is killed.
    pub power: bool,
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, place, number, after, power } = self;
        let when = if *after { "after" } else { "before" };
        let place = match place {
            Place::Disk => "disk",
            Place::Frame => "frame",
        };
        write!(f, "{host} {when} {place} {number} {}", if *power { "power" } else { "kill" })
    }
}

impl Crash {
    /// The crash that these words say, as [`fmt::Display`] writes them.
    pub(super) fn of(words: &[&str]) -> Option<Self> {
        let [host, when, place, number, how] = words else { return None };
        let place =
            [("disk", Place::Disk), ("frame", Place::Frame)].into_iter().find(|(name, _)| name == place)?;
        let either = |word: &str, no: &str, yes: &str| (word == yes || word == no).then_some(word == yes);
        Some(Self {
            host: HostId::named(host)?,
            place: place.1,
            number: number.parse().ok()?,
            after: either(when, "before", "after")?,
            power: either(how, "kill", "power")?,
        })
    }
}

/// What is to become of a host: how many steps it has made, and at which it ends. It outlives the host's processes.
#[derive(Debug, Default)]
pub(super) struct Fate {
    steps: [AtomicU64; 2],
    crashes: Mutex<Vec<Crash>>,
}

impl Fate {
    fn crashes(&self) -> std::sync::MutexGuard<'_, Vec<Crash>> {
        self.crashes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Plans a crash.
    pub(super) fn plan(&self, crash: Crash) {
        self.crashes().push(crash);
    }

    /// Plans the loss of power at the step of the disk that comes after `skip` others.
    pub(super) fn die_at_disk(&self, host: HostId, skip: u64, after: bool) {
        let number = self.steps[Place::Disk as usize].load(Ordering::Relaxed) + skip;
        self.plan(Crash { host, place: Place::Disk, number, after, power: true });
    }

    /// What has not come will not.
    pub(super) fn forgive(&self) {
        self.crashes().clear();
    }

    /// Crashes that have not come.
    pub(super) fn pending(&self) -> Vec<Crash> {
        self.crashes().clone()
    }

    /// The host makes a step: its number, and the crash that comes with it.
    pub(super) fn step(&self, place: Place) -> (u64, Option<Crash>) {
        let number = self.steps[place as usize].fetch_add(1, Ordering::Relaxed);
        let mut crashes = self.crashes();
        let due = crashes.iter().position(|crash| (crash.place, crash.number) == (place, number));
        (number, due.map(|at| crashes.remove(at)))
    }
}
