//! A node that is forgotten against the same node that comes back.

use dfs_wire::message::membership::Leave;
use dfs_wire::status::StatusCode;

use super::*;

/// A register with a node that has been silent for long.
fn with_a_silent_node() -> MembershipState {
    let mut state = empty();
    join(&mut state, at(0), &register(1, 5)).unwrap();
    pass(&mut state, 0, 40);
    assert_eq!(state_of(&state, 1), NodeState::Down);
    state
}

#[test]
fn a_node_that_comes_back_while_it_is_being_forgotten_comes_too_late() {
    let mut state = with_a_silent_node();
    assert_eq!(state.begin_forget(at(40), NodeId(1)), Ok(48_000));
    // Whatever it says now, it is asked to come again, and nothing changes.
    assert!(state.heartbeat(at(40), &heartbeat(1, 5, 0)).unwrap().0.register_again);
    assert_eq!(state.admit(at(41), None, &register(1, 6)).unwrap_err().code, StatusCode::Busy);
    assert_eq!(state.begin_forget(at(41), NodeId(1)).unwrap_err().code, StatusCode::Busy, "one at a time");
    let goodbye = Leave { node: NodeId(1), incarnation: Incarnation(5) };
    assert_eq!(state.leave(at(41), &goodbye), None, "a late goodbye would undo it");
    assert_eq!(state.say_yes(at(41), NodeId(1)).unwrap_err().code, StatusCode::Busy);
    assert_eq!(state_of(&state, 1), NodeState::Down);
    assert_eq!(state.forget(at(42), NodeId(1)).map(|t| t.to), Some(NodeState::Forgotten));
    assert_eq!(state.admit(at(43), None, &register(1, 6)).unwrap_err().code, StatusCode::NotAdmitted);
}

#[test]
fn a_node_that_registers_is_not_forgotten_and_one_that_was_spared_comes_back() {
    let mut state = with_a_silent_node();
    let admitted = state.admit(at(40), None, &register(1, 6)).unwrap();
    let refused = state.begin_forget(at(40), NodeId(1)).unwrap_err();
    assert_eq!(refused.code, StatusCode::PreconditionFailed);
    assert!(refused.message.contains("registers at this moment"), "{refused}");
    state.register(at(41), &register(1, 6), &admitted).unwrap();
    assert_eq!(state.begin_forget(at(41), NodeId(1)).unwrap_err().code, StatusCode::PreconditionFailed);
    let mut state = with_a_silent_node();
    state.begin_forget(at(40), NodeId(1)).unwrap();
    state.spare(NodeId(1));
    assert!(!state.heartbeat(at(41), &heartbeat(1, 5, 0)).unwrap().0.register_again);
    assert_eq!(state_of(&state, 1), NodeState::Up);
}

#[test]
fn a_registration_that_hung_until_its_node_was_being_forgotten_is_refused() {
    let mut state = with_a_silent_node();
    let admitted = state.admit(at(40), None, &register(1, 6)).unwrap();
    // Its place at the door was given up meanwhile.
    state.begin_forget(at(46), NodeId(1)).unwrap();
    assert_eq!(state.register(at(46), &register(1, 6), &admitted).unwrap_err().code, StatusCode::Busy);
    assert_eq!(state_of(&state, 1), NodeState::Down);
}

#[test]
fn of_a_node_of_which_nobody_knows_whether_it_is_forgotten_the_metadata_decides() {
    let mut state = with_a_silent_node();
    state.begin_forget(at(40), NodeId(1)).unwrap();
    assert_eq!(state.admit(at(49), None, &register(1, 5)).unwrap_err().code, StatusCode::Busy);
    // The writer does nothing after 48 s. A heartbeat alone asks nobody, so it does not count.
    assert!(state.heartbeat(at(51), &heartbeat(1, 5, 0)).unwrap().0.register_again);
    let admitted = state.admit(at(51), None, &register(1, 5)).unwrap();
    state.register(at(52), &register(1, 5), &admitted).unwrap();
    assert!(!state.heartbeat(at(53), &heartbeat(1, 5, 0)).unwrap().0.register_again);
    assert_eq!(state_of(&state, 1), NodeState::Up);
}
