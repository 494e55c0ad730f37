//! Kinds of garbage collection that fail again and again: noted by the actor, asked by whoever answers for health.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::coordinator::metadata::ops::mutation::Step;

/// Failures in a row after which a kind is stuck.
const STUCK_AFTER: u32 = 3;

/// A kind that does not get on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    /// The kind of step that fails.
    pub step: Step,
    /// Its failures in a row.
    pub failures: u32,
    /// The latest of them.
    pub cause: String,
}

/// The failures in a row of each kind.
#[derive(Debug, Default)]
pub struct GcHealth {
    failing: Mutex<BTreeMap<Step, (u32, String)>>,
}

impl GcHealth {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Step, (u32, String)>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A step was committed.
    pub(super) fn done(&self, step: Step) {
        self.lock().remove(&step);
    }

    /// A step failed. Returns whether that is news.
    pub(super) fn failed(&self, step: Step, cause: String) -> bool {
        let mut failing = self.lock();
        let entry = failing.entry(step).or_default();
        let news = entry.1 != cause;
        *entry = (entry.0.saturating_add(1), cause);
        news
    }

    /// Kinds that do not get on.
    pub fn stuck(&self) -> Vec<Stuck> {
        let failing = self.lock();
        let stuck = failing.iter().filter(|(_, (failures, _))| *failures >= STUCK_AFTER);
        stuck
            .map(|(step, (failures, cause))| Stuck { step: *step, failures: *failures, cause: cause.clone() })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_stuck_after_failures_in_a_row_and_free_after_a_success() {
        let health = GcHealth::default();
        assert!(health.failed(Step::Purge, "damaged".to_owned()));
        assert!(!health.failed(Step::Purge, "damaged".to_owned()), "said once");
        health.done(Step::Release);
        assert_eq!(health.stuck(), []);
        health.failed(Step::Purge, "still damaged".to_owned());
        let stuck = Stuck { step: Step::Purge, failures: 3, cause: "still damaged".to_owned() };
        assert_eq!(health.stuck(), [stuck]);
        health.done(Step::Purge);
        assert_eq!(health.stuck(), []);
    }
}
