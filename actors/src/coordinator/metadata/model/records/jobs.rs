//! The records of jobs.

use dfs_wire::message::job::{JobState, JobTask, WorkAmount};
use serde::{Deserialize, Serialize};

use crate::coordinator::metadata::table::format::Record;

/// A job, as far as it outlives the coordinator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    /// What it does.
    pub task: JobTask,
    /// Where in its life it is.
    pub state: JobState,
    /// Who asked for it.
    pub asked_by: String,
    /// When it was asked for, in the coordinator's time.
    pub asked_ms: u64,
    /// Since when it is in its state.
    pub since_ms: u64,
    /// How far it has come, in the order of what it goes through; empty = it is at the beginning.
    pub cursor: Vec<u8>,
    /// How much there is to do.
    pub total: WorkAmount,
    /// How much of it is done.
    pub done: WorkAmount,
    /// What it could not do, counted.
    pub exceptions: u64,
    /// The last of these.
    pub last_exception: String,
}

impl Record for JobRecord {}
