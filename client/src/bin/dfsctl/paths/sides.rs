//! Paths of two kinds on one command line: `dfs:/a/b` is of the cluster, everything else of this machine.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use dfs_wire::message::metadata::{EntryKind, FileStat};
use dfs_wire::path::DfsPath;

use crate::output::failure::{Failure, Outcome};
use crate::output::text::plain;
use crate::paths::remote::{RemoteArg, bad_path, below};
use crate::paths::walk::Walk;
use dfs_client::Client;
use dfs_client::ns_of;

/// A path of one of the two kinds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Side {
    /// Of this machine.
    Local(PathBuf),
    /// Of the cluster.
    Remote(DfsPath),
}

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    File {
        size: u64,
        /// Nanoseconds since 1970 of its last modification.
        modified_ns: i64,
    },
    Directory,
    /// A link or something special of this machine.
    Other,
}

impl From<&FileStat> for Found {
    fn from(stat: &FileStat) -> Self {
        match stat.kind {
            EntryKind::File => Self::File { size: stat.size, modified_ns: stat.mtime_ns },
            EntryKind::Directory => Self::Directory,
        }
    }
}

impl From<&fs::Metadata> for Found {
    fn from(meta: &fs::Metadata) -> Self {
        let nanos = meta.modified().ok().and_then(ns_of);
        match () {
            () if meta.is_dir() => Self::Directory,
            () if meta.is_file() => Self::File { size: meta.len(), modified_ns: nanos.unwrap_or_default() },
            () => Self::Other,
        }
    }
}

impl Side {
    /// Reads an argument.
    ///
    /// # Errors
    /// If it is empty, or not a path of the cluster although it says so.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match RemoteArg::is_marked(text) {
            true => {
                let arg = RemoteArg::parse(text)?;
                arg.path().map(Self::Remote).map_err(|failure| failure.message)
            }
            false if text.is_empty() => Err("it is empty; '.' is the current directory".to_owned()),
            false => Ok(Self::Local(PathBuf::from(text))),
        }
    }

    /// Whether it is of the cluster.
    pub(crate) fn is_remote(&self) -> bool {
        matches!(self, Self::Remote(_))
    }

    /// What is there.
    ///
    /// # Errors
    /// If nothing is, or it cannot be looked at.
    pub(crate) async fn look(&self, client: &Client) -> Outcome<Found> {
        match self {
            Self::Remote(path) => Ok(Found::from(&client.stat(path).await?)),
            Self::Local(path) => {
                let meta = fs::metadata(path).map_err(|e| Failure::local("read", path, &e))?;
                Ok(Found::from(&meta))
            }
        }
    }

    /// The path of something below it.
    ///
    /// # Errors
    /// If the cluster cannot have such a name.
    pub(crate) fn join(&self, name: &str) -> Outcome<Self> {
        match self {
            Self::Local(path) => Ok(Self::Local(path.join(name))),
            Self::Remote(path) => {
                let joined = name.split('/').try_fold(path.clone(), |path, name| path.join(name));
                let joined = joined.map_err(|e| bad_path(&format!("the name '{}': {e}", plain(name))))?;
                Ok(Self::Remote(joined))
            }
        }
    }

    /// All that is below it, by its name from there on. Links are not followed.
    ///
    /// # Errors
    /// If something cannot be listed: what is not seen must not be taken for absent.
    pub(crate) async fn walk(&self, client: &Client) -> Outcome<BTreeMap<String, Found>> {
        match self {
            Self::Local(top) => local_tree(top, |_| false),
            Self::Remote(top) => {
                let mut tree = BTreeMap::new();
                let mut walk = Walk::new(client, top, true);
                while let Some(stat) = walk.next().await? {
                    if stat.path != *top {
                        tree.insert(below(top, &stat.path).to_owned(), Found::from(&stat));
                    }
                }
                Ok(tree)
            }
        }
    }
}

/// All that is below a directory of this machine, without what `skip` says of and what is below it.
///
/// # Errors
/// If something cannot be listed or has a name that the cluster cannot have.
pub(crate) fn local_tree(
    top: &Path,
    skip: impl Fn(&walkdir::DirEntry) -> bool,
) -> Outcome<BTreeMap<String, Found>> {
    let mut tree = BTreeMap::new();
    let walk = walkdir::WalkDir::new(top).min_depth(1).follow_root_links(true);
    for entry in walk.into_iter().filter_entry(|entry| !skip(entry)) {
        let entry = entry.map_err(|e| {
            let path = e.path().unwrap_or(top).to_owned();
            let cause = e.into_io_error().unwrap_or_else(|| std::io::Error::other("a loop of links"));
            Failure::local("read", &path, &cause)
        })?;
        let path = entry.path();
        let name = path.strip_prefix(top).unwrap_or(path).to_str().ok_or_else(|| {
            bad_path(&format!("the name of local '{}' is not UTF-8", plain(&path.to_string_lossy())))
        })?;
        let meta = fs::symlink_metadata(path).map_err(|e| Failure::local("read", path, &e))?;
        tree.insert(name.to_owned(), Found::from(&meta));
    }
    Ok(tree)
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => f.write_str(&path.to_string_lossy()),
            Self::Remote(path) => write!(f, "dfs:{path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_mark_makes_a_path_one_of_the_cluster() {
        let said = |text| Side::parse(text).map(|side| (side.is_remote(), side.to_string()));
        assert_eq!(said("dfs:/a/b/"), Ok((true, "dfs:/a/b".to_owned())));
        assert_eq!(said("/a/b"), Ok((false, "/a/b".to_owned())));
        for wrong in ["", "dfs:", "dfs:a", "dfs:/a/../b"] {
            assert!(Side::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_local_tree_is_seen_whole_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("d/f"), "xyz").unwrap();
        std::os::unix::fs::symlink("d", dir.path().join("l")).unwrap();
        let tree = local_tree(dir.path(), |_| false).unwrap();
        assert_eq!(tree.keys().map(String::as_str).collect::<Vec<_>>(), ["d", "d/f", "l"]);
        assert_eq!(tree.get("l"), Some(&Found::Other));
        assert!(matches!(tree.get("d/f"), Some(Found::File { size: 3, modified_ns: 1.. })));
        assert!(local_tree(&dir.path().join("none"), |_| false).is_err());
    }
}
