//! `dfsctl gc`: what waits to be freed, and a round of collecting it.

use clap::{Subcommand, ValueEnum};
use dfs_client::Client;
use dfs_wire::message::admin::{Garbage, GarbageKind, NodeStatus, RunGc};
use dfs_wire::message::membership::NodeState;
use serde::Serialize;

use crate::connect::invocation::Invocation;
use crate::output::View;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};
use crate::output::page::{Column, Page};
use crate::output::text::{count, duration, size};

/// Shows what waits to be freed, or has it collected now
///
/// Nothing goes before its time: the trash keeps for cluster.trash_retention, readers for cluster.read_lease, datanodes for
/// storage.quarantine_retention. 'gc run' only does not wait for the next round.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Shows how much waits, and until when (the default)
    Status,
    /// Begins a round at once
    Run {
        /// What is to be collected
        #[arg(long, value_name = "KIND")]
        now: GcKind,
        /// Say what would be done and do nothing
        #[arg(long)]
        dry_run: bool,
    },
}

/// What can be collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum GcKind {
    /// What has been in the trash for long enough
    Trash,
    /// Versions that nobody may be reading any more
    Pending,
    /// Copies that nodes are told to delete
    Orphan,
    /// Files that have been in quarantine for long enough, on every datanode
    Quarantined,
}

impl GcKind {
    fn word(self) -> GarbageKind {
        match self {
            Self::Trash => GarbageKind::Trash,
            Self::Pending => GarbageKind::Pending,
            Self::Orphan => GarbageKind::Orphan,
            Self::Quarantined => GarbageKind::Quarantined,
        }
    }
}

/// A kind of what `gc status` prints.
#[derive(Debug, Serialize)]
struct KindView {
    /// `live`, `trash`, `pending`, `orphan` or `quarantined`.
    kind: &'static str,
    /// Files, entries of the trash, versions or copies.
    count: u64,
    /// What is counted: `file`, `entry`, `version` or `copy`.
    of: &'static str,
    /// Bytes on all disks.
    bytes: u64,
    /// There are more than were counted.
    more: bool,
    /// Of them, those that the next round takes on.
    due: u64,
    /// In how many milliseconds the first goes on; null if that is not known.
    first_ms: Option<u64>,
    /// In how many milliseconds the last has gone on; null if that is not known.
    last_ms: Option<u64>,
}

impl From<&Garbage> for KindView {
    fn from(garbage: &Garbage) -> Self {
        let Garbage { kind, count, bytes, more, due, first_ms, last_ms } = *garbage;
        let (kind, of) = (kind.name(), kind.unit());
        Self { kind, count, of, bytes, more, due, first_ms, last_ms }
    }
}

/// What `gc status` prints.
#[derive(Debug, Serialize)]
struct GcStatusView {
    kinds: Vec<KindView>,
    /// Datanodes that did not say until when they keep what they have in quarantine.
    silent: Vec<String>,
}

/// When a kind is freed, in words.
fn freed(kind: &KindView) -> String {
    match (kind.first_ms, kind.last_ms) {
        _ if kind.count == 0 || kind.kind == GarbageKind::Live.name() => "-".to_owned(),
        _ if kind.kind == GarbageKind::Orphan.name() => "when its nodes are told".to_owned(),
        (Some(0), Some(0) | None) => "with the next round".to_owned(),
        (Some(0), Some(last)) => format!("now to in {}", duration(last)),
        (Some(first), Some(last)) if first == last => format!("in {}", duration(first)),
        (Some(first), Some(last)) => format!("in {} to {}", duration(first), duration(last)),
        (Some(first), None) => format!("from in {} on", duration(first)),
        (None, _) => "not known".to_owned(),
    }
}

impl View for GcStatusView {
    fn page(&self, page: &mut Page) {
        let columns = [
            Column::Text("WHAT"),
            Column::Number("COUNT"),
            Column::Text("OF"),
            Column::Number("ON DISK"),
            Column::Number("DUE"),
            Column::Text("FREED"),
        ];
        let row = |kind: &KindView| {
            let plus = if kind.more { "+" } else { "" };
            vec![
                kind.kind.into(),
                format!("{}{plus}", kind.count).into(),
                kind.of.into(),
                format!("{}{plus}", size(kind.bytes)).into(),
                kind.due.to_string().into(),
                freed(kind).into(),
            ]
        };
        page.table(&columns, self.kinds.iter().map(row).collect());
        if !self.silent.is_empty() {
            page.line("");
            page.line(format!("not asked until when they keep theirs: {}", self.silent.join(", ")));
        }
    }

    fn lines(&self) -> serde_json::Result<Vec<String>> {
        self.kinds.iter().map(serde_json::to_string).collect()
    }
}

/// What `gc run` prints.
#[derive(Debug, Serialize)]
struct RunView {
    /// `trash`, `pending`, `orphan` or `quarantined`.
    kind: &'static str,
    /// How much of it is due; null where that is known only afterwards.
    due: Option<u64>,
    /// There is more than was counted.
    more: bool,
    /// Datanodes that were asked; 0 where the coordinator collects.
    nodes: u64,
    /// Whether nothing was done because of --dry-run.
    dry_run: bool,
    #[serde(skip)]
    of: &'static str,
}

impl View for RunView {
    fn page(&self, page: &mut Page) {
        let begun = if self.dry_run { "would begin" } else { "began" };
        page.line(match self.due {
            Some(due) => {
                let plus = if self.more { " or more" } else { "" };
                format!("{begun} a round: {}{plus} due in {}", count(due, self.of), self.kind)
            }
            None => {
                format!("{begun} a round on {}: what is old enough is purged", count(self.nodes, "datanode"))
            }
        });
    }
}

/// Runs `dfsctl gc`.
///
/// # Errors
/// If the cluster cannot be asked.
pub(crate) async fn run(invocation: &Invocation, args: Args) -> Outcome<Exit> {
    let client = invocation.operator().await?;
    match args.verb.unwrap_or(Verb::Status) {
        Verb::Status => status(invocation, &client).await,
        Verb::Run { now: GcKind::Quarantined, dry_run } => purge(invocation, &client, dry_run).await,
        Verb::Run { now, dry_run } => {
            let kind = now.word();
            let begun = client.run_gc(None, RunGc { kind, dry_run }).await?;
            let (due, more, of) = (begun.due, begun.more, kind.unit());
            invocation.output.print(&RunView { kind: kind.name(), due, more, nodes: 0, dry_run, of })?;
            Ok(Exit::Ok)
        }
    }
}

/// Datanodes that can be asked.
fn up(node: &NodeStatus) -> bool {
    node.state == NodeState::Up
}

async fn status(invocation: &Invocation, client: &Client) -> Outcome<Exit> {
    let mut kinds = client.gc_status(None).await?;
    let mut silent = Vec::new();
    let (mut first_ms, mut last_ms) = (None::<u64>, None::<u64>);
    for node in client.nodes().await?.iter().filter(|node| up(node) && node.load.quarantined > 0) {
        let told = client.gc_status(Some(&node.address)).await;
        let told = told.ok().and_then(|kinds| kinds.into_iter().next());
        match told.and_then(|garbage| Some((garbage.first_ms?, garbage.last_ms?))) {
            Some((first, last)) => {
                first_ms = Some(first_ms.map_or(first, |known| known.min(first)));
                last_ms = Some(last_ms.map_or(last, |known| known.max(last)));
            }
            None => silent.push(node.name.clone()),
        }
    }
    for garbage in kinds.iter_mut().filter(|garbage| garbage.kind == GarbageKind::Quarantined) {
        (garbage.first_ms, garbage.last_ms) = (first_ms, last_ms);
    }
    invocation.output.print(&GcStatusView { kinds: kinds.iter().map(KindView::from).collect(), silent })?;
    Ok(Exit::Ok)
}

async fn purge(invocation: &Invocation, client: &Client, dry_run: bool) -> Outcome<Exit> {
    let kind = GarbageKind::Quarantined;
    let nodes: Vec<_> = client.nodes().await?.into_iter().filter(up).collect();
    if nodes.is_empty() {
        let failure = Failure::new(Exit::Unavailable, "Unavailable", "no datanode is up: nothing was done");
        return Err(failure.hint("'dfsctl nodes' shows how they are"));
    }
    for node in &nodes {
        client.run_gc(Some(&node.address), RunGc { kind, dry_run }).await?;
    }
    let (due, more, nodes, of) = (None, false, nodes.len() as u64, kind.unit());
    invocation.output.print(&RunView { kind: kind.name(), due, more, nodes, dry_run, of })?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(count: u64, first_ms: Option<u64>, last_ms: Option<u64>) -> KindView {
        let kind = GarbageKind::Pending;
        KindView::from(&Garbage { kind, count, bytes: 6, more: false, due: 1, first_ms, last_ms })
    }

    #[test]
    fn the_json_of_a_kind_is_a_promise() {
        let expected = r#"{"kind":"pending","count":2,"of":"version","bytes":6,"more":false,"due":1,"first_ms":0,"last_ms":null}"#;
        let kinds = vec![view(2, Some(0), None)];
        assert_eq!(GcStatusView { kinds, silent: vec![] }.lines().unwrap(), [expected]);
    }

    #[test]
    fn when_something_is_freed_is_said_in_words() {
        for (count, first, last, words) in [
            (0, None, None, "-"),
            (1, Some(0), Some(0), "with the next round"),
            (1, Some(0), Some(60_000), "now to in 1m 0s"),
            (1, Some(30_000), Some(60_000), "in 30s to 1m 0s"),
            (1, Some(30_000), None, "from in 30s on"),
            (1, None, None, "not known"),
        ] {
            assert_eq!(freed(&view(count, first, last)), words);
        }
    }
}
