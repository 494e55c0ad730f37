//! The supervision tree of a coordinator.
//!
//! ```text
//! root (rest for one)
//! +- coordinator (one for one: each finds the others by addresses that outlive restarts)
//! |  +- metadata-writer   every change, in groups
//! |  +- membership        the register of nodes; publishes the cluster view
//! |  +- placement         where new chunks go
//! |  +- gc                bounded steps through the writer
//! |  +- census            what all chunks are worth, counted again and again
//! |  +- errands           links to datanodes, for what they are to do
//! |  +- repair            makes up copies that are missing, and drops those that are too many
//! |  +- jobs              long work that operators ask for: how far it is, and what repair is to do for it
//! +- transport            see peer/tree.rs
//! ```

use std::sync::{Arc, Mutex};
use std::time::Duration;

use dfs_wire::id::ClusterId;
use dfs_wire::status::Status;
use futures_util::future::BoxFuture;

use super::census::{CensusArgs, CensusTaker, Counted, census_channel};
use super::service::{CoordinatorConfig, CoordinatorParts, CoordinatorService};
use crate::budgets::{
    CENSUS_MAILBOX, GC_MAILBOX, JOBS_MAILBOX, LINKS_MAILBOX, MEMBERSHIP_MAILBOX, PLACEMENT_MAILBOX,
    REPAIR_MAILBOX, WRITER_MAILBOX,
};
use crate::coordinator::gc::{Gc, GcArgs, GcConfig, GcHealth, GcMsg};
use crate::coordinator::jobs::{Jobs, JobsArgs};
use crate::coordinator::membership::{
    ClusterView, Membership, MembershipArgs, MembershipConfig, MembershipMsg, RememberedMembers,
    RememberedNodes, ViewReceiver, view_channel,
};
use crate::coordinator::metadata::model::time::ReignClock;
use crate::coordinator::metadata::ops::cluster::Reign;
use crate::coordinator::metadata::reader::{MetadataReader, MetadataReads, ReadFor, ReadLane};
use crate::coordinator::metadata::table::error::MetaError;
use crate::coordinator::metadata::table::store::MetadataStore;
use crate::coordinator::metadata::writer::{
    CommitLane, Committer, MetadataWriter, WriterArgs, WriterMetrics, WriterMsg,
};
use crate::coordinator::placement::{Placement, PlacementArgs, PlacementMsg};
use crate::coordinator::repair::{
    Errands, Repair, RepairArgs, RepairConfig, RepairHealth, WishReceiver, Wishes, introduction, wish_channel,
};
use crate::coordinator::service::Doorbell;
use crate::coordinator::signer::Signer;
use crate::env::{Clock, Env};
use crate::peer::admin::NodeAdmin;
use crate::peer::links::Links;
use crate::supervisor::{Addr, ChildSpec, Intensity, START_TIMEOUT, SupervisorSpec};
use crate::watch;

/// What a coordinator is built from.
pub struct CoordinatorArgs {
    /// Clock, network and randomness.
    pub env: Env,
    /// The metadata, opened for this reign.
    pub store: Arc<dyn MetadataStore>,
    /// Where commits block.
    pub lane: Arc<dyn CommitLane>,
    /// Where reads block.
    pub reads: Arc<dyn ReadLane>,
    /// The reign it was opened for.
    pub reign: Reign,
    /// The coordinator's time.
    pub time: ReignClock,
    /// What is configured.
    pub config: CoordinatorConfig,
    /// Times of garbage collection.
    pub gc: GcConfig,
    /// Asks who is at an address.
    pub doorbell: Arc<dyn Doorbell>,
    /// Bounds and times of repair.
    pub repair: RepairConfig,
    /// Name, actors, uptime.
    pub admin: NodeAdmin,
}

/// A coordinator that is not running yet, and how it will be reached.
pub struct Coordinator {
    /// The supervisor of its actors, to be started by the node.
    pub spec: SupervisorSpec,
    /// What answers requests.
    pub service: Arc<CoordinatorService>,
    /// The writer, for whoever has changes of its own to make.
    pub writer: Addr<WriterMsg>,
    /// The collector: can be asked what it has done.
    pub gc: Addr<GcMsg>,
    /// Counters of the writer.
    pub metrics: Arc<WriterMetrics>,
    clock: Arc<dyn Clock>,
}

impl Coordinator {
    /// The whole tree, around the part that talks.
    pub fn root(self, transport: SupervisorSpec) -> SupervisorSpec {
        let root = SupervisorSpec::rest_for_one(&self.clock, "root").intensity(Intensity::OUTER);
        root.supervisor(self.spec).supervisor(transport)
    }
}

/// Patience with the metadata of a membership actor that starts: it is to say what is wrong before it is given up.
const REMEMBERED_WITHIN: Duration = Duration::from_secs(20);

const _: () = assert!(REMEMBERED_WITHIN.as_secs() < START_TIMEOUT.as_secs());

/// The records of nodes, in the metadata.
struct MetadataNodes(MetadataReads);

impl RememberedNodes for MetadataNodes {
    fn load(&self) -> BoxFuture<'static, Result<RememberedMembers, Status>> {
        let reads = self.0.clone();
        let all = |reader: &MetadataReader| {
            let records = reader.nodes()?;
            reader.maintenance().map(|maintenance| RememberedMembers { records, maintenance })
        };
        Box::pin(async move { reads.ask(ReadFor::Membership, REMEMBERED_WITHIN, all).await })
    }
}

/// Each of the eight actors may fall once a minute before what is around them is blamed. One that never comes up escalates within
/// half a minute: its waits double.
const INTENSITY: Intensity = Intensity { max_restarts: 8, window: Duration::from_secs(60) };

/// What most of the actors are given.
struct Shared {
    reads: MetadataReads,
    view: ViewReceiver,
    time: ReignClock,
    writer: Addr<WriterMsg>,
}

impl Shared {
    fn membership(
        &self,
        config: MembershipConfig,
        cluster: ClusterId,
        view: Arc<watch::Sender<Arc<ClusterView>>>,
    ) -> MembershipArgs {
        let remembered = Arc::new(MetadataNodes(self.reads.clone()));
        MembershipArgs { config, cluster, time: self.time.clone(), remembered, view }
    }

    fn census(&self, publish: Arc<watch::Sender<Counted>>) -> CensusArgs {
        let (reads, view, time) = (self.reads.clone(), self.view.clone(), self.time.clone());
        CensusArgs { reads, view, time, publish }
    }

    fn repair(
        &self,
        (config, errands): (RepairConfig, Errands),
        placement: &Addr<PlacementMsg>,
        signer: &Arc<Signer>,
        health: &Arc<RepairHealth>,
        (census, wishes): (watch::Receiver<Counted>, WishReceiver),
    ) -> RepairArgs {
        RepairArgs {
            config,
            reads: self.reads.clone(),
            view: self.view.clone(),
            census,
            time: self.time.clone(),
            writer: self.writer.clone(),
            placement: placement.clone(),
            signer: Arc::clone(signer),
            errands,
            health: Arc::clone(health),
            wishes,
        }
    }

    fn jobs(
        &self,
        census: watch::Receiver<Counted>,
        membership: &Addr<MembershipMsg>,
        repair: &Arc<RepairHealth>,
        wishes: Arc<watch::Sender<Arc<Wishes>>>,
    ) -> JobsArgs {
        JobsArgs {
            reads: self.reads.clone(),
            view: self.view.clone(),
            census,
            time: self.time.clone(),
            writer: self.writer.clone(),
            membership: membership.clone(),
            repair: Arc::clone(repair),
            wishes,
        }
    }
}

/// Builds the coordinator's subtree and its service.
///
/// # Errors
/// Never in practice, see [`Committer::new`].
pub fn coordinator(args: CoordinatorArgs) -> Result<Coordinator, MetaError> {
    let CoordinatorArgs { env, store, lane, reads, reign, time, config, gc, doorbell, repair, admin } = args;
    let metrics = Arc::new(WriterMetrics::default());
    let committer = Committer::new(Arc::clone(&store), &reign, config.policy, Arc::clone(&metrics))?;
    let clock = &env.clock;
    let reads = MetadataReads::new(store, reads, Arc::clone(clock));
    let ((publish, view), (counted, census)) = (view_channel(), census_channel());
    let writer = Addr::new(clock, WRITER_MAILBOX);
    let (membership, placement, gc_addr) = (
        Addr::new(clock, MEMBERSHIP_MAILBOX),
        Addr::new(clock, PLACEMENT_MAILBOX),
        Addr::new(clock, GC_MAILBOX),
    );
    let writer_args = WriterArgs { committer: Arc::new(Mutex::new(committer)), lane, time: time.clone() };
    let shared =
        Shared { reads: reads.clone(), view: view.clone(), time: time.clone(), writer: writer.clone() };
    let membership_args = shared.membership(config.membership, reign.cluster, publish);
    let placement_args = PlacementArgs { view: view.clone() };
    let census_addr = Addr::new(clock, CENSUS_MAILBOX);
    let census_args = shared.census(counted);
    let gc_health = Arc::new(GcHealth::default());
    let gc_args = GcArgs { config: gc, writer: writer.clone(), health: Arc::clone(&gc_health) };
    let signer = Arc::new(Signer::new(reign.key.clone(), reign.epoch));
    let repair_health = Arc::new(RepairHealth::new(repair.errands_max == 0));
    let repair_addr = Addr::new(clock, REPAIR_MAILBOX);
    let (wish, wishes) = wish_channel();
    let links = Addr::new(clock, LINKS_MAILBOX);
    let links_args = introduction(&reign, admin.name());
    let errands = Errands::new(env.clone(), links.clone());
    let repair_args =
        shared.repair((repair, errands), &placement, &signer, &repair_health, (census.clone(), wishes));
    let jobs = Addr::new(clock, JOBS_MAILBOX);
    let jobs_args = shared.jobs(census.clone(), &membership, &repair_health, wish);
    let spec = SupervisorSpec::one_for_one(clock, "coordinator")
        .intensity(INTENSITY)
        .child(ChildSpec::new::<MetadataWriter>("metadata-writer", &writer, writer_args))
        .child(ChildSpec::new::<Membership>("membership", &membership, membership_args))
        .child(ChildSpec::new::<Placement>("placement", &placement, placement_args))
        .child(ChildSpec::new::<Gc>("gc", &gc_addr, gc_args))
        .child(ChildSpec::new::<CensusTaker>("census", &census_addr, census_args))
        .child(ChildSpec::new::<Links>("errands", &links, links_args))
        .child(ChildSpec::new::<Repair>("repair", &repair_addr, repair_args))
        .child(ChildSpec::new::<Jobs>("jobs", &jobs, jobs_args));
    let clock = clock.clone();
    let service = Arc::new(CoordinatorService::new(CoordinatorParts {
        reign,
        config,
        env,
        time,
        reads,
        writer: writer.clone(),
        metrics: Arc::clone(&metrics),
        gc: gc_health,
        collector: gc_addr.clone(),
        repair: repair_health,
        membership,
        placement,
        jobs,
        view,
        census,
        doorbell,
        signer,
        admin,
    }));
    Ok(Coordinator { clock, spec, service, writer, gc: gc_addr, metrics })
}
