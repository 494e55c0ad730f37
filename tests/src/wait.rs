//! Waiting for conditions instead of for time.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

use dfs_client::DfsPath;

/// Patience with a process that starts or ends, on a machine that does other things too.
pub const PATIENCE: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(50);

/// Asks `probe` again and again until it answers `Ok`, and gives that; fails with its last reason after `patience`.
#[track_caller]
pub fn eventually<T, E, F>(what: &str, patience: Duration, mut probe: F) -> impl Future<Output = T>
where
    F: AsyncFnMut() -> Result<T, E>,
    E: Display,
{
    let place = std::panic::Location::caller();
    let deadline = Instant::now() + patience;
    async move {
        loop {
            match tokio::time::timeout(patience, probe()).await {
                Ok(Ok(value)) => return value,
                Ok(Err(reason)) if Instant::now() >= deadline => panic!("{place}: {what}: {reason}"),
                Ok(Err(_)) => tokio::time::sleep(STEP).await,
                Err(_) => panic!("{place}: {what}: no answer in {patience:?}"),
            }
        }
    }
}

/// Waits until `done` says so.
///
/// # Panics
/// If that takes longer than [`PATIENCE`].
#[track_caller]
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A path that is valid because a test wrote it.
#[track_caller]
pub fn path(text: &str) -> DfsPath {
    text.parse().unwrap_or_else(|error| panic!("{text:?}: {error}"))
}
