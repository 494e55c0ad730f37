//! What is done about a chunk, by its copies and the nodes they are on.

use std::sync::Arc;

use dfs_wire::id::{Generation, InodeId, VersionId};

use super::*;
use crate::coordinator::membership::NodeView;
use crate::coordinator::metadata::model::records::CopyRecord;
use crate::env::MonoTime;
use CopyState::{Corrupt, Dropping, Good, Missing, Unverified};
use NodeState::{Down, Left, Lost, Suspect, Up};

const GRACE_MS: u64 = 1_000;
/// Longer than the grace, as it is unless an operator says otherwise.
const SETTLE_MS: u64 = 2_000;
const CHUNK: ChunkId = ChunkId(9);

/// How it looks at the time 0, while no more fails than nodes do.
fn calm<'a>(view: &'a ClusterView, wishes: &'a Wishes) -> Outlook<'a> {
    Outlook { view, now_ms: 0, grace_ms: GRACE_MS, settle_ms: SETTLE_MS, sparing: false, wishes }
}

/// Nodes 1.. in these states since the time 0, each in a zone of its own unless two are named.
fn view(states: &[NodeState], zones: &[&str]) -> ClusterView {
    let node = |at: usize| {
        let mut node = NodeView::for_tests(at as u128 + 1);
        node.entry.state = states[at];
        node.entry.zone = zones.get(at).copied().unwrap_or("").to_owned();
        node.grace_until_ms = (states[at] == Left).then_some(GRACE_MS);
        node.heard = Some(MonoTime::ZERO);
        Arc::new(node)
    };
    ClusterView { nodes: (0..states.len()).map(node).collect(), ..ClusterView::default() }
}

fn record(wanted: u8, copies: &[(u128, CopyState)]) -> ChunkRecord {
    let copy =
        |(node, state): &(u128, CopyState)| CopyRecord { node: NodeId(*node), state: *state, since_ms: 0 };
    ChunkRecord {
        generation: Generation(1),
        state: ChunkState::Live,
        file: InodeId(2),
        version: VersionId(3),
        index: 0,
        len: 10,
        sha256: [7; 32],
        references: 1,
        wanted,
        copies: copies.iter().map(copy).collect(),
    }
}

fn risk(states: &[NodeState], now_ms: u64, wanted: u8, copies: &[(u128, CopyState)]) -> Option<u8> {
    let view = view(states, &[]);
    Outlook {
        view: &view,
        now_ms,
        grace_ms: GRACE_MS,
        settle_ms: SETTLE_MS,
        sparing: false,
        wishes: &Wishes::default(),
    }
    .urgency(CHUNK, &record(wanted, copies))
}

#[test]
fn the_grace_delays_what_has_one_good_copy_only_for_nodes_that_were_not_heard_of_since_the_start() {
    let three = [(1, Good), (2, Good), (3, Good)];
    let risk_within = |grace_ms: u64, states: &[NodeState], unheard: &[usize], now_ms: u64| {
        let mut view = view(states, &[]);
        unheard.iter().for_each(|at| Arc::make_mut(&mut view.nodes[*at]).heard = None);
        Outlook {
            view: &view,
            now_ms,
            grace_ms,
            settle_ms: SETTLE_MS,
            sparing: false,
            wishes: &Wishes::default(),
        }
        .urgency(CHUNK, &record(3, &three))
    };
    let risk =
        |states: &[NodeState], unheard: &[usize], now_ms| risk_within(GRACE_MS, states, unheard, now_ms);
    assert_eq!(risk(&[Up, Down, Down], &[], 0), Some(1));
    assert_eq!(risk(&[Up, Down, Down], &[1, 2], GRACE_MS - 1), None, "they may start slowly");
    assert_eq!(risk(&[Up, Down, Down], &[2], 0), None);
    assert_eq!(risk(&[Up, Down, Down], &[1, 2], GRACE_MS), Some(1));
    assert_eq!(risk(&[Up, Left, Left], &[1, 2], 0), Some(1), "no lease delays it");
    let late = |now_ms| risk_within(u64::MAX, &[Up, Down, Down], &[1, 2], now_ms);
    assert_eq!((late(SETTLE_MS - 1), late(SETTLE_MS)), (None, Some(1)), "nor a long grace for ever");
}

#[test]
fn the_grace_delays_what_has_two_good_copies_and_nothing_else() {
    let three = [(1, Good), (2, Good), (3, Good)];
    assert_eq!(risk(&[Up, Up, Up], 0, 3, &three), None);
    assert_eq!(risk(&[Up, Up, Down], 999, 3, &three), None, "it may come back");
    assert_eq!(risk(&[Up, Up, Down], 1_000, 3, &three), Some(2));
    assert_eq!(risk(&[Up, Up, Left], 999, 3, &three), None, "it said that it comes back");
    assert_eq!(risk(&[Up, Up, Left], 1_000, 3, &three), Some(2));
    assert_eq!(risk(&[Up, Up, Lost], 0, 3, &three), Some(2), "it will not come back");
    assert_eq!(risk(&[Up, Down, Down], 0, 3, &three), Some(1), "one good copy waits for nothing");
    assert_eq!(risk(&[Up, Up, Up], 0, 3, &[(1, Good), (2, Good), (3, Corrupt)]), Some(2));
    assert_eq!(risk(&[Up, Up, Up], 0, 3, &[(1, Good), (2, Good), (3, Missing)]), Some(2));
    assert_eq!(risk(&[Down, Down, Down], 5_000, 3, &three), None, "there is no source");
    assert_eq!(risk(&[Up], 0, 1, &[(1, Unverified)]), Some(0), "it can be verified");
}

#[test]
fn only_live_chunks_are_repaired_and_while_much_fails_only_those_with_one_good_copy() {
    let view = view(&[Up, Up, Lost], &[]);
    let none = Wishes::default();
    let mut outlook = calm(&view, &none);
    let chunk = record(3, &[(1, Good), (2, Good), (3, Good)]);
    assert_eq!(outlook.urgency(CHUNK, &ChunkRecord { references: 0, ..chunk.clone() }), None);
    assert_eq!(outlook.urgency(CHUNK, &ChunkRecord { state: ChunkState::Dying, ..chunk.clone() }), None);
    outlook.sparing = true;
    assert_eq!(outlook.urgency(CHUNK, &chunk), None);
    assert_eq!(outlook.urgency(CHUNK, &record(3, &[(1, Good), (3, Good)])), Some(1));
}

#[test]
fn what_came_back_is_verified_before_another_copy_is_made() {
    let view = view(&[Up, Up, Up, Up], &["a", "b", "b", "c"]);
    let none = Wishes::default();
    let outlook = calm(&view, &none);
    let remedy = |copies: &[(u128, CopyState)]| {
        outlook.remedy(CHUNK, &record(3, copies), &|node| u64::from(node.0 == 1))
    };
    let ids = |ids: &[u128]| ids.iter().map(|id| NodeId(*id)).collect::<Vec<_>>();
    assert_eq!(remedy(&[(1, Good), (2, Good), (3, Unverified)]), Some(Remedy::Verify(NodeId(3))));
    let copy = |sources: &[u128], not: &[u128], rather_not: &[u128], bad: Option<u128>| {
        let (sources, not, rather_not) = (ids(sources), ids(not), ids(rather_not));
        Some(Remedy::Copy {
            sources,
            not,
            rather_not,
            to: None,
            bad: bad.map(NodeId),
            cause: CopyCause::Repair,
        })
    };
    assert_eq!(remedy(&[(1, Good), (2, Good)]), copy(&[2, 1], &[1, 2], &[3], None), "the least busy first");
    assert_eq!(
        remedy(&[(1, Good), (2, Corrupt), (3, Missing)]),
        copy(&[1], &[1, 2], &[], Some(2)),
        "a missing one may be replaced"
    );
    assert_eq!(remedy(&[(1, Good), (2, Good), (4, Good)]), None);
    assert_eq!(remedy(&[(1, Good), (2, Good), (4, Dropping)]), Some(Remedy::Keep(NodeId(4))));
    assert_eq!(remedy(&[(1, Dropping)]), Some(Remedy::Keep(NodeId(1))), "it may be the only one");
}

#[test]
fn what_is_beyond_the_wanted_goes_in_the_order_of_its_use_and_only_for_nodes_that_are_heard_of() {
    let drop = |states: &[NodeState], zones: &[&str], copies: &[(u128, CopyState)]| {
        let view = view(states, zones);
        let none = Wishes::default();
        let outlook = calm(&view, &none);
        match outlook.remedy(CHUNK, &record(2, copies), &|_| 0) {
            Some(Remedy::Drop(NodeId(node), _)) => Some(node),
            None => None,
            other => panic!("{other:?}"),
        }
    };
    let (up, good) = ([Up; 5], [(1, Good), (2, Good)]);
    let with = |more: &[(u128, CopyState)]| [&good, more].concat();
    assert_eq!(drop(&up, &[], &good), None);
    assert_eq!(drop(&up, &[], &with(&[(3, Unverified), (4, Corrupt), (5, Missing)])), Some(5));
    assert_eq!(drop(&up, &[], &with(&[(3, Unverified), (4, Corrupt)])), Some(4));
    assert_eq!(drop(&up, &[], &with(&[(3, Unverified)])), Some(3));
    assert_eq!(drop(&up, &[], &with(&[(3, Dropping)])), None, "it is on its way");
    assert_eq!(drop(&up, &["a", "b", "b"], &with(&[(3, Good)])), Some(2), "a zone keeps its only copy");
    assert_eq!(drop(&[Up, Up, Down], &[], &with(&[(3, Good)])), None, "nothing on a node that is away");
    assert_eq!(drop(&[Up, Suspect, Up], &[], &with(&[(3, Unverified)])), None, "nor for a silent one");
    let mut returned = view(&up, &[]);
    let mut node = NodeView::clone(&returned.nodes[0]);
    node.told = false;
    returned.nodes[0] = Arc::new(node);
    let none = Wishes::default();
    let outlook = calm(&returned, &none);
    let copies = with(&[(3, Good)]);
    assert_eq!(
        outlook.remedy(CHUNK, &record(2, &copies), &|_| 0),
        None,
        "nor for one that has not said what it has"
    );
}

#[test]
fn groups_that_the_records_call_well_are_looked_for_on_a_node_that_is_away() {
    let view = view(&[Up, Up, Down, Up], &[]);
    let outlook = Outlook {
        view: &view,
        now_ms: GRACE_MS,
        settle_ms: SETTLE_MS,
        grace_ms: GRACE_MS,
        sparing: false,
        wishes: &Wishes::default(),
    };
    let on = |copies: &[NodeCopy]| outlook.look_on(3, copies).map(|node| node.0);
    let copy = |node: u128, state| (NodeId(node), state);
    assert_eq!(on(&[copy(1, Good), copy(2, Good), copy(3, Good)]), Some(3));
    assert_eq!(on(&[copy(1, Good), copy(2, Good), copy(4, Good)]), None);
    assert_eq!(on(&[copy(1, Good), copy(2, Good), copy(3, Missing)]), None, "they are among the endangered");
}

/// What is done about a chunk of two wanted copies while the nodes 3 and 4 are emptied.
fn emptied(nodes: &[NodeState], copies: &[(u128, CopyState)]) -> Option<Remedy> {
    let view = view(nodes, &[]);
    let leaving = [(NodeId(3), None), (NodeId(4), None)].into();
    let wishes = Wishes { leaving, ..Wishes::default() };
    let outlook = calm(&view, &wishes);
    let groups: Vec<_> = copies.iter().map(|(node, state)| (NodeId(*node), *state)).collect();
    let remedy = outlook.remedy(CHUNK, &record(2, copies), &|_| 0);
    let all_good = groups.iter().all(|(_, state)| *state == Good);
    assert!(!all_good || remedy.is_some() == outlook.look_on(2, &groups).is_some(), "a look finds it");
    remedy
}

#[test]
fn what_is_on_a_node_that_is_emptied_gets_another_copy_before_it_is_dropped() {
    let up = [Up; 5];
    let copied = |copies: &[(u128, CopyState)]| matches!(emptied(&up, copies), Some(Remedy::Copy { .. }));
    let drops = |node: u128, cause| Some(Remedy::Drop(NodeId(node), cause));
    assert_eq!(emptied(&up, &[(1, Good), (2, Good)]), None);
    assert!(copied(&[(1, Good), (3, Good)]));
    assert!(copied(&[(3, Good), (4, Good)]));
    assert!(copied(&[(1, Good), (3, Good), (4, Good)]), "beyond the wanted, but only one stays");
    assert_eq!(emptied(&up, &[(1, Good), (2, Good), (3, Good)]), drops(3, CopyCause::Drain));
    assert_eq!(emptied(&up, &[(1, Good), (2, Good), (4, Unverified)]), drops(4, CopyCause::Drain));
    assert!(copied(&[(1, Good), (3, Good), (4, Dropping)]), "it is not kept where it is not wanted");
    assert_eq!(
        emptied(&up, &[(1, Good), (4, Dropping)]),
        Some(Remedy::Keep(NodeId(4))),
        "unless there are too few"
    );
    assert_eq!(emptied(&up, &[(1, Good), (3, Unverified)]), Some(Remedy::Verify(NodeId(3))));
    let down = [Up, Up, Down, Up, Up];
    assert!(
        matches!(emptied(&down, &[(1, Good), (3, Good)]), Some(Remedy::Copy { .. })),
        "it is not waited for"
    );
}

#[test]
fn what_is_on_a_node_that_is_replaced_goes_to_the_one_that_takes_its_place_if_that_can_take_it() {
    let to = |states: &[NodeState], copies: &[(u128, CopyState)]| {
        let mut view = view(states, &[]);
        view.nodes.iter_mut().for_each(|node| Arc::make_mut(node).load.available = 1 << 30);
        let wishes = Wishes { leaving: [(NodeId(3), Some(NodeId(5)))].into(), ..Wishes::default() };
        let outlook = calm(&view, &wishes);
        match outlook.remedy(CHUNK, &record(2, copies), &|_| 0) {
            Some(Remedy::Copy { to, .. }) => to.map(|node| node.0),
            other => panic!("{other:?}"),
        }
    };
    let (up, down) = ([Up; 5], [Up, Up, Down, Up, Up]);
    assert_eq!(to(&up, &[(1, Good), (3, Good)]), Some(5));
    assert_eq!(to(&down, &[(1, Good), (3, Good)]), Some(5), "it need not live any more");
    assert_eq!(to(&[Up, Up, Up, Up, Down], &[(1, Good), (3, Good)]), None, "then any other one");
    assert_eq!(to(&up, &[(3, Good), (5, Good)]), None, "it has one");
    assert_eq!(to(&up, &[(1, Good), (2, Missing)]), None, "that is nothing of the node");
}

#[test]
fn a_copy_that_is_to_be_elsewhere_is_made_there_and_then_dropped_where_it_was() {
    let view = view(&[Up, Up, Up, Down], &[]);
    let wished = |to: u128, copies: &[(u128, CopyState)]| {
        let moves = [(CHUNK, Move { from: NodeId(2), to: NodeId(to) })].into();
        let wishes = Wishes { moves, ..Wishes::default() };
        let outlook = calm(&view, &wishes);
        outlook.remedy(CHUNK, &record(2, copies), &|_| 0)
    };
    let to = |wished: Option<Remedy>| match wished {
        Some(Remedy::Copy { to: Some(to), .. }) => Some(to.0),
        _ => None,
    };
    assert_eq!(to(wished(3, &[(1, Good), (2, Good)])), Some(3));
    assert_eq!(
        wished(3, &[(1, Good), (2, Good), (3, Good)]),
        Some(Remedy::Drop(NodeId(2), CopyCause::Balance))
    );
    assert_eq!(wished(3, &[(1, Good), (3, Good)]), None, "it is done");
    assert_eq!(wished(4, &[(1, Good), (2, Good)]), None, "nothing goes to a node that is away");
    assert_eq!(wished(1, &[(1, Good), (2, Good)]), None, "it has one");
    assert!(
        matches!(wished(3, &[(2, Good)]), Some(Remedy::Copy { to: None, .. })),
        "a chunk that lacks copies comes first"
    );
}
