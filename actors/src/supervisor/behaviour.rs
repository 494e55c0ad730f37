//! What an actor is: the trait it implements.

use std::future::Future;

use super::context::Ctx;
use super::exit::{ActorError, ChildExit};

/// An actor's behaviour. The value is the actor's state; the host calls it one message at a time.
///
/// A restart builds a new value from the arguments and from disk, never from the corpse. No handler awaits longer than
/// [`SLOW_HANDLER`](super::SLOW_HANDLER): longer work is a task ([`Ctx::spawn_then`]) whose result comes back as a
/// message. Asks only go down the tree; a handler that asked a sibling or a parent could wait for itself.
pub trait Behaviour: Sized + Send + 'static {
    /// What it can be told.
    type Msg: Send + 'static;

    /// What it is built from, at first and at each restart.
    type Args: Clone + Send + Sync + 'static;

    /// The kind shown by `dfsctl actors tree`, one lowercase word or two with a dash.
    const KIND: &'static str;

    /// Whether `start` returning does not yet mean that the actor is ready; it then calls [`Ctx::ready`] itself.
    const READY_LATER: bool = false;

    /// Builds the state. Runs in the actor's own task, so it may take as long as `start_timeout`; until it returns,
    /// senders wait. A failure counts as a restart.
    fn start(
        args: Self::Args,
        ctx: &mut Ctx<Self::Msg>,
    ) -> impl Future<Output = Result<Self, ActorError>> + Send;

    /// Handles one message.
    fn handle(
        &mut self,
        msg: Self::Msg,
        ctx: &mut Ctx<Self::Msg>,
    ) -> impl Future<Output = Result<(), ActorError>> + Send;

    /// Runs each period asked for with [`Ctx::set_tick`].
    fn tick(&mut self, _ctx: &mut Ctx<Self::Msg>) -> impl Future<Output = Result<(), ActorError>> + Send {
        async { Ok(()) }
    }

    /// Runs once on an orderly stop, not after a failure or a kill. Tasks and timers still live; they end right after.
    fn stop(&mut self, _ctx: &mut Ctx<Self::Msg>) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// A child of this actor ended. Only supervisors have children.
    fn child_exited(
        &mut self,
        _exit: ChildExit,
        _ctx: &mut Ctx<Self::Msg>,
    ) -> impl Future<Output = Result<(), ActorError>> + Send {
        async { Ok(()) }
    }
}
