//! Rounds, their pace, what they find, and what a restart leaves of them.

use dfs_wire::id::{ChunkId, Generation};

use super::*;

const MIB: u32 = 1 << 20;

fn at(seconds: u64) -> MonoTime {
    MonoTime::ZERO + Duration::from_secs(seconds)
}

fn key(id: u128) -> ChunkKey {
    ChunkKey { chunk: ChunkId(id), generation: Generation(0) }
}

/// A disk of chunks of 1 MiB, and a scrub of it that is to take 1000 seconds.
struct Bench {
    state: ScrubState,
    chunks: BTreeSet<u128>,
    busy: bool,
    away: bool,
    now: MonoTime,
    /// What was read, and when.
    read: Vec<(u64, u128)>,
}

impl Bench {
    fn new(chunks: std::ops::RangeInclusive<u128>) -> Self {
        let config = ScrubConfig {
            period: Duration::from_secs(1000),
            bytes_per_second: 4 * u64::from(MIB),
            save_every: Duration::from_secs(60),
            recheck: Duration::from_secs(100),
        };
        let mut state = ScrubState::new(config, at(0));
        assert!(!state.is_due(at(9)) && state.wakes_at().is_none(), "it waits for its cursor");
        state.loaded(at(0), None);
        Self { state, chunks: chunks.collect(), busy: false, away: false, now: at(0), read: Vec::new() }
    }

    fn sight(&self) -> DiskSight {
        let behind = |id: &&u128| self.state.position().is_none_or(|after| key(**id) > after);
        DiskSight {
            next: self.chunks.iter().find(behind).map(|id| (key(*id), MIB)),
            newest: self.chunks.last().map(|id| key(*id)),
            chunks: self.chunks.len() as u64,
            bytes: self.chunks.len() as u64 * u64::from(MIB),
            busy: self.busy,
            away: self.away,
            wall_ms: self.now.as_micros() / 1000,
        }
    }

    /// Lets time pass up to so many seconds; what is read is what `judge` says.
    fn run(&mut self, until: u64, judge: impl Fn(u128) -> Finding) {
        loop {
            while self.state.is_due(self.now) {
                let sight = self.sight();
                if let Some(found) = self.state.step(self.now, &sight) {
                    self.read.push((self.now.as_micros() / 1_000_000, found.chunk.0));
                    assert!(!self.state.is_due(self.now), "one chunk at a time");
                    self.state.found(self.now, sight.wall_ms, found, &judge(found.chunk.0));
                }
            }
            if self.state.save_due(self.now).is_some() {
                self.state.saved(self.now);
            }
            match self.state.wakes_at().filter(|next| *next < at(until)) {
                Some(next) => self.now = next.max(self.now + Duration::from_millis(1)),
                None => break,
            }
        }
        self.now = at(until);
        self.state.pass(self.now);
    }

    fn ids(&self) -> Vec<u128> {
        self.read.iter().map(|(_, id)| *id).collect()
    }
}

fn good(_: u128) -> Finding {
    Finding::Good
}

#[test]
fn everything_is_read_once_in_a_period_in_order_and_evenly() {
    let mut bench = Bench::new(1..=10);
    bench.run(999, good);
    assert_eq!(bench.ids(), (1..=10).collect::<Vec<_>>());
    let gaps: Vec<_> = bench.read.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(gaps.iter().all(|gap| (89..=91).contains(gap)), "{gaps:?}");
    let status = bench.state.status();
    let last = status.last.expect("a round has ended");
    assert_eq!((last.round, last.chunks, last.bytes, last.bad), (1, 10, 10 * u64::from(MIB), 0));
    assert_eq!((status.phase, status.overdue), (ScrubPhase::Resting, false));
    bench.run(1_001, good);
    assert_eq!(bench.ids().last(), Some(&1), "the next one begins a period after the first");
}

#[test]
fn what_is_written_meanwhile_is_the_next_rounds_and_what_is_deleted_is_nobodys() {
    let mut bench = Bench::new(1..=4);
    bench.run(1, good);
    bench.chunks.extend([7, 8]);
    bench.chunks.remove(&3);
    bench.run(999, good);
    assert_eq!(bench.ids(), [1, 2, 4]);
    bench.run(1_999, good);
    assert_eq!(bench.ids(), [1, 2, 4, 1, 2, 4, 7, 8]);
}

#[test]
fn a_disk_too_large_for_its_period_is_read_at_the_budget_and_the_round_is_overdue() {
    let mut bench = Bench::new(1..=10_000);
    bench.run(1_000, good);
    let read = bench.read.len();
    assert!((3_900..=4_000).contains(&read), "{read} MiB in 1000 s at 4 MiB/s");
    assert!(bench.state.status().left_ms.is_some_and(|left| left > 1_400_000));
    bench.run(2_001, good);
    assert!(bench.state.status().overdue, "no round has ended in two periods");
    bench.run(3_000, good);
    assert!(!bench.state.status().overdue, "it has ended");
}

#[test]
fn a_round_that_is_asked_for_begins_at_once_at_its_pace_and_the_next_one_is_paced_again() {
    let mut bench = Bench::new(1..=8);
    bench.run(200, good);
    let read = bench.read.len();
    assert_eq!(bench.state.begin(bench.now, ScrubPace::Budget, &bench.sight()), 2);
    bench.run(204, good);
    assert_eq!(bench.ids()[read..], (1..=8).collect::<Vec<_>>(), "4 MiB/s");
    assert_eq!(bench.state.status().last.map(|last| last.round), Some(2));
    bench.run(1_199, good);
    assert_eq!(bench.read.len(), read + 8);
    bench.run(1_250, good);
    assert_eq!((bench.state.status().round.round, bench.read.len()), (3, read + 9));
    let began = bench.now;
    bench.state.begin(began, ScrubPace::Unpaced, &bench.sight());
    bench.run(1_251, good);
    assert_eq!(bench.state.status().last.map(|last| (last.round, last.chunks)), Some((4, 8)));
}

#[test]
fn others_go_first_for_a_while_and_not_for_ever() {
    let mut bench = Bench::new(1..=200);
    bench.run(1, good);
    bench.state.begin(bench.now, ScrubPace::Budget, &bench.sight());
    bench.busy = true;
    let before = bench.read.len();
    bench.run(101, good);
    assert_eq!(bench.state.status().phase, ScrubPhase::Yielding);
    let read = bench.read.len() - before;
    assert!((9..=11).contains(&read), "one in ten seconds: {read}");
    bench.run(1_000, good);
    let before = bench.read.len();
    bench.run(1_010, good);
    assert!(bench.read.len() - before >= 7, "a late round yields for a second");
    bench.state.begin(bench.now, ScrubPace::Unpaced, &bench.sight());
    let before = bench.read.len();
    bench.run(1_011, good);
    assert_eq!(bench.read.len() - before, 200, "an operator wants it so");
}

#[test]
fn a_bad_copy_is_read_again_until_it_is_good_or_gone() {
    let mut bench = Bench::new(1..=5);
    let bad = |id| if id == 2 { Finding::Bad } else { Finding::Good };
    bench.run(700, bad);
    let status = bench.state.status();
    assert_eq!((status.round.bad, status.doubted), (1, 1));
    let again = bench.ids().into_iter().filter(|id| *id == 2).count();
    assert!((5..=6).contains(&again), "every 100 s: {:?}", bench.read);
    assert_eq!(bench.state.unreadable(), None);
    bench.run(900, |id| if id == 2 { Finding::Gone } else { Finding::Good });
    assert_eq!(bench.state.status().doubted, 0);
    assert_eq!(
        bench.state.status().last.map(|last| (last.chunks, last.bad)),
        Some((5, 1)),
        "not counted twice"
    );
}

#[test]
fn an_error_is_no_proof_and_a_disk_that_fails_read_after_read_is_left_alone() {
    let mut bench = Bench::new(1..=50);
    bench.state.begin(bench.now, ScrubPace::Budget, &bench.sight());
    let fails = |_| Finding::Unknown("EIO".to_owned());
    bench.run(90, fails);
    let status = bench.state.status();
    assert_eq!((status.round.unreadable, status.round.bad, status.phase), (8, 0, ScrubPhase::Halted));
    assert_eq!(bench.state.unreadable(), Some((8, "EIO")));
    bench.run(300, good);
    let last = bench.state.status().last.expect("the disk works again");
    assert_eq!((last.chunks, last.unreadable), (42, 8));
    assert_eq!((bench.state.unreadable(), bench.state.status().doubted), (None, 0));
}

#[test]
fn copies_that_can_never_be_read_do_not_keep_the_round_from_the_others() {
    let mut bench = Bench::new(1..=50);
    bench.state.begin(bench.now, ScrubPace::Budget, &bench.sight());
    let ten_fail = |id| if id <= 10 { Finding::Unknown("EIO".to_owned()) } else { Finding::Good };
    bench.run(900, ten_fail);
    let last = bench.state.status().last.expect("the round ends beside them");
    assert_eq!((last.chunks, last.unreadable), (40, 10));
    assert_eq!(bench.state.status().doubted, 10);
}

#[test]
fn a_disk_that_does_not_answer_is_not_asked() {
    let mut bench = Bench::new(1..=5);
    bench.away = true;
    bench.run(500, good);
    assert_eq!((bench.read.len(), bench.state.status().phase), (0, ScrubPhase::Halted));
    bench.away = false;
    bench.run(506, good);
    assert!(!bench.read.is_empty());
}

#[test]
fn a_restart_goes_on_at_the_cursor_and_looks_at_what_is_doubted_first() {
    let mut bench = Bench::new(1..=10);
    bench.run(450, |id| if id == 2 { Finding::Bad } else { Finding::Good });
    let (read, cursor) = (bench.state.status().round.chunks, bench.state.cursor(bench.now));
    assert_eq!((read, cursor.spent_ms), (5, 450_000));
    let mut next = Bench::new(1..=10);
    (next.now, next.state) = (at(7), ScrubState::new(next.state.config, at(7)));
    next.state.loaded(at(7), Some(cursor));
    next.run(8 + 549, |_| Finding::Good);
    assert_eq!(next.ids(), [2, 6, 7, 8, 9, 10]);
    assert_eq!(next.state.status().last.map(|last| (last.round, last.chunks, last.bad)), Some((1, 10, 1)));
    next.run(8 + 560, good);
    assert_eq!(next.state.status().round.round, 2, "a period after the first one began, off or not");
}

#[test]
fn an_empty_disk_is_no_round_and_is_never_overdue() {
    let mut bench = Bench::new(1..=1);
    bench.chunks.clear();
    bench.run(5_000, good);
    let status = bench.state.status();
    assert_eq!((status.round.round, status.overdue, status.phase), (0, false, ScrubPhase::Resting));
    bench.chunks.insert(5);
    bench.run(5_061, good);
    assert_eq!(bench.ids(), [5]);
    bench.chunks.clear();
    assert_eq!(bench.state.begin(bench.now, ScrubPace::Budget, &bench.sight()), 2, "unless asked for");
    assert_eq!(bench.state.status().phase, ScrubPhase::Resting);
}

#[test]
fn the_cursor_is_kept_now_and_then_and_at_the_ends_of_rounds() {
    let mut bench = Bench::new(1..=2);
    let sight = bench.sight();
    assert_eq!(bench.state.save_due(at(1)), None, "not before something has happened");
    bench.state.step(at(1), &sight);
    let begun = bench.state.save_due(at(1)).expect("a round has begun");
    assert_eq!((begun.round.round, begun.upto, begun.after), (1, Some(key(2)), None));
    assert_eq!(bench.state.save_due(at(99)), None, "one at a time");
    bench.state.saved(at(1));
    assert_eq!((bench.state.save_due(at(60)), bench.state.save_due(at(61)).is_some()), (None, true));
    bench.state.saved(at(61));
    bench.now = at(61);
    bench.run(960, good);
    assert_eq!(bench.state.wakes_at(), Some(at(1_001)), "a round that rests is kept rarely");
}
