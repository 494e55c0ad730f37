//! A file system in memory that does exactly what POSIX promises and no more: what was not synced may be lost in a
//! power cut, whole or in part. It can be told to fail, to fill up, to flip bits, and to lose power at the nth step.
//!
//! It also watches: a write to, or a cut of, a file that has a name under `chunks/` is a panic.

mod file;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::io::Errno;

use self::file::FaultyFile;
use crate::store::disk::lock;
use crate::store::disk_io::{DirLock, DiskDir, DiskFile, DiskIo, LockOutcome, WriteMode};
use crate::store::watermarks::Space;

/// What of the unsynced survives a power cut.
#[derive(Debug, Clone, Copy)]
pub(super) enum Survives {
    /// Nothing.
    Nothing,
    /// Every name, no data: the journal was written, the data were not.
    Names,
    /// Every byte, no name.
    Data,
    /// Names or not, and each page or not, as the seed says.
    Some(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Create,
    Write,
    Allocate,
    SetLen,
    SyncData,
    OpenDir,
    SyncDir,
    Rename,
    Unlink,
    CreateDir,
    RemoveDir,
    Read,
}

#[derive(Default, Clone)]
struct Inode {
    now: Vec<u8>,
    synced: Vec<u8>,
}

#[derive(Default)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<PathBuf, u64>,
    synced_names: BTreeMap<PathBuf, u64>,
    dirs: BTreeSet<PathBuf>,
    synced_dirs: BTreeSet<PathBuf>,
    locks: BTreeSet<PathBuf>,
    faults: Vec<(Op, Errno)>,
    counts: BTreeMap<&'static str, u64>,
    steps: u64,
    power_cut_at: Option<u64>,
    dead: bool,
    capacity: u64,
    no_allocate: bool,
    /// Flipped in what the page cache says, not on the medium: inode and offset.
    cache_flip: Option<(u64, usize)>,
    /// Reads of this inode that begin before this offset fail.
    unreadable: Option<(u64, u64)>,
    clock_ms: u64,
    /// What the clock was set by while time went on.
    clock_set_ms: i64,
    hold_sync_dir: Option<Duration>,
}

/// See the module's documentation. Clones are the same disk.
#[derive(Clone)]
pub(super) struct FaultyDisk {
    state: Arc<Mutex<State>>,
}

impl FaultyDisk {
    pub(super) fn new() -> Self {
        let state = State { capacity: 1 << 40, clock_ms: 1_000_000, ..State::default() };
        let disk = Self { state: Arc::new(Mutex::new(state)) };
        disk.state().dirs.insert(PathBuf::from("/"));
        disk.state().synced_dirs.insert(PathBuf::from("/"));
        disk
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Steps (changes and syncs) so far.
    pub(super) fn steps(&self) -> u64 {
        self.state().steps
    }

    /// Loses power instead of doing step `n` (from 0): it and everything after it fails.
    pub(super) fn cut_power_at(&self, n: u64) {
        self.state().power_cut_at = Some(n);
    }

    /// Comes back from a power cut.
    pub(super) fn restart(&self, survives: Survives) {
        let mut guard = self.state();
        let state = &mut *guard;
        let mut random = Random(match survives {
            Survives::Some(seed) => seed,
            _ => 0,
        });
        if matches!(survives, Survives::Nothing | Survives::Data)
            || (matches!(survives, Survives::Some(_)) && random.coin())
        {
            state.names = state.synced_names.clone();
            state.dirs = state.synced_dirs.clone();
        }
        for inode in state.inodes.values_mut() {
            match survives {
                Survives::Nothing | Survives::Names => inode.now = inode.synced.clone(),
                Survives::Data => {}
                Survives::Some(_) => inode.tear(&mut random),
            }
            inode.synced = inode.now.clone();
        }
        state.synced_names = state.names.clone();
        state.synced_dirs = state.dirs.clone();
        state.locks.clear();
        (state.power_cut_at, state.dead) = (None, false);
    }

    /// Fails the next operation of a kind.
    pub(super) fn fail_next(&self, op: Op, errno: Errno) {
        self.state().faults.push((op, errno));
    }

    pub(super) fn heal(&self) {
        self.state().faults.clear();
    }

    pub(super) fn set_capacity(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    pub(super) fn refuse_allocate(&self) {
        self.state().no_allocate = true;
    }

    pub(super) fn advance_clock(&self, by: Duration) {
        self.state().clock_ms += by.as_millis() as u64;
    }

    /// Sets the clock forward; no time passes.
    pub(super) fn set_clock_forward(&self, by: Duration) {
        self.state().clock_set_ms += by.as_millis() as i64;
    }

    /// The process is killed and the machine goes on: what was not synced is still only in memory.
    pub(super) fn revive(&self) {
        let mut state = self.state();
        state.locks.clear();
        (state.power_cut_at, state.dead) = (None, false);
    }

    /// Makes the next directory fsync slow, so that others queue up behind it.
    pub(super) fn hold_next_sync_dir(&self, by: Duration) {
        self.state().hold_sync_dir = Some(by);
    }

    /// How often something was done: "sync_data", "sync_dir", "open", "list".
    pub(super) fn count(&self, what: &'static str) -> u64 {
        self.state().counts.get(what).copied().unwrap_or(0)
    }

    /// Flips a bit on the medium.
    pub(super) fn flip(&self, path: &Path, offset: usize) {
        let mut state = self.state();
        let inode = state.names[path];
        let inode = state.inodes.get_mut(&inode).unwrap();
        inode.now[offset] ^= 1;
        inode.synced = inode.now.clone();
    }

    /// Takes a file or directory away behind the store's back.
    pub(super) fn vanish(&self, path: &Path) {
        let mut state = self.state();
        state.names.remove(path);
        state.dirs.remove(path);
    }

    /// Flips a bit in the page cache.
    pub(super) fn flip_cached(&self, path: &Path, offset: usize) {
        let mut state = self.state();
        state.cache_flip = Some((state.names[path], offset));
    }

    /// Makes every read of a file fail that begins before an offset; 0 heals it.
    pub(super) fn set_unreadable(&self, path: &Path, before: u64) {
        let mut state = self.state();
        state.unreadable = Some((state.names[path], before));
    }

    /// Puts a file there, durably.
    pub(super) fn plant(&self, path: &Path, data: &[u8]) {
        let mut state = self.state();
        let inode = state.add_inode();
        state.inodes.insert(inode, Inode { now: data.to_vec(), synced: data.to_vec() });
        state.names.insert(path.to_owned(), inode);
        state.synced_names.insert(path.to_owned(), inode);
    }

    /// Bytes of a file.
    pub(super) fn bytes_of(&self, path: &Path) -> Vec<u8> {
        let state = self.state();
        state.inodes[&state.names[path]].now.clone()
    }

    /// Names in a directory.
    pub(super) fn names_in(&self, dir: &Path) -> Vec<String> {
        self.state().list(dir)
    }
}

const TEAR_BYTES: usize = 64;

/// A small generator, so that a seed says all.
struct Random(u64);

impl Random {
    fn coin(&mut self) -> bool {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 63 == 1
    }
}

impl Inode {
    /// Each piece, smaller than any sector, is the old or the new one, and so is the length.
    fn tear(&mut self, random: &mut Random) {
        let len = if random.coin() { self.now.len() } else { self.synced.len() };
        let mut torn = vec![0; len];
        for (n, page) in torn.chunks_mut(TEAR_BYTES).enumerate() {
            let from = if random.coin() { &self.now } else { &self.synced };
            let from = from.get(n * TEAR_BYTES..).unwrap_or_default();
            let n = page.len().min(from.len());
            page[..n].copy_from_slice(&from[..n]);
        }
        self.now = torn;
    }
}

impl State {
    fn add_inode(&mut self) -> u64 {
        let next = self.inodes.keys().last().map_or(1, |last| last + 1);
        self.inodes.insert(next, Inode::default());
        next
    }

    /// Counts a step; fails it if power is out or a fault is due.
    fn step(&mut self, op: Op) -> io::Result<()> {
        if !matches!(op, Op::Read | Op::OpenDir) {
            if self.power_cut_at == Some(self.steps) {
                self.dead = true;
            }
            self.steps += 1;
        }
        if self.dead {
            return Err(Errno::IO.into());
        }
        match self.faults.iter().position(|(kind, _)| *kind == op) {
            Some(at) => Err(self.faults.remove(at).1.into()),
            None => Ok(()),
        }
    }

    fn used(&self) -> u64 {
        let live: BTreeSet<_> = self.names.values().collect();
        live.into_iter().map(|inode| self.inodes[inode].now.len() as u64).sum()
    }

    fn list(&self, dir: &Path) -> Vec<String> {
        let from = (Bound::Excluded(dir), Bound::Unbounded);
        let below = |path: &&PathBuf| path.starts_with(dir);
        let files = self.names.range::<Path, _>(from).map(|(path, _)| path).take_while(below);
        let dirs = self.dirs.range::<Path, _>(from).take_while(below);
        let mut names: Vec<_> = files
            .chain(dirs)
            .chain(&self.locks)
            .filter(|path| path.parent() == Some(dir))
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    fn must_be_unpublished(&self, inode: u64) {
        let published =
            self.names.iter().any(|(p, i)| *i == inode && p.components().any(|c| c.as_os_str() == "chunks"));
        assert!(!published, "a committed chunk file was changed");
    }

    fn grow(&mut self, inode: u64, len: usize) -> io::Result<()> {
        let was = self.inodes[&inode].now.len();
        let more = len.saturating_sub(was);
        // What fits into the last block takes no room.
        if len > was.next_multiple_of(4096) && self.used() + more as u64 > self.capacity {
            return Err(Errno::NOSPC.into());
        }
        let now = &mut self.inodes.get_mut(&inode).unwrap().now;
        now.resize(len.max(now.len()), 0);
        Ok(())
    }
}

fn not_found() -> io::Error {
    Errno::NOENT.into()
}

impl DiskIo for FaultyDisk {
    fn create(&self, path: &Path, mode: WriteMode) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        state.step(Op::Create)?;
        if !state.dirs.contains(path.parent().unwrap()) {
            return Err(not_found());
        }
        if state.names.contains_key(path) {
            return Err(Errno::EXIST.into());
        }
        let inode = state.add_inode();
        state.names.insert(path.to_owned(), inode);
        Ok(Box::new(FaultyFile { disk: self.clone(), inode, mode: Some(mode) }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        state.step(Op::Read)?;
        *state.counts.entry("open").or_default() += 1;
        let inode = *state.names.get(path).ok_or_else(not_found)?;
        Ok(Box::new(FaultyFile { disk: self.clone(), inode, mode: None }))
    }

    fn update(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let found = {
            let mut state = self.state();
            let found = state.names.get(path).copied();
            if found.is_some() {
                state.step(Op::Create)?;
            }
            found
        };
        match found {
            Some(inode) => {
                Ok(Box::new(FaultyFile { disk: self.clone(), inode, mode: Some(WriteMode::Buffered) }))
            }
            None => self.create(path, WriteMode::Buffered),
        }
    }

    fn exchange(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step(Op::Rename)?;
        let (a, b) =
            (*state.names.get(from).ok_or_else(not_found)?, *state.names.get(to).ok_or_else(not_found)?);
        state.names.insert(from.to_owned(), b);
        state.names.insert(to.to_owned(), a);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step(Op::Rename)?;
        if !state.dirs.contains(to.parent().unwrap()) {
            return Err(not_found());
        }
        let inode = state.names.remove(from).ok_or_else(not_found)?;
        state.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step(Op::Unlink)?;
        state.names.remove(path);
        Ok(())
    }

    fn create_dir(&self, path: &Path) -> io::Result<bool> {
        let mut state = self.state();
        state.step(Op::CreateDir)?;
        if !state.dirs.contains(path.parent().unwrap()) {
            return Err(not_found());
        }
        Ok(state.dirs.insert(path.to_owned()))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<bool> {
        let mut state = self.state();
        state.step(Op::RemoveDir)?;
        if !state.dirs.contains(path) || !state.list(path).is_empty() {
            return Ok(false);
        }
        Ok(state.dirs.remove(path))
    }

    fn open_dir(&self, path: &Path) -> io::Result<Box<dyn DiskDir>> {
        let mut state = self.state();
        state.step(Op::OpenDir)?;
        if !state.dirs.contains(path) && path != Path::new(".") {
            return Err(not_found());
        }
        Ok(Box::new(FaultyDir { disk: self.clone(), path: path.to_owned() }))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.step(Op::Read)?;
        *state.counts.entry("list").or_default() += 1;
        if !state.dirs.contains(path) {
            return Err(not_found());
        }
        Ok(state.list(path))
    }

    fn space(&self, _: &Path) -> io::Result<Space> {
        let state = self.state();
        Ok(Space { capacity: state.capacity, available: state.capacity.saturating_sub(state.used()) })
    }

    fn device(&self, _: &Path) -> io::Result<u64> {
        Ok(7)
    }

    fn lock(&self, path: &Path) -> io::Result<LockOutcome> {
        if !self.state().locks.insert(path.to_owned()) {
            return Ok(LockOutcome::Taken(Some(4242)));
        }
        Ok(LockOutcome::Held(Box::new(FaultyLock { disk: self.clone(), path: path.to_owned() })))
    }

    fn now(&self) -> SystemTime {
        let state = self.state();
        UNIX_EPOCH + Duration::from_millis(state.clock_ms.saturating_add_signed(state.clock_set_ms))
    }

    fn uptime(&self) -> Duration {
        Duration::from_millis(self.state().clock_ms)
    }
}

struct FaultyDir {
    disk: FaultyDisk,
    path: PathBuf,
}

impl DiskDir for FaultyDir {
    fn sync(&self) -> io::Result<()> {
        let held = self.disk.state().hold_sync_dir.take();
        std::thread::sleep(held.unwrap_or_default());
        let mut guard = self.disk.state();
        let state = &mut *guard;
        *state.counts.entry("sync_dir").or_default() += 1;
        state.step(Op::SyncDir)?;
        let here = |p: &Path| p.parent() == Some(&self.path);
        state.synced_names.retain(|p, _| !here(p));
        state.synced_names.extend(state.names.iter().filter(|(p, _)| here(p)).map(|(p, i)| (p.clone(), *i)));
        state.synced_dirs.retain(|p| !here(p));
        state.synced_dirs.extend(state.dirs.iter().filter(|p| here(p)).cloned());
        Ok(())
    }
}

struct FaultyLock {
    disk: FaultyDisk,
    path: PathBuf,
}

impl DirLock for FaultyLock {}

impl Drop for FaultyLock {
    fn drop(&mut self) {
        self.disk.state().locks.remove(&self.path);
    }
}
