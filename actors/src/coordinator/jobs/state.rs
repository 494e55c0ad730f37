//! The jobs and their lives: a pure machine.
//!
//! ```text
//!   begin, act --> a changed record, to be stored --stored--> it holds
//!                                               \--failed--> as before
//!   measured, exception, end --> changed at once, stored with the next save: what is lost of it is measured again
//! ```
//!
//! What an operator asks for is durable before he hears of it, and before anything is done for it. The last
//! [`JOBS_MAX`](super::super::metadata::ops::jobs::JOBS_MAX) jobs are remembered; of more, those that ended first are forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dfs_wire::id::NodeId;
use dfs_wire::message::job::{JobAction, JobId, JobState, JobStatus, JobTask, NamedNode, WorkAmount};
use dfs_wire::status::{Status, StatusCode};

use super::messages::{AskedJob, Changes};
use crate::coordinator::metadata::model::records::JobRecord;
use crate::coordinator::metadata::ops::jobs::{JOBS_MAX, Remembered};

/// How far back the rate of a job is looked at.
const RATE_OVER: Duration = Duration::from_secs(60);
/// Characters of an exception that are kept.
const EXCEPTION_CHARS_MAX: usize = 300;

#[derive(Debug)]
struct LiveJob {
    record: JobRecord,
    /// The record has changed since it was stored.
    unsaved: bool,
    /// (when, bytes done), oldest first, within [`RATE_OVER`].
    seen: Vec<(u64, u64)>,
}

/// The jobs that are remembered, those that ended among them.
#[derive(Debug, Default)]
pub(super) struct JobsState {
    jobs: BTreeMap<JobId, LiveJob>,
    /// Jobs that are being stored for the first time.
    beginning: BTreeMap<JobId, JobTask>,
    /// The highest number that was ever given, as far as is known.
    last: u64,
    /// Jobs that an operator does something to at this moment: nothing else is stored of them meanwhile.
    acting: BTreeSet<JobId>,
    /// Jobs that could not be said to have begun: should their rows be there all the same, they are to go.
    undone: BTreeSet<JobId>,
}

/// Whether two jobs are about the same, so that there is one of them at a time.
fn same(a: &JobTask, b: &JobTask) -> bool {
    match (a, b) {
        (JobTask::Drain(a), JobTask::Drain(b)) => a.node == b.node,
        (JobTask::Balance(_), JobTask::Balance(_)) => true,
        // Of two that are about the same files, the later step of either would win.
        (JobTask::Replication(a), JobTask::Replication(b)) => {
            a.path.starts_with(&b.path) || b.path.starts_with(&a.path)
        }
        (JobTask::Drain(_) | JobTask::Balance(_) | JobTask::Replication(_), _) => false,
    }
}

impl JobsState {
    /// The jobs that are remembered.
    pub(super) fn new(remembered: Remembered) -> Self {
        let job = |(id, record)| (id, LiveJob { record, unsaved: false, seen: Vec::new() });
        Self {
            jobs: remembered.jobs.into_iter().map(job).collect(),
            last: remembered.last,
            ..Self::default()
        }
    }

    /// A job that does this already and has not ended.
    pub(super) fn like(&self, task: &JobTask) -> Option<JobId> {
        let alike =
            |(_, job): &(&JobId, &LiveJob)| !job.record.state.has_ended() && same(&job.record.task, task);
        self.jobs.iter().rev().find(alike).map(|(id, _)| *id)
    }

    /// Begins a job: the rows to store, which is to be told to [`Self::stored`].
    ///
    /// # Errors
    /// `Busy` if too many jobs have not ended, or one like it begins at this moment.
    pub(super) fn begin(&mut self, asked: AskedJob, now_ms: u64) -> Result<(JobId, Changes), Status> {
        let AskedJob { task, by: asked_by, total } = asked;
        if self.beginning.values().any(|other| same(other, &task)) {
            return Err(Status::new(StatusCode::Busy, "such a job begins at this moment")
                .hint("see `dfsctl jobs ls`"));
        }
        let mut changes = Changes::new();
        // What emptied a node says so as long as the node is there.
        let holds = |job: &LiveJob| {
            matches!(job.record.task, JobTask::Drain(_)) && job.record.state == JobState::Done
        };
        let may_go = |(_, job): &(&JobId, &LiveJob)| job.record.state.has_ended() && !holds(job);
        let ended: Vec<JobId> = self.jobs.iter().filter(may_go).map(|(id, _)| *id).collect();
        let beyond = (self.jobs.len() + self.beginning.len() + 1).saturating_sub(JOBS_MAX);
        if ended.len() < beyond {
            let text =
                format!("{JOBS_MAX} jobs have not ended, or have emptied datanodes that are still there");
            return Err(Status::new(StatusCode::Busy, text).hint("cancel some: `dfsctl jobs cancel JOB`"));
        }
        changes.extend(ended.into_iter().take(beyond).map(|id| (id, None)));
        self.last = self.last.saturating_add(1);
        let id = JobId(self.last);
        let record = JobRecord {
            task: task.clone(),
            state: JobState::Running,
            asked_by,
            asked_ms: now_ms,
            since_ms: now_ms,
            cursor: Vec::new(),
            total,
            done: WorkAmount::default(),
            exceptions: 0,
            last_exception: String::new(),
        };
        changes.push((id, Some(record)));
        self.beginning.insert(id, task);
        Ok((id, changes))
    }

    /// Does what an operator wants to a job: the row to store.
    ///
    /// # Errors
    /// `NotFound`; `Busy`; `PreconditionFailed` if it has ended. A job that has emptied a node can be cancelled: the node takes
    /// chunks again then.
    pub(super) fn act(&mut self, id: JobId, action: JobAction, now_ms: u64) -> Result<Changes, Status> {
        if self.acting.contains(&id) {
            let text = format!("somebody does something to job {id} at this moment");
            return Err(Status::new(StatusCode::Busy, text).hint("try again in a moment"));
        }
        let Some(LiveJob { record, .. }) = self.jobs.get(&id) else {
            let text = format!("there is no job {id}");
            return Err(Status::new(StatusCode::NotFound, text).hint("`dfsctl jobs ls` lists them"));
        };
        if (record.state, action) == (JobState::Cancelled, JobAction::Cancel) {
            return Ok(Changes::new());
        }
        let drained = matches!(record.task, JobTask::Drain(_)) && record.state == JobState::Done;
        if record.state.has_ended() && !(drained && action == JobAction::Cancel) {
            let text = format!("job {id} has ended: it is {}", record.state.name());
            return Err(Status::new(StatusCode::PreconditionFailed, text).hint("begin another one"));
        }
        let state = match action {
            JobAction::Pause => JobState::Paused,
            JobAction::Resume => JobState::Running,
            JobAction::Cancel => JobState::Cancelled,
        };
        let since_ms = if state == record.state { record.since_ms } else { now_ms };
        let changed = JobRecord { state, since_ms, ..record.clone() };
        self.acting.insert(id);
        Ok(vec![(id, Some(changed))])
    }

    /// What was asked for is durable, or could not be stored: then all is as before.
    pub(super) fn stored(&mut self, changes: Changes, durable: bool) {
        for (id, record) in changes {
            self.acting.remove(&id);
            let begins = self.beginning.remove(&id).is_some();
            match record {
                // Nobody knows whether the row is there: it is made what it was.
                _ if !durable && begins => {
                    self.undone.insert(id);
                }
                _ if !durable => self.jobs.get_mut(&id).into_iter().for_each(|job| job.unsaved = true),
                None => {
                    self.jobs.remove(&id);
                }
                Some(record) => {
                    let fresh = || LiveJob { record: record.clone(), unsaved: false, seen: Vec::new() };
                    let job = self.jobs.entry(id).or_insert_with(fresh);
                    // What was measured meanwhile is newer; and an older row may have been stored after this one.
                    (job.record.state, job.record.since_ms) = (record.state, record.since_ms);
                    job.unsaved = true;
                }
            }
        }
    }

    /// Rows of [`Self::unsaved`] could not be stored: they are once more to be.
    pub(super) fn not_saved(&mut self, changes: &Changes) {
        for (id, record) in changes {
            match self.jobs.get_mut(id) {
                Some(job) => job.unsaved = true,
                None if record.is_none() => {
                    self.undone.insert(*id);
                }
                None => {}
            }
        }
    }

    /// Rows that have changed since they were stored; they count as stored from here on.
    pub(super) fn unsaved(&mut self) -> Changes {
        let acting = &self.acting;
        let unsaved = self.jobs.iter_mut().filter(|(id, job)| job.unsaved && !acting.contains(id));
        let row = |(id, job): (&JobId, &mut LiveJob)| {
            job.unsaved = false;
            (*id, Some(job.record.clone()))
        };
        let mut rows: Changes = unsaved.map(row).collect();
        rows.extend(std::mem::take(&mut self.undone).into_iter().map(|id| (id, None)));
        rows
    }

    /// How much is left of a job that has not ended, by a fresh look.
    pub(super) fn measured(&mut self, id: JobId, left: WorkAmount, now_ms: u64) {
        let Some(job) = self.jobs.get_mut(&id).filter(|job| !job.record.state.has_ended()) else { return };
        let record = &mut job.record;
        let before = (record.total, record.done);
        // What came to the node meanwhile is to be done too.
        let all = |total: u64, done: u64, left: u64| total.max(done.saturating_add(left));
        record.total.chunks = record.total.chunks.max(left.chunks);
        record.total.bytes = record.total.bytes.max(left.bytes);
        let done = WorkAmount {
            chunks: record.total.chunks.saturating_sub(left.chunks),
            bytes: record.total.bytes.saturating_sub(left.bytes),
        };
        record.total.chunks = all(record.total.chunks, record.done.chunks, left.chunks);
        record.total.bytes = all(record.total.bytes, record.done.bytes, left.bytes);
        record.done.chunks = record.done.chunks.max(done.chunks);
        record.done.bytes = record.done.bytes.max(done.bytes);
        job.unsaved |= before != (record.total, record.done);
        let since = now_ms.saturating_sub(u64::try_from(RATE_OVER.as_millis()).unwrap_or(u64::MAX));
        job.seen.retain(|(at, _)| *at >= since);
        if job.seen.last().is_none_or(|(at, _)| *at < now_ms) {
            job.seen.push((now_ms, record.done.bytes));
        }
    }

    /// So much more of a job is done.
    pub(super) fn passed(&mut self, id: JobId, more: WorkAmount, now_ms: u64) {
        let Some(LiveJob { record, .. }) = self.jobs.get(&id) else { return };
        let left = WorkAmount {
            chunks: record.total.chunks.saturating_sub(record.done.chunks.saturating_add(more.chunks)),
            bytes: record.total.bytes.saturating_sub(record.done.bytes.saturating_add(more.bytes)),
        };
        self.measured(id, left, now_ms);
    }

    /// Something could not be done.
    pub(super) fn exception(&mut self, id: JobId, why: &str) {
        let Some(job) = self.jobs.get_mut(&id).filter(|job| !job.record.state.has_ended()) else { return };
        let why: String = why.chars().take(EXCEPTION_CHARS_MAX).collect();
        if job.record.last_exception != why {
            job.record.exceptions = job.record.exceptions.saturating_add(1);
            job.record.last_exception = why;
            job.unsaved = true;
        }
    }

    /// How far a job has come in what it goes through.
    pub(super) fn cursor(&self, id: JobId) -> Vec<u8> {
        self.jobs.get(&id).map(|job| job.record.cursor.clone()).unwrap_or_default()
    }

    /// A job has come so far in what it goes through.
    pub(super) fn at(&mut self, id: JobId, cursor: Vec<u8>) {
        if let Some(job) = self.jobs.get_mut(&id).filter(|job| job.record.cursor != cursor) {
            (job.record.cursor, job.unsaved) = (cursor, true);
        }
    }

    /// A job has come to its end.
    pub(super) fn end(&mut self, id: JobId, state: JobState, now_ms: u64) {
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.record.state == JobState::Running) else {
            return;
        };
        (job.record.state, job.record.since_ms, job.unsaved) = (state, now_ms, true);
        if state == JobState::Done {
            job.record.done = job.record.total;
        }
    }

    /// A node was forgotten, or another one has its place: no word about it holds any more, so that it is not emptied again should
    /// it come back.
    pub(super) fn gone(&mut self, node: NodeId, now_ms: u64) {
        for job in self.jobs.values_mut() {
            let about = matches!(&job.record.task, JobTask::Drain(of) if of.node == node);
            let to = match job.record.state {
                _ if !about => continue,
                JobState::Running | JobState::Paused => JobState::Failed,
                JobState::Done => JobState::Cancelled,
                JobState::Failed | JobState::Cancelled => continue,
            };
            (job.record.state, job.record.since_ms, job.unsaved) = (to, now_ms, true);
            "the node is gone; repair makes up for what it had".clone_into(&mut job.record.last_exception);
            job.record.exceptions += u64::from(to == JobState::Failed);
        }
    }

    /// Jobs that go on, and what they do.
    pub(super) fn running(&self) -> Vec<(JobId, JobTask)> {
        let running = self.jobs.iter().filter(|(_, job)| job.record.state == JobState::Running);
        running.map(|(id, job)| (*id, job.record.task.clone())).collect()
    }

    /// Nodes that are emptied now, or are empty: what was on its way there when they were goes as well.
    pub(super) fn leaving(&self) -> BTreeSet<NodeId> {
        self.nodes_by(|state| matches!(state, JobState::Running | JobState::Done))
    }

    /// Nodes of whose drains the latest is in such a state.
    fn nodes_by(&self, state: impl Fn(JobState) -> bool) -> BTreeSet<NodeId> {
        let mut nodes = BTreeSet::new();
        for job in self.jobs.values() {
            if let JobTask::Drain(NamedNode { node, .. }) = &job.record.task {
                match state(job.record.state) {
                    true => nodes.insert(*node),
                    false => nodes.remove(node),
                };
            }
        }
        nodes
    }

    /// Nodes that are to take no new chunks: emptied, being emptied, or to be emptied once a job goes on.
    pub(super) fn draining(&self) -> BTreeSet<NodeId> {
        self.nodes_by(|state| matches!(state, JobState::Running | JobState::Paused | JobState::Done))
    }

    /// A job as it is shown.
    pub(super) fn status(&self, id: JobId, now_ms: u64) -> Option<JobStatus> {
        let LiveJob { record, seen, .. } = self.jobs.get(&id)?;
        let rate = match (seen.first(), seen.last()) {
            (Some((from, before)), Some((to, after))) if to > from && record.state == JobState::Running => {
                after.saturating_sub(*before).saturating_mul(1000) / (to - from)
            }
            _ => 0,
        };
        let left = record.total.bytes.saturating_sub(record.done.bytes);
        Some(JobStatus {
            id,
            task: record.task.clone(),
            state: record.state,
            asked_by: record.asked_by.clone(),
            age_ms: now_ms.saturating_sub(record.asked_ms),
            state_ms: now_ms.saturating_sub(record.since_ms),
            total: record.total,
            done: record.done,
            bytes_per_second: rate,
            left_ms: left.saturating_mul(1000).checked_div(rate),
            exceptions: record.exceptions,
            last_exception: record.last_exception.clone(),
        })
    }

    /// All jobs as they are shown, the latest first.
    pub(super) fn list(&self, now_ms: u64) -> Vec<JobStatus> {
        self.jobs.keys().rev().filter_map(|id| self.status(*id, now_ms)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(node: u128) -> AskedJob {
        AskedJob { task: drain(node), by: "somebody".to_owned(), total: WorkAmount::default() }
    }

    fn drain(node: u128) -> JobTask {
        JobTask::Drain(NamedNode { node: NodeId(node), name: format!("dn-{node}") })
    }

    fn begun(state: &mut JobsState, node: u128) -> JobId {
        let (id, changes) = state.begin(asked(node), 10).unwrap();
        assert!(
            state.leaving().is_empty() || !state.leaving().contains(&NodeId(node)),
            "not before it is durable"
        );
        state.stored(changes, true);
        id
    }

    fn act(state: &mut JobsState, id: JobId, action: JobAction) {
        let changes = state.act(id, action, 20).unwrap();
        state.stored(changes, true);
    }

    fn amount(chunks: u64) -> WorkAmount {
        WorkAmount { chunks, bytes: chunks * 1000 }
    }

    #[test]
    fn what_is_not_durable_has_not_begun() {
        let mut state = JobsState::default();
        let (id, changes) = state.begin(asked(1), 0).unwrap();
        assert_eq!(state.begin(asked(1), 0).unwrap_err().code, StatusCode::Busy);
        state.stored(changes, false);
        assert_eq!((state.status(id, 0), state.like(&drain(1))), (None, None));
        let again = begun(&mut state, 1);
        assert_eq!((again, state.like(&drain(1)), state.like(&drain(2))), (JobId(2), Some(JobId(2)), None));
        let rows = state.unsaved();
        assert!(rows.contains(&(JobId(1), None)), "should its row be there all the same");
        // While something is done to a job, nothing older is stored over it.
        let changes = state.act(again, JobAction::Cancel, 20).unwrap();
        state.measured(again, amount(3), 30);
        assert_eq!(state.act(again, JobAction::Resume, 20).unwrap_err().code, StatusCode::Busy);
        assert!(state.unsaved().is_empty());
        state.stored(changes, true);
        let stored = state.unsaved();
        assert_eq!(stored[0].1.as_ref().map(|record| record.state), Some(JobState::Cancelled));
        assert_eq!(state.act(again, JobAction::Cancel, 40), Ok(vec![]), "asked again");
    }

    #[test]
    fn a_node_is_emptied_while_its_job_runs_and_takes_no_chunks_until_it_is_cancelled() {
        let mut state = JobsState::default();
        let id = begun(&mut state, 1);
        let both = |state: &JobsState| (state.leaving().len(), state.draining().len());
        assert_eq!(both(&state), (1, 1));
        act(&mut state, id, JobAction::Pause);
        assert_eq!(both(&state), (0, 1));
        act(&mut state, id, JobAction::Resume);
        assert_eq!(both(&state), (1, 1));
        state.end(id, JobState::Done, 30);
        assert_eq!(both(&state), (1, 1), "what was on its way there goes as well");
        assert_eq!(state.like(&drain(1)), None, "asked again, it is looked at again");
        assert_eq!(state.act(id, JobAction::Pause, 30).unwrap_err().code, StatusCode::PreconditionFailed);
        act(&mut state, id, JobAction::Cancel);
        assert_eq!(both(&state), (0, 0));
        assert_eq!(state.like(&drain(1)), None);
        let later = begun(&mut state, 1);
        assert_eq!((later, both(&state)), (JobId(2), (1, 1)));
        assert_eq!(state.act(JobId(9), JobAction::Pause, 30).unwrap_err().code, StatusCode::NotFound);
    }

    #[test]
    fn a_node_that_was_forgotten_is_not_emptied_again_when_it_comes_back() {
        let mut state = JobsState::default();
        let (done, paused) = (begun(&mut state, 1), begun(&mut state, 2));
        state.end(done, JobState::Done, 20);
        act(&mut state, paused, JobAction::Pause);
        assert_eq!(state.draining().len(), 2);
        state.gone(NodeId(1), 30);
        state.gone(NodeId(2), 30);
        let states: Vec<_> = state.list(30).into_iter().map(|job| job.state).collect();
        assert_eq!(states, [JobState::Failed, JobState::Cancelled]);
        assert!(state.draining().is_empty() && state.unsaved().len() == 2);
        state.gone(NodeId(1), 40);
        assert!(state.unsaved().is_empty(), "once");
    }

    #[test]
    fn progress_never_goes_back_and_says_how_long_it_takes() {
        let mut state = JobsState::default();
        let id = begun(&mut state, 1);
        state.measured(id, amount(100), 1_000);
        state.measured(id, amount(60), 11_000);
        let status = state.status(id, 11_000).unwrap();
        assert_eq!((status.total, status.done), (amount(100), amount(40)));
        assert_eq!((status.bytes_per_second, status.left_ms), (4_000, Some(15_000)));
        state.measured(id, amount(80), 12_000);
        let status = state.status(id, 12_000).unwrap();
        assert_eq!((status.total, status.done), (amount(120), amount(40)), "more came");
        assert_eq!(state.unsaved().len(), 1);
        assert!(state.unsaved().is_empty(), "each change is stored once");
        state.end(id, JobState::Done, 13_000);
        let status = state.status(id, 13_000).unwrap();
        assert_eq!((status.done, status.left_ms, status.state), (amount(120), None, JobState::Done));
    }

    #[test]
    fn jobs_go_on_after_a_restart_where_they_were() {
        let mut state = JobsState::default();
        let id = begun(&mut state, 1);
        state.measured(id, amount(100), 1_000);
        state.measured(id, amount(60), 2_000);
        state.exception(id, "no node has room");
        state.at(id, vec![7]);
        state.exception(id, "no node has room");
        let rows = state.unsaved().into_iter().map(|(id, record)| (id, record.unwrap())).collect();
        let again = JobsState::new(Remembered { jobs: rows, ..Remembered::default() });
        assert_eq!((again.leaving(), again.cursor(id)), ([NodeId(1)].into(), vec![7]));
        let status = again.status(id, 3_000).unwrap();
        assert_eq!((status.done, status.exceptions, status.left_ms), (amount(40), 1, None));
    }

    #[test]
    fn so_many_jobs_are_remembered_and_those_that_ended_first_are_forgotten() {
        let mut state = JobsState::default();
        for node in 0..JOBS_MAX as u128 {
            begun(&mut state, node);
        }
        assert_eq!(state.begin(asked(999), 0).unwrap_err().code, StatusCode::Busy);
        state.end(JobId(2), JobState::Done, 0);
        assert!(state.begin(asked(999), 0).is_err(), "its node is still there");
        act(&mut state, JobId(5), JobAction::Cancel);
        act(&mut state, JobId(3), JobAction::Cancel);
        let (id, changes) = state.begin(asked(999), 0).unwrap();
        assert_eq!((id, changes[0].0, changes.len()), (JobId(JOBS_MAX as u64 + 1), JobId(3), 2));
        state.stored(changes, true);
        assert_eq!(state.list(0).len(), JOBS_MAX);
        assert_eq!(state.list(0)[0].id, id, "the latest first");
    }
}
