//! Nodes without a process: the trees of both roles, over what lies in memory.

use std::sync::Arc;
use std::time::Duration;

use dfs_actors::budgets::{BULK_UPLOADS_MAX, INLINE_SLABS, WINDOW_SLABS};
use dfs_actors::coordinator::gc::GcConfig;
use dfs_actors::coordinator::metadata::model::time::ReignClock;
use dfs_actors::coordinator::metadata::ops::cluster;
use dfs_actors::coordinator::metadata::table::memory::MemoryStore;
use dfs_actors::coordinator::metadata::writer::InlineLane;
use dfs_actors::coordinator::tree::{CoordinatorArgs, coordinator};
use dfs_actors::coordinator::{CoordinatorConfig, Dialing};
use dfs_actors::datanode::DatanodeLimits;
use dfs_actors::datanode::authority::SelfDescription;
use dfs_actors::datanode::heartbeat::HeartbeatConfig;
use dfs_actors::datanode::inventory::InventoryConfig;
use dfs_actors::datanode::quarantine::QuarantineConfig;
use dfs_actors::datanode::streaming::UploadLimits;
use dfs_actors::datanode::tree::{DatanodeArgs, DatanodeMemory, datanode};
use dfs_actors::env::Env;
use dfs_actors::peer::admin::{NodeAdmin, NodeFacts, NodeName};
use dfs_actors::peer::listener::Bound;
use dfs_actors::peer::session::{Places, PlacesMax, Service, SessionLimits};
use dfs_actors::peer::tree::{Transport, TransportArgs, transport};
use dfs_actors::supervisor::{ActorTree, Exit, Root, SupervisorSpec};
use dfs_wire::auth::ClusterKey;
use dfs_wire::id::{ClusterId, Incarnation, NodeId};
use dfs_wire::slab::{SlabBudget, SlabPool};
use tokio::sync::watch;

use super::store::{MemIdentity, MemStore};

/// Version of the software, as nodes tell it.
const VERSION: &str = "simulated";
/// Patience with a tree that starts, and with a peer that does not speak.
const PATIENCE: Duration = Duration::from_secs(5);
/// Slabs of a datanode for uploads, and as many for copies.
const SLABS: usize = 128;

/// A running node.
pub struct SimNode {
    tree: ActorTree,
    root: Root,
    /// As long as it is there, sessions take requests. To be dropped after they have ended: a `watch` wakes those who wait
    /// for it in a random order.
    _drain: watch::Sender<bool>,
    store: Option<MemStore>,
}

impl SimNode {
    /// A coordinator of a new cluster, which listens at `name`, an address.
    pub(super) async fn coordinator(env: Env, name: &str) -> Self {
        let time = ReignClock::new(env.clock.clone());
        let store = Arc::new(MemoryStore::new());
        let mut key = [0; 32];
        env.rng.fill(&mut key);
        let fresh = ClusterId::time_ordered(time.now_ms(), env.rng.u128());
        let reign = cluster::open(store.as_ref(), fresh, &ClusterKey(key), time.now_ms())
            .expect("an empty store can be opened");
        let tree = ActorTree::new(name);
        let facts = NodeFacts { cluster: Some(reign.cluster), epoch: reign.epoch };
        let admin = NodeAdmin::new(
            node_name(NodeId(reign.cluster.0), name, "coordinator"),
            tree.clone(),
            env.clone(),
            Arc::new(move || facts),
        );
        let built = coordinator(CoordinatorArgs {
            env: env.clone(),
            store,
            lane: Arc::new(InlineLane),
            reads: Arc::new(InlineLane),
            doorbell: Arc::new(Dialing::new(env.clone(), reign.cluster)),
            reign,
            time,
            config: CoordinatorConfig::new(VERSION),
            gc: GcConfig::default(),
            admin,
        })
        .expect("the metadata can be read");
        let budget = SlabBudget::new(SlabPool::new(INLINE_SLABS), INLINE_SLABS);
        let talk = talk(&env, name, built.service.clone(), budget).await;
        Self::start(env, tree, built.root(talk.spec), talk.drain, None).await
    }

    /// A datanode that listens at `name`, an address, and joins the cluster of the coordinator at `coordinator`.
    pub(super) async fn datanode(env: Env, name: &str, coordinator: &str) -> Self {
        let store = MemStore::new(name);
        let tree = ActorTree::new(name);
        let pool = SlabPool::new(2 * SLABS);
        let (ingest, replica) = (SlabBudget::new(pool.clone(), SLABS), SlabBudget::new(pool, SLABS));
        let me = SelfDescription {
            node: NodeId::time_ordered(env.clock.wall_ms(), env.rng.u128()),
            incarnation: Incarnation(1),
            name: name.to_owned(),
            zone: name.to_owned(),
            address: name.to_owned(),
            version: VERSION.to_owned(),
        };
        let built = datanode(DatanodeArgs {
            env: env.clone(),
            me,
            tree: tree.clone(),
            chaos: false,
            coordinator: coordinator.to_owned(),
            store: Arc::new(store.clone()),
            identity: Arc::new(MemIdentity::default()),
            memory: DatanodeMemory { ingest: ingest.clone(), replica, limit_bytes: 0 },
            limits: fixed(DatanodeLimits {
                upload: UploadLimits::default(),
                window_slabs: WINDOW_SLABS,
                prepare_timeout: PATIENCE,
                reads_max: 64,
                bulk_uploads_max: BULK_UPLOADS_MAX,
            }),
            heartbeat: HeartbeatConfig::default(),
            inventory: InventoryConfig::default(),
            quarantine: QuarantineConfig::default(),
        });
        let talk = talk(&env, name, built.service.clone(), ingest).await;
        Self::start(env, tree, built.root(talk.spec), talk.drain, Some(store)).await
    }

    async fn start(
        env: Env,
        tree: ActorTree,
        spec: SupervisorSpec,
        drain: watch::Sender<bool>,
        store: Option<MemStore>,
    ) -> Self {
        let root = Root::start(env, tree.clone(), spec).await.expect("the runtime takes actors");
        assert!(root.ready(PATIENCE).await, "the actors of {} start: {:?}", tree.node(), tree.snapshot());
        Self { tree, root, _drain: drain, store }
    }

    /// Its actors.
    pub fn tree(&self) -> &ActorTree {
        &self.tree
    }

    /// Committed chunks; a coordinator has none.
    pub fn chunks(&self) -> usize {
        self.store.as_ref().map_or(0, MemStore::len)
    }

    pub(super) async fn stop(self) {
        let exit = self.root.shutdown().await;
        assert_eq!(exit, Exit::Stopped, "{} stops in order", self.tree.node());
    }
}

fn node_name(node: NodeId, name: &str, role: &'static str) -> NodeName {
    NodeName { node, name: name.to_owned(), role, version: VERSION.to_owned(), chaos: false }
}

/// The part of a node that talks.
async fn talk(env: &Env, name: &str, service: Arc<dyn Service>, budget: SlabBudget) -> Transport {
    let bound = Bound::bind(env, name).await.expect("nobody else has this name");
    let places = PlacesMax { clients: 64, members: 64, operators: 4 };
    transport(TransportArgs {
        bound,
        service,
        budget,
        limits: fixed(SessionLimits { handshake_timeout: PATIENCE, idle_timeout: Duration::from_secs(60) }),
        places: Places::new(places, env.clock.clone()),
        clock: env.clock.clone(),
    })
}

/// Limits that nobody changes.
fn fixed<T>(value: T) -> watch::Receiver<T> {
    watch::channel(value).1
}
