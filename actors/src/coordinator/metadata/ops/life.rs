//! The life of a chunk: what became of its copies after it was written, and why, for whoever asks later.
//!
//! ```text
//! placed on n1, n2, n3 | n3 missing | n4 copied (repair) | n3 returned | n3 dropping (surplus) | n3 deleted
//! ```
//!
//! A turn is written in the transaction that it tells of. Nothing is decided by it: a row that cannot be read is begun
//! anew, and the last [`LIFE_KEPT_MAX`](crate::coordinator::metadata::model::records::LIFE_KEPT_MAX) turns are kept.

use dfs_wire::id::{ChunkId, NodeId};
use dfs_wire::message::metadata::CopyTurn;

use super::OpContext;
use super::read::reasons;
use crate::coordinator::metadata::model::records::StoredTurn;
use crate::coordinator::metadata::table::error::MetaError;
use crate::coordinator::metadata::table::keys;
use crate::coordinator::metadata::table::txn::Txn;

/// Writes that [`note`] makes at most.
pub(super) const NOTE_OPS_MAX: usize = 1;

/// Notes what became of a copy of a live chunk.
///
/// # Errors
/// Of the store.
pub(super) fn note(
    txn: &mut Txn<'_>,
    ctx: &OpContext,
    chunk: ChunkId,
    node: NodeId,
    turn: CopyTurn,
) -> Result<(), MetaError> {
    let mut kept = reasons(txn, chunk)?;
    kept.note(StoredTurn { at_ms: ctx.wall_ms, node, turn });
    txn.put(keys::reasons(chunk), &kept)
}
