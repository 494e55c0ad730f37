//! Whether the metadata store does its work: noted by the committer, asked by whoever answers for health.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::coordinator::metadata::table::store::StoreSpace;

/// A group under way for longer than this is a store that hangs.
const SLOW_MICROS: u64 = 10_000_000;

/// What is wrong with a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreTrouble {
    /// The last group that had to be committed was not.
    Failing(String),
    /// A group has been under way for so many seconds.
    Hanging(u64),
    /// Only the reserve of its disk is left.
    Tight(StoreSpace),
}

/// The latest that is known of the store. Nothing is latched: the next committed group clears a failure.
#[derive(Debug, Default)]
pub struct StoreHealth {
    failure: Mutex<Option<String>>,
    space: Mutex<Option<StoreSpace>>,
    /// When the group under way began, in microseconds and one more; 0 for none.
    since: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A group under way, until it is dropped.
pub(super) struct UnderWay<'a>(&'a StoreHealth);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.since.store(0, Ordering::Relaxed);
    }
}

impl StoreHealth {
    pub(super) fn begin(&self, now_micros: u64) -> UnderWay<'_> {
        self.since.store(now_micros.saturating_add(1), Ordering::Relaxed);
        UnderWay(self)
    }

    pub(super) fn space(&self, space: Option<StoreSpace>) {
        *lock(&self.space) = space;
    }

    pub(super) fn failed(&self, error: &impl std::fmt::Display) {
        *lock(&self.failure) = Some(error.to_string());
    }

    pub(super) fn committed(&self) {
        *lock(&self.failure) = None;
    }

    /// Room on its disk when the last group began.
    pub fn room(&self) -> Option<StoreSpace> {
        *lock(&self.space)
    }

    /// What is wrong, the worst of it.
    pub fn trouble(&self, now_micros: u64) -> Option<StoreTrouble> {
        if let Some(failure) = lock(&self.failure).clone() {
            return Some(StoreTrouble::Failing(failure));
        }
        let since = self.since.load(Ordering::Relaxed);
        let waited = now_micros.saturating_add(1).saturating_sub(since);
        if since > 0 && waited > SLOW_MICROS {
            return Some(StoreTrouble::Hanging(waited / 1_000_000));
        }
        self.room().filter(|space| space.is_tight()).map(StoreTrouble::Tight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_lasts_until_the_next_commit_and_a_hang_until_its_end() {
        let health = StoreHealth::default();
        assert_eq!(health.trouble(0), None);
        let group = health.begin(0);
        assert_eq!(health.trouble(SLOW_MICROS), None);
        assert_eq!(health.trouble(12_500_000), Some(StoreTrouble::Hanging(12)));
        health.failed(&"EIO");
        drop(group);
        assert_eq!(health.trouble(SLOW_MICROS), Some(StoreTrouble::Failing("EIO".to_owned())));
        health.committed();
        let tight = StoreSpace { available: 1, reserve: 2, used: 0 };
        health.space(Some(tight));
        assert_eq!(health.trouble(0), Some(StoreTrouble::Tight(tight)));
        health.space(Some(StoreSpace { available: 2, reserve: 2, used: 0 }));
        assert_eq!(health.trouble(0), None);
    }
}
