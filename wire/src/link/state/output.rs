//! What the writer takes: control frames and windows first, then the streams in turn, as their credit allows.

use super::{Conn, OutFrame};
use crate::codec;
use crate::frame::{FrameKind, WindowHead};
use crate::limits::{HEADER_BYTES, STREAM_QUEUE_MAX};

enum StreamTurn {
    Sent(OutFrame, bool),
    WaitsForConnection,
    WaitsForStream,
}

impl Conn {
    /// Takes the next frames to write, up to about `bytes_max`: control frames, windows, then data and what stands
    /// behind it, a frame of each stream in turn. Being called means that all taken before was written.
    pub(in crate::link) fn dequeue(&mut self, bytes_max: usize, out: &mut Vec<OutFrame>) {
        let taken_before = out.len();
        self.batch += 1;
        let mut bytes = 0;
        while bytes <= bytes_max
            && let Some(frame) = self.control.pop_front()
        {
            bytes += size(&frame);
            self.taken_from_control(&frame);
            out.push(frame);
        }
        bytes += self.dequeue_windows(out);
        let mut stuck = 0;
        while bytes < bytes_max && stuck < self.ready.len() {
            let Some(id) = self.ready.pop_front() else { break };
            match self.dequeue_one(id) {
                StreamTurn::Sent(frame, more) => {
                    stuck = 0;
                    bytes += size(&frame);
                    if more {
                        self.ready.push_back(id);
                    }
                    out.push(frame);
                }
                StreamTurn::WaitsForConnection => {
                    stuck += 1;
                    self.ready.push_back(id);
                }
                StreamTurn::WaitsForStream => {}
            }
        }
        self.writing = out.len() > taken_before;
    }

    fn dequeue_windows(&mut self, out: &mut Vec<OutFrame>) -> usize {
        let mut bytes = 0;
        for id in std::mem::take(&mut self.windows) {
            let due = match self.streams.get_mut(&id) {
                Some(stream) if stream.unopened => {
                    // The peer would not know what stream this is about: its request goes first.
                    self.windows.push_back(id);
                    None
                }
                Some(stream) => {
                    stream.in_windows = false;
                    stream.recv.as_mut().and_then(|r| r.credit.window_due())
                }
                None if id == 0 => {
                    self.connection_window_queued = false;
                    self.recv_credit.window_due()
                }
                None => None,
            };
            if let Some(limit) = due
                && let Ok(head) = codec::encode(&WindowHead { limit })
            {
                let frame = OutFrame::control(FrameKind::Window, id, head);
                bytes += size(&frame);
                out.push(frame);
            }
        }
        bytes
    }

    fn taken_from_control(&mut self, frame: &OutFrame) {
        if let Some(stream) = self.streams.get_mut(&frame.stream) {
            stream.in_control = stream.in_control.saturating_sub(1);
            stream.unopened &= frame.kind != FrameKind::Request;
            self.forget_if_over(frame.stream);
        }
    }

    fn dequeue_one(&mut self, id: u32) -> StreamTurn {
        let Some(stream) = self.streams.get_mut(&id) else { return StreamTurn::WaitsForStream };
        let data_len = match stream.out.front() {
            Some(frame) if frame.kind == FrameKind::Data => frame.tail.len() as u64,
            Some(_) => 0,
            None => {
                stream.in_ready = false;
                return StreamTurn::WaitsForStream;
            }
        };
        if stream.send.available() < data_len {
            stream.in_ready = false;
            return StreamTurn::WaitsForStream;
        }
        if !self.send_credit.spend(data_len) {
            return StreamTurn::WaitsForConnection;
        }
        stream.send.spend(data_len);
        let Some(frame) = stream.out.pop_front() else { return StreamTurn::WaitsForStream };
        if stream.out.len() == STREAM_QUEUE_MAX / 2 || stream.out.is_empty() {
            // Not for each frame: whoever waits for room is woken once for several, whoever waits for the end, then.
            stream.wake.send.notify_one();
        }
        stream.idle_ticks = 0;
        stream.batch = self.batch;
        let more = !stream.out.is_empty();
        stream.in_ready = more;
        self.forget_if_over(id);
        StreamTurn::Sent(frame, more)
    }
}

fn size(frame: &OutFrame) -> usize {
    HEADER_BYTES + frame.head.len() + frame.tail.len()
}
