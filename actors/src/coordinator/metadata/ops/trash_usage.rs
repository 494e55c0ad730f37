//! What the things in the trash take, counted as they come and go.
//!
//! A file is counted with its deletion. A directory stays as it was deleted, for no path leads into it: so the first
//! `AT_ONCE` entries below it are counted with its deletion, and the others in bounded steps.
//!
//! ```text
//! delete ----> t <inode> (counted so far), totals      one transaction
//!   | more than AT_ONCE entries
//!   +--------> b <inode> (where the count goes on) --steps: entry and totals in one transaction--> (no row)
//! undelete, purge: what was counted leaves the totals with the entry, and the b row goes
//! ```
//!
//! Invariant: the totals are the sum of what was counted of each entry, and where there is no `b` row that is all of it.
//! As in `du`, a file takes its size, and its size times the copies it asks for; chunks that files share count in each.

use dfs_wire::id::InodeId;
use dfs_wire::message::metadata::EntryKind;

use crate::coordinator::metadata::model::outcome::StepProgress;
use crate::coordinator::metadata::model::records::{Entry, Inode, TrashEntry, TrashWalk};
use crate::coordinator::metadata::table::error::MetaError;
use crate::coordinator::metadata::table::format::decode;
use crate::coordinator::metadata::table::keys::{self, table};
use crate::coordinator::metadata::table::store::KeyRange;
use crate::coordinator::metadata::table::totals::Usage;
use crate::coordinator::metadata::table::txn::Txn;
use crate::coordinator::metadata::table::view::View;

/// Entries that are counted with the deletion of a directory: a millisecond of the writer's time. Few in tests, so that
/// small trees take steps.
const AT_ONCE: usize = if cfg!(test) { 5 } else { 256 };
/// Entries that one step counts.
const STEP_ENTRIES: usize = if cfg!(test) { 3 } else { 1000 };
/// Entries read at once.
const SCAN_STEP: usize = 64;

/// Counts what goes into the trash: all of it, or as much as may be counted at once.
///
/// # Errors
/// Of the store.
pub(super) fn begin(
    txn: &mut Txn<'_>,
    id: InodeId,
    inode: &Inode,
    entry: &mut TrashEntry,
) -> Result<(), MetaError> {
    entry.usage = inode.usage();
    if inode.kind() == EntryKind::Directory {
        let start = TrashWalk { directory: id, after: String::new() };
        if let Some(rest) = walk(txn, id, start, &mut { AT_ONCE }, &mut entry.usage)? {
            txn.put(keys::trash_walk(id), &rest)?;
        }
    }
    let usage = entry.usage;
    txn.count(|totals| totals.trash_usage.add(usage))
}

/// Counts an entry that an older build left uncounted. One that stands for nothing is left as it is, for `fsck` to find.
///
/// # Errors
/// Of the store.
pub fn begin_late(txn: &mut Txn<'_>, id: InodeId) -> Result<(), MetaError> {
    let mut entry: TrashEntry = txn.require(&keys::trash(id))?;
    let Some(inode) = txn.load::<Inode>(&keys::inode(id))? else { return Ok(()) };
    begin(txn, id, &inode, &mut entry)?;
    txn.put(keys::trash(id), &entry)
}

/// Takes what was counted of an entry that leaves the trash out of the totals.
///
/// # Errors
/// Of the store.
pub(super) fn end(txn: &mut Txn<'_>, id: InodeId, entry: &TrashEntry) -> Result<(), MetaError> {
    txn.delete(keys::trash_walk(id));
    txn.count(|totals| totals.trash_usage.subtract(entry.usage))
}

/// Whether something in the trash is not counted to its end.
///
/// # Errors
/// Of the store.
pub fn is_counting(view: &impl View) -> Result<bool, MetaError> {
    view.any(&KeyRange::prefix(table::TRASH_WALK))
}

/// Counts some more of the deleted directories.
///
/// # Errors
/// Of the store.
pub fn step(txn: &mut Txn<'_>) -> Result<StepProgress, MetaError> {
    let mut left = STEP_ENTRIES;
    while left > 0 && txn.has_room(2) {
        let Some((key, value)) = txn.scan(&KeyRange::prefix(table::TRASH_WALK), 1)?.into_iter().next() else {
            return Ok(StepProgress { done: (STEP_ENTRIES - left) as u64, more: false });
        };
        let id = keys::parse_trash_walk(&key).ok_or_else(|| MetaError::damaged(&key, "not a walk"))?;
        let mut entry: TrashEntry = txn.require(&keys::trash(id))?;
        let mut found = Usage::default();
        match walk(txn, id, decode(&key, &value)?, &mut left, &mut found)? {
            Some(rest) => txn.put(key, &rest)?,
            None => txn.delete(key),
        }
        entry.usage.add(found);
        txn.put(keys::trash(id), &entry)?;
        txn.count(|totals| totals.trash_usage.add(found))?;
    }
    Ok(StepProgress { done: (STEP_ENTRIES - left) as u64, more: true })
}

/// Counts `left` more entries below `root`, depth first, names in byte order; where it goes on is returned, unless it came
/// to the end. The way back up is in the inodes, so that a place is small however deep it lies.
fn walk(
    view: &impl View,
    root: InodeId,
    from: TrashWalk,
    left: &mut usize,
    usage: &mut Usage,
) -> Result<Option<TrashWalk>, MetaError> {
    let TrashWalk { mut directory, mut after } = from;
    while *left > 0 {
        let all = KeyRange::prefix(&keys::entries(directory));
        let page = view.scan(&all.after(&keys::entry(directory, &after)), SCAN_STEP.min(*left))?;
        let mut below = None;
        for (key, value) in &page {
            let (_, name) = keys::parse_entry(key).ok_or_else(|| MetaError::damaged(key, "not an entry"))?;
            let entry: Entry = decode(key, value)?;
            name.clone_into(&mut after);
            *left -= 1;
            if entry.kind == EntryKind::Directory {
                below = Some(entry.inode);
                break;
            }
            // An entry that stands for nothing takes nothing: it is for `fsck` to find, and stops neither this nor a start.
            let inode: Option<Inode> = view.load(&keys::inode(entry.inode))?;
            usage.add(inode.map_or_else(Usage::default, |inode| inode.usage()));
        }
        if let Some(below) = below {
            (directory, after) = (below, String::new());
        } else if page.is_empty() {
            if directory == root {
                return Ok(None);
            }
            // Nor is there a way back from a directory that is not there.
            let Some(inode) = view.load::<Inode>(&keys::inode(directory))? else { return Ok(None) };
            (directory, after) = (inode.parent, inode.name);
            *left -= 1;
        }
    }
    Ok(Some(TrashWalk { directory, after }))
}
