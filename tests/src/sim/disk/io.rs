//! The file system that a process sees.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dfs_actors::env::Clock as _;
use dfs_node::store::disk_io::{DirLock, DiskDir, DiskFile, DiskIo, DiskJob, LockOutcome, WriteMode};
use dfs_node::store::watermarks::Space;
use rustix::io::Errno;

use super::file::SimFile;
use super::medium::{CAPACITY, Dir, Fault, Node, errno, split};
use super::mount::SimDisk;
use crate::sim::host::now_us;

impl SimDisk {
    fn open_file(&self, path: &Path, inode: u64) -> SimFile {
        SimFile { disk: self.clone(), inode, path: path.to_owned() }
    }

    /// The file `path` for a database, showing what is durable. If it is not there, it is made under another name: what
    /// `node/src/metadata/opening.rs` does with real files, which has to be done here as it is done there.
    pub(in crate::sim) fn database(&self, path: &Path) -> io::Result<SimFile> {
        let found = self.state().file_at(path);
        let file = match found {
            Ok(inode) => self.open_file(path, inode),
            Err(_) => {
                let path = unfinished(path);
                self.unlink(&path)?;
                let inode = self.change("create", &path, |state| state.create(&path))?;
                self.open_file(&path, inode)
            }
        };
        file.sync()?;
        if let Some(file) = self.state().files.get_mut(&file.inode) {
            file.lost.clear();
            file.now = file.durable.clone();
        }
        Ok(file)
    }

    /// Gives a new database its name.
    pub(in crate::sim) fn name_database(&self, path: &Path) -> io::Result<()> {
        let is_new = self.state().look_up(path).is_err();
        if is_new { self.rename(&unfinished(path), path) } else { Ok(()) }
    }
}

fn unfinished(path: &Path) -> PathBuf {
    path.with_extension("unfinished")
}

impl DiskIo for SimDisk {
    fn create(&self, path: &Path, _: WriteMode) -> io::Result<Box<dyn DiskFile>> {
        if self.state().look_up(path).is_ok() {
            return Err(errno(Errno::EXIST));
        }
        let inode = self.change("create", path, |state| state.create(path))?;
        Ok(Box::new(self.open_file(path, inode)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.alive()?;
        let inode = self.state().file_at(path)?;
        Ok(Box::new(self.open_file(path, inode)))
    }

    fn update(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let found = self.state().file_at(path);
        match found {
            Ok(inode) => Ok(Box::new(self.open_file(path, inode))),
            Err(_) => self.create(path, WriteMode::Buffered),
        }
    }

    fn exchange(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change("exchange", to, |state| {
            let (a, b, unit) = (state.look_up(from)?, state.look_up(to)?, state.unit());
            state.set(unit, from, Some(b))?;
            state.set(unit, to, Some(a))
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change("rename", to, |state| {
            let (node, unit) = (state.look_up(from)?, state.unit());
            state.dir(split(to)?.0)?;
            state.set(unit, from, None)?;
            state.set(unit, to, Some(node))
        })
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        if self.state().look_up(path).is_err() {
            return self.alive();
        }
        self.change("unlink", path, |state| {
            let (inode, unit) = (state.file_at(path)?, state.unit());
            let len = state.files.get(&inode).map_or(0, |file| file.now.len() as u64);
            state.used = state.used.saturating_sub(len);
            state.set(unit, path, None)
        })
    }

    fn create_dir(&self, path: &Path) -> io::Result<bool> {
        if self.state().look_up(path).is_ok() {
            return self.alive().map(|()| false);
        }
        self.change("mkdir", path, |state| {
            let unit = state.unit();
            state.set(unit, path, Some(Node::Dir))?;
            state.dirs.insert(path.to_owned(), Dir::default());
            Ok(true)
        })
    }

    fn open_dir(&self, path: &Path) -> io::Result<Box<dyn DiskDir>> {
        self.alive()?;
        self.state().dir(path)?;
        Ok(Box::new(SimDir { disk: self.clone(), path: path.to_owned() }))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.alive()?;
        Ok(self.state().dir(path)?.now.keys().cloned().collect())
    }

    fn space(&self, _: &Path) -> io::Result<Space> {
        self.alive()?;
        let state = self.state();
        Ok(Space { capacity: CAPACITY, available: state.capacity.saturating_sub(state.used) })
    }

    fn device(&self, _: &Path) -> io::Result<u64> {
        Ok(u64::from(self.birth.host.0))
    }

    fn lock(&self, path: &Path) -> io::Result<LockOutcome> {
        self.alive()?;
        if self.state().look_up(path).is_err() {
            self.change("create", path, |state| state.create(path))?;
        }
        match self.state().locks.insert(path.to_owned()) {
            true => Ok(LockOutcome::Held(Box::new(Lock { disk: self.clone(), path: path.to_owned() }))),
            false => Ok(LockOutcome::Taken(None)),
        }
    }

    fn run(&self, job: DiskJob) {
        self.work(job);
    }

    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.birth.clock.wall_ms())
    }

    fn uptime(&self) -> Duration {
        Duration::from_micros(now_us())
    }
}

struct Lock {
    disk: SimDisk,
    path: PathBuf,
}

impl DirLock for Lock {}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.disk.alive().is_ok() {
            self.disk.state().locks.remove(&self.path);
        }
    }
}

struct SimDir {
    disk: SimDisk,
    path: PathBuf,
}

impl DiskDir for SimDir {
    fn sync(&self) -> io::Result<()> {
        self.disk.change("sync names in", &self.path, |state| match state.strikes(Fault::Sync) {
            true => Err(errno(Errno::IO)),
            false => state.sync_dir(&self.path),
        })
    }
}
