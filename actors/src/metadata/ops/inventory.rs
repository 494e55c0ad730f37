//! What a node's inventory means: which of its copies nothing refers to, and which of ours it does not have.
//!
//! Judging only reads, and may look at a state that is a moment old; what it finds is applied by the writer, which
//! looks again. Nothing here deletes: a copy is put into quarantine only if no record wants it and it is older than
//! the grace, and a record only ever changes the state of a copy (C13 of the contract). A copy that comes back is
//! unverified until it was checked, and an unverified copy never makes another one superfluous. Metadata that is known
//! to be an old copy orders nothing into quarantine: what it does not know may be newer than it.

use std::collections::BTreeMap;

use dfs_wire::id::{ChunkId, Generation, NodeId};
use dfs_wire::limits::REPLICATION_MAX;
use dfs_wire::message::inventory::{InventoryEntry, InventoryReport};
use dfs_wire::message::membership::ChunkCopy;
use dfs_wire::message::metadata::CopyState;

use super::{OpContext, cluster};
use crate::metadata::chunks::put_chunk;
use crate::metadata::error::MetaError;
use crate::metadata::keys::{self, table};
use crate::metadata::records::{ChunkRecord, ChunkState, CopyRecord, decode};
use crate::metadata::store::KeyRange;
use crate::metadata::txn::Txn;
use crate::metadata::view::View;

/// Changes that one mutation applies: a record and two risk rows each.
pub const CHANGES_MAX: usize = 32;
/// Records that one call of [`missing`] looks at.
const MISSING_STEP: usize = 2000;
/// How long after its receipt a copy may be absent from an inventory that was taken before it.
const REPORT_AGE_MAX_MS: u64 = 10 * 60 * 1000;

/// How the state of a copy changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyChange {
    /// The node does not have it.
    Missing,
    /// The node has it after all, or has one that was not known: to be verified.
    Returned,
    /// The node knows it to be bad, or it has another length.
    Corrupt,
}

/// One change to one copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyFinding {
    /// The chunk.
    pub chunk: ChunkId,
    /// The generation it was judged by.
    pub generation: Generation,
    /// What changes.
    pub change: CopyChange,
}

/// What a report means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Copies that nothing refers to.
    pub quarantine: Vec<ChunkCopy>,
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
pub fn judge(view: &impl View, ctx: &OpContext, report: &InventoryReport) -> Result<Verdict, MetaError> {
    let mut verdict = Verdict::default();
    let outdated = cluster::unknown_reign(view)?.is_some();
    for entry in &report.copies {
        let record: Option<ChunkRecord> = view.load(&keys::chunk(entry.chunk))?;
        let old = allocated_ms(entry.chunk).saturating_add(ctx.policy.orphan_grace_ms) < ctx.now_ms;
        match judge_copy(record.as_ref(), report.node, entry) {
            Judgement::Keep => {}
            Judgement::Orphan if !old || outdated => {}
            Judgement::Orphan => {
                verdict.quarantine.push(ChunkCopy { chunk: entry.chunk, generation: entry.generation });
            }
            Judgement::Change(change) => verdict.findings.push(CopyFinding {
                chunk: entry.chunk,
                generation: entry.generation,
                change,
            }),
        }
    }
    Ok(verdict)
}

enum Judgement {
    Keep,
    Orphan,
    Change(CopyChange),
}

fn judge_copy(record: Option<&ChunkRecord>, node: NodeId, entry: &InventoryEntry) -> Judgement {
    let Some(record) = record else { return Judgement::Orphan };
    if entry.generation != record.generation {
        // A generation that was given up; one from the future means our own records are old: touch nothing.
        return if entry.generation < record.generation { Judgement::Orphan } else { Judgement::Keep };
    }
    let known = record.copy(node).map(|copy| copy.state);
    match (record.state, known) {
        // A live upload, or a tombstone is on its way.
        (ChunkState::Pending(_), _) | (ChunkState::Dying, Some(_)) => Judgement::Keep,
        (ChunkState::Dying, None) => Judgement::Orphan,
        (ChunkState::Live, Some(CopyState::Corrupt)) => Judgement::Keep,
        (ChunkState::Live, known) if entry.corrupt || entry.len != record.len => match known {
            Some(_) => Judgement::Change(CopyChange::Corrupt),
            None if record.good() >= usize::from(record.wanted) => Judgement::Orphan,
            None => Judgement::Keep,
        },
        (ChunkState::Live, Some(CopyState::Good | CopyState::Unverified)) => Judgement::Keep,
        (ChunkState::Live, Some(CopyState::Missing)) => Judgement::Change(CopyChange::Returned),
        // Nobody asked for this copy: superfluous only if enough good ones are known.
        (ChunkState::Live, None) if record.good() >= usize::from(record.wanted) => Judgement::Orphan,
        (ChunkState::Live, None) => Judgement::Change(CopyChange::Returned),
    }
}

/// Finds copies that the records place on the node within the range of its report, and that the report lacks.
/// Looks at a bounded number of records, from `from` on; returns where to continue.
///
/// # Errors
/// Of the store.
pub fn missing(
    view: &impl View,
    ctx: &OpContext,
    report: &InventoryReport,
    from: Option<ChunkId>,
) -> Result<(Vec<CopyFinding>, Option<ChunkId>), MetaError> {
    let reported: BTreeMap<_, _> = report.copies.iter().map(|e| ((e.chunk, e.generation), ())).collect();
    let mut range = KeyRange::prefix(table::CHUNK);
    if let Some(after) = &report.after {
        range = range.from(&keys::chunk(after.chunk));
    }
    if let Some(from) = from {
        range = range.from(&keys::chunk(from));
    }
    let key_of = |copy: &ChunkCopy| (copy.chunk, copy.generation);
    let mut findings = Vec::new();
    let page = view.scan(&range, MISSING_STEP)?;
    for (key, value) in &page {
        let chunk = keys::parse_chunk(key).ok_or_else(|| MetaError::damaged(key, "not a chunk"))?;
        let record: ChunkRecord = decode(key, value)?;
        let place = (chunk, record.generation);
        if report.upto.as_ref().is_some_and(|upto| place > key_of(upto)) {
            return Ok((findings, None));
        }
        let covered = report.after.as_ref().is_none_or(|after| place > key_of(after));
        let settled = |copy: &CopyRecord| copy.since_ms.saturating_add(REPORT_AGE_MAX_MS) < ctx.now_ms;
        let expected = record.copy(report.node).is_some_and(|copy| {
            matches!(copy.state, CopyState::Good | CopyState::Unverified) && settled(copy)
        });
        if record.state == ChunkState::Live && covered && expected && !reported.contains_key(&place) {
            let finding = CopyFinding { chunk, generation: record.generation, change: CopyChange::Missing };
            findings.push(finding);
        }
    }
    let last = page.last().and_then(|(key, _)| keys::parse_chunk(key));
    let next = last.filter(|_| page.len() >= MISSING_STEP).map(|chunk| ChunkId(chunk.0.saturating_add(1)));
    Ok((findings, next))
}

/// Applies findings, at most [`CHANGES_MAX`] at a time, each only if the record still is as it was judged.
///
/// # Errors
/// Of the store.
pub fn apply(
    txn: &mut Txn<'_>,
    ctx: &OpContext,
    node: NodeId,
    findings: &[CopyFinding],
) -> Result<u64, MetaError> {
    let mut done = 0;
    for finding in findings.iter().take(CHANGES_MAX) {
        let Some(old) = txn.load::<ChunkRecord>(&keys::chunk(finding.chunk))? else { continue };
        if old.generation != finding.generation || old.state != ChunkState::Live {
            continue;
        }
        let mut new = old.clone();
        let room = new.copies.len() < usize::from(REPLICATION_MAX) + 2;
        let known = new.copies.iter_mut().find(|copy| copy.node == node);
        let state = match finding.change {
            CopyChange::Missing => CopyState::Missing,
            CopyChange::Returned => CopyState::Unverified,
            CopyChange::Corrupt => CopyState::Corrupt,
        };
        match known {
            // A copy known to be good stays so: that it is there is no news.
            Some(copy) if finding.change == CopyChange::Returned && copy.state != CopyState::Missing => {
                continue;
            }
            Some(copy) if copy.state == state => continue,
            Some(copy) => *copy = CopyRecord { node, state, since_ms: ctx.now_ms },
            None if finding.change == CopyChange::Returned && room => {
                new.copies.push(CopyRecord { node, state, since_ms: ctx.now_ms });
            }
            None => continue,
        }
        put_chunk(txn, finding.chunk, Some(&old), &new)?;
        done += 1;
    }
    Ok(done)
}
