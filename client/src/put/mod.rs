//! Putting a file: split, hash, transfer chunks in parallel, record, commit.
//!
//! ```text
//! Input --chunks--> [ upload | upload | upload | upload ] --receipts--> record (<= 32) ... commit
//!   file ranges or gathered       tasks, each retries             one loop, which also keeps the lease
//! ```
//!
//! Nothing is visible before the commit. Any error, and dropping the future, gives the session up.

mod chunk;
mod feed;
mod input;
mod session;
mod source;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dfs_wire::limits::CHUNKS_PER_REQUEST_MAX;
use dfs_wire::message::metadata::{Allocation, StoredChunk};
use dfs_wire::path::DfsPath;
use dfs_wire::status::StatusCode;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::memory::MemoryBound;
use crate::options::{DegradedChunk, PutOptions, PutOutcome, PutSource};

use chunk::Uploaded;
use feed::ChunkSource;
use input::Input;
use session::{ALLOCATE_AHEAD, AbortOnDrop, Session};

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
    /// let options = PutOptions { precondition: Precondition::Absent, ..PutOptions::default() };
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
        let input = Input::open(source).await.map_err(|e| e.context(doing()))?;
        if options.parents {
            self.make_far_parents(path).await?;
        }
        let opened = Session::open(self.inner.clone(), path, &options, input.len()).await;
        let (session, allocations) = opened.map_err(|e| e.context(doing()))?;
        let session = Arc::new(session);
        let guard = AbortOnDrop::new(session.clone());
        let outcome = Transfer::new(session.clone(), allocations).run(input, options.allow_changing).await;
        guard.disarm();
        match outcome {
            Ok(outcome) => Ok(outcome),
            Err(error) => {
                // A commit whose outcome is unknown may have been done: its session is not ours to end.
                if error.kind() != ErrorKind::OutcomeUnknown {
                    session.abort().await;
                }
                Err(error.context(doing()))
            }
        }
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
}

enum Step {
    Chunk(Option<ChunkSource>),
    Done(Uploaded),
    Renew,
}

impl Transfer {
    fn new(session: Arc<Session>, allocations: Vec<Allocation>) -> Self {
        Self {
            session,
            allocations: allocations.into_iter().map(|a| (a.index, a)).collect(),
            tasks: JoinSet::new(),
            next: 0,
            ended: false,
            size: 0,
            records: Vec::new(),
            degraded: Vec::new(),
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
                Some(done) = self.tasks.join_next(), if !self.tasks.is_empty() => Step::Done(joined(done)?),
                _ = renewal.tick() => Step::Renew,
                chunk = next_chunk(&self.session, &mut input), if !self.ended && self.tasks.len() < parallel => {
                    Step::Chunk(chunk?)
                }
            };
            match step {
                Step::Chunk(Some(source)) => self.start(source, input.len()).await?,
                Step::Chunk(None) => self.ended = true,
                Step::Done(uploaded) => self.done(uploaded).await?,
                Step::Renew => self.session.renew().await?,
            }
        }
        let changed = input.changed().await?;
        let source_changed = match changed {
            Some(error) if !allow_changing => return Err(error),
            changed => changed.map(|error| error.message().to_owned()),
        };
        let records = std::mem::take(&mut self.records);
        let stat = self.session.commit(records, self.size, self.next).await?;
        self.degraded.sort_by_key(|d| d.index);
        let progress = self.session.meter.now();
        Ok(PutOutcome {
            stat,
            degraded: self.degraded,
            source_changed,
            retries: progress.retries,
            failovers: progress.failovers,
        })
    }

    async fn start(&mut self, source: ChunkSource, len: Option<u64>) -> Result<(), Error> {
        let index = self.next;
        self.next = index
            .checked_add(1)
            .ok_or_else(|| Error::new(StatusCode::InvalidArgument, "the file has too many chunks"))?;
        // How many chunks of a stream come is not known, so each of its chunks asks for itself, in its own task.
        if let Some(len) = len
            && !self.allocations.contains_key(&index)
        {
            let total = len.div_ceil(self.session.chunk_size.into());
            let left = u32::try_from(total.saturating_sub(index.into())).unwrap_or(u32::MAX);
            let places = self.session.allocate(index, left.clamp(1, ALLOCATE_AHEAD)).await?;
            self.allocations.extend(places.into_iter().map(|a| (a.index, a)));
        }
        let allocation = self.allocations.remove(&index);
        self.tasks.spawn(chunk::upload(self.session.clone(), index, source, allocation));
        Ok(())
    }

    async fn done(&mut self, uploaded: Uploaded) -> Result<(), Error> {
        self.size += uploaded.len;
        self.records.push(uploaded.stored);
        self.degraded.extend(uploaded.degraded);
        // The last records ride in the commit, so a batch leaves only when another record is there to follow it.
        if self.records.len() > CHUNKS_PER_REQUEST_MAX {
            let rest = self.records.split_off(CHUNKS_PER_REQUEST_MAX);
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
