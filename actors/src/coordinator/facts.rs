//! What datanodes have said of their copies lately: kept for health and `fsck`, lost at a restart, learned again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dfs_wire::id::{Incarnation, NodeId};
use dfs_wire::message::inventory::InventoryReport;
use dfs_wire::message::membership::ChunkCopy;

use crate::chunk_store::ChunkKey;

/// Copies of each kind that are remembered of a node.
const KEPT_MAX: usize = 4096;

#[derive(Debug, Default)]
struct Said {
    /// Bad copies, as of the last whole inventory and the heartbeats since.
    corrupt: BTreeSet<ChunkKey>,
    /// Bad copies of the inventory under way.
    corrupt_now: BTreeSet<ChunkKey>,
    /// Copies ordered into quarantine in the inventory under way, and in the one before.
    orphans_now: BTreeSet<ChunkKey>,
    orphans_before: BTreeSet<ChunkKey>,
    /// The run whose inventory came to its end last, and when.
    told_all: Option<(Incarnation, u64)>,
}

/// What datanodes have said.
#[derive(Debug, Default)]
pub(super) struct NodeFacts {
    nodes: Mutex<BTreeMap<NodeId, Said>>,
}

fn key(copy: &ChunkCopy) -> ChunkKey {
    ChunkKey { chunk: copy.chunk, generation: copy.generation }
}

fn keep(set: &mut BTreeSet<ChunkKey>, keys: impl Iterator<Item = ChunkKey>) {
    let room = KEPT_MAX.saturating_sub(set.len());
    set.extend(keys.take(room));
}

impl NodeFacts {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Said>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bad copies told in a heartbeat.
    pub(super) fn corrupt(&self, node: NodeId, copies: &[ChunkCopy]) {
        keep(&mut self.lock().entry(node).or_default().corrupt, copies.iter().map(key));
    }

    /// A page of an inventory, and what was ordered into quarantine for it, at this time of the coordinator.
    pub(super) fn page(&self, report: &InventoryReport, orphans: &[ChunkCopy], now_ms: u64) {
        let mut nodes = self.lock();
        let said = nodes.entry(report.node).or_default();
        if report.after.is_none() {
            said.corrupt_now.clear();
            said.orphans_before = std::mem::take(&mut said.orphans_now);
        }
        let bad = report.copies.iter().filter(|copy| copy.corrupt);
        keep(
            &mut said.corrupt_now,
            bad.map(|copy| ChunkKey { chunk: copy.chunk, generation: copy.generation }),
        );
        keep(&mut said.orphans_now, orphans.iter().map(key));
        if report.upto.is_none() {
            said.corrupt = std::mem::take(&mut said.corrupt_now);
            said.told_all = Some((report.incarnation, now_ms));
        }
    }

    /// How long ago this run of a node told everything it has; `None` if it has not yet, since this coordinator began.
    pub(super) fn inventory_age_ms(&self, node: NodeId, run: Incarnation, now_ms: u64) -> Option<u64> {
        let (told, at_ms) = self.lock().get(&node)?.told_all?;
        (told == run).then(|| now_ms.saturating_sub(at_ms))
    }

    /// How many bad copies a node is known to hold.
    pub(super) fn corrupt_count(&self, node: NodeId) -> u64 {
        self.lock().get(&node).map_or(0, |said| said.corrupt.len() as u64)
    }

    /// Copies that a node was told to put into quarantine in two inventories in a row: it does not get rid of them.
    pub(super) fn stubborn_orphans(&self, most: usize) -> Vec<(NodeId, ChunkKey)> {
        let nodes = self.lock();
        let both =
            |said: &Said| said.orphans_now.intersection(&said.orphans_before).copied().collect::<Vec<_>>();
        nodes
            .iter()
            .flat_map(|(node, said)| both(said).into_iter().map(|key| (*node, key)))
            .take(most)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use dfs_wire::id::{ChunkId, Generation};
    use dfs_wire::message::inventory::InventoryEntry;

    use super::*;

    fn copy(id: u128) -> ChunkCopy {
        ChunkCopy { chunk: ChunkId(id), generation: Generation(0) }
    }

    fn page(after: Option<u128>, upto: Option<u128>, copies: &[(u128, bool)]) -> InventoryReport {
        let entry = |&(id, corrupt): &(u128, bool)| InventoryEntry {
            chunk: ChunkId(id),
            generation: Generation(0),
            len: 1,
            corrupt,
        };
        InventoryReport {
            node: NodeId(1),
            incarnation: Incarnation(1),
            after: after.map(copy),
            upto: upto.map(copy),
            heard_ms: 0,
            copies: copies.iter().map(entry).collect(),
        }
    }

    #[test]
    fn a_whole_inventory_replaces_what_was_said_before() {
        let facts = NodeFacts::default();
        facts.corrupt(NodeId(1), &[copy(1), copy(2)]);
        assert_eq!(facts.corrupt_count(NodeId(1)), 2);
        facts.page(&page(None, Some(5), &[(1, false), (3, true)]), &[], 5);
        assert_eq!(facts.corrupt_count(NodeId(1)), 2, "not before its end");
        assert_eq!(facts.inventory_age_ms(NodeId(1), Incarnation(1), 9), None);
        facts.page(&page(Some(5), None, &[(7, false)]), &[], 5);
        assert_eq!(facts.corrupt_count(NodeId(1)), 1);
        assert_eq!(facts.inventory_age_ms(NodeId(1), Incarnation(1), 9), Some(4));
        assert_eq!(facts.inventory_age_ms(NodeId(1), Incarnation(2), 9), None, "of another run");
    }

    #[test]
    fn an_orphan_counts_only_if_the_node_keeps_it() {
        let facts = NodeFacts::default();
        facts.page(&page(None, None, &[]), &[copy(1), copy(2)], 5);
        assert_eq!(facts.stubborn_orphans(10), [], "it is being put into quarantine");
        facts.page(&page(None, None, &[]), &[copy(2), copy(3)], 5);
        assert_eq!(facts.stubborn_orphans(10).iter().map(|(_, k)| k.chunk.0).collect::<Vec<_>>(), [2]);
        facts.page(&page(None, None, &[]), &[], 5);
        assert_eq!(facts.stubborn_orphans(10), []);
    }
}
