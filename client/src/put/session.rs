//! The upload session at the coordinator: open, allocate, record, commit or abort, keep the lease.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dfs_wire::id::{Generation, NodeId, OpId, SessionId};
use dfs_wire::limits::{CHUNK_BYTES_MAX, CHUNKS_PER_REQUEST_MAX};
use dfs_wire::message::facts::ChunkFacts;
use dfs_wire::message::metadata::{
    AllocateChunks, Allocation, CommitUpload, FileStat, MetadataRequest, MetadataResponse, OpenUpload,
    RecordChunks, SessionOnly, StoredChunk, UploadedChunk, UploadedChunks,
};
use dfs_wire::path::DfsPath;
use dfs_wire::status::StatusCode;
use tokio::time::{Instant, timeout};

use super::avoid::Avoided;
use crate::backoff::QUORUM_PATIENCE;
use crate::client::Inner;
use crate::error::{Error, ErrorKind};
use crate::options::PutOptions;
use crate::progress::Meter;
use crate::rpc::unexpected;

/// Chunks allocated with one request: enough to keep the transfer busy, few enough that their grants stay young.
pub(super) const ALLOCATE_AHEAD: u32 = 16;
/// Durable chunks that an interruption may cost: the coordinator has not heard of them yet.
const RECORDS_AT_RISK: usize = 8;
/// How long giving up may take.
const ABORT_TIMEOUT: Duration = Duration::from_secs(3);

/// What is known of the chunks of an upload that is gone on with.
pub(super) type KnownChunks = BTreeMap<u32, UploadedChunk>;

/// An open upload session.
pub(super) struct Session {
    pub(super) inner: Arc<Inner>,
    pub(super) chunk_size: u32,
    pub(super) replication: u8,
    pub(super) min_ack: u8,
    pub(super) meter: Meter,
    id: SessionId,
    lease: Duration,
    path: DfsPath,
    /// Bytes of the whole, if they are known before they are read.
    file_size: Option<u64>,
    mtime_ns: Option<i64>,
    commit_op: Option<OpId>,
    resumable: bool,
    /// If the put fails, a later one may go on with what this one has stored.
    pub(super) kept: bool,
    avoided: Mutex<Avoided>,
    /// Since when the nodes that did not fail are too few, with no chunk stored.
    short_since: Mutex<Option<Instant>>,
}

impl Session {
    /// Opens a session; a few chunks are allocated at once if the length is known.
    pub(super) async fn open(
        inner: Arc<Inner>,
        path: &DfsPath,
        options: &PutOptions,
        len: Option<u64>,
        resume: Option<u128>,
    ) -> Result<(Self, Vec<Allocation>), Error> {
        // Without a chunk size of our own, the largest there can be tells how many chunks there are at least.
        let chunk_size = u64::from(options.chunk_size.unwrap_or(CHUNK_BYTES_MAX)).max(1);
        let chunks = len.map_or(0, |len| len.div_ceil(chunk_size)).min(ALLOCATE_AHEAD.into());
        let request = OpenUpload {
            path: path.clone(),
            chunk_size: options.chunk_size.unwrap_or(0),
            replication: options.replication.unwrap_or(0),
            precondition: options.precondition,
            parents: options.parents,
            size_hint: len,
            allocate: u32::try_from(chunks).unwrap_or(ALLOCATE_AHEAD),
            mtime_ns: options.mtime_ns,
            resume,
        };
        let opened = match step(&inner, MetadataRequest::OpenUpload(request), None).await? {
            MetadataResponse::UploadOpened(opened) => opened,
            other => return Err(unexpected(&other)),
        };
        if opened.chunk_size == 0 || opened.chunk_size > CHUNK_BYTES_MAX {
            let text = format!("the coordinator chose chunks of {} bytes", opened.chunk_size);
            return Err(Error::new(StatusCode::ProtocolViolation, text));
        }
        let session = Self {
            inner,
            chunk_size: opened.chunk_size,
            replication: opened.replication,
            min_ack: opened.min_ack,
            meter: Meter::new(len, options.progress.clone()),
            id: opened.session,
            lease: Duration::from_millis(opened.lease_ms),
            path: path.clone(),
            file_size: len,
            mtime_ns: options.mtime_ns,
            commit_op: options.op,
            resumable: resume.is_some(),
            kept: options.resume && resume.is_some(),
            avoided: Mutex::default(),
            short_since: Mutex::default(),
        };
        Ok((session, opened.allocations))
    }

    /// The session of a put that was interrupted, to go on with, and what it knows of its chunks; `None` if there is none.
    pub(super) async fn find(
        inner: &Arc<Inner>,
        path: &DfsPath,
        options: &PutOptions,
        len: Option<u64>,
        resume: u128,
    ) -> Result<Option<(Self, KnownChunks)>, Error> {
        let found = inner.find_uploads(path).await?;
        let Some(found) = found.into_iter().find(|upload| upload.resume == resume) else { return Ok(None) };
        let session = Self {
            inner: inner.clone(),
            chunk_size: found.chunk_size,
            replication: found.replication,
            min_ack: found.min_ack,
            meter: Meter::new(len, options.progress.clone()),
            id: found.session,
            lease: Duration::from_millis(found.lease_ms),
            path: path.clone(),
            file_size: len,
            mtime_ns: options.mtime_ns,
            commit_op: options.op,
            resumable: true,
            kept: true,
            avoided: Mutex::default(),
            short_since: Mutex::default(),
        };
        // From here on it lasts as long as a fresh one.
        session.renew().await?;
        let known = session.known_chunks().await?;
        Ok(Some((session, known)))
    }

    async fn known_chunks(&self) -> Result<KnownChunks, Error> {
        let (mut known, mut first) = (KnownChunks::new(), Some(0));
        while let Some(from) = first {
            let request = UploadedChunks { session: self.id, first: from };
            let page = match self.inner.rpc.ask(MetadataRequest::UploadedChunks(request)).await? {
                MetadataResponse::UploadedChunks(page) => page,
                other => return Err(unexpected(&other)),
            };
            known.extend(page.chunks.into_iter().map(|chunk| (chunk.index, chunk)));
            first = page.next.filter(|next| *next > from);
        }
        Ok(known)
    }

    /// What the chunk with this index, of `len` bytes, is to say of itself.
    pub(super) fn facts(&self, index: u32, len: u64) -> Box<ChunkFacts> {
        let offset = u64::from(index) * u64::from(self.chunk_size);
        Box::new(ChunkFacts {
            sealing: None,
            offset: Some(offset),
            last: self.file_size == Some(offset + len),
            file_size: self.file_size,
            mtime_ns: self.mtime_ns,
            path: Some(self.path.clone()),
        })
    }

    /// Records that are gathered before the coordinator is told: what an interruption may cost.
    pub(super) fn records_max(&self) -> usize {
        if self.resumable { RECORDS_AT_RISK } else { CHUNKS_PER_REQUEST_MAX }
    }

    /// How often the lease is to be renewed.
    pub(super) fn renew_interval(&self) -> Duration {
        (self.lease / 3).max(Duration::from_secs(1))
    }

    /// Keeps the lease. Only a definite "it is over" is an error: the lease outlasts a coordinator's restart.
    pub(super) async fn renew(&self) -> Result<(), Error> {
        let request = MetadataRequest::RenewSession(SessionOnly { session: self.id });
        match step(&self.inner, request, None).await {
            Err(error) if error.status_code() == Some(StatusCode::SessionClosed) => Err(error),
            Err(error) => {
                tracing::warn!(%error, session = %self.id, "the upload's lease could not be renewed");
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }

    /// Asks where to put `count` chunks from `first` on that never had a place, away from the nodes that failed lately.
    pub(super) async fn allocate(&self, first: u32, count: u32) -> Result<Vec<Allocation>, Error> {
        self.allocate_above(first, count, Generation(0)).await
    }

    /// Asks for another place for a chunk whose last one was of this generation; 0 = it had none.
    pub(super) async fn allocate_again(
        &self,
        index: u32,
        above: Generation,
    ) -> Result<Vec<Allocation>, Error> {
        self.allocate_above(index, 1, above).await
    }

    async fn allocate_above(
        &self,
        first: u32,
        count: u32,
        above: Generation,
    ) -> Result<Vec<Allocation>, Error> {
        loop {
            let exclude = self.excluded();
            let crowded_out = !exclude.is_empty();
            let request = AllocateChunks { session: self.id, first, count, above, exclude };
            match self.ask_for_places(request).await {
                // Better a node that stumbled than none at all.
                Err(error) if crowded_out && error.status_code() == Some(StatusCode::NoWriteQuorum) => {
                    if !self.let_some_in() {
                        return Err(error);
                    }
                }
                outcome => return outcome,
            }
        }
    }

    /// The nodes that are not kept out are too few: lets some in. All are let in for a while only: whoever can take a chunk then was asked.
    fn let_some_in(&self) -> bool {
        if self.avoided().let_doubted_in() {
            return true;
        }
        let still = self.short_for() < QUORUM_PATIENCE;
        if still {
            self.avoided().let_all_in();
        }
        still
    }

    async fn ask_for_places(&self, request: AllocateChunks) -> Result<Vec<Allocation>, Error> {
        // While nodes are excluded, a missing quorum is no reason to wait: they can be let in again.
        let final_code = (!request.exclude.is_empty()).then_some(StatusCode::NoWriteQuorum);
        match step(&self.inner, MetadataRequest::AllocateChunks(request), final_code).await? {
            MetadataResponse::Allocated(allocated) => Ok(allocated.allocations),
            other => Err(unexpected(&other)),
        }
    }

    /// Tells the coordinator of durable chunks.
    pub(super) async fn record(&self, chunks: Vec<StoredChunk>) -> Result<(), Error> {
        let request = RecordChunks { session: self.id, chunks };
        match step(&self.inner, MetadataRequest::RecordChunks(request), None).await? {
            MetadataResponse::Recorded | MetadataResponse::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Makes the file visible.
    pub(super) async fn commit(
        &self,
        mut chunks: Vec<StoredChunk>,
        size: u64,
        chunk_count: u32,
        sha256: Option<[u8; 32]>,
    ) -> Result<FileStat, Error> {
        chunks.sort_by_key(|c| c.index);
        while chunks.len() > CHUNKS_PER_REQUEST_MAX {
            let rest = chunks.split_off(CHUNKS_PER_REQUEST_MAX);
            self.record(std::mem::replace(&mut chunks, rest)).await?;
        }
        let request = CommitUpload { session: self.id, chunks, size, chunk_count, sha256 };
        match self.inner.rpc.mutate(self.commit_op, MetadataRequest::CommitUpload(request)).await {
            Ok(MetadataResponse::Committed(file)) => Ok(file.at(self.path.clone())),
            Ok(other) => Err(unexpected(&other)),
            Err(error) if error.status_code() == Some(StatusCode::OpIdReuse) => {
                let text =
                    "an earlier put with this operation id has its outcome already; nothing was done again";
                let reused = Error::new(StatusCode::OpIdReuse, text)
                    .with_hint("stat the path to see what is there")
                    .caused_by(error);
                Err(self.commit_op.into_iter().fold(reused, Error::of_op))
            }
            Err(error) => Err(error),
        }
    }

    /// Gives the upload up, best effort: if nobody hears it, the lease ends it.
    pub(super) async fn abort(&self) {
        abort(&self.inner, self.id).await;
    }

    /// A chunk was stored: there are enough nodes.
    pub(super) fn stored(&self) {
        *self.short_since.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn short_for(&self) -> Duration {
        let mut since = self.short_since.lock().unwrap_or_else(PoisonError::into_inner);
        since.get_or_insert_with(Instant::now).elapsed()
    }

    /// Keeps new chunks away from a node for a while.
    pub(super) fn avoid(&self, node: NodeId) {
        self.avoided().failed(node, Instant::now());
    }

    /// The same, of a node that may have done all it could.
    pub(super) fn doubt(&self, node: NodeId) {
        self.avoided().doubted(node, Instant::now());
    }

    /// Whether a node is kept out of new allocations now.
    pub(super) fn avoids(&self, node: NodeId) -> bool {
        self.avoided().contains(node, Instant::now())
    }

    fn avoided(&self) -> MutexGuard<'_, Avoided> {
        self.avoided.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn excluded(&self) -> Vec<NodeId> {
        let mut nodes = self.avoided().nodes(Instant::now());
        nodes.truncate(CHUNKS_PER_REQUEST_MAX);
        nodes
    }
}

/// Gives an upload up, best effort: if nobody hears it, the lease ends it.
pub(crate) async fn abort(inner: &Inner, session: SessionId) {
    let request = MetadataRequest::AbortUpload(SessionOnly { session });
    let outcome = timeout(ABORT_TIMEOUT, inner.rpc.mutate(None, request)).await;
    if !matches!(outcome, Ok(Ok(_))) {
        tracing::debug!(%session, "the upload could not be given up; its lease will end it");
    }
}

/// A mutation before the commit. Whatever became of it, nothing is visible: to the caller its failure is definite.
pub(crate) async fn step(
    inner: &Inner,
    request: MetadataRequest,
    final_code: Option<StatusCode>,
) -> Result<MetadataResponse, Error> {
    let name = request.name();
    let outcome = match final_code {
        None => inner.rpc.mutate(None, request).await,
        Some(code) => inner.rpc.mutate_unless(request, code).await,
    };
    match outcome {
        Err(error) if error.kind() == ErrorKind::OutcomeUnknown => {
            let text = format!("the coordinator did not answer {name}; nothing became visible");
            Err(Error::new(StatusCode::Unavailable, text).caused_by(error))
        }
        outcome => outcome,
    }
}

/// Aborts the session when it is dropped before [`Self::disarm`]: a cancelled put leaves nothing behind.
pub(super) struct AbortOnDrop(Option<Arc<Session>>);

impl AbortOnDrop {
    pub(super) fn new(session: Arc<Session>) -> Self {
        Self(Some(session))
    }

    pub(super) fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(session) = self.0.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { session.abort().await });
        }
    }
}
