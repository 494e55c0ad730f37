//! The membership actor: the register of nodes with a mailbox and a clock.
//!
//! It touches neither disk nor network: whoever passes a node's words on also makes records durable, so that no
//! handler here waits for anything. Each life starts from the remembered records; nodes of an earlier life are asked
//! to register again at their next heartbeat.

use std::sync::Arc;
use std::time::Duration;

use crate::watch;
use dfs_wire::id::{ClusterId, NodeId};
use dfs_wire::message::membership::NodeState;
use dfs_wire::status::Status;
use futures_util::future::BoxFuture;

use super::messages::MembershipMsg;
use super::state::{MembershipConfig, MembershipState, Transition};
use super::view::ClusterView;
use crate::coordinator::metadata::model::records::{MaintainedNodes, NodeRecord};
use crate::coordinator::metadata::model::time::ReignClock;
use crate::supervisor::{ActorError, Behaviour, Ctx};

/// Ticks within [`MembershipConfig::suspect_after`].
const TICKS: u32 = 20;

/// What the register of nodes begins with.
#[derive(Debug, Default)]
pub struct RememberedMembers {
    /// Every record that the metadata holds.
    pub records: Vec<(NodeId, NodeRecord)>,
    /// What operators have said of nodes that may be away.
    pub maintenance: MaintainedNodes,
}

/// Where the records of nodes are remembered.
pub trait RememberedNodes: Send + Sync + 'static {
    /// All that is remembered.
    fn load(&self) -> BoxFuture<'static, Result<RememberedMembers, Status>>;
}

/// What the actor is built from.
#[derive(Clone)]
pub struct MembershipArgs {
    /// How often nodes report, and after what silence they count as down.
    pub config: MembershipConfig,
    /// The cluster it serves.
    pub cluster: ClusterId,
    /// The coordinator's time.
    pub time: ReignClock,
    /// Where records come from at the start.
    pub remembered: Arc<dyn RememberedNodes>,
    /// Where it publishes the picture.
    pub view: Arc<watch::Sender<Arc<ClusterView>>>,
}

/// The membership actor.
pub struct Membership {
    state: MembershipState,
    view: Arc<watch::Sender<Arc<ClusterView>>>,
}

impl Membership {
    fn publish(&self) {
        self.view.send_replace(Arc::new(self.state.view()));
    }

    /// Tells of a node that changed its state, if one did.
    fn show(&self, transition: Option<Transition>) {
        if let Some(transition) = transition {
            Self::log(&transition);
            self.publish();
        }
    }

    fn log(transition: &Transition) {
        let Transition { node, name, from, to } = transition;
        let from = from.map_or("unknown", NodeState::name);
        match to {
            NodeState::Up | NodeState::Draining | NodeState::Left | NodeState::Forgotten => {
                tracing::info!(%node, name, from, %to, "node changed its state");
            }
            NodeState::Suspect | NodeState::Down | NodeState::Lost => {
                tracing::warn!(%node, name, from, %to, "node changed its state");
            }
        }
    }
}

impl Behaviour for Membership {
    type Msg = MembershipMsg;
    type Args = MembershipArgs;
    const KIND: &'static str = "membership";

    async fn start(args: MembershipArgs, ctx: &mut Ctx<MembershipMsg>) -> Result<Self, ActorError> {
        let RememberedMembers { records, maintenance } =
            args.remembered.load().await.map_err(|e| ActorError::fatal("load the remembered nodes", e))?;
        // Larger than what any earlier life gave out: versions grow by far less than one a millisecond.
        let first_version = ctx.env().clock.wall_ms();
        let mut state = MembershipState::new(
            args.config,
            args.cluster,
            records,
            first_version,
            (ctx.now(), args.time.now_ms()),
        );
        state.maintain(maintenance.0);
        ctx.set_tick((args.config.suspect_after / TICKS).max(Duration::from_millis(10)));
        let this = Self { state, view: args.view };
        this.publish();
        Ok(this)
    }

    async fn handle(&mut self, msg: MembershipMsg, ctx: &mut Ctx<MembershipMsg>) -> Result<(), ActorError> {
        let now = ctx.now();
        match msg {
            MembershipMsg::Admit(word, source, reply) => {
                let admitted = self.state.admit(now, source, &word);
                if admitted.is_err() {
                    self.publish();
                }
                reply.send(admitted);
            }
            MembershipMsg::SayYes(node, reply) => {
                reply.send(self.state.say_yes(now, node));
                self.publish();
            }
            MembershipMsg::Register(word, admission, reply) => {
                let taken = self.state.register(now, &word, &admission);
                if let Ok(transitions) = &taken {
                    transitions.iter().for_each(Self::log);
                }
                self.publish();
                reply.send(taken.map(|_| self.state.full()));
            }
            MembershipMsg::Heartbeat(word, reply) => {
                let heard = self.state.heartbeat(now, &word);
                heard.iter().filter_map(|(_, transition)| transition.as_ref()).for_each(Self::log);
                self.publish();
                reply.send(heard.map(|(heard, _)| heard));
            }
            MembershipMsg::Leave(word, reply) => {
                let left = self.state.leave(now, &word);
                if let Some((_, transition)) = &left {
                    Self::log(transition);
                    self.publish();
                }
                reply.send(left.map(|(record, _)| record));
            }
            MembershipMsg::Drain(node, drains, reply) => {
                let drained = self.state.drain(now, node, drains);
                if let Ok((_, transition)) = &drained {
                    transition.iter().for_each(Self::log);
                    self.publish();
                }
                reply.send(drained.map(|(record, _)| record));
            }
            MembershipMsg::Maintain(said, reply) => {
                self.state.maintain(said.0);
                self.publish();
                reply.send(());
            }
            MembershipMsg::CheckForget(node, reply) => reply.send(self.state.check_forget(now, node)),
            MembershipMsg::BeginForget(node, reply) => reply.send(self.state.begin_forget(now, node)),
            MembershipMsg::Spare(node) => self.state.spare(node),
            MembershipMsg::Forget(node, reply) => {
                let transition = self.state.forget(now, node);
                self.show(transition);
                reply.send(());
            }
            MembershipMsg::Expel(node) => {
                let expelled = self.state.expel(now, node);
                self.show(expelled);
            }
            MembershipMsg::WantInventory(node) => self.state.want_inventory(node),
            MembershipMsg::InventoryDone(node, incarnation) => {
                self.state.inventory_done(node, incarnation);
                self.publish();
            }
        }
        Ok(())
    }

    async fn tick(&mut self, ctx: &mut Ctx<MembershipMsg>) -> Result<(), ActorError> {
        let transitions = self.state.tick(ctx.now());
        transitions.iter().for_each(Self::log);
        if self.state.tick_door(ctx.now()) || !transitions.is_empty() {
            self.publish();
        }
        Ok(())
    }
}
