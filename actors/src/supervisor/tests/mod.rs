//! Tests of whole trees, under tokio's paused time: a probe actor that can be made to fail in every way.

mod chaos;
mod life;
mod mailbox;
mod restart;
mod shutdown;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::*;
use crate::env::{Clock, Env, MonoTime};

/// Longer than anything here should take, shorter than any time limit under test.
const SOON: Duration = Duration::from_secs(1);

fn clock() -> Arc<dyn Clock> {
    Env::for_tests(11).clock
}

/// Time that stands still: however slow the machine is, no deadline passes.
struct StoppedClock;

impl Clock for StoppedClock {
    fn now(&self) -> MonoTime {
        MonoTime::ZERO
    }

    fn wall_ms(&self) -> u64 {
        0
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        if span.is_zero() { Box::pin(std::future::ready(())) } else { Box::pin(std::future::pending()) }
    }
}

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// What happened, in order, across all actors of a test.
#[derive(Clone, Default)]
struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

enum Order {
    Add(u64),
    Get(Reply<u64>),
    /// Drops the reply.
    Snub(Reply<u64>),
    /// Keeps the reply and never answers.
    Hold(Reply<u64>),
    Panic,
    Fail,
    /// Sits in the handler.
    Sleep(Duration),
    Stop,
    /// Owns a task that never ends, and notes its end.
    OwnTask,
    /// Owns a task that says so when it blocks its thread, until the other end is dropped.
    OwnBlock(std::sync::mpsc::Sender<()>, std::sync::mpsc::Receiver<()>),
    /// Owns a task that panics.
    OwnPanic,
    /// Arms timers: a one-shot, one that is cancelled, and the tick.
    Timers,
    /// Asks to be woken after a while, or not any more.
    WakeAfter(Option<Duration>, &'static str),
    /// Arms a one-shot and keeps its name.
    Arm,
    /// Cancels what `Arm` armed.
    Disarm,
    Note(&'static str),
}

/// Shared with the test, which turns the screws between lives.
#[derive(Clone, Default)]
struct Screws {
    journal: Journal,
    /// The next so many starts fail.
    failing_starts: Arc<Mutex<u32>>,
    /// A start takes so long.
    start_takes: Arc<Mutex<Duration>>,
    /// A stop takes so long.
    stop_takes: Arc<Mutex<Duration>>,
}

#[derive(Clone)]
struct ProbeArgs {
    name: &'static str,
    screws: Screws,
}

struct Probe {
    args: ProbeArgs,
    sum: u64,
    held: Vec<Reply<u64>>,
    armed: Option<TimerId>,
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.args.screws.journal.note(format!("{} gone", self.args.name));
    }
}

/// Notes that it was dropped.
struct Trace(Journal, &'static str);

impl Drop for Trace {
    fn drop(&mut self) {
        self.0.note(self.1);
    }
}

impl Behaviour for Probe {
    type Msg = Order;
    type Args = ProbeArgs;
    const KIND: &'static str = "probe";

    async fn start(args: ProbeArgs, ctx: &mut Ctx<Order>) -> Result<Self, ActorError> {
        let takes = *args.screws.start_takes.lock().unwrap();
        ctx.env().clock.sleep(takes).await;
        {
            let mut failing = args.screws.failing_starts.lock().unwrap();
            if *failing > 0 {
                *failing -= 1;
                return Err(ActorError::fatal("start the probe", "told to fail"));
            }
        }
        args.screws.journal.note(format!("{} up", args.name));
        Ok(Self { args, sum: 0, held: Vec::new(), armed: None })
    }

    async fn handle(&mut self, order: Order, ctx: &mut Ctx<Order>) -> Result<(), ActorError> {
        let journal = self.args.screws.journal.clone();
        match order {
            Order::Add(n) => self.sum += n,
            Order::Get(reply) => reply.send(self.sum),
            Order::Snub(reply) => drop(reply),
            Order::Hold(reply) => self.held.push(reply),
            Order::Panic => panic!("told to panic"),
            Order::Fail => return Err(ActorError::fatal("obey", "told to fail")),
            Order::Sleep(span) => ctx.env().clock.sleep(span).await,
            Order::Stop => ctx.stop("told to stop"),
            Order::OwnTask => {
                let trace = Trace(journal, "task gone");
                ctx.spawn(async move {
                    let _trace = trace;
                    std::future::pending::<()>().await;
                });
            }
            Order::OwnBlock(begun, until) => {
                ctx.spawn(async move {
                    begun.send(()).unwrap();
                    while until.recv().is_ok() {}
                });
            }
            Order::OwnPanic => {
                ctx.spawn(async { panic!("task told to panic") });
            }
            Order::Timers => {
                ctx.send_after(secs(10), Order::Note("once"));
                let cancelled = ctx.send_after(secs(10), Order::Note("cancelled"));
                ctx.cancel(cancelled);
                ctx.set_tick(secs(4));
            }
            Order::WakeAfter(after, what) => {
                ctx.wake_at(after.map(|after| ctx.now() + after), Order::Note(what));
            }
            Order::Arm => self.armed = Some(ctx.send_after(secs(5), Order::Note("too late"))),
            Order::Disarm => self.armed.into_iter().for_each(|timer| ctx.cancel(timer)),
            Order::Note(what) => journal.note(what),
        }
        Ok(())
    }

    async fn tick(&mut self, _ctx: &mut Ctx<Order>) -> Result<(), ActorError> {
        self.args.screws.journal.note("again");
        Ok(())
    }

    async fn stop(&mut self, ctx: &mut Ctx<Order>) {
        let takes = *self.args.screws.stop_takes.lock().unwrap();
        ctx.env().clock.sleep(takes).await;
        self.args.screws.journal.note(format!("{} stops", self.args.name));
    }
}

/// One probe: its address and its screws. All probes of a test share a journal.
struct Subject {
    addr: Addr<Order>,
    args: ProbeArgs,
}

impl Subject {
    fn new(name: &'static str, journal: &Journal) -> Self {
        Self::by(&clock(), name, journal)
    }

    fn by(clock: &Arc<dyn Clock>, name: &'static str, journal: &Journal) -> Self {
        let screws = Screws { journal: journal.clone(), ..Screws::default() };
        Self { addr: Addr::new(clock, 8), args: ProbeArgs { name, screws } }
    }

    fn spec(&self) -> ChildSpec {
        ChildSpec::new::<Probe>(self.args.name, &self.addr, self.args.clone())
    }

    async fn tell(&self, order: Order) {
        self.addr.send(order, SOON).await.unwrap();
    }

    /// Tells it something that ends its life, and waits until it has: what is asked next meets the next life.
    async fn upset(&self, order: Order) {
        self.tell(order).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    async fn sum(&self) -> Result<u64, AskError> {
        self.addr.ask(Order::Get, SOON).await
    }
}

/// A tree that is up.
async fn grow(spec: SupervisorSpec) -> (Root, ActorTree) {
    grow_in(Env::for_tests(11), spec).await
}

async fn grow_in(env: Env, spec: SupervisorSpec) -> (Root, ActorTree) {
    let tree = ActorTree::new("test-node");
    let root = Root::start(env, tree.clone(), spec).await.unwrap();
    assert!(root.ready(secs(30)).await, "all children come up");
    (root, tree)
}

fn trio(journal: &Journal) -> [Subject; 3] {
    ["a", "b", "c"].map(|name| Subject::new(name, journal))
}
