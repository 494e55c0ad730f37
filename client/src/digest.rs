//! Hashing off the runtime's threads: batches of frames go to the blocking pool with their hash state and come back.
//!
//! SHA-256 of a batch takes about a millisecond: too long for a thread that also drives sockets, long enough that the
//! hand-over does not matter. Batches of a block or less are hashed where they are.

use dfs_wire::limits::BLOCK_BYTES;
use dfs_wire::status::StatusCode;
use sha2::{Digest, Sha256};

use crate::error::Error;

/// Frames hashed, read or written in one go: 2 MiB.
pub(crate) const BATCH_FRAMES: usize = 8;

/// A SHA-256.
pub(crate) type Sha = [u8; 32];

/// The hash so far.
#[derive(Clone, Default)]
pub(crate) struct Hash(Sha256);

impl Hash {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Sha {
        self.0.finalize().into()
    }
}

/// Runs `work` on `bytes` bytes of data: here if they are few, on the blocking pool if not.
///
/// Cancel safety: work handed over is finished (it owns what it touches), its result dropped.
pub(crate) async fn run<T, F>(bytes: usize, work: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    if bytes <= BLOCK_BYTES {
        return Ok(work());
    }
    blocking(work).await
}

/// Runs `work` on the blocking pool.
pub(crate) async fn blocking<T, F>(work: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let lost = |e| Error::new(StatusCode::Internal, "a worker of this process was lost").caused_by(e);
    tokio::task::spawn_blocking(work).await.map_err(lost)
}
