//! What is decided of a node, by itself, by an operator, or by what took its place: durable, unlike what follows from
//! silence.

use dfs_wire::id::NodeId;
use dfs_wire::message::membership::{Leave, NodeState};
use dfs_wire::status::{Status, StatusCode};

use super::{MembershipState, NodeRecord, Transition};
use crate::coordinator::metadata::model::records::Standing;
use crate::env::MonoTime;

impl MembershipState {
    /// The node goes away on purpose. Returns the record to make durable, unless a newer run has taken over. Whatever was
    /// being done with the node ends: it is a member again when it comes back.
    pub(crate) fn leave(&mut self, now: MonoTime, word: &Leave) -> Option<(NodeRecord, Transition)> {
        let node = self.nodes.get(&word.node)?;
        if node.incarnation != word.incarnation {
            return None;
        }
        match node.record.standing {
            Standing::Member | Standing::Draining => self.decide(now, word.node, Standing::Left),
            Standing::Left | Standing::Lost | Standing::Forgotten => None,
        }
    }

    /// Another node has this one's name and address: whatever it held is gone, and it is not taken in again.
    ///
    /// Returns the record to make durable, unless it is lost or forgotten already.
    pub(crate) fn mark_lost(&mut self, now: MonoTime, node: NodeId) -> Option<(NodeRecord, Transition)> {
        match self.nodes.get(&node)?.record.standing {
            Standing::Member | Standing::Draining | Standing::Left => self.decide(now, node, Standing::Lost),
            Standing::Lost | Standing::Forgotten => None,
        }
    }

    /// An operator forgets the node: it is no part of the cluster any more, and its place is free for another one.
    ///
    /// Returns the record to make durable, unless it is forgotten already.
    ///
    /// # Errors
    /// `NotFound`; `PreconditionFailed` while the node answers or may: it has to be stopped first.
    pub(crate) fn forget(
        &mut self,
        now: MonoTime,
        node: NodeId,
    ) -> Result<Option<(NodeRecord, Transition)>, Status> {
        self.check_forget(node)?;
        Ok(self.decide(now, node, Standing::Forgotten))
    }

    /// Whether [`Self::forget`] would be refused.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn check_forget(&self, node: NodeId) -> Result<(), Status> {
        let Some(known) = self.nodes.get(&node) else {
            let text = format!("no datanode with the id {node} is known");
            return Err(Status::new(StatusCode::NotFound, text).hint("`dfsctl nodes -l` lists their ids"));
        };
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
        Ok(())
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
