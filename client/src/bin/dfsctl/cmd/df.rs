//! `dfsctl df`: the space of the cluster and of each node.

use dfs_wire::message::admin::{ClusterStatus, NodeStatus};
use serde::Serialize;

use crate::connect::invocation::Invocation;
use crate::output::View;
use crate::output::exit::Exit;
use crate::output::failure::Outcome;
use crate::output::page::{Column, Field, Page, Tone};
use crate::output::text::{count, percent, size};
use crate::output::used::{Trash, all_used, used_of};

const WIDTH: usize = 10;
/// Columns that are left out on a terminal without room for them, the first one first.
const SPARE: [&str; 5] = ["CHUNKS", "STATE", "DISK", "USE%", "USED"];

/// Shows the space of the cluster and of each node
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// Exact numbers of bytes
    #[arg(short, long)]
    bytes: bool,
    /// Sizes for people; they are unless -b is given
    #[arg(short, long)]
    human_readable: bool,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

/// What `df` prints.
#[derive(Debug, Serialize)]
pub(crate) struct DfView {
    /// All nodes together, and the metadata; each file system counts once.
    pub total: SpaceView,
    /// Bytes of the metadata.
    pub metadata: u64,
    /// What lies in the trash: a part of what chunks take.
    pub trash: Trash,
    /// Bytes of new files that the available space is enough for, with all their copies.
    pub usable: u64,
    /// Copies that are made by default.
    pub replication: u8,
    pub nodes: Vec<SpaceView>,
    #[serde(skip)]
    exact: bool,
}

/// Space. Each file takes its size times its number of copies.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct SpaceView {
    /// Name of the node; `total` for the sum.
    pub name: String,
    /// `up`, `suspect`, `down`, `left`, `draining` or `lost`; null for the sum.
    pub state: Option<String>,
    /// Bytes of the file systems that hold the data.
    pub capacity: u64,
    /// Bytes that all of it takes.
    pub used: u64,
    /// Bytes of the contents of chunks.
    pub used_chunks: u64,
    /// Bytes of their footers.
    pub used_footers: u64,
    /// Bytes of the files in quarantine.
    pub used_quarantine: u64,
    /// Bytes that chunks may still take.
    pub available: u64,
    /// Bytes kept free for deletes and metadata.
    pub reserve: u64,
    pub chunks: u64,
}

impl SpaceView {
    fn new(node: &NodeStatus) -> Self {
        Self {
            name: node.name.clone(),
            state: Some(node.state.name().to_owned()),
            capacity: node.load.capacity,
            used: used_of(&node.load),
            used_chunks: node.load.used,
            used_footers: node.load.footers,
            used_quarantine: node.load.quarantine,
            available: node.load.available,
            reserve: node.load.reserve,
            chunks: node.load.chunks,
        }
    }

    fn row(&self, exact: bool) -> Vec<Field> {
        let show = |bytes: u64| Field::from(if exact { bytes.to_string() } else { size(bytes) });
        let state = self.state.as_deref().unwrap_or_default();
        let tone = if matches!(state, "up" | "") { Tone::Plain } else { Tone::Bad };
        vec![
            self.name.as_str().into(),
            Field::toned(state, tone),
            show(self.capacity),
            show(self.used),
            show(self.available),
            percent(self.used, self.used.saturating_add(self.available)).into(),
            self.chunks.to_string().into(),
        ]
    }
}

impl View for DfView {
    fn page(&self, page: &mut Page) {
        let columns = [
            Column::Text("NODE"),
            Column::Text("STATE"),
            Column::Number("DISK"),
            Column::Number("USED"),
            Column::Number("AVAIL"),
            Column::Number("USE%"),
            Column::Number("CHUNKS"),
        ];
        let rows = self.nodes.iter().chain([&self.total]).map(|space| space.row(self.exact));
        page.table_that_fits(&columns, rows.collect(), &SPARE);
        page.line("");
        let show = |bytes: u64| if self.exact { bytes.to_string() } else { size(bytes) };
        let parts = [
            ("chunks", self.total.used_chunks),
            ("footers", self.total.used_footers),
            ("quarantine", self.total.used_quarantine),
            ("metadata", self.metadata),
        ];
        for (name, bytes) in parts {
            page.field(WIDTH, name, show(bytes));
        }
        page.field(WIDTH, "trash", self.trash.phrase(show));
        let copies = count(u64::from(self.replication), "copy");
        page.field(WIDTH, "usable", format!("{} of files in {copies}", show(self.usable)));
    }

    fn lines(&self) -> serde_json::Result<Vec<String>> {
        self.nodes.iter().chain([&self.total]).map(serde_json::to_string).collect()
    }
}

/// Runs `dfsctl df`.
///
/// # Errors
/// If the cluster cannot be asked.
pub(crate) async fn run(invocation: &Invocation, args: Args) -> Outcome<Exit> {
    let client = invocation.operator().await?;
    let nodes: Vec<_> = client.nodes().await?.iter().map(SpaceView::new).collect();
    let status = client.status().await?;
    let mut total = SpaceView {
        name: "total".to_owned(),
        capacity: status.capacity,
        available: status.available,
        used: all_used(&status),
        used_chunks: status.used,
        used_footers: status.footers,
        used_quarantine: status.quarantine,
        ..SpaceView::default()
    };
    for node in nodes.iter().filter(|node| node.state.as_deref() == Some("up")) {
        total.reserve += node.reserve;
        total.chunks += node.chunks;
    }
    let ClusterStatus { metadata, usable, replication, .. } = status;
    let trash = Trash::of(&status);
    let exact = args.bytes;
    invocation.output.print(&DfView { total, metadata, trash, usable, replication, nodes, exact })?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::page::Paint;

    #[test]
    fn nothing_wraps_at_forty_columns() {
        let space = |name: &str, state: Option<&str>| SpaceView {
            name: name.to_owned(),
            state: state.map(str::to_owned),
            capacity: 900 << 30,
            used: 123 << 20,
            available: 456 << 30,
            chunks: 12345,
            ..SpaceView::default()
        };
        let nodes = vec![space("datanode-10", Some("suspect"))];
        let view = DfView {
            total: space("total", None),
            metadata: 0,
            trash: Trash::default(),
            usable: 1,
            replication: 3,
            nodes,
            exact: false,
        };
        let text = |columns| {
            let mut page = Page::within(Paint::new(false), columns);
            view.page(&mut page);
            page.finish()
        };
        let narrow = text(Some(40));
        assert!(narrow.lines().all(|line| line.chars().count() <= 40), "{narrow}");
        assert!(narrow.starts_with("NODE            USED    AVAIL  USE%\n"), "{narrow}");
        let wide = "NODE         STATE       DISK     USED    AVAIL  USE%  CHUNKS\n";
        assert!(text(Some(80)).starts_with(wide) && text(None).starts_with(wide), "{}", text(None));
    }
}
