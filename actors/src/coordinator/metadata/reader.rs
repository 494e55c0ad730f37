//! Reading the metadata: from committed snapshots, past the writer, away from async workers.
//!
//! A change is answered only after its commit, and a snapshot is taken after that answer was read, so whoever was
//! told of a change sees it (C4 of the contract). A [`MetadataReader`] blocks: a lookup in the engine's cache takes
//! microseconds, one that misses it waits for the disk. So the actors have none: they hand questions to [`MetadataReads`],
//! which asks them on a [`ReadLane`]. Every operation is bounded (a page, a step); the longest, a step of `du` or `fsck`,
//! looks at a few thousand rows, some milliseconds.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use dfs_wire::id::{ChunkId, ChunkKey, Epoch, NodeId};
use dfs_wire::identity::Identity;
use dfs_wire::message::admin::{ClusterEvent, ReadEvents};
use dfs_wire::message::inventory::InventoryReport;
use dfs_wire::message::metadata::{
    DiskUsage, DiskUsageStep, Explain, FileStat, Fsck, FsckStep, List, Listed, OpenRead, TrashList,
    TrashPage, UploadFound, UploadedChunks, UploadedPage,
};
use dfs_wire::path::DfsPath;
use dfs_wire::secret::SecretDigest;
use dfs_wire::status::{Status, StatusCode};
use tokio::sync::oneshot;

use super::ops::inventory::{CopyFinding, Judged, Sight};
use super::ops::read::{ExplainPage, ReadPage};
use super::ops::{
    OpContext, cluster, events, fsck, gc, inventory, jobs, list, maintenance, names, outcome, read, resume,
    surplus, trash, trash_usage, trust,
};
use crate::coordinator::metadata::model::records::{
    HealthBook, JoinTokenRecord, Known, MaintainedNodes, NodeRecord, Outcomes, RevokedKeys, UnknownReign,
};
use crate::coordinator::metadata::model::worth::Reaches;
use crate::coordinator::metadata::table::error::MetaError;
use crate::coordinator::metadata::table::store::MetadataStore;
use crate::coordinator::metadata::table::totals::Totals;
use crate::coordinator::metadata::table::view::Committed;
#[cfg(any(test, feature = "testing"))]
use crate::coordinator::metadata::writer::InlineLane;
use crate::coordinator::metadata::writer::LaneJob;
use crate::env::Clock;

/// What a read is for. Reads of one kind wait for each other only: however many clients ask, and however slow the disk is
/// with what they ask for, heartbeats are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFor {
    /// What clients ask, and inventories.
    Requests,
    /// Who is there: handshakes, registrations, heartbeats. A few rows each.
    Membership,
    /// How the cluster does: status, metrics, the census, what would be lost.
    Health,
}

/// Where reads block: several at a time, away from async workers.
pub trait ReadLane: Send + Sync {
    /// Takes a job; it is run even if whoever handed it in ends meanwhile.
    ///
    /// # Errors
    /// If as many of this kind wait as may: it will not be run.
    fn run(&self, what: ReadFor, job: LaneJob) -> Result<(), LaneFull>;

    /// Jobs that wait, of all kinds.
    fn waiting(&self) -> usize;
}

/// As many reads wait as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneFull;

#[cfg(any(test, feature = "testing"))]
impl ReadLane for InlineLane {
    fn run(&self, _: ReadFor, job: LaneJob) -> Result<(), LaneFull> {
        job();
        Ok(())
    }

    fn waiting(&self) -> usize {
        0
    }
}

/// Committed metadata for those who must not block. Cheap to clone.
#[derive(Clone)]
pub struct MetadataReads {
    reader: Arc<MetadataReader>,
    lane: Arc<dyn ReadLane>,
    clock: Arc<dyn Clock>,
}

impl MetadataReads {
    /// Reads of `store` on `lane`.
    pub fn new(store: Arc<dyn MetadataStore>, lane: Arc<dyn ReadLane>, clock: Arc<dyn Clock>) -> Self {
        Self { reader: Arc::new(MetadataReader::new(store)), lane, clock }
    }

    /// Has a question answered on the lane, within `limit`.
    ///
    /// Cancel safety: a question that waits is not asked any more; one that has begun ends by itself, unheard.
    ///
    /// # Errors
    /// Those of the question; `Busy` if as many wait as may; `DeadlineExceeded`; `Internal` if it panicked.
    pub async fn ask<T: Send + 'static, E: Into<Status>>(
        &self,
        what: ReadFor,
        limit: Duration,
        question: impl FnOnce(&MetadataReader) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Status> {
        let (tell, told) = oneshot::channel();
        let reader = Arc::clone(&self.reader);
        let job = move || {
            if tell.is_closed() {
                return;
            }
            match catch_unwind(AssertUnwindSafe(|| question(&reader).map_err(Into::into))) {
                // Who gave up meanwhile does not hear it.
                Ok(answer) => drop(tell.send(answer)),
                Err(_) => tracing::error!(?what, "a read of the metadata panicked"),
            }
        };
        self.lane.run(what, Box::new(job)).map_err(|LaneFull| crowded())?;
        match self.clock.timeout(limit, told).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => {
                Err(Status::new(StatusCode::Internal, "a read of the metadata ended without an answer")
                    .hint("the coordinator's log has more; report it"))
            }
            Err(_) => Err(Status::new(StatusCode::DeadlineExceeded, "the metadata was not read in time")
                .hint("check the coordinator's disk: its log and `dfs_metadata_reads_waiting` of its metrics say more")),
        }
    }

    /// Reads that wait for a thread.
    pub fn waiting(&self) -> usize {
        self.lane.waiting()
    }
}

fn crowded() -> Status {
    Status::new(StatusCode::Busy, "many reads of the metadata wait for its disk; nothing was done")
        .hint("try again in a moment")
        .retry_after_ms(100)
}

/// Answers what only reads. Blocks: it is lent to questions on a lane.
pub struct MetadataReader {
    store: Arc<dyn MetadataStore>,
}

impl MetadataReader {
    /// A reader of `store`.
    pub fn new(store: Arc<dyn MetadataStore>) -> Self {
        Self { store }
    }

    /// Runs `question` on the state after the last commit.
    ///
    /// # Errors
    /// Those of `question`, and of the store: without it there is no answer, never an old one.
    pub fn read<T>(
        &self,
        question: impl FnOnce(&Committed<'_>) -> Result<T, MetaError>,
    ) -> Result<T, MetaError> {
        let snapshot = self.store.snapshot()?;
        question(&Committed(snapshot.as_ref()))
    }

    /// See [`names::stat`].
    ///
    /// # Errors
    /// As there.
    pub fn stat(&self, path: &DfsPath) -> Result<FileStat, MetaError> {
        self.read(|view| names::stat(view, path))
    }

    /// See [`list::list`].
    ///
    /// # Errors
    /// As there.
    pub fn list(&self, request: &List) -> Result<Listed, MetaError> {
        self.read(|view| list::list(view, request))
    }

    /// See [`list::disk_usage`].
    ///
    /// # Errors
    /// As there.
    pub fn disk_usage(&self, request: &DiskUsage) -> Result<DiskUsageStep, MetaError> {
        self.read(|view| list::disk_usage(view, request))
    }

    /// See [`trash::trash_list`].
    ///
    /// # Errors
    /// As there.
    pub fn trash_list(&self, request: &TrashList) -> Result<TrashPage, MetaError> {
        self.read(|view| trash::trash_list(view, request))
    }

    /// See [`read::open_read`].
    ///
    /// # Errors
    /// As there.
    pub fn open_read(&self, request: &OpenRead) -> Result<ReadPage, MetaError> {
        self.read(|view| read::open_read(view, request))
    }

    /// See [`resume::find`].
    ///
    /// # Errors
    /// Of the store.
    pub fn find_uploads(&self, now_ms: u64, path: &DfsPath) -> Result<Vec<UploadFound>, MetaError> {
        self.read(|view| resume::find(view, now_ms, path))
    }

    /// See [`resume::chunks`].
    ///
    /// # Errors
    /// As there.
    pub fn uploaded_chunks(&self, request: &UploadedChunks) -> Result<UploadedPage, MetaError> {
        self.read(|view| resume::chunks(view, request))
    }

    /// See [`read::explain`].
    ///
    /// # Errors
    /// As there.
    pub fn explain(&self, request: &Explain) -> Result<ExplainPage, MetaError> {
        self.read(|view| read::explain(view, request))
    }

    /// See [`fsck::check`].
    ///
    /// # Errors
    /// As there.
    pub fn fsck(&self, request: &Fsck, reach: Reaches<'_>) -> Result<FsckStep, MetaError> {
        self.read(|view| fsck::check(view, request, reach))
    }

    /// Counters of what there is.
    ///
    /// # Errors
    /// Of the store.
    pub fn totals(&self) -> Result<Totals, MetaError> {
        self.read(|view| cluster::totals(view))
    }

    /// See [`trash_usage::is_counting`].
    ///
    /// # Errors
    /// Of the store.
    pub fn trash_counting(&self) -> Result<bool, MetaError> {
        self.read(|view| trash_usage::is_counting(view))
    }

    /// What is remembered of operations, and what was forgotten.
    ///
    /// # Errors
    /// Of the store.
    pub fn outcomes(&self) -> Result<Outcomes, MetaError> {
        self.read(|view| outcome::outcomes(view))
    }

    /// See [`outcome::fresh_stamp`].
    ///
    /// # Errors
    /// Of the store.
    pub fn fresh_stamp(&self, now_ms: u64) -> Result<u64, MetaError> {
        self.read(|view| outcome::fresh_stamp(view, now_ms))
    }

    /// All jobs that are remembered.
    ///
    /// # Errors
    /// Of the store.
    pub fn jobs(&self) -> Result<jobs::Remembered, MetaError> {
        self.read(|view| jobs::all(view))
    }

    /// Every node that ever registered.
    ///
    /// # Errors
    /// Of the store.
    pub fn nodes(&self) -> Result<Vec<(NodeId, NodeRecord)>, MetaError> {
        self.read(|view| cluster::nodes(view))
    }

    /// A join token.
    ///
    /// # Errors
    /// Of the store.
    pub fn join_token(&self, secret: SecretDigest) -> Result<Option<JoinTokenRecord>, MetaError> {
        self.read(|view| trust::token(view, secret))
    }

    /// Whether a join token can still be used by somebody.
    ///
    /// # Errors
    /// `Unauthenticated`; of the store.
    pub fn check_join_token(&self, secret: SecretDigest, now_ms: u64, wall_ms: u64) -> Result<(), MetaError> {
        self.read(|view| trust::check_token(view, secret, now_ms, wall_ms).map(|_| ()))
    }

    /// Whether somebody has a certificate that counts.
    ///
    /// # Errors
    /// Of the store.
    pub fn has_live_keys(&self, who: &Identity, wall_ms: u64) -> Result<bool, MetaError> {
        let issued = self.read(|view| trust::issued(view, who))?.unwrap_or_default();
        Ok(issued.0.values().any(|end| *end >= wall_ms))
    }

    /// The keys that are not believed any more.
    ///
    /// # Errors
    /// Of the store.
    pub fn revoked_keys(&self) -> Result<RevokedKeys, MetaError> {
        self.read(|view| trust::revoked(view))
    }

    /// What operators have said of nodes that may be away.
    ///
    /// # Errors
    /// Of the store.
    pub fn maintenance(&self) -> Result<MaintainedNodes, MetaError> {
        self.read(|view| maintenance::all(view))
    }

    /// What is remembered of the health of the cluster.
    ///
    /// # Errors
    /// Of the store.
    pub fn health_book(&self) -> Result<HealthBook, MetaError> {
        self.read(|view| events::book(view))
    }

    /// See [`events::read`].
    ///
    /// # Errors
    /// As there.
    pub fn events(&self, asked: &ReadEvents, wall_ms: u64) -> Result<Vec<ClusterEvent>, MetaError> {
        self.read(|view| events::read(view, asked, wall_ms))
    }

    /// The record of a node.
    ///
    /// # Errors
    /// Of the store.
    pub fn node(&self, node: NodeId) -> Result<Option<NodeRecord>, MetaError> {
        self.read(|view| cluster::node(view, node))
    }

    /// See [`cluster::knows_reign`].
    ///
    /// # Errors
    /// Of the store.
    pub fn knows_reign(&self, epoch: Epoch) -> Result<Known, MetaError> {
        self.read(|view| cluster::knows_reign(view, epoch))
    }

    /// The counters, and the proof that the metadata is an old copy, if there is one: what health is judged by.
    ///
    /// # Errors
    /// Of the store.
    pub fn signs(&self) -> Result<(Totals, Option<UnknownReign>), MetaError> {
        self.read(|view| Ok((cluster::totals(view)?, cluster::unknown_reign(view)?)))
    }

    /// See [`cluster::unknown_reign`].
    ///
    /// # Errors
    /// Of the store.
    pub fn unknown_reign(&self) -> Result<Option<UnknownReign>, MetaError> {
        self.read(|view| cluster::unknown_reign(view))
    }

    /// The commit position.
    ///
    /// # Errors
    /// Of the store.
    pub fn position(&self) -> Result<u64, MetaError> {
        self.read(|view| cluster::position(view))
    }

    /// What a node still has to delete.
    ///
    /// # Errors
    /// Of the store.
    pub fn tombstones(&self, node: NodeId, limit: usize) -> Result<Vec<ChunkKey>, MetaError> {
        self.read(|view| gc::tombstones(view, node, limit))
    }

    /// See [`surplus::orders`].
    ///
    /// # Errors
    /// As there.
    pub fn orders(&self, node: NodeId, limit: usize, heard: Reaches<'_>) -> Result<Vec<ChunkKey>, MetaError> {
        self.read(|view| surplus::orders(view, node, limit, heard))
    }

    /// See [`inventory::judge`].
    ///
    /// # Errors
    /// Of the store.
    pub fn judge(
        &self,
        ctx: &OpContext,
        report: &InventoryReport,
        sight: Sight<'_>,
    ) -> Result<Judged, MetaError> {
        self.read(|view| inventory::judge(view, ctx, report, sight))
    }

    /// See [`inventory::confirm`].
    ///
    /// # Errors
    /// Of the store.
    pub fn confirm(
        &self,
        ctx: &OpContext,
        node: NodeId,
        copies: &[ChunkKey],
        sight: Sight<'_>,
    ) -> Result<Vec<ChunkKey>, MetaError> {
        self.read(|view| inventory::confirm(view, ctx, node, copies, sight))
    }

    /// See [`inventory::missing`].
    ///
    /// # Errors
    /// Of the store.
    pub fn missing(
        &self,
        report: &InventoryReport,
        from: Option<ChunkId>,
    ) -> Result<(Vec<CopyFinding>, Option<ChunkId>), MetaError> {
        self.read(|view| inventory::missing(view, report, from))
    }
}
