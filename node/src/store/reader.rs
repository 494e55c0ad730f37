//! Reads committed chunk files: nothing leaves that was not checked just before.
//!
//! ```text
//! read(offset, len) -> widen to whole 64 KiB blocks -> pread -> CRC of each block -> slice -> Verified
//!                                                                   | mismatch
//!                       read again, past the page cache -> CRC ---> right: serve this one
//!                                                              `--> the same wrong bytes again: Corrupt
//!
//! as a mapping: whole blocks only -> pread into a buffer of one block, CRC, next -> map what was found good -> Verified
//! ```
//! The second read goes to the device, because a flipped bit may be in the page cache only. Two mismatches are the same if
//! the block and the checksum computed from it are. Which of two different ones is the truth is not known: that is an I/O
//! error, not a condemnation.
//!
//! A mapping is not looked at, by nobody: see `map.rs`. What is checked is what the page cache holds, and the mapping is of
//! the same pages. Should they be read anew in between, from a device that has turned bad, then the checksums that travel
//! with the bytes are still those of the footer, and whoever receives the bytes finds out.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use dfs_actors::datanode::chunk_store::{
    ChunkInfo, ChunkReader, READ_BYTES_MAX, ReplicaState, StoreError, Verified,
};
use dfs_wire::bugs::{self, Bug};
use dfs_wire::id::ChunkKey;
use dfs_wire::limits::{BLOCK_BYTES, SLAB_ALIGN};
use dfs_wire::message::facts::ChunkFacts;
use futures_util::future::BoxFuture;

use super::aligned::AlignedBuf;
use super::config::ReadMode;
use super::core::Core;
use super::disk::count;
use super::disk_io::DiskFile;
use super::format::{self, FOOTER_BYTES_MAX, Footer, FormatError, padded_len};
use super::index::Entry;
use super::open_files::{Lent, OpenChunk};

/// Why a footer could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FooterError {
    /// The bytes are there and are no footer.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Nothing is known about the bytes.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads and decodes the footer of a file; `fresh` past the page cache.
pub(crate) fn read_footer(file: &dyn DiskFile, fresh: bool) -> Result<Footer, FooterError> {
    let file_len = file.file_len()?;
    if file_len == 0 || !file_len.is_multiple_of(SLAB_ALIGN as u64) {
        return Err(FormatError::Magic.into());
    }
    let start = file_len.saturating_sub(FOOTER_BYTES_MAX as u64);
    let mut tail = AlignedBuf::zeroed(usize::try_from(file_len - start).unwrap_or(FOOTER_BYTES_MAX));
    if fresh {
        file.read_fresh(&mut tail, start)?;
    } else {
        file.read_at(&mut tail, start)?;
    }
    Ok(format::decode(&tail, file_len)?)
}

/// As [`read_footer`], but a bad footer is believed only when the same is wrong with it in two reads.
pub(crate) fn read_footer_surely(file: &dyn DiskFile) -> Result<Footer, FooterError> {
    let first = match read_footer(file, false) {
        Err(FooterError::Format(first)) => first,
        other => return other,
    };
    match read_footer(file, true) {
        Err(FooterError::Format(second)) if second != first => {
            Err(io::Error::other(format!("two reads contradict each other: {first}, then {second}")).into())
        }
        other => other,
    }
}

/// A block whose checksum is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadBlock {
    /// Which block of the chunk.
    pub(crate) block: usize,
    /// The checksum of the bytes that were read.
    pub(crate) found: u32,
}

impl fmt::Display for BadBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {} of {BLOCK_BYTES} bytes has checksum {:08x}", self.block, self.found)
    }
}

/// The first block of a window whose checksum is wrong.
///
/// `window` starts at `first` (in blocks) and holds whole blocks, the chunk's last one padded.
pub(crate) fn first_bad_block(window: &[u8], first: usize, len: u32, crcs: &[u32]) -> Option<BadBlock> {
    let data_len = (len as usize).saturating_sub(first * BLOCK_BYTES).min(window.len());
    let blocks = window.get(..data_len).unwrap_or_default().chunks(BLOCK_BYTES);
    let found = (first..).zip(blocks).map(|(block, bytes)| BadBlock { block, found: crc32fast::hash(bytes) });
    found.into_iter().find(|bad| crcs.get(bad.block) != Some(&bad.found))
}

/// Opens a committed chunk. Runs on an I/O thread unless the file is open already.
pub(crate) fn open(core: &Arc<Core>, key: ChunkKey) -> Result<Arc<OpenChunk>, StoreError> {
    let entry = servable(core, key)?;
    if let Some(open) = core.open_files.get(key, entry.instance) {
        return Ok(open);
    }
    let open = Arc::new(load(core, entry)?);
    core.open_files.insert(open.clone());
    Ok(open)
}

/// The chunk if it is open already and may be served.
pub(crate) fn open_cached(core: &Core, key: ChunkKey) -> Result<Option<Arc<OpenChunk>>, StoreError> {
    let entry = servable(core, key)?;
    Ok(core.open_files.get(key, entry.instance))
}

fn servable(core: &Core, key: ChunkKey) -> Result<Entry, StoreError> {
    let entry = core.index.get(key).ok_or_else(|| core.disk.not_found(key))?;
    match entry.info.state {
        ReplicaState::Corrupt => Err(core.disk.corrupt(key, "found corrupt earlier")),
        ReplicaState::Verified | ReplicaState::Unverified => Ok(entry),
    }
}

/// Opens the file of an index entry, whatever its state, and reads its footer.
pub(crate) fn load(core: &Core, entry: Entry) -> Result<OpenChunk, StoreError> {
    let (disk, key) = (&core.disk, entry.info.key());
    let operation = |what| format!("{what} chunk {key}");
    let path = disk.layout.chunk_file(key);
    let file = match core.opening(|| disk.io.open(&path)) {
        Ok(file) => file,
        // Quarantined since the index was asked, or removed by somebody else. Where not even the directory of all chunks is
        // there, it is the disk that is gone, which says nothing of any chunk.
        Err(e)
            if e.kind() == io::ErrorKind::NotFound && disk.io.open_dir(&disk.layout.chunks_dir()).is_ok() =>
        {
            return Err(core.vanished(entry));
        }
        Err(e) => return Err(disk.read_failed(&operation("opening"), e)),
    };
    let (info, instance) = (entry.info, entry.instance);
    let mut open =
        OpenChunk { file, info, instance, block_crcs: Box::default(), facts: ChunkFacts::default() };
    match read_footer_surely(&*open.file) {
        Ok(footer) if footer.identity == entry.info.identity && footer.seal == entry.info.seal() => {
            (open.block_crcs, open.facts) = (footer.block_crcs, footer.facts);
            Ok(open)
        }
        Ok(_) => Err(core.condemn(&open, "the footer is another chunk's")),
        Err(FooterError::Format(error)) => Err(core.condemn(&open, &error.to_string())),
        Err(FooterError::Io(error)) => Err(disk.read_failed(&operation("reading the footer of"), error)),
    }
}

/// See the module's documentation.
pub(crate) struct FileReader {
    core: Arc<Core>,
    chunk: Lent,
}

impl FileReader {
    pub(crate) fn new(core: Arc<Core>, chunk: Arc<OpenChunk>) -> Self {
        let chunk = Lent::new(chunk, core.reads.clone());
        Self { core, chunk }
    }
}

impl ChunkReader for FileReader {
    fn info(&self) -> &ChunkInfo {
        &self.chunk.info
    }

    fn facts(&self) -> &ChunkFacts {
        &self.chunk.facts
    }

    fn read(&self, offset: u32, len: u32) -> BoxFuture<'static, Result<Verified, StoreError>> {
        let (core, chunk) = (self.core.clone(), self.chunk.clone());
        Box::pin(async move {
            let (key, chunk_len) = (chunk.info.key(), chunk.info.len);
            if len > READ_BYTES_MAX || offset.checked_add(len).is_none_or(|end| end > chunk_len) {
                let reason = format!("read of {len} bytes at {offset} of {chunk_len}");
                return Err(core.disk.invalid(key, reason));
            }
            if len == 0 {
                return Ok(Verified { bytes: Bytes::new(), block_crcs: Vec::new() });
            }
            let job = {
                let core = core.clone();
                move || read_range(&core, chunk, offset, len)
            };
            core.reads.run(job).await.map_err(|none| core.no_answer(none))?
        })
    }
}

/// A range of a chunk, widened to whole blocks.
#[derive(Clone, Copy)]
struct Window {
    first_block: usize,
    start: u64,
    len: usize,
}

impl Window {
    /// `end` is more than `offset`, and at most the chunk's length.
    fn around(offset: u32, end: u32, chunk_len: u32) -> Self {
        let first_block = offset as usize / BLOCK_BYTES;
        let start = first_block * BLOCK_BYTES;
        let stop = (end as usize).next_multiple_of(BLOCK_BYTES);
        let stop = stop.min(usize::try_from(padded_len(chunk_len)).unwrap_or(stop));
        Self { first_block, start: start as u64, len: stop - start }
    }
}

fn read_range(core: &Core, chunk: Lent, offset: u32, len: u32) -> Result<Verified, StoreError> {
    let window = Window::around(offset, offset + len, chunk.info.len);
    let end = offset + len;
    let is_block = |at: u32| (at as usize).is_multiple_of(BLOCK_BYTES);
    let whole_blocks = is_block(offset) && (is_block(end) || end == chunk.info.len);
    let mapped = match core.read_mode {
        ReadMode::Mmap if whole_blocks => map_checked(core, &chunk, window)?,
        ReadMode::Mmap | ReadMode::Pread => None,
    };
    let (bytes, in_memory) = match mapped {
        Some(bytes) => (bytes, false),
        None => (copy_checked(core, &chunk, window)?, true),
    };
    count(&core.disk.counters.read_bytes, u64::from(len));
    let from = (u64::from(offset) - window.start) as usize;
    let bytes = bytes.slice(from..from + len as usize);
    let block_crcs = if whole_blocks {
        let blocks = chunk.block_crcs.iter().skip(window.first_block);
        blocks.take(bytes.len().div_ceil(BLOCK_BYTES)).copied().collect()
    } else {
        debug_assert!(in_memory, "a mapping is not looked at");
        format::block_crcs(&bytes)
    };
    // The file is not closed before its mapping goes.
    let bytes = if in_memory { bytes } else { Bytes::from_owner(Mapped { bytes, _file: chunk }) };
    Ok(Verified { bytes, block_crcs })
}

/// A mapping on its way to a socket, with its file.
struct Mapped {
    bytes: Bytes,
    _file: Lent,
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The window in memory of our own, checked.
fn copy_checked(core: &Core, chunk: &OpenChunk, window: Window) -> Result<Bytes, StoreError> {
    let check = |bytes: &[u8]| first_bad_block(bytes, window.first_block, chunk.info.len, &chunk.block_crcs);
    let failed = |e| core.disk.read_failed(&format!("reading chunk {}", chunk.info.key()), e);
    let mut bytes = fetch(core, chunk, window).map_err(failed)?;
    if let Some(bad) = check(&bytes).filter(|_| !bugs::is(Bug::NoCheckOnRead)) {
        drop(bytes);
        bytes = fetch_fresh(core, chunk, window).map_err(failed)?;
        match check(&bytes) {
            None => tracing::warn!(
                disk = %core.disk.label, chunk = %chunk.info.key(), %bad,
                "a block was wrong in memory and right on the device"
            ),
            Some(again) if again == bad => {
                return Err(core.condemn(chunk, &format!("{bad}, read twice")));
            }
            Some(other) => {
                let error = io::Error::other(format!("two reads contradict each other: {bad}, then {other}"));
                return Err(failed(error));
            }
        }
    }
    Ok(bytes)
}

/// The window as a mapping of what was found good in the page cache. `None` if it was not, or nothing can be mapped here:
/// then it is for [`copy_checked`] to say.
fn map_checked(core: &Core, chunk: &OpenChunk, window: Window) -> Result<Option<Bytes>, StoreError> {
    let failed = |e| core.disk.read_failed(&format!("reading chunk {}", chunk.info.key()), e);
    let mut block = core.buffers.take(BLOCK_BYTES);
    for (n, start) in (0..window.len).step_by(BLOCK_BYTES).enumerate() {
        let len = BLOCK_BYTES.min(window.len - start);
        let Some(bytes) = block.as_mut().get_mut(..len) else { return Ok(None) };
        chunk.file.read_at(bytes, window.start + start as u64).map_err(failed)?;
        if first_bad_block(bytes, window.first_block + n, chunk.info.len, &chunk.block_crcs).is_some() {
            return Ok(None);
        }
    }
    chunk.file.map(window.start, window.len).map_err(failed)
}

fn fetch(core: &Core, chunk: &OpenChunk, window: Window) -> io::Result<Bytes> {
    let mut buf = core.buffers.take(window.len);
    chunk.file.read_at(buf.as_mut(), window.start)?;
    Ok(buf.freeze())
}

fn fetch_fresh(core: &Core, chunk: &OpenChunk, window: Window) -> io::Result<Bytes> {
    let mut buf = core.buffers.take(window.len);
    chunk.file.read_fresh(buf.as_mut(), window.start)?;
    Ok(buf.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_whole_blocks_within_the_padded_data() {
        let shape = |offset, end, len| {
            let w = Window::around(offset, end, len);
            (w.first_block, w.start, w.len)
        };
        assert_eq!(shape(0, 1, 200_000), (0, 0, 65_536));
        assert_eq!(shape(65_535, 65_537, 200_000), (0, 0, 131_072));
        assert_eq!(shape(196_608, 200_000, 200_000), (3, 196_608, 4096));
        assert!(
            shape(65_535, 65_535 + READ_BYTES_MAX, u32::MAX).2 <= crate::store::aligned::WINDOW_BYTES_MAX
        );
    }

    #[test]
    fn the_first_bad_block_is_found_wherever_it_is() {
        let data: Vec<u8> = (0..200_000u32).map(|i| (i / 7) as u8).collect();
        let crcs = format::block_crcs(&data);
        let mut padded = data.clone();
        padded.resize(200_704, 0);
        assert_eq!(first_bad_block(&padded, 0, 200_000, &crcs), None);
        assert_eq!(first_bad_block(&padded[131_072..], 2, 200_000, &crcs), None);
        padded[199_999] ^= 1;
        let bad = first_bad_block(&padded, 0, 200_000, &crcs).unwrap();
        assert_eq!((bad.block, bad.found), (3, crc32fast::hash(&padded[196_608..200_000])));
        assert_eq!(first_bad_block(&padded[131_072..], 2, 200_000, &crcs), Some(bad));
        padded[199_998] ^= 1;
        assert_ne!(
            first_bad_block(&padded, 0, 200_000, &crcs),
            Some(bad),
            "other bytes are another mismatch"
        );
        let missing = first_bad_block(&padded, 0, 200_000, &crcs[..1]).unwrap();
        assert_eq!(missing.block, 1, "a missing checksum is a bad one");
    }
}
