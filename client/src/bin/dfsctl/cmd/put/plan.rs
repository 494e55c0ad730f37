//! What `dfsctl put` is to store: the files of its sources, those below its directories, and where each goes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use dfs_wire::path::DfsPath;

use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};
use crate::output::text::{count, plain};
use crate::paths::destination::Destination;
use crate::paths::node_dirs::{DirOwner, NodeDirs};
use crate::transfer::{NotMoved, Targets};

/// One file to store.
#[derive(Debug)]
pub(super) struct PutItem {
    /// `None` = standard input.
    pub(super) source: Option<PathBuf>,
    /// Where it goes.
    pub(super) target: DfsPath,
    /// Its bytes, as far as they are known.
    pub(super) size: u64,
    /// When it was modified.
    pub(super) modified: Option<SystemTime>,
}

impl PutItem {
    /// Its source, for people.
    pub(super) fn shown(&self) -> String {
        self.source.as_ref().map_or_else(|| "-".to_owned(), |path| plain(&path.to_string_lossy()))
    }
}

/// All there is to do.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) items: Vec<PutItem>,
    /// Directories that hold nothing: the others come with their files.
    pub(super) directories: BTreeSet<DfsPath>,
    /// Links and special files that are left out.
    pub(super) skipped: Vec<String>,
    /// Directories that are a cluster's own and are left out.
    pub(super) cluster_dirs: Vec<(String, DirOwner)>,
    /// What cannot be stored, and why.
    pub(super) failed: Vec<NotMoved>,
}

/// Which files of a source are stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Selection {
    /// Those below a directory, too.
    pub(super) recursive: bool,
    /// Symbolic links below a directory are followed.
    pub(super) dereference: bool,
}

/// Adds a source, with all it holds if it is a directory.
///
/// # Errors
/// If it cannot be read or stored; what lies below it and cannot be is among [`Plan::failed`].
pub(super) fn add_source(
    how: Selection,
    source: &Path,
    destination: &Destination,
    plan: &mut Plan,
    targets: &mut Targets,
) -> Outcome {
    if source.as_os_str() == "-" {
        let Destination::Exactly(target) = destination else {
            return Err(Failure::usage("standard input has no name: give the whole path, not a directory"));
        };
        plan.items.push(PutItem { source: None, target: target.clone(), size: 0, modified: None });
        return Ok(());
    }
    let meta = fs::metadata(source).map_err(|e| Failure::local("read", source, &e))?;
    if meta.is_dir() {
        if !how.recursive {
            let message = format!("local '{}' is a directory", plain(&source.to_string_lossy()));
            return Err(Failure::new(Exit::Precondition, "IsADirectory", message)
                .hint("-r stores it with all it holds"));
        }
        return add_tree(how, source, destination, plan, targets);
    }
    let name = source.file_name().map(|name| name.to_str().ok_or_else(|| not_utf8(source))).transpose()?;
    let target = destination.of(name.unwrap_or_default())?;
    targets.take(&source.to_string_lossy(), target.as_str())?;
    plan.items.push(PutItem {
        source: Some(source.to_owned()),
        target,
        size: if meta.is_file() { meta.len() } else { 0 },
        modified: meta.modified().ok(),
    });
    Ok(())
}

fn not_utf8(path: &Path) -> Failure {
    let message = format!("the name of local '{}' is not UTF-8", plain(&path.to_string_lossy()));
    Failure::new(Exit::Usage, "InvalidPath", message).hint("rename it, or store it alone under another name")
}

/// Adds everything below `top`. What cannot be stored is remembered; the rest goes on.
fn add_tree(
    how: Selection,
    top: &Path,
    destination: &Destination,
    plan: &mut Plan,
    targets: &mut Targets,
) -> Outcome {
    // `.` and `..` have no name of their own: what they hold goes straight into the destination.
    let base = match (top.file_name(), destination) {
        (None, Destination::Into(directory)) => directory.clone(),
        (None, Destination::Exactly(path)) => path.clone(),
        (Some(name), _) => destination.of(name.to_str().ok_or_else(|| not_utf8(top))?)?,
    };
    plan.directories.insert(base.clone());
    let node_dirs = NodeDirs::now();
    let walk = walkdir::WalkDir::new(top).min_depth(1).follow_links(how.dereference).follow_root_links(true);
    let mut walk = walk.into_iter();
    while let Some(entry) = walk.next() {
        let (path, added) = match entry {
            Ok(entry) => match node_dirs.kind(&entry) {
                Some(kind) => {
                    plan.cluster_dirs.push((entry.path().to_string_lossy().into_owned(), kind));
                    walk.skip_current_dir();
                    continue;
                }
                None => (entry.path().to_owned(), add_entry(&entry, top, &base, plan, targets)),
            },
            Err(e) => (e.path().unwrap_or(top).to_owned(), Err(unreadable(&e, top))),
        };
        if let Err(failure) = added {
            plan.failed.push(NotMoved::from_source(path.to_string_lossy(), failure));
        }
    }
    Ok(())
}

fn unreadable(error: &walkdir::Error, top: &Path) -> Failure {
    let path = error.path().unwrap_or(top);
    match error.io_error() {
        Some(io) => Failure::local("read", path, io),
        None => {
            let message =
                format!("local '{}' links back to a directory above it", plain(&path.to_string_lossy()));
            Failure::new(Exit::Other, "LocalFile", message)
        }
    }
}

fn add_entry(
    entry: &walkdir::DirEntry,
    top: &Path,
    base: &DfsPath,
    plan: &mut Plan,
    targets: &mut Targets,
) -> Outcome {
    let mut target = base.clone();
    for part in entry.path().strip_prefix(top).unwrap_or(entry.path()) {
        let name = part.to_str().ok_or_else(|| not_utf8(entry.path()))?;
        target = Destination::Into(target).of(name)?;
    }
    let kind = entry.file_type();
    if !kind.is_dir() && !kind.is_file() {
        plan.skipped.push(entry.path().to_string_lossy().into_owned());
        return Ok(());
    }
    if let Some(parent) = target.parent() {
        plan.directories.remove(&parent);
    }
    if kind.is_dir() {
        plan.directories.insert(target);
        return Ok(());
    }
    targets.take(&entry.path().to_string_lossy(), target.as_str())?;
    let meta = entry.metadata().map_err(|e| unreadable(&e, entry.path()))?;
    plan.items.push(PutItem {
        source: Some(entry.path().to_owned()),
        target,
        size: meta.len(),
        modified: meta.modified().ok(),
    });
    Ok(())
}

/// The first few, or all.
fn some_of(names: &[&str], all: bool) -> String {
    const NAMED: usize = 3;
    let shown = if all { names.len() } else { names.len().min(NAMED) };
    let text: Vec<_> = names.iter().take(shown).map(|name| plain(name)).collect();
    match names.len() - shown {
        0 => text.join(", "),
        more => format!("{} and {more} more (-v names all)", text.join(", ")),
    }
}

impl Plan {
    /// Says what is not stored, though nothing failed: the first few, or all of it.
    pub(super) fn left_out(&self, all: bool) -> Vec<String> {
        let mut said = Vec::new();
        let skipped: Vec<_> = self.skipped.iter().map(String::as_str).collect();
        if !skipped.is_empty() {
            let what = count(skipped.len() as u64, "link or special file");
            said.push(format!("left out {what}: {}; -L follows symbolic links", some_of(&skipped, all)));
        }
        for kind in [DirOwner::DevCluster, DirOwner::RunningNode, DirOwner::Keys] {
            let of_kind = self.cluster_dirs.iter().filter(|(_, other)| *other == kind);
            let names: Vec<_> = of_kind.map(|(name, _)| name.as_str()).collect();
            if !names.is_empty() {
                said.push(format!("left out {}: {}", kind.meaning(), some_of(&names, all)));
            }
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> DfsPath {
        DfsPath::parse(text).unwrap()
    }

    fn planned(how: &str, source: &Path, destination: &Destination) -> Plan {
        let how = Selection { recursive: how.contains('r'), dereference: how.contains('L') };
        let mut plan = Plan::default();
        if let Err(failure) = add_source(how, source, destination, &mut plan, &mut Targets::default()) {
            plan.failed.push(failure.into());
        }
        plan
    }

    #[test]
    fn what_is_left_out_is_named() {
        let some: Vec<_> = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        assert_eq!(Plan::default().left_out(true), [""; 0]);
        let mut plan = Plan { skipped: some, ..Plan::default() };
        let said = plan.left_out(false).concat();
        assert!(said.starts_with("left out 4 links or special files: a, b, c and 1 more"), "{said}");
        assert!(plan.left_out(true).concat().contains(": a, b, c, d;"));
        plan = Plan { cluster_dirs: vec![("./.dfs-dev".into(), DirOwner::DevCluster)], ..Plan::default() };
        assert_eq!(plan.left_out(false), ["left out the directory of a development cluster: ./.dfs-dev"]);
    }

    #[test]
    fn a_tree_is_stored_as_cp_would_copy_it() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("src");
        fs::create_dir_all(top.join("a/empty")).unwrap();
        fs::write(top.join("a/one"), "1").unwrap();
        fs::write(top.join("two"), "22").unwrap();
        std::os::unix::fs::symlink("two", top.join("link")).unwrap();

        let plan = planned("r", &top, &Destination::Into(path("/t")));
        let mut targets: Vec<_> =
            plan.items.iter().map(|item| (item.target.to_string(), item.size)).collect();
        targets.sort();
        assert_eq!(targets, [("/t/src/a/one".to_owned(), 1), ("/t/src/two".to_owned(), 2)]);
        assert_eq!(plan.directories, BTreeSet::from([path("/t/src/a/empty")]));
        assert_eq!((plan.skipped.len(), plan.failed.len()), (1, 0));

        assert_eq!(planned("r", &top.join("."), &Destination::Exactly(path("/t"))).items.len(), 2);
        assert_eq!(planned("rL", &top, &Destination::Into(path("/t"))).items.len(), 3);
        let refused = planned("", &top, &Destination::Into(path("/t")));
        assert_eq!(
            refused.failed.first().map(|not_moved| not_moved.failure.0.exit),
            Some(Exit::Precondition)
        );
    }

    #[test]
    fn names_that_cannot_be_stored_do_not_stop_the_others() {
        use std::os::unix::ffi::OsStrExt;
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("good"), "").unwrap();
        fs::write(dir.path().join("new\nline"), "").unwrap();
        fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap();
        let plan = planned("r", dir.path(), &Destination::Exactly(path("/t")));
        assert_eq!((plan.items.len(), plan.failed.len()), (1, 2));
    }

    #[test]
    fn standard_input_needs_a_whole_path() {
        assert_eq!(planned("", Path::new("-"), &Destination::Exactly(path("/x"))).items.len(), 1);
        assert_eq!(planned("", Path::new("-"), &Destination::Into(path("/x"))).failed.len(), 1);
    }
}
