//! Moving many files at once: some at a time, going on when one fails.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use dfs_wire::path::DfsPath;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::output::exit::Exit;
use crate::output::failure::{Failure, FailureView, Outcome, Tally, Tell};
use crate::output::page::Page;
use crate::output::progress::TransferBar;
use crate::output::{Output, View};
use crate::rehearse;
use dfs_client::{Client, GetOutcome, MkdirOptions, PutOutcome};

/// Files that move at the same time unless the user says otherwise. Small files wait mostly for syncs that many of
/// them share, so more at once are faster (64 measured twice as fast as 16); the memory of large ones has its own
/// bound in the client.
const JOBS_DEFAULT: u16 = 32;

/// How many files are moved at once, and whether at all.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct TransferArgs {
    /// Files that move at the same time
    #[arg(short, long, value_name = "N", default_value_t = JOBS_DEFAULT, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: u16,
    /// Say what would be done and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Runs `work` on every job, at most `width` at once, and hands each outcome to `done` as it comes.
///
/// Dropping the future gives up what is at work.
pub(crate) async fn each<J, T, F>(
    jobs: impl IntoIterator<Item = J>,
    width: usize,
    work: impl Fn(J) -> F,
    mut done: impl FnMut(Outcome<T>),
) where
    T: Send + 'static,
    F: Future<Output = Outcome<T>> + Send + 'static,
{
    let mut jobs = jobs.into_iter();
    let mut running = JoinSet::new();
    loop {
        while running.len() < width.max(1) {
            let Some(job) = jobs.next() else { break };
            running.spawn(work(job));
        }
        match running.join_next().await {
            None => return,
            Some(Ok(outcome)) => done(outcome),
            Some(Err(e)) => {
                done(Err(Failure::new(Exit::Other, "Internal", format!("a transfer broke: {e}"))))
            }
        }
    }
}

/// Tells of failures as they come, if there are other items: the failure of a single one is told at the end. For
/// people only the first ones; the machine formats have all.
pub(crate) fn teller(output: &Output, progress: &TransferBar, items: usize) -> Tell {
    const TOLD_MAX: usize = 20;
    let told = Cell::new(0);
    let (output, progress) = (*output, progress.clone());
    Rc::new(move |failure| {
        let before = told.replace(told.get() + 1);
        match () {
            () if items <= 1 => {}
            () if before < TOLD_MAX || !output.is_table() => progress.pause(|| output.failure(failure)),
            () if before == TOLD_MAX => progress.pause(|| output.warn("further failures are only counted")),
            () => {}
        }
    })
}

/// One file that was moved.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Moved {
    /// Where it came from.
    pub source: String,
    /// Where it went.
    pub target: String,
    pub size: u64,
    /// The version that was written or read; null if nothing was done because of --dry-run.
    pub version: Option<String>,
    /// Its chunks; null as above.
    pub chunks: Option<u32>,
    /// Chunks with fewer durable copies than asked for (put), or with bad copies that were passed over (get).
    pub degraded_chunks: u64,
    /// Steps that were tried again.
    pub retries: u64,
    /// Bytes that were there already from an interrupted transfer, and were checked again (--resume).
    pub resumed_bytes: u64,
    /// Whether the source changed while it was read, which --allow-changing allowed (put).
    pub source_changed: bool,
}

impl Moved {
    /// With what a put says of it.
    pub(crate) fn stored(self, put: &PutOutcome) -> Self {
        Self {
            size: put.stat.size,
            version: Some(put.stat.version.to_string()),
            chunks: Some(put.stat.chunk_count),
            degraded_chunks: put.degraded.len() as u64,
            retries: put.retries,
            resumed_bytes: put.resumed_bytes,
            source_changed: put.source_changed.is_some(),
            ..self
        }
    }

    /// With what a get says of it.
    pub(crate) fn fetched(self, got: &GetOutcome) -> Self {
        Self {
            size: got.bytes,
            version: Some(got.stat.version.to_string()),
            chunks: Some(got.stat.chunk_count),
            degraded_chunks: got.bad_copies.len() as u64,
            retries: got.retries,
            resumed_bytes: got.resumed_bytes,
            ..self
        }
    }
}

/// One file that was not moved.
#[derive(Debug, Serialize)]
pub(crate) struct NotMoved {
    /// Where it was to come from; null if it is not known.
    pub source: Option<String>,
    /// Where it was to go; null if that was not decided.
    pub target: Option<String>,
    /// Exactly what a failure of the whole command prints.
    #[serde(flatten)]
    pub failure: OwnedFailure,
}

impl NotMoved {
    /// A failure about something that was found at `source`.
    pub(crate) fn from_source(source: impl Into<String>, failure: Failure) -> Self {
        Self { source: Some(source.into()), ..Self::from(failure) }
    }
}

impl From<Failure> for NotMoved {
    fn from(failure: Failure) -> Self {
        Self { source: None, target: None, failure: OwnedFailure(failure) }
    }
}

/// What became of one file.
pub(crate) type Transfer = Result<Moved, NotMoved>;

/// The transfer of one file, with the names it has in the summary if it fails.
pub(crate) async fn named(
    source: String,
    target: String,
    moving: impl Future<Output = Outcome<Moved>>,
) -> Outcome<Transfer> {
    let moved = moving.await;
    Ok(moved.map_err(|failure| NotMoved {
        source: Some(source),
        target: Some(target),
        failure: OwnedFailure(failure),
    }))
}

/// A failure, owned, in the shape of [`FailureView`].
#[derive(Debug)]
pub(crate) struct OwnedFailure(pub Failure);

impl Serialize for OwnedFailure {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        FailureView::serialize(&self.0.view(), serializer)
    }
}

/// What `put` and `get` print.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Summary {
    /// The files that were moved.
    pub files: Vec<Moved>,
    /// Those that were not, and why.
    pub failed: Vec<NotMoved>,
    /// What was passed over: links and special files.
    pub skipped: Vec<String>,
    /// Directories that were made.
    pub directories: u64,
    /// Bytes of the files that were moved.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// Whether nothing was done because of --dry-run.
    pub dry_run: bool,
}

impl View for Summary {
    /// For people the last words go to standard error; standard output is for data.
    fn page(&self, page: &mut Page) {
        if self.dry_run {
            for file in &self.files {
                page.line(format!("would copy {} to {}", file.source, file.target));
            }
        }
    }

    /// Failures are lines of standard error already.
    fn lines(&self) -> serde_json::Result<Vec<String>> {
        let skipped = self.skipped.iter().map(|path| serde_json::json!({ "skipped": path }).to_string());
        self.files.iter().map(serde_json::to_string).chain(skipped.map(Ok)).collect()
    }
}

impl Summary {
    /// Adds an outcome.
    fn add(&mut self, tally: &mut Tally, transfer: Transfer) {
        match transfer {
            Ok(moved) => {
                tally.done += 1;
                self.bytes += moved.size;
                self.files.push(moved);
            }
            Err(not_moved) => {
                tally.fail(not_moved.failure.0.clone());
                self.failed.push(not_moved);
            }
        }
    }
}

/// The books of a command that moves files: what is printed at the end, what decides the exit code, and what is told
/// meanwhile.
pub(crate) struct Ledger {
    /// What is printed.
    pub summary: Summary,
    files: Tally,
    directories: Tally,
}

impl Ledger {
    /// Begins with what failed before anything moved. `tell` hears of each failure.
    pub(crate) fn new(tell: Tell, summary: Summary, failed: Vec<NotMoved>) -> Self {
        let (files, directories) = (Tally::telling(tell.clone()), Tally::telling(tell));
        let mut ledger = Self { summary, files, directories };
        for not_moved in failed {
            ledger.summary.add(&mut ledger.files, Err(not_moved));
        }
        ledger
    }

    /// Makes directories, or finds out whether they could be made.
    pub(crate) async fn make(&mut self, client: &Client, directories: &BTreeSet<DfsPath>) {
        for path in directories {
            let made = match self.summary.dry_run {
                true => rehearse::mkdir(client, path, true).await,
                false => client.mkdir(path, MkdirOptions::new().parents(true)).await.map_err(Failure::from),
            };
            match made {
                Ok(()) => {
                    self.directories.done += 1;
                    self.summary.directories += u64::from(!self.summary.dry_run);
                }
                Err(failure) => {
                    let target = Some(path.to_string());
                    let not_made = NotMoved { target, ..NotMoved::from(failure) };
                    self.summary.add(&mut self.directories, Err(not_made));
                }
            }
        }
    }

    /// Moves every file, `width` at once; `seen` gets each outcome, with how many there are so far.
    pub(crate) async fn each<J, F>(
        &mut self,
        jobs: Vec<J>,
        width: u16,
        work: impl Fn(J) -> F,
        mut seen: impl FnMut(u64, &Transfer),
    ) where
        F: Future<Output = Outcome<Transfer>> + Send + 'static,
    {
        let mut done = 0;
        each(jobs, usize::from(width), work, |outcome| {
            let outcome = outcome.unwrap_or_else(|failure| Err(failure.into()));
            done += 1;
            seen(done, &outcome);
            self.summary.add(&mut self.files, outcome);
        })
        .await;
    }

    /// Files that were moved.
    pub(crate) fn moved(&self) -> u64 {
        self.files.done
    }

    /// Whether something failed and nothing worked: then there is no result to print, only the failure.
    pub(crate) fn nothing(&self) -> bool {
        self.files.nothing() && self.directories.done == 0
    }

    /// The end of the command.
    ///
    /// # Errors
    /// If anything failed.
    pub(crate) fn finish(self) -> Outcome<Exit> {
        self.files.finish_with("files", self.directories, "directories")?;
        Ok(Exit::Ok)
    }
}

/// Names that were given to a file already, so that two sources cannot silently become one target.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    taken: std::collections::HashSet<Arc<str>>,
}

impl Targets {
    /// Takes `target`.
    ///
    /// # Errors
    /// If it was taken before.
    pub(crate) fn take(&mut self, source: &str, target: &str) -> Outcome {
        if self.taken.insert(target.into()) {
            return Ok(());
        }
        let message = format!("'{source}' is not copied: another source goes to '{target}' already");
        Err(Failure::new(Exit::Precondition, "SameTarget", message))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn everything_is_tried_and_never_more_than_the_width_at_once() {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut tally = Tally::default();
        let work = |job: u32| {
            let (now, most) = (now.clone(), most.clone());
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                now.fetch_sub(1, Ordering::SeqCst);
                if job % 10 == 3 { Err(Failure::no_match("/x")) } else { Ok(job) }
            }
        };
        each(0..100, 4, work, |outcome| tally.add(outcome)).await;
        assert_eq!((tally.done, tally.failed), (90, 10));
        assert!(most.load(Ordering::SeqCst) <= 4);
        assert_eq!(tally.finish("files").unwrap_err().exit, Exit::Partial);
    }

    #[tokio::test]
    async fn a_panic_in_one_transfer_is_its_failure_only() {
        let mut tally = Tally::default();
        let work = |job: u32| async move {
            assert_ne!(job, 1, "this job breaks");
            Ok(job)
        };
        each(0..3, 2, work, |outcome| tally.add(outcome)).await;
        assert_eq!((tally.done, tally.failed), (2, 1));
    }

    #[test]
    fn the_summary_names_what_failed_and_what_was_left_out() {
        let mut summary = Summary { skipped: vec!["src/link".into()], ..Summary::default() };
        let mut tally = Tally::default();
        summary.add(&mut tally, Err(NotMoved::from_source("src/x", Failure::no_match("/x"))));
        let json = serde_json::to_value(&summary).unwrap();
        let failed = &json["failed"][0];
        assert_eq!((failed["source"].as_str(), failed["code"].as_str()), (Some("src/x"), Some("NoMatch")));
        assert!(failed["target"].is_null());
        assert_eq!(summary.lines().unwrap(), [r#"{"skipped":"src/link"}"#]);
    }

    #[test]
    fn two_sources_never_share_a_target() {
        let mut targets = Targets::default();
        targets.take("a/x", "/x").unwrap();
        assert_eq!(targets.take("b/x", "/x").unwrap_err().exit, Exit::Precondition);
    }
}
