//! A node that an operator has emptied.

use super::*;
use crate::coordinator::metadata::model::worth::Reach;

fn standing(state: &MembershipState) -> Standing {
    state.nodes[&NodeId(1)].record.standing
}

#[test]
fn only_an_operator_ends_what_an_operator_began() {
    let mut state = empty();
    join(&mut state, at(0), &register(1, 5)).unwrap();
    let (record, transition) = state.drain(at(1), NodeId(1), true).unwrap();
    assert_eq!((record.standing, transition.map(|t| t.to)), (Standing::Draining, Some(NodeState::Draining)));
    assert_eq!(state.drain(at(1), NodeId(1), true).unwrap(), (record, None), "asked again");
    let goodbye = Leave { node: NodeId(1), incarnation: Incarnation(5) };
    let (record, transition) = state.leave(at(2), &goodbye).unwrap();
    assert_eq!((record.standing, transition.to), (Standing::Draining, NodeState::Left));
    assert!(state.heartbeat(at(2), &heartbeat(1, 5, 0)).unwrap().0.register_again, "a late word");
    pass(&mut state, 2, 200);
    assert_eq!(state_of(&state, 1), NodeState::Left, "it said so");
    join(&mut state, at(201), &register(1, 6)).unwrap();
    assert_eq!(state_of(&state, 1), NodeState::Draining);
    let (record, transition) = state.drain(at(202), NodeId(1), false).unwrap();
    assert_eq!((record.standing, transition.map(|t| t.to)), (Standing::Member, Some(NodeState::Up)));
}

#[test]
fn a_node_that_is_away_can_be_emptied_and_one_that_is_lost_cannot() {
    let mut state = empty();
    join(&mut state, at(0), &register(1, 5)).unwrap();
    state.leave(at(1), &Leave { node: NodeId(1), incarnation: Incarnation(5) }).unwrap();
    state.drain(at(2), NodeId(1), true).unwrap();
    assert_eq!((standing(&state), state_of(&state, 1)), (Standing::Draining, NodeState::Left));
    assert!(state.view().node(NodeId(1)).is_some_and(|node| node.draining));
    state.drain(at(2), NodeId(1), false).unwrap();
    assert_eq!(standing(&state), Standing::Left, "as it was");
    state.mark_lost(at(3), NodeId(1)).unwrap();
    assert_eq!(state.drain(at(4), NodeId(1), true).unwrap_err().code, StatusCode::PreconditionFailed);
    assert_eq!(state.drain(at(4), NodeId(2), true).unwrap_err().code, StatusCode::NotFound);
}

#[test]
fn a_node_in_maintenance_may_be_away_until_that_is_over_however_often_it_comes_back() {
    let mut state = empty();
    join(&mut state, at(0), &register(1, 5)).unwrap();
    let until = |state: &MembershipState| state.view().node(NodeId(1)).unwrap().grace_until_ms;
    let reach = |state: &MembershipState, now_ms| state.view().reach(NodeId(1), now_ms);
    // A registration that was admitted before an operator's word changes nothing about it.
    let again = state.admit(at(1), None, &register(1, 6)).unwrap();
    let before = state.view().version;
    state.maintain([(NodeId(1), Maintenance::Until(90_000))].into());
    assert!(state.view().version > before, "whoever counts has to count again");
    state.register(at(2), &register(1, 6), &again).unwrap();
    assert_eq!(until(&state), Some(90_000));
    pass(&mut state, 2, 40);
    assert_eq!(state_of(&state, 1), NodeState::Down);
    assert_eq!(reach(&state, 89_999), Reach::Away { announced: true });
    assert_eq!(reach(&state, 90_000), Reach::Away { announced: false });
    join(&mut state, at(41), &register(1, 7)).unwrap();
    assert_eq!(until(&state), Some(90_000), "it may go once more");
    state.leave(at(42), &Leave { node: NodeId(1), incarnation: Incarnation(7) }).unwrap();
    state.maintain([(NodeId(1), Maintenance::Over(43_000))].into());
    assert_eq!(until(&state), Some(43_000), "its own grace is over as well");
    forget(&mut state, at(44), 1).unwrap();
    state.maintain(BTreeMap::new());
    assert_eq!(state.maintenance, BTreeMap::new());
}
