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
use dfs_wire::message::job::{JobAction, JobId, JobState, JobStatus, JobTask, WorkAmount};
use dfs_wire::status::{Status, StatusCode};

use super::messages::{AskedJob, Changes};
use super::replication::found_again;
use crate::coordinator::metadata::model::records::JobRecord;
use crate::coordinator::metadata::ops::jobs::{JOBS_MAX, Remembered};

/// How far back the rate of a job is looked at.
const RATE_OVER: Duration = Duration::from_secs(60);
/// Characters of an exception that are kept.
const EXCEPTION_CHARS_MAX: usize = 300;

/// What a list of jobs takes at most in an answer, and one of them beside its texts.
const LIST_BYTES_MAX: usize = 48 * 1024;
const STATUS_BYTES: usize = 256;

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
    if let (Some((a, _)), Some((b, _))) = (a.empties(), b.empties()) {
        return a.node == b.node;
    }
    match (a, b) {
        (JobTask::Balance(_), JobTask::Balance(_)) => true,
        // Of two that are about the same files, the later step of either would win.
        (JobTask::Replication(a), JobTask::Replication(b)) => {
            a.path.starts_with(&b.path) || b.path.starts_with(&a.path)
        }
        _ => false,
    }
}

impl JobsState {
    /// The jobs that are remembered.
    pub(super) fn new(remembered: Remembered) -> Self {
        let job = |(id, mut record): (JobId, JobRecord)| {
            record.cursor = found_again(&record.task, record.cursor);
            (id, LiveJob { record, unsaved: false, seen: Vec::new() })
        };
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
        let holds = |job: &LiveJob| job.record.task.empties().is_some() && job.record.state == JobState::Done;
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
        let drained = record.task.empties().is_some() && record.state == JobState::Done;
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

    /// When a job was asked for.
    pub(super) fn asked_ms(&self, id: JobId) -> u64 {
        self.jobs.get(&id).map_or(0, |job| job.record.asked_ms)
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
            let about = job.record.task.empties().is_some_and(|(of, _)| of.node == node);
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
    pub(super) fn leaving(&self) -> BTreeMap<NodeId, Option<NodeId>> {
        self.nodes_by(|state| matches!(state, JobState::Running | JobState::Done))
    }

    /// Nodes of whose drains the latest is in such a state, and who is to take their place.
    fn nodes_by(&self, state: impl Fn(JobState) -> bool) -> BTreeMap<NodeId, Option<NodeId>> {
        let mut nodes = BTreeMap::new();
        for job in self.jobs.values() {
            if let Some((of, successor)) = job.record.task.empties() {
                match state(job.record.state) {
                    true => nodes.insert(of.node, successor),
                    false => nodes.remove(&of.node),
                };
            }
        }
        nodes
    }

    /// Nodes that are to take no new chunks: emptied, being emptied, or to be emptied once a job goes on.
    pub(super) fn draining(&self) -> BTreeSet<NodeId> {
        let draining = |state| matches!(state, JobState::Running | JobState::Paused | JobState::Done);
        self.nodes_by(draining).into_keys().collect()
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

    /// The jobs as they are shown, the latest first, as many as one answer can hold: those about long paths are fewer.
    pub(super) fn list(&self, now_ms: u64) -> Vec<JobStatus> {
        let mut room = LIST_BYTES_MAX;
        let fits = |job: &JobStatus| {
            let path = match &job.task {
                JobTask::Replication(wanted) => wanted.path.as_str().len(),
                JobTask::Drain(_) | JobTask::Balance(_) | JobTask::Replace(_) => 0,
            };
            let bytes = path + job.asked_by.len() + job.last_exception.len() + STATUS_BYTES;
            room = room.saturating_sub(bytes);
            room > 0
        };
        self.jobs.keys().rev().filter_map(|id| self.status(*id, now_ms)).take_while(fits).collect()
    }
}

#[cfg(test)]
mod tests;
