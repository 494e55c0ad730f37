//! Sending chunks: verified, in frames, under the reader's credit.

use std::sync::Arc;
use std::time::Duration;

use dfs_wire::Bytes;
use dfs_wire::limits::DATA_FRAME_BYTES;
use dfs_wire::link::{DataFrame, Stream};
use dfs_wire::message::chunk::{ChunkRead, ReadChunk};
use dfs_wire::status::{Status, StatusCode};

use crate::chunk_store::{ChunkKey, ChunkReader, ChunkStore, READ_BYTES_MAX, StoreError};
use crate::streaming::{Authority, store_status};

/// Sends the bytes asked for, each verified just before it leaves, and returns what ends the stream.
///
/// A reader that takes nothing for `stall` is given up. A range past the end is cut there, so that a reader need not know the length of the last chunk.
///
/// # Errors
/// What the disk said. Bytes sent before an error were good.
pub(super) async fn send_range(
    store: &dyn ChunkStore,
    authority: &dyn Authority,
    request: &ReadChunk,
    stream: &Stream,
    stall: Duration,
) -> Result<ChunkRead, Status> {
    let key = ChunkKey { chunk: request.grant.chunk, generation: request.grant.generation };
    let failed = |e: StoreError| store_status(&e, authority).about_chunk(key.chunk);
    let reader = store.open(key).await.map_err(failed)?;
    let info = *reader.info();
    if request.offset > info.len {
        let text = format!("offset {} is past the end of a chunk of {} bytes", request.offset, info.len);
        return Err(Status::new(StatusCode::InvalidArgument, text).about_chunk(key.chunk));
    }
    let end = request.offset.saturating_add(request.len).min(info.len);
    let outlet = Outlet { stream, stall };
    send(&reader, request.offset, end, &outlet, failed).await?;
    Ok(ChunkRead { len: end - request.offset, chunk_len: info.len, chunk_sha256: info.sha256 })
}

/// The reader's end of a stream, with a limit to how long it may stand still.
struct Outlet<'a> {
    stream: &'a Stream,
    stall: Duration,
}

impl Outlet<'_> {
    async fn send(&self, frame: DataFrame) -> Result<(), Status> {
        let late = |_| {
            let text = format!("the reader took nothing for {} s", self.stall.as_secs());
            Status::new(StatusCode::DeadlineExceeded, text)
        };
        tokio::time::timeout(self.stall, self.stream.send(frame)).await.map_err(late)?
    }
}

async fn send(
    reader: &Arc<dyn ChunkReader>,
    start: u32,
    end: u32,
    outlet: &Outlet<'_>,
    failed: impl Fn(StoreError) -> Status,
) -> Result<(), Status> {
    let piece_at =
        |offset: u32| (offset < end).then(|| reader.read(offset, READ_BYTES_MAX.min(end - offset)));
    let mut offset = start;
    // The next piece is fetched while this one is sent.
    let mut next = piece_at(offset).map(tokio::spawn);
    while let Some(fetch) = next.take() {
        let aborted = |_| Status::new(StatusCode::Internal, "a read was aborted");
        let piece: Bytes = fetch.await.map_err(aborted)?.map_err(&failed)?;
        offset = offset.saturating_add(u32::try_from(piece.len()).unwrap_or(u32::MAX));
        if piece.is_empty() {
            return Err(Status::new(StatusCode::Internal, "the store returned no bytes"));
        }
        next = piece_at(offset).map(tokio::spawn);
        let mut rest = piece;
        while !rest.is_empty() {
            let frame = rest.split_to(rest.len().min(DATA_FRAME_BYTES));
            outlet.send(DataFrame::new(frame)).await?;
        }
    }
    Ok(())
}
