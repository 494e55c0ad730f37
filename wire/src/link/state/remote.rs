//! What the reader does with the frames of the peer.

use std::sync::Arc;

use super::{Conn, DataPlan, Leftovers, StreamState, Wake};
use crate::credit::Overspent;
use crate::limits::{ABUSE_PER_TICK_MAX, CONTROL_QUEUE_MAX, DATA_FRAME_BYTES, STREAMS_MAX};
use crate::link::Role;
use crate::link::data::Event;
use crate::message::EndHead;
use crate::status::{Status, StatusCode};

fn violation(text: String) -> Status {
    Status::new(StatusCode::ProtocolViolation, text)
}

impl Conn {
    /// Guards against floods of frames that cost the peer nothing (refused requests, resets, pings, unknown kinds):
    /// so many are allowed between two ticks.
    pub(in crate::link) fn count_abuse(&mut self) -> Result<(), Status> {
        self.abuse += 1;
        if self.abuse > ABUSE_PER_TICK_MAX {
            return Err(Status::new(StatusCode::Busy, "too many refused requests, resets or pings"));
        }
        self.check_queue()
    }

    /// Guards against a peer that asks and does not read the answers.
    fn check_queue(&self) -> Result<(), Status> {
        if self.control.len() > CONTROL_QUEUE_MAX {
            return Err(Status::new(StatusCode::Busy, "too many answers that the peer does not read"));
        }
        Ok(())
    }

    /// A request came. `None` = refuse it as too many. `Err` closes the connection.
    pub(in crate::link) fn on_request(
        &mut self,
        id: u32,
        have_memory: bool,
    ) -> Result<Option<Arc<Wake>>, Status> {
        let in_order = u64::from(id) >= self.next_stream && id % 2 == 1;
        if self.role == Role::Connector || !in_order {
            return Err(violation(format!("stream {id} cannot be opened now")));
        }
        self.next_stream = u64::from(id) + 2;
        self.check_queue()?;
        if self.closed.is_some() || !have_memory || self.streams.len() >= STREAMS_MAX {
            self.count_abuse()?;
            return Ok(None);
        }
        let stream = StreamState::default();
        let wake = stream.wake.clone();
        self.streams.insert(id, stream);
        Ok(Some(wake))
    }

    /// Data came: whom it is for. `Err` closes the connection.
    pub(in crate::link) fn on_data(&mut self, id: u32, len: usize) -> Result<DataPlan, Status> {
        let overspent = |e: Overspent| Status::new(StatusCode::FlowControl, format!("stream {id}: {e}"));
        let bytes = len as u64;
        self.recv_credit.receive(bytes).map_err(overspent)?;
        let Some(stream) = self.streams.get_mut(&id).filter(|s| !s.detached && !s.finished && !s.responded)
        else {
            // Sent before the peer heard of the end: its connection credit comes back at once.
            self.recv_credit.release(bytes);
            self.queue_window(0);
            return Ok(DataPlan::Discard);
        };
        if stream.end_seen {
            return Err(violation(format!("stream {id}: data came after its end")));
        }
        if len == 0 || stream.short_seen {
            return Err(violation(format!(
                "stream {id}: only the last data frame may be shorter than {DATA_FRAME_BYTES} bytes"
            )));
        }
        stream.short_seen = len < DATA_FRAME_BYTES;
        let Some(recv) = &mut stream.recv else {
            return Err(Status::new(
                StatusCode::FlowControl,
                format!("stream {id}: {len} bytes sent, none granted"),
            ));
        };
        recv.credit.receive(bytes).map_err(overspent)?;
        Ok(DataPlan::Deliver(recv.reservation.pool().clone(), recv.reservation.clone()))
    }

    /// The peer has sent all data of a stream. `Err` closes the connection.
    pub(in crate::link) fn on_end(&mut self, id: u32, end: EndHead) -> Result<Leftovers, Status> {
        if let Some(stream) = self.streams.get_mut(&id) {
            if stream.end_seen {
                return Err(violation(format!("stream {id}: its end came twice")));
            }
            stream.end_seen = true;
        }
        Ok(self.deliver(id, Ok(Event::End(end))))
    }

    /// Hands something to a stream's holder, if there is one.
    pub(in crate::link) fn deliver(&mut self, id: u32, event: Result<Event, Status>) -> Leftovers {
        let Some(stream) = self.streams.get_mut(&id).filter(|s| !s.finished) else {
            return Leftovers::event(event);
        };
        let mut leftovers = Leftovers::default();
        if matches!(event, Err(_) | Ok(Event::Response(..))) {
            stream.finished = true;
            leftovers.frames(&mut stream.out);
            stream.wake.send.notify_one();
        }
        if stream.detached || stream.responded {
            leftovers._events.push(event);
            self.forget_if_over(id);
            return leftovers;
        }
        stream.inbox.push_back(event);
        leftovers.wake = Some(stream.wake.clone());
        leftovers
    }

    /// More credit came. Returns whether the writer has something to do.
    pub(in crate::link) fn on_window(&mut self, id: u32, limit: u64) -> bool {
        if id == 0 {
            return self.send_credit.grant(limit);
        }
        let Some(stream) = self.streams.get_mut(&id) else { return false };
        let first = !stream.is_credited();
        let more = stream.send.grant(limit);
        if more && first {
            stream.wake.send.notify_one();
        }
        if more && !stream.out.is_empty() && !stream.in_ready {
            stream.in_ready = true;
            self.ready.push_back(id);
        }
        more
    }

    /// The peer wants no new streams.
    pub(in crate::link) fn on_goaway(&mut self) {
        self.draining = true;
    }
}
