//! Reads of the metadata, away from async workers: one that misses the engine's cache waits for the disk.

use std::sync::Arc;

use dfs_wire::status::{Status, StatusCode};
use tokio::sync::oneshot;

use super::dispatch::{Asked, CoordinatorService};

impl CoordinatorService {
    /// Runs a question to the metadata on the lane of reads, within the deadline of the request.
    ///
    /// Cancel safety: a question that waits is not asked any more; one that has begun ends by itself, unheard.
    ///
    /// # Errors
    /// Those of the question; `Busy` if as many wait as may; `DeadlineExceeded`; `Internal` if it panicked.
    pub(super) async fn apart<T: Send + 'static>(
        self: &Arc<Self>,
        asked: &Asked,
        question: impl FnOnce(&Self) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let (tell, told) = oneshot::channel();
        let service = Arc::clone(self);
        let taken = self.parts.reads.run(Box::new(move || {
            if !tell.is_closed() {
                let _gave_up = tell.send(question(&service));
            }
        }));
        if taken.is_err() {
            return Err(Status::new(
                StatusCode::Busy,
                "many reads of the metadata wait for its disk; nothing was done",
            )
            .hint("try again in a moment")
            .retry_after_ms(100));
        }
        match self.parts.env.clock.timeout(self.left(asked), told).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => {
                Err(Status::new(StatusCode::Internal, "a read of the metadata ended without an answer")
                    .hint("the coordinator's log has more; report it"))
            }
            Err(_) => Err(Status::new(StatusCode::DeadlineExceeded, "the metadata was not read in time")
                .hint("check the coordinator's disk: `dfsctl status` says how it does")),
        }
    }

    /// Reads of the metadata that wait for a thread.
    pub fn reads_waiting(&self) -> usize {
        self.parts.reads.waiting()
    }
}
