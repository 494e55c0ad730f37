//! Walking the tree page by page: list and du.
//!
//! A walk goes depth first, a directory before what it holds, names in byte order: that is the order of the paths'
//! segment lists. The cursor is the last path seen, and a page goes on with the first path after it, whether or not
//! that path still exists: so an entry that is there throughout is never left out, whatever else changes (C4). The one
//! exception has no path at all: an entry too long or too deep to be named; `fsck` tells of the files among them.

use dfs_wire::id::InodeId;
use dfs_wire::limits::LIST_PAGE_MAX;
use dfs_wire::message::metadata::{DiskUsage, DiskUsageStep, EntryKind, FileStat, List, Listed};
use dfs_wire::path::DfsPath;

use super::PAGE_BYTES_MAX;
use crate::coordinator::metadata::model::records::{Entry, FileBody, Inode};
use crate::coordinator::metadata::model::tree;
use crate::coordinator::metadata::table::error::{MetaError, invalid};
use crate::coordinator::metadata::table::format::decode;
use crate::coordinator::metadata::table::keys;
use crate::coordinator::metadata::table::store::KeyRange;
use crate::coordinator::metadata::table::view::View;

/// Entries that one step of du looks at.
const USAGE_STEP_MAX: usize = 2000;
/// Bytes of an entry's attributes in an answer, beside its path; generous.
const STAT_BYTES: usize = 96;
/// Entries read at once.
const SCAN_STEP: usize = 64;

/// One directory on the way down.
struct Level {
    directory: InodeId,
    path: DfsPath,
    /// The name up to which this level is done.
    after: Option<String>,
}

struct Walk<'a, V> {
    view: &'a V,
    recursive: bool,
    levels: Vec<Level>,
}

impl<'a, V: View> Walk<'a, V> {
    /// A walk below the directory `root` that goes on after `cursor`, a path below it.
    fn new(
        view: &'a V,
        root: (InodeId, &DfsPath),
        recursive: bool,
        cursor: Option<&DfsPath>,
    ) -> Result<Self, MetaError> {
        let mut levels = vec![Level { directory: root.0, path: root.1.clone(), after: None }];
        let depth = root.1.segments().count();
        for name in cursor.iter().flat_map(|c| c.segments().skip(depth)) {
            let Some(level) = levels.last_mut() else { break };
            level.after = Some(name.to_owned());
            match view.load::<Entry>(&keys::entry(level.directory, name))? {
                Some(entry) if recursive && entry.kind == EntryKind::Directory => {
                    let Ok(path) = level.path.join(name) else { break };
                    levels.push(Level { directory: entry.inode, path, after: None });
                }
                _ => break,
            }
        }
        Ok(Self { view, recursive, levels })
    }

    /// Hands entries to `visit`, in order, until it says stop or there are no more. Whether it ended is returned.
    fn run(
        &mut self,
        mut visit: impl FnMut(DfsPath, InodeId, &Inode) -> Result<bool, MetaError>,
    ) -> Result<bool, MetaError> {
        while let Some(level) = self.levels.last_mut() {
            let prefix = keys::entries(level.directory);
            let mut range = KeyRange::prefix(&prefix);
            if let Some(after) = &level.after {
                range = range.after(&keys::entry(level.directory, after));
            }
            let found = self.view.scan(&range, SCAN_STEP)?;
            let mut below = None;
            for (key, value) in &found {
                let (_, name) =
                    keys::parse_entry(key).ok_or_else(|| MetaError::damaged(key, "not an entry"))?;
                let entry: Entry = decode(key, value)?;
                let inode: Inode = self.view.require(&keys::inode(entry.inode))?;
                level.after = Some(name.to_owned());
                // Too long or too deep for a path: nobody can name it, and the rest can still be listed.
                let Ok(path) = level.path.join(name) else { continue };
                if !visit(path.clone(), entry.inode, &inode)? {
                    return Ok(false);
                }
                if self.recursive && entry.kind == EntryKind::Directory {
                    below = Some(Level { directory: entry.inode, path, after: None });
                    break;
                }
            }
            match below {
                Some(next) => self.levels.push(next),
                None if found.is_empty() => {
                    self.levels.pop();
                }
                None => {}
            }
        }
        Ok(true)
    }
}

/// How far a walk over files came.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FilesWalked {
    /// All of them were seen.
    pub(super) all: bool,
    /// The last path that was passed, of a file or a directory: it goes on behind it.
    pub(super) last: Option<DfsPath>,
}

/// Hands the files below `path`, or the one file that it is, to `visit`, in the order of a listing and from the first after
/// `after` on, until it says stop: that file is not passed. Bounded: directories without files are passed over, but count.
///
/// # Errors
/// As [`list`]; those of `visit`.
pub(super) fn walk_files(
    view: &impl View,
    path: &DfsPath,
    after: Option<&DfsPath>,
    mut visit: impl FnMut(&DfsPath, InodeId, &FileBody) -> Result<bool, MetaError>,
) -> Result<FilesWalked, MetaError> {
    let node = tree::node(view, path)?;
    check_cursor(path, after)?;
    let mut last = after.cloned();
    if let Some(body) = node.inode.file {
        let all = after.is_some() || visit(path, node.id, &body)?;
        return Ok(FilesWalked { all, last: Some(path.clone()) });
    }
    let mut seen = 0;
    let all = Walk::new(view, (node.id, path), true, after)?.run(|path, inode, record| {
        if seen >= USAGE_STEP_MAX {
            return Ok(false);
        }
        seen += 1;
        if let Some(body) = &record.file
            && !visit(&path, inode, body)?
        {
            return Ok(false);
        }
        last = Some(path);
        Ok(true)
    })?;
    Ok(FilesWalked { all, last })
}

fn check_cursor(path: &DfsPath, cursor: Option<&DfsPath>) -> Result<(), MetaError> {
    match cursor {
        Some(after) if !after.starts_with(path) => {
            Err(invalid(format!("the cursor {after} does not lie below {path}")))
        }
        _ => Ok(()),
    }
}

/// A page of what a directory holds; of a file, itself.
///
/// # Errors
/// `NotFound`, `NotADirectory`, `InvalidArgument` for a cursor of another directory.
pub fn list(view: &impl View, request: &List) -> Result<Listed, MetaError> {
    let path = &request.path;
    let node = tree::node(view, path)?;
    check_cursor(path, request.after.as_ref())?;
    if node.inode.kind() == EntryKind::File {
        let entries = match request.after {
            Some(_) => Vec::new(),
            None => vec![tree::stat(path.clone(), node.id, &node.inode)],
        };
        return Ok(Listed { entries, next: None });
    }
    let limit = match request.limit {
        0 => LIST_PAGE_MAX,
        limit => limit.min(LIST_PAGE_MAX),
    } as usize;
    let mut entries: Vec<FileStat> = Vec::new();
    let mut bytes = 0;
    let mut walk = Walk::new(view, (node.id, path), request.recursive, request.after.as_ref())?;
    let ended = walk.run(|path, id, inode| {
        bytes += path.as_str().len() + STAT_BYTES;
        // The first always fits; without it a page would make no progress.
        if entries.len() >= limit || (bytes > PAGE_BYTES_MAX && !entries.is_empty()) {
            return Ok(false);
        }
        entries.push(tree::stat(path, id, inode));
        Ok(true)
    })?;
    let next = if ended { None } else { entries.last().map(|e| e.path.clone()) };
    Ok(Listed { entries, next })
}

/// A bounded step of counting what a tree holds; its root counts in the first step.
///
/// # Errors
/// As [`list`].
pub fn disk_usage(view: &impl View, request: &DiskUsage) -> Result<DiskUsageStep, MetaError> {
    let path = &request.path;
    let node = tree::node(view, path)?;
    check_cursor(path, request.after.as_ref())?;
    let mut step = DiskUsageStep { files: 0, directories: 0, bytes: 0, raw_bytes: 0, next: None };
    if request.after.is_none() {
        add_usage(&mut step, &node.inode);
    }
    if node.inode.kind() == EntryKind::File {
        return Ok(step);
    }
    let (mut seen, mut last) = (0, None);
    let mut walk = Walk::new(view, (node.id, path), true, request.after.as_ref())?;
    let ended = walk.run(|path, _, inode| {
        if seen >= USAGE_STEP_MAX {
            return Ok(false);
        }
        add_usage(&mut step, inode);
        seen += 1;
        last = Some(path);
        Ok(true)
    })?;
    step.next = if ended { None } else { last };
    Ok(step)
}

fn add_usage(step: &mut DiskUsageStep, inode: &Inode) {
    match inode.file {
        Some(body) => {
            step.files += 1;
            step.bytes = step.bytes.saturating_add(body.size);
            let raw = body.size.saturating_mul(u64::from(body.replication));
            step.raw_bytes = step.raw_bytes.saturating_add(raw);
        }
        None => step.directories += 1,
    }
}
