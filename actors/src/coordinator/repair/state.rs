//! When to look for endangered chunks, which comes first, and how many at once: a pure machine.
//!
//! ```text
//!   Settling --all nodes heard of, or settle_for over--> Looking --every range read--> Working --nothing left--> Resting
//!                                                         ^  ^                                                     |
//!                                                         |  +------ at once, if the look found more than fits ----+
//!                                                         +------------------- after `rest` -----------------------+
//! ```
//!
//! While Working takes long, a look begins anew each minute. While Looking, what is found already is worked off: the phases only say what the reads do. The queue is bounded and
//! keeps the most endangered chunks; an errand that failed waits longer each time, and is not forgotten by the next look.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use dfs_wire::id::{ChunkId, NodeId};

use super::places::{CHUNK_COST, COST_MIN, Effort, ErrandPlaces};
use crate::budgets::REPAIRS_WAITING_MAX;
use crate::env::MonoTime;

/// From the beginning of one look to that of the next, while there is work.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// Chunks whose records are read in one go.
pub(super) const BATCH: usize = 64;

/// Bounds and times of repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepairConfig {
    /// How long a silent node may take to come back at no cost.
    pub grace: Duration,
    /// After a start, how long nodes have to be heard of before anything is copied.
    pub settle_for: Duration,
    /// From the end of one look that found nothing to the next.
    pub rest: Duration,
    /// Chunks of 8 MiB at once, in all.
    pub errands_max: usize,
    /// Chunks of 8 MiB at once on one node, as source or as whoever verifies.
    pub errands_per_node_max: u32,
    /// Bytes that are copied in a second, in all.
    pub bytes_per_second: u64,
    /// Wait after the first failure of an errand; doubled by each further one.
    pub retry_min: Duration,
    /// The wait grows no longer than this.
    pub retry_max: Duration,
}

impl Default for RepairConfig {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(300),
            settle_for: Duration::from_secs(600),
            rest: Duration::from_secs(5),
            errands_max: 32,
            errands_per_node_max: 4,
            bytes_per_second: 256 << 20,
            retry_min: Duration::from_secs(2),
            retry_max: Duration::from_secs(300),
        }
    }
}

/// Where chunks are looked for that are to be seen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Range {
    /// Chunks whose records have too few good copies, whatever the nodes do.
    Risk,
    /// Groups of chunks by the copies they have: which nodes are to be looked at.
    Groups,
    /// Chunks that operators wish elsewhere.
    Wished,
    /// Chunks with a copy on this node.
    On(NodeId),
}

/// The next read of a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Look {
    /// What is read.
    pub(super) range: Range,
    /// Where it goes on; empty = from the beginning.
    pub(super) after: Vec<u8>,
}

/// What a read has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Chunks to see to, and when: those with the fewest good copies first.
    pub(crate) chunks: Vec<(u8, ChunkId)>,
    /// Nodes that are to be looked at as well.
    pub(crate) nodes: BTreeSet<NodeId>,
    /// Where the range goes on; `None` = that was all of it.
    pub(crate) next: Option<Vec<u8>>,
}

#[derive(Debug)]
enum LookPhase {
    Settling,
    Looking { ranges: VecDeque<Range>, after: Vec<u8>, reading: bool },
    Working,
    Resting { until: MonoTime },
}

#[derive(Debug, Clone, Copy)]
struct Setback {
    times: u32,
    until: MonoTime,
}

/// The queue of endangered chunks and what is under way.
#[derive(Debug)]
pub(super) struct RepairState {
    config: RepairConfig,
    started: MonoTime,
    /// When the last look began.
    looked: MonoTime,
    phase: LookPhase,
    /// Found more than fits, or something failed: look again at once.
    overflowed: bool,
    queue: BTreeSet<(u8, ChunkId)>,
    /// Chunks whose nodes have no place now: queued again when an errand has ended.
    parked: Vec<(u8, ChunkId)>,
    under_way: BTreeMap<ChunkId, Effort>,
    places: ErrandPlaces,
    setbacks: BTreeMap<ChunkId, Setback>,
}

impl RepairState {
    /// A machine that settles first.
    pub(super) fn new(config: RepairConfig, now: MonoTime) -> Self {
        let chunks_max = (config.errands_max, config.errands_per_node_max);
        Self {
            config,
            started: now,
            looked: now,
            phase: LookPhase::Settling,
            overflowed: false,
            queue: BTreeSet::new(),
            parked: Vec::new(),
            under_way: BTreeMap::new(),
            places: ErrandPlaces::new(chunks_max, config.bytes_per_second, now),
            setbacks: BTreeMap::new(),
        }
    }

    /// Begins a look if it is time; `heard` = every node that belongs here was heard of since the start.
    pub(super) fn begin(&mut self, now: MonoTime, heard: bool) {
        let due = match &self.phase {
            LookPhase::Settling => heard || now.since(self.started) >= self.config.settle_for,
            LookPhase::Resting { until } => now >= *until,
            // What was found is not all worked off: meanwhile others may be in greater danger.
            LookPhase::Working => now.since(self.looked) >= LOOK_AGAIN,
            LookPhase::Looking { .. } => false,
        };
        if due {
            self.looked = now;
            let ranges = VecDeque::from([Range::Risk, Range::Groups, Range::Wished]);
            self.phase = LookPhase::Looking { ranges, after: Vec::new(), reading: false };
        }
    }

    /// Whether nothing is looked for yet.
    pub(super) fn is_settling(&self) -> bool {
        matches!(self.phase, LookPhase::Settling)
    }

    /// Chunks that wait, and those that something is done about.
    pub(super) fn load(&self) -> (usize, usize) {
        (self.queue.len() + self.parked.len(), self.under_way.len())
    }

    /// The read to make now, if any; one at a time.
    pub(super) fn look(&mut self) -> Option<Look> {
        match &mut self.phase {
            LookPhase::Looking { ranges, after, reading: reading @ false } => {
                let Some(range) = ranges.front() else {
                    self.phase = LookPhase::Working;
                    return None;
                };
                *reading = true;
                Some(Look { range: *range, after: after.clone() })
            }
            _ => None,
        }
    }

    /// A read has ended.
    pub(super) fn found(&mut self, now: MonoTime, found: Found) {
        self.setbacks.retain(|_, setback| now < setback.until + self.config.retry_max);
        for (good, chunk) in found.chunks {
            if self.under_way.contains_key(&chunk) {
                continue;
            }
            self.queue.insert((good, chunk));
            if self.queue.len() > REPAIRS_WAITING_MAX {
                self.queue.pop_last();
                self.overflowed = true;
            }
        }
        if let LookPhase::Looking { ranges, after, reading } = &mut self.phase {
            *reading = false;
            let new = found.nodes.into_iter().map(Range::On).filter(|range| !ranges.contains(range));
            let new: Vec<_> = new.collect();
            ranges.extend(new);
            match found.next {
                Some(next) => *after = next,
                None => {
                    ranges.pop_front();
                    after.clear();
                }
            }
        }
    }

    /// A read failed: the look is given up, and made again after a rest.
    pub(super) fn blind(&mut self, now: MonoTime) {
        self.phase = LookPhase::Resting { until: now + self.config.rest };
    }

    /// The chunks to see to now, the most endangered first, as far as there may be places for them.
    pub(super) fn batch(&mut self, now: MonoTime) -> Vec<ChunkId> {
        std::iter::from_fn(|| self.next(now)).take(BATCH).collect()
    }

    fn next(&mut self, now: MonoTime) -> Option<ChunkId> {
        let small = usize::try_from(CHUNK_COST / COST_MIN).unwrap_or(1);
        while self.places.may_begin(now)
            && self.under_way.len() < self.config.errands_max.saturating_mul(small)
            && self.parked.len() < self.config.errands_max
        {
            let Some((_, chunk)) = self.queue.pop_first() else { break };
            let waits = self.setbacks.get(&chunk).is_some_and(|setback| now < setback.until);
            if !waits && !self.under_way.contains_key(&chunk) {
                self.under_way.insert(chunk, Effort::default());
                return Some(chunk);
            }
        }
        if self.queue.is_empty()
            && self.parked.is_empty()
            && self.under_way.is_empty()
            && matches!(self.phase, LookPhase::Working)
        {
            let wait = if std::mem::take(&mut self.overflowed) { Duration::ZERO } else { self.config.rest };
            self.phase = LookPhase::Resting { until: now + wait };
        }
        None
    }

    /// What is under way on each node, and what fits beside it.
    pub(super) fn places(&self) -> &ErrandPlaces {
        &self.places
    }

    /// An errand for the chunk begins.
    pub(super) fn begun(&mut self, now: MonoTime, chunk: ChunkId, effort: Effort) {
        self.places.take(now, &effort);
        self.under_way.insert(chunk, effort);
    }

    /// Time passes: what waited for the budget is looked at again once there is some.
    pub(super) fn passes(&mut self, now: MonoTime) {
        if self.places.may_begin(now) {
            self.queue.extend(self.parked.drain(..));
        }
    }

    /// What was to be done about the chunk has ended; `done` = well, or nothing was to be done.
    pub(super) fn ended(&mut self, now: MonoTime, chunk: ChunkId, done: bool) {
        self.places.give_back(&self.under_way.remove(&chunk).unwrap_or_default());
        self.queue.extend(self.parked.drain(..));
        if done {
            self.setbacks.remove(&chunk);
            return;
        }
        let times = self.setbacks.get(&chunk).map_or(1, |setback| setback.times.saturating_add(1));
        let wait = self.config.retry_min.saturating_mul(1 << (times - 1).min(16)).min(self.config.retry_max);
        if self.setbacks.len() < REPAIRS_WAITING_MAX || self.setbacks.contains_key(&chunk) {
            self.setbacks.insert(chunk, Setback { times, until: now + wait });
        }
    }

    /// The chunk has no place now on a node that it needs: it waits its turn.
    pub(super) fn postponed(&mut self, good: u8, chunk: ChunkId) {
        self.under_way.remove(&chunk);
        self.parked.push((good, chunk));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: RepairConfig = RepairConfig {
        grace: Duration::from_secs(300),
        settle_for: Duration::from_secs(600),
        rest: Duration::from_secs(5),
        errands_max: 3,
        errands_per_node_max: 1,
        bytes_per_second: u64::MAX,
        retry_min: Duration::from_secs(2),
        retry_max: Duration::from_secs(8),
    };

    fn at(seconds: u64) -> MonoTime {
        MonoTime::ZERO + Duration::from_secs(seconds)
    }

    fn found(chunks: &[(u8, u128)], next: Option<&[u8]>) -> Found {
        let chunks = chunks.iter().map(|(good, id)| (*good, ChunkId(*id))).collect();
        Found { chunks, next: next.map(<[u8]>::to_vec), ..Found::default() }
    }

    /// A whole chunk is copied from this node.
    fn on(node: u128) -> Effort {
        Effort { nodes: vec![NodeId(node)], bytes: CHUNK_COST, copies: true }
    }

    /// A machine that has looked once, and found these.
    fn after_a_look(chunks: &[(u8, u128)]) -> RepairState {
        let mut state = RepairState::new(CONFIG, at(0));
        state.begin(at(0), true);
        assert!(state.look().is_some());
        state.found(at(0), found(chunks, None));
        for _ in [Range::Groups, Range::Wished] {
            assert!(state.look().is_some());
            state.found(at(0), found(&[], None));
        }
        state
    }

    #[test]
    fn nothing_is_looked_for_before_all_nodes_were_heard_of_or_the_time_is_over() {
        let mut state = RepairState::new(CONFIG, at(0));
        state.begin(at(599), false);
        assert_eq!(state.look(), None);
        state.begin(at(600), false);
        assert_eq!(state.look(), Some(Look { range: Range::Risk, after: vec![] }));
    }

    #[test]
    fn a_look_reads_each_range_to_its_end_and_rests_when_all_is_done() {
        let mut state = RepairState::new(CONFIG, at(0));
        state.begin(at(0), true);
        let look = |state: &mut RepairState| state.look().map(|look| (look.range, look.after));
        assert_eq!(look(&mut state), Some((Range::Risk, vec![])));
        assert_eq!(look(&mut state), None, "one read at a time");
        state.found(at(0), found(&[(1, 5)], Some(b"k")));
        assert_eq!(look(&mut state), Some((Range::Risk, b"k".to_vec())));
        state.found(at(0), found(&[], None));
        assert_eq!(look(&mut state), Some((Range::Groups, vec![])));
        state.found(at(0), Found { nodes: BTreeSet::from([NodeId(7)]), ..Found::default() });
        assert_eq!(look(&mut state), Some((Range::Wished, vec![])));
        state.found(at(0), found(&[], None));
        assert_eq!(look(&mut state), Some((Range::On(NodeId(7)), vec![])));
        state.found(at(0), found(&[(2, 5)], None));
        assert_eq!((look(&mut state), state.next(at(0))), (None, Some(ChunkId(5))));
        state.begun(at(0), ChunkId(5), on(1));
        state.ended(at(1), ChunkId(5), true);
        while let Some(chunk) = state.next(at(1)) {
            state.ended(at(1), chunk, true);
        }
        state.begin(at(5), true);
        assert_eq!(look(&mut state), None, "it rests");
        state.begin(at(6), true);
        assert!(look(&mut state).is_some());
    }

    #[test]
    fn the_most_endangered_comes_first_and_so_many_at_once() {
        let mut state = after_a_look(&[(2, 1), (1, 9), (0, 8), (2, 0)]);
        assert_eq!(state.batch(at(0)), [ChunkId(8), ChunkId(9), ChunkId(0), ChunkId(1)]);
    }

    #[test]
    fn nothing_more_is_read_while_much_waits_for_a_place() {
        let mut state = after_a_look(&[(1, 1), (1, 2), (1, 3), (1, 4)]);
        assert_eq!(state.next(at(0)), Some(ChunkId(1)));
        state.begun(at(0), ChunkId(1), on(4));
        for chunk in [2, 3, 4] {
            assert_eq!(state.next(at(0)), Some(ChunkId(chunk)));
            state.postponed(1, ChunkId(chunk));
        }
        state.found(at(0), found(&[(1, 5)], None));
        assert_eq!(state.next(at(0)), None, "as many as could run wait already");
        state.passes(at(1));
        assert_eq!(
            state.next(at(1)),
            Some(ChunkId(2)),
            "what waits for the budget is looked at as time passes"
        );
    }

    #[test]
    fn a_chunk_whose_node_has_no_place_waits_until_an_errand_has_ended() {
        let mut state = after_a_look(&[(1, 1), (1, 2)]);
        assert_eq!(state.next(at(0)), Some(ChunkId(1)));
        let has_place = |state: &RepairState, node: u128| state.places().fits(at(0), &on(node));
        state.begun(at(0), ChunkId(1), on(4));
        assert!(!has_place(&state, 4) && has_place(&state, 5));
        assert_eq!(state.next(at(0)), Some(ChunkId(2)));
        state.postponed(1, ChunkId(2));
        assert_eq!(state.next(at(0)), None);
        state.ended(at(1), ChunkId(1), true);
        assert!(has_place(&state, 4));
        assert_eq!(state.next(at(1)), Some(ChunkId(2)));
    }

    #[test]
    fn while_much_is_worked_off_what_is_in_greater_danger_is_found_all_the_same() {
        let mut state = after_a_look(&[(200, 1), (200, 2)]);
        assert_eq!(state.next(at(1)), Some(ChunkId(1)));
        // There is nothing more to read.
        assert_eq!(state.look(), None);
        state.begin(at(59), true);
        assert_eq!(state.look(), None);
        state.begin(at(60), true);
        assert!(state.look().is_some());
        state.found(at(60), found(&[(1, 9)], None));
        assert_eq!(state.next(at(60)), Some(ChunkId(9)));
    }

    #[test]
    fn what_failed_waits_longer_each_time() {
        let mut state = after_a_look(&[]);
        let mut wait = |now: u64| {
            state.found(at(now), found(&[(1, 1)], None));
            let waits = state.next(at(now)).is_none();
            if !waits {
                state.ended(at(now), ChunkId(1), false);
            }
            waits
        };
        let tried: Vec<u64> = (0..40).filter(|now| !wait(*now)).collect();
        assert_eq!(tried, [0, 2, 6, 14, 22, 30, 38], "2, 4, 8 seconds, and no longer");
    }

    #[test]
    fn the_queue_is_bounded_and_keeps_the_most_endangered() {
        let many: Vec<_> = (0..REPAIRS_WAITING_MAX as u128).map(|id| (2, id)).collect();
        let mut state = after_a_look(&many);
        state.found(at(0), found(&[(1, u128::MAX)], None));
        assert_eq!(state.queue.len(), REPAIRS_WAITING_MAX);
        assert_eq!(state.next(at(0)), Some(ChunkId(u128::MAX)));
    }
}
