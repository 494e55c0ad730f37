//! A datanode: a disk of chunks, its agents, and the port it serves them on.

use std::sync::Arc;

use anyhow::Context as _;
use dfs_actors::datanode::authority::{
    CoordinatorView, Heard, IdentityStore, Joined, NodeAuthority, SelfDescription,
};
use dfs_actors::datanode::chunk_store::{ChunkKey, ChunkStore};
use dfs_actors::datanode::control::{CONTROL_MAILBOX, Control, ControlArgs, ControlLink};
use dfs_actors::datanode::heartbeat::{HeartbeatConfig, HeartbeatMsg, LoadProbe, load_of_store, want_news};
use dfs_actors::datanode::inventory::InventoryConfig;
use dfs_actors::datanode::quarantine::OrphanGcConfig;
use dfs_actors::datanode::replication::{PeerLimits, Replication, ReplicationArgs};
use dfs_actors::datanode::streaming::UploadLimits;
use dfs_actors::datanode::tree::{AgentsArgs, agents};
use dfs_actors::datanode::{DatanodeLimits, DatanodeParts, DatanodeService, Found};
use dfs_actors::env::Env;
use dfs_actors::peer::admin::{NodeAdmin, NodeFacts, NodeName};
use dfs_actors::supervisor::{ActorTree, Addr, ChildSpec, Intensity, Nursery, Root, SupervisorSpec};
use dfs_wire::auth::NodeKey;
use dfs_wire::handshake::{Hello, NodePeer, Peer};
use dfs_wire::id::NodeId;
use dfs_wire::limits::{CONNECTION_CREDIT_BYTES, DATA_FRAME_BYTES};
use dfs_wire::message::membership::NodeLoad;
use dfs_wire::slab::{SlabBudget, SlabPool};
use dfs_wire::status::{Status, StatusCode};
use futures_util::future::BoxFuture;

use super::{Begun, LOOK, Transport, bind, drained, follow, observe, ready, transport};
use crate::config::{self, Config};
use crate::private;
use crate::process::{Context, EXIT_SUPERSEDED};
use crate::store::{DataDir, DirectIo, FileStore, NodeIdentity, OsDisk, ReadMode, StoreConfig};

/// Slabs that an upload would like: 2 MiB keep a disk busy while the next frames are on their way.
const WINDOW_SLABS: usize = 8;
/// Uploads from clients served at once; more wait for their turn, before they hold anything at the replicas.
const UPLOADS_MAX: usize = 64;
/// Of them, those of large chunks. Measured: 64 at once on three nodes that share a disk leave one chunk in ten with a
/// straggler; a third of that keeps the disk as busy.
const BULK_UPLOADS_MAX: usize = 16;
/// Copies from primaries served at once.
const COPIES_MAX: usize = 512;
/// Descriptors of a datanode besides connections and chunk files: directories, the lock, links to others, what is short.
const DESCRIPTORS_OTHER: usize = 512;

/// Opens the disk and starts the tree.
pub(super) async fn start(context: &Context, config: &Config) -> anyhow::Result<Begun> {
    let env = &context.env;
    let fresh = NodeId::time_ordered(env.clock.wall_ms(), env.rng.u128());
    let settings = store_config(config);
    crate::descriptors::raise(descriptors(config));
    // Opening sweeps the whole directory: seconds, on a full disk.
    let opened = tokio::task::spawn_blocking(move || open_store(settings, fresh)).await?;
    let (store, identity) = opened.with_context(|| format!("open {}", config.node.data_dir.display()))?;
    let (bound, listens) = bind(env, config).await?;
    let address = config.node.advertise.clone().unwrap_or_else(|| listens.clone());
    let me = SelfDescription {
        node: identity.node,
        incarnation: identity.incarnation,
        name: config.node.name.clone(),
        zone: config.node.zone.clone().unwrap_or_default(),
        address: address.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let tree = ActorTree::new(config.node.name.clone());
    let parts = Parts { env: env.clone(), me, store, tree: tree.clone() };
    let built = build(parts, config, context);
    let Transport { spec: talk, drain, requests } =
        transport(bound, built.service.clone(), built.budget, &config.node.name, context);
    // The agents come last and go first: a node joins when it can serve, and says goodbye before it cannot.
    let spec = SupervisorSpec::rest_for_one("root").intensity(Intensity::OUTER);
    let spec = spec.supervisor(built.work).supervisor(talk).supervisor(built.agents);
    let root = Root::start(env.clone(), tree.clone(), spec).await?;
    let node = ready(root, tree).await?;
    watch_membership(context, &built.view, &config.node.name);
    observe::places(&context.metrics, &config.node.name, &built.service);
    let (service, admin) = (built.service, built.admin);
    let finish = async move {
        admin.drain();
        drain.send_replace(true);
        // An upload that is answered may still have a copy under way.
        drained(requests, || service.writes_open() + service.reads_open() == 0).await;
    };
    Ok(Begun { node, address, drain: Box::pin(finish) })
}

fn open_store(settings: StoreConfig, fresh: NodeId) -> anyhow::Result<(Arc<FileStore>, NodeIdentity)> {
    let dir = DataDir::open(&settings.data_dir, Arc::new(OsDisk))?;
    dir.layout().outermost().iter().for_each(|path| private::mend(path));
    let (store, report) = FileStore::open(Arc::new(dir), &settings)?;
    for line in &report.damaged {
        tracing::error!(file = ?line, "found damaged at start and moved aside");
    }
    // After the sweep: it makes room on a full disk, and nothing is written to a directory that is refused.
    let identity = store.begin_run(fresh)?;
    Ok((Arc::new(store), identity))
}

/// Files and connections that a datanode of this configuration has open at most.
fn descriptors(config: &Config) -> usize {
    let chunk_files = config.storage.open_files_max + UPLOADS_MAX + COPIES_MAX;
    chunk_files + config.network.places.total() + DESCRIPTORS_OTHER
}

fn store_config(config: &Config) -> StoreConfig {
    let storage = &config.storage;
    StoreConfig {
        io_threads: storage.io_threads,
        queue_depth: storage.queue_depth,
        direct_io: match storage.direct_io {
            config::DirectIo::Auto => DirectIo::Auto,
            config::DirectIo::On => DirectIo::On,
            config::DirectIo::Off => DirectIo::Off,
        },
        read_mode: match storage.read_mode {
            config::ReadMode::Mmap => ReadMode::Mmap,
            config::ReadMode::Pread => ReadMode::Pread,
        },
        reserve_bytes: storage.reserve_bytes,
        group_commit_delay: storage.group_commit_delay,
        open_files_max: storage.open_files_max,
        open_writers_max: UPLOADS_MAX + COPIES_MAX,
        ..StoreConfig::new(&config.node.data_dir)
    }
}

struct Parts {
    env: Env,
    me: SelfDescription,
    store: Arc<FileStore>,
    tree: ActorTree,
}

struct Built {
    work: SupervisorSpec,
    agents: SupervisorSpec,
    service: Arc<DatanodeService>,
    view: Arc<CoordinatorView>,
    admin: NodeAdmin,
    budget: SlabBudget,
}

/// Wires the actors of a datanode together: all addresses first, then whoever holds them.
fn build(parts: Parts, config: &Config, context: &Context) -> Built {
    let Parts { env, me, store, tree } = parts;
    let (ingest, replica) = budgets(config, context);
    let control = Addr::new(CONTROL_MAILBOX);
    let (uploads, upload_nursery) =
        SupervisorSpec::one_for_one("uploads").with_nursery(UPLOADS_MAX.min(ingest.total()));
    let (copies, copy_nursery) =
        SupervisorSpec::one_for_one("copies").with_nursery(COPIES_MAX.min(replica.total()));
    let links = Addr::new(1024);
    let load = Load {
        store: store.clone(),
        budgets: [ingest.clone(), replica.clone()],
        uploads: upload_nursery.clone(),
        copies: copy_nursery.clone(),
        memory_limit: config.memory.limit_bytes as u64,
    };
    let identity = Arc::new(Identity(store.clone()));
    let chunks: Arc<dyn ChunkStore> = store;
    observe::disk(&context.metrics, &me.name, &chunks);
    let (agent_spec, agents) = agents(AgentsArgs {
        me: me.clone(),
        link: Arc::new(ControlLink(control.clone())),
        identity,
        store: chunks.clone(),
        probe: Arc::new(load),
        heartbeat: HeartbeatConfig::default(),
        inventory: InventoryConfig {
            interval: config.cluster.inventory_interval,
            breaker_percent: config.storage.mass_delete_percent,
            ..InventoryConfig::default()
        },
        orphan_gc: OrphanGcConfig {
            interval: config.cluster.gc_interval,
            retention: config.storage.quarantine_retention,
        },
    });
    let view = agents.view.clone();
    let hello = introduction(&me, &view);
    let control_args = ControlArgs {
        coordinator: config.coordinator.address.to_string(),
        hello: hello.clone(),
        budget: replica.clone(),
    };
    let links_args = ReplicationArgs { hello, budget: replica.clone(), limits: PeerLimits::default() };
    let work = SupervisorSpec::one_for_one("datanode")
        .child(ChildSpec::new::<Control>("control", &control, control_args))
        .child(ChildSpec::new::<Replication>("replication", &links, links_args))
        .supervisor(uploads)
        .supervisor(copies);

    let admin = admin(&me, &view, tree, &env, config.chaos.enabled);
    let heartbeat = agents.heartbeat;
    let news = want_news(heartbeat.clone());
    let service = Arc::new(DatanodeService::new(DatanodeParts {
        store: chunks,
        authority: Arc::new(NodeAuthority::new(me.node, view.clone(), env.clock, news)),
        ingest: ingest.clone(),
        replica,
        uploads: upload_nursery,
        copies: copy_nursery,
        links,
        found: found(heartbeat),
        admin: admin.clone(),
        limits: follow(&context.live, limits),
    }));
    Built { work, agents: agent_spec, service, view, admin, budget: ingest }
}

/// Hands on what readers found of copies; the heartbeat tells the coordinator.
fn found(heartbeat: Addr<HeartbeatMsg>) -> Arc<dyn Fn(ChunkKey, Found) + Send + Sync> {
    Arc::new(move |key, found| {
        let word = match found {
            Found::Corrupt => HeartbeatMsg::Corrupt(key),
            Found::Missing => HeartbeatMsg::Missing(key),
        };
        if let Err(error) = heartbeat.try_send(word) {
            tracing::warn!(%key, ?found, %error, "a copy is reported with the next inventory");
        }
    })
}

/// Memory for uploads from clients, and for copies from primaries.
fn budgets(config: &Config, context: &Context) -> (SlabBudget, SlabBudget) {
    let slabs = |bytes: usize| (bytes / DATA_FRAME_BYTES).max(1);
    let ingest = slabs(config.memory.ingest_bytes);
    let replica = slabs(config.memory.replica_bytes);
    let pool = SlabPool::new(ingest + replica);
    let (ingest, replica) = (SlabBudget::new(pool.clone(), ingest), SlabBudget::new(pool, replica));
    for (purpose, budget) in [("ingest", &ingest), ("replica", &replica)] {
        observe::memory(&context.metrics, &config.node.name, purpose, budget);
    }
    (ingest, replica)
}

fn admin(
    me: &SelfDescription,
    view: &Arc<CoordinatorView>,
    tree: ActorTree,
    env: &Env,
    chaos: bool,
) -> NodeAdmin {
    let view = view.clone();
    let facts = move || {
        let known = view.get();
        NodeFacts { cluster: known.cluster, epoch: known.epoch }
    };
    let version = env!("CARGO_PKG_VERSION");
    let name = NodeName { node: me.node, name: me.name.clone(), role: "datanode", version, chaos };
    NodeAdmin::new(name, tree, env.clone(), Arc::new(facts))
}

fn limits(config: &Config) -> DatanodeLimits {
    let upload = UploadLimits {
        straggler: config.cluster.straggler_timeout,
        idle: config.network.stream_idle_timeout,
        ..UploadLimits::default()
    };
    // A read holds at most a few MiB of mapped or copied pieces at a time.
    let reads_max = (config.memory.read_bytes / (4 * 1024 * 1024)).clamp(4, 1024);
    DatanodeLimits {
        upload,
        window_slabs: WINDOW_SLABS,
        prepare_timeout: config.network.prepare_timeout,
        reads_max,
        bulk_uploads_max: BULK_UPLOADS_MAX,
    }
}

fn introduction(me: &SelfDescription, view: &Arc<CoordinatorView>) -> Arc<dyn Fn() -> Hello + Send + Sync> {
    let peer = NodePeer { node: me.node, incarnation: me.incarnation, name: me.name.clone() };
    let view = view.clone();
    Arc::new(move || Hello {
        cluster: view.get().cluster,
        peer: Peer::Datanode(peer.clone()),
        credentials: Vec::new(),
        features: 0,
        connection_credit: CONNECTION_CREDIT_BYTES,
    })
}

/// Keeps the readiness of the process in step with the membership, and ends it when the coordinator says so.
fn watch_membership(context: &Context, view: &Arc<CoordinatorView>, name: &str) {
    let (readiness, shutdown) = (context.readiness.part(name), context.shutdown.clone());
    let (view, name) = (view.clone(), name.to_owned());
    tokio::spawn(async move {
        let told = view.told_to_stop();
        tokio::pin!(told);
        let mut was = None;
        loop {
            let known = view.get();
            let now = Some((known.active, known.refusal.clone()));
            if was != now && shutdown.phase() == crate::shutdown::Phase::Running {
                was = now;
                let why = known.refusal.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
                match known.active {
                    true => readiness.ready(),
                    false => {
                        readiness.not_ready(format!("{name} is not registered with the coordinator{why}"))
                    }
                }
            }
            tokio::select! {
                biased;
                status = &mut told => {
                    tracing::error!(%status, "the coordinator told this node to stop");
                    shutdown.stop_with(EXIT_SUPERSEDED);
                    return;
                }
                () = shutdown.stopping() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    });
}

/// The membership, kept in the data directory.
struct Identity(Arc<FileStore>);

impl IdentityStore for Identity {
    fn joined(&self) -> Option<Joined> {
        let NodeIdentity { cluster, node_key, epoch, position, .. } = self.0.data_dir().identity()?;
        Some(Joined { cluster: cluster?, key: NodeKey(node_key?), epoch, position })
    }

    fn save(&self, joined: Joined) -> BoxFuture<'static, Result<(), Status>> {
        let Joined { cluster, key, epoch, position } = joined;
        let (cluster, node_key) = (Some(cluster), Some(key.0));
        let change = move |known: NodeIdentity| NodeIdentity { cluster, node_key, epoch, position, ..known };
        if self.0.data_dir().identity().is_none() {
            let none = Status::new(StatusCode::DiskFailed, "the data directory has no identity");
            return Box::pin(async { Err(none) });
        }
        self.change(move |known| known.map(change))
    }

    fn keep(&self, heard: Heard) -> BoxFuture<'static, Result<(), Status>> {
        let Heard { epoch, position } = heard;
        match self.0.data_dir().identity() {
            Some(known) if known.epoch == epoch && known.position >= position => Box::pin(async { Ok(()) }),
            Some(known) if known.epoch == epoch => self.change(move |known| {
                let older = |known: &NodeIdentity| known.epoch == epoch && known.position < position;
                known.filter(older).map(|known| NodeIdentity { position, ..known })
            }),
            _ => {
                let text = format!("epoch {epoch} is not the one that took this node in last");
                Box::pin(async { Err(Status::new(StatusCode::StaleEpoch, text)) })
            }
        }
    }
}

impl Identity {
    fn change(
        &self,
        change: impl FnOnce(Option<NodeIdentity>) -> Option<NodeIdentity> + Send + 'static,
    ) -> BoxFuture<'static, Result<(), Status>> {
        let changing = self.0.change_identity(change);
        Box::pin(
            async move { changing.await.map_err(|e| Status::new(StatusCode::DiskFailed, e.to_string())) },
        )
    }
}

/// What the node reports of its load.
struct Load {
    store: Arc<FileStore>,
    budgets: [SlabBudget; 2],
    uploads: Nursery,
    copies: Nursery,
    memory_limit: u64,
}

impl LoadProbe for Load {
    fn load(&self) -> NodeLoad {
        let slabs: usize = self.budgets.iter().map(|b| b.total() - b.available()).sum();
        NodeLoad {
            write_streams: u32::try_from(self.uploads.taken() + self.copies.taken()).unwrap_or(u32::MAX),
            memory_reserved: (slabs * DATA_FRAME_BYTES) as u64,
            memory_limit: self.memory_limit,
            ..load_of_store(&self.store.stats())
        }
    }
}
