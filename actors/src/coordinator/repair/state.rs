//! When to look for endangered chunks, which comes first, and how many at once: a pure machine.
//!
//! ```text
//!   Settling --enough heard of, or settle_for over-----> Looking --every range read--> Working --nothing left--> Resting
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

use super::parked::{ParkedChunks, WaitsFor};
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

/// How an errand ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrandEnd {
    /// Well, or nothing was to be done.
    Done,
    /// A node was too busy for it: that is no reason to wait longer each time.
    Refused,
    /// It could not be done.
    Failed,
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
    /// Chunks for which there is no room now. One that is looked at again stays here until it begins, so that nobody passes it by.
    parked: ParkedChunks,
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
            parked: ParkedChunks::default(),
            under_way: BTreeMap::new(),
            places: ErrandPlaces::new(chunks_max, config.bytes_per_second, now),
            setbacks: BTreeMap::new(),
        }
    }

    /// Begins a look if it is time; `heard` = enough was heard of since the start.
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
        while self.under_way.len() < self.config.errands_max.saturating_mul(small) {
            let Some((_, chunk)) = self.queue.pop_first() else { break };
            let waits = self.setbacks.get(&chunk).is_some_and(|setback| now < setback.until);
            if !waits && !self.under_way.contains_key(&chunk) {
                self.under_way.insert(chunk, Effort::default());
                return Some(chunk);
            }
        }
        if self.queue.is_empty()
            && self.parked.len() == 0
            && self.under_way.is_empty()
            && matches!(self.phase, LookPhase::Working)
        {
            let wait = if std::mem::take(&mut self.overflowed) { Duration::ZERO } else { self.config.rest };
            self.phase = LookPhase::Resting { until: now + wait };
        }
        None
    }

    /// What the errands cost that a node is part of.
    pub(super) fn busy(&self, node: NodeId) -> u64 {
        self.places.busy(node)
    }

    /// Begins an errand for a chunk, or has it wait until there is room: those in greater danger come first. Says whether it begins.
    pub(super) fn begin_errand(
        &mut self,
        now: MonoTime,
        (urgency, chunk): (u8, ChunkId),
        effort: Effort,
    ) -> bool {
        let behind = |waits_for: &WaitsFor| self.parked.is_before(*waits_for, urgency, chunk);
        let waits_for = effort.needs().find(behind).or_else(|| self.places.obstacle(now, &effort));
        let Some(waits_for) = waits_for else {
            self.parked.remove(chunk);
            self.places.take(now, &effort);
            self.under_way.insert(chunk, effort);
            return true;
        };
        self.under_way.remove(&chunk);
        if self.parked.len() < REPAIRS_WAITING_MAX {
            self.parked.park(waits_for, urgency, chunk, effort.cost());
        } else {
            self.parked.remove(chunk);
            self.overflowed = true;
        }
        false
    }

    /// Time passes: what waits is looked at again, as far as there is room.
    pub(super) fn passes(&mut self, now: MonoTime) {
        for waits_for in self.parked.waited_for() {
            self.wake(now, waits_for);
        }
    }

    fn wake(&mut self, now: MonoTime, waits_for: WaitsFor) {
        let (room, is_empty) = self.places.room(now, waits_for);
        self.queue.extend(self.parked.first(waits_for, room, is_empty));
    }

    /// What was to be done about the chunk has ended.
    pub(super) fn ended(&mut self, now: MonoTime, chunk: ChunkId, how: ErrandEnd) {
        let effort = self.under_way.remove(&chunk).unwrap_or_default();
        self.places.give_back(&effort, how == ErrandEnd::Done);
        self.parked.remove(chunk);
        effort.needs().for_each(|freed| self.wake(now, freed));
        let times = self.setbacks.get(&chunk).map_or(0, |setback| setback.times);
        let times = match how {
            ErrandEnd::Done => {
                self.setbacks.remove(&chunk);
                return;
            }
            ErrandEnd::Refused => times.max(1),
            ErrandEnd::Failed => times.saturating_add(1),
        };
        let wait = self.config.retry_min.saturating_mul(1 << (times - 1).min(16)).min(self.config.retry_max);
        if self.setbacks.len() < REPAIRS_WAITING_MAX || self.setbacks.contains_key(&chunk) {
            self.setbacks.insert(chunk, Setback { times, until: now + wait });
        }
    }
}

#[cfg(test)]
mod tests;
