//! What a datanode does: with the requests of its sessions, and unasked.

pub mod authority;
pub mod chunk_store;
pub mod control;
mod courtesy;
#[cfg(test)]
pub(crate) mod fakes;
pub mod heartbeat;
pub mod inventory;
mod load;
pub mod quarantine;
mod reads;
pub mod replication;
pub mod scrub;
mod service;
pub mod streaming;
pub mod tree;

pub use service::{DatanodeLimits, DatanodeParts, DatanodeService};

/// What a refused client is asked to wait.
const BUSY_PAUSE_MS: u32 = 250;
