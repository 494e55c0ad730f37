//! What a part file says of itself, behind the place of its bytes: what it is a part of, and which chunks were verified.
//!
//! ```text
//! | bytes of the file ... | to a whole page | slot, 4 KiB | slot, 4 KiB |      each slot: magic, length, SHA-256, JSON
//! ```
//!
//! The slots are written in turn, so that a write that was cut off leaves the other one. The trailer goes when the file is
//! whole. It is a hint only: on resumption each chunk that it names is hashed again.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// First bytes of a slot.
const MAGIC: [u8; 8] = *b"dfs part";
/// Bytes of a slot: a page, so that it is never written past the page cache together with bytes of the file.
const SLOT_BYTES: u64 = 4096;
/// Bytes of a slot before its text.
const HEAD_BYTES: usize = MAGIC.len() + 4 + 32;
/// Runs of chunks that fit into a slot beside the longest of the other fields. What does not fit is fetched again.
const RUNS_MAX: usize = 80;

/// What was fetched so far, and of what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Trailer {
    pub(super) format: u32,
    /// The name the part file was made with, so that a copy of it under another one is nobody's part.
    pub(super) name: String,
    /// Its inode, for the same reason.
    pub(super) inode: u64,
    /// When that was made, where the file system knows it: a number of an inode is given out again.
    pub(super) born: Option<u128>,
    /// The name it is to have when it is whole; bytes that are not ASCII are escaped.
    pub(super) destination: String,
    pub(super) version: String,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) chunk_size: u32,
    /// Permissions of a new file here, as they were when it was made.
    pub(super) mode: u32,
    /// Grows with each writing: the newer slot counts.
    pub(super) sequence: u64,
    /// Runs of verified chunks, first and last.
    pub(super) chunks: Vec<(u32, u32)>,
}

/// The number of an inode, and when it was made in nanoseconds since 1970.
pub(super) type Inode = (u64, Option<u128>);

/// Which inode a file is.
pub(super) fn inode_of(metadata: &Metadata) -> Inode {
    let born = metadata.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    (metadata.ino(), born.map(|since| since.as_nanos()))
}

/// Bytes of a part file for `len` bytes of a file.
pub(super) fn whole_len(len: u64) -> u64 {
    begin(len).saturating_add(2 * SLOT_BYTES)
}

fn begin(len: u64) -> u64 {
    len.checked_next_multiple_of(SLOT_BYTES).unwrap_or(u64::MAX)
}

impl Trailer {
    fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Writes it down, with as many runs as fit.
    pub(super) fn write(&self, file: &File) -> io::Result<()> {
        let mut fitting = self.clone();
        fitting.chunks.truncate(RUNS_MAX);
        let text = serde_json::to_vec(&fitting).map_err(io::Error::other)?;
        let len = u32::try_from(text.len()).map_err(io::Error::other)?;
        let slot = [&MAGIC[..], &len.to_le_bytes(), &Sha256::digest(&text), &text].concat();
        if slot.len() as u64 > SLOT_BYTES {
            return Err(io::Error::other("the trailer of a part file is too long"));
        }
        file.write_all_at(&slot, begin(self.len()) + self.sequence % 2 * SLOT_BYTES)
    }

    /// The newest that is whole in the part file `name`; `None` if there is none, or if it is not about this very file.
    pub(super) fn read(file: &File, name: &str, (inode, born): Inode, file_len: u64) -> Option<Self> {
        let at = file_len.checked_sub(2 * SLOT_BYTES)?;
        let slots = [at, at + SLOT_BYTES].map(|at| read_slot(file, at));
        let newest = slots.into_iter().flatten().max_by_key(|trailer| trailer.sequence)?;
        let ours = newest.format == 1
            && (newest.name.as_str(), newest.inode, newest.born) == (name, inode, born)
            && whole_len(newest.len()) == file_len;
        ours.then_some(newest)
    }
}

fn read_slot(file: &File, at: u64) -> Option<Trailer> {
    let mut slot = [0; SLOT_BYTES as usize];
    file.read_exact_at(&mut slot, at).ok()?;
    let (head, rest) = slot.split_at(HEAD_BYTES);
    let (magic, head) = head.split_at(MAGIC.len());
    let (len, sum) = head.split_at(4);
    let len = usize::try_from(u32::from_le_bytes(len.try_into().ok()?)).ok()?;
    let text = rest.get(..len)?;
    let whole = magic == MAGIC && *sum == *Sha256::digest(text);
    whole.then(|| serde_json::from_slice(text).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trailer(sequence: u64) -> Trailer {
        Trailer {
            format: 1,
            name: "n".repeat(64),
            inode: u64::MAX,
            born: Some(u128::from(u64::MAX)),
            destination: "\\xff".repeat(255),
            version: "f".repeat(32),
            start: 0,
            end: 5_000,
            chunk_size: u32::MAX,
            mode: 0o777,
            sequence,
            chunks: vec![(u32::MAX - 1, u32::MAX); RUNS_MAX + 5],
        }
    }

    fn read(file: &File, name: &str) -> Option<Trailer> {
        Trailer::read(file, name, (u64::MAX, Some(u128::from(u64::MAX))), file.metadata().unwrap().len())
    }

    #[test]
    fn the_newest_slot_that_is_whole_counts_and_the_longest_fits() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(whole_len(5_000)).unwrap();
        let name = "n".repeat(64);
        assert_eq!(read(&file, &name), None);
        for sequence in [1, 2, 3] {
            trailer(sequence).write(&file).unwrap();
            let found = read(&file, &name).unwrap();
            assert_eq!((found.sequence, found.chunks.len()), (sequence, RUNS_MAX));
        }
        // The newest was cut off in the middle.
        file.write_all_at(&[0; 700], whole_len(5_000) - SLOT_BYTES + 20).unwrap();
        assert_eq!(read(&file, &name).map(|found| found.sequence), Some(2));
        assert_eq!(read(&file, "other"), None, "a copy under another name is nobody's");
        file.set_len(whole_len(5_000) + 1).unwrap();
        assert_eq!(read(&file, &name), None, "bytes were added to it");
        file.set_len(3).unwrap();
        assert_eq!(read(&file, &name), None);
    }
}
