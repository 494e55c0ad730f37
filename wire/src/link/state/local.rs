//! What the holders of handles do to a connection.

use std::sync::Arc;

use super::{Conn, Leftovers, OutFrame, RecvSide, StreamState, Wake, cut_off, lost};
use crate::codec;
use crate::credit::RecvCredit;
use crate::frame::{FrameKind, PingHead};
use crate::limits::{DATA_FRAME_BYTES, IDLE_TICKS_MAX, SILENT_TICKS_MAX, STREAM_QUEUE_MAX, STREAMS_MAX};
use crate::link::data::Event;
use crate::link::{Liveness, Role};
use crate::slab::Reservation;
use crate::status::{Status, StatusCode};

/// What a tick found.
pub(in crate::link) struct Ticked {
    pub(in crate::link) liveness: Liveness,
    /// Why the peer counts as dead.
    pub(in crate::link) reason: &'static str,
    pub(in crate::link) leftovers: Leftovers,
}

impl Conn {
    /// Opens a stream with the frame in `request`, which is taken only if there is no error.
    pub(in crate::link) fn open(
        &mut self,
        request: &mut Option<OutFrame>,
    ) -> Result<(u32, Arc<Wake>), Status> {
        if let Some(reason) = &self.closed {
            return Err(cut_off(reason, false));
        }
        if self.role == Role::Acceptor {
            return Err(Status::new(
                StatusCode::Unsupported,
                "only the connector of a connection opens streams",
            ));
        }
        let Some(id) = u32::try_from(self.next_stream).ok().filter(|_| !self.draining) else {
            return Err(Status::new(StatusCode::Unavailable, "the peer is draining"));
        };
        if self.streams.len() >= STREAMS_MAX {
            return Err(Status::new(
                StatusCode::Busy,
                format!("{STREAMS_MAX} streams are open on this connection"),
            ));
        }
        self.next_stream += 2;
        let stream = StreamState { unopened: true, ..StreamState::default() };
        let wake = stream.wake.clone();
        self.streams.insert(id, stream);
        if let Some(frame) = request.take() {
            self.push_control(OutFrame { stream: id, ..frame });
        }
        Ok((id, wake))
    }

    /// The next event for a stream's holder: `None` = wait.
    pub(in crate::link) fn next_event(&mut self, id: u32) -> Option<Result<Event, Status>> {
        let Some(stream) = self.streams.get_mut(&id) else { return Some(Err(lost())) };
        let next = stream.inbox.pop_front();
        match (next, stream.finished || stream.responded) {
            (Some(event), _) => Some(event),
            (None, true) => Some(Err(self.closed.as_ref().map_or_else(lost, |reason| cut_off(reason, true)))),
            (None, false) => None,
        }
    }

    /// Queues a frame of a stream behind its data: `Ok(false)` = the queue is full, wait. The frame is taken only by
    /// `Ok(true)`.
    pub(in crate::link) fn enqueue(&mut self, frame: &mut Option<OutFrame>, id: u32) -> Result<bool, Status> {
        if let Some(status) = self.ended(id) {
            return Err(status);
        }
        let Some(stream) = self.streams.get_mut(&id) else { return Err(lost()) };
        let Some((kind, len)) = frame.as_ref().map(|f| (f.kind, f.tail.len())) else { return Ok(true) };
        let is_data = kind == FrameKind::Data;
        if is_data && stream.out.len() >= STREAM_QUEUE_MAX {
            return Ok(false);
        }
        if (stream.end_sent && kind != FrameKind::Response) || (is_data && stream.short_sent) {
            let text = "data was sent after the stream's last frame";
            return Err(Status::new(StatusCode::InvalidArgument, text));
        }
        stream.short_sent |= is_data && len < DATA_FRAME_BYTES;
        stream.end_sent |= kind == FrameKind::End;
        stream.responded |= kind == FrameKind::Response;
        let Some(frame) = frame.take() else { return Ok(true) };
        if !is_data && stream.out.is_empty() {
            self.push_control(frame);
            return Ok(true);
        }
        stream.out.push_back(frame);
        if !stream.in_ready {
            stream.in_ready = true;
            self.ready.push_back(id);
        }
        Ok(true)
    }

    /// Takes back what is queued and not yet sent: a failure must not wait for credit that may never come.
    pub(in crate::link) fn withdraw(&mut self, id: u32) -> Leftovers {
        let mut leftovers = Leftovers::default();
        if let Some(stream) = self.streams.get_mut(&id).filter(|s| !s.responded) {
            leftovers._frames.extend(stream.out.drain(..));
        }
        leftovers
    }

    /// Sets slabs aside for what the peer will send, and tells it. Gives back what cannot be used: a stream has one
    /// reservation for its life.
    pub(in crate::link) fn grant(&mut self, id: u32, reservation: Reservation) -> Option<Reservation> {
        let Some(stream) = self.streams.get_mut(&id).filter(|s| s.recv.is_none() && !s.finished) else {
            return Some(reservation);
        };
        let credit = RecvCredit::new(reservation.bytes());
        stream.recv = Some(RecvSide { credit, reservation: Arc::new(reservation) });
        self.queue_window(id);
        None
    }

    /// Received bytes were let go. Returns whether there is something to send now.
    pub(in crate::link) fn release(&mut self, id: u32, bytes: u64) -> bool {
        self.recv_credit.release(bytes);
        let connection = self.queue_window(0);
        if let Some(StreamState { recv: Some(recv), .. }) = self.streams.get_mut(&id) {
            recv.credit.release(bytes);
        }
        self.queue_window(id) || connection
    }

    /// A stream's answer is queued: what was received for it, and the memory for more, is not needed now.
    pub(in crate::link) fn answered(&mut self, id: u32) -> Leftovers {
        let mut leftovers = Leftovers::default();
        if let Some(stream) = self.streams.get_mut(&id) {
            leftovers.empty(stream);
            stream.wake.recv.notify_one();
            stream.wake.send.notify_one();
        }
        leftovers
    }

    /// The holder of a stream let go of it.
    pub(in crate::link) fn detach(&mut self, id: u32) -> Leftovers {
        let mut leftovers = Leftovers::default();
        let Some(stream) = self.streams.get_mut(&id) else { return leftovers };
        stream.detached = true;
        leftovers.empty(stream);
        let answered = stream.responded && !stream.finished;
        if !answered {
            leftovers.frames(&mut stream.out);
        }
        let unopened = stream.unopened;
        let tell = !stream.finished && !stream.responded && self.closed.is_none();
        stream.finished |= !answered;
        if unopened {
            // The peer never heard of it and need not.
            self.unqueue(id, &mut leftovers);
        } else if tell {
            self.reset(id, "the stream was dropped");
        }
        self.forget_if_over(id);
        leftovers
    }

    fn reset(&mut self, id: u32, reason: &str) {
        if let Ok(head) = codec::encode(&Status::new(StatusCode::Cancelled, reason)) {
            self.control(FrameKind::Reset, id, head);
        }
    }

    /// Takes the control frames of a stream out of their queue.
    fn unqueue(&mut self, id: u32, leftovers: &mut Leftovers) {
        for frame in std::mem::take(&mut self.control) {
            if frame.stream == id {
                leftovers._frames.push(frame);
            } else {
                self.control.push_back(frame);
            }
        }
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.in_control = 0;
        }
    }

    /// The last handle of the link is gone: once the last stream is, too, the connection can be closed.
    pub(in crate::link) fn orphan(&mut self) {
        self.orphaned = true;
    }

    /// Ends everything; the reason is the last frame out. To the holders of streams it is not an answer: see
    /// [`cut_off`].
    pub(in crate::link) fn close(&mut self, status: Status) -> Leftovers {
        let mut leftovers = Leftovers::default();
        if self.closed.is_some() {
            return leftovers;
        }
        leftovers.frames(&mut self.control);
        self.ready.clear();
        self.windows.clear();
        for stream in self.streams.values_mut() {
            leftovers.frames(&mut stream.out);
            stream.in_control = 0;
            if !stream.finished {
                stream.finished = true;
                stream.inbox.push_back(Err(cut_off(&status, !stream.unopened)));
            }
            stream.wake.recv.notify_one();
            stream.wake.send.notify_one();
        }
        self.streams.retain(|_, stream| !stream.is_over());
        if let Ok(head) = codec::encode(&status) {
            self.control(FrameKind::Error, 0, head);
        }
        self.closed = Some(status);
        leftovers
    }

    /// One look at the peer: `heard` = bytes came since the last, `written` = bytes the socket ever took, `unfinished` = a
    /// head takes too long.
    ///
    /// Whoever hears the peer lets it know at each look, unasked: the peer's own ping may stand behind megabytes on a
    /// slow line. That `written` grew proves nothing about the peer, as its first
    /// megabytes go to this machine's socket buffer.
    pub(in crate::link) fn tick(&mut self, heard: bool, written: u64, unfinished: bool) -> Ticked {
        let mut ticked =
            Ticked { liveness: Liveness::Alive, reason: "", leftovers: self.cut_stuck_streams() };
        self.abuse = 0;
        let stalled = self.writing && written == self.written;
        self.stalled_ticks = if stalled { self.stalled_ticks + 1 } else { 0 };
        self.written = written;
        self.silent_ticks = if heard { 0 } else { self.silent_ticks + 1 };
        if self.stalled_ticks >= IDLE_TICKS_MAX {
            (ticked.liveness, ticked.reason) = (Liveness::Dead, "the peer takes nothing that is sent to it");
        } else if unfinished {
            (ticked.liveness, ticked.reason) =
                (Liveness::Dead, "the head of a frame has not come to its end: its length may be damaged");
        } else if self.silent_ticks >= SILENT_TICKS_MAX {
            (ticked.liveness, ticked.reason) = (Liveness::Dead, "the peer went silent");
        } else if self.silent_ticks > 0 {
            ticked.liveness = Liveness::Waiting;
            self.sign_of_life(FrameKind::Ping);
        } else if self.control.is_empty() {
            self.sign_of_life(FrameKind::Pong);
        }
        ticked
    }

    fn sign_of_life(&mut self, kind: FrameKind) {
        if self.closed.is_none()
            && let Ok(head) = codec::encode(&PingHead { nonce: self.silent_ticks.into() })
        {
            self.control(kind, 0, head);
        }
    }

    /// Resets answered streams whose last data the peer does not take: nobody else waits for them with a deadline.
    fn cut_stuck_streams(&mut self) -> Leftovers {
        let mut leftovers = Leftovers::default();
        let mut cut = vec![];
        for (id, stream) in self.streams.iter_mut().filter(|(_, s)| s.detached && !s.out.is_empty()) {
            stream.idle_ticks += 1;
            if stream.idle_ticks > IDLE_TICKS_MAX {
                leftovers.frames(&mut stream.out);
                stream.finished = true;
                cut.push(*id);
            }
        }
        for id in cut {
            self.reset(id, "the peer takes no data");
        }
        leftovers
    }
}
