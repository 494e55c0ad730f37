//! When to start, restart, stop, kill and give up: the supervisor's decisions, without its actors.
//!
//! Pure: an [`Event`], the time and one random number in, [`Action`]s out. The supervisor actor carries them out. The
//! strategies and the idea of a restart intensity are Erlang/OTP's; the backoff between restarts is ours, because what
//! fails on a storage node (a disk, a peer, a lock) seldom heals within microseconds.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use super::exit::ExitCause;
use super::rules::{Intensity, KILL_GRACE, Restart, Rules, Strategy};
use crate::env::MonoTime;

/// What the supervisor's policy is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// The supervisor itself has started.
    Begin,
    /// A child is ready.
    Ready {
        /// Which child, in start order.
        child: usize,
        /// Which of its lives.
        life: u64,
    },
    /// The present life of a child ended.
    Exited {
        /// Which child, in start order.
        child: usize,
        /// How its life ended.
        cause: ExitCause,
        /// Whether nothing is left of it. Else [`Event::Gone`] follows, or its time runs out.
        gone: bool,
    },
    /// Nothing is left of a life that ended.
    Gone {
        /// Which child, in start order.
        child: usize,
        /// Which of its lives.
        life: u64,
    },
    /// A timer that was armed expired.
    Timer {
        /// Which child it was armed for.
        child: usize,
        /// Counted up: one that was armed for an earlier phase is known by it.
        timer: u64,
    },
    /// A child sits in one handler for too long.
    Stuck {
        /// Which child, in start order.
        child: usize,
        /// Which of its lives.
        life: u64,
    },
}

/// What to do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Start a child.
    Start {
        /// Which child, in start order.
        child: usize,
        /// The number of its new life.
        life: u64,
    },
    /// Ask a child to stop in order.
    Stop(usize),
    /// Kill a child.
    Kill(usize),
    /// Send [`Event::Timer`] after a while.
    Arm {
        /// Which child it is for.
        child: usize,
        /// To come back in the event.
        timer: u64,
        after: Duration,
    },
    /// A child will be started again after a wait: worth a log line.
    BackOff {
        /// Which child, in start order.
        child: usize,
        /// How long until then.
        after: Duration,
        /// Failures in a row.
        streak: u32,
    },
    /// A child ended for good.
    Ended(usize),
    /// All children have been ready once: the supervisor is.
    AllUp,
    /// Give up: stop all children, then fail.
    Escalate {
        /// The child that could not be kept running.
        child: usize,
        /// The limit that was passed.
        limit: Limit,
    },
}

/// Why a supervisor gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// Its [`Intensity`] was exceeded.
    Restarts(Intensity),
    /// Something of a child that was killed, or that ended, was still there after [`KILL_GRACE`].
    Unkillable,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restarts(limit) => {
                write!(f, "more than {} restarts within {} s", limit.max_restarts, limit.window.as_secs())
            }
            Self::Unkillable => write!(f, "still running {} s after its end", KILL_GRACE.as_secs()),
        }
    }
}

/// Where a child stands.
///
/// ```text
///              may start             Ready
///   Waiting ─────────────▶ Starting ───────▶ Running ──── ended, not to be restarted ───▶ Ended
///      ▲  ▲                 │  │ timeout      │ │ │ Stuck
///      │  │                 │  └────────────┐ │ │ └──────┐
///      │  │ timer    ended  │         ended │ │ │        ▼    timer
///      │  └──── BackingOff ◀┴───────────────│─┘ │     Killing ─────▶ Escalate
///      │              ▲                     └───│──────▶ │  ▲
///      │              └──────── ended ──────────│────────┘  │ timer
///      │                                        │ an earlier sibling failed (rest-for-one)
///      └─────────────── ended ◀──── Stopping ◀──┴─ Doomed   │
///                                      └────────────────────┘
/// ```
///
/// Wherever it says "ended" the child is `Dying` first, as long as something of the dead life still runs. If that takes
/// longer than [`KILL_GRACE`] from the end or the kill, the supervisor gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChildPhase {
    /// To be started when its turn comes.
    Waiting,
    /// Started, not ready.
    Starting { timer: u64 },
    /// Ready, and not asked to stop.
    Running,
    /// To be stopped when those after it are gone.
    Doomed,
    /// Asked to stop.
    Stopping { timer: u64 },
    /// Killed. `failed`: through a fault of its own, so that the restart counts.
    Killing { timer: u64, failed: bool },
    /// Ended, but something of it still runs. `fate`: what becomes of it when that is gone.
    Dying { timer: u64, fate: Fate },
    /// Will wait for its turn after a while.
    BackingOff { timer: u64 },
    /// Will not be started again.
    Ended,
}

/// What becomes of a child that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It failed: it is started again after a wait, and that counts.
    Retry,
    /// It was told to end for a sibling's sake: it comes back without a mark against it.
    Return,
    /// It is not started again.
    End,
}

#[derive(Debug)]
struct Child {
    rules: Rules,
    phase: ChildPhase,
    life: u64,
    streak: u32,
    /// When this life became ready.
    up_since: Option<MonoTime>,
    /// Whether any life became ready.
    been_up: bool,
}

impl Child {
    fn settled(&self) -> bool {
        matches!(self.phase, ChildPhase::Running | ChildPhase::Ended)
    }

    fn ending(&self) -> bool {
        let Self { phase, .. } = self;
        matches!(
            phase,
            ChildPhase::Doomed
                | ChildPhase::Stopping { .. }
                | ChildPhase::Killing { .. }
                | ChildPhase::Dying { .. }
        )
    }
}

/// The restart policy of one supervisor.
#[derive(Debug)]
pub(super) struct RestartPolicy {
    strategy: Strategy,
    intensity: Intensity,
    children: Vec<Child>,
    failures: VecDeque<MonoTime>,
    last_timer: u64,
    announced: bool,
    over: bool,
    actions: Vec<Action>,
}

impl RestartPolicy {
    /// A policy for children with these rules, in start order. Nothing happens before [`Event::Begin`].
    #[must_use]
    pub(super) fn new(
        strategy: Strategy,
        intensity: Intensity,
        rules: impl IntoIterator<Item = Rules>,
    ) -> Self {
        let child = |rules| Child {
            rules,
            phase: ChildPhase::Waiting,
            life: 0,
            streak: 0,
            up_since: None,
            been_up: false,
        };
        Self {
            strategy,
            intensity,
            children: rules.into_iter().map(child).collect(),
            failures: VecDeque::new(),
            last_timer: 0,
            announced: false,
            over: false,
            actions: Vec::new(),
        }
    }

    /// Takes in an event. Stale ones (an old life, a superseded timer, after an escalation) change nothing.
    #[must_use]
    pub(super) fn on(&mut self, event: &Event, now: MonoTime, dice: u64) -> Vec<Action> {
        if self.over {
            return Vec::new();
        }
        match *event {
            Event::Begin => {}
            Event::Ready { child, life } => self.ready(child, life, now),
            Event::Exited { child, ref cause, gone } => self.exited(child, cause, gone, now, dice),
            Event::Gone { child, life } => self.gone(child, life, now, dice),
            Event::Timer { child, timer } => self.timer(child, timer),
            Event::Stuck { child, life } => self.stuck(child, life),
        }
        if !self.over {
            self.advance();
        }
        std::mem::take(&mut self.actions)
    }

    fn phase(&self, child: usize) -> Option<ChildPhase> {
        self.children.get(child).map(|child| child.phase)
    }

    fn set_phase(&mut self, child: usize, phase: ChildPhase) {
        if let Some(child) = self.children.get_mut(child) {
            child.phase = phase;
        }
    }

    fn ready(&mut self, at: usize, life: u64, now: MonoTime) {
        let Some(child) = self.children.get_mut(at) else { return };
        if child.life == life && matches!(child.phase, ChildPhase::Starting { .. }) {
            child.phase = ChildPhase::Running;
            child.up_since = Some(now);
            child.been_up = true;
        }
    }

    fn exited(&mut self, at: usize, cause: &ExitCause, gone: bool, now: MonoTime, dice: u64) {
        let Some(child) = self.children.get(at) else { return };
        let wanted = match child.rules.restart {
            Restart::Permanent => true,
            Restart::Transient => *cause != ExitCause::Stopped,
            Restart::Temporary => false,
        };
        let lasting = child.rules.restart != Restart::Temporary;
        let fate = match child.phase {
            ChildPhase::Waiting
            | ChildPhase::Dying { .. }
            | ChildPhase::BackingOff { .. }
            | ChildPhase::Ended => return,
            ChildPhase::Starting { .. } | ChildPhase::Running if wanted => Fate::Retry,
            ChildPhase::Killing { failed: true, .. } if lasting => Fate::Retry,
            ChildPhase::Doomed | ChildPhase::Stopping { .. } | ChildPhase::Killing { failed: false, .. }
                if lasting =>
            {
                Fate::Return
            }
            _ => Fate::End,
        };
        if gone {
            return self.meet(at, fate, now, dice);
        }
        // The time of a killed child began with the kill.
        let timer = match child.phase {
            ChildPhase::Killing { timer, .. } => timer,
            _ => self.arm(at, KILL_GRACE),
        };
        self.set_phase(at, ChildPhase::Dying { timer, fate });
    }

    fn gone(&mut self, at: usize, life: u64, now: MonoTime, dice: u64) {
        let Some(child) = self.children.get(at).filter(|child| child.life == life) else { return };
        if let ChildPhase::Dying { fate, .. } = child.phase {
            self.meet(at, fate, now, dice);
        }
    }

    fn meet(&mut self, at: usize, fate: Fate, now: MonoTime, dice: u64) {
        match fate {
            Fate::Retry => self.failed(at, now, dice),
            Fate::Return => self.set_phase(at, ChildPhase::Waiting),
            Fate::End => {
                self.set_phase(at, ChildPhase::Ended);
                self.actions.push(Action::Ended(at));
            }
        }
    }

    /// Counts a restart, or gives up.
    fn failed(&mut self, at: usize, now: MonoTime, dice: u64) {
        let window = self.intensity.window;
        self.failures.push_back(now);
        while self.failures.front().is_some_and(|then| now.since(*then) >= window) {
            self.failures.pop_front();
        }
        if self.failures.len() > usize::try_from(self.intensity.max_restarts).unwrap_or(usize::MAX) {
            return self.escalate(at, Limit::Restarts(self.intensity));
        }
        let Some(child) = self.children.get_mut(at) else { return };
        let Rules { backoff, .. } = child.rules;
        if child.up_since.is_some_and(|since| now.since(since) >= backoff.reset_after) {
            child.streak = 0;
        }
        child.streak = child.streak.saturating_add(1);
        let (after, streak) = (backoff.delay(child.streak, dice), child.streak);
        self.actions.push(Action::BackOff { child: at, after, streak });
        let timer = self.arm(at, after);
        self.set_phase(at, ChildPhase::BackingOff { timer });
        if self.strategy == Strategy::RestForOne {
            self.doom_after(at);
        }
    }

    fn doom_after(&mut self, at: usize) {
        for child in self.children.iter_mut().skip(at + 1) {
            child.phase = match child.phase {
                ChildPhase::Running | ChildPhase::Starting { .. } => ChildPhase::Doomed,
                ChildPhase::BackingOff { .. } => ChildPhase::Waiting,
                other => other,
            };
        }
    }

    fn timer(&mut self, at: usize, expired: u64) {
        match self.phase(at) {
            Some(ChildPhase::BackingOff { timer }) if timer == expired => {
                self.set_phase(at, ChildPhase::Waiting)
            }
            Some(ChildPhase::Starting { timer }) if timer == expired => self.kill(at, true),
            Some(ChildPhase::Stopping { timer }) if timer == expired => self.kill(at, false),
            Some(ChildPhase::Killing { timer, .. } | ChildPhase::Dying { timer, .. }) if timer == expired => {
                self.escalate(at, Limit::Unkillable);
            }
            _ => {}
        }
    }

    fn stuck(&mut self, at: usize, life: u64) {
        let hit = self
            .children
            .get(at)
            .is_some_and(|child| child.life == life && child.phase == ChildPhase::Running);
        if hit {
            self.kill(at, true);
        }
    }

    fn kill(&mut self, at: usize, failed: bool) {
        self.actions.push(Action::Kill(at));
        let timer = self.arm(at, KILL_GRACE);
        self.set_phase(at, ChildPhase::Killing { timer, failed });
    }

    fn escalate(&mut self, child: usize, limit: Limit) {
        self.over = true;
        self.actions.push(Action::Escalate { child, limit });
    }

    fn arm(&mut self, child: usize, after: Duration) -> u64 {
        self.last_timer += 1;
        self.actions.push(Action::Arm { child, timer: self.last_timer, after });
        self.last_timer
    }

    /// Does what has become possible: stops before starts, one stop at a time from the end, starts from the front.
    fn advance(&mut self) {
        let quiet = !self.children.iter().any(|child| {
            let Child { phase, .. } = child;
            matches!(
                phase,
                ChildPhase::Stopping { .. }
                    | ChildPhase::Dying { .. }
                    | ChildPhase::Killing { failed: false, .. }
            )
        });
        if let Some(at) = self.children.iter().rposition(|child| child.phase == ChildPhase::Doomed)
            && quiet
            && let Some(after) = self.children.get(at).map(|child| child.rules.shutdown_timeout)
        {
            self.actions.push(Action::Stop(at));
            let timer = self.arm(at, after);
            self.set_phase(at, ChildPhase::Stopping { timer });
        }
        for at in 0..self.children.len() {
            if self.phase(at) == Some(ChildPhase::Waiting) && self.may_start(at) {
                self.start(at);
            }
        }
        if !self.announced
            && self.children.iter().all(|child| child.been_up || child.phase == ChildPhase::Ended)
        {
            self.announced = true;
            self.actions.push(Action::AllUp);
        }
    }

    fn may_start(&self, at: usize) -> bool {
        let (before, after) = self.children.split_at(at);
        match self.strategy {
            // The first time in order; afterwards the siblings are independent.
            Strategy::OneForOne => {
                after.first().is_some_and(|child| child.been_up)
                    || before.iter().all(|child| child.been_up || child.phase == ChildPhase::Ended)
            }
            Strategy::RestForOne => before.iter().all(Child::settled) && !after.iter().any(Child::ending),
        }
    }

    fn start(&mut self, at: usize) {
        let Some(child) = self.children.get_mut(at) else { return };
        child.life += 1;
        child.up_since = None;
        let (life, limit) = (child.life, child.rules.start_timeout);
        self.actions.push(Action::Start { child: at, life });
        // Timer 0 is never armed: it stands for no limit.
        let timer = limit.map_or(0, |after| self.arm(at, after));
        self.set_phase(at, ChildPhase::Starting { timer });
    }
}

#[cfg(test)]
mod tests;
