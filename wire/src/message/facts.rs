//! What a chunk says of itself and of its file beyond its bytes: it lies in the chunk's footer on every disk, and goes with
//! every copy.
//!
//! ```text
//! writer --End(len, SHA-256, facts)--> primary --the same End--> replicas      each writes them into its footer
//! target of a copy --Read(facts: true)--> source --ChunkRead(facts)-->         and the copy gets the source's
//! ```
//!
//! They are the writer's word, checked by nobody, and nothing that a cluster does rests on them. They are for the day on
//! which its metadata is lost: then a scan of the disks tells which bytes were which file's.

use serde::{Deserialize, Serialize};

use crate::id::EncryptionId;
use crate::limits::{BLOCK_BYTES, SEALED_PAYLOAD_BYTES, TAG_BYTES};
use crate::path::DfsPath;

/// What a chunk says of itself and of its file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ChunkFacts {
    /// How its bytes were enciphered; `None` = what is stored is what was written.
    pub sealing: Option<Sealing>,
    /// Where in its file its first byte belongs; `None` = not known (a chunk of format 1).
    pub offset: Option<u64>,
    /// It is known to be the last of its file.
    pub last: bool,
    /// Bytes of the whole file, if they were known when it was written.
    pub file_size: Option<u64>,
    /// Modification time of the file, nanoseconds since 1970 (negative before), if the writer asked to keep one.
    pub mtime_ns: Option<i64>,
    /// The path that the file was written to. Files move, chunks do not: a hint.
    pub path: Option<DfsPath>,
}

impl ChunkFacts {
    /// Whether they can be those of a chunk of which `len` bytes are stored.
    pub fn suit(&self, len: u32) -> bool {
        self.sealing.is_none_or(|sealing| Sealing::stored_len(sealing.plain_len) == u64::from(len))
    }
}

/// How the bytes of a chunk were enciphered before they left their writer.
///
/// A sealed chunk consists of blocks of 64 KiB, each readable alone: up to [`SEALED_PAYLOAD_BYTES`] of ciphertext, then its
/// tag. The last block is as short as the data is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealing {
    /// With what.
    pub cipher: Cipher,
    /// Whose data key: that of the file it was written for.
    pub key: EncryptionId,
    /// Random for each attempt at the chunk: with it the chunk's own key is derived from the data key, so that no key ever meets
    /// a nonce twice.
    pub salt: [u8; 16],
    /// Bytes before they were enciphered.
    pub plain_len: u32,
    /// SHA-256 of them.
    pub plain_sha256: [u8; 32],
}

impl Sealing {
    /// What is stored of `plain_len` bytes: they, and a tag for each block.
    pub const fn stored_len(plain_len: u32) -> u64 {
        let plain_len = plain_len as u64;
        plain_len + plain_len.div_ceil(SEALED_PAYLOAD_BYTES as u64) * TAG_BYTES as u64
    }
}

const _: () = assert!(SEALED_PAYLOAD_BYTES + TAG_BYTES == BLOCK_BYTES, "a block is checked and opened alone");

/// A cipher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cipher {
    /// AES-256-GCM, under a key that HKDF-SHA256 derives for the chunk.
    Aes256Gcm,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_more_for_each_block_begun() {
        let block = SEALED_PAYLOAD_BYTES as u32;
        for (plain, stored) in [
            (0, 0),
            (1, 17),
            (block, u64::from(block) + 16),
            (block + 1, u64::from(block) + 33),
            (u32::MAX, u64::from(u32::MAX) + 65_553 * 16),
        ] {
            assert_eq!(Sealing::stored_len(plain), stored, "{plain}");
        }
    }
}
