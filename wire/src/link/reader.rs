//! Reads frames, checks them, and hands them to the state machine.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, BufReader, ReadBuf};
use tokio::sync::mpsc;

use super::data::{DataFrame, Event, checksums};
use super::state::DataPlan;
use super::stream::Stream;
use super::{CloseOnDrop, Incoming, Role, Shared};
use crate::codec;
use crate::frame::{FrameError, FrameKind, Header, PingHead, WindowHead};
use crate::limits::{HEAD_BYTES_MAX, HEADER_BYTES};
use crate::message::{RequestHead, ResponseHead};
use crate::slab::{Reservation, Slab};
use crate::status::{Status, StatusCode};
use crate::version::{UPGRADE, unreadable};

/// Small on purpose: headers and heads go through it, payload is read past it.
const BUFFER_BYTES: usize = 16 * 1024;

pub(super) async fn run<R: AsyncRead + Unpin>(
    guard: CloseOnDrop,
    incoming: mpsc::Sender<Incoming>,
    reader: R,
) {
    let shared = guard.shared();
    let reader = Listening { reader, shared: shared.clone() };
    let reader = BufReader::with_capacity(BUFFER_BYTES, reader);
    let mut frames = Frames { reader, sequence: 0, head: Vec::new(), incoming };
    let closed = shared.wait_closed();
    tokio::pin!(closed);
    let work = async {
        loop {
            if let Err(status) = frames.step(shared).await {
                break status;
            }
        }
    };
    let status = tokio::select! {
        biased;
        () = &mut closed => return,
        status = work => status,
    };
    shared.close(status);
}

fn violation(text: impl Into<String>) -> Status {
    Status::new(StatusCode::ProtocolViolation, text)
}

fn frame_error(e: FrameError) -> Status {
    match e {
        FrameError::HeadChecksum | FrameError::TailChecksum => {
            Status::new(StatusCode::ChecksumMismatch, e.to_string())
        }
        other => violation(other.to_string()),
    }
}

fn io_error(e: io::Error) -> Status {
    match e.kind() {
        io::ErrorKind::UnexpectedEof => {
            Status::new(StatusCode::ConnectionLost, "the peer closed the connection")
        }
        _ => Status::new(StatusCode::ConnectionLost, format!("reading from the peer: {e}")),
    }
}

/// Gives credit back when the last reader of a received slab lets go of it.
struct CreditGuard {
    shared: Arc<Shared>,
    stream: u32,
    bytes: u64,
    // Held so that the permits outlive the memory they stand for.
    _reservation: Arc<Reservation>,
}

impl Drop for CreditGuard {
    fn drop(&mut self) {
        let wake = self.shared.lock().release(self.stream, self.bytes);
        if wake {
            self.shared.writer_wake.notify_one();
        }
    }
}

/// Notes that bytes came, be they a part of a frame: on a slow line a whole one may take longer than a look.
struct Listening<R> {
    reader: R,
    shared: Arc<Shared>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Listening<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.reader).poll_read(cx, buf);
        let came = buf.filled().len() - before;
        if came > 0 {
            self.shared.received.fetch_add(came as u64, Ordering::Relaxed);
            self.shared.heard.store(true, Ordering::Relaxed);
        }
        polled
    }
}

/// A reset is no answer, whatever code the peer gave it: the request may have been carried out.
fn reset_by_peer(status: Status) -> Status {
    if status.code == StatusCode::Cancelled {
        return status;
    }
    Status { message: format!("reset by the peer: {status}"), code: StatusCode::Cancelled, ..status }
}

struct Frames<R> {
    reader: BufReader<R>,
    sequence: u32,
    head: Vec<u8>,
    incoming: mpsc::Sender<Incoming>,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    /// Takes in one frame. An error closes the connection with it.
    async fn step(&mut self, shared: &Arc<Shared>) -> Result<(), Status> {
        let header = self.header(shared).await?;
        let Some(kind) = FrameKind::from_number(header.kind) else {
            shared.lock().count_abuse()?;
            self.skip(header.tail_len as usize).await?;
            let status =
                Status::new(StatusCode::Unsupported, format!("frame kind {} is not known here", header.kind));
            return reply(shared, FrameKind::Error, header.stream, &status);
        };
        match kind {
            FrameKind::Data => self.data(shared, header).await,
            FrameKind::Request => self.request(shared, header).await,
            FrameKind::Response => self.response(shared, header).await,
            FrameKind::End => {
                let end = self.decode()?;
                let leftovers = shared.lock().on_end(header.stream, end)?;
                drop(leftovers);
                Ok(())
            }
            FrameKind::Window => {
                let window: WindowHead = self.decode()?;
                if shared.lock().on_window(header.stream, window.limit) {
                    shared.writer_wake.notify_one();
                }
                Ok(())
            }
            FrameKind::Reset => {
                let status: Status = self.decode()?;
                let leftovers = {
                    let mut conn = shared.lock();
                    conn.count_abuse()?;
                    conn.deliver(header.stream, Err(reset_by_peer(status)))
                };
                drop(leftovers);
                Ok(())
            }
            FrameKind::Ping => {
                let ping: PingHead = self.decode()?;
                shared.lock().count_abuse()?;
                reply(shared, FrameKind::Pong, 0, &ping)
            }
            FrameKind::Pong => self.decode::<PingHead>().map(drop),
            FrameKind::Goaway => {
                self.decode::<Status>()?;
                shared.lock().on_goaway();
                Ok(())
            }
            FrameKind::Error => {
                let status: Status = self.decode()?;
                // A frame kind that the peer does not know was skipped there: that ends nothing.
                let ends_connection = header.stream == 0 && status.code != StatusCode::Unsupported;
                if ends_connection { Err(status) } else { Ok(()) }
            }
            FrameKind::Hello | FrameKind::Welcome | FrameKind::Reject => {
                Err(violation("a handshake frame came after the handshake"))
            }
        }
    }

    async fn header(&mut self, shared: &Shared) -> Result<Header, Status> {
        let mut bytes = [0; HEADER_BYTES];
        self.reader.read_exact(&mut bytes).await.map_err(io_error)?;
        let header = Header::parse(&bytes, HEAD_BYTES_MAX).map_err(frame_error)?;
        self.head.resize(header.head_len.into(), 0);
        shared.head_looks.store(1, Ordering::Relaxed);
        self.reader.read_exact(&mut self.head).await.map_err(io_error)?;
        shared.head_looks.store(0, Ordering::Relaxed);
        header.verify_head(&self.head).map_err(frame_error)?;
        if header.sequence != self.sequence {
            return Err(frame_error(FrameError::Sequence {
                expected: self.sequence,
                found: header.sequence,
            }));
        }
        self.sequence = self.sequence.wrapping_add(1);
        Ok(header)
    }

    fn decode<T: DeserializeOwned>(&self) -> Result<T, Status> {
        codec::decode(&self.head).map_err(|e| Status::new(StatusCode::VersionMismatch, unreadable(&e)))
    }

    async fn data(&mut self, shared: &Arc<Shared>, header: Header) -> Result<(), Status> {
        let len = header.tail_len as usize;
        let plan = shared.lock().on_data(header.stream, len)?;
        let DataPlan::Deliver(pool, reservation) = plan else {
            shared.writer_wake.notify_one();
            return self.skip(len).await;
        };
        let mut slab = pool.take();
        let blocks = self.read_slab(&mut slab, len, header.tail_crc).await?;
        let guard = CreditGuard {
            shared: shared.clone(),
            stream: header.stream,
            bytes: len as u64,
            _reservation: reservation,
        };
        let frame = DataFrame::with_checksums(slab.freeze(len, guard), header.tail_crc, blocks);
        let leftovers = shared.lock().deliver(header.stream, Ok(Event::Data(frame)));
        drop(leftovers);
        Ok(())
    }

    async fn read_slab(
        &mut self,
        slab: &mut Slab,
        len: usize,
        crc: u32,
    ) -> Result<[u32; super::data::BLOCKS_PER_FRAME], Status> {
        let Some(part) = slab.get_mut(..len) else { return Err(violation("a tail is longer than a slab")) };
        self.reader.read_exact(part).await.map_err(io_error)?;
        let (blocks, whole) = checksums(part);
        if whole != crc {
            return Err(frame_error(FrameError::TailChecksum));
        }
        Ok(blocks)
    }

    async fn request(&mut self, shared: &Arc<Shared>, header: Header) -> Result<(), Status> {
        let len = header.tail_len as usize;
        let tail = match self.tail_memory(shared, len) {
            Some(TailMemory::None) => Some(Bytes::new()),
            Some(TailMemory::Slab(mut slab, reservation)) => {
                self.read_slab(&mut slab, len, header.tail_crc).await?;
                Some(slab.freeze(len, reservation))
            }
            None => {
                self.skip(len).await?;
                None
            }
        };
        let opened = shared.lock().on_request(header.stream, tail.is_some())?;
        let (Some(tail), Some(wake)) = (tail, opened) else {
            let busy = Status::new(StatusCode::Busy, "too many requests on this connection or node")
                .retry_after_ms(200);
            return reply(shared, FrameKind::Response, header.stream, &ResponseHead::Err(busy));
        };
        let stream = Stream::new(shared.clone(), header.stream, Role::Acceptor, wake);
        // An unknown request is answered, not punished: the peer may be newer.
        let refused = match codec::decode::<RequestHead>(&self.head) {
            Ok(head) => match self.incoming.try_send(Incoming { head, tail, stream }) {
                Ok(()) => return Ok(()),
                Err(e) => {
                    let status = Status::new(StatusCode::Unavailable, "this node takes no requests now");
                    (e.into_inner().stream, status)
                }
            },
            Err(e) => {
                let text = format!("this request is {}", unreadable(&e));
                (stream, Status::new(StatusCode::Unsupported, text).hint(UPGRADE))
            }
        };
        // An answer without data never waits; if it fails, the connection has been closed meanwhile.
        refused.0.respond(Err(refused.1), Bytes::new()).await.ok();
        Ok(())
    }

    fn tail_memory(&self, shared: &Shared, len: usize) -> Option<TailMemory> {
        if len == 0 {
            return Some(TailMemory::None);
        }
        let reservation = shared.budget.try_reserve(1)?;
        Some(TailMemory::Slab(reservation.pool().take(), reservation))
    }

    async fn response(&mut self, shared: &Arc<Shared>, header: Header) -> Result<(), Status> {
        if shared.lock().role() == Role::Acceptor {
            return Err(violation("only the acceptor of a connection answers"));
        }
        let len = header.tail_len as usize;
        let mut tail = vec![0; len];
        self.reader.read_exact(&mut tail).await.map_err(io_error)?;
        if crc32fast::hash(&tail) != header.tail_crc {
            return Err(frame_error(FrameError::TailChecksum));
        }
        let response: ResponseHead = self.decode()?;
        let event = response.map(|r| Event::Response(r, tail.into()));
        let leftovers = shared.lock().deliver(header.stream, event);
        drop(leftovers);
        Ok(())
    }

    async fn skip(&mut self, len: usize) -> Result<(), Status> {
        let mut left = (&mut self.reader).take(len as u64);
        let skipped = tokio::io::copy_buf(&mut left, &mut tokio::io::sink()).await.map_err(io_error)?;
        if skipped == len as u64 { Ok(()) } else { Err(io_error(io::ErrorKind::UnexpectedEof.into())) }
    }
}

enum TailMemory {
    None,
    Slab(Slab, Reservation),
}

fn reply<T: serde::Serialize>(
    shared: &Shared,
    kind: FrameKind,
    stream: u32,
    message: &T,
) -> Result<(), Status> {
    let head = codec::encode(message).map_err(|e| Status::new(StatusCode::Internal, e.to_string()))?;
    shared.lock().control(kind, stream, head);
    shared.writer_wake.notify_one();
    Ok(())
}
