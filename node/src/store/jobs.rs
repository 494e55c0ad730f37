//! The jobs of a store that has no threads: its disk runs them, at once or when it has time ([`DiskIo::run`]).

use std::sync::{Arc, Mutex};

use super::disk::lock;
use super::disk_io::{DiskIo, DiskJob};
use super::watch::Watch;

#[derive(Default)]
struct Open {
    count: usize,
    last: Option<DiskJob>,
}

/// See the module's documentation.
pub(crate) struct Jobs {
    io: Arc<dyn DiskIo>,
    watch: Arc<Watch>,
    open: Mutex<Open>,
}

impl Jobs {
    pub(crate) fn new(io: Arc<dyn DiskIo>, watch: Arc<Watch>) -> Arc<Self> {
        Arc::new(Self { io, watch, open: Mutex::default() })
    }

    /// Hands a job to the disk. Until it is done, the disk is waited for.
    pub(crate) fn run(self: &Arc<Self>, job: impl FnOnce() + Send + 'static) {
        lock(&self.open).count += 1;
        let (done, waiting) = (Done(Arc::clone(self)), Watch::wait(&self.watch));
        self.io.run(Box::new(move || {
            let _done = done;
            job();
            drop(waiting);
        }));
    }

    /// Whether any is not done.
    pub(crate) fn are_open(&self) -> bool {
        lock(&self.open).count > 0
    }

    /// Runs `job` once all others are done: at once if they are.
    pub(crate) fn finally(&self, job: impl FnOnce() + Send + 'static) {
        let mut open = lock(&self.open);
        if open.count > 0 {
            open.last = Some(Box::new(job));
            return;
        }
        drop(open);
        job();
    }
}

/// Counts a job as done: also one that panicked, or that its disk dropped.
struct Done(Arc<Jobs>);

impl Drop for Done {
    fn drop(&mut self) {
        let mut open = lock(&self.0.open);
        open.count -= 1;
        let last = if open.count == 0 { open.last.take() } else { None };
        drop(open);
        last.into_iter().for_each(|job| job());
    }
}
