//! What waits to be freed, as far as it is counted for whoever looks: the first rows of each queue, and no more.

use dfs_wire::id::NodeId;
use dfs_wire::message::admin::{Garbage, GarbageKind};

use crate::coordinator::metadata::model::records::{CopyRow, OrphanBatch, ReleaseJob, Version};
use crate::coordinator::metadata::ops::{OpContext, cluster};
use crate::coordinator::metadata::table::error::MetaError;
use crate::coordinator::metadata::table::format::decode;
use crate::coordinator::metadata::table::keys::{self, table};
use crate::coordinator::metadata::table::store::{KeyRange, Pair};
use crate::coordinator::metadata::table::view::View;

/// Rows of a queue that are counted: some milliseconds of a thread on which nobody else's work waits.
const COUNTED_MAX: usize = 4096;

/// What is in the trash: counted by the transactions themselves.
///
/// # Errors
/// Of the store.
pub fn trash(view: &impl View, ctx: &OpContext) -> Result<Garbage, MetaError> {
    let totals = cluster::totals(view)?;
    let first = view.scan(&KeyRange::prefix(table::TRASH_EXPIRY), 1)?;
    let first_ms = first.first().and_then(|(key, _)| keys::parse_trash_expiry_time(key));
    let due = KeyRange::between(table::TRASH_EXPIRY, &keys::trash_expiry_until(ctx.now_ms));
    let due = view.scan(&due, COUNTED_MAX)?.len() as u64;
    Ok(Garbage {
        kind: GarbageKind::Trash,
        count: totals.trash,
        bytes: totals.trash_usage.raw_bytes,
        more: false,
        due,
        first_ms: first_ms.map(|at| at.saturating_sub(ctx.now_ms)),
        last_ms: first_ms.is_some().then_some(ctx.policy.trash_ms),
    })
}

/// Versions that wait until nobody may be reading them. Directories that are being taken apart are not counted: what was in
/// them comes here.
///
/// # Errors
/// Of the store.
pub fn pending(view: &impl View, ctx: &OpContext) -> Result<Garbage, MetaError> {
    let rows = view.scan(&KeyRange::prefix(table::RELEASE), COUNTED_MAX)?;
    let mut all = none(GarbageKind::Pending);
    all.more = rows.len() == COUNTED_MAX;
    for (key, value) in &rows {
        let damaged = || MetaError::damaged(key, "not a release");
        let (version, at_ms) = (keys::parse_release(key), keys::parse_release_time(key));
        let (version, at_ms) = (version.ok_or_else(damaged)?, at_ms.ok_or_else(damaged)?);
        let left_ms = at_ms.saturating_sub(ctx.now_ms);
        all.count += 1;
        all.due += u64::from(left_ms == 0);
        all.first_ms = Some(all.first_ms.map_or(left_ms, |first| first.min(left_ms)));
        all.last_ms = Some(left_ms);
        let job: ReleaseJob = decode(key, value)?;
        if !job.trim
            && let Some(version) = view.load::<Version>(&keys::version(version))?
        {
            let raw = version.body.size.saturating_mul(u64::from(version.body.replication));
            all.bytes = all.bytes.saturating_add(raw);
        }
    }
    all.last_ms = all.last_ms.filter(|_| !all.more);
    Ok(all)
}

/// Copies that nodes are told to delete, and those of given-up generations, of which they are about to be told.
///
/// # Errors
/// Of the store.
pub fn orphan(view: &impl View) -> Result<Garbage, MetaError> {
    let mut all = none(GarbageKind::Orphan);
    all.count = cluster::totals(view)?.tombstones;
    let rows = view.scan(&KeyRange::prefix(table::TOMBSTONE), COUNTED_MAX)?;
    for (key, _) in &rows {
        let parsed = keys::parse_tombstone(key).ok_or_else(|| MetaError::damaged(key, "not a tombstone"))?;
        let (node, copy): (NodeId, _) = parsed;
        let row: Option<CopyRow> = view.load(&keys::copy(node, copy.chunk))?;
        let row = row.filter(|row| row.generation == copy.generation);
        all.bytes = all.bytes.saturating_add(row.map_or(0, |row| u64::from(row.len)));
    }
    let batches: Vec<Pair> = view.scan(&KeyRange::prefix(table::ORPHANS), COUNTED_MAX)?;
    for (key, value) in &batches {
        let batch: OrphanBatch = decode(key, value)?;
        let copies: usize = batch.orphans.iter().map(|orphan| orphan.nodes.len()).sum();
        all.count = all.count.saturating_add(copies as u64);
    }
    all.more = rows.len() == COUNTED_MAX || batches.len() == COUNTED_MAX;
    all.due = all.count;
    Ok(all)
}

/// Nothing of a kind.
pub fn none(kind: GarbageKind) -> Garbage {
    Garbage { kind, count: 0, bytes: 0, more: false, due: 0, first_ms: None, last_ms: None }
}
