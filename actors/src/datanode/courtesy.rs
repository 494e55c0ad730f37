//! Copies that the coordinator orders let clients go first.
//!
//! ```text
//!   clients are served here, or were a second ago   one at a time, and after each a rest of twice as long as it took
//!   else                                            COPIES_AT_ONCE at once
//! ```
//!
//! So repair takes a third of one copy's share of the node at most while somebody else is served, and all of it otherwise; a node that
//! is slow, for whatever reason, is left alone for longer. The rest is a part of the copy for whoever ordered it, which so
//! orders no faster than the node likes. What a node reads for others who make a copy takes its turn among all reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::env::{Clock, MonoTime};

/// Copies at once where nobody else is served.
const COPIES_AT_ONCE: usize = 16;
/// So long after a client was served, another one may come.
const CLIENTS_LINGER: Duration = Duration::from_secs(1);
/// How long the rest after a copy is, in times of the copy. Measured: as long as the copy gave a p99 of clients of 3.0 times its quiet value.
const REST: u32 = 2;
/// The longest rest after a copy.
const REST_MAX: Duration = Duration::from_secs(2);

/// Places for copies, and whether clients are served.
pub(super) struct Courtesy {
    many: Semaphore,
    one: Semaphore,
    waiting: AtomicUsize,
    /// Reads of clients that are under way.
    reading: AtomicUsize,
    /// When a client was last seen, in microseconds; 0 = none was yet.
    seen: AtomicU64,
    /// Whether anything of a client is being written here.
    writing: Arc<dyn Fn() -> bool + Send + Sync>,
    clock: Arc<dyn Clock>,
}

/// A place for one copy, until the rest after it is over.
pub(super) struct CopyPlace<'a> {
    courtesy: &'a Courtesy,
    began: MonoTime,
    _permits: (Option<SemaphorePermit<'a>>, SemaphorePermit<'a>),
}

/// A client that is being served.
pub(super) struct ServedClient<'a>(&'a Courtesy);

/// One more, for as long as it lives.
struct OneMore<'a>(&'a AtomicUsize);

impl<'a> OneMore<'a> {
    fn among(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for OneMore<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Courtesy {
    /// All places free, and no client yet. `writing` = whether anything of a client is being written here.
    pub(super) fn new(clock: Arc<dyn Clock>, writing: Arc<dyn Fn() -> bool + Send + Sync>) -> Self {
        Self {
            many: Semaphore::new(COPIES_AT_ONCE),
            one: Semaphore::new(1),
            waiting: AtomicUsize::new(0),
            reading: AtomicUsize::new(0),
            seen: AtomicU64::new(0),
            writing,
            clock,
        }
    }

    /// A client is served, as long as what is returned lives.
    pub(super) fn serves(&self) -> ServedClient<'_> {
        self.reading.fetch_add(1, Ordering::Relaxed);
        ServedClient(self)
    }

    fn is_pressed(&self) -> bool {
        if self.reading.load(Ordering::Relaxed) > 0 || (self.writing)() {
            self.note_client();
            return true;
        }
        let seen = self.seen.load(Ordering::Relaxed);
        seen > 0 && self.clock.now().since(MonoTime::from_micros(seen)) < CLIENTS_LINGER
    }

    fn note_client(&self) {
        self.seen.store(self.clock.now().as_micros().max(1), Ordering::Relaxed);
    }

    /// A place for a copy, as soon as one is free; `None` = not within `patience`.
    ///
    /// Cancel safety: dropping the future takes no place.
    pub(super) async fn enter(&self, patience: Duration) -> Option<CopyPlace<'_>> {
        let waits = OneMore::among(&self.waiting);
        let turn = async {
            let one = match self.is_pressed() {
                true => Some(self.one.acquire().await.ok()?),
                false => None,
            };
            Some((one, self.many.acquire().await.ok()?))
        };
        let permits = self.clock.timeout(patience, turn).await.ok().flatten();
        drop(waits);
        permits.map(|permits| CopyPlace { courtesy: self, began: self.clock.now(), _permits: permits })
    }

    /// The places in all: how many, held, and how many copies wait for one.
    pub(super) fn places(&self) -> (&'static str, usize, usize, usize) {
        let taken = COPIES_AT_ONCE - self.many.available_permits();
        ("ordered_copies", COPIES_AT_ONCE, taken, self.waiting.load(Ordering::Relaxed))
    }
}

impl CopyPlace<'_> {
    /// The copy has ended: rests if clients are served.
    pub(super) async fn rest(self) {
        if self.courtesy.is_pressed() {
            let took = self.courtesy.clock.now().since(self.began);
            self.courtesy.clock.sleep((took * REST).min(REST_MAX)).await;
        }
    }
}

impl Drop for ServedClient<'_> {
    fn drop(&mut self) {
        self.0.note_client();
        self.0.reading.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);
    const TAKES: Duration = Duration::from_millis(300);

    fn courtesy() -> Courtesy {
        Courtesy::new(crate::env::Env::for_tests(1).clock, Arc::new(|| false))
    }

    /// How long so many copies take that are ordered at once.
    async fn copies(courtesy: &Courtesy, number: usize) -> Duration {
        let began = courtesy.clock.now();
        let copy = || async {
            let place = courtesy.enter(PATIENCE).await.expect("a place");
            courtesy.clock.sleep(TAKES).await;
            place.rest().await;
        };
        futures_util::future::join_all((0..number).map(|_| copy())).await;
        courtesy.clock.now().since(began)
    }

    #[tokio::test(start_paused = true)]
    async fn copies_run_side_by_side_where_no_client_is_served() {
        let courtesy = courtesy();
        assert_eq!(copies(&courtesy, COPIES_AT_ONCE).await, TAKES);
        assert_eq!(copies(&courtesy, COPIES_AT_ONCE + 1).await, TAKES * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn while_a_client_is_served_there_is_one_at_a_time_and_a_rest_after_it() {
        let courtesy = courtesy();
        let client = courtesy.serves();
        // However long it takes what it asked for.
        let took = copies(&courtesy, 8).await;
        assert!((TAKES * 24..TAKES * 24 + CLIENTS_LINGER).contains(&took), "{took:?}");
        drop(client);
        courtesy.clock.sleep(CLIENTS_LINGER / 2).await;
        assert!(copies(&courtesy, 2).await > TAKES * 2, "another one may come");
        courtesy.clock.sleep(CLIENTS_LINGER).await;
        assert_eq!(copies(&courtesy, 8).await, TAKES);
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_that_is_under_way_counts_as_a_client() {
        let writes = Arc::new(AtomicBool::new(true));
        let writing = {
            let writes = Arc::clone(&writes);
            Arc::new(move || writes.load(Ordering::Relaxed))
        };
        let courtesy = Courtesy::new(crate::env::Env::for_tests(1).clock, writing);
        assert_eq!(copies(&courtesy, 2).await, TAKES * 6);
        writes.store(false, Ordering::Relaxed);
        courtesy.clock.sleep(CLIENTS_LINGER).await;
        assert_eq!(copies(&courtesy, 2).await, TAKES);
    }

    #[tokio::test(start_paused = true)]
    async fn a_copy_that_finds_no_place_in_time_is_told_so_and_takes_none() {
        let courtesy = courtesy();
        let _client = courtesy.serves();
        let held = courtesy.enter(PATIENCE).await.expect("a place");
        let began = courtesy.clock.now();
        assert!(courtesy.enter(TAKES).await.is_none());
        assert_eq!(courtesy.clock.now().since(began), TAKES, "one deadline for all that is waited for");
        assert_eq!(courtesy.places(), ("ordered_copies", 16, 1, 0));
        held.rest().await;
        assert_eq!(courtesy.places(), ("ordered_copies", 16, 0, 0));
    }
}
