//! Many runs: on several threads, in order, and counted.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::HEAP;
use super::plan::Plan;
use super::run::{Report, run};

/// A run that takes longer, in earnest, will not end: something in it goes on for ever while virtual time stands still.
const RUN_MAX: Duration = Duration::from_secs(300);
/// After so many runs, all that is kept for good is there:
const WARM_AFTER: usize = 20;
/// the others leave no more than this in memory, all of them together,
const LEFT_MAX: usize = 1 << 20;
/// and none needs more.
const PEAK_MAX: usize = 256 << 20;
/// As the main thread's.
const STACK_BYTES: usize = 8 << 20;

/// Runs plans on so many threads, in a process that does nothing else. `each` is given every plan with what came of it, in
/// their order. Of many, the last is told if they left something in memory.
pub fn sweep_alone(plans: &[Plan], jobs: usize, mut each: impl FnMut(&Plan, Report)) {
    let (first, rest) = plans.split_at(plans.len().min(WARM_AFTER));
    sweep(first, jobs, &mut each);
    HEAP.reset_peak_usage();
    let before = HEAP.current_usage();
    let Some((last, most)) = rest.split_last() else { return };
    sweep(most, jobs, &mut each);
    let mut report = run_apart(last);
    report.wrong.extend(left(before, HEAP.current_usage()));
    report.wrong.extend(too_much(HEAP.peak_usage() / jobs.max(1)));
    each(last, report);
}

fn left(before: usize, now: usize) -> Option<String> {
    (now > before + LEFT_MAX).then(|| format!("many runs have left {} bytes in memory", now - before))
}

fn too_much(peak: usize) -> Option<String> {
    (peak > PEAK_MAX).then(|| format!("one of many runs needed {peak} bytes of memory"))
}

/// Runs plans on so many threads. `each` is given every plan with what came of it, in their order.
pub fn sweep(plans: &[Plan], jobs: usize, mut each: impl FnMut(&Plan, Report)) {
    let (next, (done, finished)) = (AtomicUsize::new(0), mpsc::channel());
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            let (next, done) = (&next, done.clone());
            scope.spawn(move || {
                while let Some((at, plan)) = take(plans, next) {
                    if done.send((at, run_apart(plan))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        let (mut due, mut early) = (0, BTreeMap::new());
        for (at, report) in finished {
            early.insert(at, report);
            while let Some(report) = early.remove(&due) {
                each(&plans[due], report);
                due += 1;
            }
        }
    });
}

fn take<'a>(plans: &'a [Plan], next: &AtomicUsize) -> Option<(usize, &'a Plan)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    plans.get(at).map(|plan| (at, plan))
}

/// Runs a plan on a thread of its own, so that nothing of one run is there in the next, and a run that panics or does not
/// end is one that failed.
pub fn run_apart(plan: &Plan) -> Report {
    run_apart_after(plan, || {})
}

/// The same; `first` is called on that thread before anything else.
pub fn run_apart_after(plan: &Plan, first: impl FnOnce() + Send + 'static) -> Report {
    let (done, finished) = mpsc::channel();
    let mine = plan.clone();
    let thread = thread::Builder::new().name(format!("seed {}", plan.seed)).stack_size(STACK_BYTES);
    let run = move || {
        first();
        run(&mine)
    };
    let started = thread.spawn(move || done.send(catch_unwind(AssertUnwindSafe(run))));
    if let Err(why) = started {
        return Report::failed(format!("no thread for the run: {why}"));
    }
    match finished.recv_timeout(RUN_MAX) {
        Ok(Ok(report)) => report,
        Ok(Err(panic)) => Report::failed(format!("the simulator panicked: {}", words(&*panic))),
        Err(RecvTimeoutError::Timeout) => {
            Report::failed(format!("the run has not ended in {} s", RUN_MAX.as_secs()))
        }
        Err(RecvTimeoutError::Disconnected) => Report::failed("the run's thread is gone".to_owned()),
    }
}

fn words(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words")
}

/// What many runs came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Runs.
    pub runs: u64,
    /// Of them, those that went wrong.
    pub failed: u64,
    /// Events that went into the hashes.
    pub events: u64,
    /// Operations of clients.
    pub operations: u64,
    /// Virtual milliseconds.
    pub virtual_ms: u64,
    /// How often each kind of fault was planned.
    pub faults: BTreeMap<String, u64>,
}

impl Tally {
    /// Counts a run.
    pub fn add(&mut self, plan: &Plan, report: &Report) {
        self.runs += 1;
        self.failed += u64::from(!report.wrong.is_empty());
        self.events += report.events;
        self.operations += report.operations as u64;
        self.virtual_ms += report.took_ms;
        for planned in &plan.faults {
            *self.faults.entry(planned.kind()).or_default() += 1;
        }
    }
}
