//! Which grants a datanode obeys.

use std::time::Duration;

use dfs_wire::auth::ClusterKey;
use dfs_wire::id::{ChunkId, Generation, InodeId};
use dfs_wire::message::membership::{NodeState, StateFull, StateIncrement};

use super::*;

const ME: NodeId = NodeId(7);
const DENIED: Result<(), StatusCode> = Err(StatusCode::PermissionDenied);

fn at(ms: u64) -> MonoTime {
    MonoTime::ZERO + Duration::from_millis(ms)
}

fn key_of(node: NodeId) -> NodeKey {
    ClusterKey([3; 32]).node_key(node)
}

fn view() -> Arc<CoordinatorView> {
    let view = CoordinatorView::new(Some(ClusterId(1)), Some(key_of(ME)), heard(5));
    view.update(|k| k.clock = Some(ClockReading { coordinator_ms: 1_000_000, heard: at(500) }));
    view
}

fn grant() -> Grant {
    Grant {
        epoch: Epoch(5),
        op: GrantOp::Read,
        chunk: ChunkId(1),
        generation: Generation(1),
        file: InodeId(2),
        index: 0,
        len_max: 1024,
        expires_ms: 1_001_000,
    }
}

type Change = fn(&mut Grant);

fn heard(epoch: u64) -> Heard {
    Heard { epoch: Epoch(epoch), position: 0 }
}

#[test]
fn a_grant_is_obeyed_for_what_it_says_and_nothing_else() {
    let same: Change = |_| {};
    let (read, write) = (GrantOp::Read, GrantOp::Write);
    // What is granted and signed, what is shown instead, the operation, when, and what becomes of it.
    type Row = (&'static str, Change, Change, GrantOp, u64, Result<(), StatusCode>);
    let table: [Row; 11] = [
        ("good", same, same, read, 500, Ok(())),
        ("good to its last moment", same, same, read, 1_500, Ok(())),
        ("expired", same, same, read, 1_501, DENIED),
        ("another operation", same, same, write, 500, DENIED),
        ("operation changed", same, |g| g.op = GrantOp::Write, write, 500, DENIED),
        ("another chunk", same, |g| g.chunk = ChunkId(2), read, 500, DENIED),
        ("another generation", same, |g| g.generation = Generation(2), read, 500, DENIED),
        ("made to last", same, |g| g.expires_ms += 1, read, 500, DENIED),
        ("made longer", same, |g| g.len_max += 1, read, 500, DENIED),
        ("an earlier reign", |g| g.epoch = Epoch(4), same, read, 500, Err(StatusCode::StaleEpoch)),
        ("a reign made up", same, |g| g.epoch = Epoch(6), read, 500, DENIED),
    ];
    for (what, granted, shown, op, ms, expected) in table {
        let mut grant = grant();
        granted(&mut grant);
        let mac = grant.sign(&key_of(ME));
        shown(&mut grant);
        let outcome = view().check_grant(&grant, &mac, op, at(ms)).map_err(|s| s.code);
        assert_eq!(outcome, expected, "{what}");
    }
    let others = grant().sign(&key_of(NodeId(8)));
    let refused = view().check_grant(&grant(), &others, read, at(500)).unwrap_err();
    assert_eq!((refused.code, refused.chunk), (StatusCode::PermissionDenied, Some(ChunkId(1))));
}

#[test]
fn without_a_key_or_a_clock_nothing_is_obeyed() {
    let mac = grant().sign(&key_of(ME));
    for view in [
        CoordinatorView::new(None, None, heard(0)),
        CoordinatorView::new(Some(ClusterId(1)), Some(key_of(ME)), heard(5)),
    ] {
        let refused = view.check_grant(&grant(), &mac, GrantOp::Read, at(0)).unwrap_err();
        assert!(refused.code == StatusCode::NotRegistered && refused.retryable());
    }
}

#[test]
fn a_good_grant_of_a_new_reign_ends_the_old_one() {
    let view = view();
    let new = Grant { epoch: Epoch(6), ..grant() };
    view.check_grant(&new, &new.sign(&key_of(ME)), GrantOp::Read, at(500)).unwrap();
    let old = view.check_grant(&grant(), &grant().sign(&key_of(ME)), GrantOp::Read, at(500)).unwrap_err();
    assert_eq!(old.code, StatusCode::StaleEpoch);
    view.update(|k| k.epoch = Epoch(1));
    assert_eq!(view.epoch(), Epoch(6), "it never goes back");
}

#[test]
fn a_node_told_to_stop_obeys_nothing() {
    let view = view();
    view.tell_to_stop(Status::new(StatusCode::AlreadyExists, "a newer process has the id"));
    let mac = grant().sign(&key_of(ME));
    let refused = view.check_grant(&grant(), &mac, GrantOp::Read, at(500)).unwrap_err();
    assert_eq!(refused.code, StatusCode::AlreadyExists);
}

#[test]
fn an_increment_that_does_not_fit_asks_for_everything() {
    let entry = |id| NodeEntry {
        node: NodeId(id),
        name: String::new(),
        zone: String::new(),
        address: String::new(),
        state: NodeState::Up,
    };
    let mut known = Knowledge::default();
    known.apply(StateUpdate::Full(StateFull { version: 10, nodes: vec![entry(1)] }));
    known.apply(StateUpdate::Increment(StateIncrement { from: 10, to: 12, nodes: vec![entry(2)] }));
    assert_eq!((known.state_version, known.nodes.len()), (12, 2));
    known.apply(StateUpdate::Increment(StateIncrement { from: 11, to: 13, nodes: vec![entry(3)] }));
    assert_eq!((known.state_version, known.nodes.len()), (0, 2));
}
