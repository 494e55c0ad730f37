//! `dfsctl dev kill|pause|resume|start`: what can happen to single nodes.

use std::time::Duration;

use clap::Args as ClapArgs;
use rustix::process::Signal;
use serde::Serialize;

use super::down::{kill as kill_and_wait, lock_if_possible};
use super::launch::node_binary;
use super::{ClusterDir, ready, up};
use crate::complete::dev_nodes;
use crate::connect::invocation::Invocation;
use crate::dev_cluster::node::DevNode;
use crate::dev_cluster::process::{Process, RunState};
use crate::dev_cluster::state::{ClusterState, Lock};
use crate::output::View;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome, Tally};
use crate::output::page::Page;

/// How long a signal may take to show.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long started nodes may take to be ready.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// Which nodes
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Names of nodes, as 'dfsctl dev status' shows them
    #[arg(required = true, value_name = "NAME", add = dev_nodes())]
    names: Vec<String>,
    #[command(flatten)]
    cluster: ClusterDir,
    /// Say what would be done and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// What these commands print.
#[derive(Debug, Serialize)]
pub(crate) struct ActionView {
    /// `kill`, `pause`, `resume` or `start`.
    pub action: &'static str,
    /// What became of each node.
    pub nodes: Vec<ActedOn>,
    /// Whether nothing was done because of --dry-run.
    pub dry_run: bool,
}

/// What became of one node.
#[derive(Debug, Serialize)]
pub(crate) struct ActedOn {
    pub name: String,
    /// Its process, before for `kill`, else after.
    pub pid: Option<u32>,
    /// How it is now.
    pub state: RunState,
}

impl View for ActionView {
    fn page(&self, page: &mut Page) {
        for node in &self.nodes {
            let state = match node.state {
                RunState::Running => "running",
                RunState::Paused => "paused",
                RunState::Stopped => "stopped",
            };
            let pid = node.pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
            match self.dry_run {
                true => page.line(format!("would {} {}{pid}", self.action, node.name)),
                false => page.line(format!("{}{pid} is {state}", node.name)),
            }
        }
    }
}

fn acted_on(node: &DevNode) -> ActedOn {
    ActedOn { name: node.name.clone(), pid: node.alive().map(|process| process.pid), state: node.state() }
}

/// Does something to the process of each named node, which must have one.
fn each(
    invocation: &Invocation,
    args: &Args,
    action: &'static str,
    act: impl Fn(&DevNode, &Process) -> Outcome,
) -> Outcome<Exit> {
    let state = args.cluster.load()?;
    let _lock = lock_if_possible(&state)?;
    // All names are known before anything is done to any node.
    let named = state.indexes(&args.names)?;
    let mut tally = Tally::of(invocation.output, named.len());
    let mut nodes = Vec::new();
    for node in named.iter().filter_map(|index| state.nodes.get(*index)) {
        let before = acted_on(node);
        let acted = match node.alive() {
            None => Err(not_running(node)),
            Some(_) if args.dry_run => Ok(()),
            Some(process) => act(node, process),
        };
        nodes.extend(tally.count(acted).map(|()| ActedOn { state: node.state(), ..before }));
    }
    if !tally.nothing() {
        invocation.output.print(&ActionView { action, nodes, dry_run: args.dry_run })?;
    }
    tally.finish("nodes")?;
    Ok(Exit::Ok)
}

fn not_running(node: &DevNode) -> Failure {
    let message = format!("{} does not run", node.name);
    Failure::new(Exit::Precondition, "NotRunning", message)
        .hint(format!("start it with 'dfsctl dev start {}'", node.name))
}

fn signal(node: &DevNode, process: &Process, signal: Signal, then: RunState) -> Outcome {
    let failed = |why: String| Failure::new(Exit::Other, "SignalFailed", format!("{}: {why}", node.name));
    process.signal(signal).map_err(|e| failed(e.to_string()))?;
    match process.wait(PATIENCE, |state| state == then) {
        true => Ok(()),
        false => Err(failed("the signal had no effect".to_owned())),
    }
}

/// Runs `dfsctl dev kill`.
///
/// # Errors
/// If a node is unknown, does not run, or cannot be killed.
pub(crate) fn kill(invocation: &Invocation, args: &Args) -> Outcome<Exit> {
    each(invocation, args, "kill", kill_and_wait)
}

/// Runs `dfsctl dev pause`.
///
/// # Errors
/// If a node is unknown or does not run.
pub(crate) fn pause(invocation: &Invocation, args: &Args) -> Outcome<Exit> {
    each(invocation, args, "pause", |node, process| signal(node, process, Signal::STOP, RunState::Paused))
}

/// Runs `dfsctl dev resume`.
///
/// # Errors
/// If a node is unknown or does not run.
pub(crate) fn resume(invocation: &Invocation, args: &Args) -> Outcome<Exit> {
    each(invocation, args, "resume", |node, process| signal(node, process, Signal::CONT, RunState::Running))
}

/// Runs `dfsctl dev start`.
///
/// # Errors
/// If a node is unknown, cannot be started, or does not become ready.
pub(crate) async fn start(invocation: &Invocation, args: &Args) -> Outcome<Exit> {
    let here = super::here()?;
    let binary = node_binary()?;
    let mut state = args.cluster.load()?;
    state.must_be_in_place()?;
    let _lock = Lock::take(&state.dir)?;
    let named = state.indexes(&args.names)?;
    let mut started = Vec::new();
    for &index in named.iter().filter(|_| !args.dry_run) {
        if state.nodes.get(index).is_some_and(|node| node.state() == RunState::Stopped) {
            let node = state.nodes.get(index).cloned();
            if let Some(node) = node {
                super::security::prepare(invocation, &state, &node, &binary, &started).await?;
            }
            let start = up::start_node(&mut state, index, &binary);
            started.push(start.map_err(|failure| up::also_started(failure, &started))?);
            state.save(&here)?;
        }
    }
    let named: Vec<_> = named.iter().filter_map(|index| state.nodes.get(*index)).collect();
    if !args.dry_run {
        let only = ClusterState {
            nodes: named.iter().map(|node| (*node).clone()).collect(),
            ..ClusterState::new(state.dir.clone())
        };
        ready::wait(invocation, &only, &started, READY_LIMIT).await?;
    }
    let nodes = named.into_iter().map(acted_on).collect();
    invocation.output.print(&ActionView { action: "start", nodes, dry_run: args.dry_run })?;
    Ok(Exit::Ok)
}
