//! The scrub, running over fakes, in virtual time.

use dfs_wire::message::admin::{ScrubPace, ScrubPhase};

use super::*;
use crate::datanode::fakes::{Rig, SCRUB_PERIOD, key};

const PERIOD_S: u64 = SCRUB_PERIOD.as_secs();

impl Rig {
    async fn scrub_now(&self, pace: ScrubPace) -> u64 {
        let start = |reply| ScrubMsg::Start(pace, reply);
        self.scrub.ask(start, Duration::from_secs(1)).await.unwrap()
    }

    fn read(&self) -> Vec<u128> {
        self.store.verified.lock().unwrap().iter().map(|key| key.chunk.0).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn everything_is_read_within_the_period_and_a_bad_copy_is_told_and_left_alone() {
    let rig = Rig::start(0..4).await;
    rig.store.bad.lock().unwrap().insert(key(2));
    rig.pass(PERIOD_S - 1).await;
    let read = rig.read();
    assert!((0..4).all(|id| read.contains(&id)), "{read:?}");
    assert_eq!(rig.told().corrupt.iter().copied().collect::<Vec<_>>(), [key(2)]);
    assert!(rig.store.holds(key(2)), "it may be the last one");
    let status = rig.status.borrow().clone();
    assert_eq!((status.phase, status.doubted), (ScrubPhase::Resting, 1));
    assert_eq!(status.last.map(|last| (last.round, last.chunks, last.bad)), Some((1, 4, 1)));
    // The report may have been lost on its way: it is made again while the copy is there.
    rig.coordinator.0.lock().unwrap().corrupt.clear();
    rig.pass(700).await;
    assert!(rig.told().corrupt.contains(&key(2)));
    rig.store.quarantine(vec![key(2)]).await;
    rig.pass(700).await;
    assert_eq!(rig.status.borrow().doubted, 0);
}

#[tokio::test(start_paused = true)]
async fn a_round_that_is_asked_for_begins_at_once_and_a_restart_goes_on_at_its_cursor() {
    let rig = Rig::start(0..1_000).await;
    rig.pass(2).await;
    assert_eq!(rig.scrub_now(ScrubPace::Unpaced).await, 2);
    rig.pass(1).await;
    let last = rig.status.borrow().last.expect("it has ended");
    assert_eq!((last.round, last.chunks), (2, 1_000));
    let before = rig.read().len();
    rig.panic("scrub").await;
    assert_eq!(rig.read().len(), before, "the round has ended, and the next one is days away");
    let status = rig.status.borrow().clone();
    assert_eq!((status.last, status.round.round), (Some(last), 2));
}

#[tokio::test(start_paused = true)]
async fn a_scrub_that_does_not_get_on_is_overdue() {
    let rig = Rig::start(0..4).await;
    rig.pass(1).await;
    let cursor = rig.store.cursor.lock().unwrap().clone().expect("a round has begun");
    let late = ScrubCursor { since_ms: 2 * PERIOD_S * 1000, ..cursor };
    *rig.store.cursor.lock().unwrap() = Some(late);
    rig.panic("scrub").await;
    rig.pass(70).await;
    assert_eq!(rig.told().findings, ["SCRUB_OVERDUE"]);
    rig.scrub_now(ScrubPace::Budget).await;
    rig.pass(10).await;
    assert_eq!(rig.told().findings, Vec::<String>::new());
}
