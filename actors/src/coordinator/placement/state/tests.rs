//! Properties of placement, and its reasons one by one.

use dfs_wire::message::membership::NodeLoad;
use proptest::prelude::*;

use super::*;

fn candidate(id: u128, zone: &str, available: u64) -> NodeView {
    let mut node = NodeView::for_tests(id);
    node.entry.zone = zone.to_owned();
    node.load = NodeLoad { capacity: 1 << 40, available, ..NodeLoad::default() };
    node
}

fn cluster(n: u128) -> Vec<NodeView> {
    (1..=n).map(|id| candidate(id, "", 1 << 30)).collect()
}

fn wanted(copies: u8) -> Demand<'static> {
    Demand { copies, min_ack: 2, bytes: 8 << 20, exclude: &[] }
}

/// SplitMix64, so that a failing case is its seed.
fn numbers(mut seed: u64) -> impl FnMut(u64) -> u64 {
    move |bound| {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }
}

fn rule_of(placed: &Placed, id: u128) -> &str {
    &placed.reasons.iter().find(|r| r.node == NodeId(id)).unwrap().rule
}

#[test]
fn every_refusal_has_its_word() {
    let mut nodes = cluster(12);
    nodes[9].entry.state = NodeState::Draining;
    nodes[10].entry.state = NodeState::Lost;
    nodes[11].entry.state = NodeState::Forgotten;
    nodes[2].entry.state = NodeState::Down;
    nodes[3].entry.state = NodeState::Suspect;
    nodes[4].entry.state = NodeState::Left;
    nodes[5].load.disk = DiskHealth::Failed("EIO".into());
    nodes[6].load.disk = DiskHealth::Full;
    nodes[7].load.available = 100;
    let exclude = [NodeId(9)];
    let wanted = Demand { exclude: &exclude, ..wanted(3) };
    let placed = place(&nodes, &Pressure::default(), &wanted, &mut numbers(1)).unwrap();
    let words: Vec<_> = (1..=12).map(|id| rule_of(&placed, id)).collect();
    let expected = ["chosen", "chosen", "down", "suspect", "left", "disk_failed", "full", "full", "excluded"];
    assert_eq!(words[..9], expected);
    assert_eq!(words[9..], ["draining", "lost", "forgotten"], "states are rules by their own name");
    assert!(placed.reasons.iter().all(|r| r.chosen == (r.rule == "chosen") && !r.detail.is_empty()));
}

#[test]
fn two_usable_nodes_are_enough_and_one_is_not() {
    let mut nodes = cluster(3);
    nodes[0].entry.state = NodeState::Down;
    assert_eq!(place(&nodes, &Pressure::default(), &wanted(3), &mut numbers(1)).unwrap().nodes.len(), 2);
    nodes[1].entry.state = NodeState::Suspect;
    let refused = place(&nodes, &Pressure::default(), &wanted(3), &mut numbers(1)).unwrap_err();
    assert_eq!(refused.code, StatusCode::NoWriteQuorum);
    assert!(
        refused.message.contains("dn-1 is down") && refused.message.contains("dn-2 is suspect"),
        "{refused}"
    );
    assert!(!refused.hint.is_empty() && refused.retry_after_ms.is_some());
    assert!(place(&nodes, &Pressure::default(), &wanted(2), &mut numbers(1)).is_err(), "rf 2 needs two");
    assert_eq!(place(&nodes, &Pressure::default(), &wanted(1), &mut numbers(1)).unwrap().nodes, [NodeId(3)]);
}

#[test]
fn missing_room_is_no_space_and_an_empty_cluster_says_so() {
    let mut nodes = cluster(3);
    nodes[0].load.available = 10;
    nodes[1].load.disk = DiskHealth::Full;
    let refused = place(&nodes, &Pressure::default(), &wanted(3), &mut numbers(1)).unwrap_err();
    assert_eq!(refused.code, StatusCode::NoSpace);
    assert!(refused.message.contains("dn-1 is full (10 B free, 8.00 MiB needed)"), "{refused}");
    let nobody = place::<NodeView>(&[], &Pressure::default(), &wanted(3), &mut numbers(1)).unwrap_err();
    assert!(
        nobody.code == StatusCode::NoWriteQuorum && nobody.message.contains("no datanode has registered")
    );
}

#[test]
fn room_is_not_blamed_while_nodes_with_room_have_just_failed_the_client() {
    let mut nodes = cluster(4);
    nodes[0].load.disk = DiskHealth::Full;
    let refused = |nodes: &[NodeView], exclude: &[NodeId]| {
        let demand = Demand { exclude, ..wanted(3) };
        place(nodes, &Pressure::default(), &demand, &mut numbers(1)).unwrap_err()
    };
    let three = [NodeId(1), NodeId(2), NodeId(3)];
    let status = refused(&nodes, &three);
    assert_eq!(
        status.code,
        StatusCode::NoWriteQuorum,
        "two of them may be there again in a moment: {status}"
    );
    assert!(status.retry_after_ms.is_some() && status.message.contains("dn-1 is full"), "{status}");
    nodes[1].load.disk = DiskHealth::Full;
    nodes[2].load.disk = DiskHealth::Full;
    let status = refused(&nodes, &three);
    assert_eq!(status.code, StatusCode::NoSpace, "they would not help: {status}");
}

#[test]
fn promises_count_until_the_second_report_after_them() {
    let mut nodes = vec![candidate(1, "", 20 << 20)];
    let mut pressure = Pressure::default();
    let wanted = wanted(1);
    for _ in 0..2 {
        place(&nodes, &pressure, &wanted, &mut numbers(1)).unwrap();
        pressure.promise(NodeId(1), nodes[0].report, wanted.bytes);
    }
    assert!(place(&nodes, &pressure, &wanted, &mut numbers(1)).is_err(), "a third does not fit");
    pressure.observe(&nodes);
    assert!(place(&nodes, &pressure, &wanted, &mut numbers(1)).is_err(), "no news, no change");
    nodes[0].report = 2;
    pressure.observe(&nodes);
    assert_eq!(pressure.promised_bytes(NodeId(1)), 16 << 20, "the report may not have known");
    nodes[0].report = 3;
    pressure.observe(&nodes);
    assert_eq!(pressure.total_bytes(), 0);
    pressure.promise(NodeId(1), 3, 1);
    nodes[0].report = 1;
    pressure.observe(&nodes);
    assert_eq!(pressure.total_bytes(), 0, "the count began anew: an earlier run's promises are void");
    pressure.promise(NodeId(1), 1, 1);
    pressure.observe::<NodeView>(&[]);
    assert_eq!(pressure, Pressure::default(), "a node that is gone is forgotten");
}

#[test]
fn equal_nodes_get_equal_shares_and_a_busy_one_gets_less() {
    let mut nodes = cluster(6);
    nodes[5].load.write_streams = 50;
    let mut count = [0u32; 6];
    let mut below = numbers(7);
    for _ in 0..2_000 {
        for node in place(&nodes, &Pressure::default(), &wanted(2), &mut below).unwrap().nodes {
            count[usize::try_from(node.0 - 1).unwrap()] += 1;
        }
    }
    let (least, most) = (count[..5].iter().min().unwrap(), count[..5].iter().max().unwrap());
    assert!(most - least < 150, "{count:?}");
    assert!(count[5] < least / 2, "{count:?}");
}

#[test]
fn a_disk_twice_as_free_gets_about_twice_as_much() {
    let nodes = vec![candidate(1, "", 1 << 40), candidate(2, "", 1 << 41)];
    let mut below = numbers(3);
    let mut big = 0u32;
    let mut pressure = Pressure::default();
    for _ in 0..3_000 {
        // Equal work, as under steady load: the draw alone decides.
        let placed = place(&nodes, &pressure, &wanted(1), &mut below).unwrap();
        big += u32::from(placed.nodes == [NodeId(2)]);
        pressure.nodes.clear();
    }
    assert!(big > 1_900, "{big} of 3000 on the disk with two thirds of the room");
}

#[test]
fn picks_of_a_burst_spread_before_any_report() {
    let nodes = cluster(4);
    let mut pressure = Pressure::default();
    let mut count = [0u32; 4];
    let mut below = numbers(11);
    for _ in 0..100 {
        for node in
            place(&nodes, &pressure, &Demand { bytes: 1 << 20, ..wanted(2) }, &mut below).unwrap().nodes
        {
            pressure.promise(node, 1, 1 << 20);
            count[usize::try_from(node.0 - 1).unwrap()] += 1;
        }
    }
    assert!(count.iter().all(|&c| (45..=55).contains(&c)), "{count:?}");
}

prop_compose! {
    fn any_candidate()(
        zone in 0u8..4,
        state in prop_oneof![4 => Just(NodeState::Up), 1 => Just(NodeState::Suspect), 1 => Just(NodeState::Down)],
        available in prop_oneof![Just(0u64), 0u64..(64 << 20), Just(u64::MAX)],
        disk in prop_oneof![5 => Just(DiskHealth::Writable), 1 => Just(DiskHealth::Full)],
        write_streams in any::<u32>(),
    ) -> NodeView {
        let load = NodeLoad { available, disk, write_streams, ..NodeLoad::default() };
        let mut node = NodeView { load, ..NodeView::for_tests(0) };
        (node.entry.zone, node.entry.state) = (format!("z{zone}"), state);
        node
    }
}

proptest! {
    #[test]
    fn whatever_the_cluster(
        mut nodes in proptest::collection::vec(any_candidate(), 0..12),
        copies in 1u8..=7,
        bytes in 1u64..(64 << 20),
        promised in 0u64..(64 << 20),
        excluded in 0u128..12,
        seed in any::<u64>(),
    ) {
        for (i, node) in nodes.iter_mut().enumerate() {
            node.entry.node = NodeId(i as u128);
        }
        let mut pressure = Pressure::default();
        pressure.promise(NodeId(0), 1, promised);
        let exclude = [NodeId(excluded)];
        let wanted = Demand { copies, min_ack: 2, bytes, exclude: &exclude };
        let fits = |c: &&NodeView| {
            c.entry.state == NodeState::Up
                && c.load.disk == DiskHealth::Writable
                && c.entry.node != exclude[0]
                && c.load.available.saturating_sub(if c.entry.node == NodeId(0) { promised } else { 0 }) >= bytes
        };
        let usable: Vec<_> = nodes.iter().filter(fits).collect();
        match place(&nodes, &pressure, &wanted, &mut numbers(seed)) {
            Err(status) => {
                prop_assert!(usable.len() < wanted.needed());
                prop_assert!(matches!(status.code, StatusCode::NoWriteQuorum | StatusCode::NoSpace));
            }
            Ok(placed) => {
                let chosen: Vec<_> = placed.nodes.iter().map(|n| usable.iter().find(|c| c.entry.node == *n)).collect();
                prop_assert!(chosen.iter().all(Option::is_some), "only usable nodes");
                let distinct: std::collections::BTreeSet<_> = placed.nodes.iter().collect();
                prop_assert_eq!(distinct.len(), placed.nodes.len(), "copies never share a node");
                prop_assert_eq!(placed.nodes.len(), usable.len().min(usize::from(copies)));
                prop_assert!(placed.nodes.len() >= wanted.needed());
                let zones = |all: &mut dyn Iterator<Item = &String>| {
                    all.collect::<std::collections::BTreeSet<_>>().len()
                };
                let offered = zones(&mut usable.iter().map(|c| &c.entry.zone));
                let used = zones(&mut chosen.iter().flatten().map(|c| &c.entry.zone));
                prop_assert_eq!(used, offered.min(placed.nodes.len()), "as many zones as there are");
                prop_assert_eq!(placed.reasons.len(), nodes.len());
                for reason in &placed.reasons {
                    prop_assert_eq!(reason.chosen, placed.nodes.contains(&reason.node));
                    prop_assert!(!reason.rule.is_empty());
                }
                let again = place(&nodes, &pressure, &wanted, &mut numbers(seed)).unwrap();
                prop_assert_eq!(again, placed, "the same numbers give the same choice");
            }
        }
    }
}

#[test]
fn a_request_that_fails_promises_nothing() {
    let load = NodeLoad { available: 10, ..NodeLoad::default() };
    let mut candidate = NodeView { load, ..NodeView::for_tests(1) };
    let mut pressure = Pressure::default();
    let mut ask = |candidate: &NodeView, bytes: Vec<u64>| {
        let request = PlaceChunks { bytes, copies: 1, min_ack: 1, exclude: vec![] };
        place_all(std::slice::from_ref(candidate), &mut pressure, &request, &mut |_| 0)
    };
    assert!(ask(&candidate, vec![6, 6]).is_err(), "the second does not fit");
    assert_eq!(ask(&candidate, vec![6, 2]).unwrap().len(), 2);
    assert!(ask(&candidate, vec![3]).is_err(), "most of it is promised");
    // The next report knows of both: what it says is left may be given away.
    (candidate.report, candidate.load.available) = (2, 2);
    assert!(ask(&candidate, vec![3]).is_err());
    assert_eq!(ask(&candidate, vec![2]).unwrap().len(), 1);
    assert!(ask(&candidate, vec![1]).is_err());
}
