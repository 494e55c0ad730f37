//! A datanode's side of membership: joining, heartbeats, and what the coordinator's answers ask for.
//!
//! `state` is the pure machine, `actor` its shell.

mod actor;
mod messages;
mod state;

pub use actor::{Heartbeat, HeartbeatArgs, LoadProbe, load_of_store};
pub use messages::{CopyFault, HeartbeatMsg, want_news};
pub use state::HeartbeatConfig;
