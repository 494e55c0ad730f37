//! The inode tree: resolving paths, and the few ways in which it may change shape.

use std::collections::VecDeque;

use dfs_wire::id::{InodeId, VersionId};
use dfs_wire::limits::{CREATED_LEVELS_MAX, PATH_BYTES_MAX, PATH_DEPTH_MAX};
use dfs_wire::message::metadata::{EntryKind, FileStat};
use dfs_wire::path::DfsPath;
use dfs_wire::status::StatusCode;

use super::records::{Entry, Inode};
use super::time::ns;
use crate::coordinator::metadata::table::error::{MetaError, not_a_directory, not_found};
use crate::coordinator::metadata::table::format::decode;
use crate::coordinator::metadata::table::keys;
use crate::coordinator::metadata::table::store::KeyRange;
use crate::coordinator::metadata::table::txn::Txn;
use crate::coordinator::metadata::table::view::View;

/// Entries that [`check_fits`] looks at: some milliseconds of the writer's time.
pub const FITS_ROWS_MAX: usize = 8192;
const FITS_PAGE: usize = 256;

/// Where a path leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// It leads to something that exists.
    Here(TreeNode),
    /// Its directory exists, and the name is free there.
    Free {
        /// The directory that the name is free in.
        parent: InodeId,
    },
    /// A directory on the way does not exist.
    NoParent {
        /// The deepest directory that does.
        deepest: InodeId,
        /// How many segments of the path lead there.
        depth: usize,
    },
}

/// Something that exists at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeNode {
    /// Its directory; itself for the root.
    pub parent: InodeId,
    /// The number by which the tables know it.
    pub id: InodeId,
    /// What is stored under that number.
    pub inode: Inode,
}

/// The first `depth` segments of `path` as a text.
pub fn prefix(path: &DfsPath, depth: usize) -> String {
    let text: String = path.segments().take(depth).flat_map(|s| ["/", s]).collect();
    if text.is_empty() { "/".to_owned() } else { text }
}

/// Follows `path` from the root.
///
/// # Errors
/// `NotADirectory` if a part of it is a file; those of the store.
pub fn find(view: &impl View, path: &DfsPath) -> Result<Lookup, MetaError> {
    let (mut parent, mut at) = (InodeId::ROOT, InodeId::ROOT);
    let count = path.segments().count();
    for (depth, name) in path.segments().enumerate() {
        match view.load::<Entry>(&keys::entry(at, name))? {
            Some(entry) if depth + 1 < count && entry.kind == EntryKind::File => {
                return Err(not_a_directory(path, &prefix(path, depth + 1)));
            }
            Some(entry) => (parent, at) = (at, entry.inode),
            None if depth + 1 == count => return Ok(Lookup::Free { parent: at }),
            None => return Ok(Lookup::NoParent { deepest: at, depth }),
        }
    }
    Ok(Lookup::Here(TreeNode { parent, id: at, inode: view.require(&keys::inode(at))? }))
}

/// What exists at `path`.
///
/// # Errors
/// `NotFound`, naming the part that is missing; as [`find`].
pub fn node(view: &impl View, path: &DfsPath) -> Result<TreeNode, MetaError> {
    match find(view, path)? {
        Lookup::Here(node) => Ok(node),
        Lookup::Free { .. } => Err(not_found(path, path.as_str())),
        Lookup::NoParent { depth, .. } => Err(not_found(path, &prefix(path, depth + 1))),
    }
}

/// The directory in which `path` is or may be made, and what is there now.
///
/// # Errors
/// `NotFound` if the directory does not exist.
pub fn place(view: &impl View, path: &DfsPath) -> Result<(InodeId, Option<TreeNode>), MetaError> {
    match find(view, path)? {
        Lookup::Here(node) => Ok((node.parent, Some(node))),
        Lookup::Free { parent } => Ok((parent, None)),
        Lookup::NoParent { depth, .. } => Err(not_found(path, &prefix(path, depth + 1))),
    }
}

/// What users see of an inode.
pub fn stat(path: DfsPath, id: InodeId, inode: &Inode) -> FileStat {
    let body = inode.file;
    FileStat {
        path,
        inode: id,
        kind: inode.kind(),
        size: body.map_or(0, |b| b.size),
        mtime_ns: inode.mtime_ns,
        created_ms: inode.created_ms,
        version: body.map_or(VersionId::default(), |b| b.version),
        chunk_size: body.map_or(0, |b| b.chunk_size),
        chunk_count: body.map_or(0, |b| b.chunk_count),
        replication: body.map_or(0, |b| b.replication),
    }
}

/// The path of an inode, from the way back up; `None` if it hangs below something in the trash.
///
/// # Errors
/// Of the store; a way that does not end is damage.
pub fn path_of(view: &impl View, id: InodeId) -> Result<Option<DfsPath>, MetaError> {
    let mut names = Vec::new();
    let mut at = id;
    while at != InodeId::ROOT {
        let inode: Inode = match view.load(&keys::inode(at))? {
            Some(inode) => inode,
            None => return Ok(None),
        };
        if inode.trashed {
            return Ok(None);
        }
        if names.len() > PATH_DEPTH_MAX {
            return Err(MetaError::damaged(&keys::inode(id), "its parents form a circle or are too deep"));
        }
        at = inode.parent;
        names.push(inode.name);
    }
    let text: String = names.iter().rev().flat_map(|name| ["/", name.as_str()]).collect();
    let text = if text.is_empty() { "/" } else { text.as_str() };
    DfsPath::parse(text).map(Some).map_err(|e| MetaError::damaged(&keys::inode(id), e.to_string()))
}

/// Checks that what lies below a directory can still be named once the directory is at `to` instead of `from`.
///
/// The walk is bounded, nearest entries first; what lies beyond [`FITS_ROWS_MAX`] entries is not looked at, so that a
/// large directory can be moved at all. Should something there not fit, listings pass it over and `fsck` tells of the files.
///
/// # Errors
/// `InvalidArgument`, naming an entry that does not fit; those of the store.
pub fn check_fits(
    view: &impl View,
    directory: InodeId,
    from: &DfsPath,
    to: &DfsPath,
) -> Result<(), MetaError> {
    let (bytes, depth) = (to.as_str().len(), to.segments().count());
    if bytes <= from.as_str().len() && depth <= from.segments().count() {
        return Ok(());
    }
    // Directories to look into, each with the bytes and levels of its path to come.
    let (mut queue, mut looked_at) = (VecDeque::from([(directory, bytes, depth)]), 0);
    while let Some((at, bytes, depth)) = queue.pop_front() {
        let mut range = KeyRange::prefix(&keys::entries(at));
        loop {
            let page = view.scan(&range, FITS_PAGE)?;
            let Some((last, _)) = page.last() else { break };
            range = range.after(last);
            for (key, value) in &page {
                let name = keys::parse_entry(key).map_or("", |(_, name)| name);
                let (bytes, depth) = (bytes + 1 + name.len(), depth + 1);
                if bytes > PATH_BYTES_MAX || depth > PATH_DEPTH_MAX {
                    return Err(MetaError::refused_with_hint(
                        StatusCode::InvalidArgument,
                        format!(
                            "{name:?} below {from} would have a path of {bytes} bytes and {depth} levels below {to}"
                        ),
                        "a path has at most 4096 bytes and 256 levels: choose a shorter target",
                    ));
                }
                let entry: Entry = decode(key, value)?;
                if entry.kind == EntryKind::Directory {
                    queue.push_back((entry.inode, bytes, depth));
                }
            }
            looked_at += page.len();
            if looked_at >= FITS_ROWS_MAX {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Takes the next free inode number.
///
/// # Errors
/// Of the store.
pub fn next_inode(txn: &mut Txn<'_>) -> Result<InodeId, MetaError> {
    let next: u64 = txn.require(keys::NEXT_INODE)?;
    txn.put(keys::NEXT_INODE.to_vec(), &(next + 1))?;
    Ok(InodeId(next))
}

/// Makes a directory `name` in `parent`, where the name is free.
///
/// # Errors
/// Of the store.
pub fn make_directory(
    txn: &mut Txn<'_>,
    parent: InodeId,
    name: &str,
    now_ms: u64,
) -> Result<InodeId, MetaError> {
    let id = next_inode(txn)?;
    let inode = Inode {
        parent,
        name: name.to_owned(),
        created_ms: now_ms,
        mtime_ns: ns(now_ms),
        trashed: false,
        file: None,
    };
    link(txn, id, &inode)?;
    txn.count(|t| t.directories += 1)?;
    Ok(id)
}

/// Makes the directories of `path` that are missing, all of `path` but its last `keep` segments.
///
/// # Errors
/// `InvalidArgument` if there are more than [`CREATED_LEVELS_MAX`].
pub fn make_missing(
    txn: &mut Txn<'_>,
    path: &DfsPath,
    keep: usize,
    now_ms: u64,
) -> Result<InodeId, MetaError> {
    let (mut at, depth) = match find(txn, path)? {
        Lookup::Here(node) if keep == 0 => return Ok(node.id),
        Lookup::Here(node) => return Ok(node.parent),
        Lookup::Free { parent } => (parent, path.segments().count() - 1),
        Lookup::NoParent { deepest, depth } => (deepest, depth),
    };
    let count = path.segments().count().saturating_sub(keep);
    if count.saturating_sub(depth) > CREATED_LEVELS_MAX {
        return Err(MetaError::refused_with_hint(
            StatusCode::InvalidArgument,
            format!("{path} needs more than {CREATED_LEVELS_MAX} new directories at once"),
            "make the upper directories first, with mkdir",
        ));
    }
    if depth < count {
        touch(txn, at, now_ms)?;
    }
    for name in path.segments().take(count).skip(depth) {
        at = make_directory(txn, at, name, now_ms)?;
    }
    Ok(at)
}

/// Puts an inode into the directory it names, where the name is free.
///
/// # Errors
/// Of the store.
pub fn link(txn: &mut Txn<'_>, id: InodeId, inode: &Inode) -> Result<(), MetaError> {
    txn.put(keys::entry(inode.parent, &inode.name), &Entry { inode: id, kind: inode.kind() })?;
    txn.put(keys::inode(id), inode)
}

/// Notes that the contents of a directory changed.
///
/// # Errors
/// Of the store.
pub fn touch(txn: &mut Txn<'_>, directory: InodeId, now_ms: u64) -> Result<(), MetaError> {
    let mut inode: Inode = txn.require(&keys::inode(directory))?;
    if inode.mtime_ns < ns(now_ms) {
        inode.mtime_ns = ns(now_ms);
        txn.put(keys::inode(directory), &inode)?;
    }
    Ok(())
}

/// Whether a directory holds nothing.
///
/// # Errors
/// Of the store.
pub fn is_empty(view: &impl View, directory: InodeId) -> Result<bool, MetaError> {
    Ok(!view.any(&KeyRange::prefix(&keys::entries(directory)))?)
}
