//! What a client asks of the world besides time and local files: the network, randomness, and threads to block on.
//! Nothing else of the SDK names sockets, dice, threads or the system's clock.
//!
//! Time is tokio's, so a test that pauses it has the client's clock in its hands.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use dfs_wire::limits::BLOCK_BYTES;
use dfs_wire::status::StatusCode;
use dfs_wire::tls::Tls;
use tokio::task::JoinHandle;

use crate::error::Error;

mod connector;

pub use connector::{BoxReader, BoxWriter, ConnectFuture, Connector, TcpConnector, tune_socket};

/// Source of randomness: identifiers, jitter and names of files.
pub trait Rng: Send + Sync + 'static {
    /// 64 uniformly distributed bits. Where they can be guessed, so can the names of partial files.
    fn u64(&self) -> u64;
}

/// The generator of the operating system, by way of a per-thread one.
struct SystemRng;

impl Rng for SystemRng {
    fn u64(&self) -> u64 {
        rand::random()
    }
}

/// The world as a client sees it. Cheap to clone.
#[derive(Clone)]
pub struct Env {
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) workers: Workers,
}

impl Env {
    /// TCP, with TLS around it if there is one, the operating system's randomness, and tokio's threads for what blocks.
    pub fn system(tls: Option<Tls>) -> Self {
        Self { connector: Arc::new(TcpConnector { tls }), rng: Arc::new(SystemRng), workers: Workers::Pool }
    }

    /// Another network and another source of randomness, and no threads: what blocks runs where it is asked for. With
    /// tokio's paused clock in a runtime of one thread, the same `rng` then gives the same run again.
    pub fn in_one_thread(connector: Arc<dyn Connector>, rng: Arc<dyn Rng>) -> Self {
        Self { connector, rng, workers: Workers::Here }
    }

    /// A number in `0.5..=1`, for jitter.
    pub(crate) fn between_half_and_one(&self) -> f64 {
        let bits = u32::try_from(self.rng.u64() >> 32).unwrap_or(u32::MAX);
        0.5 + f64::from(bits) / f64::from(u32::MAX) / 2.0
    }

    /// 128 uniformly distributed bits.
    pub(crate) fn u128(&self) -> u128 {
        (u128::from(self.rng.u64()) << 64) | u128::from(self.rng.u64())
    }
}

impl std::fmt::Debug for Env {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Env").field("workers", &self.workers).finish_non_exhaustive()
    }
}

/// How long ago a file was changed; `None` if that is still to come. Times of files are the kernel's, whatever clock the
/// client has.
pub(crate) fn age_of(modified: SystemTime) -> Option<Duration> {
    SystemTime::now().duration_since(modified).ok()
}

/// Where work runs that blocks, or takes long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workers {
    /// On tokio's blocking pool.
    Pool,
    /// Where it is asked for.
    Here,
}

impl Workers {
    /// Begins with `work`, which is finished even if the task is dropped.
    pub(crate) fn start<T, F>(self, work: F) -> WorkerTask<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        match self {
            Self::Pool => WorkerTask::Running(tokio::task::spawn_blocking(work)),
            Self::Here => WorkerTask::Done(Some(work())),
        }
    }

    /// Runs `work`.
    ///
    /// Cancel safety: work handed over is finished (it owns what it touches), its result dropped.
    pub(crate) async fn blocking<T, F>(self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        self.start(work).await
    }

    /// Runs `work` on `bytes` bytes of data: here if they are few, as [`Self::blocking`] if not.
    pub(crate) async fn run<T, F>(self, bytes: usize, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        if bytes <= BLOCK_BYTES {
            return Ok(work());
        }
        self.blocking(work).await
    }
}

/// Work that was begun. Its outcome is an error only if the worker was lost.
pub(crate) enum WorkerTask<T> {
    Running(JoinHandle<T>),
    /// `None` once it was taken.
    Done(Option<T>),
}

impl<T> Unpin for WorkerTask<T> {}

impl<T> Future for WorkerTask<T> {
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let lost = || Error::new(StatusCode::Internal, "a worker of this process was lost");
        match self.get_mut() {
            Self::Running(handle) => Pin::new(handle).poll(cx).map_err(|e| lost().caused_by(e)),
            Self::Done(outcome) => Poll::Ready(outcome.take().ok_or_else(lost)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn work_runs_on_another_thread_or_here() {
        let here = thread::current().id();
        let there = Workers::Pool.blocking(|| thread::current().id()).await.unwrap();
        assert_ne!(there, here);
        assert_eq!(Workers::Here.blocking(|| thread::current().id()).await.unwrap(), here);
        let few = Workers::Pool.run(1, || thread::current().id()).await.unwrap();
        assert_eq!(few, here, "of a few bytes nobody is made to wait");
    }
}
