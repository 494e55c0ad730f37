//! The SHA-256 of the whole, computed beside the transfer, chunk after chunk in their order.
//!
//! Chunks are read and hashed on their own when they are sent; this is another pass over the same bytes. So that it is the sum
//! of what was stored, the hash of each chunk of this pass is compared with the one that the nodes signed for.

use std::collections::BTreeMap;

use super::feed::{ChunkSource, read_through};
use crate::digest::{Hash, Sha};
use crate::env::Workers;
use crate::error::Error;

/// The sum so far.
#[derive(Default)]
pub(super) struct WholeSum {
    whole: Hash,
    /// Hashes of this pass that are not compared yet.
    chunks: BTreeMap<u32, Sha>,
}

impl WholeSum {
    /// Adds the next chunk.
    pub(super) async fn add(
        &mut self,
        index: u32,
        source: ChunkSource,
        workers: Workers,
    ) -> Result<(), Error> {
        let mut whole = std::mem::take(&mut self.whole);
        let (whole, chunk) = workers
            .blocking(move || {
                let mut chunk = Hash::default();
                read_through(&source, |bytes| {
                    whole.update(bytes);
                    chunk.update(bytes);
                })?;
                Ok::<_, Error>((whole, chunk.finish()))
            })
            .await??;
        self.whole = whole;
        self.chunks.insert(index, chunk);
        Ok(())
    }

    /// Compares a chunk with what was stored.
    ///
    /// # Errors
    /// `SourceChanged` if they differ: the file was written to between the two passes.
    pub(super) fn check(&mut self, index: u32, stored: &Sha) -> Result<(), Error> {
        match self.chunks.remove(&index) {
            Some(ours) if ours != *stored => Err(Error::source_changed(format!(
                "chunk {index} was stored with other bytes than its sum is of: the source changed while it was read"
            ))
            .with_hint("nothing was stored; put it again when nobody writes to it")),
            _ => Ok(()),
        }
    }

    /// The sum of the whole, once every chunk was compared.
    pub(super) fn finish(self) -> Option<Sha> {
        self.chunks.is_empty().then(|| self.whole.finish())
    }
}
