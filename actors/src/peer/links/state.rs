//! Which link to a peer to use, and when to dial: pure.
//!
//! ```text
//!   none --asked for--> dialing --reached--> linked --nobody used it for long--> none
//!    ^                     |                   +-- all links busy: dialing another one beside it
//!    +-- after a while --- refused (not reached; the while doubles)
//! ```

use std::time::Duration;

use crate::env::MonoTime;

/// Limits of the links to one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerLimits {
    /// Links to one peer.
    pub links_max: usize,
    /// Streams on a link before another one is dialled.
    pub streams_soft_max: usize,
    /// Refusal after a first failed dial; doubles up to 16 times.
    pub cooldown: Duration,
    /// Links that nobody used for so long are closed from here, well before the peer closes them: it would do so just
    /// when they are needed again.
    pub idle: Duration,
    /// A peer without links is forgotten so long after it may be dialled again.
    pub forget: Duration,
}

impl Default for PeerLimits {
    fn default() -> Self {
        Self {
            links_max: 2,
            streams_soft_max: 16,
            cooldown: Duration::from_millis(250),
            idle: Duration::from_secs(30),
            forget: Duration::from_secs(60),
        }
    }
}

/// What to do with a request for a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Use this one.
    Use(usize),
    /// Use this one (if any), and dial another for those who come next.
    Dial(Option<usize>),
    /// A dial is under way: wait for it.
    Wait,
    /// The peer was just found unreachable.
    Refuse,
}

/// What is known of a peer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PeerState {
    dialing: bool,
    failures: u32,
    refuse_until: Option<MonoTime>,
}

impl PeerState {
    /// Decides, given the number of open streams on each usable link.
    pub(super) fn decide(&mut self, now: MonoTime, streams: &[usize], limits: &PeerLimits) -> Decision {
        let quietest = streams.iter().enumerate().min_by_key(|(_, open)| **open).map(|(i, open)| (i, *open));
        let may_dial =
            !self.dialing && streams.len() < limits.links_max && self.refuse_until.is_none_or(|t| now >= t);
        match quietest {
            Some((_, open)) if open >= limits.streams_soft_max && may_dial => {
                self.dialing = true;
                Decision::Dial(quietest.map(|(i, _)| i))
            }
            Some((i, _)) => Decision::Use(i),
            None if self.dialing => Decision::Wait,
            None if may_dial => {
                self.dialing = true;
                Decision::Dial(None)
            }
            None => Decision::Refuse,
        }
    }

    /// A dial ended.
    pub(super) fn dialed(&mut self, now: MonoTime, ok: bool, limits: &PeerLimits) {
        self.dialing = false;
        if ok {
            (self.failures, self.refuse_until) = (0, None);
        } else {
            let factor = 1 << self.failures.min(4);
            self.refuse_until = Some(now + limits.cooldown * factor);
            self.failures += 1;
        }
    }

    /// Whether a peer without links can be forgotten.
    pub(super) fn is_forgettable(&self, now: MonoTime, limits: &PeerLimits) -> bool {
        !self.dialing && self.refuse_until.is_none_or(|t| now.since(t) >= limits.forget)
    }
}

/// When a link was last needed.
#[derive(Debug, Clone, Copy)]
pub(super) struct LinkUse {
    used_at: MonoTime,
}

impl LinkUse {
    /// A link that is needed now.
    pub(super) fn new(now: MonoTime) -> Self {
        Self { used_at: now }
    }

    /// Somebody is given the link.
    pub(super) fn used(&mut self, now: MonoTime) {
        self.used_at = now;
    }

    /// Looks at the clock and at the streams that are open: whether the link has become superfluous.
    pub(super) fn is_idle(&mut self, now: MonoTime, streams: usize, limits: &PeerLimits) -> bool {
        if streams > 0 {
            self.used_at = now;
        }
        now.since(self.used_at) >= limits.idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: PeerLimits = PeerLimits {
        links_max: 2,
        streams_soft_max: 4,
        cooldown: Duration::from_millis(250),
        idle: Duration::from_secs(30),
        forget: Duration::from_secs(60),
    };

    fn at(millis: u64) -> MonoTime {
        MonoTime::from_micros(millis * 1000)
    }

    #[test]
    fn the_first_request_dials_and_the_next_wait() {
        let mut p = PeerState::default();
        assert_eq!(p.decide(at(0), &[], &LIMITS), Decision::Dial(None));
        assert_eq!(p.decide(at(0), &[], &LIMITS), Decision::Wait);
        p.dialed(at(1), true, &LIMITS);
        assert_eq!(p.decide(at(2), &[3], &LIMITS), Decision::Use(0));
        assert_eq!(p.decide(at(2), &[4], &LIMITS), Decision::Dial(Some(0)));
        assert_eq!(p.decide(at(2), &[5], &LIMITS), Decision::Use(0), "one dial at a time");
        p.dialed(at(3), true, &LIMITS);
        assert_eq!(p.decide(at(4), &[9, 8], &LIMITS), Decision::Use(1), "no more links than allowed");
    }

    #[test]
    fn a_dead_peer_is_refused_for_a_growing_while() {
        let mut p = PeerState::default();
        p.decide(at(0), &[], &LIMITS);
        p.dialed(at(0), false, &LIMITS);
        assert_eq!(p.decide(at(249), &[], &LIMITS), Decision::Refuse);
        assert_eq!(p.decide(at(250), &[], &LIMITS), Decision::Dial(None));
        p.dialed(at(250), false, &LIMITS);
        assert_eq!(p.decide(at(749), &[], &LIMITS), Decision::Refuse);
        assert_eq!(p.decide(at(750), &[], &LIMITS), Decision::Dial(None));
    }

    #[test]
    fn a_link_that_nobody_uses_is_idle_and_one_in_use_is_not() {
        let mut link = LinkUse::new(at(0));
        assert!(!link.is_idle(at(29_999), 0, &LIMITS));
        assert!(!link.is_idle(at(90_000), 1, &LIMITS));
        link.used(at(100_000));
        assert!(!link.is_idle(at(129_999), 0, &LIMITS));
        assert!(link.is_idle(at(130_000), 0, &LIMITS));
    }

    #[test]
    fn a_peer_is_forgotten_a_while_after_it_could_be_dialled_again() {
        let mut p = PeerState::default();
        p.decide(at(0), &[], &LIMITS);
        assert!(!p.is_forgettable(at(90_000), &LIMITS), "a dial is under way");
        p.dialed(at(0), false, &LIMITS);
        assert!(!p.is_forgettable(at(60_249), &LIMITS));
        assert!(p.is_forgettable(at(60_250), &LIMITS));
    }
}
