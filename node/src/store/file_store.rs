//! [`FileStore`]: the [`ChunkStore`] of one data directory, each chunk a file of its own.

use std::io;
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use dfs_actors::datanode::chunk_store::{
    ChunkIdentity, ChunkInfo, ChunkReader, ChunkStore, ChunkWriter, Purged, StoreError, StoreStats,
};
use dfs_wire::id::{ChunkKey, ClusterId};
use dfs_wire::limits::CHUNK_BYTES_MAX;
use futures_util::future::BoxFuture;
use rustix::io::Errno;
use tokio::sync::{OwnedSemaphorePermit, TryAcquireError, oneshot, watch};

use super::commit::QuarantineRequest;
use super::config::{DirectIo, StoreConfig};
use super::core::{Core, Parts};
use super::data_dir::DataDir;
use super::disk::{Disk, lock};
use super::disk_io::WriteMode;
use super::jobs::Jobs;
use super::os_disk::OsDisk;
use super::pool::{IoPool, NoAnswer};
use super::reader::{self, FileReader};
use super::sweep::{self, Strays, SweepError, SweepReport};
use super::{purge, verify, writer};

/// Threads of the sweep: more than later, because it only waits for small reads.
const SWEEP_THREADS: usize = 16;

/// Why a store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The operating system refused.
    #[error("chunk store of {disk}: {operation}: {source}")]
    Io {
        /// The data directory.
        disk: String,
        /// What was tried.
        operation: &'static str,
        /// What it said.
        source: io::Error,
    },
    /// It holds chunks of another cluster than its identity names. None of them was touched.
    #[error(
        "data directory {disk} is of cluster {ours} by its file `identity`, but {strays}; if `identity` was restored \
         from a backup, restore the one of this directory; if the chunks were copied here, move them elsewhere"
    )]
    OtherCluster {
        /// The data directory.
        disk: String,
        /// The cluster that it belongs to.
        ours: ClusterId,
        /// What was found.
        strays: Strays,
    },
}

/// The threads of a store, in the order in which they end.
#[derive(Default)]
struct Threads {
    writes: Vec<JoinHandle<()>>,
    committer: Vec<JoinHandle<()>>,
    reads: Vec<JoinHandle<()>>,
    /// Instead of all of them.
    jobs: Option<Arc<Jobs>>,
}

/// See the module's documentation. Dropping it closes it, without waiting.
pub struct FileStore {
    pub(super) core: Arc<Core>,
    threads: Mutex<Option<Threads>>,
    ended: watch::Sender<bool>,
}

impl FileStore {
    /// Sweeps the directory and starts the I/O threads. Blocks for as long as the sweep takes; call it at start.
    ///
    /// # Errors
    /// If the directory cannot be listed, holds chunks of another cluster, free space cannot be measured, O_DIRECT was
    /// demanded and does not work, or a thread cannot be started.
    pub fn open(dir: Arc<DataDir>, config: &StoreConfig) -> Result<(Self, SweepReport), OpenError> {
        let root = dir.layout().root().to_string_lossy().into_owned();
        let failed = |operation| {
            let disk = root.clone();
            move |source| OpenError::Io { disk, operation, source }
        };
        let disk = Disk::open(dir.io().clone(), dir.layout().clone(), config.reserve_bytes);
        let disk = Arc::new(disk.map_err(failed("opening its directories"))?);
        disk.measure().map_err(failed("measuring free space"))?;
        let jobs = (config.io_threads == 0).then(|| Jobs::new(disk.io.clone(), disk.watch.clone()));
        let cluster = dir.identity().and_then(|identity| identity.cluster);
        let sweep_threads = if jobs.is_some() { 1 } else { SWEEP_THREADS };
        let swept = sweep::sweep(&disk, cluster, sweep_threads);
        let (index, quarantine, report) = swept.map_err(|error| match error {
            SweepError::Io(source) => failed("looking at its files")(source),
            SweepError::OtherCluster { ours, strays } => {
                OpenError::OtherCluster { disk: disk.label.to_string(), ours, strays }
            }
        })?;
        let write_mode = choose_mode(&disk, config.direct_io).map_err(failed("probing O_DIRECT"))?;

        let start = |name: &str| {
            IoPool::start(name, config.io_threads, config.queue_depth, disk.watch.clone(), jobs.clone())
        };
        let (writes, write_threads) = start("chunk-write").map_err(failed("starting its threads"))?;
        let (reads, read_threads) =
            start("chunk-read").inspect_err(|_| writes.close()).map_err(failed("starting its threads"))?;
        let parts = Parts {
            disk: disk.clone(),
            dir,
            index,
            quarantine,
            writes,
            reads,
            write_mode,
            jobs: jobs.clone(),
        };
        let core = Arc::new(Core::new(parts, config));
        let mut threads = Threads { writes: write_threads, committer: Vec::new(), reads: read_threads, jobs };
        if threads.jobs.is_none() {
            let worker = core.clone();
            let spawned =
                Builder::new().name("chunk-commit".to_owned()).spawn(move || worker.committer.work(&worker));
            threads
                .committer
                .push(spawned.inspect_err(|_| core.refuse_new()).map_err(failed("starting its threads"))?);
        }
        tracing::info!(
            disk = %disk.label, chunks = report.chunks, bytes = report.bytes, tmp_removed = report.tmp_removed,
            damaged = report.damaged_count, left_alone = report.left_alone_count, ?write_mode,
            "chunk store open"
        );
        Ok((Self { core, threads: Mutex::new(Some(threads)), ended: watch::Sender::new(false) }, report))
    }

    /// Whether chunk files are written with O_DIRECT.
    #[cfg(test)]
    pub(super) fn is_direct(&self) -> bool {
        self.core.write_mode == WriteMode::Direct
    }

    /// The data directory, with the node's identity.
    pub fn data_dir(&self) -> &Arc<DataDir> {
        &self.core.dir
    }

    /// Starts the end, once: a thread waits for the others in turn, since none of that may block a caller.
    fn shut(&self) {
        let Some(mut threads) = lock(&self.threads).take() else { return };
        let jobs = threads.jobs.take();
        self.core.refuse_new();
        let (core, ended) = (self.core.clone(), self.ended.clone());
        let wait = move || {
            threads.writes.into_iter().for_each(join);
            core.committer.close();
            threads.committer.into_iter().for_each(join);
            threads.reads.into_iter().for_each(join);
            core.open_files.clear();
            core.dir.release();
            ended.send_replace(true);
        };
        if let Some(jobs) = jobs {
            jobs.finally(wait);
        } else if let Err(error) = Builder::new().name("chunk-close".to_owned()).spawn(wait) {
            tracing::error!(disk = %self.core.disk.label, %error, "chunk store threads left to themselves");
            self.ended.send_replace(true);
        }
    }

    fn admit_writer(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        self.core.writers.clone().try_acquire_owned().map_err(|e| match e {
            TryAcquireError::Closed => self.core.disk.closed(),
            TryAcquireError::NoPermits => StoreError::Busy {
                disk: self.core.disk.label.clone(),
                what: "too many open writers".to_owned(),
            },
        })
    }

    fn admit_create(
        &self,
        identity: ChunkIdentity,
        len_hint: u32,
    ) -> Result<OwnedSemaphorePermit, StoreError> {
        let (core, key) = (&self.core, identity.key());
        if len_hint > CHUNK_BYTES_MAX {
            return Err(core.disk.invalid(key, format!("{len_hint} bytes, at most {CHUNK_BYTES_MAX}")));
        }
        if let Some(ours) = core.cluster()
            && ours != identity.cluster
        {
            return Err(core.disk.invalid(key, format!("of cluster {}, not {ours}", identity.cluster)));
        }
        // First: of what a failed disk holds it may be unknown whether the name is durable, so that is no success.
        core.disk.check_writable()?;
        core.disk.check_answers()?;
        if let Some(info) = core.already(key) {
            return Err(StoreError::AlreadyCommitted(Box::new(info)));
        }
        self.admit_writer()
    }
}

fn join(thread: JoinHandle<()>) {
    // Jobs are run under catch_unwind, so there is no panic to pass on.
    let _ = thread.join();
}

fn choose_mode(disk: &Disk, wanted: DirectIo) -> io::Result<WriteMode> {
    if wanted == DirectIo::Off || disk.check_writable().is_err() {
        return Ok(WriteMode::Buffered);
    }
    let works = OsDisk::probe_direct(&*disk.io, &disk.layout.tmp_file(0));
    match (wanted, works) {
        (_, Ok(true)) => Ok(WriteMode::Direct),
        (DirectIo::On, Ok(false)) => {
            Err(io::Error::new(io::ErrorKind::Unsupported, "the file system has no O_DIRECT"))
        }
        // It was opened so, and the demand is believed: a full or read-only disk can still be read.
        (DirectIo::On, Err(e)) if cannot_grow(&e) => Ok(WriteMode::Direct),
        (DirectIo::On, Err(e)) => Err(e),
        (_, Ok(false)) => Ok(WriteMode::Buffered),
        (_, Err(error)) => {
            // A full or read-only disk can still be read; what it is will show at the first write.
            tracing::warn!(disk = %disk.label, %error, "O_DIRECT could not be probed, writing through the page cache");
            Ok(WriteMode::Buffered)
        }
    }
}

fn cannot_grow(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT | Errno::ROFS))
}

impl ChunkStore for FileStore {
    fn create(
        &self,
        identity: ChunkIdentity,
        len_hint: u32,
    ) -> BoxFuture<'static, Result<Box<dyn ChunkWriter>, StoreError>> {
        let admitted = self.admit_create(identity, len_hint);
        let core = self.core.clone();
        Box::pin(async move {
            let permit = admitted?;
            let inner = core.clone();
            let job = move || writer::create(&inner, identity, len_hint, permit);
            let created = core.writes.run(job).await.map_err(|none| core.no_answer(none))?;
            Ok(Box::new(created?) as Box<dyn ChunkWriter>)
        })
    }

    fn open(&self, key: ChunkKey) -> BoxFuture<'static, Result<Arc<dyn ChunkReader>, StoreError>> {
        let core = self.core.clone();
        Box::pin(async move {
            if core.is_closed() {
                return Err(core.disk.closed());
            }
            let reader = match reader::open_cached(&core, key)? {
                Some(chunk) => FileReader::new(core, chunk),
                None => {
                    let inner = core.clone();
                    // A reader already: whoever gave up meanwhile must not close the file.
                    let job = move || Ok(FileReader::new(inner.clone(), reader::open(&inner, key)?));
                    core.reads.run(job).await.map_err(|none| core.no_answer(none))??
                }
            };
            Ok(Arc::new(reader) as Arc<dyn ChunkReader>)
        })
    }

    fn quarantine(&self, keys: Vec<ChunkKey>) -> BoxFuture<'static, Vec<(ChunkKey, Result<(), StoreError>)>> {
        let core = self.core.clone();
        Box::pin(async move {
            let refused = keys.clone();
            let outcome = async {
                let slot = core.writes.slot().await?;
                let (reply, answer) = oneshot::channel();
                core.committer.quarantine(&core, QuarantineRequest { keys, reply, _slot: slot });
                answer.await.map_err(|_| NoAnswer)
            };
            match outcome.await {
                Ok(outcomes) => outcomes,
                Err(none) => refused.into_iter().map(|key| (key, Err(core.no_answer(none)))).collect(),
            }
        })
    }

    fn purge_quarantine(
        &self,
        older_than: Duration,
        within: Duration,
    ) -> BoxFuture<'static, Result<Purged, StoreError>> {
        Box::pin(purge::round(self.core.clone(), older_than, within))
    }

    fn quarantine_ends(&self, older_than: Duration) -> Option<(Duration, Duration)> {
        purge::ends(&self.core, older_than)
    }

    fn inventory(&self, after: Option<ChunkKey>, limit: usize) -> Vec<ChunkInfo> {
        self.core.index.page(after, limit)
    }

    fn newest(&self) -> Option<ChunkKey> {
        self.core.index.newest()
    }

    fn verify(&self, key: ChunkKey) -> BoxFuture<'static, Result<ChunkInfo, StoreError>> {
        let core = self.core.clone();
        Box::pin(async move {
            let inner = core.clone();
            let job = move || verify::verify(&inner, key);
            core.reads.run(job).await.map_err(|none| core.no_answer(none))?
        })
    }

    fn stats(&self) -> StoreStats {
        self.core.stats()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.shut();
        let mut ended = self.ended.subscribe();
        Box::pin(async move {
            // An error means that the sender is gone, and so the store.
            let _ = ended.wait_for(|ended| *ended).await;
        })
    }
}

impl Drop for FileStore {
    fn drop(&mut self) {
        self.shut();
    }
}
