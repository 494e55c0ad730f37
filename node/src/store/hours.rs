//! Hours, by which the quarantine is divided, and the ledger of what is in each of them.
//!
//! ```text
//! quarantine/totals    1024 slots of 32 bytes, by hour modulo 1024 (six weeks): hour | files | bytes | CRC32 | 0
//! ```
//! A slot is written over in place, within one sector: it is the old one or the new one. It is not synced with each change, so that
//! after a power cut the numbers may be those of a minute before, until their hour is purged. Nothing but gauges rests on them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, IoSlice};
use std::path::Path;

use super::disk_io::{DiskFile, DiskIo};

const HOUR_MS: u64 = 3_600_000;
/// Hours that the ledger tells apart: more than the longest retention has.
const SLOTS: u64 = 1024;
const SLOT_BYTES: usize = 32;

/// An hour of the wall clock, in hours since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hour(pub u64);

impl Hour {
    /// The one that a moment lies in.
    pub const fn of(unix_ms: u64) -> Self {
        Self(unix_ms / HOUR_MS)
    }

    /// Its first moment.
    pub const fn begins_ms(self) -> u64 {
        self.0.saturating_mul(HOUR_MS)
    }

    /// The first moment after it.
    pub const fn ends_ms(self) -> u64 {
        self.begins_ms().saturating_add(HOUR_MS)
    }

    /// The inverse of its [`Display`](fmt::Display): accepts exactly what that makes.
    pub fn parse(name: &str) -> Option<Self> {
        let (date, hour) = name.split_once('T')?;
        let mut parts = date.splitn(3, '-').map(|part| part.parse::<u64>().ok());
        let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
        let plausible = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
        if !plausible {
            return None;
        }
        let found = Self(days_of(year, month, day).checked_mul(24)?.checked_add(hour.parse().ok()?)?);
        (found.to_string() == name).then_some(found)
    }
}

/// As people write it: `2026-11-28T04`.
impl fmt::Display for Hour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date_of(self.0 / 24);
        write!(f, "{year:04}-{month:02}-{day:02}T{:02}", self.0 % 24)
    }
}

/// Days from 1970 to a date; by Howard Hinnant's `days_from_civil`, years from 1970 on.
fn days_of(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date so many days after 1970 began; by Howard Hinnant's `civil_from_days`.
fn date_of(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, of_year - (153 * shifted + 2) / 5 + 1)
}

/// Files, and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

impl Amount {
    pub(crate) fn add(&mut self, other: Self) {
        self.files = self.files.saturating_add(other.files);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    /// Never below zero: of what an older run left, not all may be counted.
    pub(crate) fn take(&mut self, other: Self) {
        self.files = self.files.saturating_sub(other.files);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }
}

/// What is in each hour, in memory and in its file.
#[derive(Default)]
pub(crate) struct HourLedger {
    hours: BTreeMap<Hour, Amount>,
    changed: BTreeSet<Hour>,
    file: Option<Box<dyn DiskFile>>,
    unsynced: bool,
    /// There was none: its name is not durable yet.
    is_new: bool,
}

impl HourLedger {
    /// The ledger that a file holds, as far as it can be believed. One that is not there is empty.
    pub(crate) fn read(io: &dyn DiskIo, path: &Path) -> io::Result<Self> {
        let mut ledger = Self::default();
        let file = match io.open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                ledger.is_new = true;
                return Ok(ledger);
            }
            Err(e) => return Err(e),
        };
        let len = usize::try_from(file.file_len()?).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len.min(SLOT_BYTES * SLOTS as usize)];
        file.read_at(&mut bytes, 0)?;
        for (place, slot) in (0..).zip(bytes.chunks_exact(SLOT_BYTES)) {
            match parse_slot(slot) {
                Some((hour, held)) if hour.0 % SLOTS == place && held != Amount::default() => {
                    ledger.hours.insert(hour, held);
                }
                _ => {}
            }
        }
        Ok(ledger)
    }

    pub(crate) fn add(&mut self, hour: Hour, held: Amount) {
        self.hours.entry(hour).or_default().add(held);
        self.changed.insert(hour);
    }

    pub(crate) fn take(&mut self, hour: Hour, held: Amount) {
        let Some(entry) = self.hours.get_mut(&hour) else { return };
        entry.take(held);
        self.changed.insert(hour);
    }

    /// Forgets every hour that is not among `there`.
    pub(crate) fn keep_only(&mut self, there: &BTreeSet<Hour>) {
        let gone: Vec<Hour> = self.hours.keys().filter(|hour| !there.contains(hour)).copied().collect();
        for hour in gone {
            self.hours.remove(&hour);
            self.changed.insert(hour);
        }
    }

    pub(crate) fn total(&self) -> Amount {
        self.hours.values().fold(Amount::default(), |mut sum, held| {
            sum.add(*held);
            sum
        })
    }

    /// The first and the last hour in which anything is.
    pub(crate) fn ends(&self) -> Option<(Hour, Hour)> {
        let mut filled = self.hours.iter().filter(|(_, held)| held.files > 0).map(|(hour, _)| *hour);
        let first = filled.next()?;
        Some((first, filled.next_back().unwrap_or(first)))
    }

    /// Writes what changed; not durable yet.
    pub(crate) fn write(&mut self, io: &dyn DiskIo, path: &Path) -> io::Result<()> {
        while let Some(hour) = self.changed.first().copied() {
            let file = match &self.file {
                Some(file) => file,
                None => self.file.insert(io.update(path)?),
            };
            let slot = slot(hour, self.hours.get(&hour).copied().unwrap_or_default());
            let at = hour.0 % SLOTS * SLOT_BYTES as u64;
            file.write_at(&mut [IoSlice::new(&slot)], at)?;
            self.unsynced = true;
            self.changed.remove(&hour);
        }
        Ok(())
    }

    /// Makes durable what was written. Returns whether the name is left to be made so.
    pub(crate) fn sync(&mut self) -> io::Result<bool> {
        match &self.file {
            Some(file) if std::mem::take(&mut self.unsynced) => {
                file.sync_data()?;
                Ok(std::mem::take(&mut self.is_new))
            }
            _ => Ok(false),
        }
    }
}

fn slot(hour: Hour, held: Amount) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    let numbers = [hour.0, held.files, held.bytes].map(u64::to_le_bytes).concat();
    let sum = crc32fast::hash(&numbers).to_le_bytes();
    for (to, from) in slot.iter_mut().zip(numbers.iter().chain(&sum)) {
        *to = *from;
    }
    slot
}

fn parse_slot(bytes: &[u8]) -> Option<(Hour, Amount)> {
    let (numbers, rest) = bytes.split_at_checked(24)?;
    let sum = rest.first_chunk::<4>()?;
    if u32::from_le_bytes(*sum) != crc32fast::hash(numbers) {
        return None;
    }
    let mut numbers = numbers.chunks_exact(8).map(|n| n.try_into().map(u64::from_le_bytes).ok());
    let (hour, files, bytes) = (numbers.next()??, numbers.next()??, numbers.next()??);
    Some((Hour(hour), Amount { files, bytes }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_named_by_date_and_parse_back() {
        for (ms, name) in [
            (0, "1970-01-01T00"),
            (951_782_400_000, "2000-02-29T00"),
            (1_795_838_400_000, "2026-11-28T04"),
            (4_102_444_799_999, "2099-12-31T23"),
        ] {
            assert_eq!(Hour::of(ms).to_string(), name);
            assert_eq!(Hour::parse(name), Some(Hour::of(ms)));
        }
        for day in 0..60_000 {
            let hour = Hour(day * 24 + day % 24);
            assert_eq!(Hour::parse(&hour.to_string()), Some(hour));
        }
        for name in
            ["", "totals", "damaged", "2026-11-31T04", "2026-11-28T24", "2026-11-28T4", "1969-12-31T23"]
        {
            assert_eq!(Hour::parse(name), None, "{name}");
        }
    }

    #[test]
    fn a_slot_that_is_torn_is_not_believed() {
        let held = Amount { files: 3, bytes: 9_000 };
        let mut bytes = slot(Hour(7), held);
        assert_eq!(parse_slot(&bytes), Some((Hour(7), held)));
        bytes[9] ^= 1;
        assert_eq!(parse_slot(&bytes), None);
        assert_eq!(parse_slot(&[0; 32]), None, "never written");
    }

    #[test]
    fn an_hour_has_what_came_less_what_went() {
        let mut ledger = HourLedger::default();
        let one = Amount { files: 1, bytes: 5 };
        ledger.add(Hour(3), one);
        ledger.add(Hour(9), one);
        ledger.add(Hour(9), one);
        ledger.take(Hour(4), one);
        assert_eq!(
            (ledger.total(), ledger.ends()),
            (Amount { files: 3, bytes: 15 }, Some((Hour(3), Hour(9))))
        );
        ledger.take(Hour(3), Amount { files: 2, bytes: 99 });
        assert_eq!(ledger.ends(), Some((Hour(9), Hour(9))));
        ledger.keep_only(&BTreeSet::from([Hour(3)]));
        assert_eq!((ledger.total(), ledger.ends()), (Amount::default(), None));
    }
}
