//! Copies by node, and chunks by the copies they have: what follows from the chunk records, kept beside them.
//!
//! ```text
//! k <chunk>                      ChunkRecord: the truth
//!   |  placed()                  its copies, as a node should have them; none while it is pending
//!   +-> y <node> <chunk>         one row a copy: an inventory is compared with the range of its node, and reads no record
//!   +-> g <wanted> <copies>      live chunks only: how many have exactly these copies. With the states of the nodes
//!                                this gives the health of the whole cluster without a look at any chunk
//! ```
//!
//! Invariant: after each transaction both tables are what [`reindex`] makes of the records from nothing. Tests rebuild
//! and compare them; `fsck` compares them row by row. There are no more groups than chunks, and no more than there are
//! ways to choose nodes for a copy: 20 with six nodes, 161,700 with a hundred.

use dfs_wire::id::{ChunkId, NodeId};
use dfs_wire::message::metadata::CopyState;

use super::records::{ChunkRecord, ChunkState, CopyRow, GroupRow};
use crate::coordinator::metadata::table::error::MetaError;
use crate::coordinator::metadata::table::keys;
use crate::coordinator::metadata::table::txn::Txn;
use crate::coordinator::metadata::table::view::View;

/// Most copies that a record names: those asked for, and some that came back unasked.
pub const COPIES_KEPT_MAX: usize = dfs_wire::limits::REPLICATION_MAX as usize + 2;
/// Writes that [`reindex`] makes at most: a row for each copy, and two groups.
pub const REINDEX_OPS_MAX: usize = COPIES_KEPT_MAX + 2;

/// What the nodes should have of a chunk.
pub fn placed(record: &ChunkRecord) -> impl Iterator<Item = (NodeId, CopyRow)> + '_ {
    let state = |state| match record.state {
        ChunkState::Pending(_) => None,
        ChunkState::Live => Some(state),
        ChunkState::Dying => Some(CopyState::Dropping),
    };
    record.copies.iter().filter_map(move |copy| {
        let state = state(copy.state)?;
        let row = CopyRow { generation: record.generation, len: record.len, state, since_ms: copy.since_ms };
        Some((copy.node, row))
    })
}

/// The group that a chunk is counted in, if it is.
pub fn group(record: &ChunkRecord) -> Option<Vec<u8>> {
    let counted = record.state == ChunkState::Live && record.references > 0;
    counted.then(|| keys::group(record.wanted, record.copies.iter().map(|copy| (copy.node, copy.state))))
}

/// Brings both tables from what follows from `old` to what follows from `new`.
///
/// # Errors
/// Of the store.
pub fn reindex(
    txn: &mut Txn<'_>,
    chunk: ChunkId,
    old: Option<&ChunkRecord>,
    new: Option<&ChunkRecord>,
) -> Result<(), MetaError> {
    let row_in = |record: Option<&ChunkRecord>, node: NodeId| {
        record.and_then(|record| placed(record).find(|(at, _)| *at == node).map(|(_, row)| row))
    };
    for (node, row) in new.into_iter().flat_map(placed) {
        if row_in(old, node) != Some(row) {
            txn.put(keys::copy(node, chunk), &row)?;
        }
    }
    for (node, _) in old.into_iter().flat_map(placed) {
        if row_in(new, node).is_none() {
            txn.delete(keys::copy(node, chunk));
        }
    }
    let (before, after) = (old.and_then(group), new.and_then(group));
    let len = |record: Option<&ChunkRecord>| record.map_or(0, |record| u64::from(record.len));
    if before == after && len(old) == len(new) {
        return Ok(());
    }
    if let Some(key) = before {
        change_group(txn, key, |row| GroupRow {
            chunks: row.chunks.saturating_sub(1),
            bytes: row.bytes.saturating_sub(len(old)),
        })?;
    }
    match after {
        Some(key) => change_group(txn, key, |row| GroupRow {
            chunks: row.chunks.saturating_add(1),
            bytes: row.bytes.saturating_add(len(new)),
        }),
        None => Ok(()),
    }
}

fn change_group(
    txn: &mut Txn<'_>,
    key: Vec<u8>,
    change: impl FnOnce(GroupRow) -> GroupRow,
) -> Result<(), MetaError> {
    let row = change(txn.load(&key)?.unwrap_or_default());
    match row.chunks {
        0 => txn.delete(key),
        _ => txn.put(key, &row)?,
    }
    Ok(())
}
