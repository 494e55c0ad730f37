//! The health of all chunks at once: the groups of [`super::copies`], weighed by the states of the nodes.
//!
//! One step looks at a bounded number of groups, so that the count of a huge cluster keeps no worker busy for long. A
//! change between two steps may be counted twice or not at all: a count is right for a cluster at rest, and the next one
//! follows within seconds.

use std::collections::BTreeMap;

use dfs_wire::id::NodeId;
use dfs_wire::message::metadata::{ChunkHealth, CopyState};

use super::records::GroupRow;
#[cfg(test)]
use super::worth::Reach;
use super::worth::{Reaches, Worth};
use crate::coordinator::metadata::table::error::MetaError;
use crate::coordinator::metadata::table::format::decode;
use crate::coordinator::metadata::table::keys::{self, table};
use crate::coordinator::metadata::table::store::KeyRange;
use crate::coordinator::metadata::table::view::View;

/// So many chunks, with so many bytes, each counted once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Chunks, or copies.
    pub chunks: u64,
    /// Bytes of those chunks or copies.
    pub bytes: u64,
}

impl Count {
    /// So many more.
    pub fn add(&mut self, row: GroupRow) {
        self.chunks = self.chunks.saturating_add(row.chunks);
        self.bytes = self.bytes.saturating_add(row.bytes);
    }
}

/// Whether a node was heard of since the coordinator started; `None` = nobody expects it to be here.
pub type HeardOf<'a> = &'a dyn Fn(NodeId) -> Option<bool>;

/// Good copies on nodes that were heard of with which a chunk can wait for the others.
const ASSURED_COPIES: usize = 2;

/// The live chunks by what they are worth, and the copies of each node by their state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census {
    chunks: BTreeMap<ChunkHealth, Count>,
    nodes: BTreeMap<NodeId, BTreeMap<CopyState, Count>>,
    /// Chunks that no node can serve now, by the nodes that may have a copy: the first few kinds.
    away: BTreeMap<NodeId, u64>,
    /// Chunks of which good copies are on nodes that are expected.
    awaited: u64,
    /// Those of which two good copies are on nodes that were heard of since the coordinator started, or all that are expected.
    assured: u64,
}

impl Census {
    /// Chunks that are worth this.
    pub fn of(&self, health: ChunkHealth) -> Count {
        self.chunks.get(&health).copied().unwrap_or_default()
    }

    /// Copies of live chunks that the metadata places on a node, in this state.
    pub fn copies(&self, node: NodeId, state: CopyState) -> Count {
        self.nodes.get(&node).and_then(|states| states.get(&state)).copied().unwrap_or_default()
    }

    /// Copies that a node should have: those that are or may be good.
    pub fn expected(&self, node: NodeId) -> u64 {
        self.copies(node, CopyState::Good).chunks + self.copies(node, CopyState::Unverified).chunks
    }

    /// Bytes of those copies.
    pub fn expected_bytes(&self, node: NodeId) -> u64 {
        self.copies(node, CopyState::Good).bytes + self.copies(node, CopyState::Unverified).bytes
    }

    /// The nodes that may have copies of chunks that cannot be read now, and of how many.
    pub fn unreachable_on(&self) -> impl Iterator<Item = (NodeId, u64)> + '_ {
        self.away.iter().map(|(node, chunks)| (*node, *chunks))
    }

    /// Whether of at least so many percent of the chunks with good copies on nodes that are expected two good copies are on nodes that were heard of since the coordinator
    /// started, or all that are expected. Of nothing that is counted nobody knows.
    pub fn is_assured(&self, percent: u64) -> bool {
        self.awaited > 0 && self.assured.saturating_mul(100) >= self.awaited.saturating_mul(percent)
    }

    /// With so many chunks of one byte more, on nodes that are all there.
    #[cfg(test)]
    pub(crate) fn with_group(mut self, wanted: u8, copies: &[(NodeId, CopyState)], chunks: u64) -> Self {
        self.add(wanted, copies, GroupRow { chunks, bytes: chunks }, (&|_| Reach::Here, &|_| Some(true)));
        self
    }

    /// With so many chunks of one byte more, on nodes that were heard of or not.
    #[cfg(test)]
    pub(crate) fn with_heard(
        mut self,
        copies: &[(NodeId, CopyState)],
        chunks: u64,
        heard: HeardOf<'_>,
    ) -> Self {
        self.add(3, copies, GroupRow { chunks, bytes: chunks }, (&|_| Reach::Here, heard));
        self
    }

    fn add(
        &mut self,
        wanted: u8,
        copies: &[(NodeId, CopyState)],
        row: GroupRow,
        (reach, heard): (Reaches<'_>, HeardOf<'_>),
    ) {
        let good = copies.iter().filter(|(_, state)| *state == CopyState::Good);
        let expected: Vec<bool> = good.filter_map(|(node, _)| heard(*node)).collect();
        let assured = expected.iter().filter(|heard| **heard).count();
        // Of the others nobody has to be waited for.
        if !expected.is_empty() {
            self.awaited = self.awaited.saturating_add(row.chunks);
        }
        if !expected.is_empty() && assured >= expected.len().min(ASSURED_COPIES) {
            self.assured = self.assured.saturating_add(row.chunks);
        }
        let health = Worth::of(wanted, copies.iter().copied(), reach).health();
        self.chunks.entry(health).or_default().add(row);
        for (node, state) in copies {
            self.nodes.entry(*node).or_default().entry(*state).or_default().add(row);
            let may_be_good = matches!(state, CopyState::Good | CopyState::Unverified);
            if health == ChunkHealth::Unreachable && may_be_good {
                let chunks = self.away.entry(*node).or_default();
                *chunks = chunks.saturating_add(row.chunks);
            }
        }
    }
}

/// A count under way.
#[derive(Debug, Clone, Default)]
pub struct Counting {
    census: Census,
    after: Vec<u8>,
}

impl Counting {
    /// Looks at `rows` more groups. Returns whether that was all.
    ///
    /// # Errors
    /// Of the store, or a damaged row.
    pub fn step(
        &mut self,
        view: &impl View,
        nodes: (Reaches<'_>, HeardOf<'_>),
        rows: usize,
    ) -> Result<bool, MetaError> {
        let page = view.scan(&KeyRange::prefix(table::GROUP).after(&self.after), rows)?;
        for (key, value) in &page {
            let parsed = keys::parse_group(key).ok_or_else(|| MetaError::damaged(key, "not a group"))?;
            self.census.add(parsed.0, &parsed.1, decode(key, value)?, nodes);
        }
        match page.last() {
            Some((key, _)) => self.after.clone_from(key),
            None => return Ok(true),
        }
        Ok(page.len() < rows)
    }

    /// What was counted.
    pub fn finish(self) -> Census {
        self.census
    }
}
