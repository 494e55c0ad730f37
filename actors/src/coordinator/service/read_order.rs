//! Which copy of a chunk a reader is sent to first: pure.
//!
//! A reader tries the copies in the order it is given, so what the coordinator knows of nodes and disks helps every reader,
//! not only those who waited for a disk before.

use std::time::Duration;

use dfs_wire::message::membership::{DiskHealth, NodeState};
use dfs_wire::message::metadata::CopyState;

use crate::coordinator::membership::{ClusterView, NodeView};
use crate::coordinator::metadata::model::records::CopyRecord;

/// An I/O operation that is under way for so long says that readers are better off elsewhere. A disk that is only busy
/// answers within a fraction of that.
const SILENT: Duration = Duration::from_secs(2);
/// Requests under way that make no difference to a reader.
const LIGHT_LOAD: u32 = 16;

/// How soon a node's disk will answer, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Answers {
    /// As far as is known, at once.
    Soon,
    /// It owes an answer.
    Late,
    /// It failed, or owes one for so long that its node has given up waiting.
    Hardly,
}

fn answers(node: Option<&NodeView>) -> Answers {
    let Some(node) = node else { return Answers::Soon };
    match &node.load.disk {
        DiskHealth::Failed(_) => Answers::Hardly,
        _ if node.load.disk_silent_ms >= u32::try_from(SILENT.as_millis()).unwrap_or(u32::MAX) => {
            Answers::Late
        }
        DiskHealth::Writable | DiskHealth::Full | DiskHealth::ReadOnly(_) => Answers::Soon,
    }
}

/// Whether readers are sent elsewhere although the node is there: for metrics.
pub(super) fn is_avoided(node: &NodeView) -> bool {
    node.entry.state.answers() && answers(Some(node)) != Answers::Soon
}

/// How many times the work at a node has doubled beyond a light load. So coarse because reports are seconds old: finer
/// steps would send all readers of these seconds to one node.
fn burden(node: Option<&NodeView>) -> u32 {
    let load = node.map(|node| &node.load);
    let work =
        load.map_or(0, |load| load.disk_queue.max(load.read_streams.saturating_add(load.write_streams)));
    (work / LIGHT_LOAD).checked_ilog2().map_or(0, |doubled| doubled + 1)
}

/// Copies in the order in which a reader should try them: those that are of use first, on nodes that are up, whose disks
/// answer, good ones before those not checked, under less load; among equals the first one changes with `spread`, so
/// that the chunks of a file are read from all of their nodes.
pub(super) fn in_order(view: &ClusterView, copies: &[CopyRecord], spread: u128) -> Vec<CopyRecord> {
    let rank = |copy: &CopyRecord| {
        let useless = matches!(copy.state, CopyState::Corrupt | CopyState::Missing | CopyState::Dropping);
        let state = match view.state(copy.node) {
            NodeState::Up | NodeState::Draining => 0,
            NodeState::Suspect => 1,
            NodeState::Down | NodeState::Left => 2,
            NodeState::Lost | NodeState::Forgotten => 3,
        };
        let node = view.node(copy.node);
        (useless, state, answers(node), copy.state != CopyState::Good, burden(node))
    };
    let mut ordered = copies.to_vec();
    // Not the low bits: those of a time-ordered id of one upload differ by the chunk's index.
    let turn = usize::try_from((spread ^ (spread >> 32)) % (copies.len().max(1) as u128)).unwrap_or(0);
    ordered.rotate_left(turn);
    ordered.sort_by_key(rank);
    ordered
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dfs_wire::id::NodeId;
    use dfs_wire::message::membership::NodeLoad;

    use super::*;

    fn view(nodes: &[(NodeState, NodeLoad)]) -> ClusterView {
        let node = |(i, (state, load)): (usize, &(NodeState, NodeLoad))| {
            let mut node = NodeView { load: load.clone(), ..NodeView::for_tests(i as u128) };
            node.entry.state = *state;
            Arc::new(node)
        };
        let nodes = nodes.iter().enumerate().map(node).collect();
        ClusterView { version: 1, nodes, ..ClusterView::default() }
    }

    fn quiet(states: &[NodeState]) -> ClusterView {
        view(&states.iter().map(|state| (*state, NodeLoad::default())).collect::<Vec<_>>())
    }

    fn copy(node: u128, state: CopyState) -> CopyRecord {
        CopyRecord { node: NodeId(node), state, since_ms: 0 }
    }

    fn order(view: &ClusterView, copies: &[CopyRecord], spread: u128) -> Vec<u128> {
        in_order(view, copies, spread).iter().map(|copy| copy.node.0).collect()
    }

    #[test]
    fn readers_are_sent_to_good_copies_on_nodes_that_are_up() {
        let view = quiet(&[NodeState::Down, NodeState::Up, NodeState::Up, NodeState::Suspect, NodeState::Up]);
        let copies = [
            copy(0, CopyState::Good),
            copy(1, CopyState::Corrupt),
            copy(2, CopyState::Unverified),
            copy(3, CopyState::Good),
            copy(4, CopyState::Good),
            copy(77, CopyState::Good),
        ];
        for spread in 0..10 {
            let order = order(&view, &copies, spread);
            assert_eq!(order[..3], [4, 2, 3], "spread {spread}: {order:?}");
            assert_eq!(order[5], 1, "a corrupt copy is the last resort");
        }
    }

    #[test]
    fn disks_that_do_not_answer_come_after_those_that_do() {
        let disk = |disk, disk_silent_ms| NodeLoad { disk, disk_silent_ms, ..NodeLoad::default() };
        let up = |load| (NodeState::Up, load);
        let view = view(&[
            up(disk(DiskHealth::Failed("EIO".into()), 0)),
            up(disk(DiskHealth::Writable, 2_000)),
            up(disk(DiskHealth::Full, 1_900)),
            up(disk(DiskHealth::ReadOnly("as configured".into()), 0)),
            (NodeState::Suspect, disk(DiskHealth::Writable, 0)),
        ]);
        let mut copies: Vec<_> = (0..5).map(|node| copy(node, CopyState::Good)).collect();
        for spread in 0..10 {
            let order = order(&view, &copies, spread);
            assert!(matches!(order[..], [2, 3, 1, 0, 4] | [3, 2, 1, 0, 4]), "spread {spread}: {order:?}");
        }
        copies[3].state = CopyState::Unverified;
        assert_eq!(order(&view, &copies, 3), [2, 3, 1, 0, 4], "not checked, but it answers");
        assert_eq!(view.nodes.iter().filter(|node| is_avoided(node)).count(), 2);
    }

    #[test]
    fn a_node_with_much_more_to_do_is_asked_later_and_a_little_more_makes_no_difference() {
        let load = |disk_queue, read_streams| {
            (NodeState::Up, NodeLoad { disk_queue, read_streams, ..NodeLoad::default() })
        };
        let busy = view(&[load(200, 0), load(3, 12), load(0, 40)]);
        let copies: Vec<_> = (0..3).map(|node| copy(node, CopyState::Good)).collect();
        for spread in 0..10 {
            assert_eq!(order(&busy, &copies, spread), [1, 2, 0]);
        }
        let even = view(&[load(15, 0), load(0, 0), load(3, 9)]);
        let firsts: std::collections::BTreeSet<_> =
            (0..30).map(|spread| order(&even, &copies, spread)[0]).collect();
        assert_eq!(firsts.len(), 3, "all of them are asked first at times");
    }

    #[test]
    fn equal_copies_share_the_reading() {
        let view = quiet(&[NodeState::Up; 3]);
        let copies = [copy(0, CopyState::Good), copy(1, CopyState::Good), copy(2, CopyState::Good)];
        let mut first = [0; 3];
        for index in 0..300u128 {
            let chunk = dfs_wire::id::ChunkId::time_ordered(1_700_000_000_000, (0xabcd_ef01 << 40) + index);
            first[usize::try_from(order(&view, &copies, chunk.0)[0]).unwrap()] += 1;
        }
        assert!(first.iter().all(|n| (80..=120).contains(n)), "{first:?}");
    }
}
