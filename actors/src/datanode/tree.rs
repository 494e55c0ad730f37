//! The part of a datanode's supervision tree that keeps it a member of the cluster.
//!
//! ```text
//! agents (one for one)
//! +- heartbeat    registration, heartbeats, tombstones; says goodbye when it stops, after the others
//! +- inventory    what the node has
//! +- orphan-gc    empties the quarantine
//! ```

use std::sync::Arc;

use crate::datanode::authority::{CoordinatorView, Heard, IdentityStore, SelfDescription};
use crate::datanode::chunk_store::ChunkStore;
use crate::datanode::control::CoordinatorLink;
use crate::datanode::heartbeat::{
    HEARTBEAT_MAILBOX, HeartbeatActor, HeartbeatArgs, HeartbeatConfig, HeartbeatMsg, LoadProbe,
};
use crate::datanode::inventory::{
    DatanodeHealth, INVENTORY_MAILBOX, InventoryActor, InventoryArgs, InventoryConfig, InventoryMsg,
};
use crate::datanode::quarantine::{ORPHAN_GC_MAILBOX, OrphanGc, OrphanGcArgs, OrphanGcConfig, OrphanGcMsg};
use crate::supervisor::{Addr, ChildSpec, SupervisorSpec};

/// What the agents are built from.
#[derive(Clone)]
pub struct AgentsArgs {
    /// Who they speak for.
    pub me: SelfDescription,
    /// The way to the coordinator.
    pub link: Arc<dyn CoordinatorLink>,
    /// Where the membership is kept.
    pub identity: Arc<dyn IdentityStore>,
    /// The chunks.
    pub store: Arc<dyn ChunkStore>,
    /// What is reported of load.
    pub probe: Arc<dyn LoadProbe>,
    /// Times of the heartbeat.
    pub heartbeat: HeartbeatConfig,
    /// Bounds of the inventory.
    pub inventory: InventoryConfig,
    /// Times of the quarantine.
    pub orphan_gc: OrphanGcConfig,
}

/// How the agents are reached, and what they share.
#[derive(Clone)]
pub struct Agents {
    /// The heartbeat: takes reports of bad copies.
    pub heartbeat: Addr<HeartbeatMsg>,
    /// The inventory: can be asked for one.
    pub inventory: Addr<InventoryMsg>,
    /// The collector.
    pub orphan_gc: Addr<OrphanGcMsg>,
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
        heartbeat: Addr::new(HEARTBEAT_MAILBOX),
        inventory: Addr::new(INVENTORY_MAILBOX),
        orphan_gc: Addr::new(ORPHAN_GC_MAILBOX),
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
    let orphan_gc = OrphanGcArgs { config: args.orphan_gc, store: args.store };
    let spec = SupervisorSpec::one_for_one("agents")
        .child(ChildSpec::new::<HeartbeatActor>("heartbeat", &agents.heartbeat, heartbeat))
        .child(ChildSpec::new::<InventoryActor>("inventory", &agents.inventory, inventory))
        .child(ChildSpec::new::<OrphanGc>("orphan-gc", &agents.orphan_gc, orphan_gc));
    (spec, agents)
}
