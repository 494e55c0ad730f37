//! Places for connections: so many of each class, whatever the others do.
//!
//! ```text
//! accepted -> newcomer --introduced--> client, member or operator -> gone
//!                 \--its class is full--> somebody quiet makes room, or it is told Busy
//! ```
//!
//! Invariants:
//! - a class never holds more than its places; who was told to go is not counted there any more, but holds on to its
//!   connection for [`LINGER`] at most, and there are never more of those than [`PlacesMax::leaving`];
//! - there is always a place for a newcomer: the one that has said nothing for longest loses its own;
//! - a silent newcomer costs a place for `network.handshake_timeout`, not more.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dfs_wire::handshake::Peer;
use dfs_wire::link::Link;
use dfs_wire::status::{Status, StatusCode};
use tokio::sync::Notify;

use super::eviction::{Class, PlaceHolder, Source, who_goes};
use crate::env::{Clock, MonoTime};

/// A peer that asked for nothing for so long makes room for one that comes.
const IDLE_FIRST: Duration = Duration::from_secs(1);
/// What a peer that was told to go still has time for: a request that was on its way.
pub(super) const LINGER: Duration = Duration::from_millis(250);
/// Connections that have not introduced themselves yet.
const NEWCOMERS_MAX: usize = 256;
/// What a refused peer is asked to wait.
const BUSY_PAUSE_MS: u32 = 500;

/// How many places there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlacesMax {
    /// Places for clients.
    pub clients: usize,
    /// Places for the cluster's other nodes.
    pub members: usize,
    /// Places for operators.
    pub operators: usize,
}

impl PlacesMax {
    /// Places of a class.
    pub const fn of(&self, class: Class) -> usize {
        match class {
            Class::Newcomer => NEWCOMERS_MAX,
            Class::Client => self.clients,
            Class::Member => self.members,
            Class::Operator => self.operators,
        }
    }

    /// Connections that were told to go and are still there.
    pub const fn leaving(&self) -> usize {
        NEWCOMERS_MAX
    }

    /// Connections of all kinds at once.
    pub const fn total(&self) -> usize {
        NEWCOMERS_MAX + self.clients + self.members + self.operators + self.leaving()
    }
}

/// What became of the places of a class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlacesTally {
    /// Places that are held now.
    pub taken: usize,
    /// Peers that had to make room.
    pub evicted: u64,
    /// Peers that were told Busy.
    pub refused: u64,
}

/// What is known of a connection.
struct ConnectionEntry {
    class: Class,
    source: Source,
    /// Told to go.
    leaving: bool,
    link: Option<Link>,
    presence: Arc<Presence>,
}

#[derive(Default)]
struct Presence {
    /// Microseconds of the clock when it last asked for something.
    busy_at: AtomicU64,
    go: Notify,
}

#[derive(Default)]
struct Table {
    entries: BTreeMap<u64, ConnectionEntry>,
    evicted: BTreeMap<Class, u64>,
    refused: BTreeMap<Class, u64>,
}

impl Table {
    fn taken(&self, class: Class) -> usize {
        self.entries.values().filter(|entry| entry.class == class && !entry.leaving).count()
    }

    fn holders(&self, class: Class, now: MonoTime) -> Vec<PlaceHolder> {
        let of_class = self.entries.iter().filter(|(_, entry)| entry.class == class && !entry.leaving);
        let holder = |(session, entry): (&u64, &ConnectionEntry)| PlaceHolder {
            session: *session,
            source: entry.source,
            open: match (class, &entry.link) {
                (Class::Newcomer, _) => 0,
                // Between its welcome and its first request.
                (_, None) => 1,
                (_, Some(link)) => link.streams(),
            },
            idle: now.since(MonoTime::from_micros(entry.presence.busy_at.load(Ordering::Relaxed))),
        };
        of_class.map(holder).collect()
    }

    /// Frees a place of `class` for `source` if there is none. Says whether there is one now.
    fn make_room(&mut self, class: Class, max: usize, source: Source, now: MonoTime) -> bool {
        if self.taken(class) < max {
            return true;
        }
        let holders = self.holders(class, now);
        let idle_first = if class == Class::Newcomer { Duration::ZERO } else { IDLE_FIRST };
        let gone = who_goes(source, &holders, idle_first).and_then(|session| self.entries.get_mut(&session));
        let Some(gone) = gone else {
            *self.refused.entry(class).or_default() += 1;
            return false;
        };
        gone.leaving = true;
        gone.presence.go.notify_one();
        *self.evicted.entry(class).or_default() += 1;
        true
    }
}

struct Shared {
    max: PlacesMax,
    clock: Arc<dyn Clock>,
    table: Mutex<Table>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The places of a node. Cheap to clone; all clones are the same places.
#[derive(Clone)]
pub struct Places {
    shared: Arc<Shared>,
}

impl Places {
    /// So many places.
    pub fn new(max: PlacesMax, clock: Arc<dyn Clock>) -> Self {
        Self { shared: Arc::new(Shared { max, clock, table: Mutex::default() }) }
    }

    /// How many there are.
    pub fn max(&self) -> PlacesMax {
        self.shared.max
    }

    /// What became of each class.
    pub fn tally(&self) -> Vec<(Class, PlacesTally)> {
        let table = self.shared.lock();
        let count = |counts: &BTreeMap<Class, u64>, class| counts.get(&class).copied().unwrap_or(0);
        let tally = |class| PlacesTally {
            taken: table.taken(class),
            evicted: count(&table.evicted, class),
            refused: count(&table.refused, class),
        };
        Class::ALL.into_iter().map(|class| (class, tally(class))).collect()
    }

    /// Connections that were told to go and are still there.
    pub fn leaving(&self) -> usize {
        self.shared.lock().entries.values().filter(|entry| entry.leaving).count()
    }

    /// Streams that are open on all connections together, and bytes of credit that peers hold for them.
    #[cfg(any(test, feature = "testing"))]
    pub fn under_way(&self) -> (usize, u64) {
        let table = self.shared.lock();
        let links = table.entries.values().filter_map(|entry| entry.link.as_ref());
        links.fold((0, 0), |(streams, credit), link| {
            (streams + link.streams(), credit + link.credit_outstanding())
        })
    }

    /// A place for a connection that was just accepted.
    pub fn arrive(&self, session: u64, peer: IpAddr) -> Place {
        let (now, source) = (self.shared.clock.now(), Source::from(peer));
        let presence = Arc::new(Presence::default());
        presence.busy_at.store(now.as_micros(), Ordering::Relaxed);
        let entry = ConnectionEntry {
            class: Class::Newcomer,
            source,
            leaving: false,
            link: None,
            presence: presence.clone(),
        };
        let mut table = self.shared.lock();
        table.make_room(Class::Newcomer, NEWCOMERS_MAX, source, now);
        table.entries.insert(session, entry);
        drop(table);
        Place { shared: self.shared.clone(), session, presence }
    }
}

/// The place of one connection, until it is dropped.
pub struct Place {
    shared: Arc<Shared>,
    session: u64,
    presence: Arc<Presence>,
}

impl Place {
    /// Moves to the class that the peer says it is of.
    ///
    /// # Errors
    /// `Busy` if nobody there can make room, or if this one was told to go itself.
    pub(super) fn introduce(&self, peer: &Peer) -> Result<Class, Status> {
        let class = match peer {
            Peer::Client(_) | Peer::Newcomer(_) => Class::Client,
            Peer::Datanode(_) | Peer::Coordinator(_) => Class::Member,
            Peer::Operator(_) => Class::Operator,
        };
        let (now, max) = (self.shared.clock.now(), self.shared.max.of(class));
        let mut table = self.shared.lock();
        let me = table.entries.get(&self.session).filter(|entry| !entry.leaving);
        let source = me.map(|entry| entry.source).ok_or_else(crowded)?;
        if !table.make_room(class, max, source, now) {
            return Err(full(class, max));
        }
        if let Some(entry) = table.entries.get_mut(&self.session) {
            entry.class = class;
        }
        Ok(class)
    }

    /// The handshake is over: from here on the peer can be told to go while it has nothing under way on `link`.
    pub(super) fn open(&self, link: Link) {
        if let Some(entry) = self.shared.lock().entries.get_mut(&self.session) {
            entry.link = Some(link);
        }
    }

    /// What notes that the peer asked for something.
    pub(super) fn busy(&self) -> impl Fn() + Send + 'static {
        let (clock, presence) = (self.shared.clock.clone(), self.presence.clone());
        move || presence.busy_at.store(clock.now().as_micros(), Ordering::Relaxed)
    }

    /// Completes when the peer has to make room.
    pub(super) fn told_to_go(&self) -> impl Future<Output = ()> + Send + 'static {
        let presence = self.presence.clone();
        async move { presence.go.notified().await }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // With its link, whose last handle this may be: that takes another lock.
        let gone = self.shared.lock().entries.remove(&self.session);
        drop(gone);
    }
}

/// What a newcomer is told that has to make room for others.
pub(super) fn crowded() -> Status {
    busy(format!("{NEWCOMERS_MAX} connections are introducing themselves here, and this one was the slowest"))
}

fn full(class: Class, max: usize) -> Status {
    let name = class.name();
    busy(format!("all {max} places for {name} connections are taken here, and none of them is idle"))
        .hint(format!("try again in a moment; `network.{}` says how many there are", key(class)))
}

/// The configuration that bounds a class.
fn key(class: Class) -> &'static str {
    match class {
        Class::Newcomer | Class::Client => "connections_max",
        Class::Member => "members_max",
        Class::Operator => "operators_max",
    }
}

fn busy(text: String) -> Status {
    Status::new(StatusCode::Busy, text).hint("try again in a moment").retry_after_ms(BUSY_PAUSE_MS)
}

#[cfg(test)]
mod tests {
    use dfs_wire::handshake::{ClientPeer, NodePeer};
    use dfs_wire::id::{ClientId, Incarnation, NodeId};

    use super::*;
    use crate::env::TokioClock;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn places(clients: usize, members: usize, operators: usize) -> Places {
        Places::new(PlacesMax { clients, members, operators }, Arc::new(TokioClock::starting_at(0)))
    }

    fn client() -> Peer {
        Peer::Client(ClientPeer { client: ClientId(1), name: String::new() })
    }

    fn member() -> Peer {
        Peer::Datanode(NodePeer { node: NodeId(1), incarnation: Incarnation(1), name: String::new() })
    }

    fn operator() -> Peer {
        Peer::Operator(ClientPeer { client: ClientId(1), name: String::new() })
    }

    fn tally(places: &Places, class: Class) -> PlacesTally {
        places.tally().into_iter().find(|(c, _)| *c == class).unwrap().1
    }

    fn idle_link() -> Link {
        use dfs_wire::link::{LinkParams, Role};
        use dfs_wire::slab::{SlabBudget, SlabPool};
        let budget = SlabBudget::new(SlabPool::new(1), 1);
        let params = LinkParams { role: Role::Acceptor, budget, send_credit: 0, recv_credit: 0 };
        Link::new(tokio::io::empty(), tokio::io::sink(), params).0
    }

    #[tokio::test(start_paused = true)]
    async fn clients_take_no_place_of_members_or_operators_and_the_idle_make_room() {
        let places = places(2, 1, 1);
        let enter = |session, peer: &Peer| {
            let place = places.arrive(session, HERE);
            place.introduce(peer).map(|_| place)
        };
        let (first, second) = (enter(1, &client()).unwrap(), enter(2, &client()).unwrap());
        let refused = enter(3, &client()).err().unwrap();
        assert_eq!(refused.code, StatusCode::Busy);
        assert!(refused.message.contains("all 2 places for client connections"), "{refused}");
        let (_member, _operator) = (enter(4, &member()).unwrap(), enter(5, &operator()).unwrap());
        assert!(enter(6, &operator()).err().unwrap().hint.contains("network.operators_max"));

        first.open(idle_link());
        second.open(idle_link());
        tokio::time::advance(IDLE_FIRST).await;
        (second.busy())();
        let _third = enter(7, &client()).unwrap();
        first.told_to_go().await;
        assert_eq!(tally(&places, Class::Client), PlacesTally { taken: 2, evicted: 1, refused: 1 });
        assert_eq!(places.leaving(), 1);
        drop((first, second));
        assert_eq!((places.leaving(), tally(&places, Class::Client).taken), (0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_always_a_place_for_one_more_newcomer_and_the_slowest_is_told_why() {
        let places = places(4, 1, 1);
        let slow: Vec<_> = (0..NEWCOMERS_MAX as u64).map(|session| places.arrive(session, HERE)).collect();
        tokio::time::advance(Duration::from_millis(1)).await;
        let quick = places.arrive(9_999, HERE);
        assert_eq!(tally(&places, Class::Newcomer).taken, NEWCOMERS_MAX);
        quick.introduce(&client()).unwrap();
        assert_eq!(
            slow.iter().filter(|place| place.introduce(&member()).is_err()).count(),
            NEWCOMERS_MAX - 1
        );
        assert_eq!((places.leaving(), tally(&places, Class::Member).taken), (1, 1));
    }
}
