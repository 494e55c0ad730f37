//! The pure machine of a scrub: what is read next, and when.
//!
//! Time is what the node has run: neither a clock that is set nor a machine that is off counts, and a round goes on over restarts.
//! The wall clock is only told to people.
//!
//! Three things make it wait: its pace; somebody who waits for the disk, whom it lets go first, for a while and not for ever; and a
//! disk that does not answer or fails read after read, which it leaves alone.

use std::collections::BTreeSet;
use std::time::Duration;

use dfs_wire::id::ChunkKey;
use dfs_wire::limits::CHUNK_BYTES_MAX;
use dfs_wire::message::admin::{ScrubPace, ScrubPhase, ScrubRound, ScrubStatus};

use super::cursor::{DOUBTED_MAX, ScrubCursor};
use super::pace;
use crate::env::MonoTime;

/// How long it lets others go first before it looks again.
const YIELD: Duration = Duration::from_millis(250);
/// How often in a row it does so for one chunk: 10 seconds.
const YIELDS_MAX: u32 = 40;
/// The same in a round that is late.
const YIELDS_LATE_MAX: u32 = 4;
/// How long it leaves a disk alone that does not answer.
const AWAY: Duration = Duration::from_secs(5);
/// Reads that fail in a row before it leaves the disk alone for as long as doubted copies are.
const FAILURES_MAX: u32 = 8;
/// Where there is nothing to read, it looks again after this.
const EMPTY: Duration = Duration::from_secs(60);
/// While no round is under way, the cursor is kept this much more rarely: it holds nothing but the time.
const RARELY: u32 = 10;

/// The bounds of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScrubConfig {
    /// Within this time everything is read.
    pub period: Duration,
    /// Bytes a second that are read at most.
    pub bytes_per_second: u64,
    /// How often the cursor is kept.
    pub save_every: Duration,
    /// When copies that were bad or unreadable are read again.
    pub recheck: Duration,
}

impl Default for ScrubConfig {
    fn default() -> Self {
        Self {
            period: Duration::from_secs(14 * 24 * 3600),
            bytes_per_second: 32 * 1024 * 1024,
            save_every: Duration::from_secs(60),
            recheck: Duration::from_secs(3600),
        }
    }
}

/// What the shell sees of the disk, just before a step.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DiskSight {
    /// The first chunk behind [`ScrubState::position`], and its length.
    pub(crate) next: Option<(ChunkKey, u32)>,
    /// The last chunk there is.
    pub(crate) newest: Option<ChunkKey>,
    /// Chunks there are.
    pub(crate) chunks: u64,
    /// Bytes of them.
    pub(crate) bytes: u64,
    /// Somebody waits for the disk.
    pub(crate) busy: bool,
    /// The disk does not answer.
    pub(crate) away: bool,
    /// The wall clock, which only people are told.
    pub(crate) wall_ms: u64,
}

/// What reading a chunk came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Every byte is what it should be.
    Good,
    /// The same mismatch was read twice.
    Bad,
    /// It is not here any more.
    Gone,
    /// The disk failed, or gave no answer: why.
    Unknown(String),
}

/// The chunk that is being read.
#[derive(Debug, Clone, Copy)]
struct Current {
    key: ChunkKey,
    len: u32,
    began: MonoTime,
    /// The round that it is read for; `None` = it is doubted.
    round: Option<u64>,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct ScrubState {
    config: ScrubConfig,
    cursor: ScrubCursor,
    is_loaded: bool,
    /// Up to when the time was counted.
    counted: MonoTime,
    /// Nothing is read before: so much for the budget.
    gate: MonoTime,
    /// When the next chunk of the round is read, or the next round begins.
    round_at: MonoTime,
    /// When doubted copies are read again.
    recheck_at: MonoTime,
    /// Doubted copies that are still to be read this time.
    recheck: Vec<ChunkKey>,
    current: Option<Current>,
    yields: u32,
    is_halted: bool,
    failures: u32,
    /// Doubted copies about whose bytes nothing is known, and why that is so of the last one.
    unreadable: (BTreeSet<ChunkKey>, String),
    save_at: MonoTime,
    is_saving: bool,
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl ScrubState {
    /// A machine that waits for its cursor.
    pub(crate) fn new(config: ScrubConfig, now: MonoTime) -> Self {
        Self {
            config,
            cursor: ScrubCursor::default(),
            is_loaded: false,
            counted: now,
            gate: now,
            round_at: now,
            recheck_at: now,
            recheck: Vec::new(),
            current: None,
            yields: 0,
            is_halted: false,
            failures: 0,
            unreadable: (BTreeSet::new(), String::new()),
            save_at: now,
            is_saving: false,
        }
    }

    /// Here is what the life before has kept, if it has. What it doubted is read first.
    pub(crate) fn loaded(&mut self, now: MonoTime, cursor: Option<ScrubCursor>) {
        self.cursor = cursor.unwrap_or_default();
        (self.is_loaded, self.counted) = (true, now);
        (self.gate, self.recheck_at, self.save_at) = (now, now, now + self.config.save_every);
        self.round_at = match self.cursor.upto {
            None if self.cursor.round.round > 0 => now + self.config.period.saturating_sub(self.spent()),
            _ => now,
        };
    }

    /// The last chunk that was read: what comes after it is next.
    pub(crate) fn position(&self) -> Option<ChunkKey> {
        self.cursor.after
    }

    /// The next instant at which something is to be read.
    fn due_at(&self) -> Option<MonoTime> {
        if !self.is_loaded || self.current.is_some() {
            return None;
        }
        let doubted = (!self.cursor.doubted.is_empty()).then_some(self.recheck_at);
        let due = doubted.map_or(self.round_at, |recheck_at| recheck_at.min(self.round_at));
        Some(due.max(self.gate))
    }

    /// Whether [`Self::step`] has something to do.
    pub(crate) fn is_due(&self, now: MonoTime) -> bool {
        self.due_at().is_some_and(|at| at <= now)
    }

    /// The next instant at which there may be something to do.
    pub(crate) fn wakes_at(&self) -> Option<MonoTime> {
        let save = (self.is_loaded && !self.is_saving).then_some(self.save_at);
        self.due_at().into_iter().chain(save).min()
    }

    /// Takes a step that is due: gives a chunk to be read, whose [`Self::found`] is then waited for.
    pub(crate) fn step(&mut self, now: MonoTime, sight: &DiskSight) -> Option<ChunkKey> {
        self.pass(now);
        self.is_halted = sight.away;
        if sight.away {
            self.gate = now + AWAY;
            return None;
        }
        if now >= self.recheck_at && !self.cursor.doubted.is_empty() {
            if self.recheck.is_empty() {
                self.recheck = self.cursor.doubted.iter().rev().copied().collect();
            }
            let key = self.recheck.pop();
            if self.recheck.is_empty() {
                self.recheck_at = now + self.config.recheck;
            }
            // Its length is not known here, so that the budget is charged with the most.
            self.current = key.map(|key| Current { key, len: CHUNK_BYTES_MAX, began: now, round: None });
            return key;
        }
        if now < self.round_at {
            return None;
        }
        let Some(upto) = self.cursor.upto else {
            self.begin_if_any(now, sight);
            return None;
        };
        if sight.busy && self.cursor.pace != ScrubPace::Unpaced && self.yields < self.patience() {
            self.yields += 1;
            self.round_at = now + YIELD;
            return None;
        }
        self.yields = 0;
        let Some((key, len)) = sight.next.filter(|(key, _)| *key <= upto) else {
            self.end(now, sight.wall_ms);
            return None;
        };
        self.current = Some(Current { key, len, began: now, round: Some(self.cursor.round.round) });
        Some(key)
    }

    fn begin_if_any(&mut self, now: MonoTime, sight: &DiskSight) {
        if sight.newest.is_none() {
            (self.round_at, self.cursor.since_ms) = (now + EMPTY.min(self.config.period), 0);
            return;
        }
        self.begin(now, ScrubPace::Period, sight);
    }

    /// Begins a round, in place of one that is under way; says its number.
    pub(crate) fn begin(&mut self, now: MonoTime, pace: ScrubPace, sight: &DiskSight) -> u64 {
        self.pass(now);
        let round = self.cursor.round.round + 1;
        self.cursor.round = ScrubRound { round, began_ms: sight.wall_ms, ..ScrubRound::default() };
        (self.cursor.pace, self.cursor.spent_ms) = (pace, 0);
        (self.cursor.after, self.cursor.upto) = (None, sight.newest);
        (self.cursor.chunks_total, self.cursor.bytes_total) = (sight.chunks, sight.bytes);
        (self.gate, self.round_at, self.save_at) = (now, now, now);
        (self.yields, self.failures) = (0, 0);
        if sight.newest.is_none() {
            self.end(now, sight.wall_ms);
        }
        round
    }

    fn end(&mut self, now: MonoTime, wall_ms: u64) {
        self.cursor.round.ended_ms = wall_ms;
        self.cursor.last = Some(self.cursor.round);
        (self.cursor.upto, self.cursor.pace, self.cursor.since_ms) = (None, ScrubPace::Period, 0);
        self.round_at = now + self.config.period.saturating_sub(self.spent());
        (self.save_at, self.yields) = (now, 0);
    }

    /// What reading a chunk came to.
    pub(crate) fn found(&mut self, now: MonoTime, wall_ms: u64, key: ChunkKey, finding: &Finding) {
        self.pass(now);
        let Some(current) = self.current.take_if(|current| current.key == key) else { return };
        self.judge(now, key, finding);
        let read = pace::cost(1, current.len.into());
        let round = self.cursor.upto.filter(|_| current.round == Some(self.cursor.round.round));
        let budget = self.config.bytes_per_second;
        self.gate = current.began + pace::pause(ScrubPace::Budget, read, 0, Duration::ZERO, budget);
        if let Some(upto) = round {
            let (left, time) = (self.left(), self.time_left() + now.since(current.began));
            self.round_at = current.began + pace::pause(self.cursor.pace, read, left, time, budget);
            self.gate = self.gate.min(self.round_at);
            self.count(current, finding);
            if key >= upto {
                self.end(now, wall_ms);
            }
        }
        if self.failures >= FAILURES_MAX && matches!(finding, Finding::Unknown(_)) {
            (self.gate, self.is_halted, self.failures) = (now + self.config.recheck, true, 0);
        }
    }

    fn judge(&mut self, now: MonoTime, key: ChunkKey, finding: &Finding) {
        match finding {
            Finding::Unknown(why) => {
                // One that is known already says nothing new of the disk: the round goes on beside it.
                let known = self.cursor.doubted.binary_search(&key).is_ok();
                self.failures = self.failures.saturating_add(u32::from(!known));
                self.doubt(now, key);
                if self.cursor.doubted.binary_search(&key).is_ok() {
                    self.unreadable.0.insert(key);
                }
                self.unreadable.1.clone_from(why);
            }
            Finding::Bad => {
                self.failures = 0;
                self.doubt(now, key);
                self.unreadable.0.remove(&key);
            }
            Finding::Good | Finding::Gone => {
                self.failures = 0;
                self.cursor.doubted.retain(|other| *other != key);
                self.unreadable.0.remove(&key);
            }
        }
    }

    fn doubt(&mut self, now: MonoTime, key: ChunkKey) {
        let doubted = &mut self.cursor.doubted;
        let Err(place) = doubted.binary_search(&key) else { return };
        if doubted.is_empty() {
            self.recheck_at = now + self.config.recheck;
        }
        if doubted.len() < DOUBTED_MAX {
            doubted.insert(place, key);
        }
    }

    fn count(&mut self, current: Current, finding: &Finding) {
        self.cursor.after = Some(current.key);
        let round = &mut self.cursor.round;
        match finding {
            Finding::Good | Finding::Bad => {
                round.chunks += 1;
                round.bytes += u64::from(current.len);
                round.bad += u64::from(*finding == Finding::Bad);
            }
            Finding::Unknown(_) => round.unreadable += 1,
            Finding::Gone => {}
        }
    }

    /// The cursor, if it is time to keep it; then [`Self::saved`] is waited for.
    pub(crate) fn save_due(&mut self, now: MonoTime) -> Option<ScrubCursor> {
        if !self.is_loaded || self.is_saving || now < self.save_at {
            return None;
        }
        self.is_saving = true;
        Some(self.cursor(now))
    }

    /// The cursor as it is now.
    pub(crate) fn cursor(&mut self, now: MonoTime) -> ScrubCursor {
        self.pass(now);
        self.cursor.clone()
    }

    /// Whether there is a cursor at all.
    pub(crate) fn is_loaded(&self) -> bool {
        self.is_loaded
    }

    /// It is kept, or could not be.
    pub(crate) fn saved(&mut self, now: MonoTime) {
        let rarely = if self.cursor.upto.is_some() { 1 } else { RARELY };
        (self.is_saving, self.save_at) = (false, now + self.config.save_every * rarely);
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, now: MonoTime) {
        if !self.is_loaded {
            return;
        }
        // Whole milliseconds only, so that what many short steps leave over is not lost.
        let passed = millis(now.since(self.counted));
        self.counted = self.counted + Duration::from_millis(passed);
        self.cursor.spent_ms = self.cursor.spent_ms.saturating_add(passed);
        self.cursor.since_ms = self.cursor.since_ms.saturating_add(passed);
    }

    fn spent(&self) -> Duration {
        Duration::from_millis(self.cursor.spent_ms)
    }

    fn time_left(&self) -> Duration {
        pace::target(self.config.period).saturating_sub(self.spent())
    }

    fn patience(&self) -> u32 {
        if self.time_left().is_zero() { YIELDS_LATE_MAX } else { YIELDS_MAX }
    }

    /// What the rest of the round costs.
    fn left(&self) -> u64 {
        let ScrubCursor { round, chunks_total, bytes_total, .. } = &self.cursor;
        let done = pace::cost(round.chunks + round.unreadable, round.bytes);
        pace::cost(*chunks_total, *bytes_total).saturating_sub(done)
    }

    /// Doubted copies about whose bytes nothing is known, and why not.
    pub(crate) fn unreadable(&self) -> Option<(usize, &str)> {
        let (keys, why) = &self.unreadable;
        (!keys.is_empty()).then_some((keys.len(), why.as_str()))
    }

    fn phase(&self) -> ScrubPhase {
        match self.cursor.upto {
            _ if !self.is_loaded => ScrubPhase::Starting,
            _ if self.is_halted => ScrubPhase::Halted,
            None => ScrubPhase::Resting,
            Some(_) if self.yields > 0 => ScrubPhase::Yielding,
            Some(_) => ScrubPhase::Reading,
        }
    }

    /// How it does.
    pub(crate) fn status(&self) -> ScrubStatus {
        let ScrubCursor { round, pace, spent_ms, since_ms, upto, last, .. } = &self.cursor;
        let (config, period_ms) = (&self.config, millis(self.config.period));
        let until = if upto.is_some() { *spent_ms } else { round.ended_ms.saturating_sub(round.began_ms) };
        let rate = round.bytes.saturating_mul(1000).checked_div(until).unwrap_or(0);
        let left = pace::estimate(*pace, self.left(), self.time_left(), (config.bytes_per_second, rate));
        let rests = self.is_loaded && upto.is_none();
        ScrubStatus {
            phase: self.phase(),
            pace: *pace,
            round: *round,
            chunks_total: self.cursor.chunks_total,
            bytes_total: self.cursor.bytes_total,
            rate,
            left_ms: left.filter(|_| upto.is_some()).map(millis),
            next_ms: rests.then(|| millis(self.round_at.since(self.counted))),
            doubted: self.cursor.doubted.len() as u64,
            period_ms,
            budget: config.bytes_per_second,
            since_ms: *since_ms,
            overdue: *since_ms > period_ms.saturating_mul(2),
            last: *last,
        }
    }
}

#[cfg(test)]
mod tests;
