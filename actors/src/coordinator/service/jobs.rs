//! What operators ask of jobs.

use std::sync::Arc;

use dfs_wire::id::NodeId;
use dfs_wire::message::admin::{AdminRequest, AdminResponse};
use dfs_wire::message::job::{
    BalancePlan, DrainNode, DrainPlan, JobAction, JobId, JobState, JobStatus, JobTask, NamedNode,
    PlannedMove, ReplacedNode, StartBalance, WorkAmount,
};
use dfs_wire::status::{Status, StatusCode};
use dfs_wire::units::size;

use super::dispatch::{Asked, CoordinatorService, refused};
use super::forget::called;
use crate::coordinator::jobs::{AskedJob, DrainLook, Flow, JobsMsg, fills, flows, why_apart};
use crate::coordinator::membership::ClusterView;
use crate::coordinator::metadata::reader::{MetadataReader, ReadFor};
use crate::coordinator::placement::not_writable;
use crate::supervisor::{AskError, Reply};

/// A node may be fuller than the mean by no more than this before it gives something.
const THRESHOLD_MAX: u8 = 50;
/// Groups of chunks that are looked at in one go: a millisecond or two.
const LOOK_ROWS: usize = 4096;

fn unanswered(error: AskError) -> Status {
    if error.had_no_effect() {
        return refused("the actor of the jobs", error);
    }
    Status::new(StatusCode::OutcomeUnknown, format!("the actor of the jobs was asked, but {error}"))
        .hint("`dfsctl jobs ls` shows what became of it; asking again changes nothing more")
}

/// Who asked, for people.
pub(super) fn asked_by(asked: &Asked) -> String {
    asked.source.map_or_else(|| "an operator".to_owned(), |source| format!("an operator at {source}"))
}

/// Why a node cannot take so many bytes, if it cannot.
fn why_not(view: &ClusterView, node: NodeId, bytes: u64) -> Option<String> {
    let known = view.node(node)?;
    let name = &known.entry.name;
    match not_writable(known) {
        Some(why) => Some(format!("{name} takes no chunks: {why}")),
        None if bytes > known.load.available => {
            let (bytes, room) = (size(bytes), size(known.load.available));
            Some(format!("{name} has room for {room}, and {bytes} are to go there"))
        }
        None => None,
    }
}

impl CoordinatorService {
    /// What operators ask of jobs that are about no single node.
    pub(super) async fn about_jobs(
        self: &Arc<Self>,
        asked: &Asked,
        request: AdminRequest,
    ) -> Result<AdminResponse, Status> {
        match request {
            AdminRequest::Balance(word) => self.balance(asked, word).await,
            AdminRequest::SetReplication(word) => self.set_replication(asked, word).await,
            AdminRequest::ActOnJob(id, action) => self.act_on_job(asked, id, action).await,
            _ => self.list_jobs(asked).await.map(AdminResponse::Jobs),
        }
    }

    /// Has a node emptied, if that can be done.
    pub(super) async fn drain_node(
        self: &Arc<Self>,
        asked: &Asked,
        word: &DrainNode,
    ) -> Result<AdminResponse, Status> {
        let view = self.view();
        let (node, name) = called(&view, &word.node)?;
        let look = self.look_at(asked, node).await?;
        let mut obstacles = look.obstacles(&view);
        obstacles.extend(self.no_copies());
        let successor = match &word.successor {
            Some(text) => Some(self.successor(&view, (node, &name), text)?),
            None => None,
        };
        obstacles.extend(successor.iter().filter_map(|new| why_not(&view, new.node, look.amount().bytes)));
        let mut plan = DrainPlan { node, name: name.clone(), amount: look.amount(), obstacles, job: None };
        if word.dry_run {
            return Ok(AdminResponse::NodeDrains(Box::new(plan)));
        }
        if !plan.obstacles.is_empty() {
            let text = format!("datanode {name} cannot be emptied: {}", plan.obstacles.join("; "));
            let hint = match self.no_copies() {
                Some(_) => "set cluster.repair_max of the coordinator to more than 0",
                None => "add datanodes or room; --dry-run says whether it is enough",
            };
            return Err(Status::new(StatusCode::PreconditionFailed, text).hint(hint).at_node(node));
        }
        let old = NamedNode { node, name };
        let task = match successor {
            Some(new) => JobTask::Replace(ReplacedNode { old, new }),
            None => JobTask::Drain(old),
        };
        // How much it is, it measures by the counts that also say how much is left.
        plan.job = Some(self.begin_job(asked, task, WorkAmount::default()).await?);
        Ok(AdminResponse::NodeDrains(Box::new(plan)))
    }

    /// The datanode that is to take the place of another one.
    fn successor(
        &self,
        view: &ClusterView,
        (old, name): (NodeId, &str),
        text: &str,
    ) -> Result<NamedNode, Status> {
        let (node, successor) = called(view, text)?;
        if node == old {
            let text = format!("{name} cannot take its own place");
            return Err(Status::new(StatusCode::InvalidArgument, text)
                .hint("name the datanode that is to have what it has"));
        }
        Ok(NamedNode { node, name: successor })
    }

    /// Why nothing can be copied at all, if that is so.
    pub(super) fn no_copies(&self) -> Option<String> {
        self.parts.repair.look().off.then(|| "nothing is copied while cluster.repair_max is 0".to_owned())
    }

    async fn look_at(self: &Arc<Self>, asked: &Asked, node: NodeId) -> Result<DrainLook, Status> {
        let mut look = DrainLook::new(node);
        loop {
            let page = move |_: &Self, reader: &MetadataReader| {
                let all = reader.read(|rows| look.step(rows, LOOK_ROWS));
                all.map(|all| (look, all))
            };
            let (looked, all) = self.apart(ReadFor::Health, asked, page).await?;
            if all {
                return Ok(looked);
            }
            look = looked;
        }
    }

    /// Has a node take chunks again that was to be emptied.
    pub(super) async fn undrain_node(&self, asked: &Asked, text: &str) -> Result<AdminResponse, Status> {
        let (node, name) = called(&self.view(), text)?;
        let task = |job: &JobStatus| job.task.empties().is_some_and(|(of, _)| of.node == node);
        let latest = self.list_jobs(asked).await?.into_iter().find(task);
        let Some(job) = latest.filter(|job| job.state != JobState::Failed) else {
            let text = format!("datanode {name} is not being emptied");
            return Err(Status::new(StatusCode::PreconditionFailed, text).at_node(node));
        };
        let cancel = |reply| JobsMsg::Act(job.id, JobAction::Cancel, reply);
        let job = self.ask_jobs(asked, cancel).await?;
        Ok(AdminResponse::NodeUndrained(Box::new(job)))
    }

    /// Brings copies from full nodes to emptier ones, if there is anything to bring.
    async fn balance(&self, asked: &Asked, word: StartBalance) -> Result<AdminResponse, Status> {
        let StartBalance { threshold_percent, dry_run } = word;
        if !(1..=THRESHOLD_MAX).contains(&threshold_percent) {
            let text =
                format!("a threshold of {threshold_percent} percent is not between 1 and {THRESHOLD_MAX}");
            return Err(Status::new(StatusCode::InvalidArgument, text));
        }
        let view = self.view();
        let flows = flows(&view, threshold_percent);
        let planned = |flow: &Flow| PlannedMove {
            from: view.name(flow.from),
            to: view.name(flow.to),
            bytes: flow.bytes,
        };
        let apart = view.nodes.iter().filter(|node| node.entry.state.belongs());
        let off = self.no_copies();
        if let Some(why) = off.clone().filter(|_| !dry_run) {
            return Err(Status::new(StatusCode::PreconditionFailed, why));
        }
        let obstacles = apart.filter_map(|node| why_apart(node)).chain(off).collect();
        let moves: Vec<_> = flows.iter().map(planned).collect();
        let bytes = moves.iter().fold(0_u64, |sum, of| sum.saturating_add(of.bytes));
        let job = match dry_run || moves.is_empty() {
            true => None,
            false => {
                let total = WorkAmount { chunks: 0, bytes };
                Some(self.begin_job(asked, JobTask::Balance(threshold_percent), total).await?)
            }
        };
        let plan = BalancePlan { filled_percent: fills(&view), moves, obstacles, job };
        Ok(AdminResponse::Balances(Box::new(plan)))
    }

    async fn list_jobs(&self, asked: &Asked) -> Result<Vec<JobStatus>, Status> {
        let listed = self.parts.jobs.ask(JobsMsg::List, self.left(asked)).await;
        listed.map_err(|error| refused("the actor of the jobs", error))
    }

    /// Pauses, resumes or cancels a job.
    async fn act_on_job(&self, asked: &Asked, id: JobId, action: JobAction) -> Result<AdminResponse, Status> {
        let job = self.ask_jobs(asked, |reply| JobsMsg::Act(id, action, reply)).await?;
        let word = match action {
            JobAction::Pause => "paused",
            JobAction::Resume => "resumed",
            JobAction::Cancel => "cancelled",
        };
        self.happened(asked, &format!("{word} job {id} ({})", job.task.kind()), "");
        Ok(AdminResponse::Job(Box::new(job)))
    }

    /// Has a job begin that has about so much to do.
    pub(super) async fn begin_job(
        &self,
        asked: &Asked,
        task: JobTask,
        total: WorkAmount,
    ) -> Result<JobStatus, Status> {
        let job = AskedJob { task, by: asked_by(asked), total };
        self.ask_jobs(asked, |reply| JobsMsg::Begin(job, reply)).await
    }

    async fn ask_jobs(
        &self,
        asked: &Asked,
        message: impl FnOnce(Reply<Result<JobStatus, Status>>) -> JobsMsg,
    ) -> Result<JobStatus, Status> {
        self.parts.jobs.ask(message, self.left(asked)).await.map_err(unanswered)?
    }
}
