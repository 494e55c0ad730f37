//! Turns for uploads: so many at once, shared among the sessions that ask.
//!
//! A place is held until its upload ends, which on a slow line may take minutes. So a session never takes the last of them
//! for itself: it gets one more only while it holds less than [`SPREAD`] times what is left (the dynamic threshold of
//! Choudhury and Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches", 1998). Alone it holds three
//! quarters; the next who comes gets most of the rest at once.
//!
//! Invariants:
//! - no more places are held than there are;
//! - while one is free, a session that holds none never waits;
//! - of those who may have the next one, the session that holds fewest gets it, and of these the one that waits longest.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::env::Clock;

/// How many times what is left a session may hold.
const SPREAD: usize = 3;

/// Who holds what, and who waits: pure. Sessions and tickets are numbers.
#[derive(Debug)]
struct Queue {
    max: usize,
    taken: usize,
    held: BTreeMap<u64, usize>,
    /// Tickets of each session that wait, later ones with larger numbers. As many as a session may have streams.
    waiting: BTreeMap<u64, VecDeque<u64>>,
    next_ticket: u64,
}

impl Queue {
    fn new(max: usize) -> Self {
        Self { max, taken: 0, held: BTreeMap::new(), waiting: BTreeMap::new(), next_ticket: 0 }
    }

    fn held(&self, session: u64) -> usize {
        self.held.get(&session).copied().unwrap_or(0)
    }

    fn ask(&mut self, session: u64) -> u64 {
        self.next_ticket += 1;
        self.waiting.entry(session).or_default().push_back(self.next_ticket);
        self.next_ticket
    }

    fn give_up(&mut self, session: u64, ticket: u64) {
        if let Some(tickets) = self.waiting.get_mut(&session) {
            tickets.retain(|waiting| *waiting != ticket);
        }
        self.waiting.retain(|_, tickets| !tickets.is_empty());
    }

    fn give_back(&mut self, session: u64) {
        if let Some(held) = self.held.get_mut(&session) {
            *held -= 1;
            self.taken -= 1;
            if *held == 0 {
                self.held.remove(&session);
            }
        }
    }

    /// Lets the next one in, if anybody may.
    fn admit(&mut self) -> Option<u64> {
        let free = self.max - self.taken;
        let may = |session: &u64| self.held(*session) < free.saturating_mul(SPREAD);
        let waiting = self.waiting.iter().filter(|(session, _)| may(session));
        let fronts =
            waiting.filter_map(|(session, tickets)| Some((self.held(*session), *tickets.front()?, *session)));
        let (_, ticket, session) = fronts.min()?;
        self.give_up(session, ticket);
        self.taken += 1;
        *self.held.entry(session).or_default() += 1;
        Some(ticket)
    }
}

#[derive(Debug)]
struct Shared {
    queue: Queue,
    calls: BTreeMap<u64, oneshot::Sender<()>>,
}

/// Places for uploads. Cheap to clone; all clones are the same places.
#[derive(Debug, Clone)]
pub struct Turns {
    shared: Arc<Mutex<Shared>>,
    clock: Arc<dyn Clock>,
}

/// One place, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    turns: Turns,
    session: u64,
}

/// One who waits.
struct QueuedUpload<'a> {
    turns: &'a Turns,
    ticket: u64,
    session: u64,
    called: bool,
}

impl Turns {
    /// `max` places, waited for by `clock`.
    pub fn new(max: usize, clock: Arc<dyn Clock>) -> Self {
        let shared = Shared { queue: Queue::new(max), calls: BTreeMap::new() };
        Self { shared: Arc::new(Mutex::new(shared)), clock }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many places there are.
    pub fn max(&self) -> usize {
        self.lock().queue.max
    }

    /// Places that are held.
    pub fn taken(&self) -> usize {
        self.lock().queue.taken
    }

    /// Uploads that wait for one.
    pub fn waiting(&self) -> usize {
        self.lock().queue.waiting.values().map(VecDeque::len).sum()
    }

    /// Waits for a place for `session`, `patience` at most. Cancel safety: dropping the future leaves the queue.
    pub async fn enter(&self, session: u64, patience: Duration) -> Option<Turn> {
        let (call, called) = oneshot::channel();
        let mut waiting = {
            let mut shared = self.lock();
            let ticket = shared.queue.ask(session);
            shared.calls.insert(ticket, call);
            QueuedUpload { turns: self, ticket, session, called: false }
        };
        self.admit();
        waiting.called = matches!(self.clock.timeout(patience, called).await, Ok(Ok(())));
        waiting.called.then(|| Turn { turns: self.clone(), session })
    }

    /// Calls all who may enter.
    fn admit(&self) {
        let mut shared = self.lock();
        while let Some(ticket) = shared.queue.admit() {
            if let Some(call) = shared.calls.remove(&ticket) {
                // Whoever does not hear it any more sees in `QueuedUpload::drop` that it was called.
                let _ = call.send(());
            }
        }
    }
}

impl Drop for QueuedUpload<'_> {
    fn drop(&mut self) {
        if self.called {
            return;
        }
        let mut shared = self.turns.lock();
        if shared.calls.remove(&self.ticket).is_some() {
            shared.queue.give_up(self.session, self.ticket);
        } else {
            // Called just now.
            shared.queue.give_back(self.session);
        }
        drop(shared);
        self.turns.admit();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.lock().queue.give_back(self.session);
        self.turns.admit();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn turns(max: usize) -> Turns {
        Turns::new(max, crate::env::Env::for_tests(1).clock)
    }

    const SOON: Duration = Duration::from_millis(10);

    #[tokio::test(start_paused = true)]
    async fn one_session_leaves_places_for_the_next() {
        let turns = turns(16);
        let mut first = vec![];
        while let Some(turn) = turns.enter(1, SOON).await {
            first.push(turn);
        }
        assert_eq!(first.len(), 12);
        let mut second = vec![];
        while let Some(turn) = turns.enter(2, SOON).await {
            second.push(turn);
        }
        assert_eq!((second.len(), turns.taken()), (3, 15));
        assert!(turns.enter(3, SOON).await.is_some(), "one is left for whoever has none");
        drop(first);
        assert_eq!((turns.taken(), turns.waiting()), (3, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_is_given_back_goes_to_the_session_with_fewest() {
        let turns = turns(1);
        let only = turns.enter(1, SOON).await.unwrap();
        let (again, other) = (turns.enter(1, SOON * 9), turns.enter(2, SOON * 9));
        tokio::pin!(again, other);
        assert!(futures_util::poll!(again.as_mut()).is_pending());
        assert!(futures_util::poll!(other.as_mut()).is_pending());
        assert_eq!(turns.waiting(), 2);
        drop(only);
        let first = again.await.expect("equal sessions: the one that waits longest");
        assert!(futures_util::poll!(other.as_mut()).is_pending());
        drop(first);
        assert!(other.await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_called_and_gone_passes_the_place_on() {
        let turns = turns(1);
        let only = turns.enter(1, SOON).await.unwrap();
        {
            let gone = turns.enter(2, SOON * 9);
            tokio::pin!(gone);
            assert!(futures_util::poll!(gone.as_mut()).is_pending());
            drop(only);
        }
        assert_eq!((turns.taken(), turns.waiting()), (0, 0));
        assert!(turns.enter(3, SOON).await.is_some());
    }

    #[derive(Debug, Clone)]
    enum Act {
        Ask(u64),
        GiveUp(usize),
        GiveBack(usize),
    }

    fn tickets(queue: &Queue) -> Vec<(u64, u64)> {
        let each = |(session, tickets): (&u64, &VecDeque<u64>)| {
            tickets.iter().map(|ticket| (*ticket, *session)).collect::<Vec<_>>()
        };
        queue.waiting.iter().flat_map(each).collect()
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            3 => (0_u64..5).prop_map(Act::Ask),
            1 => any::<usize>().prop_map(Act::GiveUp),
            2 => any::<usize>().prop_map(Act::GiveBack),
        ];
        prop::collection::vec(act, 0..200)
    }

    proptest! {
        #[test]
        fn places_are_bounded_shared_and_never_kept_from_one_who_has_none(max in 1_usize..20, acts in acts()) {
            let mut queue = Queue::new(max);
            let mut inside: Vec<u64> = vec![];
            for act in acts {
                match act {
                    Act::Ask(session) => drop(queue.ask(session)),
                    Act::GiveUp(at) => {
                        let tickets = tickets(&queue);
                        if !tickets.is_empty() {
                            let (ticket, session) = tickets[at % tickets.len()];
                            queue.give_up(session, ticket);
                        }
                    }
                    Act::GiveBack(at) => {
                        if !inside.is_empty() {
                            let session = inside.swap_remove(at % inside.len());
                            queue.give_back(session);
                        }
                    }
                }
                let before = BTreeMap::from_iter(tickets(&queue));
                while let Some(ticket) = queue.admit() {
                    inside.push(before[&ticket]);
                }
                let free = max - queue.taken;
                prop_assert_eq!(queue.taken, inside.len());
                prop_assert_eq!(queue.held.values().sum::<usize>(), queue.taken);
                for session in queue.waiting.keys() {
                    prop_assert!(free == 0 || queue.held(*session) > 0, "{} waits beside {} free places", session, free);
                    prop_assert!(queue.held(*session) >= SPREAD * free);
                }
            }
            for session in inside {
                queue.give_back(session);
                while queue.admit().is_some() {}
            }
            prop_assert!(queue.waiting.is_empty() || queue.taken > 0);
        }
    }
}
