//! What comes on a stream: payload with its checksums, its end, the answer.

use bytes::Bytes;

use crate::limits::{BLOCK_BYTES, DATA_FRAME_BYTES};
use crate::message::{EndHead, Response};

/// Blocks of a full data frame.
pub(super) const BLOCKS_PER_FRAME: usize = DATA_FRAME_BYTES / BLOCK_BYTES;

/// Payload, checked against its CRC. Dropping the bytes gives the credit back.
#[derive(Clone)]
pub struct DataFrame {
    /// The payload: 256 KiB, or less for the last frame of its stream.
    pub bytes: Bytes,
    /// CRC32 of all of it.
    pub crc: u32,
    blocks: [u32; BLOCKS_PER_FRAME],
}

// Payload is never printed: a log line of 256 KiB helps nobody.
impl std::fmt::Debug for DataFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DataFrame({} bytes, crc {:08x})", self.bytes.len(), self.crc)
    }
}

impl DataFrame {
    /// Computes the checksums of `bytes`, at most a frame's worth.
    pub fn new(bytes: Bytes) -> Self {
        let (blocks, crc) = checksums(&bytes);
        Self { bytes, crc, blocks }
    }

    /// A frame of bytes that were verified, at most a frame's worth, from the checksums of their blocks of 64 KiB (the last
    /// may be shorter). The bytes are not looked at: they may be a mapping of a file. `None` if the number of checksums is
    /// another.
    pub fn verified(bytes: Bytes, block_crcs: &[u32]) -> Option<Self> {
        let lens = (0..bytes.len()).step_by(BLOCK_BYTES).map(|at| (bytes.len() - at).min(BLOCK_BYTES));
        if lens.len() != block_crcs.len() || block_crcs.len() > BLOCKS_PER_FRAME {
            return None;
        }
        let (mut blocks, mut whole) = ([0; BLOCKS_PER_FRAME], crc32fast::Hasher::new());
        for ((slot, crc), len) in blocks.iter_mut().zip(block_crcs).zip(lens) {
            *slot = *crc;
            whole.combine(&crc32fast::Hasher::new_with_initial_len(*crc, len as u64));
        }
        Some(Self { bytes, crc: whole.finalize(), blocks })
    }

    pub(super) fn with_checksums(bytes: Bytes, crc: u32, blocks: [u32; BLOCKS_PER_FRAME]) -> Self {
        Self { bytes, crc, blocks }
    }

    /// CRC32 of each 64 KiB block of it (the last may be shorter).
    pub fn block_crcs(&self) -> &[u32] {
        self.blocks.get(..self.bytes.len().div_ceil(BLOCK_BYTES)).unwrap_or(&self.blocks)
    }
}

/// The checksum of each block, and of the whole, combined from them.
pub(super) fn checksums(bytes: &[u8]) -> ([u32; BLOCKS_PER_FRAME], u32) {
    let mut blocks = [0; BLOCKS_PER_FRAME];
    let mut whole = crc32fast::Hasher::new();
    for (slot, block) in blocks.iter_mut().zip(bytes.chunks(BLOCK_BYTES)) {
        let mut crc = crc32fast::Hasher::new();
        crc.update(block);
        whole.combine(&crc);
        *slot = crc.finalize();
    }
    (blocks, whole.finalize())
}

/// What a peer sent on a stream.
pub enum Event {
    /// Some of its payload.
    Data(DataFrame),
    /// All its payload was sent.
    End(EndHead),
    /// The answer, with up to 64 KiB of payload; nothing follows.
    Response(Response, Bytes),
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Data(frame) => frame.fmt(f),
            Self::End(end) => end.fmt(f),
            Self::Response(response, tail) => write!(f, "Response({response:?}, {} bytes)", tail.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_made_from_the_checksums_of_its_blocks_is_the_one_made_from_its_bytes() {
        let data: Vec<u8> = (0..DATA_FRAME_BYTES).map(|i| (i / 3) as u8 ^ (i / 70_001) as u8).collect();
        for len in
            [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES + 77, DATA_FRAME_BYTES]
        {
            let bytes = Bytes::copy_from_slice(&data[..len]);
            let computed = DataFrame::new(bytes.clone());
            let combined =
                DataFrame::verified(bytes.clone(), computed.block_crcs()).expect("as many as blocks");
            assert_eq!((combined.crc, combined.blocks), (computed.crc, computed.blocks), "{len}");
            let more = [computed.block_crcs(), &[0]].concat();
            assert!(DataFrame::verified(bytes, &more).is_none());
        }
    }
}
