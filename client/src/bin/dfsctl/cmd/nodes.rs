//! `dfsctl nodes`: lists the datanodes, lets in those that wait, and forgets those that will not come back.

use clap::Subcommand;
use dfs_wire::message::admin::{ForgetNode, ForgottenNode, NodeStatus};
use dfs_wire::message::membership::DiskHealth;
use serde::Serialize;

use crate::connect::invocation::Invocation;
use crate::output::View;
use crate::output::exit::Exit;
use crate::output::failure::Outcome;
use crate::output::page::{Column, Field, Page, Tone};
use crate::output::text::{count, duration, plain, present, size};

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
    /// Its id.
    id: String,
    /// Its name.
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

/// What `nodes admit` prints.
#[derive(Debug, Serialize)]
struct AdmittedView {
    /// Its name.
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
    /// The datanodes.
    pub nodes: Vec<NodeView>,
    #[serde(skip)]
    long: bool,
}

/// One datanode.
#[derive(Debug, Default, Serialize)]
pub(crate) struct NodeView {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: String,
    /// Its failure domain, or null.
    pub zone: Option<String>,
    /// `up`, `suspect`, `down`, `left`, `draining` or `lost`.
    pub state: &'static str,
    /// Milliseconds it has been so.
    pub state_ms: u64,
    /// Milliseconds that are left of the announced maintenance of a node that left.
    pub grace_left_ms: Option<u64>,
    /// Milliseconds since it was last heard of; null if not since the coordinator started.
    pub last_seen_ms: Option<u64>,
    /// Version of its software.
    pub version: String,
    /// `writable`, `full`, `read-only` or `failed`.
    pub disk: &'static str,
    /// Why its disk is read-only or failed; null otherwise.
    pub disk_reason: Option<String>,
    /// Why new chunks do not go there; null if they do.
    pub not_writable: Option<String>,
    /// Bytes of its file system.
    pub capacity: u64,
    /// Bytes that chunks may still take.
    pub available: u64,
    /// Bytes that its chunks take, with their footers and what is in quarantine.
    pub used: u64,
    /// Chunks held.
    pub chunks: u64,
    /// Chunks in quarantine.
    pub quarantined: u64,
    /// Copies that are known to be bad.
    pub corrupt_copies: u64,
    /// Deletions it has not confirmed.
    pub tombstones: u64,
    /// Writes open now.
    pub write_streams: u32,
    /// Reads open now.
    pub read_streams: u32,
    /// Bytes of receive memory reserved.
    pub memory_reserved: u64,
    /// The bound of it.
    pub memory_limit: u64,
}

impl From<NodeStatus> for NodeView {
    fn from(node: NodeStatus) -> Self {
        let (disk, disk_reason) = match node.load.disk {
            DiskHealth::Writable => ("writable", String::new()),
            DiskHealth::Full => ("full", String::new()),
            DiskHealth::ReadOnly(reason) => ("read-only", reason),
            DiskHealth::Failed(reason) => ("failed", reason),
        };
        Self {
            id: node.node.to_string(),
            name: node.name,
            address: node.address,
            zone: present(node.zone),
            state: node.state.name(),
            state_ms: node.state_ms,
            grace_left_ms: node.grace_left_ms,
            last_seen_ms: node.last_seen_ms,
            version: node.version,
            disk,
            disk_reason: present(disk_reason),
            not_writable: present(node.not_writable),
            capacity: node.load.capacity,
            available: node.load.available,
            used: node.load.used.saturating_add(node.load.footers).saturating_add(node.load.quarantine),
            chunks: node.load.chunks,
            quarantined: node.load.quarantined,
            corrupt_copies: node.corrupt_copies,
            tombstones: node.tombstones,
            write_streams: node.load.write_streams,
            read_streams: node.load.read_streams,
            memory_reserved: node.load.memory_reserved,
            memory_limit: node.load.memory_limit,
        }
    }
}

impl NodeView {
    fn row(&self, long: bool) -> Vec<Field> {
        let tone = match self.state {
            "up" => Tone::Good,
            "suspect" | "draining" => Tone::Warn,
            _ => Tone::Bad,
        };
        let disk_tone = if self.disk == "writable" { Tone::Plain } else { Tone::Bad };
        let zone = self.zone.as_deref().unwrap_or("-");
        let mut row = vec![
            self.name.as_str().into(),
            self.address.as_str().into(),
            zone.into(),
            Field::toned(self.state, tone),
            self.last_seen_ms.map_or_else(|| "-".to_owned(), |ms| format!("{} ago", duration(ms))).into(),
            Field::toned(self.disk, disk_tone),
            size(self.used).into(),
            size(self.available).into(),
            self.chunks.to_string().into(),
            self.corrupt_copies.to_string().into(),
        ];
        if long {
            row.extend([
                Field::from(self.id.as_str()),
                self.version.as_str().into(),
                format!("{}/{}", self.write_streams, self.read_streams).into(),
                format!("{}/{}", size(self.memory_reserved), size(self.memory_limit)).into(),
                self.quarantined.to_string().into(),
                self.tombstones.to_string().into(),
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
        for node in &self.nodes {
            if let Some(why) = &node.not_writable {
                page.line(format!("{} takes no new chunks: {}", plain(&node.name), plain(why)));
            }
            if let Some(why) = &node.disk_reason {
                page.line(format!("the disk of {} is {}: {}", plain(&node.name), node.disk, plain(why)));
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
pub(crate) async fn run(context: &Invocation, args: Args) -> Outcome<Exit> {
    let client = context.operator().await?;
    match args.action {
        Some(Action::Admit { node }) => {
            let admitted = client.admit_node(&node).await?;
            context.output.print(&AdmittedView { admitted })?;
        }
        Some(Action::Forget { node, accept_loss, dry_run }) => {
            let ForgottenNode { node, name, copies, lost } =
                client.forget_node(ForgetNode { node, accept_loss, dry_run }).await?;
            context.output.print(&ForgottenView { id: node.to_string(), name, copies, lost, dry_run })?;
        }
        None => {
            let nodes = client.nodes().await?.into_iter().map(NodeView::from).collect();
            context.output.print(&NodesView { nodes, long: args.long })?;
        }
    }
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::page::Paint;

    #[test]
    fn nothing_wraps_at_forty_columns_unless_all_is_wanted() {
        let text = |long: bool, columns: Option<usize>| {
            let node = NodeView {
                name: "datanode-10".to_owned(),
                address: "127.0.0.1:18080".to_owned(),
                state: "suspect",
                disk: "writable",
                last_seen_ms: Some(12_345),
                available: 900 << 30,
                not_writable: Some("it was not heard of for some time, and that is long".to_owned()),
                ..NodeView::default()
            };
            let mut page = Page::within(Paint::new(false), columns);
            NodesView { nodes: vec![node], long }.page(&mut page);
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
