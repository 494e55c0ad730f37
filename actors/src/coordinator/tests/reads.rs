//! Where the metadata is read, and who waits for whom.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use dfs_wire::handshake::{ClientPeer, Hello, Peer, Welcome};
use dfs_wire::id::ClientId;
use dfs_wire::message::inventory::InventoryConfirm;
use dfs_wire::version::ProtocolVersion;

use super::*;
use crate::coordinator::metadata::reader::MetadataReads;
use crate::coordinator::metadata::table::error::MetaError;
use crate::coordinator::metadata::table::store::{
    Batch, BatchOutcome, KeyRange, MetaStoreError, MetadataSnapshot, Pair,
};
use crate::peer::session::Service;

/// A disk of the metadata that does not answer: what is to be read waits, and no more of it than two.
#[derive(Default)]
struct Hanging(Mutex<Option<Waiting>>);

/// Which reads hang; `None` for all of them.
#[derive(Default)]
struct Waiting(Option<ReadFor>, Vec<LaneJob>);

impl Hanging {
    fn hang(&self, what: Option<ReadFor>) {
        *self.0.lock().unwrap() = Some(Waiting(what, Vec::new()));
    }

    /// It answers again.
    fn answer(&self) {
        let waiting = self.0.lock().unwrap().take();
        waiting.into_iter().flat_map(|Waiting(_, jobs)| jobs).for_each(|job| job());
    }
}

impl ReadLane for Hanging {
    fn run(&self, what: ReadFor, job: LaneJob) -> Result<(), LaneFull> {
        let mut waiting = self.0.lock().unwrap();
        match waiting.as_mut().filter(|Waiting(which, _)| which.is_none_or(|which| which == what)) {
            None => {
                drop(waiting);
                job();
            }
            Some(Waiting(_, jobs)) if jobs.len() < 2 => jobs.push(job),
            Some(_) => return Err(LaneFull),
        }
        Ok(())
    }

    fn waiting(&self) -> usize {
        self.0.lock().unwrap().as_ref().map_or(0, |Waiting(_, jobs)| jobs.len())
    }
}

impl Rig {
    async fn hanging() -> (Self, Arc<Hanging>) {
        let lane = Arc::new(Hanging::default());
        let rig = Self::reading_on(Arc::new(MemoryStore::new()), Env::for_tests(1), lane.clone()).await;
        rig.register(1).await;
        (rig, lane)
    }

    async fn stat(&self) -> Result<MetadataResponse, Status> {
        self.meta(MetadataRequest::Stat(PathOnly { path: path("/") })).await
    }

    async fn welcome(&self) -> Welcome {
        let peer = Peer::Client(ClientPeer { client: ClientId(1), name: "c".into() });
        let hello = Hello { cluster: None, peer, credentials: None, features: 0, connection_credit: 0 };
        self.service.welcome(&hello, ProtocolVersion::HIGHEST, 1).await.unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_that_hangs_ends_with_its_deadline_and_holds_up_nobody_else() {
    let (rig, lane) = Rig::hanging().await;
    lane.hang(None);
    let began = rig.env.now();
    let (read, other) = tokio::join!(rig.stat(), rig.ask(Request::Admin(AdminRequest::NodeInfo)));
    assert!(other.is_ok());
    assert_eq!(read.unwrap_err().code, StatusCode::DeadlineExceeded);
    assert_eq!(rig.env.now().since(began), Duration::from_secs(5));
    rig.stat().await.unwrap_err();
    assert_eq!((rig.stat().await.unwrap_err().code, rig.service.reads_waiting()), (StatusCode::Busy, 2));
    // Whoever gave up is not answered, and all is as before.
    lane.answer();
    rig.stat().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_crowd_of_reads_that_hang_keeps_no_member_waiting_and_nobody_who_looks_at_the_cluster() {
    let (rig, lane) = Rig::hanging().await;
    lane.hang(Some(ReadFor::Requests));
    let began = rig.env.now();
    let crowd = async { tokio::join!(rig.stat(), rig.stat(), rig.stat()) };
    let others = async {
        rig.register(2).await;
        rig.beat(1, &[], &[]).await;
        rig.welcome().await;
        rig.service.cluster_status().await.unwrap();
        assert_eq!(rig.env.now(), began, "at once");
    };
    let ((_, _, third), ()) = tokio::join!(crowd, others);
    assert_eq!((third.unwrap_err().code, rig.service.reads_waiting()), (StatusCode::Busy, 2));
}

#[tokio::test(start_paused = true)]
async fn whoever_connects_or_looks_is_answered_in_time_without_the_metadata() {
    let (rig, lane) = Rig::hanging().await;
    lane.hang(Some(ReadFor::Health));
    let began = rig.env.now();
    assert_eq!(rig.service.cluster_status().await.unwrap_err().code, StatusCode::DeadlineExceeded);
    assert_eq!(rig.env.now().since(began), Duration::from_secs(3));
    // The census waits as well, goes on, and does not take the place of those who look.
    tokio::time::sleep(Duration::from_secs(300)).await;
    lane.answer();
    tokio::time::sleep(Duration::from_secs(60)).await;
    rig.service.cluster_status().await.unwrap();
    lane.hang(Some(ReadFor::Membership));
    let began = rig.env.now();
    let now_ms = rig.welcome().await.time_ms;
    assert_eq!(rig.env.now().since(began), Duration::from_secs(1));
    lane.answer();
    assert!(rig.welcome().await.time_ms >= now_ms);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_panics_is_answered_and_so_is_one_that_nobody_runs() {
    let clock = Env::for_tests(1).clock;
    let ask = async |lane: Arc<dyn ReadLane>| {
        let reads = MetadataReads::new(Arc::new(MemoryStore::new()), lane, clock.clone());
        let question = |_: &MetadataReader| -> Result<(), MetaError> { panic!("a read") };
        reads.ask(ReadFor::Requests, Duration::from_secs(1), question).await.unwrap_err().code
    };
    assert_eq!(ask(Arc::new(InlineLane)).await, StatusCode::Internal);
    let lane = Arc::new(Hanging::default());
    lane.hang(None);
    let (answer, ()) = tokio::join!(ask(lane.clone()), async { drop(lane.0.lock().unwrap().take()) });
    assert_eq!(answer, StatusCode::Internal);
}

/// Whether a job of a lane is being run.
#[derive(Default)]
struct Marked(AtomicBool);

impl Marked {
    fn during(&self, job: LaneJob) {
        let before = self.0.swap(true, Ordering::Relaxed);
        job();
        self.0.store(before, Ordering::Relaxed);
    }
}

impl CommitLane for Marked {
    fn run(&self, job: LaneJob) {
        self.during(job);
    }
}

impl ReadLane for Marked {
    fn run(&self, _: ReadFor, job: LaneJob) -> Result<(), LaneFull> {
        self.during(job);
        Ok(())
    }

    fn waiting(&self) -> usize {
        0
    }
}

/// Counts what is read on a lane, and what elsewhere.
#[derive(Clone)]
struct Watched<S> {
    inner: S,
    lane: Arc<Marked>,
    seen: Arc<[AtomicUsize; 2]>,
}

impl<S> Watched<S> {
    fn note(&self) {
        let on_lane = self.lane.0.load(Ordering::Relaxed);
        self.seen[usize::from(on_lane)].fetch_add(1, Ordering::Relaxed);
    }
}

impl MetadataStore for Watched<Arc<MemoryStore>> {
    fn snapshot(&self) -> Result<Box<dyn MetadataSnapshot>, MetaStoreError> {
        self.note();
        let inner = self.inner.snapshot()?;
        Ok(Box::new(Watched { inner, lane: self.lane.clone(), seen: self.seen.clone() }))
    }

    fn commit(&self, batches: &[Batch]) -> Result<Vec<BatchOutcome>, MetaStoreError> {
        self.note();
        self.inner.commit(batches)
    }

    fn reopen(&self) -> Result<(), MetaStoreError> {
        self.inner.reopen()
    }
}

impl MetadataSnapshot for Watched<Box<dyn MetadataSnapshot>> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, MetaStoreError> {
        self.note();
        self.inner.get(key)
    }

    fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<Pair>, MetaStoreError> {
        self.note();
        self.inner.scan(range, limit)
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_a_coordinator_does_it_reads_and_commits_on_lanes() {
    let (store, lane) = (Arc::new(MemoryStore::new()), Arc::new(Marked::default()));
    let seen: Arc<[AtomicUsize; 2]> = Arc::default();
    let watched = Arc::new(Watched { inner: store.clone(), lane: lane.clone(), seen: seen.clone() });
    let rig = Rig::built_of(store, watched, Env::for_tests(1), lane.clone(), lane).await;
    for id in 1..=4 {
        rig.register(id).await;
    }
    rig.welcome().await;
    let allocation = rig.put("/f").await;
    rig.read("/f").await.unwrap();
    rig.stat().await.unwrap();
    rig.meta(MetadataRequest::Fsck(Fsck { cursor: None })).await.unwrap();
    let stray = (ChunkId(99), 1, false);
    rig.inventory(1, &[stray]).await.unwrap();
    let copies = vec![ChunkKey { chunk: ChunkId(99), generation: Generation(1) }];
    let confirm = InventoryConfirm { node: NodeId(1), incarnation: Incarnation(1), copies };
    rig.ask(Request::Inventory(InventoryRequest::Confirm(confirm))).await.unwrap();
    rig.beat(1, &[], &[allocation.grant.chunk_key()]).await;
    rig.pass(40, &[1, 2, 3]).await;
    let asked = |node: &str, dry_run| dfs_wire::message::admin::ForgetNode {
        node: node.to_owned(),
        accept_loss: true,
        dry_run,
    };
    for dry_run in [true, false] {
        rig.ask(Request::Admin(AdminRequest::ForgetNode(asked("dn-4", dry_run)))).await.unwrap();
    }
    rig.try_register(word(4)).await.unwrap_err();
    let newer = Register { epoch: Epoch(u64::MAX / 2), ..word(5) };
    rig.try_register(newer).await.unwrap_err();
    for look in [AdminRequest::ClusterStatus, AdminRequest::Nodes] {
        rig.ask(Request::Admin(look)).await.unwrap();
    }
    rig.service.cluster_status().await.unwrap();
    rig.pass(1_200, &[1, 2, 3]).await;
    rig.root.shutdown().await;
    let [elsewhere, on_lanes] = [0, 1].map(|at: usize| seen[at].load(Ordering::Relaxed));
    assert!(elsewhere == 0 && on_lanes > 100, "{elsewhere} elsewhere, {on_lanes} on lanes");
}
