//! Group commit: many mutations, one durable transaction of the engine.
//!
//! ```text
//! group -> snapshot -> overlay: each mutation applied or rolled back alone -> one commit -> replies
//!                                (a panic in one is its failure only)           |
//!                                        engine failed: reopen, every outcome of the group is unknown
//! ```
//!
//! Groups run one after another: a [`Committer`] is behind a lock, and the lane that runs it outlives restarts of the
//! writer, so that no two groups ever start from the same snapshot.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dfs_wire::id::OpId;
use dfs_wire::status::{Status, StatusCode};

use super::error::MetaError;
use super::ops::cluster::Reign;
use super::ops::mutation::{Mutation, ReceiptKeys};
use super::ops::{OpContext, Outcome, Policy};
use super::store::{BatchOutcome, Condition, MetaStoreError, MetadataStore};
use super::txn::Overlay;
use crate::supervisor::Reply;

/// Work for a lane.
pub type LaneJob = Box<dyn FnOnce() + Send>;

/// Where commits block: one job after another, in order, away from async workers.
pub trait CommitLane: Send + Sync {
    /// Takes a job; it is run even if whoever handed it in ends meanwhile.
    fn run(&self, job: LaneJob);
}

/// Runs jobs at once, where they are handed in: for the simulator and for tests with an engine in memory.
#[derive(Debug, Clone, Copy, Default)]
pub struct InlineLane;

impl CommitLane for InlineLane {
    fn run(&self, job: LaneJob) {
        job();
    }
}

/// Answer to a mutation.
pub type MutationResult = Result<Outcome, Status>;

/// A mutation on its way.
pub struct Job {
    /// The operation.
    pub op: OpId,
    /// Fresh random bits for its ids.
    pub entropy: u128,
    /// What to do.
    pub mutation: Mutation,
    /// Whom to tell, after the commit.
    pub reply: Reply<MutationResult>,
}

/// Counters of the writer, shared with whoever shows them.
#[derive(Debug, Default)]
pub struct WriterMetrics {
    /// Groups committed.
    pub groups: AtomicU64,
    /// Batches committed.
    pub batches: AtomicU64,
    /// Mutations answered with success.
    pub applied: AtomicU64,
    /// Mutations refused.
    pub refused: AtomicU64,
    /// Mutations whose outcome is unknown, or that met a failing store.
    pub failed: AtomicU64,
    /// Mutations that panicked.
    pub panicked: AtomicU64,
    /// Times the store was reopened.
    pub reopened: AtomicU64,
    /// Microseconds spent in commits.
    pub commit_micros: AtomicU64,
    /// Microseconds of the longest commit.
    pub commit_micros_max: AtomicU64,
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

/// What became of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupEnd {
    /// Committed, or there was nothing to commit.
    Committed,
    /// The store failed; it was reopened, or will be before the next group.
    StoreFailed,
    /// A later reign holds the store: this writer must not go on.
    Deposed,
}

/// Applies groups of mutations to a store, for one reign.
pub struct Committer {
    store: Arc<dyn MetadataStore>,
    fence: Condition,
    receipts: ReceiptKeys,
    policy: Policy,
    metrics: Arc<WriterMetrics>,
    failed: bool,
}

impl Committer {
    /// A committer for the reign that `store` was opened for.
    ///
    /// # Errors
    /// Never in practice, see [`Reign::fence`].
    pub fn new(
        store: Arc<dyn MetadataStore>,
        reign: &Reign,
        policy: Policy,
        metrics: Arc<WriterMetrics>,
    ) -> Result<Self, MetaError> {
        let receipts = ReceiptKeys::new(reign.key.clone());
        Ok(Self { store, fence: reign.fence()?, receipts, policy, metrics, failed: false })
    }

    /// Applies and commits a group, then replies to each of its jobs. `clock` gives monotonic microseconds.
    pub fn run(&mut self, jobs: Vec<Job>, now_ms: u64, clock: &dyn Fn() -> u64) -> GroupEnd {
        let (mut replies, mut results) = (Vec::with_capacity(jobs.len()), Vec::with_capacity(jobs.len()));
        let mut overlay = match self.begin() {
            Ok(overlay) => overlay,
            Err(error) => {
                tracing::error!(%error, "metadata store unavailable");
                add(&self.metrics.failed, jobs.len() as u64);
                let status = error.into_status();
                jobs.into_iter().for_each(|job| job.reply.send(Err(status.clone())));
                return GroupEnd::StoreFailed;
            }
        };
        for job in jobs {
            let ctx = OpContext { now_ms, op: job.op, entropy: job.entropy, policy: self.policy };
            results.push(self.apply(&mut overlay, &ctx, &job.mutation));
            replies.push(job.reply);
        }
        let end = self.commit(overlay, clock, &mut results);
        for (reply, result) in replies.into_iter().zip(results) {
            let counter = match &result {
                Ok(_) => &self.metrics.applied,
                Err(status) if status.code == StatusCode::OutcomeUnknown => &self.metrics.failed,
                Err(_) => &self.metrics.refused,
            };
            add(counter, 1);
            reply.send(result);
        }
        end
    }

    /// A fresh overlay; reopens a store that failed before.
    fn begin(&mut self) -> Result<Overlay, MetaError> {
        if self.failed {
            self.reopen()?;
        }
        match self.store.snapshot() {
            Ok(snapshot) => Ok(Overlay::new(snapshot, Some(self.fence.clone()))),
            Err(error) => {
                self.failed = true;
                Err(error.into())
            }
        }
    }

    fn reopen(&mut self) -> Result<(), MetaError> {
        self.store.reopen()?;
        add(&self.metrics.reopened, 1);
        self.failed = false;
        Ok(())
    }

    fn apply(&mut self, overlay: &mut Overlay, ctx: &OpContext, mutation: &Mutation) -> MutationResult {
        // A mutation touches the overlay only once it is complete: an unwound one leaves nothing behind.
        let applied = catch_unwind(AssertUnwindSafe(|| mutation.apply(overlay, ctx, &self.receipts)));
        match applied {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(error)) => {
                if !matches!(error, MetaError::Refused(_)) {
                    tracing::error!(op = %ctx.op, mutation = mutation.name(), %error, "metadata operation failed");
                }
                // An engine that failed to read goes on failing until it is opened anew; a damaged value does not heal.
                self.failed |= matches!(error, MetaError::Store(MetaStoreError::Io { .. }));
                Err(error.into_status())
            }
            Err(_) => {
                add(&self.metrics.panicked, 1);
                tracing::error!(op = %ctx.op, mutation = mutation.name(), "metadata operation panicked");
                let text = format!("{} failed unexpectedly and was rolled back", mutation.name());
                Err(Status::new(StatusCode::Internal, text).hint("the coordinator's log has more; report it"))
            }
        }
    }

    fn commit(
        &mut self,
        overlay: Overlay,
        clock: &dyn Fn() -> u64,
        results: &mut [MutationResult],
    ) -> GroupEnd {
        if overlay.is_empty() {
            return GroupEnd::Committed;
        }
        // Also lets go of the snapshot, which the engine would have to keep alive beside the new state.
        let batches = overlay.into_batches();
        let started = clock();
        let committed = self.store.commit(&batches);
        let micros = clock().saturating_sub(started);
        add(&self.metrics.commit_micros, micros);
        self.metrics.commit_micros_max.fetch_max(micros, Ordering::Relaxed);
        match committed {
            Ok(outcomes) if outcomes.iter().all(|o| *o == BatchOutcome::Applied) => {
                add(&self.metrics.groups, 1);
                add(&self.metrics.batches, batches.len() as u64);
                GroupEnd::Committed
            }
            Ok(_) => {
                // The fence is the only condition, and it is the same in every batch: none of them happened.
                let text = "another coordinator has taken over the metadata; nothing was done";
                results.fill_with(|| {
                    Err(Status::new(StatusCode::StaleEpoch, text).hint("ask the new coordinator"))
                });
                GroupEnd::Deposed
            }
            Err(error) => {
                tracing::error!(%error, "metadata commit failed, reopening the store");
                let text = format!("the metadata commit failed: {error}");
                results.fill_with(|| {
                    Err(Status::new(StatusCode::OutcomeUnknown, text.clone())
                        .hint("repeat the request with the same operation id to learn its outcome"))
                });
                self.failed = true;
                if let Err(error) = self.reopen() {
                    tracing::error!(%error, "metadata store cannot be reopened");
                }
                GroupEnd::StoreFailed
            }
        }
    }
}
