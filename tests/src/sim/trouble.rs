//! Where something was wrong, and when last: what fails near it, in time and in place, may do so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::id::HostId;

/// So long after a trouble is over its consequences may be felt: nodes find each other again, and what waited is done.
const AFTERMATH_US: u64 = 30_000_000;

/// Something that is wrong in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    /// A node is down, does not run, or has a disk that fails it.
    At(HostId),
    /// Two hosts do not reach each other as they should, in the order of their ids.
    Between(HostId, HostId),
    /// A disk has no room.
    Full(HostId),
}

impl Trouble {
    pub(super) fn between(a: HostId, b: HostId) -> Self {
        Self::Between(a.min(b), a.max(b))
    }
}

/// What an operation cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// The coordinator.
    Metadata,
    /// And one copy of each chunk, of which there are two at least.
    Copy,
    /// And nodes that take new copies, and pass them on to each other.
    Places,
}

/// All troubles of a world: the world time, in microseconds, at which each was seen last.
#[derive(Debug, Default)]
pub(super) struct Troubles(Mutex<BTreeMap<Trouble, u64>>);

impl Troubles {
    fn last(&self) -> MutexGuard<'_, BTreeMap<Trouble, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is there now.
    pub(super) fn seen(&self, trouble: Trouble, now_us: u64) {
        self.last().insert(trouble, now_us);
    }

    /// What may be felt by an operation that began at `since_us` and ends now.
    fn felt(&self, since_us: u64) -> BTreeSet<Trouble> {
        let last = self.last();
        let felt = last.iter().filter(|(_, seen)| **seen + AFTERMATH_US >= since_us);
        felt.map(|(trouble, _)| *trouble).collect()
    }

    /// Whether any disk had no room.
    pub(super) fn any_was_full(&self, since_us: u64) -> bool {
        self.felt(since_us).iter().any(|trouble| matches!(trouble, Trouble::Full(_)))
    }

    /// Whether what `client` began at `since_us` may fail: of that which it needs, something was not as it should be.
    /// `damaged` are datanodes that may have lost what they had.
    pub(super) fn excuse(
        &self,
        client: HostId,
        needs: Needs,
        since_us: u64,
        damaged: &BTreeSet<HostId>,
    ) -> bool {
        let felt = self.felt(since_us);
        let co = HostId::COORDINATOR;
        let metadata =
            [Trouble::At(co), Trouble::At(client), Trouble::Full(co), Trouble::between(co, client)];
        if metadata.iter().any(|trouble| felt.contains(trouble)) {
            return true;
        }
        let is_ours = |host: HostId| !host.is_client() || host == client;
        match needs {
            Needs::Metadata => false,
            Needs::Copy => {
                let nodes = felt.iter().flat_map(|trouble| match *trouble {
                    Trouble::At(node) | Trouble::Full(node) => vec![node],
                    // The higher one is a client, or both are datanodes, or one is the coordinator.
                    Trouble::Between(a, b) if b == client || a == co => vec![a, b],
                    Trouble::Between(..) => vec![],
                });
                let nodes = nodes.filter(|host| !host.is_client() && *host != co);
                nodes.chain(damaged.iter().copied()).collect::<BTreeSet<_>>().len() > 1
            }
            Needs::Places => felt.iter().any(|trouble| match *trouble {
                Trouble::At(_) | Trouble::Full(_) => true,
                Trouble::Between(a, b) => is_ours(a) && is_ours(b),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_elsewhere_or_was_long_ago_excuses_nothing() {
        let (co, d1, d2, c1, c2) = (
            HostId::COORDINATOR,
            HostId::datanode(1),
            HostId::datanode(2),
            HostId::client(1),
            HostId::client(2),
        );
        let sound = BTreeSet::new();
        let excuses = |trouble: &[Trouble], needs| {
            let troubles = Troubles::default();
            trouble.iter().for_each(|trouble| troubles.seen(*trouble, 5));
            let soon = troubles.excuse(c1, needs, AFTERMATH_US, &sound);
            assert!(!troubles.excuse(c1, needs, AFTERMATH_US + 6, &sound), "it is over");
            soon
        };
        for needs in [Needs::Metadata, Needs::Copy, Needs::Places] {
            assert!(excuses(&[Trouble::At(co)], needs));
            assert!(excuses(&[Trouble::between(c1, co)], needs));
            assert!(!excuses(&[Trouble::between(c2, co)], needs));
        }
        for (trouble, copy, places) in [
            (vec![Trouble::At(d1)], false, true),
            (vec![Trouble::At(d1), Trouble::At(d2)], true, true),
            (vec![Trouble::between(d1, co), Trouble::between(c1, d2)], true, true),
            (vec![Trouble::between(d1, d2)], false, true),
            (vec![Trouble::between(c2, d1), Trouble::between(d2, c2)], false, false),
        ] {
            assert!(!excuses(&trouble, Needs::Metadata), "{trouble:?}");
            assert_eq!(excuses(&trouble, Needs::Copy), copy, "{trouble:?}");
            assert_eq!(excuses(&trouble, Needs::Places), places, "{trouble:?}");
        }
    }

    #[test]
    fn a_copy_that_was_lost_counts_as_one_that_is_out_of_reach() {
        let troubles = Troubles::default();
        troubles.seen(Trouble::At(HostId::datanode(1)), 0);
        let excuses = |damaged: u16| {
            let damaged = BTreeSet::from([HostId::datanode(damaged)]);
            troubles.excuse(HostId::client(1), Needs::Copy, 0, &damaged)
        };
        assert!(excuses(2));
        assert!(!excuses(1), "it is the same node");
    }
}
