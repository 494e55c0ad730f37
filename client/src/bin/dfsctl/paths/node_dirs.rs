//! Directories of this machine that are a cluster's own: what they hold is the cluster, not something to store in it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::dev_cluster::file::StateFile;

/// Whose directory it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DirOwner {
    /// A development cluster's, or one that leads to it.
    DevCluster,
    /// The data directory of a node that runs.
    RunningNode,
    /// The keys of a node.
    Keys,
}

impl DirOwner {
    /// What it is, in words.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::DevCluster => "the directory of a development cluster",
            Self::RunningNode => "the data directory of a node that runs",
            Self::Keys => "the keys of a node",
        }
    }
}

/// Knows such directories.
#[derive(Debug)]
pub(crate) struct NodeDirs {
    /// Inodes of the files that are locked on this machine.
    locked: BTreeSet<u64>,
}

impl NodeDirs {
    /// As things are now.
    pub(crate) fn now() -> Self {
        // Asking the system disturbs nobody; taking the lock to see whether it is free might keep a node from starting.
        Self { locked: locked(&fs::read_to_string("/proc/locks").unwrap_or_default()) }
    }

    /// What the entry is, if it is such a directory.
    pub(crate) fn kind(&self, entry: &walkdir::DirEntry) -> Option<DirOwner> {
        if !entry.file_type().is_dir() {
            return None;
        }
        let dir = entry.path();
        match StateFile::read(dir) {
            Ok(Some(_)) => Some(DirOwner::DevCluster),
            _ if is_keys(dir) => Some(DirOwner::Keys),
            _ => self.is_running(dir).then_some(DirOwner::RunningNode),
        }
    }

    /// A datanode locks `lock`, a coordinator its database.
    fn is_running(&self, dir: &Path) -> bool {
        let held =
            |file: &str| fs::metadata(dir.join(file)).is_ok_and(|meta| self.locked.contains(&meta.ino()));
        (held("lock") && dir.join("identity").is_file())
            || held("metadata/metadata.redb")
            || held("metadata.redb")
    }
}

/// Whether a directory has the name and the contents of one that a node keeps its keys in.
fn is_keys(dir: &Path) -> bool {
    let named = dir.file_name().is_some_and(|name| name.as_encoded_bytes().ends_with(b".keys"));
    named && ["kek", "identity.pem", "joining.pem"].iter().any(|file| dir.join(file).is_file())
}

/// The inodes in the text of `/proc/locks`: `1: FLOCK  ADVISORY  WRITE 708 08:02:1234 0 EOF`.
fn locked(text: &str) -> BTreeSet<u64> {
    let inode = |line: &str| {
        let place = line.split_ascii_whitespace().find(|word| word.matches(':').count() == 2)?;
        place.rsplit(':').next()?.parse().ok()
    };
    text.lines().filter_map(inode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(dir: &Path) -> Option<DirOwner> {
        let entry = walkdir::WalkDir::new(dir).into_iter().next().unwrap().unwrap();
        NodeDirs::now().kind(&entry)
    }

    #[test]
    fn the_inodes_of_locks_are_read() {
        let text =
            "1: FLOCK  ADVISORY  WRITE 708 08:02:1234 0 EOF\n1: -> POSIX  ADVISORY  READ 9 00:2f:77 0 5\nx\n";
        assert_eq!(locked(text), BTreeSet::from([77, 1234]));
    }

    #[test]
    fn the_data_of_a_node_is_known_while_the_node_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("identity"), "").unwrap();
        let lock = fs::File::create(dir.path().join("lock")).unwrap();
        assert_eq!(kind_of(dir.path()), None);
        lock.lock().unwrap();
        assert_eq!(kind_of(dir.path()), Some(DirOwner::RunningNode));
        fs::write(dir.path().join("cluster.json"), "{}").unwrap();
        assert_eq!(kind_of(dir.path()), Some(DirOwner::RunningNode), "that is somebody else's file");
        let state = "{\"format\":2,\"dir\":\"/x\",\"set\":[],\"nodes\":[]}";
        fs::write(dir.path().join("cluster.json"), state).unwrap();
        assert_eq!(kind_of(dir.path()), Some(DirOwner::DevCluster));
        let keys = dir.path().join("x.keys");
        fs::create_dir(&keys).unwrap();
        assert_eq!(kind_of(&keys), None);
        fs::write(keys.join("kek"), "").unwrap();
        assert_eq!(kind_of(&keys), Some(DirOwner::Keys));
    }
}
