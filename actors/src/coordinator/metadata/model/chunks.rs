//! Keeping chunk records, the tables that follow from them and the counters in step.

use std::collections::{BTreeMap, BTreeSet};

use dfs_wire::id::{ChunkId, ChunkKey, InodeId, NodeId, VersionId};
use dfs_wire::message::metadata::CopyState;

use super::copies::{COPIES_KEPT_MAX, REINDEX_OPS_MAX, group, reindex};
use super::records::{
    ChunkRecord, ChunkState, NodeRecord, ReleaseJob, Standing, Tombstone, UploadSession, Version,
    VersionState, session_of,
};
use crate::coordinator::metadata::table::error::MetaError;
use crate::coordinator::metadata::table::keys;
use crate::coordinator::metadata::table::store::KeyRange;
use crate::coordinator::metadata::table::txn::Txn;
use crate::coordinator::metadata::table::view::View;

/// Writes that [`put_chunk`] makes at most: the record, its place among the endangered, and what follows from it.
pub const PUT_OPS_MAX: usize = 3 + REINDEX_OPS_MAX;
/// Holders of one chunk that are asked how many copies they want.
const HOLDERS_ASKED_MAX: usize = 256;
/// Writes that [`drop_reference`] makes at most: a put, the reasons, the holder, a tombstone per copy.
pub const DROP_OPS_MAX: usize = PUT_OPS_MAX + 2 + COPIES_KEPT_MAX;

/// Replaces the record of a chunk, with all that follows from it.
///
/// # Errors
/// Of the store.
pub fn put_chunk(
    txn: &mut Txn<'_>,
    chunk: ChunkId,
    old: Option<&ChunkRecord>,
    new: &ChunkRecord,
) -> Result<(), MetaError> {
    txn.put(keys::chunk(chunk), new)?;
    reindex(txn, chunk, old, Some(new))?;
    let (before, after) = (old.and_then(ChunkRecord::risk), new.risk());
    if before != after {
        if let Some(good) = before {
            txn.delete(keys::risk(good, chunk));
        }
        if let Some(good) = after {
            txn.put(keys::risk(good, chunk), &())?;
        }
        txn.count(|t| {
            t.under_replicated += u64::from(after.is_some());
            t.under_replicated = t.under_replicated.saturating_sub(u64::from(before.is_some()));
        })?;
    }
    let (was_lost, is_lost) = (old.is_some_and(ChunkRecord::is_lost), new.is_lost());
    if was_lost != is_lost {
        txn.count(|t| {
            t.lost = t.lost.saturating_add(u64::from(is_lost)).saturating_sub(u64::from(was_lost))
        })?;
    }
    if unsettles(old, new) {
        txn.count(|t| t.worsened = t.worsened.wrapping_add(1))?;
    }
    if old.is_none() {
        txn.count(|t| t.chunks += 1)?;
    }
    Ok(())
}

/// Whether who has looked at the copies of all chunks by groups, on which nodes each may have its last one, may be wrong
/// by now: a live chunk has a good copy less than before, or has one at most and is in another group, which the look may
/// have passed already.
fn unsettles(old: Option<&ChunkRecord>, new: &ChunkRecord) -> bool {
    let good = |record: &ChunkRecord| (record.state == ChunkState::Live).then(|| record.good());
    match (old.and_then(good), good(new)) {
        (Some(before), Some(after)) => after < before || after <= 1 && old.and_then(group) != group(new),
        (None, Some(after)) => after <= 1,
        (_, None) => false,
    }
}

/// Removes the record of a chunk that is not among the endangered; `old` is the record as it is stored.
///
/// # Errors
/// Of the store.
pub fn remove_chunk(txn: &mut Txn<'_>, chunk: ChunkId, old: &ChunkRecord) -> Result<(), MetaError> {
    reindex(txn, chunk, Some(old), None)?;
    txn.delete(keys::chunk(chunk));
    txn.delete(keys::reasons(chunk));
    txn.count(|t| t.chunks = t.chunks.saturating_sub(1))
}

/// Whether an operator forgot the node: nothing more is asked of it, or heard.
///
/// # Errors
/// Of the store.
pub(crate) fn is_forgotten(view: &impl View, node: NodeId) -> Result<bool, MetaError> {
    let known: Option<NodeRecord> = view.load(&keys::node(node))?;
    Ok(known.is_some_and(|record| record.standing == Standing::Forgotten))
}

/// Asks a node to delete a copy; asking twice is asking once, and a node that was forgotten is not asked.
///
/// # Errors
/// Of the store.
pub fn put_tombstone(txn: &mut Txn<'_>, node: NodeId, copy: ChunkKey, now_ms: u64) -> Result<(), MetaError> {
    let key = keys::tombstone(node, copy);
    if txn.get(&key)?.is_none() && !is_forgotten(txn, node)? {
        txn.put(key, &Tombstone { since_ms: now_ms })?;
        txn.count(|t| t.tombstones += 1)?;
    }
    Ok(())
}

/// Takes the reference from a chunk that a place of a version holds; with the last one its copies get tombstones, the missing ones too: a planned
/// copy may have become durable without anybody hearing of it.
///
/// # Errors
/// Of the store.
pub fn drop_reference(
    txn: &mut Txn<'_>,
    chunk: ChunkId,
    (version, index): (VersionId, u32),
    now_ms: u64,
) -> Result<(), MetaError> {
    let Some(old) = txn.load::<ChunkRecord>(&keys::chunk(chunk))? else { return Ok(()) };
    if old.state == ChunkState::Dying {
        return Ok(());
    }
    if (old.version, old.index) != (version, index) {
        txn.delete(keys::holder(chunk, version, index));
    }
    let mut new = old.clone();
    new.references = new.references.saturating_sub(1);
    if new.references > 0 {
        // If it was not the one that wanted the most, nothing changes.
        let mut asked = HolderWishes::default();
        if HolderWishes::ask(txn, version)?.is_none_or(|wish| wish >= old.wanted) {
            new.wanted = asked.wanted(txn, chunk, &new)?;
        }
        return put_chunk(txn, chunk, Some(&old), &new);
    }
    new.state = ChunkState::Dying;
    // Planned copies of an upload, and what a step of forgetting has not come to yet.
    let mut forgotten = Vec::new();
    for copy in &new.copies {
        if is_forgotten(txn, copy.node)? {
            forgotten.push(copy.node);
        }
    }
    new.copies.retain(|copy| !forgotten.contains(&copy.node));
    new.copies.iter_mut().for_each(|copy| copy.state = CopyState::Dropping);
    put_chunk(txn, chunk, Some(&old), &new)?;
    txn.delete(keys::reasons(chunk));
    let key = ChunkKey { chunk, generation: new.generation };
    for copy in &new.copies {
        put_tombstone(txn, copy.node, key, now_ms)?;
    }
    if new.copies.is_empty() { remove_chunk(txn, chunk, &new) } else { Ok(()) }
}

/// How many copies the holders of chunks want, as they were asked within one batch: neighbouring chunks have the same holders.
#[derive(Debug, Default)]
pub struct HolderWishes(BTreeMap<VersionId, Option<u8>>);

impl HolderWishes {
    /// A holder says another number now: all are asked again.
    pub fn forget(&mut self) {
        self.0.clear();
    }

    /// Copies that a chunk is to have: as many as that of its holders wants which wants the most. Where they are too many to be
    /// asked, or one of them cannot be read, it stays as it is: more copies than are wanted harm nobody.
    ///
    /// # Errors
    /// Of the store.
    pub fn wanted(
        &mut self,
        view: &impl View,
        chunk: ChunkId,
        record: &ChunkRecord,
    ) -> Result<u8, MetaError> {
        let others = view.scan(&KeyRange::prefix(&keys::holders(chunk)), HOLDERS_ASKED_MAX + 1)?;
        if others.len() > HOLDERS_ASKED_MAX {
            return Ok(record.wanted);
        }
        let mut holders: BTreeSet<_> = others
            .iter()
            .filter_map(|(key, _)| keys::parse_holder(key))
            .map(|(_, version, _)| version)
            .collect();
        if record.references as usize > others.len() {
            holders.insert(record.version);
        }
        let mut wanted = 0;
        for version in holders {
            let wish = match self.0.get(&version) {
                Some(wish) => *wish,
                None => *self.0.entry(version).or_insert(Self::ask(view, version)?),
            };
            wanted = wanted.max(wish.unwrap_or(record.wanted));
        }
        Ok(if wanted == 0 { record.wanted } else { wanted })
    }

    /// What a version wants, or the upload that writes it; `None` = nobody knows.
    fn ask(view: &impl View, version: VersionId) -> Result<Option<u8>, MetaError> {
        match view.load::<Version>(&keys::version(version)) {
            Ok(Some(version)) => return Ok(Some(version.body.replication)),
            Ok(None) => {}
            Err(MetaError::Damaged { .. }) => return Ok(None),
            Err(error) => return Err(error),
        }
        match view.load::<UploadSession>(&keys::session(session_of(version))) {
            Ok(upload) => Ok(upload.map(|upload| upload.replication)),
            Err(MetaError::Damaged { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Ends the life of a version as the contents of its inode: its chunks are released after the read lease.
///
/// # Errors
/// Of the store.
pub fn supersede(
    txn: &mut Txn<'_>,
    inode: InodeId,
    version: VersionId,
    release_at_ms: u64,
) -> Result<(), MetaError> {
    let mut record: Version = txn.require(&keys::version(version))?;
    if record.inode != inode || record.state != VersionState::Live {
        return Err(MetaError::damaged(
            &keys::version(version),
            format!("it is not live under inode {inode}"),
        ));
    }
    record.state = VersionState::Superseded;
    txn.put(keys::version(version), &record)?;
    txn.put(keys::release(release_at_ms, version), &ReleaseJob::default())
}
