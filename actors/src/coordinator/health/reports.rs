//! What datanodes have said of their copies lately: kept for health and `fsck`, lost at a restart, learned again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dfs_wire::id::{ChunkKey, Incarnation, NodeId};
use dfs_wire::message::inventory::{InventoryEntry, InventoryReport};

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
    /// When the inventory under way began, or a little before: the latest time its node had heard by then.
    began_ms: u64,
    /// The run whose inventory came to its end last, and when that inventory began.
    told_all: Option<(Incarnation, u64)>,
    /// Since when it has had fewer chunks than it should have, told in each heartbeat.
    short_since_ms: Option<u64>,
    /// When it was last asked for an inventory for that.
    asked_ms: Option<u64>,
}

/// How long a node has fewer chunks than it should have before it is asked for an inventory: what was deleted meanwhile
/// may explain it.
const SHORT_MS: u64 = 10_000;
/// From one such question to the next.
const SHORT_PAUSE_MS: u64 = 5 * 60 * 1000;

/// What datanodes have said.
#[derive(Debug, Default)]
pub(in crate::coordinator) struct NodeReports {
    nodes: Mutex<BTreeMap<NodeId, Said>>,
    /// Inventories that began before this do not count as fresh.
    wanted_ms: AtomicU64,
}

fn keep(set: &mut BTreeSet<ChunkKey>, keys: impl Iterator<Item = ChunkKey>) {
    let room = KEPT_MAX.saturating_sub(set.len());
    set.extend(keys.take(room));
}

impl NodeReports {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Said>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bad copies told in a heartbeat.
    pub(in crate::coordinator) fn corrupt(&self, node: NodeId, copies: &[ChunkKey]) {
        keep(&mut self.lock().entry(node).or_default().corrupt, copies.iter().copied());
    }

    /// Copies that a node has deleted, whatever they were.
    pub(in crate::coordinator) fn deleted(&self, node: NodeId, copies: &[ChunkKey]) {
        if let Some(said) = self.lock().get_mut(&node) {
            said.corrupt.retain(|copy| !copies.contains(copy));
        }
    }

    /// A page of an inventory, and what was ordered into quarantine for it, at this time of the coordinator.
    pub(in crate::coordinator) fn page(&self, report: &InventoryReport, orphans: &[ChunkKey], now_ms: u64) {
        let mut nodes = self.lock();
        let said = nodes.entry(report.node).or_default();
        if report.after.is_none() {
            // Of when the page was cut, not of when its turn came: it may have waited.
            said.began_ms = report.heard_ms.min(now_ms);
            said.corrupt_now.clear();
            said.orphans_before = std::mem::take(&mut said.orphans_now);
        }
        let bad = report.copies.iter().filter(|copy| copy.corrupt);
        keep(&mut said.corrupt_now, bad.map(InventoryEntry::key));
        keep(&mut said.orphans_now, orphans.iter().copied());
        if report.upto.is_none() {
            said.corrupt = std::mem::take(&mut said.corrupt_now);
            said.told_all = Some((report.incarnation, said.began_ms));
        }
    }

    /// An operator wants every node to tell all it has, from the start.
    pub(in crate::coordinator) fn want_inventories(&self, now_ms: u64) {
        self.wanted_ms.fetch_max(now_ms, Ordering::Relaxed);
    }

    /// Whether the inventory that just came to its end began early enough for whoever wanted one.
    pub(in crate::coordinator) fn is_fresh(&self, node: NodeId) -> bool {
        let wanted_ms = self.wanted_ms.load(Ordering::Relaxed);
        self.lock()
            .get(&node)
            .and_then(|said| said.told_all)
            .is_some_and(|(_, began_ms)| began_ms >= wanted_ms)
    }

    /// A heartbeat says how many chunks a node has, and the metadata how many it should have at least. Returns whether
    /// it is to be asked for an inventory.
    pub(in crate::coordinator) fn compare(&self, node: NodeId, has: u64, expected: u64, now_ms: u64) -> bool {
        let mut nodes = self.lock();
        let said = nodes.entry(node).or_default();
        if has >= expected {
            said.short_since_ms = None;
            return false;
        }
        let since_ms = *said.short_since_ms.get_or_insert(now_ms);
        let rested = said.asked_ms.is_none_or(|asked| asked.saturating_add(SHORT_PAUSE_MS) <= now_ms);
        let ask = rested && since_ms.saturating_add(SHORT_MS) <= now_ms;
        if ask {
            said.asked_ms = Some(now_ms);
        }
        ask
    }

    /// How long ago this run of a node began to tell everything it has, the last time it came to the end of that; `None`
    /// if it has not yet, since this coordinator began.
    pub(in crate::coordinator) fn inventory_age_ms(
        &self,
        node: NodeId,
        run: Incarnation,
        now_ms: u64,
    ) -> Option<u64> {
        let (told, at_ms) = self.lock().get(&node)?.told_all?;
        (told == run).then(|| now_ms.saturating_sub(at_ms))
    }

    /// How many bad copies a node is known to hold.
    pub(in crate::coordinator) fn corrupt_count(&self, node: NodeId) -> u64 {
        self.lock().get(&node).map_or(0, |said| said.corrupt.len() as u64)
    }

    /// Copies that a node was told to put into quarantine in two inventories in a row: it does not get rid of them.
    pub(in crate::coordinator) fn stubborn_orphans(&self, most: usize) -> Vec<(NodeId, ChunkKey)> {
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

    use super::*;

    fn copy(id: u128) -> ChunkKey {
        ChunkKey { chunk: ChunkId(id), generation: Generation(0) }
    }

    fn page(after: Option<u128>, upto: Option<u128>, copies: &[(u128, bool)]) -> InventoryReport {
        cut_at(5, after, upto, copies)
    }

    fn cut_at(
        heard_ms: u64,
        after: Option<u128>,
        upto: Option<u128>,
        copies: &[(u128, bool)],
    ) -> InventoryReport {
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
            heard_ms,
            copies: copies.iter().map(entry).collect(),
        }
    }

    #[test]
    fn a_whole_inventory_replaces_what_was_said_before() {
        let facts = NodeReports::default();
        facts.corrupt(NodeId(1), &[copy(1), copy(2)]);
        assert_eq!(facts.corrupt_count(NodeId(1)), 2);
        facts.page(&page(None, Some(5), &[(1, false), (3, true)]), &[], 5);
        assert_eq!(facts.corrupt_count(NodeId(1)), 2, "not before its end");
        assert_eq!(facts.inventory_age_ms(NodeId(1), Incarnation(1), 9), None);
        facts.page(&page(Some(5), None, &[(7, false)]), &[], 5);
        assert_eq!(facts.corrupt_count(NodeId(1)), 1);
        facts.deleted(NodeId(1), &[copy(2), copy(3)]);
        assert_eq!(facts.corrupt_count(NodeId(1)), 0);
        assert_eq!(facts.inventory_age_ms(NodeId(1), Incarnation(1), 9), Some(4));
        assert_eq!(facts.inventory_age_ms(NodeId(1), Incarnation(2), 9), None, "of another run");
    }

    #[test]
    fn a_node_that_stays_short_of_chunks_is_asked_for_an_inventory_now_and_then() {
        let facts = NodeReports::default();
        let ask = |has, at_ms| facts.compare(NodeId(1), has, 10, at_ms);
        assert!(!ask(9, 0) && !ask(9, 9_999), "a deletion may be on its way to the metadata");
        assert!(ask(9, 10_000) && !ask(9, 12_000), "asked once");
        assert!(!ask(10, 14_000) && !ask(9, 20_000) && !ask(9, 200_000), "and not again soon");
        assert!(ask(9, 400_000));
    }

    #[test]
    fn only_an_inventory_that_began_after_the_question_answers_it() {
        let facts = NodeReports::default();
        facts.page(&cut_at(10, None, Some(5), &[]), &[], 10);
        facts.want_inventories(11);
        facts.page(&cut_at(12, Some(5), None, &[]), &[], 12);
        assert!(!facts.is_fresh(NodeId(1)));
        facts.page(&cut_at(10, None, None, &[]), &[], 30);
        assert!(!facts.is_fresh(NodeId(1)), "cut before the question, judged after it");
        facts.page(&cut_at(13, None, None, &[]), &[], 30);
        assert!(facts.is_fresh(NodeId(1)));
        assert_eq!(
            facts.inventory_age_ms(NodeId(1), Incarnation(1), 40),
            Some(27),
            "as old as its beginning"
        );
    }

    #[test]
    fn an_orphan_counts_only_if_the_node_keeps_it() {
        let facts = NodeReports::default();
        facts.page(&page(None, None, &[]), &[copy(1), copy(2)], 5);
        assert_eq!(facts.stubborn_orphans(10), [], "it is being put into quarantine");
        facts.page(&page(None, None, &[]), &[copy(2), copy(3)], 5);
        assert_eq!(facts.stubborn_orphans(10).iter().map(|(_, k)| k.chunk.0).collect::<Vec<_>>(), [2]);
        facts.page(&page(None, None, &[]), &[], 5);
        assert_eq!(facts.stubborn_orphans(10), []);
    }
}
