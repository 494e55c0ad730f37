//! How long reads wait for their first bytes, and after how long another copy is asked.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The shortest wait after which another copy is asked: a disk that is only busy answers sooner.
const HEDGE_MIN: Duration = Duration::from_millis(200);
/// However slow a replica is, another one is asked after this.
const HEDGE_MAX: Duration = Duration::from_secs(2);
/// Waits are remembered for one to two of these.
const WINDOW: Duration = Duration::from_secs(30);
/// Waits up to so many milliseconds, each half as long again as the one before; the last has no end.
const BOUNDS_MS: [u64; 20] =
    [1, 2, 3, 5, 8, 12, 18, 27, 40, 60, 90, 135, 200, 300, 450, 675, 1000, 1500, 2250, u64::MAX];

/// The waits of the last minute, by length.
#[derive(Debug, Default)]
pub(crate) struct Waits(Mutex<Windows>);

#[derive(Debug, Default)]
struct Windows {
    began: Option<Instant>,
    this: [u32; BOUNDS_MS.len()],
    last: [u32; BOUNDS_MS.len()],
}

impl Windows {
    fn turn(&mut self, now: Instant) {
        let age = now.duration_since(*self.began.get_or_insert(now));
        if age >= WINDOW {
            let this = std::mem::take(&mut self.this);
            self.last = if age < 2 * WINDOW { this } else { Default::default() };
            self.began = Some(now);
        }
    }

    fn add(&mut self, now: Instant, wait: Duration) {
        self.turn(now);
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let place = BOUNDS_MS.iter().position(|&bound| millis <= bound).unwrap_or(0);
        if let Some(count) = self.this.get_mut(place) {
            *count = count.saturating_add(1);
        }
    }

    /// The wait that 99 of 100 do not exceed; `None` if nothing waited.
    fn p99(&mut self, now: Instant) -> Option<Duration> {
        self.turn(now);
        let counts: Vec<u64> =
            self.this.iter().zip(&self.last).map(|(a, b)| u64::from(*a) + u64::from(*b)).collect();
        let total: u64 = counts.iter().sum();
        let mut longer = total;
        let reached = BOUNDS_MS.iter().zip(counts).find(|(_, count)| {
            longer -= count;
            longer * 100 <= total
        });
        reached.filter(|_| total > 0).map(|(bound, _)| Duration::from_millis(*bound))
    }
}

impl Waits {
    /// Remembers a wait; one that was not waited to its end as what it was then.
    pub(crate) fn add(&self, wait: Duration) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).add(Instant::now(), wait);
    }

    /// After how long without a byte another copy is asked.
    pub(crate) fn hedge_after(&self) -> Duration {
        let p99 = self.0.lock().unwrap_or_else(PoisonError::into_inner).p99(Instant::now());
        p99.unwrap_or(HEDGE_MAX).clamp(HEDGE_MIN, HEDGE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn another_copy_is_asked_after_the_p99_of_the_last_minute_within_bounds() {
        let waits = Waits::default();
        let add = |times: usize, millis| (0..times).for_each(|_| waits.add(Duration::from_millis(millis)));
        assert_eq!(waits.hedge_after(), HEDGE_MAX, "nothing is known");
        add(990, 3);
        assert_eq!(waits.hedge_after(), HEDGE_MIN);
        add(9, 400);
        assert_eq!(waits.hedge_after(), HEDGE_MIN, "one of a hundred may be longer");
        add(20, 400);
        assert_eq!(waits.hedge_after(), Duration::from_millis(450));
        add(100, 60_000);
        assert_eq!(waits.hedge_after(), HEDGE_MAX);
        tokio::time::advance(WINDOW).await;
        assert_eq!(waits.hedge_after(), HEDGE_MAX, "it is remembered");
        tokio::time::advance(WINDOW).await;
        add(1, 3);
        assert_eq!(waits.hedge_after(), HEDGE_MIN, "and forgotten");
    }
}
