//! A data directory: locked by one process, formatted once, with an identity that only changes whole.
//!
//! Formatting ends with the identity file. So a directory with an identity had all its directories, durably (what is missing
//! is made again), and one without has never held a chunk: if it does hold some, the identity was lost and the directory is
//! refused.
//!
//! An identity is written into the file `identity.spare`, synced, and changes places with `identity`; then the directory
//! is synced. Both files keep their blocks, so that this works on a disk that is full to the last byte: a node must be able
//! to start and to join there, for how else would deletes reach it? A torn write only ever hurts the spare, because a name
//! that might yet go back to it is synced before it is written.
//!
//! What is known of the identity is read by everybody and waits for nothing; what is done with the files is done by one
//! caller at a time, on a thread that may wait for the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwapOption;
use dfs_wire::id::{Incarnation, NodeId};

use super::disk::{is_want_of_space, lock};
use super::disk_io::{DirLock, DiskDir, DiskIo, LockOutcome, sync_dir};
use super::identity::{self, IDENTITY_BYTES_MAX, IdentityError, NodeIdentity};
use super::layout::Layout;
use crate::private::is_not_a_file;

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process has it.
    #[error("data directory {path} is in use by {}; one process per data directory", holder(.pid))]
    Locked {
        /// The data directory as the configuration names it.
        path: PathBuf,
        /// The other process, if it left its id.
        pid: Option<u32>,
    },
    /// Its identity file cannot be believed.
    #[error(
        "data directory {path}: {source}; restore the file `identity` from a backup or use an empty directory"
    )]
    Identity {
        /// The data directory as the configuration names it.
        path: PathBuf,
        /// What is wrong with it.
        source: IdentityError,
    },
    /// What should be its identity file is no file.
    #[error("data directory {path}: {found} where the file `identity` should be; restore that from a backup")]
    NoFile {
        /// The data directory as the configuration names it.
        path: PathBuf,
        /// What is there.
        found: io::Error,
    },
    /// It holds chunks and no identity.
    #[error("data directory {path} holds chunks but its file `identity` is gone; restore it from a backup")]
    IdentityLost {
        /// The data directory as the configuration names it.
        path: PathBuf,
    },
    /// It holds something that is not ours, and nothing that is.
    #[error("{path} is neither empty nor a data directory: it holds {found:?}; choose an empty directory")]
    Foreign {
        /// The data directory as the configuration names it.
        path: PathBuf,
        /// One of the names found.
        found: String,
    },
    /// The operating system refused.
    #[error("data directory {path}: {operation}: {source}")]
    Io {
        /// The data directory as the configuration names it.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// What it said.
        source: io::Error,
    },
}

/// Why an identity was not stored. The one before is.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The operating system refused a write.
    #[error("writing the identity: {0}")]
    Write(io::Error),
    /// A sync failed: nothing more may be written to this disk.
    #[error("syncing the identity: {0}")]
    Sync(io::Error),
    /// The directory is not this process's any more.
    #[error("the directory has been released")]
    Released,
}

fn holder(pid: &Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// What is known of the files.
struct Files {
    /// There is one of the identity.
    stored: bool,
    /// The names in the directory are as the disk has them.
    names_synced: bool,
}

/// A data directory that this process owns, until it is dropped or released.
pub struct DataDir {
    io: Arc<dyn DiskIo>,
    layout: Layout,
    root: Box<dyn DiskDir>,
    /// As last stored or remembered.
    identity: ArcSwapOption<NodeIdentity>,
    /// Held while the disk is waited for: only [`Self::save`] and [`Self::keep_spare`] may take it.
    files: Mutex<Files>,
    lock: Mutex<Option<Box<dyn DirLock>>>,
}

impl DataDir {
    /// Makes the directory if need be, locks it and reads its identity. Blocks; call it at start.
    ///
    /// # Errors
    /// See [`DataDirError`].
    pub fn open(root: impl Into<PathBuf>, io: Arc<dyn DiskIo>) -> Result<Self, DataDirError> {
        let layout = Layout::new(root);
        let failed = |operation| {
            let path = layout.root().to_owned();
            move |source| DataDirError::Io { path, operation, source }
        };
        make_dir(&*io, layout.root()).map_err(failed("creating it"))?;
        refuse_foreign(&*io, &layout)?;
        let held = match io.lock(&layout.lock()).map_err(failed("locking it"))? {
            LockOutcome::Held(held) => held,
            LockOutcome::Taken(pid) => {
                return Err(DataDirError::Locked { path: layout.root().to_owned(), pid });
            }
        };
        let path = || layout.root().to_owned();
        let text = read_identity(&*io, &layout).map_err(|source| match is_not_a_file(&source) {
            true => DataDirError::NoFile { path: path(), found: source },
            false => failed("reading its identity")(source),
        })?;
        let identity = match text {
            Some(text) => {
                let decoded = identity::decode(&text);
                let decoded = decoded.map_err(|source| DataDirError::Identity { path: path(), source })?;
                make_again(&*io, &layout).map_err(failed("making its directories again"))?;
                Some(decoded)
            }
            None if holds_chunks(&*io, &layout).map_err(failed("listing it"))? => {
                return Err(DataDirError::IdentityLost { path: layout.root().to_owned() });
            }
            None => {
                format(&*io, &layout).map_err(failed("formatting it"))?;
                None
            }
        };
        let root = io.open_dir(layout.root()).map_err(failed("opening it"))?;
        let files = Mutex::new(Files { stored: identity.is_some(), names_synced: false });
        let identity = ArcSwapOption::from_pointee(identity);
        Ok(Self { io, layout, root, identity, files, lock: Mutex::new(Some(held)) })
    }

    /// The identity of a run that begins now: a new one around `fresh` the first time, the known one with the next
    /// incarnation later. It is not stored yet.
    pub fn next_run(&self, fresh: NodeId) -> NodeIdentity {
        match self.identity() {
            Some(known) => NodeIdentity { incarnation: Incarnation(known.incarnation.0 + 1), ..known },
            None => NodeIdentity::new(fresh),
        }
    }

    /// The identity as last stored or remembered; `None` before the first of them. Never waits, for the disk neither.
    pub fn identity(&self) -> Option<NodeIdentity> {
        self.identity.load().as_deref().cloned()
    }

    /// Replaces the identity for this run only.
    pub(crate) fn remember(&self, identity: NodeIdentity) {
        self.identity.store(Some(Arc::new(identity)));
    }

    /// Replaces the identity, durably: after a crash it is the old one or the new one. Blocks.
    ///
    /// # Errors
    /// See [`SaveError`].
    pub fn save(&self, identity: NodeIdentity) -> Result<(), SaveError> {
        let mut files = lock(&self.files);
        let held = lock(&self.lock);
        if held.is_none() {
            return Err(SaveError::Released);
        }
        if !files.names_synced {
            // Of an earlier process, or of a save that failed: what is called `identity` may be the spare on the disk.
            self.root.sync().map_err(SaveError::Sync)?;
            files.names_synced = true;
        }
        self.write_spare(&identity)?;
        files.names_synced = false;
        let (spare, path) = (self.layout.identity_spare(), self.layout.identity());
        let renamed =
            if files.stored { self.io.exchange(&spare, &path) } else { self.io.rename(&spare, &path) };
        renamed.map_err(SaveError::Write)?;
        files.stored = true;
        self.root.sync().map_err(SaveError::Sync)?;
        files.names_synced = true;
        self.remember(identity);
        Ok(())
    }

    /// Sees to it that there is room for the next identity, however full the disk may be then. Blocks.
    ///
    /// # Errors
    /// See [`SaveError`].
    pub(crate) fn keep_spare(&self) -> Result<(), SaveError> {
        let _files = lock(&self.files);
        match (self.io.open(&self.layout.identity_spare()), self.identity()) {
            (Err(e), Some(identity)) if e.kind() == io::ErrorKind::NotFound => self.write_spare(&identity),
            _ => Ok(()),
        }
    }

    fn write_spare(&self, identity: &NodeIdentity) -> Result<(), SaveError> {
        let (text, path) = (identity::encode(identity), self.layout.identity_spare());
        let file = match self.io.update(&path) {
            Err(error) if is_not_a_file(&error) => {
                tracing::warn!(path = %path.display(), %error, "removed: a spare holds nothing");
                self.io.unlink(&path).and_then(|()| self.io.update(&path))
            }
            other => other,
        };
        let file = file.map_err(SaveError::Write)?;
        file.write_at(&mut [IoSlice::new(text.as_bytes())], 0).map_err(SaveError::Write)?;
        file.set_len(text.len() as u64).map_err(SaveError::Write)?;
        // A full disk may say so as late as here. The spare is then worth nothing, and will be written anew.
        let why = |e| if is_want_of_space(&e) { SaveError::Write(e) } else { SaveError::Sync(e) };
        file.sync_data().map_err(why)
    }

    /// Gives the directory up, for another process or another opener. Nothing may be written to it any more.
    pub(crate) fn release(&self) {
        lock(&self.lock).take();
    }

    /// The file system it is on.
    pub fn io(&self) -> &Arc<dyn DiskIo> {
        &self.io
    }

    /// Where everything in it lies.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }
}

/// Makes a directory and what is missing above it, and makes their names durable.
fn make_dir(io: &dyn DiskIo, path: &Path) -> io::Result<()> {
    match io.create_dir(path) {
        Ok(false) => Ok(()),
        Ok(true) => sync_parent(io, path),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).ok_or(e)?;
            make_dir(io, parent)?;
            io.create_dir(path)?;
            sync_parent(io, path)
        }
        Err(e) => Err(e),
    }
}

fn sync_parent(io: &dyn DiskIo, path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(io, parent),
        _ => sync_dir(io, Path::new(".")),
    }
}

/// What a crash in the middle of formatting may leave, and what mkfs does.
const OWN: [&str; 5] = ["tmp", "quarantine", "chunks", "identity.spare", "lost+found"];

/// A directory that was given by mistake must not be filled, nor its `tmp` swept.
fn refuse_foreign(io: &dyn DiskIo, layout: &Layout) -> Result<(), DataDirError> {
    let path = layout.root().to_owned();
    let names = match io.list(&path) {
        Ok(names) => names,
        Err(source) => return Err(DataDirError::Io { path, operation: "listing it", source }),
    };
    if names.iter().any(|name| name == "identity" || name == "lock") {
        return Ok(());
    }
    match names.into_iter().find(|name| !OWN.contains(&name.as_str())) {
        Some(found) => Err(DataDirError::Foreign { path, found }),
        None => Ok(()),
    }
}

fn holds_chunks(io: &dyn DiskIo, layout: &Layout) -> io::Result<bool> {
    for leaf in layout.leaves() {
        match io.list(&leaf) {
            Ok(names) if names.is_empty() => {}
            Ok(_) => return Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Ok(false)
}

/// Every step may be repeated, and is if there was a crash in the middle.
fn format(io: &dyn DiskIo, layout: &Layout) -> io::Result<()> {
    sync_parent(io, layout.root())?;
    io.create_dir(&layout.tmp_dir())?;
    io.create_dir(&layout.quarantine_dir())?;
    io.create_dir(&layout.chunks_dir())?;
    sync_dir(io, layout.root())?;
    let dirs = layout.fan_out();
    for dir in &dirs {
        io.create_dir(dir)?;
    }
    sync_dir(io, &layout.chunks_dir())?;
    for dir in &dirs {
        if dir.parent() == Some(&layout.chunks_dir()) {
            sync_dir(io, dir)?;
        }
    }
    Ok(())
}

/// Directories may be missing that were empty when a copy of the whole was made without them, or that somebody removed: what
/// they held is gone, and the inventory will tell.
fn make_again(io: &dyn DiskIo, layout: &Layout) -> io::Result<()> {
    let all = [layout.tmp_dir(), layout.quarantine_dir(), layout.chunks_dir()].into_iter();
    let mut found = BTreeMap::new();
    let (mut made, mut parents) = (Vec::new(), BTreeSet::new());
    for dir in all.chain(layout.fan_out()) {
        let (Some(parent), Some(name)) = (dir.parent(), dir.file_name()) else { continue };
        if !found.contains_key(parent) {
            found.insert(parent.to_owned(), io.list(parent)?);
        }
        let there = found.get(parent).is_some_and(|names| names.iter().any(|found| name == found.as_str()));
        if !there {
            io.create_dir(&dir)?;
            parents.insert(parent.to_owned());
            made.push(dir);
        }
    }
    parents.iter().try_for_each(|parent| sync_dir(io, parent))?;
    if let Some(first) = made.first() {
        let (path, first, missing) = (layout.root().display(), first.display(), made.len());
        tracing::warn!(%path, missing, %first, "directories were missing and are made again: what they held is gone");
    }
    Ok(())
}

fn read_identity(io: &dyn DiskIo, layout: &Layout) -> io::Result<Option<Vec<u8>>> {
    let file = match io.open(&layout.identity()) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let len = usize::try_from(file.file_len()?).unwrap_or(usize::MAX);
    // One byte more than any identity has is enough to be found damaged.
    let mut text = vec![0; len.min(IDENTITY_BYTES_MAX + 1)];
    file.read_at(&mut text, 0)?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use dfs_wire::id::ClusterId;

    use super::*;
    use crate::store::os_disk::OsDisk;

    fn open(path: &Path) -> Result<DataDir, DataDirError> {
        DataDir::open(path, Arc::new(OsDisk))
    }

    fn begin_run(dir: &DataDir, fresh: NodeId) -> NodeIdentity {
        let next = dir.next_run(fresh);
        dir.save(next.clone()).unwrap();
        next
    }

    #[test]
    fn a_run_gets_the_next_incarnation_and_the_stored_identity() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("a/b/c");
        let dir = open(&path).unwrap();
        assert_eq!(dir.identity(), None);
        let first = begin_run(&dir, NodeId(5));
        assert_eq!((first.node, first.incarnation), (NodeId(5), Incarnation(1)));
        dir.save(NodeIdentity { cluster: Some(ClusterId(9)), node_key: Some([3; 32]), ..first }).unwrap();
        drop(dir);
        let again = begin_run(&open(&path).unwrap(), NodeId(6));
        assert_eq!((again.node, again.incarnation), (NodeId(5), Incarnation(2)));
        assert_eq!((again.cluster, again.node_key), (Some(ClusterId(9)), Some([3; 32])));
    }

    #[test]
    fn a_second_opener_is_refused_and_told_who_has_it() {
        let base = tempfile::tempdir().unwrap();
        let held = open(base.path()).unwrap();
        let error = open(base.path()).err().unwrap();
        assert!(matches!(error, DataDirError::Locked { pid: Some(pid), .. } if pid == std::process::id()));
        assert!(error.to_string().contains(&format!("in use by process {}", std::process::id())));
        drop(held);
        open(base.path()).unwrap();
    }

    #[test]
    fn foreign_damaged_and_headless_directories_are_refused() {
        let base = tempfile::tempdir().unwrap();
        std::fs::write(base.path().join("thesis.doc"), "x").unwrap();
        assert!(matches!(open(base.path()).err(), Some(DataDirError::Foreign { .. })));

        let base = tempfile::tempdir().unwrap();
        let dir = open(base.path()).unwrap();
        begin_run(&dir, NodeId(1));
        drop(dir);
        let identity = base.path().join("identity");
        let good = std::fs::read(&identity).unwrap();
        std::fs::write(&identity, &good[1..]).unwrap();
        assert!(matches!(open(base.path()).err(), Some(DataDirError::Identity { .. })));
        std::fs::write(&identity, [&good[..], &[b'x'; 5000]].concat()).unwrap();
        assert!(matches!(open(base.path()).err(), Some(DataDirError::Identity { .. })));

        std::fs::remove_file(&identity).unwrap();
        open(base.path()).unwrap();
        std::fs::write(base.path().join("chunks/0/0/x"), "x").unwrap();
        assert!(matches!(open(base.path()).err(), Some(DataDirError::IdentityLost { .. })));
    }

    #[test]
    fn directories_that_are_missing_are_made_again() {
        let base = tempfile::tempdir().unwrap();
        begin_run(&open(base.path()).unwrap(), NodeId(1));
        for gone in ["tmp", "quarantine", "chunks/3/4", "chunks/a"] {
            std::fs::remove_dir_all(base.path().join(gone)).unwrap();
        }
        std::fs::write(base.path().join("chunks/0/0/x"), "x").unwrap();
        let dir = open(base.path()).unwrap();
        let layout = dir.layout();
        let all = [layout.tmp_dir(), layout.quarantine_dir()].into_iter().chain(layout.fan_out());
        all.for_each(|dir| assert!(dir.is_dir(), "{}", dir.display()));
        assert!(base.path().join("chunks/0/0/x").exists(), "what is there stays");
        drop(dir);
        std::fs::remove_dir_all(base.path().join("chunks")).unwrap();
        assert_eq!(
            open(base.path()).unwrap().layout().leaves().iter().filter(|leaf| leaf.is_dir()).count(),
            256
        );
    }

    #[test]
    fn something_else_than_a_file_is_named_where_the_identity_should_be_and_removed_where_its_spare_is() {
        let base = tempfile::tempdir().unwrap();
        begin_run(&open(base.path()).unwrap(), NodeId(1));
        let fifo = |name: &str| {
            let path = base.path().join(name);
            let _old = std::fs::remove_file(&path);
            let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
            rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).unwrap();
        };
        fifo("identity.spare");
        begin_run(&open(base.path()).unwrap(), NodeId(1));
        fifo("identity");
        let error = open(base.path()).err().unwrap().to_string();
        assert!(error.contains("a FIFO is there, not a file where the file `identity` should be"), "{error}");
    }
}
