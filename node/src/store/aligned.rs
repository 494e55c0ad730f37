//! Memory that O_DIRECT accepts, without `unsafe`: a little more is allocated than is used, so that it starts aligned.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use dfs_actors::datanode::chunk_store::READ_BYTES_MAX;
use dfs_wire::limits::{BLOCK_BYTES, SLAB_ALIGN};

/// The most that one read touches: its range, widened to whole blocks at both ends.
pub(crate) const WINDOW_BYTES_MAX: usize = READ_BYTES_MAX as usize + 2 * BLOCK_BYTES;

/// A buffer that starts at a multiple of 4 KiB.
pub(crate) struct AlignedBuf {
    bytes: Box<[u8]>,
    start: usize,
    len: usize,
}

impl AlignedBuf {
    /// `len` zeros.
    pub(crate) fn zeroed(len: usize) -> Self {
        let bytes = vec![0; len + SLAB_ALIGN].into_boxed_slice();
        let start = bytes.as_ptr().align_offset(SLAB_ALIGN);
        assert!(start < SLAB_ALIGN, "alignment of a byte slice is always possible");
        Self { bytes, start, len }
    }

    /// An aligned copy.
    pub(crate) fn copy_of(data: &[u8]) -> Self {
        let mut copy = Self::zeroed(data.len());
        copy.copy_from_slice(data);
        copy
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(self.start..self.start + self.len).unwrap_or_default()
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..self.start + self.len).unwrap_or_default()
    }
}

/// Whether O_DIRECT takes this memory as it is.
pub(crate) fn is_aligned(data: &[u8]) -> bool {
    data.as_ptr().addr().is_multiple_of(SLAB_ALIGN) && data.len().is_multiple_of(SLAB_ALIGN)
}

/// Keeps a few read buffers of [`WINDOW_BYTES_MAX`] bytes, for the next reader: fresh memory costs page faults.
///
/// It bounds what is *kept*. What is in use is bounded by the readers, each of which holds a slot of the read queue
/// and then one buffer per answer that it has not dropped.
#[derive(Clone)]
pub(crate) struct BufferPool {
    free: Arc<Mutex<Vec<AlignedBuf>>>,
    free_max: usize,
}

impl BufferPool {
    /// A pool that keeps at most `free_max` unused buffers.
    pub(crate) fn new(free_max: usize) -> Self {
        Self { free: Arc::default(), free_max }
    }

    /// A buffer of `len` bytes, its contents arbitrary.
    ///
    /// # Panics
    /// If `len` is more than [`WINDOW_BYTES_MAX`].
    pub(crate) fn take(&self, len: usize) -> PooledBuf {
        assert!(len <= WINDOW_BYTES_MAX, "a read window has at most {WINDOW_BYTES_MAX} bytes, not {len}");
        let reused = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut buf = reused.unwrap_or_else(|| AlignedBuf::zeroed(WINDOW_BYTES_MAX));
        buf.len = len;
        PooledBuf { buf: Some(buf), pool: self.clone() }
    }
}

/// A buffer that goes back to its pool when dropped.
pub(crate) struct PooledBuf {
    buf: Option<AlignedBuf>,
    pool: BufferPool,
}

impl PooledBuf {
    /// Makes the contents shareable; the buffer goes back with the last clone.
    pub(crate) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for PooledBuf {
    fn as_ref(&self) -> &[u8] {
        self.buf.as_deref().unwrap_or_default()
    }
}

impl AsMut<[u8]> for PooledBuf {
    fn as_mut(&mut self) -> &mut [u8] {
        self.buf.as_deref_mut().unwrap_or_default()
    }
}

impl Drop for PooledBuf {
    fn drop(&mut self) {
        let mut free = self.pool.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < self.pool.free_max
            && let Some(buf) = self.buf.take()
        {
            free.push(buf);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_reused() {
        assert!(is_aligned(&AlignedBuf::zeroed(8192)) && !is_aligned(&AlignedBuf::zeroed(100)));
        assert_eq!(&AlignedBuf::copy_of(b"abc")[..], b"abc");
        let pool = BufferPool::new(1);
        let mut first = pool.take(4096);
        first.as_mut().fill(7);
        let address = first.as_ref().as_ptr();
        let bytes = first.freeze();
        assert!(bytes.len() == 4096 && bytes.iter().all(|&b| b == 7));
        drop(bytes);
        assert_eq!(pool.take(8192).as_ref().as_ptr(), address);
    }
}
