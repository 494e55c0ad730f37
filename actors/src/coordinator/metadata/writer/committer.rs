//! Group commit: many mutations, one durable transaction of the engine.
//!
//! ```text
//! group -> snapshot -> overlay: each mutation applied or rolled back alone -> one commit -> replies
//!                                (a panic in one is its failure only)           |
//!                                        engine failed: reopen, every outcome of the group is unknown
//!                                        disk full: reopen, nothing of the group happened
//!                                        disk failed: every outcome is unknown, the store answers nothing more
//! ```
//!
//! While only the reserve of the disk is left, changes that take space are refused, so that those which give it back
//! are not.
//!
//! Groups run one after another: a [`Committer`] is behind a lock, and the lane that runs it outlives restarts of the
//! writer, so that no two groups ever start from the same snapshot.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dfs_wire::id::OpId;
use dfs_wire::status::{Status, StatusCode};

use crate::coordinator::metadata::model::outcome::Outcome;
use crate::coordinator::metadata::model::time::{COMMITTED_EVERY_MS, Moment};
use crate::coordinator::metadata::ops::cluster::Reign;
use crate::coordinator::metadata::ops::mutation::{Mutation, ReceiptKeys};
use crate::coordinator::metadata::ops::{OpContext, Policy, outcome};
use crate::coordinator::metadata::table::error::{FREE_SPACE_HINT, MetaError};
use crate::coordinator::metadata::table::format::encode;
use crate::coordinator::metadata::table::keys;
use crate::coordinator::metadata::table::store::{
    Batch, BatchOutcome, Condition, MetaStoreError, MetadataStore, StoreSpace,
};
use crate::coordinator::metadata::table::txn::Overlay;
use crate::coordinator::metadata::writer::StoreHealth;
use crate::supervisor::Reply;

/// Work for a lane.
pub type LaneJob = Box<dyn FnOnce() + Send>;

/// Where commits block: one job after another, in order, away from async workers.
pub trait CommitLane: Send + Sync {
    /// Takes a job; it is run even if whoever handed it in ends meanwhile.
    fn run(&self, job: LaneJob);
}

/// Runs jobs at once, where they are handed in: for tests with an engine in memory.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug, Clone, Copy, Default)]
pub struct InlineLane;

#[cfg(any(test, feature = "testing"))]
impl CommitLane for InlineLane {
    fn run(&self, job: LaneJob) {
        job();
    }
}

/// Answer to a mutation.
pub type MutationResult = Result<Outcome, Status>;

/// A mutation on its way.
pub struct QueuedMutation {
    /// By which a repeated request is known.
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
    /// Groups of mutations that were committed together.
    pub groups: AtomicU64,
    /// Batches that the store committed.
    pub batches: AtomicU64,
    /// Mutations answered with success.
    pub applied: AtomicU64,
    /// Mutations answered with a refusal; nothing was changed.
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
    /// Whether the store does its work.
    pub health: StoreHealth,
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
    /// When the time is committed even if nothing changes.
    time_due_ms: u64,
    /// The commit position that the last group was to have, committed or not.
    position: u64,
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
        let (fence, position) = (reign.fence()?, reign.position);
        Ok(Self { store, fence, receipts, policy, metrics, failed: false, time_due_ms: 0, position })
    }

    /// Applies and commits a group, with the time it is dated by, then replies to each of its jobs. `clock` gives monotonic microseconds.
    pub fn run(&mut self, jobs: Vec<QueuedMutation>, now: Moment, clock: &dyn Fn() -> u64) -> GroupEnd {
        let metrics = Arc::clone(&self.metrics);
        let _under_way = metrics.health.begin(clock());
        let space = self.store.space();
        metrics.health.space(space);
        let tight = space.filter(|space| space.is_tight());
        let (mut replies, mut results) = (Vec::with_capacity(jobs.len()), Vec::with_capacity(jobs.len()));
        let mut writes = Vec::with_capacity(jobs.len());
        let mut overlay = match self.begin() {
            Ok(overlay) => overlay,
            Err(error) => {
                tracing::error!(%error, "metadata store unavailable");
                self.metrics.health.failed(&error);
                add(&self.metrics.failed, jobs.len() as u64);
                let status = error.into_status();
                jobs.into_iter().for_each(|job| job.reply.send(Err(status.clone())));
                return GroupEnd::StoreFailed;
            }
        };
        for job in jobs {
            let ctx = OpContext {
                now_ms: now.now_ms,
                wall_ms: now.wall_ms,
                op: job.op,
                entropy: job.entropy,
                policy: self.policy,
            };
            let before = overlay.batches();
            results.push(match tight {
                Some(space) if takes_space(&overlay, &job) => Err(tight_status(space)),
                _ => self.apply(&mut overlay, &ctx, &job.mutation),
            });
            let changed = overlay.batches() > before;
            if changed {
                tracing::trace!(mutation = job.mutation.name(), "applied");
            }
            writes.push(changed);
            replies.push(job.reply);
        }
        let end = self.commit(overlay, now.now_ms, clock, &writes, &mut results);
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
        now_ms: u64,
        clock: &dyn Fn() -> u64,
        writes: &[bool],
        results: &mut [MutationResult],
    ) -> GroupEnd {
        if overlay.is_empty() && (self.failed || now_ms < self.time_due_ms) {
            return GroupEnd::Committed;
        }
        // Of a try, not of a success: a store that fails is not tried by every idle group.
        self.time_due_ms = now_ms.saturating_add(COMMITTED_EVERY_MS);
        // Also lets go of the snapshot, which the engine would have to keep alive beside the new state.
        let mut batches = overlay.into_batches();
        let changes = batches.len();
        self.position += 1;
        match self.time_batch(now_ms) {
            Ok(batch) => batches.push(batch),
            Err(error) => tracing::error!(%error, "the time has no encoding"),
        }
        tracing::trace!(batches = changes, "commits");
        let started = clock();
        let committed = self.store.commit(&batches);
        let micros = clock().saturating_sub(started);
        add(&self.metrics.commit_micros, micros);
        self.metrics.commit_micros_max.fetch_max(micros, Ordering::Relaxed);
        match committed {
            Ok(outcomes) if outcomes.iter().all(|o| *o == BatchOutcome::Applied) => {
                self.metrics.health.committed();
                add(&self.metrics.groups, 1);
                add(&self.metrics.batches, changes as u64);
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
                self.commit_failed(&error, writes, results);
                GroupEnd::StoreFailed
            }
        }
    }

    fn time_batch(&self, now_ms: u64) -> Result<Batch, MetaError> {
        let time = (keys::TIME.to_vec(), Some(encode(keys::TIME, &now_ms)?));
        let position = (keys::POSITION.to_vec(), Some(encode(keys::POSITION, &self.position)?));
        Ok(Batch { conditions: vec![self.fence.clone()], writes: vec![time, position] })
    }

    /// Says of each result of the group what the failure makes of it.
    fn commit_failed(&mut self, error: &MetaStoreError, writes: &[bool], results: &mut [MutationResult]) {
        tracing::error!(%error, "metadata commit failed");
        self.metrics.health.failed(error);
        let nothing_happened = matches!(error, MetaStoreError::NoSpace { .. });
        let text = format!("the metadata commit failed: {error}");
        for (result, wrote) in results.iter_mut().zip(writes) {
            *result = Err(match nothing_happened && *wrote {
                true => Status::new(StatusCode::NoSpace, text.clone()).hint(FREE_SPACE_HINT),
                // An answer that needed no write may rest on one that was not committed, or on an earlier one that was.
                false => Status::new(StatusCode::OutcomeUnknown, text.clone())
                    .hint("repeat the request with the same operation id to learn its outcome"),
            });
        }
        self.failed = true;
        if let Err(error) = self.reopen() {
            tracing::error!(%error, "metadata store cannot be reopened");
        }
    }
}

/// Whether a job would take space that it has not taken already.
fn takes_space(overlay: &Overlay, job: &QueuedMutation) -> bool {
    job.mutation.takes_space() && !outcome::is_known(overlay, job.op).unwrap_or(false)
}

fn tight_status(space: StoreSpace) -> Status {
    let StoreSpace { available, reserve, .. } = space;
    let text = format!(
        "the coordinator's metadata disk is full: {available} bytes are free, and {reserve} are kept free for deletes"
    );
    Status::new(StatusCode::NoSpace, text).hint(FREE_SPACE_HINT)
}
