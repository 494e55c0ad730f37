//! Connections to the other datanodes, and the bytes that go over them.
//!
//! One actor owns the links to all peers: it dials when a link is first needed, shares a link among transfers,
//! opens another one when the present ones are busy, and refuses quickly for a moment after a peer could not be
//! reached, so that uploads do not pile up behind a dead node. The bytes themselves do not pass through it.
//!
//! Peers are those of the cluster, at the addresses that the coordinator tells: what a client writes into a request can
//! neither have a peer dialled elsewhere nor make one up. A link that nobody uses is closed by this end, which opened it,
//! before the other does.

mod actor;
mod copy;
mod forward;
mod messages;
mod state;

pub use actor::{Replication, ReplicationArgs};
pub use copy::{CopyJob, copy_chunk};
pub use forward::{Forward, ForwardItem, Gauge, Sent};
pub use messages::{LinkRequest, ReplicationMsg};
pub use state::PeerLimits;
