//! `dfsctl cp`: copies files and directories within the cluster.

use std::collections::BTreeSet;

use dfs_wire::message::metadata::{EntryKind, FileStat, Precondition};
use dfs_wire::path::DfsPath;

use crate::connect::invocation::Invocation;
use crate::operands::Route;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};
use crate::output::progress::TransferBar;
use crate::output::text::{count, plain};
use crate::paths::destination::{Destination, Wish, decide};
use crate::paths::look::is_a_directory;
use crate::paths::remote::{Expanded, bad_path, expand_each};
use crate::paths::walk::Walk;
use crate::rehearse;
use crate::transfer::{Ledger, Moved, NotMoved, Summary, Targets, TransferArgs, named, teller};
use dfs_client::{Client, CopyOptions};

/// Copies files and directories within the cluster
///
/// No byte moves: a copy shares the bytes of its source until one of the two is replaced or deleted. Each file is
/// visible whole or not at all. A destination that is a directory takes the sources in, as with the Unix cp.
#[derive(Debug, clap::Args)]
#[command(mut_arg("jobs", |jobs| jobs.help("Files that are copied at the same time")))]
pub(crate) struct Args {
    /// Directories too, with all they hold
    #[arg(short, long, visible_short_alias = 'R')]
    recursive: bool,
    /// Do not replace a file that is there
    #[arg(short, long)]
    no_clobber: bool,
    /// Make missing directories on the way
    #[arg(long)]
    parents: bool,
    /// Keep the files' modification times
    #[arg(short, long)]
    preserve: bool,
    #[command(flatten)]
    route: Route,
    #[command(flatten)]
    transfer: TransferArgs,
}

/// One file to copy.
#[derive(Debug)]
struct CopyItem {
    from: FileStat,
    to: DfsPath,
}

/// All there is to do.
#[derive(Debug, Default)]
struct Plan {
    items: Vec<CopyItem>,
    /// Directories that hold nothing: the others come with their files.
    directories: BTreeSet<DfsPath>,
    failed: Vec<NotMoved>,
    targets: Targets,
}

/// Runs `dfsctl cp`.
///
/// # Errors
/// If a source is not there, the destination does not fit, or the cluster cannot be reached.
pub(crate) async fn run(invocation: &Invocation, args: Args) -> Outcome<Exit> {
    let Some((target, sources)) = args.route.paths.split_last() else {
        return Err(Failure::usage("cp needs a source and a destination"));
    };
    let client = invocation.client().await?;
    let several = sources.len() > 1;
    let Expanded { paths, failed, .. } = expand_each(&client, sources, args.route.literal).await;
    let mut plan = Plan { failed: failed.into_iter().map(NotMoved::from).collect(), ..Plan::default() };
    if !paths.is_empty() {
        let wish = Wish {
            several: several || paths.len() > 1,
            exact: args.route.no_target_directory,
            make: args.parents || args.recursive,
        };
        let destination = decide(&client, target, wish).await?;
        for from in &paths {
            if let Err(failure) = plan.add(&client, &args, from, &destination).await {
                plan.failed.push(NotMoved::from_source(from.to_string(), failure));
            }
        }
    }
    carry_out(invocation, &client, &args, plan).await
}

impl Plan {
    async fn add(
        &mut self,
        client: &Client,
        args: &Args,
        from: &DfsPath,
        destination: &Destination,
    ) -> Outcome {
        let stat = client.stat(from).await?;
        let to = match (from.name(), destination) {
            (Some(name), _) => destination.of(name)?,
            (None, Destination::Into(directory) | Destination::Exactly(directory)) => directory.clone(),
        };
        if stat.kind == EntryKind::File {
            return self.add_file(stat, to);
        }
        if !args.recursive {
            return Err(is_a_directory(from).hint("-r copies it with all it holds"));
        }
        if to.starts_with(from) {
            let shown = plain(from.as_str());
            return Err(Failure::usage(format!(
                "'{shown}' cannot be copied to '{}': that is itself or lies inside it",
                plain(to.as_str())
            )));
        }
        self.add_tree(client, from, &to).await
    }

    async fn add_tree(&mut self, client: &Client, top: &DfsPath, to: &DfsPath) -> Outcome {
        self.directories.insert(to.clone());
        let mut walk = Walk::new(client, top, true);
        while let Some(stat) = walk.next().await? {
            let below = stat.path.segments().skip(top.segments().count());
            let mut target = to.clone();
            for name in below {
                target = target.join(name).map_err(|e| bad_path(&e.to_string()))?;
            }
            if let Some(parent) = target.parent() {
                self.directories.remove(&parent);
            }
            match stat.kind {
                EntryKind::Directory => {
                    self.directories.insert(target);
                }
                EntryKind::File => {
                    let from = stat.path.to_string();
                    if let Err(failure) = self.add_file(stat, target) {
                        self.failed.push(NotMoved::from_source(from, failure));
                    }
                }
            }
        }
        Ok(())
    }

    fn add_file(&mut self, from: FileStat, to: DfsPath) -> Outcome {
        self.targets.take(from.path.as_str(), to.as_str())?;
        self.items.push(CopyItem { from, to });
        Ok(())
    }
}

async fn carry_out(invocation: &Invocation, client: &Client, args: &Args, plan: Plan) -> Outcome<Exit> {
    let output = invocation.output;
    let summary = Summary { dry_run: args.transfer.dry_run, ..Summary::default() };
    let progress = TransferBar::new(&output, None);
    let tell = teller(&output, &progress, plan.items.len() + plan.failed.len() + plan.directories.len());
    let mut ledger = Ledger::new(tell, summary, plan.failed);
    ledger.make(client, &plan.directories).await;
    let options = CopyOptions::new()
        .precondition(if args.no_clobber { Precondition::Absent } else { Precondition::Any })
        .parents(args.parents || args.recursive)
        .preserve(args.preserve);
    let work = |item: CopyItem| {
        let (source, target) = (item.from.path.to_string(), item.to.to_string());
        named(source, target, copy(client.clone(), options.clone(), args.transfer.dry_run, item))
    };
    ledger.each(plan.items, args.transfer.jobs, work, |_, _| {}).await;
    ledger.summary.seconds = progress.finish(ledger.summary.bytes).0;
    if !ledger.nothing() {
        output.print(&ledger.summary)?;
    }
    if !args.transfer.dry_run && ledger.moved() > 0 {
        output.note(format!("copied {}, no byte moved", count(ledger.moved(), "file")));
    }
    ledger.finish()
}

async fn copy(client: Client, options: CopyOptions, dry_run: bool, item: CopyItem) -> Outcome<Moved> {
    let moved = Moved {
        source: item.from.path.to_string(),
        target: item.to.to_string(),
        size: item.from.size,
        ..Moved::default()
    };
    if item.from.path == item.to {
        let shown = plain(item.to.as_str());
        return Err(Failure::usage(format!("'{shown}' and '{shown}' are the same file")));
    }
    let (absent, parents) = (options.precondition == Precondition::Absent, options.parents);
    if dry_run {
        let rehearsed = rehearse::put(&client, &item.to, parents, options.precondition).await;
        return rehearsed.map(|()| moved).map_err(|failure| hinted(failure, absent, parents));
    }
    let copied = client.copy(&item.from.path, &item.to, options).await;
    let stat = copied.map_err(|e| hinted(e.into(), absent, parents))?;
    let (version, chunks) = (Some(stat.version.to_string()), Some(stat.chunk_count));
    Ok(Moved { size: stat.size, version, chunks, ..moved })
}

fn hinted(failure: Failure, absent: bool, parents: bool) -> Failure {
    match failure.code {
        "PreconditionFailed" if absent => failure.hint("without -n a file that is there is replaced"),
        "NotFound" if !parents => failure.hint("--parents makes missing directories on the way"),
        "IsADirectory" => failure.hint("end the path with a slash to put the file into the directory"),
        _ => failure,
    }
}
