//! A coordinator as its sessions see it: the real actors and operations over metadata in memory, in virtual time.

pub(crate) use std::sync::Arc;
pub(crate) use std::time::Duration;

pub(crate) use dfs_wire::auth::{ClusterKey, GrantOp, Receipt};
pub(crate) use dfs_wire::id::{
    ChunkId, ChunkKey, ClusterId, Epoch, Generation, Incarnation, NodeId, OpId, SessionId,
};
pub(crate) use dfs_wire::message::admin::{AdminRequest, AdminResponse, ClusterStatus, HealthLevel};
pub(crate) use dfs_wire::message::inventory::{
    InventoryEntry, InventoryReport, InventoryRequest, InventoryResponse,
};
pub(crate) use dfs_wire::message::membership::*;
pub(crate) use dfs_wire::message::metadata::*;
pub(crate) use dfs_wire::message::{Request, RequestHead, Response};
pub(crate) use dfs_wire::path::DfsPath;
pub(crate) use dfs_wire::status::{Status, StatusCode};

pub(crate) use futures_util::FutureExt;
pub(crate) use futures_util::future::BoxFuture;

pub(crate) use super::service::{CoordinatorConfig, CoordinatorService};
pub(crate) use super::tree::{CoordinatorArgs, coordinator};
use crate::coordinator::RepairConfig;
use crate::coordinator::gc::{GcConfig, GcMsg};
pub(crate) use crate::coordinator::metadata::model::records::RevokedKeys;
pub(crate) use crate::coordinator::metadata::model::time::ReignClock;
pub(crate) use crate::coordinator::metadata::ops::cluster::{self, Reign};
pub(crate) use crate::coordinator::metadata::reader::{LaneFull, MetadataReader, ReadFor, ReadLane};
pub(crate) use crate::coordinator::metadata::table::memory::MemoryStore;
pub(crate) use crate::coordinator::metadata::table::store::MetadataStore;
pub(crate) use crate::coordinator::metadata::writer::{CommitLane, InlineLane, LaneJob};
pub(crate) use crate::coordinator::service::{Answering, Doorbell};
use crate::coordinator::{Trust, Unwrapped};
pub(crate) use crate::env::Env;
pub(crate) use crate::peer::admin::{NodeAdmin, NodeFacts, NodeName};
pub(crate) use crate::supervisor::{ActorTree, Addr, Root, Strike, StrikeTarget};

pub(crate) const MIB: u32 = 1 << 20;

mod files;
mod nodes;
mod reads;

/// Who is where: node `n` at `10.0.0.n:8081`, unless it is said otherwise.
#[derive(Default)]
pub(crate) struct Doors(std::sync::Mutex<std::collections::BTreeMap<String, Option<u128>>>);

impl Doorbell for Doors {
    fn ring(&self, _node: NodeId, address: String) -> BoxFuture<'static, Result<Answering, Status>> {
        let usual = || address.strip_prefix("10.0.0.").and_then(|a| a.strip_suffix(":8081")?.parse().ok());
        let who = self.0.lock().unwrap().get(&address).copied().unwrap_or_else(usual);
        Box::pin(async move {
            let none = || Status::new(StatusCode::Unavailable, format!("cannot reach {address}: refused"));
            let id: u128 = who.ok_or_else(none)?;
            Ok(Answering { node: NodeId(id), name: format!("dn-{id}") })
        })
    }
}

pub(crate) struct Rig {
    pub(crate) root: Root,
    pub(crate) tree: ActorTree,
    pub(crate) service: Arc<CoordinatorService>,
    pub(crate) gc: Addr<GcMsg>,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) reign: Reign,
    pub(crate) env: Env,
    pub(crate) doors: Arc<Doors>,
    pub(crate) next_op: std::cell::Cell<u128>,
}

pub(crate) fn path(text: &str) -> DfsPath {
    DfsPath::parse(text).unwrap()
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::over(Arc::new(MemoryStore::new()), Env::for_tests(1)).await
    }

    pub(crate) async fn over(store: Arc<MemoryStore>, env: Env) -> Self {
        Self::reading_on(store, env, Arc::new(InlineLane)).await
    }

    pub(crate) async fn reading_on(store: Arc<MemoryStore>, env: Env, reads: Arc<dyn ReadLane>) -> Self {
        Self::built_of(store.clone(), store, env, Arc::new(InlineLane), reads).await
    }

    /// Over `store`, which the coordinator sees as `seen`.
    pub(crate) async fn built_of(
        store: Arc<MemoryStore>,
        seen: Arc<dyn MetadataStore>,
        env: Env,
        lane: Arc<dyn CommitLane>,
        reads: Arc<dyn ReadLane>,
    ) -> Self {
        let time = ReignClock::new(env.clock.clone());
        let reign =
            cluster::open(store.as_ref(), ClusterId(0xc1), &ClusterKey([5; 32]), &Unwrapped, time.now_ms())
                .unwrap();
        let tree = ActorTree::new("coordinator");
        let name = NodeName {
            node: NodeId(0xc0),
            name: "coordinator".into(),
            role: "coordinator",
            version: "0.1.0".into(),
            chaos: None,
        };
        let facts = Arc::new(NodeFacts::default);
        let doors = Arc::new(Doors::default());
        let parts = coordinator(CoordinatorArgs {
            trust: Trust::new(None, &RevokedKeys::default()),
            env: env.clone(),
            store: seen,
            lane,
            reads,
            reign: reign.clone(),
            time,
            config: CoordinatorConfig::new("0.1.0"),
            gc: GcConfig::default(),
            repair: RepairConfig::default(),
            doorbell: doors.clone(),
            admin: NodeAdmin::new(name, tree.clone(), env.clone(), facts),
        })
        .unwrap();
        let root = Root::start(env.clone(), tree.clone(), parts.spec).await.unwrap();
        assert!(root.ready(Duration::from_secs(1)).await);
        let (service, gc, next_op) = (parts.service, parts.gc, std::cell::Cell::new(1));
        Self { root, tree, service, gc, store, reign, env, doors, next_op }
    }

    /// Stops the actors and begins the next reign over the same metadata.
    pub(crate) async fn restart(self) -> Self {
        self.root.shutdown().await;
        let next = Self::over(self.store, self.env).await;
        next.next_op.set(1_000_000);
        next
    }

    pub(crate) async fn ask(&self, body: Request) -> Result<Response, Status> {
        let op = OpId(self.next_op.replace(self.next_op.get() + 1));
        self.service.answer(RequestHead { op, deadline_ms: 5_000, trace: None, body }).await
    }

    pub(crate) async fn meta(&self, request: MetadataRequest) -> Result<MetadataResponse, Status> {
        match self.ask(Request::Metadata(request)).await? {
            Response::Metadata(word) => Ok(word),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn member(&self, request: MembershipRequest) -> Result<MembershipResponse, Status> {
        match self.ask(Request::Membership(request)).await? {
            Response::Membership(word) => Ok(word),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn register(&self, id: u128) -> Registered {
        self.try_register(word(id)).await.unwrap()
    }

    pub(crate) async fn try_register(&self, word: Register) -> Result<Registered, Status> {
        match self.member(MembershipRequest::Register(word)).await? {
            MembershipResponse::Registered(word) => Ok(word),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn beat(&self, id: u128, deleted: &[ChunkKey], corrupt: &[ChunkKey]) -> HeartbeatReply {
        let word = Heartbeat {
            revoked_version: 0,
            node: NodeId(id),
            incarnation: Incarnation(1),
            state_version: 0,
            load: load(),
            deleted: deleted.to_vec(),
            corrupt: corrupt.to_vec(),
            missing: Vec::new(),
            heard_ms: 0,
            findings: vec![],
        };
        match self.member(MembershipRequest::Heartbeat(word)).await.unwrap() {
            MembershipResponse::Heartbeat(word) => word,
            other => panic!("{other:?}"),
        }
    }

    /// Lets time pass with heartbeats of these nodes.
    pub(crate) async fn pass(&self, seconds: u64, nodes: &[u128]) {
        for _ in 0..seconds.div_ceil(2) {
            for id in nodes {
                self.beat(*id, &[], &[]).await;
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }

    pub(crate) async fn open(&self, at: &str, allocate: u32) -> Result<UploadOpened, Status> {
        let request = OpenUpload {
            path: path(at),
            chunk_size: MIB,
            replication: 0,
            precondition: Precondition::Any,
            parents: false,
            size_hint: None,
            allocate,
            mtime_ns: None,
            resume: None,
        };
        match self.meta(MetadataRequest::OpenUpload(request)).await? {
            MetadataResponse::UploadOpened(word) => Ok(word),
            other => panic!("{other:?}"),
        }
    }

    /// What the nodes of an allocation would sign for a chunk of so many bytes.
    pub(crate) fn stored(&self, allocation: &Allocation, len: u32) -> StoredChunk {
        let grant = &allocation.grant;
        let receipt = |target: &dfs_wire::message::chunk::Target| {
            let key = self.reign.key.node_key(target.node);
            assert!(grant.verify(&key, &target.mac) && grant.op == GrantOp::Write);
            Receipt::sign(target.node, grant.chunk, grant.generation, len, [9; 32], &key)
        };
        StoredChunk { index: allocation.index, receipts: allocation.targets.iter().map(receipt).collect() }
    }

    pub(crate) async fn commit(
        &self,
        session: SessionId,
        chunks: Vec<StoredChunk>,
        size: u64,
    ) -> Result<CommittedFile, Status> {
        let chunk_count = u32::try_from(chunks.len()).unwrap();
        let request = CommitUpload { session, chunks, size, chunk_count, sha256: None };
        match self.meta(MetadataRequest::CommitUpload(request)).await? {
            MetadataResponse::Committed(file) => Ok(file),
            other => panic!("{other:?}"),
        }
    }

    /// Puts a file of one short chunk; returns its allocation.
    pub(crate) async fn put(&self, at: &str) -> Allocation {
        let opened = self.open(at, 1).await.unwrap();
        let allocation = opened.allocations[0].clone();
        let chunk = self.stored(&allocation, 100);
        self.commit(opened.session, vec![chunk], 100).await.unwrap();
        allocation
    }

    pub(crate) async fn read(&self, at: &str) -> Result<ReadOpened, Status> {
        let request = OpenRead { path: path(at), version: None, first: 0, count: 0 };
        match self.meta(MetadataRequest::OpenRead(request)).await? {
            MetadataResponse::ReadOpened(word) => Ok(word),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn inventory(
        &self,
        id: u128,
        copies: &[(ChunkId, u32, bool)],
    ) -> Result<Vec<ChunkKey>, Status> {
        let entry = |&(chunk, generation, corrupt): &(ChunkId, u32, bool)| InventoryEntry {
            chunk,
            generation: Generation(generation),
            len: 100,
            corrupt,
        };
        let report = InventoryReport {
            node: NodeId(id),
            incarnation: Incarnation(1),
            after: None,
            upto: None,
            heard_ms: u64::MAX,
            copies: copies.iter().map(entry).collect(),
        };
        match self.ask(Request::Inventory(InventoryRequest::Report(report))).await? {
            Response::Inventory(InventoryResponse::Accepted(word)) => Ok(word.quarantine),
            other => panic!("{other:?}"),
        }
    }

    /// Lanes that run at once let nobody wait.
    pub(crate) fn status(&self) -> ClusterStatus {
        self.service.cluster_status().now_or_never().unwrap().unwrap()
    }

    pub(crate) fn findings(&self) -> Vec<String> {
        self.status().findings.into_iter().map(|f| f.code).collect()
    }
}

pub(crate) fn word(id: u128) -> Register {
    Register {
        node: NodeId(id),
        cluster: None,
        epoch: Epoch(0),
        position: 0,
        incarnation: Incarnation(1),
        name: format!("dn-{id}"),
        zone: String::new(),
        address: format!("10.0.0.{id}:8081"),
        version: "0.1.0".into(),
        load: load(),
    }
}

pub(crate) fn load() -> NodeLoad {
    NodeLoad { capacity: 1 << 40, available: 1 << 39, ..NodeLoad::default() }
}

pub(crate) async fn with_nodes(nodes: u128) -> Rig {
    let rig = Rig::start().await;
    for id in 1..=nodes {
        rig.register(id).await;
    }
    rig
}
