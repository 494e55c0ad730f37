//! The two roles as processes of the simulated world: the trees of actors that the real ones run, over the real chunk
//! store and the real metadata engine, with a simulated disk below and a simulated network around them.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dfs_actors::budgets::{BULK_UPLOADS_MAX, INLINE_SLABS, WINDOW_SLABS};
use dfs_actors::coordinator::gc::GcConfig;
use dfs_actors::coordinator::metadata::migrate;
use dfs_actors::coordinator::metadata::model::records::RevokedKeys;
use dfs_actors::coordinator::metadata::model::time::ReignClock;
use dfs_actors::coordinator::metadata::ops::{Policy, cluster};
use dfs_actors::coordinator::metadata::reader::{LaneFull, ReadFor, ReadLane};
use dfs_actors::coordinator::metadata::writer::{CommitLane, LaneJob};
use dfs_actors::coordinator::tree::{CoordinatorArgs, coordinator};
use dfs_actors::coordinator::{CoordinatorConfig, Dialing, RepairConfig, Trust, Unwrapped};
use dfs_actors::datanode::DatanodeLimits;
use dfs_actors::datanode::authority::{CoordinatorView, SelfDescription};
use dfs_actors::datanode::chunk_store::ChunkStore;
use dfs_actors::datanode::heartbeat::HeartbeatConfig;
use dfs_actors::datanode::inventory::InventoryConfig;
use dfs_actors::datanode::quarantine::QuarantineConfig;
use dfs_actors::datanode::scrub::ScrubConfig;
use dfs_actors::datanode::streaming::UploadLimits;
use dfs_actors::datanode::tree::{DatanodeArgs, DatanodeMemory, datanode};
use dfs_actors::env::{Clock, Env, SeededRng};
use dfs_actors::peer::admin::{NodeAdmin, NodeFacts, NodeName};
use dfs_actors::peer::gate::Gate;
use dfs_actors::peer::listener::Bound;
use dfs_actors::peer::session::{Class, Places, PlacesMax, RequestStats, Service, SessionLimits};
use dfs_actors::peer::tree::{Transport, TransportArgs, transport};
use dfs_actors::supervisor::{ActorTree, Exit, Root, SupervisorSpec};
use dfs_actors::watch;
use dfs_node::metadata::redb::{RedbOptions, RedbStore};
use dfs_node::store::{
    DataDir, DirectIo, FileStore, NodeIdentity, StoreConfig, StoredCursor, StoredIdentity,
};
use dfs_wire::auth::ClusterKey;
use dfs_wire::id::{ClusterId, NodeId};
use dfs_wire::identity::Identity;
use dfs_wire::slab::{SlabBudget, SlabPool};

use super::disk::{Medium, SimDisk};
use super::host::{Birth, Ending};
use super::id::HostId;
use super::net::Port;

/// Version of the software, as nodes tell it.
const VERSION: &str = "simulated";
/// Patience with a tree that starts, and with a peer that does not speak.
const PATIENCE: Duration = Duration::from_secs(5);
/// Slabs of a datanode for uploads, and as many for copies.
const SLABS: usize = 64;
/// How often a process that drains looks whether it is done.
const LOOK: Duration = Duration::from_millis(50);
const SECOND_MS: u64 = 1000;
/// So long what was replaced can still be read by who had opened it.
pub(super) const READ_LEASE_MS: u64 = 10 * SECOND_MS;
/// The data directory of a datanode.
pub(super) const DATA_DIR: &str = "/data";
const DATABASE: &str = "/metadata.redb";

/// Where a process starts.
pub(super) struct Site {
    pub(super) birth: Birth,
    pub(super) port: Port,
    pub(super) medium: Medium,
    pub(super) seed: u64,
    pub(super) probe: Probe,
}

impl Site {
    fn env(&self) -> Env {
        let rng = SeededRng::new(self.seed ^ u64::from(self.birth.life) << 32);
        Env::new(Arc::new(self.birth.clock.clone()), Arc::new(self.port.clone()), Arc::new(rng))
    }
}

/// What can be seen of a process from outside, without asking it. It outlives the process.
#[derive(Clone, Default)]
pub(super) struct Probe(Arc<Mutex<Seen>>);

/// See [`Probe`].
#[derive(Default)]
pub(super) struct Seen {
    pub(super) tree: Option<ActorTree>,
    pub(super) store: Option<Arc<FileStore>>,
    /// Whom a datanode obeys, and whether it has joined in this life.
    pub(super) authority: Option<Arc<CoordinatorView>>,
    /// Budgets of buffers, and what each is for.
    pub(super) budgets: Vec<(&'static str, SlabBudget)>,
    /// Who is connected, and what was asked for.
    pub(super) talk: Option<Talk>,
    /// How many chunks a datanode takes and gives.
    pub(super) transfers: Option<Box<dyn Fn() -> u32 + Send>>,
}

/// See [`Seen`].
pub(super) struct Talk {
    places: Places,
    requests: RequestStats,
}

impl Talk {
    /// What is left of what clients have asked for, once they are gone: nothing should be. Of `members` there may be as many.
    pub(super) fn leftovers(&self, members: usize) -> Vec<String> {
        let taken = self.places.tally().into_iter().map(|(class, tally)| {
            let may_be = if class == Class::Member { members } else { 0 };
            let taken = tally.taken;
            (taken > may_be).then(|| format!("{taken} connections of class {}", class.name()))
        });
        let (streams, credit) = self.places.under_way();
        let counts = [
            (self.places.leaving() as u64, "connections that were told to go"),
            (self.requests.open(), "requests without an answer"),
            (streams as u64, "streams"),
            (credit, "bytes of credit that peers hold"),
        ];
        let counts = counts.into_iter().filter(|(count, _)| *count > 0);
        taken.flatten().chain(counts.map(|(count, what)| format!("{count} {what}"))).collect()
    }
}

impl Seen {
    /// A budget of whose pool more is in use than all its budgets have.
    pub(super) fn overdrawn(&self) -> Option<String> {
        let (_, first) = self.budgets.first()?;
        let (used, most) =
            (first.pool().in_use(), self.budgets.iter().map(|(_, budget)| budget.total()).sum());
        (used > most).then(|| format!("{used} slabs are in use, {most} is the most"))
    }
}

impl Probe {
    pub(super) fn look(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The times of a cluster that has little: what takes minutes and hours elsewhere takes seconds here.
fn policy() -> Policy {
    Policy {
        upload_lease_ms: 20 * SECOND_MS,
        read_lease_ms: READ_LEASE_MS,
        trash_ms: 10 * SECOND_MS,
        orphan_grace_ms: 30 * SECOND_MS,
        ..Policy::default()
    }
}

/// The cache of the metadata engine, and its reserve: a world has six disks in memory.
fn engine() -> RedbOptions {
    RedbOptions { cache_bytes: 4 << 20, check_on_open_bytes_max: 64 << 20, reserve_bytes: 0 }
}

/// Commits and reads of the metadata: each takes the time of its disk.
struct Lane(SimDisk);

impl CommitLane for Lane {
    fn run(&self, job: LaneJob) {
        self.0.work(job);
    }
}

impl ReadLane for Lane {
    fn run(&self, _: ReadFor, job: LaneJob) -> Result<(), LaneFull> {
        self.0.work(job);
        Ok(())
    }

    fn waiting(&self) -> usize {
        0
    }
}

/// Some clusters wait for nodes that are away for longer than they ever are, others hardly at all.
fn repair(seed: u64) -> RepairConfig {
    let grace =
        if seed.is_multiple_of(2) { RepairConfig::default().grace } else { Duration::from_secs(seed % 16) };
    RepairConfig { grace, ..RepairConfig::default() }
}

/// A coordinator: opens the metadata, serves, and stops in order when it is asked to.
pub(super) async fn run_coordinator(site: Site) -> Ending {
    let (env, name) = (site.env(), HostId::COORDINATOR.address());
    let disk = site.medium.mount(&site.birth);
    let (files, lane) = (disk.clone(), Arc::new(Lane(disk)));
    let store = RedbStore::open_on(files, Path::new(DATABASE), &engine());
    let store = Arc::new(store.map_err(said)?);
    let mut key = [0; 32];
    env.rng.fill(&mut key);
    let now_ms = env.clock.wall_ms();
    let fresh = ClusterId::time_ordered(now_ms, env.rng.u128());
    let reign = cluster::open(store.as_ref(), fresh, &ClusterKey(key), &Unwrapped, now_ms).map_err(said)?;
    site.port.prove(Identity::Coordinator(NodeId(reign.cluster.0)));
    migrate::run(store.as_ref(), &reign).map_err(said)?;
    let time = ReignClock::from(Arc::clone(&env.clock), reign.time_ms);
    let tree = ActorTree::new(site.birth.host.to_string());
    let facts = NodeFacts { cluster: Some(reign.cluster), epoch: reign.epoch };
    let named = node_name(NodeId(reign.cluster.0), &name, "coordinator");
    let admin = NodeAdmin::new(named, tree.clone(), env.clone(), Arc::new(move || facts));
    let built = coordinator(CoordinatorArgs {
        env: env.clone(),
        store,
        lane: lane.clone(),
        reads: lane,
        doorbell: Arc::new(Dialing::new(env.clone(), reign.cluster)),
        trust: Trust::new(None, &RevokedKeys::default()),
        reign,
        time,
        config: CoordinatorConfig { policy: policy(), ..CoordinatorConfig::new(VERSION) },
        gc: GcConfig { interval: Duration::from_secs(5), ..GcConfig::default() },
        repair: repair(site.seed),
        admin: admin.clone(),
    })
    .map_err(said)?;
    let budget = SlabBudget::new(SlabPool::new(INLINE_SLABS), INLINE_SLABS);
    {
        let mut seen = site.probe.look();
        let budgets = vec![("inline", budget.clone())];
        *seen = Seen { tree: Some(tree.clone()), budgets, ..Seen::default() };
    }
    let talk = talk(&site, &env, built.service.clone(), budget).await?;
    let (drain, requests) = (talk.drain, talk.requests);
    let root = start(&env, tree, built.root(talk.spec)).await?;
    run(&site, root, || {
        admin.drain();
        drain.send_replace(true);
        Box::new(move || requests.open() == 0)
    })
    .await
}

/// A disk that comes back from an old copy of a world's few files has more to delete than to keep, which stops a node in
/// earnest until its operator has looked.
fn inventory() -> InventoryConfig {
    InventoryConfig { interval: Duration::from_secs(20), breaker_percent: 100, ..InventoryConfig::default() }
}

/// Everything is read several times while a world lives.
fn scrub() -> ScrubConfig {
    ScrubConfig {
        period: Duration::from_secs(20),
        save_every: Duration::from_secs(5),
        recheck: Duration::from_secs(10),
        ..ScrubConfig::default()
    }
}

/// A datanode: opens the disk, joins, serves, and stops in order when it is asked to.
pub(super) async fn run_datanode(site: Site) -> Ending {
    let (env, name) = (site.env(), site.birth.host.address());
    let disk = site.medium.mount(&site.birth);
    let fresh = NodeId::time_ordered(env.clock.wall_ms(), env.rng.u128());
    let (store, identity) = open_store(disk, fresh)?;
    site.port.prove(Identity::Datanode(identity.node));
    let tree = ActorTree::new(site.birth.host.to_string());
    let pool = SlabPool::new(2 * SLABS);
    let (ingest, replica) = (SlabBudget::new(pool.clone(), SLABS), SlabBudget::new(pool, SLABS));
    {
        let mut seen = site.probe.look();
        let budgets = vec![("ingest", ingest.clone()), ("replica", replica.clone())];
        *seen = Seen { tree: Some(tree.clone()), store: Some(store.clone()), budgets, ..Seen::default() };
    }
    let me = SelfDescription {
        node: identity.node,
        incarnation: identity.incarnation,
        name: site.birth.host.to_string(),
        zone: name.clone(),
        address: name.clone(),
        version: VERSION.to_owned(),
    };
    let built = datanode(DatanodeArgs {
        env: env.clone(),
        me,
        tree: tree.clone(),
        chaos: None,
        coordinator: HostId::COORDINATOR.address(),
        store: store.clone(),
        identity: Arc::new(StoredIdentity::new(store.clone())),
        memory: DatanodeMemory { ingest: ingest.clone(), replica, limit_bytes: 0 },
        limits: fixed(DatanodeLimits {
            upload: UploadLimits::default(),
            window_slabs: WINDOW_SLABS,
            prepare_timeout: PATIENCE,
            reads_max: 64,
            bulk_uploads_max: BULK_UPLOADS_MAX,
        }),
        heartbeat: HeartbeatConfig::default(),
        inventory: inventory(),
        quarantine: QuarantineConfig { interval: Duration::from_secs(5), retention: Duration::from_secs(20) },
        scrub: (scrub(), Arc::new(StoredCursor::new(store.clone()))),
    });
    let (service, admin, view) = (built.service.clone(), built.admin.clone(), built.view.clone());
    let transfers = built.service.clone();
    {
        let mut seen = site.probe.look();
        seen.authority = Some(built.view.clone());
        seen.transfers = Some(Box::new(move || transfers.writes_open() + transfers.reads_open()));
    }
    let talk = talk(&site, &env, built.service.clone(), ingest).await?;
    let (drain, requests) = (talk.drain, talk.requests);
    let root = start(&env, tree, built.root(talk.spec)).await?;
    let serving = run(&site, root, || {
        admin.drain();
        drain.send_replace(true);
        Box::new(move || requests.open() == 0 && service.writes_open() + service.reads_open() == 0)
    });
    let ending = tokio::select! {
        biased; // There are two ends, and one comes once.
        ending = serving => ending,
        status = view.told_to_stop() => return Err(format!("the coordinator told it to stop: {status}")),
    };
    store.close().await;
    ending
}

fn open_store(disk: SimDisk, fresh: NodeId) -> Result<(Arc<FileStore>, NodeIdentity), String> {
    let dir = DataDir::open(DATA_DIR, Arc::new(disk)).map_err(said)?;
    let config = StoreConfig {
        io_threads: 0,
        direct_io: DirectIo::Off,
        reserve_bytes: 1 << 20,
        open_files_max: 64,
        ..StoreConfig::new(DATA_DIR)
    };
    let (store, _report) = FileStore::open(Arc::new(dir), &config).map_err(said)?;
    let identity = store.begin_run(fresh).map_err(said)?;
    Ok((Arc::new(store), identity))
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

async fn start(env: &Env, tree: ActorTree, spec: SupervisorSpec) -> Result<Root, String> {
    let root = Root::start(env.clone(), tree.clone(), spec).await.map_err(said)?;
    match root.ready(PATIENCE).await {
        true => Ok(root),
        false => Err(format!("the actors of {} do not start: {:?}", tree.node(), tree.snapshot())),
    }
}

/// Runs a tree until it ends, or until it has stopped in order. `drain` lets it take nothing new, and says how it is known
/// that it is done.
async fn run(site: &Site, root: Root, drain: impl FnOnce() -> Box<dyn Fn() -> bool + Send + Sync>) -> Ending {
    tokio::select! {
        biased;
        exit = root.wait() => return ended(exit),
        () = site.birth.stop.notified() => {}
    }
    let done = drain();
    let clock: Arc<dyn Clock> = Arc::new(site.birth.clock.clone());
    let idle = async {
        while !done() {
            clock.sleep(LOOK).await;
        }
    };
    // As the real process: what is not done by then is cut off.
    let _ = clock.timeout(Duration::from_secs(30), idle).await;
    ended(root.shutdown().await)
}

fn ended(exit: Exit) -> Ending {
    match exit {
        Exit::Stopped => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

fn node_name(node: NodeId, name: &str, role: &'static str) -> NodeName {
    NodeName { node, name: name.to_owned(), role, version: VERSION.to_owned(), chaos: None }
}

/// The part of a node that talks.
async fn talk(
    site: &Site,
    env: &Env,
    service: Arc<dyn Service>,
    budget: SlabBudget,
) -> Result<Transport, String> {
    let bound = Bound::bind(env, &site.birth.host.address()).await.map_err(said)?;
    let places = PlacesMax { clients: 64, members: 64, operators: 4 };
    let places = Places::new(places, env.clock.clone());
    let talk = transport(TransportArgs {
        bound,
        service,
        budget,
        limits: fixed(SessionLimits { handshake_timeout: PATIENCE, idle_timeout: Duration::from_secs(60) }),
        places: places.clone(),
        clock: env.clock.clone(),
        gate: Gate::Required,
    });
    site.probe.look().talk = Some(Talk { places, requests: talk.requests.clone() });
    Ok(talk)
}

/// Limits that nobody changes.
fn fixed<T>(value: T) -> watch::Receiver<T> {
    watch::channel(value).1
}
