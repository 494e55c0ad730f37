//! Which chunks are committed here, in memory. A cache: the files describe themselves, and a sweep rebuilds it.
//!
//! About 200 bytes a chunk; 100,000 chunks of 8 MiB are 800 GB of data and 20 MB of index.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Mutex;

use dfs_actors::datanode::chunk_store::{ChunkInfo, ReplicaState};
use dfs_wire::id::ChunkKey;

use super::disk::lock;
use super::format::file_bytes;

/// Which file of a key it is: a key can be quarantined and committed again. Findings about one file must not
/// be pinned on the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instance(u64);

/// A committed chunk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) info: ChunkInfo,
    pub(crate) instance: Instance,
}

/// Sums over the index, kept as it changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) chunks: u64,
    pub(crate) bytes: u64,
    /// Bytes of their files.
    pub(crate) files: u64,
    pub(crate) corrupt: u64,
}

impl Totals {
    fn add(&mut self, info: &ChunkInfo) {
        self.chunks += 1;
        self.bytes += u64::from(info.len);
        self.files += file_bytes(info.len);
        self.corrupt += u64::from(info.state == ReplicaState::Corrupt);
    }

    fn subtract(&mut self, info: &ChunkInfo) {
        self.chunks -= 1;
        self.bytes -= u64::from(info.len);
        self.files -= file_bytes(info.len);
        self.corrupt -= u64::from(info.state == ReplicaState::Corrupt);
    }
}

#[derive(Default)]
struct State {
    entries: BTreeMap<ChunkKey, Entry>,
    totals: Totals,
    instances: u64,
}

/// The index of one disk.
#[derive(Default)]
pub(crate) struct Index {
    state: Mutex<State>,
}

impl Index {
    /// The entry of a key.
    pub(crate) fn get(&self, key: ChunkKey) -> Option<Entry> {
        lock(&self.state).entries.get(&key).copied()
    }

    /// Adds a chunk whose file was just published or found, in place of any former one.
    pub(crate) fn insert(&self, info: ChunkInfo) {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        state.instances += 1;
        state.totals.add(&info);
        let entry = Entry { info, instance: Instance(state.instances) };
        if let Some(old) = state.entries.insert(info.key(), entry) {
            state.totals.subtract(&old.info);
        }
    }

    /// Forgets a chunk.
    pub(crate) fn remove(&self, key: ChunkKey) -> Option<Entry> {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        let old = state.entries.remove(&key)?;
        state.totals.subtract(&old.info);
        Some(old)
    }

    /// Forgets a chunk if the file is still the key's. Returns whether it was.
    pub(crate) fn remove_instance(&self, key: ChunkKey, instance: Instance) -> bool {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        let Some(old) = state.entries.get(&key).copied().filter(|entry| entry.instance == instance) else {
            return false;
        };
        state.entries.remove(&key);
        state.totals.subtract(&old.info);
        true
    }

    /// Records what was found out about a file, unless it is no longer the key's. Returns the entry as it is now.
    pub(crate) fn set_state(&self, key: ChunkKey, instance: Instance, found: ReplicaState) -> Option<Entry> {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        let entry = state.entries.get_mut(&key).filter(|e| e.instance == instance)?;
        state.totals.subtract(&entry.info);
        entry.info.state = found;
        state.totals.add(&entry.info);
        Some(*entry)
    }

    /// At most `limit` chunks after `after`, in key order.
    pub(crate) fn page(&self, after: Option<ChunkKey>, limit: usize) -> Vec<ChunkInfo> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let state = lock(&self.state);
        state.entries.range((from, Bound::Unbounded)).take(limit).map(|(_, entry)| entry.info).collect()
    }

    /// The last key there is.
    pub(crate) fn newest(&self) -> Option<ChunkKey> {
        lock(&self.state).entries.last_key_value().map(|(key, _)| *key)
    }

    pub(crate) fn totals(&self) -> Totals {
        lock(&self.state).totals
    }
}

#[cfg(test)]
mod tests {
    use dfs_actors::datanode::chunk_store::ChunkIdentity;
    use dfs_wire::id::{ChunkId, ClusterId, Generation, InodeId};

    use super::*;

    fn info(chunk: u128, len: u32) -> ChunkInfo {
        let identity = ChunkIdentity {
            cluster: ClusterId(1),
            chunk: ChunkId(chunk),
            generation: Generation(1),
            file: InodeId(1),
            index: 0,
        };
        ChunkInfo { identity, len, sha256: [0; 32], state: ReplicaState::Unverified }
    }

    #[test]
    fn pages_are_ordered_and_resume() {
        let index = Index::default();
        for chunk in [5, 1, 3, 2, 4] {
            index.insert(info(chunk, 10));
        }
        let first = index.page(None, 2);
        assert_eq!(first.iter().map(|i| i.identity.chunk.0).collect::<Vec<_>>(), [1, 2]);
        let rest = index.page(Some(first[1].key()), 100);
        assert_eq!(rest.iter().map(|i| i.identity.chunk.0).collect::<Vec<_>>(), [3, 4, 5]);
        assert_eq!((index.newest(), Index::default().newest()), (Some(info(5, 0).key()), None));
    }

    #[test]
    fn totals_follow_and_old_findings_do_not_stick_to_new_files() {
        let index = Index::default();
        index.insert(info(1, 10));
        let old = index.get(info(1, 10).key()).unwrap();
        assert!(index.set_state(old.info.key(), old.instance, ReplicaState::Corrupt).is_some());
        assert_eq!(index.totals(), Totals { chunks: 1, bytes: 10, files: 8192, corrupt: 1 });
        index.insert(info(1, 20));
        assert!(index.set_state(old.info.key(), old.instance, ReplicaState::Corrupt).is_none());
        assert_eq!(index.totals(), Totals { chunks: 1, bytes: 20, files: 8192, corrupt: 0 });
        assert!(index.remove(old.info.key()).is_some() && index.remove(old.info.key()).is_none());
        assert_eq!(index.totals(), Totals::default());
    }
}
