//! Dialling: from an address to a welcomed [`Link`].

use std::time::Duration;

use dfs_wire::handshake::{self, Hello, Welcome};
use dfs_wire::limits::CONNECTION_CREDIT_BYTES;
use dfs_wire::link::{Driver, Link, LinkParams, Role};
use dfs_wire::slab::SlabBudget;
use dfs_wire::status::{Status, StatusCode};

use crate::env::Env;

/// A connection whose peer said welcome. Nothing moves on it until the driver's halves are run.
#[derive(Debug)]
pub struct Dialed {
    /// The handle.
    pub link: Link,
    /// The work of the connection, to be spawned by its owner.
    pub driver: Driver,
    /// What the peer said of itself.
    pub welcome: Welcome,
}

/// Connects to `address` and shakes hands, all within `timeout`.
///
/// Cancel safety: dropping the future closes the connection.
///
/// # Errors
/// `Unavailable` if nobody answers there; what the peer refused with; `DeadlineExceeded`.
pub async fn dial(
    env: &Env,
    address: &str,
    hello: &Hello,
    budget: &SlabBudget,
    timeout: Duration,
) -> Result<Dialed, Status> {
    let unreachable =
        |e: std::io::Error| Status::new(StatusCode::Unavailable, format!("cannot reach {address}: {e}"));
    let attempt = async {
        let connection = env.net.connect(address, timeout).await.map_err(unreachable)?;
        let mut io = tokio::io::join(connection.reader, connection.writer);
        let welcome =
            handshake::connect(&mut io, hello).await.map_err(handshake::HandshakeError::into_status)?;
        let (reader, writer) = io.into_inner();
        let params = LinkParams {
            role: Role::Connector,
            budget: budget.clone(),
            send_credit: welcome.connection_credit,
            recv_credit: hello.connection_credit.min(CONNECTION_CREDIT_BYTES),
        };
        let (link, driver) = Link::new(reader, writer, params);
        Ok(Dialed { link, driver, welcome })
    };
    tokio::time::timeout(timeout, attempt).await.unwrap_or_else(|_| {
        let text = format!("{address} did not answer within {} ms", timeout.as_millis());
        Err(Status::new(StatusCode::DeadlineExceeded, text))
    })
}
