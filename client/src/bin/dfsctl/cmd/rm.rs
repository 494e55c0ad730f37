//! `dfsctl rm`: moves files and directories to the trash.

use std::collections::BTreeSet;

use dfs_wire::id::VersionId;
use dfs_wire::message::metadata::{Deleted, EntryKind};
use dfs_wire::path::DfsPath;
use serde::Serialize;

use crate::args;
use crate::connect::invocation::Invocation;
use crate::operands::Operands;
use crate::output::View;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome, Tally};
use crate::output::page::Page;
use crate::output::text::{count, exact_time, plain, time};
use crate::paths::glob::Pattern;
use crate::paths::look::is_a_directory;
use crate::paths::remote::{Expanded, expand_each};
use crate::paths::walk::Walk;
use crate::rehearse;
use dfs_client::{Client, DeleteOptions};

/// Moves files and directories to the trash
///
/// 'dfsctl undelete PATH' brings them back until the trash forgets them (2 hours unless the cluster is configured
/// otherwise).
#[derive(Debug, clap::Args)]
#[command(mut_arg("paths", |paths| paths.help("Files, directories or patterns")))]
pub(crate) struct Args {
    /// Directories too, with all they hold
    #[arg(short, long, visible_short_alias = 'R')]
    recursive: bool,
    /// Empty directories too
    #[arg(short, long)]
    dir: bool,
    /// A path that is not there is no error
    #[arg(short, long)]
    force: bool,
    /// Not to the trash: gone for good, its space is given back
    #[arg(long)]
    skip_trash: bool,
    /// Only if this is the file's version, as 'stat' prints it
    #[arg(long, value_name = "VERSION", value_parser = args::version)]
    if_match: Option<VersionId>,
    /// Allow everything below / to be deleted
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    operands: Operands,
    /// Say what would be done and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// What `rm` prints.
#[derive(Debug, Serialize)]
pub(crate) struct RmView {
    /// What was deleted.
    pub deleted: Vec<DeletedView>,
    /// Whether nothing was done because of --dry-run.
    pub dry_run: bool,
}

/// One thing that was deleted.
#[derive(Debug, Serialize)]
pub(crate) struct DeletedView {
    /// Where it was.
    pub path: String,
    /// Its name in the trash; null for a dry run.
    pub inode: Option<u64>,
    /// Until when it can be brought back; null if it cannot.
    pub recoverable_until: Option<String>,
    #[serde(skip)]
    until_ms: Option<u64>,
}

impl DeletedView {
    fn new(path: &DfsPath, deleted: Option<&Deleted>) -> Self {
        let until_ms = deleted.and_then(|deleted| deleted.expires_ms);
        Self {
            path: path.to_string(),
            inode: deleted.map(|deleted| deleted.inode.0),
            recoverable_until: until_ms.map(exact_time),
            until_ms,
        }
    }
}

impl View for RmView {
    fn page(&self, page: &mut Page) {
        for entry in self.deleted.iter().filter(|_| self.dry_run) {
            page.line(format!("would delete {}", plain(&entry.path)));
        }
    }

    fn lines(&self) -> serde_json::Result<Vec<String>> {
        self.deleted.iter().map(serde_json::to_string).collect()
    }
}

/// Runs `dfsctl rm`.
///
/// # Errors
/// If a path is not there, is a directory without -r, or the cluster cannot be reached.
pub(crate) async fn run(invocation: &Invocation, args: Args) -> Outcome<Exit> {
    if args.operands.paths.iter().any(|arg| arg.path().is_ok_and(|path| path.is_root())) {
        must_be_meant(&args)?;
    }
    let client = invocation.client().await?;
    let mut tally = Tally::default();
    let mut view = RmView { deleted: Vec::new(), dry_run: args.dry_run };
    let targets = targets(invocation, &client, &args, &mut tally).await?;
    for path in &targets {
        view.deleted.extend(tally.count(remove(&client, &args, path).await).flatten());
    }
    if !tally.nothing() {
        invocation.output.print(&view)?;
    }
    if let Some(until) = view.deleted.iter().filter_map(|entry| entry.until_ms).min() {
        let what = count(view.deleted.len() as u64, "entry");
        invocation.output.note(format!(
            "{what} in the trash until {}; 'dfsctl undelete PATH' brings one back",
            time(until)
        ));
    }
    tally.finish("paths")?;
    Ok(Exit::Ok)
}

/// Refuses to delete everything, unless it was said that it is meant.
fn must_be_meant(args: &Args) -> Outcome {
    match args.yes || args.dry_run {
        true => Ok(()),
        false => Err(Failure::usage("this would delete everything in the cluster")
            .hint("--yes says that it is meant; --dry-run shows what would be deleted")),
    }
}

/// The paths to delete; the root stands for what it holds, for it cannot go itself.
async fn targets(
    invocation: &Invocation,
    client: &Client,
    args: &Args,
    tally: &mut Tally,
) -> Outcome<Vec<DfsPath>> {
    let Expanded { paths: mut targets, patterns, failed } =
        expand_each(client, &args.operands.paths, args.operands.literal).await;
    tally.tell_each(invocation.output, args.operands.paths.len().max(targets.len()));
    for failure in failed {
        match args.force && failure.is_not_found() {
            true => tally.done += 1,
            false => tally.fail(failure),
        }
    }
    // What matters is what a pattern came to, not how it is written.
    if patterns.iter().any(Pattern::takes_all)
        || (!patterns.is_empty() && hold_everything(client, &targets).await?)
    {
        must_be_meant(args)?;
    }
    if let (true, Some(index)) = (args.recursive, targets.iter().position(DfsPath::is_root)) {
        targets.remove(index);
        let mut walk = Walk::new(client, &DfsPath::root(), false);
        while let Some(stat) = walk.next().await? {
            targets.push(stat.path);
        }
    }
    // Without -r, /d/f is to go even if /d is refused.
    if args.recursive { Ok(outermost(targets)) } else { Ok(targets) }
}

/// Whether nothing in the root would be left.
async fn hold_everything(client: &Client, targets: &[DfsPath]) -> Outcome<bool> {
    let targets: BTreeSet<_> = targets.iter().collect();
    let mut walk = Walk::new(client, &DfsPath::root(), false);
    while let Some(stat) = walk.next().await? {
        if !targets.contains(&stat.path) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Without what lies below another of the paths: it goes with it.
fn outermost(mut paths: Vec<DfsPath>) -> Vec<DfsPath> {
    let all: BTreeSet<_> = paths.iter().cloned().collect();
    let covered = |path: &DfsPath| {
        let mut above = path.parent();
        while let Some(parent) = above {
            if all.contains(&parent) {
                return true;
            }
            above = parent.parent();
        }
        false
    };
    let mut seen = BTreeSet::new();
    paths.retain(|path| !covered(path) && seen.insert(path.clone()));
    paths
}

async fn remove(client: &Client, args: &Args, path: &DfsPath) -> Outcome<Option<DeletedView>> {
    let absent = |failure: Failure| match args.force && failure.is_not_found() {
        true => Ok(None),
        false => Err(failure),
    };
    if !args.recursive && !args.dir {
        match client.stat(path).await {
            Ok(stat) if stat.kind == EntryKind::Directory => {
                return Err(is_a_directory(path).hint("-r deletes it with all it holds, -d if it is empty"));
            }
            Ok(_) => {}
            Err(e) => return absent(e.into()),
        }
    }
    if args.dry_run {
        let rehearsed = rehearse::delete(client, path, args.recursive, args.if_match).await;
        return rehearsed.map(|()| Some(DeletedView::new(path, None))).or_else(absent);
    }
    let mut options = DeleteOptions::new().recursive(args.recursive).skip_trash(args.skip_trash);
    options.if_match = args.if_match;
    match client.delete(path, options).await {
        Ok(deleted) => Ok(Some(DeletedView::new(path, Some(&deleted)))),
        Err(e) => absent(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_below_another_goes_with_it() {
        let paths = ["/a/b", "/a", "/c/d", "/ab", "/a"].map(|text| DfsPath::parse(text).unwrap());
        let left: Vec<_> = outermost(paths.to_vec()).iter().map(ToString::to_string).collect();
        assert_eq!(left, ["/a", "/c/d", "/ab"]);
    }
}
