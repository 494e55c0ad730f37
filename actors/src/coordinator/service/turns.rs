//! The turns in which inventory pages are judged.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dfs_wire::status::{Status, StatusCode};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::budgets::INVENTORIES_JUDGED_MAX;
use crate::env::Clock;

/// The turns of inventory pages. As many wait as there are nodes: each tells one page at a time.
#[derive(Debug)]
pub(super) struct InventoryTurns {
    clock: Arc<dyn Clock>,
    places: Semaphore,
    waiting: AtomicUsize,
}

impl InventoryTurns {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, places: Semaphore::new(INVENTORIES_JUDGED_MAX), waiting: AtomicUsize::new(0) }
    }

    /// Waits for a turn, first come first served. Cancel safety: who gives up waits no more.
    pub(super) async fn enter(&self, patience: Duration) -> Result<SemaphorePermit<'_>, Status> {
        struct Waiting<'a>(&'a AtomicUsize);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _counted = Waiting(&self.waiting);
        let turn = self.clock.timeout(patience, self.places.acquire()).await;
        turn.ok().and_then(Result::ok).ok_or_else(|| {
            Status::new(StatusCode::Busy, "many datanodes tell what they have at once")
                .hint("the page is told again by itself in some seconds")
        })
    }

    /// Pages that wait for their turn.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pages_of_many_nodes_are_judged_a_few_at_a_time_and_who_waits_too_long_is_told() {
        let turns = InventoryTurns::new(crate::env::Env::for_tests(1).clock);
        let patience = Duration::from_secs(1);
        let mut taken = Vec::new();
        for _ in 0..INVENTORIES_JUDGED_MAX {
            taken.push(turns.enter(patience).await.unwrap());
        }
        assert_eq!(turns.enter(patience).await.unwrap_err().code, StatusCode::Busy);
        assert_eq!(turns.waiting(), 0, "who gave up waits no more");
        let (next, _) = tokio::join!(turns.enter(patience), async {
            tokio::task::yield_now().await;
            assert_eq!(turns.waiting(), 1);
            taken.pop();
        });
        assert!(next.is_ok());
    }
}
