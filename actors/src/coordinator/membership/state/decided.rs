//! What is decided of a node, by itself, by an operator, or by what took its place: durable, unlike what follows from
//! silence.
//!
//! # Forgetting against a node that comes back
//!
//! Both take their time, for both are made durable. Which of them was first is decided here, by the order of their
//! messages:
//!
//! ```text
//! begin_forget ---> the node is held: whatever it says, it is asked to come again
//!   | the writer forgets it, within FORGET_WITHIN, or not at all
//!   +--> forget     the metadata says so: it is fenced
//!   +--> spare      the writer refused: it may come back
//!   +--> (nothing)  nobody knows. After FORGET_HELD it may register: the writer, which looks at what is durable by then,
//!                   says whether it is forgotten
//! admit, register, heartbeat before begin_forget ---> the node is registering, or answers: nothing is forgotten
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use dfs_wire::id::NodeId;
use dfs_wire::message::membership::{Leave, NodeState};
use dfs_wire::status::{Status, StatusCode};

use super::{Member, MembershipState, Transition};
use crate::coordinator::metadata::model::records::{Maintenance, NodeRecord, Standing};
use crate::env::MonoTime;

/// How long the writer has to forget a node. It refuses to do so later.
pub(super) const FORGET_WITHIN: Duration = Duration::from_secs(8);
/// How long a node that is being forgotten is told to come again, unless it is known sooner what became of it: longer, so
/// that the writer forgets nothing after the node's registration came to it.
pub(super) const FORGET_HELD: Duration = Duration::from_secs(10);

const _: () = assert!(FORGET_WITHIN.as_secs() < FORGET_HELD.as_secs());

fn unknown(node: NodeId) -> Status {
    let text = format!("no datanode with the id {node} is known");
    Status::new(StatusCode::NotFound, text).hint("`dfsctl nodes -l` lists their ids")
}

fn holds_nothing(node: NodeId, known: &Member) -> Status {
    let text = format!("datanode {} is {}: it holds nothing", known.record.name, known.state);
    Status::new(StatusCode::PreconditionFailed, text).hint("repair makes up for what it had").at_node(node)
}

impl MembershipState {
    /// The node goes away on purpose. Returns the record to make durable, unless a newer run has taken over. One that is
    /// emptied is so still when it comes back. Of one that is being forgotten nothing is
    /// remembered meanwhile: its goodbye would look like an operator's yes to whoever finds the record later.
    pub(crate) fn leave(&mut self, now: MonoTime, word: &Leave) -> Option<(NodeRecord, Transition)> {
        let node = self.nodes.get(&word.node)?;
        if node.incarnation != word.incarnation || self.check_held(now, word.node).is_err() {
            return None;
        }
        match node.record.standing {
            Standing::Member => self.decide(now, word.node, Standing::Left),
            Standing::Draining => {
                let now_ms = self.ms(now);
                let known = self.nodes.get_mut(&word.node)?;
                // A heartbeat that was on its way does not call it back.
                known.registered = false;
                let left =
                    known.turn(NodeState::Left, now_ms).map(|transition| (known.record.clone(), transition));
                self.note_change(word.node);
                left
            }
            Standing::Left | Standing::Lost | Standing::Forgotten => None,
        }
    }

    /// An operator has the node emptied, or, with `drains` false, take chunks again. Returns the record to make durable; asked
    /// again, the same one.
    ///
    /// # Errors
    /// `NotFound`; `PreconditionFailed` of a node that is lost or forgotten; `Busy` while another operator forgets it.
    pub(crate) fn drain(
        &mut self,
        now: MonoTime,
        node: NodeId,
        drains: bool,
    ) -> Result<(NodeRecord, Option<Transition>), Status> {
        self.check_held(now, node)?;
        let now_ms = self.ms(now);
        let known = self.nodes.get_mut(&node).ok_or_else(|| unknown(node))?;
        let (before, left) = (known.record.standing, known.state == NodeState::Left);
        let to = match (drains, before) {
            (_, Standing::Lost | Standing::Forgotten) => return Err(holds_nothing(node, known)),
            (true, _) => Standing::Draining,
            (false, Standing::Draining) if left => Standing::Left,
            (false, Standing::Draining) => Standing::Member,
            (false, other) => other,
        };
        let mut transition = None;
        if before != to {
            (known.record.standing, known.record.since_ms) = (to, now_ms);
            if matches!(known.state, NodeState::Up | NodeState::Draining) {
                transition = known.turn(super::live(to), now_ms);
            }
        }
        let record = known.record.clone();
        if transition.is_some() {
            self.note_change(node);
        }
        Ok((record, transition))
    }

    /// What operators have said of nodes that may be away: it is durable.
    pub(crate) fn maintain(&mut self, said: BTreeMap<NodeId, Maintenance>) {
        let changed = |node: &&NodeId| said.get(*node) != self.maintenance.get(*node);
        let changed: Vec<NodeId> = self.nodes.keys().filter(changed).copied().collect();
        self.maintenance = said;
        // Whoever counts by what the nodes are has to count again.
        changed.into_iter().for_each(|node| self.note_change(node));
    }

    /// What it says is not believed any more: it counts as down at once, and has to register when it is believed again.
    pub(crate) fn expel(&mut self, now: MonoTime, node: NodeId) -> Option<Transition> {
        let (silent, now_ms) = (now - self.config.down_after, self.ms(now));
        let known = self.nodes.get_mut(&node)?;
        known.registered = false;
        if !matches!(known.record.standing, Standing::Member | Standing::Draining) {
            return None;
        }
        known.heard = Some(silent);
        let transition = known.turn(NodeState::Down, now_ms);
        self.note_change(node);
        transition
    }

    /// Another node has this one's name and address: whatever it held is gone, and it is not taken in again.
    ///
    /// Returns the record to make durable, unless it is lost or forgotten already.
    pub(crate) fn mark_lost(&mut self, now: MonoTime, node: NodeId) -> Option<(NodeRecord, Transition)> {
        match self.nodes.get(&node)?.record.standing {
            Standing::Member | Standing::Draining | Standing::Left => {
                self.maintenance.remove(&node);
                self.decide(now, node, Standing::Lost)
            }
            Standing::Lost | Standing::Forgotten => None,
        }
    }

    /// An operator wants to forget the node: from now on it is held, until [`Self::forget`] or [`Self::spare`]. Returns until
    /// when, in the coordinator's time, the metadata may be told.
    ///
    /// # Errors
    /// As [`Self::check_forget`].
    pub(crate) fn begin_forget(&mut self, now: MonoTime, node: NodeId) -> Result<u64, Status> {
        self.check_forget(now, node)?;
        self.forgetting.insert(node, now + FORGET_HELD);
        Ok(self.ms(now + FORGET_WITHIN))
    }

    /// The node is not forgotten after all.
    pub(crate) fn spare(&mut self, node: NodeId) {
        self.forgetting.remove(&node);
    }

    /// The metadata says that the node is forgotten: it is no part of the cluster any more, and its place is free for
    /// another one. Returns what changed, if anything did.
    pub(crate) fn forget(&mut self, now: MonoTime, node: NodeId) -> Option<Transition> {
        self.forgetting.remove(&node);
        self.maintenance.remove(&node);
        self.decide(now, node, Standing::Forgotten).map(|(_, transition)| transition)
    }

    /// Whether the node is told to come again because an operator is forgetting it.
    ///
    /// # Errors
    /// `Busy`.
    pub(super) fn check_held(&self, now: MonoTime, node: NodeId) -> Result<(), Status> {
        match self.forgetting.get(&node) {
            Some(until) if now < *until => {
                let name = self.nodes.get(&node).map_or_else(String::new, |n| n.record.name.clone());
                let text = format!("an operator is forgetting datanode {name} ({node}) at this moment");
                Err(Status::new(StatusCode::Busy, text)
                    .hint("what became of that is known within seconds: try again")
                    .at_node(node))
            }
            _ => Ok(()),
        }
    }

    /// Whether [`Self::begin_forget`] would be refused.
    ///
    /// # Errors
    /// `NotFound`; `PreconditionFailed` while the node answers, may, or registers: it has to be stopped first; `Busy` while
    /// another operator forgets it.
    pub(crate) fn check_forget(&self, now: MonoTime, node: NodeId) -> Result<(), Status> {
        let known = self.nodes.get(&node).ok_or_else(|| unknown(node))?;
        let (name, state) = (&known.record.name, known.state);
        if state.answers() {
            let text = format!("datanode {name} ({}) is {state}", known.record.address);
            let hint = match state {
                NodeState::Suspect => {
                    "wait until it is down, or stop it: only a node that is gone is forgotten"
                }
                _ => "stop it first: only a node that is gone is forgotten",
            };
            return Err(Status::new(StatusCode::PreconditionFailed, text).hint(hint).at_node(node));
        }
        if self.door.is_registering(now, node) {
            let text = format!("datanode {name} ({}) registers at this moment", known.record.address);
            return Err(Status::new(StatusCode::PreconditionFailed, text)
                .hint("stop it first: only a node that is gone is forgotten")
                .at_node(node));
        }
        self.check_held(now, node)
    }

    fn decide(
        &mut self,
        now: MonoTime,
        node: NodeId,
        standing: Standing,
    ) -> Option<(NodeRecord, Transition)> {
        let now_ms = self.ms(now);
        let known = self.nodes.get_mut(&node)?;
        let transition = known.turn(super::live(standing), now_ms)?;
        (known.record.standing, known.record.since_ms) = (standing, now_ms);
        let record = known.record.clone();
        self.note_change(node);
        Some((record, transition))
    }
}
