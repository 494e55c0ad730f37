//! Sending chunks: verified, in frames, under the reader's credit, from a place that bounds their memory.
//!
//! The bytes go from the store to the socket unseen: they may be a mapping of a file on a disk that fails just now. What
//! they are checked with is combined from the checksums of the chunk's blocks.

use std::sync::Arc;
use std::time::Duration;

use dfs_wire::id::ChunkKey;
use dfs_wire::limits::{BLOCK_BYTES, DATA_FRAME_BYTES};
use dfs_wire::link::{DataFrame, Stream};
use dfs_wire::message::chunk::{ChunkRead, ReadChunk};
use dfs_wire::status::{Status, StatusCode};

use crate::datanode::authority::Authority;
use crate::datanode::chunk_store::{ChunkReader, ChunkStore, READ_BYTES_MAX, StoreError, Verified};
use crate::datanode::reads::places::{Pace, Pacing, ReadPlace, ReadPlaces, TURN, TURN_FRAMES, busy};
use crate::env::Clock;

/// How often a reader that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// What a read is served with.
pub(in crate::datanode) struct Reads<'a> {
    pub(in crate::datanode) store: &'a dyn ChunkStore,
    pub(in crate::datanode) authority: &'a dyn Authority,
    pub(in crate::datanode) places: &'a ReadPlaces,
    /// Patience with a place.
    pub(in crate::datanode) patience: Duration,
    /// Patience with a reader that takes nothing.
    pub(in crate::datanode) stall: Duration,
    /// Patience with the disk.
    pub(in crate::datanode) disk: Duration,
}

impl Reads<'_> {
    /// Sends the bytes asked for, each verified just before it leaves, and returns what ends the stream once the
    /// connection has taken them all. Ends with the stream, wherever it stands.
    ///
    /// A range past the end is cut there, so that a reader need not know the length of the last chunk.
    ///
    /// # Errors
    /// What the disk said; `Busy` if there is no place, or others need it; `DeadlineExceeded` if the reader takes nothing
    /// or the disk says nothing. Bytes sent before an error were good.
    pub(in crate::datanode) async fn send_range(
        &self,
        request: &ReadChunk,
        stream: &Stream,
    ) -> Result<ChunkRead, Status> {
        tokio::select! {
            biased; // Once. What was found out about the copy counts, even if nobody is there any more.
            sent = self.serve(request, stream) => sent,
            status = gone(stream) => Err(status),
        }
    }

    async fn serve(&self, request: &ReadChunk, stream: &Stream) -> Result<ChunkRead, Status> {
        let key = request.grant.chunk_key();
        let mut outlet =
            Outlet { stream, places: self.places, stall: self.stall, queued: 0, pace: Pace::default() };
        if request.len > 0 {
            let credited = self.places.clock().timeout(self.stall, stream.credited()).await;
            credited.map_err(|_| outlet.stalled())??;
        }
        let place = self.places.enter(self.patience).await?;
        let opened = async { self.store.open(key).await.map_err(|e| self.failed(key, &e)) };
        let reader = self.in_time(key, opened).await?;
        let info = *reader.info();
        if request.offset > info.len {
            let text = format!("offset {} is past the end of a chunk of {} bytes", request.offset, info.len);
            return Err(Status::new(StatusCode::InvalidArgument, text).about_chunk(key.chunk));
        }
        let end = request.offset.saturating_add(request.len).min(info.len);
        self.send(key, &reader, request.offset..end, place, &mut outlet).await?;
        let facts = request.facts.then(|| Box::new(reader.facts().clone()));
        Ok(ChunkRead { len: end - request.offset, chunk_len: info.len, chunk_sha256: info.sha256, facts })
    }

    async fn send(
        &self,
        key: ChunkKey,
        reader: &Arc<dyn ChunkReader>,
        range: std::ops::Range<u32>,
        place: ReadPlace,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), Status> {
        let mut offset = range.start;
        let piece_at = |offset: u32| {
            let read =
                (offset < range.end).then(|| reader.read(offset, READ_BYTES_MAX.min(range.end - offset)))?;
            let held = place.clone();
            let piece =
                async move { read.await.map(|piece| Verified { bytes: held.hold(piece.bytes), ..piece }) };
            Some(self.places.work(place.clone(), piece))
        };
        // The next piece is fetched while this one is sent.
        let mut next = piece_at(offset);
        while let Some(fetch) = next.take() {
            let fetched = async { fetch.await?.map_err(|e| self.failed(key, &e)) };
            let Verified { bytes: mut rest, block_crcs } = self.in_time(key, fetched).await?;
            offset = offset.saturating_add(u32::try_from(rest.len()).unwrap_or(u32::MAX));
            if rest.is_empty() {
                return Err(Status::new(StatusCode::Internal, "the store returned no bytes"));
            }
            next = piece_at(offset);
            let mut crcs = block_crcs.chunks(DATA_FRAME_BYTES / BLOCK_BYTES);
            while !rest.is_empty() {
                let bytes = rest.split_to(rest.len().min(DATA_FRAME_BYTES));
                let frame = DataFrame::verified(bytes, crcs.next().unwrap_or_default());
                let unlike =
                    || Status::new(StatusCode::Internal, "the store's checksums are not those of its bytes");
                outlet.send(frame.ok_or_else(unlike)?).await?;
            }
        }
        outlet.drain().await
    }

    fn failed(&self, key: ChunkKey, error: &StoreError) -> Status {
        error.status(self.authority.node()).about_chunk(key.chunk)
    }

    async fn in_time<T>(
        &self,
        key: ChunkKey,
        work: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        in_time(self.places.clock(), self.disk, work).await.map_err(|status| status.about_chunk(key.chunk))
    }
}

/// What comes of `work` on the disk, unless that says nothing for `limit`.
///
/// # Errors
/// What `work` fails with; `DeadlineExceeded`, which says nothing about the bytes.
pub(in crate::datanode) async fn in_time<T>(
    clock: &Arc<dyn Clock>,
    limit: Duration,
    work: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    clock.timeout(limit, work).await.unwrap_or_else(|_| {
        let text = format!("the disk gave no answer for {} s", limit.as_secs());
        Err(Status::new(StatusCode::DeadlineExceeded, text))
    })
}

/// Completes when the reader has let go of the stream. It has nothing to say on it.
async fn gone(stream: &Stream) -> Status {
    loop {
        if let Err(status) = stream.recv().await {
            return status;
        }
    }
}

/// The reader's end of a stream, with limits to how long it may stand still and how slow it may be.
struct Outlet<'a> {
    stream: &'a Stream,
    places: &'a ReadPlaces,
    stall: Duration,
    queued: u64,
    pace: Pace,
}

impl Outlet<'_> {
    async fn send(&mut self, frame: DataFrame) -> Result<(), Status> {
        let stream = self.stream;
        self.wait(|| stream.send(frame.clone())).await?;
        self.queued += 1;
        Ok(())
    }

    /// Waits until the connection has taken all frames: until then they are this reader's and can be taken back.
    async fn drain(&mut self) -> Result<(), Status> {
        let stream = self.stream;
        self.wait(|| stream.drained()).await
    }

    /// Waits for the reader, looking at its pace. `work` is begun anew after each look, so it must be safe to cancel.
    async fn wait<F: Future<Output = Result<(), Status>>>(
        &mut self,
        work: impl Fn() -> F,
    ) -> Result<(), Status> {
        loop {
            if let Ok(done) = self.places.clock().timeout(LOOK.min(self.stall), work()).await {
                return done;
            }
            let taken = self.queued.saturating_sub(self.stream.queued() as u64);
            match self.pace.look(LOOK.min(self.stall), taken, self.places.wanted(), self.stall) {
                Pacing::Wait => {}
                Pacing::Stalled => return Err(self.stalled()),
                Pacing::MakeRoom => {
                    let kib = TURN_FRAMES * DATA_FRAME_BYTES as u64 / 1024;
                    let text = format!(
                        "others wait and this reader took less than {kib} KiB in {} s",
                        TURN.as_secs()
                    );
                    return Err(busy(&text));
                }
            }
        }
    }

    fn stalled(&self) -> Status {
        let text = format!("the reader took nothing for {} s", self.stall.as_secs());
        Status::new(StatusCode::DeadlineExceeded, text)
    }
}
