//! The coordinator's time: what leases, grants and the trash expire by.

use std::sync::Arc;

use crate::env::{Clock, MonoTime};

/// Milliseconds since 1970 as this reign counts them: the wall clock once, at its start, and monotonic time from then
/// on. Expiry must survive a restart, so it needs a date; but no step of the wall clock during a reign may end a
/// lease early or keep one for ever. Datanodes learn this time from heartbeats. Cheap to clone.
#[derive(Clone)]
pub struct ReignClock {
    clock: Arc<dyn Clock>,
    wall_start_ms: u64,
    mono_start: MonoTime,
}

impl ReignClock {
    /// Starts to count now.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { wall_start_ms: clock.wall_ms(), mono_start: clock.now(), clock }
    }

    /// The coordinator's time.
    pub fn now_ms(&self) -> u64 {
        let passed = self.clock.now().since(self.mono_start).as_millis();
        self.wall_start_ms.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }
}
