//! The pure machine of an inventory: the cursor, the orders it collects, and the breaker.
//!
//! ```text
//!   Idle --time, or asked for--> Reporting --last page answered--> Clearing --all done--> Idle
//!                                  |    ^                             ^
//!                                  |    +-- page answered, next       +-- in batches: confirmed, then put away;
//!                                  |                                      not confirmed: a new pass, after a wait
//!                                  +------- a page failed: the same page again, after a wait
//! ```
//!
//! Orders to quarantine are collected over the whole pass and carried out only at its end, so that the breaker sees
//! all of them. A pass may take an hour, and what was superfluous at its start may be needed at its end: so each batch
//! is confirmed by the coordinator just before it goes. As for the breaker: if they are more than a set share of the node's chunks, none is carried out and a finding says so. A
//! coordinator that lost its memory can thus not talk a node into throwing its chunks away.
//!
//! All orders of a pass are of one reign. If another one answers in the middle, or the node ceases to obey the one that
//! gave them, they are dropped and the pass begins anew.

use std::time::Duration;

use dfs_wire::id::{ChunkKey, Epoch};

use crate::env::MonoTime;

/// Chunks put into quarantine at once.
pub(crate) const QUARANTINE_BATCH: usize = 256;
/// Orders that never trip the breaker, however few chunks there are.
pub(crate) const BREAKER_MIN: usize = 16;

/// The bounds of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InventoryConfig {
    /// From the end of one inventory to the next.
    pub interval: Duration,
    /// Wait before a page that failed is told again.
    pub retry: Duration,
    /// How long the coordinator may take for a page.
    pub call_timeout: Duration,
    /// Most chunks, in percent, that one inventory may put into quarantine.
    pub breaker_percent: u8,
}

impl Default for InventoryConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(3600),
            retry: Duration::from_secs(5),
            call_timeout: Duration::from_secs(20),
            breaker_percent: 50,
        }
    }
}

/// A page of the chunk index, as cut by the shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IndexPage {
    /// It holds what comes after this ...
    pub after: Option<ChunkKey>,
    /// ... up to this; `None` = to the end.
    pub upto: Option<ChunkKey>,
}

/// What the shell is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Cut the page after this place, tell [`InventoryState::cut`] where it ends, and send it.
    Report {
        /// The last chunk of the page before; `None` = from the beginning.
        after: Option<ChunkKey>,
    },
    /// Ask the coordinator of this reign which of these are still to go; then [`InventoryState::confirmed`], or, without
    /// an answer of that reign, [`InventoryState::abandon`].
    Confirm {
        /// Who ordered it.
        reign: Epoch,
        keys: Vec<ChunkKey>,
    },
    /// Put these into quarantine, if the coordinator of this reign is still to be obeyed; else
    /// [`InventoryState::abandon`].
    Quarantine {
        /// Who ordered it.
        reign: Epoch,
        keys: Vec<ChunkKey>,
    },
    /// The breaker has tripped: say so.
    Tripped(Tripped),
    /// An inventory came to its end and the breaker is closed.
    Done,
}

/// What the breaker stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tripped {
    /// Chunks the coordinator wants gone; counting ended at the limit.
    pub orders: usize,
    /// Chunks the node has.
    pub chunks: u64,
    /// The limit, in percent.
    pub percent: u8,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum InventoryPhase {
    Idle {
        next_at: MonoTime,
    },
    Reporting {
        after: Option<ChunkKey>,
        sent: Option<IndexPage>,
        not_before: MonoTime,
    },
    /// With the batch that waits to be confirmed.
    Clearing {
        asked: Vec<ChunkKey>,
    },
}

/// How far the inventory has come, and which orders to delete wait for their confirmation.
#[derive(Debug)]
pub(crate) struct InventoryState {
    config: InventoryConfig,
    phase: InventoryPhase,
    orders: Vec<ChunkKey>,
    /// Whose orders they are; `None` before the first page is answered.
    reign: Option<Epoch>,
    /// Asked for while one was under way.
    again: bool,
    tripped: Option<Tripped>,
}

impl InventoryState {
    /// A machine that waits to be asked, or for its interval.
    pub(crate) fn new(config: InventoryConfig, now: MonoTime) -> Self {
        let phase = InventoryPhase::Idle { next_at: now + config.interval };
        Self { config, phase, orders: Vec::new(), reign: None, again: false, tripped: None }
    }

    /// The next instant at which [`Self::step`] may have something to do.
    pub(crate) fn wakes_at(&self) -> Option<MonoTime> {
        match &self.phase {
            InventoryPhase::Idle { next_at } => Some(*next_at),
            InventoryPhase::Reporting { sent: None, not_before, .. } => Some(*not_before),
            InventoryPhase::Reporting { .. } | InventoryPhase::Clearing { .. } => None,
        }
    }

    /// An inventory is wanted: now, or from the start once the one under way has come to its end.
    pub(crate) fn want(&mut self, now: MonoTime) {
        match &mut self.phase {
            InventoryPhase::Idle { next_at } => *next_at = now,
            // Nothing has been told yet: this one will do.
            InventoryPhase::Reporting { after: None, sent: None, not_before } => *not_before = now,
            InventoryPhase::Reporting { .. } | InventoryPhase::Clearing { .. } => self.again = true,
        }
    }

    /// The coordinator lacks an inventory: one under way will do.
    pub(crate) fn want_one(&mut self, now: MonoTime) {
        if let InventoryPhase::Idle { next_at } = &mut self.phase {
            *next_at = now;
        }
    }

    /// Lets time pass.
    pub(crate) fn step(&mut self, now: MonoTime) -> Option<Effect> {
        if self.wakes_at().is_none_or(|at| now < at) {
            return None;
        }
        if let InventoryPhase::Idle { .. } = self.phase {
            self.forget();
            self.phase = InventoryPhase::Reporting { after: None, sent: None, not_before: now };
        }
        match &self.phase {
            InventoryPhase::Reporting { after, .. } => Some(Effect::Report { after: *after }),
            InventoryPhase::Idle { .. } | InventoryPhase::Clearing { .. } => None,
        }
    }

    /// The page asked for was cut and is on its way.
    pub(crate) fn cut(&mut self, page: IndexPage) {
        if let InventoryPhase::Reporting { sent, .. } = &mut self.phase {
            *sent = Some(page);
        }
    }

    /// The page was answered with orders, in this reign. `chunks` is how many the node has.
    pub(crate) fn answered(
        &mut self,
        now: MonoTime,
        reign: Epoch,
        orders: Vec<ChunkKey>,
        chunks: u64,
    ) -> Option<Effect> {
        let InventoryPhase::Reporting { sent, .. } = &mut self.phase else { return None };
        let page = sent.take()?;
        if *self.reign.get_or_insert(reign) != reign {
            self.abandon(now);
            return None;
        }
        // Only what was told of may be ordered away, and no more is kept than it takes to trip the breaker.
        let inside =
            |key: &ChunkKey| page.after.is_none_or(|a| *key > a) && page.upto.is_none_or(|u| *key <= u);
        let limit = self.limit(chunks);
        let room = (limit + 1).saturating_sub(self.orders.len());
        self.orders.extend(orders.into_iter().filter(inside).take(room));
        if let Some(upto) = page.upto {
            self.phase = InventoryPhase::Reporting { after: Some(upto), sent: None, not_before: now };
            return None;
        }
        if self.orders.len() > limit {
            let orders = std::mem::take(&mut self.orders).len();
            let tripped = Tripped { orders, chunks, percent: self.config.breaker_percent };
            self.tripped = Some(tripped);
            self.rest(now);
            return Some(Effect::Tripped(tripped));
        }
        self.tripped = None;
        self.phase = InventoryPhase::Clearing { asked: Vec::new() };
        Some(self.clear(now, reign))
    }

    /// The orders are not to be obeyed: none of the rest is carried out, and another pass begins after a wait.
    pub(crate) fn abandon(&mut self, now: MonoTime) {
        self.forget();
        self.phase = InventoryPhase::Idle { next_at: now + self.config.retry };
    }

    /// The page could not be told: it is told again after a wait.
    pub(crate) fn failed(&mut self, now: MonoTime) {
        if let InventoryPhase::Reporting { sent, not_before, .. } = &mut self.phase {
            *sent = None;
            *not_before = now + self.config.retry;
        }
    }

    /// The coordinator was asked again; in this reign, these of the batch are still to go.
    pub(crate) fn confirmed(&mut self, now: MonoTime, reign: Epoch, still: &[ChunkKey]) -> Option<Effect> {
        let InventoryPhase::Clearing { asked } = &mut self.phase else { return None };
        let mut keys = std::mem::take(asked);
        keys.retain(|key| still.contains(key));
        if self.reign != Some(reign) {
            self.abandon(now);
            return None;
        }
        match keys.is_empty() {
            true => Some(self.clear(now, reign)),
            false => Some(Effect::Quarantine { reign, keys }),
        }
    }

    /// A batch is in quarantine.
    pub(crate) fn quarantined(&mut self, now: MonoTime) -> Option<Effect> {
        match (&self.phase, self.reign) {
            (InventoryPhase::Clearing { .. }, Some(reign)) => Some(self.clear(now, reign)),
            _ => None,
        }
    }

    fn forget(&mut self) {
        (self.again, self.reign) = (false, None);
        self.orders.clear();
    }

    fn clear(&mut self, now: MonoTime, reign: Epoch) -> Effect {
        if self.orders.is_empty() {
            self.rest(now);
            return Effect::Done;
        }
        let rest = self.orders.split_off(self.orders.len().min(QUARANTINE_BATCH));
        let keys = std::mem::replace(&mut self.orders, rest);
        self.phase = InventoryPhase::Clearing { asked: keys.clone() };
        Effect::Confirm { reign, keys }
    }

    fn rest(&mut self, now: MonoTime) {
        let wait = if std::mem::take(&mut self.again) { Duration::ZERO } else { self.config.interval };
        self.phase = InventoryPhase::Idle { next_at: now + wait };
    }

    fn limit(&self, chunks: u64) -> usize {
        let share = chunks.saturating_mul(u64::from(self.config.breaker_percent.min(100))) / 100;
        usize::try_from(share).unwrap_or(usize::MAX - 1).max(BREAKER_MIN)
    }
}

#[cfg(test)]
mod tests {
    use dfs_wire::id::{ChunkId, Generation};

    use super::*;

    fn at(seconds: u64) -> MonoTime {
        MonoTime::ZERO + Duration::from_secs(seconds)
    }

    fn key(id: u128) -> ChunkKey {
        ChunkKey { chunk: ChunkId(id), generation: Generation(0) }
    }

    fn keys(ids: std::ops::Range<u128>) -> Vec<ChunkKey> {
        ids.map(key).collect()
    }

    fn started() -> InventoryState {
        let mut state = InventoryState::new(InventoryConfig::default(), at(0));
        state.want(at(1));
        assert_eq!(state.step(at(1)), Some(Effect::Report { after: None }));
        state
    }

    fn last_page(state: &mut InventoryState, orders: Vec<ChunkKey>, chunks: u64) -> Option<Effect> {
        state.cut(IndexPage { after: None, upto: None });
        state.answered(at(2), Epoch(1), orders, chunks)
    }

    #[test]
    fn it_comes_by_itself_and_when_asked() {
        let mut state = InventoryState::new(InventoryConfig::default(), at(0));
        assert_eq!(state.step(at(3_599)), None);
        assert!(state.step(at(3_600)).is_some());
        let mut state = started();
        state.cut(IndexPage { after: None, upto: None });
        assert_eq!(state.step(at(9_999)), None, "one page at a time");
        assert_eq!(state.answered(at(2), Epoch(1), vec![], 0), Some(Effect::Done));
        assert_eq!(state.wakes_at(), Some(at(3_602)));
    }

    #[test]
    fn pages_follow_each_other_and_a_failed_one_is_told_again() {
        let mut state = started();
        state.cut(IndexPage { after: None, upto: Some(key(10)) });
        assert_eq!(state.answered(at(2), Epoch(1), vec![], 20), None);
        assert_eq!(state.step(at(2)), Some(Effect::Report { after: Some(key(10)) }));
        state.cut(IndexPage { after: Some(key(10)), upto: Some(key(20)) });
        state.failed(at(3));
        assert_eq!(state.step(at(7)), None);
        assert_eq!(state.step(at(8)), Some(Effect::Report { after: Some(key(10)) }), "the same page");
    }

    #[test]
    fn one_asked_for_meanwhile_follows_at_once() {
        let mut state = started();
        state.want(at(1));
        assert!(!state.again, "nothing was told yet");
        state.cut(IndexPage { after: None, upto: None });
        state.want_one(at(1));
        assert!(!state.again, "the one under way will do");
        state.want(at(1));
        state.answered(at(2), Epoch(1), vec![], 0);
        assert_eq!(state.step(at(2)), Some(Effect::Report { after: None }));
    }

    #[test]
    fn orders_are_carried_out_in_batches_at_the_end() {
        let mut state = started();
        state.cut(IndexPage { after: None, upto: Some(key(500)) });
        assert_eq!(state.answered(at(2), Epoch(1), keys(0..300), 1_000), None, "not before the end");
        state.step(at(2));
        state.cut(IndexPage { after: Some(key(500)), upto: None });
        let first = state.answered(at(3), Epoch(1), keys(501..511), 1_000);
        assert_eq!(first, Some(Effect::Confirm { reign: Epoch(1), keys: keys(0..256) }));
        let go = state.confirmed(at(3), Epoch(1), &keys(0..256));
        assert_eq!(go, Some(Effect::Quarantine { reign: Epoch(1), keys: keys(0..256) }));
        let second = state.quarantined(at(3));
        let rest: Vec<_> = keys(256..300).into_iter().chain(keys(501..511)).collect();
        assert_eq!(second, Some(Effect::Confirm { reign: Epoch(1), keys: rest.clone() }));
        let go = state.confirmed(at(3), Epoch(1), &rest);
        assert_eq!(go, Some(Effect::Quarantine { reign: Epoch(1), keys: rest }));
        assert_eq!(state.quarantined(at(4)), Some(Effect::Done));
    }

    #[test]
    fn only_what_is_still_to_go_when_it_goes_is_put_away() {
        let mut state = started();
        assert!(matches!(last_page(&mut state, keys(0..9), 1_000), Some(Effect::Confirm { .. })));
        let still: Vec<_> = keys(3..5).into_iter().chain(keys(70..80)).collect();
        let go = state.confirmed(at(3), Epoch(1), &still);
        assert_eq!(go, Some(Effect::Quarantine { reign: Epoch(1), keys: keys(3..5) }), "and nothing else");
        assert_eq!(state.quarantined(at(3)), Some(Effect::Done));
        let mut state = started();
        last_page(&mut state, keys(0..9), 1_000);
        assert_eq!(state.confirmed(at(3), Epoch(1), &[]), Some(Effect::Done), "all of them are needed now");
        let mut state = started();
        last_page(&mut state, keys(0..9), 1_000);
        assert_eq!(state.confirmed(at(3), Epoch(2), &keys(0..9)), None, "another reign has ordered nothing");
        assert_eq!(state.wakes_at(), Some(at(8)));
    }

    #[test]
    fn an_order_for_most_chunks_trips_the_breaker_and_a_later_pass_closes_it() {
        let mut state = started();
        let tripped = last_page(&mut state, keys(0..501), 1_000);
        let expected = Tripped { orders: 501, chunks: 1_000, percent: 50 };
        assert_eq!(tripped, Some(Effect::Tripped(expected)));
        assert_eq!((state.tripped, state.orders.len()), (Some(expected), 0));
        state.want(at(3));
        state.step(at(3));
        assert!(matches!(last_page(&mut state, keys(0..500), 1_000), Some(Effect::Confirm { .. })));
        assert_eq!(state.tripped, None);
    }

    #[test]
    fn a_breaker_cannot_be_evaded_by_small_pages_and_keeps_no_more_than_it_needs() {
        let mut state = started();
        let mut last = None;
        for page in 0..100u128 {
            let after = (page > 0).then(|| key(page * 10 - 1));
            let upto = (page < 99).then(|| key(page * 10 + 9));
            state.cut(IndexPage { after, upto });
            last = state.answered(at(2), Epoch(1), keys(page * 10..page * 10 + 10), 1_000);
            assert!(state.orders.len() <= 501);
            state.step(at(2));
        }
        assert!(matches!(last, Some(Effect::Tripped(_))), "{last:?}");
    }

    #[test]
    fn a_few_orders_never_trip_it_and_orders_outside_the_page_do_not_count() {
        let mut state = started();
        assert_eq!(
            last_page(&mut state, keys(0..16), 16),
            Some(Effect::Confirm { reign: Epoch(1), keys: keys(0..16) })
        );
        let mut state = started();
        assert!(matches!(last_page(&mut state, keys(0..17), 17), Some(Effect::Tripped(_))));
        let mut state = started();
        state.cut(IndexPage { after: None, upto: Some(key(5)) });
        state.answered(at(2), Epoch(1), keys(0..100), 100);
        assert_eq!(state.orders, keys(0..6));
    }

    #[test]
    fn orders_of_two_reigns_are_not_mixed_and_an_abandoned_pass_begins_anew() {
        let mut state = started();
        state.cut(IndexPage { after: None, upto: Some(key(10)) });
        state.answered(at(2), Epoch(1), keys(0..3), 1_000);
        state.step(at(2));
        state.cut(IndexPage { after: Some(key(10)), upto: None });
        assert_eq!(state.answered(at(3), Epoch(2), keys(11..13), 1_000), None);
        assert_eq!(state.step(at(7)), None);
        assert_eq!(state.step(at(8)), Some(Effect::Report { after: None }));
        state.cut(IndexPage { after: None, upto: None });
        let kept = Some(Effect::Confirm { reign: Epoch(2), keys: keys(4..5) });
        assert_eq!(state.answered(at(8), Epoch(2), keys(4..5), 1_000), kept);
        state.abandon(at(9));
        assert_eq!((state.quarantined(at(9)), state.wakes_at()), (None, Some(at(14))));
    }
}
