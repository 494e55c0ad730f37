//! What crosses the wire, frame by frame.

use bytes::{Buf as _, BytesMut};
use dfs_wire::frame::Header;
use dfs_wire::limits::{HEAD_BYTES_MAX, HEADER_BYTES};

use super::about::about;
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
    pub(super) fn saw(&mut self, trace: &Trace, (from, to): (HostId, HostId), bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let skipped = self.preface.min(self.bytes.len());
        self.preface -= skipped;
        self.bytes.advance(skipped);
        while let Some(header) = self.bytes.first_chunk::<HEADER_BYTES>().copied() {
            let parsed = Header::parse(&header, HEAD_BYTES_MAX).expect("nodes send whole frames");
            let len = HEADER_BYTES + usize::from(parsed.head_len) + parsed.tail_len as usize;
            if self.bytes.len() < len {
                return;
            }
            let head = &self.bytes[HEADER_BYTES..HEADER_BYTES + usize::from(parsed.head_len)];
            let about = if trace.keeps_all() { about(parsed.kind, head) } else { String::new() };
            self.bytes.advance(len);
            trace.note(now_us(), from, What::Sent { to, line: self.line, header, about });
        }
    }
}
