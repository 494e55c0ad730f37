//! What repair does and has done: noted by the actor, asked by whoever answers for health and metrics.

use std::sync::{Mutex, MutexGuard, PoisonError};

use dfs_wire::id::NodeId;

/// Failures in a row after which repair does not get on.
const STALLED_AFTER: u32 = 8;

/// What repair does now, and what it has done since the coordinator started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepairTally {
    /// It is configured to do nothing at all.
    pub off: bool,
    /// While nothing is repaired because the coordinator has just started: nodes that were not heard of since.
    pub waits_for: Vec<NodeId>,
    /// Why only chunks with one good copy left are repaired, if so much is down that it is so.
    pub sparing: Option<String>,
    /// Chunks that wait for their turn; bounded, so that there may be more.
    pub queued: u64,
    /// Chunks that something is done about now.
    pub under_way: u64,
    /// Copies that were made.
    pub copied: u64,
    /// Bytes of those.
    pub copied_bytes: u64,
    /// Copies that came back or were doubted, and were read whole.
    pub verified: u64,
    /// Copies that were ordered away.
    pub dropped: u64,
    /// Attempts that failed.
    pub failed: u64,
    failures: u32,
    cause: String,
}

impl RepairTally {
    /// Why it does not get on, if it has failed again and again.
    pub fn stalled(&self) -> Option<&str> {
        (self.failures >= STALLED_AFTER).then_some(self.cause.as_str())
    }
}

/// What was done about a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repaired {
    /// A copy was made, of so many bytes.
    Copied(u32),
    /// A copy was read whole.
    Verified,
    /// A copy was ordered away.
    Dropped,
    /// A copy that was ordered away stays.
    Kept,
}

/// The tally of a coordinator.
#[derive(Debug, Default)]
pub(in crate::coordinator) struct RepairHealth(Mutex<RepairTally>);

impl RepairHealth {
    /// Nothing done yet; `off` = nor will anything ever be.
    pub(in crate::coordinator) fn new(off: bool) -> Self {
        Self(Mutex::new(RepairTally { off, ..RepairTally::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, RepairTally> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As it is now.
    pub(crate) fn look(&self) -> RepairTally {
        self.lock().clone()
    }

    /// What repair is about.
    pub(super) fn is_at(
        &self,
        waits_for: Vec<NodeId>,
        sparing: Option<String>,
        (queued, under_way): (usize, usize),
    ) {
        let mut tally = self.lock();
        (tally.waits_for, tally.sparing) = (waits_for, sparing);
        (tally.queued, tally.under_way) = (queued as u64, under_way as u64);
    }

    /// Something was done, or could not be.
    pub(super) fn note(&self, outcome: Result<Repaired, String>) {
        let mut tally = self.lock();
        match outcome {
            Ok(done) => {
                match done {
                    Repaired::Copied(bytes) => {
                        tally.copied += 1;
                        tally.copied_bytes += u64::from(bytes);
                    }
                    Repaired::Verified => tally.verified += 1,
                    Repaired::Dropped => tally.dropped += 1,
                    Repaired::Kept => {}
                }
                (tally.failures, tally.cause) = (0, String::new());
            }
            Err(cause) => {
                tally.failed += 1;
                tally.failures = tally.failures.saturating_add(1);
                tally.cause = cause;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repair_is_stalled_after_failures_in_a_row_until_something_is_done() {
        let health = RepairHealth::default();
        let fail = || health.note(Err("no room".to_owned()));
        (1..STALLED_AFTER).for_each(|_| fail());
        assert_eq!(health.look().stalled(), None);
        fail();
        assert_eq!(health.look().stalled(), Some("no room"));
        health.note(Ok(Repaired::Copied(7)));
        let tally = health.look();
        assert_eq!((tally.stalled(), tally.failed, tally.copied, tally.copied_bytes), (None, 8, 1, 7));
    }
}
