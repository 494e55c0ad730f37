//! The supervisor actor: carries out what `policy` decides, and watches for stuck children.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ractor::{ActorCell, ActorId, SpawnErr};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

use super::behaviour::Behaviour;
use super::child::{ChildSpec, SHUTDOWN_TIMEOUT, SpawnContext};
use super::context::{Ctx, OnReady};
use super::envelope::Envelope;
use super::exit::{ActorError, ChildExit, ExitCause};
use super::messages::SupervisorMsg;
use super::policy::{Action, Event, Limit, RestartPolicy};
use super::remains::Remains;
use super::rules::KILL_GRACE;
use super::spec::SupervisorSpec;
use super::stats::ActorState;
use crate::env::{Clock, MonoTime};

/// How often children are looked at for being stuck; a limit shorter than four of these shortens it.
const WATCH_PERIOD: Duration = Duration::from_secs(1);

/// The shortest period of that look.
const WATCH_PERIOD_MIN: Duration = Duration::from_millis(10);

/// A child that runs, starts or ends.
struct Living {
    cell: ActorCell,
    join: JoinHandle<()>,
    /// Tells when its state and its tasks are gone.
    remains: Remains,
    /// Its end was reported; what is left of it is waited for.
    dead: bool,
    life: u64,
    /// What to report instead of a plain "killed".
    verdict: Option<String>,
}

/// A temporary child.
struct Guest {
    spec: Box<ChildSpec>,
    path: Arc<str>,
    living: Living,
    /// When it was killed, or ended.
    ending_since: Option<MonoTime>,
    _berth: OwnedSemaphorePermit,
}

/// Keeps children running.
pub struct Supervisor {
    spec: SupervisorSpec,
    policy: RestartPolicy,
    children: Vec<Option<Living>>,
    guests: BTreeMap<ActorId, Guest>,
    guests_ever: u64,
}

type SupCtx = Ctx<SupervisorMsg>;

impl SupervisorSpec {
    /// Adds a supervisor as a child. It is ready once its own children are, has as long for its stop as they may take
    /// together, and is never taken for stuck.
    #[must_use]
    pub fn supervisor(self, inner: SupervisorSpec) -> Self {
        let child = inner.into_child();
        self.child(child)
    }

    /// As a child of another supervisor.
    #[must_use]
    pub fn into_child(self) -> ChildSpec {
        let budget = self.shutdown_budget();
        ChildSpec::new::<Supervisor>(self.name.clone(), &self.addr.clone(), self)
            .start_timeout(None)
            .stuck_after(None)
            .shutdown_timeout(budget)
    }
}

impl Behaviour for Supervisor {
    type Msg = SupervisorMsg;
    type Args = SupervisorSpec;
    const KIND: &'static str = "supervisor";
    const READY_LATER: bool = true;

    async fn start(spec: SupervisorSpec, ctx: &mut SupCtx) -> Result<Self, ActorError> {
        let rules = spec.children.iter().map(|child| child.rules);
        let policy = RestartPolicy::new(spec.strategy, spec.intensity, rules);
        let children = spec.children.iter().map(|_| None).collect();
        ctx.set_tick(watch_period(&spec));
        let mut supervisor = Self { spec, policy, children, guests: BTreeMap::new(), guests_ever: 0 };
        supervisor.decide(Event::Begin, ctx).await?;
        Ok(supervisor)
    }

    async fn handle(&mut self, msg: SupervisorMsg, ctx: &mut SupCtx) -> Result<(), ActorError> {
        match msg {
            SupervisorMsg::Ready { child, life } => self.decide(Event::Ready { child, life }, ctx).await,
            SupervisorMsg::Timer { child, timer } => self.decide(Event::Timer { child, timer }, ctx).await,
            SupervisorMsg::Gone { child, life } => self.child_gone(child, life, ctx).await,
            SupervisorMsg::GuestGone(id) => {
                self.guests.remove(&id);
                Ok(())
            }
            SupervisorMsg::Admit { spec, berth, reply } => {
                if !reply.is_closed() {
                    reply.send(self.admit(spec, berth, ctx).await);
                }
                Ok(())
            }
        }
    }

    /// Looks for children that sit in one handler, which nobody else would ever notice.
    async fn tick(&mut self, ctx: &mut SupCtx) -> Result<(), ActorError> {
        for child in 0..self.children.len() {
            if let Some((life, verdict)) = self.stuck_child(child, ctx) {
                if let Some(living) = self.living_mut(child) {
                    living.verdict = Some(verdict);
                }
                self.decide(Event::Stuck { child, life }, ctx).await?;
            }
        }
        self.watch_guests(ctx).await
    }

    async fn stop(&mut self, ctx: &mut SupCtx) {
        self.stop_all(&ctx.env().clock).await;
    }

    async fn child_exited(&mut self, exit: ChildExit, ctx: &mut SupCtx) -> Result<(), ActorError> {
        if exit.cause != ExitCause::Stopped {
            ctx.addr().slot.stats.count_child_failure();
        }
        if self.guests.contains_key(&exit.id) {
            self.guest_exited(&exit, ctx);
            return Ok(());
        }
        let own =
            |living: &Option<Living>| living.as_ref().is_some_and(|living| living.cell.get_id() == exit.id);
        let Some(child) = self.children.iter().position(own) else { return Ok(()) };
        let gone = self.note_end(child, &exit.cause, ctx);
        self.decide(Event::Exited { child, cause: exit.cause, gone }, ctx).await
    }
}

impl Supervisor {
    fn living_mut(&mut self, child: usize) -> Option<&mut Living> {
        self.children.get_mut(child)?.as_mut()
    }

    /// Feeds the policy, and does what it says, until it says nothing more.
    async fn decide(&mut self, event: Event, ctx: &mut SupCtx) -> Result<(), ActorError> {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let dice = ctx.env().rng.u64();
            for action in self.policy.on(&event, ctx.now(), dice) {
                if let Some(more) = self.act(action, ctx).await? {
                    events.push_back(more);
                }
            }
        }
        Ok(())
    }

    async fn act(&mut self, action: Action, ctx: &mut SupCtx) -> Result<Option<Event>, ActorError> {
        match action {
            Action::Start { child, life } => return Ok(self.start_child(child, life, ctx).await),
            Action::Stop(child) => self.ask_to_stop(child),
            Action::Kill(child) => self.kill(child, ctx),
            Action::Arm { child, timer, after } => {
                ctx.send_after(after, SupervisorMsg::Timer { child, timer });
            }
            Action::BackOff { child, after, streak } => self.note_backoff(child, after, streak, ctx),
            Action::Ended(child) => self.retire(child),
            Action::AllUp => ctx.ready(),
            Action::Escalate { child, limit } => return Err(self.give_up(child, limit, ctx).await),
        }
        Ok(None)
    }

    async fn start_child(&mut self, child: usize, life: u64, ctx: &SupCtx) -> Option<Event> {
        let spec = self.spec.children.get(child)?;
        let me = ctx.myself().clone();
        let tell = Box::new(move || {
            // Fails only if this supervisor has ended, and the child with it.
            drop(me.cast(Envelope::Own(SupervisorMsg::Ready { child, life })));
        });
        match spawn(spec, format!("{}/{}", ctx.path(), spec.name).into(), false, tell, ctx).await {
            Ok(born) => {
                if let Some(slot) = self.children.get_mut(child) {
                    *slot = Some(Living { life, ..born });
                }
                None
            }
            Err(error) => {
                let cause = ExitCause::Failed(error.to_string());
                Some(Event::Exited { child, cause, gone: true })
            }
        }
    }

    fn ask_to_stop(&mut self, child: usize) {
        if let Some(living) = self.living_mut(child) {
            living.cell.stop(Some("stop: an earlier sibling failed".to_owned()));
        }
    }

    fn kill(&mut self, child: usize, ctx: &SupCtx) {
        let Some(spec) = self.spec.children.get(child) else { return };
        let state = spec.slot.stats().state();
        tracing::warn!(
            child = spec.name,
            state = state.as_str(),
            parent = ctx.path(),
            "killing a child actor"
        );
        if let Some(living) = self.living_mut(child) {
            living.verdict.get_or_insert_with(|| format!("killed: {} for too long", state.as_str()));
            living.cell.kill();
        }
    }

    fn note_backoff(&self, child: usize, after: Duration, streak: u32, ctx: &SupCtx) {
        let Some(spec) = self.spec.children.get(child) else { return };
        let stats = spec.slot.stats();
        let (after_ms, reason) = (u64::try_from(after.as_millis()).unwrap_or(u64::MAX), stats.last_exit());
        let (parent, reason) = (ctx.path(), reason.as_deref().unwrap_or("never started"));
        tracing::warn!(child = spec.name, parent, after_ms, streak, reason, "actor ended, restarting it");
        stats.set_state(ActorState::BackingOff);
    }

    fn retire(&self, child: usize) {
        if let Some(spec) = self.spec.children.get(child) {
            spec.slot.close();
        }
    }

    /// Notes how a child ended. Tells whether nothing is left of it; else that is told later, and not waited for here.
    fn note_end(&mut self, child: usize, cause: &ExitCause, ctx: &mut SupCtx) -> bool {
        let Some(living) = self.children.get_mut(child).and_then(Option::as_mut) else { return true };
        living.dead = true;
        if let (ExitCause::Killed, Some(verdict), Some(spec)) =
            (cause, living.verdict.take(), self.spec.children.get(child))
        {
            spec.slot.stats().set_last_exit(verdict);
        }
        let life = living.life;
        let gone = watch_remains(living, SupervisorMsg::Gone { child, life }, ctx);
        if gone && let Some(living) = self.children.get_mut(child) {
            *living = None;
        }
        gone
    }

    async fn child_gone(&mut self, child: usize, life: u64, ctx: &mut SupCtx) -> Result<(), ActorError> {
        if let Some(living) = self.children.get_mut(child)
            && living.as_ref().is_some_and(|living| living.life == life)
        {
            *living = None;
        }
        self.decide(Event::Gone { child, life }, ctx).await
    }

    /// Its berth is free when nothing is left of it.
    fn guest_exited(&mut self, exit: &ChildExit, ctx: &mut SupCtx) {
        let Some(guest) = self.guests.get_mut(&exit.id) else { return };
        guest.spec.slot.close();
        guest.living.dead = true;
        guest.ending_since.get_or_insert(ctx.now());
        if let ExitCause::Failed(reason) = &exit.cause {
            tracing::warn!(path = %guest.path, reason, "temporary actor failed");
        }
        if watch_remains(&guest.living, SupervisorMsg::GuestGone(exit.id), ctx) {
            self.guests.remove(&exit.id);
        }
    }

    async fn give_up(&mut self, child: usize, limit: Limit, ctx: &SupCtx) -> ActorError {
        let spec = self.spec.children.get(child);
        let name = spec.map(|spec| spec.name.clone()).unwrap_or_default();
        let last = spec.and_then(|spec| spec.slot.stats().last_exit()).unwrap_or_default();
        tracing::error!(child = name, parent = ctx.path(), %limit, last, "supervisor gives up");
        self.stop_all(&ctx.env().clock).await;
        ActorError::Escalated { child: name, reason: format!("{limit}; last end: {last}") }
    }

    async fn admit(&mut self, mut spec: Box<ChildSpec>, berth: OwnedSemaphorePermit, ctx: &SupCtx) -> bool {
        self.guests_ever += 1;
        let taken = |name: &str| {
            self.guests.values().any(|guest| guest.spec.name == name)
                || self.spec.children.iter().any(|child| child.name == name)
        };
        if taken(&spec.name) {
            spec.name = format!("{}.{}", spec.name, self.guests_ever);
        }
        let path: Arc<str> = format!("{}/{}", ctx.path(), spec.name).into();
        match spawn(&spec, Arc::clone(&path), true, Box::new(|| {}), ctx).await {
            Ok(living) => {
                let id = living.cell.get_id();
                self.guests.insert(id, Guest { spec, path, living, ending_since: None, _berth: berth });
                true
            }
            Err(error) => {
                tracing::warn!(path = %path, %error, "temporary actor not started");
                false
            }
        }
    }

    /// The life of a child that sits in one handler beyond its limit, and what to say of it.
    fn stuck_child(&self, child: usize, ctx: &SupCtx) -> Option<(u64, String)> {
        let (spec, living) = (self.spec.children.get(child)?, self.children.get(child)?.as_ref()?);
        let verdict = stuck(spec, ctx)?;
        // Only a running child is judged here: starting and stopping have time limits of their own.
        let running = spec.slot.stats().state() == ActorState::Running && living.verdict.is_none();
        running.then(|| {
            spec.slot.stats().count_stuck();
            (living.life, verdict)
        })
    }

    async fn watch_guests(&mut self, ctx: &SupCtx) -> Result<(), ActorError> {
        let now = ctx.now();
        let mut unkillable = None;
        for guest in self.guests.values_mut() {
            if let Some(since) = guest.ending_since {
                if now.since(since) > KILL_GRACE {
                    unkillable = Some(guest.path.to_string());
                }
            } else if let Some(verdict) = stuck(&guest.spec, ctx).or_else(|| unready(&guest.spec, ctx)) {
                tracing::warn!(path = %guest.path, verdict, "killing a temporary actor");
                guest.spec.slot.stats().count_stuck();
                guest.ending_since = Some(now);
                guest.living.cell.kill();
            }
        }
        let Some(child) = unkillable else { return Ok(()) };
        self.stop_all(&ctx.env().clock).await;
        Err(ActorError::Escalated { child, reason: Limit::Unkillable.to_string() })
    }

    /// Ends everything in order: guests together, then the children one by one, the last one started first.
    async fn stop_all(&mut self, clock: &Arc<dyn Clock>) {
        let mut guests = std::mem::take(&mut self.guests);
        for guest in guests.values() {
            guest.living.cell.stop(Some("stop: the supervisor stops".to_owned()));
        }
        let deadline = clock.now() + SHUTDOWN_TIMEOUT;
        for guest in guests.values_mut() {
            if clock.timeout_at(deadline, &mut guest.living.join).await.is_err() {
                end_by_force(&guest.spec, &mut guest.living, clock).await;
            }
            outlive(&guest.spec, &guest.living, clock).await;
            guest.spec.slot.close();
        }
        for (spec, living) in self.spec.children.iter().zip(&mut self.children).rev() {
            if let Some(mut living) = living.take() {
                living.cell.stop(Some("stop: the supervisor stops".to_owned()));
                if clock.timeout(spec.rules.shutdown_timeout, &mut living.join).await.is_err() {
                    end_by_force(spec, &mut living, clock).await;
                }
                outlive(spec, &living, clock).await;
            }
            spec.slot.close();
            if spec.slot.stats().state() == ActorState::BackingOff {
                spec.slot.stats().set_state(ActorState::Failed);
            }
        }
    }
}

async fn spawn(
    spec: &ChildSpec,
    path: Arc<str>,
    temporary: bool,
    on_ready: OnReady,
    ctx: &SupCtx,
) -> Result<Living, SpawnErr> {
    let (env, tree, parent) = (ctx.env().clone(), ctx.tree().clone(), Some(ctx.myself().get_cell()));
    let (alive, remains) = ctx.alive().begin_below();
    let (cell, join) =
        (spec.spawn)(SpawnContext { env, tree, path, temporary, parent, on_ready, alive }).await?;
    Ok(Living { cell, join, remains, dead: false, life: 1, verdict: None })
}

/// Whether nothing is left of a dead child; else `told` comes when that is so.
fn watch_remains(dead: &Living, told: SupervisorMsg, ctx: &mut SupCtx) -> bool {
    let gone = dead.remains.are_gone();
    if !gone {
        ctx.spawn_then(dead.remains.clone().gone(), |()| told);
    }
    gone
}

async fn end_by_force(spec: &ChildSpec, living: &mut Living, clock: &Arc<dyn Clock>) {
    tracing::warn!(child = spec.name, "child actor did not stop in time, killing it");
    living.cell.kill();
    if clock.timeout(KILL_GRACE, &mut living.join).await.is_err() {
        tracing::error!(child = spec.name, "child actor outlives its kill");
    }
}

/// Waits for what is left of a child whose end was reported already.
async fn outlive(spec: &ChildSpec, living: &Living, clock: &Arc<dyn Clock>) {
    if living.dead && clock.timeout(KILL_GRACE, living.remains.clone().gone()).await.is_err() {
        tracing::error!(child = spec.name, "something of a dead child actor outlives its supervisor");
    }
}

fn stuck(spec: &ChildSpec, ctx: &SupCtx) -> Option<String> {
    let (limit, since) = (spec.stuck_after?, spec.slot.stats().busy_since()?);
    let busy = ctx.now().since(since);
    (busy > limit).then(|| format!("killed: stuck in one handler for {:.1} s", busy.as_secs_f32()))
}

fn unready(spec: &ChildSpec, ctx: &SupCtx) -> Option<String> {
    let (limit, stats) = (spec.rules.start_timeout?, spec.slot.stats());
    let late = stats.state() == ActorState::Starting && ctx.now().since(stats.started_at()) > limit;
    late.then(|| "killed: starting for too long".to_owned())
}

fn watch_period(spec: &SupervisorSpec) -> Duration {
    let shortest = spec.children.iter().filter_map(|child| child.stuck_after).min();
    shortest.map_or(WATCH_PERIOD, |limit| (limit / 4).clamp(WATCH_PERIOD_MIN, WATCH_PERIOD))
}
