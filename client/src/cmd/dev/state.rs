//! What a development cluster consists of, in `cluster.json`: found again by later commands.
//!
//! The file lies in the cluster's directory. When that is not `./.dfs-dev` (`dev up --data`), a copy lies in
//! `./.dfs-dev`, so that commands started here find the cluster, even while the disk it is on is gone.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::process::Process;
use crate::cmd::exit::Exit;
use crate::cmd::failure::{Failure, Outcome, reason};
use crate::cmd::output::text::plain;

/// Name of the directory of a development cluster.
pub const DIR_DEFAULT: &str = ".dfs-dev";
/// Name of the state file.
const FILE: &str = "cluster.json";
/// Layout of the state file.
const FORMAT: u32 = 1;

/// A development cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterState {
    /// Layout of this file.
    pub format: u32,
    /// The cluster's directory, absolute.
    pub dir: PathBuf,
    /// `section.key=value` settings passed to every node.
    pub set: Vec<String>,
    /// The nodes, the coordinator first.
    pub nodes: Vec<NodeRecord>,
}

/// One node of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// `coordinator`, `datanode-1`, ...
    pub name: String,
    /// `coordinator` or `datanode`.
    pub role: String,
    /// Where it listens.
    pub address: String,
    /// Where its health and metrics are, by HTTP.
    pub admin_address: String,
    /// What it owns.
    pub data_dir: PathBuf,
    /// Its log.
    pub log: PathBuf,
    /// The process that was started last, if any.
    pub process: Option<Process>,
}

/// How a node's process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// It runs.
    Running,
    /// It was stopped with `dev pause`.
    Paused,
    /// There is no such process.
    Stopped,
}

impl NodeRecord {
    /// How its process is now.
    pub fn state(&self) -> RunState {
        self.process.as_ref().map_or(RunState::Stopped, Process::state)
    }

    /// Its process, if there is one now.
    pub fn alive(&self) -> Option<&Process> {
        self.process.as_ref().filter(|process| process.state() != RunState::Stopped)
    }
}

impl ClusterState {
    /// A cluster without nodes.
    pub fn new(dir: PathBuf) -> Self {
        Self { format: FORMAT, dir, set: Vec::new(), nodes: Vec::new() }
    }

    /// The coordinator.
    pub fn coordinator(&self) -> Option<&NodeRecord> {
        self.nodes.iter().find(|node| node.role == "coordinator")
    }

    /// The datanodes.
    pub fn datanodes(&self) -> impl Iterator<Item = &NodeRecord> {
        self.nodes.iter().filter(|node| node.role == "datanode")
    }

    /// The places in [`Self::nodes`] of the nodes with these names, each once.
    ///
    /// # Errors
    /// If there is no such node: the message names those there are.
    pub fn indexes(&self, names: &[String]) -> Outcome<Vec<usize>> {
        let known = || self.nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(", ");
        let mut indexes = Vec::new();
        for name in names {
            let index = self.nodes.iter().position(|node| node.name == *name).ok_or_else(|| {
                let message = format!("this cluster has no node '{}'", plain(name));
                Failure::new(Exit::NotFound, "NoSuchNode", message).hint(format!("its nodes are {}", known()))
            })?;
            if !indexes.contains(&index) {
                indexes.push(index);
            }
        }
        Ok(indexes)
    }

    /// Reads the state in `dir`; `None` if there is none.
    ///
    /// # Errors
    /// If it cannot be read, or is not what dfsctl writes.
    pub fn load(dir: &Path) -> Outcome<Option<Self>> {
        let Some(state) = Self::read(dir)? else { return Ok(None) };
        if absolute(dir) == state.dir {
            return Ok(Some(state));
        }
        // A copy: the original is newer, unless the disk it lies on is gone.
        Ok(Some(Self::read(&state.dir).ok().flatten().unwrap_or(state)))
    }

    fn read(dir: &Path) -> Outcome<Option<Self>> {
        let path = dir.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(e) => return Err(Failure::local("read", &path, &e)),
        };
        let bad = |why: String| {
            Failure::new(
                Exit::Config,
                "BadState",
                format!("'{}' is not a cluster's state: {why}", path.display()),
            )
            .hint("if no node of it runs any more, remove the file and start again with 'dfsctl dev up'")
        };
        let state: Self = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
        match state.format {
            FORMAT => Ok(Some(state)),
            other => Err(bad(format!("its format is {other}, this dfsctl knows {FORMAT}"))),
        }
    }

    /// The state nearest to `here`: of this directory or the first above it that has one.
    ///
    /// A state that belongs to another user is not looked at: he would decide where data goes.
    pub fn nearest(here: &Path) -> Option<(PathBuf, Self)> {
        here.ancestors().map(|dir| dir.join(DIR_DEFAULT)).find_map(|dir| {
            let owner = fs::metadata(dir.join(FILE)).ok()?.uid();
            let trusted = owner == 0 || owner == rustix::process::geteuid().as_raw();
            let state = Self::load(&dir).ok().flatten().filter(|_| trusted)?;
            Some((dir, state))
        })
    }

    /// Writes the state, whole or not at all, and the copy for commands started in `here`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, here: &Path) -> Outcome {
        self.write(&self.dir)?;
        // A directory below the one that leads to the cluster already needs no copy of its own.
        let pointer = match Self::nearest(here) {
            Some((dir, nearest)) if nearest.dir == self.dir => dir,
            _ => here.join(DIR_DEFAULT),
        };
        let own = Self::read(&pointer).ok().flatten().is_some_and(|state| state.dir == absolute(&pointer));
        // Never over the state of another cluster that lives there.
        if own || absolute(&pointer) == self.dir { Ok(()) } else { self.write(&pointer) }
    }

    fn write(&self, dir: &Path) -> Outcome {
        let path = dir.join(FILE);
        let failed = |e: io::Error| Failure::local("write", &path, &e);
        let text = serde_json::to_vec_pretty(self).map_err(|e| failed(e.into()))?;
        fs::create_dir_all(dir).map_err(failed)?;
        let temporary = dir.join(format!("{FILE}.{}.tmp", std::process::id()));
        let write = || -> io::Result<()> {
            let mut file = File::create(&temporary)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            File::open(dir)?.sync_all()
        };
        write().map_err(failed)
    }

    /// Removes the state, and the copy for commands started in `here` if it is of this cluster.
    pub fn remove(&self, here: &Path) -> io::Result<()> {
        let pointer = here.join(DIR_DEFAULT);
        let ours = Self::read(&pointer).ok().flatten().is_some_and(|copy| copy.dir == self.dir);
        if ours && absolute(&pointer) != self.dir {
            fs::remove_file(pointer.join(FILE))?;
            // Only if nothing else is in it.
            fs::remove_dir(&pointer).or_else(ignore_not_empty)?;
        }
        fs::remove_file(self.dir.join(FILE))
    }
}

/// Makes "it is not empty" a success of removing a directory.
pub fn ignore_not_empty(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    }
}

/// The directory's absolute path without links, as far as it exists.
pub fn absolute(dir: &Path) -> PathBuf {
    fs::canonicalize(dir).or_else(|_| std::path::absolute(dir)).unwrap_or_else(|_| dir.to_owned())
}

/// Keeps two commands from changing one cluster at the same time; freed on drop.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the cluster in `dir`.
    ///
    /// # Errors
    /// If another command holds it, or the directory cannot be written.
    pub fn take(dir: &Path) -> Outcome<Self> {
        let path = dir.join("lock");
        let file = File::create(&path).map_err(|e| Failure::local("write", &path, &e))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(fs::TryLockError::WouldBlock) => Err(Failure::new(
                Exit::Unavailable,
                "Busy",
                format!("another 'dfsctl dev' command is at work on {}", dir.display()),
            )
            .hint("wait for it to end")),
            Err(fs::TryLockError::Error(e)) => Err(Failure::new(
                Exit::Other,
                "LocalFile",
                format!("cannot lock {}: {}", path.display(), reason(&e)),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(dir: &Path) -> ClusterState {
        let node = NodeRecord {
            name: "coordinator".into(),
            role: "coordinator".into(),
            address: "127.0.0.1:1".into(),
            admin_address: "127.0.0.1:2".into(),
            data_dir: dir.join("coordinator"),
            log: dir.join("logs/coordinator.log"),
            process: None,
        };
        ClusterState { nodes: vec![node], ..ClusterState::new(absolute(dir)) }
    }

    #[test]
    fn the_state_is_found_from_below_and_from_where_it_was_started() {
        let home = tempfile::tempdir().unwrap();
        let (here, data) = (home.path().join("work"), home.path().join("disk"));
        let below = here.join("a/b");
        fs::create_dir_all(&below).unwrap();
        fs::create_dir_all(&data).unwrap();
        let mut state = sample(&data);
        state.save(&here).unwrap();
        assert_eq!(ClusterState::nearest(&below).unwrap().1, state);
        state.save(&below).unwrap();
        assert!(!below.join(DIR_DEFAULT).exists(), "it is found from there as it is");
        assert!(ClusterState::nearest(home.path()).is_none_or(|(dir, _)| !dir.starts_with(home.path())));

        // The original is newer than the copy, until it is gone.
        state.set.push("log.level=debug".into());
        state.write(&state.dir).unwrap();
        assert_eq!(ClusterState::nearest(&below).unwrap().1, state);
        fs::rename(&data, home.path().join("gone")).unwrap();
        assert_eq!(ClusterState::nearest(&below).unwrap().1.nodes, state.nodes);
        fs::rename(home.path().join("gone"), &data).unwrap();
        state.remove(&here).unwrap();
        assert!(!here.join(DIR_DEFAULT).exists() && ClusterState::load(&data).unwrap().is_none());
    }

    #[test]
    fn a_damaged_or_newer_state_is_refused_with_a_next_step() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "{}", "null", "{\"format\":1}"] {
            fs::write(dir.path().join(FILE), text).unwrap();
            let failure = ClusterState::load(dir.path()).unwrap_err();
            assert_eq!(failure.exit, Exit::Config, "{text}");
            assert!(failure.hint.contains("dev up"));
        }
        let newer = ClusterState { format: 2, ..sample(dir.path()) };
        newer.write(dir.path()).unwrap();
        assert!(ClusterState::load(dir.path()).unwrap_err().message.contains("its format is 2"));
    }

    #[test]
    fn only_one_command_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::take(dir.path()).unwrap();
        assert_eq!(Lock::take(dir.path()).unwrap_err().code, "Busy");
        drop(first);
        assert!(Lock::take(dir.path()).is_ok());
    }

    #[test]
    fn an_unknown_node_is_answered_with_the_known_ones() {
        let dir = tempfile::tempdir().unwrap();
        let state = sample(dir.path());
        let named =
            |names: &[&str]| state.indexes(&names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
        assert_eq!(named(&["coordinator", "coordinator"]).unwrap(), [0]);
        let failure = named(&["coordinator", "dn9"]).unwrap_err();
        assert_eq!((failure.exit, failure.hint.as_str()), (Exit::NotFound, "its nodes are coordinator"));
    }
}
