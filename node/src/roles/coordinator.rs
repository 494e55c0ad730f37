//! A coordinator: the metadata of a cluster, and the port it answers on.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use dfs_actors::budgets::INLINE_SLABS;
use dfs_actors::coordinator::gc::GcConfig;
use dfs_actors::coordinator::membership::MembershipConfig;
use dfs_actors::coordinator::metadata::migrate;
use dfs_actors::coordinator::metadata::model::records::{AuthorityRecord, RevokedKeys};
use dfs_actors::coordinator::metadata::model::time::ReignClock;
use dfs_actors::coordinator::metadata::ops::Policy;
use dfs_actors::coordinator::metadata::ops::cluster::{self, Reign};
use dfs_actors::coordinator::metadata::table::store::MetadataStore;
use dfs_actors::coordinator::metadata::writer::StoreTrouble;
use dfs_actors::coordinator::tree::{CoordinatorArgs, coordinator};
use dfs_actors::coordinator::{
    CertificateAuthority, CoordinatorConfig, CoordinatorService, Dialing, METADATA_DISK_FULL,
    METADATA_FAILING, RepairConfig, Trust,
};
use dfs_actors::env::Env;
use dfs_actors::peer::admin::{NodeAdmin, NodeFacts, NodeName};
use dfs_actors::peer::gate::Gate;
use dfs_actors::peer::session::Service as _;
use dfs_actors::peer::tree::Transport;
use dfs_actors::supervisor::{ActorTree, Root};
use dfs_wire::auth::ClusterKey;
use dfs_wire::id::{ClusterId, Epoch, NodeId};
use dfs_wire::identity::Identity;
use dfs_wire::message::admin::ClusterStatus;
use dfs_wire::message::metadata::ChunkHealth;
use dfs_wire::slab::{SlabBudget, SlabPool};

use super::{Begun, bind, drained, observe, ready, talk};
use crate::config::{Config, SecurityConfig};
use crate::metadata::lane::{ReadPool, ThreadLane};
use crate::metadata::redb::{RedbOptions, RedbStore, is_missing};
use crate::private;
use crate::process::RoleContext;
use crate::security;
use crate::security::Disbelief;
use crate::security::authority::ClusterAuthority;
use crate::security::kek::Kek;
use crate::security::ready::Ready;
use crate::telemetry::ClusterHealth;

/// Name of the database in the metadata directory.
const DATABASE: &str = "metadata.redb";
/// Name of the file in the data directory that says which cluster's coordinator this was.
const TRACE: &str = "cluster";
/// As much of it as is read.
const TRACE_BYTES_MAX: u64 = 256;

/// Findings with which no write is acknowledged.
const STOPS_WRITES: [&str; 3] = ["NO_WRITE_QUORUM", METADATA_FAILING, METADATA_DISK_FULL];

/// Opens the metadata and starts the tree.
pub(super) async fn start(context: &RoleContext, config: &Config) -> anyhow::Result<Begun> {
    let env = &context.env;
    let (settings_of, fresh) = (config.clone(), Fresh::new(env));
    // Opening may repair a database that was not closed: seconds, on a big one.
    let opened = tokio::task::spawn_blocking(move || open(&settings_of, &fresh)).await?;
    let Opened { store, reign, authority, revoked } = opened.context("open the metadata")?;
    tracing::info!(cluster = %reign.cluster, epoch = %reign.epoch, fresh = reign.fresh, "metadata open");
    identify(context, config, own_id(&reign), authority.as_ref())?;
    let time = ReignClock::from(Arc::clone(&env.clock), reign.time_ms);
    let certificate = authority.as_ref().map(|authority| authority.certificate());
    let (bound, address) = bind(env, config).await?;
    let tree = ActorTree::new(config.node.name.clone());
    let admin = NodeAdmin::new(name(config, &reign), tree.clone(), env.clone(), facts(&reign));
    let coordinator = coordinator(CoordinatorArgs {
        env: env.clone(),
        store: store as Arc<dyn MetadataStore>,
        lane: Arc::new(ThreadLane::start().context("start the metadata thread")?),
        reads: Arc::new(ReadPool::start().context("start the threads that read the metadata")?),
        doorbell: Arc::new(Dialing::new(env.clone(), reign.cluster)),
        repair: repair(config),
        reign,
        time,
        config: settings(config),
        gc: GcConfig { interval: config.cluster.gc_interval, ..GcConfig::default() },
        trust: Trust::new(authority.map(|authority| authority as Arc<dyn CertificateAuthority>), &revoked),
        admin: admin.clone(),
    })?;
    let service = coordinator.service.clone();
    let budget = SlabBudget::new(SlabPool::new(INLINE_SLABS), INLINE_SLABS);
    let Transport { spec: talk, drain, requests, .. } =
        talk(bound, service.clone(), budget, &config.node.name, context);
    let root = Root::start(env.clone(), tree.clone(), coordinator.root(talk)).await?;
    let node = ready(root, tree).await?;
    show(context, &config.node.name, &service);
    keep_ready(context, config, &service, certificate);
    let asked = service.clone();
    context.security.disbelieve(Disbelief(Arc::new(move |key| asked.is_revoked(key))));
    probe(context, service);
    let finish = async move {
        admin.drain();
        drain.send_replace(true);
        drained(requests, || true).await;
    };
    Ok(Begun { node, address, drain: Box::pin(finish) })
}

/// What a cluster is made of that begins now.
struct Fresh {
    now_ms: u64,
    cluster: ClusterId,
    key: ClusterKey,
}

impl Fresh {
    fn new(env: &Env) -> Self {
        let (now_ms, key) = (env.clock.wall_ms(), fresh_key(env));
        Self { now_ms, cluster: ClusterId::time_ordered(now_ms, env.rng.u128()), key }
    }
}

/// Metadata that are open, and whom the cluster trusts.
struct Opened {
    store: Arc<RedbStore>,
    reign: Reign,
    authority: Option<Arc<ClusterAuthority>>,
    revoked: RevokedKeys,
}

fn open(config: &Config, fresh: &Fresh) -> anyhow::Result<Opened> {
    let (dir, home) = (&config.coordinator.metadata_dir, &config.node.data_dir);
    let (database, trace) = (dir.join(DATABASE), home.join(TRACE));
    expect_metadata(&database, &trace)?;
    for dir in [dir, home] {
        private::make_dirs(dir).with_context(|| format!("create {}", dir.display()))?;
    }
    [dir, home, &database, &trace].into_iter().for_each(|path| private::mend(path));
    let store = Arc::new(RedbStore::open(&database, &RedbOptions::default())?);
    if let Some(epoch) = config.coordinator.give_up_epoch.map(Epoch)
        && cluster::give_up(store.as_ref(), epoch)?
    {
        tracing::warn!(%epoch, "going on with an old copy of the metadata, as configured: what was written since is given up");
    }
    let kek = kek(store.as_ref(), &config.security.directory)?;
    let reign = cluster::open(store.as_ref(), fresh.cluster, &fresh.key, &kek, fresh.now_ms)?;
    let (stored, revoked) = cluster::trusted(store.as_ref())?;
    let authority = match config.security.own {
        Some(_) => None,
        None => Some(authority(store.as_ref(), stored, &reign, &kek, &config.security)?),
    };
    let migrated =
        migrate::run(store.as_ref(), &reign).context("bring the metadata to this build's format")?;
    if migrated > 0 {
        tracing::info!(rows = migrated, "the metadata was brought to this build's format");
    }
    private::write(&trace, &format!("{}\n", reign.cluster))
        .with_context(|| format!("write {}", trace.display()))?;
    Ok(Opened { store, reign, authority, revoked })
}

/// The key that wraps the secrets of this metadata: the one that is there, or a new one if nothing is wrapped yet.
fn kek(store: &dyn MetadataStore, dir: &Path) -> anyhow::Result<Kek> {
    match Kek::load(dir)? {
        Some(kek) => Ok(kek),
        None if cluster::is_wrapped(store)? => anyhow::bail!(
            "the secrets of this metadata are wrapped under a key-encryption key, and there is none in {} (security.directory): put it \
             back from its backup",
            dir.display()
        ),
        None => Kek::make(dir),
    }
}

/// The authority of the cluster: the one that is stored, or a new one. This host is told how to show that it is this host.
fn authority(
    store: &dyn MetadataStore,
    stored: Option<AuthorityRecord>,
    reign: &Reign,
    kek: &Kek,
    security: &SecurityConfig,
) -> anyhow::Result<Arc<ClusterAuthority>> {
    let record = match stored {
        Some(record) => record,
        None => {
            let made = security::authority::make(reign.cluster, kek)?;
            cluster::found(store, reign, &made)?;
            made
        }
    };
    let host = security::fresh_secret();
    let lifetime = security.certificate_lifetime;
    let authority = ClusterAuthority::open(reign.cluster, record, kek, lifetime, host.clone())
        .context("open the cluster's certificate authority")?;
    security::enroll::tell_host(&security.directory, authority.digest(), &host)
        .with_context(|| format!("write into {}", security.directory.display()))?;
    Ok(Arc::new(authority))
}

/// Makes this process somebody to others: by the cluster's authority, which it is itself, or by an operator's.
fn identify(
    context: &RoleContext,
    config: &Config,
    me: NodeId,
    authority: Option<&Arc<ClusterAuthority>>,
) -> anyhow::Result<()> {
    let me = Identity::Coordinator(me);
    match authority {
        _ if config.security.mode == Gate::Off => Ok(()),
        None => context.security.must_be(&me),
        Some(authority) => {
            context.security.adopt(authority.certify(&me)?);
            let authority = Arc::clone(authority);
            let renew = move || std::future::ready(authority.certify(&me));
            tokio::spawn(security::keep_renewed(context.security.clone(), renew));
            Ok(())
        }
    }
}

/// Keeps ready what is configured to be.
fn keep_ready(
    context: &RoleContext,
    config: &Config,
    service: &Arc<CoordinatorService>,
    authority: Option<Vec<u8>>,
) {
    let ready = Ready::of(&config.security).filter(|_| config.security.mode != Gate::Off);
    if let (Some(ready), Some(authority)) = (ready, authority) {
        tokio::spawn(ready.keep(Arc::clone(service), authority, context.shutdown.clone()));
    }
}

/// Refuses to make a new cluster where there was one: its metadata may be on a disk that is not mounted.
fn expect_metadata(database: &Path, trace: &Path) -> anyhow::Result<()> {
    if !is_missing(database) || !trace.exists() {
        return Ok(());
    }
    let cluster = private::read(trace, TRACE_BYTES_MAX).unwrap_or_default();
    anyhow::bail!(
        "{} is missing or empty, but this was the coordinator of cluster {}: mount the disk it is on, or restore it from a backup \
         (to make a new cluster here, remove {})",
        database.display(),
        cluster.trim(),
        trace.display()
    )
}

fn fresh_key(env: &Env) -> ClusterKey {
    let mut key = [0; 32];
    env.rng.fill(&mut key);
    ClusterKey(key)
}

fn repair(config: &Config) -> RepairConfig {
    let cluster = &config.cluster;
    RepairConfig {
        grace: cluster.repair_grace,
        errands_max: cluster.repair_max,
        bytes_per_second: cluster.repair_bytes_per_second,
        ..RepairConfig::default()
    }
}

/// A cluster has one coordinator at a time, and it is known by the cluster's own id.
fn own_id(reign: &Reign) -> NodeId {
    NodeId(reign.cluster.0)
}

fn name(config: &Config, reign: &Reign) -> NodeName {
    NodeName {
        node: own_id(reign),
        name: config.node.name.clone(),
        role: "coordinator",
        version: env!("CARGO_PKG_VERSION").to_owned(),
        chaos: config.chaos.enabled.then(|| config.chaos.token.clone()),
    }
}

fn facts(reign: &Reign) -> Arc<dyn Fn() -> NodeFacts + Send + Sync> {
    let facts = NodeFacts { cluster: Some(reign.cluster), epoch: reign.epoch };
    Arc::new(move || facts)
}

fn settings(config: &Config) -> CoordinatorConfig {
    let cluster = &config.cluster;
    let millis = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let policy = Policy {
        upload_lease_ms: millis(cluster.commit_timeout),
        read_lease_ms: millis(cluster.read_lease),
        trash_ms: millis(cluster.trash_retention),
        outcome_ms: millis(cluster.outcome_retention),
        outcome_bytes_max: cluster.outcome_memory,
        orphan_grace_ms: millis(cluster.orphan_grace),
        chunk_size: cluster.chunk_bytes,
        replication: cluster.replication,
        min_ack: cluster.min_ack,
    };
    let membership = MembershipConfig {
        heartbeat_interval: cluster.heartbeat_interval,
        suspect_after: cluster.suspect_after,
        down_after: cluster.down_after,
        maintenance_grace: cluster.maintenance_grace,
        nodes_unasked_max: cluster.nodes_unasked_max,
    };
    CoordinatorConfig {
        policy,
        membership,
        write_grant: cluster.grant_ttl,
        // Never longer than a superseded version is kept.
        read_grant: cluster.read_lease,
        unsafe_modes: config.unsafe_settings().into_iter().map(str::to_owned).collect(),
        ..CoordinatorConfig::new(env!("CARGO_PKG_VERSION"))
    }
}

/// Shows the coordinator as metrics, and whether it can do its work.
fn show(context: &RoleContext, node: &str, service: &Arc<CoordinatorService>) {
    observe::cluster(&context.metrics, node, service);
    observe::metadata(&context.metrics, node, service);
    let asked = Arc::clone(service);
    // A full disk keeps it from taking anything new, not from its work.
    context.readiness.part(node).ready_while(move || match asked.store_trouble() {
        Some(StoreTrouble::Failing(cause)) => Err(format!("the metadata store does not commit: {cause}")),
        Some(StoreTrouble::Hanging(seconds)) => Err(format!("the metadata store hangs since {seconds} s")),
        Some(StoreTrouble::Tight(_)) | None => Ok(()),
    });
}

/// Answers the admin port's question for the cluster.
fn probe(context: &RoleContext, service: Arc<CoordinatorService>) {
    context.admin.set_cluster(move || {
        let service = Arc::clone(&service);
        async move {
            match service.cluster_status().await {
                Ok(status) => health(&status),
                Err(error) => ClusterHealth {
                    writable: false,
                    detail: serde_json::json!({ "error": error.to_string() }),
                },
            }
        }
    });
}

/// The answer is about writes; what it says of reads stands beside it.
fn health(status: &ClusterStatus) -> ClusterHealth {
    let writable =
        status.nodes_up >= 1 && status.findings.iter().all(|f| !STOPS_WRITES.contains(&f.code.as_str()));
    let unreadable = [ChunkHealth::Unreachable, ChunkHealth::Lost]
        .map(|word| status.chunks_that_are(word))
        .iter()
        .sum::<u64>();
    ClusterHealth {
        writable,
        detail: serde_json::json!({
            "writable": writable,
            // Until they are counted nobody knows.
            "all_readable": (!status.counting).then_some(unreadable == 0),
            "cluster": status.cluster.to_string(),
            "epoch": status.epoch.0,
            "health": status.health,
            "nodes_up": status.nodes_up,
            "nodes_silent": status.nodes_silent,
            "silent": status.silent,
            "nodes_total": status.nodes_total,
            "files": status.files,
            "chunks": status.health_of_chunks.iter().map(|(word, n)| (word.name(), n)).collect::<BTreeMap<_, _>>(),
            "counting": status.counting,
            "findings": status.findings,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coordinator_that_lost_its_database_does_not_begin_a_new_cluster() {
        let home = tempfile::tempdir().expect("a directory");
        let (database, trace) = (home.path().join("metadata.redb"), home.path().join("cluster"));
        assert!(expect_metadata(&database, &trace).is_ok(), "there was nothing yet");
        std::fs::write(&trace, "c1\n").expect("written");
        let refused = expect_metadata(&database, &trace).expect_err("the database is missing").to_string();
        assert!(
            refused.contains("metadata.redb is missing or empty") && refused.contains("cluster c1:"),
            "{refused}"
        );
        std::fs::write(&database, "").expect("written");
        assert!(expect_metadata(&database, &trace).is_err(), "a copy of a backup that found no room");
        std::fs::write(&database, "x").expect("written");
        assert!(expect_metadata(&database, &trace).is_ok());
    }
}
