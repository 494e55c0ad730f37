//! What happened on the wire, in order: one line a frame, with the virtual time at which it was sent.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use dfs_wire::frame::{FrameKind, Header};
use dfs_wire::limits::{HEAD_BYTES_MAX, HEADER_BYTES, PREFACE_BYTES};
use tokio::time::Instant;

/// One frame that was sent. Its checksums stand for its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Virtual microseconds since the world began.
    pub at: u64,
    /// The direction: `client>10.0.0.1:8080#3` is the third connection that was made in this world.
    pub line: Arc<str>,
    /// Its header.
    pub header: Header,
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Header { kind, stream, sequence, head_len, head_crc, tail_len, tail_crc, .. } = self.header;
        let kind = FrameKind::from_number(kind).map_or_else(|| kind.to_string(), |kind| format!("{kind:?}"));
        write!(f, "{:>10} {} {kind} stream {stream} number {sequence} ", self.at, self.line)?;
        write!(f, "head {head_len}:{head_crc:08x} tail {tail_len}:{tail_crc:08x}")
    }
}

/// All frames of a world. Cheap to clone.
#[derive(Clone)]
pub struct Trace {
    began: Instant,
    sent: Arc<Mutex<Vec<Sent>>>,
}

impl Trace {
    /// An empty one, whose time begins now.
    pub(super) fn begin() -> Self {
        Self { began: Instant::now(), sent: Arc::default() }
    }

    /// What was sent so far, in the order in which it was.
    pub fn sent(&self) -> Vec<Sent> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Sent>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Cuts the bytes of one direction into frames, and notes each once it is whole.
pub(super) struct Tap {
    trace: Trace,
    line: Arc<str>,
    bytes: BytesMut,
    /// The connector begins with a few bytes that are no frame.
    preface: usize,
}

impl Tap {
    pub(super) fn on(trace: &Trace, line: &str, connector: bool) -> Self {
        let preface = if connector { PREFACE_BYTES } else { 0 };
        Self { trace: trace.clone(), line: line.into(), bytes: BytesMut::new(), preface }
    }

    pub(super) fn saw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let skipped = self.preface.min(self.bytes.len());
        self.preface -= skipped;
        drop(self.bytes.split_to(skipped));
        while let Some(header) = self.bytes.first_chunk::<HEADER_BYTES>() {
            let header = Header::parse(header, HEAD_BYTES_MAX).expect("nodes send whole frames");
            let len = HEADER_BYTES + usize::from(header.head_len) + header.tail_len as usize;
            if self.bytes.len() < len {
                return;
            }
            drop(self.bytes.split_to(len));
            let at = u64::try_from(self.trace.began.elapsed().as_micros()).expect("years are not simulated");
            self.trace.lock().push(Sent { at, line: self.line.clone(), header });
        }
    }
}
