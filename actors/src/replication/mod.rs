//! Connections to the other datanodes, and the bytes that go over them.
//!
//! One actor owns the links to all peers: it dials when a link is first needed, shares a link among transfers,
//! opens another one when the present ones are busy, and refuses quickly for a moment after a peer could not be
//! reached, so that uploads do not pile up behind a dead node. The bytes themselves do not pass through it.

mod actor;
mod copy;
mod forward;
mod state;

pub use actor::{LinkRequest, Replication, ReplicationArgs, ReplicationMsg};
pub use copy::{CopyJob, copy_chunk};
pub use forward::{Forward, ForwardItem, Gauge};
pub use state::{Decision, PeerLimits, PeerState};
