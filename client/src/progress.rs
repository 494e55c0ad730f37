//! How far a transfer is, told to whoever wants to draw it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How far one transfer is. Counters only grow, except `bytes` when a chunk has to be sent again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes moved (for a put: taken by the cluster's credits; durable is said by `chunks`).
    pub bytes: u64,
    /// Bytes in all, if known.
    pub bytes_total: Option<u64>,
    /// Chunks done: durable on enough nodes, or verified.
    pub chunks: u64,
    /// Steps that were tried again.
    pub retries: u64,
    /// Times that another node had to take over.
    pub failovers: u64,
}

/// Called while a transfer goes on, from whatever thread moves the bytes, about once per 2 MiB: it must not block.
pub type ProgressFn = Arc<dyn Fn(Progress) + Send + Sync>;

/// The counters of one transfer, shared by its tasks.
#[derive(Clone)]
pub(crate) struct Meter {
    state: Arc<MeterState>,
}

struct MeterState {
    bytes: AtomicU64,
    total: Option<u64>,
    chunks: AtomicU64,
    retries: AtomicU64,
    failovers: AtomicU64,
    listener: Option<ProgressFn>,
}

impl Meter {
    pub(crate) fn new(total: Option<u64>, listener: Option<ProgressFn>) -> Self {
        let state = MeterState {
            bytes: AtomicU64::new(0),
            total,
            chunks: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            failovers: AtomicU64::new(0),
            listener,
        };
        Self { state: Arc::new(state) }
    }

    pub(crate) fn moved(&self, bytes: u64) {
        self.state.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.tell();
    }

    /// Bytes counted before have to be moved again.
    pub(crate) fn unmoved(&self, bytes: u64) {
        self.state.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.tell();
    }

    pub(crate) fn chunk_done(&self) {
        self.state.chunks.fetch_add(1, Ordering::Relaxed);
        self.tell();
    }

    pub(crate) fn retried(&self) {
        self.state.retries.fetch_add(1, Ordering::Relaxed);
        self.tell();
    }

    pub(crate) fn failed_over(&self) {
        self.state.failovers.fetch_add(1, Ordering::Relaxed);
        self.tell();
    }

    pub(crate) fn now(&self) -> Progress {
        Progress {
            bytes: self.state.bytes.load(Ordering::Relaxed),
            bytes_total: self.state.total,
            chunks: self.state.chunks.load(Ordering::Relaxed),
            retries: self.state.retries.load(Ordering::Relaxed),
            failovers: self.state.failovers.load(Ordering::Relaxed),
        }
    }

    fn tell(&self) {
        if let Some(listener) = &self.state.listener {
            listener(self.now());
        }
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.now(), f)
    }
}
