//! What a datanode does with the requests of its sessions.

mod places;
mod reads;
mod service;

pub use service::{DatanodeLimits, DatanodeParts, DatanodeService, Found};

/// What a refused client is asked to wait.
const BUSY_PAUSE_MS: u32 = 250;
