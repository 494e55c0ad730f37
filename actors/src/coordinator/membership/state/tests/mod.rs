//! The life of nodes as the register sees it.

use dfs_wire::id::Epoch;
use dfs_wire::message::admin::HealthLevel;
use dfs_wire::message::membership::{Leave, NodeEntry};
use dfs_wire::status::StatusCode;
use proptest::prelude::*;

use super::words::FINDING_BYTES_MAX;
use super::*;

mod admission;
mod drain;
mod forget;

pub(super) const CLUSTER: ClusterId = ClusterId(0xc1);

pub(super) fn at(seconds: u64) -> MonoTime {
    MonoTime::ZERO + Duration::from_secs(seconds)
}

pub(super) fn register(id: u128, run: u64) -> Register {
    Register {
        node: NodeId(id),
        cluster: Some(CLUSTER),
        epoch: Epoch(1),
        position: 0,
        incarnation: Incarnation(run),
        name: format!("dn-{id}"),
        zone: "a".into(),
        address: format!("10.0.0.{id}:8081"),
        version: "0.1.0".into(),
        load: NodeLoad::default(),
    }
}

pub(super) fn heartbeat(id: u128, run: u64, version: u64) -> Heartbeat {
    Heartbeat {
        revoked_version: 0,
        node: NodeId(id),
        incarnation: Incarnation(run),
        state_version: version,
        load: NodeLoad { chunks: run, ..NodeLoad::default() },
        deleted: vec![],
        missing: Vec::new(),
        heard_ms: 0,
        corrupt: vec![],
        findings: vec![],
    }
}

/// Any node may join.
pub(super) fn open() -> MembershipConfig {
    MembershipConfig { nodes_unasked_max: NODES_MAX, ..MembershipConfig::default() }
}

pub(super) fn empty() -> MembershipState {
    MembershipState::new(open(), CLUSTER, vec![], 100, (at(0), 0))
}

/// Takes the node in as the coordinator does, record and all.
pub(super) fn join(
    state: &mut MembershipState,
    now: MonoTime,
    word: &Register,
) -> Result<Vec<Transition>, Status> {
    let admitted = state.admit(now, None, word)?;
    state.register(now, word, &admitted)
}

/// Ticks every second from one time to another, as the actor does.
pub(super) fn pass(state: &mut MembershipState, from: u64, to: u64) -> Vec<(u64, Transition)> {
    (from + 1..=to).flat_map(|s| state.tick(at(s)).into_iter().map(move |t| (s, t))).collect()
}

pub(super) fn state_of(state: &MembershipState, id: u128) -> NodeState {
    state.view().state(NodeId(id))
}

/// Applies an update the way a datanode does.
fn look(known: &mut BTreeMap<NodeId, NodeEntry>, version: &mut u64, state: &MembershipState) {
    match state.update_since(*version) {
        StateUpdate::Unchanged => {}
        StateUpdate::Increment(step) => {
            assert_eq!(step.from, *version, "an increment builds on what the node knows");
            *version = step.to;
            known.extend(step.nodes.into_iter().map(|n| (n.node, n)));
        }
        StateUpdate::Full(all) => {
            *version = all.version;
            *known = all.nodes.into_iter().map(|n| (n.node, n)).collect();
        }
    }
}

#[test]
fn a_silent_node_is_suspect_then_down_and_returns_by_speaking() {
    let mut state = empty();
    join(&mut state, at(0), &register(1, 5)).unwrap();
    let changes: Vec<_> = pass(&mut state, 0, 30).into_iter().map(|(s, t)| (s, t.from, t.to)).collect();
    let expected =
        [(10, Some(NodeState::Up), NodeState::Suspect), (30, Some(NodeState::Suspect), NodeState::Down)];
    assert_eq!(changes, expected);
    state.inventory_done(NodeId(1), Incarnation(5));
    let (heard, transition) = state.heartbeat(at(31), &heartbeat(1, 5, state.version)).unwrap();
    assert_eq!(transition.map(|t| t.to), Some(NodeState::Up));
    assert!(heard.inventory_wanted, "it may have missed deletes");
    assert!(state.tick(at(32)).is_empty());
}

#[test]
fn what_a_node_has_is_known_once_it_has_told_all_since_it_registered() {
    let mut state = empty();
    let told = |state: &MembershipState| state.view().node(NodeId(1)).is_some_and(|node| node.told);
    join(&mut state, at(0), &register(1, 5)).unwrap();
    assert!(!told(&state));
    state.inventory_done(NodeId(1), Incarnation(4));
    assert!(!told(&state), "that was another run");
    state.inventory_done(NodeId(1), Incarnation(5));
    assert!(told(&state));
    for run in [5, 6] {
        join(&mut state, at(1), &register(1, run)).unwrap();
        assert!(
            !told(&state),
            "its disk may have been changed, and an old copy of one counts its runs from there"
        );
    }
}

#[test]
fn a_node_heard_every_nine_seconds_never_flaps() {
    let mut state = empty();
    join(&mut state, at(0), &register(1, 5)).unwrap();
    let version = state.version;
    for second in 1..600 {
        if second % 9 == 0 {
            // Its connection is new each time, for it hears no answers: the same run registers again.
            join(&mut state, at(second), &register(1, 5)).unwrap();
        }
        assert!(state.tick(at(second)).is_empty(), "second {second}");
    }
    assert_eq!(state.version, version, "nothing changed, so nobody is told anything");
}

#[test]
fn a_coordinator_that_slept_blames_nobody() {
    let mut state = empty();
    join(&mut state, at(0), &register(1, 5)).unwrap();
    assert!(pass(&mut state, 0, 4).is_empty());
    assert!(state.tick(at(600)).is_empty(), "it was not listening");
    let changes: Vec<_> = pass(&mut state, 600, 640).into_iter().map(|(s, t)| (s, t.to)).collect();
    assert_eq!(
        changes,
        [(606, NodeState::Suspect), (626, NodeState::Down)],
        "four seconds were counted already"
    );
}

#[test]
fn after_a_restart_of_the_coordinator_known_nodes_are_suspect_before_they_are_down() {
    let mut state = empty();
    let Ok(Admission { record: one, .. }) = state.admit(at(0), None, &register(1, 5)) else { panic!() };
    let left = NodeRecord { name: "dn-2".into(), standing: Standing::Left, ..one.clone() };
    state = MembershipState::new(
        MembershipConfig::default(),
        CLUSTER,
        vec![(NodeId(1), one), (NodeId(2), left)],
        1,
        (at(100), 100_000),
    );
    assert_eq!((state_of(&state, 1), state_of(&state, 2)), (NodeState::Suspect, NodeState::Left));
    assert!(pass(&mut state, 100, 129).is_empty());
    let (heard, _) = state.heartbeat(at(129), &heartbeat(1, 5, 77)).unwrap();
    assert!(heard.register_again, "its load and run must be known first");
    assert_eq!(state.tick(at(130)).first().map(|t| t.to), Some(NodeState::Down));
    let again = state.admit(at(131), None, &register(1, 5)).unwrap();
    assert!(!again.news && again.lost.is_empty(), "nothing new to make durable");
    join(&mut state, at(131), &register(1, 5)).unwrap();
    assert_eq!(state_of(&state, 1), NodeState::Up);
}

#[test]
fn of_two_processes_with_one_id_the_newer_stays_and_the_older_is_told_to_stop() {
    let mut state = empty();
    join(&mut state, at(0), &register(1, 5)).unwrap();
    let copy = Register { address: "10.0.0.9:8081".into(), ..register(1, 6) };
    join(&mut state, at(1), &copy).unwrap();
    for second in 2..20 {
        let old = state.heartbeat(at(second), &heartbeat(1, 5, 0)).unwrap_err();
        assert_eq!(old.code, StatusCode::AlreadyExists);
        assert!(old.message.contains("10.0.0.9:8081") && !old.hint.is_empty(), "{old}");
        assert_eq!(
            state.admit(at(second), None, &register(1, 5)).unwrap_err().code,
            StatusCode::AlreadyExists
        );
        state.heartbeat(at(second), &heartbeat(1, 6, 0)).unwrap();
    }
    assert_eq!(state.view().node(NodeId(1)).unwrap().entry.address, "10.0.0.9:8081");
    assert!(state.leave(at(2), &Leave { node: NodeId(1), incarnation: Incarnation(5) }).is_none());
    assert_eq!(state_of(&state, 1), NodeState::Up, "the old one's goodbye is not the new one's");
    assert_eq!(state.nodes[&NodeId(1)].incarnation, Incarnation(6));
}

#[test]
fn the_same_run_from_another_address_waits_until_the_first_is_silent() {
    let mut state = empty();
    join(&mut state, at(0), &register(1, 5)).unwrap();
    let copy = Register { address: "10.0.0.9:8081".into(), ..register(1, 5) };
    assert_eq!(state.admit(at(29), None, &copy).unwrap_err().code, StatusCode::AlreadyExists);
    assert!(
        matches!(state.admit(at(30), None, &copy), Ok(Admission { news: true, record: r, .. }) if r.address == copy.address)
    );
    let restored = register(1, 4);
    assert_eq!(state.admit(at(29), None, &restored).unwrap_err().code, StatusCode::AlreadyExists);
    assert!(
        state.admit(at(30), None, &restored).is_ok(),
        "a directory restored from an old backup is not locked out"
    );
}

#[test]
fn strangers_are_refused_with_a_reason() {
    let mut state = empty();
    let refused =
        |state: &mut MembershipState, word: Register| state.admit(at(0), None, &word).unwrap_err().code;
    let other = Register { cluster: Some(ClusterId(1)), ..register(1, 1) };
    assert_eq!(refused(&mut state, other), StatusCode::WrongCluster);
    assert!(
        state.admit(at(0), None, &Register { cluster: None, ..register(1, 1) }).is_ok(),
        "a fresh disk may join"
    );
    for bad in [
        Register { name: "x".repeat(65), ..register(1, 1) },
        Register { name: String::new(), ..register(1, 1) },
        Register { address: String::new(), ..register(1, 1) },
        Register { zone: "a\nb".into(), ..register(1, 1) },
    ] {
        assert_eq!(refused(&mut state, bad), StatusCode::InvalidArgument);
    }
    for id in 0..NODES_MAX as u128 {
        join(&mut state, at(0), &register(id, 1)).unwrap();
    }
    assert_eq!(refused(&mut state, register(9_999, 1)), StatusCode::Unavailable);
    assert!(state.admit(at(0), None, &register(7, 2)).is_ok(), "a known node returns to a full cluster");
}

#[test]
fn a_full_state_of_the_largest_cluster_fits_into_one_answer() {
    let mut state = empty();
    for id in 0..NODES_MAX as u128 {
        let word = Register {
            node: NodeId(u128::MAX - id),
            name: format!("{}{id:0>8}", "n".repeat(NODE_NAME_BYTES_MAX - 8)),
            zone: "z".repeat(ZONE_BYTES_MAX),
            address: format!("{}{id:0>8}", "a".repeat(ADDRESS_BYTES_MAX - 8)),
            ..register(1, 1)
        };
        join(&mut state, at(0), &word).unwrap();
    }
    let bytes = dfs_wire::codec::encode(&state.full()).unwrap();
    assert!(bytes.len() + 1024 <= dfs_wire::limits::HEAD_BYTES_MAX, "{}", bytes.len());
}

#[test]
fn leaving_is_remembered_and_registration_undoes_it() {
    let mut state = empty();
    join(&mut state, at(0), &register(1, 5)).unwrap();
    let (record, _) = state.leave(at(2), &Leave { node: NodeId(1), incarnation: Incarnation(5) }).unwrap();
    assert_eq!((record.standing, record.since_ms), (Standing::Left, 2_000));
    assert!(pass(&mut state, 0, 100).is_empty(), "a node that left is not missed");
    assert!(state.heartbeat(at(101), &heartbeat(1, 5, 0)).unwrap().0.register_again, "a late heartbeat");
    assert!(
        matches!(state.admit(at(102), None, &register(1, 6)), Ok(Admission { news: true, record: r, .. }) if r.standing == Standing::Member)
    );
    join(&mut state, at(102), &register(1, 6)).unwrap();
    assert_eq!(state_of(&state, 1), NodeState::Up);
}

#[test]
fn updates_are_increments_while_history_lasts_and_whole_otherwise() {
    let mut state = empty();
    join(&mut state, at(0), &register(1, 1)).unwrap();
    let known = state.version;
    assert_eq!(state.update_since(known), StateUpdate::Unchanged);
    join(&mut state, at(0), &register(2, 1)).unwrap();
    let StateUpdate::Increment(step) = state.update_since(known) else { panic!() };
    assert_eq!(step.nodes.iter().map(|n| n.node).collect::<Vec<_>>(), [NodeId(2)]);
    assert!(matches!(state.update_since(0), StateUpdate::Full(_)), "none, or from an earlier reign");
    assert!(matches!(state.update_since(known + 50), StateUpdate::Full(_)), "from the future");
    for move_ in 0..HISTORY_MAX as u64 {
        let word = Register { address: format!("moved:{move_}"), ..register(2, move_ + 2) };
        join(&mut state, at(0), &word).unwrap();
    }
    assert!(matches!(state.update_since(known), StateUpdate::Full(_)), "too old");
    assert!(state.history.len() <= HISTORY_MAX);
}

#[derive(Debug, Clone)]
enum Step {
    Register(u128, u64),
    Heartbeat(u128),
    Leave(u128),
    Forget(u128),
    Wait(u64),
    /// The observer fetches what changed.
    Look,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u128..6, 1u64..4).prop_map(|(id, run)| Step::Register(id, run)),
        (0u128..6).prop_map(Step::Heartbeat),
        (0u128..6).prop_map(Step::Leave),
        (0u128..6).prop_map(Step::Forget),
        (0u64..15).prop_map(Step::Wait),
        Just(Step::Look),
    ]
}

proptest! {
    /// Whoever applies the updates, whenever it asks, ends with the state itself; versions never go back.
    #[test]
    fn an_observer_that_applies_updates_knows_the_cluster(
        steps in proptest::collection::vec(any_step(), 0..200),
    ) {
        let mut state = empty();
        let (mut known, mut version, mut now) = (BTreeMap::new(), 0, 0);
        let mut runs: BTreeMap<u128, u64> = BTreeMap::new();
        let mut last = 0;
        for step in steps {
            match step {
                Step::Register(id, run) => {
                    let newest = runs.get(&id).copied().unwrap_or(0);
                    let taken = join(&mut state, at(now), &register(id, run));
                    let gone = state_of(&state, id) == NodeState::Forgotten;
                    prop_assert!(taken.is_ok() || run < newest || gone);
                    if taken.is_ok() {
                        runs.insert(id, run);
                    }
                }
                Step::Heartbeat(id) => {
                    let run = runs.get(&id).copied().unwrap_or(1);
                    state.heartbeat(at(now), &heartbeat(id, run, version)).unwrap();
                }
                Step::Leave(id) => {
                    let run = runs.get(&id).copied().unwrap_or(1);
                    state.leave(at(now), &Leave { node: NodeId(id), incarnation: Incarnation(run) });
                }
                // Refused while it answers.
                Step::Forget(id) => drop(forget(&mut state, at(now), id)),
                Step::Wait(seconds) => {
                    now += seconds;
                    state.tick(at(now));
                }
                Step::Look => look(&mut known, &mut version, &state),
            }
            prop_assert!(state.version >= last);
            last = state.version;
        }
        look(&mut known, &mut version, &state);
        known.retain(|_, n| n.state != NodeState::Forgotten);
        prop_assert_eq!(known.into_values().collect::<Vec<_>>(), state.full().nodes);
    }
}

#[test]
fn what_a_node_says_of_its_health_is_bounded_and_lasts_until_it_says_otherwise() {
    let mut state = empty();
    join(&mut state, at(0), &register(1, 1)).unwrap();
    let (message, hint) = (format!("a\nb{}", "ü".repeat(1_000)), "h".repeat(1_000));
    let told = HealthFinding::new("MASS_DELETE_STOPPED", HealthLevel::Error, message, &hint);
    let word = Heartbeat { findings: vec![told; NODE_FINDINGS_MAX + 3], ..heartbeat(1, 1, 0) };
    state.heartbeat(at(2), &word).unwrap();
    let findings = state.view().nodes[0].findings.clone();
    assert_eq!((findings.len(), findings[0].code.as_str()), (NODE_FINDINGS_MAX, "MASS_DELETE_STOPPED"));
    assert!(findings[0].message.starts_with("abü") && findings[0].message.len() <= FINDING_BYTES_MAX.1);
    assert_eq!(findings[0].hint.len(), FINDING_BYTES_MAX.2);
    state.heartbeat(at(4), &heartbeat(1, 1, 0)).unwrap();
    assert_eq!(state.view().nodes[0].findings, []);
}

fn standing(state: &MembershipState, id: u128) -> (NodeState, u64, Option<u64>) {
    let view = state.view();
    let node = view.node(NodeId(id)).unwrap();
    (node.entry.state, node.since_ms, node.grace_until_ms)
}

#[test]
fn the_picture_says_since_when_a_node_is_as_it_is() {
    let mut state = empty();
    join(&mut state, at(3), &register(1, 5)).unwrap();
    join(&mut state, at(3), &register(2, 5)).unwrap();
    state.leave(at(5), &Leave { node: NodeId(2), incarnation: Incarnation(5) }).unwrap();
    assert_eq!(standing(&state, 1), (NodeState::Up, 3_000, None));
    assert_eq!(standing(&state, 2), (NodeState::Left, 5_000, Some(605_000)), "ten minutes of maintenance");
    pass(&mut state, 3, 20);
    assert_eq!(standing(&state, 1), (NodeState::Suspect, 13_000, None));
    pass(&mut state, 20, 50);
    assert_eq!(standing(&state, 1), (NodeState::Down, 33_000, None));
    join(&mut state, at(60), &register(2, 6)).unwrap();
    assert_eq!(standing(&state, 2), (NodeState::Up, 60_000, None), "it came back");
}

#[test]
fn a_lost_node_and_a_forgotten_one_are_not_taken_in_again() {
    let mut state = empty();
    for id in 1..=3 {
        join(&mut state, at(0), &register(id, 5)).unwrap();
    }
    let known = state.version;
    let refused = |state: &mut MembershipState, id| forget(state, at(1), id).unwrap_err().code;
    assert_eq!(refused(&mut state, 1), StatusCode::PreconditionFailed, "it is up");
    assert_eq!(refused(&mut state, 9), StatusCode::NotFound);
    let (record, transition) = state.mark_lost(at(2), NodeId(2)).unwrap();
    assert_eq!((record.standing, record.since_ms, transition.to), (Standing::Lost, 2_000, NodeState::Lost));
    assert_eq!(state.mark_lost(at(3), NodeId(2)), None, "once is enough");
    state.leave(at(3), &Leave { node: NodeId(1), incarnation: Incarnation(5) }).unwrap();
    assert_eq!(forget(&mut state, at(4), 1).unwrap().unwrap().to, NodeState::Forgotten);
    for id in 1..=2 {
        let beat = state.heartbeat(at(5), &heartbeat(id, 5, 0)).unwrap().0;
        assert!(beat.register_again, "it is told nothing else");
        let refused = state.admit(at(5), None, &register(id, 6)).unwrap_err();
        assert!(refused.code == StatusCode::NotAdmitted && !refused.hint.is_empty(), "{refused}");
        assert!(state.leave(at(5), &Leave { node: NodeId(id), incarnation: Incarnation(5) }).is_none());
    }
    assert!(pass(&mut state, 5, 100).iter().all(|(_, t)| t.node == NodeId(3)), "silence changes neither");
    let (view, told) = (state.view(), state.full());
    assert_eq!(view.nodes.iter().map(|n| n.entry.node.0).collect::<Vec<_>>(), [2, 3]);
    assert_eq!((view.state(NodeId(1)), view.name(NodeId(1))), (NodeState::Forgotten, "dn-1".to_owned()));
    assert_eq!(told.nodes.len(), 2, "a forgotten node is no part of the cluster");
    let StateUpdate::Increment(step) = state.update_since(known) else { panic!() };
    assert!(step.nodes.iter().any(|n| n.state == NodeState::Forgotten), "those who knew it are told");
    let states = view.nodes.iter().map(|n| n.entry.state);
    assert!(states.eq([NodeState::Lost, NodeState::Down]));
}

#[test]
fn a_forgotten_node_frees_its_place() {
    let mut state = empty();
    for id in 0..NODES_MAX as u128 {
        join(&mut state, at(0), &register(id, 1)).unwrap();
    }
    state.leave(at(1), &Leave { node: NodeId(7), incarnation: Incarnation(1) }).unwrap();
    assert_eq!(state.admit(at(2), None, &register(9_999, 1)).unwrap_err().code, StatusCode::Unavailable);
    forget(&mut state, at(2), 7).unwrap();
    join(&mut state, at(2), &register(9_999, 1)).unwrap();
    assert_eq!(state.full().nodes.len(), NODES_MAX);
}

#[test]
fn a_draining_node_drains_on_after_a_silence() {
    let mut state = empty();
    let Ok(Admission { record, .. }) = state.admit(at(0), None, &register(1, 5)) else { panic!() };
    let record = NodeRecord { standing: Standing::Draining, ..record };
    state =
        MembershipState::new(MembershipConfig::default(), CLUSTER, vec![(NodeId(1), record)], 1, (at(0), 0));
    assert_eq!(state_of(&state, 1), NodeState::Suspect);
    join(&mut state, at(1), &register(1, 6)).unwrap();
    assert_eq!(state_of(&state, 1), NodeState::Draining);
    pass(&mut state, 1, 40);
    assert_eq!(state_of(&state, 1), NodeState::Down, "what cannot be read is not called draining");
    state.heartbeat(at(41), &heartbeat(1, 6, 0)).unwrap();
    assert_eq!(state_of(&state, 1), NodeState::Draining);
}

/// Forgets a node as an operator does, with a writer that takes no time.
pub(super) fn forget(
    state: &mut MembershipState,
    now: MonoTime,
    id: u128,
) -> Result<Option<Transition>, Status> {
    state.begin_forget(now, NodeId(id))?;
    Ok(state.forget(now, NodeId(id)))
}
