//! The register of datanodes: a pure machine. Words from nodes and the passing of time go in; what to remember, what
//! to answer and what changed come out.
//!
//! ```text
//!                register            silent 10 s             silent 30 s
//!   (unknown) ------------> Up ----------------------> Suspect ---------> Down
//!                           ^ |  leave                    |                 |
//!                           | +-------> Left              |                 |
//!                           +------------+----------------+-----------------+
//!                                     register, heartbeat (of the registered run)
//!   coordinator starts: every remembered node is Suspect until it is heard of, and Down only after as long a silence
//!   as any other node's, so that a restart of the coordinator alarms nobody.
//! ```
//!
//! If it is the coordinator that slept (a stopped process, a suspended machine), the time it could not listen counts
//! against nobody.
//!
//! A node's state follows from when it was last heard of and from nothing else: a node that hears no answers
//! (a partition of one direction) is Up as long as it speaks, and does not flap.
//!
//! Two processes with copies of one data directory share an id. The newer run wins: the older is refused and told to
//! stop, whichever of them speaks next. Of two with the same run number, the first wins. Only when the winner has been
//! silent for as long as makes a node Down may another take its place.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use dfs_wire::id::{ClusterId, Incarnation, NodeId};
use dfs_wire::limits::NODE_FINDINGS_MAX;
use dfs_wire::message::admin::HealthFinding;
use dfs_wire::message::membership::{
    DiskHealth, Heartbeat, Leave, NodeEntry, NodeLoad, NodeState, Register, StateFull, StateIncrement,
    StateUpdate,
};
use dfs_wire::status::{Status, StatusCode};
use serde::{Deserialize, Serialize};

use super::view::{ClusterView, NodeView};
use crate::env::MonoTime;

/// Most nodes of a cluster. A whole cluster state must fit into one answer.
pub const NODES_MAX: usize = 256;
/// Most bytes of a node's name.
pub const NODE_NAME_BYTES_MAX: usize = 64;
/// Most bytes of a zone's name.
pub const ZONE_BYTES_MAX: usize = 32;
/// Most bytes of a node's address.
pub const ADDRESS_BYTES_MAX: usize = 96;
/// Characters that are kept of why a disk takes no writes.
const DISK_REASON_CHARS_MAX: usize = 120;
/// Bytes that are kept of the texts of a finding that a node tells: its code, the sentence, and what to do.
const FINDING_BYTES_MAX: (usize, usize, usize) = (48, 300, 220);
/// Changes of the cluster state that are remembered one by one; a node that missed more gets all of it.
pub const HISTORY_MAX: usize = 512;

const _: () = assert!(
    // An entry: the three texts, their lengths, the id, the state.
    NODES_MAX * (NODE_NAME_BYTES_MAX + ZONE_BYTES_MAX + ADDRESS_BYTES_MAX + 3 + 17 + 1) + 1024
        <= dfs_wire::limits::HEAD_BYTES_MAX
);

/// The times of membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MembershipConfig {
    /// How often nodes are asked to report.
    pub heartbeat_interval: Duration,
    /// Silence after which a node gets no new chunks.
    pub suspect_after: Duration,
    /// Silence after which it counts as down.
    pub down_after: Duration,
}

impl Default for MembershipConfig {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_secs(2),
            suspect_after: Duration::from_secs(10),
            down_after: Duration::from_secs(30),
        }
    }
}

/// What is kept of a node in the metadata, so that an error can name it years later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Who.
    pub node: NodeId,
    /// Its name for people.
    pub name: String,
    /// Its failure domain.
    pub zone: String,
    /// Where it listens.
    pub address: String,
    /// It left on purpose.
    pub left: bool,
}

/// What to do with a word of registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// The record is new: make it durable, then [`MembershipState::register`].
    Remember(NodeRecord),
    /// The record is what is remembered already: [`MembershipState::register`].
    Known,
}

/// The part of a heartbeat's answer that membership knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// What changed since the version the node named.
    pub update: StateUpdate,
    /// The run is not registered here.
    pub register_again: bool,
    /// A whole inventory is wanted.
    pub inventory_wanted: bool,
}

/// A change of a node's state, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// Who.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// How it was.
    pub from: NodeState,
    /// How it is.
    pub to: NodeState,
}

#[derive(Debug, Clone)]
struct Node {
    record: NodeRecord,
    /// The run that registered last; 0 = none in this life of the machine.
    incarnation: Incarnation,
    version: String,
    registered: bool,
    heard: Option<MonoTime>,
    state: NodeState,
    load: NodeLoad,
    report: u64,
    findings: Vec<HealthFinding>,
    inventory_wanted: bool,
}

/// The register.
#[derive(Debug)]
pub struct MembershipState {
    config: MembershipConfig,
    cluster: ClusterId,
    started: MonoTime,
    ticked: MonoTime,
    nodes: BTreeMap<NodeId, Node>,
    version: u64,
    /// (version, node that changed), oldest first. Complete for all versions after `forgotten`.
    history: VecDeque<(u64, NodeId)>,
    forgotten: u64,
}

impl MembershipState {
    /// A register of what is remembered, at the start of a coordinator (or of its membership actor).
    ///
    /// `first_version` should be larger than any version that an earlier life gave out.
    pub fn new(
        config: MembershipConfig,
        cluster: ClusterId,
        remembered: Vec<NodeRecord>,
        first_version: u64,
        now: MonoTime,
    ) -> Self {
        let node = |record: NodeRecord| Node {
            state: if record.left { NodeState::Left } else { NodeState::Suspect },
            record,
            incarnation: Incarnation(0),
            version: String::new(),
            registered: false,
            heard: None,
            load: NodeLoad::default(),
            report: 0,
            findings: Vec::new(),
            inventory_wanted: true,
        };
        let nodes = remembered.into_iter().map(|r| (r.node, node(r))).collect();
        let history = VecDeque::new();
        Self {
            config,
            cluster,
            started: now,
            ticked: now,
            nodes,
            version: first_version,
            history,
            forgotten: first_version,
        }
    }

    /// Judges a registration. Changes nothing, so that the record can be made durable in between.
    ///
    /// # Errors
    /// `WrongCluster`, `InvalidArgument`, `AlreadyExists` (a newer run has this id: stop), `Unavailable` (too many nodes).
    pub fn admit(&self, now: MonoTime, word: &Register) -> Result<Admission, Status> {
        if let Some(other) = word.cluster.filter(|c| *c != self.cluster) {
            let text =
                format!("the disk of {} belongs to cluster {other}, this is {}", word.name, self.cluster);
            return Err(Status::new(StatusCode::WrongCluster, text)
                .hint("point the node at its own coordinator, or give it an empty data directory")
                .at_node(word.node));
        }
        check_texts(word)?;
        let record = NodeRecord {
            node: word.node,
            name: word.name.clone(),
            zone: word.zone.clone(),
            address: word.address.clone(),
            left: false,
        };
        let Some(known) = self.nodes.get(&word.node) else {
            if self.nodes.len() >= NODES_MAX {
                let text = format!("the cluster has {NODES_MAX} nodes already, {} cannot join", word.name);
                return Err(Status::new(StatusCode::Unavailable, text).at_node(word.node));
            }
            return Ok(Admission::Remember(record));
        };
        let silent = now.since(known.heard.unwrap_or(self.started)) >= self.config.down_after;
        let gone = silent || known.state == NodeState::Left;
        let same_run = known.incarnation == word.incarnation;
        let elsewhere = same_run && known.registered && known.record.address != word.address;
        if !gone && (elsewhere || word.incarnation < known.incarnation) {
            return Err(superseded(known));
        }
        Ok(if known.record == record { Admission::Known } else { Admission::Remember(record) })
    }

    /// Takes the node in. Its record is durable by now.
    ///
    /// # Errors
    /// As [`Self::admit`]: someone else may have registered meanwhile.
    pub fn register(&mut self, now: MonoTime, word: &Register) -> Result<Option<Transition>, Status> {
        let record = match self.admit(now, word)? {
            Admission::Remember(record) => Some(record),
            Admission::Known => None,
        };
        let from = self.nodes.get(&word.node).map(|n| n.state);
        let changed = record.is_some() || from != Some(NodeState::Up);
        let record = record.or_else(|| self.nodes.get(&word.node).map(|n| n.record.clone()));
        let Some(record) = record else { return Ok(None) };
        let before = self.nodes.get(&word.node);
        // A returning run starts to count anew; the same run, reconnected, goes on.
        let report = before
            .filter(|n| n.registered && n.incarnation == word.incarnation)
            .map_or(1, |n| n.report.saturating_add(1));
        let name = record.name.clone();
        self.nodes.insert(
            word.node,
            Node {
                record,
                incarnation: word.incarnation,
                version: word.version.clone(),
                registered: true,
                heard: Some(now),
                state: NodeState::Up,
                load: bounded(&word.load),
                report,
                findings: Vec::new(),
                inventory_wanted: true,
            },
        );
        if changed {
            self.note_change(word.node);
        }
        let from = from.unwrap_or(NodeState::Left);
        Ok((from != NodeState::Up).then_some(Transition { node: word.node, name, from, to: NodeState::Up }))
    }

    /// Takes a heartbeat in.
    ///
    /// # Errors
    /// `AlreadyExists`: a newer run has this id, this one must stop.
    pub fn heartbeat(
        &mut self,
        now: MonoTime,
        word: &Heartbeat,
    ) -> Result<(Heard, Option<Transition>), Status> {
        let again = Heard { update: StateUpdate::Unchanged, register_again: true, inventory_wanted: false };
        let Some(node) = self.nodes.get_mut(&word.node) else { return Ok((again, None)) };
        if word.incarnation < node.incarnation {
            return Err(superseded(node));
        }
        if word.incarnation > node.incarnation || !node.registered || node.state == NodeState::Left {
            return Ok((again, None));
        }
        let from = node.state;
        node.heard = Some(now);
        node.load = bounded(&word.load);
        node.findings = word.findings.iter().take(NODE_FINDINGS_MAX).map(shortened).collect();
        node.report = node.report.saturating_add(1);
        node.state = NodeState::Up;
        // Deletes may have passed it by while it was away.
        node.inventory_wanted |= from == NodeState::Down;
        let inventory_wanted = node.inventory_wanted;
        let transition = (from != NodeState::Up).then(|| Transition {
            node: word.node,
            name: node.record.name.clone(),
            from,
            to: NodeState::Up,
        });
        if transition.is_some() {
            self.note_change(word.node);
        }
        let update = self.update_since(word.state_version);
        Ok((Heard { update, register_again: false, inventory_wanted }, transition))
    }

    /// The node goes away on purpose. Returns the record to make durable, unless a newer run has taken over.
    pub fn leave(&mut self, word: &Leave) -> Option<(NodeRecord, Transition)> {
        let node = self.nodes.get_mut(&word.node)?;
        if node.incarnation != word.incarnation || node.state == NodeState::Left {
            return None;
        }
        let from = std::mem::replace(&mut node.state, NodeState::Left);
        node.record.left = true;
        let record = node.record.clone();
        self.note_change(word.node);
        let transition =
            Transition { node: record.node, name: record.name.clone(), from, to: NodeState::Left };
        Some((record, transition))
    }

    /// A whole inventory of this run came to its end.
    pub fn inventory_done(&mut self, node: NodeId, incarnation: Incarnation) {
        if let Some(node) = self.nodes.get_mut(&node).filter(|n| n.incarnation == incarnation) {
            node.inventory_wanted = false;
        }
    }

    /// Whether this run of the node is the one that is registered.
    pub fn is_current(&self, node: NodeId, incarnation: Incarnation) -> bool {
        self.nodes.get(&node).is_some_and(|n| n.registered && n.incarnation == incarnation)
    }

    /// Lets time pass: nodes that are silent for too long change their state. To be called several times in
    /// [`MembershipConfig::suspect_after`].
    pub fn tick(&mut self, now: MonoTime) -> Vec<Transition> {
        let gap = now.since(self.ticked);
        self.ticked = now;
        if gap >= self.config.suspect_after {
            self.started = self.started + gap;
            for node in self.nodes.values_mut() {
                node.heard = node.heard.map(|heard| (heard + gap).min(now));
            }
        }
        let (config, started) = (self.config, self.started);
        let mut transitions = Vec::new();
        for (id, node) in self.nodes.iter_mut().filter(|(_, n)| n.state != NodeState::Left) {
            let silent = now.since(node.heard.unwrap_or(started));
            let to = match node.heard {
                _ if silent >= config.down_after => NodeState::Down,
                None => NodeState::Suspect,
                Some(_) if silent >= config.suspect_after => NodeState::Suspect,
                // It becomes Up by being heard of, which a tick is not.
                Some(_) => node.state,
            };
            if to != node.state {
                let from = std::mem::replace(&mut node.state, to);
                transitions.push(Transition { node: *id, name: node.record.name.clone(), from, to });
            }
        }
        for transition in &transitions {
            self.note_change(transition.node);
        }
        transitions
    }

    /// The version of the cluster state.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The whole cluster state, as nodes are told it.
    pub fn full(&self) -> StateFull {
        StateFull { version: self.version, nodes: self.nodes.values().map(Node::entry).collect() }
    }

    /// What changed since `version`.
    pub fn update_since(&self, version: u64) -> StateUpdate {
        if version == self.version {
            return StateUpdate::Unchanged;
        }
        if version < self.forgotten || version > self.version {
            return StateUpdate::Full(self.full());
        }
        let changed: BTreeSet<NodeId> =
            self.history.iter().rev().take_while(|(at, _)| *at > version).map(|(_, node)| *node).collect();
        let nodes = changed.iter().filter_map(|id| self.nodes.get(id)).map(Node::entry).collect();
        StateUpdate::Increment(StateIncrement { from: version, to: self.version, nodes })
    }

    /// The picture for everyone else.
    pub fn view(&self) -> ClusterView {
        let nodes = self.nodes.values().map(|n| {
            Arc::new(NodeView {
                entry: n.entry(),
                incarnation: n.incarnation,
                version: n.version.clone(),
                load: n.load.clone(),
                heard: n.heard,
                report: n.report,
                findings: n.findings.clone(),
            })
        });
        ClusterView { version: self.version, nodes: nodes.collect() }
    }

    fn note_change(&mut self, node: NodeId) {
        self.version += 1;
        self.history.push_back((self.version, node));
        while self.history.len() > HISTORY_MAX {
            if let Some((version, _)) = self.history.pop_front() {
                self.forgotten = version;
            }
        }
    }
}

impl Node {
    fn entry(&self) -> NodeEntry {
        NodeEntry {
            node: self.record.node,
            name: self.record.name.clone(),
            zone: self.record.zone.clone(),
            address: self.record.address.clone(),
            state: self.state,
        }
    }
}

/// The report with its one free text cut: every node's is shown in one answer.
fn bounded(load: &NodeLoad) -> NodeLoad {
    let cut = |why: &str| why.chars().take(DISK_REASON_CHARS_MAX).collect::<String>();
    let disk = match &load.disk {
        DiskHealth::ReadOnly(why) => DiskHealth::ReadOnly(cut(why)),
        DiskHealth::Failed(why) => DiskHealth::Failed(cut(why)),
        other => other.clone(),
    };
    NodeLoad { disk, ..load.clone() }
}

/// What a node says of its health, cut: all of it is shown in one answer.
fn shortened(told: &HealthFinding) -> HealthFinding {
    let cut = |text: &str, most: usize| {
        let fits = |(at, c): &(usize, char)| at + c.len_utf8() <= most;
        text.char_indices().take_while(fits).map(|(_, c)| c).filter(|c| !c.is_control()).collect::<String>()
    };
    let (code, message, hint) = FINDING_BYTES_MAX;
    HealthFinding {
        code: cut(&told.code, code),
        level: told.level,
        message: cut(&told.message, message),
        hint: cut(&told.hint, hint),
    }
}

fn check_texts(word: &Register) -> Result<(), Status> {
    let texts = [
        ("name", &word.name, NODE_NAME_BYTES_MAX, false),
        ("zone", &word.zone, ZONE_BYTES_MAX, true),
        ("address", &word.address, ADDRESS_BYTES_MAX, false),
        ("version", &word.version, NODE_NAME_BYTES_MAX, true),
    ];
    for (what, text, most, may_be_empty) in texts {
        let wrong = if text.len() > most {
            format!("a node's {what} has at most {most} bytes, this one has {}", text.len())
        } else if text.is_empty() && !may_be_empty {
            format!("a node needs a {what}")
        } else if text.chars().any(char::is_control) {
            format!("a node's {what} has no control characters")
        } else {
            continue;
        };
        return Err(Status::new(StatusCode::InvalidArgument, wrong).at_node(word.node));
    }
    Ok(())
}

fn superseded(node: &Node) -> Status {
    let (NodeRecord { name, address, .. }, incarnation) = (&node.record, node.incarnation);
    let text = format!(
        "a newer process (run {incarnation}) at {address} has the node id of {name}: this one must stop"
    );
    Status::new(StatusCode::AlreadyExists, text)
        .hint("two processes run on copies of one data directory: stop one, or restart this one if it is the right one")
        .at_node(node.record.node)
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
