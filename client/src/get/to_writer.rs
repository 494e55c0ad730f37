//! To a writer: chunks in parallel, held whole until verified, delivered in order.

use std::collections::VecDeque;
use std::fs::File;
use std::future::Future;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use dfs_wire::status::StatusCode;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio_util::task::AbortOnDropHandle;

use super::{Absorber, Part, Reader, Sink};
use crate::env::Workers;
use crate::error::Error;
use crate::memory::{Held, MemoryBound};
use crate::options::GetOutcome;

/// Takes verified bytes, in order.
pub(super) trait Deliver {
    /// Takes some bytes.
    fn deliver(&mut self, frames: &[Bytes]) -> impl Future<Output = io::Result<()>> + Send;
    /// All bytes were taken.
    fn finish(&mut self) -> impl Future<Output = io::Result<()>> + Send;
}

/// Into a writer.
pub(super) struct Stream<'a, W>(pub(super) &'a mut W);

impl<W: AsyncWrite + Unpin + Send> Deliver for Stream<'_, W> {
    async fn deliver(&mut self, frames: &[Bytes]) -> io::Result<()> {
        for frame in frames {
            self.0.write_all(frame).await?;
        }
        Ok(())
    }

    async fn finish(&mut self) -> io::Result<()> {
        self.0.flush().await
    }
}

/// A writer that keeps the bytes in memory.
pub(super) struct Memory(pub(super) BytesMut);

impl Deliver for Memory {
    async fn deliver(&mut self, frames: &[Bytes]) -> io::Result<()> {
        frames.iter().for_each(|frame| self.0.extend_from_slice(frame));
        Ok(())
    }

    async fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Into a local pipe or device, which may block.
pub(super) struct Device(pub(super) Arc<File>, pub(super) Workers);

impl Deliver for Device {
    async fn deliver(&mut self, frames: &[Bytes]) -> io::Result<()> {
        let (file, frames) = (self.0.clone(), frames.to_vec());
        let write = move || frames.iter().try_for_each(|frame| (&*file).write_all(frame));
        self.1.blocking(write).await.map_err(io::Error::other)?
    }

    async fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A verified part; its memory is taken until it is dropped. Fields drop in order: the bytes first.
pub(super) struct Fetched {
    pub(super) frames: Vec<Bytes>,
    _held: Held,
}

pub(super) async fn get<D: Deliver>(
    reader: Arc<Reader>,
    range: Range<u64>,
    out: &mut D,
) -> Result<GetOutcome, Error> {
    let memory = reader.inner.download_memory.clone();
    let patience = reader.inner.config.retry.busy_budget;
    let parallel = reader.inner.config.parallel_chunks.max(1);
    let mut parts = reader.parts(&range).peekable();
    let mut queue: VecDeque<AbortOnDropHandle<Result<Fetched, Error>>> = VecDeque::new();
    loop {
        while queue.len() < parallel
            && let Some(part) = parts.peek().copied()
        {
            let slabs = MemoryBound::slabs_for(part.len.into());
            let held = match memory.try_acquire(slabs) {
                Some(held) => held,
                // Only who holds nothing waits, so that two downloads never wait for each other.
                None if queue.is_empty() => memory.acquire(slabs, patience).await?,
                None => break,
            };
            parts.next();
            let task = tokio::spawn(fetch(reader.clone(), part, held));
            queue.push_back(AbortOnDropHandle::new(task));
        }
        let Some(next) = queue.pop_front() else { break };
        let lost = |e| Error::new(StatusCode::Internal, "a transfer task was lost").caused_by(e);
        let fetched = next.await.map_err(lost)??;
        out.deliver(&fetched.frames).await.map_err(|e| Error::local("writing the output", e))?;
        reader.meter.chunk_done();
    }
    out.finish().await.map_err(|e| Error::local("writing the output", e))?;
    Ok(reader.outcome(range.end - range.start, 0))
}

pub(super) async fn fetch(reader: Arc<Reader>, part: Part, held: Held) -> Result<Fetched, Error> {
    // After the memory, as everybody: who has a turn waits for nobody who waits for one.
    let patience = reader.inner.config.retry.busy_budget;
    let turn = reader.inner.download_pace.enter(part.len.into(), patience).await?;
    let mut absorber = Absorber::new(Sink::Memory, reader.meter.clone(), reader.inner.env.workers);
    reader.fetch(part, &held, &mut absorber).await?;
    turn.done(part.len.into());
    Ok(Fetched { frames: absorber.into_kept(), _held: held })
}
