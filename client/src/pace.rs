//! How many transfers may be under way at once: no more than the line can keep alive.
//!
//! Streams that share a slow line each get a part of it. A node gives one up that brings no whole frame for half a minute
//! or so, and bytes that were sent for a stream that is given up are lost. So the frames under way are no more than the
//! line brings in [`HORIZON`], by the rate at which transfers ended lately; of a small file, only what it needs. On a fast line
//! this bounds nothing. Before the first transfer ends, a few frames are let through.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dfs_wire::limits::DATA_FRAME_BYTES;
use dfs_wire::status::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::error::Error;

/// How long a frame may take, about: well within the patience of a node.
const HORIZON: Duration = Duration::from_secs(8);
/// Over how long the rate is measured, about.
const MEMORY: Duration = Duration::from_secs(10);
/// The places are counted in so many bytes.
const UNIT_BYTES: u64 = 4096;
/// Units of a whole frame.
const FRAME_UNITS: u64 = DATA_FRAME_BYTES as u64 / UNIT_BYTES;
/// Units before anything is known.
const UNITS_FIRST: u64 = 4 * FRAME_UNITS;
/// Units that are as good as no bound.
const UNITS_MAX: u64 = 4096 * FRAME_UNITS;

/// The bound of one direction. Clones share it.
#[derive(Clone)]
pub(crate) struct Pace {
    places: Arc<Semaphore>,
    state: Arc<Mutex<State>>,
}

/// What is measured, and how many places there are.
#[derive(Debug)]
struct State {
    /// Units there are, those taken included.
    units: u64,
    /// Units to be taken away as they come back.
    debt: u64,
    under_way: u32,
    ended: u64,
    rate: Rate,
}

/// Bytes for each second in which something was under way, the latest counting most.
#[derive(Debug, Default)]
struct Rate {
    bytes: f64,
    seconds: f64,
    since: Option<Instant>,
}

impl Rate {
    /// Lets the time pass up to `now`, which counts if something was under way.
    fn pass(&mut self, now: Instant, busy: bool) {
        if let Some(since) = self.since.replace(now).filter(|_| busy) {
            let memory = MEMORY.as_secs_f64();
            let kept = (-now.duration_since(since).as_secs_f64() / memory).exp();
            self.bytes *= kept;
            self.seconds = self.seconds * kept + memory * (1.0 - kept);
        }
    }

    /// Counts bytes that were moved evenly over the last `took`, as far as that is remembered.
    fn moved(&mut self, bytes: u64, took: Duration) {
        let took = took.as_secs_f64() / MEMORY.as_secs_f64();
        let remembered = if took > 1e-6 { (1.0 - (-took).exp()) / took } else { 1.0 };
        self.bytes += bytes as f64 * remembered;
    }

    fn per_second(&self) -> f64 {
        self.bytes / self.seconds.max(1e-6)
    }
}

impl State {
    fn begin(&mut self, now: Instant) {
        self.rate.pass(now, self.under_way > 0);
        self.under_way += 1;
    }

    fn end(&mut self, now: Instant) {
        self.rate.pass(now, self.under_way > 0);
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// Counts a transfer that ended. Returns how many units there are more.
    fn moved(&mut self, now: Instant, bytes: u64, took: Duration) -> u64 {
        self.rate.pass(now, self.under_way > 0);
        self.rate.moved(bytes, took);
        self.ended += 1;
        let line = self.rate.per_second() * HORIZON.as_secs_f64() / UNIT_BYTES as f64;
        // A float that does not fit is cut to what fits.
        let wanted = (line as u64).clamp(FRAME_UNITS, UNITS_MAX);
        let units = std::mem::replace(&mut self.units, wanted);
        if wanted < units {
            self.debt += units - wanted;
            return 0;
        }
        let more = wanted - units;
        let forgiven = more.min(self.debt);
        self.debt -= forgiven;
        more - forgiven
    }

    /// Of so many units that come back, those that are taken away.
    fn pay(&mut self, units: u64) -> u64 {
        let paid = units.min(self.debt);
        self.debt -= paid;
        paid
    }
}

impl Default for Pace {
    fn default() -> Self {
        let state = State { units: UNITS_FIRST, debt: 0, under_way: 0, ended: 0, rate: Rate::default() };
        let places = Semaphore::new(usize::try_from(UNITS_FIRST).unwrap_or(Semaphore::MAX_PERMITS));
        Self { places: Arc::new(places), state: Arc::new(Mutex::new(state)) }
    }
}

impl Pace {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the turn of a transfer of `bytes`, first come first served, for as long as others end within
    /// `patience`.
    ///
    /// Cancel safety: dropping the future takes nothing.
    pub(crate) async fn enter(&self, bytes: u64, patience: Duration) -> Result<Turn, Error> {
        let units = bytes.div_ceil(UNIT_BYTES).clamp(1, FRAME_UNITS);
        let wanted = self.places.clone().acquire_many_owned(u32::try_from(units).unwrap_or(1));
        tokio::pin!(wanted);
        loop {
            let before = self.lock().ended;
            match timeout(patience, &mut wanted).await {
                Ok(Ok(permit)) => {
                    let began = Instant::now();
                    self.lock().begin(began);
                    return Ok(Turn { pace: self.clone(), began, permit: Some(permit) });
                }
                Ok(Err(_)) => return Err(Error::new(StatusCode::Internal, "the pace was closed")),
                Err(_) if self.lock().ended > before => {}
                Err(_) => {
                    let text = format!("no transfer before this one ended in {} s", patience.as_secs());
                    return Err(Error::new(StatusCode::Busy, text));
                }
            }
        }
    }
}

/// The turn of one transfer; over when it is dropped.
pub(crate) struct Turn {
    pace: Pace,
    began: Instant,
    permit: Option<OwnedSemaphorePermit>,
}

impl Turn {
    /// The transfer ended well, with so many bytes.
    pub(crate) fn done(self, bytes: u64) {
        let more = self.pace.lock().moved(Instant::now(), bytes, self.began.elapsed());
        self.pace.places.add_permits(usize::try_from(more).unwrap_or(0));
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.pace.lock();
        state.end(Instant::now());
        if let Some(mut permit) = self.permit.take() {
            let paid = state.pay(permit.num_permits() as u64);
            if let Some(paid) = permit.split(usize::try_from(paid).unwrap_or(0)) {
                paid.forget();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(300);

    /// Runs `files` transfers of `bytes` over a line of `rate` bytes per second that they share; gives how many were under
    /// way at most after the first `skip`, and how long it took.
    async fn run(pace: &Pace, files: usize, bytes: u64, rate: f64, skip: usize) -> (usize, Duration) {
        let begun = Instant::now();
        let line = Arc::new(Mutex::new((0usize, 0usize, 0usize)));
        let tasks: Vec<_> = (0..files)
            .map(|_| {
                let (pace, line) = (pace.clone(), line.clone());
                tokio::spawn(async move {
                    let turn = pace.enter(bytes, LONG).await.unwrap();
                    line.lock().unwrap().0 += 1;
                    let mut left = bytes as f64;
                    while left > 0.0 {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        let mut line = line.lock().unwrap();
                        if line.2 >= skip {
                            line.1 = line.1.max(line.0);
                        }
                        left -= rate / 10.0 / line.0 as f64;
                    }
                    let mut line = line.lock().unwrap();
                    (line.0, line.2) = (line.0 - 1, line.2 + 1);
                    turn.done(bytes);
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let most = line.lock().unwrap().1;
        (most, begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_line_carries_few_at_once_and_a_fast_one_all() {
        let pace = Pace::default();
        let (most, took) = run(&pace, 40, 1_500_000, 125_000.0, 8).await;
        assert!((1..=4).contains(&most), "{most} at once");
        assert!(took < Duration::from_secs(600), "{took:?}: the line is kept busy");
        // The line became fast.
        let (most, _) = run(&pace, 200, 1_500_000, 50e6, 100).await;
        assert!(most >= 32, "{most} at once");
    }

    #[tokio::test(start_paused = true)]
    async fn small_files_are_not_held_back() {
        let (most, _) = run(&Pace::default(), 300, 3_000, 50_000.0, 0).await;
        assert!(most >= 64, "{most} at once");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_behind_a_standstill_is_told() {
        let pace = Pace::default();
        let mut turns = Vec::new();
        for _ in 0..4 {
            turns.push(pace.enter(1 << 20, LONG).await.unwrap());
        }
        assert!(pace.enter(1 << 20, LONG).await.err().is_some_and(|e| e.is_busy()));
        turns.pop();
        assert!(pace.enter(1 << 20, LONG).await.is_ok(), "a turn that failed is over, too");
    }
}
