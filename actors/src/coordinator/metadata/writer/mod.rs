//! The metadata writer: the one actor through which everything changes.
//!
//! ```text
//! Mutate --queue (bounded)--> [idle] --group--> lane: apply, commit, reply --GroupDone--> next group, or idle
//! ```
//!
//! While one group is being committed the next one gathers: under load every fsync is shared by many. The commit
//! runs on a [`CommitLane`], never in a handler, and replies itself, so that work in hand is answered even if the
//! actor is killed meanwhile. What waits in the queue of a killed actor was not begun; its askers are told.

mod actor;
mod committer;
mod messages;
mod state;
mod store_health;

pub use actor::{MetadataWriter, WriterArgs};
#[cfg(any(test, feature = "testing"))]
pub use committer::InlineLane;
pub use committer::{
    CommitLane, Committer, GroupEnd, LaneJob, MutationResult, QueuedMutation, WriterMetrics,
};
pub use messages::WriterMsg;
pub use state::GROUP_MAX;
pub use store_health::{StoreHealth, StoreTrouble};
