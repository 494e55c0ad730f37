//! What a development cluster consists of, kept in `cluster.json`: found again by later commands.
//!
//! The file lies in the cluster's directory. When that is not `./.dfs-dev` (`dev up --data`), one that leads to it lies
//! in `./.dfs-dev`, so that commands started here find the cluster, even while the disk it is on is gone.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::file::{FILE, Meaning, StateFile, absolute};
use super::node::DevNode;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome, reason};
use crate::output::text::plain;

/// The setting of a cluster whose connections are not secured.
pub(crate) const INSECURE: &str = "security.mode=off";
/// Name of the directory of a development cluster.
pub(crate) const DIR_DEFAULT: &str = ".dfs-dev";
/// Code of the failure about a directory that is not the cluster's own.
pub(crate) const NOT_ITS_OWN: &str = "NotItsOwn";

/// A development cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClusterState {
    /// The cluster's directory, absolute.
    pub dir: PathBuf,
    /// Where the directory was when its state was written, if that was elsewhere.
    pub moved_from: Option<PathBuf>,
    /// `section.key=value` settings passed to every node.
    pub set: Vec<String>,
    /// The nodes, the coordinator first.
    pub nodes: Vec<DevNode>,
}

impl ClusterState {
    /// A cluster without nodes.
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir, moved_from: None, set: Vec::new(), nodes: Vec::new() }
    }

    /// Whether its connections are secured: always, unless a setting says otherwise.
    pub(crate) fn is_secured(&self) -> bool {
        !self.set.iter().any(|set| set.trim() == INSECURE)
    }

    /// The identity of whoever uses it.
    pub(crate) fn admin_dir(&self) -> PathBuf {
        self.dir.join("admin")
    }

    pub(crate) fn coordinator(&self) -> Option<&DevNode> {
        self.nodes.iter().find(|node| node.role == "coordinator")
    }

    /// Where the coordinator listens; empty if there is none.
    pub(crate) fn endpoint(&self) -> String {
        self.coordinator().map(|node| node.address.clone()).unwrap_or_default()
    }

    pub(crate) fn datanodes(&self) -> impl Iterator<Item = &DevNode> {
        self.nodes.iter().filter(|node| node.role == "datanode")
    }

    /// The places in [`Self::nodes`] of the nodes with these names, each once.
    ///
    /// # Errors
    /// If there is no such node: the message names those there are.
    pub(crate) fn indexes(&self, names: &[String]) -> Outcome<Vec<usize>> {
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

    /// The cluster that lives in `dir`; `None` if none does.
    ///
    /// # Errors
    /// If its state cannot be read, or the directory is a copy of a cluster's or only leads to one: what is done to
    /// a directory must not happen to another.
    pub(crate) fn load(dir: &Path) -> Outcome<Option<Self>> {
        let Some(file) = StateFile::read(dir)? else { return Ok(None) };
        match file.meaning(dir) {
            Meaning::Home => Self::of(file, absolute(dir)).own(),
            Meaning::CopyOf(original) => Err(copied(&absolute(dir), &original)),
            Meaning::Leads { .. } => {
                let (dir, there) = (absolute(dir), file.dir.display().to_string());
                let message =
                    format!("'{}' only leads to the development cluster in '{there}'", dir.display());
                Err(Failure::new(Exit::Precondition, NOT_ITS_OWN, message)
                    .hint(format!("name that one: --data {there}")))
            }
        }
    }

    /// As [`Self::load`], but a file that leads to a cluster is followed. While that cluster's disk is gone, what was
    /// last known of it.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub(crate) fn follow(dir: &Path) -> Outcome<Option<Self>> {
        let Some(file) = StateFile::read(dir)? else { return Ok(None) };
        if !matches!(file.meaning(dir), Meaning::Leads { .. }) {
            return Self::load(dir);
        }
        match Self::load(&file.dir) {
            Err(failure) if failure.code == NOT_ITS_OWN => Err(failure),
            Ok(Some(state)) => Ok(Some(state)),
            _ => {
                let dir = file.dir.clone();
                Ok(Some(Self::of(file, dir)))
            }
        }
    }

    fn of(file: StateFile, dir: PathBuf) -> Self {
        let nodes = file.nodes.into_iter().map(|node| node.placed(|path| dir.join(path))).collect();
        Self { moved_from: (file.dir != dir).then_some(file.dir), dir, set: file.set, nodes }
    }

    /// Itself, unless its processes work in another directory: that one is the cluster then.
    fn own(self) -> Outcome<Option<Self>> {
        let elsewhere = |node: &DevNode| node.alive()?.writes_elsewhere(&node.log);
        match self.nodes.iter().find_map(elsewhere) {
            Some(log) => Err(copied(&self.dir, log.parent().and_then(Path::parent).unwrap_or(&log))),
            None => Ok(Some(self)),
        }
    }

    /// Refuses a cluster whose directory was moved while its nodes ran, and one whose directory is gone: nothing can
    /// be started in either.
    ///
    /// # Errors
    /// What to do about it.
    pub(crate) fn must_be_in_place(&self) -> Outcome {
        let dir = self.dir.display();
        if !self.is_there() {
            let message = format!("the directory of the development cluster, '{dir}', is not there");
            return Err(Failure::new(Exit::NotFound, "NoDevCluster", message)
                .hint("mount the disk it is on; if it was moved, name its new place with --data"));
        }
        let running: Vec<_> = self.nodes.iter().filter(|node| node.alive().is_some()).collect();
        match &self.moved_from {
            Some(from) if !running.is_empty() => {
                let names: Vec<_> = running.iter().map(|node| node.name.as_str()).collect();
                let message = format!(
                    "the development cluster in '{dir}' was moved from '{}' while it ran: {} still work with the old place",
                    from.display(),
                    names.join(", ")
                );
                Err(Failure::new(Exit::Precondition, "MovedWhileRunning", message).hint(format!(
                    "stop them with 'dfsctl dev down --data {dir}'; 'dfsctl dev up --data {dir}' starts them in the new place"
                )))
            }
            _ => Ok(()),
        }
    }

    /// Whether the cluster's directory is there and holds its state.
    pub(crate) fn is_there(&self) -> bool {
        self.dir.join(FILE).exists()
    }

    /// The state nearest to `here`: of this directory or the first above it that has one that can be read.
    ///
    /// A state that belongs to another user is not looked at: he would decide where data goes.
    ///
    /// # Errors
    /// If the nearest is one of a directory that is not the cluster's own: what was meant is not known then.
    pub(crate) fn nearest(here: &Path) -> Outcome<Option<(PathBuf, Self)>> {
        for dir in here.ancestors().map(|dir| dir.join(DIR_DEFAULT)) {
            let Ok(meta) = fs::metadata(dir.join(FILE)) else { continue };
            if meta.uid() != 0 && meta.uid() != rustix::process::geteuid().as_raw() {
                continue;
            }
            match Self::follow(&dir) {
                Ok(Some(state)) => return Ok(Some((dir, state))),
                Err(failure) if failure.code == NOT_ITS_OWN => return Err(failure),
                Ok(None) | Err(_) => {}
            }
        }
        Ok(None)
    }

    /// Writes the state, whole or not at all, and the file that leads commands started in `here` to it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn save(&self, here: &Path) -> Outcome {
        let file = StateFile::new(&self.dir, &self.set, &self.nodes);
        file.write()?;
        // A directory below the one that leads to the cluster already needs no file of its own.
        let leading = match Self::nearest(here) {
            Ok(Some((dir, nearest))) if nearest.dir == self.dir => dir,
            _ => here.join(DIR_DEFAULT),
        };
        let known = StateFile::read(&leading).ok().flatten();
        // Never over the state of another cluster that lives there.
        match known.map(|file| file.meaning(&leading)) {
            None | Some(Meaning::Leads { .. }) if absolute(&leading) != self.dir => {
                file.write_leading(&leading)
            }
            _ => Ok(()),
        }
    }

    /// Removes the state, and the file that leads commands started in `here` to it.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn remove(&self, here: &Path) -> io::Result<()> {
        let leading = here.join(DIR_DEFAULT);
        let file = StateFile::read(&leading).ok().flatten();
        let leads = file.is_some_and(|file| {
            file.dir == self.dir && matches!(file.meaning(&leading), Meaning::Leads { .. })
        });
        if leads {
            fs::remove_file(leading.join(FILE))?;
            // Only if nothing else is in it.
            fs::remove_dir(&leading).or_else(ignore_not_empty)?;
        }
        fs::remove_file(self.dir.join(FILE))
    }
}

/// A failure about a directory that is a copy of the cluster's in `original`.
fn copied(copy: &Path, original: &Path) -> Failure {
    let (copy, original) = (copy.display(), original.display());
    let message = format!("'{copy}' is a copy of the development cluster in '{original}', not that cluster");
    Failure::new(Exit::Precondition, NOT_ITS_OWN, message).hint(format!(
        "for that cluster: --data {original}\nto make the copy a cluster of its own, remove {copy}/{FILE} and start it: dfsctl dev up --data {copy}"
    ))
}

/// Makes "it is not empty" a success of removing a directory.
pub(crate) fn ignore_not_empty(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    }
}

/// Keeps two commands from changing one cluster at the same time; freed on drop.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the cluster in `dir`.
    ///
    /// # Errors
    /// If another command holds it, or the directory cannot be written.
    pub(crate) fn take(dir: &Path) -> Outcome<Self> {
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
    use super::super::node::tests::coordinator;
    use super::*;

    fn sample(dir: &Path) -> ClusterState {
        ClusterState { nodes: vec![coordinator(dir)], ..ClusterState::new(absolute(dir)) }
    }

    #[test]
    fn the_state_is_found_from_below_and_from_where_it_was_started() {
        let home = tempfile::tempdir().unwrap();
        let (here, data) = (home.path().join("desk"), home.path().join("disk"));
        let below = here.join("a/b");
        fs::create_dir_all(&below).unwrap();
        fs::create_dir_all(&data).unwrap();
        let mut state = sample(&data);
        state.save(&here).unwrap();
        assert_eq!(ClusterState::nearest(&below).unwrap().unwrap().1, state);
        state.save(&below).unwrap();
        assert!(!below.join(DIR_DEFAULT).exists(), "it is found from there as it is");
        assert!(
            ClusterState::nearest(home.path()).unwrap().is_none_or(|(dir, _)| !dir.starts_with(home.path()))
        );

        // The original is newer than what leads to it, until it is gone.
        state.set.push("log.level=debug".into());
        StateFile::new(&state.dir, &state.set, &state.nodes).write().unwrap();
        assert_eq!(ClusterState::nearest(&below).unwrap().unwrap().1, state);
        fs::rename(&data, home.path().join("gone")).unwrap();
        assert_eq!(ClusterState::nearest(&below).unwrap().unwrap().1.nodes, state.nodes);
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
        let newer = "{\"format\":3,\"dir\":\"/\",\"set\":[],\"nodes\":[]}";
        fs::write(dir.path().join(FILE), newer).unwrap();
        assert!(ClusterState::load(dir.path()).unwrap_err().message.contains("its format is 3"));
    }

    #[test]
    fn a_directory_that_only_leads_to_a_cluster_is_not_taken_for_it() {
        let home = tempfile::tempdir().unwrap();
        let (here, data) = (home.path().join("desk"), home.path().join("disk"));
        fs::create_dir_all(&data).unwrap();
        sample(&data).save(&here).unwrap();
        let failure = ClusterState::load(&here.join(DIR_DEFAULT)).unwrap_err();
        assert_eq!((failure.exit, failure.code), (Exit::Precondition, NOT_ITS_OWN));
        assert!(failure.message.contains("/desk/.dfs-dev' only leads to the development cluster in '"));
        assert!(failure.hint.ends_with("disk"), "{}", failure.hint);
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
