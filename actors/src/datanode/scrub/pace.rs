//! How long a scrub rests after a chunk. Pure arithmetic.
//!
//! A chunk costs its bytes and [`FILE_BYTES`] for its file, so that many small chunks are a load as well. At the period's pace what is
//! left is spread over the time that is left until [`TARGET_PERCENT`] of the period are over; the budget is the upper bound in any
//! case. Nothing is saved up: whoever was kept waiting does not run afterwards.

use std::time::Duration;

use dfs_wire::message::admin::ScrubPace;

/// What opening a file and reading its footer costs besides its bytes.
const FILE_BYTES: u64 = 16 * 1024;
/// Share of the period in which a round is to be done, so that a disk that was busy is done within the period.
const TARGET_PERCENT: u32 = 90;

/// What reading so many chunks of so many bytes in all costs.
pub(super) fn cost(chunks: u64, bytes: u64) -> u64 {
    bytes.saturating_add(chunks.saturating_mul(FILE_BYTES))
}

/// When a round of this period is to be done.
pub(super) fn target(period: Duration) -> Duration {
    period * TARGET_PERCENT / 100
}

/// How long `cost` takes at this many bytes a second.
pub(super) fn at_rate(cost: u64, bytes_per_second: u64) -> Duration {
    let micros = u128::from(cost) * 1_000_000 / u128::from(bytes_per_second.max(1));
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

/// How long after the beginning of one read the next one may begin: the first cost `read`, `left` is what the rest of the
/// round costs, for which there is `time`.
pub(super) fn pause(pace: ScrubPace, read: u64, left: u64, time: Duration, budget: u64) -> Duration {
    let least = at_rate(read, budget);
    match pace {
        ScrubPace::Unpaced => Duration::ZERO,
        ScrubPace::Budget => least,
        ScrubPace::Period => {
            let share = read as f64 / left.max(read).max(1) as f64;
            least.max(time.mul_f64(share))
        }
    }
}

/// How long what is left takes at this pace, if that can be said: `rate` is what was measured.
pub(super) fn estimate(
    pace: ScrubPace,
    left: u64,
    time: Duration,
    (budget, rate): (u64, u64),
) -> Option<Duration> {
    match pace {
        ScrubPace::Unpaced => (rate > 0).then(|| at_rate(left, rate)),
        ScrubPace::Budget => Some(at_rate(left, budget)),
        ScrubPace::Period => Some(at_rate(left, budget).max(time)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_round_is_spread_over_the_time_that_is_left_and_the_budget_bounds_it() {
        let period = |left, time| pause(ScrubPace::Period, MIB, left, time, 32 * MIB);
        assert_eq!(period(100 * MIB, 100 * SECOND), SECOND);
        assert_eq!(period(50 * MIB, 100 * SECOND), 2 * SECOND, "what is deleted need not be read");
        assert_eq!(period(100 * MIB, Duration::ZERO), SECOND / 32, "late: as fast as the budget allows");
        assert_eq!(period(0, 100 * SECOND), 100 * SECOND, "the last one");
        assert_eq!(pause(ScrubPace::Budget, MIB, 100 * MIB, 100 * SECOND, 4 * MIB), SECOND / 4);
        assert_eq!(pause(ScrubPace::Unpaced, MIB, 100 * MIB, 100 * SECOND, 4 * MIB), Duration::ZERO);
    }

    #[test]
    fn a_paced_round_ends_in_time_whatever_its_chunks() {
        for (chunks, len) in [(1, 64 * MIB), (1_000, 4_096), (100, 8 * MIB)] {
            let (mut left, mut spent, time) = (cost(chunks, chunks * len), Duration::ZERO, 1_000 * SECOND);
            for _ in 0..chunks {
                let read = cost(1, len);
                spent += pause(ScrubPace::Period, read, left, time.saturating_sub(spent), 1024 * MIB);
                left -= read;
            }
            assert!(spent <= time + SECOND / 100, "{chunks} chunks took {spent:?}");
        }
    }

    #[test]
    fn an_estimate_is_the_pace_and_never_faster_than_the_budget() {
        let left = |pace, rate| estimate(pace, 100 * MIB, 50 * SECOND, (MIB, rate));
        assert_eq!(left(ScrubPace::Period, 0), Some(100 * SECOND));
        assert_eq!(left(ScrubPace::Budget, 0), Some(100 * SECOND));
        assert_eq!(
            (left(ScrubPace::Unpaced, 0), left(ScrubPace::Unpaced, 10 * MIB)),
            (None, Some(10 * SECOND))
        );
        assert_eq!(target(100 * SECOND), 90 * SECOND);
    }
}
