//! How jobs speak of themselves in the events of the cluster.

use dfs_wire::message::admin::HealthLevel;
use dfs_wire::message::job::{JobState, JobStatus, JobTask, ReplacedNode, WantedCopies};

use crate::coordinator::events::Happening;

/// A job is in another state than before.
pub(super) fn happened(job: &JobStatus) -> Happening {
    let (id, kind, state) = (job.id, job.task.kind(), job.state.name());
    let about = match &job.task {
        JobTask::Drain(node) => node.name.clone(),
        JobTask::Replace(ReplacedNode { old, new }) => format!("{} by {}", old.name, new.name),
        JobTask::Balance(percent) => format!("to {percent}%"),
        JobTask::Replication(WantedCopies { path, copies }) => format!("{copies} of {path}"),
    };
    let text = format!("job {id} ({kind} {about}) is {state}");
    let (level, text) = match job.state {
        JobState::Running => (HealthLevel::Ok, format!("{text}, for {}", job.asked_by)),
        JobState::Failed => (HealthLevel::Warn, format!("{text}: {}", job.last_exception)),
        JobState::Paused | JobState::Done | JobState::Cancelled => (HealthLevel::Ok, text),
    };
    let happening = Happening::new("job", level, text);
    match job.task.empties() {
        Some((of, _)) => happening.about(&of.name),
        None => happening,
    }
}
