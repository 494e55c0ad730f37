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

/// What is done in the middle of a step.
type Blow = Box<dyn FnOnce() + Send>;

/// What is to become of a host: how many steps it has made, and at which it ends or is struck. It outlives the host's
/// processes.
#[derive(Default)]
pub(super) struct Fate {
    steps: [AtomicU64; 2],
    crashes: Mutex<Vec<Crash>>,
    /// What is to come, after so many steps of any kind.
    blows: Mutex<Vec<(u64, Blow)>>,
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

    fn blows(&self) -> std::sync::MutexGuard<'_, Vec<(u64, Blow)>> {
        self.blows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Plans something at the step that comes after `skip` others.
    pub(super) fn strike_at(&self, skip: u64, blow: impl FnOnce() + Send + 'static) {
        self.blows().push((skip, Box::new(blow)));
    }

    /// Whether a blow has not come yet.
    pub(super) fn is_awaited(&self) -> bool {
        !self.blows().is_empty()
    }

    /// What has not come will not.
    pub(super) fn forgive(&self) {
        self.crashes().clear();
        self.blows().clear();
    }

    /// Crashes that have not come.
    pub(super) fn pending(&self) -> Vec<Crash> {
        self.crashes().clone()
    }

    /// The host makes a step: its number, and the crash that comes with it.
    pub(super) fn step(&self, place: Place) -> (u64, Option<Crash>) {
        let number = self.steps[place as usize].fetch_add(1, Ordering::Relaxed);
        self.blows_due().into_iter().for_each(|blow| blow());
        let mut crashes = self.crashes();
        let due = crashes.iter().position(|crash| (crash.place, crash.number) == (place, number));
        (number, due.map(|at| crashes.remove(at)))
    }

    fn blows_due(&self) -> Vec<Blow> {
        let mut blows = self.blows();
        let (due, later) = std::mem::take(&mut *blows).into_iter().partition(|(left, _)| *left == 0);
        *blows = later;
        blows.iter_mut().for_each(|(left, _)| *left -= 1);
        let due: Vec<(u64, Blow)> = due;
        due.into_iter().map(|(_, blow)| blow).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_blow_comes_at_its_step_once_unless_it_is_called_off() {
        let (fate, struck) = (Fate::default(), Arc::new(AtomicU64::new(0)));
        let blow = || {
            let struck = struck.clone();
            move || {
                struck.fetch_add(1, Ordering::Relaxed);
            }
        };
        fate.strike_at(0, blow());
        fate.strike_at(2, blow());
        let seen: Vec<_> = [Place::Disk, Place::Frame, Place::Disk, Place::Disk]
            .into_iter()
            .map(|place| {
                fate.step(place);
                struck.load(Ordering::Relaxed)
            })
            .collect();
        assert_eq!(seen, [1, 1, 2, 2]);
        fate.strike_at(0, blow());
        assert!(fate.is_awaited());
        fate.forgive();
        fate.step(Place::Disk);
        assert_eq!(struck.load(Ordering::Relaxed), 2);
    }
}
