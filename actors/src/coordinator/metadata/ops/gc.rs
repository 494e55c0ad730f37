//! Taking apart what nobody can reach any more, in bounded steps.
//!
//! ```text
//! trash --expiry--> purge (directories, a few entries a step) --> release (versions, after the read lease)
//!                                                                    | a few chunks a step
//! given-up generations --------------------------------------------> tombstones per node --confirmed--> gone
//! ```
//!
//! Each step is one batch that leaves the queues as they will be needed next: stop anywhere, start again, and the
//! end is the same. Nothing here looks at a clock: leases were turned into times when the work was queued.

use dfs_wire::id::{ChunkKey, InodeId, NodeId, VersionId};
use dfs_wire::message::metadata::CopyState;

use super::OpContext;
use super::names::release;
use super::trash::release_entry;
use crate::coordinator::metadata::model::chunks::{
    DROP_OPS_MAX, drop_reference, put_chunk, put_tombstone, remove_chunk,
};
use crate::coordinator::metadata::model::outcome::StepProgress;
use crate::coordinator::metadata::model::records::{
    ChunkRecord, ChunkState, CopyRecord, Entry, Inode, OrphanBatch, ReleaseJob, SEGMENT_CHUNKS, Segment,
    Slot, TrashEntry, TrashSweep, Version, VersionState,
};
use crate::coordinator::metadata::table::error::MetaError;
use crate::coordinator::metadata::table::format::decode;
use crate::coordinator::metadata::table::keys::{self, table};
use crate::coordinator::metadata::table::store::KeyRange;
use crate::coordinator::metadata::table::txn::Txn;
use crate::coordinator::metadata::table::view::View;

/// Confirmations that one mutation takes: tombstone, record, reasons and the node's row each.
pub const CONFIRMATIONS_MAX: usize = 28;
/// When to look again at a version that was being copied.
const PINNED_MS: u64 = 60_000;
/// Trash entries that one step takes out.
const TRASH_STEP: usize = 10;
/// Trash entries that one step looks at for those that were emptied.
const SWEEP_STEP: usize = 256;

/// Takes expired and emptied entries out of the trash.
///
/// # Errors
/// Of the store.
pub fn trash_step(txn: &mut Txn<'_>, ctx: &OpContext) -> Result<StepProgress, MetaError> {
    let due = KeyRange::between(table::TRASH_EXPIRY, &keys::trash_expiry(ctx.now_ms, InodeId(0)));
    let mut found: Vec<InodeId> = Vec::new();
    for (key, _) in txn.scan(&due, TRASH_STEP + 1)? {
        found.extend(keys::parse_trash_expiry(&key));
    }
    if found.is_empty() {
        return sweep_step(txn, ctx);
    }
    for id in found.iter().take(TRASH_STEP) {
        release_entry(txn, ctx, *id)?;
    }
    Ok(StepProgress { done: found.len().min(TRASH_STEP) as u64, more: true })
}

/// Goes on looking for entries that were emptied. They may lie anywhere in the order of expiry: what was deleted later
/// expires sooner if the retention was made shorter in between.
fn sweep_step(txn: &mut Txn<'_>, ctx: &OpContext) -> Result<StepProgress, MetaError> {
    let horizon_ms: u64 = txn.load(keys::TRASH_HORIZON)?.unwrap_or(0);
    let mut sweep: TrashSweep = txn.load(keys::TRASH_SWEPT)?.unwrap_or_default();
    if sweep.horizon_ms != horizon_ms {
        sweep = TrashSweep { horizon_ms, ..TrashSweep::default() };
    } else if sweep.done || horizon_ms == 0 {
        return Ok(StepProgress::default());
    }
    let rows = txn.scan(&KeyRange::prefix(table::TRASH_EXPIRY).after(&sweep.after), SWEEP_STEP)?;
    sweep.done = rows.len() < SWEEP_STEP;
    let mut done = 0;
    for (key, _) in rows {
        if done == TRASH_STEP as u64 {
            sweep.done = false;
            break;
        }
        let id = keys::parse_trash_expiry(&key).ok_or_else(|| MetaError::damaged(&key, "not an expiry"))?;
        if txn.require::<TrashEntry>(&keys::trash(id))?.deleted_ms <= horizon_ms {
            release_entry(txn, ctx, id)?;
            done += 1;
        }
        sweep.after = key;
    }
    let more = !sweep.done;
    txn.put(keys::TRASH_SWEPT.to_vec(), &sweep)?;
    Ok(StepProgress { done, more })
}

/// Takes a deleted directory apart, a few entries at a time.
///
/// # Errors
/// Of the store.
pub fn purge_step(txn: &mut Txn<'_>, ctx: &OpContext) -> Result<StepProgress, MetaError> {
    let Some((key, _)) = txn.scan(&KeyRange::prefix(table::PURGE), 1)?.into_iter().next() else {
        return Ok(StepProgress::default());
    };
    let directory = keys::parse_purge(&key).ok_or_else(|| MetaError::damaged(&key, "not a purge"))?;
    let entries = txn.scan(&KeyRange::prefix(&keys::entries(directory)), 16)?;
    let mut done = 0;
    for (entry_key, value) in &entries {
        if !txn.has_room(6) {
            break;
        }
        let entry: Entry = decode(entry_key, value)?;
        let inode: Inode = txn.require(&keys::inode(entry.inode))?;
        txn.delete(entry_key.clone());
        release(txn, ctx, entry.inode, &inode)?;
        done += 1;
    }
    if entries.is_empty() {
        txn.delete(key);
        txn.delete(keys::inode(directory));
        txn.count(|t| t.directories = t.directories.saturating_sub(1))?;
        done = 1;
    }
    Ok(StepProgress { done, more: true })
}

/// Takes references from the chunks of a version whose time has come, a few at a time. One that is being copied waits: the
/// copy ends, or its lease does.
///
/// # Errors
/// Of the store.
pub fn release_step(txn: &mut Txn<'_>, ctx: &OpContext) -> Result<StepProgress, MetaError> {
    let due = KeyRange::between(table::RELEASE, &keys::release(ctx.now_ms.saturating_add(1), VersionId(0)));
    let Some((key, value)) = txn.scan(&due, 1)?.into_iter().next() else {
        return Ok(StepProgress::default());
    };
    let version = keys::parse_release(&key).ok_or_else(|| MetaError::damaged(&key, "not a release"))?;
    let mut job: ReleaseJob = decode(&key, &value)?;
    if !job.trim {
        if txn.any(&KeyRange::prefix(&keys::pins(version)))? {
            txn.delete(key);
            txn.put(keys::release(ctx.now_ms.saturating_add(PINNED_MS), version), &job)?;
            return Ok(StepProgress { done: 0, more: true });
        }
        begin_release(txn, version)?;
    }
    let mut done = 0;
    loop {
        let from = KeyRange::prefix(&keys::segments(version)).from(&keys::segment(version, job.segment));
        let Some((segment_key, value)) = txn.scan(&from, 1)?.into_iter().next() else {
            txn.delete(key);
            if !job.trim {
                txn.delete(keys::version(version));
            }
            return Ok(StepProgress { done, more: true });
        };
        let number = keys::parse_segment(&segment_key).map(|(_, number)| number);
        let number = number.ok_or_else(|| MetaError::damaged(&segment_key, "not a segment"))?;
        if number > job.segment {
            (job.segment, job.slot) = (number, 0);
        }
        let mut segment: Segment = decode(&segment_key, &value)?;
        while job.slot < SEGMENT_CHUNKS && txn.has_room(DROP_OPS_MAX) {
            if let Some(chunk) = segment.slot(job.slot).chunk() {
                let index = job.segment.saturating_mul(SEGMENT_CHUNKS).saturating_add(job.slot);
                drop_reference(txn, chunk, (version, index), ctx.now_ms)?;
                segment.set(job.slot, Slot::Empty);
                done += 1;
            }
            job.slot += 1;
        }
        if segment.slots.iter().all(|slot| *slot == Slot::Empty) {
            txn.delete(segment_key);
        } else {
            txn.put(segment_key, &segment)?;
        }
        if job.slot < SEGMENT_CHUNKS {
            txn.put(key, &job)?;
            return Ok(StepProgress { done, more: true });
        }
        (job.segment, job.slot) = (job.segment.saturating_add(1), 0);
    }
}

/// From the first step on nobody may open the version.
fn begin_release(txn: &mut Txn<'_>, version: VersionId) -> Result<(), MetaError> {
    let key = keys::version(version);
    let mut record: Version = txn.require(&key)?;
    match record.state {
        VersionState::Live => Err(MetaError::damaged(&key, "it is live, but queued for release")),
        VersionState::Releasing => Ok(()),
        VersionState::Superseded => {
            record.state = VersionState::Releasing;
            txn.put(key, &record)
        }
    }
}

/// Turns given-up generations into tombstones.
///
/// # Errors
/// Of the store.
pub fn orphan_step(txn: &mut Txn<'_>, ctx: &OpContext) -> Result<StepProgress, MetaError> {
    let Some((key, value)) = txn.scan(&KeyRange::prefix(table::ORPHANS), 1)?.into_iter().next() else {
        return Ok(StepProgress::default());
    };
    let mut batch: OrphanBatch = decode(&key, &value)?;
    let mut done = 0;
    while let Some(orphan) = batch.orphans.pop() {
        if !txn.has_room(orphan.nodes.len() + 2) {
            batch.orphans.push(orphan);
            break;
        }
        let key = ChunkKey { chunk: orphan.chunk, generation: orphan.generation };
        for node in &orphan.nodes {
            put_tombstone(txn, *node, key, ctx.now_ms)?;
        }
        done += 1;
    }
    match batch.orphans.is_empty() {
        true => txn.delete(key),
        false => txn.put(key, &batch)?,
    }
    Ok(StepProgress { done, more: true })
}

/// What a node still has to delete, the first of it.
///
/// # Errors
/// Of the store.
pub fn tombstones(view: &impl View, node: NodeId, limit: usize) -> Result<Vec<ChunkKey>, MetaError> {
    let found = view.scan(&KeyRange::prefix(&keys::tombstones(node)), limit)?;
    found
        .iter()
        .map(|(key, _)| {
            let (_, copy) =
                keys::parse_tombstone(key).ok_or_else(|| MetaError::damaged(key, "not a tombstone"))?;
            Ok(copy)
        })
        .collect()
}

/// Takes a node's word that copies are gone; at most [`CONFIRMATIONS_MAX`] at a time. Repeating it is fine.
///
/// # Errors
/// Of the store.
pub fn confirm_deleted(
    txn: &mut Txn<'_>,
    ctx: &OpContext,
    node: NodeId,
    copies: &[ChunkKey],
) -> Result<(), MetaError> {
    for copy in copies.iter().take(CONFIRMATIONS_MAX) {
        // Only what we asked for counts: a node cannot talk a live copy out of the records.
        if !take_tombstone(txn, node, *copy)? {
            continue;
        }
        let Some(old) = txn.load::<ChunkRecord>(&keys::chunk(copy.chunk))? else { continue };
        if old.generation != copy.generation {
            continue;
        }
        let mut new = old.clone();
        match old.state {
            ChunkState::Pending(_) => continue,
            ChunkState::Dying => new.copies.retain(|c| c.node != node),
            ChunkState::Live => {
                let known = |c: &CopyRecord| matches!(c.state, CopyState::Good | CopyState::Unverified);
                new.copies.retain(|c| c.node != node || known(c));
                // It was of use again, and the order was on its way: the node has it no more.
                let lost = new.copies.iter_mut().filter(|c| c.node == node);
                lost.for_each(|c| (c.state, c.since_ms) = (CopyState::Missing, ctx.now_ms));
            }
        }
        match old.state {
            ChunkState::Dying if new.copies.is_empty() => remove_chunk(txn, copy.chunk, &old)?,
            _ if new != old => put_chunk(txn, copy.chunk, Some(&old), &new)?,
            _ => {}
        }
    }
    Ok(())
}

/// Takes an order to delete back, if there is one. Says whether there was.
pub(super) fn take_tombstone(txn: &mut Txn<'_>, node: NodeId, copy: ChunkKey) -> Result<bool, MetaError> {
    let key = keys::tombstone(node, copy);
    if txn.get(&key)?.is_none() {
        return Ok(false);
    }
    txn.delete(key);
    txn.count(|t| t.tombstones = t.tombstones.saturating_sub(1))?;
    Ok(true)
}
