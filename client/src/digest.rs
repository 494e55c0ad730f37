//! Hashing off the runtime's threads: batches of frames go to the blocking pool with their hash state and come back.
//!
//! SHA-256 of a batch takes about a millisecond: too long for a thread that also drives sockets, long enough that the
//! hand-over does not matter. Batches of a block or less are hashed where they are.

use sha2::{Digest, Sha256};

/// Frames hashed, read or written in one go: 2 MiB.
pub(crate) const BATCH_FRAMES: usize = 8;

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
