//! The shell around the links to the peers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dfs_wire::handshake::Hello;
use dfs_wire::id::NodeId;
use dfs_wire::identity::PeerName;
use dfs_wire::link::{Dialed, Link, Liveness};
use dfs_wire::slab::SlabBudget;
use dfs_wire::status::{Status, StatusCode};

use super::messages::{LinkRequest, LinksMsg};
use super::state::{Decision, LinkUse, PeerLimits, PeerState};
use crate::budgets::DIAL_WAITING_MAX;
use crate::env::MonoTime;
use crate::peer::dial::{DIAL_TIMEOUT, dial};
use crate::supervisor::{ActorError, Behaviour, Ctx, Reply};

/// How often the links are looked at. A peer that says nothing for three looks is gone.
const TICK: Duration = Duration::from_secs(2);

/// What the actor is made from.
#[derive(Clone)]
pub struct LinksArgs {
    /// How this node introduces itself.
    pub hello: Arc<dyn Fn() -> Hello + Send + Sync>,
    /// Memory for what peers send back.
    pub budget: SlabBudget,
    /// How many links a peer may have, and how long unused ones are kept.
    pub limits: PeerLimits,
}

#[derive(Default)]
struct PeerLinks {
    state: PeerState,
    address: String,
    links: Vec<(Link, LinkUse)>,
    waiting: Vec<Reply<Result<Link, Status>>>,
    last_error: Option<Status>,
}

/// The owner of the links to datanodes.
pub struct Links {
    args: LinksArgs,
    peers: BTreeMap<NodeId, PeerLinks>,
}

impl Behaviour for Links {
    type Msg = LinksMsg;
    type Args = LinksArgs;
    const KIND: &'static str = "links";

    async fn start(args: LinksArgs, ctx: &mut Ctx<LinksMsg>) -> Result<Self, ActorError> {
        ctx.set_tick(TICK);
        Ok(Self { args, peers: BTreeMap::new() })
    }

    async fn handle(&mut self, msg: LinksMsg, ctx: &mut Ctx<LinksMsg>) -> Result<(), ActorError> {
        match msg {
            LinksMsg::Link(request) => self.find(request, ctx),
            LinksMsg::Dialed { node, address, outcome } => self.dialed(node, &address, *outcome, ctx),
        }
        Ok(())
    }

    async fn tick(&mut self, ctx: &mut Ctx<LinksMsg>) -> Result<(), ActorError> {
        let (now, limits) = (ctx.now(), &self.args.limits);
        for (node, peer) in &mut self.peers {
            for (link, _) in &peer.links {
                if link.tick() == Liveness::Dead {
                    tracing::warn!(peer = %node, "a peer went silent");
                }
            }
            // A link closes with its last handle.
            peer.links
                .retain_mut(|(link, usage)| !link.is_closed() && !usage.is_idle(now, link.streams(), limits));
        }
        self.peers.retain(|_, peer| {
            !peer.links.is_empty() || !peer.waiting.is_empty() || !peer.state.is_forgettable(now, limits)
        });
        Ok(())
    }

    async fn stop(&mut self, _ctx: &mut Ctx<LinksMsg>) {
        for (link, _) in self.peers.values().flat_map(|peer| &peer.links) {
            link.close(Status::new(StatusCode::Unavailable, "the node is stopping"));
        }
    }
}

impl Links {
    fn find(&mut self, request: LinkRequest, ctx: &mut Ctx<LinksMsg>) {
        let peer = self.peers.entry(request.node).or_default();
        if peer.address != request.address {
            // The peer came back elsewhere: what is known of the old place is void.
            *peer = PeerLinks { address: request.address.clone(), ..PeerLinks::default() };
        }
        peer.links.retain(|(link, _)| !link.is_draining());
        let streams: Vec<usize> = peer.links.iter().map(|(link, _)| link.streams()).collect();
        let now = ctx.now();
        match peer.state.decide(now, &streams, &self.args.limits) {
            Decision::Use(i) => answer(request.reply, peer, Some(i), now),
            Decision::Wait => wait(request.reply, peer),
            Decision::Refuse => answer(request.reply, peer, None, now),
            Decision::Dial(meanwhile) => {
                match meanwhile {
                    Some(i) => answer(request.reply, peer, Some(i), now),
                    None => wait(request.reply, peer),
                }
                self.dial(request.node, request.address, ctx);
            }
        }
    }

    fn dial(&self, node: NodeId, address: String, ctx: &mut Ctx<LinksMsg>) {
        let (env, budget, hello) = (ctx.env().clone(), self.args.budget.clone(), (self.args.hello)());
        let target = address.clone();
        let attempt = async move {
            let dialed = dial(&env, &target, PeerName::Node(node), &hello, &budget, DIAL_TIMEOUT).await?;
            if dialed.welcome.node != node {
                let text =
                    format!("node {} answers at {target} where {node} was expected", dialed.welcome.node);
                return Err(Status::new(StatusCode::Unavailable, text));
            }
            Ok(dialed)
        };
        ctx.spawn_then(attempt, move |outcome| LinksMsg::Dialed {
            node,
            address,
            outcome: Box::new(outcome),
        });
    }

    fn dialed(
        &mut self,
        node: NodeId,
        address: &str,
        outcome: Result<Dialed, Status>,
        ctx: &mut Ctx<LinksMsg>,
    ) {
        let Some(peer) = self.peers.get_mut(&node).filter(|p| p.address == address) else { return };
        peer.state.dialed(ctx.now(), outcome.is_ok(), &self.args.limits);
        match outcome {
            Ok(dialed) => {
                ctx.spawn(dialed.driver.reader);
                ctx.spawn(dialed.driver.writer);
                peer.last_error = None;
                peer.links.push((dialed.link.clone(), LinkUse::new(ctx.now())));
                peer.waiting.drain(..).for_each(|reply| reply.send(Ok(dialed.link.clone())));
            }
            Err(status) => {
                tracing::warn!(peer = %node, %status, "no link to a peer");
                peer.waiting.drain(..).for_each(|reply| reply.send(Err(status.clone().at_node(node))));
                peer.last_error = Some(status.at_node(node));
            }
        }
    }
}

fn wait(reply: Reply<Result<Link, Status>>, peer: &mut PeerLinks) {
    if peer.waiting.len() < DIAL_WAITING_MAX {
        peer.waiting.push(reply);
    } else {
        reply.send(Err(Status::new(StatusCode::Busy, "too many transfers wait for a link to the same peer")));
    }
}

fn answer(reply: Reply<Result<Link, Status>>, peer: &mut PeerLinks, link: Option<usize>, now: MonoTime) {
    let unreachable = || Status::new(StatusCode::Unavailable, "the peer could not be reached a moment ago");
    let found = link.and_then(|i| peer.links.get_mut(i)).map(|(link, usage)| {
        usage.used(now);
        link.clone()
    });
    reply.send(found.ok_or_else(|| peer.last_error.clone().unwrap_or_else(unreachable)));
}
