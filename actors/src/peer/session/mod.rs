//! One actor for each connection that a peer opened: handshake, keep-alive, requests, farewell.
//!
//! ```text
//! accepted --handshake within its limit--> serving --drain--> draining --last stream ends--> closed
//!     \--refused, foreign bytes, too slow--> closed  \--silence, violation, idle too long--> closed
//!                                                     \--its place is needed--> Goaway, closed a moment later
//! ```
//!
//! The session owns the connection's reader and writer and a task for each open request, and they end with it. What
//! a request means is the business of the [`Service`].

mod actor;
mod eviction;
mod knocks;
mod messages;
mod places;
mod requests;
mod state;

use std::net::SocketAddr;

use dfs_wire::handshake::{Credentials, Hello, Peer, Welcome};
use dfs_wire::identity::{Bearer, KeyDigest};
use dfs_wire::link::Incoming;
use dfs_wire::status::Status;
use dfs_wire::version::ProtocolVersion;
use futures_util::future::BoxFuture;

pub use actor::{Arrived, Session, SessionArgs, SessionCommon};
pub use eviction::Class;
pub use knocks::Knocks;
pub use messages::SessionMsg;
pub use places::{Place, Places, PlacesMax, PlacesTally};
pub use requests::{LATENCY_BOUNDS, RequestStats, RequestTally};
pub use state::SessionLimits;

/// Who is at the other end of a session.
#[derive(Debug, Clone)]
pub struct PeerInfo {
    /// What it said of itself.
    pub peer: Peer,
    /// Whose certificate it has, if it has one.
    pub bearer: Option<Bearer>,
    /// What else it showed.
    pub credentials: Option<Credentials>,
    /// Where it connects from.
    pub address: SocketAddr,
    /// Number of the session, in both ends' logs.
    pub session: u64,
}

/// What a node does with the requests of its sessions. One for each role.
pub trait Service: Send + Sync + 'static {
    /// Accepts or refuses a peer. Cancel safety: it has no effect.
    ///
    /// # Errors
    /// What the peer is told.
    fn welcome<'a>(
        &'a self,
        hello: &'a Hello,
        version: ProtocolVersion,
        session: u64,
    ) -> BoxFuture<'a, Result<Welcome, Status>>;

    /// Whether certificates for this key are not believed any more. Asked for each request.
    fn is_revoked(&self, key: &KeyDigest) -> bool;

    /// Carries one request to its answer. Runs as a task of the session and ends with it; a panic resets the stream
    /// and leaves the session alone.
    fn serve(
        self: std::sync::Arc<Self>,
        peer: std::sync::Arc<PeerInfo>,
        incoming: Incoming,
    ) -> BoxFuture<'static, ()>;
}
