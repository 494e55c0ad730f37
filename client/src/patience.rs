//! Patience with a connection: a slow line is not a peer that does nothing.

use std::time::Duration;

use dfs_wire::link::Link;
use tokio::time::timeout;

/// How often patience is renewed while the connection moves other bytes.
const TIMES_MAX: u32 = 6;
/// Bytes within one patience that are more than signs of life.
const LINE_BYTES: u64 = 4096;

/// The outcome of `work`, which waits for a stream of `link`; `None` if nothing came of it. On a slow line a frame takes
/// long, and stands behind those of other streams: while the connection moves bytes, patience is had again.
pub(crate) async fn patiently<F: Future>(link: &Link, patience: Duration, work: F) -> Option<F::Output> {
    tokio::pin!(work);
    let moved = || link.received().saturating_add(link.written());
    for _ in 0..TIMES_MAX {
        let before = moved();
        if let Ok(outcome) = timeout(patience, &mut work).await {
            return Some(outcome);
        }
        if moved() - before < LINE_BYTES {
            return None;
        }
    }
    None
}
