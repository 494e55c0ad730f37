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
//!   Draining is Up without new chunks; it is Suspect and Down by silence as well, Left if it says so, and Draining again when it
//!   speaks: only an operator ends it.
//!   Down, Left ---- another node has its name and address ----> Lost
//!   Down, Left, Lost ---- an operator forgets it ----> Forgotten
//!   coordinator starts: every remembered node is Suspect until it is heard of, and Down only after as long a silence
//!   as any other node's, so that a restart of the coordinator alarms nobody.
//! ```
//!
//! What an operator or the node itself decided ([`Standing`]) is durable and outlives the coordinator; what follows from
//! silence is not.
//!
//! If it is the coordinator that slept (a stopped process, a suspended machine), the time it could not listen counts
//! against nobody.
//!
//! Whether a member answers follows from when it was last heard of and from nothing else: a node that hears no answers
//! (a partition of one direction) is Up as long as it speaks, and does not flap.
//!
//! Two processes with copies of one data directory share an id. The newer run wins: the older is refused and told to
//! stop, whichever of them speaks next. Of two with the same run number, the first wins. Only when the winner has been
//! silent for as long as makes a node Down may another take its place.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use dfs_wire::id::{ClusterId, Incarnation, NodeId};
use dfs_wire::limits::NODE_FINDINGS_MAX;
use dfs_wire::message::admin::HealthFinding;
use dfs_wire::message::membership::{Heartbeat, NodeLoad, NodeState, Register, StateUpdate};
use dfs_wire::status::Status;

pub(crate) use self::admission::Admission;
pub use self::words::{advertise_hint, too_many_register};
use self::words::{bounded, shortened, superseded};
use crate::coordinator::metadata::model::records::{Maintenance, NodeRecord, Standing};
use crate::env::MonoTime;

mod admission;
mod decided;
mod picture;
mod words;

/// Most nodes of a cluster. A whole cluster state must fit into one answer.
pub(crate) const NODES_MAX: usize = 256;
/// Most bytes of a node's name.
pub const NODE_NAME_BYTES_MAX: usize = 64;
/// Most bytes of a zone's name.
pub const ZONE_BYTES_MAX: usize = 32;
/// Most bytes of a node's address.
pub const ADDRESS_BYTES_MAX: usize = 96;
/// Changes of the cluster state that are remembered one by one; a node that missed more gets all of it.
pub(crate) const HISTORY_MAX: usize = 512;

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
    /// How long a node that stopped on purpose is expected back without alarm.
    pub maintenance_grace: Duration,
    /// Nodes that may join without an operator's yes.
    pub nodes_unasked_max: usize,
}

impl Default for MembershipConfig {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_secs(2),
            suspect_after: Duration::from_secs(10),
            down_after: Duration::from_secs(30),
            maintenance_grace: Duration::from_secs(600),
            nodes_unasked_max: 32,
        }
    }
}

/// The part of a heartbeat's answer that membership knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatAnswer {
    /// What changed since the version the node named.
    pub update: StateUpdate,
    /// The run is not registered here.
    pub register_again: bool,
    /// A whole inventory is wanted.
    pub inventory_wanted: bool,
}

/// A change of a node's state, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transition {
    pub node: NodeId,
    pub name: String,
    /// How it was; `None` = nobody knew it.
    pub from: Option<NodeState>,
    /// How it is.
    pub to: NodeState,
}

#[derive(Debug, Clone)]
struct Member {
    id: NodeId,
    record: NodeRecord,
    /// The run that registered last; 0 = none in this life of the machine.
    incarnation: Incarnation,
    version: String,
    registered: bool,
    heard: Option<MonoTime>,
    state: NodeState,
    /// Since when it is in this state, in the coordinator's time.
    since_ms: u64,
    load: NodeLoad,
    report: u64,
    findings: Vec<HealthFinding>,
    inventory_wanted: bool,
    /// It has told all it has since it registered.
    told: bool,
}

/// Every node that is known, in which state, and what it last said of itself.
#[derive(Debug)]
pub(crate) struct MembershipState {
    config: MembershipConfig,
    cluster: ClusterId,
    /// A point in time by both clocks: the coordinator's time goes on with the monotonic one.
    origin: (MonoTime, u64),
    started: MonoTime,
    ticked: MonoTime,
    nodes: BTreeMap<NodeId, Member>,
    version: u64,
    /// (version, node that changed), oldest first. Complete for all versions after `forgotten`.
    history: VecDeque<(u64, NodeId)>,
    forgotten: u64,
    door: admission::Door,
    /// What operators have said of nodes that may be away.
    maintenance: BTreeMap<NodeId, Maintenance>,
    /// Nodes that an operator is forgetting, and until when they are held; then it is not known what became of that.
    forgetting: BTreeMap<NodeId, MonoTime>,
}

impl MembershipState {
    /// A register of what is remembered, at the start of a coordinator (or of its membership actor).
    ///
    /// `first_version` should be larger than any version that an earlier life gave out; `now` is one instant by the
    /// monotonic clock and in the coordinator's time.
    pub(crate) fn new(
        config: MembershipConfig,
        cluster: ClusterId,
        remembered: Vec<(NodeId, NodeRecord)>,
        first_version: u64,
        now: (MonoTime, u64),
    ) -> Self {
        let nodes =
            remembered.into_iter().map(|(id, record)| (id, Member::remembered(id, record, now.1))).collect();
        let history = VecDeque::new();
        Self {
            config,
            cluster,
            origin: now,
            started: now.0,
            ticked: now.0,
            nodes,
            version: first_version,
            history,
            forgotten: first_version,
            door: admission::Door::default(),
            maintenance: BTreeMap::new(),
            forgetting: BTreeMap::new(),
        }
    }

    /// The coordinator's time at this instant.
    fn ms(&self, at: MonoTime) -> u64 {
        let (origin, ms) = self.origin;
        ms.saturating_add(u64::try_from(at.since(origin).as_millis()).unwrap_or(u64::MAX))
    }

    /// Takes the node in. What was admitted is durable by now. Returns what changed.
    ///
    /// # Errors
    /// As [`Self::admit`]: someone else may have registered meanwhile.
    pub(crate) fn register(
        &mut self,
        now: MonoTime,
        word: &Register,
        admitted: &Admission,
    ) -> Result<Vec<Transition>, Status> {
        self.door.release(word.node);
        let lost = admitted.lost.iter().filter_map(|(lost, _)| self.mark_lost(now, *lost));
        let mut transitions: Vec<_> = lost.map(|(_, transition)| transition).collect();
        let judged = self.judge(now, word).map_err(|refusal| refusal.status)?;
        let before = self.nodes.get(&word.node);
        let record = if admitted.news { admitted.record.clone() } else { judged.record };
        let from = before.map(|n| n.state);
        let to = live(record.standing);
        let changed = judged.news || from != Some(to);
        // A returning run starts to count anew; the same run, reconnected, goes on.
        let report = before
            .filter(|n| n.registered && n.incarnation == word.incarnation)
            .map_or(1, |n| n.report.saturating_add(1));
        let since_ms = before.filter(|_| from == Some(to)).map_or(self.ms(now), |n| n.since_ms);
        let name = record.name.clone();
        let node = Member {
            id: word.node,
            record,
            incarnation: word.incarnation,
            version: word.version.clone(),
            registered: true,
            heard: Some(now),
            state: to,
            since_ms,
            load: bounded(&word.load),
            report,
            findings: Vec::new(),
            inventory_wanted: true,
            told: false,
        };
        self.nodes.insert(word.node, node);
        // The writer has let it pass: it is not forgotten.
        self.forgetting.remove(&word.node);
        if changed {
            self.note_change(word.node);
        }
        transitions.extend((from != Some(to)).then_some(Transition { node: word.node, name, from, to }));
        Ok(transitions)
    }

    /// Takes a heartbeat in.
    ///
    /// # Errors
    /// `AlreadyExists`: a newer run has this id, this one must stop.
    pub(crate) fn heartbeat(
        &mut self,
        now: MonoTime,
        word: &Heartbeat,
    ) -> Result<(HeartbeatAnswer, Option<Transition>), Status> {
        let again =
            HeartbeatAnswer { update: StateUpdate::Unchanged, register_again: true, inventory_wanted: false };
        let now_ms = self.ms(now);
        let Some(node) = self.nodes.get_mut(&word.node) else { return Ok((again, None)) };
        if word.incarnation < node.incarnation {
            return Err(superseded(node));
        }
        let stands = matches!(node.record.standing, Standing::Member | Standing::Draining)
            && !self.forgetting.contains_key(&word.node);
        if word.incarnation > node.incarnation || !node.registered || !stands {
            return Ok((again, None));
        }
        node.heard = Some(now);
        node.load = bounded(&word.load);
        node.findings = word.findings.iter().take(NODE_FINDINGS_MAX).map(shortened).collect();
        node.report = node.report.saturating_add(1);
        // Deletes may have passed it by while it was away.
        node.inventory_wanted |= node.state == NodeState::Down;
        let inventory_wanted = node.inventory_wanted;
        let transition = node.turn(live(node.record.standing), now_ms);
        if transition.is_some() {
            self.note_change(word.node);
        }
        let update = self.update_since(word.state_version);
        Ok((HeartbeatAnswer { update, register_again: false, inventory_wanted }, transition))
    }

    /// A whole inventory is wanted of this node, or of all: each is asked with its next heartbeat.
    pub(crate) fn want_inventory(&mut self, node: Option<NodeId>) {
        let asked = self.nodes.iter_mut().filter(|(id, _)| node.is_none_or(|node| node == **id));
        asked.for_each(|(_, known)| known.inventory_wanted = true);
    }

    /// A whole inventory of this run came to its end.
    pub(crate) fn inventory_done(&mut self, node: NodeId, incarnation: Incarnation) {
        if let Some(node) = self.nodes.get_mut(&node).filter(|n| n.incarnation == incarnation) {
            (node.inventory_wanted, node.told) = (false, true);
        }
    }

    /// Lets time pass at the door. Whether anything changed for those who look.
    pub(crate) fn tick_door(&mut self, now: MonoTime) -> bool {
        self.door.forget_old(now)
    }

    /// Lets time pass: nodes that are silent for too long change their state. To be called several times in
    /// [`MembershipConfig::suspect_after`].
    pub(crate) fn tick(&mut self, now: MonoTime) -> Vec<Transition> {
        let gap = now.since(self.ticked);
        self.ticked = now;
        if gap >= self.config.suspect_after {
            self.started = self.started + gap;
            for node in self.nodes.values_mut() {
                node.heard = node.heard.map(|heard| (heard + gap).min(now));
            }
        }
        let (config, started, now_ms) = (self.config, self.started, self.ms(now));
        let mut transitions = Vec::new();
        let stands = |n: &&mut Member| match n.record.standing {
            Standing::Member => true,
            // It said that it goes, and is emptied all the same.
            Standing::Draining => n.state != NodeState::Left,
            Standing::Left | Standing::Lost | Standing::Forgotten => false,
        };
        for node in self.nodes.values_mut().filter(stands) {
            let silent = now.since(node.heard.unwrap_or(started));
            let to = match node.heard {
                _ if silent >= config.down_after => NodeState::Down,
                None => NodeState::Suspect,
                Some(_) if silent >= config.suspect_after => NodeState::Suspect,
                // It becomes Up by being heard of, which a tick is not.
                Some(_) => node.state,
            };
            transitions.extend(node.turn(to, now_ms));
        }
        for transition in &transitions {
            self.note_change(transition.node);
        }
        transitions
    }
}

/// How a node with this standing is as long as it is heard of.
const fn live(standing: Standing) -> NodeState {
    match standing {
        Standing::Member => NodeState::Up,
        Standing::Left => NodeState::Left,
        Standing::Draining => NodeState::Draining,
        Standing::Lost => NodeState::Lost,
        Standing::Forgotten => NodeState::Forgotten,
    }
}

impl Member {
    /// A node that has not been heard of yet.
    fn remembered(id: NodeId, record: NodeRecord, now_ms: u64) -> Self {
        let (state, since_ms) = match record.standing {
            Standing::Member | Standing::Draining => (NodeState::Suspect, now_ms),
            decided => (live(decided), record.since_ms),
        };
        Self {
            id,
            record,
            incarnation: Incarnation(0),
            version: String::new(),
            registered: false,
            heard: None,
            state,
            since_ms,
            load: NodeLoad::default(),
            report: 0,
            findings: Vec::new(),
            inventory_wanted: true,
            told: false,
        }
    }

    /// Changes the state, if that is a change.
    fn turn(&mut self, to: NodeState, now_ms: u64) -> Option<Transition> {
        let from = std::mem::replace(&mut self.state, to);
        (from != to).then(|| {
            self.since_ms = now_ms;
            Transition { node: self.id, name: self.record.name.clone(), from: Some(from), to }
        })
    }
}

#[cfg(test)]
mod tests;
