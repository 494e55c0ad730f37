//! From an older format of the store to this one, before anything is served, and resumable.
//!
//! ```text
//! older  --begin: one batch-->  this format, "m migrate" = the start  --steps-->  ...  --end: the row goes-->  this format
//!                               older builds refuse it from here on
//!
//! from 1   k <chunk>       what follows from the records of chunks ([`copies`](crate::coordinator::metadata::model::copies))
//! from 2   t <inode>       what the things in the trash take ([`trash_usage`])
//!          o <operation>   outcomes of format 1 count in their bound ([`outcome`])
//! ```
//!
//! Each step takes some rows of one table and moves the cursor, all in one batch; the cursor is the last row, or the name of
//! the next table. A crash anywhere leaves a cursor to go on from. Nothing else may change the store meanwhile: a coordinator
//! migrates between opening its reign and its first request, and its fence stops any other.

use super::ops::cluster::Reign;
use super::ops::{outcome, trash_usage};
use crate::coordinator::metadata::model::copies::{REINDEX_OPS_MAX, reindex};
use crate::coordinator::metadata::model::records::{ChunkRecord, ClusterMeta};
use crate::coordinator::metadata::table::error::MetaError;
use crate::coordinator::metadata::table::format::{FORMAT_VERSION, decode};
use crate::coordinator::metadata::table::keys::{self, table};
use crate::coordinator::metadata::table::store::{BatchOutcome, KeyRange, MetadataStore};
use crate::coordinator::metadata::table::txn::{Overlay, Txn};
use crate::coordinator::metadata::table::view::View;

/// Batches that are committed at once.
const GROUP_BATCHES: usize = 128;
/// Rows that one batch looks at.
const STEP_ROWS: usize = 64;
/// Rows between two words about how far it has come.
const TELL_EVERY: u64 = 100_000;
/// The tables that are gone through, in order.
const TABLES: [&[u8]; 3] = [table::CHUNK, table::TRASH, table::OUTCOME];

/// Brings the store to this build's format. Returns how many rows were looked at; 0 if there was nothing to do.
///
/// # Errors
/// Of the store, or a damaged record; what was done stays done.
pub fn run(store: &dyn MetadataStore, reign: &Reign) -> Result<u64, MetaError> {
    run_in_groups(store, reign, GROUP_BATCHES)
}

pub(super) fn run_in_groups(
    store: &dyn MetadataStore,
    reign: &Reign,
    group: usize,
) -> Result<u64, MetaError> {
    let (mut rows, mut told) = (0, TELL_EVERY);
    loop {
        let mut overlay = Overlay::new(store.snapshot()?, Some(reign.fence()?));
        let mut more = true;
        while more && overlay.batches() < group {
            let (looked_at, rest) = overlay.mutate(step)?;
            (rows, more) = (rows + looked_at, rest);
        }
        let outcomes = store.commit(&overlay.into_batches())?;
        if outcomes.iter().any(|outcome| *outcome != BatchOutcome::Applied) {
            return Err(MetaError::refused(
                dfs_wire::status::StatusCode::StaleEpoch,
                "another coordinator opened the metadata during its migration",
            ));
        }
        if !more {
            return Ok(rows);
        }
        if rows >= told {
            tracing::info!(rows, "the metadata is being brought to format {FORMAT_VERSION}");
            told = rows + TELL_EVERY;
        }
    }
}

/// One batch. Returns how many rows it looked at, and whether there is more to do.
fn step(txn: &mut Txn<'_>) -> Result<(u64, bool), MetaError> {
    let mut meta: ClusterMeta = txn.require(keys::CLUSTER)?;
    if meta.format < FORMAT_VERSION {
        // One that an older build has begun goes on where that one was.
        if txn.load::<Vec<u8>>(keys::MIGRATION)?.is_none() {
            let first = if meta.format < 2 { table::CHUNK } else { table::TRASH };
            txn.put(keys::MIGRATION.to_vec(), &first.to_vec())?;
        }
        meta.format = FORMAT_VERSION;
        txn.put(keys::CLUSTER.to_vec(), &meta)?;
        return Ok((0, true));
    }
    let Some(after) = txn.load::<Vec<u8>>(keys::MIGRATION)? else { return Ok((0, false)) };
    let at = TABLES.iter().position(|table| after.starts_with(table)).unwrap_or(0);
    let Some(table) = TABLES.get(at) else { return Ok((0, false)) };
    let (mut last, mut looked_at) = (None, 0);
    for (key, value) in txn.scan(&KeyRange::prefix(table).after(&after), STEP_ROWS)? {
        if !txn.has_room(REINDEX_OPS_MAX + 1) {
            break;
        }
        row(txn, &key, &value)?;
        looked_at += 1;
        last = Some(key);
    }
    match last.or_else(|| TABLES.get(at + 1).map(|next| next.to_vec())) {
        Some(next) => txn.put(keys::MIGRATION.to_vec(), &next)?,
        None => txn.delete(keys::MIGRATION.to_vec()),
    }
    Ok((looked_at, true))
}

/// What is to be done for one row.
fn row(txn: &mut Txn<'_>, key: &[u8], value: &[u8]) -> Result<(), MetaError> {
    if let Some(chunk) = keys::parse_chunk(key) {
        let record: ChunkRecord = decode(key, value)?;
        return reindex(txn, chunk, None, Some(&record));
    }
    match keys::parse_trash(key) {
        Some(inode) => trash_usage::begin_late(txn, inode),
        None => outcome::count_older(txn, key, value),
    }
}
