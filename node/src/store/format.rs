//! The bytes of a chunk file. Pure: no file is touched here.
//!
//! ```text
//! 0                      len        P = round_up(len, 4096)                          E = end of file
//! |--------- data -------|-- zeros --|-- CRC table --|-- zeros --|------ trailer -----|
//!                                    |<---------------- footer, n * 4096 ------------>|
//! ```
//! The CRC table holds one CRC32 (u32) per block of 64 KiB of data, the last block as short as the data is. The
//! trailer is always the last 128 bytes of the file, so one read of its tail finds everything:
//!
//! ```text
//!  0 magic "DFSCHUNK"   16 cluster id   48 file id (u64)    64 length (u32)      72 SHA-256    124 CRC32 of the footer
//!  8 version (u32)      32 chunk id     56 index (u32)      68 blocks (u32)     104 zeros          before this field
//! 12 block bytes (u32)                  60 generation (u32)
//! ```
//! Numbers are little-endian; 128-bit ids are big-endian, as they print. Data and footer start at multiples of 4 KiB
//! and the file ends at one, so that every write and read can be O_DIRECT and every mapping page-aligned. The file
//! describes itself completely: a node's index, and even the cluster's metadata, can be rebuilt from it.

use dfs_actors::datanode::chunk_store::{ChunkIdentity, ChunkSeal};
use dfs_wire::id::{ChunkId, ClusterId, Generation, InodeId};
use dfs_wire::limits::{BLOCK_BYTES, CHUNK_BYTES_MAX, SLAB_ALIGN};

/// Version this build writes, and the only one it reads.
pub const FORMAT_VERSION: u32 = 1;
/// Bytes of the trailer that ends the file.
pub const TRAILER_BYTES: usize = 128;
/// Longest footer: what has to be read from the end of any chunk file to know it.
pub const FOOTER_BYTES_MAX: usize = footer_bytes(CHUNK_BYTES_MAX);

const MAGIC: &[u8; 8] = b"DFSCHUNK";
const RESERVED: std::ops::Range<usize> = 104..124;
const CRC_AT: usize = 124;

const _: () = assert!(FOOTER_BYTES_MAX == 2 * SLAB_ALIGN);
const _: () = assert!(CRC_AT + 4 == TRAILER_BYTES && TRAILER_BYTES <= SLAB_ALIGN);

/// What the footer of a chunk file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footer {
    /// Which chunk the file holds, of which cluster and file.
    pub identity: ChunkIdentity,
    /// Its length and hash.
    pub seal: ChunkSeal,
    /// CRC32 of each block.
    pub block_crcs: Box<[u32]>,
}

/// Why bytes are not the footer of a chunk file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The end of the file is not a trailer.
    #[error("no chunk trailer at the end of the file")]
    Magic,
    /// Written by another version of this program.
    #[error("chunk format version {0}, this program knows {FORMAT_VERSION}")]
    Version(u32),
    /// The file is not as long as its footer says it is, or was not read far enough.
    #[error("file of {found} bytes where the footer describes {expected}")]
    FileLength {
        /// Bytes of the file.
        found: u64,
        /// Bytes it should have.
        expected: u64,
    },
    /// The footer contradicts itself in the field named.
    #[error("chunk footer has an impossible {0}")]
    Field(&'static str),
    /// The footer's own checksum does not match.
    #[error("chunk footer checksum {found:08x}, expected {expected:08x}")]
    Checksum {
        /// Computed from the bytes.
        found: u32,
        /// Stored in the trailer.
        expected: u32,
    },
}

/// Blocks in `len` bytes of data.
pub const fn block_count(len: u32) -> usize {
    (len as usize).div_ceil(BLOCK_BYTES)
}

/// Where the footer starts: `len` rounded up to 4 KiB.
pub const fn padded_len(len: u32) -> u64 {
    (len as u64).next_multiple_of(SLAB_ALIGN as u64)
}

/// Bytes of the footer of a chunk of `len` bytes.
pub const fn footer_bytes(len: u32) -> usize {
    (block_count(len) * 4 + TRAILER_BYTES).next_multiple_of(SLAB_ALIGN)
}

/// Bytes of the whole file of a chunk of `len` bytes.
pub const fn file_bytes(len: u32) -> u64 {
    padded_len(len) + footer_bytes(len) as u64
}

/// Encodes the footer: [`footer_bytes`] bytes, to be written at [`padded_len`].
///
/// # Panics
/// If the number of CRCs does not fit the length: the writer counts both.
pub fn encode(footer: &Footer) -> Vec<u8> {
    let ChunkSeal { len, sha256 } = footer.seal;
    assert_eq!(footer.block_crcs.len(), block_count(len), "one CRC per block");
    let id = &footer.identity;
    let mut out = Vec::with_capacity(footer_bytes(len));
    for crc in &footer.block_crcs {
        out.extend_from_slice(&crc.to_le_bytes());
    }
    out.resize(footer_bytes(len) - TRAILER_BYTES, 0);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    out.extend_from_slice(&(BLOCK_BYTES as u32).to_le_bytes());
    out.extend_from_slice(&id.cluster.to_bytes());
    out.extend_from_slice(&id.chunk.to_bytes());
    out.extend_from_slice(&id.file.0.to_le_bytes());
    out.extend_from_slice(&id.index.to_le_bytes());
    out.extend_from_slice(&id.generation.0.to_le_bytes());
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&(block_count(len) as u32).to_le_bytes());
    out.extend_from_slice(&sha256);
    out.resize(footer_bytes(len) - TRAILER_BYTES + CRC_AT, 0);
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// Decodes the footer from the end of a file.
///
/// `tail` is the last `min(file_len, FOOTER_BYTES_MAX)` bytes of the file, or more. Accepts exactly what [`encode`]
/// makes, in a file of exactly the right length.
///
/// # Errors
/// See [`FormatError`]; every flipped bit of a footer is one of them.
pub fn decode(tail: &[u8], file_len: u64) -> Result<Footer, FormatError> {
    let trailer: &[u8; TRAILER_BYTES] = tail.last_chunk().ok_or(FormatError::Magic)?;
    let mut fields = Fields(trailer);
    if &fields.take::<8>() != MAGIC {
        return Err(FormatError::Magic);
    }
    let version = fields.u32();
    if version != FORMAT_VERSION {
        return Err(FormatError::Version(version));
    }
    let block_bytes = fields.u32();
    let identity = ChunkIdentity {
        cluster: ClusterId::from_bytes(fields.take()),
        chunk: ChunkId::from_bytes(fields.take()),
        file: InodeId(u64::from_le_bytes(fields.take())),
        index: fields.u32(),
        generation: Generation(fields.u32()),
    };
    let len = fields.u32();
    let blocks = fields.u32();
    let sha256 = fields.take();
    if len > CHUNK_BYTES_MAX {
        return Err(FormatError::Field("length"));
    }
    if block_bytes as usize != BLOCK_BYTES || blocks as usize != block_count(len) {
        return Err(FormatError::Field("block count"));
    }
    if file_len != file_bytes(len) {
        return Err(FormatError::FileLength { found: file_len, expected: file_bytes(len) });
    }
    let start = tail.len().checked_sub(footer_bytes(len));
    let footer = start.and_then(|at| tail.get(at..)).ok_or(FormatError::Field("read length"))?;
    check_footer(footer, trailer)?;
    let (table, _) = footer.as_chunks::<4>();
    let block_crcs = table.iter().take(block_count(len)).map(|crc| u32::from_le_bytes(*crc)).collect();
    Ok(Footer { identity, seal: ChunkSeal { len, sha256 }, block_crcs })
}

/// The footer's own CRC, then that what should be zero is zero.
fn check_footer(footer: &[u8], trailer: &[u8; TRAILER_BYTES]) -> Result<(), FormatError> {
    let (covered, stored) = footer.split_last_chunk::<4>().ok_or(FormatError::Magic)?;
    let (found, expected) = (crc32fast::hash(covered), u32::from_le_bytes(*stored));
    if found != expected {
        return Err(FormatError::Checksum { found, expected });
    }
    if trailer.get(RESERVED).is_none_or(|reserved| reserved.iter().any(|&b| b != 0)) {
        return Err(FormatError::Field("reserved field"));
    }
    Ok(())
}

/// Takes fixed-size fields from the front of the trailer. Past its end it yields zeros, which no caller reaches.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((field, rest)) => {
                self.0 = rest;
                *field
            }
            None => [0; N],
        }
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }
}

/// CRC32 of each block of `data`, as the table holds them.
pub fn block_crcs(data: &[u8]) -> Vec<u32> {
    data.chunks(BLOCK_BYTES).map(crc32fast::hash).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn footer(len: u32, seed: u64) -> Footer {
        let wide = u128::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        Footer {
            identity: ChunkIdentity {
                cluster: ClusterId(wide),
                chunk: ChunkId(!wide),
                generation: Generation(seed as u32),
                file: InodeId(seed),
                index: (seed >> 32) as u32,
            },
            seal: ChunkSeal { len, sha256: [seed as u8; 32] },
            block_crcs: (0..block_count(len)).map(|i| (i as u32).wrapping_mul(seed as u32)).collect(),
        }
    }

    #[test]
    fn golden_trailer() {
        let footer = Footer {
            identity: ChunkIdentity {
                cluster: ClusterId(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
                chunk: ChunkId(0x2122_2324_2526_2728_292a_2b2c_2d2e_2f30),
                generation: Generation(3),
                file: InodeId(0x0a0b),
                index: 5,
            },
            seal: ChunkSeal { len: 65_537, sha256: [0xee; 32] },
            block_crcs: vec![0x1111_2222, 0x3333_4444].into(),
        };
        let bytes = encode(&footer);
        assert_eq!(bytes.len(), 4096);
        assert_eq!(bytes[..8], [0x22, 0x22, 0x11, 0x11, 0x44, 0x44, 0x33, 0x33]);
        assert!(bytes[8..4096 - 128].iter().all(|&b| b == 0));
        let hex: String = bytes[4096 - 128..].iter().map(|b| format!("{b:02x}")).collect();
        let expected = concat!(
            "4446534348554e4b",                 // magic
            "01000000",                         // version
            "00000100",                         // block bytes
            "0102030405060708090a0b0c0d0e0f10", // cluster
            "2122232425262728292a2b2c2d2e2f30", // chunk
            "0b0a000000000000",                 // file
            "05000000",                         // index
            "03000000",                         // generation
            "01000100",                         // length
            "02000000",                         // blocks
            "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee",
            "0000000000000000000000000000000000000000", // reserved
        );
        assert_eq!(hex[..expected.len()], *expected);
        assert_eq!(bytes[4092..], crc32fast::hash(&bytes[..4092]).to_le_bytes());
    }

    #[test]
    fn lengths_around_every_boundary() {
        for (len, padded, footer) in [
            (0, 0, 4096),
            (1, 4096, 4096),
            (4096, 4096, 4096),
            (4097, 8192, 4096),
            (CHUNK_BYTES_MAX, u64::from(CHUNK_BYTES_MAX), 8192),
        ] {
            assert_eq!((padded_len(len), footer_bytes(len)), (padded, footer), "{len}");
        }
        assert_eq!((block_count(0), block_count(65_536), block_count(65_537)), (0, 1, 2));
    }

    #[test]
    fn every_flipped_bit_of_a_footer_is_caught() {
        for len in [0, 1, 65_537] {
            let mut bytes = encode(&footer(len, 77));
            for bit in 0..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(decode(&bytes, file_bytes(len)).is_err(), "bit {bit} of length {len}");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            assert!(decode(&bytes, file_bytes(len)).is_ok());
        }
    }

    #[test]
    fn other_versions_and_cut_files_are_named() {
        let mut bytes = encode(&footer(10, 1));
        assert!(matches!(decode(&bytes, file_bytes(10) - 4096), Err(FormatError::FileLength { .. })));
        let at = bytes.len() - TRAILER_BYTES + 8;
        bytes[at] = 2;
        assert_eq!(decode(&bytes, file_bytes(10)), Err(FormatError::Version(2)));
        assert_eq!(decode(&[], 0), Err(FormatError::Magic));
        let big = encode(&footer(CHUNK_BYTES_MAX, 1));
        let cut = &big[4096..];
        assert_eq!(decode(cut, file_bytes(CHUNK_BYTES_MAX)), Err(FormatError::Field("read length")));
    }

    proptest! {
        #[test]
        fn decode_after_encode_is_the_identity(len in 0..=CHUNK_BYTES_MAX, seed: u64, extra in 0usize..9000) {
            let footer = footer(len, seed);
            let mut tail = vec![0xa5; extra];
            tail.extend(encode(&footer));
            prop_assert_eq!(decode(&tail, file_bytes(len)), Ok(footer));
        }

        #[test]
        fn arbitrary_bytes_never_panic(mut tail in proptest::collection::vec(any::<u8>(), 0..9000), len: u64, magic: bool) {
            if magic && let Some(at) = tail.len().checked_sub(TRAILER_BYTES) {
                tail[at..at + 8].copy_from_slice(MAGIC);
                tail[at + 8..at + 12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
            }
            prop_assert!(decode(&tail, len).is_err());
        }
    }
}
