//! Re-reads a whole chunk from the device: every block's CRC32, the SHA-256 of all, the padding.
//!
//! ```text
//!  pass 1: sound ------------------------------> Verified
//!      `-> mismatch -> pass 2: the same -------> Corrupt      (the same place, and the same bytes there)
//!                         |--> another --------> I/O error: the reads contradict each other
//!                         `--> sound ----------> Verified, with a warning
//! ```
//! A chunk that was condemned is looked at again like any other: if it is sound now, it is served again.

use std::io;

use dfs_actors::datanode::chunk_store::{ChunkInfo, READ_BYTES_MAX, ReplicaState, StoreError};
use dfs_wire::id::ChunkKey;
use sha2::{Digest, Sha256};

use super::core::Core;
use super::disk::count;
use super::format::padded_len;
use super::open_files::OpenChunk;
use super::reader::{BadBlock, first_bad_block, load};

/// What does not match.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Mismatch {
    Block(BadBlock),
    Hash([u8; 32]),
    /// With the checksum of what should be zeros.
    Padding(u32),
    Short,
}

impl Mismatch {
    fn describe(&self) -> String {
        match self {
            Self::Block(bad) => format!("{bad}, read twice"),
            Self::Hash(_) => "SHA-256, read twice".to_owned(),
            Self::Padding(_) => "bytes between the data and the footer are not zero, read twice".to_owned(),
            Self::Short => "the file ends before its data, read twice".to_owned(),
        }
    }
}

/// Verifies a chunk. Runs on an I/O thread, and keeps it for as long as the reading takes.
pub(crate) fn verify(core: &Core, key: ChunkKey) -> Result<ChunkInfo, StoreError> {
    let entry = core.index.get(key).ok_or_else(|| core.disk.not_found(key))?;
    // Not from the cache of open files: the footer is read again, too.
    let chunk = load(core, entry)?;
    let failed = |e| core.disk.read_failed(&format!("verifying chunk {key}"), e);
    if let Err(first) = pass(core, &chunk).map_err(failed)? {
        match pass(core, &chunk).map_err(failed)? {
            Err(second) if second == first => return Err(core.condemn(&chunk, &first.describe())),
            Err(second) => {
                let text = format!("two reads contradict each other: {first:?}, then {second:?}");
                return Err(failed(io::Error::other(text)));
            }
            Ok(()) => {
                tracing::warn!(disk = %core.disk.label, %key, ?first, "a mismatch did not show in a second read");
            }
        }
    }
    let now = core.index.set_state(key, chunk.instance, ReplicaState::Verified);
    now.map(|entry| entry.info).ok_or_else(|| core.disk.not_found(key))
}

fn pass(core: &Core, chunk: &OpenChunk) -> io::Result<Result<(), Mismatch>> {
    let len = chunk.info.len;
    let end = padded_len(len);
    let step = u64::from(READ_BYTES_MAX);
    let mut hash = Sha256::new();
    let mut start = 0;
    while start < end {
        core.disk.watch.step();
        let window_len = step.min(end - start);
        let mut buf = core.buffers.take(usize::try_from(window_len).unwrap_or(READ_BYTES_MAX as usize));
        match chunk.file.read_fresh(buf.as_mut(), start) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(Err(Mismatch::Short)),
            Err(e) => return Err(e),
        }
        let window = buf.as_ref();
        let first_block = usize::try_from(start).unwrap_or(usize::MAX) / dfs_wire::limits::BLOCK_BYTES;
        if let Some(bad) = first_bad_block(window, first_block, len, &chunk.block_crcs) {
            return Ok(Err(Mismatch::Block(bad)));
        }
        let data_len = usize::try_from(u64::from(len).saturating_sub(start)).unwrap_or(usize::MAX);
        let (data, padding) = window.split_at(data_len.min(window.len()));
        if padding.iter().any(|&b| b != 0) {
            return Ok(Err(Mismatch::Padding(crc32fast::hash(padding))));
        }
        hash.update(data);
        count(&core.disk.counters.read_bytes, data.len() as u64);
        start += window_len;
    }
    let found: [u8; 32] = hash.finalize().into();
    Ok(if found == chunk.info.sha256 { Ok(()) } else { Err(Mismatch::Hash(found)) })
}
