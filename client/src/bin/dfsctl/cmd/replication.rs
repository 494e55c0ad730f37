//! `dfsctl replication`: another number of copies for files that are there.

use clap::Subcommand;
use dfs_wire::message::job::{ReplicationPlan, SetReplication, WantedCopies};
use serde::Serialize;

use crate::args;
use crate::complete::remote_paths;
use crate::connect::invocation::Invocation;
use crate::job::{JobView, wait};
use crate::output::View;
use crate::output::exit::Exit;
use crate::output::failure::Outcome;
use crate::output::page::Page;
use crate::output::text::{count, plain, size};
use crate::paths::remote::RemoteArg;

/// Changes how many copies files have that are there
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Has another number of copies made of files, or dropped
    ///
    /// A job does it, which goes on by itself, whatever restarts: all files say first how many copies they are to have, and then
    /// it waits until they have them. No copy is dropped before enough others are known to be good. Chunks that files share (cp)
    /// have as many copies as the one that wants the most. Files that are put meanwhile have the number that they are put with.
    #[command(
        after_help = "Examples:\n  dfsctl replication set 2 /logs -r --dry-run\n  dfsctl replication set 5 /photos -r --wait"
    )]
    Set {
        /// Copies of each chunk
        #[arg(value_name = "COPIES", value_parser = args::replication)]
        copies: u8,
        /// A file, or with -r a directory
        #[arg(value_name = "PATH", value_parser = RemoteArg::parse, add = remote_paths())]
        path: RemoteArg,
        /// All files below the directory
        #[arg(short, long)]
        recursive: bool,
        /// Wait until all of them have the copies
        #[arg(long, conflicts_with = "dry_run")]
        wait: bool,
        /// Say what it takes, and do nothing
        #[arg(long)]
        dry_run: bool,
    },
}

/// What `replication set` prints.
#[derive(Debug, Serialize)]
struct ReplicationView {
    path: String,
    copies: u8,
    files: u64,
    /// Those of them that are to have another number of copies now.
    changed: u64,
    chunks: u64,
    bytes: u64,
    /// Bytes that are to be copied, about.
    added_bytes: u64,
    /// Bytes that become free, about.
    freed_bytes: u64,
    /// Why it cannot be done.
    obstacles: Vec<String>,
    /// The job that does it; null if nothing is done.
    job: Option<JobView>,
}

impl ReplicationView {
    fn new(wanted: WantedCopies, plan: ReplicationPlan) -> Self {
        Self {
            path: wanted.path.to_string(),
            copies: wanted.copies,
            files: plan.files,
            changed: plan.changed,
            chunks: plan.amount.chunks,
            bytes: plan.amount.bytes,
            added_bytes: plan.added_bytes,
            freed_bytes: plan.freed_bytes,
            obstacles: plan.obstacles,
            job: plan.job.map(JobView),
        }
    }
}

impl View for ReplicationView {
    fn page(&self, page: &mut Page) {
        page.line(format!(
            "{}: {} with {}, {} of them get {}",
            plain(&self.path),
            count(self.files, "file"),
            size(self.bytes),
            self.changed,
            count(self.copies.into(), "copy")
        ));
        if self.added_bytes > 0 {
            page.line(format!("{} are to be copied", size(self.added_bytes)));
        }
        if self.freed_bytes > 0 {
            page.line(format!("{} become free", size(self.freed_bytes)));
        }
        for obstacle in &self.obstacles {
            page.line(format!("it cannot be done: {}", plain(obstacle)));
        }
        if let Some(JobView(job)) = &self.job {
            page.line(format!("job {} does it; 'dfsctl jobs watch {}' shows how far it is", job.id, job.id));
        }
    }
}

/// Runs `dfsctl replication`.
///
/// # Errors
/// If the path is not there, there are too few datanodes or too little room, or the cluster cannot be asked.
pub(crate) async fn run(invocation: &Invocation, args: Args) -> Outcome<Exit> {
    let Verb::Set { copies, path, recursive, wait: waits, dry_run } = args.verb;
    let wanted = WantedCopies { path: path.path()?, copies };
    let client = invocation.operator().await?;
    let word = SetReplication { wanted: wanted.clone(), recursive, dry_run };
    let view = ReplicationView::new(wanted, client.set_replication(word).await?);
    match view.job.as_ref().map(|job| job.0.id).filter(|_| waits) {
        Some(job) => wait(invocation, &client, job).await,
        None => {
            invocation.output.print(&view)?;
            Ok(if view.obstacles.is_empty() { Exit::Ok } else { Exit::Precondition })
        }
    }
}
