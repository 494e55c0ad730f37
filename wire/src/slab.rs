//! Reused, aligned receive buffers and the budget that bounds them.
//!
//! ```text
//! SlabBudget (a semaphore of slabs) --reserve--> Reservation (n permits, one stream)
//!      |                                             | granted as credit, never more than reserved
//!      v                                             v
//! SlabPool  <--- last Bytes dropped --- SlabOwner <- Slab (256 KiB, 4 KiB-aligned), filled from the socket
//! ```
//!
//! Invariant: slabs in use <= permits taken <= the budget. The memory of a node is the sum of what it has granted.
//! A slab goes back to the pool when the last [`Bytes`] over it is dropped, on whatever thread that is; fresh
//! memory would cost about ten times as much (page faults), and the alignment lets the disk take it with O_DIRECT.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{DATA_FRAME_BYTES, SLAB_ALIGN};

/// Memory of one slab: a little more than it serves, so that the served part can start aligned.
struct Memory {
    bytes: Box<[u8]>,
    start: usize,
}

impl Memory {
    fn new() -> Self {
        let bytes = vec![0u8; DATA_FRAME_BYTES + SLAB_ALIGN].into_boxed_slice();
        let start = bytes.as_ptr().align_offset(SLAB_ALIGN);
        assert!(start < SLAB_ALIGN, "alignment of a byte slice is always possible");
        Self { bytes, start }
    }
}

#[derive(Default)]
struct PoolState {
    free: Mutex<Vec<Memory>>,
    allocated: AtomicUsize,
    free_max: usize,
}

/// Keeps slabs that nobody uses, for the next user. Cheap to clone.
#[derive(Clone)]
pub struct SlabPool {
    state: Arc<PoolState>,
}

impl SlabPool {
    /// A pool that keeps at most `free_max` unused slabs; more than that go back to the allocator.
    pub fn new(free_max: usize) -> Self {
        Self { state: Arc::new(PoolState { free_max, ..PoolState::default() }) }
    }

    /// Takes a slab, reusing one if it can. Its contents are whatever the last user left.
    pub fn take(&self) -> Slab {
        let reused = self.state.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let memory = reused.unwrap_or_else(|| {
            self.state.allocated.fetch_add(1, Ordering::Relaxed);
            Memory::new()
        });
        Slab { memory: Some(memory), pool: self.clone(), len: DATA_FRAME_BYTES }
    }

    /// Slabs that exist, in use or free.
    pub fn allocated(&self) -> usize {
        self.state.allocated.load(Ordering::Relaxed)
    }

    /// Slabs in use.
    pub fn in_use(&self) -> usize {
        let free = self.state.free.lock().unwrap_or_else(PoisonError::into_inner).len();
        self.allocated().saturating_sub(free)
    }

    fn put_back(&self, memory: Memory) {
        let mut free = self.state.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < self.state.free_max {
            free.push(memory);
        } else {
            self.state.allocated.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for SlabPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SlabPool {{ allocated: {}, in_use: {} }}", self.allocated(), self.in_use())
    }
}

/// One writable slab: [`DATA_FRAME_BYTES`] bytes, aligned to [`SLAB_ALIGN`].
pub struct Slab {
    memory: Option<Memory>,
    pool: SlabPool,
    len: usize,
}

impl Slab {
    /// Keeps the first `len` bytes and makes them shareable; the slab returns to its pool with the last clone.
    ///
    /// `guard` is dropped after that: what it stands for (a permit, a credit) is given back no earlier than the memory.
    ///
    /// # Panics
    /// If `len` is more than a slab holds.
    pub fn freeze<G: Send + 'static>(mut self, len: usize, guard: G) -> Bytes {
        assert!(len <= DATA_FRAME_BYTES, "a slab holds {DATA_FRAME_BYTES} bytes, not {len}");
        self.len = len;
        Bytes::from_owner(SlabOwner { slab: self, _guard: guard })
    }
}

impl Deref for Slab {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.memory.as_ref().map_or(&[], |m| m.bytes.get(m.start..m.start + self.len).unwrap_or(&[]))
    }
}

impl DerefMut for Slab {
    fn deref_mut(&mut self) -> &mut [u8] {
        let len = self.len;
        self.memory.as_mut().map_or(&mut [], |m| m.bytes.get_mut(m.start..m.start + len).unwrap_or(&mut []))
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take() {
            self.pool.put_back(memory);
        }
    }
}

// Fields drop in order: the memory first, then the guard.
struct SlabOwner<G> {
    slab: Slab,
    _guard: G,
}

impl<G> AsRef<[u8]> for SlabOwner<G> {
    fn as_ref(&self) -> &[u8] {
        &self.slab
    }
}

/// A bounded number of slabs, shared by all streams of one class (uploads, replication, downloads).
#[derive(Clone, Debug)]
pub struct SlabBudget {
    permits: Arc<Semaphore>,
    total: usize,
    pool: SlabPool,
}

impl SlabBudget {
    /// A budget of `total` slabs drawn from `pool`. At least one, at most [`u32::MAX`].
    pub fn new(pool: SlabPool, total: usize) -> Self {
        let total = total.clamp(1, u32::MAX as usize);
        Self { permits: Arc::new(Semaphore::new(total)), total, pool }
    }

    /// Waits, first come first served, until one slab is free, then takes up to `wanted` without further waiting.
    ///
    /// The wait has no deadline of its own: the caller brings one. Cancel safety: dropping the future takes nothing.
    pub async fn reserve(&self, wanted: usize) -> Reservation {
        match self.permits.clone().acquire_owned().await {
            Ok(first) => self.grow(first, wanted),
            Err(_) => unreachable!("the semaphore of a budget is never closed"),
        }
    }

    /// As [`Self::reserve`], but `None` at once if no slab is free.
    pub fn try_reserve(&self, wanted: usize) -> Option<Reservation> {
        self.permits.clone().try_acquire_owned().ok().map(|first| self.grow(first, wanted))
    }

    fn grow(&self, mut permit: OwnedSemaphorePermit, wanted: usize) -> Reservation {
        // Leave most of what is free to those who come next: a lone stream may take all it wants,
        // a crowd shares.
        let fair = (self.permits.available_permits() / 4).min(wanted.saturating_sub(1));
        if let Ok(extra) = u32::try_from(fair)
            && extra > 0
            && let Ok(more) = self.permits.clone().try_acquire_many_owned(extra)
        {
            permit.merge(more);
        }
        Reservation { slabs: permit.num_permits(), _permit: permit, pool: self.pool.clone() }
    }

    /// Slabs in the budget.
    pub fn total(&self) -> usize {
        self.total
    }

    /// Slabs not reserved by anyone now.
    pub fn available(&self) -> usize {
        self.permits.available_permits()
    }

    /// The pool the slabs come from.
    pub fn pool(&self) -> &SlabPool {
        &self.pool
    }
}

/// Slabs set aside for one stream. Dropping it gives them back.
#[derive(Debug)]
pub struct Reservation {
    slabs: usize,
    _permit: OwnedSemaphorePermit,
    pool: SlabPool,
}

impl Reservation {
    /// How many slabs are set aside; at least one.
    pub fn slabs(&self) -> usize {
        self.slabs
    }

    /// The same in bytes: the most credit that may be outstanding against this reservation.
    pub fn bytes(&self) -> u64 {
        (self.slabs * DATA_FRAME_BYTES) as u64
    }

    /// The pool to take the slabs from.
    pub fn pool(&self) -> &SlabPool {
        &self.pool
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slab_is_aligned_and_comes_back_with_its_last_reader() {
        let pool = SlabPool::new(4);
        let mut slab = pool.take();
        assert_eq!(slab.len(), DATA_FRAME_BYTES);
        assert_eq!(slab.as_ptr().align_offset(SLAB_ALIGN), 0);
        slab[..3].copy_from_slice(b"abc");
        let bytes = slab.freeze(3, ());
        let other = bytes.slice(1..);
        drop(bytes);
        assert_eq!((pool.in_use(), &other[..]), (1, &b"bc"[..]));
        drop(other);
        assert_eq!((pool.in_use(), pool.allocated()), (0, 1));
        drop(pool.take());
        assert_eq!(pool.allocated(), 1, "the slab was reused");
    }

    #[test]
    fn a_budget_never_gives_more_than_it_has() {
        let budget = SlabBudget::new(SlabPool::new(0), 8);
        let first = budget.try_reserve(100).unwrap();
        assert!(first.slabs() >= 1 && first.slabs() < 8, "some are left for others");
        let mut held = vec![first];
        while let Some(r) = budget.try_reserve(1) {
            held.push(r);
        }
        assert_eq!(held.iter().map(Reservation::slabs).sum::<usize>(), 8);
        drop(held);
        assert_eq!(budget.available(), 8);
    }
}
