//! The one thread on which metadata commits block.

use std::io;
use std::sync::mpsc::{Sender, channel};

use dfs_actors::coordinator::metadata::writer::{CommitLane, LaneJob};

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
        let (jobs, queue) = channel::<LaneJob>();
        std::thread::Builder::new().name("dfs-metadata".to_owned()).spawn(move || {
            for job in queue {
                // A job catches its own panics; if one slips through, the thread must not die with it.
                if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
                    tracing::error!("a metadata job panicked");
                }
            }
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
