//! When repair holds back: so much is away that something else than nodes may have failed, or not all has been heard of yet.

use std::collections::BTreeMap;

use dfs_wire::id::NodeId;
use dfs_wire::message::membership::NodeState;

use crate::coordinator::census::{Counted, expected};
use crate::coordinator::membership::{ClusterView, NodeView};

/// After a start, of this share of the chunks copies are to be known of, in percent.
const ASSURED_PERCENT: u64 = 95;

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
            && !node.may_be_away(now_ms)
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
    let heard = expected(view, now_ms);
    let all = view.nodes.iter().map(|node| node.entry.node);
    all.filter(|node| heard(*node) == Some(false)).collect()
}

/// Whether enough was heard of since the coordinator started that repair need not wait: every node that is expected, or so many
/// that nearly all chunks can wait for the others. One node that never comes back keeps repair from nothing that way where chunks have
/// three copies or more. A count of before a node changed its state says nothing: it may be of an earlier life of the membership.
pub(super) fn is_heard(view: &ClusterView, now_ms: u64, counted: &Counted) -> bool {
    let assured = || counted.version == view.version && counted.census.is_assured(ASSURED_PERCENT);
    !view.nodes.is_empty() && (unheard(view, now_ms).is_empty() || assured())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dfs_wire::message::metadata::CopyState;

    use super::*;
    use crate::coordinator::metadata::model::census::Census;
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
    fn after_a_start_two_copies_of_nearly_all_chunks_are_enough() {
        let mut view = view(&[(Up, ""); 4]);
        // By what was heard of when it was counted.
        let census = |view: &ClusterView, groups: &[(&[u128], u64)]| {
            let heard = expected(view, 0);
            let census = groups.iter().fold(Census::default(), |census, (nodes, chunks)| {
                let good: Vec<_> = nodes.iter().map(|node| (NodeId(*node), CopyState::Good)).collect();
                census.with_heard(&good, *chunks, &heard)
            });
            Counted { census: Arc::new(census), version: view.version }
        };
        let of_three: &[(&[u128], u64)] = &[(&[1, 2, 3], 50), (&[1, 2, 4], 30), (&[2, 3, 4], 20)];
        let heard = |view: &ClusterView, groups: &[(&[u128], u64)]| is_heard(view, 0, &census(view, groups));
        assert!(!heard(&view, of_three), "nobody was heard of");
        assert!(!heard(&ClusterView::default(), of_three), "nor is there anybody");
        for at in [0, 1] {
            change(&mut view, at, |node| node.heard = Some(MonoTime::ZERO));
        }
        assert!(!heard(&view, of_three), "a fifth has one copy that is known of");
        assert!(heard(&view, &[(&[1, 2, 3], 95), (&[2, 3, 4], 5)]));
        assert!(!heard(&view, &[(&[1, 2, 3], 94), (&[2, 3, 4], 6)]));
        assert!(!heard(&view, &[(&[1, 3], 100)]), "a chunk of two copies waits for both");
        assert!(heard(&view, &[(&[1], 100)]));
        change(&mut view, 2, |node| node.heard = Some(MonoTime::ZERO));
        assert!(heard(&view, of_three), "one node of four that never comes back is not waited for");
        assert!(!heard(&view, &[]), "unless nothing was counted yet");
        let earlier = Counted { version: view.version + 1, ..census(&view, of_three) };
        assert!(!is_heard(&view, 0, &earlier), "what was counted by another picture says nothing");
        change(&mut view, 3, |node| node.draining = true);
        assert!(heard(&view, &[]), "of one that is emptied an operator has said that it does not stay");
        change(&mut view, 3, |node| (node.draining, node.grace_until_ms) = (false, Some(1_000)));
        assert!(heard(&view, &[]), "nobody else is expected");
    }
}
