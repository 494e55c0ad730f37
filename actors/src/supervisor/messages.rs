//! What a supervisor can be told.

use ractor::ActorId;
use tokio::sync::OwnedSemaphorePermit;

use super::addr::Reply;
use super::child::ChildSpec;

/// What a supervisor can be told. Opaque: sent by children that become ready, by timers and by a
/// [`Nursery`](super::Nursery).
pub enum SupervisorMsg {
    /// A child is ready.
    #[doc(hidden)]
    Ready { child: usize, life: u64 },
    /// A timer of the policy expired.
    #[doc(hidden)]
    Timer { child: usize, timer: u64 },
    /// Nothing is left of a life of a child.
    #[doc(hidden)]
    Gone { child: usize, life: u64 },
    /// Nothing is left of a temporary child.
    #[doc(hidden)]
    GuestGone(ActorId),
    /// Start a temporary child.
    #[doc(hidden)]
    Admit { spec: Box<ChildSpec>, berth: OwnedSemaphorePermit, reply: Reply<bool> },
}
