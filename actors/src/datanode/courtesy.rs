//! Copies that the coordinator orders let clients go first.
//!
//! ```text
//!   no client was served for a second    COPIES_AT_ONCE at once
//!   else                                 one at a time, and after each a rest of twice as long as it took
//! ```
//!
//! So repair takes a third of one copy's share of the node at most while somebody else is served, and all of it otherwise; a node that
//! is slow, for whatever reason, is left alone for longer. The rest is a part of the copy for whoever ordered it, which so
//! orders no faster than the node likes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::streaming::{Turn, Turns};
use crate::env::{Clock, MonoTime};

/// Copies at once where nobody else is served.
const COPIES_AT_ONCE: usize = 16;
/// So long after the last request of a client began, there may be another.
const CLIENTS_LINGER: Duration = Duration::from_secs(1);
/// How long the rest after a copy is, in times of the copy. Measured: as long as the copy gave a p99 of clients of 3.0 times its quiet value.
const REST: u32 = 2;
/// The longest rest after a copy.
const REST_MAX: Duration = Duration::from_secs(2);

/// Places for copies, and when a client was served last.
pub(super) struct Courtesy {
    many: Turns,
    one: Turns,
    /// When the last request of a client began, in microseconds; 0 = none has yet.
    served: AtomicU64,
    clock: Arc<dyn Clock>,
}

/// A place for one copy.
pub(super) struct CopyPlace<'a> {
    courtesy: &'a Courtesy,
    began: MonoTime,
    /// Held until the rest is over.
    _turns: (Turn, Option<Turn>),
}

impl Courtesy {
    /// All places free, and no client yet.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let turns = |max| Turns::new(max, clock.clone());
        Self { many: turns(COPIES_AT_ONCE), one: turns(1), served: AtomicU64::new(0), clock }
    }

    /// A client is served.
    pub(super) fn client_is_here(&self) {
        self.served.store(self.clock.now().as_micros().max(1), Ordering::Relaxed);
    }

    fn is_pressed(&self) -> bool {
        let served = self.served.load(Ordering::Relaxed);
        served > 0 && self.clock.now().since(MonoTime::from_micros(served)) < CLIENTS_LINGER
    }

    /// A place for a copy that `session` orders, as soon as one is free; `None` = not within `patience`.
    pub(super) async fn enter(&self, session: u64, patience: Duration) -> Option<CopyPlace<'_>> {
        let many = self.many.enter(session, patience).await?;
        let one = match self.is_pressed() {
            true => Some(self.one.enter(session, patience).await?),
            false => None,
        };
        Some(CopyPlace { courtesy: self, began: self.clock.now(), _turns: (many, one) })
    }

    /// The places in all: how many, held, and how many copies wait for one.
    pub(super) fn places(&self) -> (&'static str, usize, usize, usize) {
        let waiting = self.many.waiting() + self.one.waiting();
        ("ordered_copies", self.many.max(), self.many.taken(), waiting)
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

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);
    const TAKES: Duration = Duration::from_millis(300);

    fn courtesy() -> Courtesy {
        Courtesy::new(crate::env::Env::for_tests(1).clock)
    }

    async fn copy(courtesy: &Courtesy) {
        let place = courtesy.enter(7, PATIENCE).await.expect("a place");
        courtesy.clock.sleep(TAKES).await;
        place.rest().await;
    }

    /// How long eight copies take, while a client comes so often.
    async fn eight(courtesy: &Courtesy, client_every: Option<Duration>) -> Duration {
        let began = courtesy.clock.now();
        let copies = futures_util::future::join_all((0..8).map(|_| copy(courtesy)));
        let clients = async {
            let Some(every) = client_every else { return std::future::pending().await };
            loop {
                courtesy.client_is_here();
                courtesy.clock.sleep(every).await;
            }
        };
        tokio::select! {
            biased; // The clients never end.
            () = clients => {}
            _ = copies => {}
        }
        courtesy.clock.now().since(began)
    }

    #[tokio::test(start_paused = true)]
    async fn copies_run_side_by_side_where_no_client_is_served() {
        assert_eq!(eight(&courtesy(), None).await, TAKES);
    }

    #[tokio::test(start_paused = true)]
    async fn while_clients_are_served_there_is_one_at_a_time_and_a_rest_after_it() {
        let courtesy = courtesy();
        let took = eight(&courtesy, Some(Duration::from_millis(700))).await;
        assert!(took >= TAKES * 23 && took <= TAKES * 25, "{took:?}");
        courtesy.clock.sleep(CLIENTS_LINGER).await;
        assert_eq!(eight(&courtesy, None).await, TAKES, "until no client comes any more");
    }

    #[tokio::test(start_paused = true)]
    async fn a_copy_that_finds_no_place_in_time_is_told_so_and_takes_none() {
        let courtesy = courtesy();
        courtesy.client_is_here();
        let held = courtesy.enter(7, PATIENCE).await.expect("a place");
        assert!(courtesy.enter(7, TAKES).await.is_none());
        assert_eq!(courtesy.places(), ("ordered_copies", 16, 1, 0));
        held.rest().await;
        assert_eq!(courtesy.places(), ("ordered_copies", 16, 0, 0));
    }
}
