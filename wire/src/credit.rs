//! Credit arithmetic: two tiny machines, one for each end of a byte stream.
//!
//! ```text
//!   sender                          receiver
//!   sent <= limit   <--Window(limit)--  granted = released + window   (window = bytes reserved in slabs)
//!     |                                    ^
//!     +------------- data ---------------> received <= granted, else FlowControl
//!                                          released <= received: the consumer has let go of the memory
//! ```
//!
//! Limits are absolute offsets since the stream began (QUIC's form, RFC 9000 section 4.1): repeated or late
//! windows do no harm, and a cancelled stream is accounted for exactly. A window is sent when half of it has been
//! released, not for each frame (h2's rule), or when the sender has nothing left.

/// The peer sent more than it was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{sent} bytes sent where {granted} were granted")]
pub struct Overspent {
    /// Bytes it sent.
    pub sent: u64,
    /// Bytes it was allowed.
    pub granted: u64,
}

/// The sending end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SendCredit {
    limit: u64,
    sent: u64,
}

impl SendCredit {
    /// A sender that may send `limit` bytes to begin with.
    pub const fn new(limit: u64) -> Self {
        Self { limit, sent: 0 }
    }

    /// Takes in a window; an older one than seen before changes nothing. Returns whether there is more credit now.
    pub fn grant(&mut self, limit: u64) -> bool {
        let more = limit > self.limit;
        self.limit = self.limit.max(limit);
        more
    }

    /// Bytes that may be sent now.
    pub const fn available(&self) -> u64 {
        self.limit.saturating_sub(self.sent)
    }

    /// Spends credit for `bytes`, or nothing if there is not enough.
    pub fn spend(&mut self, bytes: u64) -> bool {
        let enough = bytes <= self.available();
        if enough {
            self.sent += bytes;
        }
        enough
    }

    /// Bytes sent so far.
    pub const fn sent(&self) -> u64 {
        self.sent
    }
}

/// The receiving end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecvCredit {
    window: u64,
    granted: u64,
    received: u64,
    released: u64,
}

impl RecvCredit {
    /// A receiver with nothing granted, that will keep up to `window` bytes outstanding.
    pub const fn new(window: u64) -> Self {
        Self { window, granted: 0, received: 0, released: 0 }
    }

    /// A receiver whose whole window the peer knows from the handshake.
    pub const fn announced(window: u64) -> Self {
        Self { window, granted: window, received: 0, released: 0 }
    }

    /// Takes in `bytes` of data.
    ///
    /// # Errors
    /// If they were not granted; nothing has changed then.
    pub fn receive(&mut self, bytes: u64) -> Result<(), Overspent> {
        let sent = self.received.saturating_add(bytes);
        if sent > self.granted {
            return Err(Overspent { sent, granted: self.granted });
        }
        self.received = sent;
        Ok(())
    }

    /// Notes that the consumer has let go of `bytes`. More than was received counts as what was received.
    pub fn release(&mut self, bytes: u64) {
        self.released = self.released.saturating_add(bytes).min(self.received);
    }

    /// Whether a new limit is worth a frame: at first; when half the window is free; or when the peer has sent all it
    /// may, so that a consumer that holds on to much of its window slows its peer but never stops it for good.
    pub const fn is_due(&self) -> bool {
        let gain = self.target().saturating_sub(self.granted);
        gain > 0 && (self.granted == self.received || gain >= self.window.div_ceil(2))
    }

    /// The limit to send to the peer, if one is due; it counts as granted from now on.
    pub fn window_due(&mut self) -> Option<u64> {
        if !self.is_due() {
            return None;
        }
        self.granted = self.target();
        Some(self.granted)
    }

    const fn target(&self) -> u64 {
        self.released.saturating_add(self.window)
    }

    /// Bytes received so far.
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Bytes granted and not yet released: what the memory behind this credit must cover.
    pub const fn outstanding(&self) -> u64 {
        self.granted.saturating_sub(self.released)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn more_than_granted_is_refused() {
        let mut r = RecvCredit::new(100);
        assert!(r.receive(1).is_err());
        assert_eq!(r.window_due(), Some(100));
        assert!(r.receive(100).is_ok());
        assert_eq!(r.receive(1), Err(Overspent { sent: 101, granted: 100 }));
    }

    #[test]
    fn a_sender_with_nothing_left_gets_whatever_is_free() {
        let mut r = RecvCredit::new(100);
        assert_eq!(r.window_due(), Some(100));
        assert!(r.receive(60).is_ok());
        r.release(10);
        assert_eq!(r.window_due(), None, "40 are left and 10 are not half of the window");
        assert!(r.receive(40).is_ok());
        assert_eq!(r.window_due(), Some(110));
    }

    proptest! {
        /// Random interleavings of sending, releasing, delivering, losing order and duplicating windows.
        #[test]
        fn credit_is_conserved_and_never_stuck(window in 1u64..1000, steps in prop::collection::vec((0u8..4, 1u64..400), 0..300)) {
            let (mut s, mut r) = (SendCredit::new(0), RecvCredit::new(window));
            let mut windows = vec![];
            let mut unreleased = 0;
            for (what, n) in steps {
                windows.extend(r.window_due());
                match what {
                    0 => {
                        let n = n.min(s.available());
                        prop_assert!(s.spend(n));
                        prop_assert!(r.receive(n).is_ok(), "what the sender may send, the receiver takes");
                        unreleased += n;
                    }
                    1 => {
                        let n = n.min(unreleased);
                        r.release(n);
                        unreleased -= n;
                    }
                    _ => {
                        // Any window seen so far may arrive, in any order, any number of times.
                        if let Some(&w) = windows.get(n as usize % windows.len().max(1)) {
                            let before = s.available();
                            s.grant(w);
                            prop_assert!(s.available() >= before, "a grant never shrinks");
                        }
                    }
                }
                prop_assert!(r.outstanding() <= window);
            }
            // Everything released and every window delivered: the sender can go on.
            r.release(unreleased);
            windows.extend(r.window_due());
            windows.iter().for_each(|&w| { s.grant(w); });
            prop_assert!(s.available() > 0);
        }
    }
}
