//! What a node's inventory means: which of its copies nothing refers to, and which of ours it does not have.
//!
//! A page is compared with the rows of its node ([`crate::coordinator::metadata::model::copies`]), and reads a chunk record only for what has no row. A
//! page says up to when the node had heard of the coordinator before it was cut: a copy that was recorded earlier and is
//! not in the page is gone, however young it is.
//!
//! Judging only reads, and may look at a state that is a moment old; what it finds is applied by the writer, which
//! looks again. Nothing here deletes: a copy is put into quarantine only if no record wants it and it is older than
//! the grace, and a record only ever changes the state of a copy (C13 of the contract). A copy that comes back is
//! unverified until it was checked, and an unverified copy never makes another one superfluous. Metadata that is known
//! to be an old copy orders nothing into quarantine: what it does not know may be newer than it. A copy is superfluous only
//! beside enough good ones on nodes that are heard of: those on nodes that are silent or down justify nothing.

use std::collections::BTreeSet;

use dfs_wire::bugs::{self, Bug};
use dfs_wire::id::{ChunkId, ChunkKey, Incarnation, NodeId};
use dfs_wire::message::inventory::{InventoryEntry, InventoryReport};
use dfs_wire::message::metadata::{ChunkHealth, CopyCause, CopyState, CopyTurn};

use super::life::{NOTE_OPS_MAX, note};
use super::{OpContext, cluster};
use crate::coordinator::metadata::model::chunks::{PUT_OPS_MAX, is_forgotten, put_chunk, put_tombstone};
use crate::coordinator::metadata::model::copies::COPIES_KEPT_MAX;
use crate::coordinator::metadata::model::records::{ChunkRecord, ChunkState, CopyRecord, CopyRow};
use crate::coordinator::metadata::model::worth::{Reaches, Worth};
use crate::coordinator::metadata::table::error::MetaError;
use crate::coordinator::metadata::table::format::decode;
use crate::coordinator::metadata::table::keys;
use crate::coordinator::metadata::table::store::KeyRange;
use crate::coordinator::metadata::table::txn::{MUTATION_OPS_MAX, Txn};
use crate::coordinator::metadata::table::view::View;

/// Changes that one mutation applies.
pub const CHANGES_MAX: usize = 8;
/// Rows that one call of [`missing`] looks at.
const MISSING_STEP: usize = 2000;

const _: () = assert!(CHANGES_MAX * (PUT_OPS_MAX + NOTE_OPS_MAX) <= MUTATION_OPS_MAX);

/// How the state of a copy changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyChange {
    /// The node does not have it, and knew the coordinator's time to be this before it looked: a copy that was recorded
    /// later may have come since.
    Missing {
        /// The time, milliseconds.
        heard_ms: u64,
    },
    /// The node has it after all, or has one that was not known: to be verified.
    Returned,
    /// The node knows it to be bad, or it has another length.
    Corrupt,
    /// The node has read all of it, and it is what it should be.
    Verified,
    /// The node was told to make it from another one, and has read all of it.
    Copied(CopyCause),
}

impl CopyChange {
    fn turn(self) -> CopyTurn {
        match self {
            Self::Missing { .. } => CopyTurn::Missing,
            Self::Returned => CopyTurn::Returned,
            Self::Corrupt => CopyTurn::Corrupt,
            Self::Verified => CopyTurn::Verified,
            Self::Copied(cause) => CopyTurn::Copied(cause),
        }
    }

    fn state(self) -> CopyState {
        match self {
            Self::Missing { .. } => CopyState::Missing,
            Self::Returned => CopyState::Unverified,
            Self::Corrupt => CopyState::Corrupt,
            Self::Verified | Self::Copied(_) => CopyState::Good,
        }
    }
}

/// One change to one copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyFinding {
    /// The chunk that the copy is of, and the generation it was judged by.
    pub key: ChunkKey,
    /// What is to be written of the copy.
    pub change: CopyChange,
}

/// What is seen of the nodes by whoever judges.
#[derive(Clone, Copy)]
pub struct Sight<'a> {
    /// How far the copies of each can be counted on.
    pub reach: Reaches<'a>,
    /// The same, but a node that is silent just now is away: a delete may not rest on what it may have.
    pub heard: Reaches<'a>,
}

/// What a report means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judged {
    /// Copies that nothing refers to.
    pub quarantine: Vec<ChunkKey>,
    /// Copies whose state changes.
    pub findings: Vec<CopyFinding>,
}

/// Milliseconds in a time-ordered chunk id.
fn allocated_ms(chunk: ChunkId) -> u64 {
    u64::try_from(chunk.0 >> 80).unwrap_or(u64::MAX)
}

/// Judges the copies that a node reports.
///
/// # Errors
/// Of the store.
pub fn judge(
    view: &impl View,
    ctx: &OpContext,
    report: &InventoryReport,
    sight: Sight<'_>,
) -> Result<Judged, MetaError> {
    let mut judged = Judged::default();
    let outdated = cluster::unknown_reign(view)?.is_some();
    for entry in &report.copies {
        let old = allocated_ms(entry.chunk).saturating_add(ctx.policy.orphan_grace_ms) < ctx.now_ms;
        match judge_copy(view, report.node, entry, sight)? {
            Judgement::Keep => {}
            Judgement::Orphan if !old || outdated => {}
            Judgement::Orphan => {
                judged.quarantine.push(entry.key());
            }
            Judgement::Change(change) => judged.findings.push(CopyFinding { key: entry.key(), change }),
        }
    }
    Ok(judged)
}

/// Of copies that were ordered away, those that are still to go.
///
/// # Errors
/// Of the store.
pub fn confirm(
    view: &impl View,
    ctx: &OpContext,
    node: NodeId,
    copies: &[ChunkKey],
    sight: Sight<'_>,
) -> Result<Vec<ChunkKey>, MetaError> {
    // What a page says of length and damage never made a copy an orphan, so it is not asked for again.
    let entry = |copy: &ChunkKey| InventoryEntry {
        chunk: copy.chunk,
        generation: copy.generation,
        len: 0,
        corrupt: false,
    };
    let report = InventoryReport {
        node,
        incarnation: Incarnation(0),
        after: None,
        upto: None,
        heard_ms: 0,
        copies: copies.iter().map(entry).collect(),
    };
    Ok(judge(view, ctx, &report, sight)?.quarantine)
}

enum Judgement {
    Keep,
    Orphan,
    Change(CopyChange),
}

fn judge_copy(
    view: &impl View,
    node: NodeId,
    entry: &InventoryEntry,
    sight: Sight<'_>,
) -> Result<Judgement, MetaError> {
    let row: Option<CopyRow> = view.load(&keys::copy(node, entry.chunk))?;
    if let Some(row) = row.filter(|row| row.generation == entry.generation) {
        return Ok(judge_known(&row, entry));
    }
    let record: Option<ChunkRecord> = view.load(&keys::chunk(entry.chunk))?;
    Ok(record.map_or(Judgement::Orphan, |record| judge_unknown(&record, node, entry, sight)))
}

/// A copy that the node should have, or should be getting rid of.
fn judge_known(row: &CopyRow, entry: &InventoryEntry) -> Judgement {
    match row.state {
        // A tombstone is on its way, or its own word alone does not make it good.
        CopyState::Dropping | CopyState::Corrupt => Judgement::Keep,
        _ if entry.corrupt || entry.len != row.len => Judgement::Change(CopyChange::Corrupt),
        CopyState::Good | CopyState::Unverified => Judgement::Keep,
        CopyState::Missing => Judgement::Change(CopyChange::Returned),
    }
}

/// A copy that no row speaks of.
fn judge_unknown(record: &ChunkRecord, node: NodeId, entry: &InventoryEntry, sight: Sight<'_>) -> Judgement {
    if entry.generation != record.generation {
        // A generation that was given up; one from the future means our own records are old: touch nothing.
        return if entry.generation < record.generation { Judgement::Orphan } else { Judgement::Keep };
    }
    let copies = || record.copies.iter().map(|copy| (copy.node, copy.state));
    let enough = |reach| Worth::of(record.wanted, copies(), reach).health() == ChunkHealth::Safe;
    match record.state {
        // A live upload.
        ChunkState::Pending(_) => Judgement::Keep,
        ChunkState::Dying if record.copy(node).is_some() => Judgement::Keep,
        ChunkState::Dying => Judgement::Orphan,
        // Nobody asked for this copy: superfluous only if enough good ones are on nodes that are heard of. While some are
        // silent, nobody knows.
        ChunkState::Live if enough(sight.heard) => Judgement::Orphan,
        ChunkState::Live if enough(sight.reach) => Judgement::Keep,
        ChunkState::Live if entry.corrupt || entry.len != record.len => Judgement::Keep,
        ChunkState::Live => Judgement::Change(CopyChange::Returned),
    }
}

/// Finds copies that the records place on the node within the range of its report, and that the report lacks.
/// Looks at a bounded number of rows, from `from` on; returns where to continue.
///
/// # Errors
/// Of the store.
pub fn missing(
    view: &impl View,
    report: &InventoryReport,
    from: Option<ChunkId>,
) -> Result<(Vec<CopyFinding>, Option<ChunkId>), MetaError> {
    let reported: BTreeSet<_> = report.copies.iter().map(InventoryEntry::key).collect();
    let mut range = KeyRange::prefix(&keys::copies(report.node));
    if let Some(after) = &report.after {
        range = range.from(&keys::copy(report.node, after.chunk));
    }
    if let Some(from) = from {
        range = range.from(&keys::copy(report.node, from));
    }
    let mut findings = Vec::new();
    let page = view.scan(&range, MISSING_STEP)?;
    for (key, value) in &page {
        let (_, chunk) = keys::parse_copy(key).ok_or_else(|| MetaError::damaged(key, "not a copy"))?;
        let row: CopyRow = decode(key, value)?;
        let here = ChunkKey { chunk, generation: row.generation };
        if report.upto.is_some_and(|upto| here > upto) {
            return Ok((findings, None));
        }
        let covered = report.after.is_none_or(|after| here > after);
        let expected =
            matches!(row.state, CopyState::Good | CopyState::Unverified) && row.since_ms < report.heard_ms;
        if covered && expected && !reported.contains(&here) && !bugs::is(Bug::AcceptStaleReplica) {
            let change = CopyChange::Missing { heard_ms: report.heard_ms };
            findings.push(CopyFinding { key: here, change });
        }
    }
    let last = page.last().and_then(|(key, _)| keys::parse_copy(key)).map(|(_, chunk)| chunk);
    let next = last.filter(|_| page.len() >= MISSING_STEP).map(|chunk| ChunkId(chunk.0.saturating_add(1)));
    Ok((findings, next))
}

/// Applies findings, at most [`CHANGES_MAX`] at a time, each only if the record still is as it was judged. Those of a node
/// that was forgotten meanwhile are of no account.
///
/// # Errors
/// Of the store.
pub fn apply(
    txn: &mut Txn<'_>,
    ctx: &OpContext,
    node: NodeId,
    findings: &[CopyFinding],
) -> Result<u64, MetaError> {
    if is_forgotten(txn, node)? {
        return Ok(0);
    }
    let mut done = 0;
    for finding in findings.iter().take(CHANGES_MAX) {
        let CopyFinding { key, change } = *finding;
        let state = change.state();
        let old = txn.load::<ChunkRecord>(&keys::chunk(key.chunk))?;
        let live = |old: &ChunkRecord| old.generation == key.generation && old.state == ChunkState::Live;
        let Some(old) = old.filter(live) else {
            if state == CopyState::Good {
                // It was made for a chunk that is deleted meanwhile: the node discards it.
                put_tombstone(txn, node, key, ctx.now_ms)?;
            }
            continue;
        };
        let mut new = old.clone();
        let room = new.copies.len() < COPIES_KEPT_MAX;
        let known = new.copies.iter_mut().find(|copy| copy.node == node);
        match known {
            // It is on its way, and counts for nothing.
            Some(copy) if copy.state == CopyState::Dropping => continue,
            // A copy known to be good stays so: that it is there is no news.
            Some(copy) if state == CopyState::Unverified && copy.state != CopyState::Missing => continue,
            Some(copy) if copy.state == state => continue,
            Some(copy) if newer(copy, change) => continue,
            // What was condemned stays so.
            Some(copy) if state == CopyState::Good && copy.state == CopyState::Corrupt => continue,
            Some(copy) => *copy = CopyRecord { node, state, since_ms: ctx.now_ms },
            None if matches!(state, CopyState::Unverified | CopyState::Good) && room => {
                new.copies.push(CopyRecord { node, state, since_ms: ctx.now_ms });
            }
            None => continue,
        }
        put_chunk(txn, key.chunk, Some(&old), &new)?;
        note(txn, ctx, key.chunk, node, change.turn())?;
        done += 1;
    }
    Ok(done)
}

/// Whether the copy was recorded after the node looked for it.
fn newer(copy: &CopyRecord, change: CopyChange) -> bool {
    matches!(change, CopyChange::Missing { heard_ms } if copy.since_ms >= heard_ms)
}
