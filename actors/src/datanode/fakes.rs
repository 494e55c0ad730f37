//! A coordinator, a disk and an identity file made of memory, for the tests of a datanode's actors.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dfs_wire::auth::NodeKey;
use dfs_wire::id::{ChunkId, ChunkKey, ClusterId, Epoch, Generation, Incarnation, InodeId, NodeId};
use dfs_wire::message::admin::ScrubStatus;
use dfs_wire::message::inventory::{
    InventoryAccepted, InventoryEntry, InventoryReport, InventoryRequest, InventoryResponse,
};
use dfs_wire::message::membership::{
    HeartbeatReply, MembershipRequest, MembershipResponse, NodeLoad, Registered, StateFull, StateUpdate,
};
use dfs_wire::message::{Request, Response};
use dfs_wire::status::{Status, StatusCode};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::tree::{Agents, AgentsArgs, agents};
use crate::budgets::SCRUB_MAILBOX;
use crate::datanode::authority::Heard;
use crate::datanode::authority::{IdentityStore, Joined, SelfDescription};
use crate::datanode::chunk_store::{
    ChunkIdentity, ChunkInfo, ChunkReader, ChunkStore, ChunkWriter, Purged, ReplicaState, StoreError,
    StoreStats,
};
use crate::datanode::control::CoordinatorLink;
use crate::datanode::heartbeat::{HeartbeatConfig, LoadProbe, load_of_store};
use crate::datanode::inventory::InventoryConfig;
use crate::datanode::quarantine::QuarantineConfig;
use crate::datanode::scrub::{CursorStore, Scrub, ScrubArgs, ScrubConfig, ScrubCursor, ScrubMsg};
use crate::datanode::tree::found;
use crate::env::Env;
use crate::supervisor::{ActorTree, Addr, ChildSpec, Root, Strike, StrikeTarget};
use crate::watch;

/// Within this time the scrub of a [`Rig`] reads everything.
pub(crate) const SCRUB_PERIOD: Duration = Duration::from_secs(3600);

pub(crate) fn key(id: u128) -> ChunkKey {
    ChunkKey { chunk: ChunkId(id), generation: Generation(1) }
}

pub(crate) fn me() -> SelfDescription {
    SelfDescription {
        node: NodeId(7),
        incarnation: Incarnation(3),
        name: "dn-7".into(),
        zone: "a".into(),
        address: "10.0.0.7:8081".into(),
        version: "0.1.0".into(),
    }
}

/// A disk of which only the index exists.
#[derive(Default)]
pub(crate) struct FakeStore {
    pub(crate) chunks: Mutex<BTreeSet<ChunkKey>>,
    pub(crate) quarantined: Mutex<BTreeSet<ChunkKey>>,
    pub(crate) purges: Mutex<Vec<Duration>>,
    /// Chunks whose bytes are not what they should be.
    pub(crate) bad: Mutex<BTreeSet<ChunkKey>>,
    /// Chunks that were read whole, in turn.
    pub(crate) verified: Mutex<Vec<ChunkKey>>,
    /// The cursor of the scrub, as last kept.
    pub(crate) cursor: Mutex<Option<ScrubCursor>>,
}

impl FakeStore {
    pub(crate) fn with(ids: std::ops::Range<u128>) -> Arc<Self> {
        let store = Self::default();
        store.chunks.lock().unwrap().extend(ids.map(key));
        Arc::new(store)
    }

    fn info(key: ChunkKey) -> ChunkInfo {
        let ChunkKey { chunk, generation } = key;
        let identity = ChunkIdentity { cluster: ClusterId(1), chunk, generation, file: InodeId(1), index: 0 };
        ChunkInfo { identity, len: 1, sha256: [0; 32], state: ReplicaState::Verified }
    }
}

fn no_such(key: ChunkKey) -> StoreError {
    StoreError::NotFound { disk: Arc::from("fake"), key }
}

impl ChunkStore for FakeStore {
    fn create(
        &self,
        id: ChunkIdentity,
        _: u32,
    ) -> BoxFuture<'static, Result<Box<dyn ChunkWriter>, StoreError>> {
        async move { Err(no_such(id.key())) }.boxed()
    }

    fn open(&self, key: ChunkKey) -> BoxFuture<'static, Result<Arc<dyn ChunkReader>, StoreError>> {
        async move { Err(no_such(key)) }.boxed()
    }

    fn quarantine(&self, keys: Vec<ChunkKey>) -> BoxFuture<'static, Vec<(ChunkKey, Result<(), StoreError>)>> {
        for key in &keys {
            if self.chunks.lock().unwrap().remove(key) {
                self.quarantined.lock().unwrap().insert(*key);
            }
        }
        async move { keys.into_iter().map(|key| (key, Ok(()))).collect() }.boxed()
    }

    fn purge_quarantine(
        &self,
        older_than: Duration,
        _within: Duration,
    ) -> BoxFuture<'static, Result<Purged, StoreError>> {
        self.purges.lock().unwrap().push(older_than);
        let freed = std::mem::take(&mut *self.quarantined.lock().unwrap()).len() as u64;
        async move { Ok(Purged { files: freed, bytes: freed, more: false }) }.boxed()
    }

    fn inventory(&self, after: Option<ChunkKey>, limit: usize) -> Vec<ChunkInfo> {
        let chunks = self.chunks.lock().unwrap();
        chunks.iter().filter(|k| after.is_none_or(|a| **k > a)).take(limit).map(|k| Self::info(*k)).collect()
    }

    fn newest(&self) -> Option<ChunkKey> {
        self.chunks.lock().unwrap().last().copied()
    }

    fn verify(&self, key: ChunkKey) -> BoxFuture<'static, Result<ChunkInfo, StoreError>> {
        let (here, bad) =
            (self.chunks.lock().unwrap().contains(&key), self.bad.lock().unwrap().contains(&key));
        self.verified.lock().unwrap().push(key);
        async move {
            match (here, bad) {
                (false, _) => Err(no_such(key)),
                (_, true) => {
                    Err(StoreError::Corrupt { disk: Arc::from("fake"), key, detail: "block 0".to_owned() })
                }
                (_, false) => Ok(Self::info(key)),
            }
        }
        .boxed()
    }

    fn stats(&self) -> StoreStats {
        StoreStats { chunks: self.chunks.lock().unwrap().len() as u64, ..StoreStats::default() }
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        async {}.boxed()
    }
}

impl CursorStore for FakeStore {
    fn load(&self) -> BoxFuture<'static, Result<Option<ScrubCursor>, Status>> {
        let cursor = self.cursor.lock().unwrap().clone();
        async { Ok(cursor) }.boxed()
    }

    fn save(&self, cursor: ScrubCursor) -> BoxFuture<'static, Result<(), Status>> {
        *self.cursor.lock().unwrap() = Some(cursor);
        async { Ok(()) }.boxed()
    }
}

impl LoadProbe for FakeStore {
    fn load(&self) -> NodeLoad {
        load_of_store(&self.stats())
    }
}

/// An identity file in memory.
#[derive(Default)]
pub(crate) struct FakeIdentity(pub(crate) Mutex<Option<Joined>>);

impl IdentityStore for FakeIdentity {
    fn joined(&self) -> Option<Joined> {
        self.0.lock().unwrap().clone()
    }

    fn save(&self, joined: Joined) -> BoxFuture<'static, Result<(), Status>> {
        *self.0.lock().unwrap() = Some(joined);
        async { Ok(()) }.boxed()
    }

    fn keep(&self, heard: Heard) -> BoxFuture<'static, Result<(), Status>> {
        let mut saved = self.0.lock().unwrap();
        let fits = saved.as_mut().filter(|joined| joined.epoch == heard.epoch);
        let outcome = match fits {
            Some(joined) => {
                joined.position = joined.position.max(heard.position);
                Ok(())
            }
            None => Err(Status::new(StatusCode::StaleEpoch, "another reign")),
        };
        async { outcome }.boxed()
    }
}

/// A coordinator that remembers what it was told.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) registered: u32,
    pub(crate) knows: bool,
    pub(crate) left: bool,
    pub(crate) dead: bool,
    pub(crate) superseded: bool,
    pub(crate) heartbeats: u32,
    pub(crate) deleted: BTreeSet<ChunkKey>,
    pub(crate) corrupt: BTreeSet<ChunkKey>,
    pub(crate) tombstones: BTreeSet<ChunkKey>,
    pub(crate) reports: Vec<InventoryReport>,
    pub(crate) epoch: Epoch,
    /// Its commit position.
    pub(crate) position: u64,
    /// The reigns that the node named when it registered.
    pub(crate) named: Vec<Epoch>,
    /// What the last heartbeat said of the node's health.
    pub(crate) findings: Vec<String>,
    /// Whether it serves another cluster.
    pub(crate) foreign: bool,
    /// What it orders away of an inventory.
    pub(crate) unwanted: BTreeMap<ChunkKey, ()>,
}

pub(crate) struct FakeCoordinator(pub(crate) Mutex<Told>);

impl Default for FakeCoordinator {
    fn default() -> Self {
        Self(Mutex::new(Told { epoch: Epoch(1), ..Told::default() }))
    }
}

impl FakeCoordinator {
    fn membership(told: &mut Told, request: MembershipRequest) -> Result<MembershipResponse, Status> {
        if told.superseded {
            return Err(Status::new(StatusCode::AlreadyExists, "a newer process has the id"));
        }
        if told.foreign {
            return Err(Status::new(StatusCode::WrongCluster, "this is another cluster"));
        }
        match request {
            MembershipRequest::Register(word) => {
                told.registered += 1;
                told.named.push(word.epoch);
                told.knows = true;
                Ok(MembershipResponse::Registered(Registered {
                    cluster: ClusterId(1),
                    epoch: told.epoch,
                    position: told.position,
                    now_ms: 1_000,
                    key: NodeKey([7; 32]),
                    heartbeat_interval_ms: 2_000,
                    state: StateFull { version: 1, nodes: vec![] },
                }))
            }
            MembershipRequest::Heartbeat(beat) => {
                told.heartbeats += 1;
                for key in beat.deleted {
                    told.tombstones.remove(&key);
                    told.deleted.insert(key);
                }
                told.findings = beat.findings.into_iter().map(|f| f.code).collect();
                told.corrupt.extend(beat.corrupt);
                Ok(MembershipResponse::Heartbeat(HeartbeatReply {
                    epoch: told.epoch,
                    position: told.position,
                    now_ms: 1_000 + u64::from(told.heartbeats) * 2_000,
                    update: StateUpdate::Unchanged,
                    revoked: None,
                    tombstones: told.tombstones.iter().copied().collect(),
                    register_again: !told.knows,
                    inventory_wanted: false,
                }))
            }
            MembershipRequest::Leave(_) => {
                told.left = true;
                Ok(MembershipResponse::Left)
            }
        }
    }
}

impl CoordinatorLink for FakeCoordinator {
    fn call(&self, request: Request, timeout: Duration) -> BoxFuture<'static, Result<Response, Status>> {
        let mut told = self.0.lock().unwrap();
        if told.dead {
            return async move {
                tokio::time::sleep(timeout).await;
                Err(Status::new(StatusCode::DeadlineExceeded, "no answer"))
            }
            .boxed();
        }
        let answer = match request {
            Request::Membership(word) => Self::membership(&mut told, word).map(Response::Membership),
            Request::Inventory(InventoryRequest::Report(report)) => {
                let reported = report.copies.iter().map(InventoryEntry::key);
                let quarantine = reported.filter(|key| told.unwanted.contains_key(key)).collect();
                told.reports.push(report);
                Ok(Response::Inventory(InventoryResponse::Accepted(InventoryAccepted {
                    epoch: told.epoch,
                    position: told.position,
                    quarantine,
                })))
            }
            Request::Inventory(InventoryRequest::Confirm(word)) => {
                let mut still = word.copies;
                still.retain(|key| told.unwanted.contains_key(key));
                let accepted =
                    InventoryAccepted { epoch: told.epoch, position: told.position, quarantine: still };
                Ok(Response::Inventory(InventoryResponse::Confirmed(accepted)))
            }
            _ => Err(Status::new(StatusCode::Unsupported, "not for a fake")),
        };
        async move { answer }.boxed()
    }
}

/// The agents of a datanode over fakes, running.
pub(crate) struct Rig {
    pub(crate) root: Root,
    pub(crate) tree: ActorTree,
    pub(crate) agents: Agents,
    pub(crate) scrub: Addr<ScrubMsg>,
    pub(crate) status: watch::Receiver<ScrubStatus>,
    pub(crate) store: Arc<FakeStore>,
    pub(crate) coordinator: Arc<FakeCoordinator>,
    pub(crate) identity: Arc<FakeIdentity>,
}

impl Rig {
    pub(crate) async fn start(chunks: std::ops::Range<u128>) -> Self {
        let (store, coordinator) = (FakeStore::with(chunks), Arc::new(FakeCoordinator::default()));
        let identity = Arc::new(FakeIdentity::default());
        let env = Env::for_tests(1);
        let (spec, agents) = agents(AgentsArgs {
            me: me(),
            link: coordinator.clone(),
            identity: identity.clone(),
            store: store.clone(),
            probe: store.clone(),
            heartbeat: HeartbeatConfig::default(),
            inventory: InventoryConfig::default(),
            quarantine: QuarantineConfig::default(),
            clock: env.clock.clone(),
        });
        let (scrub, status) =
            (Addr::new(&env.clock, SCRUB_MAILBOX), watch::Sender::new(ScrubStatus::default()));
        let (seen, scrubbing) = (
            status.subscribe(),
            ScrubArgs {
                config: ScrubConfig {
                    period: SCRUB_PERIOD,
                    recheck: SCRUB_PERIOD / 6,
                    ..ScrubConfig::default()
                },
                store: store.clone(),
                cursor: store.clone(),
                found: found(agents.heartbeat.clone()),
                pressed: Arc::new(|| false),
                health: agents.health.clone(),
                status,
            },
        );
        let spec = spec.child(ChildSpec::new::<Scrub>("scrub", &scrub, scrubbing));
        let tree = ActorTree::new("dn-7");
        let root = Root::start(env, tree.clone(), spec).await.unwrap();
        assert!(root.ready(Duration::from_secs(1)).await);
        Self { root, tree, agents, scrub, status: seen, store, coordinator, identity }
    }

    /// Lets virtual time pass.
    pub(crate) async fn pass(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    /// What the coordinator was told.
    pub(crate) fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.coordinator.0.lock().unwrap()
    }

    /// Registrations and heartbeats it has had.
    pub(crate) fn calls(&self) -> (u32, u32) {
        let told = self.told();
        (told.registered, told.heartbeats)
    }

    /// Restarts of the actors of each kind.
    pub(crate) fn restarts(&self) -> BTreeMap<&'static str, u64> {
        self.tree.snapshot().into_iter().map(|row| (row.kind, row.stats.restarts)).collect()
    }

    /// Makes the actors of one kind panic and gives them time to return.
    pub(crate) async fn panic(&self, kind: &str) {
        assert_eq!(self.tree.strike(&StrikeTarget::Kind(kind.to_owned()), Strike::Panic), 1, "no {kind}");
        self.pass(3).await;
        for (other, restarts) in self.restarts() {
            assert_eq!(restarts, u64::from(other == kind), "{other} after a panic in {kind}");
        }
    }
}
