//! Forgetting a node: what the metadata says of it ends, in bounded steps, once an operator has said that it will not come
//! back.
//!
//! ```text
//! node record: forgotten, a <node>       one batch, refused while the node has the last known copy of anything
//!   |  steps, a few rows each
//!   |    y <node> <chunk>                the copy goes from the chunk's record; a dying chunk without copies goes too
//!   |    x <node> ...                    nobody will ever confirm these deletions
//!   v
//! a <node> goes                          nothing of the node is left but its record: it fences the id, and keeps its name
//! ```
//!
//! From the first batch on nothing new is asked of the node: [`crate::coordinator::metadata::model::chunks`] makes no tombstone for one that is
//! forgotten. A crash anywhere leaves the `a` row, and the next step goes on.

use std::collections::{BTreeMap, BTreeSet};

use dfs_wire::id::NodeId;
use dfs_wire::status::StatusCode;

use super::cluster::nodes;
use super::{OpContext, Progress};
use crate::coordinator::metadata::model::census::{Count, last_copies};
use crate::coordinator::metadata::model::chunks::{PUT_OPS_MAX, put_chunk, remove_chunk};
use crate::coordinator::metadata::model::records::{ChunkRecord, ChunkState, NodeRecord, Standing};
use crate::coordinator::metadata::model::worth::Reach;
use crate::coordinator::metadata::table::error::MetaError;
use crate::coordinator::metadata::table::keys::{self, table};
use crate::coordinator::metadata::table::store::KeyRange;
use crate::coordinator::metadata::table::txn::Txn;
use crate::coordinator::metadata::table::view::View;

/// Rows that one step looks at.
const STEP_ROWS: usize = 32;

/// A node to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForgetNode {
    /// Which.
    pub node: NodeId,
    /// Even if chunks are lost with it.
    pub accept_loss: bool,
    /// How far the copies of each node can be counted on; one that is not named is away.
    pub reaches: BTreeMap<NodeId, Reach>,
}

impl ForgetNode {
    fn reach(&self, node: NodeId) -> Reach {
        self.reaches.get(&node).copied().unwrap_or(Reach::Away { announced: false })
    }

    /// What would be lost with the node.
    ///
    /// # Errors
    /// Of the store.
    pub fn loss(&self, view: &impl View) -> Result<Count, MetaError> {
        let gone = gone(view)?;
        let reach = |node| if gone.contains(&node) { Reach::Gone } else { self.reach(node) };
        last_copies(view, self.node, &reach)
    }
}

/// The nodes that are lost or forgotten as of now: whoever asks may have looked before the last of them was.
fn gone(view: &impl View) -> Result<BTreeSet<NodeId>, MetaError> {
    let gone =
        |(_, record): &(NodeId, NodeRecord)| matches!(record.standing, Standing::Lost | Standing::Forgotten);
    Ok(nodes(view)?.into_iter().filter(gone).map(|(node, _)| node).collect())
}

/// Begins to forget a node.
///
/// # Errors
/// `NotFound`; `PreconditionFailed` while it has the last known copy of anything, unless that is accepted.
pub fn begin(txn: &mut Txn<'_>, ctx: &OpContext, request: &ForgetNode) -> Result<(), MetaError> {
    let key = keys::node(request.node);
    let Some(record) = txn.load::<NodeRecord>(&key)? else {
        let text = format!("no datanode with the id {} is known", request.node);
        return Err(MetaError::refused_with_hint(
            StatusCode::NotFound,
            text,
            "`dfsctl nodes -l` lists their ids",
        ));
    };
    let loss = request.loss(txn)?;
    if loss.chunks > 0 && !request.accept_loss {
        return Err(MetaError::refused_with_hint(
            StatusCode::PreconditionFailed,
            format!(
                "datanode {} has the last known copy of {} chunks ({} bytes): they would be lost",
                record.name, loss.chunks, loss.bytes
            ),
            "start it once more and copy those files (`dfsctl fsck` names them), or say --accept-loss",
        ));
    }
    if record.standing != Standing::Forgotten {
        txn.put(key, &NodeRecord { standing: Standing::Forgotten, since_ms: ctx.now_ms, ..record })?;
    }
    txn.put(keys::forgetting(request.node), &())
}

/// Takes some more of what the metadata says of forgotten nodes away.
///
/// # Errors
/// Of the store.
pub fn step(txn: &mut Txn<'_>) -> Result<Progress, MetaError> {
    let Some((key, _)) = txn.scan(&KeyRange::prefix(table::FORGETTING), 1)?.into_iter().next() else {
        return Ok(Progress::default());
    };
    let node = keys::parse_forgetting(&key).ok_or_else(|| MetaError::damaged(&key, "not a node"))?;
    let mut done = 0;
    for (row, _) in txn.scan(&KeyRange::prefix(&keys::copies(node)), STEP_ROWS)? {
        if !txn.has_room(PUT_OPS_MAX + 2) {
            return Ok(Progress { done, more: true });
        }
        let (_, chunk) = keys::parse_copy(&row).ok_or_else(|| MetaError::damaged(&row, "not a copy"))?;
        done += 1;
        let Some(old) = txn.load::<ChunkRecord>(&keys::chunk(chunk))? else {
            txn.delete(row);
            continue;
        };
        let mut new = old.clone();
        new.copies.retain(|copy| copy.node != node);
        match old.state == ChunkState::Dying && new.copies.is_empty() {
            true => remove_chunk(txn, chunk, &old)?,
            false => put_chunk(txn, chunk, Some(&old), &new)?,
        }
        // Also where the record does not name the node: the row would be met for ever.
        txn.delete(row);
    }
    if done > 0 {
        return Ok(Progress { done, more: true });
    }
    for (row, _) in txn.scan(&KeyRange::prefix(&keys::tombstones(node)), STEP_ROWS)? {
        txn.delete(row);
        txn.count(|t| t.tombstones = t.tombstones.saturating_sub(1))?;
        done += 1;
    }
    if done == 0 {
        txn.delete(key);
    }
    Ok(Progress { done, more: true })
}
