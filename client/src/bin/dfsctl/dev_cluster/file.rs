//! `cluster.json`: the state of a development cluster as it lies on a disk.
//!
//! Places of nodes are relative to the directory that the file lies in, and the file knows which directory it was
//! written into: one that was moved is the cluster still, one that was copied is not. Files of format 1, which had
//! absolute paths and knew nothing of that, are read.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::node::DevNode;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};

/// Name of the state file.
pub(crate) const FILE: &str = "cluster.json";
/// Layout of the state file that is written.
const FORMAT: u32 = 2;
/// Layout with absolute paths.
const FORMAT_ABSOLUTE: u32 = 1;

/// One directory, wherever it is moved to on its file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DirId {
    device: u64,
    inode: u64,
}

impl DirId {
    /// That of `dir`; `None` if there is no such directory.
    pub(crate) fn of(dir: &Path) -> Option<Self> {
        let meta = fs::metadata(dir).ok()?;
        Some(Self { device: meta.dev(), inode: meta.ino() })
    }
}

/// The file that says what the cluster is made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StateFile {
    /// Layout of this file.
    format: u32,
    /// Where the cluster was when this was written, absolute.
    pub dir: PathBuf,
    /// Which directory that was; not known in format 1.
    #[serde(default)]
    id: Option<DirId>,
    /// Which directory a file was written into that only leads to the cluster; null in the cluster's own.
    #[serde(default)]
    leads_from: Option<DirId>,
    /// `section.key=value` settings passed to every node.
    pub set: Vec<String>,
    /// The nodes, the coordinator first; their places relative to `dir`.
    pub nodes: Vec<DevNode>,
}

/// What a state file says of the directory it lies in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The cluster lives there.
    Home,
    /// It leads to the cluster in another directory; `own` unless the file was copied from elsewhere.
    Leads {
        /// Whether the file was made for this directory.
        own: bool,
    },
    /// It is a copy of this directory, where the cluster lives.
    CopyOf(PathBuf),
}

impl StateFile {
    /// The state of the cluster in `dir`, with the places of the nodes below it.
    pub(crate) fn new(dir: &Path, set: &[String], nodes: &[DevNode]) -> Self {
        let relative = |path: &Path| path.strip_prefix(dir).unwrap_or(path).to_owned();
        let nodes = nodes.iter().map(|node| node.clone().placed(relative));
        Self {
            format: FORMAT,
            dir: dir.to_owned(),
            id: DirId::of(dir),
            leads_from: None,
            set: set.to_vec(),
            nodes: nodes.collect(),
        }
    }

    /// Reads the file in `dir`; `None` if there is none.
    ///
    /// # Errors
    /// If it cannot be read, or is not what dfsctl writes.
    pub(crate) fn read(dir: &Path) -> Outcome<Option<Self>> {
        let path = dir.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(e) => return Err(Failure::local("read", &path, &e)),
        };
        let bad = |why: String| {
            let message = format!("'{}' is not a cluster's state: {why}", path.display());
            Failure::new(Exit::Config, "BadState", message)
                .hint("if no node of it runs any more, remove the file and start again with 'dfsctl dev up'")
        };
        let mut file: Self = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
        if !matches!(file.format, FORMAT_ABSOLUTE | FORMAT) {
            return Err(bad(format!(
                "its format is {}, this dfsctl knows {FORMAT_ABSOLUTE} and {FORMAT}",
                file.format
            )));
        }
        for node in &mut file.nodes {
            for place in [&mut node.data_dir, &mut node.log] {
                *place = place.strip_prefix(&file.dir).unwrap_or(place).to_owned();
                // What is purged lies below the cluster's directory, whoever wrote the file.
                if place.as_os_str().is_empty() || !place.components().all(is_name) {
                    return Err(bad(format!("{} is not in the cluster's directory", place.display())));
                }
            }
        }
        Ok(Some(file))
    }

    /// What the file says of `dir`, in which it lies.
    pub(crate) fn meaning(&self, dir: &Path) -> Meaning {
        let (here, id) = (absolute(dir), DirId::of(dir));
        let known = |wanted: Option<DirId>| wanted.is_some() && wanted == id;
        if self.leads_from.is_some() {
            return Meaning::Leads { own: known(self.leads_from) };
        }
        // Devices are numbered anew at each boot: where it was is where it is.
        if known(self.id) || here == self.dir {
            return Meaning::Home;
        }
        // In format 1 both looked alike, but the cluster's own has the nodes' data beside it.
        if self.format == FORMAT_ABSOLUTE && self.nodes.iter().all(|node| !dir.join(&node.data_dir).exists())
        {
            return Meaning::Leads { own: true };
        }
        let original = match self.id {
            Some(_) => DirId::of(&self.dir) == self.id,
            None => self.dir.join(FILE).exists(),
        };
        // Else the only one there is: it came here from another file system.
        if original { Meaning::CopyOf(self.dir.clone()) } else { Meaning::Home }
    }

    /// Writes the file into the cluster's own directory, whole or not at all.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn write(&self) -> Outcome {
        self.write_into(&self.dir)
    }

    /// Writes a file into `dir` that leads to the cluster.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn write_leading(&self, dir: &Path) -> Outcome {
        fs::create_dir_all(dir).map_err(|e| Failure::local("make the directory", dir, &e))?;
        Self { leads_from: DirId::of(dir), ..self.clone() }.write_into(dir)
    }

    fn write_into(&self, dir: &Path) -> Outcome {
        let path = dir.join(FILE);
        let failed = |e: io::Error| Failure::local("write", &path, &e);
        let text = serde_json::to_vec_pretty(self).map_err(|e| failed(e.into()))?;
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
}

/// The directory's absolute path without links, as far as it exists.
pub(crate) fn absolute(dir: &Path) -> PathBuf {
    fs::canonicalize(dir).or_else(|_| std::path::absolute(dir)).unwrap_or_else(|_| dir.to_owned())
}

fn is_name(component: Component<'_>) -> bool {
    matches!(component, Component::Normal(_))
}

#[cfg(test)]
mod tests {
    use super::super::node::tests::coordinator;
    use super::*;

    fn meaning(dir: &Path) -> Meaning {
        StateFile::read(dir).unwrap().unwrap().meaning(dir)
    }

    fn copied(from: &Path, to: &Path) {
        fs::create_dir_all(to.join("coordinator")).unwrap();
        fs::copy(from.join(FILE), to.join(FILE)).unwrap();
    }

    fn made(dir: &Path) -> PathBuf {
        fs::create_dir_all(dir.join("coordinator")).unwrap();
        absolute(dir)
    }

    #[test]
    fn a_directory_that_was_moved_is_the_cluster_and_one_that_was_copied_is_not() {
        let home = tempfile::tempdir().unwrap();
        let dir = made(&home.path().join("a"));
        StateFile::new(&dir, &[], &[coordinator(&dir)]).write().unwrap();
        assert_eq!(meaning(&dir), Meaning::Home);
        let copy = home.path().join("copy");
        copied(&dir, &copy);
        assert_eq!(meaning(&copy), Meaning::CopyOf(dir.clone()));

        let moved = home.path().join("b");
        fs::rename(&dir, &moved).unwrap();
        assert_eq!(meaning(&moved), Meaning::Home);
        // With the original gone from its place, a copy may be one that was moved over to another file system.
        assert_eq!(meaning(&copy), Meaning::Home);
    }

    #[test]
    fn files_of_the_first_format_mean_what_they_meant() {
        let home = tempfile::tempdir().unwrap();
        let dir = made(&home.path().join("a"));
        let mut old = serde_json::to_value(StateFile::new(&dir, &[], &[])).unwrap();
        old["format"] = 1.into();
        old["nodes"] = serde_json::to_value([coordinator(&dir)]).unwrap();
        for field in ["id", "leads_from"] {
            old.as_object_mut().unwrap().remove(field);
        }
        fs::write(dir.join(FILE), old.to_string()).unwrap();
        let read = StateFile::read(&dir).unwrap().unwrap();
        assert_eq!(read.nodes.first().map(|node| node.data_dir.clone()), Some("coordinator".into()));
        assert_eq!(meaning(&dir), Meaning::Home);

        let (copy, leads) = (home.path().join("copy"), home.path().join("leads"));
        copied(&dir, &copy);
        fs::create_dir(&leads).unwrap();
        fs::copy(dir.join(FILE), leads.join(FILE)).unwrap();
        assert_eq!(meaning(&copy), Meaning::CopyOf(dir.clone()));
        assert_eq!(meaning(&leads), Meaning::Leads { own: true });
        let moved = home.path().join("b");
        fs::rename(&dir, &moved).unwrap();
        assert_eq!(meaning(&moved), Meaning::Home);
    }

    #[test]
    fn a_file_that_leads_somewhere_knows_for_which_directory_it_was_made() {
        let home = tempfile::tempdir().unwrap();
        let (dir, here, there) =
            (made(&home.path().join("a")), home.path().join("here"), home.path().join("there"));
        StateFile::new(&dir, &[], &[coordinator(&dir)]).write_leading(&here).unwrap();
        assert_eq!(meaning(&here), Meaning::Leads { own: true });
        copied(&here, &there);
        assert_eq!(meaning(&there), Meaning::Leads { own: false });
    }

    #[test]
    fn a_state_with_places_outside_the_directory_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let dir = absolute(home.path());
        for place in ["/etc", "..", "a/../../b", ""] {
            let outside = DevNode { data_dir: place.into(), ..coordinator(&dir) };
            StateFile::new(&dir, &[], &[outside]).write().unwrap();
            assert_eq!(StateFile::read(&dir).unwrap_err().code, "BadState", "{place}");
        }
    }
}
