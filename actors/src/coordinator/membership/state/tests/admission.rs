//! Who is taken in under which name and address, and who has to wait.

use dfs_wire::status::StatusCode;

use super::*;

/// A node with another one's name, address, or both.
fn like(id: u128, name: u128, address: u128) -> Register {
    let (name, address) = (register(name, 1).name, register(address, 1).address);
    Register { name, address, ..register(id, 1) }
}

fn refusal(state: &mut MembershipState, now: MonoTime, word: &Register) -> Status {
    let status = state.admit(now, None, word).unwrap_err();
    assert_eq!(status.code, StatusCode::NotAdmitted, "{status}");
    assert!(!status.hint.is_empty(), "{status}");
    status
}

#[test]
fn a_name_or_an_address_of_a_node_that_answers_is_refused_and_both_are_named() {
    let mut state = empty();
    join(&mut state, at(0), &register(1, 5)).unwrap();
    for (word, says) in [
        (like(2, 1, 2), "the name dn-1 belongs to the node"),
        (like(2, 2, 1), "dn-2 advertises 10.0.0.1:8081, which is the address of dn-1"),
        (like(2, 1, 1), "the name and the address of dn-1 (10.0.0.1:8081) belong to the node"),
    ] {
        for seconds in [1, 29] {
            pass(&mut state, 0, seconds);
            let status = refusal(&mut state, at(seconds), &word);
            assert!(status.message.starts_with(says), "{status}");
            assert!(status.message.contains(&NodeId(1).to_string()), "{status}");
        }
    }
    assert!(state.view().waiting.is_empty(), "no operator can decide that two share a name");
}

#[test]
fn a_node_with_the_name_and_the_address_of_a_silent_one_takes_its_place() {
    let mut state = empty();
    join(&mut state, at(0), &register(1, 5)).unwrap();
    join(&mut state, at(0), &register(3, 5)).unwrap();
    pass(&mut state, 0, 31);
    state.heartbeat(at(31), &heartbeat(3, 5, 0)).unwrap();
    let admitted = state.admit(at(32), None, &like(2, 1, 1)).unwrap();
    assert_eq!(
        admitted.lost.iter().map(|(node, r)| (node.0, r.standing)).collect::<Vec<_>>(),
        [(1, Standing::Lost)]
    );
    // The old process was only frozen, and speaks again before the new one is in: that is decided already.
    state.heartbeat(at(32), &heartbeat(1, 5, 0)).unwrap();
    let changes = state.register(at(33), &like(2, 1, 1), &admitted).unwrap();
    assert_eq!(
        changes.iter().map(|t| (t.node.0, t.to)).collect::<Vec<_>>(),
        [(1, NodeState::Lost), (2, NodeState::Up)]
    );
    assert!(state.heartbeat(at(34), &heartbeat(1, 5, 0)).unwrap().0.register_again);
    let fenced = refusal(&mut state, at(34), &register(1, 5));
    assert!(fenced.message.contains("is lost") && fenced.hint.contains("empty data directory"), "{fenced}");
    // A node with its name alone, or its address alone, takes nothing from it.
    pass(&mut state, 31, 70);
    let other = state.admit(at(70), None, &like(4, 3, 4)).unwrap();
    assert!(other.lost.is_empty());
}

#[test]
fn of_two_that_come_as_one_at_the_same_moment_the_second_is_refused() {
    let mut state = empty();
    let first = state.admit(at(0), None, &register(1, 1)).unwrap();
    let status = refusal(&mut state, at(1), &like(2, 1, 2));
    assert!(status.message.contains("at the same moment"), "{status}");
    state.register(at(1), &register(1, 1), &first).unwrap();
    assert!(refusal(&mut state, at(2), &like(2, 1, 2)).message.contains("which is up"));
    // What is held for one that never comes is held for seconds.
    state.admit(at(10), None, &register(3, 1)).unwrap();
    refusal(&mut state, at(14), &like(4, 4, 3));
    state.admit(at(15), None, &like(4, 4, 3)).unwrap();
}

#[test]
fn after_a_restart_of_the_coordinator_nobody_takes_a_place_that_may_be_another_s() {
    let mut state = empty();
    let Admission { record, .. } = state.admit(at(0), None, &register(1, 5)).unwrap();
    state = MembershipState::new(open(), CLUSTER, vec![(NodeId(1), record.clone())], 1, (at(0), 0));
    let status = refusal(&mut state, at(1), &like(2, 1, 1));
    assert!(status.message.contains("which is suspect"), "{status}");
    join(&mut state, at(2), &register(1, 5)).unwrap();
    // Two that were taken in with one name before names were looked at: whoever comes first has it.
    let twin = (NodeId(9), record.clone());
    state = MembershipState::new(open(), CLUSTER, vec![(NodeId(1), record), twin], 1, (at(0), 0));
    join(&mut state, at(1), &register(1, 5)).unwrap();
    refusal(&mut state, at(2), &like(9, 1, 1));
}

#[test]
fn beyond_a_number_of_nodes_an_operator_is_asked() {
    let config = MembershipConfig { nodes_unasked_max: 2, ..MembershipConfig::default() };
    let mut state = MembershipState::new(config, CLUSTER, vec![], 1, (at(0), 0));
    join(&mut state, at(0), &register(1, 1)).unwrap();
    let second = state.admit(at(0), None, &register(2, 1)).unwrap();
    let status = refusal(&mut state, at(0), &register(3, 1));
    assert!(
        status.hint.contains(&format!("dfsctl nodes admit {}", NodeId(3))),
        "one under way counts: {status}"
    );
    state.register(at(1), &register(2, 1), &second).unwrap();
    assert_eq!(state.view().waiting.iter().map(|w| w.record.name.as_str()).collect::<Vec<_>>(), ["dn-3"]);
    assert_eq!(state.say_yes(at(2), NodeId(4)).unwrap_err().code, StatusCode::NotFound);
    let record = state.say_yes(at(2), NodeId(3)).unwrap();
    assert_eq!((record.standing, state.view().waiting.len()), (Standing::Left, 0), "expected");
    join(&mut state, at(3), &register(3, 1)).unwrap();
    assert_eq!(state_of(&state, 3), NodeState::Up);
    // A place that is taken over is no further one, and a lost node comes back by an operator's word.
    pass(&mut state, 3, 40);
    join(&mut state, at(40), &like(5, 1, 1)).unwrap();
    assert!(refusal(&mut state, at(41), &register(1, 2)).hint.contains("dfsctl nodes admit"));
    state.say_yes(at(42), NodeId(1)).unwrap();
    pass(&mut state, 42, 80);
    let back = state.admit(at(80), None, &register(1, 2)).unwrap();
    assert_eq!(back.lost.iter().map(|(node, _)| node.0).collect::<Vec<_>>(), [5]);
    // Who asks no more is not shown for ever.
    refusal(&mut state, at(80), &register(77, 1));
    assert!(!state.tick_door(at(139)) && state.tick_door(at(140)) && state.view().waiting.is_empty());
}

#[test]
fn one_source_brings_so_many_unknown_nodes_and_no_more() {
    let mut state = empty();
    let source = |last: u8| Some(std::net::IpAddr::from([10, 0, 0, last]));
    let ask = |state: &mut MembershipState, last, id| state.admit(at(1), source(last), &register(id, 1));
    for id in 0..32 {
        let admitted = ask(&mut state, 1, id).unwrap();
        ask(&mut state, 1, id).unwrap();
        state.register(at(1), &register(id, 1), &admitted).unwrap();
    }
    let status = ask(&mut state, 1, 99).unwrap_err();
    assert!(status.code == StatusCode::NotAdmitted && status.message.contains("10.0.0.1"), "{status}");
    ask(&mut state, 1, 5).unwrap();
    ask(&mut state, 2, 100).unwrap();
    state.admit(at(601), source(1), &register(99, 1)).unwrap();
}
