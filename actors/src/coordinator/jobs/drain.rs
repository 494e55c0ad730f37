//! What emptying a node takes, and what is in the way: known before anything is begun.

use std::collections::BTreeMap;
use std::sync::Arc;

use dfs_wire::id::NodeId;
use dfs_wire::message::job::WorkAmount;
use dfs_wire::message::metadata::CopyState;
use dfs_wire::units::size;

use crate::coordinator::membership::{ClusterView, NodeView};
use crate::coordinator::metadata::model::records::GroupRow;
use crate::coordinator::metadata::table::error::MetaError;
use crate::coordinator::metadata::table::format::decode;
use crate::coordinator::metadata::table::keys::{self, table};
use crate::coordinator::metadata::table::store::KeyRange;
use crate::coordinator::metadata::table::view::View;
use crate::coordinator::placement::not_writable;
use crate::coordinator::space::Space;

/// A look at what a node has, by how many copies it is to have.
#[derive(Debug, Clone)]
pub(crate) struct DrainLook {
    node: NodeId,
    next: KeyRange,
    found: BTreeMap<u8, WorkAmount>,
}

impl DrainLook {
    /// A look that has not begun.
    pub(crate) fn new(node: NodeId) -> Self {
        Self { node, next: KeyRange::prefix(table::GROUP), found: BTreeMap::new() }
    }

    /// Looks at some more groups of chunks; says whether that was all of them.
    ///
    /// # Errors
    /// Of the store, or a damaged row.
    pub(crate) fn step(&mut self, view: &impl View, rows: usize) -> Result<bool, MetaError> {
        let page = view.scan(&self.next, rows)?;
        for (key, value) in &page {
            let group = keys::parse_group(key);
            let (wanted, copies) = group.ok_or_else(|| MetaError::damaged(key, "not a group"))?;
            let needed = |(node, state): &(NodeId, CopyState)| {
                *node == self.node && matches!(state, CopyState::Good | CopyState::Unverified)
            };
            if copies.iter().any(needed) {
                let row: GroupRow = decode(key, value)?;
                let amount = self.found.entry(wanted).or_default();
                amount.chunks = amount.chunks.saturating_add(row.chunks);
                amount.bytes = amount.bytes.saturating_add(row.bytes);
            }
        }
        let Some((last, _)) = page.last().filter(|_| page.len() >= rows) else { return Ok(true) };
        self.next = std::mem::replace(&mut self.next, KeyRange::prefix(table::GROUP)).after(last);
        Ok(false)
    }

    /// All that the node has of live chunks.
    pub(crate) fn amount(&self) -> WorkAmount {
        self.found.values().fold(WorkAmount::default(), |sum, of| WorkAmount {
            chunks: sum.chunks.saturating_add(of.chunks),
            bytes: sum.bytes.saturating_add(of.bytes),
        })
    }

    /// Why not all of it can go elsewhere, as sentences; nothing if it can.
    pub(crate) fn obstacles(&self, view: &ClusterView) -> Vec<String> {
        let staying = takers(view, Some(self.node));
        let mut obstacles = Vec::new();
        let too_many = |(wanted, of): (&u8, &WorkAmount)| {
            (usize::from(*wanted) > staying.len() && of.chunks > 0).then(|| {
                let is = if of.chunks == 1 { "is" } else { "are" };
                let others = staying.len();
                format!(
                    "{} of its chunks {is} to have {wanted} copies, and {others} other datanodes can take any",
                    of.chunks
                )
            })
        };
        obstacles.extend(self.found.iter().filter_map(too_many));
        let room = Space::of(staying.iter().map(|known| &known.load)).available;
        let bytes = self.amount().bytes;
        if bytes > room {
            obstacles.push(format!("{} are on it, and the others have room for {}", size(bytes), size(room)));
        }
        obstacles
    }
}

/// Datanodes that can take copies, as far as is known, but for `without`.
pub(crate) fn takers(view: &ClusterView, without: Option<NodeId>) -> Vec<&Arc<NodeView>> {
    let can_take = |known: &&Arc<NodeView>| {
        Some(known.entry.node) != without && !known.draining && not_writable(known).is_none()
    };
    view.nodes.iter().filter(can_take).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(found: &[(u8, u64)]) -> DrainLook {
        let amount =
            |(wanted, chunks): &(u8, u64)| (*wanted, WorkAmount { chunks: *chunks, bytes: chunks * 100 });
        DrainLook { found: found.iter().map(amount).collect(), ..DrainLook::new(NodeId(1)) }
    }

    fn view(rooms: &[u64]) -> ClusterView {
        let node = |(at, room): (usize, &u64)| {
            let mut node = NodeView::for_tests(at as u128 + 1);
            node.load.available = *room;
            Arc::new(node)
        };
        ClusterView { nodes: rooms.iter().enumerate().map(node).collect(), ..ClusterView::default() }
    }

    #[test]
    fn a_node_can_be_emptied_if_enough_others_with_room_stay() {
        let ok = |found: &[(u8, u64)], rooms: &[u64]| look(found).obstacles(&view(rooms));
        assert_eq!(ok(&[(3, 10)], &[0, 500, 500, 500]), Vec::<String>::new());
        assert_eq!(ok(&[], &[0]), Vec::<String>::new(), "there is nothing to do");
        let too_few = ok(&[(2, 4), (3, 10)], &[0, 900, 900]);
        assert_eq!(too_few, ["10 of its chunks are to have 3 copies, and 2 other datanodes can take any"]);
        let full = ok(&[(1, 10)], &[0, 500, 499]);
        assert_eq!(full, ["1000 B are on it, and the others have room for 999 B"]);
        let mut shared = view(&[0, 700, 700]);
        for known in &mut shared.nodes {
            let mut node = NodeView::clone(known);
            node.load.file_system = 9;
            *known = Arc::new(node);
        }
        assert_eq!(look(&[(1, 10)]).obstacles(&shared).len(), 1, "a disk that they share is one");
        let mut view = view(&[0, 5_000, 5_000]);
        let mut second = NodeView::clone(&view.nodes[2]);
        second.draining = true;
        view.nodes[2] = Arc::new(second);
        assert_eq!(look(&[(2, 1)]).obstacles(&view).len(), 1, "one that is emptied itself takes nothing");
    }
}
