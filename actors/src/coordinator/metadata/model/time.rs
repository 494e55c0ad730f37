//! The coordinator's time: what leases, grants and the trash expire by.
//!
//! ```text
//! wall clock   ----first start---|                                   (dates that people read: mtimes, trash)
//! our time                       |====reign 1====|          |====reign 2====
//!                                                 \---off---/ does not count
//! ```
//!
//! Every group of changes commits the time it was dated by, and an idle coordinator commits it now and then. The next
//! reign goes on from there. So a wall clock that is wrong when a coordinator starts expires nothing, and whoever had a
//! lease when the coordinator went away has all that was left of it when it is back.

use std::sync::Arc;

use dfs_wire::bugs::{self, Bug};

use crate::env::{Clock, MonoTime};

/// How far the committed time may fall behind while nothing changes.
pub const COMMITTED_EVERY_MS: u64 = 10_000;

/// Milliseconds as nanoseconds, both since 1970; what is too late is the latest there is.
pub fn ns(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1_000_000)
}

/// A point in time, as both clocks show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The coordinator's time: leases, expiry, ids.
    pub now_ms: u64,
    /// The wall clock: what people are shown.
    pub wall_ms: u64,
}

/// Milliseconds since 1970 as the coordinators of a cluster count them: from the wall clock at the very first start, and
/// by monotonic time while one of them runs. Datanodes learn this time from heartbeats. Cheap to clone.
#[derive(Clone)]
pub struct ReignClock {
    clock: Arc<dyn Clock>,
    start_ms: u64,
    mono_start: MonoTime,
}

impl ReignClock {
    /// Starts to count now, from the wall clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let start_ms = clock.wall_ms();
        Self::from(clock, start_ms)
    }

    /// Starts to count now, from `start_ms`.
    pub fn from(clock: Arc<dyn Clock>, start_ms: u64) -> Self {
        Self { start_ms, mono_start: clock.now(), clock }
    }

    /// The coordinator's time.
    pub fn now_ms(&self) -> u64 {
        if bugs::is(Bug::FollowWallClock) {
            return self.clock.wall_ms();
        }
        let passed = self.clock.now().since(self.mono_start).as_millis();
        self.start_ms.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    /// The coordinator's time and the wall clock, read together.
    pub fn moment(&self) -> Moment {
        Moment { now_ms: self.now_ms(), wall_ms: self.clock.wall_ms() }
    }

    /// The date to show for a point in the coordinator's time. One before the coordinator was last away is shown later
    /// than it was, by the time away.
    pub fn date(&self, at_ms: u64) -> u64 {
        let Moment { now_ms, wall_ms } = self.moment();
        wall_ms.saturating_add(at_ms).saturating_sub(now_ms)
    }
}
