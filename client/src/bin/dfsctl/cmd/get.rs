//! `dfsctl get`: fetches files of the cluster.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use dfs_wire::message::metadata::{EntryKind, FileStat};
use dfs_wire::path::DfsPath;
use futures_util::FutureExt;

use crate::args::ByteRange;
use crate::complete::any_paths;
use crate::connect::invocation::Invocation;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};
use crate::output::progress::TransferBar;
use crate::output::text::{count, plain, size};
use crate::paths::content::{bytes_of, directory_hint, hinted, print_all};
use crate::paths::local::{LocalRoot, check_name, check_no_link, keep_time};
use crate::paths::look::is_a_directory;
use crate::paths::remote::{Expanded, RemoteArg, expand_each};
use crate::paths::walk::Walk;
use crate::transfer::{Ledger, Moved, NotMoved, Summary, Targets, Transfer, TransferArgs, named, teller};
use dfs_client::{Client, GetOptions};

/// Fetches files of the cluster
///
/// Every byte is verified. A file appears under its name only when it is whole; one that is
/// there is replaced, and keeps its mode and owner. What an interrupted get has verified
/// stays in a hidden file beside it for --resume.
///
///   get PATH              to ./NAME
///   get PATH... TARGET    to TARGET, or into it if it is a directory or ends with a slash
///   get -r PATH TARGET    with all it holds, as with cp -r
///   get PATH -            to standard output
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Files or patterns, then the target on this machine ('-' is standard output)
    #[arg(required = true, value_name = "PATH... [TARGET]", add = any_paths())]
    paths: Vec<String>,
    /// Directories too, with all they hold
    #[arg(short, long, visible_short_alias = 'R')]
    recursive: bool,
    /// Go on where an interrupted get of the same version ended; a file that is whole is only checked
    #[arg(long)]
    resume: bool,
    /// Do not replace a file that is there
    #[arg(short, long)]
    no_clobber: bool,
    /// Only these bytes: A-B (both included, from 0), A- or -N (the last N)
    #[arg(long, value_name = "RANGE", value_parser = ByteRange::parse, allow_hyphen_values = true, conflicts_with_all = ["recursive", "resume"])]
    range: Option<ByteRange>,
    /// Keep the files' modification times
    #[arg(long)]
    preserve: bool,
    /// Take TARGET exactly, even if it is a directory
    #[arg(short = 'T', long)]
    no_target_directory: bool,
    /// Take paths as they are written, without patterns
    #[arg(long)]
    literal: bool,
    #[command(flatten)]
    transfer: TransferArgs,
}

/// What to do to go on with what an interrupted get kept.
pub(crate) const RESUME: &str = "what was fetched is kept; repeat with --resume to go on from there";

/// One file to fetch.
#[derive(Debug)]
struct GetItem {
    stat: FileStat,
    target: PathBuf,
}

/// All there is to do.
#[derive(Debug, Default)]
struct Plan {
    items: Vec<GetItem>,
    directories: u64,
    failed: Vec<NotMoved>,
}

/// What one transfer needs to know of the command line.
#[derive(Debug, Clone, Copy)]
struct Settings {
    range: Option<ByteRange>,
    resume: bool,
    overwrite: bool,
    preserve: bool,
    dry_run: bool,
}

/// Where things go.
#[derive(Debug)]
enum LocalDestination {
    Into(PathBuf),
    Exactly(PathBuf),
}

/// Runs `dfsctl get`.
///
/// # Errors
/// If a file is not there, cannot be read, or cannot be written here.
pub(crate) async fn run(invocation: &Invocation, args: Args) -> Outcome<Exit> {
    let (sources, target) = split(&args)?;
    let client = invocation.client().await?;
    if target == "-" && !args.transfer.dry_run {
        return print_all(invocation, &client, &sources, args.literal, args.range).await;
    }
    let Expanded { paths, failed, .. } = expand_each(&client, &sources, args.literal).await;
    let several = paths.len().max(sources.len()) > 1;
    if args.range.is_some() && several {
        return Err(Failure::usage("--range is about one file"));
    }
    let mut plan = Plan { failed: failed.into_iter().map(NotMoved::from).collect(), ..Plan::default() };
    if paths.is_empty() {
        return carry_out(invocation, &client, &args, plan).await;
    }
    if target == "-" {
        for path in &paths {
            match rehearse_print(&client, path).await {
                Ok(stat) => plan.items.push(GetItem { stat, target: PathBuf::from("-") }),
                Err(failure) => plan.failed.push(NotMoved::from_source(path.as_str(), failure)),
            }
        }
        return carry_out(invocation, &client, &args, plan).await;
    }
    let destination = decide(&args, Path::new(&target), target.ends_with('/'), several)?;
    let mut targets = Targets::default();
    for path in &paths {
        if let Err(failure) = add_source(&client, &args, path, &destination, &mut plan, &mut targets).await {
            plan.failed.push(NotMoved::from_source(path.as_str(), failure));
        }
    }
    carry_out(invocation, &client, &args, plan).await
}

/// What would be printed, for `--dry-run`.
async fn rehearse_print(client: &Client, path: &DfsPath) -> Outcome<FileStat> {
    let stat = client.stat(path).await?;
    match stat.kind {
        EntryKind::File => Ok(stat),
        EntryKind::Directory => Err(directory_hint(is_a_directory(path))),
    }
}

/// The sources and the target. An argument with `dfs:` is never local.
fn split(args: &Args) -> Outcome<(Vec<RemoteArg>, String)> {
    let parse = |texts: &[String]| {
        let one = |text: &String| {
            RemoteArg::parse(text).map_err(|why| Failure::usage(format!("'{}': {why}", plain(text))))
        };
        texts.iter().map(one).collect::<Outcome<Vec<_>>>()
    };
    if args.paths.last().is_some_and(String::is_empty) {
        return Err(Failure::usage("the target is empty").hint("'.' is the current directory"));
    }
    match args.paths.as_slice() {
        [sources @ .., target] if !sources.is_empty() && !RemoteArg::is_marked(target) => {
            Ok((parse(sources)?, target.clone()))
        }
        sources => Ok((parse(sources)?, "./".to_owned())),
    }
}

/// The rules of `cp` for a target on this machine.
fn decide(args: &Args, target: &Path, slash: bool, several: bool) -> Outcome<LocalDestination> {
    let path = target.to_owned();
    let shown = plain(&target.to_string_lossy());
    let refused = |code, exit, text: String| Err(Failure::new(exit, code, text));
    match fs::metadata(target) {
        _ if args.no_target_directory && several => {
            Err(Failure::usage("-T names one target, but there are several sources"))
        }
        _ if args.no_target_directory => Ok(LocalDestination::Exactly(path)),
        Ok(meta) if meta.is_dir() => Ok(LocalDestination::Into(path)),
        Ok(_) if slash || several => refused(
            "NotADirectory",
            Exit::Precondition,
            format!("local '{shown}' is a file, but a directory is needed"),
        ),
        Ok(_) => Ok(LocalDestination::Exactly(path)),
        // A directory that is wanted is made.
        Err(e) if e.kind() == io::ErrorKind::NotFound && (slash || several) => {
            Ok(LocalDestination::Into(path))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            parent_exists(target).map(|()| LocalDestination::Exactly(path))
        }
        Err(e) => Err(Failure::local("use", target, &e)),
    }
}

fn parent_exists(target: &Path) -> Outcome {
    let parent = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => return Ok(()),
    };
    match fs::metadata(parent) {
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => Err(Failure::local("write below", parent, &io::Error::from(io::ErrorKind::NotADirectory))),
        Err(e) => Err(Failure::local("write into", parent, &e).hint("make that directory first")),
    }
}

async fn add_source(
    client: &Client,
    args: &Args,
    path: &DfsPath,
    destination: &LocalDestination,
    plan: &mut Plan,
    targets: &mut Targets,
) -> Outcome {
    let stat = client.stat(path).await?;
    let target = match (destination, path.name()) {
        (LocalDestination::Exactly(target), _) => target.clone(),
        (LocalDestination::Into(directory), None) => directory.clone(),
        (LocalDestination::Into(directory), Some(name)) => {
            check_name(name)?;
            if !args.transfer.dry_run {
                fs::create_dir_all(directory)
                    .map_err(|e| Failure::local("make the directory", directory, &e))?;
            }
            let target = directory.join(name);
            // A single file follows a link, as with cp.
            if args.recursive {
                check_no_link(&target)?;
            }
            target
        }
    };
    match stat.kind {
        EntryKind::File => add_file(stat, target, plan, targets),
        EntryKind::Directory if args.recursive => add_tree(client, args, path, target, plan, targets).await,
        EntryKind::Directory => Err(is_a_directory(path).hint("-r fetches it with all it holds")),
    }
}

fn add_file(stat: FileStat, target: PathBuf, plan: &mut Plan, targets: &mut Targets) -> Outcome {
    targets.take(stat.path.as_str(), &target.to_string_lossy())?;
    plan.items.push(GetItem { stat, target });
    Ok(())
}

/// Adds everything below `top`, and makes the directories. What cannot be placed is remembered; the rest goes on.
async fn add_tree(
    client: &Client,
    args: &Args,
    top: &DfsPath,
    root: PathBuf,
    plan: &mut Plan,
    targets: &mut Targets,
) -> Outcome {
    let root = LocalRoot::new(root);
    if !args.transfer.dry_run {
        root.make()?;
    }
    let mut walk = Walk::new(client, top, true);
    while let Some(stat) = walk.next().await? {
        if stat.path == *top {
            continue;
        }
        let path = stat.path.clone();
        let added = match (stat.kind, args.transfer.dry_run) {
            (EntryKind::Directory, true) => Ok(()),
            (EntryKind::Directory, false) => {
                root.make_directory(top, &stat.path).map(|()| plan.directories += 1)
            }
            (EntryKind::File, dry_run) => {
                let place =
                    if dry_run { root.would_be(top, &stat.path) } else { root.place(top, &stat.path) };
                place.and_then(|place| add_file(stat, place, plan, targets))
            }
        };
        if let Err(failure) = added {
            plan.failed.push(NotMoved::from_source(path.as_str(), failure));
        }
    }
    Ok(())
}

async fn carry_out(invocation: &Invocation, client: &Client, args: &Args, plan: Plan) -> Outcome<Exit> {
    let output = invocation.output;
    let summary =
        Summary { dry_run: args.transfer.dry_run, directories: plan.directories, ..Summary::default() };
    let total = plan.items.len() + plan.failed.len();
    let bytes =
        if args.range.is_some() { None } else { Some(plan.items.iter().map(|item| item.stat.size).sum()) };
    let progress = TransferBar::new(&output, bytes);
    let mut ledger = Ledger::new(teller(&output, &progress, total), summary, plan.failed);
    let how = Settings {
        range: args.range,
        resume: args.resume,
        overwrite: !args.no_clobber,
        preserve: args.preserve,
        dry_run: args.transfer.dry_run,
    };
    let work = |item: GetItem| {
        let (source, target) = (item.stat.path.to_string(), item.target.to_string_lossy().into_owned());
        let (begun, path) = (invocation.begun.clone(), item.target.clone());
        begun.add(&path);
        let fetched = fetch(client.clone(), how, progress.of_file(), item);
        let fetched = fetched.inspect(move |_| begun.remove(&path));
        named(source, target, fetched)
    };
    let seen = |done: u64, outcome: &Transfer| {
        progress.files(done, total as u64);
        if let (Ok(moved), true) = (outcome, output.verbose > 0) {
            progress.pause(|| output.note(format!("{} -> {}", plain(&moved.source), plain(&moved.target))));
        }
    };
    ledger.each(plan.items, args.transfer.jobs, work, seen).await;
    let (seconds, words) = progress.finish(ledger.summary.bytes);
    ledger.summary.seconds = seconds;
    output.print(&ledger.summary)?;
    if !args.transfer.dry_run {
        last_words(invocation, &ledger.summary, &words);
    }
    ledger.finish()
}

fn last_words(invocation: &Invocation, summary: &Summary, words: &str) {
    let bad: u64 = summary.files.iter().map(|file| file.degraded_chunks).sum();
    if bad > 0 {
        invocation.output.warn(format!(
            "{} could not be used and other copies were read; 'dfsctl verify PATH' names them",
            count(bad, "copy")
        ));
    }
    let resumed = match summary.files.iter().map(|file| file.resumed_bytes).sum() {
        0 => String::new(),
        bytes => format!("; {} of it were here already", size(bytes)),
    };
    let what = match summary.files.as_slice() {
        [] => return,
        [only] => plain(&only.target),
        files => count(files.len() as u64, "file"),
    };
    invocation.output.note(format!("fetched {what}: {words}{resumed}"));
}

async fn fetch(
    client: Client,
    how: Settings,
    progress: Option<dfs_client::ProgressFn>,
    item: GetItem,
) -> Outcome<Moved> {
    let path = &item.stat.path;
    let moved = Moved {
        source: path.to_string(),
        target: item.target.to_string_lossy().into_owned(),
        size: item.stat.size,
        ..Moved::default()
    };
    if how.dry_run {
        return match !how.overwrite && item.target.symlink_metadata().is_ok() {
            true => Err(local_hint(exists(&item.target), &item.target)),
            false => Ok(moved),
        };
    }
    let range = bytes_of(&client, path, how.range).await?;
    let mut options = GetOptions::new().resume(how.resume).overwrite(how.overwrite);
    // A range cannot be gone on with.
    options.keep_partial = how.range.is_none();
    options.range = range;
    options.progress = progress;
    let got = client.get_to_path(path, &item.target, options).await;
    let got = got.map_err(|e| {
        resume_hint(local_hint(failed(e, &item.target), &item.target), &item.stat, &item.target)
    })?;
    if how.preserve {
        keep_time(&item.target, got.stat.mtime_ns)?;
    }
    Ok(moved.fetched(&got))
}

/// A failure of this machine is told of the file that was wanted, not of the hidden one it is written to first.
fn failed(error: dfs_client::Error, target: &Path) -> Failure {
    let io = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<io::Error>());
    match (error.status_code(), io) {
        (None, Some(io)) => Failure::local("write", target, io),
        _ => hinted(error),
    }
}

fn exists(target: &Path) -> Failure {
    let message = format!("local '{}' exists already", plain(&target.to_string_lossy()));
    Failure::new(Exit::Precondition, "AlreadyExists", message)
}

fn local_hint(failure: Failure, target: &Path) -> Failure {
    match failure.exit {
        Exit::NoSpace if failure.node.is_none() => failure
            .hint(format!("this machine's disk is full; free some space where {} goes", target.display())),
        Exit::Precondition => failure.hint("without -n a file that is there is replaced"),
        _ => failure,
    }
}

/// Says so if what was fetched is kept for another try.
fn resume_hint(failure: Failure, stat: &FileStat, target: &Path) -> Failure {
    if failure.exit == Exit::Precondition || stat.chunk_count < 2 || !dfs_client::is_resumable(target) {
        return failure;
    }
    let hint = match failure.hint.as_str() {
        "" => RESUME.to_owned(),
        known => format!("{known}; {RESUME}"),
    };
    Failure { hint, ..failure }
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
        Line::try_parse_from(std::iter::once("get").chain(line.split(' '))).unwrap().args
    }

    #[test]
    fn the_target_is_the_last_argument_unless_it_is_marked_as_remote() {
        let said = |line: &str| split(&args(line)).map(|(sources, target)| (sources.len(), target));
        assert_eq!(said("/a").unwrap(), (1, "./".to_owned()));
        assert_eq!(said("/a /b").unwrap(), (1, "/b".to_owned()));
        assert_eq!(said("/a -").unwrap(), (1, "-".to_owned()));
        assert_eq!(said("dfs:/a dfs:/b").unwrap(), (2, "./".to_owned()));
        assert_eq!(said("dfs:/a /b out/").unwrap(), (2, "out/".to_owned()));
        assert_eq!(said("a b").unwrap_err().exit, Exit::Usage);
        assert_eq!(said("/a ").unwrap_err().message, "the target is empty");
    }

    #[test]
    fn targets_follow_cp() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let said = |name: &str, slash, several| match decide(
            &args("/a b"),
            &dir.path().join(name),
            slash,
            several,
        ) {
            Ok(LocalDestination::Into(_)) => "into",
            Ok(LocalDestination::Exactly(_)) => "exactly",
            Err(failure) => failure.code,
        };
        assert_eq!(said("", false, false), "into");
        assert_eq!(said("file", false, false), "exactly");
        assert_eq!(said("file", true, false), "NotADirectory");
        assert_eq!(said("file", false, true), "NotADirectory");
        assert_eq!(said("new", false, false), "exactly");
        assert_eq!(said("new", true, false), "into");
        assert_eq!(said("new", false, true), "into");
        assert_eq!(said("no/new", false, false), "LocalFile");
    }
}
