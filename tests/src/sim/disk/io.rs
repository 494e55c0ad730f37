//! The file system that a process sees.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dfs_actors::env::Clock as _;
use dfs_node::store::disk_io::{DirLock, DiskDir, DiskFile, DiskIo, DiskJob, LockOutcome, WriteMode};
use dfs_node::store::watermarks::Space;
use rustix::io::Errno;

use super::file::SimFile;
use super::medium::{Dir, Fault, Node, errno, split};
use super::mount::SimDisk;
use crate::sim::host::now_us;

impl SimDisk {
    /// A file that is there.
    pub(super) fn find(&self, path: &Path) -> io::Result<SimFile> {
        self.asked()?;
        let inode = self.state().file_at(path)?;
        Ok(SimFile { disk: self.clone(), inode, path: path.to_owned() })
    }

    fn make(&self, path: &Path) -> io::Result<SimFile> {
        let inode = self.change("create", path, |state| {
            state.refuses()?;
            state.create(path)
        })?;
        Ok(SimFile { disk: self.clone(), inode, path: path.to_owned() })
    }

    pub(super) fn find_or_make(&self, path: &Path) -> io::Result<SimFile> {
        let is_there = self.state().file_at(path).is_ok();
        if is_there { self.find(path) } else { self.make(path) }
    }

    /// Something is asked that changes nothing.
    fn asked(&self) -> io::Result<()> {
        self.alive()?;
        self.state().refuses()
    }
}

impl DiskIo for SimDisk {
    fn create(&self, path: &Path, _: WriteMode) -> io::Result<Box<dyn DiskFile>> {
        if self.state().look_up(path).is_ok() {
            return Err(errno(Errno::EXIST));
        }
        Ok(Box::new(self.make(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(self.find(path)?))
    }

    fn update(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(self.find_or_make(path)?))
    }

    fn exchange(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change("exchange", to, |state| {
            state.refuses()?;
            let (a, b, unit) = (state.look_up(from)?, state.look_up(to)?, state.unit());
            state.set(unit, from, Some(b))?;
            state.set(unit, to, Some(a))
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change("rename", to, |state| {
            state.refuses()?;
            let (node, unit) = (state.look_up(from)?, state.unit());
            state.dir(split(to)?.0)?;
            state.release(to);
            state.set(unit, from, None)?;
            state.set(unit, to, Some(node))
        })
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        if self.state().look_up(path).is_err() {
            return self.alive();
        }
        self.change("unlink", path, |state| {
            state.refuses()?;
            let unit = state.unit();
            state.release(path);
            state.set(unit, path, None)
        })
    }

    fn create_dir(&self, path: &Path) -> io::Result<bool> {
        if self.state().look_up(path).is_ok() {
            return self.alive().map(|()| false);
        }
        self.change("mkdir", path, |state| {
            state.refuses()?;
            let unit = state.unit();
            state.set(unit, path, Some(Node::Dir))?;
            state.dirs.insert(path.to_owned(), Dir::default());
            Ok(true)
        })
    }

    fn remove_dir(&self, path: &Path) -> io::Result<bool> {
        let empty = self.state().dirs.get(path).is_some_and(|dir| dir.now.is_empty());
        if !empty {
            return self.alive().map(|()| false);
        }
        self.change("rmdir", path, |state| {
            state.refuses()?;
            let unit = state.unit();
            state.set(unit, path, None)?;
            Ok(true)
        })
    }

    fn open_dir(&self, path: &Path) -> io::Result<Box<dyn DiskDir>> {
        self.asked()?;
        self.state().dir(path)?;
        Ok(Box::new(SimDir { disk: self.clone(), path: path.to_owned() }))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.asked()?;
        Ok(self.state().dir(path)?.now.keys().cloned().collect())
    }

    fn space(&self, _: &Path) -> io::Result<Space> {
        self.alive()?;
        let state = self.state();
        Ok(Space { capacity: state.size, available: state.capacity.saturating_sub(state.used) })
    }

    fn device(&self, _: &Path) -> io::Result<u64> {
        Ok(u64::from(self.birth.host.0))
    }

    fn lock(&self, path: &Path) -> io::Result<LockOutcome> {
        self.asked()?;
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
