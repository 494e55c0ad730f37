//! What all clients of a world know together, and what is left when one of them is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dfs_wire::id::{ChunkKey, NodeId};

use super::Load;
use crate::history::{Event, Recorder};
use crate::sim::proof::Disks;
use crate::sim::trouble::Troubles;

/// What all clients of a world know together.
#[derive(Default)]
pub(in crate::sim) struct Ledger {
    pub(in crate::sim) recorder: Recorder,
    values: AtomicU32,
    said: Mutex<Vec<String>>,
    live: Mutex<BTreeSet<(ChunkKey, NodeId)>>,
    pub(in crate::sim) disks: Disks,
    pub(in crate::sim) troubles: Troubles,
    /// Copies that the metadata call good, by path, at the end.
    good: Mutex<BTreeMap<usize, BTreeSet<(ChunkKey, NodeId)>>>,
    /// Changes that were called and have not returned, by client.
    under_way: Mutex<BTreeMap<usize, (u64, Event)>>,
    /// Operations that clients have not begun.
    to_do: Mutex<BTreeMap<usize, u32>>,
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    /// A value that nobody has put yet.
    pub(super) fn fresh(&self) -> u32 {
        self.values.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The next value that is put is this one.
    pub(in crate::sim) fn go_on_from(&self, value: u32) {
        self.values.store(value - 1, Ordering::Relaxed);
    }

    /// Something happened that must not.
    pub(in crate::sim) fn accuse(&self, what: impl Into<String>) {
        self.said().push(what.into());
    }

    pub(in crate::sim) fn said(&self) -> MutexGuard<'_, Vec<String>> {
        lock(&self.said)
    }

    /// Copies that the metadata counts on, at the end.
    pub(in crate::sim) fn live(&self) -> MutexGuard<'_, BTreeSet<(ChunkKey, NodeId)>> {
        lock(&self.live)
    }

    /// Those of them that it calls good, by path.
    pub(in crate::sim) fn good(&self) -> MutexGuard<'_, BTreeMap<usize, BTreeSet<(ChunkKey, NodeId)>>> {
        lock(&self.good)
    }

    pub(super) fn under_way(&self) -> MutexGuard<'_, BTreeMap<usize, (u64, Event)>> {
        lock(&self.under_way)
    }

    /// A client has this to do, whatever becomes of its process.
    pub(in crate::sim) fn owes(&self, client: usize, load: Load) {
        lock(&self.to_do).insert(client, load.operations);
    }

    /// The client begins one more of its operations, if any is left.
    pub(super) fn takes_up_one(&self, client: usize) -> bool {
        let mut to_do = lock(&self.to_do);
        let Some(left) = to_do.get_mut(&client).filter(|left| **left > 0) else { return false };
        *left -= 1;
        true
    }

    /// A process of this client begins: nobody will ever know what came of what a former one had called.
    pub(super) fn begins(&self, client: usize) {
        if let Some((called, event)) = self.under_way().remove(&client) {
            self.recorder.unknown(client, called, event);
        }
    }
}
