//! From an older format of the store to this one, before anything is served, and resumable.
//!
//! ```text
//! format 1  --begin: one batch-->  format 2, "m migrate" = the start  --steps-->  ...  --end: the row goes-->  format 2
//!                                  older builds refuse it from here on
//! ```
//!
//! Each step takes some chunk records, writes what follows from them ([`crate::coordinator::metadata::model::copies`]), and moves the cursor, all in one
//! batch. A crash anywhere leaves a cursor to go on from. Nothing else may change the store meanwhile: a coordinator
//! migrates between opening its reign and its first request, and its fence stops any other.

use dfs_wire::id::ChunkId;

use super::ops::cluster::Reign;
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
/// Chunk records that one batch looks at.
const STEP_RECORDS: usize = 64;
/// Chunks between two words about how far it has come.
const TELL_EVERY: u64 = 100_000;

/// Brings the store to this build's format. Returns how many chunks were looked at; 0 if there was nothing to do.
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
    let (mut chunks, mut told) = (0, TELL_EVERY);
    loop {
        let mut overlay = Overlay::new(store.snapshot()?, Some(reign.fence()?));
        let mut more = true;
        while more && overlay.batches() < group {
            let (looked_at, rest) = overlay.mutate(step)?;
            (chunks, more) = (chunks + looked_at, rest);
        }
        let outcomes = store.commit(&overlay.into_batches())?;
        if outcomes.iter().any(|outcome| *outcome != BatchOutcome::Applied) {
            return Err(MetaError::refused(
                dfs_wire::status::StatusCode::StaleEpoch,
                "another coordinator opened the metadata during its migration",
            ));
        }
        if !more {
            return Ok(chunks);
        }
        if chunks >= told {
            tracing::info!(chunks, "the metadata is being brought to format {FORMAT_VERSION}");
            told = chunks + TELL_EVERY;
        }
    }
}

/// One batch. Returns how many records it looked at, and whether there is more to do.
fn step(txn: &mut Txn<'_>) -> Result<(u64, bool), MetaError> {
    let mut meta: ClusterMeta = txn.expect(keys::CLUSTER)?;
    if meta.format < FORMAT_VERSION {
        meta.format = FORMAT_VERSION;
        txn.put(keys::CLUSTER.to_vec(), &meta)?;
        txn.put(keys::MIGRATION.to_vec(), &Vec::<u8>::new())?;
        return Ok((0, true));
    }
    let Some(after) = txn.load::<Vec<u8>>(keys::MIGRATION)? else { return Ok((0, false)) };
    let page = txn.scan(&KeyRange::prefix(table::CHUNK).after(&after), STEP_RECORDS)?;
    let (mut last, mut looked_at) = (None, 0);
    for (key, value) in page {
        if !txn.has_room(REINDEX_OPS_MAX + 1) {
            break;
        }
        let chunk: ChunkId =
            keys::parse_chunk(&key).ok_or_else(|| MetaError::damaged(&key, "not a chunk"))?;
        let record: ChunkRecord = decode(&key, &value)?;
        reindex(txn, chunk, None, Some(&record))?;
        looked_at += 1;
        last = Some(key);
    }
    match last {
        Some(key) => txn.put(keys::MIGRATION.to_vec(), &key)?,
        None => txn.delete(keys::MIGRATION.to_vec()),
    }
    Ok((looked_at, true))
}
