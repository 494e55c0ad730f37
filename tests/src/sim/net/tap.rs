//! What crosses the wire, frame by frame.

use bytes::{Buf as _, BytesMut};
use dfs_wire::frame::Header;
use dfs_wire::limits::{HEAD_BYTES_MAX, HEADER_BYTES};

use super::about::about;
use crate::sim::fate::{Crash, Fate, Place};
use crate::sim::host::now_us;
use crate::sim::id::HostId;
use crate::sim::trace::{Trace, What};

/// Cuts the bytes of one direction into frames, and notes each once it is whole.
pub(super) struct Tap {
    pub(super) line: u64,
    pub(super) bytes: BytesMut,
    /// The dialler begins with a few bytes that are no frame.
    pub(super) preface: usize,
}

impl Tap {
    /// Takes in what is written. With a crash that comes at a frame of it: how many of the bytes still leave.
    pub(super) fn saw(
        &mut self,
        trace: &Trace,
        (from, to): (HostId, HostId),
        bytes: &[u8],
        fate: &Fate,
    ) -> Option<(usize, Crash)> {
        let before = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        let mut seen = self.preface.min(self.bytes.len());
        self.preface -= seen;
        self.bytes.advance(seen);
        while let Some(header) = self.bytes.first_chunk::<HEADER_BYTES>().copied() {
            let parsed = Header::parse(&header, HEAD_BYTES_MAX).expect("nodes send whole frames");
            let len = HEADER_BYTES + usize::from(parsed.head_len) + parsed.tail_len as usize;
            if self.bytes.len() < len {
                return None;
            }
            let (number, crash) = fate.step(Place::Frame);
            if let Some(crash) = crash.filter(|crash| !crash.after) {
                return Some((seen.saturating_sub(before), crash));
            }
            let head = &self.bytes[HEADER_BYTES..HEADER_BYTES + usize::from(parsed.head_len)];
            trace.step(now_us(), from, (Place::Frame, number), |namer| {
                vec![namer.frame((from, to), self.line, &parsed, head)]
            });
            let about = if trace.keeps_all() { about(parsed.kind, head) } else { String::new() };
            self.bytes.advance(len);
            seen += len;
            trace.note(now_us(), from, What::Sent { to, line: self.line, header, about });
            if let Some(crash) = crash {
                return Some((seen.saturating_sub(before), crash));
            }
        }
        None
    }
}
