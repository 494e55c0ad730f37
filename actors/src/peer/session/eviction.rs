//! Who goes when one more peer comes and all places of its class are taken: pure.
//!
//! Nothing that a peer says of itself is proved yet, so it only chooses the class, and within a class the sources share:
//! whoever has many connections there loses one first. A source is a machine, as far as an address can tell.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// What a peer says it comes for. Each class has places of its own, which no other takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// It has not introduced itself yet.
    Newcomer,
    /// It reads and writes files.
    Client,
    /// It is another node of the cluster.
    Member,
    /// It looks after the cluster.
    Operator,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Newcomer, Self::Client, Self::Member, Self::Operator];

    /// For metrics and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Newcomer => "newcomer",
            Self::Client => "client",
            Self::Member => "member",
            Self::Operator => "operator",
        }
    }
}

/// Where connections come from: an IPv4 address, or an IPv6 network of 64 bits, which one machine may hold alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            IpAddr::V4(v4) => write!(f, "{v4}"),
            IpAddr::V6(v6) => write!(f, "{v6}/64"),
        }
    }
}

/// Who holds a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PlaceHolder {
    /// Number of its session.
    pub(super) session: u64,
    /// Where it comes from.
    pub(super) source: Source,
    /// Requests of it that are under way.
    pub(super) open: usize,
    /// How long ago it last asked for something.
    pub(super) idle: Duration,
}

/// How much longer than `idle_first` a peer may be idle before it goes for whoever comes.
const IDLE_FOR_ALL: u32 = 10;

/// Which of `holders` makes room for a peer from `source`; none if all of them need their places.
///
/// One with a request under way never goes. Of the others, those idle for `idle_first` go first: the ones of the source
/// that holds most places, and among them the one that was idle for longest. Unless it was idle for very long, it does
/// not go for a source that holds more places than its own. One that was busy a moment ago goes only for a source that
/// holds at least two places less than its own: so two sources never take places from each other in turn.
pub(super) fn who_goes(source: Source, holders: &[PlaceHolder], idle_first: Duration) -> Option<u64> {
    let mut held = BTreeMap::<Source, usize>::new();
    holders.iter().for_each(|holder| *held.entry(holder.source).or_default() += 1);
    let share = |source: Source| held.get(&source).copied().unwrap_or(0);
    let quiet = || holders.iter().filter(|holder| holder.open == 0);
    let worst = |holder: &&PlaceHolder| (share(holder.source), holder.idle, holder.session);
    let idle = |holder: &&PlaceHolder| {
        let fair = share(holder.source) >= share(source);
        holder.idle >= if fair { idle_first } else { idle_first * IDLE_FOR_ALL }
    };
    let greedy = |holder: &&PlaceHolder| share(holder.source) >= share(source) + 2;
    let gone = quiet().filter(idle).max_by_key(worst).or_else(|| quiet().filter(greedy).max_by_key(worst));
    gone.map(|holder| holder.session)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const IDLE: Duration = Duration::from_secs(1);

    fn source(host: u8) -> Source {
        IpAddr::from([10, 0, 0, host]).into()
    }

    fn holder(session: u64, host: u8, open: usize, idle_ms: u64) -> PlaceHolder {
        PlaceHolder { session, source: source(host), open, idle: Duration::from_millis(idle_ms) }
    }

    #[test]
    fn the_longest_idle_goes_and_the_busy_stay() {
        let holders = [holder(1, 1, 0, 2_000), holder(2, 1, 1, 9_000), holder(3, 1, 0, 5_000)];
        assert_eq!(who_goes(source(1), &holders, IDLE), Some(3));
        assert_eq!(who_goes(source(1), &holders[1..2], IDLE), None, "it has work under way");
        assert_eq!(who_goes(source(1), &[holder(1, 1, 0, 900)], IDLE), None, "it was busy a moment ago");
    }

    #[test]
    fn a_source_with_many_places_loses_them_to_one_with_few() {
        let mut holders: Vec<_> = (0..10).map(|session| holder(session, 1, 0, session)).collect();
        holders.push(holder(77, 2, 0, 60_000));
        assert_eq!(who_goes(source(2), &holders, IDLE), Some(77), "an idle one goes first");
        assert_eq!(who_goes(source(1), &holders, IDLE), Some(77), "idle for a minute: for anybody");
        holders[10] = holder(77, 2, 0, 3_000);
        assert_eq!(who_goes(source(1), &holders, IDLE), None, "a member between two heartbeats");
        holders.pop();
        assert_eq!(who_goes(source(2), &holders, IDLE), Some(9));
        assert_eq!(who_goes(source(1), &holders, IDLE), None, "not for one more of the same");
    }

    #[test]
    fn a_network_is_one_source_and_a_mapped_address_is_the_address() {
        let of = |text: &str| Source::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_eq!(
            (of("2001:db8::1").to_string(), of("10.0.0.1").to_string()),
            ("2001:db8::/64".into(), "10.0.0.1".into())
        );
    }

    proptest! {
        #[test]
        fn nobody_busy_goes_and_places_of_a_class_end_up_shared(
            arrivals in prop::collection::vec((0_u8..4, 0_usize..3, 0_u64..3_000), 1..200),
            max in 1_usize..20,
        ) {
            let mut holders: Vec<PlaceHolder> = vec![];
            for (session, (host, open, idle)) in arrivals.into_iter().enumerate() {
                if holders.len() >= max {
                    let Some(gone) = who_goes(source(host), &holders, IDLE) else {
                        let mine = holders.iter().filter(|h| h.source == source(host)).count();
                        for h in &holders {
                            let theirs = holders.iter().filter(|o| o.source == h.source).count();
                            prop_assert!(h.open > 0 || theirs < mine || (h.idle < IDLE && theirs < mine + 2));
                        }
                        continue;
                    };
                    let at = holders.iter().position(|h| h.session == gone).unwrap();
                    prop_assert_eq!(holders.remove(at).open, 0);
                }
                holders.push(holder(session as u64, host, open, idle));
                prop_assert!(holders.len() <= max);
            }
        }
    }
}
