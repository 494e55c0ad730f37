//! What a node's requests came to: how many of each kind, how they ended, how long they took.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dfs_wire::link::{OutcomeObserver, StreamOutcome};

use crate::env::{Clock, MonoTime};

/// Upper bounds of the buckets of [`RequestTally::buckets`], in seconds; the last bucket has none.
pub const LATENCY_BOUNDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The requests of one kind since the start of the node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestTally {
    /// Requests that have no answer yet.
    pub open: u64,
    /// How many ended how: `Ok`, the name of a status code, or `Unanswered`.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Time from request to answer, summed over those that ended.
    pub duration: Duration,
    /// How many took at most [`LATENCY_BOUNDS`], and longer than the bound before.
    pub buckets: [u64; LATENCY_BOUNDS.len() + 1],
}

impl RequestTally {
    fn ended(&mut self, outcome: StreamOutcome, took: Duration) {
        let name = match outcome {
            StreamOutcome::Done => "Ok",
            StreamOutcome::Failed(code) => code.name(),
            StreamOutcome::Unanswered => "Unanswered",
        };
        *self.outcomes.entry(name).or_default() += 1;
        self.open = self.open.saturating_sub(1);
        self.duration = self.duration.saturating_add(took);
        let bucket = LATENCY_BOUNDS.partition_point(|bound| *bound < took.as_secs_f64());
        if let Some(count) = self.buckets.get_mut(bucket) {
            *count += 1;
        }
    }
}

/// Counters of a node's requests by kind. Cheap to clone; all clones count together.
///
/// Kinds come from [`dfs_wire::message::Request::name`], so a peer cannot make more of them.
#[derive(Debug, Clone, Default)]
pub struct RequestStats {
    tallies: Arc<Mutex<BTreeMap<&'static str, RequestTally>>>,
}

impl RequestStats {
    /// Counts a request as open. What is returned is to be called with its outcome.
    pub fn begin(&self, kind: &'static str, clock: Arc<dyn Clock>) -> OutcomeObserver {
        let began: MonoTime = clock.now();
        self.lock().entry(kind).or_default().open += 1;
        let stats = self.clone();
        Box::new(move |outcome| {
            let took = clock.now().since(began);
            stats.lock().entry(kind).or_default().ended(outcome, took);
        })
    }

    /// Requests not answered yet, of all kinds.
    pub fn open(&self) -> u64 {
        self.lock().values().map(|tally| tally.open).sum()
    }

    /// All counters, by kind.
    pub fn snapshot(&self) -> BTreeMap<&'static str, RequestTally> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, RequestTally>> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use dfs_wire::status::StatusCode;

    use super::*;

    #[test]
    fn outcomes_and_times_are_counted_in_their_buckets() {
        let mut tally = RequestTally { open: 4, ..RequestTally::default() };
        tally.ended(StreamOutcome::Done, Duration::from_micros(500));
        tally.ended(StreamOutcome::Done, Duration::from_micros(501));
        tally.ended(StreamOutcome::Failed(StatusCode::NotFound), Duration::ZERO);
        tally.ended(StreamOutcome::Unanswered, Duration::from_secs(11));
        assert_eq!(tally.open, 0);
        assert_eq!(tally.duration, Duration::from_micros(11_001_001));
        assert_eq!(
            tally.outcomes.into_iter().collect::<Vec<_>>(),
            [("NotFound", 1), ("Ok", 2), ("Unanswered", 1)]
        );
        let mut expected = [0; LATENCY_BOUNDS.len() + 1];
        (expected[0], expected[1], expected[LATENCY_BOUNDS.len()]) = (2, 1, 1);
        assert_eq!(tally.buckets, expected);
    }
}
