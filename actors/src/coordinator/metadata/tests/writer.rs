//! The writer: replies after the commit, group commit, failures that are told honestly.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use dfs_wire::status::Status;

use super::*;
use crate::budgets::{WRITER_MAILBOX, WRITER_QUEUE_MAX};
use crate::coordinator::Unwrapped;
use crate::coordinator::metadata::model::time::ReignClock;
use crate::coordinator::metadata::table::store::{Batch, MetaStoreError, MetadataSnapshot, StoreSpace};
use crate::coordinator::metadata::writer::StoreTrouble;
use crate::coordinator::metadata::writer::{
    CommitLane, Committer, GROUP_MAX, GroupEnd, InlineLane, LaneJob, MetadataWriter, MutationResult,
    WriterArgs, WriterMetrics, WriterMsg,
};
use crate::env::Env;
use crate::supervisor::{ActorTree, Addr, ChildSpec, Exit, Root, SupervisorSpec};

const FAIL_BEFORE: u8 = 1;
const FAIL_AFTER: u8 = 2;

/// A store whose next commit fails, before or after it happened, and that panics when asked for an entry `boom`.
#[derive(Default)]
struct FaultyStore {
    inner: MemoryStore,
    fail: AtomicU8,
    closed: AtomicBool,
    unreadable: Arc<AtomicBool>,
    tight: AtomicBool,
}

struct FaultySnapshot(Box<dyn MetadataSnapshot>, Arc<AtomicBool>);

impl MetadataSnapshot for FaultySnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, MetaStoreError> {
        assert!(!key.ends_with(b"boom"), "injected panic");
        if self.1.load(Ordering::SeqCst) {
            return Err(MetaStoreError::Io { action: "reading", cause: "injected".to_owned() });
        }
        self.0.get(key)
    }

    fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<Pair>, MetaStoreError> {
        self.0.scan(range, limit)
    }
}

impl MetadataStore for FaultyStore {
    fn snapshot(&self) -> Result<Box<dyn MetadataSnapshot>, MetaStoreError> {
        match self.closed.load(Ordering::SeqCst) {
            true => Err(MetaStoreError::Poisoned { cause: "injected".to_owned() }),
            false => Ok(Box::new(FaultySnapshot(self.inner.snapshot()?, Arc::clone(&self.unreadable)))),
        }
    }

    fn commit(&self, batches: &[Batch]) -> Result<Vec<BatchOutcome>, MetaStoreError> {
        let fail = self.fail.swap(0, Ordering::SeqCst);
        let outcomes = if fail == FAIL_BEFORE { Vec::new() } else { self.inner.commit(batches)? };
        if fail == 0 {
            return Ok(outcomes);
        }
        self.closed.store(true, Ordering::SeqCst);
        Err(MetaStoreError::Io { action: "committing", cause: "injected".to_owned() })
    }

    fn reopen(&self) -> Result<(), MetaStoreError> {
        self.closed.store(false, Ordering::SeqCst);
        self.unreadable.store(false, Ordering::SeqCst);
        Ok(())
    }

    fn space(&self) -> Option<StoreSpace> {
        let available = if self.tight.load(Ordering::SeqCst) { 9 } else { 11 };
        Some(StoreSpace { available, reserve: 10, used: 5 })
    }
}

/// Holds jobs until the test lets them run.
#[derive(Default)]
struct HeldLane(Mutex<Vec<LaneJob>>);

impl HeldLane {
    fn release(&self) {
        let jobs: Vec<_> = self.0.lock().unwrap().drain(..).collect();
        jobs.into_iter().for_each(|job| job());
    }

    fn held(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl CommitLane for HeldLane {
    fn run(&self, job: LaneJob) {
        self.0.lock().unwrap().push(job);
    }
}

struct Rig {
    store: Arc<FaultyStore>,
    metrics: Arc<WriterMetrics>,
    writer: Addr<WriterMsg>,
    time: ReignClock,
    root: Root,
}

async fn rig(lane: Arc<dyn CommitLane>) -> Rig {
    let store = Arc::new(FaultyStore::default());
    let reign = cluster::open(store.as_ref(), ClusterId(1), &KEY, &Unwrapped, 1).unwrap();
    let metrics = Arc::new(WriterMetrics::default());
    let committer = Committer::new(store.clone(), &reign, Policy::default(), metrics.clone()).unwrap();
    let env = Env::for_tests(1);
    let time = ReignClock::new(env.clock.clone());
    let args = WriterArgs { committer: Arc::new(Mutex::new(committer)), lane, time: time.clone() };
    let writer = Addr::new(&env.clock, WRITER_MAILBOX);
    let spec = SupervisorSpec::one_for_one(&env.clock, "coordinator")
        .child(ChildSpec::new::<MetadataWriter>("metadata-writer", &writer, args));
    let root = Root::start(env, ActorTree::new("test"), spec).await.unwrap();
    Rig { store, metrics, writer, time, root }
}

fn mkdir(p: &str) -> Mutation {
    Mutation::Mkdir(Mkdir { path: path(p), parents: false })
}

impl Rig {
    async fn ask(&self, op: u128, mutation: Mutation) -> MutationResult {
        let asked = self.writer.ask(WriterMsg::mutate(OpId(op), mutation), Duration::from_secs(5)).await;
        asked.expect("an answer")
    }

    fn ask_later(&self, op: u128, mutation: Mutation) -> tokio::task::JoinHandle<MutationResult> {
        let writer = self.writer.clone();
        tokio::spawn(async move {
            let question = WriterMsg::mutate(OpId(op), mutation);
            writer.ask(question, Duration::from_secs(60)).await.expect("an answer")
        })
    }

    fn exists(&self, p: &str) -> bool {
        MetadataReader::new(self.store.clone()).stat(&path(p)).is_ok()
    }
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(200)).await;
}

#[tokio::test(start_paused = true)]
async fn a_change_is_answered_after_its_commit_and_seen_by_the_next_read() {
    let lane = Arc::new(HeldLane::default());
    let rig = rig(lane.clone()).await;
    let asked = rig.ask_later(1, mkdir("/a"));
    settle().await;
    assert!(!asked.is_finished() && !rig.exists("/a"));
    lane.release();
    assert_eq!(asked.await.unwrap(), Ok(Outcome::Done));
    assert!(rig.exists("/a"));
}

#[tokio::test(start_paused = true)]
async fn what_comes_during_a_commit_shares_the_next_one() {
    let lane = Arc::new(HeldLane::default());
    let rig = rig(lane.clone()).await;
    let asked: Vec<_> = (0..GROUP_MAX as u128).map(|i| rig.ask_later(i, mkdir(&format!("/{i}")))).collect();
    settle().await;
    assert_eq!(lane.held(), 1, "one group at a time");
    lane.release();
    settle().await;
    lane.release();
    for answer in asked {
        assert_eq!(answer.await.unwrap(), Ok(Outcome::Done));
    }
    assert_eq!(rig.metrics.groups.load(Ordering::Relaxed), 2);
    assert_eq!(rig.metrics.batches.load(Ordering::Relaxed), GROUP_MAX as u64);
}

#[tokio::test(start_paused = true)]
async fn a_failed_commit_is_an_unknown_outcome_that_the_same_operation_resolves() {
    let rig = rig(Arc::new(InlineLane)).await;
    for (op, fail) in [(1u128, FAIL_BEFORE), (2, FAIL_AFTER)] {
        let p = format!("/{op}");
        rig.store.fail.store(fail, Ordering::SeqCst);
        let unknown: Status = rig.ask(op, mkdir(&p)).await.unwrap_err();
        assert_eq!(unknown.code, StatusCode::OutcomeUnknown);
        assert_eq!(rig.exists(&p), fail == FAIL_AFTER, "the store is open again");
        assert_eq!(rig.ask(op, mkdir(&p)).await, Ok(Outcome::Done), "told what came of it");
        assert!(rig.exists(&p));
    }
    assert_eq!(rig.metrics.reopened.load(Ordering::Relaxed), 2);
    rig.store.closed.store(true, Ordering::SeqCst);
    assert_eq!(
        rig.ask(3, mkdir("/3")).await.unwrap_err().code,
        StatusCode::Unavailable,
        "definite: nothing was done"
    );
    assert_eq!(rig.ask(3, mkdir("/3")).await, Ok(Outcome::Done), "reopened before the next group");
    rig.store.unreadable.store(true, Ordering::SeqCst);
    assert_eq!(rig.ask(4, mkdir("/4")).await.unwrap_err().code, StatusCode::Unavailable);
    assert_eq!(rig.ask(4, mkdir("/4")).await, Ok(Outcome::Done), "and so is one that failed to read");
}

#[tokio::test(start_paused = true)]
async fn on_a_nearly_full_disk_nothing_new_is_taken_and_deletes_go_on() {
    let rig = rig(Arc::new(InlineLane)).await;
    rig.ask(1, mkdir("/a")).await.unwrap();
    rig.store.tight.store(true, Ordering::SeqCst);
    assert_eq!(rig.ask(2, mkdir("/b")).await.unwrap_err().code, StatusCode::NoSpace);
    assert_eq!(rig.ask(1, mkdir("/a")).await, Ok(Outcome::Done), "it was done before");
    assert!(matches!(rig.metrics.health.trouble(0), Some(StoreTrouble::Tight(_))));
    let delete = Delete { path: path("/a"), recursive: true, skip_trash: false, if_match: None };
    assert!(rig.ask(3, Mutation::Delete(delete)).await.is_ok());
    rig.store.tight.store(false, Ordering::SeqCst);
    assert_eq!(rig.ask(2, mkdir("/b")).await, Ok(Outcome::Done), "the refusal was no outcome to keep");
    assert_eq!(rig.metrics.health.trouble(0), None);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_one_change_is_its_failure_alone() {
    let lane = Arc::new(HeldLane::default());
    let rig = rig(lane.clone()).await;
    let first = rig.ask_later(1, mkdir("/first"));
    settle().await;
    let asked: Vec<_> =
        ["/a", "/boom", "/b"].iter().zip(2u128..).map(|(p, op)| rig.ask_later(op, mkdir(p))).collect();
    settle().await;
    lane.release();
    settle().await;
    lane.release();
    assert_eq!(first.await.unwrap(), Ok(Outcome::Done));
    let mut answers = Vec::new();
    for answer in asked {
        answers.push(answer.await.unwrap().map_err(|status| status.code));
    }
    assert_eq!(answers, [Ok(Outcome::Done), Err(StatusCode::Internal), Ok(Outcome::Done)]);
    assert!(rig.exists("/a") && rig.exists("/b"));
    assert_eq!(rig.metrics.panicked.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_says_so_and_did_nothing() {
    let lane = Arc::new(HeldLane::default());
    let rig = rig(lane.clone()).await;
    let asked: Vec<_> =
        (0..WRITER_QUEUE_MAX as u128 + 2).map(|i| rig.ask_later(i, mkdir(&format!("/{i}")))).collect();
    settle().await;
    while lane.held() > 0 {
        lane.release();
        settle().await;
    }
    let mut busy = 0;
    for (i, answer) in asked.into_iter().enumerate() {
        match answer.await.unwrap() {
            Ok(_) => assert!(rig.exists(&format!("/{i}"))),
            Err(status) => {
                assert_eq!(status.code, StatusCode::Busy);
                assert!(!rig.exists(&format!("/{i}")));
                busy += 1;
            }
        }
    }
    assert_eq!(busy, 1, "one in the lane, a queue full, and one too many");
}

#[tokio::test(start_paused = true)]
async fn a_restarted_writer_goes_on_after_the_group_in_hand() {
    let lane = Arc::new(HeldLane::default());
    let rig = rig(lane.clone()).await;
    let in_hand = rig.ask_later(1, mkdir("/in-hand"));
    settle().await;
    // Any failure of the actor: what is in the lane lives on.
    rig.writer.try_send(WriterMsg::GroupDone(GroupEnd::Deposed)).unwrap();
    settle().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let next = rig.ask_later(2, mkdir("/in-hand/next"));
    settle().await;
    assert_eq!(lane.held(), 2);
    lane.release();
    assert_eq!(in_hand.await.unwrap(), Ok(Outcome::Done));
    assert_eq!(next.await.unwrap(), Ok(Outcome::Done), "it started from the state that the group left");
    assert!(rig.exists("/in-hand/next"));
}

#[tokio::test(start_paused = true)]
async fn a_deposed_writer_changes_nothing_more_and_gives_up() {
    let rig = rig(Arc::new(InlineLane)).await;
    rig.ask(1, mkdir("/a")).await.unwrap();
    cluster::open(rig.store.as_ref(), ClusterId(1), &KEY, &Unwrapped, 2).unwrap();
    for op in 2..200u128 {
        let Ok(answer) =
            rig.writer.ask(WriterMsg::mutate(OpId(op), mkdir("/b")), Duration::from_secs(30)).await
        else {
            break;
        };
        assert_eq!(answer.unwrap_err().code, StatusCode::StaleEpoch);
    }
    assert!(matches!(rig.root.wait().await, Exit::Escalated(_)));
    assert!(!rig.exists("/b"));
}

#[tokio::test(start_paused = true)]
async fn a_reign_goes_on_from_the_time_of_the_one_before_whatever_the_wall_clock_says() {
    let rig = rig(Arc::new(InlineLane)).await;
    let time = rig.time.clone();
    let first = time.now_ms();
    // Idle: steps of garbage collection find nothing to do, and yet the time is kept.
    for op in 1..=10 {
        tokio::time::sleep(Duration::from_secs(60)).await;
        rig.ask(op, Mutation::Step(Step::Release)).await.unwrap();
    }
    let passed = time.now_ms() - first;
    assert!((600_000..610_000).contains(&passed), "{passed}");
    let day_ahead = first + 24 * 60 * 60 * 1000;
    let next = cluster::open(rig.store.as_ref(), ClusterId(1), &KEY, &Unwrapped, day_ahead).unwrap();
    let lag = time.now_ms() - next.time_ms;
    assert!(lag < 1_000, "{lag} ms behind, and not a day ahead");
}
