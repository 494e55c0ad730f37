//! The datanode's share of garbage collection: what has lain in quarantine for long enough is unlinked.
//!
//! ```text
//!   resting --interval--> a round: what is older than the retention goes --ended, or failed--> resting
//!                           ^                                               |
//!                           +---------------- time was up, and there is more+
//! ```

mod actor;
mod messages;
mod state;

pub use actor::{Quarantine, QuarantineArgs};
pub use messages::QuarantineMsg;
pub use state::QuarantineConfig;
