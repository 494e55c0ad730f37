//! What all clients of a world know together, and what is left when one of them is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dfs_wire::id::{ChunkKey, NodeId};

use super::{Load, SETTLED_IN};
use crate::history::{Event, Recorder};
use crate::sim::id::HostId;
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
    /// What each client waits for, and since when, in microseconds of world time.
    open: Mutex<BTreeMap<HostId, (String, u64)>>,
    /// When all faults were over.
    healed: Mutex<Option<u64>>,
    /// Changes that were called and have not returned, by client.
    under_way: Mutex<BTreeMap<usize, (u64, Event)>>,
    /// Operations that clients have not begun.
    to_do: Mutex<BTreeMap<usize, u32>>,
}

pub(super) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
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
        lock(&self.said).push(what.into());
    }

    /// All that must not have happened and did. To look at it changes nothing.
    pub(in crate::sim) fn accusations(&self) -> Vec<String> {
        lock(&self.said).clone()
    }

    pub(in crate::sim) fn has_accused(&self) -> bool {
        !lock(&self.said).is_empty()
    }

    /// All faults are over.
    pub(in crate::sim) fn heals(&self, now_us: u64) {
        *lock(&self.healed) = Some(now_us);
    }

    /// The end of the time in which everything has to work again, if all faults are over.
    pub(in crate::sim) fn settled_by(&self) -> Option<u64> {
        Some((*lock(&self.healed))? + micros(SETTLED_IN))
    }

    /// For how many seconds there have been no faults.
    pub(super) fn healed_for(&self, now_us: u64) -> u64 {
        now_us.saturating_sub(lock(&self.healed).unwrap_or_default()) / 1_000_000
    }

    /// A client waits for something.
    pub(super) fn opens(&self, client: HostId, what: String, now_us: u64) {
        lock(&self.open).insert(client, (what, now_us));
    }

    /// A client waits for nothing any more.
    pub(in crate::sim) fn closes(&self, client: HostId) {
        lock(&self.open).remove(&client);
    }

    /// What a client has waited for too long, since it began and since all faults were over.
    pub(in crate::sim) fn is_late(&self, now_us: u64) -> Option<String> {
        let settled_by = self.settled_by()?;
        let late = |(_, since): &&(String, u64)| now_us > settled_by.max(since + micros(SETTLED_IN));
        let open = lock(&self.open);
        let (client, (what, since)) = open.iter().find(|(_, open)| late(open))?;
        let (waited, healed) = ((now_us - since) / 1_000_000, self.healed_for(now_us));
        Some(format!(
            "{client}: {what} has no answer, {waited} s after it began and {healed} s after all faults"
        ))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_too_long_after_all_faults_is_late() {
        let (ledger, minute) = (Ledger::default(), micros(SETTLED_IN));
        let [first, second] = [HostId::client(1), HostId::client(2)];
        ledger.opens(first, "get p1".to_owned(), 0);
        assert_eq!(ledger.is_late(10 * minute), None, "there are faults still");
        ledger.heals(10 * minute);
        assert_eq!(ledger.is_late(11 * minute), None);
        let late = ledger.is_late(11 * minute + 1).unwrap();
        assert!(late.contains("get p1") && late.contains("660 s after it began and 60 s after"), "{late}");
        ledger.closes(first);
        ledger.opens(second, "list".to_owned(), 12 * minute);
        assert_eq!(ledger.is_late(13 * minute), None);
        assert!(ledger.is_late(13 * minute + 1).is_some());
    }

    #[test]
    fn an_accusation_is_not_lost_by_being_looked_at() {
        let ledger = Ledger::default();
        assert!(!ledger.has_accused());
        ledger.accuse("one");
        assert_eq!(ledger.accusations(), ["one"]);
        ledger.accuse("two");
        assert!(ledger.has_accused());
        assert_eq!(ledger.accusations(), ["one", "two"]);
    }
}
