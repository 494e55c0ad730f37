//! The namespace as its users rely on it, on an engine in memory.

mod engine;
mod events;
mod forget;
mod gc;
mod index;
mod inventory;
mod life;
mod listing;
mod namespace;
mod nodes;
mod operations;
mod outcomes;
mod replication;
mod sharing;
mod surplus;
mod trash_usage;
mod trust;
mod uploads;
mod writer;

use std::sync::Arc;

use dfs_wire::auth::{ClusterKey, Receipt};
use dfs_wire::id::{ChunkKey, ClusterId, Generation, NodeId, OpId, SessionId};
use dfs_wire::message::metadata::*;
use dfs_wire::path::DfsPath;
use dfs_wire::status::StatusCode;

use super::model::outcome::{AllocatedChunk, OpenedUpload, Outcome, StepProgress};
use super::ops::cluster::{self, Reign};
use super::ops::mutation::{Mutation, ReceiptKeys, Step};
use super::ops::transfer::ChunkPlacement;
use super::ops::{OpContext, Policy};
use super::reader::MetadataReader;
use crate::coordinator::Unwrapped;
use crate::coordinator::metadata::model::records::{StoredReason, UploadSession};
use crate::coordinator::metadata::model::worth::Reach;
use crate::coordinator::metadata::table::error::MetaError;
use crate::coordinator::metadata::table::keys;
use crate::coordinator::metadata::table::memory::MemoryStore;
use crate::coordinator::metadata::table::store::{
    BATCH_OPS_MAX, BatchOutcome, KeyRange, MetadataStore, Pair,
};
use crate::coordinator::metadata::table::totals::Totals;
use crate::coordinator::metadata::table::txn::Overlay;
use crate::coordinator::metadata::table::view::View as _;

pub(super) const KEY: ClusterKey = ClusterKey([7; 32]);

pub(super) fn path(text: &str) -> DfsPath {
    text.parse().unwrap()
}

/// A coordinator without its actors: each call is one committed group.
pub(super) struct Lab {
    pub(super) store: Arc<MemoryStore>,
    pub(super) reign: Reign,
    pub(super) receipts: ReceiptKeys,
    pub(super) policy: Policy,
    pub(super) now_ms: u64,
    /// How far the wall clock is ahead of the coordinator's time.
    pub(super) wall_ahead_ms: u64,
    pub(super) next: u128,
    /// The most operations that any batch had.
    pub(super) ops_max: usize,
}

impl Lab {
    pub(super) fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        let reign = cluster::open(store.as_ref(), ClusterId(1), &KEY, &Unwrapped, 1_000).unwrap();
        let (receipts, policy) = (ReceiptKeys::new(KEY), Policy::default());
        Self { store, reign, receipts, policy, now_ms: 1_000_000, wall_ahead_ms: 0, next: 0, ops_max: 0 }
    }

    pub(super) fn fresh(&mut self) -> u128 {
        // Splitmix over 128 bits: all bits differ from one id to the next, as real entropy's do.
        self.next = self.next.wrapping_add(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
        let mixed = (self.next ^ (self.next >> 67)).wrapping_mul(0xDA94_2042_E4DD_58B5_94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 59)
    }

    pub(super) fn ctx(&mut self, op: OpId) -> OpContext {
        OpContext {
            now_ms: self.now_ms,
            wall_ms: self.now_ms + self.wall_ahead_ms,
            op,
            entropy: self.fresh(),
            policy: self.policy,
        }
    }

    /// Applies as a fresh operation.
    pub(super) fn apply(&mut self, mutation: &Mutation) -> Result<Outcome, MetaError> {
        let stamp = self.reader().fresh_stamp(self.now_ms).unwrap();
        let op = OpId::time_ordered(stamp, self.fresh());
        self.apply_as(op, mutation)
    }

    pub(super) fn apply_as(&mut self, op: OpId, mutation: &Mutation) -> Result<Outcome, MetaError> {
        let ctx = self.ctx(op);
        let mut overlay = Overlay::new(self.store.snapshot().unwrap(), Some(self.reign.fence().unwrap()));
        let result = mutation.apply(&mut overlay, &ctx, &self.receipts);
        let batches = overlay.into_batches();
        self.ops_max = batches.iter().map(|b| b.ops()).fold(self.ops_max, usize::max);
        assert!(self.ops_max <= BATCH_OPS_MAX);
        let outcomes = self.store.commit(&batches).unwrap();
        assert!(outcomes.iter().all(|o| *o == BatchOutcome::Applied));
        result
    }

    pub(super) fn code(&mut self, mutation: &Mutation) -> StatusCode {
        self.apply(mutation).expect_err("it should have been refused").code()
    }

    pub(super) fn reader(&self) -> MetadataReader {
        MetadataReader::new(self.store.clone())
    }

    pub(super) fn totals(&self) -> Totals {
        self.reader().totals().unwrap()
    }

    pub(super) fn mkdir(&mut self, p: &str) {
        self.apply(&Mutation::Mkdir(Mkdir { path: path(p), parents: true })).unwrap();
    }

    pub(super) fn delete(&mut self, p: &str, skip_trash: bool) -> Result<Outcome, MetaError> {
        self.apply(&Mutation::Delete(Delete { path: path(p), recursive: true, skip_trash, if_match: None }))
    }

    pub(super) fn rename(&mut self, from: &str, to: &str, replace: bool) -> Result<Outcome, MetaError> {
        self.apply(&Mutation::Rename(Rename { from: path(from), to: path(to), replace }))
    }

    pub(super) fn step(&mut self, step: Step) -> StepProgress {
        match self.apply(&Mutation::Step(step)).unwrap() {
            Outcome::Progress(progress) => progress,
            other => panic!("{other:?}"),
        }
    }

    /// Runs all background work until there is none left.
    pub(super) fn drain(&mut self) {
        loop {
            let mut more = false;
            for step in Step::ALL {
                more |= self.step(step).more;
            }
            if !more {
                return;
            }
        }
    }

    /// As [`Self::drain`], with `nodes` nodes that delete what they are told to.
    pub(super) fn drain_and_delete(&mut self, nodes: u128) {
        loop {
            self.drain();
            let mut told = 0;
            for node in (1..=nodes).map(NodeId) {
                let copies: Vec<ChunkKey> = self.reader().tombstones(node, 1000).unwrap();
                told += copies.len();
                self.apply(&Mutation::ConfirmDeleted(node, copies)).unwrap();
            }
            if told == 0 {
                return;
            }
        }
    }

    pub(super) fn dump(&self) -> Vec<Pair> {
        let (snapshot, mut range, mut all) =
            (self.store.snapshot().unwrap(), KeyRange::prefix(b""), Vec::new());
        loop {
            let page = snapshot.scan(&range, 4096).unwrap();
            let Some((last, _)) = page.last() else { return all };
            range = range.after(last);
            all.extend(page);
        }
    }

    /// Keys by table, to see what is left.
    pub(super) fn count(&self, table: &[u8]) -> usize {
        self.dump().iter().filter(|(key, _)| key.starts_with(table)).count()
    }

    pub(super) fn fsck(&self) -> FsckStep {
        let mut all = FsckStep::default();
        let mut cursor = None;
        loop {
            let step = self.reader().fsck(&Fsck { cursor }, &|_| Reach::Here).unwrap();
            all.files += step.files;
            all.directories += step.directories;
            all.chunks += step.chunks;
            all.copies += step.copies;
            all.problems.extend(step.problems);
            match step.next {
                Some(next) => cursor = Some(next),
                None => return all,
            }
        }
    }

    #[track_caller]
    pub(super) fn assert_consistent(&self) {
        let problems = self.fsck().problems;
        let broken: Vec<_> =
            problems.iter().filter(|p| matches!(p.kind, FsckKind::Metadata | FsckKind::Orphan)).collect();
        assert!(broken.is_empty(), "{broken:#?}");
        let totals = self.totals();
        assert_eq!(totals.chunks, self.count(b"k") as u64, "chunks");
        assert_eq!(totals.under_replicated, self.count(b"q") as u64, "under-replicated");
        assert_eq!(totals.trash, self.count(b"t") as u64, "trash");
        assert_eq!(totals.tombstones, self.count(b"x") as u64, "tombstones");
        assert_eq!(totals.uploads, self.count(b"u") as u64, "uploads");
        let outcomes = self.reader().outcomes().unwrap();
        let rows = self.dump().into_iter().filter(|(key, _)| key.starts_with(b"o"));
        let bytes = rows.map(|(key, value)| (key.len() + value.len() + 16) as u64).sum::<u64>();
        assert_eq!((outcomes.rows, outcomes.bytes), (self.count(b"o") as u64, bytes), "outcomes");
        assert_eq!(totals.files + totals.directories + 1, self.count(b"i") as u64, "inodes");
        self.assert_indexed();
        self.assert_trash_counted();
    }
}

/// Asks for an upload in the usual way.
pub(super) fn upload_of(p: &str) -> OpenUpload {
    OpenUpload {
        path: path(p),
        chunk_size: 64 * 1024,
        replication: 3,
        precondition: Precondition::Any,
        parents: true,
        size_hint: None,
        allocate: 0,
        mtime_ns: None,
        resume: None,
    }
}

pub(super) fn placement(nodes: &[u128]) -> ChunkPlacement {
    let reasons = nodes.iter().map(|&n| StoredReason {
        node: NodeId(n),
        chosen: true,
        rule: "chosen".to_owned(),
        detail: "the only choice".to_owned(),
    });
    ChunkPlacement { nodes: nodes.iter().map(|&n| NodeId(n)).collect(), reasons: reasons.collect() }
}

/// What `nodes` would say after they stored `len` bytes of a chunk.
pub(super) fn stored(chunk: &AllocatedChunk, len: u32, nodes: &[u128]) -> StoredChunk {
    let sha256 = [u8::try_from(chunk.index % 251).unwrap(); 32];
    let sign = |&node: &u128| {
        let node = NodeId(node);
        Receipt::sign(node, chunk.chunk, chunk.generation, len, sha256, &KEY.node_key(node))
    };
    StoredChunk { index: chunk.index, receipts: nodes.iter().map(sign).collect() }
}

impl Lab {
    pub(super) fn open(&mut self, request: OpenUpload) -> Result<OpenedUpload, MetaError> {
        self.apply(&Mutation::OpenUpload(request, Vec::new())).map(|outcome| match outcome {
            Outcome::Opened(opened) => opened,
            other => panic!("{other:?}"),
        })
    }

    pub(super) fn allocate(&mut self, session: SessionId, first: u32, count: u32) -> Vec<AllocatedChunk> {
        let placements = (0..count).map(|_| placement(&[1, 2, 3])).collect();
        let above = Generation(0);
        self.allocate_by(AllocateChunks { session, first, count, above, exclude: Vec::new() }, placements)
    }

    /// Gives the generation `above` of a chunk up for the next one.
    pub(super) fn reallocate(&mut self, session: SessionId, first: u32, above: u32) -> AllocatedChunk {
        let above = Generation(above);
        let request = AllocateChunks { session, first, count: 1, above, exclude: Vec::new() };
        self.allocate_by(request, vec![placement(&[1, 2, 3])]).remove(0)
    }

    fn allocate_by(
        &mut self,
        request: AllocateChunks,
        placements: Vec<ChunkPlacement>,
    ) -> Vec<AllocatedChunk> {
        match self.apply(&Mutation::Allocate(request, placements)).unwrap() {
            Outcome::Allocated(chunks) => chunks,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn record(
        &mut self,
        session: SessionId,
        chunks: Vec<StoredChunk>,
    ) -> Result<Outcome, MetaError> {
        self.apply(&Mutation::Record(RecordChunks { session, chunks }))
    }

    pub(super) fn commit(
        &mut self,
        session: SessionId,
        size: u64,
        chunk_count: u32,
    ) -> Result<FileStat, MetaError> {
        let key = keys::session(session);
        let upload = self.reader().read(|view| view.load::<UploadSession>(&key)).unwrap();
        let request = CommitUpload { session, chunks: Vec::new(), size, chunk_count, sha256: None };
        self.apply(&Mutation::Commit(request)).map(|outcome| match outcome {
            Outcome::Committed(file) => file.at(upload.expect("it was open").path),
            other => panic!("{other:?}"),
        })
    }

    /// Puts a file of `size` bytes, in chunks of 64 KiB, each on nodes 1, 2 and 3.
    pub(super) fn put_as(&mut self, request: OpenUpload, size: u64) -> Result<FileStat, MetaError> {
        let chunk_size = u64::from(request.chunk_size);
        let session = self.open(request)?.session;
        let count = u32::try_from(size.div_ceil(chunk_size)).unwrap();
        for first in (0..count).step_by(32) {
            let chunks = self.allocate(session, first, (count - first).min(32));
            let record = |c: &AllocatedChunk| {
                let len = (size - u64::from(c.index) * chunk_size).min(chunk_size);
                stored(c, u32::try_from(len).unwrap(), &[1, 2, 3])
            };
            self.record(session, chunks.iter().map(record).collect())?;
        }
        self.commit(session, size, count)
    }

    pub(super) fn put(&mut self, p: &str, size: u64) -> FileStat {
        self.put_as(upload_of(p), size).unwrap()
    }
}
