//! What an actor may ask of the world: time, the network and randomness, each behind a trait.
//!
//! Nothing in this crate opens a socket, reads the system clock or seeds itself from the operating system: the node
//! hands in an [`Env`] when it builds the tree, and the simulator hands in another. Disks are not part of `Env`:
//! a datanode is built around its own, and their trait stands beside the actors that use it (`chunk_store`).

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::ops::{Add, Sub};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use dfs_wire::identity::PeerName;
use dfs_wire::tls::ProofCell;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

#[cfg(any(test, feature = "testing"))]
mod testing;

#[cfg(any(test, feature = "testing"))]
pub use testing::{SeededRng, TokioClock};

/// A point in monotonic time: microseconds since the clock that made it was started.
///
/// Never crosses the wire and never reaches a disk: two nodes, or two runs of one node, do not share an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MonoTime(u64);

impl MonoTime {
    /// The instant at which the clock was started.
    pub const ZERO: Self = Self(0);

    /// The instant `micros` microseconds after the start of the clock.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the start of the clock.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Time passed since `earlier`, or zero if `earlier` lies in the future.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for MonoTime {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(micros(span)))
    }
}

impl Sub<Duration> for MonoTime {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(micros(span)))
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// Source of time.
pub trait Clock: Send + Sync + 'static {
    /// The monotonic clock: for timeouts, leases, rates and everything that compares two instants.
    fn now(&self) -> MonoTime;

    /// Milliseconds since the Unix epoch: for what people read (mtime, logs). Never for ordering or for expiry.
    fn wall_ms(&self) -> u64;

    /// Completes once `span` has passed on the monotonic clock. Cancel safety: dropping it forgets it.
    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()>;
}

/// The time for something was up before it had come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the time was up")]
pub struct TimeUp;

impl std::fmt::Debug for dyn Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Clock({:?})", self.now())
    }
}

impl dyn Clock {
    /// What comes of `work`, if it comes within `span`. What is there already counts, even if the time is up as well.
    /// Cancel safety: that of `work`, which is dropped when the time is up.
    ///
    /// # Errors
    /// [`TimeUp`].
    pub async fn timeout<T>(&self, span: Duration, work: impl Future<Output = T>) -> Result<T, TimeUp> {
        let (mut work, mut alarm) = (pin!(work), None);
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            // Outside tokio's budget, which work that is always busy would use up: then the time would never be up.
            let alarm = alarm.get_or_insert_with(|| tokio::task::unconstrained(self.sleep(span)));
            alarm.poll_unpin(cx).map(|()| Err(TimeUp))
        })
        .await
    }

    /// As `timeout`, until `at`.
    ///
    /// # Errors
    /// [`TimeUp`].
    pub async fn timeout_at<T>(&self, at: MonoTime, work: impl Future<Output = T>) -> Result<T, TimeUp> {
        self.timeout(at.since(self.now()), work).await
    }
}

/// Source of randomness: jitter, identifiers, sampling. Not for keys; the node makes those itself.
pub trait Rng: Send + Sync + 'static {
    /// 64 uniformly distributed bits.
    fn u64(&self) -> u64;

    /// 128 uniformly distributed bits.
    fn u128(&self) -> u128 {
        (u128::from(self.u64()) << 64) | u128::from(self.u64())
    }

    /// Fills `out` with uniformly distributed bytes.
    fn fill(&self, out: &mut [u8]) {
        for part in out.chunks_mut(8) {
            let bits = self.u64().to_le_bytes();
            for (byte, bit) in part.iter_mut().zip(bits) {
                *byte = bit;
            }
        }
    }

    /// A number in `0..bound`, or 0 if `bound` is 0. Multiply-shift: the bias is below `bound / 2^64`.
    fn below(&self, bound: u64) -> u64 {
        u64::try_from((u128::from(self.u64()) * u128::from(bound)) >> 64).unwrap_or(0)
    }
}

/// The reading half of a connection.
pub type BoxRead = Box<dyn AsyncRead + Send + Sync + Unpin>;

/// The writing half of a connection.
pub type BoxWrite = Box<dyn AsyncWrite + Send + Sync + Unpin>;

/// One established byte stream, already split. Dropping both halves closes it.
pub struct Connection {
    /// Bytes from the peer.
    pub reader: BoxRead,
    /// Bytes to the peer.
    pub writer: BoxWrite,
    /// Address of the peer.
    pub peer: SocketAddr,
    /// Our own address on this connection.
    pub local: SocketAddr,
    /// What is known of who is at the other end. Of a connection that was accepted it is known once something was read.
    pub proof: ProofCell,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.peer)
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}

/// A bound listening socket.
pub trait ListeningSocket: Send + Sync {
    /// Waits for the next incoming connection. Cancel safety: a connection is either returned or still queued.
    ///
    /// # Errors
    /// The socket's own error. Some pass (too many open files): callers log, wait a little and accept again.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Connection>>;

    /// The address it is bound to, with the real port if port 0 was asked for.
    fn local_addr(&self) -> SocketAddr;
}

/// The network as an actor sees it. Socket options are the business of the implementation.
pub trait Net: Send + Sync + 'static {
    /// Connects to `addr` (`host:port`), where `whom` is expected, name resolution included, within `timeout`. Where the
    /// network is secured, whoever answers has proved to be the one.
    ///
    /// # Errors
    /// The socket's error, `TimedOut`, or `InvalidData` if somebody else answers.
    fn connect<'a>(
        &'a self,
        addr: &'a str,
        whom: PeerName,
        timeout: Duration,
    ) -> BoxFuture<'a, io::Result<Connection>>;

    /// Listens on `addr` (`host:port`).
    ///
    /// # Errors
    /// The socket's error, such as `AddrInUse`.
    fn listen<'a>(&'a self, addr: &'a str) -> BoxFuture<'a, io::Result<Box<dyn ListeningSocket>>>;
}

/// Everything outside the process that an actor may touch but for its own disk. Cheap to clone.
#[derive(Clone)]
pub struct Env {
    /// Tells the time and waits.
    pub clock: Arc<dyn Clock>,
    /// Listens and dials.
    pub net: Arc<dyn Net>,
    /// Random bits, for ids and jitter.
    pub rng: Arc<dyn Rng>,
}

impl Env {
    /// An environment from its parts.
    pub fn new(clock: Arc<dyn Clock>, net: Arc<dyn Net>, rng: Arc<dyn Rng>) -> Self {
        Self { clock, net, rng }
    }

    /// The present monotonic instant.
    #[must_use]
    pub fn now(&self) -> MonoTime {
        self.clock.now()
    }
}

impl std::fmt::Debug for Env {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Env").field("now", &self.now()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_again() {
        let (a, b) = (SeededRng::new(7), SeededRng::new(7));
        assert_eq!(
            (0..100).map(|_| a.u64()).collect::<Vec<_>>(),
            (0..100).map(|_| b.u64()).collect::<Vec<_>>()
        );
        let mut bytes = [0; 13];
        a.fill(&mut bytes);
        assert_ne!(bytes, [0; 13]);
        assert!((0..1000).all(|_| a.below(10) < 10));
        assert_eq!(a.below(0), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_follows_paused_time() {
        let clock = TokioClock::starting_at(5_000);
        let before = clock.now();
        clock.sleep(Duration::from_secs(3600)).await;
        assert_eq!(clock.now().since(before), Duration::from_secs(3600));
        assert_eq!(clock.wall_ms(), 5_000 + 3_600_000);
        assert_eq!(before.since(clock.now()), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_done_in_time_counts_and_what_is_not_is_dropped() {
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::starting_at(0));
        let (second, began) = (Duration::from_secs(1), clock.now());
        assert_eq!(clock.timeout(second, async { 7 }).await, Ok(7));
        assert_eq!(clock.timeout(Duration::ZERO, async { 7 }).await, Ok(7), "it was there already");
        assert_eq!(clock.timeout(second, clock.sleep(second * 2)).await, Err(TimeUp));
        assert_eq!(clock.now().since(began), second);
        assert_eq!(clock.timeout_at(began, clock.sleep(second)).await, Err(TimeUp));
    }

    /// Seen to hang for ever with an alarm inside the budget.
    #[tokio::test]
    async fn work_that_is_always_busy_runs_out_of_time() {
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::starting_at(0));
        let busy = poll_fn(|cx| {
            // Uses up what a task may do before it must yield, and asks to be polled again.
            while tokio::task::coop::has_budget_remaining() {
                let _ = pin!(tokio::task::consume_budget()).poll(cx);
            }
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        assert_eq!(clock.timeout(Duration::from_millis(20), busy).await, Err(TimeUp));
    }
}
