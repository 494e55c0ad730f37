//! The one writer of the metadata: it takes mutations by value and commits them in groups.

mod actor;
mod committer;
mod store_health;

pub use actor::{GROUP_MAX, MetadataWriter, WriterArgs, WriterMsg};
pub use committer::{
    CommitLane, Committer, GroupEnd, InlineLane, LaneJob, MutationResult, QueuedMutation, WriterMetrics,
};
pub use store_health::{StoreHealth, StoreTrouble};
