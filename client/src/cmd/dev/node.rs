//! `dfsctl dev kill|pause|resume|start`: what can happen to single nodes.

use std::time::Duration;

use clap::Args as ClapArgs;
use rustix::process::Signal;
use serde::Serialize;

use super::down::{kill as kill_and_wait, lock_if_possible};
use super::process::{Process, node_binary};
use super::state::{ClusterState, Lock, NodeRecord, RunState};
use super::{Place, ready, up};
use crate::cmd::context::Context;
use crate::cmd::exit::Exit;
use crate::cmd::failure::{Failure, Outcome};
use crate::cmd::output::View;
use crate::cmd::output::page::Page;

/// How long a signal may take to show.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long started nodes may take to be ready.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// Which nodes
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Names of nodes, as 'dfsctl dev status' shows them
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    place: Place,
    /// Say what would be done and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// What these commands print.
#[derive(Debug, Serialize)]
pub struct ActionView {
    /// `kill`, `pause`, `resume` or `start`.
    pub action: &'static str,
    /// What became of each node.
    pub nodes: Vec<ActedOn>,
    /// Whether nothing was done because of --dry-run.
    pub dry_run: bool,
}

/// What became of one node.
#[derive(Debug, Serialize)]
pub struct ActedOn {
    /// Its name.
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

fn acted_on(node: &NodeRecord) -> ActedOn {
    ActedOn { name: node.name.clone(), pid: node.alive().map(|process| process.pid), state: node.state() }
}

/// Does something to the process of each named node, which must have one.
fn each(
    context: &Context,
    args: &Args,
    action: &'static str,
    act: impl Fn(&NodeRecord, &Process) -> Outcome,
) -> Outcome<Exit> {
    let mut state = args.place.load()?;
    let _lock = lock_if_possible(&state)?;
    let mut nodes = Vec::new();
    for name in &args.names {
        let node = state.node_mut(name)?;
        let before = acted_on(node);
        let process = node.alive().ok_or_else(|| {
            Failure::new(Exit::Precondition, "NotRunning", format!("{name} does not run"))
                .hint(format!("start it with 'dfsctl dev start {name}'"))
        })?;
        if !args.dry_run {
            act(node, process)?;
        }
        nodes.push(ActedOn { state: node.state(), ..before });
    }
    context.output.print(&ActionView { action, nodes, dry_run: args.dry_run })?;
    Ok(Exit::Ok)
}

fn signal(node: &NodeRecord, process: &Process, signal: Signal, then: RunState) -> Outcome {
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
pub fn kill(context: &Context, args: &Args) -> Outcome<Exit> {
    each(context, args, "kill", kill_and_wait)
}

/// Runs `dfsctl dev pause`.
///
/// # Errors
/// If a node is unknown or does not run.
pub fn pause(context: &Context, args: &Args) -> Outcome<Exit> {
    each(context, args, "pause", |node, process| signal(node, process, Signal::STOP, RunState::Paused))
}

/// Runs `dfsctl dev resume`.
///
/// # Errors
/// If a node is unknown or does not run.
pub fn resume(context: &Context, args: &Args) -> Outcome<Exit> {
    each(context, args, "resume", |node, process| signal(node, process, Signal::CONT, RunState::Running))
}

/// Runs `dfsctl dev start`.
///
/// # Errors
/// If a node is unknown, cannot be started, or does not become ready.
pub async fn start(context: &Context, args: &Args) -> Outcome<Exit> {
    let here = super::here()?;
    let binary = node_binary()?;
    let mut state = args.place.load()?;
    let _lock = Lock::take(&state.dir)?;
    let mut started = Vec::new();
    for name in &args.names {
        let stopped = state.node_mut(name)?.state() == RunState::Stopped;
        let index = state.nodes.iter().position(|node| node.name == *name);
        if let (true, false, Some(index)) = (stopped, args.dry_run, index) {
            started.push(up::start_node(&mut state, index, &binary)?);
            state.save(&here)?;
        }
    }
    let named = |node: &&NodeRecord| args.names.contains(&node.name);
    if !args.dry_run {
        let only = ClusterState {
            nodes: state.nodes.iter().filter(named).cloned().collect(),
            ..ClusterState::new(state.dir.clone())
        };
        ready::wait(context, &only, &started, READY_LIMIT).await?;
    }
    let nodes = state.nodes.iter().filter(named).map(acted_on).collect();
    context.output.print(&ActionView { action: "start", nodes, dry_run: args.dry_run })?;
    Ok(Exit::Ok)
}
