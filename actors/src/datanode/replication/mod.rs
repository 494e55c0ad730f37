//! The bytes that go from one datanode to another: a chunk that is forwarded while it comes in, and one that is fetched because
//! the coordinator wants a copy here.
//!
//! Peers are those of the cluster, at the addresses that the coordinator tells: what a client writes into a request can
//! neither have a peer dialled elsewhere nor make one up.

mod copy;
mod forward;

pub use copy::{CopyJob, copy_chunk};
pub use forward::{Forward, ForwardItem, Gauge, Sent};
