//! Long work that operators ask for: emptying datanodes, bringing copies elsewhere, and how far it is.

use dfs_wire::message::admin::{AdminRequest, AdminResponse};
use dfs_wire::message::job::{
    BalancePlan, DrainNode, DrainPlan, JobAction, JobId, JobStatus, ReplicationPlan, SetReplication,
    StartBalance,
};

use crate::client::Client;
use crate::error::Error;
use crate::rpc::unexpected;

impl Client {
    /// Has a datanode emptied: it takes no new chunks, everything on it gets a copy elsewhere, and then goes from it. Returns
    /// at once with the job that does it; asked again, with the same one.
    ///
    /// # Errors
    /// `NotFound`; `PreconditionFailed` if not everything on it can go elsewhere: the message says why.
    pub async fn drain_node(&self, word: DrainNode) -> Result<DrainPlan, Error> {
        match self.inner.rpc.admin(None, AdminRequest::DrainNode(word)).await? {
            AdminResponse::NodeDrains(plan) => Ok(*plan),
            other => Err(unexpected(&other)),
        }
    }

    /// Has a datanode, by its name or id, take chunks again that was to be emptied. What went from it does not come back by
    /// itself. Returns the job, as it ended.
    ///
    /// # Errors
    /// `NotFound`; `PreconditionFailed` if it is not being emptied.
    pub async fn undrain_node(&self, node: &str) -> Result<JobStatus, Error> {
        match self.inner.rpc.admin(None, AdminRequest::UndrainNode(node.to_owned())).await? {
            AdminResponse::NodeUndrained(job) => Ok(*job),
            other => Err(unexpected(&other)),
        }
    }

    /// Brings copies from full datanodes to emptier ones, until all are about as full. Returns at once with the plan, and the
    /// job if there is anything to do.
    ///
    /// # Errors
    /// `InvalidArgument` of a threshold that is none.
    pub async fn balance(&self, word: StartBalance) -> Result<BalancePlan, Error> {
        match self.inner.rpc.admin(None, AdminRequest::Balance(word)).await? {
            AdminResponse::Balances(plan) => Ok(*plan),
            other => Err(unexpected(&other)),
        }
    }

    /// Has another number of copies made of files that are there, or dropped. Returns at once with what it takes, and the job
    /// that does it.
    ///
    /// # Errors
    /// `NotFound`; `IsADirectory` if all files below one are meant and that is not said; `InvalidArgument`; `PreconditionFailed`
    /// where there are too few datanodes or too little room, or another job is about the same files.
    pub async fn set_replication(&self, word: SetReplication) -> Result<ReplicationPlan, Error> {
        match self.inner.rpc.admin(None, AdminRequest::SetReplication(word)).await? {
            AdminResponse::Replicates(plan) => Ok(*plan),
            other => Err(unexpected(&other)),
        }
    }

    /// The jobs there are, the latest first, those that ended lately among them.
    ///
    /// ```no_run
    /// # async fn example(client: dfs_client::Client) -> Result<(), dfs_client::Error> {
    /// for job in client.jobs().await? {
    ///     println!("{} {} {}", job.id, job.task.kind(), job.state.name());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the coordinator cannot be asked.
    pub async fn jobs(&self) -> Result<Vec<JobStatus>, Error> {
        match self.inner.rpc.admin(None, AdminRequest::Jobs).await? {
            AdminResponse::Jobs(jobs) => Ok(jobs),
            other => Err(unexpected(&other)),
        }
    }

    /// Pauses, resumes or cancels a job. What is done stays done.
    ///
    /// # Errors
    /// `NotFound`; `PreconditionFailed` if it has ended.
    pub async fn act_on_job(&self, job: JobId, action: JobAction) -> Result<JobStatus, Error> {
        match self.inner.rpc.admin(None, AdminRequest::ActOnJob(job, action)).await? {
            AdminResponse::Job(job) => Ok(*job),
            other => Err(unexpected(&other)),
        }
    }
}
