//! Whether a node is taken in: who it is, whether its name and address are its own, and whether it has to be asked for.
//!
//! A name and an address belong to one node at a time. They are another's while that one answers, or may: then the
//! newcomer is refused, and both are named. A node that comes with the name *and* the address of one that answers no more
//! is the same machine with a new disk, and takes its place: the old one is lost, for good. What an operator decides
//! ([`MembershipState::say_yes`]) is above all of this but the clash.
//!
//! A registration takes its time: the node is asked at its address, and its record is made durable. Meanwhile its name
//! and its address are held for it, so that of two that come at the same moment the second is refused.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use dfs_wire::id::NodeId;
use dfs_wire::message::membership::{NodeState, Register};
use dfs_wire::status::{Status, StatusCode};

use super::words::{advertise_hint, check_texts, fenced, superseded, too_many_register};
use super::{Member, MembershipState, NODES_MAX};
use crate::budgets::NODES_WAITING_MAX;
use crate::coordinator::membership::view::WaitingNode;
use crate::coordinator::metadata::model::records::{NodeRecord, Standing};
use crate::env::MonoTime;

/// How long a name and an address are held for a node whose registration is under way.
const HELD_FOR: Duration = Duration::from_secs(5);
/// Registrations under way at once.
const HELD_MAX: usize = 64;
/// A node that waits asks again every few seconds; one that has not for so long is gone.
const WAITING_FOR: Duration = Duration::from_secs(60);
/// Unknown nodes from one source that are listened to within [`STRANGERS_FOR`].
const STRANGERS_PER_SOURCE_MAX: usize = 32;
/// How long an unknown node counts against its source.
const STRANGERS_FOR: Duration = Duration::from_secs(600);
/// Unknown nodes that are counted at all.
const STRANGERS_MAX: usize = 4096;

/// A registration that may go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// What is remembered of the node, or is to be.
    pub record: NodeRecord,
    /// The record differs from what is remembered: make it durable before [`MembershipState::register`].
    pub news: bool,
    /// Nodes whose place it takes, as they are to be remembered: durable together with `record`.
    pub lost: Vec<(NodeId, NodeRecord)>,
}

/// Why a registration may not go on.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: Status,
    /// An operator can let the node in all the same.
    needs_yes: bool,
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self { status, needs_yes: false }
    }
}

/// Nodes at the door.
#[derive(Debug, Default)]
pub(super) struct Door {
    /// Names and addresses of registrations under way, and until when they are held.
    held: BTreeMap<NodeId, (String, String, MonoTime)>,
    waiting: BTreeMap<NodeId, WaitingNode>,
    /// Unknown nodes of late: when, where from, who.
    strangers: VecDeque<(MonoTime, IpAddr, NodeId)>,
}

impl Door {
    /// The registration is over.
    pub(super) fn release(&mut self, node: NodeId) {
        self.held.remove(&node);
        self.waiting.remove(&node);
    }

    /// Whether a registration of the node is under way.
    pub(super) fn is_registering(&self, now: MonoTime, node: NodeId) -> bool {
        self.held.get(&node).is_some_and(|(_, _, until)| now < *until)
    }

    /// Those that wait for an operator's yes.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &WaitingNode> {
        self.waiting.values()
    }

    /// Whether anything changed for those who look.
    pub(super) fn forget_old(&mut self, now: MonoTime) -> bool {
        self.held.retain(|_, (_, _, until)| now < *until);
        let before = self.waiting.len();
        self.waiting.retain(|_, waiting| now.since(waiting.asked) < WAITING_FOR);
        before != self.waiting.len()
    }

    fn hold(&mut self, now: MonoTime, word: &Register) -> Result<(), Status> {
        self.held.retain(|_, (_, _, until)| now < *until);
        let clash = self.held.iter().find(|(id, (name, address, _))| {
            **id != word.node && (*name == word.name || *address == word.address)
        });
        if let Some((id, (name, address, _))) = clash {
            let text = format!(
                "the node {id} is registering as {name} ({address}) at the same moment as {} as {} ({})",
                word.node, word.name, word.address
            );
            return Err(
                not_admitted(word, text).hint("give each datanode its own node.name and node.advertise")
            );
        }
        if self.held.len() >= HELD_MAX && !self.held.contains_key(&word.node) {
            return Err(too_many_register().at_node(word.node));
        }
        self.held.insert(word.node, (word.name.clone(), word.address.clone(), now + HELD_FOR));
        Ok(())
    }

    fn wait(&mut self, now: MonoTime, node: NodeId, record: NodeRecord, why: &Status) {
        if self.waiting.len() >= NODES_WAITING_MAX && !self.waiting.contains_key(&node) {
            let oldest = self.waiting.iter().min_by_key(|(_, w)| w.asked).map(|(id, _)| *id);
            oldest.and_then(|id| self.waiting.remove(&id));
        }
        let why = why.message.clone();
        self.waiting.insert(node, WaitingNode { node, record, why, asked: now });
    }

    /// Counts an unknown node against where it comes from.
    fn meet(&mut self, now: MonoTime, source: Option<IpAddr>, word: &Register) -> Result<(), Status> {
        let Some(source) = source else { return Ok(()) };
        while self.strangers.front().is_some_and(|(at, ..)| now.since(*at) >= STRANGERS_FOR) {
            self.strangers.pop_front();
        }
        let same = || self.strangers.iter().filter(|(_, from, _)| *from == source);
        if same().any(|(_, _, node)| *node == word.node) {
            return Ok(());
        }
        if same().count() >= STRANGERS_PER_SOURCE_MAX {
            let text = format!(
                "{STRANGERS_PER_SOURCE_MAX} unknown datanodes have come from {source} within {} minutes, {} has to wait",
                STRANGERS_FOR.as_secs() / 60,
                word.name
            );
            return Err(not_admitted(word, text).hint("it is listened to when those minutes are over"));
        }
        if self.strangers.len() >= STRANGERS_MAX {
            self.strangers.pop_front();
        }
        self.strangers.push_back((now, source, word.node));
        Ok(())
    }
}

fn not_admitted(word: &Register, text: String) -> Status {
    Status::new(StatusCode::NotAdmitted, text).at_node(word.node)
}

impl MembershipState {
    /// Judges a registration that comes from `source`, and holds its name and address while it goes on: the node is to be
    /// asked at its address and the admission to be made durable, then [`Self::register`].
    ///
    /// # Errors
    /// `WrongCluster`, `InvalidArgument`, `AlreadyExists` (a newer run has this id: stop), `NotAdmitted` (its name or
    /// address is another's, it is lost or forgotten, or it needs an operator's yes), `Unavailable` (too many nodes), `Busy`.
    pub(crate) fn admit(
        &mut self,
        now: MonoTime,
        source: Option<IpAddr>,
        word: &Register,
    ) -> Result<Admission, Status> {
        let judged = self.judge(now, word).and_then(|admission| {
            let further = !self.nodes.contains_key(&word.node) && admission.lost.is_empty();
            if further { self.asked_for(word).map(|()| admission) } else { Ok(admission) }
        });
        if !self.nodes.contains_key(&word.node) {
            self.door.meet(now, source, word)?;
        }
        match judged {
            Ok(admission) => self.door.hold(now, word).map(|()| admission),
            Err(Refusal { status, needs_yes }) => {
                if needs_yes {
                    self.door.wait(now, word.node, self.record(now, word), &status);
                }
                Err(status)
            }
        }
    }

    /// An operator wants the node: it is remembered as one that is expected, and taken in when it asks again.
    ///
    /// Returns the record to make durable.
    ///
    /// # Errors
    /// `NotFound` if no such node has asked lately; `Busy` while another operator forgets it.
    pub(crate) fn say_yes(&mut self, now: MonoTime, node: NodeId) -> Result<NodeRecord, Status> {
        self.check_held(now, node)?;
        let Some(waiting) = self.door.waiting.remove(&node) else {
            let text = format!("no datanode with the id {node} waits to be admitted");
            return Err(Status::new(StatusCode::NotFound, text)
                .hint("one that asks is shown by `dfsctl status`; it asks again every few seconds"));
        };
        let record = NodeRecord { standing: Standing::Left, since_ms: self.ms(now), ..waiting.record };
        self.nodes.insert(node, Member::remembered(node, record.clone(), self.ms(now)));
        self.note_change(node);
        Ok(record)
    }

    fn members(&self) -> usize {
        self.nodes.values().filter(|n| n.state.belongs()).count()
    }

    fn record(&self, now: MonoTime, word: &Register) -> NodeRecord {
        let known = self.nodes.get(&word.node);
        NodeRecord {
            name: word.name.clone(),
            zone: word.zone.clone(),
            address: word.address.clone(),
            registered_ms: known.map_or(self.ms(now), |n| n.record.registered_ms),
            standing: Standing::Member,
            since_ms: self.ms(now),
        }
    }

    /// What there is to say about a registration. Changes nothing.
    pub(super) fn judge(&self, now: MonoTime, word: &Register) -> Result<Admission, Refusal> {
        check_texts(word)?;
        if let Some(other) = word.cluster.filter(|c| *c != self.cluster) {
            let text =
                format!("the disk of {} belongs to cluster {other}, this is {}", word.name, self.cluster);
            return Err(Status::new(StatusCode::WrongCluster, text)
                .hint("point the node at its own coordinator, or give it an empty data directory")
                .at_node(word.node)
                .into());
        }
        self.check_held(now, word.node)?;
        let record = self.record(now, word);
        let Some(known) = self.nodes.get(&word.node) else {
            let lost = self.clashes(now, word)?;
            self.room_for(word)?;
            return Ok(Admission { record, news: true, lost });
        };
        let standing = match known.record.standing {
            Standing::Lost | Standing::Forgotten => {
                return Err(Refusal { status: fenced(known), needs_yes: true });
            }
            Standing::Draining => Standing::Draining,
            Standing::Member | Standing::Left => Standing::Member,
        };
        let gone = self.silent(now, known) || known.state == NodeState::Left;
        let same_run = known.incarnation == word.incarnation;
        let elsewhere = same_run && known.registered && known.record.address != word.address;
        if !gone && (elsewhere || word.incarnation < known.incarnation) {
            return Err(superseded(known).into());
        }
        let lost = self.clashes(now, word)?;
        let since_ms =
            if known.record.standing == standing { known.record.since_ms } else { record.since_ms };
        let record = NodeRecord { standing, since_ms, ..record };
        Ok(Admission { news: known.record != record, record, lost })
    }

    fn silent(&self, now: MonoTime, node: &Member) -> bool {
        now.since(node.heard.unwrap_or(self.started)) >= self.config.down_after
    }

    /// The nodes whose place this one takes: they have its name and its address, and answer no more.
    fn clashes(&self, now: MonoTime, word: &Register) -> Result<Vec<(NodeId, NodeRecord)>, Status> {
        let mine = self.nodes.get(&word.node).map(|n| &n.record);
        let unchanged = mine.is_some_and(|r| r.name == word.name && r.address == word.address);
        let mut lost = Vec::new();
        let others = self.nodes.values().filter(|n| {
            n.id != word.node
                && n.state.belongs()
                && (n.record.name == word.name || n.record.address == word.address)
        });
        for other in others {
            // Whoever was here before the coordinator started is not held back by one that has not come back yet.
            let answers = other.state.answers() && (other.registered || !unchanged);
            if answers {
                return Err(self.clash(word, other));
            }
            if other.record.name == word.name && other.record.address == word.address {
                let since_ms = self.ms(now);
                let record = NodeRecord { standing: Standing::Lost, since_ms, ..other.record.clone() };
                lost.push((other.id, record));
            }
        }
        Ok(lost)
    }

    fn clash(&self, word: &Register, other: &Member) -> Status {
        let (record, state) = (&other.record, other.state);
        let (theirs, id) = (format!("{} ({})", record.name, record.address), other.id);
        let (text, hint) = match (record.name == word.name, record.address == word.address) {
            (true, true) => (
                format!(
                    "the name and the address of {theirs} belong to the node {id}, which is {state}: {} cannot have them",
                    word.node
                ),
                format!(
                    "if the machine has a new disk, its place is free {} s after the last word of the old node",
                    self.config.down_after.as_secs()
                ),
            ),
            (true, false) => (
                format!(
                    "the name {} belongs to the node {id} at {}, which is {state}: {} at {} cannot have it",
                    record.name, record.address, word.node, word.address
                ),
                "give one of them another node.name".to_owned(),
            ),
            _ => (
                format!(
                    "{} advertises {}, which is the address of {} ({id}), which is {state}",
                    word.name, record.address, record.name
                ),
                advertise_hint(&word.name),
            ),
        };
        not_admitted(word, text).hint(hint)
    }

    /// Whether one more node can be remembered.
    fn room_for(&self, word: &Register) -> Result<(), Status> {
        if self.nodes.values().filter(|n| n.state != NodeState::Forgotten).count() >= NODES_MAX {
            let text = format!("the cluster has {NODES_MAX} nodes already, {} cannot join", word.name);
            return Err(Status::new(StatusCode::Unavailable, text)
                .hint("forget nodes that are gone for good: `dfsctl nodes forget NODE`")
                .at_node(word.node));
        }
        Ok(())
    }

    /// Whether a further node may join without an operator's yes. One that takes the place of another is none.
    fn asked_for(&self, word: &Register) -> Result<(), Refusal> {
        let coming = self.door.held.keys().filter(|id| **id != word.node && !self.nodes.contains_key(id));
        let (members, most) = (self.members() + coming.count(), self.config.nodes_unasked_max);
        if members >= most {
            let text = format!(
                "{} ({}) asks to join, and the cluster has {members} datanodes, {most} of which may join without being \
                 asked for",
                word.name, word.address
            );
            let hint = format!("`dfsctl nodes admit {}`, or raise cluster.nodes_unasked_max", word.node);
            return Err(Refusal { status: not_admitted(word, text).hint(hint), needs_yes: true });
        }
        Ok(())
    }
}
