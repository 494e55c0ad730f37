//! Where something was wrong, and when: what fails near it, in time and in place, may do so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::id::HostId;
use super::proof::ENOUGH;

/// So long after a trouble is over its consequences may be felt: nodes find each other again, and what waited is done.
const AFTERMATH_US: u64 = 30_000_000;
/// What is seen twice within so much time was there all the while: the world looks more often.
const LOOK_US: u64 = 200_000;

/// Something that is wrong in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    /// A node is down, or does not run.
    At(HostId),
    /// A disk fails its node, is slow, or does not answer.
    Disk(HostId),
    /// A disk has no room.
    Full(HostId),
    /// What is on a disk was made to rot, or is older than it was.
    Hurt(HostId),
    /// A disk was replaced by an older copy of it, and its node is not taken in: it counts its runs from there, and is told to
    /// stop until it has had as many as before.
    Older(HostId),
    /// Actors of a node panic or are killed.
    Actor(HostId),
    /// Two hosts do not reach each other as they should, in the order of their ids.
    Between(HostId, HostId),
    /// An older copy of the metadata is served, or has just been.
    Past,
}

impl Trouble {
    pub(super) fn between(a: HostId, b: HostId) -> Self {
        Self::Between(a.min(b), a.max(b))
    }

    /// The host at which it keeps a process from doing its work.
    fn host(self) -> Option<HostId> {
        match self {
            Self::At(host) | Self::Disk(host) | Self::Full(host) | Self::Older(host) | Self::Actor(host) => {
                Some(host)
            }
            Self::Hurt(_) | Self::Between(..) | Self::Past => None,
        }
    }
}

/// What an operation cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// The coordinator.
    Metadata,
    /// And one copy of each chunk, of which there are two at least.
    Copy,
    /// And enough nodes that take new copies, and pass them on to each other.
    Places,
}

/// Whose operation it is, and in what cluster.
pub(super) struct Asker<'a> {
    pub(super) client: HostId,
    /// Datanodes of the cluster.
    pub(super) nodes: usize,
    /// Those that may have lost what they had.
    pub(super) damaged: &'a BTreeSet<HostId>,
}

/// From when to when a trouble was seen, in microseconds of world time.
#[derive(Clone, Copy, Debug)]
struct Span {
    first: u64,
    last: u64,
}

/// All troubles of a world.
#[derive(Debug, Default)]
pub(super) struct Troubles(Mutex<BTreeMap<Trouble, Vec<Span>>>);

impl Troubles {
    fn spans(&self) -> MutexGuard<'_, BTreeMap<Trouble, Vec<Span>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is there now.
    pub(super) fn seen(&self, trouble: Trouble, now_us: u64) {
        let mut spans = self.spans();
        let spans = spans.entry(trouble).or_default();
        match spans.last_mut() {
            Some(span) if span.last + LOOK_US >= now_us => span.last = now_us,
            _ => spans.push(Span { first: now_us, last: now_us }),
        }
    }

    /// What may be felt between two moments.
    fn felt(&self, since_us: u64, until_us: u64) -> BTreeSet<Trouble> {
        let near = |span: &Span| span.last + AFTERMATH_US >= since_us && span.first <= until_us;
        let spans = self.spans();
        spans.iter().filter(|(_, spans)| spans.iter().any(near)).map(|(trouble, _)| *trouble).collect()
    }

    /// Whether what somebody began at `since_us` may fail now: of that which it needs, something was not as it should be.
    pub(super) fn excuse(&self, asker: &Asker<'_>, needs: Needs, since_us: u64) -> bool {
        excuses(&self.felt(since_us, u64::MAX), asker, needs)
    }

    /// The same for an operation that is told that there is no room.
    pub(super) fn excuse_no_space(&self, asker: &Asker<'_>, needs: Needs, since_us: u64) -> bool {
        let felt = self.felt(since_us, u64::MAX);
        felt.iter().any(|trouble| matches!(trouble, Trouble::Full(_))) && excuses(&felt, asker, needs)
    }

    /// Whether a node's process may give up at `at_us`.
    pub(super) fn may_give_up(&self, node: HostId, at_us: u64) -> bool {
        has_reason_to_end(&self.felt(at_us, at_us), node)
    }

    /// Whether a node may log an error at `at_us`.
    pub(super) fn may_log_errors(&self, node: HostId, at_us: u64) -> bool {
        has_reason_to_complain(&self.felt(at_us, at_us), node)
    }

    /// Whether nothing has been wrong with a datanode, the coordinator and what is between them that is felt at `at_us`.
    pub(super) fn is_well(&self, node: HostId, at_us: u64) -> bool {
        let co = HostId::COORDINATOR;
        let felt = self.felt(at_us, at_us);
        let wrong = |trouble: &Trouble| {
            trouble.host().is_some_and(|host| host == node || host == co)
                || [Trouble::between(co, node), Trouble::Past].contains(trouble)
        };
        !felt.iter().any(wrong)
    }
}

/// A process ends by itself only if its disk fails it, has no room or is older than it was, or if its actors are struck again
/// and again: what else is wrong, it bears.
fn has_reason_to_end(felt: &BTreeSet<Trouble>, node: HostId) -> bool {
    let reasons = [Trouble::Disk(node), Trouble::Full(node), Trouble::Older(node), Trouble::Actor(node)];
    reasons.iter().any(|why| felt.contains(why))
}

/// What a node may log as an error: what its disk does to it, what is wrong with what is on it, and the end of its actors; and
/// whoever meets metadata that are older than what is known says so.
fn has_reason_to_complain(felt: &BTreeSet<Trouble>, node: HostId) -> bool {
    has_reason_to_end(felt, node) || felt.contains(&Trouble::Hurt(node)) || felt.contains(&Trouble::Past)
}

fn excuses(felt: &BTreeSet<Trouble>, asker: &Asker<'_>, needs: Needs) -> bool {
    let (co, client) = (HostId::COORDINATOR, asker.client);
    let needed = |trouble: &Trouble| {
        trouble.host().is_some_and(|host| host == co || host == client)
            || [Trouble::between(co, client), Trouble::Past].contains(trouble)
    };
    if felt.iter().any(needed) {
        return true;
    }
    let out = out_of_reach(felt, client);
    match needs {
        Needs::Metadata => false,
        Needs::Copy => out.union(asker.damaged).count() >= ENOUGH,
        // A chunk that could not be stored on some nodes is stored on others.
        Needs::Places => asker.nodes < without_pairs(out, felt).len() + ENOUGH,
    }
}

/// Datanodes that do not do all they should, for `client` or for the coordinator.
fn out_of_reach(felt: &BTreeSet<Trouble>, client: HostId) -> BTreeSet<HostId> {
    let co = HostId::COORDINATOR;
    let nodes = felt.iter().filter_map(|trouble| match *trouble {
        // The higher one is a client, or both are datanodes, or one is the coordinator.
        Trouble::Between(a, b) if b == client => Some(a),
        Trouble::Between(a, b) if a == co => Some(b),
        other => other.host(),
    });
    nodes.filter(|host| !host.is_client() && *host != co).collect()
}

/// With the fewest others without whom all that are left reach each other: each time the one that reaches the fewest.
fn without_pairs(mut out: BTreeSet<HostId>, felt: &BTreeSet<Trouble>) -> BTreeSet<HostId> {
    let pairs = felt.iter().filter_map(|trouble| match *trouble {
        Trouble::Between(a, b) if a != HostId::COORDINATOR && !b.is_client() => Some([a, b]),
        _ => None,
    });
    let mut pairs: Vec<_> = pairs.collect();
    loop {
        pairs.retain(|pair| !pair.iter().any(|node| out.contains(node)));
        let count = |node: &HostId| pairs.iter().filter(|pair| pair.contains(node)).count();
        let Some(worst) = pairs.iter().flatten().copied().max_by_key(count) else { return out };
        out.insert(worst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CO: HostId = HostId::COORDINATOR;
    const C1: HostId = HostId::client(1);
    const C2: HostId = HostId::client(2);

    fn d(number: u16) -> HostId {
        HostId::datanode(number)
    }

    fn every_pair_of(nodes: u16) -> Vec<Trouble> {
        (1..=nodes).flat_map(|a| (a + 1..=nodes).map(move |b| Trouble::between(d(a), d(b)))).collect()
    }

    fn all_seen(seen: &[Trouble], at_us: u64) -> Troubles {
        let troubles = Troubles::default();
        seen.iter().for_each(|trouble| troubles.seen(*trouble, at_us));
        troubles
    }

    fn excuses(troubles: &Troubles, needs: Needs, since_us: u64, damaged: &[HostId]) -> bool {
        let damaged = damaged.iter().copied().collect();
        troubles.excuse(&Asker { client: C1, nodes: 5, damaged: &damaged }, needs, since_us)
    }

    #[test]
    fn what_is_wrong_elsewhere_or_was_long_ago_excuses_nothing() {
        let excuses = |seen: &[Trouble], needs| {
            let troubles = all_seen(seen, 5);
            assert!(!excuses(&troubles, needs, AFTERMATH_US + 6, &[]), "it is over");
            excuses(&troubles, needs, AFTERMATH_US, &[])
        };
        for needs in [Needs::Metadata, Needs::Copy, Needs::Places] {
            for trouble in [Trouble::At(CO), Trouble::Disk(CO), Trouble::Full(CO), Trouble::between(C1, CO)] {
                assert!(excuses(&[trouble], needs));
            }
            for trouble in [Trouble::between(C2, CO), Trouble::At(C2), Trouble::Hurt(CO)] {
                assert!(!excuses(&[trouble], needs), "{trouble:?}");
            }
        }
        for (seen, copy, places) in [
            (vec![Trouble::At(d(1))], false, false),
            (vec![Trouble::At(d(1)), Trouble::Disk(d(1)), Trouble::between(d(1), CO)], false, false),
            (vec![Trouble::At(d(1)), Trouble::At(d(2))], true, false),
            (vec![Trouble::between(d(1), CO), Trouble::between(C1, d(2))], true, false),
            (vec![Trouble::between(C2, d(1)), Trouble::between(d(2), C2)], false, false),
            ((1..=3).map(|n| Trouble::Full(d(n))).collect(), true, false),
            ((1..=4).map(|n| Trouble::Full(d(n))).collect(), true, true),
            ((1..=4).map(|n| Trouble::between(d(n), d(n + 1))).collect(), false, false),
            ((2..=5).map(|n| Trouble::between(d(1), d(n))).collect(), false, false),
            (every_pair_of(5), false, true),
            (vec![Trouble::between(d(1), d(2)), Trouble::between(d(3), d(4))], false, false),
        ] {
            assert!(!excuses(&seen, Needs::Metadata), "{seen:?}");
            assert_eq!(excuses(&seen, Needs::Copy), copy, "{seen:?}");
            assert_eq!(excuses(&seen, Needs::Places), places, "{seen:?}");
        }
    }

    #[test]
    fn a_copy_that_was_lost_counts_as_one_that_is_out_of_reach() {
        let troubles = all_seen(&[Trouble::At(d(1))], 0);
        assert!(excuses(&troubles, Needs::Copy, 0, &[d(2)]));
        assert!(!excuses(&troubles, Needs::Copy, 0, &[d(1)]), "it is the same node");
    }

    #[test]
    fn a_process_gives_up_for_a_reason_of_its_own_and_soon() {
        for (trouble, ends, complains) in [
            (Trouble::Disk(d(1)), true, true),
            (Trouble::Full(d(1)), true, true),
            (Trouble::Older(d(1)), true, true),
            (Trouble::Actor(d(1)), true, true),
            (Trouble::Hurt(d(1)), false, true),
            (Trouble::Past, false, true),
            (Trouble::At(d(1)), false, false),
            (Trouble::between(CO, d(1)), false, false),
            (Trouble::At(CO), false, false),
            (Trouble::Disk(d(2)), false, false),
            (Trouble::Hurt(d(2)), false, false),
        ] {
            let troubles = all_seen(&[trouble], 1_000_000);
            assert_eq!(troubles.may_give_up(d(1), 2_000_000), ends, "{trouble:?}");
            assert_eq!(troubles.may_log_errors(d(1), 2_000_000), complains, "{trouble:?}");
            for at_us in [999_999, AFTERMATH_US + 1_000_001] {
                assert!(!troubles.may_give_up(d(1), at_us), "{trouble:?}");
                assert!(!troubles.may_log_errors(d(1), at_us), "{trouble:?}");
            }
        }
    }

    #[test]
    fn what_was_there_twice_was_not_there_in_between() {
        let troubles = all_seen(&[Trouble::Disk(d(1))], 0);
        let again = 10 * AFTERMATH_US;
        (0..100).for_each(|n| troubles.seen(Trouble::Disk(d(1)), again + n * LOOK_US));
        assert!(!troubles.may_give_up(d(1), 5 * AFTERMATH_US));
        assert!(troubles.may_give_up(d(1), again + 50 * LOOK_US));
        assert_eq!(troubles.spans()[&Trouble::Disk(d(1))].len(), 2);
    }

    #[test]
    fn a_node_is_well_if_nothing_is_wrong_with_it_or_on_its_way_to_the_coordinator() {
        for (trouble, well) in [
            (Trouble::At(d(2)), true),
            (Trouble::between(d(1), d(2)), true),
            (Trouble::Hurt(d(1)), true),
            (Trouble::At(d(1)), false),
            (Trouble::Disk(CO), false),
            (Trouble::between(d(1), CO), false),
        ] {
            assert_eq!(all_seen(&[trouble], 7).is_well(d(1), 8), well, "{trouble:?}");
        }
    }

    #[test]
    fn no_room_is_an_answer_only_where_there_is_none() {
        let damaged = BTreeSet::new();
        let asker = Asker { client: C1, nodes: 3, damaged: &damaged };
        let says = |seen: &[Trouble]| all_seen(seen, 0).excuse_no_space(&asker, Needs::Places, 0);
        assert!(!says(&[Trouble::Full(d(1))]));
        assert!(says(&[Trouble::Full(d(1)), Trouble::At(d(2))]));
        assert!(!says(&[Trouble::At(d(1)), Trouble::At(d(2))]));
    }
}
