//! A multiplexed connection, for both ends, over anything that reads and writes bytes.
//!
//! ```text
//!            Link (handle, clones)            Driver (two futures, owned by a task of the connection's owner)
//!   open ----> Stream <--- inbox --------- reader: header, limits, checksums, credit -> slab -> stream
//!   request    send / recv / grant          writer: control frames first, then streams in turn under credit
//!   next_request --> Incoming { head, tail, Stream }
//! ```
//!
//! One state machine (`state::Conn`: no I/O, no clock) sits behind a mutex that is never held across an await.
//! The module needs no runtime: whoever owns the connection runs the driver, brings the deadlines, and calls
//! [`Link::tick`] every few seconds.
//!
//! A stream, from its connector (the acceptor mirrors it):
//!
//! ```text
//! Idle --Request--> Open --data, windows, End, in both directions--> Open --Response--> Answered
//!                     |                                               ^ (may come at any time: sends then fail)
//!                     +--Reset either way, or the connection lost--> Ended
//! ```
//!
//! Invariants:
//! - every request gets exactly one of: a response, a reset (always `Cancelled`), a lost connection. Only the response
//!   is an answer: after the others a request that was sent may have been carried out (`Cancelled`,
//!   `ConnectionLost`), one that was not sent was not (`Unavailable`);
//! - a peer is alive while bytes of it come, whole frames or not, but the head of a frame, of 60 KiB at most, has six looks to
//!   come to its end; whoever hears a peer says so at each look;
//! - data is received only into reserved slabs, and at most as much as was granted, per stream and per connection;
//! - a data frame is exactly 256 KiB but for the last of its stream, so that credit counts slabs;
//! - responses, windows, pings and resets never wait behind data of other streams, nor for credit;
//! - dropping a stream tells the peer; dropping received bytes gives their credit back;
//! - nothing waits for an application: what a peer can make this end queue is bounded by the streams it may open, and a
//!   peer that asks without reading the answers is cut off.

mod data;
mod opening;
mod reader;
mod state;
mod stream;
mod writer;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, mpsc};

use crate::codec;
use crate::frame::FrameKind;
use crate::id::OpId;
use crate::limits::{HEAD_BYTES_MAX, IDLE_TICKS_MAX, INLINE_TAIL_BYTES_MAX, STREAMS_MAX};
use crate::message::{Request, RequestHead, Response};
use crate::slab::SlabBudget;
use crate::status::{Status, StatusCode};

pub use data::{DataFrame, Event};
pub use opening::{Accepting, Dialed};
pub use stream::{OutcomeObserver, Stream, StreamOutcome};

use state::{Conn, OutFrame};

/// Which end of the connection this is. Only the connector opens streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It dialled, and opens the streams.
    Connector,
    /// It was dialled.
    Acceptor,
}

/// What a link needs to know at its start.
#[derive(Debug, Clone)]
pub struct LinkParams {
    /// Which end this is.
    pub role: Role,
    /// Where the memory for inline payloads of requests comes from.
    pub budget: SlabBudget,
    /// Data bytes this end may have in flight (from the peer's handshake).
    pub send_credit: u64,
    /// Data bytes the peer may have in flight (from this end's handshake).
    pub recv_credit: u64,
}

pub(crate) struct Shared {
    conn: Mutex<Conn>,
    writer_wake: Notify,
    closed_wake: Notify,
    /// Bytes came since the last tick.
    heard: AtomicBool,
    /// Bytes that came.
    received: AtomicU64,
    /// Looks at which the head of one and the same frame had begun and was not there, and one more; 0 between heads.
    head_looks: AtomicU32,
    /// Bytes that the socket took.
    written: AtomicU64,
    budget: SlabBudget,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Conn> {
        // A panic while the lock is held leaves at worst a stale queue; the connection's owner is restarted anyway.
        self.conn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, status: Status) {
        let leftovers = self.lock().close(status);
        drop(leftovers);
        self.writer_wake.notify_one();
        self.closed_wake.notify_waiters();
    }

    async fn wait_closed(&self) {
        loop {
            let wake = self.closed_wake.notified();
            tokio::pin!(wake);
            wake.as_mut().enable();
            if self.lock().closed().is_some() {
                return;
            }
            wake.await;
        }
    }
}

/// Closes the connection when a half of its driver is dropped, wherever that is: at its end, in a panic, or because
/// its task was killed.
struct CloseOnDrop(Arc<Shared>);

impl CloseOnDrop {
    fn shared(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close(Status::new(StatusCode::ConnectionLost, "the connection's task was stopped"));
    }
}

/// A request that a peer sent.
pub struct Incoming {
    /// What is asked.
    pub head: RequestHead,
    /// The payload that came with it, up to 64 KiB.
    pub tail: Bytes,
    /// Where to answer. Dropping it unanswered resets the stream.
    pub stream: Stream,
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Incoming({:?}, {:?}, {} bytes)", self.stream, self.head, self.tail.len())
    }
}

/// What [`Link::tick`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// The peer was heard since the last tick.
    Alive,
    /// Nothing was heard; a ping is on its way.
    Waiting,
    /// Nothing for several ticks: the link has been closed.
    Dead,
}

/// A handle to a connection. Clones share it. The connection is closed when the last of them and the last stream
/// are gone.
#[derive(Clone)]
pub struct Link {
    shared: Arc<Shared>,
    handles: Arc<Handles>,
}

/// What all clones of a [`Link`] share, and nobody else does.
struct Handles {
    shared: Arc<Shared>,
    incoming: tokio::sync::Mutex<mpsc::Receiver<Incoming>>,
}

impl Drop for Handles {
    fn drop(&mut self) {
        self.shared.lock().orphan();
        self.shared.writer_wake.notify_one();
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("streams", &self.streams()).field("closed", &self.status()).finish()
    }
}

/// One half of a connection's work.
pub type DriverHalf = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The work of a connection: run both halves until they end, at best on tasks of their own. Either half ends the
/// other, and dropping one closes the link.
pub struct Driver {
    /// Takes frames in.
    pub reader: DriverHalf,
    /// Sends frames out, then closes the sending direction.
    pub writer: DriverHalf,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Driver")
    }
}

impl Link {
    /// Takes over a connection after its handshake, which [`Self::connect`] and [`Self::accept`] do themselves.
    pub fn new<R, W>(reader: R, writer: W, params: LinkParams) -> (Self, Driver)
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let (tx, rx) = mpsc::channel(STREAMS_MAX);
        let shared = Arc::new(Shared {
            conn: Mutex::new(Conn::new(params.role, params.send_credit, params.recv_credit)),
            writer_wake: Notify::new(),
            closed_wake: Notify::new(),
            heard: AtomicBool::new(true),
            received: AtomicU64::new(0),
            head_looks: AtomicU32::new(0),
            written: AtomicU64::new(0),
            budget: params.budget,
        });
        let driver = Driver {
            reader: Box::pin(reader::run(CloseOnDrop(shared.clone()), tx, reader)),
            writer: Box::pin(writer::run(CloseOnDrop(shared.clone()), writer)),
        };
        let handles = Handles { shared: shared.clone(), incoming: tokio::sync::Mutex::new(rx) };
        (Self { shared, handles: Arc::new(handles) }, driver)
    }

    /// Opens a stream with a request and up to 64 KiB of payload.
    ///
    /// # Errors
    /// `Unavailable` if the link is closed or the peer is draining, `Busy` if too many streams are open,
    /// `InvalidArgument` if the request is too long. Nothing was sent.
    pub fn open(&self, request: &RequestHead, tail: Bytes) -> Result<Stream, Status> {
        let head = encode_head(request)?;
        if tail.len() > INLINE_TAIL_BYTES_MAX {
            return Err(Status::new(
                StatusCode::InvalidArgument,
                format!("payload of {} bytes is too long", tail.len()),
            ));
        }
        let tail_crc = crc32fast::hash(&tail);
        let mut request = Some(OutFrame { kind: FrameKind::Request, stream: 0, head, tail, tail_crc });
        let opened = self.shared.lock().open(&mut request);
        // What was not taken may be received bytes, whose guard takes the lock: it goes after it.
        drop(request);
        let (id, wake) = opened?;
        self.shared.writer_wake.notify_one();
        Ok(Stream::new(self.shared.clone(), id, Role::Connector, wake))
    }

    /// Sends a request without data and waits for its answer, without a deadline: bring one.
    ///
    /// Cancel safety: dropping the future resets the stream; whether the request was carried out is not known then.
    ///
    /// # Errors
    /// The peer's refusal, or as [`Self::open`]. After `ConnectionLost` and `Cancelled` (a reset) the request may have
    /// been carried out.
    pub async fn request(
        &self,
        op: OpId,
        deadline_ms: u32,
        body: Request,
    ) -> Result<(Response, Bytes), Status> {
        let stream = self.open(&RequestHead { op, deadline_ms, trace: None, body }, Bytes::new())?;
        loop {
            match stream.recv().await? {
                Event::Response(response, tail) => return Ok((response, tail)),
                Event::Data(_) | Event::End(_) => {}
            }
        }
    }

    /// The next request of the peer; `None` once the link is closed. Only one task at a time gets each.
    ///
    /// Cancel safety: nothing is lost.
    pub async fn next_request(&self) -> Option<Incoming> {
        let mut incoming = self.handles.incoming.lock().await;
        let next = tokio::select! {
            biased;
            () = self.closed() => None,
            next = incoming.recv() => next,
        };
        if next.is_none() {
            incoming.close();
            // Nobody can answer these any more: their memory goes back.
            while incoming.try_recv().is_ok() {}
        }
        next
    }

    /// To be called every few seconds by the connection's owner, for as long as it lives: sends a ping if the peer was
    /// silent, else a pong that says it was heard; closes the link after [`SILENT_TICKS_MAX`] silent ticks in a row, or [`IDLE_TICKS_MAX`] in which the
    /// peer took not one byte of what is being sent, or in which one head has not come to its end (its length, which cannot
    /// be checked before, was damaged on its way); resets answered streams whose data nobody takes; and lets the
    /// peer have its next allowance of [`ABUSE_PER_TICK_MAX`] resets and pings. A link that is never ticked notices
    /// none of these and gives no second allowance.
    ///
    /// [`SILENT_TICKS_MAX`]: crate::limits::SILENT_TICKS_MAX
    /// [`IDLE_TICKS_MAX`]: crate::limits::IDLE_TICKS_MAX
    /// [`ABUSE_PER_TICK_MAX`]: crate::limits::ABUSE_PER_TICK_MAX
    pub fn tick(&self) -> Liveness {
        let heard = self.shared.heard.swap(false, Ordering::Relaxed);
        let written = self.shared.written.load(Ordering::Relaxed);
        let looks = &self.shared.head_looks;
        let more = |looks: u32| (looks > 0).then_some(looks.saturating_add(1));
        let looked = looks.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).unwrap_or(0);
        let ticked = self.shared.lock().tick(heard, written, looked > IDLE_TICKS_MAX);
        drop(ticked.leftovers);
        match ticked.liveness {
            Liveness::Dead => self.close(Status::new(StatusCode::ConnectionLost, ticked.reason)),
            Liveness::Waiting | Liveness::Alive => self.shared.writer_wake.notify_one(),
        }
        ticked.liveness
    }

    /// Asks the peer to open no more streams; those that are open go on.
    pub fn goaway(&self, status: &Status) {
        let Ok(head) = codec::encode(status) else { return };
        {
            let mut conn = self.shared.lock();
            if conn.closed().is_none() {
                conn.control(FrameKind::Goaway, 0, head);
            }
        }
        self.shared.writer_wake.notify_one();
    }

    /// Closes the link. Every stream ends with `ConnectionLost`, or `Unavailable` if its request never left, and
    /// `status` as the reason in words. The peer is told if the socket takes it at once.
    pub fn close(&self, status: Status) {
        self.shared.close(status);
    }

    /// Waits until the link is closed. Cancel safety: nothing is lost.
    pub async fn closed(&self) {
        self.shared.wait_closed().await;
    }

    /// Whether the link is closed.
    pub fn is_closed(&self) -> bool {
        self.shared.lock().closed().is_some()
    }

    /// Whether new streams should go elsewhere: the link is closed or the peer is draining.
    pub fn is_draining(&self) -> bool {
        let conn = self.shared.lock();
        conn.closed().is_some() || conn.draining()
    }

    /// Why the link was closed, if it was.
    pub fn status(&self) -> Option<Status> {
        self.shared.lock().closed().cloned()
    }

    /// Streams open now, and those whose answer has not yet been taken by the socket.
    pub fn streams(&self) -> usize {
        self.shared.lock().stream_count()
    }

    /// Bytes that came over the connection so far, those of frames under way included: whoever waits for one stream
    /// can tell a slow line from a peer that sends nothing.
    pub fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }

    /// Bytes that the connection's socket has taken so far, those of frames under way included.
    pub fn written(&self) -> u64 {
        self.shared.written.load(Ordering::Relaxed)
    }

    /// Bytes of credit outstanding to the peer, over all streams.
    pub fn credit_outstanding(&self) -> u64 {
        self.shared.lock().credit_outstanding()
    }
}

fn encode_head<T: serde::Serialize>(message: &T) -> Result<Vec<u8>, Status> {
    let too_long = |text: String| Status::new(StatusCode::InvalidArgument, text);
    let head = codec::encode(message).map_err(|e| too_long(e.to_string()))?;
    if head.len() > HEAD_BYTES_MAX {
        return Err(too_long(format!(
            "message of {} bytes is longer than the limit of {HEAD_BYTES_MAX}",
            head.len()
        )));
    }
    Ok(head)
}

#[cfg(test)]
mod tests;
