//! When to empty the quarantine, and what has come of it.

use std::time::Duration;

use crate::datanode::chunk_store::Purged;
use crate::env::MonoTime;

/// How long one round may take. What is left then is the next one's, which begins at once.
pub(super) const ROUND_MAX: Duration = Duration::from_secs(10);

/// The times of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuarantineConfig {
    /// From one round to the next.
    pub interval: Duration,
    /// How long a chunk stays in quarantine.
    pub retention: Duration,
}

impl Default for QuarantineConfig {
    fn default() -> Self {
        Self { interval: Duration::from_secs(60), retention: Duration::from_secs(24 * 60 * 60) }
    }
}

/// The machine: rounds at an interval, never two at once.
#[derive(Debug)]
pub(crate) struct QuarantineState {
    config: QuarantineConfig,
    next_at: MonoTime,
    under_way: bool,
    /// Rounds that came to their end.
    pub rounds: u64,
    /// Rounds that failed.
    pub failures: u64,
    pub freed_bytes: u64,
}

impl QuarantineState {
    /// A machine whose first round is due at once: the life before may have left something.
    pub(crate) fn new(config: QuarantineConfig, now: MonoTime) -> Self {
        Self { config, next_at: now, under_way: false, rounds: 0, failures: 0, freed_bytes: 0 }
    }

    /// How long a chunk stays.
    pub(crate) fn retention(&self) -> Duration {
        self.config.retention
    }

    /// Lets the next round be due at once.
    pub(crate) fn hurry(&mut self, now: MonoTime) {
        self.next_at = now;
    }

    /// Whether a round is to begin now: then with this age.
    pub(crate) fn step(&mut self, now: MonoTime) -> Option<Duration> {
        if self.under_way || now < self.next_at {
            return None;
        }
        self.under_way = true;
        Some(self.config.retention)
    }

    /// A round ended: this is what it came to, unless it failed.
    pub(crate) fn ended(&mut self, now: MonoTime, purged: Option<Purged>) {
        self.under_way = false;
        self.next_at = now + self.config.interval;
        let Some(purged) = purged else {
            self.failures += 1;
            return;
        };
        self.rounds += 1;
        self.freed_bytes += purged.bytes;
        if purged.more {
            self.next_at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_never_overlap_and_failures_are_tried_again() {
        let at = |s| MonoTime::ZERO + Duration::from_secs(s);
        let config = QuarantineConfig::default();
        let mut state = QuarantineState::new(config, at(0));
        assert_eq!(state.step(at(0)), Some(config.retention));
        assert_eq!(state.step(at(999)), None, "one is under way");
        state.ended(at(1_000), None);
        assert_eq!(state.step(at(1_059)), None);
        assert_eq!(state.step(at(1_060)), Some(config.retention));
        state.ended(at(1_061), Some(Purged { files: 1, bytes: 7, more: false }));
        assert_eq!((state.rounds, state.failures, state.freed_bytes), (1, 1, 7));
    }

    #[test]
    fn a_round_that_ran_out_of_time_is_followed_by_the_next_at_once() {
        let at = |s| MonoTime::ZERO + Duration::from_secs(s);
        let mut state = QuarantineState::new(QuarantineConfig::default(), at(0));
        assert!(state.step(at(0)).is_some());
        state.ended(at(10), Some(Purged { files: 9, bytes: 9, more: true }));
        assert!(state.step(at(10)).is_some());
        state.ended(at(11), Some(Purged::default()));
        assert_eq!(state.step(at(12)), None);
        state.hurry(at(12));
        assert!(state.step(at(12)).is_some(), "somebody does not want to wait");
    }
}
