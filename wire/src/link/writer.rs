//! Takes frames from the state machine and writes them, many in one system call.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::CloseOnDrop;
use super::state::OutFrame;
use crate::frame::Header;
use crate::limits::HEADER_BYTES;
use crate::status::{Status, StatusCode};

/// Bytes taken at once: more would keep an urgent frame waiting behind them.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// Frames ready to be written, as one buffer of many pieces.
#[derive(Default)]
struct Batch(VecDeque<Bytes>);

impl Buf for Batch {
    fn remaining(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn has_remaining(&self) -> bool {
        !self.0.is_empty()
    }

    fn chunk(&self) -> &[u8] {
        self.0.front().map_or(&[], |b| b)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        slices.iter_mut().zip(&self.0).map(|(slot, piece)| *slot = IoSlice::new(piece)).count()
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(front) = self.0.front_mut() {
            if front.len() > count {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.0.pop_front();
        }
    }
}

pub(super) async fn run<W: AsyncWrite + Unpin>(guard: CloseOnDrop, writer: W) {
    let shared = guard.shared();
    let mut out = Output { writer, batch: Batch::default(), taken: vec![], sequence: 0 };
    let closed = shared.wait_closed();
    tokio::pin!(closed);
    loop {
        let wake = shared.writer_wake.notified();
        let (is_closed, is_abandoned) = {
            let mut conn = shared.lock();
            conn.dequeue(BATCH_BYTES_MAX, &mut out.taken);
            (conn.closed().is_some(), conn.is_abandoned())
        };
        out.seal();
        if is_closed {
            break;
        }
        if out.batch.0.is_empty() {
            if is_abandoned {
                shared.close(Status::new(StatusCode::Cancelled, "nobody uses the connection any more"));
                continue;
            }
            wake.await;
            continue;
        }
        // A close while the socket is stuck must end this task: the peer may never read again.
        let written = tokio::select! {
            biased;
            written = out.write_all(&shared.written) => written,
            () = &mut closed => break,
        };
        if let Err(e) = written {
            shared.close(Status::new(StatusCode::ConnectionLost, format!("writing to the peer: {e}")));
            return;
        }
    }
    // Best effort, without waiting: the reason for closing, if the socket takes it now.
    shared.lock().dequeue(0, &mut out.taken);
    out.seal();
    let farewell = async {
        if out.write_all(&shared.written).await.is_ok() {
            out.writer.shutdown().await.ok();
        }
    };
    tokio::pin!(farewell);
    std::future::poll_fn(|cx| {
        let _ = farewell.as_mut().poll(cx);
        Poll::Ready(())
    })
    .await;
}

struct Output<W> {
    writer: W,
    batch: Batch,
    taken: Vec<OutFrame>,
    sequence: u32,
}

impl<W: AsyncWrite + Unpin> Output<W> {
    /// Turns the frames taken from the state machine into pieces to write: header with head, tail.
    fn seal(&mut self) {
        for frame in self.taken.drain(..) {
            let header = Header {
                kind: frame.kind as u8,
                flags: 0,
                head_len: u16::try_from(frame.head.len()).unwrap_or(u16::MAX),
                tail_len: u32::try_from(frame.tail.len()).unwrap_or(u32::MAX),
                stream: frame.stream,
                tail_crc: frame.tail_crc,
                head_crc: 0,
                sequence: self.sequence,
            };
            self.sequence = self.sequence.wrapping_add(1);
            let mut front = Vec::with_capacity(HEADER_BYTES + frame.head.len());
            front.extend_from_slice(&header.seal(&frame.head));
            front.extend_from_slice(&frame.head);
            self.batch.0.push_back(front.into());
            if !frame.tail.is_empty() {
                self.batch.0.push_back(frame.tail);
            }
        }
    }

    /// Writes the batch, counting the bytes that the socket takes: written frames are let go one by one.
    async fn write_all(&mut self, written: &AtomicU64) -> std::io::Result<()> {
        while self.batch.has_remaining() {
            let taken = self.writer.write_buf(&mut self.batch).await?;
            if taken == 0 {
                return Err(std::io::ErrorKind::WriteZero.into());
            }
            written.fetch_add(taken as u64, Ordering::Relaxed);
        }
        self.writer.flush().await
    }
}
