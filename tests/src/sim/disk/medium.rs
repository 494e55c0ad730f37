//! A medium: names and contents, now and durable, and what it was told to do wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rustix::io::Errno;
use tokio::sync::Notify;

use super::content::File;
use crate::Rng;
use crate::sim::trace::Trace;

/// Size of a disk.
const CAPACITY: u64 = 1 << 30;

/// Most jobs of a disk take so long at most,
const SOON_US: u64 = 1_500;
/// and one of so many
const LATE_ONE_OF: u64 = 100;
/// takes longer.
const LATE_US: u64 = 60_000;

/// What a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
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
pub(super) struct Dir {
    pub(super) now: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
    pending: Vec<Change>,
}

/// What a disk can be made to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Fault {
    /// The next sync fails, and what it should have written is lost.
    Sync,
    /// The next write fails.
    Write,
    /// The next read fails.
    Read,
    /// After so many others, something fails that is neither: a file is opened, made, named, removed or listed, or asks for room.
    File(u64),
}

#[derive(Clone, Default)]
pub(super) struct State {
    pub(super) files: BTreeMap<u64, File>,
    pub(super) dirs: BTreeMap<PathBuf, Dir>,
    pub(super) locks: BTreeSet<PathBuf>,
    pub(super) next: u64,
    pub(super) used: u64,
    /// Bytes it has when it is sound.
    pub(super) size: u64,
    /// Bytes it has now.
    pub(super) capacity: u64,
    pub(super) faults: Vec<Fault>,
    /// A fault has struck since the last time it was healed.
    pub(super) struck: bool,
    /// Jobs take so many milliseconds longer.
    pub(super) slow_ms: u64,
    pub(super) hangs: bool,
    /// Reads give less than was asked for.
    pub(super) reads_short: bool,
}

/// A medium. Clones are the same one.
#[derive(Clone)]
pub(in crate::sim) struct Medium {
    state: Arc<Mutex<State>>,
    pub(super) trace: Trace,
    rng: Arc<Mutex<Rng>>,
    /// It does not hang any more.
    pub(super) answers: Arc<Notify>,
}

impl Medium {
    /// An empty one, with its root directory.
    pub(in crate::sim) fn new(trace: Trace, rng: Rng) -> Self {
        let mut state = State { size: CAPACITY, capacity: CAPACITY, ..State::default() };
        state.dirs.insert(PathBuf::from("/"), Dir::default());
        Self {
            state: Arc::new(Mutex::new(state)),
            trace,
            rng: Arc::new(Mutex::new(rng)),
            answers: Arc::default(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What keeps it in memory, without keeping it there.
    pub(in crate::sim) fn watch(&self) -> Weak<dyn std::any::Any> {
        let weak: Weak<Mutex<State>> = Arc::downgrade(&self.state);
        weak
    }

    /// Makes it fail.
    pub(in crate::sim) fn fail(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    /// Sound again, and of its old size.
    pub(in crate::sim) fn heal(&self) {
        let mut state = self.lock();
        state.faults.clear();
        state.capacity = state.size;
        (state.slow_ms, state.hangs, state.reads_short) = (0, false, false);
        self.answers.notify_waiters();
    }

    /// Whether it has failed anybody since it was asked last.
    pub(in crate::sim) fn has_failed(&self) -> bool {
        std::mem::take(&mut self.lock().struck)
    }

    /// Whether it does not do all it should, or is about to.
    pub(in crate::sim) fn is_failing(&self) -> bool {
        let state = self.lock();
        state.hangs || state.slow_ms > 0 || !state.faults.is_empty() || state.struck
    }

    /// Whether it has less room than it had.
    pub(in crate::sim) fn is_full(&self) -> bool {
        let state = self.lock();
        state.capacity < state.size
    }

    /// Gives it another size.
    pub(in crate::sim) fn resize(&self, bytes: u64) {
        let mut state = self.lock();
        (state.size, state.capacity) = (bytes, bytes);
    }

    /// Lets every job take longer.
    pub(in crate::sim) fn slow(&self, by_ms: u64) {
        self.lock().slow_ms = by_ms;
    }

    /// Lets reads give less than was asked for, which is no failure.
    pub(in crate::sim) fn read_short(&self) {
        self.lock().reads_short = true;
    }

    /// Lets no job come to its end.
    pub(in crate::sim) fn hang(&self) {
        let mut state = self.lock();
        (state.hangs, state.struck) = (true, true);
    }

    /// How long the next job waits before it is done.
    pub(super) fn delay(&self) -> Duration {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        let late = rng.below(LATE_ONE_OF) == 0;
        let micros = rng.below(if late { LATE_US } else { SOON_US });
        Duration::from_micros(micros) + Duration::from_millis(self.lock().slow_ms)
    }

    /// Lets it have no more room than it needs now.
    pub(in crate::sim) fn fill(&self) {
        let mut state = self.lock();
        state.capacity = state.used;
    }

    /// Loses power: what was not durable is there or not.
    pub(in crate::sim) fn lose_power(&self, rng: &mut Rng) {
        self.lock().lose_power(rng);
    }

    /// Everything on it now, as a copy of the disk would have it.
    pub(in crate::sim) fn copy(&self) -> Self {
        let mut state = self.lock().clone();
        state.faults = Vec::new();
        Self { state: Arc::new(Mutex::new(state)), ..self.clone() }
    }

    /// Becomes what `other` is.
    pub(in crate::sim) fn restore(&self, other: &Self) {
        let state = other.lock().clone();
        *self.lock() = state;
    }

    /// Flips a bit of a file below `dir`, at rest; says in which, and where.
    pub(in crate::sim) fn rot(&self, dir: &Path, rng: &mut Rng) -> Option<(String, usize)> {
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
        Some((split(&path).ok()?.1, at))
    }

    /// Looks at each file below `top` as it would be after a power cut that takes all it can: durable contents, under names
    /// that are durable all the way from the root.
    pub(in crate::sim) fn each_durable(&self, top: &Path, mut look: impl FnMut(&str, &[u8])) {
        let state = self.lock();
        let mut dirs = vec![PathBuf::from("/")];
        while let Some(path) = dirs.pop() {
            for (name, node) in state.dirs.get(&path).into_iter().flat_map(|dir| &dir.durable) {
                match node {
                    Node::Dir => dirs.push(path.join(name)),
                    Node::File(_) if !path.starts_with(top) => {}
                    Node::File(inode) => {
                        state.files.get(inode).into_iter().for_each(|file| look(name, &file.durable));
                    }
                }
            }
        }
    }

    /// The names in a directory.
    pub(in crate::sim) fn names(&self, dir: &Path) -> Vec<String> {
        self.lock().dirs.get(dir).map(|dir| dir.now.keys().cloned().collect()).unwrap_or_default()
    }
}

pub(super) fn errno(errno: Errno) -> io::Error {
    errno.into()
}

/// A path as the directory it is in and its name there.
pub(super) fn split(path: &Path) -> io::Result<(&Path, String)> {
    let parent = path.parent().ok_or_else(|| errno(Errno::INVAL))?;
    let name = path.file_name().ok_or_else(|| errno(Errno::INVAL))?;
    Ok((parent, name.to_string_lossy().into_owned()))
}

impl State {
    /// A directory that has a name: one that was removed is kept for a power cut to bring it back.
    pub(super) fn dir(&mut self, path: &Path) -> io::Result<&mut Dir> {
        if path.parent().is_some() && self.look_up(path)? != Node::Dir {
            return Err(errno(Errno::NOTDIR));
        }
        self.dirs.get_mut(path).ok_or_else(|| errno(Errno::NOENT))
    }

    pub(super) fn look_up(&self, path: &Path) -> io::Result<Node> {
        let (parent, name) = split(path)?;
        let found = self.dirs.get(parent).and_then(|dir| dir.now.get(&name));
        found.copied().ok_or_else(|| errno(Errno::NOENT))
    }

    pub(super) fn file_at(&self, path: &Path) -> io::Result<u64> {
        match self.look_up(path)? {
            Node::File(inode) => Ok(inode),
            Node::Dir => Err(errno(Errno::ISDIR)),
        }
    }

    /// All files below a directory.
    pub(super) fn below(&self, top: &Path) -> Vec<(PathBuf, u64)> {
        let inside = self.dirs.iter().filter(|(path, _)| path.starts_with(top));
        let files = inside.flat_map(|(path, dir)| {
            dir.now.iter().filter_map(move |(name, node)| match node {
                Node::File(inode) => Some((path.join(name), *inode)),
                Node::Dir => None,
            })
        });
        files.collect()
    }

    pub(super) fn unit(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Changes a name, not durably.
    pub(super) fn set(&mut self, unit: u64, path: &Path, to: Option<Node>) -> io::Result<()> {
        let (parent, name) = split(path)?;
        let dir = self.dir(parent)?;
        match to {
            Some(node) => dir.now.insert(name.clone(), node),
            None => dir.now.remove(&name),
        };
        dir.pending.push(Change { unit, name, to });
        Ok(())
    }

    pub(super) fn create(&mut self, path: &Path) -> io::Result<u64> {
        let (inode, unit) = (self.unit(), self.unit());
        self.set(unit, path, Some(Node::File(inode)))?;
        self.files.insert(inode, File::default());
        Ok(inode)
    }

    /// Makes the names in a directory durable; of a rename out of it, the new name as well, as a journal would.
    pub(super) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let pending = std::mem::take(&mut self.dir(path)?.pending);
        let left: BTreeSet<u64> =
            pending.iter().filter(|change| change.to.is_none()).map(|c| c.unit).collect();
        let others = if left.is_empty() { None } else { Some(self.dirs.values_mut()) };
        for dir in others.into_iter().flatten() {
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

    pub(super) fn lose_power(&mut self, rng: &mut Rng) {
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
    pub(super) fn forget_lost_dirs(&mut self) {
        let named = |dirs: &BTreeMap<PathBuf, Dir>, path: &Path| match split(path) {
            Ok((parent, name)) => dirs.get(parent).is_some_and(|dir| dir.now.contains_key(&name)),
            Err(_) => true,
        };
        while let Some(lost) = self.dirs.keys().find(|path| !named(&self.dirs, path)).cloned() {
            self.dirs.remove(&lost);
        }
    }

    /// Files without a name that nobody has open: there is no process.
    pub(super) fn collect(&mut self) {
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

impl State {
    /// Whether a fault of this kind is due.
    pub(super) fn strikes(&mut self, fault: Fault) -> bool {
        let at = self.faults.iter().position(|due| *due == fault);
        let strikes = at.map(|at| self.faults.remove(at)).is_some();
        self.struck |= strikes;
        strikes
    }

    /// Fails if it is time for something to fail that neither reads, writes nor syncs.
    pub(super) fn refuses(&mut self) -> io::Result<()> {
        for fault in &mut self.faults {
            match fault {
                Fault::File(0) => {
                    self.strikes(Fault::File(0));
                    return Err(errno(Errno::IO));
                }
                Fault::File(others) => {
                    *others -= 1;
                    return Ok(());
                }
                Fault::Sync | Fault::Write | Fault::Read => {}
            }
        }
        Ok(())
    }

    /// Gives back what a file takes up that is about to lose its name, if one has it.
    pub(super) fn release(&mut self, path: &Path) {
        let file = self.file_at(path).ok().and_then(|inode| self.files.get(&inode));
        self.used = self.used.saturating_sub(file.map_or(0, |file| file.now.len() as u64));
    }

    pub(super) fn grow(&mut self, inode: u64, len: usize) -> io::Result<()> {
        let file = self.files.get(&inode).ok_or_else(|| errno(Errno::BADF))?;
        let more = len.saturating_sub(file.now.len().next_multiple_of(4096)) as u64;
        if more > 0 && self.used + more > self.capacity {
            return Err(errno(Errno::NOSPC));
        }
        self.used += len.saturating_sub(file.now.len()) as u64;
        Ok(())
    }
}
