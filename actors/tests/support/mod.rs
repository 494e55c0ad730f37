//! A network and a disk in memory, and datanodes on them.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dfs_actors::budgets::SCRUB_MAILBOX;
use dfs_actors::datanode::authority::Authority;
use dfs_actors::datanode::chunk_store::*;
use dfs_actors::datanode::streaming::UploadLimits;
use dfs_actors::datanode::{DatanodeLimits, DatanodeParts, DatanodeService};
use dfs_actors::env::ListeningSocket;
use dfs_actors::env::{Connection, Env, Net, SeededRng, TokioClock};
use dfs_actors::peer::admin::{ChaosToken, NodeAdmin, NodeFacts, NodeName};
use dfs_actors::peer::gate::Gate;
use dfs_actors::peer::links::{Links, LinksArgs, PeerLimits};
use dfs_actors::peer::listener::{Bound, Listener, ListenerArgs};
use dfs_actors::peer::session::{Knocks, Places, PlacesMax, RequestStats, SessionCommon, SessionLimits};
use dfs_actors::supervisor::{ActorTree, Addr, ChildSpec, Intensity, Root, SupervisorSpec};
use dfs_actors::watch;
use dfs_wire::auth::{Grant, GrantOp, Mac, NodeKey, Receipt};
use dfs_wire::handshake::{Hello, NodePeer, Peer};
use dfs_wire::id::*;
use dfs_wire::identity::KeyDigest;
use dfs_wire::identity::PeerName;
use dfs_wire::limits::BLOCK_BYTES;
use dfs_wire::message::admin::ScrubStatus;
use dfs_wire::message::chunk::Target;
use dfs_wire::message::facts::ChunkFacts;
use dfs_wire::slab::{SlabBudget, SlabPool};
use dfs_wire::status::{Status, StatusCode};
use dfs_wire::tls::ProofCell;
use futures_util::future::{BoxFuture, FutureExt};
use tokio::sync::mpsc;

pub(crate) const CLUSTER: ClusterId = ClusterId(7);

/// A network of pipes in memory. `host:port` is any number after the colon.
#[derive(Default)]
pub(crate) struct MemNet {
    listeners: Mutex<BTreeMap<u16, mpsc::UnboundedSender<Connection>>>,
    /// Every address that was dialled.
    pub dialed: Mutex<Vec<String>>,
}

struct MemListener {
    address: SocketAddr,
    incoming: mpsc::UnboundedReceiver<Connection>,
}

fn port_of(address: &str) -> u16 {
    address.rsplit(':').next().and_then(|p| p.parse().ok()).expect("a port")
}

fn half(io: tokio::io::DuplexStream, peer: SocketAddr, local: SocketAddr) -> Connection {
    let (reader, writer) = tokio::io::split(io);
    Connection {
        reader: Box::new(reader),
        writer: Box::new(writer),
        peer,
        local,
        proof: ProofCell::default(),
    }
}

impl Net for MemNet {
    fn connect<'a>(
        &'a self,
        addr: &'a str,
        _whom: PeerName,
        _timeout: Duration,
    ) -> BoxFuture<'a, io::Result<Connection>> {
        async move {
            let port = port_of(addr);
            self.dialed.lock().unwrap().push(addr.to_owned());
            let listener = self.listeners.lock().unwrap().get(&port).cloned();
            let listener = listener.ok_or(io::ErrorKind::ConnectionRefused)?;
            let (ours, theirs) = tokio::io::duplex(256 * 1024);
            let (here, there) =
                (SocketAddr::from(([127, 0, 0, 1], 1)), SocketAddr::from(([127, 0, 0, 1], port)));
            listener.send(half(theirs, here, there)).map_err(|_| io::ErrorKind::ConnectionRefused)?;
            Ok(half(ours, there, here))
        }
        .boxed()
    }

    fn listen<'a>(&'a self, addr: &'a str) -> BoxFuture<'a, io::Result<Box<dyn ListeningSocket>>> {
        async move {
            let port = port_of(addr);
            let (sender, incoming) = mpsc::unbounded_channel();
            self.listeners.lock().unwrap().insert(port, sender);
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            Ok(Box::new(MemListener { address, incoming }) as Box<dyn ListeningSocket>)
        }
        .boxed()
    }
}

impl ListeningSocket for MemListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Connection>> {
        async { self.incoming.recv().await.ok_or_else(|| io::ErrorKind::NotConnected.into()) }.boxed()
    }

    fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

/// Chunks in memory. `stalled` makes every write wait, as a stopped process would; `mute` every commit and opening, as
/// a disk that answers nothing.
#[derive(Default)]
pub(crate) struct MemStore {
    pub mute: AtomicBool,
    /// Commits are refused for want of some resource.
    pub busy: AtomicBool,
    /// Buffers that reads have filled and nobody has let go of.
    pub buffers: Arc<()>,
    pub chunks: Mutex<BTreeMap<ChunkKey, (ChunkInfo, Bytes)>>,
    pub facts: Mutex<BTreeMap<ChunkKey, ChunkFacts>>,
    pub writers: Arc<Mutex<usize>>,
    pub stalled: AtomicBool,
}

struct MemWriter {
    store: Arc<MemStore>,
    identity: ChunkIdentity,
    bytes: BytesMut,
}

impl Drop for MemWriter {
    fn drop(&mut self) {
        *self.store.writers.lock().unwrap() -= 1;
    }
}

impl ChunkWriter for MemWriter {
    fn write(&mut self, frame: Bytes, block_crcs: &[u32]) -> BoxFuture<'_, Result<(), StoreError>> {
        for (block, crc) in frame.chunks(64 * 1024).zip(block_crcs) {
            let mut hash = crc32fast_of(block);
            assert_eq!(std::mem::take(&mut hash), *crc);
        }
        async move {
            while self.store.stalled.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            self.bytes.extend_from_slice(&frame);
            Ok(())
        }
        .boxed()
    }

    fn commit(
        self: Box<Self>,
        seal: ChunkSeal,
        facts: ChunkFacts,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        async move {
            while self.store.mute.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            if self.store.busy.load(Ordering::Relaxed) {
                return Err(StoreError::Busy { disk: Arc::from("mem"), what: "memory".to_owned() });
            }
            let info = ChunkInfo {
                identity: self.identity,
                len: seal.len,
                sha256: seal.sha256,
                state: ReplicaState::Verified,
            };
            let bytes = self.bytes.clone().freeze();
            self.store.facts.lock().unwrap().insert(info.key(), facts);
            self.store.chunks.lock().unwrap().insert(info.key(), (info, bytes));
            Ok(())
        }
        .boxed()
    }
}

fn crc32fast_of(block: &[u8]) -> u32 {
    dfs_wire::link::DataFrame::new(Bytes::copy_from_slice(block)).crc
}

struct MemReader(ChunkInfo, Bytes, Arc<()>, ChunkFacts);

struct Buffer {
    bytes: Bytes,
    _counted: Arc<()>,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl ChunkReader for MemReader {
    fn info(&self) -> &ChunkInfo {
        &self.0
    }

    fn facts(&self) -> &ChunkFacts {
        &self.3
    }

    fn read(&self, offset: u32, len: u32) -> BoxFuture<'static, Result<Verified, StoreError>> {
        let bytes = self.1.slice(offset as usize..(offset + len) as usize);
        let block_crcs = bytes.chunks(BLOCK_BYTES).map(crc32fast_of).collect();
        let buffer = Buffer { bytes, _counted: self.2.clone() };
        async move { Ok(Verified { bytes: Bytes::from_owner(buffer), block_crcs }) }.boxed()
    }
}

/// The store as the service holds it.
pub(crate) struct SharedStore(pub Arc<MemStore>);

impl ChunkStore for SharedStore {
    fn create(
        &self,
        identity: ChunkIdentity,
        _len_hint: u32,
    ) -> BoxFuture<'static, Result<Box<dyn ChunkWriter>, StoreError>> {
        let store = self.0.clone();
        async move {
            if let Some((info, _)) = store.chunks.lock().unwrap().get(&identity.key()) {
                return Err(StoreError::AlreadyCommitted(Box::new(*info)));
            }
            *store.writers.lock().unwrap() += 1;
            let bytes = BytesMut::new();
            Ok(Box::new(MemWriter { store: store.clone(), identity, bytes }) as Box<dyn ChunkWriter>)
        }
        .boxed()
    }

    fn open(&self, key: ChunkKey) -> BoxFuture<'static, Result<Arc<dyn ChunkReader>, StoreError>> {
        let store = self.0.clone();
        let found = store.chunks.lock().unwrap().get(&key).cloned();
        async move {
            while store.mute.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let missing = StoreError::NotFound { disk: Arc::from("mem"), key };
            let (info, bytes) = found.ok_or(missing)?;
            let facts = store.facts.lock().unwrap().get(&key).cloned().unwrap_or_default();
            Ok(Arc::new(MemReader(info, bytes, store.buffers.clone(), facts)) as Arc<dyn ChunkReader>)
        }
        .boxed()
    }

    fn quarantine(&self, keys: Vec<ChunkKey>) -> BoxFuture<'static, Vec<(ChunkKey, Result<(), StoreError>)>> {
        async move { keys.into_iter().map(|key| (key, Ok(()))).collect() }.boxed()
    }

    fn purge_quarantine(
        &self,
        _older_than: Duration,
        _within: Duration,
    ) -> BoxFuture<'static, Result<Purged, StoreError>> {
        async { Ok(Purged::default()) }.boxed()
    }

    fn inventory(&self, _after: Option<ChunkKey>, _limit: usize) -> Vec<ChunkInfo> {
        Vec::new()
    }

    fn newest(&self) -> Option<ChunkKey> {
        None
    }

    fn verify(&self, key: ChunkKey) -> BoxFuture<'static, Result<ChunkInfo, StoreError>> {
        let opened = self.open(key);
        async move { opened.await.map(|reader| *reader.info()) }.boxed()
    }

    fn stats(&self) -> StoreStats {
        StoreStats::default()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        async {}.boxed()
    }
}

struct Keyed {
    node: NodeId,
    key: NodeKey,
}

impl Authority for Keyed {
    fn is_revoked(&self, _: &KeyDigest) -> bool {
        false
    }

    fn node(&self) -> NodeId {
        self.node
    }

    fn cluster(&self) -> Result<ClusterId, Status> {
        Ok(CLUSTER)
    }

    fn address_of(&self, node: NodeId) -> Option<String> {
        (1..=3).contains(&node.0).then(|| format!("mem:{}", node.0))
    }

    fn want_news(&self) {}

    fn check(&self, grant: &Grant, mac: &Mac, op: GrantOp) -> Result<(), Status> {
        let good = grant.op == op && grant.verify(&self.key, mac);
        if good { Ok(()) } else { Err(Status::new(StatusCode::PermissionDenied, "forged")) }
    }

    fn sign(&self, copy: ChunkKey, len: u32, sha256: [u8; 32]) -> Result<Receipt, Status> {
        Ok(Receipt::sign(self.node, copy.chunk, copy.generation, len, sha256, &self.key))
    }
}

/// One datanode.
pub(crate) struct TestNode {
    pub id: NodeId,
    pub key: NodeKey,
    pub address: String,
    pub store: Arc<MemStore>,
    pub tree: ActorTree,
    pub ingest: SlabBudget,
    pub replica: SlabBudget,
    pub root: Root,
    drain: watch::Sender<bool>,
}

/// Introduces a peer.
pub(crate) fn hello(node: NodeId) -> Hello {
    let peer = Peer::Datanode(NodePeer { node, incarnation: Incarnation(1), name: node.to_string() });
    Hello { cluster: Some(CLUSTER), peer, credentials: None, features: 0, connection_credit: 64 << 20 }
}

/// An environment on `net`.
pub(crate) fn env_on(net: &Arc<MemNet>) -> Env {
    Env::new(Arc::new(TokioClock::starting_at(0)), net.clone(), Arc::new(SeededRng::new(1)))
}

/// The bounds of a small datanode.
fn few() -> DatanodeLimits {
    DatanodeLimits {
        upload: UploadLimits::default(),
        window_slabs: 4,
        prepare_timeout: Duration::from_secs(5),
        reads_max: 8,
        bulk_uploads_max: 8,
    }
}

impl TestNode {
    /// Starts node number `n` with `slabs` of memory for each class.
    pub(crate) async fn start(net: &Arc<MemNet>, n: u16, slabs: usize) -> Self {
        let env = env_on(net);
        let (id, key) = (NodeId(n.into()), NodeKey([n as u8; 32]));
        let store = Arc::new(MemStore::default());
        let tree = ActorTree::new(format!("dn{n}"));
        let pool = SlabPool::new(2 * slabs);
        let (ingest, replica) = (SlabBudget::new(pool.clone(), slabs), SlabBudget::new(pool, slabs));
        let links = Addr::new(&env.clock, 64);
        let (uploads, upload_nursery) =
            SupervisorSpec::one_for_one(&env.clock, "uploads").with_nursery(slabs);
        let (copies, copy_nursery) = SupervisorSpec::one_for_one(&env.clock, "copies").with_nursery(slabs);
        let (name, version) = (format!("dn{n}"), "test".to_owned());
        let name =
            NodeName { node: id, name, role: "datanode", version, chaos: Some(ChaosToken::new("known")) };
        let facts = Arc::new(|| NodeFacts { cluster: Some(CLUSTER), epoch: Epoch(1) });
        let service = Arc::new(DatanodeService::new(DatanodeParts {
            store: Arc::new(SharedStore(store.clone())),
            authority: Arc::new(Keyed { node: id, key: key.clone() }),
            ingest: ingest.clone(),
            replica: replica.clone(),
            uploads: upload_nursery,
            copies: copy_nursery,
            links: links.clone(),
            quarantine: Addr::new(&env.clock, 1),
            found: Arc::new(|_, _| {}),
            scrub: (Addr::new(&env.clock, SCRUB_MAILBOX), watch::channel(ScrubStatus::default()).1),
            admin: NodeAdmin::new(name, tree.clone(), env.clone(), facts),
            limits: watch::channel(few()).1,
            clock: env.clock.clone(),
        }));
        let (drain, draining) = watch::channel(false);
        let limits = SessionLimits {
            handshake_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(60),
        };
        let places = PlacesMax { clients: 64, members: 64, operators: 4 };
        let common = SessionCommon {
            service,
            budget: ingest.clone(),
            limits: watch::channel(limits).1,
            draining,
            requests: RequestStats::default(),
            places: Places::new(places, env.clock.clone()),
            knocks: Knocks::default(),
            gate: Gate::Off,
        };
        let (sessions, nursery) =
            SupervisorSpec::one_for_one(&env.clock, "sessions").with_nursery(places.total());
        let bound = Bound::bind(&env, &format!("mem:{n}")).await.unwrap();
        let listen = ListenerArgs { bound, sessions: nursery, common };
        let args = LinksArgs {
            hello: Arc::new(move || hello(id)),
            budget: replica.clone(),
            limits: PeerLimits::default(),
        };
        let spec = SupervisorSpec::one_for_one(&env.clock, "root")
            .intensity(Intensity::OUTER)
            .child(ChildSpec::new::<Links>("replication", &links, args))
            .supervisor(uploads)
            .supervisor(copies)
            .supervisor(sessions)
            .child(ChildSpec::new::<Listener>("listener", &Addr::new(&env.clock, 1), listen));
        let root = Root::start(env, tree.clone(), spec).await.unwrap();
        assert!(root.ready(Duration::from_secs(5)).await);
        Self { id, key, address: format!("mem:{n}"), store, tree, ingest, replica, root, drain }
    }

    /// This node as a target of `grant`.
    pub(crate) fn target(&self, grant: &Grant) -> Target {
        Target { node: self.id, address: self.address.clone(), mac: grant.sign(&self.key) }
    }

    /// Drains the node's sessions.
    pub(crate) fn drain(&self) {
        self.drain.send_replace(true);
    }

    /// Waits until nothing is reserved, open or running for any upload; fails if that takes long.
    pub(crate) async fn settled(&self) {
        for _ in 0..1000 {
            let idle = self.ingest.available() == self.ingest.total()
                && self.replica.available() == self.replica.total()
                && *self.store.writers.lock().unwrap() == 0
                && self.tree.count("streaming") == 0;
            if idle {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!(
            "node {} leaks: {:?} {:?}, {} writers, {} streaming actors",
            self.id,
            self.ingest,
            self.replica,
            self.store.writers.lock().unwrap(),
            self.tree.count("streaming")
        );
    }
}
