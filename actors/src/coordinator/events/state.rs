//! What is remembered of the health of the cluster: a pure machine.
//!
//! ```text
//!  a finding is seen --> it stands, since now --not seen for CLEARED_AFTER_MS--> it stands no more
//!  a mute holds until its time is over, and never for an error
//!
//!  each arrow is an event: pending --written, with the book--> kept
//!                          more than PENDING_MAX: the oldest are dropped, and counted
//! ```
//!
//! After a start nothing is taken for over before [`TOLD_AFTER_MS`]: datanodes have to say first what they said before.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use dfs_wire::id::{Epoch, NodeId};
use dfs_wire::message::admin::{HealthFinding, HealthLevel, MutedFinding};
use dfs_wire::message::membership::NodeState;

use super::messages::Happening;
use crate::coordinator::membership::ClusterView;
use crate::coordinator::metadata::model::records::{
    EventRecord, FindingKey, HealthBook, Mute, StandingFinding,
};
use crate::coordinator::metadata::ops::events::EVENTS_AT_ONCE;

/// A finding that is not seen for so long is over.
const CLEARED_AFTER_MS: u64 = 10_000;
/// How long after a start nothing is taken for over.
const TOLD_AFTER_MS: u64 = 60_000;
/// Events that wait to be written.
const PENDING_MAX: usize = 512;
/// Findings that are remembered; more are not told apart.
const STANDING_MAX: usize = 256;
/// Mutes that are remembered.
const MUTES_MAX: usize = 64;
/// Characters of an event's text that are kept.
const TEXT_CHARS_MAX: usize = 500;

#[derive(Debug)]
pub(super) struct EventsState {
    book: HealthBook,
    /// Findings that stand and were not seen the last time, since when.
    unseen: BTreeMap<FindingKey, u64>,
    /// The nodes as they were last seen; `None` = not yet.
    nodes: Option<BTreeMap<NodeId, NodeState>>,
    pending: VecDeque<EventRecord>,
    /// So many of them, the first ones, are being written.
    in_flight: usize,
    dropped: u64,
    began_ms: u64,
    /// The wall clock, as it was said last.
    wall_ms: u64,
    /// The book has changed since it was last handed out to be written.
    unsaved: bool,
}

impl EventsState {
    /// Goes on from what is remembered, in the reign `epoch`.
    pub(super) fn new(book: HealthBook, epoch: Epoch, (now_ms, wall_ms): (u64, u64)) -> Self {
        let mut state = Self {
            book,
            unseen: BTreeMap::new(),
            nodes: None,
            pending: VecDeque::new(),
            in_flight: 0,
            dropped: 0,
            began_ms: now_ms,
            wall_ms,
            unsaved: false,
        };
        if state.book.epoch != epoch {
            (state.book.epoch, state.unsaved) = (epoch, true);
            let text = format!("the coordinator has started, reign {epoch}");
            state.note(Happening::new("coordinator", HealthLevel::Ok, text));
        }
        state
    }

    /// What is remembered now.
    pub(super) fn book(&self) -> &HealthBook {
        &self.book
    }

    /// What the wall clock says now: what happens from here on is dated by it.
    pub(super) fn at(&mut self, wall_ms: u64) {
        self.wall_ms = wall_ms;
    }

    /// Has it kept, or, where too much waits, what has waited longest dropped.
    pub(super) fn note(&mut self, happening: Happening) {
        let Happening { kind, level, subject, text } = happening;
        let text = text.chars().take(TEXT_CHARS_MAX).collect();
        self.pending.push_back(EventRecord {
            wall_ms: self.wall_ms,
            kind: kind.to_owned(),
            level,
            subject,
            text,
        });
        while self.pending.len() > PENDING_MAX {
            // What is being written may be kept all the same.
            self.pending.remove(self.in_flight);
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    /// The nodes are like this.
    pub(super) fn nodes(&mut self, view: &ClusterView) {
        let all = view.nodes.iter().chain(&view.forgotten);
        let now: BTreeMap<NodeId, NodeState> =
            all.map(|known| (known.entry.node, known.entry.state)).collect();
        let Some(before) = self.nodes.replace(now.clone()) else { return };
        for (node, state) in now {
            let name = view.name(node);
            let (level, text) = match before.get(&node) {
                Some(was) if *was == state => continue,
                Some(was) => (level_of(state), format!("datanode {name} is {state}, it was {was}")),
                None => (HealthLevel::Ok, format!("datanode {name} is new here, and {state}")),
            };
            self.note(Happening::new("node", level, text).about(&name));
        }
    }

    /// These are the findings now.
    pub(super) fn found(&mut self, findings: &[HealthFinding], now_ms: u64) {
        let mut seen = BTreeSet::new();
        // That something is being counted comes and goes with every change of a node.
        for finding in findings.iter().filter(|finding| finding.code != "COUNTING") {
            let key = (finding.code.clone(), finding.subject.clone());
            if !seen.insert(key.clone()) {
                continue;
            }
            self.unseen.remove(&key);
            let stands = self.book.standing.get(&key).copied();
            if stands.is_some_and(|stands| stands.level == finding.level)
                || stands.is_none() && self.book.standing.len() >= STANDING_MAX
            {
                continue;
            }
            let since_ms = stands.map_or(now_ms, |stands| stands.since_ms);
            self.book.standing.insert(key.clone(), StandingFinding { level: finding.level, since_ms });
            self.unsaved = true;
            let text = format!("{}: {}", finding.code, finding.message);
            self.note(Happening::new("health", finding.level, text).about(&finding.subject));
        }
        if now_ms >= self.began_ms.saturating_add(TOLD_AFTER_MS) {
            self.clear(&seen, now_ms);
        }
        self.end_mutes(now_ms);
    }

    fn clear(&mut self, seen: &BTreeSet<FindingKey>, now_ms: u64) {
        let unseen: Vec<_> = self.book.standing.keys().filter(|key| !seen.contains(*key)).cloned().collect();
        for key in unseen {
            let since = *self.unseen.entry(key.clone()).or_insert(now_ms);
            if now_ms < since.saturating_add(CLEARED_AFTER_MS) {
                continue;
            }
            self.unseen.remove(&key);
            self.book.standing.remove(&key);
            self.unsaved = true;
            let text = format!("{} is over", phrase(&key));
            self.note(Happening::new("health", HealthLevel::Ok, text).about(&key.1));
        }
    }

    fn end_mutes(&mut self, now_ms: u64) {
        let over = |(key, mute): (&FindingKey, &Mute)| (mute.until_ms <= now_ms).then(|| key.clone());
        let over: Vec<_> = self.book.mutes.iter().filter_map(over).collect();
        for key in over {
            self.book.mutes.remove(&key);
            self.unsaved = true;
            let text = format!("{} is heard again: the time of its mute is over", phrase(&key));
            self.note(Happening::new("health", HealthLevel::Ok, text).about(&key.1));
        }
    }

    /// Operators want to hear nothing of something until then, or hear it again (`until_ms` = 0). Says whether that is possible:
    /// so many mutes are remembered.
    pub(super) fn mute(&mut self, key: FindingKey, until_ms: u64, by: &str, now_ms: u64) -> bool {
        let what = phrase(&key);
        let text = if until_ms == 0 {
            self.book.mutes.remove(&key);
            format!("{by} wants to hear of {what} again")
        } else {
            if self.book.mutes.len() >= MUTES_MAX && !self.book.mutes.contains_key(&key) {
                return false;
            }
            self.book.mutes.insert(key.clone(), Mute { until_ms, by: by.to_owned() });
            let minutes = until_ms.saturating_sub(now_ms).div_ceil(60_000);
            format!("{by} wants to hear nothing of {what} for {minutes} min")
        };
        self.unsaved = true;
        self.note(Happening::new("operator", HealthLevel::Ok, text).about(&key.1));
        true
    }

    /// All that is muted.
    pub(super) fn mutes(&self, now_ms: u64) -> Vec<MutedFinding> {
        let muted = |((code, subject), mute): (&FindingKey, &Mute)| MutedFinding {
            code: code.clone(),
            subject: subject.clone(),
            left_ms: mute.until_ms.saturating_sub(now_ms),
            by: mute.by.clone(),
        };
        self.book.mutes.iter().map(muted).collect()
    }

    /// What is to be written now, if anything: some events, and the book.
    pub(super) fn unwritten(&mut self) -> Option<(Vec<EventRecord>, HealthBook)> {
        if self.dropped > 0 && self.pending.len() < PENDING_MAX {
            let text = format!("{} events could not be kept", std::mem::take(&mut self.dropped));
            self.note(Happening::new("coordinator", HealthLevel::Warn, text));
        }
        if self.pending.is_empty() && !std::mem::take(&mut self.unsaved) {
            return None;
        }
        self.unsaved = false;
        self.in_flight = self.pending.len().min(EVENTS_AT_ONCE);
        Some((self.pending.iter().take(self.in_flight).cloned().collect(), self.book.clone()))
    }

    /// What was to be written is, or is not: then it is written again.
    pub(super) fn written(&mut self, durable: bool) {
        let in_flight = std::mem::take(&mut self.in_flight);
        if durable {
            self.pending.drain(..in_flight);
        } else {
            self.unsaved = true;
        }
    }
}

/// A finding, as people say it.
fn phrase((code, subject): &FindingKey) -> String {
    if subject.is_empty() { code.clone() } else { format!("{code} of {subject}") }
}

fn level_of(state: NodeState) -> HealthLevel {
    match state {
        NodeState::Down | NodeState::Lost => HealthLevel::Warn,
        NodeState::Up | NodeState::Suspect | NodeState::Draining | NodeState::Left | NodeState::Forgotten => {
            HealthLevel::Ok
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::coordinator::health::annotate;
    use crate::coordinator::membership::NodeView;

    const START: u64 = 1_000_000;

    fn state() -> EventsState {
        let mut state = EventsState::new(HealthBook::default(), Epoch(7), (START, 0));
        assert_eq!(texts(&mut state), ["the coordinator has started, reign 7"]);
        state
    }

    /// Writes what is pending, and says what that was.
    fn texts(state: &mut EventsState) -> Vec<String> {
        let mut all = Vec::new();
        while let Some((events, _)) = state.unwritten() {
            state.written(true);
            all.extend(events.into_iter().map(|event| event.text));
        }
        all
    }

    fn finding(level: HealthLevel) -> HealthFinding {
        HealthFinding::new("NODE_DOWN", level, "dn-1 is down".to_owned(), "start it").about("dn-1")
    }

    #[test]
    fn a_finding_stands_from_when_it_was_first_seen_until_it_was_not_for_a_while() {
        let mut state = state();
        let down = finding(HealthLevel::Warn);
        state.found(std::slice::from_ref(&down), START + 5_000);
        state.found(std::slice::from_ref(&down), START + 61_000);
        assert_eq!(texts(&mut state), ["NODE_DOWN: dn-1 is down"], "it is said once");
        let mut shown = [down.clone(), HealthFinding { subject: "dn-2".to_owned(), ..down.clone() }];
        annotate(&mut shown, state.book(), START + 65_000);
        assert_eq!((shown[0].age_ms, shown[1].age_ms), (60_000, 0));
        state.found(&[], START + 62_000);
        state.found(&[down], START + 71_999);
        state.found(&[], START + 73_000);
        assert_eq!(texts(&mut state), [""; 0], "a look that misses it is not the end of it");
        state.found(&[], START + 83_000);
        assert_eq!(texts(&mut state), ["NODE_DOWN of dn-1 is over"]);
        assert!(state.book().standing.is_empty());
    }

    #[test]
    fn a_restart_begins_nothing_anew() {
        let mut state = state();
        state.found(&[finding(HealthLevel::Warn)], START);
        let book = state.book().clone();
        let mut next = EventsState::new(book.clone(), Epoch(8), (START + 100_000, 0));
        assert_eq!(texts(&mut next), ["the coordinator has started, reign 8"]);
        next.found(&[], START + 101_000);
        next.found(&[], START + 150_000);
        assert_eq!(next.book().standing, book.standing, "nobody was heard of yet");
        next.found(&[finding(HealthLevel::Warn)], START + 159_000);
        assert_eq!(texts(&mut next), [""; 0]);
    }

    #[test]
    fn what_is_muted_is_not_heard_until_its_time_is_over_and_an_error_is_always() {
        let mut state = state();
        let (down, key) = (finding(HealthLevel::Warn), ("NODE_DOWN".to_owned(), String::new()));
        state.found(std::slice::from_ref(&down), START);
        assert!(state.mute(key.clone(), START + 10_000, "me", START));
        let muted = |state: &EventsState, of: &HealthFinding, at: u64| {
            let mut shown = [of.clone()];
            annotate(&mut shown, state.book(), at);
            shown[0].muted_ms
        };
        assert_eq!(muted(&state, &down, START + 1_000), 9_000, "without a name it is all of them");
        let other = HealthFinding { code: "DISK_FULL".to_owned(), ..down.clone() };
        assert_eq!(muted(&state, &other, START), 0);
        assert_eq!(muted(&state, &finding(HealthLevel::Error), START), 0, "never an error");
        assert_eq!(state.mutes(START + 4_000)[0].left_ms, 6_000);
        state.found(std::slice::from_ref(&down), START + 10_000);
        assert_eq!((muted(&state, &down, START + 10_000), state.mutes(0)), (0, vec![]));
        assert!(state.mute(key.clone(), START + 90_000, "me", START) && state.mute(key, 0, "me", START));
        assert_eq!(state.mutes(0), vec![]);
        for number in 0..MUTES_MAX {
            assert!(state.mute((format!("{number}"), String::new()), START + 1, "me", START));
        }
        assert!(!state.mute(("more".to_owned(), String::new()), START + 1, "me", START));
    }

    #[test]
    fn a_node_that_changes_its_state_is_told_of_and_one_that_is_as_it_was_is_not() {
        let mut state = state();
        let view = |states: &[NodeState]| {
            let node = |(at, of): (usize, &NodeState)| {
                let mut node = NodeView::for_tests(at as u128 + 1);
                node.entry.state = *of;
                Arc::new(node)
            };
            ClusterView { nodes: states.iter().enumerate().map(node).collect(), ..ClusterView::default() }
        };
        use NodeState::{Down, Up};
        state.nodes(&view(&[Up, Down]));
        assert_eq!(texts(&mut state), [""; 0], "so they were");
        state.nodes(&view(&[Down, Down, Up]));
        assert_eq!(
            texts(&mut state),
            ["datanode dn-1 is down, it was up", "datanode dn-3 is new here, and up"]
        );
    }

    #[test]
    fn what_is_not_written_is_written_again_and_what_is_too_much_is_counted() {
        let mut state = state();
        let note = |state: &mut EventsState, number: usize| {
            state.note(Happening::new("job", HealthLevel::Ok, format!("{number}")));
        };
        note(&mut state, 1);
        assert_eq!(state.unwritten().unwrap().0.len(), 1);
        state.written(false);
        assert_eq!(texts(&mut state), ["1"]);
        assert_eq!(state.unwritten(), None);
        for number in 0..PENDING_MAX + 5 {
            note(&mut state, number);
        }
        let said = texts(&mut state);
        assert_eq!((said[0].as_str(), said.len()), ("5", PENDING_MAX + 1));
        assert_eq!(said.last().unwrap(), "5 events could not be kept");
        // What comes while some are being written drops none of those.
        (0..PENDING_MAX).for_each(|number| note(&mut state, number));
        let first = state.unwritten().unwrap().0;
        (0..3).for_each(|number| note(&mut state, 1_000 + number));
        state.written(true);
        assert_eq!((first[0].text.as_str(), first.len()), ("0", EVENTS_AT_ONCE));
        let said = texts(&mut state);
        assert_eq!(said[0], (EVENTS_AT_ONCE + 3).to_string());
        assert!(said.contains(&"3 events could not be kept".to_owned()), "{said:?}");
    }
}
