//! What to do about one chunk, from its record and the states of the nodes.
//!
//! ```text
//!   good = copies that can be read and are known to be good
//!   stay = those of them that are not on nodes which are emptied
//!   back = good copies on nodes that are silent for less than the grace, or have announced that they come back
//!
//!   stay >= wanted                             what is beyond them is dropped, if they are heard of
//!   stay >= wanted, a copy is to be elsewhere  copy: to the node that is to have it; the other one is dropped then
//!   no copy that can be read, or may be good   nothing: there is no source
//!   good >= 2 and good + back >= wanted        nothing yet: they come back at no cost
//!   good = 1 and the same, just started        nothing yet either, where some of them were not heard of since
//!   a copy is on its way out                   it is kept
//!   a copy that can be read and may be good    verify it, on its own node
//!   else                                       copy: from the least busy good one to a node that has none
//! ```
//!
//! So no grace delays a chunk with one good copy, unless the others are on nodes that were not heard of since the coordinator started: then
//! it may be they that start slowly. And a copy that came back is compared before another one is made. Beyond
//! what is wanted, the missing go first, then the bad, then those that were never verified, then of the good ones that whose
//! zone has another and whose node has the least room; before them those that an operator wishes away ([`Wishes`]). Nothing on a node that is away is dropped, nor because of it; a node that
//! came back counts once it has told all it has.

use dfs_wire::bugs::{self, Bug};
use dfs_wire::id::{ChunkId, NodeId};
use dfs_wire::message::membership::NodeState;
use dfs_wire::message::metadata::{CopyCause, CopyState};

use super::wishes::{Move, Wishes};
use crate::coordinator::census::compared;
use crate::coordinator::membership::{ClusterView, NodeView};
use crate::coordinator::metadata::model::records::{ChunkRecord, ChunkState};
use crate::coordinator::metadata::model::worth::{Reach, Worth};
use crate::coordinator::placement::not_writable;

/// What is to be done about a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Have a node read its copy whole: it may be good.
    Verify(NodeId),
    /// Take the order to delete a copy back.
    Keep(NodeId),
    /// Make one more copy.
    Copy {
        /// Nodes with a good one, the least busy first.
        sources: Vec<NodeId>,
        /// Nodes that are not to get it: those that have a copy or may have one.
        not: Vec<NodeId>,
        /// Nodes in a zone that has a good copy: not to get it as long as there are others.
        rather_not: Vec<NodeId>,
        /// The one node that is to have it, if that was wished.
        to: Option<NodeId>,
        /// A node with a bad copy, which makes room for another one if no other node can take it.
        bad: Option<NodeId>,
        /// What it is made for: told to whoever asks later.
        cause: CopyCause,
    },
    /// Order a copy away, and why.
    Drop(NodeId, CopyCause),
}

/// When copies on nodes that are emptied are made elsewhere: after whatever is endangered.
const LEAVING: u8 = u8::MAX - 2;
/// When copies beyond those wanted are seen to.
const SURPLUS: u8 = u8::MAX - 1;
/// When copies are brought elsewhere: last of all.
const ELSEWHERE: u8 = u8::MAX;

/// How the cluster looks to whoever repairs.
#[derive(Clone, Copy)]
pub(super) struct Outlook<'a> {
    /// The nodes, and the states they are in.
    pub(super) view: &'a ClusterView,
    /// The coordinator's time.
    pub(super) now_ms: u64,
    /// How long a silent node may take to come back at no cost.
    pub(super) grace_ms: u64,
    /// How long a start of the coordinator may take: a node that was not heard of since may be as slow.
    pub(super) settle_ms: u64,
    /// So much fails at once that only what has one good copy left is repaired.
    pub(super) sparing: bool,
    /// What operators wish beyond repair.
    pub(super) wishes: &'a Wishes,
}

/// Whose copy it is, and how it is.
pub(super) type NodeCopy = (NodeId, CopyState);

fn copies_of(record: &ChunkRecord) -> Vec<NodeCopy> {
    record.copies.iter().map(|copy| (copy.node, copy.state)).collect()
}

impl Outlook<'_> {
    fn reach(&self, node: NodeId) -> Reach {
        self.view.reach(node, self.now_ms)
    }

    /// Whether a node is here, not even silent for a while, and has told all it has.
    fn is_heard(&self, node: NodeId) -> bool {
        compared(self.view, self.now_ms)(node) == Reach::Here
    }

    /// Whether a node is down, nobody has said why, and it was not heard of since the coordinator started, which is not long ago.
    fn is_starting(&self, node: NodeId) -> bool {
        let recent = |known: &NodeView| self.now_ms.saturating_sub(known.since_ms) < self.settle_ms;
        self.reach(node) == Reach::Away { announced: false }
            && self.view.node(node).is_some_and(|known| known.heard.is_none() && recent(known))
    }

    fn is_leaving(&self, node: NodeId) -> bool {
        self.wishes.leaving.contains_key(&node)
    }

    /// Whether a node that is away may be expected back.
    fn comes_back(&self, node: NodeId) -> bool {
        if self.is_leaving(node) {
            return false;
        }
        match self.reach(node) {
            Reach::Away { announced: true } => true,
            Reach::Away { announced: false } => self.view.node(node).is_some_and(|known| {
                known.entry.state == NodeState::Down
                    && self.now_ms.saturating_sub(known.since_ms) < self.grace_ms
            }),
            Reach::Here | Reach::Gone => false,
        }
    }

    /// Nodes with a copy in this state that can be read now.
    fn here(&self, copies: &[NodeCopy], state: CopyState) -> Vec<NodeId> {
        let here = |(node, of): &&NodeCopy| *of == state && self.reach(*node) == Reach::Here;
        copies.iter().filter(here).map(|(node, _)| *node).collect()
    }

    /// Nodes that are heard of and have good copies: what others may be dropped for.
    pub(super) fn keepers(&self, record: &ChunkRecord) -> Vec<NodeId> {
        self.heard_good(&copies_of(record))
    }

    fn heard_good(&self, copies: &[NodeCopy]) -> Vec<NodeId> {
        let mut good = self.here(copies, CopyState::Good);
        good.retain(|node| self.is_heard(*node));
        good
    }

    /// How many good copies there are of too few, if something can be done about it now.
    fn risk(&self, wanted: u8, copies: &[NodeCopy]) -> Option<u8> {
        let Worth { good, unverified, .. } =
            Worth::of(wanted, copies.iter().copied(), &|node| self.reach(node));
        let returning = |(node, state): &&NodeCopy| *state == CopyState::Good && self.comes_back(*node);
        let back = copies.iter().filter(returning).count();
        // A start is not over before all have come that may: what was not heard of since is no loss yet.
        let starting = copies.iter().filter(returning).any(|(node, _)| self.is_starting(*node));
        let leaving =
            self.here(copies, CopyState::Good).iter().filter(|node| self.is_leaving(**node)).count();
        let stay = usize::from(good).saturating_sub(leaving);
        let may_wait = (good >= 2 || good == 1 && starting)
            && leaving == 0
            && usize::from(good) + back >= usize::from(wanted);
        let hopeless = good == 0 && unverified == 0 && self.here(copies, CopyState::Dropping).is_empty();
        let spared = self.sparing && good > 1;
        let urgency = if good < wanted { good } else { LEAVING };
        (stay < usize::from(wanted) && !may_wait && !hopeless && !spared).then_some(urgency)
    }

    /// A copy beyond those wanted; `moved` = one of them was to be elsewhere, and is.
    fn surplus(&self, wanted: u8, copies: &[NodeCopy], moved: Option<&Move>) -> Option<NodeId> {
        let good = self.heard_good(copies);
        let wanted = if bugs::is(Bug::DropLastCopy) { wanted.saturating_sub(1) } else { wanted };
        if good.len() < usize::from(wanted) {
            return None;
        }
        let one = |state: CopyState| {
            let here = self.here(copies, state);
            here.into_iter().find(|node| self.is_heard(*node))
        };
        let missing = copies.iter().find(|(_, state)| *state == CopyState::Missing).map(|(node, _)| *node);
        let of_no_use = missing.or_else(|| one(CopyState::Corrupt)).or_else(|| one(CopyState::Unverified));
        if of_no_use.is_some() || good.len() == usize::from(wanted) {
            return of_no_use;
        }
        let zone = |node: NodeId| self.view.node(node).map(|known| known.entry.zone.as_str());
        let rank = |node: &NodeId| {
            let wished = self.is_leaving(*node) || moved.is_some_and(|moved| moved.from == *node);
            let lonely = !good.iter().any(|other| other != node && zone(*other) == zone(*node));
            (!wished, lonely, self.view.node(*node).map_or(0, |known| known.load.available))
        };
        good.iter().copied().min_by_key(rank)
    }

    /// Why a copy is ordered away that is beyond those wanted.
    fn cause_of_drop(&self, node: NodeId, copies: &[NodeCopy], moved: Option<&Move>) -> CopyCause {
        match copies.iter().find(|(of, _)| *of == node) {
            Some((_, CopyState::Corrupt)) => CopyCause::Corrupt,
            _ if self.is_leaving(node) => CopyCause::Drain,
            _ if moved.is_some_and(|moved| moved.from == node) => CopyCause::Balance,
            _ => CopyCause::Surplus,
        }
    }

    /// Where a copy of a chunk that has all it needs is to be brought, if it can be done now.
    fn elsewhere(&self, chunk: ChunkId, copies: &[NodeCopy]) -> Option<NodeId> {
        let Move { from, to } = self.wishes.moves.get(&chunk)?;
        let has_it = copies.iter().any(|(node, state)| node == to && *state != CopyState::Missing);
        let is_there = copies.iter().any(|(node, state)| node == from && *state == CopyState::Good);
        (!self.sparing
            && is_there
            && !has_it
            && self.is_heard(*from)
            && self.is_heard(*to)
            && !self.is_leaving(*to))
        .then_some(*to)
    }

    /// Who is to have what a node has that is emptied, if that was said and it can take it now.
    fn successor(&self, copies: &[NodeCopy]) -> Option<NodeId> {
        let said = copies.iter().filter_map(|(node, _)| *self.wishes.leaving.get(node)?);
        let has_it =
            |node: NodeId| copies.iter().any(|(of, state)| *of == node && *state != CopyState::Missing);
        let takes_it = |node: &NodeId| {
            let known = self.view.node(*node);
            self.is_heard(*node)
                && !self.is_leaving(*node)
                && !has_it(*node)
                && known.is_some_and(|known| not_writable(known).is_none())
        };
        said.into_iter().find(takes_it)
    }

    /// When a chunk is to be seen to, the most endangered first; `None` = it is as it should be, or nothing can be done.
    pub(super) fn urgency(&self, chunk: ChunkId, record: &ChunkRecord) -> Option<u8> {
        if record.state != ChunkState::Live || record.references == 0 {
            return None;
        }
        let (copies, moved) = (copies_of(record), self.wishes.moves.get(&chunk));
        let surplus = || self.surplus(record.wanted, &copies, moved).map(|_| SURPLUS);
        let elsewhere = || self.elsewhere(chunk, &copies).map(|_| ELSEWHERE);
        self.risk(record.wanted, &copies).or_else(surplus).or_else(elsewhere)
    }

    /// A node on which chunks of this group are to be looked for: their records alone do not say that they are
    /// to be seen to.
    pub(super) fn look_on(&self, wanted: u8, copies: &[NodeCopy]) -> Option<NodeId> {
        let good = copies.iter().filter(|(_, state)| *state == CopyState::Good).count();
        let concerns = || self.risk(wanted, copies).is_some() || self.surplus(wanted, copies, None).is_some();
        if good < usize::from(wanted) || !concerns() {
            return None;
        }
        let away = copies.iter().find(|(node, _)| self.reach(*node) != Reach::Here);
        let leaving = || copies.iter().find(|(node, _)| self.is_leaving(*node));
        away.or_else(leaving).or_else(|| copies.first()).map(|(node, _)| *node)
    }

    /// What to do about the chunk now; `None` if nothing is to be done, or nothing can be.
    pub(super) fn remedy(
        &self,
        chunk: ChunkId,
        record: &ChunkRecord,
        busy: &dyn Fn(NodeId) -> u64,
    ) -> Option<Remedy> {
        let copies = copies_of(record);
        // Where it is only brought elsewhere, nothing is gained by what its old place may still have.
        let (to, cause) = match self.urgency(chunk, record)? {
            SURPLUS => {
                let moved = self.wishes.moves.get(&chunk);
                let node = self.surplus(record.wanted, &copies, moved)?;
                return Some(Remedy::Drop(node, self.cause_of_drop(node, &copies, moved)));
            }
            ELSEWHERE => (Some(self.elsewhere(chunk, &copies)?), CopyCause::Balance),
            LEAVING => (self.successor(&copies), CopyCause::Drain),
            _ => (self.successor(&copies), CopyCause::Repair),
        };
        let of_use = |node: &NodeId| match cause {
            CopyCause::Balance => false,
            CopyCause::Drain => !self.is_leaving(*node),
            _ => true,
        };
        if let Some(node) = self.here(&copies, CopyState::Dropping).into_iter().find(of_use) {
            return Some(Remedy::Keep(node));
        }
        let unverified = self.here(&copies, CopyState::Unverified).into_iter().filter(of_use);
        if let Some(node) = unverified.min_by_key(|node| busy(*node)) {
            return Some(Remedy::Verify(node));
        }
        let mut sources = self.here(&copies, CopyState::Good);
        sources.sort_by_key(|node| busy(*node));
        let taken = copies.iter().filter(|(_, state)| *state != CopyState::Missing);
        let not: Vec<_> = taken.map(|(node, _)| *node).collect();
        let zone = |node: NodeId| self.view.node(node).map(|known| known.entry.zone.as_str());
        let staying = sources.iter().filter(|node| !self.is_leaving(**node));
        let zones: Vec<_> = staying.filter_map(|node| zone(*node)).filter(|zone| !zone.is_empty()).collect();
        let same_zone = |node: &NodeId| zone(*node).is_some_and(|zone| zones.contains(&zone));
        let all = self.view.nodes.iter().map(|known| known.entry.node);
        let rather_not = all.filter(|node| !not.contains(node)).filter(same_zone).collect();
        let bad = self.here(&copies, CopyState::Corrupt).first().copied();
        (!sources.is_empty()).then_some(Remedy::Copy { sources, not, rather_not, to, bad, cause })
    }
}

#[cfg(test)]
mod tests;
