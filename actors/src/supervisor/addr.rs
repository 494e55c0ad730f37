//! Addresses: stable handles to a supervised slot, with a bounded mailbox.
//!
//! An [`Addr`] is made before its actor and outlives each of its lives: siblings hold it and need no re-wiring when the
//! actor restarts. ractor's own mailboxes have no bound, so the bound is a semaphore permit that rides in the message
//! and frees itself when the handler ends or when the queue of a dead actor is dropped.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ractor::{ActorRef, MessagingErr};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::envelope::{Envelope, Ticket};
use super::stats::Stats;
use crate::env::{Clock, MonoTime};
use crate::watch;

/// Why a message was not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The mailbox stayed full.
    #[error("the actor's mailbox is full")]
    Busy,
    /// The actor is not running: starting, backing off or stopped for good.
    #[error("the actor is not running")]
    Down,
}

/// Why a question has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The mailbox stayed full: the question was not delivered.
    #[error("the actor's mailbox is full")]
    Busy,
    /// The actor is not running: the question was not delivered.
    #[error("the actor is not running")]
    Down,
    /// The question was delivered and not answered in time. It may still be carried out.
    #[error("the actor did not answer in time")]
    Timeout,
    /// The actor ended, or dropped the question, after it was delivered. What it did about it is unknown.
    #[error("the actor ended before it answered")]
    Dead,
}

impl AskError {
    /// Whether the question certainly had no effect.
    #[must_use]
    pub const fn had_no_effect(self) -> bool {
        matches!(self, Self::Busy | Self::Down)
    }
}

impl From<SendError> for AskError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Busy => Self::Busy,
            SendError::Down => Self::Down,
        }
    }
}

/// The way back to whoever asked. Dropping it unanswered tells the asker [`AskError::Dead`].
#[derive(Debug)]
pub struct Reply<T>(oneshot::Sender<T>);

impl<T> Reply<T> {
    /// A reply and where it arrives, for tests and for callers that are not tasks of their own.
    #[must_use]
    pub fn channel() -> (Self, oneshot::Receiver<T>) {
        let (tx, rx) = oneshot::channel();
        (Self(tx), rx)
    }

    /// Answers. An asker that has gone is no error.
    pub fn send(self, value: T) {
        // The asker timed out or was cancelled: nobody is left to tell.
        drop(self.0.send(value));
    }

    /// Whether the asker has gone, so that the work would be for nobody.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// Who lives in a slot.
pub(crate) enum Occupant<M> {
    /// Nobody yet, or nobody for the moment: senders wait.
    Down,
    /// Nobody, and nobody will come unless the parent itself is restarted: senders are refused at once.
    Closed,
    Up(ActorRef<Envelope<M>>),
}

/// One place in the supervision tree, whoever lives there at the moment.
pub(crate) struct ActorSlot<M> {
    occupant: watch::Sender<Occupant<M>>,
    permits: Arc<Semaphore>,
    /// What those wait by who send here.
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) stats: Arc<Stats>,
}

/// What a supervisor needs of a slot whose message type it does not know.
pub(crate) trait AnySlot: Send + Sync {
    /// Refuses senders from now on.
    fn close(&self);
    /// The counters of the slot.
    fn stats(&self) -> &Arc<Stats>;
}

impl<M: Send + 'static> AnySlot for ActorSlot<M> {
    fn close(&self) {
        self.occupant.send_replace(Occupant::Closed);
    }

    fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }
}

impl<M: Send + 'static> ActorSlot<M> {
    /// Opens the slot to senders.
    pub(crate) fn occupy(&self, actor: ActorRef<Envelope<M>>) {
        self.occupant.send_replace(Occupant::Up(actor));
    }

    /// Takes `actor` out of the slot, unless someone else has moved in since.
    pub(crate) fn vacate(&self, actor: &ActorRef<Envelope<M>>) {
        self.occupant.send_if_modified(|now| match now {
            Occupant::Up(there) if there.get_id() == actor.get_id() => {
                *now = Occupant::Down;
                true
            }
            _ => false,
        });
    }
}

/// Address of an actor. Cheap to clone, and valid across restarts.
pub struct Addr<M> {
    pub(crate) slot: Arc<ActorSlot<M>>,
}

impl<M> Clone for Addr<M> {
    fn clone(&self) -> Self {
        Self { slot: Arc::clone(&self.slot) }
    }
}

impl<M> fmt::Debug for Addr<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Addr").field("capacity", &self.slot.stats.capacity()).finish_non_exhaustive()
    }
}

impl<M: Send + 'static> Addr<M> {
    /// An address whose mailbox holds at most `capacity` messages, the one being handled included. Nobody lives there
    /// until a supervisor starts a child on it. Whoever sends or asks waits by `clock`.
    ///
    /// # Panics
    /// If `capacity` is 0 or beyond what a semaphore can count.
    #[must_use]
    pub fn new(clock: &Arc<dyn Clock>, capacity: usize) -> Self {
        assert!(capacity > 0, "a mailbox without room can never deliver");
        Self {
            slot: Arc::new(ActorSlot {
                occupant: watch::Sender::new(Occupant::Down),
                permits: Arc::new(Semaphore::new(capacity)),
                clock: Arc::clone(clock),
                stats: Arc::new(Stats::new(capacity)),
            }),
        }
    }

    /// Delivers `msg` if there is room and somebody to take it right now.
    ///
    /// # Errors
    /// [`SendError`]; the message is dropped, and a [`Reply`] in it with it.
    pub fn try_send(&self, msg: M) -> Result<(), SendError> {
        let Ok(permit) = Arc::clone(&self.slot.permits).try_acquire_owned() else {
            return Err(SendError::Busy);
        };
        let envelope = Envelope::Message(msg, self.ticket(permit));
        match self.target() {
            Some(Some(actor)) => actor.cast(envelope).map_err(|_| SendError::Down),
            _ => Err(SendError::Down),
        }
    }

    /// Delivers `msg`, waiting up to `timeout` for room and for the actor to be up.
    ///
    /// Delivered is not handled: an actor that dies drops its queue. Use [`Addr::ask`] where that matters.
    /// Cancel safety: dropped before it completes, it has delivered nothing.
    ///
    /// # Errors
    /// [`SendError::Busy`] if no room came up, [`SendError::Down`] if the actor did not.
    pub async fn send(&self, msg: M, timeout: Duration) -> Result<(), SendError> {
        self.deliver(msg, self.slot.clock.now() + timeout).await
    }

    /// Asks and waits for the answer, at most `timeout` in all. `question` builds the message around the way back.
    ///
    /// Cancel safety: the question may already be with the actor, which sees [`Reply::is_closed`].
    ///
    /// # Errors
    /// Always one of [`AskError`]; it never waits for an actor that has died.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(Reply<T>) -> M,
        timeout: Duration,
    ) -> Result<T, AskError> {
        let deadline = self.slot.clock.now() + timeout;
        let (reply, answer) = Reply::channel();
        self.deliver(question(reply), deadline).await?;
        match self.slot.clock.timeout_at(deadline, answer).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(_dropped)) => Err(AskError::Dead),
            Err(_time_up) => Err(AskError::Timeout),
        }
    }

    /// Messages queued or being handled.
    #[must_use]
    pub fn depth(&self) -> u64 {
        self.slot.stats.depth()
    }

    /// The actor; `Some(None)` if one may come, `None` if the slot is closed.
    fn target(&self) -> Option<Option<ActorRef<Envelope<M>>>> {
        match &*self.slot.occupant.borrow() {
            Occupant::Up(actor) => Some(Some(actor.clone())),
            Occupant::Down => Some(None),
            Occupant::Closed => None,
        }
    }

    fn ticket(&self, permit: OwnedSemaphorePermit) -> Ticket {
        Ticket::new(permit, Arc::clone(&self.slot.stats))
    }

    async fn deliver(&self, msg: M, deadline: MonoTime) -> Result<(), SendError> {
        if self.target().is_none() {
            return Err(SendError::Down);
        }
        let (clock, room) = (&self.slot.clock, Arc::clone(&self.slot.permits).acquire_owned());
        let permit = match clock.timeout_at(deadline, room).await {
            Ok(Ok(permit)) => permit,
            _ => return Err(SendError::Busy),
        };
        let mut envelope = Envelope::Message(msg, self.ticket(permit));
        let mut moves = self.slot.occupant.subscribe();
        loop {
            let target = match &*moves.borrow_and_update() {
                Occupant::Up(actor) => Some(actor.clone()),
                Occupant::Down => None,
                Occupant::Closed => return Err(SendError::Down),
            };
            if let Some(actor) = target {
                match actor.cast(envelope) {
                    Ok(()) => return Ok(()),
                    // It died a moment ago; the slot is about to say so.
                    Err(MessagingErr::SendErr(returned)) => envelope = returned,
                    Err(_) => return Err(SendError::Down),
                }
            }
            if !matches!(clock.timeout_at(deadline, moves.changed()).await, Ok(Ok(()))) {
                return Err(SendError::Down);
            }
        }
    }
}
