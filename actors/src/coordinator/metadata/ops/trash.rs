//! Getting things back from the trash, or dropping them now.

use dfs_wire::id::InodeId;
use dfs_wire::message::metadata::{
    EntryKind, FileStat, TrashItem, TrashList, TrashPage, TrashPurge, Undelete,
};
use dfs_wire::path::DfsPath;
use dfs_wire::status::StatusCode;

use super::names::release;
use super::{OpContext, PAGE_BYTES_MAX, trash_usage};
use crate::coordinator::metadata::model::records::{Inode, TrashEntry};
use crate::coordinator::metadata::model::tree::{self, Lookup};
use crate::coordinator::metadata::table::error::{MetaError, exists, invalid, not_found};
use crate::coordinator::metadata::table::format::decode;
use crate::coordinator::metadata::table::keys::{self, table};
use crate::coordinator::metadata::table::store::KeyRange;
use crate::coordinator::metadata::table::txn::Txn;
use crate::coordinator::metadata::table::view::View;

const PAGE_MAX: usize = 256;
const ITEM_BYTES: usize = 128;
/// Entries that one page looks at; those that were emptied are passed over.
const LOOKED_AT_MAX: usize = 2000;

fn horizon(view: &impl View) -> Result<u64, MetaError> {
    Ok(view.load(keys::TRASH_HORIZON)?.unwrap_or(0))
}

fn entry_gone(what: &str) -> MetaError {
    MetaError::refused_with_hint(
        StatusCode::NotFound,
        format!("{what} is not in the trash"),
        "`dfsctl trash` shows what can be brought back",
    )
}

/// A page of the trash, in the order of the inodes, which is the order in which things were made: stable whatever leaves
/// it meanwhile. A page may be short or empty and still have a next one.
///
/// # Errors
/// Of the store.
pub fn trash_list(view: &impl View, request: &TrashList) -> Result<TrashPage, MetaError> {
    let horizon = horizon(view)?;
    let limit = if request.limit == 0 { PAGE_MAX } else { (request.limit as usize).min(PAGE_MAX) };
    let mut range = KeyRange::prefix(table::TRASH);
    if let Some(after) = request.after {
        range = range.after(&keys::trash(after));
    }
    let (mut entries, mut bytes, mut looked_at) = (Vec::<TrashItem>::new(), 0, 0);
    loop {
        let found = view.scan(&range, PAGE_MAX)?;
        let Some((last, _)) = found.last() else { return Ok(TrashPage { entries, next: None }) };
        range = range.after(last);
        for (key, value) in &found {
            let id = keys::parse_trash(key).ok_or_else(|| MetaError::damaged(key, "not a trash entry"))?;
            let entry: TrashEntry = decode(key, value)?;
            looked_at += 1;
            if entry.deleted_ms <= horizon {
                if looked_at >= LOOKED_AT_MAX {
                    return Ok(TrashPage { entries, next: Some(id) });
                }
                continue;
            }
            bytes += entry.path.as_str().len() + ITEM_BYTES;
            if entries.len() >= limit || (bytes > PAGE_BYTES_MAX && !entries.is_empty()) {
                let next = entries.last().map(|item| item.stat.inode);
                return Ok(TrashPage { entries, next });
            }
            let inode: Inode = view.require(&keys::inode(id))?;
            entries.push(TrashItem {
                stat: tree::stat(entry.path, id, &inode),
                deleted_ms: entry.deleted_ms,
                expires_ms: entry.expires_ms,
            });
        }
    }
}

/// Finds what a request means: by inode, or the latest deletion of a path.
fn find(
    view: &impl View,
    inode: Option<InodeId>,
    path: Option<&DfsPath>,
) -> Result<(InodeId, TrashEntry), MetaError> {
    let (id, what) = match (inode, path) {
        (Some(id), _) => (Some(id), format!("inode {id}")),
        (None, Some(path)) => {
            let latest = view.scan(&KeyRange::prefix(&keys::trash_paths(path)), 1)?;
            (latest.first().and_then(|(key, _)| keys::parse_trash_path(key)), path.to_string())
        }
        (None, None) => return Err(invalid("neither a path nor an inode is given")),
    };
    let id = id.ok_or_else(|| entry_gone(&what))?;
    let entry: TrashEntry = view.load(&keys::trash(id))?.ok_or_else(|| entry_gone(&what))?;
    if entry.deleted_ms <= horizon(view)? {
        return Err(entry_gone(&what));
    }
    Ok((id, entry))
}

/// Brings something back, to where it was or to another path; the directory must exist and the name be free.
///
/// # Errors
/// `NotFound` (not in the trash, or no such directory), `AlreadyExists`, `NotADirectory`.
pub fn undelete(txn: &mut Txn<'_>, ctx: &OpContext, request: &Undelete) -> Result<FileStat, MetaError> {
    let (id, entry) = find(txn, request.inode, request.path.as_ref())?;
    let to = request.to.as_ref().unwrap_or(&entry.path);
    let parent = match tree::find(txn, to)? {
        Lookup::Here(_) => return Err(exists(to)),
        Lookup::Free { parent } => parent,
        Lookup::NoParent { depth, .. } => return Err(not_found(to, &tree::prefix(to, depth + 1))),
    };
    let name = to.name().ok_or_else(|| exists(to))?.to_owned();
    let old: Inode = txn.require(&keys::inode(id))?;
    if old.kind() == EntryKind::Directory {
        tree::check_fits(txn, id, &entry.path, to)?;
    }
    let inode = Inode { parent, name, trashed: false, ..old };
    tree::link(txn, id, &inode)?;
    tree::touch(txn, parent, ctx.wall_ms)?;
    remove_entry(txn, id, &entry)?;
    Ok(tree::stat(to.clone(), id, &inode))
}

fn remove_entry(txn: &mut Txn<'_>, id: InodeId, entry: &TrashEntry) -> Result<(), MetaError> {
    txn.delete(keys::trash(id));
    txn.delete(keys::trash_expiry(entry.expires_ms, id));
    txn.delete(keys::trash_path(&entry.path, entry.deleted_ms, id));
    trash_usage::end(txn, id, entry)?;
    txn.count(|t| t.trash = t.trash.saturating_sub(1))
}

/// Drops one entry now, or all of them: then everything deleted so far is gone for users at once, and steps of
/// [`super::gc::trash_step`] take it apart.
///
/// # Errors
/// `NotFound`.
pub fn trash_purge(txn: &mut Txn<'_>, ctx: &OpContext, request: &TrashPurge) -> Result<u64, MetaError> {
    let Some(inode) = request.inode else {
        txn.put(keys::TRASH_HORIZON.to_vec(), &ctx.now_ms.max(horizon(txn)?))?;
        return Ok(super::cluster::totals(txn)?.trash);
    };
    let (id, _) = find(txn, Some(inode), None)?;
    release_entry(txn, ctx, id)?;
    Ok(1)
}

/// Takes an entry out of the trash for good.
pub(super) fn release_entry(txn: &mut Txn<'_>, ctx: &OpContext, id: InodeId) -> Result<(), MetaError> {
    let entry: TrashEntry = txn.require(&keys::trash(id))?;
    let inode: Inode = txn.require(&keys::inode(id))?;
    remove_entry(txn, id, &entry)?;
    release(txn, ctx, id, &inode)
}
