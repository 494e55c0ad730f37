//! What is put, cut into chunks.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dfs_wire::limits::DATA_FRAME_BYTES;
use dfs_wire::slab::Slab;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::feed::{ChunkSource, FileRange, Opened, open_file};
use super::source::{self, FileStamp};
use crate::env::{WorkerTask, Workers};
use crate::error::Error;
use crate::memory::{Held, MemoryBound, SlabPermit, freeze};
use crate::options::PutSource;

/// A file, and what tells its state from another.
pub(super) type Identity = (Arc<PathBuf>, FileStamp);

/// What is put.
pub(crate) enum Input {
    /// A file of known length.
    File { file: Arc<File>, path: Arc<PathBuf>, seen: FileStamp, len: u64, next: u64 },
    /// Bytes in memory.
    Bytes { bytes: Bytes, next: u64 },
    /// Something that is read until it ends.
    Stream(Box<StreamInput>),
}

impl Input {
    pub(crate) async fn open(source: PutSource, workers: Workers) -> Result<Self, Error> {
        Ok(match source {
            PutSource::Bytes(bytes) => Self::Bytes { bytes, next: 0 },
            PutSource::Reader(reader) => {
                Self::Stream(Box::new(StreamInput::new(Pull::Async(reader), workers)))
            }
            PutSource::Path(path) => {
                let Opened { file, regular } = open_file(path.clone(), workers).await?;
                match regular {
                    Some((seen, len)) if len > 0 => {
                        Self::File { file, path: Arc::new(path), seen, len, next: 0 }
                    }
                    // Files of /proc say that they are empty and are not: what claims to be empty is read to its end.
                    _ => Self::Stream(Box::new(StreamInput::new(Pull::Blocking(file), workers))),
                }
            }
        })
    }

    /// Bytes in all, if known.
    pub(crate) fn len(&self) -> Option<u64> {
        match self {
            Self::File { len, .. } => Some(*len),
            Self::Bytes { bytes, .. } => Some(bytes.len() as u64),
            Self::Stream(_) => None,
        }
    }

    /// The file it is and what tells its state from another; `None` for what is no file.
    pub(super) fn identity(&self) -> Option<Identity> {
        match self {
            Self::File { path, seen, .. } => Some((path.clone(), *seen)),
            Self::Bytes { .. } | Self::Stream(_) => None,
        }
    }

    /// How the source differs from what it was when the put began; `None` if it does not, or is no file.
    pub(crate) async fn changed(self, workers: Workers) -> Result<Option<Error>, Error> {
        let Self::File { file, path, seen, .. } = self else { return Ok(None) };
        workers.blocking(move || seen.changed(&file, &path).map(|how| source::changed(&path, &how))).await
    }

    /// The next chunk; `None` at the end. A chunk of a stream holds its memory until it is dropped.
    ///
    /// Cancel safety: what was read is kept for the next call.
    pub(crate) async fn next_chunk(
        &mut self,
        chunk_size: u32,
        memory: &MemoryBound,
        patience: Duration,
    ) -> Result<Option<ChunkSource>, Error> {
        match self {
            Self::File { file, path, len, next, .. } => {
                let part = u64::from(chunk_size).min(*len - *next);
                let range = FileRange {
                    file: file.clone(),
                    path: path.clone(),
                    offset: *next,
                    len: u32::try_from(part).unwrap_or(u32::MAX),
                };
                *next += part;
                Ok((part > 0).then_some(ChunkSource::File(range)))
            }
            Self::Bytes { bytes, next } => {
                let from = usize::try_from(*next).unwrap_or(usize::MAX).min(bytes.len());
                let to = bytes.len().min(from.saturating_add(chunk_size as usize));
                *next = to as u64;
                let frames = (from..to).step_by(DATA_FRAME_BYTES);
                let frames: Vec<_> =
                    frames.map(|at| bytes.slice(at..to.min(at + DATA_FRAME_BYTES))).collect();
                Ok((to > from).then(|| ChunkSource::Frames(Arc::new(frames))))
            }
            Self::Stream(stream) => stream.next_chunk(chunk_size, memory, patience).await,
        }
    }
}

/// How a stream is read.
enum Pull {
    Async(Box<dyn AsyncRead + Send + Unpin>),
    /// A pipe or device that was named by its path.
    Blocking(Arc<File>),
}

/// A slab on its way to being full.
struct Filling {
    slab: Slab,
    permit: SlabPermit,
    len: usize,
}

type BlockingRead = WorkerTask<(Filling, io::Result<bool>)>;

/// A stream of unknown length, and the chunk that is being gathered from it.
pub(crate) struct StreamInput {
    pull: Pull,
    held: Option<Held>,
    frames: Vec<Bytes>,
    gathered: u64,
    filling: Option<Filling>,
    reading: Option<BlockingRead>,
    ended: bool,
    workers: Workers,
}

impl StreamInput {
    fn new(pull: Pull, workers: Workers) -> Self {
        Self {
            pull,
            held: None,
            frames: Vec::new(),
            gathered: 0,
            filling: None,
            reading: None,
            ended: false,
            workers,
        }
    }

    /// Gathers one whole chunk: it may have to be sent again, and a slow pipe must not keep a datanode waiting.
    async fn next_chunk(
        &mut self,
        chunk_size: u32,
        memory: &MemoryBound,
        patience: Duration,
    ) -> Result<Option<ChunkSource>, Error> {
        let chunk_size = u64::from(chunk_size);
        while !self.ended && self.gathered < chunk_size {
            if self.held.is_none() {
                self.held = Some(memory.acquire(MemoryBound::slabs_for(chunk_size), patience).await?);
            }
            let wanted =
                usize::try_from(chunk_size - self.gathered).unwrap_or(usize::MAX).min(DATA_FRAME_BYTES);
            self.fill(wanted).await.map_err(|e| Error::local("reading the input", e))?;
            self.settle();
        }
        // What a short last chunk did not need is free for others.
        self.held = None;
        self.gathered = 0;
        let frames = std::mem::take(&mut self.frames);
        Ok((!frames.is_empty()).then(|| ChunkSource::Frames(Arc::new(frames))))
    }

    /// Fills one slab up to `wanted` bytes, or to the end of the stream.
    async fn fill(&mut self, wanted: usize) -> io::Result<()> {
        if let Pull::Blocking(file) = &self.pull {
            if self.reading.is_none() {
                let Some(mut filling) = self.filling.take().or_else(|| next_slab(&mut self.held)) else {
                    return Err(io::Error::other("a chunk is larger than its memory"));
                };
                let file = file.clone();
                self.reading = Some(self.workers.start(move || {
                    let ended = fill_blocking(&file, &mut filling, wanted);
                    (filling, ended)
                }));
            }
            if let Some(reading) = &mut self.reading {
                let (filling, ended) = reading.await.map_err(io::Error::other)?;
                self.reading = None;
                self.filling = Some(filling);
                self.ended = ended?;
            }
            return Ok(());
        }
        let Pull::Async(reader) = &mut self.pull else { return Ok(()) };
        if self.filling.is_none() {
            self.filling = next_slab(&mut self.held);
        }
        let Some(filling) = &mut self.filling else {
            return Err(io::Error::other("a chunk is larger than its memory"));
        };
        while filling.len < wanted {
            let Some(space) = filling.slab.get_mut(filling.len..wanted) else { break };
            let count = reader.read(space).await?;
            filling.len += count;
            if count == 0 {
                self.ended = true;
                break;
            }
        }
        Ok(())
    }

    /// Moves the slab that was filled to the chunk.
    fn settle(&mut self) {
        if let Some(Filling { slab, permit, len }) = self.filling.take()
            && len > 0
        {
            self.gathered += len as u64;
            self.frames.push(freeze(slab, len, permit));
        }
    }
}

fn next_slab(held: &mut Option<Held>) -> Option<Filling> {
    let (slab, permit) = held.as_mut()?.take()?;
    Some(Filling { slab, permit, len: 0 })
}

/// Returns whether the file has ended.
fn fill_blocking(mut file: &File, filling: &mut Filling, wanted: usize) -> io::Result<bool> {
    while filling.len < wanted {
        let Some(space) = filling.slab.get_mut(filling.len..wanted) else { break };
        match file.read(space) {
            Ok(0) => return Ok(true),
            Ok(count) => filling.len += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(1);
    const CHUNK: u32 = 300 * 1024;

    async fn lengths(source: PutSource) -> Vec<Vec<usize>> {
        let memory = MemoryBound::new(8);
        let mut input = Input::open(source, Workers::Pool).await.unwrap();
        let mut out = Vec::new();
        while let Some(chunk) = input.next_chunk(CHUNK, &memory, SOON).await.unwrap() {
            out.push(match &chunk {
                ChunkSource::Frames(frames) => frames.iter().map(Bytes::len).collect(),
                ChunkSource::File(range) => vec![range.len as usize],
            });
        }
        assert_eq!(memory.available(), 8, "all memory is given back");
        out
    }

    #[tokio::test]
    async fn every_kind_of_source_is_cut_in_the_same_places() {
        let chunk = CHUNK as usize;
        for len in [0, 1, DATA_FRAME_BYTES, chunk - 1, chunk, chunk + 1, 2 * chunk + 5] {
            let data = vec![7u8; len];
            let bytes = lengths(data.clone().into()).await;
            let stream = lengths(PutSource::reader(io::Cursor::new(data.clone()))).await;
            assert_eq!(bytes, stream, "{len} bytes");
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("f"), &data).unwrap();
            let file = lengths(PutSource::path(dir.path().join("f"))).await;
            let sums: Vec<usize> = bytes.iter().map(|frames| frames.iter().sum()).collect();
            assert_eq!(file.concat(), sums, "{len} bytes");
        }
    }

    #[tokio::test]
    async fn a_cancelled_read_loses_nothing() {
        let (mut writer, reader) = tokio::io::duplex(1024);
        let memory = MemoryBound::new(4);
        let mut input = Input::open(PutSource::reader(reader), Workers::Pool).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut writer, b"first").await.unwrap();
        let early =
            tokio::time::timeout(Duration::from_millis(20), input.next_chunk(CHUNK, &memory, SOON)).await;
        assert!(early.is_err(), "the chunk is not whole yet");
        tokio::io::AsyncWriteExt::write_all(&mut writer, b" second").await.unwrap();
        drop(writer);
        let Some(ChunkSource::Frames(frames)) = input.next_chunk(CHUNK, &memory, SOON).await.unwrap() else {
            panic!("a chunk");
        };
        assert_eq!(frames.concat(), b"first second");
        assert!(input.next_chunk(CHUNK, &memory, SOON).await.unwrap().is_none());
    }
}
