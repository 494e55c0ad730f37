//! Chunk files of version 1: written before a chunk told of its file and of how it is enciphered. They are read for ever; a
//! copy made of one is of the version that is written now.
//!
//! ```text
//! |--------- data -------|-- zeros --|-- CRC table --|-- zeros --|-- trailer, 128 bytes --|
//!
//!  0 magic "DFSCHUNK"   16 cluster id   48 file id (u64)    64 length (u32)      72 SHA-256    124 CRC32 of the footer
//!  8 version (u32)      32 chunk id     56 index (u32)      68 blocks (u32)     104 zeros          before this field
//! 12 block bytes (u32)                  60 generation (u32)
//! ```

use dfs_wire::limits::SLAB_ALIGN;
use dfs_wire::message::facts::ChunkFacts;

use super::{Common, Fields, Footer, FormatError, block_count, check_crc, table};

const VERSION: u32 = 1;
const TRAILER_BYTES: usize = 128;
const RESERVED: std::ops::Range<usize> = 104..124;

/// Bytes of the footer of a chunk of `len` bytes.
pub(super) const fn footer_bytes(len: u32) -> usize {
    (block_count(len) * 4 + TRAILER_BYTES).next_multiple_of(SLAB_ALIGN)
}

/// The footer at the end of `tail`.
pub(super) fn decode(tail: &[u8], file_len: u64) -> Result<Footer, FormatError> {
    let trailer: &[u8; TRAILER_BYTES] = tail.last_chunk().ok_or(FormatError::Magic)?;
    let common = Common::take(&mut Fields(trailer), VERSION)?;
    let footer = common.footer_of(tail, file_len, footer_bytes(common.seal.len))?;
    check_crc(footer)?;
    if trailer.get(RESERVED).is_none_or(|reserved| reserved.iter().any(|&b| b != 0)) {
        return Err(FormatError::Field("reserved field"));
    }
    let block_crcs = table(footer, common.seal.len);
    Ok(Footer { identity: common.identity, seal: common.seal, block_crcs, facts: ChunkFacts::default() })
}
