//! `dfsctl put`: stores files of this machine in the cluster.

mod words;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use dfs_wire::id::VersionId;
use dfs_wire::message::metadata::Precondition;
use dfs_wire::path::DfsPath;

use self::words::{hinted, last_words, left_out};
use super::args;
use super::context::Context;
use super::exit::Exit;
use super::failure::{Failure, Outcome, Tally};
use super::output::text::plain;
use super::place::{Place, Wish, decide};
use super::progress::Progress;
use super::rehearse;
use super::remote::RemoteArg;
use super::transfer::{JOBS_DEFAULT, Moved, NotMoved, Summary, Targets, each, named, teller};
use crate::{Client, MkdirOptions, PutOptions, PutSource};

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
pub struct Args {
    /// Files ('-' is standard input), then the path in the cluster
    #[arg(required = true, value_name = "FILE... [PATH]")]
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
    /// Store what was read even if a file changes while it is read
    #[arg(long)]
    allow_changing: bool,
    /// Follow symbolic links below a directory
    #[arg(short = 'L', long)]
    dereference: bool,
    /// Take PATH exactly, even if it is a directory
    #[arg(short = 'T', long)]
    no_target_directory: bool,
    /// Files that move at the same time
    #[arg(short, long, value_name = "N", default_value_t = JOBS_DEFAULT, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// Say what would be done and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// One file to store.
#[derive(Debug)]
struct Job {
    /// `None` = standard input.
    source: Option<PathBuf>,
    target: DfsPath,
    size: u64,
    modified: Option<SystemTime>,
}

impl Job {
    fn shown(&self) -> String {
        self.source.as_ref().map_or_else(|| "-".to_owned(), |path| plain(&path.to_string_lossy()))
    }
}

/// All there is to do.
#[derive(Debug, Default)]
struct Plan {
    jobs: Vec<Job>,
    /// Directories that hold nothing: the others come with their files.
    directories: BTreeSet<DfsPath>,
    skipped: Vec<String>,
    failed: Vec<NotMoved>,
}

/// Runs `dfsctl put`.
///
/// # Errors
/// If a file cannot be read or stored.
pub async fn run(context: &Context, args: Args) -> Outcome<Exit> {
    let (sources, target) = split(&args)?;
    let client = context.client().await?;
    let wish = Wish {
        several: sources.len() > 1,
        exact: args.no_target_directory,
        make: args.parents || args.recursive,
    };
    let place = decide(&client, &target, wish).await?;
    let mut plan = Plan::default();
    let mut targets = Targets::default();
    for source in &sources {
        if let Err(failure) = add_source(&args, source, &place, &mut plan, &mut targets) {
            plan.failed.push(NotMoved::from_source(source.to_string_lossy(), failure));
        }
    }
    carry_out(context, &client, &args, plan).await
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
            if streamed && (sources.len() > 1 || last.to_string_lossy().ends_with('/')) {
                return Err(Failure::usage(
                    "standard input has no name: give it a whole path of its own, not a directory",
                ));
            }
            let text = last.to_str().ok_or_else(|| Failure::usage("the path in the cluster is not UTF-8"))?;
            let target = RemoteArg::parse(text).map_err(|message| {
                Failure::usage(message)
                    .hint("the last argument is where the files go in the cluster, for example /")
            })?;
            Ok((sources.to_vec(), target))
        }
        [] => Err(Failure::usage("no file to store")),
    }
}

fn add_source(args: &Args, source: &Path, place: &Place, plan: &mut Plan, targets: &mut Targets) -> Outcome {
    if source.as_os_str() == "-" {
        let Place::Exactly(target) = place else {
            return Err(Failure::usage("standard input has no name: give the whole path, not a directory"));
        };
        plan.jobs.push(Job { source: None, target: target.clone(), size: 0, modified: None });
        return Ok(());
    }
    let meta = fs::metadata(source).map_err(|e| Failure::local("read", source, &e))?;
    if meta.is_dir() {
        if !args.recursive {
            let message = format!("local '{}' is a directory", plain(&source.to_string_lossy()));
            return Err(Failure::new(Exit::Precondition, "IsADirectory", message)
                .hint("-r stores it with all it holds"));
        }
        return add_tree(args, source, place, plan, targets);
    }
    let name = source.file_name().map(|name| name.to_str().ok_or_else(|| not_utf8(source))).transpose()?;
    let target = place.of(name.unwrap_or_default())?;
    targets.take(&source.to_string_lossy(), target.as_str())?;
    plan.jobs.push(Job {
        source: Some(source.to_owned()),
        target,
        size: if meta.is_file() { meta.len() } else { 0 },
        modified: meta.modified().ok(),
    });
    Ok(())
}

fn not_utf8(path: &Path) -> Failure {
    let message = format!("the name of local '{}' is not UTF-8", plain(&path.to_string_lossy()));
    Failure::new(Exit::Usage, "InvalidPath", message).hint("rename it, or store it alone under another name")
}

/// Adds everything below `top`. What cannot be stored is remembered; the rest goes on.
fn add_tree(args: &Args, top: &Path, place: &Place, plan: &mut Plan, targets: &mut Targets) -> Outcome {
    // `.` and `..` have no name of their own: what they hold goes straight into the destination.
    let base = match (top.file_name(), place) {
        (None, Place::Into(directory)) => directory.clone(),
        (None, Place::Exactly(path)) => path.clone(),
        (Some(name), _) => place.of(name.to_str().ok_or_else(|| not_utf8(top))?)?,
    };
    plan.directories.insert(base.clone());
    for entry in
        walkdir::WalkDir::new(top).min_depth(1).follow_links(args.dereference).follow_root_links(true)
    {
        let (path, added) = match entry {
            Ok(entry) => (entry.path().to_owned(), add_entry(&entry, top, &base, plan, targets)),
            Err(e) => (e.path().unwrap_or(top).to_owned(), Err(unreadable(&e, top))),
        };
        if let Err(failure) = added {
            plan.failed.push(NotMoved::from_source(path.to_string_lossy(), failure));
        }
    }
    Ok(())
}

fn unreadable(error: &walkdir::Error, top: &Path) -> Failure {
    let path = error.path().unwrap_or(top);
    match error.io_error() {
        Some(io) => Failure::local("read", path, io),
        None => {
            let message =
                format!("local '{}' links back to a directory above it", plain(&path.to_string_lossy()));
            Failure::new(Exit::Other, "LocalFile", message)
        }
    }
}

fn add_entry(
    entry: &walkdir::DirEntry,
    top: &Path,
    base: &DfsPath,
    plan: &mut Plan,
    targets: &mut Targets,
) -> Outcome {
    let mut target = base.clone();
    for part in entry.path().strip_prefix(top).unwrap_or(entry.path()) {
        let name = part.to_str().ok_or_else(|| not_utf8(entry.path()))?;
        target = Place::Into(target).of(name)?;
    }
    let kind = entry.file_type();
    if !kind.is_dir() && !kind.is_file() {
        plan.skipped.push(entry.path().to_string_lossy().into_owned());
        return Ok(());
    }
    if let Some(parent) = target.parent() {
        plan.directories.remove(&parent);
    }
    if kind.is_dir() {
        plan.directories.insert(target);
        return Ok(());
    }
    targets.take(&entry.path().to_string_lossy(), target.as_str())?;
    let meta = entry.metadata().map_err(|e| unreadable(&e, entry.path()))?;
    plan.jobs.push(Job {
        source: Some(entry.path().to_owned()),
        target,
        size: meta.len(),
        modified: meta.modified().ok(),
    });
    Ok(())
}

async fn carry_out(context: &Context, client: &Client, args: &Args, plan: Plan) -> Outcome<Exit> {
    let output = context.output;
    let mut summary = Summary { dry_run: args.dry_run, skipped: plan.skipped, ..Summary::default() };
    let mut tally = Tally::default();
    let total = plan.jobs.len() + plan.failed.len();
    let known = plan.jobs.iter().all(|job| job.source.is_some());
    let progress = Progress::new(&output, known.then(|| plan.jobs.iter().map(|job| job.size).sum()));
    let tell = teller(&output, &progress, total);
    for not_moved in plan.failed {
        summary.add(&mut tally, Err(not_moved), &tell);
    }
    for path in &plan.directories {
        let made = match args.dry_run {
            true => rehearse::mkdir(client, path, true).await,
            false => {
                let options = MkdirOptions { parents: true, op: None };
                client.mkdir(path, options).await.map_err(Failure::from)
            }
        };
        match made {
            Ok(()) => summary.directories += u64::from(!args.dry_run),
            Err(failure) => {
                let target = Some(path.to_string());
                summary.add(&mut tally, Err(NotMoved { target, ..NotMoved::from(failure) }), &tell);
            }
        }
    }
    let mut done = 0;
    let work = |job: Job| {
        let (source, target) = (job.shown(), job.target.to_string());
        named(source, target, store(client.clone(), options(args, &job, &progress), args.dry_run, job))
    };
    each(plan.jobs, usize::from(args.jobs), work, |outcome| {
        let outcome = outcome.unwrap_or_else(|failure| Err(failure.into()));
        done += 1;
        progress.files(done, total as u64);
        if let (Ok(moved), true) = (&outcome, output.verbose > 0) {
            progress.pause(|| output.note(format!("{} -> {}", moved.source, plain(&moved.target))));
        }
        summary.add(&mut tally, outcome, &tell);
    })
    .await;
    let (seconds, words) = progress.finish(summary.bytes);
    summary.seconds = seconds;
    output.print(&summary)?;
    if let Some(text) = left_out(&summary.skipped, output.verbose > 0) {
        output.warn(text);
    }
    if !args.dry_run {
        last_words(context, &summary, &words);
    }
    tally.finish("files")?;
    Ok(Exit::Ok)
}

fn options(args: &Args, job: &Job, progress: &Progress) -> PutOptions {
    let mtime = job.modified.filter(|_| args.preserve).and_then(|time| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        u64::try_from(since.as_millis()).ok()
    });
    PutOptions {
        chunk_size: args.chunk_size,
        replication: args.replication,
        precondition: match (args.if_absent, args.if_match) {
            (true, _) => Precondition::Absent,
            (false, Some(version)) => Precondition::Match(version),
            (false, None) => Precondition::Any,
        },
        parents: args.parents || args.recursive,
        allow_changing: args.allow_changing,
        mtime_ms: mtime,
        progress: progress.of_file(),
        op: None,
    }
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

async fn store(client: Client, options: PutOptions, dry_run: bool, job: Job) -> Outcome<Moved> {
    let mut moved = Moved {
        source: job.shown(),
        target: job.target.to_string(),
        size: job.size,
        version: None,
        chunks: None,
        degraded_chunks: 0,
        retries: 0,
        resumed_bytes: 0,
        source_changed: false,
    };
    let (parents, absent) = (options.parents, options.precondition == Precondition::Absent);
    if dry_run {
        let rehearsed = rehearse::put(&client, &job.target, parents, options.precondition).await;
        return rehearsed.map(|()| moved).map_err(|failure| hinted(failure, parents, absent));
    }
    let source = match job.source {
        Some(path) => PutSource::Path(path),
        None => {
            open_stdin()?;
            PutSource::reader(tokio::io::stdin())
        }
    };
    let put =
        client.put(source, &job.target, options).await.map_err(|e| hinted(e.into(), parents, absent))?;
    moved.size = put.stat.size;
    moved.version = Some(put.stat.version.to_string());
    moved.chunks = Some(put.stat.chunk_count);
    moved.degraded_chunks = put.degraded.len() as u64;
    moved.retries = put.retries;
    moved.source_changed = put.source_changed.is_some();
    Ok(moved)
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

    fn path(text: &str) -> DfsPath {
        DfsPath::parse(text).unwrap()
    }

    fn planned(line: &str, source: &Path, place: &Place) -> Plan {
        let mut plan = Plan::default();
        if let Err(failure) = add_source(&args(line), source, place, &mut plan, &mut Targets::default()) {
            plan.failed.push(failure.into());
        }
        plan
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

    #[test]
    fn a_tree_is_stored_as_cp_would_copy_it() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("src");
        fs::create_dir_all(top.join("a/empty")).unwrap();
        fs::write(top.join("a/one"), "1").unwrap();
        fs::write(top.join("two"), "22").unwrap();
        std::os::unix::fs::symlink("two", top.join("link")).unwrap();

        let plan = planned("-r x /", &top, &Place::Into(path("/t")));
        let mut targets: Vec<_> = plan.jobs.iter().map(|job| (job.target.to_string(), job.size)).collect();
        targets.sort();
        assert_eq!(targets, [("/t/src/a/one".to_owned(), 1), ("/t/src/two".to_owned(), 2)]);
        assert_eq!(plan.directories, BTreeSet::from([path("/t/src/a/empty")]));
        assert_eq!((plan.skipped.len(), plan.failed.len()), (1, 0));

        assert_eq!(planned("-r x /", &top.join("."), &Place::Exactly(path("/t"))).jobs.len(), 2);
        assert_eq!(planned("-rL x /", &top, &Place::Into(path("/t"))).jobs.len(), 3);
        let refused = planned("x /", &top, &Place::Into(path("/t")));
        assert_eq!(
            refused.failed.first().map(|not_moved| not_moved.failure.0.exit),
            Some(Exit::Precondition)
        );
    }

    #[test]
    fn names_that_cannot_be_stored_do_not_stop_the_others() {
        use std::os::unix::ffi::OsStrExt;
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("good"), "").unwrap();
        fs::write(dir.path().join("new\nline"), "").unwrap();
        fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap();
        let plan = planned("-r x /", dir.path(), &Place::Exactly(path("/t")));
        assert_eq!((plan.jobs.len(), plan.failed.len()), (1, 2));
    }

    #[test]
    fn standard_input_needs_a_whole_path() {
        assert_eq!(planned("- /x", Path::new("-"), &Place::Exactly(path("/x"))).jobs.len(), 1);
        assert_eq!(planned("- /x", Path::new("-"), &Place::Into(path("/x"))).failed.len(), 1);
    }
}
