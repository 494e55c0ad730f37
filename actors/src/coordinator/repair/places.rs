//! How much repair may do at once, and in a second.
//!
//! What is under way is counted in bytes, where a small chunk counts as [`COST_MIN`]: on each node that is part of an errand,
//! and in all. So a few large chunks fill what many small ones fill. Where nothing else is under way, any chunk fits.
//!
//! The budget of a second is kept as the time up to which it is spent; it may be spent [`AHEAD`] of now. What is not copied after all
//! is given back.

use std::collections::BTreeMap;
use std::time::Duration;

use dfs_wire::id::NodeId;

use super::parked::WaitsFor;
use crate::env::MonoTime;

/// What the bounds of repair count as one chunk, in bytes: a whole one as files have them by default.
pub(super) const CHUNK_COST: u64 = 8 * 1024 * 1024;
/// What the smallest chunk counts as: a file to make and to sync.
pub(super) const COST_MIN: u64 = 1024 * 1024;
/// How far ahead the budget may be spent: more than the time between two looks at the clock.
const AHEAD: Duration = Duration::from_secs(1);

/// What an errand takes while it is under way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Effort {
    /// The nodes that it keeps busy; none = it is a word to the metadata.
    pub(super) nodes: Vec<NodeId>,
    /// Bytes that they read or write.
    pub(super) bytes: u64,
    /// The bytes go from one node to another: the budget of a second pays for them.
    pub(super) copies: bool,
}

impl Effort {
    /// What it counts as.
    pub(super) fn cost(&self) -> u64 {
        if self.nodes.is_empty() { 0 } else { self.bytes.max(COST_MIN) }
    }

    /// What there must be for it; nothing for a word to the metadata.
    pub(super) fn needs(&self) -> impl Iterator<Item = WaitsFor> + '_ {
        let nodes = self.nodes.iter().map(|node| WaitsFor::Node(*node));
        let all = (!self.nodes.is_empty()).then_some(WaitsFor::All);
        nodes.chain(all).chain(self.copies.then_some(WaitsFor::Budget))
    }
}

/// What is under way, by node and in all, and up to when the budget is spent.
#[derive(Debug)]
pub(super) struct ErrandPlaces {
    /// Most that may be under way in all, and on one node.
    max: (u64, u64),
    bytes_per_second: u64,
    busy: BTreeMap<NodeId, u64>,
    all: u64,
    spent: MonoTime,
}

impl ErrandPlaces {
    /// Nothing under way, nothing spent; `chunks_max` = chunks of 8 MiB at once, in all and on one node.
    pub(super) fn new(chunks_max: (usize, u32), bytes_per_second: u64, now: MonoTime) -> Self {
        let bytes = |chunks: u64| chunks.saturating_mul(CHUNK_COST);
        let max = (bytes(chunks_max.0 as u64), bytes(chunks_max.1.into()));
        Self { max, bytes_per_second, busy: BTreeMap::new(), all: 0, spent: now }
    }

    /// What the errands cost that a node is part of.
    pub(super) fn busy(&self, node: NodeId) -> u64 {
        self.busy.get(&node).copied().unwrap_or(0)
    }

    /// Whether the budget allows another copy now.
    fn may_copy(&self, now: MonoTime) -> bool {
        self.spent <= now + AHEAD
    }

    /// Room that is left for whoever waits for this, and whether nothing at all is in his way.
    pub(super) fn room(&self, now: MonoTime, waits_for: WaitsFor) -> (u64, bool) {
        let (all, each) = self.max;
        match waits_for {
            WaitsFor::Node(node) => (each.saturating_sub(self.busy(node)), self.busy(node) == 0),
            WaitsFor::All => (all.saturating_sub(self.all), self.all == 0),
            WaitsFor::Budget if self.may_copy(now) => (all, true),
            WaitsFor::Budget => (0, false),
        }
    }

    /// What an errand has to wait for, if it does not fit beside what is under way, and into the budget. Where nothing is under
    /// way, any fits.
    pub(super) fn obstacle(&self, now: MonoTime, effort: &Effort) -> Option<WaitsFor> {
        let cost = effort.cost();
        effort.needs().find(|needed| {
            let (room, is_empty) = self.room(now, *needed);
            !is_empty && cost > room
        })
    }

    /// An errand begins.
    pub(super) fn take(&mut self, now: MonoTime, effort: &Effort) {
        let cost = effort.cost();
        for node in &effort.nodes {
            *self.busy.entry(*node).or_default() += cost;
        }
        self.all = self.all.saturating_add(cost);
        if effort.copies {
            self.spent = self.spent.max(now) + self.price(effort.bytes);
        }
    }

    /// How much of the budget's time so many bytes take.
    fn price(&self, bytes: u64) -> Duration {
        let micros = u128::from(bytes) * 1_000_000 / u128::from(self.bytes_per_second.max(1));
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// An errand has ended; `copied` = what it was to copy was.
    pub(super) fn give_back(&mut self, effort: &Effort, copied: bool) {
        if effort.copies && !copied {
            let price = self.price(effort.bytes).as_micros();
            let price = u64::try_from(price).unwrap_or(u64::MAX);
            self.spent = MonoTime::from_micros(self.spent.as_micros().saturating_sub(price));
        }
        let cost = effort.cost();
        for node in &effort.nodes {
            if let Some(used) = self.busy.get_mut(node) {
                *used = used.saturating_sub(cost);
            }
        }
        self.busy.retain(|_, used| *used > 0);
        self.all = self.all.saturating_sub(cost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(all: usize, each: u32, bytes_per_second: u64) -> ErrandPlaces {
        ErrandPlaces::new((all, each), bytes_per_second, MonoTime::ZERO)
    }

    fn effort(node: u128, bytes: u64) -> Effort {
        Effort { nodes: vec![NodeId(node)], bytes, copies: true }
    }

    /// Takes a place if there is one.
    fn take(places: &mut ErrandPlaces, now: MonoTime, effort: &Effort) -> bool {
        let fits = places.obstacle(now, effort).is_none();
        if fits {
            places.take(now, effort);
        }
        fits
    }

    #[test]
    fn a_node_takes_part_in_a_few_large_errands_or_in_many_small_ones() {
        let (mut places, now) = (places(3, 1, u64::MAX), MonoTime::ZERO);
        assert_eq!((0..20).filter(|_| take(&mut places, now, &effort(4, 1))).count(), 8);
        assert_eq!(places.obstacle(now, &effort(4, 1)), Some(WaitsFor::Node(NodeId(4))));
        assert_eq!(places.obstacle(now, &effort(5, CHUNK_COST)), None, "others have room");
        (0..8).for_each(|_| places.give_back(&effort(4, 1), true));
        let large = effort(4, 8 * CHUNK_COST);
        assert!(take(&mut places, now, &large), "a large one, where nothing else is");
        assert_eq!(places.obstacle(now, &effort(5, 1)), Some(WaitsFor::All), "that is all there may be");
        places.give_back(&large, true);
        assert_eq!((places.busy(NodeId(4)), places.all), (0, 0));
    }

    #[test]
    fn there_is_a_bound_for_all_nodes_together_and_words_to_the_metadata_cost_nothing() {
        let (mut places, now) = (places(3, 4, 1), MonoTime::ZERO);
        let verified = |node| Effort { copies: false, ..effort(node, CHUNK_COST) };
        for node in 1..=3 {
            assert!(take(&mut places, now, &verified(node)));
        }
        assert_eq!(places.obstacle(now, &verified(9)), Some(WaitsFor::All));
        assert_eq!(places.obstacle(now, &Effort::default()), None);
        places.give_back(&verified(1), true);
        assert!(take(&mut places, now, &effort(1, CHUNK_COST)), "the budget may be spent once");
        places.give_back(&effort(1, CHUNK_COST), true);
        assert_eq!(places.obstacle(now, &effort(1, 1)), Some(WaitsFor::Budget), "then it is, for long");
        assert_eq!(places.obstacle(now, &verified(1)), None, "what copies nothing needs none of it");
        assert_eq!(places.obstacle(now, &Effort::default()), None);
    }

    /// Quarters of a chunk that are begun within ten seconds of which each is one's budget, and end at once.
    fn begun(copied: bool) -> usize {
        let mut places = places(100, 100, CHUNK_COST);
        let quarter = effort(1, CHUNK_COST / 4);
        let mut begun = 0;
        for tick in 0..20_u64 {
            let now = MonoTime::from_micros(tick * 500_000);
            while begun < 1_000 && take(&mut places, now, &quarter) {
                places.give_back(&quarter, copied);
                begun += 1;
            }
        }
        begun
    }

    #[test]
    fn a_budget_of_bytes_is_kept_to_but_for_a_second_ahead_and_what_fails_costs_nothing() {
        assert!((40..=44).contains(&begun(true)), "{}", begun(true));
        assert_eq!(begun(false), 1_000);
    }
}
