//! Notices I/O that does not come back: a disk whose firmware hangs answers neither with data nor with an error.
//!
//! Each thread that does I/O notes when it began its current step, and forgets it at the end. The oldest of these steps
//! says how long the disk has been silent at least. Nothing is latched: when the step ends, the disk is as it was.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use super::disk::lock;

/// A step that takes longer counts as stalled: a slow disk, and one that retries a sector, are faster.
pub(crate) const STALLED_AFTER: Duration = Duration::from_secs(30);

/// The steps under way on one disk.
#[derive(Default)]
pub(crate) struct Watch {
    steps: Mutex<HashMap<ThreadId, Instant>>,
    told: AtomicBool,
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
    /// This thread begins to work.
    pub(crate) fn begin(&self) -> AtWork<'_> {
        let outer = lock(&self.steps).insert(std::thread::current().id(), Instant::now()).is_some();
        AtWork { watch: self, outer }
    }

    /// This thread, if it is at work, goes on to another step of it.
    pub(crate) fn step(&self) {
        if let Some(since) = lock(&self.steps).get_mut(&std::thread::current().id()) {
            *since = Instant::now();
        }
    }

    /// How long the oldest step has been under way.
    pub(crate) fn oldest(&self, now: Instant) -> Duration {
        let steps = lock(&self.steps);
        steps.values().map(|since| now.saturating_duration_since(*since)).max().unwrap_or_default()
    }

    /// Whether the disk is stalled, and whether that is news.
    pub(crate) fn is_stalled(&self, now: Instant) -> (bool, bool) {
        let stalled = self.oldest(now) >= STALLED_AFTER;
        (stalled, self.told.swap(stalled, Ordering::Relaxed) != stalled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_without_end_stalls_the_disk_until_it_ends() {
        let watch = Watch::default();
        let later = || Instant::now() + STALLED_AFTER;
        assert_eq!(watch.is_stalled(later()), (false, false), "nothing is under way");
        let outer = watch.begin();
        assert_eq!(watch.is_stalled(Instant::now()), (false, false));
        assert_eq!(watch.is_stalled(later()), (true, true));
        assert_eq!(watch.is_stalled(later()), (true, false), "told already");
        drop(watch.begin());
        assert!(watch.oldest(later()) >= STALLED_AFTER, "the outer work goes on");
        drop(outer);
        assert_eq!(watch.is_stalled(later()), (false, true), "it has recovered");
    }

    #[test]
    fn a_long_job_of_short_steps_is_no_stall() {
        let watch = Watch::default();
        let _at_work = watch.begin();
        let before = Instant::now();
        watch.step();
        assert!(watch.oldest(before + STALLED_AFTER) <= STALLED_AFTER);
    }
}
