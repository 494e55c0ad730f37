//! Copies that a chunk can do without: ordered away one by one, and never so that too few are left.
//!
//! ```text
//!   Good, Unverified --drop--> Dropping + tombstone --confirmed--> (no copy)      while `wanted` others are good
//!            Corrupt --drop--> Corrupt + tombstone --confirmed--> (no copy)       while one other is good
//!            Missing --drop--> (no copy)                                          while one other is good
//!  nobody knows of it --discard--> tombstone                                       handed out while `wanted` others are good
//!           Dropping --keep--> Unverified, no tombstone                           the node may be faster: then it is missing
//! ```
//!
//! A copy that is marked counts for nothing from that transaction on: it is no source and saves no other, so of two drops
//! that would leave too few the second finds too few (C13 of the contract). The nodes that whoever judged saw and heard come
//! with the order, and each must still have a good copy. An order is handed to its node only while that holds, by the
//! nodes that are heard of then; if it ceases to hold, the copy is kept.

use dfs_wire::bugs::{self, Bug};
use dfs_wire::id::{ChunkKey, NodeId};
use dfs_wire::message::metadata::{CopyCause, CopyState, CopyTurn};

use super::life::{NOTE_OPS_MAX, note};
use super::{OpContext, cluster, gc};
use crate::coordinator::metadata::model::chunks::{PUT_OPS_MAX, put_chunk, put_tombstone};
use crate::coordinator::metadata::model::records::{ChunkRecord, ChunkState, CopyRecord};
use crate::coordinator::metadata::model::worth::{Reach, Reaches};
use crate::coordinator::metadata::table::error::MetaError;
use crate::coordinator::metadata::table::keys;
use crate::coordinator::metadata::table::txn::{MUTATION_OPS_MAX, Txn};
use crate::coordinator::metadata::table::view::View;

const _: () = assert!(PUT_OPS_MAX + NOTE_OPS_MAX < MUTATION_OPS_MAX);

/// A copy to be dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyDrop {
    /// The chunk, and the generation it was judged by.
    pub key: ChunkKey,
    /// Whose copy it is.
    pub node: NodeId,
    /// Nodes that are heard of and have good ones.
    pub keep: Vec<NodeId>,
    /// Why it is to go.
    pub cause: CopyCause,
}

/// Good copies that must be left for one in this state to go.
pub fn left_at_least(state: CopyState, wanted: u8) -> usize {
    match state {
        _ if bugs::is(Bug::DropLastCopy) => 0,
        CopyState::Corrupt | CopyState::Missing => 1,
        CopyState::Good | CopyState::Unverified | CopyState::Dropping => wanted.max(1).into(),
    }
}

fn live(view: &impl View, key: ChunkKey) -> Result<Option<ChunkRecord>, MetaError> {
    let record: Option<ChunkRecord> = view.load(&keys::chunk(key.chunk))?;
    Ok(record.filter(|record| record.generation == key.generation && record.state == ChunkState::Live))
}

/// Orders a copy away, if enough others are left. Says whether anything was changed.
///
/// # Errors
/// Of the store.
pub fn drop_copy(txn: &mut Txn<'_>, ctx: &OpContext, order: &CopyDrop) -> Result<bool, MetaError> {
    let CopyDrop { key, node, keep, cause } = order;
    if cluster::unknown_reign(txn)?.is_some() {
        // This metadata is an old copy: what it does not know may be newer.
        return Ok(false);
    }
    let Some(old) = live(txn, *key)? else { return Ok(false) };
    let Some(copy) = old.copy(*node).filter(|copy| copy.state != CopyState::Dropping) else {
        return Ok(false);
    };
    let is_kept =
        |copy: &&CopyRecord| copy.node != *node && copy.state == CopyState::Good && keep.contains(&copy.node);
    if old.copies.iter().filter(is_kept).count() < left_at_least(copy.state, old.wanted) {
        return Ok(false);
    }
    let mut new = old.clone();
    match copy.state {
        CopyState::Missing => new.copies.retain(|copy| copy.node != *node),
        CopyState::Corrupt => {}
        CopyState::Good | CopyState::Unverified | CopyState::Dropping => {
            let dropping =
                |copy: &mut CopyRecord| (copy.state, copy.since_ms) = (CopyState::Dropping, ctx.now_ms);
            new.copies.iter_mut().filter(|copy| copy.node == *node).for_each(dropping);
        }
    }
    let ordered = txn.get(&keys::tombstone(*node, *key))?.is_some();
    if copy.state != CopyState::Missing {
        put_tombstone(txn, *node, *key, ctx.now_ms)?;
    }
    if copy.state != CopyState::Missing && (new != old || !ordered) {
        note(txn, ctx, key.chunk, *node, CopyTurn::Dropping(*cause))?;
    }
    if new != old {
        put_chunk(txn, key.chunk, Some(&old), &new)?;
    }
    Ok(new != old || !ordered)
}

/// Keeps a copy that was ordered away; it may be gone already. Says whether anything was changed.
///
/// # Errors
/// Of the store.
pub fn keep_copy(txn: &mut Txn<'_>, ctx: &OpContext, key: ChunkKey, node: NodeId) -> Result<bool, MetaError> {
    let Some(old) = live(txn, key)? else { return Ok(false) };
    let mut new = old.clone();
    let is_dropping = |copy: &&mut CopyRecord| copy.node == node && copy.state == CopyState::Dropping;
    let Some(copy) = new.copies.iter_mut().find(is_dropping) else { return Ok(false) };
    (copy.state, copy.since_ms) = (CopyState::Unverified, ctx.now_ms);
    gc::take_tombstone(txn, node, key)?;
    put_chunk(txn, key.chunk, Some(&old), &new)?;
    note(txn, ctx, key.chunk, node, CopyTurn::Kept)?;
    Ok(true)
}

/// Has a node delete a copy that may have come to be without anybody noting it. Says whether anything was changed.
///
/// # Errors
/// Of the store.
pub fn discard_copy(
    txn: &mut Txn<'_>,
    ctx: &OpContext,
    key: ChunkKey,
    node: NodeId,
) -> Result<bool, MetaError> {
    let noted = live(txn, key)?.and_then(|record| record.copy(node).copied());
    if noted.is_some_and(|copy| copy.state != CopyState::Missing) || cluster::unknown_reign(txn)?.is_some() {
        return Ok(false);
    }
    put_tombstone(txn, node, key, ctx.now_ms)?;
    Ok(true)
}

/// The first orders of a node that hold: those about chunks that live only while enough others are good, on nodes that are
/// heard of.
///
/// # Errors
/// Of the store.
pub fn orders(
    view: &impl View,
    node: NodeId,
    limit: usize,
    heard: Reaches<'_>,
) -> Result<Vec<ChunkKey>, MetaError> {
    let mut orders = Vec::new();
    for key in gc::tombstones(view, node, limit)? {
        let Some(record) = live(view, key)? else {
            orders.push(key);
            continue;
        };
        let state = record.copy(node).map_or(CopyState::Dropping, |copy| copy.state);
        let left = match state {
            // It came to be known to be of use after the order.
            CopyState::Good | CopyState::Unverified => continue,
            CopyState::Missing => left_at_least(CopyState::Dropping, record.wanted),
            CopyState::Corrupt | CopyState::Dropping => left_at_least(state, record.wanted),
        };
        let others = record.copies.iter().filter(|copy| copy.node != node && copy.state == CopyState::Good);
        let good = others.filter(|copy| heard(copy.node) == Reach::Here).count();
        if good >= left {
            orders.push(key);
        }
    }
    Ok(orders)
}
