//! What the actor of the jobs can be told.

use std::collections::BTreeMap;

use dfs_wire::id::{ChunkId, NodeId};
use dfs_wire::message::job::{JobAction, JobId, JobStatus, JobTask};
use dfs_wire::status::Status;

use super::balance::Chosen;
use crate::coordinator::metadata::model::records::JobRecord;
use crate::coordinator::repair::Move;
use crate::supervisor::Reply;

/// A message to the actor of the jobs.
pub(crate) enum JobsMsg {
    /// Begin a job on behalf of somebody; one that does the same already is answered instead.
    Begin(JobTask, String, Reply<Result<JobStatus, Status>>),
    /// Do something to a job.
    Act(JobId, JobAction, Reply<Result<JobStatus, Status>>),
    /// All jobs, the latest first.
    List(Reply<Vec<JobStatus>>),
    /// Rows of jobs are durable, or not; whoever waits for it is answered then.
    Stored(Changes, Result<(), Status>, Option<JobAsked>),
    /// The register of nodes, and the metadata, know of a node that is to be emptied, or not any more.
    NodeTold(Result<(), Status>),
    /// Chunks that a balance is to move, of the node that gives the most.
    Chosen(JobId, NodeId, Result<Chosen, Status>),
    /// Those of the chunks under way that have not moved yet.
    Unmoved(JobId, Result<BTreeMap<ChunkId, Move>, Status>),
    /// Whether a node of a job has nothing left.
    Emptied(JobId, Result<bool, Status>),
}

/// Rows of jobs: as they are to be, or gone.
pub(crate) type Changes = Vec<(JobId, Option<JobRecord>)>;

/// Who waits until a job is durable.
pub(crate) type JobAsked = (JobId, Reply<Result<JobStatus, Status>>);
