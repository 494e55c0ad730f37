//! What an actor holds while it lives: its own address, its environment, and the tasks and timers that die with it.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use ractor::ActorRef;
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet};
use tracing::Instrument;

use super::addr::Addr;
use super::envelope::{Envelope, TimerId};
use super::exit::panic_text;
use super::remains::Alive;
use super::stats::ActorState;
use super::tree::ActorTree;
use crate::env::{Env, MonoTime};

/// Told once, when the actor is ready to work.
pub(crate) type OnReady = Box<dyn FnOnce() + Send + Sync>;

/// The actor's side of its own life. Handed to every method of [`Behaviour`](super::Behaviour).
pub struct Ctx<M> {
    myself: ActorRef<Envelope<M>>,
    addr: Addr<M>,
    env: Env,
    tree: ActorTree,
    path: Arc<str>,
    tasks: JoinSet<()>,
    timers: BTreeMap<TimerId, AbortHandle>,
    next_timer: u64,
    tick: Option<TimerId>,
    alarm: Option<(MonoTime, TimerId)>,
    span: tracing::Span,
    on_ready: Option<OnReady>,
    alive: Alive,
}

impl<M: Send + 'static> Ctx<M> {
    pub(crate) fn new(
        myself: ActorRef<Envelope<M>>,
        addr: Addr<M>,
        env: Env,
        tree: ActorTree,
        path: Arc<str>,
        on_ready: Option<OnReady>,
        alive: Alive,
    ) -> Self {
        // Detached: else it would lie in the span of whichever handler of the supervisor started it.
        let span = tracing::info_span!(parent: None, "actor", node = %tree.node(), path = %path);
        let (tasks, timers) = (JoinSet::new(), BTreeMap::new());
        Self {
            myself,
            addr,
            env,
            tree,
            path,
            tasks,
            timers,
            next_timer: 0,
            tick: None,
            alarm: None,
            span,
            on_ready,
            alive,
        }
    }

    /// The life that it belongs to.
    pub(crate) fn alive(&self) -> &Alive {
        &self.alive
    }

    /// Its own address, valid across restarts.
    #[must_use]
    pub fn addr(&self) -> &Addr<M> {
        &self.addr
    }

    /// Clock, network and randomness.
    #[must_use]
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// The present monotonic instant.
    #[must_use]
    pub fn now(&self) -> MonoTime {
        self.env.now()
    }

    /// Name of the node it runs on.
    #[must_use]
    pub fn node(&self) -> &str {
        self.tree.node()
    }

    /// Its place in the tree, such as `root/datanode/disk-0`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The registry of all actors of this node.
    #[must_use]
    pub fn tree(&self) -> &ActorTree {
        &self.tree
    }

    /// The span that its log lines belong to; tasks spawned here are in it already.
    #[must_use]
    pub fn span(&self) -> &tracing::Span {
        &self.span
    }

    /// Runs `task` until it ends or the actor does, whichever is first. A panic in it fails the actor.
    pub fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let myself = self.myself.clone();
        let guarded = async move {
            if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await {
                // A cast fails only if the actor has ended already, and its tasks with it.
                drop(myself.cast(Envelope::TaskPanicked(panic_text(panic.as_ref()))));
            }
        };
        let handle = self.tasks.spawn(self.alive.clone().during(guarded.instrument(self.span.clone())));
        self.reap();
        handle
    }

    /// Runs `task`, then tells the actor what `into_msg` makes of its result. Such messages bypass the mailbox bound:
    /// there is at most one per task, and the actor decides how many tasks it has.
    pub fn spawn_then<T: Send + 'static>(
        &mut self,
        task: impl Future<Output = T> + Send + 'static,
        into_msg: impl FnOnce(T) -> M + Send + 'static,
    ) -> AbortHandle {
        let myself = self.myself.clone();
        self.spawn(async move {
            let msg = into_msg(task.await);
            drop(myself.cast(Envelope::Own(msg)));
        })
    }

    /// Tells the actor `msg` once `after` has passed.
    pub fn send_after(&mut self, after: Duration, msg: M) -> TimerId {
        let (id, myself, sleep) = (self.fresh_timer(), self.myself.clone(), self.env.clock.sleep(after));
        let task = async move {
            sleep.await;
            drop(myself.cast(Envelope::Timer { id, msg }));
        };
        self.arm(id, task)
    }

    /// Calls [`Behaviour::tick`](super::Behaviour::tick) again and again, `period` after the last one was handled, in
    /// place of any earlier period: a slow actor is never behind by more than one.
    pub fn set_tick(&mut self, period: Duration) {
        if let Some(old) = self.tick.take() {
            self.cancel(old);
        }
        let (id, myself, clock) = (self.fresh_timer(), self.myself.clone(), Arc::clone(&self.env.clock));
        let task = async move {
            loop {
                clock.sleep(period).await;
                let (next, handled) = oneshot::channel();
                if myself.cast(Envelope::Tick { id, _next: next }).is_err() {
                    return;
                }
                // Never sent on: dropped when the tick has been handled.
                let _dropped = handled.await;
            }
        };
        self.tick = Some(self.arm(id, task));
    }

    /// Tells the actor `msg` at `at`, in place of what an earlier call asked for; `None` asks for nothing more. Asked for
    /// the instant that it waits for already, it changes nothing: so a state can say after each step when it is due.
    pub fn wake_at(&mut self, at: Option<MonoTime>, msg: M) {
        if self.alarm.map(|(due, _)| due) == at {
            return;
        }
        if let Some((_, old)) = self.alarm.take() {
            self.cancel(old);
        }
        self.alarm = at.map(|at| (at, self.send_after(at.since(self.now()), msg)));
    }

    /// Cancels a timer. Its message is not delivered any more, even if it had expired already.
    pub fn cancel(&mut self, timer: TimerId) {
        if let Some(task) = self.timers.remove(&timer) {
            task.abort();
        }
    }

    /// Ends the actor in order, after the present handler. What is still in its mailbox is dropped.
    pub fn stop(&self, reason: &str) {
        self.myself.stop(Some(format!("stop: {reason}")));
    }

    /// Shows how many credits the actor holds, in whatever unit its kind counts.
    pub fn set_credits(&self, credits: u64) {
        self.addr.slot.stats.set_credits(credits);
    }

    /// Declares it ready to work: senders get through, and its supervisor starts the next child. Called by the host
    /// after `start`, unless [`READY_LATER`](super::Behaviour::READY_LATER); a second call does nothing.
    pub fn ready(&mut self) {
        if let Some(tell) = self.on_ready.take() {
            self.addr.slot.stats.set_state(ActorState::Running);
            self.addr.slot.occupy(self.myself.clone());
            tell();
        }
    }

    pub(crate) fn myself(&self) -> &ActorRef<Envelope<M>> {
        &self.myself
    }

    /// Whether an expired timer still counts. `once` forgets it.
    pub(crate) fn expired(&mut self, timer: TimerId, once: bool) -> bool {
        if self.alarm.is_some_and(|(_, alarm)| alarm == timer) {
            self.alarm = None;
        }
        if once { self.timers.remove(&timer).is_some() } else { self.timers.contains_key(&timer) }
    }

    /// Forgets tasks that have ended.
    pub(crate) fn reap(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        self.addr.slot.stats.set_tasks(self.tasks.len());
    }

    /// Ends all tasks and timers, and waits until they are gone.
    pub(crate) async fn end_tasks(&mut self) {
        self.timers.clear();
        self.tasks.shutdown().await;
    }

    fn fresh_timer(&mut self) -> TimerId {
        self.next_timer += 1;
        TimerId(self.next_timer)
    }

    fn arm(&mut self, id: TimerId, task: impl Future<Output = ()> + Send + 'static) -> TimerId {
        let handle = self.spawn(task);
        self.timers.insert(id, handle);
        id
    }
}
