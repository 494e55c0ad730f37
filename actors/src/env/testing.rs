//! Environments for tests and for the simulator: another clock, dice with a seed, no network.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dfs_wire::identity::PeerName;
use futures_util::future::BoxFuture;

use super::{Clock, Connection, Env, ListeningSocket, MonoTime, Net, Rng};

impl Env {
    /// An environment for tests: tokio's clock (which a test may pause), no network, a seeded generator.
    #[must_use]
    pub fn for_tests(seed: u64) -> Self {
        Self::new(Arc::new(TokioClock::starting_at(0)), Arc::new(NoNet), Arc::new(SeededRng::new(seed)))
    }
}

/// Tokio's timer as a [`Clock`]. Virtual wherever tokio's time is: under `pause()`.
///
/// Its wall clock is the given start plus the monotonic time passed, so a simulated run never sees the real date.
#[derive(Debug, Clone)]
pub struct TokioClock {
    started: tokio::time::Instant,
    wall_start_ms: u64,
}

impl TokioClock {
    /// A clock that starts now, and whose wall clock reads `wall_ms` at this moment.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the Clock")]
    pub fn starting_at(wall_ms: u64) -> Self {
        Self { started: tokio::time::Instant::now(), wall_start_ms: wall_ms }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> MonoTime {
        MonoTime::ZERO + self.started.elapsed()
    }

    fn wall_ms(&self) -> u64 {
        self.wall_start_ms.saturating_add(self.now().as_micros() / 1000)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the Clock")]
    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(span))
    }
}

/// A reproducible generator: the same seed gives the same numbers in the same order of calls.
///
/// SplitMix64 (Steele, Lea, Flood 2014): one atomic addition a number, so that it needs no lock.
#[derive(Debug)]
pub struct SeededRng {
    state: AtomicU64,
}

impl SeededRng {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

    /// A generator that starts at `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed) }
    }
}

impl Rng for SeededRng {
    fn u64(&self) -> u64 {
        let mut z = self.state.fetch_add(Self::STEP, Ordering::Relaxed).wrapping_add(Self::STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// A network that reaches nobody, for tests of actors that should not use one.
#[derive(Debug, Clone, Copy)]
struct NoNet;

impl Net for NoNet {
    fn connect<'a>(
        &'a self,
        _addr: &'a str,
        _whom: PeerName,
        _timeout: Duration,
    ) -> BoxFuture<'a, io::Result<Connection>> {
        Box::pin(async { Err(io::ErrorKind::NetworkUnreachable.into()) })
    }

    fn listen<'a>(&'a self, _addr: &'a str) -> BoxFuture<'a, io::Result<Box<dyn ListeningSocket>>> {
        Box::pin(async { Err(io::ErrorKind::AddrNotAvailable.into()) })
    }
}
