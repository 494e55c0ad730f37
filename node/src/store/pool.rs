//! A few I/O threads behind a bounded queue.
//!
//! ```text
//! async callers --slot().await--> [ slots: queue_depth ] --submit--> VecDeque --> thread 0..n
//!                                        ^------ freed when the job or the frame is done -----'
//! ```
//! The bound is the slots: a job (or a frame waiting to be written) holds one until it is done. The deque itself holds
//! at most one job per slot and one per open writer. Not `tokio::fs` nor `spawn_blocking`: their pool is shared by
//! everything, 512 threads wide, with an unbounded queue.
//!
//! With 0 threads the disk runs the jobs (jobs.rs), so that a simulation decides when, and stays deterministic.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::disk::lock;
use super::jobs::Jobs;
use super::watch::Watch;

/// Room in the queue; given back when dropped.
pub(crate) type Slot = OwnedSemaphorePermit;
type Job = Box<dyn FnOnce() + Send>;

/// The store is shutting down, or the job died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoAnswer;

struct JobQueue {
    jobs: VecDeque<Job>,
    closed: bool,
    /// Threads that will still look at the queue.
    live: usize,
}

/// See the module's documentation.
pub(crate) struct IoPool {
    queue: Mutex<JobQueue>,
    wake: Condvar,
    slots: Arc<Semaphore>,
    slots_max: usize,
    /// Of a pool without threads.
    jobs: Option<Arc<Jobs>>,
    watch: Arc<Watch>,
}

impl IoPool {
    /// Starts `threads` threads named `name`, whose jobs `watch` watches; or none, if there is `jobs`.
    pub(crate) fn start(
        name: &str,
        threads: usize,
        slots: usize,
        watch: Arc<Watch>,
        jobs: Option<Arc<Jobs>>,
    ) -> std::io::Result<(Arc<Self>, Vec<JoinHandle<()>>)> {
        let slots_max = slots.clamp(1, Semaphore::MAX_PERMITS);
        let pool = Arc::new(Self {
            queue: Mutex::new(JobQueue { jobs: VecDeque::new(), closed: false, live: threads }),
            wake: Condvar::new(),
            slots: Arc::new(Semaphore::new(slots_max)),
            slots_max,
            jobs,
            watch,
        });
        let mut handles = Vec::with_capacity(threads);
        for n in 0..threads {
            let worker = pool.clone();
            let spawned = Builder::new().name(format!("{name}-{n}")).spawn(move || worker.work());
            handles.push(spawned.inspect_err(|_| pool.close())?);
        }
        Ok((pool, handles))
    }

    /// Waits, first come first served, for room in the queue. Cancel safe.
    pub(crate) async fn slot(&self) -> Result<Slot, NoAnswer> {
        self.slots.clone().acquire_owned().await.map_err(|_| NoAnswer)
    }

    /// Queues a job. `false`, and the job is dropped, if the threads are gone. Callers hold a slot, or are one of a
    /// bounded number.
    pub(crate) fn submit(&self, job: impl FnOnce() + Send + 'static) -> bool {
        if let Some(jobs) = &self.jobs {
            if lock(&self.queue).closed && !jobs.are_open() {
                return false;
            }
            let watch = Arc::clone(&self.watch);
            jobs.run(move || run_job(&watch, Box::new(job)));
            return true;
        }
        let mut queue = lock(&self.queue);
        if queue.live == 0 {
            return false;
        }
        queue.jobs.push_back(Box::new(job));
        drop(queue);
        self.wake.notify_one();
        true
    }

    /// Waits for room, runs `job` on an I/O thread and returns its answer. Once queued, the job runs whether or not
    /// the future is dropped.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoAnswer> {
        let slot = self.slot().await?;
        let (reply, answer) = oneshot::channel();
        self.submit(move || {
            let outcome = job();
            drop(slot);
            let _ = reply.send(outcome); // nobody waits any more: the outcome is dropped here, and cleans up
        });
        answer.await.map_err(|_| NoAnswer)
    }

    /// Whether another job waits: a long one may then let it go first.
    pub(crate) fn is_contended(&self) -> bool {
        !lock(&self.queue).jobs.is_empty()
    }

    pub(crate) fn depth(&self) -> usize {
        self.slots_max.saturating_sub(self.slots.available_permits())
    }

    /// The most that [`Self::depth`] can be.
    pub(crate) fn depth_max(&self) -> usize {
        self.slots_max
    }

    /// Hands out no more slots; the threads end when the queue is empty.
    pub(crate) fn close(&self) {
        self.slots.close();
        lock(&self.queue).closed = true;
        self.wake.notify_all();
    }

    fn work(&self) {
        while let Some(job) = self.next_job() {
            run_job(&self.watch, job);
        }
    }

    fn next_job(&self) -> Option<Job> {
        let mut queue = lock(&self.queue);
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if queue.closed {
                queue.live -= 1;
                return None;
            }
            queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A job's panic is its caller's error (the answer is dropped unsent), not the end of the thread.
fn run_job(watch: &Watch, job: Job) {
    let _at_work = watch.begin();
    if catch_unwind(AssertUnwindSafe(job)).is_err() {
        tracing::error!("chunk store job panicked");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::store::OsDisk;

    fn watch() -> Arc<Watch> {
        Arc::new(Watch::new(Arc::new(OsDisk)))
    }

    #[tokio::test]
    async fn slots_bound_the_queue_and_a_panic_does_not_end_a_thread() {
        let (pool, handles) = IoPool::start("test", 1, 2, watch(), None).unwrap();
        let (go, gate) = mpsc::channel::<()>();
        let (a, b) = (pool.clone(), pool.clone());
        let first = tokio::spawn(async move { a.run(move || gate.recv().is_ok()).await });
        let second = tokio::spawn(async move { b.run(|| panic!("on purpose")).await });
        while pool.depth() < 2 {
            tokio::task::yield_now().await;
        }
        let third = pool.run(|| 3);
        tokio::pin!(third);
        let waited = tokio::time::timeout(std::time::Duration::from_millis(20), &mut third).await;
        assert!(waited.is_err(), "no third slot");
        go.send(()).unwrap();
        assert_eq!(first.await.unwrap(), Ok(true));
        assert_eq!(second.await.unwrap(), Err::<(), _>(NoAnswer));
        assert_eq!(third.await, Ok(3));
        pool.close();
        assert_eq!(pool.run(|| 4).await, Err(NoAnswer));
        handles.into_iter().for_each(|h| h.join().unwrap());
        assert!(!pool.submit(|| ()));
    }

    #[tokio::test]
    async fn without_threads_jobs_run_in_place() {
        let jobs = Jobs::new(Arc::new(OsDisk), watch());
        let (pool, _) = IoPool::start("test", 0, 1, watch(), Some(jobs)).unwrap();
        let here = std::thread::current().id();
        assert_eq!(pool.run(|| std::thread::current().id()).await, Ok(here));
    }
}
