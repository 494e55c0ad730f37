//! A process of the simulated world: a runtime of its own, with its own virtual time, that can be ended at any moment.
//!
//! ```text
//!            start                 crash (or the main future ends)
//!   Down ------------> Running -------------------------------------> Down
//!                       |   ^
//!                 pause |   | resume: the time that went by is there at once
//!                       v   |
//!                      Paused
//! ```
//! All tasks of a process run in its runtime, so that dropping it ends them where they stand, as SIGKILL would: nothing they
//! do while they are dropped reaches the world, since its network and disk have let go of the process before
//! ([`Doom`]). The pattern is turmoil's (Tokio project); here a step ends early where the process dies in it.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use dfs_actors::env::{Clock, MonoTime};
use futures_util::future::BoxFuture;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::fate::{Crash, Fate};
use super::id::HostId;
use super::trace::{Scribe, Trace, What, listen};

thread_local! {
    /// World time of the host that runs on this thread, in microseconds.
    static NOW: Cell<u64> = const { Cell::new(0) };
    static STARTED: Cell<Option<(Instant, u64)>> = const { Cell::new(None) };
}

/// World time, in microseconds: that of the host that runs, or of the last tick's end between two.
pub(super) fn now_us() -> u64 {
    match STARTED.get() {
        Some((base, began)) => began + micros(base.elapsed()),
        None => NOW.get(),
    }
}

/// Says what time it is while no host runs.
pub(super) fn set_now_us(now: u64) {
    NOW.set(now);
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// The end of a process: set once, seen by its disk and its network before anything else happens.
#[derive(Default)]
pub(super) struct Doom {
    dead: Arc<AtomicBool>,
    wake: Notify,
    killed: AtomicBool,
    pub(super) fate: Arc<Fate>,
}

impl Doom {
    /// From here on the process reaches nothing any more.
    pub(super) fn seal(&self) {
        self.dead.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// The process ends at a step, and its machine with it or not.
    pub(super) fn strike(&self, crash: Crash) {
        self.killed.store(!crash.power, Ordering::Relaxed);
        self.seal();
    }

    /// Its machine goes on.
    pub(super) fn is_kill(&self) -> bool {
        self.killed.load(Ordering::Relaxed)
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }
}

/// The date at which every world begins: 2026-01-01.
const BEGIN_MS: u64 = 1_767_225_600_000;

/// The clock of one life of a host. The wall clock can be set; it is the same across the host's lives.
#[derive(Debug, Clone)]
pub(super) struct HostClock {
    base: Instant,
    skew_ms: Arc<AtomicI64>,
}

fn wall_ms(skew_ms: &AtomicI64) -> u64 {
    (BEGIN_MS + now_us() / 1000).saturating_add_signed(skew_ms.load(Ordering::Relaxed))
}

impl Clock for HostClock {
    fn now(&self) -> MonoTime {
        MonoTime::from_micros(micros(self.base.elapsed()))
    }

    fn wall_ms(&self) -> u64 {
        wall_ms(&self.skew_ms)
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(span))
    }
}

/// What a process is given when it starts.
#[derive(Clone)]
pub(super) struct Birth {
    pub(super) host: HostId,
    pub(super) clock: HostClock,
    pub(super) doom: Arc<Doom>,
    /// Asks the process to stop in order, as SIGTERM would.
    pub(super) stop: Arc<Notify>,
    /// How often this host has started, this time included.
    pub(super) life: u32,
}

/// How a process ended by itself.
pub(super) type Ending = Result<(), String>;

struct Life {
    runtime: Runtime,
    base: Instant,
    began: u64,
    doom: Arc<Doom>,
    stop: Arc<Notify>,
    main: JoinHandle<Ending>,
    /// How far its wall clock was off when it started.
    skew_ms: i64,
}

/// From the start of a process to when it has looked at the clock for sure.
const STARTS_WITHIN_US: u64 = 1_000_000;

impl Life {
    fn scribe(&self, host: HostId, trace: &Trace) -> Scribe {
        Scribe { trace: trace.clone(), host, now: now_us, dead: self.doom.dead.clone() }
    }
}

/// A host: up, down or paused.
pub(super) struct Host {
    pub(super) id: HostId,
    trace: Trace,
    skew_ms: Arc<AtomicI64>,
    life: Option<Life>,
    lives: u32,
    paused: bool,
    pub(super) fate: Arc<Fate>,
}

/// What came of a step.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stepped {
    /// It runs on, or is paused or down.
    On,
    /// Its main future ended.
    Ended(Ending),
    /// It was doomed by what it did itself: its disk was told to die at this step.
    Doomed,
}

impl Host {
    pub(super) fn new(id: HostId, trace: Trace) -> Self {
        Self { id, trace, skew_ms: Arc::default(), life: None, lives: 0, paused: false, fate: Arc::default() }
    }

    pub(super) fn is_up(&self) -> bool {
        self.life.is_some()
    }

    /// It is up, and not paused.
    pub(super) fn is_running(&self) -> bool {
        self.is_up() && !self.paused
    }

    /// What its wall clock says.
    pub(super) fn wall_ms(&self) -> u64 {
        wall_ms(&self.skew_ms)
    }

    /// The least of what its wall clock says and of what its process has counted since its start: a process believes neither
    /// alone when the clock is set.
    pub(super) fn believed_ms(&self) -> u64 {
        let born = self.life.as_ref().map(|life| wall_ms(&AtomicI64::new(life.skew_ms)));
        born.map_or(self.wall_ms(), |counted| counted.min(self.wall_ms()))
    }

    /// Sets the wall clock forward or back. A process that is just starting may not have looked at it before.
    pub(super) fn set_clock(&mut self, by_ms: i64) {
        let skew_ms = self.skew_ms.fetch_add(by_ms, Ordering::Relaxed) + by_ms;
        let life = self.life.as_mut().filter(|life| now_us() < life.began + STARTS_WITHIN_US);
        life.into_iter().for_each(|life| life.skew_ms = life.skew_ms.min(skew_ms));
    }

    /// Stops the process without ending it.
    pub(super) fn pause(&mut self) {
        self.paused = true;
    }

    /// Lets a paused process go on. All the time that went by is there at once.
    pub(super) fn resume(&mut self) {
        if let (Some(life), true) = (self.life.as_ref(), self.paused) {
            let missed = Duration::from_micros(now_us() - life.began);
            let missed = missed.saturating_sub(life.runtime.block_on(async { life.base.elapsed() }));
            let (base, began) = (life.base, life.began);
            listen(Some(life.scribe(self.id, &self.trace)));
            STARTED.set(Some((base, began)));
            life.runtime.block_on(tokio::time::advance(missed));
            STARTED.set(None);
            listen(None);
        }
        self.paused = false;
    }

    /// Starts the process. It does nothing before the next step.
    pub(super) fn start(&mut self, main: impl FnOnce(Birth) -> BoxFuture<'static, Ending>) {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime needs nothing of the system");
        let base = runtime.block_on(async { Instant::now() });
        self.lives += 1;
        let (doom, began) = (Arc::new(Doom { fate: self.fate.clone(), ..Doom::default() }), now_us());
        let clock = HostClock { base, skew_ms: self.skew_ms.clone() };
        let stop = Arc::new(Notify::new());
        let birth = Birth { host: self.id, clock, doom: doom.clone(), stop: stop.clone(), life: self.lives };
        let main = runtime.spawn(main(birth));
        let skew_ms = self.skew_ms.load(Ordering::Relaxed);
        self.life = Some(Life { runtime, base, began, doom, stop, main, skew_ms });
        self.paused = false;
    }

    /// Lets the process run until world time `until`, in microseconds.
    pub(super) fn step(&mut self, until: u64) -> Stepped {
        let (Some(life), false) = (self.life.as_mut(), self.paused) else { return Stepped::On };
        let (base, doom) = (life.base, life.doom.clone());
        listen(Some(life.scribe(self.id, &self.trace)));
        STARTED.set(Some((life.base, life.began)));
        let end = base + Duration::from_micros(until - life.began);
        let ended = life.runtime.block_on(async {
            tokio::select! {
                biased;
                () = doom.wake.notified() => None,
                ended = &mut life.main => Some(ended),
                () = tokio::time::sleep_until(end) => None,
            }
        });
        STARTED.set(None);
        listen(None);
        match ended {
            _ if life.doom.is_sealed() => Stepped::Doomed,
            Some(Ok(ending)) => Stepped::Ended(ending),
            Some(Err(panic)) => Stepped::Ended(Err(format!("its main future panicked: {panic}"))),
            None => Stepped::On,
        }
    }

    /// Ends the process where it stands. Whoever calls this has told its network and disk before.
    pub(super) fn crash(&mut self) {
        let Some(life) = self.life.take() else { return };
        life.doom.seal();
        drop(life);
        self.paused = false;
    }

    pub(super) fn doom(&self) -> Option<&Arc<Doom>> {
        self.life.as_ref().map(|life| &life.doom)
    }

    /// Asks the process to stop in order.
    pub(super) fn stop(&self) {
        self.life.iter().for_each(|life| life.stop.notify_one());
    }

    /// How often the process has started.
    pub(super) fn lives(&self) -> u32 {
        self.lives
    }

    /// Tasks that are alive.
    pub(super) fn tasks(&self) -> usize {
        self.life.as_ref().map_or(0, |life| life.runtime.metrics().num_alive_tasks())
    }

    pub(super) fn say(&self, text: impl Into<String>) {
        self.trace.note(now_us(), self.id, What::Life(text.into()));
    }
}
