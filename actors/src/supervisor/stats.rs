//! Counters of one slot, kept across the restarts of its actor.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::env::MonoTime;

/// Where an actor is in its life.
///
/// ```text
///             ready             stop asked
///   Starting ───────▶ Running ─────────────▶ Stopping ──▶ Stopped
///      ▲  │              │ error, panic, kill                ▲
///      │  └──────────────┴───────▶ Failed ──▶ BackingOff     │ not to be restarted
///      └────────────────────────────────────────┘────────────┘
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ActorState {
    /// Not started yet, or in its `start`.
    Starting,
    /// Ready: it takes messages.
    Running,
    /// In its `stop`.
    Stopping,
    /// Waits to be started again.
    BackingOff,
    /// Ended, and will not be started again by itself.
    Stopped,
    /// Ended by an error, a panic or a kill; its supervisor has not acted yet, or gave up.
    Failed,
}

impl ActorState {
    const ALL: [Self; 6] =
        [Self::Starting, Self::Running, Self::Stopping, Self::BackingOff, Self::Stopped, Self::Failed];

    /// The word for it in listings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::BackingOff => "backing-off",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

/// Counters and gauges of one slot. All plain numbers: they may be a message apart from each other.
#[derive(Debug)]
pub(crate) struct Stats {
    capacity: u64,
    state: AtomicU8,
    depth: AtomicU64,
    depth_max: AtomicU64,
    handled: AtomicU64,
    slow: AtomicU64,
    stuck: AtomicU64,
    /// Times it was started.
    lives: AtomicU64,
    child_failures: AtomicU64,
    credits: AtomicU64,
    tasks: AtomicU64,
    started_at: AtomicU64,
    /// When the present handler began, in microseconds plus one; 0 when idle.
    busy_since: AtomicU64,
    last_exit: Mutex<Option<String>>,
}

/// A copy of the counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatsSnapshot {
    /// Where the actor is in its life.
    pub state: ActorState,
    /// Bound of the mailbox.
    pub capacity: u64,
    /// Messages queued or being handled.
    pub depth: u64,
    /// The most `depth` has been.
    pub depth_max: u64,
    /// Messages, ticks and timers handled, over all lives.
    pub handled: u64,
    /// Handlers that took longer than [`SLOW_HANDLER`](super::SLOW_HANDLER).
    pub slow: u64,
    /// Times it was killed because one handler did not end.
    pub stuck: u64,
    /// Times it was started again.
    pub restarts: u64,
    /// Abnormal ends of children, if it is a supervisor.
    pub child_failures: u64,
    /// Credits it says it holds (bytes or slots, as the kind defines).
    pub credits: u64,
    /// Tasks it owns.
    pub tasks: u64,
    /// When its present life began.
    pub started_at: MonoTime,
    /// When the handler that runs now began.
    pub busy_since: Option<MonoTime>,
    /// How its last life ended.
    pub last_exit: Option<String>,
}

impl Stats {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity as u64,
            state: AtomicU8::new(ActorState::Starting as u8),
            depth: AtomicU64::new(0),
            depth_max: AtomicU64::new(0),
            handled: AtomicU64::new(0),
            slow: AtomicU64::new(0),
            stuck: AtomicU64::new(0),
            lives: AtomicU64::new(0),
            child_failures: AtomicU64::new(0),
            credits: AtomicU64::new(0),
            tasks: AtomicU64::new(0),
            started_at: AtomicU64::new(0),
            busy_since: AtomicU64::new(0),
            last_exit: Mutex::new(None),
        }
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(crate) fn depth(&self) -> u64 {
        self.depth.load(Relaxed)
    }

    pub(crate) fn message_entered(&self) {
        let depth = self.depth.fetch_add(1, Relaxed) + 1;
        self.depth_max.fetch_max(depth, Relaxed);
    }

    pub(crate) fn message_left(&self) {
        self.depth.fetch_sub(1, Relaxed);
    }

    pub(crate) fn state(&self) -> ActorState {
        let raw = usize::from(self.state.load(Relaxed));
        ActorState::ALL.get(raw).copied().unwrap_or(ActorState::Failed)
    }

    pub(crate) fn set_state(&self, state: ActorState) {
        self.state.store(state as u8, Relaxed);
    }

    /// A new life begins: what belonged to the old one is forgotten, the totals stay.
    pub(crate) fn begin_life(&self, now: MonoTime) {
        self.lives.fetch_add(1, Relaxed);
        self.started_at.store(now.as_micros(), Relaxed);
        self.busy_since.store(0, Relaxed);
        self.credits.store(0, Relaxed);
        self.tasks.store(0, Relaxed);
        self.set_state(ActorState::Starting);
    }

    pub(crate) fn begin_handler(&self, now: MonoTime) {
        self.busy_since.store(now.as_micros().saturating_add(1), Relaxed);
    }

    /// A handler that began at `began` ended; tells whether it was slow.
    pub(crate) fn end_handler(&self, began: MonoTime, now: MonoTime, slow_after: Duration) -> bool {
        self.busy_since.store(0, Relaxed);
        self.handled.fetch_add(1, Relaxed);
        let slow = now.since(began) > slow_after;
        if slow {
            self.slow.fetch_add(1, Relaxed);
        }
        slow
    }

    /// Since when the present handler runs.
    pub(crate) fn busy_since(&self) -> Option<MonoTime> {
        self.busy_since.load(Relaxed).checked_sub(1).map(MonoTime::from_micros)
    }

    pub(crate) fn set_credits(&self, credits: u64) {
        self.credits.store(credits, Relaxed);
    }

    pub(crate) fn set_tasks(&self, tasks: usize) {
        self.tasks.store(tasks as u64, Relaxed);
    }

    pub(crate) fn started_at(&self) -> MonoTime {
        MonoTime::from_micros(self.started_at.load(Relaxed))
    }

    pub(crate) fn count_stuck(&self) {
        self.stuck.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_child_failure(&self) {
        self.child_failures.fetch_add(1, Relaxed);
    }

    pub(crate) fn set_last_exit(&self, reason: impl Into<String>) {
        *self.last_exit.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.into());
    }

    pub(crate) fn last_exit(&self) -> Option<String> {
        self.last_exit.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn snapshot(&self) -> StatsSnapshot {
        StatsSnapshot {
            state: self.state(),
            capacity: self.capacity,
            depth: self.depth(),
            depth_max: self.depth_max.load(Relaxed),
            handled: self.handled.load(Relaxed),
            slow: self.slow.load(Relaxed),
            stuck: self.stuck.load(Relaxed),
            restarts: self.lives.load(Relaxed).saturating_sub(1),
            child_failures: self.child_failures.load(Relaxed),
            credits: self.credits.load(Relaxed),
            tasks: self.tasks.load(Relaxed),
            started_at: self.started_at(),
            busy_since: self.busy_since(),
            last_exit: self.last_exit(),
        }
    }
}
