//! When to try a failed step again: jittered, doubling pauses within a budget of time and attempts.

use std::time::Duration;

use dfs_wire::status::StatusCode;
use tokio::time::Instant;

use crate::config::RetryPolicy;
use crate::env::Env;
use crate::error::Error;

/// How many attempts one costs that failed for a reason which waiting does not mend.
const HOPELESS_WEIGHT: u32 = 4;

/// How long too few nodes are waited for: those that come back do so at once, or somebody has to see to it.
pub(crate) const QUORUM_PATIENCE: Duration = Duration::from_millis(1500);

/// How long nodes are waited for that the coordinator knows to be away: one that is restarted may be back by then.
pub(crate) const AWAY_PATIENCE: Duration = Duration::from_secs(2);

/// How often it is looked whether what is short of nodes has them again, at least.
const SHORT_LOOK: Duration = Duration::from_millis(300);

/// Failures that are tried again however long they took.
const ATTEMPTS_FREE: u32 = 2;

/// The retries of one step.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    policy: RetryPolicy,
    env: Env,
    failing_since: Option<Instant>,
    busy_since: Option<Instant>,
    failures: u32,
    pauses: u32,
}

impl Backoff {
    pub(crate) fn new(policy: &RetryPolicy, env: &Env) -> Self {
        let (policy, env) = (policy.clone(), env.clone());
        Self { policy, env, failing_since: None, busy_since: None, failures: 0, pauses: 0 }
    }

    /// Something moved: the budget starts again.
    pub(crate) fn progressed(&mut self) {
        self.failing_since = None;
        self.busy_since = None;
        self.failures = 0;
        self.pauses = 0;
    }

    /// How long to wait before the next attempt after `error`; `None` = stop trying. `patience` is all the patience there is
    /// if it is said.
    fn next_pause(&mut self, error: &Error, patience: Option<Duration>) -> Option<Duration> {
        let now = Instant::now();
        let mut left = Duration::MAX;
        if error.is_busy() {
            let since = *self.busy_since.get_or_insert(now);
            if now.duration_since(since) >= self.policy.busy_budget {
                return None;
            }
            // A queue is not a failure: its time does not count against the budget of failures.
            self.failing_since = None;
        } else {
            // What is not expected to pass by itself is tried a few times, on other nodes, not for the whole budget.
            self.failures += if error.retryable() { 1 } else { HOPELESS_WEIGHT };
            // The time counts from the first failure, and not at all for the first few: each may have been long.
            let failing_for = now.duration_since(*self.failing_since.get_or_insert(now));
            let budget = patience.map_or(self.policy.budget, |patience| patience.min(self.policy.budget));
            let spent = self.failures > ATTEMPTS_FREE && failing_for >= budget;
            if spent || self.failures >= self.policy.attempts {
                return None;
            }
            if patience.is_some() {
                left = budget.saturating_sub(failing_for);
            }
        }
        let exponent = self.pauses.min(16);
        self.pauses += 1;
        let ceiling = self.policy.pause_min.saturating_mul(1 << exponent).min(self.policy.pause_max);
        let floor = Duration::from_millis(error.retry_after_ms().unwrap_or(0).min(10_000).into());
        let floor = if patience.is_some() { floor.min(SHORT_LOOK) } else { floor };
        // Between one half and all of the ceiling: spreads a crowd without ever retrying at once.
        Some((floor + ceiling.mul_f64(self.env.between_half_and_one())).min(left))
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    /// Gives `error` back when the budget is spent.
    pub(crate) async fn pause(&mut self, error: Error) -> Result<(), Error> {
        let short = error.status_code() == Some(StatusCode::NoWriteQuorum);
        self.pause_within(short.then_some(QUORUM_PATIENCE), error).await
    }

    /// As [`Self::pause`], for nodes that are known to be away: only for as long as a restart takes.
    ///
    /// # Errors
    /// Gives `error` back when that time is over.
    pub(crate) async fn pause_for_those_away(&mut self, error: Error) -> Result<(), Error> {
        self.pause_within(Some(AWAY_PATIENCE), error).await
    }

    async fn pause_within(&mut self, patience: Option<Duration>, error: Error) -> Result<(), Error> {
        match self.next_pause(&error, patience) {
            Some(pause) => {
                tracing::debug!(code = error.code(), %error, ?pause, "will try again");
                tokio::time::sleep(pause).await;
                Ok(())
            }
            None => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> RetryPolicy {
        RetryPolicy { attempts: 4, budget: Duration::from_secs(10), ..RetryPolicy::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_end() {
        let mut backoff = Backoff::new(&policy(), &Env::system(None));
        let error = Error::new(StatusCode::Unavailable, "x");
        let pauses: Vec<_> = std::iter::from_fn(|| backoff.next_pause(&error, None)).collect();
        assert_eq!(pauses.len(), 3);
        assert!(pauses.iter().all(|p| *p >= Duration::from_millis(25) && *p <= Duration::from_secs(3)));
        backoff.progressed();
        assert!(backoff.next_pause(&error, None).is_some());
        tokio::time::advance(Duration::from_secs(11)).await;
        assert!(backoff.next_pause(&error, None).is_some(), "the first failures may have been long");
        assert!(backoff.next_pause(&error, None).is_none(), "the time is spent");
    }

    #[tokio::test(start_paused = true)]
    async fn too_few_nodes_are_told_within_two_seconds() {
        let policy = RetryPolicy::default();
        let mut backoff = Backoff::new(&policy, &Env::system(None));
        let short = Error::new(StatusCode::NoWriteQuorum, "x");
        let begun = Instant::now();
        while let Some(pause) = backoff.next_pause(&short, Some(QUORUM_PATIENCE)) {
            tokio::time::advance(pause).await;
        }
        // But for what the clock of a timer is coarse.
        let over = begun.elapsed().saturating_sub(QUORUM_PATIENCE);
        assert!(over <= Duration::from_millis(20), "{:?}", begun.elapsed());
        assert!(begun.elapsed() >= QUORUM_PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_is_waited_for_longer_than_a_failure() {
        let mut backoff = Backoff::new(&policy(), &Env::system(None));
        let busy = Error::new(StatusCode::Busy, "x");
        for _ in 0..20 {
            tokio::time::advance(Duration::from_secs(10)).await;
            assert!(backoff.next_pause(&busy, None).is_some());
        }
        tokio::time::advance(Duration::from_secs(300)).await;
        assert!(backoff.next_pause(&busy, None).is_none());
    }
}
