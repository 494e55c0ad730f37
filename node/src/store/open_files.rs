//! Committed files kept open for the next reader: open, fstat, footer and close per request would cost more than
//! many a read. Bounded; the least recently used goes first. A reader that still holds it keeps its descriptor.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex};

use dfs_actors::datanode::chunk_store::ChunkInfo;
use dfs_wire::id::ChunkKey;
use dfs_wire::message::facts::ChunkFacts;

use super::disk::lock;
use super::disk_io::DiskFile;
use super::index::Instance;
use super::pool::IoPool;

/// A committed chunk file, open for reading, with its footer decoded.
pub(crate) struct OpenChunk {
    pub(crate) file: Box<dyn DiskFile>,
    pub(crate) info: ChunkInfo,
    pub(crate) instance: Instance,
    pub(crate) block_crcs: Box<[u32]>,
    pub(crate) facts: ChunkFacts,
}

/// An open file in the hands of a reader, who may be on any thread. To close a file that has no name any more is work for
/// the disk, so the last to hold one hands it to an I/O thread.
#[derive(Clone)]
pub(crate) struct Lent {
    chunk: Option<Arc<OpenChunk>>,
    threads: Arc<IoPool>,
}

impl Lent {
    pub(crate) fn new(chunk: Arc<OpenChunk>, threads: Arc<IoPool>) -> Self {
        Self { chunk: Some(chunk), threads }
    }
}

impl Deref for Lent {
    type Target = OpenChunk;

    fn deref(&self) -> &OpenChunk {
        self.chunk.as_deref().unwrap_or_else(|| unreachable!("it is given back by drop alone"))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(last) = self.chunk.take().and_then(Arc::into_inner) {
            // Without threads it is closed here: the store is, too.
            self.threads.submit(move || drop(last));
        }
    }
}

#[derive(Default)]
struct State {
    files: BTreeMap<ChunkKey, (Arc<OpenChunk>, u64)>,
    by_age: BTreeMap<u64, ChunkKey>,
    clock: u64,
}

/// The cache of one disk.
pub(crate) struct OpenFiles {
    state: Mutex<State>,
    max: usize,
}

impl OpenFiles {
    /// A cache of at most `max` files.
    pub(crate) fn new(max: usize) -> Self {
        Self { state: Mutex::default(), max }
    }

    /// The open file of a key, if it is still the one that the index means.
    pub(crate) fn get(&self, key: ChunkKey, instance: Instance) -> Option<Arc<OpenChunk>> {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        let (open, used) = state.files.get_mut(&key)?;
        if open.instance != instance {
            return None;
        }
        state.clock += 1;
        state.by_age.remove(used);
        state.by_age.insert(state.clock, key);
        *used = state.clock;
        Some(open.clone())
    }

    /// Keeps a file, and lets the least recently used one go if there are too many.
    pub(crate) fn insert(&self, open: Arc<OpenChunk>) {
        if self.max == 0 {
            return;
        }
        let key = open.info.key();
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        state.clock += 1;
        let replaced = state.files.insert(key, (open, state.clock));
        if let Some((_, used)) = &replaced {
            state.by_age.remove(used);
        }
        state.by_age.insert(state.clock, key);
        let mut evicted = None;
        if state.files.len() > self.max
            && let Some((_, oldest)) = state.by_age.pop_first()
        {
            evicted = state.files.remove(&oldest);
        }
        drop(guard);
        drop((replaced, evicted)); // closing a file is not done under the lock
    }

    /// Lets a file go.
    pub(crate) fn remove(&self, key: ChunkKey) {
        let mut state = lock(&self.state);
        let removed = state.files.remove(&key);
        if let Some((_, used)) = &removed {
            state.by_age.remove(used);
        }
        drop(state);
        drop(removed);
    }

    /// Lets the `n` least recently used files go; returns how many there were.
    pub(crate) fn evict(&self, n: usize) -> usize {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        let oldest: Vec<_> = std::iter::from_fn(|| state.by_age.pop_first()).take(n).collect();
        let evicted: Vec<_> = oldest.iter().filter_map(|(_, key)| state.files.remove(key)).collect();
        drop(guard);
        evicted.len() // they are closed here, not under the lock
    }

    /// Lets every file go.
    pub(crate) fn clear(&self) {
        let all = std::mem::take(&mut *lock(&self.state));
        drop(all);
    }
}
