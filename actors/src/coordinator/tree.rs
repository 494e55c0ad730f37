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
//! |  +- events            what happened, and since when something needs attention
//! +- transport            see peer/tree.rs
//! ```

use std::sync::{Arc, Mutex};
use std::time::Duration;

use dfs_wire::id::{ClusterId, Epoch};
use dfs_wire::status::Status;
use futures_util::future::BoxFuture;

use super::census::{CensusArgs, CensusMsg, CensusTaker, Counted, census_channel};
use super::service::{CoordinatorConfig, CoordinatorParts, CoordinatorService, Trust};
use crate::budgets::{
    CENSUS_MAILBOX, EVENTS_MAILBOX, GC_MAILBOX, JOBS_MAILBOX, LINKS_MAILBOX, MEMBERSHIP_MAILBOX,
    PLACEMENT_MAILBOX, REPAIR_MAILBOX, WRITER_MAILBOX,
};
use crate::coordinator::events::{Events, EventsArgs, EventsMsg, book_channel};
use crate::coordinator::gc::{Gc, GcArgs, GcConfig, GcHealth, GcMsg};
use crate::coordinator::health::{Examiner, NodeReports};
use crate::coordinator::jobs::{Jobs, JobsArgs, JobsMsg};
use crate::coordinator::membership::{
    ClusterView, Membership, MembershipArgs, MembershipConfig, MembershipMsg, RememberedMembers,
    RememberedNodes, ViewReceiver, view_channel,
};
use crate::coordinator::metadata::model::records::HealthBook;
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
    Errands, Repair, RepairArgs, RepairConfig, RepairHealth, RepairMsg, WishReceiver, Wishes, introduction,
    wish_channel,
};
use crate::coordinator::service::Doorbell;
use crate::coordinator::signer::Signer;
use crate::env::{Clock, Env};
use crate::peer::admin::NodeAdmin;
use crate::peer::links::{Links, LinksMsg};
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
    /// Who is let in, and who not any more.
    pub trust: Trust,
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

/// Each of the nine actors may fall once a minute before what is around them is blamed. One that never comes up escalates within
/// half a minute: its waits double.
const INTENSITY: Intensity = Intensity { max_restarts: 9, window: Duration::from_secs(60) };

/// Where each of them is reached, whichever life it is in.
struct Addresses {
    writer: Addr<WriterMsg>,
    membership: Addr<MembershipMsg>,
    placement: Addr<PlacementMsg>,
    gc: Addr<GcMsg>,
    census: Addr<CensusMsg>,
    errands: Addr<LinksMsg>,
    repair: Addr<RepairMsg>,
    jobs: Addr<JobsMsg>,
    events: Addr<EventsMsg>,
}

impl Addresses {
    fn new(clock: &Arc<dyn Clock>) -> Self {
        Self {
            writer: Addr::new(clock, WRITER_MAILBOX),
            membership: Addr::new(clock, MEMBERSHIP_MAILBOX),
            placement: Addr::new(clock, PLACEMENT_MAILBOX),
            gc: Addr::new(clock, GC_MAILBOX),
            census: Addr::new(clock, CENSUS_MAILBOX),
            errands: Addr::new(clock, LINKS_MAILBOX),
            repair: Addr::new(clock, REPAIR_MAILBOX),
            jobs: Addr::new(clock, JOBS_MAILBOX),
            events: Addr::new(clock, EVENTS_MAILBOX),
        }
    }
}

/// What most of the actors are given.
struct Shared {
    at: Addresses,
    reads: MetadataReads,
    view: ViewReceiver,
    census: watch::Receiver<Counted>,
    time: ReignClock,
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
        (config, env): (RepairConfig, &Env),
        signer: &Arc<Signer>,
        health: &Arc<RepairHealth>,
        wishes: WishReceiver,
    ) -> RepairArgs {
        RepairArgs {
            config,
            reads: self.reads.clone(),
            view: self.view.clone(),
            census: self.census.clone(),
            time: self.time.clone(),
            writer: self.at.writer.clone(),
            placement: self.at.placement.clone(),
            signer: Arc::clone(signer),
            errands: Errands::new(env.clone(), self.at.errands.clone()),
            health: Arc::clone(health),
            wishes,
        }
    }

    fn jobs(&self, repair: &Arc<RepairHealth>, wishes: Arc<watch::Sender<Arc<Wishes>>>) -> JobsArgs {
        JobsArgs {
            reads: self.reads.clone(),
            view: self.view.clone(),
            census: self.census.clone(),
            time: self.time.clone(),
            writer: self.at.writer.clone(),
            membership: self.at.membership.clone(),
            repair: Arc::clone(repair),
            wishes,
            events: self.at.events.clone(),
        }
    }

    fn examiner(
        &self,
        (clock, config): (&Arc<dyn Clock>, &CoordinatorConfig),
        writer: &Arc<WriterMetrics>,
        (gc, repair): (&Arc<GcHealth>, &Arc<RepairHealth>),
    ) -> Arc<Examiner> {
        Arc::new(Examiner {
            clock: Arc::clone(clock),
            time: self.time.clone(),
            view: self.view.clone(),
            census: self.census.clone(),
            writer: Arc::clone(writer),
            gc: Arc::clone(gc),
            repair: Arc::clone(repair),
            reports: NodeReports::default(),
            policy: config.policy,
            unsafe_modes: config.unsafe_modes.clone(),
        })
    }

    fn events(
        &self,
        epoch: Epoch,
        examiner: &Arc<Examiner>,
        publish: Arc<watch::Sender<Arc<HealthBook>>>,
    ) -> EventsArgs {
        let (reads, writer) = (self.reads.clone(), self.at.writer.clone());
        EventsArgs { epoch, reads, writer, examiner: Arc::clone(examiner), publish }
    }
}

/// Builds the coordinator's subtree and its service.
///
/// # Errors
/// Never in practice, see [`Committer::new`].
pub fn coordinator(args: CoordinatorArgs) -> Result<Coordinator, MetaError> {
    let CoordinatorArgs { env, store, lane, reads, reign, time, config, gc, doorbell, repair, trust, admin } =
        args;
    let metrics = Arc::new(WriterMetrics::default());
    let committer = Committer::new(Arc::clone(&store), &reign, config.policy, Arc::clone(&metrics))?;
    let clock = &env.clock;
    let ((publish, view), (counted, census)) = (view_channel(), census_channel());
    let ((wish, wishes), (remember, book)) = (wish_channel(), book_channel());
    let reads = MetadataReads::new(store, reads, Arc::clone(clock));
    let shared = Shared { at: Addresses::new(clock), reads, view, census, time };
    let (signer, gc_health, repair_health) = (
        Arc::new(Signer::new(reign.key.clone(), reign.epoch)),
        Arc::new(GcHealth::default()),
        Arc::new(RepairHealth::new(repair.errands_max == 0)),
    );
    let examiner = shared.examiner((clock, &config), &metrics, (&gc_health, &repair_health));
    let committer = Arc::new(Mutex::new(committer));
    let writer_args = WriterArgs { committer, lane, time: shared.time.clone() };
    let membership_args = shared.membership(config.membership, reign.cluster, publish);
    let placement_args = PlacementArgs { view: shared.view.clone() };
    let gc_args = GcArgs { config: gc, writer: shared.at.writer.clone(), health: gc_health };
    let census_args = shared.census(counted);
    let errands_args = introduction(&reign, admin.name());
    let repair_args = shared.repair((repair, &env), &signer, &repair_health, wishes);
    let jobs_args = shared.jobs(&repair_health, wish);
    let events_args = shared.events(reign.epoch, &examiner, remember);
    let Shared { at, reads, view, census, time } = shared;
    let spec = SupervisorSpec::one_for_one(clock, "coordinator")
        .intensity(INTENSITY)
        .child(ChildSpec::new::<MetadataWriter>("metadata-writer", &at.writer, writer_args))
        .child(ChildSpec::new::<Membership>("membership", &at.membership, membership_args))
        .child(ChildSpec::new::<Placement>("placement", &at.placement, placement_args))
        .child(ChildSpec::new::<Gc>("gc", &at.gc, gc_args))
        .child(ChildSpec::new::<CensusTaker>("census", &at.census, census_args))
        .child(ChildSpec::new::<Links>("errands", &at.errands, errands_args))
        .child(ChildSpec::new::<Repair>("repair", &at.repair, repair_args))
        .child(ChildSpec::new::<Jobs>("jobs", &at.jobs, jobs_args))
        .child(ChildSpec::new::<Events>("events", &at.events, events_args));
    let Addresses { writer, membership, placement, gc, jobs, events, .. } = at;
    let clock = clock.clone();
    let service = Arc::new(CoordinatorService::new(CoordinatorParts {
        reign,
        config,
        env,
        time,
        reads,
        writer: writer.clone(),
        metrics: Arc::clone(&metrics),
        collector: gc.clone(),
        repair: repair_health,
        membership,
        placement,
        jobs,
        examiner,
        events,
        book,
        view,
        census,
        doorbell,
        trust,
        signer,
        admin,
    }));
    Ok(Coordinator { clock, spec, service, writer, gc, metrics })
}
