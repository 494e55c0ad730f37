//! Putting a file: split, hash, transfer chunks in parallel, record, commit.
//!
//! ```text
//! Input --chunks--> [ upload | upload | upload | upload ] --receipts--> record (<= 32) ... commit
//!   file ranges or gathered       tasks, each retries             one loop, which also keeps the lease
//! ```
//!
//! Nothing is visible before the commit. Any error, and dropping the future, gives the session up.

mod avoid;
mod chunk;
mod feed;
mod input;
mod resume;
mod session;
mod source;
mod sum;

pub(crate) use session::{abort, step};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dfs_wire::id::Generation;
use dfs_wire::message::metadata::{Allocation, StoredBytes, StoredChunk};
use dfs_wire::path::DfsPath;
use dfs_wire::status::StatusCode;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::memory::MemoryBound;
use crate::options::{DegradedChunk, PutOptions, PutOutcome, PutSource};

use chunk::Uploaded;
use feed::ChunkSource;
use input::{Identity, Input};
use session::{ALLOCATE_AHEAD, AbortOnDrop, KnownChunks, Session};
use sum::WholeSum;

impl Client {
    /// Stores a file: when this returns, it is visible at `path`, and every byte is durable on its nodes.
    ///
    /// Streams of unknown length hold each chunk in memory until it is durable, so at most
    /// `memory_limit / 2 / chunk size` chunks (at least one) move at once. Files are read again instead.
    ///
    /// Cancel safety: dropping the future gives the upload up; nothing becomes visible, unless the commit was already
    /// sent.
    ///
    /// ```no_run
    /// # async fn example(client: dfs_client::Client) -> Result<(), dfs_client::Error> {
    /// use dfs_client::{PutOptions, PutSource, metadata::Precondition};
    ///
    /// let options = PutOptions::new().precondition(Precondition::Absent);
    /// let put = client.put(PutSource::reader(tokio::io::stdin()), &"/piped".parse()?, options).await?;
    /// println!("{} bytes, {} chunks degraded", put.stat.size, put.degraded.len());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `AlreadyExists` or `PreconditionFailed`, `IsADirectory`, `NotFound` (a parent is missing), `NoSpace`,
    /// `NoWriteQuorum`, `InvalidArgument` (chunk size, copies), a failure of the local source, `SourceChanged` if it is a
    /// file that changed while it was read, or `OutcomeUnknown` if the
    /// answer to the commit was lost.
    pub async fn put(
        &self,
        source: PutSource,
        path: &DfsPath,
        options: PutOptions,
    ) -> Result<PutOutcome, Error> {
        let doing = || format!("put {path}");
        let input = Input::open(source, self.inner.env.workers).await.map_err(|e| e.context(doing()))?;
        if options.parents {
            self.make_far_parents(path).await?;
        }
        let begun = self.begin(path, &options, input.identity(), input.len()).await;
        let transfer = begun.map_err(|e| e.context(doing()))?;
        let session = transfer.session.clone();
        let guard = (!session.kept).then(|| AbortOnDrop::new(session.clone()));
        let outcome = transfer.run(input, options.allow_changing).await;
        guard.into_iter().for_each(AbortOnDrop::disarm);
        if let Err(error) = &outcome {
            // A commit whose outcome is unknown may have been done: its session is not ours to end. One that a later put
            // may go on with is kept, unless it can never be committed.
            let keep = session.kept && error.kind() != ErrorKind::Conflict;
            if error.kind() != ErrorKind::OutcomeUnknown && !keep {
                session.abort().await;
            }
        }
        outcome.map_err(|e| e.context(doing()))
    }

    /// Opens a session, or finds the one to go on with.
    async fn begin(
        &self,
        path: &DfsPath,
        options: &PutOptions,
        file: Option<Identity>,
        len: Option<u64>,
    ) -> Result<Transfer, Error> {
        let tag = resume::tag(path, options, file, len, self.inner.env.workers).await?;
        if let Some(tag) = tag.filter(|_| options.resume)
            && let Some((session, known)) = Session::find(&self.inner, path, options, len, tag).await?
        {
            return Ok(Transfer::new(session, Vec::new(), known, options.checksum));
        }
        let (session, allocations) = Session::open(self.inner.clone(), path, options, len, tag).await?;
        Ok(Transfer::new(session, allocations, KnownChunks::new(), options.checksum))
    }
}

/// A put in progress.
struct Transfer {
    session: Arc<Session>,
    allocations: BTreeMap<u32, Allocation>,
    tasks: JoinSet<Result<Uploaded, Error>>,
    next: u32,
    ended: bool,
    size: u64,
    records: Vec<StoredChunk>,
    degraded: Vec<DegradedChunk>,
    /// What an earlier put left, of chunks that are not looked at yet.
    known: KnownChunks,
    /// An earlier put has begun: each chunk may have a generation already.
    resumed: bool,
    resumed_bytes: u64,
    sum: Option<WholeSum>,
}

enum UploadEvent {
    Chunk(Option<ChunkSource>),
    Done(Uploaded),
    Renew,
}

impl Transfer {
    fn new(session: Session, allocations: Vec<Allocation>, known: KnownChunks, checksum: bool) -> Self {
        Self {
            session: Arc::new(session),
            allocations: allocations.into_iter().map(|a| (a.index, a)).collect(),
            tasks: JoinSet::new(),
            next: 0,
            ended: false,
            size: 0,
            records: Vec::new(),
            degraded: Vec::new(),
            resumed: !known.is_empty(),
            known,
            resumed_bytes: 0,
            sum: checksum.then(WholeSum::default),
        }
    }

    async fn run(mut self, mut input: Input, allow_changing: bool) -> Result<PutOutcome, Error> {
        let mut renewal = tokio::time::interval(self.session.renew_interval());
        renewal.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        renewal.tick().await;
        let parallel = self.session.inner.config.parallel_chunks.max(1);
        while !self.ended || !self.tasks.is_empty() {
            let step = tokio::select! {
                biased;
                Some(done) = self.tasks.join_next(), if !self.tasks.is_empty() => UploadEvent::Done(joined(done)?),
                _ = renewal.tick() => UploadEvent::Renew,
                chunk = next_chunk(&self.session, &mut input), if !self.ended && self.tasks.len() < parallel => {
                    UploadEvent::Chunk(chunk?)
                }
            };
            match step {
                UploadEvent::Chunk(Some(source)) => self.start(source, input.len()).await?,
                UploadEvent::Chunk(None) => self.ended = true,
                UploadEvent::Done(uploaded) => self.done(uploaded).await?,
                UploadEvent::Renew => self.session.renew().await?,
            }
        }
        let changed = input.changed(self.session.inner.env.workers).await?;
        let source_changed = match changed {
            Some(error) if !allow_changing => return Err(error),
            changed => changed.map(|error| error.message().to_owned()),
        };
        let records = std::mem::take(&mut self.records);
        let sha256 = self.sum.take().and_then(WholeSum::finish);
        let stat = self.session.commit(records, self.size, self.next, sha256).await?;
        self.degraded.sort_by_key(|d| d.index);
        let progress = self.session.meter.now();
        Ok(PutOutcome {
            stat,
            degraded: self.degraded,
            source_changed,
            retries: progress.retries,
            failovers: progress.failovers,
            resumed_bytes: self.resumed_bytes,
        })
    }

    async fn start(&mut self, source: ChunkSource, len: Option<u64>) -> Result<(), Error> {
        let index = self.next;
        self.next = index
            .checked_add(1)
            .ok_or_else(|| Error::new(StatusCode::InvalidArgument, "the file has too many chunks"))?;
        if let Some(sum) = &mut self.sum {
            sum.add(index, source.clone(), self.session.inner.env.workers).await?;
        }
        let known = self.known.remove(&index);
        if let Some(stored) = known.as_ref().and_then(|chunk| chunk.stored)
            && resume::is_stored(&source, stored, self.session.inner.env.workers).await?
        {
            return self.resume_chunk(index, stored);
        }
        let given_up = known.map_or(Generation(0), |chunk| chunk.generation);
        // How many chunks of a stream come is not known, so each of its chunks asks for itself, in its own task; so does each
        // one of an upload that is gone on with.
        if let Some(len) = len
            && !self.resumed
            && !self.allocations.contains_key(&index)
        {
            let total = len.div_ceil(self.session.chunk_size.into());
            let left = u32::try_from(total.saturating_sub(index.into())).unwrap_or(u32::MAX);
            let places = self.session.allocate(index, left.clamp(1, ALLOCATE_AHEAD)).await?;
            self.allocations.extend(places.into_iter().map(|a| (a.index, a)));
        }
        let allocation = self.allocations.remove(&index);
        self.tasks.spawn(chunk::upload(self.session.clone(), index, source, allocation, given_up));
        Ok(())
    }

    /// Counts a chunk that an earlier put has stored.
    fn resume_chunk(&mut self, index: u32, stored: StoredBytes) -> Result<(), Error> {
        self.size += u64::from(stored.len);
        self.resumed_bytes += u64::from(stored.len);
        self.session.meter.moved(stored.len.into());
        self.session.meter.chunk_done();
        self.check_sum(index, &stored.sha256)
    }

    /// The sum of the whole must be of the bytes that were stored.
    fn check_sum(&mut self, index: u32, sha256: &[u8; 32]) -> Result<(), Error> {
        match &mut self.sum {
            Some(sum) => sum.check(index, sha256),
            None => Ok(()),
        }
    }

    async fn done(&mut self, uploaded: Uploaded) -> Result<(), Error> {
        if let Some(receipt) = uploaded.stored.receipts.first() {
            self.check_sum(uploaded.stored.index, &receipt.sha256.clone())?;
        }
        self.size += uploaded.len;
        self.records.push(uploaded.stored);
        self.degraded.extend(uploaded.degraded);
        // The last records ride in the commit, so a batch leaves only when another record is there to follow it.
        if self.records.len() > self.session.records_max() {
            let rest = self.records.split_off(self.session.records_max());
            let batch = std::mem::replace(&mut self.records, rest);
            self.session.record(batch).await?;
        }
        Ok(())
    }
}

async fn next_chunk(session: &Session, input: &mut Input) -> Result<Option<ChunkSource>, Error> {
    let memory: &MemoryBound = &session.inner.upload_memory;
    let patience: Duration = session.inner.config.retry.busy_budget;
    input.next_chunk(session.chunk_size, memory, patience).await
}

fn joined(done: Result<Result<Uploaded, Error>, tokio::task::JoinError>) -> Result<Uploaded, Error> {
    done.unwrap_or_else(|e| Err(Error::new(StatusCode::Internal, "a transfer task was lost").caused_by(e)))
}
