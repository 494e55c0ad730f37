//! What a supervisor is told about its children: whom a failure concerns, when and how often they are started again.

use std::time::Duration;

/// How long a killed child may take to be gone. Kill works at the next await: a child that outlives it blocks a thread,
/// and starting a second one beside it could not be safe.
pub const KILL_GRACE: Duration = Duration::from_secs(5);

/// Whom the failure of one child concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// That child only.
    OneForOne,
    /// That child and all that were started after it: they are stopped in reverse order and started again in order.
    RestForOne,
}

/// When a child is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Whenever it ended.
    Permanent,
    /// When it failed or was killed, not when it stopped in order.
    Transient,
    /// Never, however it ended.
    Temporary,
}

/// How many restarts a supervisor performs before it gives up itself.
///
/// A parent's window must exceed the time its child supervisor takes to give up, else that repeats for ever: see
/// [`Intensity::OUTER`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intensity {
    /// Restarts allowed within the window; one more escalates.
    pub max_restarts: u32,
    /// How long a restart counts.
    pub window: Duration,
}

impl Intensity {
    /// For a supervisor of workers. With [`Backoff::DEFAULT`], a child that never comes up escalates in about 3 s.
    pub const DEFAULT: Self = Self { max_restarts: 5, window: Duration::from_secs(60) };
    /// For a supervisor of supervisors.
    pub const OUTER: Self = Self { max_restarts: 3, window: Duration::from_secs(600) };
}

/// The wait before a restart: doubles from `base` to `max` with each failure in a row, plus or minus a fifth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Wait after the first failure.
    pub base: Duration,
    /// The longest wait.
    pub max: Duration,
    /// A child that was up for so long begins again at `base`.
    pub reset_after: Duration,
}

impl Backoff {
    /// 100 ms to 30 s, forgotten after a quiet minute.
    pub const DEFAULT: Self = Self {
        base: Duration::from_millis(100),
        max: Duration::from_secs(30),
        reset_after: Duration::from_secs(60),
    };

    /// The wait after `streak` failures in a row (1 is the first), jittered by `dice`. Never above `max`.
    #[must_use]
    pub fn delay(&self, streak: u32, dice: u64) -> Duration {
        let doublings = streak.saturating_sub(1).min(31);
        let full = self.base.saturating_mul(1 << doublings).min(self.max);
        let per_mille = 800 + u32::try_from(dice % 401).unwrap_or(0);
        (full.saturating_mul(per_mille) / 1000).min(self.max)
    }
}

/// The rules for one child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    /// When to start it again.
    pub restart: Restart,
    /// How long to wait before that.
    pub backoff: Backoff,
    /// How long it may take to become ready; `None` for a supervisor, whose own children have limits.
    pub start_timeout: Option<Duration>,
    /// How long an orderly stop may take before it is killed.
    pub shutdown_timeout: Duration,
}
