//! The order of the coordinator's collection, as a pure machine.
//!
//! ```text
//!   resting --interval--> expire_uploads -> trash -> trash_usage -> purge -> release -> orphans -> expire_outcomes -> forget
//!      ^                       |  ^ (each until it reports no more, or has had its share)                                |
//!      +-- or at once again,   +--+                                                                                      |
//!          if one had more <---------------------------------------------------------------------------------------------+
//! ```
//!
//! Each step is one bounded group of metadata transactions. A kind whose step fails has had its share: the others go on, and the
//! next cycle, after a wait, finds the queues as the last commit left them. So one damaged row stops the queue it is the
//! first of and no other; [`super::health`] tells of a kind that fails again and again.

use std::time::Duration;

use crate::coordinator::metadata::model::outcome::StepProgress;
use crate::coordinator::metadata::ops::mutation::Step;
use crate::env::MonoTime;

/// Steps of one kind in a row, so that a huge deletion does not keep leases from expiring.
const SHARE: u32 = 8;

/// The times of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GcConfig {
    /// From the end of a cycle that left nothing to the next.
    pub interval: Duration,
    /// Wait after a cycle in which a step failed.
    pub retry: Duration,
}

impl Default for GcConfig {
    fn default() -> Self {
        Self { interval: Duration::from_secs(5), retry: Duration::from_secs(5) }
    }
}

/// What one kind of step has done in this life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepCount {
    /// Transactions that were committed.
    pub runs: u64,
    /// Things done in them.
    pub done: u64,
    /// Transactions that failed.
    pub failures: u64,
}

/// What the collector has done in this life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcReport {
    /// Cycles that came to their end.
    pub cycles: u64,
    /// Each kind of step.
    pub steps: Vec<(Step, StepCount)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GcPhase {
    Resting { next_at: MonoTime },
    Cycle { at: usize, runs: u32, more: bool, failed: bool },
}

/// Which step comes next, and when: a cycle through all kinds, then a rest.
#[derive(Debug)]
pub(crate) struct GcState {
    config: GcConfig,
    phase: GcPhase,
    under_way: bool,
    counts: [StepCount; Step::ALL.len()],
    cycles: u64,
}

impl GcState {
    /// A machine whose first cycle is due at once: the life before may have left something.
    pub(crate) fn new(config: GcConfig, now: MonoTime) -> Self {
        let counts = [StepCount::default(); Step::ALL.len()];
        Self { config, phase: GcPhase::Resting { next_at: now }, under_way: false, counts, cycles: 0 }
    }

    /// Ends a rest.
    pub(crate) fn hurry(&mut self, now: MonoTime) {
        if let GcPhase::Resting { next_at } = &mut self.phase {
            *next_at = now;
        }
    }

    /// What is to be done now, if anything.
    pub(crate) fn step(&mut self, now: MonoTime) -> Option<Step> {
        if self.under_way {
            return None;
        }
        if let GcPhase::Resting { next_at } = self.phase {
            if now < next_at {
                return None;
            }
            self.phase = GcPhase::Cycle { at: 0, runs: 0, more: false, failed: false };
        }
        let GcPhase::Cycle { at, .. } = self.phase else { return None };
        self.under_way = true;
        Step::ALL.get(at).copied()
    }

    /// The step under way was committed.
    pub(crate) fn done(&mut self, now: MonoTime, progress: StepProgress) {
        self.under_way = false;
        let GcPhase::Cycle { at, runs, more, failed } = self.phase else { return };
        if let Some(count) = self.counts.get_mut(at) {
            count.runs += 1;
            count.done += progress.done;
        }
        if progress.more && runs + 1 < SHARE {
            self.phase = GcPhase::Cycle { at, runs: runs + 1, more, failed };
        } else {
            self.next_kind(now, at, more || progress.more, failed);
        }
    }

    fn next_kind(&mut self, now: MonoTime, at: usize, more: bool, failed: bool) {
        if at + 1 < Step::ALL.len() {
            self.phase = GcPhase::Cycle { at: at + 1, runs: 0, more, failed };
            return;
        }
        self.cycles += 1;
        let wait = match (more, failed) {
            (true, _) => Duration::ZERO,
            (false, true) => self.config.retry,
            (false, false) => self.config.interval,
        };
        self.phase = GcPhase::Resting { next_at: now + wait };
    }

    /// The step under way failed, or its outcome is unknown.
    pub(crate) fn failed(&mut self, now: MonoTime) {
        self.under_way = false;
        let GcPhase::Cycle { at, more, .. } = self.phase else { return };
        if let Some(count) = self.counts.get_mut(at) {
            count.failures += 1;
        }
        self.next_kind(now, at, more, true);
    }

    /// What it has done so far.
    pub(crate) fn report(&self) -> GcReport {
        GcReport { cycles: self.cycles, steps: Step::ALL.into_iter().zip(self.counts).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> MonoTime {
        MonoTime::ZERO + Duration::from_secs(seconds)
    }

    fn idle() -> StepProgress {
        StepProgress::default()
    }

    #[test]
    fn a_cycle_runs_each_step_until_it_reports_no_more() {
        let mut state = GcState::new(GcConfig::default(), at(0));
        let mut order = vec![];
        let mut left = [0, 2, 0, 1, 3, 0, 0, 0];
        while let Some(step) = state.step(at(0)) {
            assert_eq!(state.step(at(0)), None, "one at a time");
            let place = Step::ALL.iter().position(|s| *s == step).unwrap();
            order.push(place);
            let more = left[place] > 0;
            left[place] -= i32::from(more);
            state.done(at(0), StepProgress { done: 1, more });
        }
        assert_eq!(order, [0, 1, 1, 1, 2, 3, 3, 4, 4, 4, 4, 5, 6, 7]);
        assert_eq!(state.step(at(4)), None);
        assert_eq!(state.step(at(5)), Some(Step::ALL[0]));
        assert_eq!((state.report().cycles, state.report().steps[4].1.done), (1, 4));
    }

    #[test]
    fn an_endless_step_does_not_starve_the_others() {
        let mut state = GcState::new(GcConfig::default(), at(0));
        let mut expiries = 0;
        for _ in 0..1_000 {
            let step = state.step(at(0)).expect("a cycle with more to do goes on at once");
            expiries += u32::from(step == Step::ExpireUploads);
            state.done(at(0), StepProgress { done: 1, more: step == Step::Purge });
        }
        assert!(expiries > 10, "{expiries}");
    }

    #[test]
    fn a_kind_that_fails_does_not_stop_the_others_and_is_tried_again_after_a_wait() {
        let mut state = GcState::new(GcConfig::default(), at(0));
        let mut order = vec![];
        while let Some(step) = state.step(at(0)) {
            order.push(step);
            match step {
                Step::Trash => state.failed(at(0)),
                _ => state.done(at(0), idle()),
            }
        }
        assert_eq!(order, Step::ALL);
        assert_eq!((state.step(at(4)), state.step(at(5))), (None, Some(Step::ALL[0])));
        assert_eq!((state.report().steps[1].1.failures, state.report().cycles), (1, 1));
    }

    #[test]
    fn a_rest_can_be_ended_and_a_cycle_under_way_goes_on() {
        let mut state = GcState::new(GcConfig::default(), at(0));
        while state.step(at(0)).is_some() {
            state.done(at(0), idle());
        }
        assert_eq!(state.step(at(1)), None);
        state.hurry(at(1));
        assert_eq!(state.step(at(1)), Some(Step::ALL[0]));
        state.hurry(at(1));
        assert_eq!(state.step(at(1)), None, "one is under way");
        state.done(at(1), idle());
        assert_eq!(state.step(at(1)), Some(Step::ALL[1]));
    }

    #[test]
    fn a_store_that_fails_every_step_is_left_alone_for_a_while() {
        let mut state = GcState::new(GcConfig::default(), at(0));
        let failures = std::iter::from_fn(|| state.step(at(0)).map(|_| state.failed(at(0)))).count();
        assert_eq!(failures, Step::ALL.len());
        assert!(state.step(at(5)).is_some());
    }
}
