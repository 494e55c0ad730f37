//! Notices I/O that does not come back: a disk whose firmware hangs answers neither with data nor with an error.
//!
//! Each thread that does I/O notes when it began its current step, and forgets it at the end. The oldest of these steps
//! says how long the disk has been silent at least. Nothing is latched: when the step ends, the disk is as it was.
//! Time is the uptime of the disk's file system ([`DiskIo::uptime`](super::disk_io::DiskIo::uptime)), so that a test can let it pass.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::Duration;

use super::disk::lock;
use super::disk_io::DiskIo;

/// A step that takes longer counts as stalled: a slow disk, and one that retries a sector, are faster.
pub(crate) const STALLED_AFTER: Duration = Duration::from_secs(30);

/// The steps under way on one disk.
pub(crate) struct Watch {
    io: Arc<dyn DiskIo>,
    steps: Mutex<HashMap<ThreadId, Duration>>,
    /// When jobs were handed to a disk that has not run them yet, in that order.
    waiting: Mutex<BTreeMap<u64, Duration>>,
    told: AtomicBool,
}

/// A job that waits for its disk.
pub(crate) struct Waiting {
    watch: Arc<Watch>,
    number: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        lock(&self.watch.waiting).remove(&self.number);
    }
}

/// A thread at work. A thread that is at work already stays so when the inner work ends.
pub(crate) struct AtWork<'a> {
    watch: &'a Watch,
    outer: bool,
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        if self.outer {
            self.watch.step();
        } else {
            lock(&self.watch.steps).remove(&std::thread::current().id());
        }
    }
}

impl Watch {
    /// A watch over what is done with `io`.
    pub(crate) fn new(io: Arc<dyn DiskIo>) -> Self {
        Self { io, steps: Mutex::default(), waiting: Mutex::default(), told: AtomicBool::default() }
    }

    /// This thread begins to work.
    pub(crate) fn begin(&self) -> AtWork<'_> {
        let outer = lock(&self.steps).insert(std::thread::current().id(), self.io.uptime()).is_some();
        AtWork { watch: self, outer }
    }

    /// A job is handed to the disk, which has it until the guard is dropped.
    pub(crate) fn wait(watch: &Arc<Self>) -> Waiting {
        let mut waiting = lock(&watch.waiting);
        let number = waiting.last_key_value().map_or(0, |(last, _)| last + 1);
        waiting.insert(number, watch.io.uptime());
        Waiting { watch: Arc::clone(watch), number }
    }

    /// This thread, if it is at work, goes on to another step of it.
    pub(crate) fn step(&self) {
        if let Some(since) = lock(&self.steps).get_mut(&std::thread::current().id()) {
            *since = self.io.uptime();
        }
    }

    /// How long the oldest step has been under way.
    pub(crate) fn oldest(&self, now: Duration) -> Duration {
        let (steps, waiting) = (lock(&self.steps), lock(&self.waiting));
        steps
            .values()
            .chain(waiting.values())
            .map(|since| now.saturating_sub(*since))
            .max()
            .unwrap_or_default()
    }

    /// Whether the disk is stalled, and whether that is news.
    pub(crate) fn is_stalled(&self, now: Duration) -> (bool, bool) {
        let stalled = self.oldest(now) >= STALLED_AFTER;
        (stalled, self.told.swap(stalled, Ordering::Relaxed) != stalled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::OsDisk;

    #[test]
    fn a_step_without_end_stalls_the_disk_until_it_ends() {
        let watch = Watch::new(Arc::new(OsDisk));
        let later = || OsDisk.uptime() + STALLED_AFTER;
        assert_eq!(watch.is_stalled(later()), (false, false), "nothing is under way");
        let outer = watch.begin();
        assert_eq!(watch.is_stalled(OsDisk.uptime()), (false, false));
        assert_eq!(watch.is_stalled(later()), (true, true));
        assert_eq!(watch.is_stalled(later()), (true, false), "told already");
        drop(watch.begin());
        assert!(watch.oldest(later()) >= STALLED_AFTER, "the outer work goes on");
        drop(outer);
        assert_eq!(watch.is_stalled(later()), (false, true), "it has recovered");
    }

    #[test]
    fn a_job_that_the_disk_does_not_get_to_stalls_it() {
        let watch = Arc::new(Watch::new(Arc::new(OsDisk)));
        let (first, second) = (Watch::wait(&watch), Watch::wait(&watch));
        drop(first);
        let later = OsDisk.uptime() + STALLED_AFTER;
        assert!(watch.is_stalled(later).0);
        drop(second);
        assert!(!watch.is_stalled(later).0);
    }

    #[test]
    fn a_long_job_of_short_steps_is_no_stall() {
        let watch = Watch::new(Arc::new(OsDisk));
        let _at_work = watch.begin();
        let before = OsDisk.uptime();
        watch.step();
        assert!(watch.oldest(before + STALLED_AFTER) <= STALLED_AFTER);
    }
}
