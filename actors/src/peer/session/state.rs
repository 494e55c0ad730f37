//! When a session ends: pure.

use std::time::Duration;

use crate::env::MonoTime;

/// Limits of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// Patience with the handshake.
    pub handshake_timeout: Duration,
    /// How long a session without a request is kept.
    pub idle_timeout: Duration,
}

/// Where a session is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SessionPhase {
    /// Takes requests, new ones too.
    Serving,
    /// Takes no new requests; ends with the last one that is open.
    Draining,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SessionFate {
    /// Go on as before.
    Keep,
    /// Nobody has asked for anything for too long.
    CloseIdle,
    /// The last request of a draining session has ended.
    CloseDrained,
}

/// A session after its handshake.
#[derive(Debug, Clone, Copy)]
pub(super) struct SessionState {
    phase: SessionPhase,
    served: u64,
    busy_at: MonoTime,
    limits: SessionLimits,
}

impl SessionState {
    /// A session that was welcomed at `now`.
    pub(super) fn new(now: MonoTime, limits: SessionLimits) -> Self {
        Self { phase: SessionPhase::Serving, served: 0, busy_at: now, limits }
    }

    /// Takes no new requests from here on.
    pub(super) fn drain(&mut self) {
        self.phase = SessionPhase::Draining;
    }

    /// Looks at the clock: `open` requests are under way, and `served` have come since the session began.
    pub(super) fn tick(&mut self, now: MonoTime, open: usize, served: u64) -> SessionFate {
        if served != self.served {
            (self.served, self.busy_at) = (served, now);
        }
        if open > 0 {
            self.busy_at = now;
            return SessionFate::Keep;
        }
        match self.phase {
            SessionPhase::Draining => SessionFate::CloseDrained,
            SessionPhase::Serving if now.since(self.busy_at) >= self.limits.idle_timeout => {
                SessionFate::CloseIdle
            }
            SessionPhase::Serving => SessionFate::Keep,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: SessionLimits =
        SessionLimits { handshake_timeout: Duration::from_secs(5), idle_timeout: Duration::from_secs(60) };

    fn at(seconds: u64) -> MonoTime {
        MonoTime::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn an_idle_session_is_closed_and_a_busy_one_is_not() {
        let mut s = SessionState::new(at(0), LIMITS);
        assert_eq!(s.tick(at(59), 0, 0), SessionFate::Keep);
        assert_eq!(s.tick(at(600), 1, 0), SessionFate::Keep);
        assert_eq!(s.tick(at(659), 0, 0), SessionFate::Keep);
        assert_eq!(s.tick(at(660), 0, 0), SessionFate::CloseIdle);
    }

    #[test]
    fn requests_too_short_to_be_seen_open_keep_a_session() {
        let mut s = SessionState::new(at(0), LIMITS);
        assert_eq!(s.tick(at(59), 0, 7), SessionFate::Keep);
        assert_eq!(s.tick(at(118), 0, 7), SessionFate::Keep);
        assert_eq!(s.tick(at(119), 0, 7), SessionFate::CloseIdle);
    }

    #[test]
    fn a_draining_session_ends_with_its_last_request() {
        let mut s = SessionState::new(at(0), LIMITS);
        s.drain();
        assert_eq!(s.tick(at(1), 2, 2), SessionFate::Keep);
        assert_eq!(s.tick(at(2), 0, 2), SessionFate::CloseDrained);
    }
}
