//! What the actor of the jobs can be told.

use std::collections::BTreeMap;

use dfs_wire::id::{ChunkId, NodeId};
use dfs_wire::message::job::{JobAction, JobId, JobStatus, JobTask, WorkAmount};
use dfs_wire::status::Status;

use super::balance::Chosen;
use super::replication::Advance;
use crate::coordinator::metadata::model::records::JobRecord;
use crate::coordinator::repair::Move;
use crate::supervisor::Reply;

/// A message to the actor of the jobs.
pub(crate) enum JobsMsg {
    /// Begin a job on behalf of somebody; one that does the same already is answered instead.
    Begin(AskedJob, Reply<Result<JobStatus, Status>>),
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
    /// How far a step of a job went that has numbers of copies changed.
    Advanced(JobId, Result<Advance, Status>),
    /// Whether a node of a job has nothing left.
    Emptied(JobId, Result<bool, Status>),
}

/// A job that somebody asks for.
#[derive(Debug, Clone)]
pub(crate) struct AskedJob {
    /// What it is to do.
    pub(crate) task: JobTask,
    /// Who asks, for people.
    pub(crate) by: String,
    /// How much there is to do, as far as is known.
    pub(crate) total: WorkAmount,
}

/// Rows of jobs: as they are to be, or gone.
pub(crate) type Changes = Vec<(JobId, Option<JobRecord>)>;

/// Who waits until a job is durable.
pub(crate) type JobAsked = (JobId, Reply<Result<JobStatus, Status>>);
