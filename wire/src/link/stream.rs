//! The handle of one stream.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::data::{DataFrame, Event};
use super::state::{Conn, OutFrame, Wake};
use super::{Role, Shared, encode_head};
use crate::frame::FrameKind;
use crate::limits::{DATA_FRAME_BYTES, INLINE_TAIL_BYTES_MAX};
use crate::message::{EndHead, ResponseHead};
use crate::slab::Reservation;
use crate::status::{Status, StatusCode};

/// How a stream ended for its acceptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StreamOutcome {
    /// Answered as asked.
    Done,
    /// Answered with a failure.
    Failed(StatusCode),
    /// Let go without an answer: the peer cancelled, the connection was lost, or the task that served it ended.
    Unanswered,
}

/// Told the outcome of a stream, once.
pub type OutcomeObserver = Box<dyn FnOnce(StreamOutcome) + Send>;

/// One stream of a [`super::Link`]. Dropping it before its end tells the peer.
///
/// All methods take `&self`: one task may send while another receives, but only one may do each.
pub struct Stream {
    shared: Arc<Shared>,
    id: u32,
    role: Role,
    wake: Arc<Wake>,
    observer: Mutex<Option<OutcomeObserver>>,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stream({}, {:?})", self.id, self.role)
    }
}

impl Stream {
    pub(super) fn new(shared: Arc<Shared>, id: u32, role: Role, wake: Arc<Wake>) -> Self {
        Self { shared, id, role, wake, observer: Mutex::new(None) }
    }

    /// Has `observer` called when an answer is queued, or when the stream is dropped without one. It must not block.
    pub fn observe(&self, observer: OutcomeObserver) {
        *self.observer.lock().unwrap_or_else(PoisonError::into_inner) = Some(observer);
    }

    fn ended(&self, outcome: StreamOutcome) {
        let observer = self.observer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(observer) = observer {
            observer(outcome);
        }
    }

    /// Its number on the connection, for logs.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Lets the peer send into these slabs. Their memory and credit return as the received bytes are dropped, and
    /// the peer is told as half of them are free again, or any if it has nothing left. To be called once, before data
    /// can come: a second reservation is given back unused.
    pub fn grant(&self, reservation: Reservation) {
        let unused = self.shared.lock().grant(self.id, reservation);
        drop(unused);
        self.shared.writer_wake.notify_one();
    }

    /// Waits for what the peer sends next. There is no deadline: bring one. Cancel safety: nothing is lost.
    ///
    /// # Errors
    /// The peer's refusal or reset, or the loss of the connection. Nothing follows an error.
    pub async fn recv(&self) -> Result<Event, Status> {
        loop {
            let wake = self.wake.recv.notified();
            let next = self.shared.lock().next_event(self.id);
            match next {
                Some(event) => return event,
                None => wake.await,
            }
        }
    }

    /// Queues payload: 256 KiB, or less if it is the stream's last; nothing is sent for an empty frame. Waits while
    /// the stream's queue is full, which it is while the peer grants no credit. Cancel safety: queued entirely or not
    /// at all.
    ///
    /// # Errors
    /// If the stream has ended: then [`Self::recv`] tells why. `InvalidArgument` for a frame that is too long or comes
    /// after the last.
    pub async fn send(&self, frame: DataFrame) -> Result<(), Status> {
        let (tail, tail_crc) = (frame.bytes, frame.crc);
        match tail.len() {
            0 => return Ok(()),
            1..=DATA_FRAME_BYTES => {}
            len => {
                let text = format!("data frame of {len} bytes is too long");
                return Err(Status::new(StatusCode::InvalidArgument, text));
            }
        }
        self.enqueue(OutFrame { kind: FrameKind::Data, stream: self.id, head: Vec::new(), tail, tail_crc })
            .await
    }

    /// Queues the end of this side's payload, behind it. Cancel safety: as [`Self::send`].
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn end(&self, end: EndHead) -> Result<(), Status> {
        let head = encode_head(&end)?;
        self.enqueue(OutFrame::control(FrameKind::End, self.id, head)).await
    }

    /// Answers a request, behind all payload queued before, with up to 64 KiB of payload. A failure does not wait: it
    /// takes the place of payload that was queued and not yet sent. Ends the stream: what the
    /// peer still sends is thrown away, the memory reserved for it goes back at once, and [`Self::recv`] is an error.
    ///
    /// # Errors
    /// If the stream has ended already (the peer cancelled or is gone).
    pub async fn respond(&self, response: ResponseHead, tail: Bytes) -> Result<(), Status> {
        if self.role == Role::Connector {
            return Err(Status::new(StatusCode::Unsupported, "the connector of a stream does not answer it"));
        }
        // An answer that does not fit is still an answer: the peer must not wait for ever.
        let head = if tail.len() > INLINE_TAIL_BYTES_MAX {
            Err(Status::new(StatusCode::Internal, format!("payload of {} bytes is too long", tail.len())))
        } else {
            encode_head(&response)
        };
        let (head, tail) = match head {
            Ok(head) => (head, tail),
            Err(e) => (encode_head(&ResponseHead::Err(e))?, Bytes::new()),
        };
        if response.is_err() {
            let withdrawn = self.shared.lock().withdraw(self.id);
            drop(withdrawn);
        }
        let tail_crc = crc32fast::hash(&tail);
        self.enqueue(OutFrame { kind: FrameKind::Response, stream: self.id, head, tail, tail_crc }).await?;
        let leftovers = self.shared.lock().answered(self.id);
        drop(leftovers);
        self.ended(match response {
            Ok(_) => StreamOutcome::Done,
            Err(status) => StreamOutcome::Failed(status.code),
        });
        Ok(())
    }

    async fn enqueue(&self, frame: OutFrame) -> Result<(), Status> {
        let mut frame = Some(frame);
        loop {
            let wake = self.wake.send.notified();
            let queued = self.shared.lock().enqueue(&mut frame, self.id)?;
            if queued {
                self.shared.writer_wake.notify_one();
                return Ok(());
            }
            wake.await;
        }
    }

    /// Waits until the peer has granted credit: what is made for it before that can only stand in memory. There is no
    /// deadline: bring one. Counts as sending. Cancel safety: nothing is lost.
    ///
    /// # Errors
    /// If the stream has ended: then [`Self::recv`] tells why.
    pub async fn credited(&self) -> Result<(), Status> {
        self.until(|conn| conn.is_credited(self.id)).await
    }

    /// Waits until the writer has taken everything that was queued. There is no deadline: bring one. Counts as sending.
    /// Cancel safety: nothing is lost.
    ///
    /// # Errors
    /// As [`Self::credited`].
    pub async fn drained(&self) -> Result<(), Status> {
        self.until(|conn| conn.queued(self.id) == 0).await
    }

    async fn until(&self, done: impl Fn(&Conn) -> bool) -> Result<(), Status> {
        loop {
            let wake = self.wake.send.notified();
            {
                let conn = self.shared.lock();
                if let Some(status) = conn.ended(self.id) {
                    return Err(status);
                }
                if done(&conn) {
                    return Ok(());
                }
            }
            wake.await;
        }
    }

    /// Whether the peer ever granted credit: if not, not one byte of payload has reached it. Holds after the end, too.
    pub fn is_credited(&self) -> bool {
        self.shared.lock().is_credited(self.id)
    }

    /// Bytes that came over the stream's connection so far, of all its streams: see [`super::Link::received`].
    pub fn link_received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }

    /// Bytes that the socket of the stream's connection has taken so far, if it is the line that the stream waits for and
    /// not its peer: what the peer gave credit for is not written yet.
    pub fn line(&self) -> Option<u64> {
        let waits = self.shared.lock().waits_for_line(self.id);
        waits.then(|| self.shared.written.load(Ordering::Relaxed))
    }

    /// Frames queued and not yet taken by the writer: 0 when the peer keeps up.
    pub fn queued(&self) -> usize {
        self.shared.lock().queued(self.id)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.ended(StreamOutcome::Unanswered);
        let leftovers = self.shared.lock().detach(self.id);
        drop(leftovers);
        self.shared.writer_wake.notify_one();
    }
}
