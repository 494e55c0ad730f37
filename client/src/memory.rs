//! The memory bound of a client: file data in flight never takes more slabs than this.
//!
//! Unlike a bare [`SlabBudget`], which hands out what it can at once, a chunk that must be held whole takes all its
//! slabs in one step, first come first served: two chunks can never wait for each other's halves.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dfs_wire::limits::DATA_FRAME_BYTES;
use dfs_wire::slab::{Reservation, Slab, SlabBudget, SlabPool};
use dfs_wire::status::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Error;

/// A bounded number of slabs for one direction. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct MemoryBound {
    permits: Arc<Semaphore>,
    total: usize,
    pool: SlabPool,
    /// What this bound was carved out of: given back with the last of its slabs.
    parent: Option<Arc<Held>>,
    /// Credit for peers. Eight times the bound, because a budget gives one stream at most a quarter of what is free:
    /// who holds permits then always gets credit for all of them at once.
    credit: SlabBudget,
}

impl MemoryBound {
    pub(crate) fn new(slabs: usize) -> Self {
        let total = slabs.clamp(1, Semaphore::MAX_PERMITS / 16);
        // Unused slabs are kept for the next transfer up to a modest share; a burst's peak goes back.
        let pool = SlabPool::new(total.min(256));
        let credit = SlabBudget::new(pool.clone(), total.saturating_mul(8));
        Self { permits: Arc::new(Semaphore::new(total)), total, pool, parent: None, credit }
    }

    /// Slabs that hold `bytes`.
    pub(crate) fn slabs_for(bytes: u64) -> usize {
        usize::try_from(bytes.div_ceil(DATA_FRAME_BYTES as u64)).unwrap_or(usize::MAX).max(1)
    }

    /// Takes `slabs` at once (or all there are, if that is less), waiting first come first served.
    ///
    /// Cancel safety: dropping the future takes nothing.
    pub(crate) async fn acquire(&self, slabs: usize, patience: Duration) -> Result<Held, Error> {
        let count = slabs.clamp(1, self.total);
        let wanted = u32::try_from(count).unwrap_or(u32::MAX);
        match tokio::time::timeout(patience, self.permits.clone().acquire_many_owned(wanted)).await {
            Ok(Ok(permit)) => Ok(Held { permit, bound: self.clone() }),
            Ok(Err(_)) => Err(Error::new(StatusCode::Internal, "the memory bound was closed")),
            Err(_) => Err(Error::new(
                StatusCode::Busy,
                format!("no memory within the client's limit became free in {} s", patience.as_secs()),
            )
            .with_hint("raise the memory limit or run fewer transfers at once")),
        }
    }

    /// As [`Self::acquire`], but only what is free now.
    pub(crate) fn try_acquire(&self, slabs: usize) -> Option<Held> {
        let wanted = u32::try_from(slabs.clamp(1, self.total)).unwrap_or(u32::MAX);
        let permit = self.permits.clone().try_acquire_many_owned(wanted).ok()?;
        Some(Held { permit, bound: self.clone() })
    }

    /// Where a connection takes memory for small payloads from.
    pub(crate) fn credit_budget(&self) -> SlabBudget {
        self.credit.clone()
    }

    /// The bound in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        (self.total * DATA_FRAME_BYTES) as u64
    }

    #[cfg(test)]
    pub(crate) fn available(&self) -> usize {
        self.permits.available_permits()
    }
}

/// Slabs that were taken from the bound. Dropping it gives back what was not split off.
#[derive(Debug)]
pub(crate) struct Held {
    permit: OwnedSemaphorePermit,
    bound: MemoryBound,
}

/// One slab's place in the bound; rides in the guard of its bytes.
#[derive(Debug)]
pub(crate) struct SlabPermit {
    _permit: OwnedSemaphorePermit,
    _parent: Option<Arc<Held>>,
}

impl Held {
    pub(crate) fn slabs(&self) -> usize {
        self.permit.num_permits()
    }

    /// A slab to fill, with its place in the bound.
    pub(crate) fn take(&mut self) -> Option<(Slab, SlabPermit)> {
        let permit = SlabPermit { _permit: self.permit.split(1)?, _parent: self.bound.parent.clone() };
        Some((self.bound.pool.take(), permit))
    }

    /// Makes a bound of its own of what is held: whoever shares it waits for nobody outside of it.
    pub(crate) fn into_bound(self) -> MemoryBound {
        let (total, pool, credit) = (self.slabs(), self.bound.pool.clone(), self.bound.credit.clone());
        let permits = Arc::new(Semaphore::new(total));
        MemoryBound { permits, total, pool, parent: Some(Arc::new(self)), credit }
    }

    /// Credit for as many slabs as are held: what a peer may send into. The bytes that come under it are to be dropped
    /// before `self`. Two peers may have it for the moment in which it is not known which of them answers: only one of
    /// them is listened to then.
    pub(crate) fn credit(&self) -> Option<Reservation> {
        self.bound.credit.try_reserve(self.slabs())
    }
}

/// Makes the first `len` bytes of a filled slab shareable; its place in the bound is free when the last clone goes.
pub(crate) fn freeze(slab: Slab, len: usize, permit: SlabPermit) -> Bytes {
    slab.freeze(len, permit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(50);

    #[tokio::test(start_paused = true)]
    async fn a_chunk_takes_all_its_slabs_or_waits() {
        let bound = MemoryBound::new(8);
        let mut first = bound.acquire(6, SOON).await.unwrap();
        assert!(bound.acquire(6, SOON).await.unwrap_err().is_busy());
        assert_eq!(first.credit().unwrap().slabs(), 6);
        let (slab, permit) = first.take().unwrap();
        let bytes = freeze(slab, 5, permit);
        drop(first);
        assert_eq!(bound.available(), 7, "the bytes still hold their permit");
        drop(bytes);
        assert_eq!(bound.available(), 8);
        let seat = bound.acquire(2, SOON).await.unwrap().into_bound();
        let (slab, permit) = seat.try_acquire(5).unwrap().take().unwrap();
        let bytes = freeze(slab, 1, permit);
        drop(seat);
        assert_eq!(bound.available(), 6, "what was carved out comes back as one");
        drop(bytes);
        assert_eq!(bound.available(), 8);
        assert_eq!(
            bound.acquire(100, SOON).await.unwrap().slabs(),
            8,
            "more than there is means all there is"
        );
    }
}
