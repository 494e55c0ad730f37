//! What travels through an actor's mailbox, and the place it holds there.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::stats::Stats;
#[cfg(any(test, feature = "chaos"))]
use super::strike::Strike;

/// What actually travels through ractor's mailbox.
pub(crate) enum Envelope<M> {
    /// From outside, with its place in the bounded mailbox.
    Message(M, Ticket),
    /// The result of an owned task.
    Own(M),
    /// An expired timer.
    Timer { id: TimerId, msg: M },
    /// The period of `set_tick` has passed. The next one begins when `_next` is dropped.
    Tick { id: TimerId, _next: oneshot::Sender<()> },
    /// An owned task panicked.
    TaskPanicked(String),
    /// Mischief ordered by a test or an operator.
    #[cfg(any(test, feature = "chaos"))]
    Chaos(Strike),
}

/// A place in a bounded mailbox, held while a message is queued or handled.
pub(crate) struct Ticket {
    _permit: OwnedSemaphorePermit,
    stats: Arc<Stats>,
}

impl Ticket {
    /// Counts a message in; dropping the ticket counts it out.
    pub(crate) fn new(permit: OwnedSemaphorePermit, stats: Arc<Stats>) -> Self {
        stats.message_entered();
        Self { _permit: permit, stats }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.stats.message_left();
    }
}

/// Names one timer of one life of an actor; never used twice, so that a stale expiry is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId(pub(crate) u64);
