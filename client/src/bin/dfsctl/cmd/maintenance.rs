//! `dfsctl maintenance`: datanodes that may be away for a while.

use std::time::Duration;

use clap::Subcommand;
use dfs_client::admin::NodeStatus;
use dfs_wire::message::admin::MaintainedNode;
use serde::{Serialize, Serializer};

use crate::args;
use crate::complete::nodes;
use crate::connect::invocation::Invocation;
use crate::output::View;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};
use crate::output::object::object;
use crate::output::page::{Column, Page};
use crate::output::text::{duration, plain};

/// Says that a datanode may be away for a while, and shows which may
///
/// While it is away its copies count as on their way back: they are not made elsewhere, and nobody is alarmed. Chunks with one good
/// copy left are repaired all the same. A datanode that is stopped politely needs none of this for the first minutes
/// (cluster.maintenance_grace).
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Shows the datanodes that may be away (the default)
    Ls,
    /// A datanode may be away from now on, whether it is stopped already or not
    ///
    /// Said again, the new time counts. Longer than seven days is refused: empty the datanode first, with 'dfsctl nodes drain'.
    #[command(
        after_help = "Examples:\n  dfsctl maintenance start dn2\n  dfsctl maintenance start dn2 --for 2h"
    )]
    Start {
        /// Its name or id
        #[arg(value_name = "NODE", add = nodes())]
        node: String,
        /// For how long
        #[arg(long = "for", value_name = "DURATION", value_parser = args::duration, default_value = "30min")]
        lasts: Duration,
    },
    /// Its maintenance is over
    ///
    /// If it is away, its copies are made elsewhere from now on, as those of any other; also if it was stopped politely a moment ago.
    Stop {
        /// Its name or id
        #[arg(value_name = "NODE", add = nodes())]
        node: String,
    },
}

/// What `maintenance start` and `stop` print.
struct MaintainedView(MaintainedNode);

impl Serialize for MaintainedView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let node = &self.0;
        object!(serializer, {
            "id": node.node.to_string(),
            "name": node.name,
            "left_ms": node.left_ms,
        })
    }
}

impl View for MaintainedView {
    fn page(&self, page: &mut Page) {
        let name = plain(&self.0.name);
        page.line(match self.0.left_ms {
            0 => format!("the maintenance of {name} is over"),
            left => format!("{name} may be away for {}", duration(left)),
        });
    }
}

/// What `maintenance ls` prints.
struct MaintenanceView {
    nodes: Vec<NodeStatus>,
}

/// A node that may be away, as it is printed.
struct AwayView<'a>(&'a NodeStatus);

impl Serialize for AwayView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let node = self.0;
        object!(serializer, {
            "id": node.node.to_string(),
            "name": node.name,
            "state": node.state.name(),
            "left_ms": node.grace_left_ms,
        })
    }
}

impl Serialize for MaintenanceView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        object!(serializer, { "nodes": self.nodes.iter().map(AwayView).collect::<Vec<_>>(), })
    }
}

impl View for MaintenanceView {
    fn page(&self, page: &mut Page) {
        if self.nodes.is_empty() {
            page.line("no datanode is in maintenance");
            return;
        }
        let columns = [Column::Text("NAME"), Column::Text("STATE"), Column::Number("LEFT")];
        let row = |node: &NodeStatus| {
            let left = duration(node.grace_left_ms.unwrap_or(0));
            vec![node.name.as_str().into(), node.state.name().into(), left.into()]
        };
        page.table(&columns, self.nodes.iter().map(row).collect());
    }

    fn lines(&self) -> serde_json::Result<Vec<String>> {
        self.nodes.iter().map(|node| serde_json::to_string(&AwayView(node))).collect()
    }
}

/// Runs `dfsctl maintenance`.
///
/// # Errors
/// If the cluster cannot be asked, or there is no such node.
pub(crate) async fn run(invocation: &Invocation, args: Args) -> Outcome<Exit> {
    let client = invocation.operator().await?;
    match args.verb {
        None | Some(Verb::Ls) => {
            let mut nodes = client.nodes().await?;
            nodes.retain(|node| node.grace_left_ms.is_some_and(|left| left > 0));
            invocation.output.print(&MaintenanceView { nodes })?;
        }
        Some(Verb::Start { lasts, .. }) if lasts.is_zero() => {
            return Err(Failure::usage("a maintenance of no time; 'dfsctl maintenance stop' ends one"));
        }
        Some(Verb::Start { node, lasts }) => {
            invocation.output.print(&MaintainedView(client.maintain_node(&node, lasts).await?))?;
        }
        Some(Verb::Stop { node }) => {
            let maintained = client.maintain_node(&node, Duration::ZERO).await?;
            invocation.output.print(&MaintainedView(maintained))?;
        }
    }
    Ok(Exit::Ok)
}
