//! The picture of the cluster that membership publishes: immutable, versioned, cheap to share.
//!
//! Readers take the latest one from a watch channel and never ask the membership actor anything, so that a slow or
//! restarting actor costs them no time.

use std::sync::Arc;
use std::time::Duration;

use crate::watch;
use dfs_wire::bugs::{self, Bug};
use dfs_wire::id::{Incarnation, NodeId};
use dfs_wire::message::admin::{HealthFinding, SilentNode};
use dfs_wire::message::membership::{NodeEntry, NodeLoad, NodeState};

use crate::coordinator::metadata::model::records::NodeRecord;
use crate::coordinator::metadata::model::worth::Reach;
use crate::env::MonoTime;

/// A node as of one picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// What every node of the cluster is told of it.
    pub entry: NodeEntry,
    /// Since when it is in its state, in the coordinator's time.
    pub since_ms: u64,
    /// Until when, in the coordinator's time, it may be away without alarm: of a node that left, and of one that an operator has down
    /// for maintenance.
    pub grace_until_ms: Option<u64>,
    /// Which run of it registered last.
    pub incarnation: Incarnation,
    /// Version of its software.
    pub version: String,
    /// Its last report; empty if it has not been heard of since the coordinator started.
    pub load: NodeLoad,
    /// When it was last heard of; `None` = not since the coordinator started.
    pub heard: Option<MonoTime>,
    /// How many reports it has made since it registered.
    pub report: u64,
    /// What it says needs attention on it.
    pub findings: Vec<HealthFinding>,
    /// An operator has it emptied, whether it answers or not.
    pub draining: bool,
    /// It has told all it has since it registered: what the metadata says of its copies was compared.
    pub told: bool,
}

impl NodeView {
    /// Whether it counts as up, as far as is known.
    pub fn counts_as_up(&self) -> bool {
        matches!(self.entry.state, NodeState::Up | NodeState::Draining)
    }

    /// Whether its absence was announced, by itself or by an operator, and that time is not over.
    pub fn may_be_away(&self, now_ms: u64) -> bool {
        self.grace_until_ms.is_some_and(|until| now_ms < until)
    }

    /// A node that is up, made its first report and has nothing to say.
    #[cfg(test)]
    pub(crate) fn for_tests(id: u128) -> Self {
        Self {
            entry: NodeEntry {
                node: NodeId(id),
                name: format!("dn-{id}"),
                zone: String::new(),
                address: format!("10.0.0.{id}:8081"),
                state: NodeState::Up,
            },
            since_ms: 0,
            grace_until_ms: None,
            incarnation: Incarnation(1),
            version: String::new(),
            load: NodeLoad::default(),
            heard: None,
            report: 1,
            findings: Vec::new(),
            draining: false,
            told: true,
        }
    }
}

/// A node that waits for an operator's yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingNode {
    /// The id it asks to be admitted by.
    pub node: NodeId,
    /// As it would be remembered.
    pub record: NodeRecord,
    /// Why it has to wait.
    pub why: String,
    /// When it last asked.
    pub asked: MonoTime,
}

/// The whole cluster as of one instant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterView {
    /// Version of the cluster state; loads change without it.
    pub version: u64,
    /// Every node of the cluster and every lost one, in the order of their ids.
    pub nodes: Vec<Arc<NodeView>>,
    /// Those that an operator forgot, in the order of their ids: only their names matter.
    pub forgotten: Vec<Arc<NodeView>>,
    /// Nodes that ask to join and need an operator's yes.
    pub waiting: Vec<WaitingNode>,
}

impl ClusterView {
    /// The node, if it is known and not forgotten.
    pub fn node(&self, node: NodeId) -> Option<&NodeView> {
        find(&self.nodes, node)
    }

    /// How the node is; one that nobody remembers is down.
    pub fn state(&self, node: NodeId) -> NodeState {
        let known = self.node(node).or_else(|| find(&self.forgotten, node));
        known.map_or(NodeState::Down, |n| n.entry.state)
    }

    /// How far a node's copies can be counted on at `now_ms` of the coordinator's time; one that nobody remembers is away.
    pub fn reach(&self, node: NodeId, now_ms: u64) -> Reach {
        let announced = self.node(node).is_some_and(|known| known.may_be_away(now_ms));
        Reach::of(self.state(node), announced)
    }

    /// The node's name for people: its id if it is not known.
    pub fn name(&self, node: NodeId) -> String {
        let known = self.node(node).or_else(|| find(&self.forgotten, node));
        known.map_or_else(|| node.to_string(), |n| n.entry.name.clone())
    }

    /// The nodes that count as up and were not heard of for longer than `patience`, the longest silent first: nobody
    /// knows how they are.
    pub fn silent(&self, now: MonoTime, patience: Duration) -> Vec<SilentNode> {
        let of = |node: &Arc<NodeView>| {
            let silence = now.since(node.heard?);
            let silent_ms = u64::try_from(silence.as_millis()).unwrap_or(u64::MAX);
            (node.counts_as_up() && silence > patience && !bugs::is(Bug::SilentIsUp))
                .then(|| SilentNode { name: node.entry.name.clone(), silent_ms })
        };
        let mut silent: Vec<_> = self.nodes.iter().filter_map(of).collect();
        silent.sort_by_key(|node| std::cmp::Reverse(node.silent_ms));
        silent
    }
}

fn find(nodes: &[Arc<NodeView>], node: NodeId) -> Option<&NodeView> {
    let at = nodes.binary_search_by_key(&node, |n| n.entry.node).ok()?;
    nodes.get(at).map(Arc::as_ref)
}

/// Where the latest picture is to be had.
pub type ViewReceiver = watch::Receiver<Arc<ClusterView>>;

/// A channel of pictures that outlives each life of the membership actor.
pub fn view_channel() -> (Arc<watch::Sender<Arc<ClusterView>>>, ViewReceiver) {
    let (tx, rx) = watch::channel(Arc::new(ClusterView::default()));
    (Arc::new(tx), rx)
}
