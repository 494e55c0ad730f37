//! What goes where so that all nodes are about as full: pure choices, by what nodes said last and what rows say now.
//!
//! ```text
//!   fill = used / (used + free)            mean = all used / all of both
//!   too full   fill > mean + threshold     may give what is above the mean
//!   emptier    fill < mean                 may take what is missing to the mean
//! ```
//!
//! The fullest gives to the emptiest, and so on: the flows. Then chunks of the fullest are gone through in the order of their
//! ids, and those that have all their copies are to move, if the other node has none of it and no zone gets a second copy. What
//! lies in quarantine counts as free: it goes by itself.

use std::collections::{BTreeMap, BTreeSet};

use dfs_wire::id::{ChunkId, NodeId};
use dfs_wire::message::job::JobId;
use dfs_wire::message::membership::NodeState;
use dfs_wire::message::metadata::CopyState;

use crate::coordinator::membership::{ClusterView, NodeView};
use crate::coordinator::metadata::model::records::{ChunkRecord, ChunkState, CopyRecord};
use crate::coordinator::metadata::table::error::MetaError;
use crate::coordinator::metadata::table::keys;
use crate::coordinator::metadata::table::store::KeyRange;
use crate::coordinator::metadata::table::view::View;
use crate::coordinator::placement::not_writable;
use crate::coordinator::repair::Move;
use crate::env::MonoTime;

/// Chunks that are to move at once.
pub(super) const MOVES_MAX: usize = 2048;
/// Their bytes, so that they come there in time over slow lines as well.
const BYTES_MAX: u64 = 1 << 30;
/// Rows that one look goes through.
const LOOK_ROWS: usize = 4096;

/// What a balance does now; it begins anew with each life of the actor, from the cursor of its job.
#[derive(Default)]
pub(super) struct Balancing {
    pub(super) job: Option<JobId>,
    pub(super) moves: BTreeMap<ChunkId, Move>,
    /// Until when these may take, or nothing new begins.
    pub(super) until: MonoTime,
    /// Whether anything was moved, or may have been, since the beginning of the rows of the node.
    pub(super) moved: bool,
    /// Nodes that were gone through and can give nothing more.
    pub(super) spent: BTreeSet<NodeId>,
    /// A read is under way.
    pub(super) reading: bool,
}

impl Balancing {
    /// A balance that goes on from a cursor. What was chosen before it may not have moved, so that the rows are gone through once more
    /// before their node is taken for one that can give nothing.
    pub(super) fn going_on(job: JobId, cursor: &[u8]) -> Self {
        Self { job: Some(job), moved: !cursor.is_empty(), ..Self::default() }
    }
}

/// Bytes that are to go from one node to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) bytes: u64,
}

/// Why a node takes no part, as a sentence; `None` if it does.
pub(crate) fn why_apart(node: &NodeView) -> Option<String> {
    let why = match () {
        () if node.draining => "is being emptied",
        () if node.entry.state != NodeState::Up => "does not answer",
        () if !node.told => "has not said yet what it has",
        () if room(node) == 0 => "has no room at all",
        () => return None,
    };
    Some(format!("{} takes no part: it {why}", node.entry.name))
}

fn takes_part(node: &NodeView) -> bool {
    why_apart(node).is_none()
}

fn used(node: &NodeView) -> u64 {
    node.load.used.saturating_add(node.load.footers)
}

fn room(node: &NodeView) -> u64 {
    // What is in quarantine goes by itself: a node that gave something has that room again later.
    used(node).saturating_add(node.load.available).saturating_add(node.load.quarantine)
}

/// The file system that a node has its chunks on; 0 if that is not known.
fn disk_of(view: &ClusterView, node: NodeId) -> u128 {
    view.node(node).map_or(0, |known| known.load.file_system)
}

/// A part of a whole in percent.
pub(crate) fn percent(part: u64, whole: u64) -> u8 {
    let percent = u128::from(part) * 100 / u128::from(whole.max(1));
    u8::try_from(percent).unwrap_or(u8::MAX)
}

/// Whether nodes are about to take part, or not to: nobody knows yet how full they are.
pub(crate) fn unsettled(view: &ClusterView) -> bool {
    let unknown = |node: &NodeView| match node.entry.state {
        NodeState::Suspect => true,
        NodeState::Up => !node.told,
        _ => false,
    };
    view.nodes.is_empty() || view.nodes.iter().any(|node| !node.draining && unknown(node))
}

/// How full each node is that takes part, by name, in percent.
pub(crate) fn fills(view: &ClusterView) -> Vec<(String, u8)> {
    let nodes = view.nodes.iter().filter(|node| takes_part(node));
    nodes.map(|node| (node.entry.name.clone(), percent(used(node), room(node)))).collect()
}

/// What goes where until each node is about as full as the mean; the fullest first. Nothing if none is fuller than the mean by
/// more than so many percent.
pub(crate) fn flows(view: &ClusterView, threshold_percent: u8) -> Vec<Flow> {
    let nodes: Vec<_> = view.nodes.iter().filter(|node| takes_part(node)).collect();
    let sum = |of: fn(&NodeView) -> u64| nodes.iter().fold(0_u128, |sum, node| sum + u128::from(of(node)));
    let (all_used, all_room) = (sum(used), sum(room).max(1));
    // What a node has at the mean, or at so many hundredths of its room above it.
    let at = |node: &NodeView, above: u8| {
        let mean = u128::from(room(node)) * all_used / all_room;
        u64::try_from(mean + u128::from(room(node)) * u128::from(above) / 100).unwrap_or(u64::MAX)
    };
    let mut giving: Vec<(u64, NodeId)> = nodes
        .iter()
        .filter(|node| used(node) > at(node, threshold_percent))
        .map(|node| (used(node) - at(node, 0), node.entry.node))
        .collect();
    let mut taking: Vec<(u64, NodeId)> = nodes
        .iter()
        .filter(|node| used(node) < at(node, 0) && not_writable(node).is_none())
        .map(|node| (at(node, 0) - used(node), node.entry.node))
        .collect();
    giving.sort_unstable_by(|a, b| b.cmp(a));
    taking.sort_unstable_by(|a, b| b.cmp(a));
    let mut flows = Vec::new();
    for (mut excess, from) in giving {
        // What goes from one to another on the same disk makes no room there.
        let elsewhere = |to: NodeId| disk_of(view, from) == 0 || disk_of(view, from) != disk_of(view, to);
        for (missing, to) in taking.iter_mut().filter(|(_, to)| elsewhere(*to)) {
            let bytes = excess.min(*missing);
            if bytes > 0 {
                flows.push(Flow { from, to: *to, bytes });
                (excess, *missing) = (excess - bytes, *missing - bytes);
            }
        }
    }
    flows
}

/// Chunks that are to move, and how far the look has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) moves: BTreeMap<ChunkId, Move>,
    /// The last row that was looked at.
    pub(crate) after: Vec<u8>,
    /// That was the last row of the node.
    pub(crate) all: bool,
}

/// Chooses chunks of the node that gives the most, from the row `after` on; one that was gone through gives nothing more.
///
/// # Errors
/// Of the store, or a damaged row.
pub(crate) fn choose(
    rows: &impl View,
    view: &ClusterView,
    flows: &[Flow],
    after: &[u8],
) -> Result<Chosen, MetaError> {
    let Some(from) = flows.first().map(|flow| flow.from) else { return Ok(Chosen::default()) };
    let mut left: Vec<Flow> = flows.iter().filter(|flow| flow.from == from).copied().collect();
    let rows_of = keys::copies(from);
    let whole = KeyRange::prefix(&rows_of);
    // A cursor may be of the node that gave before.
    let range = if after.starts_with(&rows_of) { whole.after(after) } else { whole };
    let page = rows.scan(&range, LOOK_ROWS)?;
    let mut bytes = 0;
    let mut chosen = Chosen { all: page.len() < LOOK_ROWS, ..Chosen::default() };
    for (key, _) in &page {
        if chosen.moves.len() >= MOVES_MAX || bytes >= BYTES_MAX || left.is_empty() {
            chosen.all = false;
            break;
        }
        let copy = keys::parse_copy(key);
        let (_, chunk) = copy.ok_or_else(|| MetaError::damaged(key, "it names no chunk"))?;
        chosen.after.clone_from(key);
        let record: Option<ChunkRecord> = rows.load(&keys::chunk(chunk))?;
        let Some(record) = record.filter(|record| is_whole(record, view)) else { continue };
        let fits =
            |flow: &&mut Flow| flow.bytes >= u64::from(record.len) && may_take(&record, view, from, flow.to);
        if let Some(flow) = left.iter_mut().find(fits) {
            flow.bytes -= u64::from(record.len);
            bytes += u64::from(record.len);
            chosen.moves.insert(chunk, Move { from, to: flow.to });
        }
        left.retain(|flow| flow.bytes > 0);
    }
    Ok(chosen)
}

/// The copies that count: those on nodes that are up. What is on a node that died stays in the record until that is forgotten.
fn here<'a>(record: &'a ChunkRecord, view: &'a ClusterView) -> impl Iterator<Item = &'a CopyRecord> {
    record.copies.iter().filter(|copy| view.state(copy.node) == NodeState::Up)
}

/// Whether a chunk has exactly the copies that it is to have on nodes that are up, all of them good.
fn is_whole(record: &ChunkRecord, view: &ClusterView) -> bool {
    record.state == ChunkState::Live
        && record.references > 0
        && here(record, view).count() == usize::from(record.wanted)
        && here(record, view).all(|copy| copy.state == CopyState::Good)
}

/// Whether a node may have the copy instead: it has none, and its zone gets no second one.
fn may_take(record: &ChunkRecord, view: &ClusterView, from: NodeId, to: NodeId) -> bool {
    let zone = |node: NodeId| view.node(node).map_or("", |known| known.entry.zone.as_str());
    let others = here(record, view).map(|copy| copy.node).filter(|node| *node != from);
    let zones: BTreeSet<_> = others.map(zone).filter(|zone| !zone.is_empty()).collect();
    record.copy(to).is_none() && !zones.contains(zone(to))
}

/// Those of the moves that are not over: the chunk is there, and so is its copy at the old place.
///
/// # Errors
/// Of the store.
pub(crate) fn unfinished(
    rows: &impl View,
    moves: BTreeMap<ChunkId, Move>,
) -> Result<BTreeMap<ChunkId, Move>, MetaError> {
    let mut left = BTreeMap::new();
    for (chunk, wanted) in moves {
        let record: Option<ChunkRecord> = rows.load(&keys::chunk(chunk))?;
        let is_there = |record: &ChunkRecord| {
            let live = record.state == ChunkState::Live && record.references > 0;
            live && record.copy(wanted.from).is_some_and(|copy| copy.state == CopyState::Good)
        };
        if record.is_some_and(|record| is_there(&record)) {
            left.insert(chunk, wanted);
        }
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dfs_wire::id::{Generation, InodeId, VersionId};
    use proptest::prelude::*;

    use super::*;

    /// Nodes 1.. that have used so much of so much room.
    fn view(nodes: &[(u64, u64)]) -> ClusterView {
        let node = |(at, (used, room)): (usize, &(u64, u64))| {
            let mut node = NodeView::for_tests(at as u128 + 1);
            (node.load.used, node.load.available) = (*used, room - used);
            Arc::new(node)
        };
        ClusterView { nodes: nodes.iter().enumerate().map(node).collect(), ..ClusterView::default() }
    }

    fn flow(from: u128, to: u128, bytes: u64) -> Flow {
        Flow { from: NodeId(from), to: NodeId(to), bytes }
    }

    #[test]
    fn copies_on_nodes_that_died_keep_no_chunk_where_it_is() {
        let mut view = view(&[(0, 1); 4]);
        let set = |view: &mut ClusterView, at: usize, state: NodeState, zone: &str| {
            let entry = &mut Arc::make_mut(&mut view.nodes[at]).entry;
            (entry.state, entry.zone) = (state, zone.to_owned());
        };
        let copy = |node| CopyRecord { node: NodeId(node), state: CopyState::Good, since_ms: 0 };
        let record = |nodes: &[u128]| ChunkRecord {
            generation: Generation(1),
            state: ChunkState::Live,
            file: InodeId(1),
            version: VersionId(1),
            index: 0,
            len: 1,
            sha256: [0; 32],
            references: 1,
            wanted: 2,
            copies: nodes.iter().map(|node| copy(*node)).collect(),
        };
        assert!(is_whole(&record(&[1, 2]), &view));
        assert!(!is_whole(&record(&[1, 2, 3]), &view), "one of them is about to go");
        set(&mut view, 2, NodeState::Down, "a");
        set(&mut view, 3, NodeState::Up, "a");
        assert!(is_whole(&record(&[1, 2, 3]), &view));
        assert!(!is_whole(&record(&[1, 3]), &view), "it lacks one");
        assert!(may_take(&record(&[1, 2, 3]), &view, NodeId(1), NodeId(4)), "the zone has none that counts");
        set(&mut view, 1, NodeState::Up, "a");
        assert!(!may_take(&record(&[1, 2, 3]), &view, NodeId(1), NodeId(4)));
    }

    #[test]
    fn rows_that_were_gone_through_in_two_lives_are_gone_through_once_more() {
        assert!(!Balancing::going_on(JobId(1), &[]).moved, "from their beginning, once is enough");
        assert!(Balancing::going_on(JobId(1), b"y").moved);
    }

    #[test]
    fn the_fullest_give_to_the_emptiest_until_all_are_at_the_mean() {
        let three = [(900, 1000), (300, 1000), (300, 1000)];
        assert_eq!(flows(&view(&three), 5), [flow(1, 3, 200), flow(1, 2, 200)]);
        assert_eq!(flows(&view(&three), 40), [], "within the threshold");
        assert_eq!(flows(&view(&[(500, 1000), (50, 100)]), 5), [], "as full, though of another size");
        assert_eq!(flows(&view(&[(900, 1000), (0, 100)]), 5), [flow(1, 2, 81)], "a small one takes little");
        let mut silent = view(&three);
        let mut node = NodeView::clone(&silent.nodes[2]);
        node.draining = true;
        silent.nodes[2] = Arc::new(node);
        assert_eq!(flows(&silent, 5), [flow(1, 2, 300)], "one that is emptied takes nothing");
        for node in [0, 1] {
            let mut shared = NodeView::clone(&silent.nodes[node]);
            shared.load.file_system = 9;
            silent.nodes[node] = Arc::new(shared);
        }
        assert_eq!(flows(&silent, 5), [], "they share a disk");
        assert!(unsettled(&view(&[])) && !unsettled(&silent));
        let mut node = NodeView::clone(&silent.nodes[0]);
        (node.load.used, node.load.quarantine) = (500, 400);
        silent.nodes[0] = Arc::new(node);
        assert_eq!(fills(&silent)[0].1, 50, "what it gave will be free");
        let mut node = NodeView::clone(&silent.nodes[1]);
        node.told = false;
        silent.nodes[1] = Arc::new(node);
        assert!(unsettled(&silent));
        assert_eq!(fills(&view(&three))[0], ("dn-1".to_owned(), 90));
        assert_eq!(flows(&view(&[]), 0), []);
    }

    proptest! {
        #[test]
        fn nobody_gives_more_than_is_above_the_mean_nor_takes_more_than_is_missing(
            nodes in prop::collection::vec((0u64..1000, 0u64..1000), 0..8),
            threshold in 0u8..50,
        ) {
            let nodes: Vec<_> = nodes.into_iter().map(|(used, free)| (used, used + free)).collect();
            let view = view(&nodes);
            let (used, room) = nodes.iter().fold((0, 0), |(u, r), (used, room)| (u + used, r + room));
            let flows = flows(&view, threshold);
            for (at, (has, of)) in nodes.iter().enumerate() {
                let node = NodeId(at as u128 + 1);
                let mean = of * used / room.max(1);
                let gives: u64 = flows.iter().filter(|f| f.from == node).map(|f| f.bytes).sum();
                let takes: u64 = flows.iter().filter(|f| f.to == node).map(|f| f.bytes).sum();
                prop_assert!(gives == 0 || takes == 0);
                prop_assert!(gives <= has.saturating_sub(mean) && takes <= mean.saturating_sub(*has));
            }
        }
    }
}
