//! `dfsctl dev up`: starts what does not run and waits until all of it is ready.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args as ClapArgs;
use rustix::process::Signal;
use serde::Serialize;

use super::ports::{Ports, is_free};
use super::process::{Launch, clean_command, node_binary};
use super::ready;
use super::state::{ClusterState, DIR_DEFAULT, Lock, NodeRecord, RunState, absolute};
use super::status::{NodeView, views};
use crate::cmd::context::Context;
use crate::cmd::endpoint::PORT_DEFAULT;
use crate::cmd::exit::Exit;
use crate::cmd::failure::{Failure, Outcome};
use crate::cmd::output::View;
use crate::cmd::output::page::Page;
use crate::cmd::output::text::count;

/// Datanodes of a new cluster.
const NODES_DEFAULT: usize = 3;
/// The admin port is looked for this far above the port a node listens on.
const ADMIN_OFFSET: u16 = 1000;
/// How long to wait until every node is ready.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// Starts the cluster, or what of it does not run, and waits until it is ready
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Number of datanodes [default: those there are, or 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    nodes: Option<u16>,
    /// Directory for everything the cluster keeps [default: .dfs-dev]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Port of a new cluster's coordinator; the others follow [default: 8080 or the next free one]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1024..))]
    port: Option<u16>,
    /// Setting for every node, remembered for later starts; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE", value_parser = setting)]
    set: Vec<String>,
}

fn setting(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((key, _)) if key.contains('.') => Ok(text.to_owned()),
        _ => Err("write it as section.key=value, for example cluster.trash_retention=5min".to_owned()),
    }
}

/// What `dev up` prints.
#[derive(Debug, Serialize)]
pub struct UpView {
    /// Where the coordinator listens.
    pub endpoint: String,
    /// The cluster's directory.
    pub dir: String,
    /// Names of the nodes that were started now.
    pub started: Vec<String>,
    /// Seconds until all of it was ready.
    pub seconds: f64,
    /// Every node.
    pub nodes: Vec<NodeView>,
    #[serde(skip)]
    commands: [String; 3],
}

impl View for UpView {
    fn page(&self, page: &mut Page) {
        let datanodes = count(self.nodes.len().saturating_sub(1) as u64, "datanode");
        let what = format!("1 coordinator and {datanodes}");
        page.line(match self.started.is_empty() {
            true => format!("the cluster runs already: {what}"),
            false => format!("the cluster is ready after {:.1} s: {what}", self.seconds),
        });
        page.field(10, "  endpoint", &self.endpoint);
        page.field(10, "  data", &self.dir);
        page.line("");
        page.line("try:");
        for command in &self.commands {
            page.line(format!("  {command}"));
        }
        page.line("");
        page.line("stop it with 'dfsctl dev down'. All on one machine and without authentication: not for production.");
    }
}

/// Runs `dfsctl dev up`.
///
/// # Errors
/// If a node cannot be started or does not become ready; the message has the end of its log.
pub async fn run(context: &Context, args: Args) -> Outcome<Exit> {
    let begun = Instant::now();
    let here = super::here()?;
    let binary = node_binary()?;
    let mut state = open(&args, &here)?;
    let _lock = Lock::take(&state.dir)?;
    let before = state.datanodes().count();
    plan(&mut state, &args)?;
    if !args.set.is_empty() {
        check_settings(&state, &binary)?;
    }
    let grown = before > 0 && settings_for(before) != settings_for(state.datanodes().count());
    if state.nodes.iter().any(|node| node.alive().is_some()) && (!args.set.is_empty() || grown) {
        context.output.warn("nodes that run keep their settings until 'dfsctl dev down' and 'dfsctl dev up'");
    }
    let started = start_missing(&mut state, &binary, &here)?;
    ready::wait(context, &state, &started, READY_LIMIT).await?;
    if ClusterState::nearest(&here).is_none_or(|(_, nearest)| nearest.dir != state.dir) {
        context
            .output
            .warn("commands started here find another cluster first; use --endpoint with the one below");
    }
    context.output.print(&UpView {
        endpoint: endpoint(&state),
        dir: state.dir.display().to_string(),
        started: started.iter().map(|start| start.name.clone()).collect(),
        seconds: begun.elapsed().as_secs_f64(),
        nodes: views(&state),
        commands: commands_to_try(),
    })?;
    Ok(Exit::Ok)
}

/// The state to go on from: of the directory named, of this directory, or a new one.
fn open(args: &Args, here: &Path) -> Outcome<ClusterState> {
    let dir = args.data.clone().unwrap_or_else(|| here.join(DIR_DEFAULT));
    if let Some(state) = ClusterState::load(&dir)? {
        return Ok(state);
    }
    fs::create_dir_all(&dir).map_err(|e| Failure::local("make the directory", &dir, &e))?;
    Ok(ClusterState::new(absolute(&dir)))
}

/// Adds the nodes and settings that are asked for and not there.
fn plan(state: &mut ClusterState, args: &Args) -> Outcome {
    let mut settings: BTreeMap<String, String> = BTreeMap::new();
    for text in state.set.iter().chain(&args.set) {
        if let Some((key, value)) = text.split_once('=') {
            settings.insert(key.trim().to_owned(), value.to_owned());
        }
    }
    state.set = settings.into_iter().map(|(key, value)| format!("{key}={value}")).collect();

    let there = state.datanodes().count();
    let wanted = args.nodes.map_or(if there == 0 { NODES_DEFAULT } else { there }, usize::from);
    if wanted < there {
        let message =
            format!("this cluster has {there} datanodes; it cannot be made smaller ({wanted} asked for)");
        return Err(Failure::usage(message).hint(
            "stop single nodes with 'dfsctl dev kill', or begin anew after 'dfsctl dev down --purge'",
        ));
    }
    let mut ports = Ports::without(state.nodes.iter().flat_map(|node| {
        [&node.address, &node.admin_address].into_iter().filter_map(|address| port_of(address))
    }));
    let first = match (state.coordinator().and_then(|node| port_of(&node.address)), args.port) {
        (Some(port), asked) if asked.is_none_or(|asked| asked == port) => port,
        (Some(port), _) => {
            return Err(Failure::usage(format!(
                "this cluster's coordinator has port {port}; it cannot be changed"
            )));
        }
        (None, Some(port)) if !is_free(port) => return Err(port_taken(port, "the coordinator")),
        (None, asked) => {
            let port = ports.next(asked.unwrap_or(PORT_DEFAULT)).ok_or_else(no_ports)?;
            add_node(state, "coordinator", "coordinator".to_owned(), port, &mut ports)?;
            port
        }
    };
    for index in there + 1..=wanted {
        let offset = u16::try_from(index).unwrap_or(u16::MAX);
        let port = ports.next(first.saturating_add(offset)).ok_or_else(no_ports)?;
        add_node(state, "datanode", format!("datanode-{index}"), port, &mut ports)?;
    }
    Ok(())
}

fn add_node(state: &mut ClusterState, role: &str, name: String, port: u16, ports: &mut Ports) -> Outcome {
    let admin = ports.next(port.saturating_add(ADMIN_OFFSET)).ok_or_else(no_ports)?;
    state.nodes.push(NodeRecord {
        role: role.to_owned(),
        address: format!("127.0.0.1:{port}"),
        admin_address: format!("127.0.0.1:{admin}"),
        data_dir: state.dir.join(&name),
        log: state.dir.join("logs").join(format!("{name}.log")),
        name,
        process: None,
    });
    Ok(())
}

fn port_of(address: &str) -> Option<u16> {
    address.parse::<SocketAddr>().ok().map(|address| address.port())
}

fn no_ports() -> Failure {
    Failure::new(Exit::Other, "NoPorts", "no free port was found on 127.0.0.1")
        .hint("name another with --port")
}

fn port_taken(port: u16, whose: &str) -> Failure {
    Failure::new(
        Exit::Precondition,
        "PortTaken",
        format!("port {port} of {whose} is taken by another process"),
    )
    .hint(format!("find it with 'ss -ltnp sport = :{port}' and stop it, or choose another port with --port"))
}

/// A node that was started now.
#[derive(Debug)]
pub struct Started {
    /// Its name.
    pub name: String,
    /// Where in its log this run begins.
    pub log_from: u64,
}

/// Starts every node that does not run and lets the paused ones go on.
fn start_missing(state: &mut ClusterState, binary: &Path, here: &Path) -> Outcome<Vec<Started>> {
    let mut started = Vec::new();
    for index in 0..state.nodes.len() {
        let Some(node) = state.nodes.get(index) else { break };
        match node.state() {
            RunState::Running => {}
            RunState::Paused => {
                if let Some(process) = &node.process {
                    process.signal(Signal::CONT).map_err(|e| Failure::local("resume", &node.data_dir, &e))?;
                }
            }
            RunState::Stopped => {
                started.push(start_node(state, index, binary)?);
                state.save(here)?;
            }
        }
    }
    state.save(here)?;
    Ok(started)
}

/// Starts one node and records its process; the caller saves the state.
///
/// # Errors
/// If its port is taken or its process cannot be started.
pub fn start_node(state: &mut ClusterState, index: usize, binary: &Path) -> Outcome<Started> {
    let coordinator = endpoint(state);
    let automatic = settings_for(state.datanodes().count());
    let set = state.set.clone();
    let Some(node) = state.nodes.get_mut(index) else { return Err(Failure::usage("no such node")) };
    for address in [&node.address, &node.admin_address] {
        match port_of(address) {
            Some(port) if !is_free(port) => return Err(port_taken(port, &node.name)),
            _ => {}
        }
    }
    let args = arguments(node, &coordinator, &automatic, &set);
    for dir in [Some(node.data_dir.as_path()), node.log.parent()].into_iter().flatten() {
        fs::create_dir_all(dir).map_err(|e| Failure::local("make the directory", dir, &e))?;
    }
    let log_from = fs::metadata(&node.log).map_or(0, |meta| meta.len());
    let launch = Launch { binary: binary.to_owned(), args, log: node.log.clone() };
    node.process = Some(launch.start()?);
    Ok(Started { name: node.name.clone(), log_from })
}

/// The command line of a node.
fn arguments(node: &NodeRecord, coordinator: &str, automatic: &[String], set: &[String]) -> Vec<OsString> {
    let mut args = vec!["--role".into(), node.role.clone().into(), "--name".into(), node.name.clone().into()];
    args.extend(["--data".into(), node.data_dir.clone().into_os_string()]);
    args.extend(["--listen".into(), node.address.clone().into()]);
    if node.role != "coordinator" {
        args.extend(["--coordinator".into(), coordinator.to_owned().into()]);
    }
    let admin_port = port_of(&node.admin_address).unwrap_or_default();
    let own = [format!("admin.port={admin_port}"), "admin.host=127.0.0.1".to_owned()];
    for setting in automatic.iter().chain(set).cloned().chain(own) {
        args.extend(["--set".into(), setting.into()]);
    }
    args
}

/// Lets the node's own program judge the settings before anything of them is kept.
fn check_settings(state: &ClusterState, binary: &Path) -> Outcome {
    for node in state.coordinator().into_iter().chain(state.datanodes().take(1)) {
        let mut args = arguments(node, &endpoint(state), &[], &state.set);
        args.push("--check-config".into());
        let output = clean_command(binary).args(args).output();
        let output = output.map_err(|e| Failure::local("start", binary, &e))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Failure::new(
                Exit::Config,
                "BadSetting",
                format!("the settings are not accepted\n{said}"),
            )
            .hint("nothing was started or changed"));
        }
    }
    Ok(())
}

/// Fewer datanodes than copies: a file then has as many copies as there are nodes. One copy is not what dfs
/// promises, and `status` says so.
fn settings_for(datanodes: usize) -> Vec<String> {
    match datanodes {
        1 => vec!["cluster.replication=1".to_owned(), "cluster.min_ack=1".to_owned()],
        2 => vec!["cluster.replication=2".to_owned()],
        _ => Vec::new(),
    }
}

/// Where the coordinator listens.
pub fn endpoint(state: &ClusterState) -> String {
    state.coordinator().map(|node| node.address.clone()).unwrap_or_default()
}

/// Three commands that work as they stand, typed where `dev up` was.
fn commands_to_try() -> [String; 3] {
    let program = std::env::args_os()
        .next()
        .map_or_else(|| "dfsctl".to_owned(), |arg| arg.to_string_lossy().into_owned());
    let file = ["README.md", "Cargo.toml", "/etc/hosts"].into_iter().find(|name| Path::new(name).is_file());
    let file = file.unwrap_or("/etc/hostname");
    let name = Path::new(file).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let copy = std::env::temp_dir().join(format!("copy-of-{name}"));
    [
        format!("{program} put {file} /"),
        format!("{program} ls /"),
        format!("{program} get /{name} {}", copy.display()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(nodes: Option<u16>, set: &[&str]) -> Args {
        Args { nodes, data: None, port: None, set: set.iter().map(|s| (*s).to_owned()).collect() }
    }

    #[test]
    fn a_plan_grows_but_never_shrinks_and_keeps_ports_and_settings() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = ClusterState::new(dir.path().to_owned());
        plan(&mut state, &args(None, &["log.level=debug"])).unwrap();
        let names: Vec<_> = state.nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["coordinator", "datanode-1", "datanode-2", "datanode-3"]);
        let ports: std::collections::BTreeSet<_> =
            state.nodes.iter().flat_map(|node| [node.address.clone(), node.admin_address.clone()]).collect();
        assert_eq!(ports.len(), 8, "a port was given twice");

        let before = state.clone();
        plan(&mut state, &args(None, &[])).unwrap();
        assert_eq!(state, before);
        plan(&mut state, &args(Some(4), &["log.level=info", "a.b=c=d"])).unwrap();
        assert_eq!(state.nodes.get(..4), Some(before.nodes.as_slice()));
        assert_eq!(
            (state.nodes.len(), state.set.clone()),
            (5, vec!["a.b=c=d".into(), "log.level=info".into()])
        );
        assert_eq!(plan(&mut state, &args(Some(2), &[])).unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn settings_are_checked_before_anything_starts() {
        assert!(setting("cluster.min_ack=2").is_ok());
        assert!(setting("cluster.min_ack").is_err() && setting("x=1").is_err());
    }
}
