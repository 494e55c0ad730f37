//! `dfsctl sync`: makes a directory of the cluster like one of this machine, or the other way round.

mod plan;
mod work;

use std::cell::RefCell;

use serde::Serialize;

use self::plan::{Comparison, Filter, Match, Plan, Tree, plan};
use self::work::{Direction, Done, Worker};
use crate::complete::marked_paths;
use crate::connect::invocation::Invocation;
use crate::output::View;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome, Tally};
use crate::output::page::Page;
use crate::output::progress::TransferBar;
use crate::output::text::{count, plain, size};
use crate::paths::node_dirs::NodeDirs;
use crate::paths::sides::{Found, Side, local_tree};
use crate::transfer::{Moved, NotMoved, OwnedFailure, TransferArgs, each, teller};
use dfs_client::Client;

/// Makes a directory of the cluster like one of this machine, or the other way round
///
/// A path of the cluster is written dfs:/a/b; everything else is a path of this machine.
/// What SRC holds goes into DST, which is made if it is missing. A file is the same if its
/// size and its time of modification are; copies get the time of their source. Each file
/// appears whole or not at all. Interrupted, the same command goes on where it ended. What
/// is deleted in the cluster goes to the trash.
///
///   sync photos dfs:/backup/photos              upload what is new or changed
///   sync dfs:/backup/photos photos              fetch it
///   sync --delete --dry-run site dfs:/www       what would be done, deletions too
///   sync --exclude '*.tmp' --exclude target/ . dfs:/src
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// The directory that is as it should be
    #[arg(value_name = "SRC", value_parser = Side::parse, add = marked_paths())]
    source: Side,
    /// The directory that is made like it
    #[arg(value_name = "DST", value_parser = Side::parse, add = marked_paths())]
    target: Side,
    /// Compare files of one size by their bytes, not by time: reads both
    #[arg(short, long)]
    checksum: bool,
    /// Delete what is in DST and not in SRC
    #[arg(long)]
    delete: bool,
    /// With --delete: an empty SRC is meant, too
    #[arg(long, requires = "delete")]
    allow_empty: bool,
    /// Only files that match, by name or, with a slash, by path from SRC on; may be repeated
    #[arg(long, value_name = "PATTERN", value_parser = Match::parse)]
    include: Vec<Match>,
    /// Not what matches, nor what is below it; counts more than --include; may be repeated
    #[arg(long, value_name = "PATTERN", value_parser = Match::parse)]
    exclude: Vec<Match>,
    #[command(flatten)]
    transfer: TransferArgs,
}

/// What `sync` prints.
#[derive(Debug, Default, Serialize)]
pub(crate) struct SyncView {
    /// The files that were copied.
    pub copied: Vec<Moved>,
    /// What could not be done, and why.
    pub failed: Vec<NotMoved>,
    /// What was deleted in the target.
    pub deleted: Vec<String>,
    /// Files that were the same.
    pub unchanged: u64,
    /// Directories that were made.
    pub directories: u64,
    /// What was passed over: links, special files, a cluster's own directories.
    pub skipped: Vec<String>,
    /// Bytes of the files that were copied.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// Whether nothing was done because of --dry-run.
    pub dry_run: bool,
}

impl View for SyncView {
    /// For people the last words go to standard error; standard output is for data.
    fn page(&self, page: &mut Page) {
        if self.dry_run {
            for file in &self.copied {
                page.line(format!("would copy {} to {}", plain(&file.source), plain(&file.target)));
            }
            for path in &self.deleted {
                page.line(format!("would delete {}", plain(path)));
            }
        }
    }

    fn lines(&self) -> serde_json::Result<Vec<String>> {
        let deleted = self.deleted.iter().map(|path| serde_json::json!({ "deleted": path }).to_string());
        self.copied.iter().map(serde_json::to_string).chain(deleted.map(Ok)).collect()
    }
}

/// Runs `dfsctl sync`.
///
/// # Errors
/// If one of the directories cannot be listed whole, or something cannot be copied or deleted.
pub(crate) async fn run(invocation: &Invocation, args: Args) -> Outcome<Exit> {
    let direction = direction(&args)?;
    let client = invocation.client().await?;
    let filter = Filter { include: args.include.clone(), exclude: args.exclude.clone() };
    let left_out = RefCell::new(Vec::new());
    let source = tree(&client, &args.source, &left_out).await?;
    let source = source.ok_or_else(|| missing(&args.source))?;
    let target = tree(&client, &args.target, &left_out).await?;
    let (new, target) = (target.is_none(), target.unwrap_or_default());
    let (source, all_there) = (filter.apply(source), target.clone());
    let target = filter.apply(target);
    if args.delete && !args.allow_empty && source.is_empty() && !target.is_empty() {
        let message = format!("'{}' holds nothing: all of '{}' would be deleted", args.source, args.target);
        return Err(Failure::new(Exit::Precondition, "EmptySource", message)
            .hint("is its disk mounted? --allow-empty says that it is meant"));
    }
    let mut plan = plan(&source, &target, Comparison { checksum: args.checksum, delete: args.delete });
    keep_what_holds_others(&mut plan, &all_there);
    let worker = Worker { client, direction, dry_run: args.transfer.dry_run };
    let outcome = carry_out(invocation, &args, worker, plan, new).await;
    for (path, kind) in left_out.into_inner() {
        invocation.output.warn(format!("left out {}: {}", kind.meaning(), plain(&path)));
    }
    outcome
}

fn direction(args: &Args) -> Outcome<Direction> {
    match (&args.source, &args.target) {
        (Side::Local(local), Side::Remote(remote)) => {
            Ok(Direction::Up { from: local.clone(), to: remote.clone() })
        }
        (Side::Remote(remote), Side::Local(local)) => {
            Ok(Direction::Down { from: remote.clone(), to: local.clone() })
        }
        (Side::Local(_), Side::Local(_)) => Err(Failure::usage("both directories are of this machine")
            .hint("a path of the cluster is written dfs:/a/b")),
        (Side::Remote(_), Side::Remote(_)) => Err(Failure::usage("both directories are of the cluster")
            .hint("sync is between this machine and the cluster")),
    }
}

fn missing(side: &Side) -> Failure {
    Failure::new(Exit::NotFound, "NotFound", format!("'{side}' does not exist"))
}

/// All that is below a directory; `None` if it is not there.
async fn tree(
    client: &Client,
    side: &Side,
    left_out: &RefCell<Vec<(String, crate::paths::node_dirs::DirOwner)>>,
) -> Outcome<Option<Tree>> {
    match side.look(client).await {
        Ok(Found::Directory) => {}
        Ok(_) => {
            let message = format!("'{side}' is not a directory");
            return Err(Failure::new(Exit::Precondition, "NotADirectory", message)
                .hint("'dfsctl put' and 'dfsctl get' move single files"));
        }
        Err(failure) if failure.is_not_found() => return Ok(None),
        Err(failure) => return Err(failure),
    }
    let Side::Local(top) = side else { return side.walk(client).await.map(Some) };
    let node_dirs = NodeDirs::now();
    let tree = local_tree(top, |entry| {
        let kind = node_dirs.kind(entry);
        let name = || entry.path().to_string_lossy().into_owned();
        left_out.borrow_mut().extend(kind.map(|kind| (name(), kind)));
        kind.is_some()
    });
    tree.map(Some)
}

/// A directory stays if something in it does: what a filter passes over, or a cluster's own.
fn keep_what_holds_others(plan: &mut Plan, all_there: &Tree) {
    let gone: std::collections::BTreeSet<_> = plan.delete.iter().map(|(name, _)| name.clone()).collect();
    plan.delete.retain(|(name, found)| {
        let below = format!("{name}/");
        let mut held = all_there.range(below.clone()..).take_while(|(name, _)| name.starts_with(&below));
        *found != Found::Directory || held.all(|(name, _)| gone.contains(name))
    });
}

async fn carry_out(
    invocation: &Invocation,
    args: &Args,
    worker: Worker,
    plan: Plan,
    new: bool,
) -> Outcome<Exit> {
    let output = invocation.output;
    let mut view =
        SyncView { unchanged: plan.unchanged, dry_run: args.transfer.dry_run, ..SyncView::default() };
    let shown = |name: &str| args.source.join(name).map_or_else(|_| name.to_owned(), |side| side.to_string());
    view.skipped = plan.skipped.iter().map(|name| shown(name)).collect();
    let items = plan.make.len() + plan.copy.len() + plan.delete.len() + plan.in_the_way.len();
    let progress = TransferBar::new(&output, Some(plan.copy.iter().map(|copy| copy.size).sum()));
    let mut tally = Tally::telling(teller(&output, &progress, items));
    let fail = |view: &mut SyncView, tally: &mut Tally, name: &str, failure: Failure| {
        tally.fail(failure.clone());
        let target = args.target.join(name).ok().map(|side| side.to_string());
        view.failed.push(NotMoved { source: Some(shown(name)), target, failure: OwnedFailure(failure) });
    };
    for name in &plan.in_the_way {
        fail(&mut view, &mut tally, name, in_the_way(&shown(name), args));
    }
    for name in new.then(String::new).iter().chain(&plan.make) {
        match worker.make(name).await {
            Ok(()) => view.directories += u64::from(!args.transfer.dry_run),
            Err(failure) => fail(&mut view, &mut tally, name, failure),
        }
    }
    let (mut done, total) = (0, plan.copy.len() as u64);
    let work = |copy: plan::FileCopy| {
        let (worker, progress) = (worker.clone(), progress.of_file());
        async move { Ok((copy.name.clone(), worker.copy(copy, progress).await)) }
    };
    each(plan.copy, usize::from(args.transfer.jobs), work, |outcome| {
        done += 1;
        progress.files(done, total);
        match outcome {
            Ok((_, Ok(Done::Same))) => view.unchanged += 1,
            Ok((_, Ok(Done::Copied(moved)))) => {
                tally.done += 1;
                view.bytes += moved.size;
                view.copied.push(moved);
            }
            Ok((name, Err(failure))) => fail(&mut view, &mut tally, &name, failure),
            Err(failure) => fail(&mut view, &mut tally, "", failure),
        }
    })
    .await;
    // Nothing goes while what should take its place did not come.
    let complete = tally.failed == 0;
    for (name, found) in plan.delete.iter().filter(|_| complete) {
        match worker.delete(name, *found).await {
            Ok(()) => {
                tally.done += 1;
                view.deleted.push(args.target.join(name)?.to_string());
            }
            Err(failure) => fail(&mut view, &mut tally, name, failure),
        }
    }
    let kept = if complete { 0 } else { plan.delete.len() as u64 };
    let (seconds, words) = progress.finish(view.bytes);
    view.seconds = seconds;
    output.print(&view)?;
    last_words(invocation, &view, kept, &words);
    tally.finish("steps")?;
    Ok(Exit::Ok)
}

fn in_the_way(shown: &str, args: &Args) -> Failure {
    let message = format!("'{shown}' is something else in '{}'", args.target);
    Failure::new(Exit::Precondition, "InTheWay", message)
        .hint("move or delete what is there, or leave the name out with --exclude")
}

fn last_words(invocation: &Invocation, view: &SyncView, kept: u64, words: &str) {
    let output = invocation.output;
    if !view.skipped.is_empty() {
        output.warn(format!("left out {}", count(view.skipped.len() as u64, "link or special file")));
    }
    if kept > 0 {
        output.warn(format!("{} not deleted, because not all could be copied", count(kept, "entry")));
    }
    let (files, deleted) = (count(view.copied.len() as u64, "file"), view.deleted.len());
    output.note(match view.dry_run {
        // Nothing moved: there is no time and no rate.
        true => {
            format!("would copy {files} of {}, delete {deleted}, leave {}", size(view.bytes), view.unchanged)
        }
        false => format!("copied {files}, {deleted} deleted, {} unchanged: {words}", view.unchanged),
    });
}
