//! The supervision tree of a datanode.
//!
//! ```text
//! root (rest for one: a node joins when it can serve, and says goodbye before it cannot)
//! +- datanode (one for one)
//! |  +- control      the connection to the coordinator
//! |  +- replication  links to other datanodes
//! |  +- uploads      nursery: one streaming session for each upload from a client
//! |  +- copies       nursery: the same for each copy from a primary
//! +- transport       see peer/tree.rs
//! +- agents (one for one)
//!    +- heartbeat    registration, heartbeats, tombstones; says goodbye when it stops, after the others
//!    +- inventory    what the node has
//!    +- quarantine   empties it
//!    +- scrub        reads everything again, within its period
//! ```

use std::sync::Arc;

use crate::watch;
use dfs_wire::handshake::{Hello, NodePeer, Peer};
use dfs_wire::id::ChunkKey;
use dfs_wire::limits::CONNECTION_CREDIT_BYTES;
use dfs_wire::message::admin::ScrubStatus;
use dfs_wire::slab::SlabBudget;

use super::authority::{CoordinatorView, Heard, IdentityStore, NodeAuthority, SelfDescription};
use super::chunk_store::ChunkStore;
use super::control::{Control, ControlArgs, ControlLink, ControlMsg, CoordinatorLink};
use super::heartbeat::{
    CopyFault, Heartbeat, HeartbeatArgs, HeartbeatConfig, HeartbeatMsg, LoadProbe, want_news,
};
use super::inventory::{DatanodeHealth, Inventory, InventoryArgs, InventoryConfig, InventoryMsg};
use super::load::Load;
use super::quarantine::{Quarantine, QuarantineArgs, QuarantineConfig, QuarantineMsg};
use super::scrub::{CursorStore, Scrub, ScrubArgs, ScrubConfig};
use super::service::{DatanodeLimits, DatanodeParts, DatanodeService};
use crate::budgets::{
    CONTROL_MAILBOX, COPIES_MAX, HEARTBEAT_MAILBOX, INVENTORY_MAILBOX, LINKS_MAILBOX, QUARANTINE_MAILBOX,
    SCRUB_MAILBOX, UPLOADS_MAX,
};
use crate::env::{Clock, Env};
use crate::peer::admin::{ChaosToken, NodeAdmin, NodeFacts, NodeName};
use crate::peer::links::{Links, LinksArgs, LinksMsg, PeerLimits};
use crate::supervisor::{ActorTree, Addr, ChildSpec, Intensity, SupervisorSpec};

/// What a datanode is built from.
pub struct DatanodeArgs {
    /// Clock, network and randomness.
    pub env: Env,
    /// Who it is.
    pub me: SelfDescription,
    /// Where its actors are counted.
    pub tree: ActorTree,
    /// Who may ask for deliberate faults, if they are allowed.
    pub chaos: Option<ChaosToken>,
    /// Where the coordinator listens, `host:port`.
    pub coordinator: String,
    /// The chunks of its disk.
    pub store: Arc<dyn ChunkStore>,
    /// Where the membership is kept.
    pub identity: Arc<dyn IdentityStore>,
    /// Memory for chunks on their way.
    pub memory: DatanodeMemory,
    /// Bounds of requests, as they are now and after each reload.
    pub limits: watch::Receiver<DatanodeLimits>,
    /// Times of the heartbeat.
    pub heartbeat: HeartbeatConfig,
    /// Bounds of the inventory.
    pub inventory: InventoryConfig,
    /// Times of the quarantine.
    pub quarantine: QuarantineConfig,
    /// Period and budget of the scrub, and where its cursor is kept.
    pub scrub: (ScrubConfig, Arc<dyn CursorStore>),
}

/// Memory for chunks on their way.
#[derive(Clone)]
pub struct DatanodeMemory {
    /// For uploads from clients.
    pub ingest: SlabBudget,
    /// For copies from primaries.
    pub replica: SlabBudget,
    /// What the process may use in all, bytes; reported, not enforced here.
    pub limit_bytes: u64,
}

/// A datanode that is not running yet, and how it will be reached.
pub struct Datanode {
    /// What serves its requests.
    pub service: Arc<DatanodeService>,
    /// What it knows of its coordinator.
    pub view: Arc<CoordinatorView>,
    /// Name, actors, uptime.
    pub admin: NodeAdmin,
    clock: Arc<dyn Clock>,
    work: SupervisorSpec,
    agents: SupervisorSpec,
}

impl Datanode {
    /// The whole tree, around the part that talks.
    pub fn root(self, transport: SupervisorSpec) -> SupervisorSpec {
        let root = SupervisorSpec::rest_for_one(&self.clock, "root").intensity(Intensity::OUTER);
        root.supervisor(self.work).supervisor(transport).supervisor(self.agents)
    }
}

/// Wires the actors of a datanode together: all addresses first, then whoever holds them.
pub fn datanode(args: DatanodeArgs) -> Datanode {
    let DatanodeMemory { ingest, replica, limit_bytes } = args.memory;
    let clock = args.env.clock.clone();
    let nursery = |name, max: usize| SupervisorSpec::one_for_one(&clock, name).with_nursery(max);
    let (uploads, upload_nursery) = nursery("uploads", UPLOADS_MAX.min(ingest.total()));
    let (copies, copy_nursery) = nursery("copies", COPIES_MAX.min(replica.total()));
    let (control, links) = (Addr::new(&clock, CONTROL_MAILBOX), Addr::new(&clock, LINKS_MAILBOX));
    let load = Load {
        store: args.store.clone(),
        budgets: [ingest.clone(), replica.clone()],
        nurseries: [upload_nursery.clone(), copy_nursery.clone()],
        memory_limit: limit_bytes,
    };
    let (agents, reached) = agents(AgentsArgs {
        me: args.me.clone(),
        link: Arc::new(ControlLink(control.clone())),
        identity: args.identity,
        store: args.store.clone(),
        probe: Arc::new(load),
        heartbeat: args.heartbeat,
        inventory: args.inventory,
        quarantine: args.quarantine,
        clock: clock.clone(),
    });
    let Agents { heartbeat, view, health, quarantine, .. } = reached;
    if args.chaos.is_some() {
        health.set_unsafe(&["anyone who knows the token of chaos can make it fail"]);
    }
    let (scrub, status) = (Addr::new(&clock, SCRUB_MAILBOX), watch::Sender::new(ScrubStatus::default()));
    let found = found(heartbeat.clone());
    let hello = introduction(&args.me, &view);
    let work = work(Work {
        clock: &clock,
        control: (
            &control,
            ControlArgs { coordinator: args.coordinator, hello: hello.clone(), budget: replica.clone() },
        ),
        links: (&links, LinksArgs { hello, budget: replica.clone(), limits: PeerLimits::default() }),
        nurseries: [uploads, copies],
    });
    let admin = admin(&args.me, &view, args.tree, &args.env, args.chaos);
    let authority = NodeAuthority::new(args.me.node, view.clone(), args.env.clock, want_news(heartbeat));
    let service = Arc::new(DatanodeService::new(DatanodeParts {
        store: args.store.clone(),
        authority: Arc::new(authority),
        ingest,
        replica,
        uploads: upload_nursery,
        copies: copy_nursery,
        links,
        quarantine,
        found: found.clone(),
        scrub: (scrub.clone(), status.subscribe()),
        admin: admin.clone(),
        limits: args.limits,
        clock: clock.clone(),
    }));
    let pressed = {
        let service = service.clone();
        Arc::new(move || service.is_pressed())
    };
    let (config, cursor) = args.scrub;
    let scrubbing = ScrubArgs { config, store: args.store, cursor, found, pressed, health, status };
    let agents = agents.child(ChildSpec::new::<Scrub>("scrub", &scrub, scrubbing));
    Datanode { clock, service, view, admin, work, agents }
}

struct Work<'a> {
    clock: &'a Arc<dyn Clock>,
    control: (&'a Addr<ControlMsg>, ControlArgs),
    links: (&'a Addr<LinksMsg>, LinksArgs),
    nurseries: [SupervisorSpec; 2],
}

fn work(parts: Work<'_>) -> SupervisorSpec {
    let Work { clock, control: (control, control_args), links: (links, links_args), nurseries } = parts;
    let spec = SupervisorSpec::one_for_one(clock, "datanode")
        .child(ChildSpec::new::<Control>("control", control, control_args))
        .child(ChildSpec::new::<Links>("replication", links, links_args));
    nurseries.into_iter().fold(spec, SupervisorSpec::supervisor)
}

/// How the node introduces itself where it dials.
fn introduction(me: &SelfDescription, view: &Arc<CoordinatorView>) -> Arc<dyn Fn() -> Hello + Send + Sync> {
    let peer = NodePeer { node: me.node, incarnation: me.incarnation, name: me.name.clone() };
    let view = view.clone();
    Arc::new(move || Hello {
        cluster: view.get().cluster,
        peer: Peer::Datanode(peer.clone()),
        credentials: None,
        features: 0,
        connection_credit: CONNECTION_CREDIT_BYTES,
    })
}

fn admin(
    me: &SelfDescription,
    view: &Arc<CoordinatorView>,
    tree: ActorTree,
    env: &Env,
    chaos: Option<ChaosToken>,
) -> NodeAdmin {
    let view = view.clone();
    let facts = move || {
        let known = view.get();
        NodeFacts { cluster: known.cluster, epoch: known.epoch }
    };
    let SelfDescription { node, name, version, .. } = me.clone();
    NodeAdmin::new(
        NodeName { node, name, role: "datanode", version, chaos },
        tree,
        env.clone(),
        Arc::new(facts),
    )
}

/// Hands on what readers found of copies; the heartbeat tells the coordinator.
pub(in crate::datanode) fn found(
    heartbeat: Addr<HeartbeatMsg>,
) -> Arc<dyn Fn(ChunkKey, CopyFault) + Send + Sync> {
    Arc::new(move |key, found| {
        let word = match found {
            CopyFault::Corrupt => HeartbeatMsg::Corrupt(key),
            CopyFault::Missing => HeartbeatMsg::Missing(key),
        };
        if let Err(error) = heartbeat.try_send(word) {
            tracing::warn!(%key, ?found, %error, "a copy is reported with the next inventory");
        }
    })
}

/// What the agents are built from.
#[derive(Clone)]
pub struct AgentsArgs {
    /// Who they speak for.
    pub me: SelfDescription,
    /// The way to the coordinator.
    pub link: Arc<dyn CoordinatorLink>,
    /// Where the membership is kept.
    pub identity: Arc<dyn IdentityStore>,
    /// The chunks of its disk.
    pub store: Arc<dyn ChunkStore>,
    /// What is reported of load.
    pub probe: Arc<dyn LoadProbe>,
    /// Times of the heartbeat.
    pub heartbeat: HeartbeatConfig,
    /// Bounds of the inventory.
    pub inventory: InventoryConfig,
    /// Times of the quarantine.
    pub quarantine: QuarantineConfig,
    /// What they wait by.
    pub clock: Arc<dyn Clock>,
}

/// How the agents are reached, and what they share.
#[derive(Clone)]
pub struct Agents {
    /// The heartbeat: takes reports of bad copies.
    pub heartbeat: Addr<HeartbeatMsg>,
    /// The inventory: can be asked for one.
    pub inventory: Addr<InventoryMsg>,
    /// The collector of what is in quarantine for long enough.
    pub quarantine: Addr<QuarantineMsg>,
    /// What the node knows of its coordinator; checks grants.
    pub view: Arc<CoordinatorView>,
    /// What needs attention on this node; the heartbeat tells the coordinator.
    pub health: Arc<DatanodeHealth>,
}

/// The agents as a subtree, not yet running, and how they will be reached.
pub fn agents(args: AgentsArgs) -> (SupervisorSpec, Agents) {
    let joined = args.identity.joined();
    let view = match &joined {
        Some(joined) => {
            let heard = Heard { epoch: joined.epoch, position: joined.position };
            CoordinatorView::new(Some(joined.cluster), Some(joined.key.clone()), heard)
        }
        None => CoordinatorView::new(None, None, Heard::default()),
    };
    let agents = Agents {
        heartbeat: Addr::new(&args.clock, HEARTBEAT_MAILBOX),
        inventory: Addr::new(&args.clock, INVENTORY_MAILBOX),
        quarantine: Addr::new(&args.clock, QUARANTINE_MAILBOX),
        view: Arc::clone(&view),
        health: Arc::new(DatanodeHealth::default()),
    };
    let heartbeat = HeartbeatArgs {
        config: args.heartbeat,
        me: args.me.clone(),
        link: Arc::clone(&args.link),
        view: Arc::clone(&view),
        identity: Arc::clone(&args.identity),
        store: Arc::clone(&args.store),
        probe: args.probe,
        health: Arc::clone(&agents.health),
        inventory: agents.inventory.clone(),
    };
    let inventory = InventoryArgs {
        config: args.inventory,
        me: args.me,
        link: args.link,
        view,
        identity: args.identity,
        store: Arc::clone(&args.store),
        health: Arc::clone(&agents.health),
    };
    let quarantine = QuarantineArgs { config: args.quarantine, store: args.store };
    let spec = SupervisorSpec::one_for_one(&args.clock, "agents")
        .child(ChildSpec::new::<Heartbeat>("heartbeat", &agents.heartbeat, heartbeat))
        .child(ChildSpec::new::<Inventory>("inventory", &agents.inventory, inventory))
        .child(ChildSpec::new::<Quarantine>("quarantine", &agents.quarantine, quarantine));
    (spec, agents)
}
