//! Directories and names: stat, mkdir, rename, delete. Each change is one atomic batch (C6 of the contract).

use dfs_wire::id::{InodeId, VersionId};
use dfs_wire::message::metadata::{Delete, Deleted, EntryKind, FileStat, Mkdir, Rename};
use dfs_wire::path::DfsPath;
use dfs_wire::status::StatusCode;

use super::{OpContext, trash_usage};
use crate::coordinator::metadata::model::chunks::supersede;
use crate::coordinator::metadata::model::records::{Inode, TrashEntry};
use crate::coordinator::metadata::model::tree::{self, Lookup, TreeNode};
use crate::coordinator::metadata::table::error::{
    MetaError, exists, invalid, is_a_directory, not_a_directory, not_empty, not_found,
};
use crate::coordinator::metadata::table::keys;
use crate::coordinator::metadata::table::totals::Usage;
use crate::coordinator::metadata::table::txn::Txn;
use crate::coordinator::metadata::table::view::View;

/// Attributes of what is at `path`.
///
/// # Errors
/// `NotFound`, `NotADirectory`.
pub fn stat(view: &impl View, path: &DfsPath) -> Result<FileStat, MetaError> {
    let node = tree::node(view, path)?;
    Ok(tree::stat(path.clone(), node.id, &node.inode))
}

/// Makes a directory.
///
/// # Errors
/// `AlreadyExists`, `NotFound` for its parent (unless `parents`), `NotADirectory`.
pub fn mkdir(txn: &mut Txn<'_>, ctx: &OpContext, request: &Mkdir) -> Result<(), MetaError> {
    let path = &request.path;
    let Some(name) = path.name() else {
        return if request.parents { Ok(()) } else { Err(exists(path)) };
    };
    match tree::find(txn, path)? {
        Lookup::Here(node) if request.parents && node.inode.kind() == EntryKind::Directory => Ok(()),
        Lookup::Here(_) => Err(exists(path)),
        _ if request.parents => tree::make_missing(txn, path, 0, ctx.wall_ms).map(drop),
        Lookup::Free { parent } => {
            tree::touch(txn, parent, ctx.wall_ms)?;
            tree::make_directory(txn, parent, name, ctx.wall_ms).map(drop)
        }
        Lookup::NoParent { depth, .. } => Err(not_found(path, &tree::prefix(path, depth + 1))),
    }
}

/// Moves a file or directory to exactly the path `to`.
///
/// # Errors
/// `NotFound`, `AlreadyExists`, `InvalidArgument` (the root, or into itself), `IsADirectory`, `NotADirectory`,
/// `DirectoryNotEmpty`.
pub fn rename(txn: &mut Txn<'_>, ctx: &OpContext, request: &Rename) -> Result<(), MetaError> {
    let Rename { from, to, replace } = request;
    let source = tree::node(txn, from)?;
    if from.is_root() || to.is_root() {
        return Err(invalid("the root directory cannot be moved or replaced"));
    }
    if from == to {
        return Ok(());
    }
    if to.starts_with(from) {
        return Err(invalid(format!("{from} cannot be moved into itself: {to} lies below it")));
    }
    let (parent, target) = tree::place(txn, to)?;
    if source.inode.kind() == EntryKind::Directory {
        tree::check_fits(txn, source.id, from, to)?;
    }
    if let Some(target) = target {
        replace_target(txn, ctx, &source, &target, to, *replace)?;
    }
    let name = to.name().ok_or_else(|| invalid("a target without a name"))?.to_owned();
    txn.delete(keys::entry(source.parent, &source.inode.name));
    tree::link(txn, source.id, &Inode { parent, name, ..source.inode })?;
    tree::touch(txn, source.parent, ctx.wall_ms)?;
    tree::touch(txn, parent, ctx.wall_ms)
}

/// Makes room at the target of a rename, as POSIX `rename` does.
fn replace_target(
    txn: &mut Txn<'_>,
    ctx: &OpContext,
    source: &TreeNode,
    target: &TreeNode,
    to: &DfsPath,
    replace: bool,
) -> Result<(), MetaError> {
    use EntryKind::{Directory, File};
    match (source.inode.kind(), target.inode.kind()) {
        _ if !replace => Err(exists(to)),
        (File, Directory) => Err(is_a_directory(to)),
        (Directory, File) => Err(not_a_directory(to, to.as_str())),
        (Directory, Directory) if !tree::is_empty(txn, target.id)? => Err(not_empty(to)),
        (Directory, Directory) | (File, File) => release(txn, ctx, target.id, &target.inode),
    }
}

/// Removes an inode that no entry will name: a file's chunks go after the read lease, a directory is taken apart.
pub(super) fn release(
    txn: &mut Txn<'_>,
    ctx: &OpContext,
    id: InodeId,
    inode: &Inode,
) -> Result<(), MetaError> {
    match inode.file {
        Some(body) => {
            supersede(txn, id, body.version, ctx.now_ms.saturating_add(ctx.policy.read_lease_ms))?;
            txn.delete(keys::inode(id));
            txn.count(|t| t.files = t.files.saturating_sub(1))
        }
        None if tree::is_empty(txn, id)? => {
            txn.delete(keys::inode(id));
            txn.count(|t| t.directories = t.directories.saturating_sub(1))
        }
        None => {
            txn.put(keys::inode(id), &Inode { trashed: true, ..inode.clone() })?;
            txn.put(keys::purge(id), &())
        }
    }
}

/// Moves a file or directory to the trash, or releases it at once.
///
/// # Errors
/// `NotFound`, `InvalidArgument` for the root, `DirectoryNotEmpty`, `PreconditionFailed`.
pub fn delete(txn: &mut Txn<'_>, ctx: &OpContext, request: &Delete) -> Result<Deleted, MetaError> {
    let path = &request.path;
    if path.is_root() {
        return Err(invalid("the root directory cannot be deleted"));
    }
    let node = tree::node(txn, path)?;
    check_match(path, &node, request.if_match)?;
    if node.inode.kind() == EntryKind::Directory && !request.recursive && !tree::is_empty(txn, node.id)? {
        return Err(not_empty(path));
    }
    txn.delete(keys::entry(node.parent, &node.inode.name));
    tree::touch(txn, node.parent, ctx.wall_ms)?;
    if request.skip_trash {
        release(txn, ctx, node.id, &node.inode)?;
        return Ok(Deleted { inode: node.id, expires_ms: None });
    }
    // A trash that was emptied "up to now" must not swallow what is deleted later, even if the clock steps back.
    let emptied: u64 = txn.load(keys::TRASH_HORIZON)?.unwrap_or(0);
    let deleted_ms = ctx.now_ms.max(emptied.saturating_add(1));
    let expires_ms = deleted_ms.saturating_add(ctx.policy.trash_ms);
    let mut entry = TrashEntry { path: path.clone(), deleted_ms, expires_ms, usage: Usage::default() };
    trash_usage::begin(txn, node.id, &node.inode, &mut entry)?;
    txn.put(keys::inode(node.id), &Inode { trashed: true, ..node.inode })?;
    txn.put(keys::trash(node.id), &entry)?;
    txn.put(keys::trash_expiry(expires_ms, node.id), &())?;
    txn.put(keys::trash_path(path, deleted_ms, node.id), &())?;
    txn.count(|t| t.trash += 1)?;
    Ok(Deleted { inode: node.id, expires_ms: Some(expires_ms) })
}

fn check_match(path: &DfsPath, node: &TreeNode, wanted: Option<VersionId>) -> Result<(), MetaError> {
    let current = node.inode.file.map(|body| body.version);
    match wanted {
        Some(version) if current != Some(version) => Err(MetaError::refused(
            StatusCode::PreconditionFailed,
            match current {
                Some(current) => format!("{path} has version {current}, not {version}"),
                None => format!("{path} is a directory and has no version"),
            },
        )),
        _ => Ok(()),
    }
}
