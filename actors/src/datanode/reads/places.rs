//! Places for reads: how many readers may have bytes in memory here, and which of them must make room.
//!
//! ```text
//! request -> first credit -> waiting --place free--> reading --last byte taken--> answered
//!               |               |                       |--stood still too long-----> DeadlineExceeded
//!               |               |                       |--too slow while others wait-> Busy: back to the queue
//!               |               '--waited too long-------> Busy
//!               '--none in time--> DeadlineExceeded
//! ```
//!
//! Invariants:
//! - a place is held by every byte that was read under it: it is free when the last of them is gone, wherever that is
//!   (the queue of a stream, the batch of a socket, a hung disk). So places bound the memory of reads, whatever a reader
//!   does;
//! - a reader that has granted no credit holds no place;
//! - while others wait, a reader keeps its place only as long as it takes [`TURN_FRAMES`] in each [`TURN`] that it is
//!   waited for. What it has is good: it asks for the rest when it is its turn again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dfs_wire::Bytes;
use dfs_wire::status::{Status, StatusCode};
use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::datanode::BUSY_PAUSE_MS;
use crate::env::Clock;
use crate::supervisor::Tasks;

/// How long a reader may be waited for in all before it must have taken [`TURN_FRAMES`].
pub(in crate::datanode) const TURN: Duration = Duration::from_secs(5);
/// 1 MiB: a reader on a link of 2 Mbit/s keeps its place.
pub(in crate::datanode) const TURN_FRAMES: u64 = 4;

/// The places of a node.
pub(in crate::datanode) struct ReadPlaces {
    free: Arc<Semaphore>,
    max: usize,
    waiting: AtomicUsize,
    clock: Arc<dyn Clock>,
    /// At most one or two a place: the piece that is sent next, or a check.
    tasks: Tasks,
}

/// One place, for as long as a clone of it lives.
#[derive(Debug, Clone)]
pub(in crate::datanode) struct ReadPlace {
    _permit: Arc<OwnedSemaphorePermit>,
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn among(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ReadPlaces {
    pub(in crate::datanode) fn new(max: usize, clock: Arc<dyn Clock>) -> Self {
        let (free, waiting) = (Arc::new(Semaphore::new(max)), AtomicUsize::new(0));
        Self { free, max, waiting, clock, tasks: Tasks::default() }
    }

    /// What is waited by here.
    pub(in crate::datanode) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Begins `work` on the disk, in a task of its own that keeps `place` until it has ended: on a disk that hangs it
    /// goes on when nobody waits for it any more, and what it holds is still there.
    pub(in crate::datanode) fn work<T: Send + 'static>(
        &self,
        place: ReadPlace,
        work: impl Future<Output = T> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, Status>> {
        let done = self.tasks.spawn(async move {
            let done = work.await;
            drop(place);
            done
        });
        let aborted = || Status::new(StatusCode::Internal, "work on the disk was aborted");
        Box::pin(async move { done.await.ok_or_else(aborted) })
    }

    /// How many there are.
    pub(in crate::datanode) fn max(&self) -> usize {
        self.max
    }

    /// Readers that wait for one.
    pub(in crate::datanode) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Places that are held.
    pub(in crate::datanode) fn taken(&self) -> usize {
        self.max.saturating_sub(self.free.available_permits())
    }

    /// Whether somebody waits for a place.
    pub(in crate::datanode) fn wanted(&self) -> bool {
        self.waiting() > 0
    }

    /// Waits for a place, first come first served. Cancel safety: dropping the future leaves the queue.
    ///
    /// # Errors
    /// `Busy` after `patience`.
    pub(in crate::datanode) async fn enter(&self, patience: Duration) -> Result<ReadPlace, Status> {
        let _waiting = Waiting::among(&self.waiting);
        let permit = self.clock.timeout(patience, Arc::clone(&self.free).acquire_owned()).await;
        let permit = permit.ok().and_then(Result::ok).ok_or_else(|| busy("too many reads at once"))?;
        Ok(ReadPlace { _permit: Arc::new(permit) })
    }
}

/// A refusal that asks the reader to queue again.
pub(in crate::datanode) fn busy(text: &str) -> Status {
    Status::new(StatusCode::Busy, text).retry_after_ms(BUSY_PAUSE_MS)
}

struct Held {
    bytes: Bytes,
    _place: ReadPlace,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl ReadPlace {
    /// The same bytes, which keep the place until the last part of them is dropped.
    pub(in crate::datanode) fn hold(&self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Held { bytes, _place: self.clone() })
    }
}

/// What a look at a reader that is waited for comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::datanode) enum Pacing {
    /// Go on waiting.
    Wait,
    /// Others wait, and it is slow.
    MakeRoom,
    /// It takes nothing.
    Stalled,
}

/// How a reader keeps up: pure. Only the time counts in which it was waited for, so that no reader pays for the disk.
#[derive(Debug, Default)]
pub(in crate::datanode) struct Pace {
    taken: u64,
    /// Waited since it last took something.
    still: Duration,
    turn_taken: u64,
    /// Waited in this turn.
    turn: Duration,
}

impl Pace {
    /// After `span` of waiting, the reader has taken `taken` frames in all.
    pub(in crate::datanode) fn look(
        &mut self,
        span: Duration,
        taken: u64,
        wanted: bool,
        stall: Duration,
    ) -> Pacing {
        self.still = if taken == self.taken { self.still + span } else { Duration::ZERO };
        self.taken = taken;
        self.turn += span;
        if taken.saturating_sub(self.turn_taken) >= TURN_FRAMES {
            (self.turn_taken, self.turn) = (taken, Duration::ZERO);
        }
        match (self.still >= stall, wanted && self.turn >= TURN) {
            (true, _) => Pacing::Stalled,
            (false, true) => Pacing::MakeRoom,
            (false, false) => Pacing::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_millis(250);
    const STALL: Duration = Duration::from_secs(30);

    /// The first verdict that ends the wait for a reader who takes a frame every `looks` looks, and after how many.
    fn ends(looks: u64, wanted: bool) -> Option<(u64, Pacing)> {
        let mut pace = Pace::default();
        (1..1000).map(|n| (n, pace.look(LOOK, n / looks, wanted, STALL))).find(|(_, v)| *v != Pacing::Wait)
    }

    #[test]
    fn a_slow_reader_makes_room_only_for_others() {
        assert_eq!(ends(8, true), Some((20, Pacing::MakeRoom)), "a frame every 2 s");
        assert_eq!(ends(8, false), None, "nobody waits for its place");
        assert_eq!(ends(5, true), None, "fast enough");
    }

    #[test]
    fn a_reader_that_takes_nothing_is_given_up_though_nobody_waits() {
        assert_eq!(ends(u64::MAX, false), Some((120, Pacing::Stalled)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_free_when_the_last_of_its_bytes_is_gone() {
        let places = ReadPlaces::new(1, crate::env::Env::for_tests(1).clock);
        let place = places.enter(LOOK).await.unwrap();
        let mut bytes = place.hold(Bytes::from_static(b"abcdef"));
        drop(place);
        let front = bytes.split_to(3);
        drop(bytes);
        assert_eq!(places.enter(LOOK).await.unwrap_err().code, StatusCode::Busy);
        drop(front);
        assert!(places.enter(LOOK).await.is_ok());
        assert!(!places.wanted());
    }
}
