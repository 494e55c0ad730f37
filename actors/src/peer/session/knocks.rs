//! Connections that came to nothing: counted, and logged once a minute for each source and reason.
//!
//! Health checks connect and say nothing, scanners say anything, and each would be a line in the log otherwise.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::eviction::Source;
use crate::env::MonoTime;

/// Between two lines about the same.
const QUIET: Duration = Duration::from_secs(60);
/// Sources and reasons that are told apart; of more, only the number is kept.
const KEPT_MAX: usize = 1024;
/// Between two looks for what can be forgotten, in a flood.
const SWEEP: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
struct Knock {
    logged: MonoTime,
    /// Knocks since then.
    count: u64,
}

#[derive(Debug, Default)]
struct Book {
    swept: MonoTime,
    kept: BTreeMap<(Source, &'static str), Knock>,
    totals: BTreeMap<&'static str, u64>,
}

/// The connections of a node that came to nothing. Cheap to clone; all clones count together.
#[derive(Debug, Clone, Default)]
pub struct Knocks {
    book: Arc<Mutex<Book>>,
}

impl Knocks {
    /// Notes one, and says whether it is to be logged: then with how many there were since the last line about the
    /// same, this one included.
    pub(super) fn note(&self, source: Source, reason: &'static str, now: MonoTime) -> Option<u64> {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        *book.totals.entry(reason).or_default() += 1;
        if !book.kept.contains_key(&(source, reason)) {
            if book.kept.len() >= KEPT_MAX && now.since(book.swept) >= SWEEP {
                book.swept = now;
                book.kept.retain(|_, knock| now.since(knock.logged) < QUIET);
            }
            if book.kept.len() < KEPT_MAX {
                book.kept.insert((source, reason), Knock { logged: now, count: 0 });
                return Some(1);
            }
            return None;
        }
        let knock = book.kept.get_mut(&(source, reason))?;
        knock.count += 1;
        if now.since(knock.logged) < QUIET {
            return None;
        }
        let count = knock.count;
        *knock = Knock { logged: now, count: 0 };
        Some(count)
    }

    /// How many there were, by reason.
    pub fn totals(&self) -> BTreeMap<&'static str, u64> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner).totals.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn at(seconds: u64) -> MonoTime {
        MonoTime::from_micros(seconds * 1_000_000)
    }

    fn source(number: u32) -> Source {
        IpAddr::from(number.to_be_bytes()).into()
    }

    #[test]
    fn a_health_check_is_a_line_a_minute_that_says_how_many() {
        let knocks = Knocks::default();
        let lines: Vec<_> =
            (0..180).filter_map(|second| knocks.note(source(1), "silent", at(second))).collect();
        assert_eq!(lines, [1, 60, 60]);
        assert_eq!(knocks.note(source(2), "silent", at(180)), Some(1), "another one has its own line");
        assert_eq!(knocks.note(source(1), "Busy", at(180)), Some(1), "another reason, too");
        assert_eq!(knocks.totals().into_iter().collect::<Vec<_>>(), [("Busy", 1), ("silent", 181)]);
    }

    #[test]
    fn a_flood_of_sources_is_counted_and_not_kept() {
        let knocks = Knocks::default();
        let lines = (0..10_000).filter_map(|number| knocks.note(source(number), "silent", at(1))).count();
        assert_eq!(lines, KEPT_MAX);
        assert_eq!(knocks.note(source(20_000), "silent", at(61)), Some(1), "old ones make room");
        assert_eq!(knocks.totals()["silent"], 10_001);
        assert!(knocks.book.lock().unwrap().kept.len() <= KEPT_MAX);
    }
}
