//! The bytes of a chunk file. Pure: no file is touched here.
//!
//! ```text
//! 0                      len        P = round_up(len, 4096)                                   E = end of file
//! |--------- data -------|-- zeros --|-- CRC table --|-- path --|-- zeros --|---- trailer ----|
//!                                    |<------------------- footer, n * 4096 ----------------->|
//! ```
//! The CRC table holds one CRC32 (u32) per block of 64 KiB of data, the last block as short as the data is. The
//! trailer is always the last 256 bytes of the file, so one read of its tail finds everything:
//!
//! ```text
//!   0 magic "DFSCHUNK"      8 version (u32)      12 block bytes (u32)
//!  16 cluster id           32 chunk id           48 file id (u64)       56 index (u32)       60 generation (u32)
//!  64 length (u32)         68 blocks (u32)       72 SHA-256 of the data
//! 104 cipher (u16)        106 flags (u16)       108 plain length (u32) 112 key id           128 salt
//! 144 SHA-256 of what was enciphered            176 offset in the file (u64)               184 file size (u64)
//! 192 mtime (i64, ns)     200 path bytes (u16)  202 zeros              252 CRC32 of the footer before this field
//! ```
//! Numbers are little-endian; 128-bit ids are big-endian, as they print. Data and footer start at multiples of 4 KiB
//! and the file ends at one, so that every write and read can be O_DIRECT and every mapping page-aligned. The file
//! describes itself completely: a node's index, and even the cluster's metadata, can be rebuilt from it.
//!
//! Data is what is stored, enciphered or not: what checks, copies and repairs it needs no key. Of data that is not enciphered
//! (cipher 0) the plain length and SHA-256 are those of the data, key and salt are zero. The flags say which of the facts about
//! the file are known: 1 offset, 2 last chunk, 4 file size, 8 mtime; those that are not are zero. The path is there if it fits
//! into the page that the footer has anyway: so the length of the data tells that of the file.
//!
//! Version 1, in `older.rs`, is read for ever; what is written is version 2.

use dfs_actors::datanode::chunk_store::{ChunkIdentity, ChunkSeal};
use dfs_wire::id::{ChunkId, ClusterId, EncryptionId, Generation, InodeId};
use dfs_wire::limits::{BLOCK_BYTES, CHUNK_BYTES_MAX, SLAB_ALIGN};
use dfs_wire::message::facts::{ChunkFacts, Cipher, Sealing};
use dfs_wire::path::DfsPath;

mod older;
#[cfg(test)]
mod tests;

/// Version this build writes. It reads all up to it.
pub const FORMAT_VERSION: u32 = 2;
/// Bytes of the trailer that ends the file.
pub const TRAILER_BYTES: usize = 256;
/// Longest footer: what has to be read from the end of any chunk file to know it.
pub const FOOTER_BYTES_MAX: usize = footer_bytes(CHUNK_BYTES_MAX);

const MAGIC: &[u8; 8] = b"DFSCHUNK";
const RESERVED: std::ops::Range<usize> = 202..252;
const CRC_AT: usize = 252;

const CIPHER_NONE: u16 = 0;
const CIPHER_AES_256_GCM: u16 = 1;

const HAS_OFFSET: u16 = 1;
const LAST: u16 = 2;
const HAS_FILE_SIZE: u16 = 4;
const HAS_MTIME: u16 = 8;
const FLAGS: u16 = HAS_OFFSET | LAST | HAS_FILE_SIZE | HAS_MTIME;

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
    /// What it says of its bytes and its file beside.
    pub facts: ChunkFacts,
}

/// Why bytes are not the footer of a chunk file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The end of the file is not a trailer.
    #[error("no chunk trailer at the end of the file")]
    Magic,
    /// Written by a newer version of this program.
    #[error("chunk format version {0}, this program knows those up to {FORMAT_VERSION}")]
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

/// Encodes the footer: [`footer_bytes`] bytes, to be written at [`padded_len`]. A path that does not fit is left out.
///
/// # Panics
/// If the number of CRCs does not fit the length: the writer counts both.
pub fn encode(footer: &Footer) -> Vec<u8> {
    let ChunkSeal { len, sha256 } = footer.seal;
    assert_eq!(footer.block_crcs.len(), block_count(len), "one CRC per block");
    let (id, facts) = (&footer.identity, &footer.facts);
    let mut out = Vec::with_capacity(footer_bytes(len));
    for crc in &footer.block_crcs {
        out.extend_from_slice(&crc.to_le_bytes());
    }
    let path = facts.path.as_ref().map_or("", DfsPath::as_str);
    let path = if path.len() <= path_room(len) { path } else { "" };
    out.extend_from_slice(path.as_bytes());
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
    let cipher = match facts.sealing.map(|sealing| sealing.cipher) {
        None => CIPHER_NONE,
        Some(Cipher::Aes256Gcm) => CIPHER_AES_256_GCM,
    };
    out.extend_from_slice(&cipher.to_le_bytes());
    out.extend_from_slice(&flags(facts).to_le_bytes());
    let plain = Sealing {
        cipher: Cipher::Aes256Gcm,
        key: EncryptionId(0),
        salt: [0; 16],
        plain_len: len,
        plain_sha256: sha256,
    };
    let Sealing { key, salt, plain_len, plain_sha256, .. } = facts.sealing.unwrap_or(plain);
    out.extend_from_slice(&plain_len.to_le_bytes());
    out.extend_from_slice(&key.to_bytes());
    out.extend_from_slice(&salt);
    out.extend_from_slice(&plain_sha256);
    out.extend_from_slice(&facts.offset.unwrap_or_default().to_le_bytes());
    out.extend_from_slice(&facts.file_size.unwrap_or_default().to_le_bytes());
    out.extend_from_slice(&facts.mtime_ns.unwrap_or_default().to_le_bytes());
    out.extend_from_slice(&(path.len() as u16).to_le_bytes());
    out.resize(footer_bytes(len) - TRAILER_BYTES + CRC_AT, 0);
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

fn flags(facts: &ChunkFacts) -> u16 {
    let known = [
        (facts.offset.is_some(), HAS_OFFSET),
        (facts.last, LAST),
        (facts.file_size.is_some(), HAS_FILE_SIZE),
        (facts.mtime_ns.is_some(), HAS_MTIME),
    ];
    known.into_iter().filter_map(|(is, flag)| is.then_some(flag)).sum()
}

/// Room for a path in the footer of a chunk of `len` bytes.
const fn path_room(len: u32) -> usize {
    footer_bytes(len) - TRAILER_BYTES - block_count(len) * 4
}

/// Decodes the footer from the end of a file.
///
/// `tail` is the last `min(file_len, FOOTER_BYTES_MAX)` bytes of the file, or more. Accepts exactly what [`encode`]
/// makes, and what version 1 made, in a file of exactly the right length.
///
/// # Errors
/// See [`FormatError`]; every flipped bit of a footer is one of them.
pub fn decode(tail: &[u8], file_len: u64) -> Result<Footer, FormatError> {
    // What is at this place decides. Further on there is what a writer said, and that may look like an older trailer.
    let Some(trailer) = tail.last_chunk::<TRAILER_BYTES>().filter(|trailer| trailer.starts_with(MAGIC))
    else {
        return older::decode(tail, file_len);
    };
    let mut fields = Fields(trailer);
    let common = Common::take(&mut fields, FORMAT_VERSION)?;
    let footer = common.footer_of(tail, file_len, footer_bytes(common.seal.len))?;
    let stated = Stated::take(&mut fields);
    check_crc(footer)?;
    if trailer.get(RESERVED).is_none_or(|reserved| reserved.iter().any(|&b| b != 0)) {
        return Err(FormatError::Field("reserved field"));
    }
    let block_crcs = table(footer, common.seal.len);
    let facts = stated.facts(&common.seal, footer.get(block_crcs.len() * 4..).unwrap_or_default())?;
    Ok(Footer { identity: common.identity, seal: common.seal, block_crcs, facts })
}

/// What the trailers of all versions begin with.
struct Common {
    identity: ChunkIdentity,
    seal: ChunkSeal,
}

impl Common {
    /// Takes it from a trailer of `version`.
    fn take(fields: &mut Fields<'_>, version: u32) -> Result<Self, FormatError> {
        if &fields.take::<8>() != MAGIC {
            return Err(FormatError::Magic);
        }
        let found = fields.u32();
        if found != version {
            return Err(FormatError::Version(found));
        }
        let block_bytes = fields.u32();
        let identity = ChunkIdentity {
            cluster: ClusterId::from_bytes(fields.take()),
            chunk: ChunkId::from_bytes(fields.take()),
            file: InodeId(fields.u64()),
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
        Ok(Self { identity, seal: ChunkSeal { len, sha256 } })
    }

    /// The footer, of `bytes` bytes, at the end of `tail`.
    fn footer_of<'a>(&self, tail: &'a [u8], file_len: u64, bytes: usize) -> Result<&'a [u8], FormatError> {
        let expected = padded_len(self.seal.len) + bytes as u64;
        if file_len != expected {
            return Err(FormatError::FileLength { found: file_len, expected });
        }
        let start = tail.len().checked_sub(bytes);
        start.and_then(|at| tail.get(at..)).ok_or(FormatError::Field("read length"))
    }
}

/// The facts as the trailer states them, before anything is made of them.
struct Stated {
    cipher: u16,
    flags: u16,
    plain_len: u32,
    key: EncryptionId,
    salt: [u8; 16],
    plain_sha256: [u8; 32],
    offset: u64,
    file_size: u64,
    mtime_ns: i64,
    path_bytes: u16,
}

impl Stated {
    fn take(fields: &mut Fields<'_>) -> Self {
        Self {
            cipher: fields.u16(),
            flags: fields.u16(),
            plain_len: fields.u32(),
            key: EncryptionId::from_bytes(fields.take()),
            salt: fields.take(),
            plain_sha256: fields.take(),
            offset: fields.u64(),
            file_size: fields.u64(),
            mtime_ns: i64::from_le_bytes(fields.take()),
            path_bytes: fields.u16(),
        }
    }

    /// The facts; the path is at the beginning of `rest`, with nothing but zeros between it and the trailer.
    fn facts(self, seal: &ChunkSeal, rest: &[u8]) -> Result<ChunkFacts, FormatError> {
        let rest = rest.get(..path_room(seal.len)).unwrap_or_default();
        let (path, zeros) =
            rest.split_at_checked(self.path_bytes.into()).ok_or(FormatError::Field("path length"))?;
        if zeros.iter().any(|&b| b != 0) {
            return Err(FormatError::Field("rest of the page"));
        }
        let path = match std::str::from_utf8(path) {
            Ok("") => None,
            // A hint that this build does not take for a path says nothing about the bytes.
            Ok(path) => DfsPath::parse(path).ok(),
            Err(_) => None,
        };
        let sealing = self.sealing(seal)?;
        if self.flags & !FLAGS != 0 {
            return Err(FormatError::Field("flags"));
        }
        let known = |flag| self.flags & flag != 0;
        let number = |flag, value: u64, name| match (known(flag), value) {
            (true, value) => Ok(Some(value)),
            (false, 0) => Ok(None),
            (false, _) => Err(FormatError::Field(name)),
        };
        let mtime = number(HAS_MTIME, self.mtime_ns.cast_unsigned(), "modification time")?;
        Ok(ChunkFacts {
            sealing,
            offset: number(HAS_OFFSET, self.offset, "offset")?,
            last: known(LAST),
            file_size: number(HAS_FILE_SIZE, self.file_size, "file size")?,
            mtime_ns: mtime.map(u64::cast_signed),
            path,
        })
    }

    fn sealing(&self, seal: &ChunkSeal) -> Result<Option<Sealing>, FormatError> {
        let &Self { plain_len, key, salt, plain_sha256, .. } = self;
        match self.cipher {
            CIPHER_NONE => {
                let bare = (key, salt) == (EncryptionId(0), [0; 16]);
                let same = (plain_len, plain_sha256) == (seal.len, seal.sha256);
                if bare && same { Ok(None) } else { Err(FormatError::Field("plain length")) }
            }
            CIPHER_AES_256_GCM if Sealing::stored_len(plain_len) == u64::from(seal.len) => {
                Ok(Some(Sealing { cipher: Cipher::Aes256Gcm, key, salt, plain_len, plain_sha256 }))
            }
            CIPHER_AES_256_GCM => Err(FormatError::Field("plain length")),
            _ => Err(FormatError::Field("cipher")),
        }
    }
}

/// The footer's own CRC, in its last four bytes.
fn check_crc(footer: &[u8]) -> Result<(), FormatError> {
    let (covered, stored) = footer.split_last_chunk::<4>().ok_or(FormatError::Magic)?;
    let (found, expected) = (crc32fast::hash(covered), u32::from_le_bytes(*stored));
    if found == expected { Ok(()) } else { Err(FormatError::Checksum { found, expected }) }
}

/// The CRC table at the beginning of a footer.
fn table(footer: &[u8], len: u32) -> Box<[u32]> {
    let (table, _) = footer.as_chunks::<4>();
    table.iter().take(block_count(len)).map(|crc| u32::from_le_bytes(*crc)).collect()
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

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}

/// CRC32 of each block of `data`, as the table holds them.
pub fn block_crcs(data: &[u8]) -> Vec<u32> {
    data.chunks(BLOCK_BYTES).map(crc32fast::hash).collect()
}
