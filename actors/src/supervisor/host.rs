//! The one ractor actor: it hosts any [`Behaviour`] and adds what all of them need.
//!
//! Counters, the slow-handler guard, panics as failures, owned tasks that end before the corpse is reported, and the
//! slot that senders see. ractor's defaults that would bite are overridden here, once: a child's end never stops its
//! parent by itself, and the state of an ended actor is dropped before anybody acts on its end.

use std::future::Future;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
#[cfg(any(test, feature = "chaos"))]
use futures_util::future::BoxFuture;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tracing::Instrument;

use super::addr::{Addr, AnySlot};
use super::behaviour::Behaviour;
#[cfg(any(test, feature = "chaos"))]
use super::chaos::{Weather, suffer};
use super::context::{Ctx, OnReady};
use super::envelope::Envelope;
use super::exit::{ActorError, ChildExit, ExitCause, panic_text};
use super::remains::Alive;
use super::stats::{ActorState, Stats};
use super::tree::{ActorEntry, ActorTree};
use crate::env::{Clock, Env};

/// A handler that takes longer is counted, and logged. Stop latency and heartbeats depend on it.
pub const SLOW_HANDLER: Duration = Duration::from_millis(100);

/// What an actor is born with.
pub(crate) struct Birth<B: Behaviour> {
    pub(crate) args: B::Args,
    pub(crate) addr: Addr<B::Msg>,
    pub(crate) env: Env,
    pub(crate) tree: ActorTree,
    pub(crate) path: Arc<str>,
    /// Leaves the tree with its end, instead of staying there as stopped.
    pub(crate) temporary: bool,
    pub(crate) on_ready: OnReady,
    pub(crate) alive: Alive,
}

/// Holds the slot while the actor lives, and leaves it on every way out, a kill included.
struct Tenancy<M: Send + 'static> {
    addr: Addr<M>,
    myself: ActorRef<Envelope<M>>,
    tree: ActorTree,
    entry: Arc<ActorEntry>,
    temporary: bool,
}

impl<M: Send + 'static> Drop for Tenancy<M> {
    fn drop(&mut self) {
        if self.temporary {
            // Nobody will ever move in again, whether or not the supervisor lives to say so.
            self.addr.slot.close();
            self.tree.forget(&self.entry);
        } else {
            self.addr.slot.vacate(&self.myself);
        }
        let stats = &self.addr.slot.stats;
        if matches!(stats.state(), ActorState::Starting | ActorState::Running | ActorState::Stopping) {
            // Neither an orderly stop nor a failure came this far.
            stats.set_last_exit("killed");
            stats.set_state(ActorState::Failed);
        }
    }
}

/// A living actor. Fields drop in this order: state, tasks, slot, and at last the word that it is gone.
pub(crate) struct Life<B: Behaviour> {
    behaviour: Option<B>,
    pub(crate) ctx: Ctx<B::Msg>,
    #[cfg(any(test, feature = "chaos"))]
    weather: Weather,
    _tenancy: Tenancy<B::Msg>,
    _alive: Alive,
}

/// What ractor keeps for an actor: its life, between handlers.
///
/// A handler takes the life out and puts it back, so that a kill in the middle of one ends it there and then. What is in
/// here when an actor is killed travels to its supervisor instead, and its tasks live until that looks at its mail.
pub(crate) struct Body<B: Behaviour> {
    args: Option<B::Args>,
    life: Option<Box<Life<B>>>,
}

/// Hosts a [`Behaviour`] in ractor.
pub(crate) struct Host<B>(PhantomData<fn() -> B>);

impl<B> Host<B> {
    pub(crate) const fn new() -> Self {
        Self(PhantomData)
    }
}

/// Watches one handler: what is needed apart from the context that the handler borrows.
struct HandlerWatch {
    stats: Arc<Stats>,
    clock: Arc<dyn Clock>,
    span: tracing::Span,
    kind: &'static str,
}

impl HandlerWatch {
    fn of<B: Behaviour>(ctx: &Ctx<B::Msg>) -> Self {
        let (stats, clock) = (Arc::clone(&ctx.addr().slot.stats), Arc::clone(&ctx.env().clock));
        Self { stats, clock, span: ctx.span().clone(), kind: B::KIND }
    }

    /// Runs `work` in the actor's span, timed, and turns a panic into an error.
    async fn run<T>(self, work: impl Future<Output = Result<T, ActorError>> + Send) -> Result<T, ActorError> {
        let began = self.clock.now();
        self.stats.begin_handler(began);
        let outcome = AssertUnwindSafe(work).catch_unwind().instrument(self.span.clone()).await;
        let ended = self.clock.now();
        if self.stats.end_handler(began, ended, SLOW_HANDLER) {
            let took_ms = u64::try_from(ended.since(began).as_millis()).unwrap_or(u64::MAX);
            self.span.in_scope(|| tracing::warn!(kind = self.kind, took_ms, "slow handler"));
        }
        outcome.unwrap_or_else(|panic| Err(ActorError::Panicked(panic_text(panic.as_ref()))))
    }
}

impl<B: Behaviour> Life<B> {
    async fn start(mut self: Box<Self>, args: B::Args) -> Result<Box<Self>, ActorProcessingErr> {
        let span = self.ctx.span().clone();
        let starting = AssertUnwindSafe(B::start(args, &mut self.ctx)).catch_unwind();
        let outcome = starting.instrument(span).await;
        match outcome.unwrap_or_else(|panic| Err(ActorError::Panicked(panic_text(panic.as_ref())))) {
            Ok(behaviour) => {
                self.behaviour = Some(behaviour);
                if !B::READY_LATER {
                    self.ctx.ready();
                }
                Ok(self)
            }
            Err(error) => Err(self.fail(error).await),
        }
    }

    async fn handle(
        mut self: Box<Self>,
        envelope: Envelope<B::Msg>,
    ) -> Result<Box<Self>, ActorProcessingErr> {
        let Some(behaviour) = self.behaviour.as_mut() else { return Ok(self) };
        let watch = HandlerWatch::of::<B>(&self.ctx);
        let outcome = watch.run(Self::dispatch(behaviour, &mut self.ctx, envelope)).await;
        self.settle(outcome).await
    }

    /// Serves the delay that mischief has put before each message.
    #[cfg(any(test, feature = "chaos"))]
    fn weather(&mut self, envelope: &Envelope<B::Msg>) -> BoxFuture<'static, ()> {
        match self.weather.before(envelope) {
            Duration::ZERO => Box::pin(std::future::ready(())),
            wait => self.ctx.env().clock.sleep(wait),
        }
    }

    async fn child_exited(mut self: Box<Self>, exit: ChildExit) -> Result<Box<Self>, ActorProcessingErr> {
        let Some(behaviour) = self.behaviour.as_mut() else { return Ok(self) };
        let watch = HandlerWatch::of::<B>(&self.ctx);
        let outcome = watch.run(behaviour.child_exited(exit, &mut self.ctx)).await;
        self.settle(outcome).await
    }

    async fn stop(mut self: Box<Self>) -> Result<(), ActorProcessingErr> {
        let (stats, span) = (Arc::clone(&self.ctx.addr().slot.stats), self.ctx.span().clone());
        stats.set_state(ActorState::Stopping);
        self.ctx.addr().slot.vacate(self.ctx.myself());
        if let Some(mut behaviour) = self.behaviour.take() {
            let stopping = AssertUnwindSafe(behaviour.stop(&mut self.ctx)).catch_unwind();
            if let Err(panic) = stopping.instrument(span).await {
                return Err(self.fail(ActorError::Panicked(panic_text(panic.as_ref()))).await);
            }
        }
        self.ctx.end_tasks().await;
        stats.set_last_exit("stopped");
        stats.set_state(ActorState::Stopped);
        Ok(())
    }

    async fn dispatch(
        behaviour: &mut B,
        ctx: &mut Ctx<B::Msg>,
        envelope: Envelope<B::Msg>,
    ) -> Result<(), ActorError> {
        match envelope {
            // The ticket, like `_next` below, lives until the handler has ended: it bounds queue and work alike.
            Envelope::Message(msg, _ticket) => behaviour.handle(msg, ctx).await,
            Envelope::Own(msg) => behaviour.handle(msg, ctx).await,
            Envelope::Timer { id, msg } if ctx.expired(id, true) => behaviour.handle(msg, ctx).await,
            Envelope::Tick { id, _next } if ctx.expired(id, false) => behaviour.tick(ctx).await,
            Envelope::Timer { .. } | Envelope::Tick { .. } => Ok(()),
            Envelope::TaskPanicked(text) => Err(ActorError::TaskPanicked(text)),
            #[cfg(any(test, feature = "chaos"))]
            Envelope::Chaos(strike) => {
                suffer(strike, ctx.env().clock.as_ref()).await;
                Ok(())
            }
        }
    }

    async fn settle(
        mut self: Box<Self>,
        outcome: Result<(), ActorError>,
    ) -> Result<Box<Self>, ActorProcessingErr> {
        self.ctx.reap();
        match outcome {
            Ok(()) => Ok(self),
            Err(error) => Err(self.fail(error).await),
        }
    }

    /// Ends a failed life: the corpse and its tasks are gone before the supervisor hears of it.
    async fn fail(mut self: Box<Self>, error: ActorError) -> ActorProcessingErr {
        let stats = Arc::clone(&self.ctx.addr().slot.stats);
        // Counts as one more handler, so that tasks which block instead of ending are noticed as stuck.
        stats.begin_handler(self.ctx.now());
        self.ctx.end_tasks().await;
        stats.set_last_exit(error.to_string());
        stats.set_state(ActorState::Failed);
        Box::new(error)
    }
}

impl<B: Behaviour> Actor for Host<B> {
    type Msg = Envelope<B::Msg>;
    type State = Body<B>;
    type Arguments = Birth<B>;

    /// Runs in the supervisor's task, so it awaits nothing; the behaviour starts in `post_start`.
    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        birth: Birth<B>,
    ) -> Result<Body<B>, ActorProcessingErr> {
        let Birth { args, addr, env, tree, path, temporary, on_ready, alive } = birth;
        addr.slot.stats.begin_life(env.now());
        let entry = tree.enter(&path, B::KIND, &addr.slot.stats, &myself);
        let tenancy =
            Tenancy { addr: addr.clone(), myself: myself.clone(), tree: tree.clone(), entry, temporary };
        let life = Life {
            behaviour: None,
            ctx: Ctx::new(myself, addr, env, tree, path, Some(on_ready), alive.clone()),
            #[cfg(any(test, feature = "chaos"))]
            weather: Weather::default(),
            _tenancy: tenancy,
            _alive: alive,
        };
        Ok(Body { args: Some(args), life: Some(Box::new(life)) })
    }

    async fn post_start(
        &self,
        _me: ActorRef<Self::Msg>,
        body: &mut Body<B>,
    ) -> Result<(), ActorProcessingErr> {
        if let (Some(life), Some(args)) = (body.life.take(), body.args.take()) {
            body.life = Some(life.start(args).await?);
        }
        Ok(())
    }

    async fn handle(
        &self,
        _me: ActorRef<Self::Msg>,
        envelope: Self::Msg,
        body: &mut Body<B>,
    ) -> Result<(), ActorProcessingErr> {
        let Some(life) = body.life.take() else { return Ok(()) };
        #[cfg(any(test, feature = "chaos"))]
        let life = {
            let mut life = life;
            life.weather(&envelope).await;
            life
        };
        body.life = Some(life.handle(envelope).await?);
        Ok(())
    }

    async fn post_stop(
        &self,
        _me: ActorRef<Self::Msg>,
        body: &mut Body<B>,
    ) -> Result<(), ActorProcessingErr> {
        match body.life.take() {
            Some(life) => life.stop().await,
            None => Ok(()),
        }
    }

    async fn handle_supervisor_evt(
        &self,
        _me: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        body: &mut Body<B>,
    ) -> Result<(), ActorProcessingErr> {
        // What a dead child leaves travels inside the event: it is dropped here, before anybody acts on its end.
        let Some(exit) = exit_of(event) else { return Ok(()) };
        if let Some(life) = body.life.take() {
            body.life = Some(life.child_exited(exit).await?);
        }
        Ok(())
    }
}

fn exit_of(event: SupervisionEvent) -> Option<ChildExit> {
    match event {
        SupervisionEvent::ActorTerminated(who, state, reason) => {
            drop(state);
            // What ractor says for a kill and for a task dropped with its runtime; our own reasons begin with "stop".
            let killed = matches!(reason.as_deref(), Some("killed" | "actor_task_cancelled"));
            let cause = if killed { ExitCause::Killed } else { ExitCause::Stopped };
            Some(ChildExit { id: who.get_id(), cause })
        }
        SupervisionEvent::ActorFailed(who, error) => {
            Some(ChildExit { id: who.get_id(), cause: ExitCause::Failed(error.to_string()) })
        }
        _ => None,
    }
}
