//! The connection's state machine: frames and calls in, frames and wake-ups out. No I/O, no clock.
//!
//! | module | what it does |
//! |---|---|
//! | `local` | what the holders of handles do: open, enqueue, grant, release, detach, close, tick |
//! | `remote` | what the reader does with the frames of the peer |
//! | `output` | what the writer takes |
//!
//! Invariants:
//! - nothing that may hold received bytes is dropped in here: their guard takes the lock of a connection, perhaps of
//!   this one. Such things leave as [`Leftovers`];
//! - a stream's state stays until its handle is gone *and* its control frames have been taken by the writer, so that
//!   [`STREAMS_MAX`] bounds what streams queue, however fast they come and go;
//! - the end of the connection is nobody's answer: a stream whose request the writer has taken ends with
//!   `ConnectionLost`, one whose request never left with `Unavailable`, both with the reason in words;
//! - windows are computed when the writer takes them: a slow socket queues one for each stream at most.

mod local;
mod output;
mod remote;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Notify;

use super::Role;
use super::data::Event;
use crate::credit::{RecvCredit, SendCredit};
use crate::frame::FrameKind;
use crate::limits::STREAMS_MAX;
use crate::slab::{Reservation, SlabPool};
use crate::status::{Status, StatusCode};

/// A frame on its way out.
pub(super) struct OutFrame {
    pub(super) kind: FrameKind,
    pub(super) stream: u32,
    pub(super) head: Vec<u8>,
    pub(super) tail: Bytes,
    pub(super) tail_crc: u32,
}

impl OutFrame {
    /// A frame without a tail.
    pub(super) fn control(kind: FrameKind, stream: u32, head: Vec<u8>) -> Self {
        Self { kind, stream, head, tail: Bytes::new(), tail_crc: 0 }
    }
}

impl std::fmt::Debug for OutFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}(stream {}, {} + {} bytes)", self.kind, self.stream, self.head.len(), self.tail.len())
    }
}

/// Wakes the holder of a stream.
#[derive(Debug, Default)]
pub(super) struct Wake {
    pub(super) recv: Notify,
    pub(super) send: Notify,
}

/// Where received data goes: slabs set aside for this stream.
#[derive(Debug)]
struct RecvSide {
    credit: RecvCredit,
    reservation: Arc<Reservation>,
}

#[derive(Debug, Default)]
struct StreamState {
    send: SendCredit,
    recv: Option<RecvSide>,
    /// Data, and what stands behind it.
    out: VecDeque<OutFrame>,
    /// Whether the stream stands in `Conn::ready`.
    in_ready: bool,
    /// The batch that the writer took something of it with last.
    batch: u64,
    /// Whether the stream stands in `Conn::windows`.
    in_windows: bool,
    /// Frames of this stream in `Conn::control`.
    in_control: u32,
    /// The request that opens it is one of those.
    unopened: bool,
    inbox: VecDeque<Result<Event, Status>>,
    /// The peer sent a data frame shorter than the rule: it was the last.
    short_seen: bool,
    /// The peer said that it has sent all data.
    end_seen: bool,
    /// A short data frame was queued here: it must be the last.
    short_sent: bool,
    /// The end of this side's data was queued.
    end_sent: bool,
    /// Nothing more will come from the peer: response, reset, or the connection is gone.
    finished: bool,
    /// The acceptor's response is queued or sent.
    responded: bool,
    /// The handle is gone; the state stays only until the writer has taken what is queued.
    detached: bool,
    /// Ticks since the writer last took something of a detached stream.
    idle_ticks: u32,
    wake: Arc<Wake>,
}

impl StreamState {
    /// Whether the peer has ever granted credit.
    fn is_credited(&self) -> bool {
        self.send.available() > 0 || self.send.sent() > 0
    }

    /// Whether nobody needs this state any more.
    fn is_over(&self) -> bool {
        self.detached && self.in_control == 0 && self.out.is_empty()
    }
}

/// What the reader must do with the payload of a data frame.
pub(super) enum DataPlan {
    /// Read it into a slab of this pool and deliver it.
    Deliver(SlabPool, Arc<Reservation>),
    /// Read past it: the stream is gone.
    Discard,
}

/// Things to drop when the lock is not held: dropping received bytes takes a connection's lock to give their
/// credit back. With it goes the wake-up of a stream's holder, who would find the lock held otherwise.
#[derive(Default)]
#[must_use = "drop it after the lock"]
pub(super) struct Leftovers {
    wake: Option<Arc<Wake>>,
    _events: Vec<Result<Event, Status>>,
    _frames: Vec<OutFrame>,
    _memory: Vec<RecvSide>,
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        if let Some(wake) = self.wake.take() {
            wake.recv.notify_one();
        }
    }
}

impl Leftovers {
    fn event(event: Result<Event, Status>) -> Self {
        let mut leftovers = Self::default();
        leftovers._events.push(event);
        leftovers
    }

    /// Takes everything that may hold received bytes out of a stream whose handle is gone.
    fn empty(&mut self, stream: &mut StreamState) {
        self._events.extend(stream.inbox.drain(..));
        self._memory.extend(stream.recv.take());
    }

    fn frames(&mut self, frames: &mut VecDeque<OutFrame>) {
        self._frames.extend(frames.drain(..));
    }
}

/// What one end knows of its connection: streams, windows, and frames that wait.
pub(super) struct Conn {
    role: Role,
    streams: BTreeMap<u32, StreamState>,
    /// Number of the next stream to open; past `u32::MAX` when there are no more.
    next_stream: u64,
    control: VecDeque<OutFrame>,
    /// Streams (0 = the connection) with a window to send.
    windows: VecDeque<u32>,
    connection_window_queued: bool,
    ready: VecDeque<u32>,
    send_credit: SendCredit,
    recv_credit: RecvCredit,
    closed: Option<Status>,
    /// The last handle of the link is gone.
    orphaned: bool,
    /// The peer wants no new streams.
    draining: bool,
    silent_ticks: u32,
    /// The writer was given something and has not come back for more.
    writing: bool,
    /// How often the writer has come.
    batch: u64,
    stalled_ticks: u32,
    written: u64,
    abuse: u32,
}

fn lost() -> Status {
    Status::new(StatusCode::ConnectionLost, "the connection was closed")
}

/// What the end of the connection means for one request. The reason is about the connection, never the answer: a
/// request that the peer may have got (`sent`) may have been carried out, one that it never got was not.
fn cut_off(reason: &Status, sent: bool) -> Status {
    let code = if sent { StatusCode::ConnectionLost } else { StatusCode::Unavailable };
    if reason.code == code {
        return reason.clone();
    }
    let status = Status::new(code, format!("the connection was closed: {reason}")).hint(reason.hint.as_str());
    Status { node: reason.node, ..status }
}

impl Conn {
    pub(super) fn new(role: Role, send_credit: u64, recv_credit: u64) -> Self {
        Self {
            role,
            streams: BTreeMap::new(),
            next_stream: 1,
            control: VecDeque::new(),
            windows: VecDeque::new(),
            connection_window_queued: false,
            ready: VecDeque::new(),
            send_credit: SendCredit::new(send_credit),
            recv_credit: RecvCredit::announced(recv_credit),
            closed: None,
            orphaned: false,
            draining: false,
            silent_ticks: 0,
            writing: false,
            batch: 0,
            stalled_ticks: 0,
            written: 0,
            abuse: 0,
        }
    }

    /// Queues a frame without a tail, ahead of all data.
    pub(super) fn control(&mut self, kind: FrameKind, stream: u32, head: Vec<u8>) {
        self.push_control(OutFrame::control(kind, stream, head));
    }

    fn push_control(&mut self, frame: OutFrame) {
        if let Some(stream) = self.streams.get_mut(&frame.stream) {
            stream.in_control += 1;
        }
        self.control.push_back(frame);
    }

    /// Puts a stream (0 = the connection) in the queue for a window if one is worth sending.
    fn queue_window(&mut self, id: u32) -> bool {
        let queued = if id == 0 {
            !self.connection_window_queued && self.recv_credit.is_due()
        } else {
            self.streams.get(&id).is_some_and(|s| {
                let more_expected = !s.finished && !s.end_seen && !s.short_seen && !s.in_windows;
                more_expected && s.recv.as_ref().is_some_and(|r| r.credit.is_due())
            })
        };
        if queued && self.closed.is_none() {
            self.windows.push_back(id);
            match self.streams.get_mut(&id) {
                Some(stream) => stream.in_windows = true,
                None => self.connection_window_queued = true,
            }
        }
        queued
    }

    /// Drops the state of a stream that nobody needs. It holds no received bytes any more.
    fn forget_if_over(&mut self, id: u32) {
        if self.streams.get(&id).is_some_and(StreamState::is_over) {
            self.streams.remove(&id);
        }
    }

    // ---- what can be seen ---------------------------------------------------------------------------------

    pub(super) fn role(&self) -> Role {
        self.role
    }

    pub(super) fn closed(&self) -> Option<&Status> {
        self.closed.as_ref()
    }

    /// Whether streams can still be opened.
    pub(super) fn draining(&self) -> bool {
        self.draining || (self.role == Role::Connector && self.next_stream > u32::MAX.into())
    }

    /// Whether nobody can ever use this connection again.
    pub(super) fn is_abandoned(&self) -> bool {
        self.orphaned && self.streams.is_empty() && self.control.is_empty()
    }

    #[cfg(test)]
    pub(super) fn control_depth(&self) -> usize {
        self.control.len()
    }

    pub(super) fn stream_count(&self) -> usize {
        self.streams.len()
    }

    pub(super) fn credit_outstanding(&self) -> u64 {
        self.streams.values().filter_map(|s| s.recv.as_ref()).map(|r| r.credit.outstanding()).sum()
    }

    /// Whether the peer ever granted credit for a stream, even if that has ended since.
    pub(super) fn is_credited(&self, id: u32) -> bool {
        self.streams.get(&id).is_some_and(StreamState::is_credited)
    }

    /// Why nothing can be sent on a stream any more, if so.
    pub(super) fn ended(&self, id: u32) -> Option<Status> {
        let closed = |sent| self.closed.as_ref().map(|reason| cut_off(reason, sent));
        let answered = || Status::new(StatusCode::Cancelled, "the stream has ended already");
        match self.streams.get(&id) {
            None => Some(closed(true).unwrap_or_else(lost)),
            Some(s) if s.finished || s.responded => Some(closed(!s.unopened).unwrap_or_else(answered)),
            Some(_) => None,
        }
    }

    /// Whether what a stream may send waits for the socket: a frame that has its credit, or one that is being written.
    pub(super) fn waits_for_line(&self, id: u32) -> bool {
        let Some(stream) = self.streams.get(&id) else { return false };
        let credited = |frame: &OutFrame| stream.send.available() >= frame.tail.len() as u64;
        let written_now = self.writing && stream.batch == self.batch;
        written_now || stream.out.front().is_some_and(credited)
    }

    /// Frames of a stream not yet taken by the writer.
    pub(super) fn queued(&self, id: u32) -> usize {
        self.streams.get(&id).map_or(0, |s| s.out.len())
    }
}

const _: () = assert!(STREAMS_MAX < u32::MAX as usize / 2, "stream numbers outlast the streams open at once");

#[cfg(test)]
mod tests;
