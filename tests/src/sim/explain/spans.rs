//! From when to when something was wrong.

use std::collections::BTreeMap;

use crate::sim::faults::{Fault, Planned};
use crate::sim::id::HostId;
use crate::sim::trace::{Event, What};

/// Something that lasted.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) hosts: Vec<HostId>,
    pub(super) text: String,
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) sort: Sort,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sort {
    /// There is no process.
    Down,
    /// It stands still.
    Paused,
    /// Nothing gets from the first host to the second.
    Mute,
    /// Little does.
    Slow,
    /// Its disk is slow, hangs, or is full.
    Disk,
}

impl Span {
    pub(super) fn covers(&self, at: i64) -> bool {
        (self.from..self.to).contains(&at)
    }

    pub(super) fn holds_back(&self, from: HostId, to: HostId) -> bool {
        self.sort == Sort::Mute && self.hosts == [from, to]
    }

    /// Whether it is about this host alone, and of this sort.
    pub(super) fn is_of(&self, sort: Sort, host: HostId) -> bool {
        self.sort == sort && self.hosts == [host]
    }
}

/// All that lasted, in the order of its end.
pub(super) fn spans(events: &[Event], base: u64) -> Vec<Span> {
    let mut ledger = Ledger { base: base as i64, open: BTreeMap::new(), over: vec![] };
    for event in events {
        if let What::Life(text) = &event.what {
            ledger.add(event, text);
        }
    }
    let end = events.last().map_or(0, |event| event.at as i64 - ledger.base + 1);
    let left: Vec<_> = ledger.open.keys().cloned().collect();
    left.into_iter().for_each(|key| ledger.ends(&key, end));
    ledger.over
}

type Key = (Sort, Vec<HostId>);

struct Ledger {
    base: i64,
    open: BTreeMap<Key, (i64, String)>,
    over: Vec<Span>,
}

impl Ledger {
    fn begins(&mut self, key: Key, at: i64, text: &str) {
        self.open.entry(key).or_insert((at, text.to_owned()));
    }

    fn ends(&mut self, key: &Key, to: i64) {
        if let Some((from, text)) = self.open.remove(key) {
            let (sort, hosts) = key.clone();
            self.over.push(Span { hosts, text, from, to, sort });
        }
    }

    fn add(&mut self, event: &Event, text: &str) {
        let at = event.at as i64 - self.base;
        match (event.host, text) {
            (HostId::WORLD, "all faults are over") => {
                let here: Vec<Key> =
                    self.open.keys().filter(|(sort, _)| *sort != Sort::Down).cloned().collect();
                here.iter().for_each(|key| self.ends(key, at));
            }
            (HostId::WORLD, _) => {
                if let Ok(planned) = format!("0 {text}").parse::<Planned>() {
                    self.inflicted(planned.fault, at, text);
                }
            }
            (host, "starts") => self.ends(&(Sort::Down, vec![host]), at),
            (host, _) if !host.is_client() && is_end(text) => {
                self.ends(&(Sort::Paused, vec![host]), at);
                self.begins((Sort::Down, vec![host]), at, text);
            }
            _ => {}
        }
    }

    fn inflicted(&mut self, fault: Fault, at: i64, text: &str) {
        let mut weather = |sort, a, b| self.begins((sort, vec![a, b]), at, text);
        match fault {
            Fault::Part(a, b) => {
                weather(Sort::Mute, a, b);
                weather(Sort::Mute, b, a);
            }
            Fault::Mute(a, b) => weather(Sort::Mute, a, b),
            Fault::Slow(a, b, _) => weather(Sort::Slow, a, b),
            Fault::Join(a, b) => {
                for key in [vec![a, b], vec![b, a]] {
                    [Sort::Mute, Sort::Slow].into_iter().for_each(|sort| self.ends(&(sort, key.clone()), at));
                }
            }
            Fault::Pause(host) => self.begins((Sort::Paused, vec![host]), at, text),
            Fault::Resume(host) => self.ends(&(Sort::Paused, vec![host]), at),
            Fault::SlowDisk(host, _) | Fault::HangDisk(host) | Fault::Fill(host) => {
                self.begins((Sort::Disk, vec![host]), at, text);
            }
            Fault::Heal(host) => self.ends(&(Sort::Disk, vec![host]), at),
            _ => {}
        }
    }
}

/// Whether a process says so when it ends.
fn is_end(text: &str) -> bool {
    let ends = ["is killed", "loses power", "has ended", "gave up", "is started anew"];
    ends.into_iter().any(|end| text.starts_with(end))
}
