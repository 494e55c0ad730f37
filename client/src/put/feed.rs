//! One pass over the bytes of a chunk: read, hashed and checksummed a batch ahead of the sending.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dfs_wire::limits::DATA_FRAME_BYTES;
use dfs_wire::link::DataFrame;
use dfs_wire::status::StatusCode;

use super::source::{self, FileStamp, TICK};
use crate::digest::{BATCH_FRAMES, Hash, Sha};
use crate::env::{WorkerTask, Workers};
use crate::error::Error;
use crate::memory::{Held, MemoryBound, freeze};

/// Where the bytes of a chunk are, for as many passes as it takes.
#[derive(Clone)]
pub(crate) enum ChunkSource {
    /// In a regular file: each pass reads them again.
    File(FileRange),
    /// In memory, in pieces of a frame's size (the last may be shorter).
    Frames(Arc<Vec<Bytes>>),
}

/// A part of a file.
#[derive(Clone)]
pub(crate) struct FileRange {
    pub(crate) file: Arc<File>,
    pub(crate) path: Arc<PathBuf>,
    pub(crate) offset: u64,
    pub(crate) len: u32,
}

impl ChunkSource {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::File(range) => range.len.into(),
            Self::Frames(frames) => frames.iter().map(|f| f.len() as u64).sum(),
        }
    }
}

/// Frames ready to be sent, and the hash up to their end.
type FrameBatch = (Vec<DataFrame>, Hash);

/// One pass over the bytes of a chunk: reads and hashes ahead of what is sent.
pub(crate) struct Feed {
    source: ChunkSource,
    memory: MemoryBound,
    patience: Duration,
    /// Bytes handed to batches.
    taken: u64,
    hash: Option<Hash>,
    ahead: Option<WorkerTask<Result<FrameBatch, Error>>>,
    workers: Workers,
}

impl Feed {
    pub(crate) fn new(
        source: ChunkSource,
        memory: MemoryBound,
        patience: Duration,
        workers: Workers,
    ) -> Self {
        Self { source, memory, patience, taken: 0, hash: Some(Hash::default()), ahead: None, workers }
    }

    /// The next frames; empty at the end.
    pub(crate) async fn next(&mut self) -> Result<Vec<DataFrame>, Error> {
        if let Some(ahead) = self.ahead.take() {
            let batch = ahead.await??;
            return Ok(self.handed_out(batch));
        }
        let left = self.source.len() - self.taken;
        if left == 0 {
            return Ok(Vec::new());
        }
        let hash = self.hash.take().unwrap_or_default();
        let batch = match &self.source {
            ChunkSource::File(range) => {
                // Everything read before is with the connection by now, so waiting here holds up nobody.
                let slabs = MemoryBound::slabs_for(left).min(BATCH_FRAMES);
                let held = self.memory.acquire(slabs, self.patience).await?;
                let part = self.part(range, held.slabs());
                self.taken += u64::from(part.len);
                self.workers.blocking(move || read_batch(&part, held, hash)).await??
            }
            ChunkSource::Frames(frames) => {
                let first = usize::try_from(self.taken).unwrap_or(usize::MAX) / DATA_FRAME_BYTES;
                let part: Vec<Bytes> = frames.iter().skip(first).take(BATCH_FRAMES).cloned().collect();
                let bytes = part.iter().map(Bytes::len).sum::<usize>();
                self.taken += bytes as u64;
                self.workers.run(bytes, move || hash_batch(part, hash)).await?
            }
        };
        Ok(self.handed_out(batch))
    }

    /// Keeps the hash, and begins with the batch after this one while this one is sent.
    fn handed_out(&mut self, (frames, hash): FrameBatch) -> Vec<DataFrame> {
        self.hash = Some(hash.clone());
        let left = self.source.len() - self.taken;
        if left == 0 {
            return frames;
        }
        match &self.source {
            ChunkSource::File(range) => {
                // Only with memory that is free now: waiting for it here could wait for the frames just handed out.
                let slabs = MemoryBound::slabs_for(left).min(BATCH_FRAMES);
                if let Some(held) = self.memory.try_acquire(slabs) {
                    let part = self.part(range, held.slabs());
                    self.taken += u64::from(part.len);
                    self.ahead = Some(self.workers.start(move || read_batch(&part, held, hash)));
                }
            }
            ChunkSource::Frames(all) => {
                let first = usize::try_from(self.taken).unwrap_or(usize::MAX) / DATA_FRAME_BYTES;
                let part: Vec<Bytes> = all.iter().skip(first).take(BATCH_FRAMES).cloned().collect();
                self.taken += part.iter().map(|f| f.len() as u64).sum::<u64>();
                self.ahead = Some(self.workers.start(move || Ok(hash_batch(part, hash))));
            }
        }
        frames
    }

    fn part(&self, range: &FileRange, slabs: usize) -> FileRange {
        let left = u64::from(range.len) - self.taken;
        let len = left.min((slabs * DATA_FRAME_BYTES) as u64);
        FileRange {
            offset: range.offset + self.taken,
            len: u32::try_from(len).unwrap_or(u32::MAX),
            ..range.clone()
        }
    }

    /// Length and SHA-256 of all that was handed out; to be asked after the last batch.
    pub(crate) fn totals(&self) -> (u64, Sha) {
        (self.taken, self.hash.clone().unwrap_or_default().finish())
    }
}

/// Hands all bytes of a source to `take`, in their order, a frame's size at a time. Blocks.
pub(crate) fn read_through(source: &ChunkSource, mut take: impl FnMut(&[u8])) -> Result<(), Error> {
    let range = match source {
        ChunkSource::Frames(frames) => {
            frames.iter().for_each(|frame| take(frame));
            return Ok(());
        }
        ChunkSource::File(range) => range,
    };
    let mut buffer = vec![0; DATA_FRAME_BYTES.min(range.len as usize)];
    let mut done = 0u64;
    while done < u64::from(range.len) {
        let left = usize::try_from(u64::from(range.len) - done).unwrap_or(usize::MAX);
        let part = buffer.len().min(left);
        let Some(part) = buffer.get_mut(..part) else { break };
        range.file.read_exact_at(part, range.offset + done).map_err(|e| read_failed(range, e))?;
        take(part);
        done += part.len() as u64;
    }
    Ok(())
}

fn hash_batch(part: Vec<Bytes>, mut hash: Hash) -> FrameBatch {
    let frames = part
        .into_iter()
        .map(|bytes| {
            hash.update(&bytes);
            DataFrame::new(bytes)
        })
        .collect();
    (frames, hash)
}

fn read_batch(part: &FileRange, mut held: Held, mut hash: Hash) -> Result<FrameBatch, Error> {
    let mut frames = Vec::with_capacity(held.slabs());
    let mut done = 0u64;
    while done < u64::from(part.len) {
        let Some((mut slab, place)) = held.take() else {
            return Err(Error::new(StatusCode::Internal, "a batch is larger than its memory"));
        };
        let len = usize::try_from(u64::from(part.len) - done).unwrap_or(usize::MAX).min(DATA_FRAME_BYTES);
        let Some(target) = slab.get_mut(..len) else {
            return Err(Error::new(StatusCode::Internal, "a frame is larger than its slab"));
        };
        part.file.read_exact_at(target, part.offset + done).map_err(|e| read_failed(part, e))?;
        hash.update(target);
        frames.push(DataFrame::new(freeze(slab, len, place)));
        done += len as u64;
    }
    Ok((frames, hash))
}

fn read_failed(part: &FileRange, error: io::Error) -> Error {
    let shorter = error.kind() == io::ErrorKind::UnexpectedEof;
    match shorter {
        true => source::changed(&part.path, "it became shorter"),
        false => Error::local_file("reading", &part.path, error),
    }
}

/// A local file that is open for reading.
pub(crate) struct Opened {
    pub(crate) file: Arc<File>,
    /// What it is now, and how long; `None` for a pipe or a device.
    pub(crate) regular: Option<(FileStamp, u64)>,
}

/// Opens a local file for reading.
pub(crate) async fn open_file(path: PathBuf, workers: Workers) -> Result<Opened, Error> {
    let named = path.clone();
    let open = move || {
        let failed = |e: io::Error| {
            let hint = match e.kind() {
                io::ErrorKind::NotFound => "check the path of the local file",
                io::ErrorKind::PermissionDenied => "check the permissions of the local file",
                _ => "",
            };
            Error::local_file("opening", &path, e).with_hint(hint)
        };
        let file = File::open(&path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            let text = format!("{} is a directory", path.display());
            return Err(Error::new(StatusCode::InvalidArgument, text)
                .with_hint("put its files one by one, or use `dfsctl put -r`"));
        }
        let seen = metadata.is_file().then(|| FileStamp::first(&file)).transpose().map_err(failed)?;
        Ok((Arc::new(file), seen))
    };
    let (file, seen) = workers.blocking(open).await??;
    let seen = match seen {
        Some(None) => {
            tokio::time::sleep(TICK).await;
            let file = file.clone();
            let again = workers.blocking(move || FileStamp::again(&file)).await?;
            Some(again.map_err(|e| Error::local_file("opening", &named, e))?)
        }
        Some(seen) => seen,
        None => None,
    };
    Ok(Opened { file, regular: seen.map(|seen| (seen, seen.size())) })
}
