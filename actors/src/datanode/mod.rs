//! What a datanode does with the requests of its sessions.

mod reads;
mod service;

pub use service::{DatanodeLimits, DatanodeParts, DatanodeService};
