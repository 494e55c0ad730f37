//! Forgetting a node: what the metadata says of it ends, in bounded steps, once an operator has said that it will not come
//! back.
//!
//! ```text
//! a look at all groups of chunks         beside the writer, page by page: of what has the node the last known copy?
//!   |                                    nothing, and what was seen still holds, or the loss is accepted:
//! node record: forgotten, a <node>       one batch
//!   |  steps, a few rows each
//!   |    y <node> <chunk>                the copy goes from the chunk's record; a dying chunk without copies goes too
//!   |    x <node> ...                    nobody will ever confirm these deletions
//!   v
//! a <node> goes                          nothing of the node is left but its record: it fences the id, and keeps its name
//! ```
//!
//! From the first batch on nothing new is asked of the node: [`crate::coordinator::metadata::model::chunks`] makes no tombstone for one that is
//! forgotten. A crash anywhere leaves the `a` row, and the next step goes on.

use std::collections::BTreeSet;

use dfs_wire::id::NodeId;
use dfs_wire::message::metadata::{CopyState, CopyTurn};
use dfs_wire::status::StatusCode;

use super::cluster::{nodes, totals};
use super::life::{NOTE_OPS_MAX, note};
use super::{OpContext, maintenance};
use crate::coordinator::metadata::model::census::Count;
use crate::coordinator::metadata::model::chunks::{PUT_OPS_MAX, put_chunk, remove_chunk};
use crate::coordinator::metadata::model::outcome::StepProgress;
use crate::coordinator::metadata::model::records::{ChunkRecord, ChunkState, NodeRecord, Standing};
use crate::coordinator::metadata::table::error::MetaError;
use crate::coordinator::metadata::table::format::decode;
use crate::coordinator::metadata::table::keys::{self, table};
use crate::coordinator::metadata::table::store::KeyRange;
use crate::coordinator::metadata::table::txn::Txn;
use crate::coordinator::metadata::table::view::View;

/// Rows that one step looks at.
const STEP_ROWS: usize = 32;

/// What a look at the copies rests on. While it stays the same, no chunk has come to depend on fewer copies.
#[derive(Debug, Clone, PartialEq, Eq)]
struct CopiesSeen {
    /// Nodes that are lost or forgotten: two nodes that are forgotten at once must not take the last two copies along.
    gone: BTreeSet<NodeId>,
    /// See [`Totals::worsened`](crate::coordinator::metadata::table::totals::Totals::worsened).
    worsened: u64,
}

impl CopiesSeen {
    fn now(view: &impl View) -> Result<Self, MetaError> {
        Ok(Self { gone: gone(view)?, worsened: totals(view)?.worsened })
    }
}

/// A look for what would be lost with a node: the chunks of which it has the last known copy.
///
/// A copy on it counts if it is good or may be, for it may be the last one. One elsewhere counts if it is good, on a node
/// that may come back; one that was never verified proves nothing (C13 of the contract).
#[derive(Debug, Clone)]
pub struct Losses {
    node: NodeId,
    seen: CopiesSeen,
    count: Count,
    after: Vec<u8>,
}

impl Losses {
    /// A look that has not begun.
    ///
    /// # Errors
    /// Of the store.
    pub fn new(view: &impl View, node: NodeId) -> Result<Self, MetaError> {
        Ok(Self { node, seen: CopiesSeen::now(view)?, count: Count::default(), after: Vec::new() })
    }

    /// Looks at `rows` more groups of chunks. Returns whether that was all.
    ///
    /// # Errors
    /// Of the store, or a damaged row.
    pub fn step(&mut self, view: &impl View, rows: usize) -> Result<bool, MetaError> {
        let page = view.scan(&KeyRange::prefix(table::GROUP).after(&self.after), rows)?;
        for (key, value) in &page {
            let (_, copies) = keys::parse_group(key).ok_or_else(|| MetaError::damaged(key, "not a group"))?;
            if self.takes_along(&copies) {
                self.count.add(decode(key, value)?);
            }
        }
        if let Some((key, _)) = page.last() {
            self.after.clone_from(key);
        }
        Ok(page.len() < rows)
    }

    fn takes_along(&self, copies: &[(NodeId, CopyState)]) -> bool {
        let remains = |node: &NodeId| !self.seen.gone.contains(node);
        let mut last = false;
        for (node, state) in copies.iter().filter(|(node, _)| remains(node)) {
            match state {
                CopyState::Good if *node != self.node => return false,
                CopyState::Good | CopyState::Unverified => last |= *node == self.node,
                CopyState::Corrupt | CopyState::Missing | CopyState::Dropping => {}
            }
        }
        last
    }

    /// What was found.
    pub fn count(&self) -> Count {
        self.count
    }
}

/// A node to be forgotten.
#[derive(Debug, Clone)]
pub struct ForgetNode {
    /// The node that will not come back.
    pub node: NodeId,
    /// Even if chunks are lost with it.
    pub accept_loss: bool,
    /// What would be.
    pub losses: Losses,
    /// Until when, in the coordinator's time, the node is held so that it cannot come back meanwhile.
    pub until_ms: u64,
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
/// `NotFound`; unless the loss is accepted, `PreconditionFailed` while it has the last known copy of anything, and `Busy` if
/// what was seen does not hold any more: look again; `DeadlineExceeded` if the node is not held any more.
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
    if ctx.now_ms > request.until_ms {
        return Err(MetaError::refused(
            StatusCode::DeadlineExceeded,
            format!("the metadata writer came too late to forget {}: nothing was done", record.name),
        ));
    }
    if !request.accept_loss {
        check_losses(txn, &record, &request.losses)?;
    }
    if record.standing != Standing::Forgotten {
        txn.put(key, &NodeRecord { standing: Standing::Forgotten, since_ms: ctx.now_ms, ..record })?;
    }
    maintenance::forget(txn, request.node)?;
    txn.put(keys::forgetting(request.node), &())
}

fn check_losses(view: &impl View, record: &NodeRecord, losses: &Losses) -> Result<(), MetaError> {
    let (name, count) = (&record.name, losses.count());
    if losses.seen != CopiesSeen::now(view)? {
        return Err(MetaError::refused_with_hint(
            StatusCode::Busy,
            format!("copies or nodes changed while the copies on {name} were counted: nothing was done"),
            "try again when the cluster is quieter",
        ));
    }
    if count.chunks == 0 {
        return Ok(());
    }
    Err(MetaError::refused_with_hint(
        StatusCode::PreconditionFailed,
        format!(
            "datanode {name} has the last known copy of {} chunks ({} bytes): they would be lost",
            count.chunks, count.bytes
        ),
        "start it once more and copy those files (`dfsctl fsck` names them), or say --accept-loss",
    ))
}

/// Takes some more of what the metadata says of forgotten nodes away.
///
/// # Errors
/// Of the store.
pub fn step(txn: &mut Txn<'_>, ctx: &OpContext) -> Result<StepProgress, MetaError> {
    let Some((key, _)) = txn.scan(&KeyRange::prefix(table::FORGETTING), 1)?.into_iter().next() else {
        return Ok(StepProgress::default());
    };
    let node = keys::parse_forgetting(&key).ok_or_else(|| MetaError::damaged(&key, "not a node"))?;
    let mut done = 0;
    for (row, _) in txn.scan(&KeyRange::prefix(&keys::copies(node)), STEP_ROWS)? {
        if !txn.has_room(PUT_OPS_MAX + 2 + NOTE_OPS_MAX) {
            return Ok(StepProgress { done, more: true });
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
            false => {
                put_chunk(txn, chunk, Some(&old), &new)?;
                if old.state == ChunkState::Live && new != old {
                    note(txn, ctx, chunk, node, CopyTurn::Forgotten)?;
                }
            }
        }
        // Also where the record does not name the node: the row would be met for ever.
        txn.delete(row);
    }
    if done > 0 {
        return Ok(StepProgress { done, more: true });
    }
    for (row, _) in txn.scan(&KeyRange::prefix(&keys::tombstones(node)), STEP_ROWS)? {
        txn.delete(row);
        txn.count(|t| t.tombstones = t.tombstones.saturating_sub(1))?;
        done += 1;
    }
    if done == 0 {
        txn.delete(key);
    }
    Ok(StepProgress { done, more: true })
}
