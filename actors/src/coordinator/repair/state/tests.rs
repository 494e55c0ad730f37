//! The machine of repair, by times and chunks that are written down.

use super::*;

const CONFIG: RepairConfig = RepairConfig {
    grace: Duration::from_secs(300),
    settle_for: Duration::from_secs(600),
    rest: Duration::from_secs(5),
    errands_max: 3,
    errands_per_node_max: 1,
    bytes_per_second: u64::MAX,
    retry_min: Duration::from_secs(2),
    retry_max: Duration::from_secs(8),
};

fn at(seconds: u64) -> MonoTime {
    MonoTime::ZERO + Duration::from_secs(seconds)
}

fn found(chunks: &[(u8, u128)], next: Option<&[u8]>) -> Found {
    let chunks = chunks.iter().map(|(good, id)| (*good, ChunkId(*id))).collect();
    Found { chunks, next: next.map(<[u8]>::to_vec), ..Found::default() }
}

/// A whole chunk is copied from this node.
fn on(node: u128) -> Effort {
    Effort { nodes: vec![NodeId(node)], bytes: CHUNK_COST, copies: true }
}

/// A machine that has looked once, and found these.
fn after_a_look(chunks: &[(u8, u128)]) -> RepairState {
    let mut state = RepairState::new(CONFIG, at(0));
    state.begin(at(0), true);
    assert!(state.look().is_some());
    state.found(at(0), found(chunks, None));
    for _ in [Range::Groups, Range::Wished] {
        assert!(state.look().is_some());
        state.found(at(0), found(&[], None));
    }
    state
}

#[test]
fn nothing_is_looked_for_before_all_nodes_were_heard_of_or_the_time_is_over() {
    let mut state = RepairState::new(CONFIG, at(0));
    state.begin(at(599), false);
    assert_eq!(state.look(), None);
    state.begin(at(600), false);
    assert_eq!(state.look(), Some(Look { range: Range::Risk, after: vec![] }));
}

#[test]
fn a_look_reads_each_range_to_its_end_and_rests_when_all_is_done() {
    let mut state = RepairState::new(CONFIG, at(0));
    state.begin(at(0), true);
    let look = |state: &mut RepairState| state.look().map(|look| (look.range, look.after));
    assert_eq!(look(&mut state), Some((Range::Risk, vec![])));
    assert_eq!(look(&mut state), None, "one read at a time");
    state.found(at(0), found(&[(1, 5)], Some(b"k")));
    assert_eq!(look(&mut state), Some((Range::Risk, b"k".to_vec())));
    state.found(at(0), found(&[], None));
    assert_eq!(look(&mut state), Some((Range::Groups, vec![])));
    state.found(at(0), Found { nodes: BTreeSet::from([NodeId(7)]), ..Found::default() });
    assert_eq!(look(&mut state), Some((Range::Wished, vec![])));
    state.found(at(0), found(&[], None));
    assert_eq!(look(&mut state), Some((Range::On(NodeId(7)), vec![])));
    state.found(at(0), found(&[(2, 5)], None));
    assert_eq!((look(&mut state), state.next(at(0))), (None, Some(ChunkId(5))));
    assert!(state.begin_errand(at(0), (2, ChunkId(5)), on(1)));
    state.ended(at(1), ChunkId(5), ErrandEnd::Done);
    while let Some(chunk) = state.next(at(1)) {
        state.ended(at(1), chunk, ErrandEnd::Done);
    }
    state.begin(at(5), true);
    assert_eq!(look(&mut state), None, "it rests");
    state.begin(at(6), true);
    assert!(look(&mut state).is_some());
}

#[test]
fn the_most_endangered_comes_first_and_so_many_at_once() {
    let mut state = after_a_look(&[(2, 1), (1, 9), (0, 8), (2, 0)]);
    assert_eq!(state.batch(at(0)), [ChunkId(8), ChunkId(9), ChunkId(0), ChunkId(1)]);
}

/// Chunks that are popped and tried to begin on these nodes; those that began.
fn tried(state: &mut RepairState, now: u64, effort: impl Fn(u128) -> (u8, Effort)) -> Vec<u128> {
    let mut begun = Vec::new();
    while let Some(ChunkId(chunk)) = state.next(at(now)) {
        let (urgency, effort) = effort(chunk);
        if state.begin_errand(at(now), (urgency, ChunkId(chunk)), effort) {
            begun.push(chunk);
        }
    }
    begun
}

#[test]
fn a_chunk_whose_node_has_no_room_waits_and_holds_up_no_other_node() {
    let mut state = after_a_look(&[(1, 1), (1, 2), (1, 3), (1, 4), (2, 5)]);
    let effort = |chunk| (if chunk == 5 { 2 } else { 1 }, on(if chunk == 5 { 9 } else { 4 }));
    assert_eq!(
        tried(&mut state, 0, effort),
        [1, 5],
        "one chunk a node, and however many wait for the slow one"
    );
    assert_eq!(state.load(), (3, 2));
    state.ended(at(1), ChunkId(5), ErrandEnd::Done);
    assert_eq!(state.next(at(1)), None, "nobody who waits is helped by that");
    state.ended(at(1), ChunkId(1), ErrandEnd::Done);
    assert_eq!(state.batch(at(1)), [ChunkId(2)], "only as many are looked at as there is room for");
}

#[test]
fn many_small_chunks_do_not_pass_a_large_one_by_that_is_in_greater_danger() {
    let small: Vec<_> = (10..30).map(|id| (2, id)).collect();
    let mut state = after_a_look(&small);
    let effort = |chunk| match chunk {
        1 => (1, on(4)),
        _ => (2, Effort { bytes: 1, ..on(4) }),
    };
    assert_eq!(tried(&mut state, 0, effort), [10, 11, 12, 13, 14, 15, 16, 17]);
    state.found(at(0), found(&[(1, 1)], None));
    assert_eq!(tried(&mut state, 0, effort), Vec::<u128>::new());
    // As the small ones end, nothing takes their room but what is in greater danger.
    for chunk in 10..17 {
        state.ended(at(1), ChunkId(chunk), ErrandEnd::Done);
        state.found(at(1), found(&[(2, 100 + chunk)], None));
        assert_eq!(tried(&mut state, 1, effort), Vec::<u128>::new());
    }
    state.ended(at(1), ChunkId(17), ErrandEnd::Done);
    assert_eq!(tried(&mut state, 1, effort), [1]);
    state.ended(at(2), ChunkId(1), ErrandEnd::Done);
    assert_eq!(tried(&mut state, 2, effort).len(), 8);
}

#[test]
fn what_waits_for_the_budget_is_looked_at_as_time_passes_and_stops_nothing_that_copies_nothing() {
    let config = RepairConfig { bytes_per_second: CHUNK_COST / 2, ..CONFIG };
    let mut state = RepairState::new(config, at(0));
    state.found(at(0), found(&[(1, 1), (1, 2), (2, 3)], None));
    let effort = |chunk: u128| match chunk {
        3 => (2, Effort { copies: false, ..on(3) }),
        _ => (1, on(chunk)),
    };
    assert_eq!(tried(&mut state, 0, effort), [1, 3]);
    state.passes(at(0));
    assert_eq!(tried(&mut state, 0, effort), Vec::<u128>::new());
    state.passes(at(1));
    assert_eq!(tried(&mut state, 1, effort), [2]);
}

#[test]
fn a_node_that_is_too_busy_is_asked_again_soon_each_time() {
    let mut state = after_a_look(&[]);
    for now in [0, 2, 4, 6] {
        state.found(at(now), found(&[(1, 1)], None));
        assert_eq!(state.next(at(now)), Some(ChunkId(1)), "{now}");
        state.ended(at(now), ChunkId(1), ErrandEnd::Refused);
        state.found(at(now + 1), found(&[(1, 1)], None));
        assert_eq!(state.next(at(now + 1)), None);
    }
}

#[test]
fn while_much_is_worked_off_what_is_in_greater_danger_is_found_all_the_same() {
    let mut state = after_a_look(&[(200, 1), (200, 2)]);
    assert_eq!(state.next(at(1)), Some(ChunkId(1)));
    // There is nothing more to read.
    assert_eq!(state.look(), None);
    state.begin(at(59), true);
    assert_eq!(state.look(), None);
    state.begin(at(60), true);
    assert!(state.look().is_some());
    state.found(at(60), found(&[(1, 9)], None));
    assert_eq!(state.next(at(60)), Some(ChunkId(9)));
}

#[test]
fn what_failed_waits_longer_each_time() {
    let mut state = after_a_look(&[]);
    let mut wait = |now: u64| {
        state.found(at(now), found(&[(1, 1)], None));
        let waits = state.next(at(now)).is_none();
        if !waits {
            state.ended(at(now), ChunkId(1), ErrandEnd::Failed);
        }
        waits
    };
    let tried: Vec<u64> = (0..40).filter(|now| !wait(*now)).collect();
    assert_eq!(tried, [0, 2, 6, 14, 22, 30, 38], "2, 4, 8 seconds, and no longer");
}

#[test]
fn the_queue_is_bounded_and_keeps_the_most_endangered() {
    let many: Vec<_> = (0..REPAIRS_WAITING_MAX as u128).map(|id| (2, id)).collect();
    let mut state = after_a_look(&many);
    state.found(at(0), found(&[(1, u128::MAX)], None));
    assert_eq!(state.queue.len(), REPAIRS_WAITING_MAX);
    assert_eq!(state.next(at(0)), Some(ChunkId(u128::MAX)));
}
