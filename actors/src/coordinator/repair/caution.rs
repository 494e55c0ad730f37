//! When repair holds back: so much is away that something else than nodes may have failed, or not all has been heard of yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use dfs_wire::id::NodeId;
use dfs_wire::message::membership::NodeState;

use crate::coordinator::membership::{ClusterView, NodeView};

/// After a start, this share of the known copies is enough to be heard of, in percent.
const HEARD_PERCENT: u64 = 95;

/// Whether a node that is away may be: it said that it goes, or an operator did.
fn may_be_away(node: &NodeView, now_ms: u64) -> bool {
    node.grace_until_ms.is_some_and(|until| now_ms < until)
}

/// Why only chunks with one good copy left are repaired, if that is so: more than a third of the nodes are down, or all of a zone
/// that has several. Those that are down for maintenance are no surprise, and of those that are emptied an operator has said that
/// they do not come back.
pub(super) fn mass_failure(
    view: &ClusterView,
    leaving: &BTreeMap<NodeId, Option<NodeId>>,
    now_ms: u64,
) -> Option<String> {
    let is_down = |node: &NodeView| {
        node.entry.state == NodeState::Down
            && !may_be_away(node, now_ms)
            && !leaving.contains_key(&node.entry.node)
    };
    let members = || view.nodes.iter().filter(|node| node.entry.state.belongs());
    let (all, down) = (members().count(), members().filter(|node| is_down(node)).count());
    if 3 * down > all {
        return Some(format!("{down} of {all} datanodes are down, more than a third"));
    }
    let mut zones: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for node in members().filter(|node| !node.entry.zone.is_empty()) {
        let (all, down) = zones.entry(&node.entry.zone).or_default();
        *all += 1;
        *down += usize::from(is_down(node));
    }
    let (zone, (all, _)) = zones.into_iter().find(|(_, (all, down))| *all > 1 && all == down)?;
    Some(format!("all {all} datanodes of the zone {zone} are down"))
}

/// Nodes that are expected here and were not heard of since the coordinator started.
pub(super) fn unheard(view: &ClusterView, now_ms: u64) -> Vec<NodeId> {
    let expected = |node: &&Arc<NodeView>| {
        let left = node.entry.state == NodeState::Left || may_be_away(node, now_ms);
        node.entry.state.belongs() && !left
    };
    let unheard = view.nodes.iter().filter(expected).filter(|node| node.heard.is_none());
    unheard.map(|node| node.entry.node).collect()
}

/// Whether enough was heard of since the coordinator started that repair need not wait: every node that is expected, or those that
/// should have nearly all copies. `copies` = how many a node should have.
pub(super) fn is_heard(view: &ClusterView, now_ms: u64, copies: impl Fn(NodeId) -> u64) -> bool {
    let missing: u64 = unheard(view, now_ms).into_iter().map(|node| copies(node).max(1)).sum();
    let members = view.nodes.iter().filter(|node| node.entry.state.belongs());
    let all: u64 = members.map(|node| copies(node.entry.node)).sum();
    !view.nodes.is_empty() && (missing == 0 || missing * 100 <= all * (100 - HEARD_PERCENT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::MonoTime;
    use NodeState::{Down, Left, Up};

    fn view(nodes: &[(NodeState, &str)]) -> ClusterView {
        let node = |(at, (state, zone)): (usize, &(NodeState, &str))| {
            let mut node = NodeView::for_tests(at as u128 + 1);
            node.entry.state = *state;
            node.entry.zone = (*zone).to_owned();
            Arc::new(node)
        };
        ClusterView { nodes: nodes.iter().enumerate().map(node).collect(), ..ClusterView::default() }
    }

    fn change(view: &mut ClusterView, at: usize, change: impl FnOnce(&mut NodeView)) {
        change(Arc::make_mut(&mut view.nodes[at]));
    }

    #[test]
    fn a_third_of_the_nodes_or_a_whole_zone_is_more_than_nodes_fail_by_themselves() {
        let of = |nodes: &[(NodeState, &str)]| mass_failure(&view(nodes), &BTreeMap::new(), 0);
        assert_eq!(of(&[(Down, ""), (Up, ""), (Up, "")]), None, "a third is no more than a third");
        assert!(of(&[(Down, ""), (Down, ""), (Up, ""), (Up, "")]).unwrap().contains("2 of 4"));
        let two = (Up, "a");
        assert_eq!(of(&[(Down, "b"), two, two, two]), None, "a zone of one node fails as that node does");
        let zone = of(&[(Down, "b"), (Down, "b"), two, two, two, (Up, "c"), (Up, "c")]);
        assert!(zone.unwrap().contains("zone b"));
        assert_eq!(of(&[(Down, "b"), (Up, "b"), two, two, two]), None);
        assert_eq!(of(&[(Left, ""), (Left, ""), (Up, "")]), None, "they said that they go");
    }

    #[test]
    fn what_is_down_for_maintenance_is_no_surprise() {
        let mut view = view(&[(Down, ""), (Down, ""), (Up, ""), (Up, "")]);
        change(&mut view, 0, |node| node.grace_until_ms = Some(1_000));
        let none = BTreeMap::new();
        assert_eq!(mass_failure(&view, &none, 999), None);
        assert!(mass_failure(&view, &none, 1_000).is_some());
        assert_eq!(
            mass_failure(&view, &[(NodeId(2), None)].into(), 1_000),
            None,
            "an operator has said what is to be done"
        );
        assert_eq!(unheard(&view, 999), [NodeId(2), NodeId(3), NodeId(4)]);
        assert_eq!(unheard(&view, 1_000).len(), 4, "it should be back");
    }

    #[test]
    fn after_a_start_nearly_all_copies_are_enough() {
        let mut view = view(&[(Up, ""); 3]);
        let copies = |node: NodeId| if node == NodeId(3) { 5 } else { 48 };
        assert!(!is_heard(&view, 0, copies), "nobody was heard of");
        assert!(!is_heard(&ClusterView::default(), 0, copies), "nor is there anybody");
        for at in [0, 1] {
            change(&mut view, at, |node| node.heard = Some(MonoTime::ZERO));
        }
        assert!(is_heard(&view, 0, copies), "5 of 101 copies are not known of");
        assert!(!is_heard(&view, 0, |node| copies(node) * if node == NodeId(3) { 2 } else { 1 }));
        assert!(!is_heard(&view, 0, |_| 0), "nothing was counted yet: everybody is waited for");
        change(&mut view, 2, |node| node.heard = Some(MonoTime::ZERO));
        assert!(is_heard(&view, 0, |_| 0));
    }
}
