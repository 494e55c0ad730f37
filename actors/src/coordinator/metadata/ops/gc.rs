//! Taking apart what nobody can reach any more, in bounded steps.
//!
//! ```text
//! trash --expiry--> purge (directories, a few entries a step) --> release (versions, after the read lease)
//!                                                                    | chunk by chunk: others may share them
//! given-up generations --------------------------------------------> tombstones per node --confirmed--> gone
//! ```
//!
//! Each batch leaves the queues as they will be needed next: stop anywhere, start again, and the end is the same. A step is
//! as many batches as one group may have of it ([`super::batches`]). Nothing here looks at a clock: leases were turned
//! into times when the work was queued.

use dfs_wire::id::{ChunkKey, InodeId, NodeId, VersionId};
use dfs_wire::message::metadata::{CopyState, CopyTurn};

use super::OpContext;
use super::batches::{RowEnd, STEP_BATCHES, STEP_ROWS, work_off};
use super::life::note;
use super::names::release;
use super::trash::release_entry;
use crate::coordinator::metadata::model::chunks::{
    DROP_OPS_MAX, drop_reference, put_chunk, put_tombstone, remove_chunk,
};
use crate::coordinator::metadata::model::copies::COPIES_KEPT_MAX;
use crate::coordinator::metadata::model::outcome::StepProgress;
use crate::coordinator::metadata::model::records::{
    ChunkRecord, ChunkState, CopyRecord, Entry, Inode, OrphanBatch, ReleaseJob, SEGMENT_CHUNKS, Segment,
    Slot, TrashEntry, TrashSweep, Version, VersionState,
};
use crate::coordinator::metadata::table::error::MetaError;
use crate::coordinator::metadata::table::format::{decode, encode};
use crate::coordinator::metadata::table::keys::{self, table};
use crate::coordinator::metadata::table::store::{KeyRange, Pair};
use crate::coordinator::metadata::table::txn::{MUTATION_OPS_MAX, Overlay, Txn};
use crate::coordinator::metadata::table::view::View;

/// Writes that one confirmation makes at most: tombstone, record, the node's row, two groups, two places among the endangered, and
/// what is noted of it or the reasons.
const CONFIRM_OPS: usize = 8;
/// When to look again at a version that was being copied.
const PINNED_MS: u64 = 60_000;
/// Trash entries that one batch looks at for those that were emptied.
const SWEEP_ROWS: usize = 256;
/// Directories that one step takes apart.
const PURGE_DIRECTORIES: usize = 256;
/// Writes that it takes to give up what a name stood for: entry or trash rows, walk, inode, version, release.
const GIVE_UP_OPS: usize = 8;
/// Writes that it takes to release a version of one chunk at most: its job, its record, its segment, and the chunk.
const RELEASE_OPS: usize = DROP_OPS_MAX + 3;
/// Writes that it takes to turn a given-up generation into tombstones, and to keep the rest of its batch.
const ORPHAN_OPS: usize = COPIES_KEPT_MAX + 2;

const _: () = assert!(RELEASE_OPS + 8 <= MUTATION_OPS_MAX, "an empty batch has room for a row");

/// Takes expired and emptied entries out of the trash.
///
/// # Errors
/// Of the store.
pub fn trash_step(overlay: &mut Overlay, ctx: &OpContext) -> Result<StepProgress, MetaError> {
    let due = KeyRange::between(table::TRASH_EXPIRY, &keys::trash_expiry(ctx.now_ms, InodeId(0)));
    let mut found: Vec<InodeId> = Vec::new();
    for (key, _) in overlay.scan(&due, STEP_ROWS)? {
        found.extend(keys::parse_trash_expiry(&key));
    }
    if !found.is_empty() {
        return work_off(overlay, ctx, found, GIVE_UP_OPS, &|txn, ctx, id| {
            release_entry(txn, ctx, *id).map(|()| RowEnd::ONE)
        });
    }
    let mut progress = StepProgress::default();
    for _ in 0..STEP_BATCHES {
        let batch = overlay.mutate(|txn| sweep(txn, ctx))?;
        progress = StepProgress { done: progress.done + batch.done, more: batch.more };
        if !batch.more {
            break;
        }
    }
    Ok(progress)
}

/// Goes on looking for entries that were emptied. They may lie anywhere in the order of expiry: what was deleted later
/// expires sooner if the retention was made shorter in between.
fn sweep(txn: &mut Txn<'_>, ctx: &OpContext) -> Result<StepProgress, MetaError> {
    let horizon_ms: u64 = txn.load(keys::TRASH_HORIZON)?.unwrap_or(0);
    let mut sweep: TrashSweep = txn.load(keys::TRASH_SWEPT)?.unwrap_or_default();
    if sweep.horizon_ms != horizon_ms {
        sweep = TrashSweep { horizon_ms, ..TrashSweep::default() };
    } else if sweep.done || horizon_ms == 0 {
        return Ok(StepProgress::default());
    }
    let rows = txn.scan(&KeyRange::prefix(table::TRASH_EXPIRY).after(&sweep.after), SWEEP_ROWS)?;
    sweep.done = rows.len() < SWEEP_ROWS;
    let mut done = 0;
    for (key, _) in rows {
        if !txn.has_room(GIVE_UP_OPS) {
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

/// What is to be done to take a directory apart.
#[derive(Clone)]
enum Purge {
    /// Give up what is under this entry.
    Entry(Pair),
    /// End this directory, which has no entry any more, with its place in the queue.
    Directory(Vec<u8>, InodeId),
}

/// Takes deleted directories apart.
///
/// # Errors
/// Of the store.
pub fn purge_step(overlay: &mut Overlay, ctx: &OpContext) -> Result<StepProgress, MetaError> {
    let mut rows = Vec::new();
    for (key, _) in overlay.scan(&KeyRange::prefix(table::PURGE), PURGE_DIRECTORIES)? {
        let directory = keys::parse_purge(&key).ok_or_else(|| MetaError::damaged(&key, "not a purge"))?;
        let room = STEP_ROWS.saturating_sub(rows.len());
        let entries = overlay.scan(&KeyRange::prefix(&keys::entries(directory)), room)?;
        let more = entries.len() == room;
        rows.extend(entries.into_iter().map(Purge::Entry));
        if more {
            break;
        }
        rows.push(Purge::Directory(key, directory));
    }
    work_off(overlay, ctx, rows, GIVE_UP_OPS, &|txn, ctx, row| match row {
        Purge::Entry((key, value)) => {
            let entry: Entry = decode(key, value)?;
            let inode: Inode = txn.require(&keys::inode(entry.inode))?;
            txn.delete(key.clone());
            release(txn, ctx, entry.inode, &inode).map(|()| RowEnd::ONE)
        }
        Purge::Directory(key, directory) => {
            txn.delete(key.clone());
            txn.delete(keys::inode(*directory));
            txn.count(|t| t.directories = t.directories.saturating_sub(1)).map(|()| RowEnd::ONE)
        }
    })
}

/// Takes references from the chunks of versions whose time has come. One that is being copied waits: the copy ends, or its
/// lease does.
///
/// # Errors
/// Of the store.
pub fn release_step(overlay: &mut Overlay, ctx: &OpContext) -> Result<StepProgress, MetaError> {
    let due = KeyRange::between(table::RELEASE, &keys::release(ctx.now_ms.saturating_add(1), VersionId(0)));
    let rows = overlay.scan(&due, STEP_ROWS)?;
    work_off(overlay, ctx, rows, RELEASE_OPS, &release_version)
}

/// Releases a version, or as much of it as there is room for.
fn release_version(txn: &mut Txn<'_>, ctx: &OpContext, row: &mut Pair) -> Result<RowEnd, MetaError> {
    let (key, so_far) = row;
    let version = keys::parse_release(key).ok_or_else(|| MetaError::damaged(key, "not a release"))?;
    let mut job: ReleaseJob = decode(key, so_far)?;
    if !job.trim {
        if txn.any(&KeyRange::prefix(&keys::pins(version)))? {
            txn.delete(key.clone());
            txn.put(keys::release(ctx.now_ms.saturating_add(PINNED_MS), version), &job)?;
            return Ok(RowEnd { done: 0, finished: true });
        }
        begin_release(txn, version)?;
    }
    let mut done = 0;
    loop {
        let from = KeyRange::prefix(&keys::segments(version)).from(&keys::segment(version, job.segment));
        let Some((segment_key, value)) = txn.scan(&from, 1)?.into_iter().next() else {
            txn.delete(key.clone());
            if !job.trim {
                txn.delete(keys::version(version));
            }
            return Ok(RowEnd { done, finished: true });
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
            txn.put(key.clone(), &job)?;
            *so_far = encode(key, &job)?;
            return Ok(RowEnd { done, finished: false });
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
pub fn orphan_step(overlay: &mut Overlay, ctx: &OpContext) -> Result<StepProgress, MetaError> {
    let rows = overlay.scan(&KeyRange::prefix(table::ORPHANS), STEP_ROWS)?;
    work_off(overlay, ctx, rows, ORPHAN_OPS, &|txn, ctx, (key, value)| {
        let mut batch: OrphanBatch = decode(key, value)?;
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
        let finished = batch.orphans.is_empty();
        if finished {
            txn.delete(key.clone());
        } else {
            txn.put(key.clone(), &batch)?;
            *value = encode(key, &batch)?;
        }
        Ok(RowEnd { done, finished })
    })
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

/// Takes a node's word that copies are gone, of as many as one batch has room for: returns how many. Repeating it is fine.
///
/// # Errors
/// Of the store.
pub fn confirm_deleted(
    txn: &mut Txn<'_>,
    ctx: &OpContext,
    node: NodeId,
    copies: &[ChunkKey],
) -> Result<usize, MetaError> {
    for (taken, copy) in copies.iter().enumerate() {
        if taken > 0 && !txn.has_room(CONFIRM_OPS) {
            return Ok(taken);
        }
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
            _ if new == old => {}
            ChunkState::Live => {
                put_chunk(txn, copy.chunk, Some(&old), &new)?;
                note(txn, ctx, copy.chunk, node, CopyTurn::Deleted)?;
            }
            _ => put_chunk(txn, copy.chunk, Some(&old), &new)?,
        }
    }
    Ok(copies.len())
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
