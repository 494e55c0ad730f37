//! `dfsctl dev down`: stops the cluster, and forgets it if asked to.

use std::fs;
use std::io;
use std::time::Duration;

use clap::Args as ClapArgs;
use rustix::process::Signal;
use serde::Serialize;

use super::ClusterDir;
use crate::connect::invocation::Invocation;
use crate::dev_cluster::node::DevNode;
use crate::dev_cluster::process::{Process, RunState};
use crate::dev_cluster::state::{ClusterState, Lock, ignore_not_empty};
use crate::output::View;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};
use crate::output::page::Page;

/// How long nodes may take to end on their own.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a killed process may take to be gone.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// Stops the cluster; its data stays unless --purge
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(flatten)]
    cluster: ClusterDir,
    /// Remove all it kept: every file stored in it is lost
    #[arg(long)]
    purge: bool,
    /// Say what would be done and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// What `dev down` prints.
#[derive(Debug, Serialize)]
pub(crate) struct DownView {
    /// The cluster's directory.
    pub dir: String,
    /// Names of the nodes that were stopped now.
    pub stopped: Vec<String>,
    /// Names of those among them that had to be killed.
    pub killed: Vec<String>,
    /// Whether the data was removed.
    pub purged: bool,
    /// Whether nothing was done because of --dry-run.
    pub dry_run: bool,
    /// The directory as it was named with --data.
    #[serde(skip)]
    named: Option<String>,
}

impl View for DownView {
    fn page(&self, page: &mut Page) {
        let verb = if self.dry_run { "would stop" } else { "stopped" };
        match self.stopped.is_empty() {
            true => page.line(format!("the cluster in {} does not run", self.dir)),
            false => page.line(format!("{verb} {} of the cluster in {}", self.stopped.join(", "), self.dir)),
        }
        if !self.killed.is_empty() {
            page.line(format!("killed, because they did not end in time: {}", self.killed.join(", ")));
        }
        match (self.purged, self.dry_run) {
            (true, false) => page.line("its data is removed"),
            (true, true) => page.line("would remove its data"),
            (false, _) => {
                let named = self.named.as_ref().map_or_else(String::new, |dir| format!(" --data {dir}"));
                page.line(format!("its data is kept; 'dfsctl dev up{named}' starts it again"));
            }
        }
    }
}

/// Runs `dfsctl dev down`.
///
/// # Errors
/// If a process cannot be stopped or data not removed.
pub(crate) fn run(invocation: &Invocation, args: &Args) -> Outcome<Exit> {
    let state = args.cluster.load()?;
    if args.purge {
        args.cluster.must_be_meant(&state)?;
        must_be_there(&state)?;
    }
    let running: Vec<_> = state.nodes.iter().filter(|node| node.alive().is_some()).collect();
    let mut view = DownView {
        dir: state.dir.display().to_string(),
        stopped: running.iter().map(|node| node.name.clone()).collect(),
        killed: Vec::new(),
        purged: args.purge,
        dry_run: args.dry_run,
        named: args.cluster.data.as_ref().map(|dir| quoted(&dir.to_string_lossy())),
    };
    if !args.dry_run {
        let _lock = lock_if_possible(&state)?;
        // Datanodes first: they can then say goodbye to the coordinator.
        let (coordinators, datanodes): (Vec<_>, Vec<_>) =
            running.iter().partition(|node| node.role == "coordinator");
        view.killed.extend(stop(&datanodes)?);
        view.killed.extend(stop(&coordinators)?);
        if args.purge {
            purge(&state)?;
        }
    }
    invocation.output.print(&view)?;
    Ok(Exit::Ok)
}

/// A name as a shell takes it for one word.
fn quoted(name: &str) -> String {
    let safe = |c: char| c.is_alphanumeric() || "/._-+:@%".contains(c);
    match !name.is_empty() && name.chars().all(safe) {
        true => name.to_owned(),
        // Within the quotes that a hint has around a command.
        false => {
            let special = |c: char| if "\"\\$`".contains(c) { format!("\\{c}") } else { c.to_string() };
            format!("\"{}\"", name.chars().map(special).collect::<String>())
        }
    }
}

/// The cluster's lock; a disk that is gone must not keep its processes from being stopped.
///
/// # Errors
/// If another command holds it.
pub(crate) fn lock_if_possible(state: &ClusterState) -> Outcome<Option<Lock>> {
    match Lock::take(&state.dir) {
        Ok(lock) => Ok(Some(lock)),
        Err(failure) if failure.code == "Busy" => Err(failure),
        Err(_) => Ok(None),
    }
}

/// Asks processes to end, then kills those that do not; gives the names of the killed.
fn stop(nodes: &[&DevNode]) -> Outcome<Vec<String>> {
    let alive: Vec<(&DevNode, &Process)> =
        nodes.iter().filter_map(|node| Some((*node, node.alive()?))).collect();
    for (node, process) in &alive {
        // A paused process hears of SIGTERM only when it goes on.
        for signal in [Signal::TERM, Signal::CONT] {
            process.signal(signal).map_err(|e| cannot_stop(node, &e))?;
        }
    }
    let until = std::time::Instant::now() + PATIENCE;
    let mut killed = Vec::new();
    for (node, process) in &alive {
        let left = until.saturating_duration_since(std::time::Instant::now());
        if !process.wait(left, |state| state == RunState::Stopped) {
            kill(node, process)?;
            killed.push(node.name.clone());
        }
    }
    Ok(killed)
}

/// Kills a process and waits until it is gone.
///
/// # Errors
/// If it cannot be killed.
pub(crate) fn kill(node: &DevNode, process: &Process) -> Outcome {
    process.signal(Signal::KILL).map_err(|e| cannot_stop(node, &e))?;
    match process.wait(KILL_PATIENCE, |state| state == RunState::Stopped) {
        true => Ok(()),
        false => Err(cannot_stop(node, &io::Error::from(io::ErrorKind::TimedOut))),
    }
}

fn cannot_stop(node: &DevNode, error: &io::Error) -> Failure {
    let pid = node.process.as_ref().map_or(0, |process| process.pid);
    Failure::new(Exit::Other, "StopFailed", format!("cannot stop {} (pid {pid}): {error}", node.name))
}

/// Refuses to remove what is not there: it may be on a disk that comes back.
fn must_be_there(state: &ClusterState) -> Outcome {
    if state.is_there() {
        return Ok(());
    }
    let message =
        format!("the cluster's directory, '{}', is not there: nothing is removed", state.dir.display());
    Err(Failure::new(Exit::NotFound, "NoDevCluster", message).hint(
        "mount the disk it is on; if it was moved, name its new place with --data; 'dfsctl dev down' without --purge stops its nodes",
    ))
}

/// Removes what `dev up` made, and nothing else.
fn purge(state: &ClusterState) -> Outcome {
    let here = super::here()?;
    let gone = |path: &std::path::Path, result: io::Result<()>| match result {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Failure::local("remove", path, &e)),
        _ => Ok(()),
    };
    for node in &state.nodes {
        gone(&node.data_dir, fs::remove_dir_all(&node.data_dir))?;
    }
    super::security::purge(state)?;
    let logs = state.dir.join("logs");
    gone(&logs, fs::remove_dir_all(&logs))?;
    gone(&state.dir, state.remove(&here))?;
    let lock = state.dir.join("lock");
    gone(&lock, fs::remove_file(&lock))?;
    gone(&state.dir, fs::remove_dir(&state.dir).or_else(ignore_not_empty))
}
