//! `dfsctl dev status`: the nodes and their processes.

use serde::{Serialize, Serializer};

use super::ClusterDir;
use super::ready::is_ready;
use crate::connect::invocation::Invocation;
use crate::dev_cluster::node::DevNode;
use crate::dev_cluster::process::RunState;
use crate::dev_cluster::state::ClusterState;
use crate::output::View;
use crate::output::exit::Exit;
use crate::output::failure::Outcome;
use crate::output::object::object;
use crate::output::page::{Column, Field, Page, Tone};

/// What `dev status` prints.
#[derive(Debug, Serialize)]
pub(crate) struct DevStatusView {
    /// Where the coordinator listens.
    pub endpoint: String,
    /// The cluster's directory.
    pub dir: String,
    /// Settings passed to every node.
    pub set: Vec<String>,
    /// Every node, the coordinator first.
    pub nodes: Vec<DevNodeView>,
}

/// One node, as it is printed.
#[derive(Debug)]
pub(crate) struct DevNodeView {
    node: DevNode,
    /// Its process; `None` if it does not run.
    pid: Option<u32>,
    state: RunState,
    /// Whether it says that it is ready.
    ready: bool,
}

impl Serialize for DevNodeView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { node, pid, state, ready } = self;
        object!(serializer, {
            "name": node.name,
            "role": node.role,
            "pid": pid,
            "state": state,
            "ready": ready,
            "address": node.address,
            "admin_address": node.admin_address,
            "data_dir": node.data_dir.to_string_lossy(),
            "log": node.log.to_string_lossy(),
        })
    }
}

impl DevNodeView {
    fn new(node: &DevNode) -> Self {
        let state = node.state();
        Self {
            node: node.clone(),
            pid: node.alive().map(|process| process.pid),
            state,
            ready: state == RunState::Running && is_ready(&node.admin_address),
        }
    }
}

/// Every node as it is now.
pub(crate) fn views(state: &ClusterState) -> Vec<DevNodeView> {
    state.nodes.iter().map(DevNodeView::new).collect()
}

impl View for DevStatusView {
    fn page(&self, page: &mut Page) {
        page.field(8, "endpoint", &self.endpoint);
        page.field(8, "data", &self.dir);
        if !self.set.is_empty() {
            page.field(8, "settings", self.set.join(" "));
        }
        page.line("");
        let columns = ["NAME", "ROLE", "PID", "STATE", "ADDRESS", "ADMIN", "DATA"].map(Column::Text);
        let rows = self.nodes.iter().map(|DevNodeView { node, pid, state, ready }| {
            let (state, tone) = match (state, ready) {
                (RunState::Running, true) => ("ready", Tone::Good),
                (RunState::Running, false) => ("not ready", Tone::Warn),
                (RunState::Paused, _) => ("paused", Tone::Warn),
                (RunState::Stopped, _) => ("stopped", Tone::Bad),
            };
            vec![
                node.name.as_str().into(),
                node.role.as_str().into(),
                pid.map_or_else(|| "-".into(), |pid| Field::from(pid.to_string())),
                Field::toned(state, tone),
                node.address.as_str().into(),
                node.admin_address.as_str().into(),
                node.data_dir.to_string_lossy().into_owned().into(),
            ]
        });
        page.table(&columns, rows.collect());
    }
}

/// Runs `dfsctl dev status`.
///
/// # Errors
/// If there is no cluster.
pub(crate) fn run(invocation: &Invocation, cluster: &ClusterDir) -> Outcome<Exit> {
    let state = cluster.load()?;
    if let Err(failure) = state.must_be_in_place() {
        invocation.output.warn(failure.message);
    }
    invocation.output.print(&DevStatusView {
        endpoint: state.endpoint(),
        dir: state.dir.display().to_string(),
        set: state.set.clone(),
        nodes: views(&state),
    })?;
    Ok(Exit::Ok)
}
