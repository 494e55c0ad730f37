//! `dfsctl dev up`: starts what does not run and waits until all of it is ready.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args as ClapArgs;
use rustix::process::Signal;
use serde::Serialize;

use super::hints::commands_to_try;
use super::launch::{Launch, clean_command, node_binary};
use super::ports::{Ports, is_free, move_stopped, no_ports, port_of, port_taken, ports_of};
use super::ready::{self, READY_LIMIT, Started};
use super::security;
use super::status::{DevNodeView, views};
use crate::connect::endpoint::{Endpoint, EndpointOrigin, PORT_DEFAULT};
use crate::connect::invocation::Invocation;
use crate::dev_cluster::file::absolute;
use crate::dev_cluster::node::DevNode;
use crate::dev_cluster::process::RunState;
use crate::dev_cluster::state::{ClusterState, DIR_DEFAULT, INSECURE, Lock};
use crate::output::View;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};
use crate::output::page::Page;
use crate::output::text::{count, plain};

/// Datanodes of a new cluster.
const NODES_DEFAULT: usize = 3;
/// The admin port is looked for this far above the port a node listens on.
const ADMIN_OFFSET: u16 = 1000;

/// Starts the cluster, or what of it does not run, and waits until it is ready
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Number of datanodes [default: those there are, or 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    nodes: Option<u16>,
    /// Directory for everything the cluster keeps [default: .dfs-dev here or in a directory above]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// In .dfs-dev here, whatever is in the directories above
    #[arg(long, conflicts_with = "data")]
    here: bool,
    /// Port of a new cluster's coordinator; the others follow [default: 8080 or the next free one]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1024..))]
    port: Option<u16>,
    /// Without TLS and identities: whoever reaches a port is believed
    #[arg(long)]
    insecure: bool,
    /// Setting for every node, remembered for later starts; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE", value_parser = setting)]
    set: Vec<String>,
}

/// What each node has of its own, and `dev up` decides: one value for all nodes breaks the cluster.
const OWN_KEYS: [&str; 10] = [
    "node.name",
    "node.role",
    "node.data_dir",
    "node.listen_host",
    "node.listen_port",
    "node.advertise",
    "coordinator.host",
    "coordinator.port",
    "coordinator.metadata_dir",
    "admin.",
];

fn setting(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((key, _)) if OWN_KEYS.iter().any(|own| own_key(key.trim(), own)) => {
            Err(format!("{} is each node's own; 'dfsctl dev up' decides it", plain(key.trim())))
        }
        Some((key, _)) if key.contains('.') => Ok(text.to_owned()),
        _ => Err("write it as section.key=value, for example cluster.trash_retention=5min".to_owned()),
    }
}

/// Whether `key` is `own`, or in it if that is a whole section.
fn own_key(key: &str, own: &str) -> bool {
    key == own || (own.ends_with('.') && key.starts_with(own))
}

/// What `dev up` prints.
#[derive(Debug, Serialize)]
pub(crate) struct UpView {
    /// Where the coordinator listens.
    pub endpoint: String,
    /// The cluster's directory.
    pub dir: String,
    /// Names of the nodes that were started now.
    pub started: Vec<String>,
    /// Seconds until all of it was ready.
    pub seconds: f64,
    pub nodes: Vec<DevNodeView>,
    /// Whether its connections are secured.
    pub secured: bool,
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
            page.whole(&format!("  {command}"));
        }
        page.line("");
        page.line(match self.secured {
            true => "stop it with 'dfsctl dev down'. All on one machine: not for production.",
            false => {
                "stop it with 'dfsctl dev down'. All on one machine and not secured: not for production."
            }
        });
    }
}

/// Runs `dfsctl dev up`.
///
/// # Errors
/// If a node cannot be started or does not become ready; the message has the end of its log.
pub(crate) async fn run(invocation: &Invocation, mut args: Args) -> Outcome<Exit> {
    let begun = Instant::now();
    args.set.extend(args.insecure.then(|| INSECURE.to_owned()));
    let here = super::here()?;
    let binary = node_binary()?;
    let own = own_dir(&args, &here);
    let new = !own.exists();
    let mut state = open(&args, &here)?;
    if !state.nodes.is_empty() {
        state.must_be_in_place()?;
    }
    let _lock = Lock::take(&state.dir)?;
    let before = state.datanodes().count();
    let above = above(&args, &own, &state);
    let prepared = may_change(&args, above, &state).and_then(|()| prepare(&mut state, &args, &binary));
    if let Err(failure) = prepared {
        if new && before == 0 {
            abandon(&state.dir);
        }
        return Err(failure);
    }
    if above {
        invocation.output.note(format!(
            "the nearest cluster is that of a directory above, in {}; --here makes one here",
            state.dir.display()
        ));
    }
    for text in move_stopped(&mut state)? {
        invocation.output.warn(text);
    }
    let grown = before > 0 && settings_for(before) != settings_for(state.datanodes().count());
    if state.nodes.iter().any(|node| node.alive().is_some()) && (!args.set.is_empty() || grown) {
        invocation
            .output
            .warn("nodes that run keep their settings until 'dfsctl dev down' and 'dfsctl dev up'");
    }
    let started = start_missing(invocation, &mut state, &binary, &here).await?;
    ready::wait(invocation, &state, &started, READY_LIMIT).await?;
    if let Some(text) = elsewhere(invocation.endpoint(), &state.endpoint()) {
        invocation.output.warn(text);
    }
    invocation.output.print(&UpView {
        endpoint: state.endpoint(),
        dir: state.dir.display().to_string(),
        started: started.iter().map(|start| start.name.clone()).collect(),
        seconds: begun.elapsed().as_secs_f64(),
        nodes: views(&state),
        secured: state.is_secured(),
        commands: commands_to_try(),
    })?;
    Ok(Exit::Ok)
}

/// The directory that is named, or that of a cluster made here.
fn own_dir(args: &Args, here: &Path) -> PathBuf {
    args.data.clone().unwrap_or_else(|| here.join(DIR_DEFAULT))
}

/// The state to go on from: of the directory named; else the nearest, as for every other verb; else a new one here.
fn open(args: &Args, here: &Path) -> Outcome<ClusterState> {
    let dir = own_dir(args, here);
    let found = match (&args.data, args.here) {
        (Some(_), _) | (None, true) => ClusterState::load(&dir)?,
        (None, false) => match ClusterState::follow(&dir)? {
            Some(state) => Some(state),
            None => ClusterState::nearest(here)?.map(|(_, state)| state),
        },
    };
    if let Some(state) = found {
        return Ok(state);
    }
    fs::create_dir_all(&dir).map_err(|e| Failure::local("make the directory", &dir, &e))?;
    Ok(ClusterState::new(absolute(&dir)))
}

/// Whether the cluster was only found in a directory above.
fn above(args: &Args, own: &Path, state: &ClusterState) -> bool {
    args.data.is_none() && !args.here && absolute(own) != state.dir && !own.exists()
}

/// Refuses to change a cluster for good that was only found in a directory above: it is asked which one is meant.
fn may_change(args: &Args, above: bool, state: &ClusterState) -> Outcome {
    let there = state.datanodes().count();
    let grows = args.nodes.is_some_and(|wanted| usize::from(wanted) > there);
    if !above || (!grows && args.set.is_empty()) {
        return Ok(());
    }
    let dir = state.dir.display();
    let what = match grows {
        true => format!("grow that cluster, which has {}, for good", count(there as u64, "datanode")),
        false => "change the settings of that cluster for good".to_owned(),
    };
    Err(Failure::usage(format!(
        "the nearest cluster is that of a directory above, in {dir}; this would {what}"
    ))
    .hint(format!("if it is the one that is meant, name it: --data {dir}\n--here makes a new one here")))
}

/// Plans the cluster and lets the nodes' program judge its settings; nothing is written.
fn prepare(state: &mut ClusterState, args: &Args, binary: &Path) -> Outcome {
    plan(state, args)?;
    if args.set.is_empty() { Ok(()) } else { check_settings(state, binary) }
}

/// Takes back what a new cluster that came to nothing has made: its lock and its directory, if that is empty.
fn abandon(dir: &Path) {
    let gone = fs::remove_file(dir.join("lock")).and_then(|()| fs::remove_dir(dir));
    if let Err(e) = gone {
        tracing::debug!(dir = %dir.display(), error = %e, "the directory of a refused cluster stays");
    }
}

/// A warning if commands started here do not reach the cluster at `own`.
fn elsewhere(found: Outcome<Endpoint>, own: &str) -> Option<String> {
    let advice = format!("use --endpoint {own}");
    let same = |address: &String| address.replace("localhost:", "127.0.0.1:") == own;
    match found {
        Ok(found) if found.origin == EndpointOrigin::Flag || found.addresses.iter().all(same) => None,
        Ok(found) => {
            Some(format!("commands started here go to {} ({}); {advice}", found.shown(), found.origin))
        }
        Err(failure) => Some(format!("commands started here do not work: {}; {advice}", failure.message)),
    }
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
    let mut ports = Ports::without(ports_of(state));
    let first = match (state.coordinator().and_then(|node| port_of(&node.address)), args.port) {
        (Some(port), asked) if asked.is_none_or(|asked| asked == port) => port,
        (Some(port), _) => {
            return Err(Failure::usage(format!("this cluster's coordinator has port {port}"))
                .hint("leave --port out: a port that is taken is changed by itself"));
        }
        (None, Some(port)) if !is_free(port) => {
            return Err(port_taken(port, "the coordinator")
                .hint(format!("find it with 'ss -ltnp sport = :{port}', or choose another with --port")));
        }
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
    state.nodes.push(DevNode {
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

/// A failure of one node, with those that were started before it.
pub(crate) fn also_started(mut failure: Failure, started: &[Started]) -> Failure {
    if !started.is_empty() {
        let names: Vec<_> = started.iter().map(|start| start.name.as_str()).collect();
        failure.message = format!("{}; started before it: {}", failure.message, names.join(", "));
    }
    failure
}

/// Starts every node that does not run and lets the paused ones go on.
async fn start_missing(
    invocation: &Invocation,
    state: &mut ClusterState,
    binary: &Path,
    here: &Path,
) -> Outcome<Vec<Started>> {
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
                security::prepare(invocation, state, node, binary, &started).await?;
                let start = start_node(state, index, binary);
                started.push(start.map_err(|failure| also_started(failure, &started))?);
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
pub(crate) fn start_node(state: &mut ClusterState, index: usize, binary: &Path) -> Outcome<Started> {
    let coordinator = state.endpoint();
    let automatic = settings_for(state.datanodes().count());
    let set = state.set.clone();
    let Some(node) = state.nodes.get_mut(index) else { return Err(Failure::usage("no such node")) };
    for address in [&node.address, &node.admin_address] {
        match port_of(address) {
            Some(port) if !is_free(port) => {
                return Err(port_taken(port, &node.name).hint("'dfsctl dev up' gives it another port"));
            }
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
fn arguments(node: &DevNode, coordinator: &str, automatic: &[String], set: &[String]) -> Vec<OsString> {
    let mut args = vec!["--role".into(), node.role.clone().into(), "--name".into(), node.name.clone().into()];
    args.extend(["--data".into(), node.data_dir.clone().into_os_string()]);
    args.extend(["--listen".into(), node.address.clone().into()]);
    if node.role != "coordinator" {
        args.extend(["--coordinator".into(), coordinator.to_owned().into()]);
    }
    let admin_port = port_of(&node.admin_address).unwrap_or_default();
    let token = format!("security.join_token_file={}", security::token_of(node).display());
    let own = [format!("admin.port={admin_port}"), "admin.host=127.0.0.1".to_owned(), token];
    for setting in automatic.iter().chain(set).cloned().chain(own) {
        args.extend(["--set".into(), setting.into()]);
    }
    args
}

/// Lets the node's own program judge the settings before anything of them is kept.
fn check_settings(state: &ClusterState, binary: &Path) -> Outcome {
    for node in state.coordinator().into_iter().chain(state.datanodes().take(1)) {
        let automatic = settings_for(state.datanodes().count());
        let mut args = arguments(node, &state.endpoint(), &automatic, &state.set);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn args(nodes: Option<u16>, set: &[&str]) -> Args {
        Args {
            nodes,
            data: None,
            here: false,
            port: None,
            insecure: false,
            set: set.iter().map(|s| (*s).to_owned()).collect(),
        }
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
    fn a_cluster_that_commands_do_not_reach_is_told() {
        let found = |addresses: &[&str], origin| {
            let addresses = addresses.iter().map(|a| (*a).to_owned()).collect();
            elsewhere(Ok(Endpoint { addresses, origin, identity: None }), "127.0.0.1:8080")
        };
        assert_eq!(found(&["localhost:8080"], EndpointOrigin::Endpoint), None);
        assert_eq!(found(&["other:8080"], EndpointOrigin::Flag), None);
        let said = found(&["other:8080"], EndpointOrigin::Endpoint).unwrap();
        assert!(said.contains("other:8080 (from DFS_ENDPOINT)"), "{said}");
    }

    #[test]
    fn settings_are_checked_before_anything_starts() {
        assert!(setting("cluster.min_ack=2").is_ok());
        assert!(setting("cluster.min_ack").is_err() && setting("x=1").is_err());
        assert!(setting("coordinator.give_up_epoch=7").is_ok());
        for own in ["node.name=x", "node.listen_port=1", "coordinator.port=1", " admin.host=::"] {
            assert!(setting(own).unwrap_err().contains("each node's own"), "{own}");
        }
        assert!(setting("node.zone=here").is_ok());
    }
}
