//! The life of a datanode's membership.

use dfs_wire::auth::NodeKey;
use dfs_wire::id::{ChunkId, ClusterId, Generation};
use dfs_wire::message::membership::StateFull;

use super::*;

const CLUSTER: ClusterId = ClusterId(1);

fn at(ms: u64) -> MonoTime {
    MonoTime::ZERO + Duration::from_millis(ms)
}

fn key(id: u128) -> ChunkKey {
    ChunkKey { chunk: ChunkId(id), generation: Generation(1) }
}

fn joined(epoch: u64) -> Joined {
    Joined { cluster: CLUSTER, key: NodeKey([7; 32]), epoch: Epoch(epoch), position: 0 }
}

fn welcome(epoch: u64) -> Registered {
    Registered {
        cluster: CLUSTER,
        epoch: Epoch(epoch),
        position: 0,
        now_ms: 1_000,
        key: NodeKey([7; 32]),
        heartbeat_interval_ms: 2_000,
        state: StateFull { version: 3, nodes: vec![] },
    }
}

fn reply(tombstones: &[u128]) -> HeartbeatReply {
    HeartbeatReply {
        revoked: None,
        epoch: Epoch(1),
        position: 0,
        now_ms: 2_000,
        update: StateUpdate::Unchanged,
        tombstones: tombstones.iter().map(|id| key(*id)).collect(),
        register_again: false,
        inventory_wanted: false,
    }
}

/// The reign that the identity names.
fn reign(state: &HeartbeatState) -> Epoch {
    state.saved.as_ref().map_or(Epoch(0), |saved| saved.epoch)
}

fn status(code: StatusCode) -> Status {
    Status::new(code, "test")
}

/// Registered and active since time 0, its identity saved.
fn active() -> HeartbeatState {
    let mut state = HeartbeatState::new(HeartbeatConfig::default(), Some(joined(1)), at(0));
    assert_eq!(state.step(at(0)), [Effect::Register]);
    let effects = state.registered(at(0), Epoch(1), 0, welcome(1));
    assert!(
        matches!(effects.as_slice(), [Effect::Learn(_), Effect::TakeInventory { anew: true }]),
        "{effects:?}"
    );
    state
}

fn told(effects: &[Effect]) -> (Vec<ChunkKey>, Vec<ChunkKey>) {
    match effects {
        [Effect::Heartbeat { deleted, corrupt, .. }] => (deleted.clone(), corrupt.clone()),
        other => panic!("not a heartbeat: {other:?}"),
    }
}

#[test]
fn a_fresh_node_is_active_only_once_its_identity_is_durable() {
    let mut state = HeartbeatState::new(HeartbeatConfig::default(), None, at(0));
    assert_eq!(state.step(at(0)), [Effect::Register]);
    assert_eq!(state.step(at(1)), [], "one call at a time");
    assert_eq!(state.registered(at(5), Epoch(0), 0, welcome(1)), [Effect::Save(joined(1))]);
    assert!(!state.is_active());
    assert!(!state.saved(at(9), 0, Ok(joined(1))).is_empty() && state.is_active());
    assert_eq!(state.step(at(2_008)), []);
    assert_eq!(told(&state.step(at(2_009))), (vec![], vec![]));
}

#[test]
fn heartbeats_go_on_and_nothing_is_obeyed_while_a_disk_takes_its_time_to_save_the_identity() {
    let mut state = HeartbeatState::new(HeartbeatConfig::default(), Some(joined(1)), at(0));
    state.step(at(0));
    assert_eq!(state.registered(at(0), Epoch(1), 0, welcome(2)), [Effect::Save(joined(2))]);
    for beat in 1..=20 {
        assert_eq!(told(&state.step(at(beat * 2_000))), (vec![], vec![]));
        assert_eq!(state.step(at(beat * 2_000)), [], "one call at a time");
        let orders = HeartbeatReply { epoch: Epoch(2), inventory_wanted: true, ..reply(&[7]) };
        assert_eq!(state.answered(at(beat * 2_000), Epoch(1), 0, orders), []);
    }
    assert!(!state.is_active() && reign(&state) == Epoch(1));
    let effects = state.saved(at(41_000), 0, Ok(joined(2)));
    let [Effect::Learn(learned), Effect::TakeInventory { anew: true }] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert_eq!(learned.now_ms, 42_000, "the coordinator's clock went on");
    assert!(state.is_active() && reign(&state) == Epoch(2));
}

#[test]
fn a_save_that_ends_late_is_not_taken_for_the_one_after_it() {
    let mut state = HeartbeatState::new(HeartbeatConfig::default(), Some(joined(1)), at(0));
    state.step(at(0));
    state.registered(at(0), Epoch(1), 0, welcome(2));
    state.step(at(2_000));
    assert_eq!(state.failed(at(2_000), 0, &status(StatusCode::NotRegistered)), [Effect::Lost]);
    assert_eq!(state.step(at(2_000)), [Effect::Register]);
    assert_eq!(state.registered(at(2_000), Epoch(2), 0, welcome(3)), [Effect::Save(joined(3))]);
    assert_eq!(state.saved(at(2_500), 0, Ok(joined(2))), []);
    assert!(!state.is_active() && reign(&state) == Epoch(2));
    assert!(!state.saved(at(2_600), 0, Ok(joined(3))).is_empty() && state.is_active());
}

#[test]
fn an_identity_that_cannot_be_saved_is_tried_again_from_the_start() {
    let mut state = HeartbeatState::new(HeartbeatConfig::default(), None, at(0));
    state.step(at(0));
    state.registered(at(0), Epoch(0), 0, welcome(1));
    assert_eq!(state.saved(at(10), 0, Err(status(StatusCode::DiskFailed))), []);
    assert_eq!(state.step(at(209)), []);
    assert_eq!(state.step(at(210)), [Effect::Register]);
}

#[test]
fn registrations_back_off_up_to_a_bound_and_with_some_chance() {
    let mut state = HeartbeatState::new(HeartbeatConfig::default(), None, at(0));
    let mut now = at(0);
    let mut waits = vec![];
    for _ in 0..8 {
        assert_eq!(state.step(now), [Effect::Register]);
        state.failed(now, 0, &status(StatusCode::ConnectionLost));
        let next = state.wakes_at().unwrap();
        waits.push(u64::try_from(next.since(now).as_millis()).unwrap());
        now = next;
    }
    assert_eq!(waits, [200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000]);
    state.step(now);
    state.failed(now, 1023, &status(StatusCode::ConnectionLost));
    assert!(state.wakes_at().unwrap().since(now) > Duration::from_millis(7_400));
}

#[test]
fn what_was_told_stays_pending_until_a_heartbeat_is_answered() {
    let mut state = active();
    assert!(state.report_corrupt(key(9)));
    state.quarantining.insert(key(1));
    state.quarantined(at(1), &[(key(1), true)]);
    for lost in 1..=2 {
        assert_eq!(told(&state.step(at(lost * 2_000))), (vec![key(1)], vec![key(9)]));
        state.failed(at(lost * 2_000), 0, &status(StatusCode::DeadlineExceeded));
    }
    state.step(at(6_000));
    assert!(state.report_corrupt(key(10)), "while the call is under way");
    state.answered(at(6_000), Epoch(1), 0, reply(&[]));
    assert_eq!(told(&state.step(at(8_000))), (vec![], vec![key(10)]));
}

#[test]
fn tombstones_are_carried_out_once_and_confirmed() {
    let mut state = active();
    state.step(at(2_000));
    let effects = state.answered(at(2_000), Epoch(1), 0, reply(&[1, 2]));
    assert!(effects.contains(&Effect::Quarantine(vec![key(1), key(2)])), "{effects:?}");
    state.step(at(4_000));
    let again = state.answered(at(4_000), Epoch(1), 0, reply(&[1, 2]));
    assert!(!again.iter().any(|e| matches!(e, Effect::Quarantine(_))), "under way: {again:?}");
    state.quarantined(at(4_001), &[(key(1), true), (key(2), false)]);
    assert_eq!(told(&state.step(at(6_000))).0, [key(1)], "only what was done is confirmed");
    let third = state.answered(at(6_000), Epoch(1), 0, reply(&[2]));
    assert!(third.contains(&Effect::Quarantine(vec![key(2)])), "what failed is done again: {third:?}");
}

#[test]
fn a_full_page_of_tombstones_is_followed_by_the_next_at_once() {
    let mut state = active();
    state.step(at(2_000));
    let ids: Vec<u128> = (0..TOMBSTONES_PER_HEARTBEAT_MAX as u128).collect();
    state.answered(at(2_000), Epoch(1), 0, reply(&ids));
    let done: Vec<_> = ids.iter().map(|id| (key(*id), true)).collect();
    state.quarantined(at(2_050), &done);
    assert_eq!(told(&state.step(at(2_050))).0.len(), TOMBSTONES_PER_HEARTBEAT_MAX);
}

#[test]
fn a_coordinator_that_does_not_know_us_is_registered_with_at_once() {
    let mut state = active();
    state.step(at(2_000));
    let effects =
        state.answered(at(2_000), Epoch(1), 0, HeartbeatReply { register_again: true, ..reply(&[]) });
    assert_eq!(effects, [Effect::Lost]);
    assert_eq!(state.step(at(2_000)), [Effect::Register]);
    let effects = state.registered(at(2_100), Epoch(1), 0, welcome(2));
    assert_eq!(effects, [Effect::Save(joined(2))], "a new reign is durable before it is obeyed");
}

#[test]
fn an_old_reign_is_not_obeyed() {
    let mut state = active();
    state.step(at(2_000));
    let effects = state.answered(at(2_000), Epoch(9), 0, reply(&[1]));
    assert_eq!(effects, [Effect::Lost], "its tombstones are not carried out");
    let mut fresh = HeartbeatState::new(HeartbeatConfig::default(), Some(joined(9)), at(0));
    fresh.step(at(0));
    let effects = fresh.registered(at(0), Epoch(9), 0, welcome(8));
    assert!(matches!(effects.as_slice(), [Effect::Distrust(s)] if s.code == StatusCode::StaleEpoch));
    assert!(!fresh.is_active() && fresh.wakes_at().is_some_and(|t| t > at(0)));
}

#[test]
fn an_epoch_seen_in_a_grant_fences_but_is_not_named_before_its_coordinator_took_the_node_in() {
    let mut state = active();
    state.step(at(2_000));
    assert_eq!(state.answered(at(2_000), Epoch(4), 0, reply(&[1])), [Effect::Lost], "the old one is done");
    let again = state.wakes_at().unwrap();
    assert_eq!(state.step(again), [Effect::Register]);
    assert_eq!(reign(&state), Epoch(1), "what the node was part of before");
    assert_eq!(state.registered(again, Epoch(4), 0, welcome(4)), [Effect::Save(joined(4))]);
    state.saved(again, 0, Ok(joined(4)));
    assert!(state.is_active() && reign(&state) == Epoch(4));
}

#[test]
fn a_node_that_is_superseded_stops_for_good() {
    let mut state = active();
    state.step(at(2_000));
    let verdict = status(StatusCode::AlreadyExists);
    assert_eq!(state.failed(at(2_000), 0, &verdict), [Effect::Stop(verdict)]);
    assert_eq!(state.step(at(100_000)), []);
    assert_eq!(state.wakes_at(), None);
}

#[test]
fn a_coordinator_of_another_cluster_is_kept_apart_from_and_asked_again() {
    let mut state = active();
    state.step(at(2_000));
    assert_eq!(state.failed(at(2_000), 0, &status(StatusCode::WrongCluster)), [Effect::Lost]);
    for _ in 0..20 {
        let again = state.wakes_at().unwrap();
        assert_eq!(state.step(again), [Effect::Register]);
        assert_eq!(state.failed(again, 0, &status(StatusCode::WrongCluster)), []);
    }
    let again = state.wakes_at().unwrap();
    state.step(again);
    let other = Registered { cluster: ClusterId(2), ..welcome(1) };
    let effects = state.registered(again, Epoch(1), 0, other);
    assert!(matches!(effects.as_slice(), [Effect::Distrust(s)] if s.code == StatusCode::WrongCluster));
    let again = state.wakes_at().unwrap();
    state.step(again);
    assert!(!state.registered(again, Epoch(1), 0, welcome(1)).is_empty() && state.is_active());
}

#[test]
fn a_copy_looked_for_in_vain_is_told_once_the_coordinator_was_heard_of_since_and_until_it_heard() {
    let mut state = active();
    assert!(state.report_missing(key(4)));
    let missing = |effects: &[Effect]| match effects {
        [Effect::Heartbeat { missing, .. }] => missing.clone(),
        other => panic!("not a heartbeat: {other:?}"),
    };
    assert_eq!(missing(&state.step(at(2_000))), [], "its record may be younger than what was heard");
    state.answered(at(2_001), Epoch(1), 0, reply(&[]));
    assert_eq!(missing(&state.step(at(4_001))), [key(4)]);
    state.failed(at(4_002), 0, &Status::new(StatusCode::Unavailable, "gone"));
    assert_eq!(missing(&state.step(at(6_002))), [key(4)], "nobody has heard it");
    state.answered(at(6_003), Epoch(1), 0, reply(&[]));
    assert_eq!(missing(&state.step(at(8_003))), []);
}

#[test]
fn a_silent_coordinator_is_lost_after_three_heartbeats_and_still_called() {
    let mut state = active();
    let mut lost = vec![];
    for beat in 1..=5u64 {
        let now = at(beat * 2_000);
        assert_eq!(state.step(now).len(), 1, "beat {beat}");
        lost.push(state.failed(now, 0, &status(StatusCode::Unavailable)));
    }
    assert_eq!(lost, [vec![], vec![], vec![Effect::Lost], vec![], vec![]]);
    state.step(at(12_000));
    assert!(matches!(state.answered(at(12_000), Epoch(1), 0, reply(&[])).as_slice(), [Effect::Learn(_)]));
}

#[test]
fn bad_copies_waiting_to_be_told_are_bounded() {
    let mut state = active();
    for id in 0..FINDINGS_WAITING_MAX as u128 {
        assert!(state.report_corrupt(key(id)));
    }
    assert!(!state.report_corrupt(key(u128::MAX)) && state.report_corrupt(key(3)));
    assert_eq!(told(&state.step(at(2_000))).1.len(), CORRUPT_PER_HEARTBEAT_MAX);
}
