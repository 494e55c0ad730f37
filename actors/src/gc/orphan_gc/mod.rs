//! The datanode's share of garbage collection: what has lain in quarantine for long enough is unlinked.

pub mod actor;
pub mod state;
