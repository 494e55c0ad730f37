//! Where fetched bytes go: hashed, and kept or written, a batch behind the receiving.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use dfs_wire::limits::SLAB_ALIGN;

use crate::digest::{BATCH_FRAMES, Hash, Sha};
use crate::env::{WorkerTask, Workers};
use crate::error::Error;
use crate::progress::Meter;

/// Where the bytes of one part go.
#[derive(Clone)]
pub(crate) enum Sink {
    /// Kept in memory until the part is whole and verified.
    Memory,
    /// Written to their place in a file that is not visible yet.
    File(FilePosition),
    /// Only looked at.
    Nowhere,
}

/// A place in a local file.
#[derive(Clone)]
pub(crate) struct FilePosition {
    pub(crate) file: Arc<File>,
    /// The same file past the page cache, if the file system allows it.
    pub(crate) direct: Option<Arc<File>>,
    pub(crate) path: Arc<PathBuf>,
    pub(crate) offset: u64,
}

/// Takes the bytes of one part in, in order.
pub(crate) struct Absorber {
    sink: Sink,
    meter: Meter,
    /// `None` while a worker has it.
    hash: Option<Hash>,
    task: Option<WorkerTask<Result<Hash, Error>>>,
    workers: Workers,
    batch: Vec<Bytes>,
    kept: Vec<Bytes>,
    /// Bytes taken in, those of the batch included.
    taken: u64,
}

impl Absorber {
    pub(crate) fn new(sink: Sink, meter: Meter, workers: Workers) -> Self {
        let hash = Some(Hash::default());
        Self { sink, meter, hash, task: None, workers, batch: Vec::new(), kept: Vec::new(), taken: 0 }
    }

    /// Bytes taken in so far.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Takes a frame. Every few frames are handed to the blocking pool, while the next are received.
    pub(crate) async fn push(&mut self, frame: Bytes) -> Result<(), Error> {
        self.taken += frame.len() as u64;
        self.batch.push(frame);
        if self.batch.len() >= BATCH_FRAMES {
            self.settle().await?;
            let (work, _) = self.work();
            self.task = Some(self.workers.start(work));
        }
        Ok(())
    }

    /// Waits until all that was taken is hashed and written.
    pub(crate) async fn flush(&mut self) -> Result<(), Error> {
        self.settle().await?;
        if !self.batch.is_empty() {
            let to_file = matches!(self.sink, Sink::File(_));
            let (work, bytes) = self.work();
            // Writing may block whatever the size; hashing alone only does so for many bytes.
            let weight = if to_file { usize::MAX } else { bytes };
            self.hash = Some(self.workers.run(weight, work).await??);
        }
        Ok(())
    }

    /// Forgets everything: the part is fetched from its beginning again.
    pub(crate) async fn restart(&mut self) {
        // A task must not write behind the back of its successor.
        self.settle().await.ok();
        self.meter.unmoved(self.taken - self.batch.iter().map(|b| b.len() as u64).sum::<u64>());
        self.batch.clear();
        self.kept.clear();
        self.taken = 0;
        self.hash = Some(Hash::default());
    }

    /// SHA-256 of all that was flushed.
    pub(crate) fn sha256(&self) -> Sha {
        self.hash.clone().unwrap_or_default().finish()
    }

    /// The bytes, if they were kept.
    pub(crate) fn into_kept(self) -> Vec<Bytes> {
        self.kept
    }

    async fn settle(&mut self) -> Result<(), Error> {
        if let Some(task) = self.task.take() {
            self.hash = Some(task.await??);
        }
        Ok(())
    }

    /// The work for the batch, and its size.
    fn work(&mut self) -> (impl FnOnce() -> Result<Hash, Error> + Send + use<>, usize) {
        let batch = std::mem::take(&mut self.batch);
        let bytes: usize = batch.iter().map(Bytes::len).sum();
        let before = self.taken - bytes as u64;
        let position = match &self.sink {
            Sink::Memory => {
                self.kept.extend(batch.iter().cloned());
                None
            }
            Sink::File(position) => {
                Some(FilePosition { offset: position.offset + before, ..position.clone() })
            }
            Sink::Nowhere => None,
        };
        let mut hash = self.hash.take().unwrap_or_default();
        let meter = self.meter.clone();
        let work = move || {
            batch.iter().for_each(|frame| hash.update(frame));
            if let Some(position) = position {
                write(&position, &batch)?;
            }
            drop(batch);
            meter.moved(bytes as u64);
            Ok(hash)
        };
        (work, bytes)
    }
}

fn write(position: &FilePosition, batch: &[Bytes]) -> Result<(), Error> {
    let failed = |e| Error::local_file("writing", &position.path, e);
    let aligned = |n: usize| n.is_multiple_of(SLAB_ALIGN);
    let fits = batch.iter().all(|b| aligned(b.len()) && aligned(b.as_ptr().addr()))
        && position.offset.is_multiple_of(SLAB_ALIGN as u64);
    if let (Some(direct), true) = (&position.direct, fits) {
        match write_vectored(direct, batch, position.offset) {
            Ok(()) => return Ok(()),
            // The file system took the flag and not the write: it goes through the page cache then.
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => {}
            Err(e) => return Err(failed(e)),
        }
    }
    write_vectored(&position.file, batch, position.offset).map_err(failed)
}

/// Writes all of `batch` in as few calls as the kernel allows.
fn write_vectored(file: &File, batch: &[Bytes], offset: u64) -> io::Result<()> {
    let slices: Vec<IoSlice<'_>> = batch.iter().map(|b| IoSlice::new(b)).collect();
    let mut written = rustix::io::pwritev(file, &slices, offset)? as u64;
    let mut start = 0u64;
    for piece in batch {
        let len = piece.len() as u64;
        if written < start + len {
            let from = usize::try_from(written - start).unwrap_or(usize::MAX);
            file.write_all_at(piece.get(from..).unwrap_or(&[]), offset + written)?;
            written = start + len;
        }
        start += len;
    }
    Ok(())
}
