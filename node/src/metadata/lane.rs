//! The threads on which metadata blocks: one for commits, some for reads.

use std::io;

use crossbeam_channel::{Sender, bounded, unbounded};
use dfs_actors::budgets::{HEALTH_READERS, MEMBERSHIP_READERS, METADATA_READERS, READS_WAITING_MAX};
use dfs_actors::coordinator::metadata::reader::{LaneFull, ReadFor, ReadLane};
use dfs_actors::coordinator::metadata::writer::{CommitLane, LaneJob};

/// A job catches its own panics; if one slips through, the thread must not die with it.
fn run(job: LaneJob) {
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
        tracing::error!("a metadata job panicked");
    }
}

/// Runs jobs one after another on a thread of its own, which outlives restarts of the writer and ends, after the last
/// job handed in, when the lane is dropped. The queue is bounded by its user: the writer hands in one job at a time.
#[derive(Debug)]
pub struct ThreadLane {
    jobs: Sender<LaneJob>,
}

impl ThreadLane {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system has no thread to spare.
    pub fn start() -> io::Result<Self> {
        let (jobs, queue) = unbounded::<LaneJob>();
        std::thread::Builder::new().name("dfs-metadata".to_owned()).spawn(move || {
            queue.into_iter().for_each(run);
        })?;
        Ok(Self { jobs })
    }
}

impl CommitLane for ThreadLane {
    fn run(&self, job: LaneJob) {
        if self.jobs.send(job).is_err() {
            tracing::error!("the metadata thread is gone");
        }
    }
}

/// Runs reads on a few threads for each kind. They end, after the last read handed in, when the pool is dropped.
#[derive(Debug)]
pub struct ReadPool {
    requests: Readers,
    membership: Readers,
    health: Readers,
}

impl ReadPool {
    /// Starts the threads.
    ///
    /// # Errors
    /// If the system has no threads to spare.
    pub fn start() -> io::Result<Self> {
        Ok(Self {
            requests: Readers::start("dfs-read", METADATA_READERS)?,
            membership: Readers::start("dfs-member", MEMBERSHIP_READERS)?,
            health: Readers::start("dfs-health", HEALTH_READERS)?,
        })
    }
}

/// Threads that share a queue, first come first served. A job wakes one of them; one that has just ended a job looks for
/// the next before it sleeps.
#[derive(Debug)]
struct Readers(Sender<LaneJob>);

impl Readers {
    fn start(name: &str, threads: usize) -> io::Result<Self> {
        let (jobs, queue) = bounded::<LaneJob>(READS_WAITING_MAX);
        for reader in 0..threads {
            let queue = queue.clone();
            let thread = std::thread::Builder::new().name(format!("{name}-{reader}"));
            thread.spawn(move || queue.into_iter().for_each(run))?;
        }
        Ok(Self(jobs))
    }
}

impl ReadLane for ReadPool {
    fn run(&self, what: ReadFor, job: LaneJob) -> Result<(), LaneFull> {
        let Readers(jobs) = match what {
            ReadFor::Requests => &self.requests,
            ReadFor::Membership => &self.membership,
            ReadFor::Health => &self.health,
        };
        jobs.try_send(job).map_err(|_| LaneFull)
    }

    fn waiting(&self) -> usize {
        [&self.requests, &self.membership, &self.health].iter().map(|readers| readers.0.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crossbeam_channel::unbounded as channel;

    use super::*;

    #[test]
    fn reads_go_past_one_that_hangs_and_no_more_wait_than_may_and_no_kind_waits_for_another() {
        let pool = ReadPool::start().unwrap();
        let run = |job| pool.run(ReadFor::Requests, job);
        let ((done, ended), (go, hang)) = (channel::<usize>(), channel::<()>());
        let hanging = |done: Sender<usize>| {
            let hang = hang.clone();
            Box::new(move || {
                let waited = hang.recv();
                done.send(usize::from(waited.is_ok())).unwrap();
            })
        };
        run(hanging(done.clone())).unwrap();
        let quick = |number| {
            let done = done.clone();
            Box::new(move || done.send(number).unwrap())
        };
        run(quick(7)).unwrap();
        assert_eq!(ended.recv_timeout(Duration::from_secs(5)), Ok(7));
        run(Box::new(|| panic!("a read"))).unwrap();
        (1..METADATA_READERS).for_each(|_| run(hanging(done.clone())).unwrap());
        // Once all threads hang, so many wait.
        let mut taken = 0;
        while pool.waiting() > 0 {
            std::thread::yield_now();
        }
        while run(Box::new(|| {})).is_ok() {
            taken += 1;
        }
        assert_eq!((taken, pool.waiting()), (READS_WAITING_MAX, READS_WAITING_MAX));
        for (number, kind) in [(8, ReadFor::Membership), (9, ReadFor::Health)] {
            pool.run(kind, quick(number)).unwrap();
            assert_eq!(ended.recv_timeout(Duration::from_secs(5)), Ok(number), "{kind:?}");
        }
        drop(go);
        (0..METADATA_READERS).for_each(|_| assert_eq!(ended.recv_timeout(Duration::from_secs(5)), Ok(0)));
    }
}
