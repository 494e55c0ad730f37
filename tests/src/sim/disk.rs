//! A disk that keeps what POSIX promises and no more: what was not synced may be lost when its machine loses power, whole,
//! in part, or not at all, as the seed says.
//!
//! ```text
//!  process --write--> now --sync--> durable          contents, in blocks of 512 bytes
//!  process --rename-> now --sync--> durable          names, directory by directory
//!
//!  power off: of each file any blocks (512 bytes or 4 KiB at a time) that are not durable yet, and of each directory any
//!             names; the two halves of a rename stand or fall together, and where the new name is durable the old may stay
//! ```
//! A medium outlives the processes that use it. It is handed to each as a [`SimDisk`], which refuses everything once the
//! process is doomed, and which can doom it: before or after any of its changes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use dfs_actors::env::Clock as _;
use dfs_node::store::disk_io::{DirLock, DiskDir, DiskFile, DiskIo, LockOutcome, WriteMode};
use dfs_node::store::watermarks::Space;
use redb::StorageBackend;
use rustix::io::Errno;

use super::host::{Birth, now_us};
use super::trace::{Trace, What};
use crate::Rng;

const BLOCK: usize = 512;
/// Size of a disk.
const CAPACITY: u64 = 1 << 30;

/// What a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    File(u64),
    Dir,
}

/// A change of a directory that is not durable yet.
#[derive(Clone, Debug)]
struct Change {
    /// The halves of a rename have the same number.
    unit: u64,
    name: String,
    to: Option<Node>,
}

#[derive(Clone, Default)]
struct Dir {
    now: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
    pending: Vec<Change>,
}

#[derive(Clone, Default)]
struct File {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Blocks of which the two differ.
    dirty: BTreeSet<usize>,
    /// Blocks that a failed sync should have written: no later one will.
    lost: BTreeSet<usize>,
}

/// What a disk can be made to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The next sync fails, and what it should have written is lost.
    SyncFails,
    /// The next write fails.
    WriteFails,
    /// The next read fails.
    ReadFails,
}

/// Where a process is to die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DieAt {
    /// The change, counted from 0 since the medium was made.
    pub(super) step: u64,
    /// After it, not before.
    pub(super) after: bool,
}

#[derive(Clone, Default)]
struct State {
    files: BTreeMap<u64, File>,
    dirs: BTreeMap<PathBuf, Dir>,
    locks: BTreeSet<PathBuf>,
    next: u64,
    used: u64,
    capacity: u64,
    faults: Vec<Fault>,
    /// A fault has struck since the last time it was healed.
    struck: bool,
    steps: u64,
    die_at: Option<DieAt>,
}

/// A medium. Clones are the same one.
#[derive(Clone)]
pub(super) struct Medium {
    state: Arc<Mutex<State>>,
    trace: Trace,
}

impl Medium {
    /// An empty one, with its root directory.
    pub(super) fn new(trace: Trace) -> Self {
        let mut state = State { capacity: CAPACITY, ..State::default() };
        state.dirs.insert(PathBuf::from("/"), Dir::default());
        Self { state: Arc::new(Mutex::new(state)), trace }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk as a process sees it.
    pub(super) fn mount(&self, birth: &Birth) -> SimDisk {
        self.lock().locks.clear();
        SimDisk { medium: self.clone(), birth: birth.clone() }
    }

    /// Changes and syncs so far.
    pub(super) fn steps(&self) -> u64 {
        self.lock().steps
    }

    /// Lets whoever uses it die at a step; `None` = live on.
    pub(super) fn die_at(&self, at: Option<DieAt>) {
        self.lock().die_at = at;
    }

    /// Makes it fail.
    pub(super) fn fail(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    /// Sound again, and of its old size; whether it has failed anybody since the last time.
    pub(super) fn heal(&self) -> bool {
        let mut state = self.lock();
        state.faults.clear();
        state.capacity = CAPACITY;
        std::mem::take(&mut state.struck)
    }

    /// Lets it have no more room than it needs now.
    pub(super) fn fill(&self) {
        let mut state = self.lock();
        state.capacity = state.used;
    }

    /// Loses power: what was not durable is there or not.
    pub(super) fn lose_power(&self, rng: &mut Rng) {
        self.lock().lose_power(rng);
    }

    /// Everything on it now, as a copy of the disk would have it.
    pub(super) fn copy(&self) -> Self {
        let mut state = self.lock().clone();
        (state.die_at, state.faults) = (None, Vec::new());
        Self { state: Arc::new(Mutex::new(state)), trace: self.trace.clone() }
    }

    /// Becomes what `other` is.
    pub(super) fn restore(&self, other: &Self) {
        let state = other.lock().clone();
        *self.lock() = state;
    }

    /// Flips a bit of a file below `dir`, at rest; says which.
    pub(super) fn rot(&self, dir: &Path, rng: &mut Rng) -> Option<String> {
        let mut state = self.lock();
        let files = state.below(dir);
        if files.is_empty() {
            return None;
        }
        let (path, inode) = rng.pick(&files).clone();
        let file = state.files.get_mut(&inode).filter(|file| !file.now.is_empty())?;
        let at = usize::try_from(rng.below(file.now.len() as u64)).ok()?;
        file.now[at] ^= 1 << rng.below(8);
        if let Some(byte) = file.durable.get_mut(at) {
            *byte = file.now[at];
        }
        Some(format!("{}:{at}", path.display()))
    }

    /// The names in a directory.
    pub(super) fn names(&self, dir: &Path) -> Vec<String> {
        self.lock().dirs.get(dir).map(|dir| dir.now.keys().cloned().collect()).unwrap_or_default()
    }
}

fn errno(errno: Errno) -> io::Error {
    errno.into()
}

/// A path as the directory it is in and its name there.
fn split(path: &Path) -> io::Result<(&Path, String)> {
    let parent = path.parent().ok_or_else(|| errno(Errno::INVAL))?;
    let name = path.file_name().ok_or_else(|| errno(Errno::INVAL))?;
    Ok((parent, name.to_string_lossy().into_owned()))
}

impl State {
    fn dir(&mut self, path: &Path) -> io::Result<&mut Dir> {
        self.dirs.get_mut(path).ok_or_else(|| errno(Errno::NOENT))
    }

    fn look_up(&self, path: &Path) -> io::Result<Node> {
        let (parent, name) = split(path)?;
        let found = self.dirs.get(parent).and_then(|dir| dir.now.get(&name));
        found.copied().ok_or_else(|| errno(Errno::NOENT))
    }

    fn file_at(&self, path: &Path) -> io::Result<u64> {
        match self.look_up(path)? {
            Node::File(inode) => Ok(inode),
            Node::Dir => Err(errno(Errno::ISDIR)),
        }
    }

    /// All files below a directory.
    fn below(&self, top: &Path) -> Vec<(PathBuf, u64)> {
        let inside = self.dirs.iter().filter(|(path, _)| path.starts_with(top));
        let files = inside.flat_map(|(path, dir)| {
            dir.now.iter().filter_map(move |(name, node)| match node {
                Node::File(inode) => Some((path.join(name), *inode)),
                Node::Dir => None,
            })
        });
        files.collect()
    }

    fn unit(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Changes a name, not durably.
    fn set(&mut self, unit: u64, path: &Path, to: Option<Node>) -> io::Result<()> {
        let (parent, name) = split(path)?;
        let dir = self.dir(parent)?;
        match to {
            Some(node) => dir.now.insert(name.clone(), node),
            None => dir.now.remove(&name),
        };
        dir.pending.push(Change { unit, name, to });
        Ok(())
    }

    fn create(&mut self, path: &Path) -> io::Result<u64> {
        let (inode, unit) = (self.unit(), self.unit());
        self.set(unit, path, Some(Node::File(inode)))?;
        self.files.insert(inode, File::default());
        Ok(inode)
    }

    /// Makes the names in a directory durable; of a rename out of it, the new name as well, as a journal would.
    fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let pending = std::mem::take(&mut self.dir(path)?.pending);
        let left: BTreeSet<u64> =
            pending.iter().filter(|change| change.to.is_none()).map(|c| c.unit).collect();
        for dir in self.dirs.values_mut() {
            let (now, later) = std::mem::take(&mut dir.pending)
                .into_iter()
                .partition(|change: &Change| left.contains(&change.unit));
            dir.pending = later;
            now.into_iter().for_each(|change| dir.settle(change));
        }
        let dir = self.dir(path)?;
        pending.into_iter().for_each(|change| dir.settle(change));
        Ok(())
    }

    fn lose_power(&mut self, rng: &mut Rng) {
        // Of all crashes, the two extremes are worth more than one of the many in between.
        let keep = match rng.below(4) {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        };
        let coin = |rng: &mut Rng| keep.unwrap_or_else(|| rng.below(2) == 0);
        let mut fates: BTreeMap<u64, bool> = BTreeMap::new();
        for dir in self.dirs.values_mut() {
            for change in std::mem::take(&mut dir.pending) {
                if *fates.entry(change.unit).or_insert_with(|| coin(rng)) {
                    dir.settle(change);
                }
            }
            dir.now = dir.durable.clone();
        }
        let grain = if rng.below(2) == 0 { 1 } else { 8 };
        for file in self.files.values_mut() {
            file.tear(grain, || coin(rng));
        }
        self.forget_lost_dirs();
        self.locks.clear();
        self.collect();
    }

    /// Directories without a name.
    fn forget_lost_dirs(&mut self) {
        let named = |dirs: &BTreeMap<PathBuf, Dir>, path: &Path| match split(path) {
            Ok((parent, name)) => dirs.get(parent).is_some_and(|dir| dir.now.contains_key(&name)),
            Err(_) => true,
        };
        while let Some(lost) = self.dirs.keys().find(|path| !named(&self.dirs, path)).cloned() {
            self.dirs.remove(&lost);
        }
    }

    /// Files without a name that nobody has open: there is no process.
    fn collect(&mut self) {
        let named: BTreeSet<u64> = self.below(Path::new("/")).into_iter().map(|(_, inode)| inode).collect();
        self.files.retain(|inode, _| named.contains(inode));
        self.used = self.files.values().map(|file| file.now.len() as u64).sum();
    }
}

impl Dir {
    fn settle(&mut self, change: Change) {
        match change.to {
            Some(node) => self.durable.insert(change.name, node),
            None => self.durable.remove(&change.name),
        };
    }
}

impl File {
    fn resize(&mut self, len: usize) {
        let (from, to) = (self.now.len().min(len), self.now.len().max(len));
        self.now.resize(len, 0);
        self.touch(from, to);
    }

    fn touch(&mut self, from: usize, to: usize) {
        self.dirty.extend(from / BLOCK..to.div_ceil(BLOCK));
    }

    fn write(&mut self, at: usize, data: &[u8]) {
        if self.now.len() < at + data.len() {
            self.now.resize(at + data.len(), 0);
        }
        self.now[at..at + data.len()].copy_from_slice(data);
        self.touch(at, at + data.len());
    }

    /// Makes a block durable as it is now.
    fn settle(&mut self, block: usize) {
        let (from, to) = (block * BLOCK, ((block + 1) * BLOCK).min(self.now.len()));
        if from < to {
            if self.durable.len() < to {
                self.durable.resize(to, 0);
            }
            self.durable[from..to].copy_from_slice(&self.now[from..to]);
        }
    }

    fn sync(&mut self) {
        let dirty = std::mem::take(&mut self.dirty);
        self.durable.resize(self.now.len(), 0);
        dirty.into_iter().for_each(|block| self.settle(block));
    }

    /// Each group of blocks is the old or the new one, and so is the length.
    fn tear(&mut self, grain: usize, mut coin: impl FnMut() -> bool) {
        let mut blocks = std::mem::take(&mut self.dirty);
        blocks.append(&mut self.lost);
        if blocks.is_empty() && self.now.len() == self.durable.len() {
            return;
        }
        let len = if coin() { self.now.len() } else { self.durable.len() };
        let mut fate = (usize::MAX, false);
        for block in blocks {
            if fate.0 != block / grain {
                fate = (block / grain, coin());
            }
            if fate.1 {
                self.settle(block);
            }
        }
        self.durable.resize(len, 0);
        self.now = self.durable.clone();
    }
}

/// A medium in the hands of a process. Clones are the same one.
#[derive(Clone)]
pub(super) struct SimDisk {
    medium: Medium,
    birth: Birth,
}

impl SimDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.medium.lock()
    }

    /// Makes a change, unless the process dies before it.
    fn change<T>(
        &self,
        what: &'static str,
        path: &Path,
        change: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        self.alive()?;
        let mut state = self.state();
        let step = state.steps;
        state.steps += 1;
        let dies = state.die_at.filter(|at| at.step == step);
        if dies.is_some_and(|at| !at.after) {
            self.birth.doom.seal();
            return Err(errno(Errno::IO));
        }
        self.medium.trace.note(now_us(), self.birth.host, What::Disk(what, path.display().to_string()));
        let changed = change(&mut state);
        if dies.is_some() {
            self.birth.doom.seal();
        }
        changed
    }

    fn alive(&self) -> io::Result<()> {
        match self.birth.doom.is_sealed() {
            true => Err(errno(Errno::IO)),
            false => Ok(()),
        }
    }

    fn open_file(&self, path: &Path, inode: u64) -> SimFile {
        SimFile { disk: self.clone(), inode, path: path.to_owned() }
    }

    /// The file `path` for a database: made if it is not there, and showing what is durable.
    pub(super) fn database(&self, path: &Path) -> io::Result<SimFile> {
        let found = self.state().file_at(path);
        let file = match found {
            Ok(inode) => self.open_file(path, inode),
            Err(_) => self.open_file(path, self.change("create", path, |state| state.create(path))?),
        };
        file.sync()?;
        if let Some(file) = self.state().files.get_mut(&file.inode) {
            file.lost.clear();
            file.now = file.durable.clone();
        }
        Ok(file)
    }
}

impl State {
    /// Whether a fault of this kind is due.
    fn strikes(&mut self, fault: Fault) -> bool {
        let at = self.faults.iter().position(|due| *due == fault);
        let strikes = at.map(|at| self.faults.remove(at)).is_some();
        self.struck |= strikes;
        strikes
    }

    fn grow(&mut self, inode: u64, len: usize) -> io::Result<()> {
        let file = self.files.get(&inode).ok_or_else(|| errno(Errno::BADF))?;
        let more = len.saturating_sub(file.now.len().next_multiple_of(4096)) as u64;
        if more > 0 && self.used + more > self.capacity {
            return Err(errno(Errno::NOSPC));
        }
        self.used += len.saturating_sub(file.now.len()) as u64;
        Ok(())
    }
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
        self.disk.change("sync names in", &self.path, |state| match state.strikes(Fault::SyncFails) {
            true => Err(errno(Errno::IO)),
            false => state.sync_dir(&self.path),
        })
    }
}

/// An open file.
pub(super) struct SimFile {
    disk: SimDisk,
    inode: u64,
    path: PathBuf,
}

impl std::fmt::Debug for SimFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.path.display(), self.disk.birth.host)
    }
}

impl SimFile {
    fn file<T>(&self, look: impl FnOnce(&mut File) -> T) -> io::Result<T> {
        self.disk.alive()?;
        let mut state = self.disk.state();
        state.files.get_mut(&self.inode).map(look).ok_or_else(|| errno(Errno::BADF))
    }

    fn change<T>(
        &self,
        what: &'static str,
        change: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        self.disk.change(what, &self.path, change)
    }

    fn put(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        self.change("write", |state| {
            if state.strikes(Fault::WriteFails) {
                return Err(errno(Errno::IO));
            }
            let (mut at, len) = (offset as usize, parts.iter().map(|part| part.len()).sum::<usize>());
            state.grow(self.inode, at + len)?;
            let file = state.files.get_mut(&self.inode).ok_or_else(|| errno(Errno::BADF))?;
            for part in parts {
                file.write(at, part);
                at += part.len();
            }
            Ok(())
        })
    }

    fn resize(&self, len: u64) -> io::Result<()> {
        self.change("set length of", |state| {
            state.grow(self.inode, len as usize)?;
            let file = state.files.get_mut(&self.inode).ok_or_else(|| errno(Errno::BADF))?;
            file.resize(len as usize);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.change("sync", |state| {
            let fails = state.strikes(Fault::SyncFails);
            let file = state.files.get_mut(&self.inode).ok_or_else(|| errno(Errno::BADF))?;
            if fails {
                let mut dirty = std::mem::take(&mut file.dirty);
                file.lost.append(&mut dirty);
                return Err(errno(Errno::IO));
            }
            file.sync();
            Ok(())
        })
    }

    fn get(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        if self.disk.state().strikes(Fault::ReadFails) {
            return Err(errno(Errno::IO));
        }
        self.file(|file| {
            let from = offset as usize;
            let bytes = file.now.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            out.copy_from_slice(bytes);
            Ok(())
        })?
    }
}

impl DiskFile for SimFile {
    fn write_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let parts: Vec<&[u8]> = parts.iter().map(|part| &part[..]).collect();
        self.put(&parts, offset)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.get(buf, offset)
    }

    fn read_fresh(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.get(buf, offset)
    }

    fn map(&self, _: u64, _: usize) -> io::Result<Option<Bytes>> {
        Ok(None)
    }

    fn file_len(&self) -> io::Result<u64> {
        self.file(|file| file.now.len() as u64)
    }

    fn allocate(&self, len: u64) -> io::Result<bool> {
        self.resize(len).map(|()| true)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.resize(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }
}

impl StorageBackend for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.file_len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.get(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.resize(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.put(&[data], offset)
    }
}
