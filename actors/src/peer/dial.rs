//! Dialling: from an address to a welcomed link.

use std::time::Duration;

use dfs_wire::handshake::{HandshakeError, Hello};
use dfs_wire::identity::PeerName;
use dfs_wire::link::{Dialed, Link};
use dfs_wire::slab::SlabBudget;
use dfs_wire::status::{Status, StatusCode};

use crate::env::Env;

/// Patience with a node of the cluster that is dialled.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(3);

/// Connects to `address`, where `whom` is expected, and shakes hands, all within `timeout`.
///
/// Cancel safety: dropping the future closes the connection.
///
/// # Errors
/// `Unavailable` if nobody answers there; what the peer refused with; `DeadlineExceeded`.
pub async fn dial(
    env: &Env,
    address: &str,
    whom: PeerName,
    hello: &Hello,
    budget: &SlabBudget,
    timeout: Duration,
) -> Result<Dialed, Status> {
    let unreachable =
        |e: std::io::Error| Status::new(StatusCode::Unavailable, format!("cannot reach {address}: {e}"));
    let attempt = async {
        let connection = env.net.connect(address, whom, timeout).await.map_err(unreachable)?;
        let greeting = Link::connect(connection.reader, connection.writer, hello, budget.clone());
        greeting.await.map_err(HandshakeError::into_status)
    };
    env.clock.timeout(timeout, attempt).await.unwrap_or_else(|_| {
        let text = format!("{address} did not answer within {} ms", timeout.as_millis());
        Err(Status::new(StatusCode::DeadlineExceeded, text))
    })
}
