//! A job as it is printed, and waiting for one to end.

use std::time::Duration;

use dfs_client::Client;
use dfs_wire::message::job::{JobId, JobState, JobStatus, JobTask, NamedNode, ReplacedNode, WantedCopies};
use dfs_wire::status::StatusCode;
use serde::{Serialize, Serializer};

use crate::connect::invocation::Invocation;
use crate::output::View;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};
use crate::output::object::object;
use crate::output::page::{Column, Field, Page, Tone};
use crate::output::progress::JobBar;
use crate::output::text::{count, duration, percent, plain, present, size};

/// How often a job is looked at while somebody waits for it.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Columns that are left out on a terminal without room for them, the first one first.
const SPARE: [&str; 4] = ["AGE", "LEFT", "RATE", "BYTES"];

/// One job, as it is printed.
#[derive(Debug)]
pub(crate) struct JobView(pub(crate) JobStatus);

/// What a job is about, in one phrase.
fn about(task: &JobTask) -> String {
    match task {
        JobTask::Drain(NamedNode { name, .. }) => format!("empty {}", plain(name)),
        JobTask::Replace(ReplacedNode { old, new }) => {
            format!("replace {} by {}", plain(&old.name), plain(&new.name))
        }
        JobTask::Balance(threshold_percent) => format!("balance to {threshold_percent}%"),
        JobTask::Replication(WantedCopies { path, copies }) => {
            format!("{} of {}", count((*copies).into(), "copy"), plain(path.as_str()))
        }
    }
}

impl Serialize for JobView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let job = &self.0;
        object!(serializer, {
            "job": job.id.0,
            "kind": job.task.kind(),
            "about": about(&job.task),
            "state": job.state.name(),
            "state_ms": job.state_ms,
            "asked_by": job.asked_by,
            "age_ms": job.age_ms,
            "chunks_done": job.done.chunks,
            "chunks_total": job.total.chunks,
            "bytes_done": job.done.bytes,
            "bytes_total": job.total.bytes,
            "bytes_per_second": job.bytes_per_second,
            "left_ms": job.left_ms,
            "exceptions": job.exceptions,
            "last_exception": present(&job.last_exception),
        })
    }
}

impl JobView {
    fn tone(&self) -> Tone {
        match self.0.state {
            JobState::Running | JobState::Done => Tone::Good,
            JobState::Paused | JobState::Cancelled => Tone::Warn,
            JobState::Failed => Tone::Bad,
        }
    }

    fn done(&self) -> String {
        let JobStatus { done, total, state, .. } = &self.0;
        match (total.bytes, state) {
            (0, JobState::Done) => "100%".to_owned(),
            (0, _) => "-".to_owned(),
            _ => percent(done.bytes, total.bytes),
        }
    }

    fn left(&self) -> String {
        self.0.left_ms.filter(|_| self.0.state == JobState::Running).map_or_else(|| "-".to_owned(), duration)
    }

    fn row(&self) -> Vec<Field> {
        let job = &self.0;
        let rate = match job.bytes_per_second {
            0 => "-".to_owned(),
            rate => format!("{}/s", size(rate)),
        };
        vec![
            job.id.to_string().into(),
            about(&job.task).into(),
            Field::toned(job.state.name(), self.tone()),
            self.done().into(),
            format!("{}/{}", size(job.done.bytes), size(job.total.bytes)).into(),
            rate.into(),
            self.left().into(),
            format!("{} ago", duration(job.age_ms)).into(),
        ]
    }
}

impl View for JobView {
    fn page(&self, page: &mut Page) {
        let job = &self.0;
        page.line(format!("job {}: {}, {}", job.id, about(&job.task), job.state.name()));
        let (done, total) = (job.done, job.total);
        page.line(format!(
            "{} of it: {} of {} chunks, {} of {}",
            self.done(),
            done.chunks,
            total.chunks,
            size(done.bytes),
            size(total.bytes)
        ));
        if job.state == JobState::Running && job.bytes_per_second > 0 {
            page.line(format!("{}/s, {} left", size(job.bytes_per_second), self.left()));
        }
        page.line(format!("asked for by {}, {} ago", plain(&job.asked_by), duration(job.age_ms)));
        if let Some(why) = present(&job.last_exception) {
            page.line(format!("{} exceptions, the last one: {}", job.exceptions, plain(why)));
        }
    }
}

/// What `jobs ls` prints.
#[derive(Debug, Serialize)]
pub(crate) struct JobsView {
    pub(crate) jobs: Vec<JobView>,
}

impl View for JobsView {
    fn page(&self, page: &mut Page) {
        if self.jobs.is_empty() {
            return page.line("there are no jobs");
        }
        let mut columns = vec![Column::Number("JOB")];
        columns.extend(["WHAT", "STATE"].map(Column::Text));
        columns.extend(["DONE", "BYTES", "RATE", "LEFT", "AGE"].map(Column::Number));
        page.table_that_fits(&columns, self.jobs.iter().map(JobView::row).collect(), &SPARE);
        for job in &self.jobs {
            if let Some(why) = present(&job.0.last_exception).filter(|_| !job.0.state.has_ended()) {
                page.line(format!("job {} could not do something: {}", job.0.id, plain(why)));
            }
        }
    }

    fn lines(&self) -> serde_json::Result<Vec<String>> {
        self.jobs.iter().map(serde_json::to_string).collect()
    }
}

/// The job with this number, or the latest one.
///
/// # Errors
/// If there is none, or the cluster cannot be asked.
pub(crate) async fn find(client: &Client, id: Option<JobId>) -> Outcome<JobStatus> {
    let found = client.jobs().await?.into_iter().find(|job| id.is_none_or(|id| id == job.id));
    found.ok_or_else(|| {
        let text = id.map_or_else(|| "there are no jobs".to_owned(), |id| format!("there is no job {id}"));
        Failure::new(Exit::NotFound, StatusCode::NotFound.name(), text).hint("'dfsctl jobs ls' lists them")
    })
}

/// Waits until a job does not go on: it has ended, or an operator has paused it. Then it is printed.
///
/// # Errors
/// If the cluster cannot be asked.
pub(crate) async fn wait(invocation: &Invocation, client: &Client, id: JobId) -> Outcome<Exit> {
    let bar = JobBar::new(&invocation.output);
    let job = loop {
        let job = find(client, Some(id)).await?;
        bar.show(job.done.bytes, job.total.bytes, &about(&job.task));
        if job.state != JobState::Running {
            break job;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    bar.finish();
    let exit = match job.state {
        JobState::Done => Exit::Ok,
        JobState::Running | JobState::Paused | JobState::Failed | JobState::Cancelled => Exit::Partial,
    };
    invocation.output.print(&JobView(job))?;
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use dfs_wire::id::NodeId;
    use dfs_wire::message::job::WorkAmount;

    use super::*;
    use crate::output::page::Paint;

    fn job() -> JobStatus {
        JobStatus {
            id: JobId(7),
            task: JobTask::Drain(NamedNode { node: NodeId(1), name: "datanode-3".to_owned() }),
            state: JobState::Running,
            asked_by: "an operator at 127.0.0.1".to_owned(),
            age_ms: 61_000,
            state_ms: 61_000,
            total: WorkAmount { chunks: 4, bytes: 4 << 20 },
            done: WorkAmount { chunks: 1, bytes: 1 << 20 },
            bytes_per_second: 1 << 20,
            left_ms: Some(3_000),
            exceptions: 2,
            last_exception: "no node has room".to_owned(),
        }
    }

    #[test]
    fn the_json_of_a_job_is_a_promise() {
        let json = serde_json::to_string(&JobView(job())).unwrap();
        let expected = concat!(
            r#"{"job":7,"kind":"drain","about":"empty datanode-3","state":"running","state_ms":61000,"#,
            r#""asked_by":"an operator at 127.0.0.1","age_ms":61000,"chunks_done":1,"chunks_total":4,"#,
            r#""bytes_done":1048576,"bytes_total":4194304,"bytes_per_second":1048576,"left_ms":3000,"#,
            r#""exceptions":2,"last_exception":"no node has room"}"#
        );
        assert_eq!(json, expected);
    }

    #[test]
    fn a_list_of_jobs_fits_and_says_what_holds_them_up() {
        let mut page = Page::within(Paint::new(false), Some(40));
        JobsView { jobs: vec![JobView(job())] }.page(&mut page);
        let text = page.finish();
        assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
        assert!(
            text.contains("empty datanode-3  running  25.0%") && text.contains("no node\n  has room"),
            "{text}"
        );
        let mut page = Page::within(Paint::new(false), None);
        JobsView { jobs: vec![] }.page(&mut page);
        assert_eq!(page.finish(), "there are no jobs\n");
    }
}
