//! The part of a node's supervision tree that talks.
//!
//! ```text
//! transport (one for one)
//! +- sessions     nursery: one session for each connection
//! +- listener     the socket
//! ```

use std::sync::Arc;

use crate::watch;
use dfs_wire::slab::SlabBudget;

use super::gate::Gate;
use super::listener::{Bound, Listener, ListenerArgs};
use super::session::{Knocks, Places, RequestStats, Service, SessionCommon, SessionLimits};
use crate::budgets::LISTENER_MAILBOX;
use crate::env::Clock;
use crate::supervisor::{Addr, ChildSpec, SupervisorSpec};

/// What the talking part is built from.
pub struct TransportArgs {
    /// The socket, bound already: connections wait there until the listener runs.
    pub bound: Bound,
    /// What serves the requests.
    pub service: Arc<dyn Service>,
    /// Memory for payloads that ride in requests.
    pub budget: SlabBudget,
    /// Limits of each session; a new one takes what they are when it begins.
    pub limits: watch::Receiver<SessionLimits>,
    /// Who may be connected.
    pub places: Places,
    /// What the node waits by.
    pub clock: Arc<dyn Clock>,
    /// What connections have to prove.
    pub gate: Gate,
}

/// The talking part, not running yet, and what is to be seen of it.
pub struct Transport {
    /// The supervisor of listener and sessions, to be started by the node.
    pub spec: SupervisorSpec,
    /// Set to true, sessions take no new requests and end with the last one open.
    pub drain: watch::Sender<bool>,
    /// Counters of requests.
    pub requests: RequestStats,
    /// Connections that came to nothing.
    pub knocks: Knocks,
}

/// Builds the talking part.
pub fn transport(args: TransportArgs) -> Transport {
    let TransportArgs { bound, service, budget, limits, places, clock, gate } = args;
    let (requests, knocks) = (RequestStats::default(), Knocks::default());
    let (drain, draining) = watch::channel(false);
    let sessions = SupervisorSpec::one_for_one(&clock, "sessions");
    let (sessions, nursery) = sessions.with_nursery(places.max().total());
    let common = SessionCommon {
        service,
        budget,
        limits,
        draining,
        requests: requests.clone(),
        places,
        knocks: knocks.clone(),
        gate,
    };
    let listener = ListenerArgs { bound, sessions: nursery, common };
    let spec =
        SupervisorSpec::one_for_one(&clock, "transport")
            .supervisor(sessions)
            .child(ChildSpec::new::<Listener>("listener", &Addr::new(&clock, LISTENER_MAILBOX), listener));
    Transport { spec, drain, requests, knocks }
}
