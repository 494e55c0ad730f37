//! The space of a cluster: what its nodes report, with each file system counted once.

use std::collections::BTreeMap;

use dfs_wire::message::membership::NodeLoad;

/// Sums over nodes, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Space {
    pub(super) capacity: u64,
    pub(super) available: u64,
    pub(super) used: u64,
    pub(super) footers: u64,
    pub(super) quarantine: u64,
}

impl Space {
    /// The sums over what nodes report. Of those that share a file system, the one counts that sees the least room on it: each
    /// keeps its own reserve, and what was promised to its own writers.
    pub(super) fn of<'a>(loads: impl Iterator<Item = &'a NodeLoad>) -> Self {
        let mut shared: BTreeMap<u128, (u64, u64)> = BTreeMap::new();
        let mut sum = Self::default();
        for load in loads {
            sum.used = sum.used.saturating_add(load.used);
            sum.footers = sum.footers.saturating_add(load.footers);
            sum.quarantine = sum.quarantine.saturating_add(load.quarantine);
            if load.file_system == 0 {
                sum.add(load.capacity, load.available);
                continue;
            }
            let (capacity, available) =
                shared.entry(load.file_system).or_insert((load.capacity, load.available));
            (*capacity, *available) = ((*capacity).max(load.capacity), (*available).min(load.available));
        }
        shared.into_values().for_each(|(capacity, available)| sum.add(capacity, available));
        sum
    }

    fn add(&mut self, capacity: u64, available: u64) {
        self.capacity = self.capacity.saturating_add(capacity);
        self.available = self.available.saturating_add(available);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_that_nodes_share_is_counted_once_and_what_they_keep_on_it_is_not() {
        let load = |file_system, capacity, available, used| NodeLoad {
            file_system,
            capacity,
            available,
            used,
            footers: 1,
            quarantine: 2,
            ..NodeLoad::default()
        };
        let nodes = [
            load(7, 100, 50, 10),
            load(7, 100, 40, 10),
            load(8, 200, 150, 20),
            load(0, 30, 20, 1),
            load(0, 30, 20, 1),
        ];
        let sum = Space { capacity: 360, available: 230, used: 42, footers: 5, quarantine: 10 };
        assert_eq!(Space::of(nodes.iter()), sum);
        assert_eq!(Space::of([].iter()), Space::default());
        let most = [load(0, u64::MAX, u64::MAX, u64::MAX), load(1, 1, 1, 1)];
        assert_eq!(Space::of(most.iter()).available, u64::MAX);
    }
}
