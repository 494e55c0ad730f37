//! A datanode: a disk of chunks, its agents, and the port it serves them on.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use dfs_actors::budgets::{
    BULK_UPLOADS_MAX, COPIES_MAX, READ_BYTES, READS_MAX, READS_MIN, UPLOADS_MAX, WINDOW_SLABS,
};
use dfs_actors::datanode::DatanodeLimits;
use dfs_actors::datanode::authority::{CoordinatorView, SelfDescription};
use dfs_actors::datanode::chunk_store::ChunkStore;
use dfs_actors::datanode::heartbeat::HeartbeatConfig;
use dfs_actors::datanode::inventory::InventoryConfig;
use dfs_actors::datanode::quarantine::QuarantineConfig;
use dfs_actors::datanode::scrub::ScrubConfig;
use dfs_actors::datanode::streaming::UploadLimits;
use dfs_actors::datanode::tree::{DatanodeArgs, DatanodeMemory, datanode};
use dfs_actors::peer::gate::Gate;
use dfs_actors::peer::tree::Transport;
use dfs_actors::supervisor::{ActorTree, Root};
use dfs_wire::handshake::{NodePeer, Peer};
use dfs_wire::id::NodeId;
use dfs_wire::identity::Identity;
use dfs_wire::limits::DATA_FRAME_BYTES;
use dfs_wire::slab::{SlabBudget, SlabPool};
use dfs_wire::tls::Tls;

use super::{Begun, LOOK, bind, drained, follow, observe, ready, talk};
use crate::config::Config;
use crate::private;
use crate::process::{EXIT_SUPERSEDED, RoleContext};
use crate::security;
use crate::security::enroll::{Joiner, Renewal};
use crate::security::{Disbelief, Given, enroll};
use crate::store::{DataDir, FileStore, NodeIdentity, OsDisk, StoreConfig, StoredCursor, StoredIdentity};

/// Descriptors of a datanode besides connections and chunk files: directories, the lock, links to others, what is short.
const DESCRIPTORS_OTHER: usize = 512;

/// Opens the disk and starts the tree.
pub(super) async fn start(context: &RoleContext, config: &Config) -> anyhow::Result<Begun> {
    let env = &context.env;
    let fresh = NodeId::time_ordered(env.clock.wall_ms(), env.rng.u128());
    let settings = store_config(config);
    crate::descriptors::raise(descriptors(config));
    // Opening sweeps the whole directory: seconds, on a full disk.
    let opened = tokio::task::spawn_blocking(move || open_store(settings, fresh)).await?;
    let (store, identity) = opened.with_context(|| format!("open {}", config.node.data_dir.display()))?;
    identify(context, config, &identity).await?;
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
    let memory = memory(config, context);
    let chunks: Arc<dyn ChunkStore> = store.clone();
    observe::disk(&context.metrics, &config.node.name, &chunks);
    let built = datanode(DatanodeArgs {
        env: env.clone(),
        me,
        tree: tree.clone(),
        chaos: config.chaos.enabled.then(|| config.chaos.token.clone()),
        coordinator: config.coordinator.address.to_string(),
        store: chunks,
        identity: Arc::new(StoredIdentity::new(store.clone())),
        memory: memory.clone(),
        limits: follow(&context.live, limits),
        heartbeat: HeartbeatConfig::default(),
        inventory: InventoryConfig {
            interval: config.cluster.inventory_interval,
            breaker_percent: config.storage.mass_delete_percent,
            ..InventoryConfig::default()
        },
        quarantine: QuarantineConfig {
            interval: config.cluster.gc_interval,
            retention: config.storage.quarantine_retention,
        },
        scrub: (scrub(config), Arc::new(StoredCursor::new(store))),
    });
    let (service, admin, view) = (built.service.clone(), built.admin.clone(), built.view.clone());
    let known = view.clone();
    context.security.disbelieve(Disbelief(Arc::new(move |key| known.get().revoked.keys.contains(key))));
    let Transport { spec: talk, drain, requests, .. } =
        talk(bound, service.clone(), memory.ingest, &config.node.name, context);
    let root = Root::start(env.clone(), tree.clone(), built.root(talk)).await?;
    let node = ready(root, tree).await?;
    watch_membership(context, &view, &config.node.name);
    observe::places(&context.metrics, &config.node.name, &service);
    observe::scrub(&context.metrics, &config.node.name, &service);
    let finish = async move {
        admin.drain();
        drain.send_replace(true);
        // An upload that is answered may still have a copy under way.
        drained(requests, || service.writes_open() + service.reads_open() == 0).await;
    };
    Ok(Begun { node, address, drain: Box::pin(finish) })
}

/// Makes this node somebody to others: with the identity that it was given, with a join token, or by an operator's authority.
async fn identify(context: &RoleContext, config: &Config, node: &NodeIdentity) -> anyhow::Result<()> {
    let (security, me) = (&config.security, Identity::Datanode(node.node));
    if security.mode == Gate::Off {
        return Ok(());
    }
    if security.own.is_some() {
        return context.security.must_be(&me);
    }
    let given = security::given(&security.directory, &me)?;
    let token = security.join_token_file.as_deref();
    if let Given::Useless(why) = &given {
        anyhow::ensure!(
            token.is_some(),
            "{why}: name a join token (security.join_token_file), or move it away"
        );
        tracing::warn!(why, "this node joins anew");
    }
    match (given, token) {
        (Given::Own(tls), _) => {
            enroll::forget_joining(&security.directory);
            adopt(context, config, node, tls);
        }
        (Given::Nothing | Given::Useless(_), Some(token)) => {
            let joining = join(context.clone(), config.clone(), node.clone(), token.to_owned());
            match security.mode {
                // Meanwhile it goes on as it is.
                Gate::Permissive => drop(tokio::spawn(async {
                    if let Err(error) = joining.await {
                        tracing::error!(
                            error = format!("{error:#}"),
                            "this node did not join, and stays without a certificate"
                        );
                    }
                })),
                _ => joining.await?,
            }
        }
        // It goes on as it is until somebody gives it a token.
        (_, None) if security.mode == Gate::Permissive => {}
        (_, None) => return Err(security::NoIdentity { directory: security.directory.clone() }.into()),
    }
    Ok(())
}

/// Joins, however long that takes. A process that is asked to stop meanwhile has nothing else to finish.
async fn join(
    context: RoleContext,
    config: Config,
    node: NodeIdentity,
    token: PathBuf,
) -> anyhow::Result<()> {
    let joiner = Joiner {
        node: node.node,
        name: &config.node.name,
        coordinator: &config.coordinator.address,
        dir: &config.security.directory,
        token: &token,
        make: crate::env::system,
    };
    let readiness = context.readiness.part(&config.node.name);
    let told = |why: &str| {
        // One that serves meanwhile says itself whether it does.
        if config.security.mode == Gate::Required {
            readiness.not_ready(format!("not in the cluster yet: {why}"));
        }
    };
    let tls = tokio::select! {
        biased;
        () = context.shutdown.draining() => {
            if config.security.mode == Gate::Required {
                context.shutdown.stop();
            }
            return Ok(());
        }
        joined = joiner.join(told) => joined?,
    };
    adopt(&context, &config, &node, tls);
    Ok(())
}

/// From now on this node is somebody, and renews its certificate.
fn adopt(context: &RoleContext, config: &Config, node: &NodeIdentity, tls: Tls) {
    context.security.adopt(tls);
    let peer = NodePeer { node: node.node, incarnation: node.incarnation, name: config.node.name.clone() };
    let renewal = Arc::new(Renewal::new(
        context.env.clone(),
        Peer::Datanode(peer),
        config.coordinator.address.clone(),
        config.security.directory.clone(),
    ));
    let renew = move || {
        let renewal = renewal.clone();
        async move { renewal.renew().await }
    };
    tokio::spawn(security::keep_renewed(context.security.clone(), renew));
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
        direct_io: storage.direct_io,
        read_mode: storage.read_mode,
        reserve_bytes: storage.reserve_bytes,
        group_commit_delay: storage.group_commit_delay,
        open_files_max: storage.open_files_max,
        open_writers_max: UPLOADS_MAX + COPIES_MAX,
        ..StoreConfig::new(&config.node.data_dir)
    }
}

/// Memory for uploads from clients, and for copies from primaries.
fn memory(config: &Config, context: &RoleContext) -> DatanodeMemory {
    let slabs = |bytes: usize| (bytes / DATA_FRAME_BYTES).max(1);
    let ingest = slabs(config.memory.ingest_bytes);
    let replica = slabs(config.memory.replica_bytes);
    let pool = SlabPool::new(ingest + replica);
    let (ingest, replica) = (SlabBudget::new(pool.clone(), ingest), SlabBudget::new(pool, replica));
    for (purpose, budget) in [("ingest", &ingest), ("replica", &replica)] {
        observe::memory(&context.metrics, &config.node.name, purpose, budget);
    }
    DatanodeMemory { ingest, replica, limit_bytes: config.memory.limit_bytes as u64 }
}

fn scrub(config: &Config) -> ScrubConfig {
    ScrubConfig {
        period: config.storage.scrub_period,
        bytes_per_second: config.storage.scrub_bytes_per_second,
        ..ScrubConfig::default()
    }
}

fn limits(config: &Config) -> DatanodeLimits {
    let upload = UploadLimits {
        straggler: config.cluster.straggler_timeout,
        idle: config.network.stream_idle_timeout,
        ..UploadLimits::default()
    };
    let reads_max = (config.memory.read_bytes / READ_BYTES).clamp(READS_MIN, READS_MAX);
    DatanodeLimits {
        upload,
        window_slabs: WINDOW_SLABS,
        prepare_timeout: config.network.prepare_timeout,
        reads_max,
        bulk_uploads_max: BULK_UPLOADS_MAX,
    }
}

/// Keeps the readiness of the process in step with the membership, and ends it when the coordinator says so.
fn watch_membership(context: &RoleContext, view: &Arc<CoordinatorView>, name: &str) {
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
