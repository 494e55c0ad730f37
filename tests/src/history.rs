//! What clients did and saw, and whether one order of events explains all of it (linearizability).
//!
//! Every operation has an interval from its call to its return. The checker looks for one order that respects the intervals
//! (what returned before another was called comes before it) and in which every answer is right. The search is Wing and
//! Gong's, with Lowe's memory of configurations seen. Two habits keep it short: an answer that changes nothing and is right
//! now is taken at once (taking it later would only be harder), and what returned first is tried first, what never returned
//! last. Where a value is gone that somebody has still to see, no order goes on. A history that needs more than `CONFIGURATIONS_MAX` is not called right: it is said that nobody knows.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashSet},
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// What one path holds: nothing, or the value of one put. Every put has a value of its own.
pub type Held = Option<u32>;

/// What was asked, with the answer where there was one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A value was put.
    Put(usize, u32),
    /// A value was to be put where exactly this was: `true`, or something else was there.
    PutIf(usize, Held, u32, bool),
    /// A path was removed: `true`, or was not there.
    Remove(usize, bool),
    /// The first was renamed to the second, replacing it: `true`, or the first was not there.
    Rename(usize, usize, bool),
    /// A path was read.
    Get(usize, Held),
    /// All paths were listed.
    List(BTreeMap<usize, u32>),
}

/// One operation.
#[derive(Clone, Debug)]
pub struct Op {
    /// What was asked and answered. For an unknown outcome: what it would have been on success.
    pub event: Event,
    /// When it was called.
    pub called: u64,
    /// When it returned; `None` = its outcome is unknown: it may take effect at any time after its call, or never.
    pub returned: Option<u64>,
    /// Who did it, for messages.
    pub client: usize,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.returned.map_or("?".to_owned(), |at| at.to_string());
        write!(f, "[{:>5} {end:>5}] client {} {:?}", self.called, self.client, self.event)
    }
}

/// Collects operations from many tasks. Time is a counter: only the order counts.
#[derive(Debug, Default)]
pub struct Recorder {
    clock: AtomicU64,
    ops: Mutex<Vec<Op>>,
}

impl Recorder {
    /// A moment, later than all before.
    pub fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// Adds an operation that was called at `called` and returns now.
    pub fn returned(&self, client: usize, called: u64, event: Event) {
        let returned = Some(self.now());
        self.push(Op { event, called, returned, client });
    }

    /// Adds an operation whose outcome is not known.
    pub fn unknown(&self, client: usize, called: u64, event: Event) {
        self.push(Op { event, called, returned: None, client });
    }

    fn push(&self, op: Op) {
        self.ops.lock().unwrap_or_else(PoisonError::into_inner).push(op);
    }

    /// Everything so far.
    pub fn history(&self) -> Vec<Op> {
        self.ops.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

type State = Vec<Held>;

/// How many configurations a search may visit: about 400 MB and ten seconds.
const CONFIGURATIONS_MAX: usize = 2_000_000;

impl Event {
    /// Whether a path may hold something else after this event.
    pub fn changes(&self, path: usize) -> bool {
        match self {
            Self::Put(at, _) | Self::PutIf(at, _, _, true) | Self::Remove(at, true) => *at == path,
            Self::Rename(from, to, true) => *from == path || *to == path,
            _ => false,
        }
    }

    /// Whether it only looks, whatever was there.
    fn only_looks(&self) -> bool {
        match self {
            Self::Get(..) | Self::List(_) => true,
            Self::PutIf(_, _, _, took) | Self::Remove(_, took) | Self::Rename(_, _, took) => !took,
            Self::Put(..) => false,
        }
    }

    /// The values that must be there for the answer to be right.
    fn values_seen(&self) -> Vec<u32> {
        match self {
            Self::PutIf(_, expected, _, true) => expected.iter().copied().collect(),
            Self::Get(_, held) => held.iter().copied().collect(),
            Self::List(seen) => seen.values().copied().collect(),
            _ => Vec::new(),
        }
    }

    /// Whether the value is there because of this event.
    fn makes(&self, value: u32) -> bool {
        matches!(self, Self::Put(_, made) | Self::PutIf(_, _, made, true) if *made == value)
    }

    /// The state after this event, or `None` if the answer would be wrong in `state`.
    fn apply(&self, state: &State) -> Option<State> {
        let mut next = state.clone();
        match self {
            Self::Put(path, value) => next[*path] = Some(*value),
            Self::PutIf(path, expected, value, true) => {
                if state[*path] != *expected {
                    return None;
                }
                next[*path] = Some(*value);
            }
            Self::PutIf(path, expected, _, false) => {
                return (state[*path] != *expected).then_some(next);
            }
            Self::Remove(path, true) => {
                next[*path].take()?;
            }
            Self::Rename(from, to, true) => next[*to] = Some(next[*from].take()?),
            Self::Remove(path, false) | Self::Rename(path, _, false) => {
                return state[*path].is_none().then_some(next);
            }
            Self::Get(path, held) => return (state[*path] == *held).then_some(next),
            Self::List(seen) => {
                let right = state.iter().enumerate().all(|(path, held)| seen.get(&path).copied() == *held);
                return right.then_some(next);
            }
        }
        Some(next)
    }
}

/// Looks for an order that explains a history over `paths` paths that were all empty at first.
///
/// # Errors
/// The longest explicable part of the history and what could not come next, for people; or that the search was given up.
pub fn check(paths: usize, ops: Vec<Op>) -> Result<(), String> {
    search(paths, ops, CONFIGURATIONS_MAX)
}

/// [`check`], with so many configurations at most.
fn search(paths: usize, mut ops: Vec<Op>, configurations_max: usize) -> Result<(), String> {
    ops.sort_by_key(|op| op.called);
    let mut seen: HashSet<(Vec<u64>, State)> = HashSet::new();
    let mut waiting = vec![(vec![0_u64; ops.len().div_ceil(64)], vec![None; paths])];
    let mut best = (0, vec![], vec![]);
    while let Some((done, state)) = waiting.pop() {
        if seen.len() == configurations_max {
            return Err(format!(
                "nobody knows whether an order explains the history: {configurations_max} tries"
            ));
        }
        if !seen.insert((done.clone(), state.clone())) {
            continue;
        }
        let left: Vec<usize> = (0..ops.len()).filter(|at| done[at / 64] & (1 << (at % 64)) == 0).collect();
        if left.iter().all(|at| ops[*at].returned.is_none()) {
            return Ok(());
        }
        let candidates = candidates(&ops, &left);
        if ops.len() - left.len() >= best.0 {
            best = (ops.len() - left.len(), state.clone(), candidates.clone());
        }
        if is_dead(&ops, &left, &state) {
            continue;
        }
        let after = |at: usize| {
            let mut done = done.clone();
            done[at / 64] |= 1 << (at % 64);
            ops[at].event.apply(&state).map(|next| (done, next))
        };
        let looks = |at: &&usize| ops[**at].event.only_looks() && ops[**at].event.apply(&state).is_some();
        match candidates.iter().find(looks) {
            Some(look) => waiting.extend(after(*look)),
            None => waiting.extend(candidates.into_iter().filter_map(after)),
        }
    }
    let stuck: Vec<_> = best.2.iter().map(|at| ops[*at].to_string()).collect();
    Err(format!(
        "no order explains the history: {} of {} operations do, which leave {:?}; none of these fits then:\n{}",
        best.0,
        ops.len(),
        best.1,
        stuck.join("\n")
    ))
}

/// Whether a value that is still to be seen is nowhere, and nothing that is left makes it.
fn is_dead(ops: &[Op], left: &[usize], state: &State) -> bool {
    let is_gone =
        |value: &u32| !state.contains(&Some(*value)) && !left.iter().any(|at| ops[*at].event.makes(*value));
    let known = left.iter().filter(|at| ops[**at].returned.is_some());
    known.flat_map(|at| ops[*at].event.values_seen()).any(|value| is_gone(&value))
}

/// What of `left` may come next: what was called before the first return among them. What is most urgent comes last.
fn candidates(ops: &[Op], left: &[usize]) -> Vec<usize> {
    let end = |at: &usize| ops[*at].returned.unwrap_or(u64::MAX);
    let first_return = left.iter().map(end).min().unwrap_or(u64::MAX);
    let mut candidates: Vec<usize> =
        left.iter().copied().filter(|at| ops[*at].called <= first_return).collect();
    candidates.sort_by_key(|at| Reverse(end(at)));
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(called: u64, returned: u64, event: Event) -> Op {
        Op { event, called, returned: Some(returned), client: 0 }
    }

    fn listed(entries: &[(usize, u32)]) -> Event {
        Event::List(entries.iter().copied().collect())
    }

    #[test]
    fn what_could_have_happened_is_accepted() {
        let concurrent = vec![
            op(0, 9, Event::Put(0, 1)),
            op(1, 8, Event::Put(0, 2)),
            op(2, 3, Event::Get(0, None)),
            op(10, 11, Event::Get(0, Some(1))),
            op(12, 15, Event::Rename(0, 1, true)),
            op(13, 14, listed(&[(0, 1)])),
            op(16, 17, listed(&[(1, 1)])),
            op(18, 19, Event::Remove(0, false)),
            op(20, 21, Event::Remove(1, true)),
            op(22, 23, listed(&[])),
        ];
        assert_eq!(check(2, concurrent), Ok(()));
        let conditional = vec![
            op(0, 1, Event::PutIf(0, None, 1, true)),
            op(2, 5, Event::PutIf(0, Some(1), 2, true)),
            op(3, 4, Event::PutIf(0, None, 3, false)),
            op(6, 7, Event::Get(0, Some(2))),
        ];
        assert_eq!(check(1, conditional), Ok(()));
        // An unknown put may show late, or never.
        let unknown = |seen| {
            let lost = Op { event: Event::Put(0, 7), called: 0, returned: None, client: 1 };
            vec![lost, op(1, 2, Event::Get(0, None)), op(3, 4, Event::Get(0, seen))]
        };
        assert_eq!(check(1, unknown(Some(7))), Ok(()));
        assert_eq!(check(1, unknown(None)), Ok(()));
    }

    #[test]
    fn many_operations_of_unknown_outcome_cost_little_and_a_search_ends() {
        let mut ops: Vec<Op> = (0..24)
            .map(|at| Op {
                event: Event::Put(at % 4, at as u32),
                called: at as u64,
                returned: None,
                client: 0,
            })
            .collect();
        ops.extend((0..40).map(|at| {
            let seen = (at % 3 == 0).then_some(at as u32 % 4);
            op(100 + at, 200, Event::Get(at as usize % 4, seen.filter(|seen| u64::from(*seen) == at % 4)))
        }));
        assert_eq!(check(4, ops.clone()), Ok(()));
        // Nothing explains this one, and the unknown ones could have come in 24! orders.
        ops.push(op(300, 301, Event::Get(0, Some(999))));
        assert!(check(4, ops).is_err());
    }

    #[test]
    fn a_value_that_is_overwritten_before_it_is_seen_ends_an_order_at_once() {
        // Twelve puts at once on each of two paths, of which one is seen; nothing says which of the others came when.
        let put = |at: usize| op(at as u64, 100, Event::Put(at % 2, at as u32));
        let mut ops: Vec<Op> = (0..24).map(put).collect();
        ops.push(op(101, 102, Event::Get(0, Some(0))));
        ops.push(op(103, 104, Event::Get(1, Some(1))));
        assert_eq!(search(2, ops.clone(), 1_000), Ok(()));
        let nobodys = [op(105, 106, Event::Get(0, Some(99)))];
        let wrong = search(2, [ops, nobodys.to_vec()].concat(), 1_000).expect_err("nobody put that");
        assert!(wrong.contains("Put(") && wrong.contains("none of these fits"), "{wrong}");
    }

    #[test]
    fn every_kind_of_lie_is_caught() {
        let lies: [(&str, Vec<Op>); 9] = [
            ("a lost write", vec![op(0, 1, Event::Put(0, 1)), op(2, 3, Event::Get(0, None))]),
            (
                "a stale read",
                vec![
                    op(0, 1, Event::Put(0, 1)),
                    op(2, 3, Event::Put(0, 2)),
                    op(4, 5, Event::Get(0, Some(1))),
                ],
            ),
            (
                "a read that goes back in time",
                vec![
                    op(0, 9, Event::Put(0, 1)),
                    op(1, 2, Event::Get(0, Some(1))),
                    op(3, 4, Event::Get(0, None)),
                ],
            ),
            (
                "a deleted file that comes back",
                vec![
                    op(0, 1, Event::Put(0, 1)),
                    op(2, 3, Event::Remove(0, true)),
                    op(4, 5, Event::Get(0, Some(1))),
                ],
            ),
            (
                "a rename seen half done",
                vec![
                    op(0, 1, Event::Put(0, 1)),
                    op(2, 5, Event::Rename(0, 1, true)),
                    op(3, 4, listed(&[(0, 1), (1, 1)])),
                ],
            ),
            (
                "a listing that leaves a file out",
                vec![op(0, 1, Event::Put(0, 1)), op(2, 3, Event::Put(1, 2)), op(4, 5, listed(&[(1, 2)]))],
            ),
            (
                "two writers that both replaced the same version",
                vec![
                    op(0, 1, Event::Put(0, 1)),
                    op(2, 9, Event::PutIf(0, Some(1), 2, true)),
                    op(3, 8, Event::PutIf(0, Some(1), 3, true)),
                ],
            ),
            (
                "a condition that held and was denied",
                vec![op(0, 1, Event::Put(0, 1)), op(2, 3, Event::PutIf(0, Some(1), 2, false))],
            ),
            (
                "two removes of one file",
                vec![
                    op(0, 1, Event::Put(0, 1)),
                    op(2, 9, Event::Remove(0, true)),
                    op(3, 8, Event::Remove(0, true)),
                ],
            ),
        ];
        for (what, history) in lies {
            assert!(check(2, history).is_err(), "{what} was not caught");
        }
    }
}
