//! Chunks that have to wait: for room on a node that they need or in all, or for the budget.
//!
//! They wait in the order of their danger, and whoever comes later waits behind those in greater danger: no number of small chunks
//! passes a large one by. Who waits for one node holds up nobody who needs others.

use std::collections::BTreeMap;

use dfs_wire::id::{ChunkId, NodeId};

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum WaitsFor {
    /// Room on a node.
    Node(NodeId),
    /// Room in the bound of all nodes together.
    All,
    /// Bytes that may be copied.
    Budget,
}

/// Chunks that wait, by what they wait for, the most endangered first, each with what it will cost.
#[derive(Debug, Default)]
pub(super) struct ParkedChunks {
    queues: BTreeMap<WaitsFor, BTreeMap<(u8, ChunkId), u64>>,
    places: BTreeMap<ChunkId, (WaitsFor, u8)>,
}

impl ParkedChunks {
    /// Chunks that wait.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Has a chunk wait, or wait for something else than before.
    pub(super) fn park(&mut self, waits_for: WaitsFor, urgency: u8, chunk: ChunkId, cost: u64) {
        self.remove(chunk);
        self.places.insert(chunk, (waits_for, urgency));
        self.queues.entry(waits_for).or_default().insert((urgency, chunk), cost);
    }

    /// A chunk does not wait any more.
    pub(super) fn remove(&mut self, chunk: ChunkId) {
        let Some((waits_for, urgency)) = self.places.remove(&chunk) else { return };
        if let Some(queue) = self.queues.get_mut(&waits_for) {
            queue.remove(&(urgency, chunk));
            if queue.is_empty() {
                self.queues.remove(&waits_for);
            }
        }
    }

    /// Whether somebody in greater danger waits for the same.
    pub(super) fn is_before(&self, waits_for: WaitsFor, urgency: u8, chunk: ChunkId) -> bool {
        let first = self.queues.get(&waits_for).and_then(BTreeMap::first_key_value);
        first.is_some_and(|(first, _)| *first < (urgency, chunk))
    }

    /// What is waited for.
    pub(super) fn waited_for(&self) -> Vec<WaitsFor> {
        self.queues.keys().copied().collect()
    }

    /// The first of those that wait for this, as far as they fit into `room`; the very first if nothing is in its way.
    pub(super) fn first(&self, waits_for: WaitsFor, room: u64, is_empty: bool) -> Vec<(u8, ChunkId)> {
        let mut left = room;
        let mut fits = |index: usize, cost: u64| {
            let fits = cost <= left || (is_empty && index == 0);
            left = left.saturating_sub(cost);
            fits
        };
        let queue = self.queues.get(&waits_for).into_iter().flatten().enumerate();
        queue.take_while(|(index, (_, cost))| fits(*index, **cost)).map(|(_, (key, _))| *key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: WaitsFor = WaitsFor::Node(NodeId(4));

    #[test]
    fn the_most_endangered_comes_first_and_nobody_passes_it_by() {
        let mut parked = ParkedChunks::default();
        parked.park(NODE, 2, ChunkId(1), 1);
        parked.park(NODE, 1, ChunkId(9), 8);
        parked.park(WaitsFor::All, 1, ChunkId(7), 1);
        assert!(parked.is_before(NODE, 2, ChunkId(0)) && !parked.is_before(NODE, 1, ChunkId(8)));
        assert!(!parked.is_before(NODE, 1, ChunkId(9)), "not before itself");
        assert!(!parked.is_before(WaitsFor::Node(NodeId(5)), 9, ChunkId(0)), "nobody waits for that one");
        assert_eq!(parked.first(NODE, 7, false), [], "there is no room for the first, so for none");
        assert_eq!(parked.first(NODE, 8, false), [(1, ChunkId(9))]);
        assert_eq!(parked.first(NODE, 9, false), [(1, ChunkId(9)), (2, ChunkId(1))]);
        assert_eq!(
            parked.first(NODE, 3, true),
            [(1, ChunkId(9))],
            "one that is larger than all the room there is"
        );
        assert_eq!((parked.len(), parked.waited_for()), (3, vec![NODE, WaitsFor::All]));
    }

    #[test]
    fn a_chunk_waits_once_whatever_it_waits_for() {
        let mut parked = ParkedChunks::default();
        parked.park(NODE, 2, ChunkId(1), 1);
        parked.park(WaitsFor::All, 1, ChunkId(1), 1);
        assert_eq!((parked.len(), parked.first(NODE, 9, true)), (1, vec![]));
        parked.remove(ChunkId(1));
        parked.remove(ChunkId(1));
        assert_eq!((parked.len(), parked.waited_for()), (0, vec![]));
    }
}
