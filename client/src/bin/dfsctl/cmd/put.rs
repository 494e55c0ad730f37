//! `dfsctl put`: stores files of this machine in the cluster.

mod plan;
mod words;

use std::path::PathBuf;

use dfs_wire::id::VersionId;
use dfs_wire::message::metadata::Precondition;

use self::plan::{Plan, PutItem, Selection, add_source};
use self::words::{hinted, last_words};
use crate::args;
use crate::complete::any_paths;
use crate::connect::invocation::Invocation;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};
use crate::output::progress::TransferBar;
use crate::output::text::plain;
use crate::paths::destination::{Wish, decide};
use crate::paths::remote::RemoteArg;
use crate::rehearse;
use crate::transfer::{Ledger, Moved, NotMoved, Summary, Targets, Transfer, TransferArgs, named, teller};
use dfs_client::ns_of;
use dfs_client::{Client, PutOptions, PutSource};

/// Stores files of this machine in the cluster
///
/// When it succeeds the file is visible, whole, and durable on as many nodes as it has copies.
/// A file that is there is replaced, in one step.
///
///   put FILE           to /FILE
///   put FILE... PATH   to PATH, or into it if it is a directory or ends with a slash
///   put -r DIR PATH    with all it holds, as with cp -r
///   put - PATH         from standard input
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Files ('-' is standard input), then the path in the cluster
    #[arg(required = true, value_name = "FILE... [PATH]", add = any_paths())]
    paths: Vec<PathBuf>,
    /// Directories too, with all they hold; links are left out
    #[arg(short, long, visible_short_alias = 'R')]
    recursive: bool,
    /// Make missing directories on the way
    #[arg(short, long)]
    parents: bool,
    /// Only if nothing is there
    #[arg(short = 'n', long, visible_alias = "no-clobber", conflicts_with = "if_match")]
    if_absent: bool,
    /// Only if this is the version there, as 'stat' prints it
    #[arg(long, value_name = "VERSION", value_parser = args::version)]
    if_match: Option<VersionId>,
    /// Bytes of each chunk, 64KiB to 64MiB [default: the cluster's]
    #[arg(long, value_name = "SIZE", value_parser = args::chunk_size)]
    chunk_size: Option<u32>,
    /// Copies of each chunk, 1 to 7 [default: the cluster's]
    #[arg(long, value_name = "N", value_parser = args::replication)]
    replication: Option<u8>,
    /// Keep the files' modification times
    #[arg(long)]
    preserve: bool,
    /// Keep the SHA-256 of each whole file with it: 'checksum' then need not read it
    #[arg(long)]
    checksum: bool,
    /// Go on with a put of the same files that was interrupted; what this one stores is kept if it is interrupted, too
    #[arg(long)]
    resume: bool,
    /// Store what was read even if a file changes while it is read
    #[arg(long)]
    allow_changing: bool,
    /// Follow symbolic links below a directory
    #[arg(short = 'L', long)]
    dereference: bool,
    /// Take PATH exactly, even if it is a directory
    #[arg(short = 'T', long)]
    no_target_directory: bool,
    #[command(flatten)]
    transfer: TransferArgs,
}

/// Runs `dfsctl put`.
///
/// # Errors
/// If a file cannot be read or stored.
pub(crate) async fn run(invocation: &Invocation, args: Args) -> Outcome<Exit> {
    let (sources, target) = split(&args)?;
    let client = invocation.client().await?;
    let wish = Wish {
        several: sources.len() > 1,
        exact: args.no_target_directory,
        make: args.parents || args.recursive,
    };
    let destination = decide(&client, &target, wish).await?;
    let mut plan = Plan::default();
    let mut targets = Targets::default();
    let how = Selection { recursive: args.recursive, dereference: args.dereference };
    for source in &sources {
        if let Err(failure) = add_source(how, source, &destination, &mut plan, &mut targets) {
            plan.failed.push(NotMoved::from_source(source.to_string_lossy(), failure));
        }
    }
    carry_out(invocation, &client, &args, plan).await
}

/// The sources and the destination, or what the command line lacks.
fn split(args: &Args) -> Outcome<(Vec<PathBuf>, RemoteArg)> {
    if args.if_match.is_some() && (args.recursive || args.paths.len() > 2) {
        return Err(Failure::usage("--if-match is about one file"));
    }
    match args.paths.as_slice() {
        [only] if only.as_os_str() == "-" => {
            Err(Failure::usage("standard input has no name: say where it goes")
                .hint("dfsctl put - /some/path"))
        }
        [only] => Ok((vec![only.clone()], RemoteArg { text: "/".to_owned(), directory: true })),
        [sources @ .., last] => {
            let streamed = sources.iter().any(|source| source.as_os_str() == "-");
            if streamed && args.resume {
                return Err(Failure::usage("--resume needs a file: standard input cannot be read again"));
            }
            if streamed && (sources.len() > 1 || last.to_string_lossy().ends_with('/')) {
                return Err(Failure::usage(
                    "standard input has no name: give it a whole path of its own, not a directory",
                ));
            }
            let text = last.to_str().ok_or_else(|| Failure::usage("the path in the cluster is not UTF-8"))?;
            let target = RemoteArg::parse(text).map_err(|message| {
                Failure::usage(format!("'{}': {message}", plain(text)))
                    .hint("the last argument is where the files go in the cluster, for example /")
            })?;
            Ok((sources.to_vec(), target))
        }
        [] => Err(Failure::usage("no file to store")),
    }
}

async fn carry_out(invocation: &Invocation, client: &Client, args: &Args, plan: Plan) -> Outcome<Exit> {
    let output = invocation.output;
    let left_out = plan.left_out(output.verbose > 0);
    let passed_over = plan.skipped.into_iter().chain(plan.cluster_dirs.into_iter().map(|(name, _)| name));
    let summary =
        Summary { dry_run: args.transfer.dry_run, skipped: passed_over.collect(), ..Summary::default() };
    let total = plan.items.len() + plan.failed.len();
    let items = total + plan.directories.len();
    let known = plan.items.iter().all(|item| item.source.is_some());
    let progress = TransferBar::new(&output, known.then(|| plan.items.iter().map(|item| item.size).sum()));
    let mut ledger = Ledger::new(teller(&output, &progress, items), summary, plan.failed);
    ledger.make(client, &plan.directories).await;
    let work = |item: PutItem| {
        let (source, target) = (item.shown(), item.target.to_string());
        named(
            source,
            target,
            store(
                client.clone(),
                options(args, &item, &progress),
                (args.transfer.dry_run, args.preserve),
                item,
            ),
        )
    };
    let seen = |done: u64, outcome: &Transfer| {
        progress.files(done, total as u64);
        if let (Ok(moved), true) = (outcome, output.verbose > 0) {
            progress.pause(|| output.note(format!("{} -> {}", moved.source, plain(&moved.target))));
        }
    };
    ledger.each(plan.items, args.transfer.jobs, work, seen).await;
    let (seconds, words) = progress.finish(ledger.summary.bytes);
    ledger.summary.seconds = seconds;
    output.print(&ledger.summary)?;
    left_out.iter().for_each(|text| output.warn(text));
    if !args.transfer.dry_run {
        last_words(invocation, &ledger.summary, &words);
    }
    ledger.finish()
}

fn options(args: &Args, item: &PutItem, progress: &TransferBar) -> PutOptions {
    let precondition = match (args.if_absent, args.if_match) {
        (true, _) => Precondition::Absent,
        (false, Some(version)) => Precondition::Match(version),
        (false, None) => Precondition::Any,
    };
    let mut options = PutOptions::new()
        .precondition(precondition)
        .parents(args.parents || args.recursive)
        .allow_changing(args.allow_changing)
        .checksum(args.checksum)
        .resume(args.resume && item.source.is_some());
    options.chunk_size = args.chunk_size;
    options.replication = args.replication;
    options.mtime_ns = item.modified.filter(|_| args.preserve).and_then(ns_of);
    options.progress = progress.of_file();
    options
}

/// Refuses a standard input that was closed. What starts a program puts the null device in its place, open for both reading
/// and writing, which `< /dev/null` does not: an empty file that nobody meant is not stored.
fn open_stdin() -> Outcome {
    let stdin = std::io::stdin();
    let null = rustix::fs::fstat(&stdin).is_ok_and(|stat| {
        rustix::fs::FileType::from_raw_mode(stat.st_mode).is_char_device()
            && stat.st_rdev == rustix::fs::makedev(1, 3)
    });
    let both = rustix::fs::fcntl_getfl(&stdin).is_ok_and(|flags| flags.contains(rustix::fs::OFlags::RDWR));
    match null && both {
        true => Err(Failure::usage("standard input is closed")
            .hint("give it a file or a pipe; '< /dev/null' stores an empty file")),
        false => Ok(()),
    }
}

async fn store(
    client: Client,
    options: PutOptions,
    (dry_run, preserve): (bool, bool),
    item: PutItem,
) -> Outcome<Moved> {
    let moved =
        Moved { source: item.shown(), target: item.target.to_string(), size: item.size, ..Moved::default() };
    let (parents, absent) = (options.parents, options.precondition == Precondition::Absent);
    if let Some(time) = item.modified.filter(|time| preserve && ns_of(*time).is_none()) {
        let message = format!("the modification time of {} cannot be kept: {time:?}", item.shown());
        return Err(Failure::new(Exit::Other, "LocalIo", message).hint("store it without --preserve"));
    }
    if dry_run {
        let rehearsed = rehearse::put(&client, &item.target, parents, options.precondition).await;
        return rehearsed.map(|()| moved).map_err(|failure| hinted(failure, parents, absent));
    }
    let source = match item.source {
        Some(path) => PutSource::Path(path),
        None => {
            open_stdin()?;
            PutSource::reader(tokio::io::stdin())
        }
    };
    let put =
        client.put(source, &item.target, options).await.map_err(|e| hinted(e.into(), parents, absent))?;
    Ok(moved.stored(&put))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(line: &str) -> Args {
        Line::try_parse_from(std::iter::once("put").chain(line.split(' '))).unwrap().args
    }

    #[test]
    fn the_destination_is_the_last_argument_and_remote() {
        let said = |line: &str| split(&args(line)).map(|(sources, target)| (sources.len(), target.text));
        assert_eq!(said("/etc/hosts").unwrap(), (1, "/".to_owned()));
        assert_eq!(said("a b dfs:/x/").unwrap(), (2, "/x/".to_owned()));
        for bad in ["-", "a b", "a ./b", "- /x/", "- a /x"] {
            assert_eq!(said(bad).unwrap_err().exit, Exit::Usage, "{bad}");
        }
    }
}
