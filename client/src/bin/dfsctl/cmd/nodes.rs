//! `dfsctl nodes`: lists the datanodes, lets in those that wait, empties those that are to go, and forgets those that will not
//! come back.

use std::time::Duration;

use clap::Subcommand;
use dfs_client::Client;
use dfs_wire::message::admin::{ForgetNode, ForgottenNode, NodeStatus};
use dfs_wire::message::job::{DrainNode, DrainPlan, JobState, WorkAmount};
use dfs_wire::message::membership::{DiskHealth, NodeLoad, NodeState};
use serde::{Serialize, Serializer};

use crate::args;
use crate::complete::nodes;
use crate::connect::invocation::Invocation;
use crate::job::JobView;
use crate::output::View;
use crate::output::exit::Exit;
use crate::output::failure::Outcome;
use crate::output::object::object;
use crate::output::page::{Column, Field, Page, Tone};
use crate::output::text::{count, duration, plain, present, size};
use crate::output::used::used_of;

mod trust;

/// Columns that are left out on a terminal without room for them, the first one first.
const SPARE: [&str; 8] = ["ZONE", "USED", "ADDRESS", "CHUNKS", "BAD", "DISK", "SEEN", "AVAIL"];

/// Lists the datanodes
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// Also ids, versions, open streams, memory and quarantine
    #[arg(short, long)]
    long: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lets a datanode in that waits for a yes
    ///
    /// Those that wait are named by 'dfsctl status': a datanode beyond the number that may join unasked
    /// (cluster.nodes_unasked_max), or one whose place another one took. It is taken in within seconds.
    Admit {
        /// Its name or id
        node: String,
    },
    /// Empties a datanode: everything on it gets a copy elsewhere
    ///
    /// It takes no new chunks from now on. No copy goes from it before enough others are good. The job ends when nothing is left;
    /// then the datanode can be stopped and forgotten. Refused if not everything can go elsewhere.
    #[command(
        after_help = "Examples:\n  dfsctl nodes drain datanode-3 --dry-run\n  dfsctl nodes drain datanode-3 --wait"
    )]
    Drain {
        /// Its name or id
        node: String,
        /// Wait until it is empty
        #[arg(long, conflicts_with = "dry_run")]
        wait: bool,
        /// Say what would happen, and do nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Has another datanode take the place of one: everything on it gets a copy there
    ///
    /// As 'drain', and of a datanode that is gone as well: what it had is made from the other copies. What the new one cannot take goes
    /// elsewhere. When the job has ended the old one can be stopped and forgotten. A disk that was replaced by an empty one under the
    /// same name needs none of this: the datanode joins anew, and repair makes up for what the old disk had.
    #[command(
        after_help = "Examples:\n  dfsctl nodes replace datanode-3 datanode-7 --dry-run\n  dfsctl nodes replace datanode-3 datanode-7 --wait"
    )]
    Replace {
        /// The name or id of the one that goes
        #[arg(value_name = "OLD", add = nodes())]
        old: String,
        /// The name or id of the one that takes its place
        #[arg(value_name = "NEW", add = nodes())]
        new: String,
        /// Wait until the old one is empty
        #[arg(long, conflicts_with = "dry_run")]
        wait: bool,
        /// Say what would happen, and do nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Has a datanode take chunks again that was to be emptied
    Undrain {
        /// Its name or id
        node: String,
    },
    /// Makes a join token: what a datanode without a certificate joins the cluster with
    ///
    /// It is good for one certificate, and shown once. Without --node it lets in a datanode that the cluster does not know; one that
    /// it knows, and that lost its certificate or had it revoked, needs a token of its own.
    #[command(
        after_help = "Examples:\n  (umask 077; dfsctl nodes token > token)\n  dfsctl nodes token --node datanode-3 --for 10min"
    )]
    Token {
        /// The name or id of the only datanode that it is to be good for
        #[arg(long, value_name = "NODE", add = nodes())]
        node: Option<String>,
        /// For how long
        #[arg(long = "for", value_name = "DURATION", value_parser = args::duration, default_value = "1h")]
        lasts: Duration,
    },
    /// Has nobody believe the certificates of a datanode any more
    ///
    /// The coordinator refuses it at once, datanodes with their next heartbeat, connections that stand included. It comes back with
    /// a token of its own: 'dfsctl nodes token --node'.
    Revoke {
        /// Its name or id
        #[arg(value_name = "NODE", add = nodes())]
        node: String,
    },
    /// Forgets a datanode that will not come back
    ///
    /// It must be gone: stopped, down, or lost. What the cluster keeps for it ends: the deletions that wait for it, and the
    /// copies that are expected on it. Refused while it has the last known copy of anything. A datanode that was
    /// forgotten and comes back waits until it is let in with 'dfsctl nodes admit'.
    #[command(
        after_help = "Examples:\n  dfsctl nodes forget datanode-3 --dry-run\n  dfsctl nodes forget datanode-3"
    )]
    Forget {
        /// Its name or id
        node: String,
        /// Even if it has the last known copy of chunks: they are lost
        #[arg(long)]
        accept_loss: bool,
        /// Say what would happen, and do nothing
        #[arg(long)]
        dry_run: bool,
    },
}

/// What `nodes forget` prints.
#[derive(Debug, Serialize)]
struct ForgottenView {
    id: String,
    name: String,
    /// Copies of live chunks that were still expected on it.
    copies: u64,
    /// Chunks of which it had the last known copy.
    lost: u64,
    /// Whether nothing was done.
    dry_run: bool,
}

impl View for ForgottenView {
    fn page(&self, page: &mut Page) {
        let name = plain(&self.name);
        let copies = count(self.copies, "copy");
        let verb = if self.dry_run { "would be forgotten" } else { "is forgotten" };
        page.line(format!(
            "{name} {verb}: {copies} of live chunks {} expected on it",
            if self.copies == 1 { "was" } else { "were" }
        ));
        if self.lost > 0 {
            let lost = count(self.lost, "chunk");
            let verb = if self.dry_run {
                "would be lost: without --accept-loss it is refused"
            } else {
                "lost with it"
            };
            page.line(format!("{lost} {verb}"));
        }
    }
}

/// What `nodes drain` prints.
#[derive(Debug, Serialize)]
struct DrainView {
    id: String,
    name: String,
    /// Copies on it, and their bytes.
    chunks: u64,
    bytes: u64,
    /// Why it cannot be emptied whole.
    obstacles: Vec<String>,
    /// The job that does it; null if nothing was done.
    job: Option<JobView>,
}

impl From<DrainPlan> for DrainView {
    fn from(plan: DrainPlan) -> Self {
        let DrainPlan { node, name, amount, obstacles, job } = plan;
        let WorkAmount { chunks, bytes } = amount;
        Self { id: node.to_string(), name, chunks, bytes, obstacles, job: job.map(JobView) }
    }
}

impl View for DrainView {
    fn page(&self, page: &mut Page) {
        let name = plain(&self.name);
        let has = format!("{} with {}", count(self.chunks, "copy"), size(self.bytes));
        for obstacle in &self.obstacles {
            page.line(format!("{name} cannot be emptied: {}", plain(obstacle)));
        }
        match &self.job {
            Some(job) if job.0.state == JobState::Paused => {
                page.line(format!("job {} is to empty {name} of {has}, and is paused", job.0.id));
                page.line(format!("'dfsctl jobs resume {}' has it go on", job.0.id));
            }
            Some(job) => {
                page.line(format!("{name} is being emptied of {has}: job {}", job.0.id));
                page.line(format!("'dfsctl jobs watch {}' shows how far it is", job.0.id));
            }
            None if self.obstacles.is_empty() => page.line(format!("{name} would be emptied of {has}")),
            None => page.line(format!("it has {has}")),
        }
    }
}

/// What `nodes admit` prints.
#[derive(Debug, Serialize)]
struct AdmittedView {
    admitted: String,
}

impl View for AdmittedView {
    fn page(&self, page: &mut Page) {
        page.line(format!("{} is taken in when it asks again, within seconds", plain(&self.admitted)));
    }
}

/// What `nodes` prints.
#[derive(Debug, Serialize)]
pub(crate) struct NodesView {
    pub nodes: Vec<NodeView>,
    #[serde(skip)]
    long: bool,
}

/// One datanode, as it is printed.
#[derive(Debug)]
pub(crate) struct NodeView(NodeStatus);

impl Serialize for NodeView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (node, load) = (&self.0, &self.0.load);
        let (disk, disk_reason) = disk(load);
        object!(serializer, {
            "id": node.node.to_string(),
            "name": node.name,
            "address": node.address,
            "zone": present(&node.zone),
            "state": node.state.name(),
            "state_ms": node.state_ms,
            "grace_left_ms": node.grace_left_ms,
            "last_seen_ms": node.last_seen_ms,
            "version": node.version,
            "disk": disk,
            "disk_reason": disk_reason,
            "not_writable": present(&node.not_writable),
            "capacity": load.capacity,
            "available": load.available,
            "used": used_of(load),
            "chunks": load.chunks,
            "quarantined": load.quarantined,
            "corrupt_copies": node.corrupt_copies,
            "tombstones": node.tombstones,
            "write_streams": load.write_streams,
            "read_streams": load.read_streams,
            "memory_reserved": load.memory_reserved,
            "memory_limit": load.memory_limit,
        })
    }
}

/// The word for the state of a node's disk, and why it is so where that is not plain.
fn disk(load: &NodeLoad) -> (&'static str, Option<&str>) {
    match &load.disk {
        DiskHealth::Writable => ("writable", None),
        DiskHealth::Full => ("full", None),
        DiskHealth::ReadOnly(reason) => ("read-only", present(reason)),
        DiskHealth::Failed(reason) => ("failed", present(reason)),
    }
}

impl NodeView {
    fn row(&self, long: bool) -> Vec<Field> {
        let (node, load) = (&self.0, &self.0.load);
        let tone = match node.state {
            NodeState::Up => Tone::Good,
            NodeState::Suspect | NodeState::Draining => Tone::Warn,
            _ => Tone::Bad,
        };
        let (disk, _) = disk(load);
        let disk_tone = if load.disk == DiskHealth::Writable { Tone::Plain } else { Tone::Bad };
        let seen = node.last_seen_ms.map_or_else(|| "-".to_owned(), |ms| format!("{} ago", duration(ms)));
        let mut row = vec![
            node.name.as_str().into(),
            node.address.as_str().into(),
            present(&node.zone).unwrap_or("-").into(),
            Field::toned(node.state.name(), tone),
            seen.into(),
            Field::toned(disk, disk_tone),
            size(used_of(load)).into(),
            size(load.available).into(),
            load.chunks.to_string().into(),
            node.corrupt_copies.to_string().into(),
        ];
        if long {
            row.extend([
                Field::from(node.node.to_string()),
                node.version.as_str().into(),
                format!("{}/{}", load.write_streams, load.read_streams).into(),
                format!("{}/{}", size(load.memory_reserved), size(load.memory_limit)).into(),
                load.quarantined.to_string().into(),
                node.tombstones.to_string().into(),
            ]);
        }
        row
    }
}

impl View for NodesView {
    fn page(&self, page: &mut Page) {
        let mut columns = ["NAME", "ADDRESS", "ZONE", "STATE", "SEEN", "DISK"].map(Column::Text).to_vec();
        columns.extend(["USED", "AVAIL", "CHUNKS", "BAD"].map(Column::Number));
        if self.long {
            columns.extend(["ID", "VERSION"].map(Column::Text));
            columns.extend(["WRITES/READS", "MEMORY", "QUARANTINE", "UNCONFIRMED"].map(Column::Number));
        }
        let rows = self.nodes.iter().map(|node| node.row(self.long)).collect();
        match self.long {
            // All of it is wanted.
            true => page.table(&columns, rows),
            false => page.table_that_fits(&columns, rows, &SPARE),
        }
        for NodeView(node) in &self.nodes {
            let name = plain(&node.name);
            if let Some(why) = present(&node.not_writable) {
                page.line(format!("{name} takes no new chunks: {}", plain(why)));
            }
            if let (disk, Some(why)) = disk(&node.load) {
                page.line(format!("the disk of {name} is {disk}: {}", plain(why)));
            }
        }
        if self.nodes.is_empty() {
            page.line("no datanode has registered yet");
        }
    }

    fn lines(&self) -> serde_json::Result<Vec<String>> {
        self.nodes.iter().map(serde_json::to_string).collect()
    }
}

/// Runs `dfsctl nodes`.
///
/// # Errors
/// If the cluster cannot be asked, or no such node waits.
pub(crate) async fn run(invocation: &Invocation, args: Args) -> Outcome<Exit> {
    match &args.action {
        Some(Action::Token { node, lasts }) => {
            return trust::token(invocation, node.as_deref(), *lasts).await;
        }
        Some(Action::Revoke { node }) => return trust::revoke(invocation, node.clone()).await,
        _ => {}
    }
    let client = invocation.operator().await?;
    match args.action {
        Some(Action::Admit { node }) => {
            let admitted = client.admit_node(&node).await?;
            invocation.output.print(&AdmittedView { admitted })?;
        }
        Some(Action::Drain { node, wait, dry_run }) => {
            return drain(invocation, &client, DrainNode { node, successor: None, dry_run }, wait).await;
        }
        Some(Action::Replace { old, new, wait, dry_run }) => {
            let word = DrainNode { node: old, successor: Some(new), dry_run };
            return drain(invocation, &client, word, wait).await;
        }
        Some(Action::Undrain { node }) => {
            invocation.output.print(&JobView(client.undrain_node(&node).await?))?;
        }
        Some(Action::Forget { node, accept_loss, dry_run }) => {
            let ForgottenNode { node, name, copies, lost } =
                client.forget_node(ForgetNode { node, accept_loss, dry_run }).await?;
            invocation.output.print(&ForgottenView { id: node.to_string(), name, copies, lost, dry_run })?;
        }
        // As above.
        Some(Action::Token { .. } | Action::Revoke { .. }) => {}
        None => {
            let nodes = client.nodes().await?.into_iter().map(NodeView).collect();
            invocation.output.print(&NodesView { nodes, long: args.long })?;
        }
    }
    Ok(Exit::Ok)
}

async fn drain(invocation: &Invocation, client: &Client, word: DrainNode, wait: bool) -> Outcome<Exit> {
    let view = DrainView::from(client.drain_node(word).await?);
    if let Some(job) = view.job.as_ref().map(|job| job.0.id).filter(|_| wait) {
        return crate::job::wait(invocation, client, job).await;
    }
    invocation.output.print(&view)?;
    Ok(if view.obstacles.is_empty() { Exit::Ok } else { Exit::Precondition })
}

#[cfg(test)]
mod tests {
    use dfs_wire::id::NodeId;

    use super::*;
    use crate::output::page::Paint;

    fn node() -> NodeStatus {
        NodeStatus {
            node: NodeId(10),
            name: "datanode-10".to_owned(),
            zone: String::new(),
            address: "127.0.0.1:18080".to_owned(),
            version: "0.1.0".to_owned(),
            state: NodeState::Suspect,
            state_ms: 1,
            grace_left_ms: None,
            last_seen_ms: Some(12_345),
            load: NodeLoad {
                available: 900 << 30,
                used: 1,
                footers: 2,
                quarantine: 3,
                ..NodeLoad::default()
            },
            copies_expected: 2,
            inventory_ms: None,
            corrupt_copies: 3,
            tombstones: 4,
            not_writable: String::new(),
        }
    }

    #[test]
    fn the_json_of_a_node_is_a_promise() {
        let disk = DiskHealth::ReadOnly("of an error".to_owned());
        let mut node = node();
        node.load.disk = disk;
        let json = serde_json::to_string_pretty(&NodeView(node)).unwrap();
        let expected = r#"{
  "id": "0000000000000000000000000000000a",
  "name": "datanode-10",
  "address": "127.0.0.1:18080",
  "zone": null,
  "state": "suspect",
  "state_ms": 1,
  "grace_left_ms": null,
  "last_seen_ms": 12345,
  "version": "0.1.0",
  "disk": "read-only",
  "disk_reason": "of an error",
  "not_writable": null,
  "capacity": 0,
  "available": 966367641600,
  "used": 6,
  "chunks": 0,
  "quarantined": 0,
  "corrupt_copies": 3,
  "tombstones": 4,
  "write_streams": 0,
  "read_streams": 0,
  "memory_reserved": 0,
  "memory_limit": 0
}"#;
        assert_eq!(json, expected);
    }

    #[test]
    fn nothing_wraps_at_forty_columns_unless_all_is_wanted() {
        let text = |long: bool, columns: Option<usize>| {
            let node = NodeStatus {
                not_writable: "it was not heard of for some time, and that is long".to_owned(),
                ..node()
            };
            let mut page = Page::within(Paint::new(false), columns);
            NodesView { nodes: vec![NodeView(node)], long }.page(&mut page);
            page.finish()
        };
        let narrow = text(false, Some(40));
        assert!(narrow.lines().all(|line| line.chars().count() <= 40), "{narrow}");
        let expected = "\
NAME         STATE    SEEN       AVAIL
datanode-10  suspect  12s ago  900 GiB
datanode-10 takes no new chunks: it was
  not heard of for some time, and that
  is long
";
        assert_eq!(narrow, expected);
        let (wide, long) = (text(false, None), text(true, Some(40)));
        let titles = ["ADDRESS", "ZONE", "SEEN", "DISK", "USED", "CHUNKS", "BAD"];
        assert!(titles.iter().all(|title| wide.contains(title) && long.contains(title)), "{wide}{long}");
    }
}
