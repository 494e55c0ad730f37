//! The datanode's share of garbage collection: what has lain in quarantine for long enough is unlinked.

mod actor;
mod state;

pub use actor::{Quarantine, QuarantineArgs, QuarantineMsg};
pub use state::QuarantineConfig;
