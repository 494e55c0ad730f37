//! `dfsctl fsck`: checks the metadata against what the nodes hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use dfs_wire::id::{ChunkId, NodeId};
use dfs_wire::message::admin::NodeStatus;
use dfs_wire::message::metadata::{FsckKind, FsckProblem};
use serde::Serialize;

use crate::connect::invocation::Invocation;
use crate::output::View;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};
use crate::output::page::Page;
use crate::output::text::{count, duration, plain};
use dfs_client::Client;

/// Problems that are printed for people; all are in the machine formats.
const SHOWN: usize = 200;

/// Checks the metadata against what the nodes hold; changes nothing
///
/// Exit code 0 if all is well, 10 if something is missing, superfluous or bad but every chunk can be read, 11 if a chunk
/// cannot or the metadata contradicts itself.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Have every datanode tell all that it knows to have before the check; what a disk has lost since its start is found
    /// by reading: see verify
    #[arg(long)]
    fresh: bool,
}

/// How long a datanode that has not told yet is waited for: it does so within a moment of its start.
const YOUNG: Duration = Duration::from_secs(5);
/// How long a fresh look at all datanodes may take.
const FRESH: Duration = Duration::from_secs(600);
/// Between two questions whether they have told.
const PAUSE: Duration = Duration::from_millis(200);

/// How old what is known of one datanode is.
#[derive(Debug, Serialize)]
pub(crate) struct NodeSeen {
    /// Its name for people.
    pub node: String,
    pub state: &'static str,
    /// Milliseconds since it began to tell all it has, the last time it did; null if not yet in its present run.
    pub age_ms: Option<u64>,
}

/// What `fsck` prints.
#[derive(Debug, Default, Serialize)]
pub(crate) struct FsckView {
    /// Whether nothing is wrong.
    pub clean: bool,
    /// Files looked at.
    pub files: u64,
    /// Directories looked at.
    pub directories: u64,
    /// Chunks looked at.
    pub chunks: u64,
    /// Copies looked at.
    pub copies: u64,
    /// Chunks of which no copy is left.
    pub lost: u64,
    /// Chunks that cannot be read now: their copies are on nodes that are away.
    pub unreachable: u64,
    /// Chunks with fewer good copies than asked for.
    pub under_replicated: u64,
    /// Copies that should be there and are not.
    pub missing: u64,
    /// Copies that are bad.
    pub corrupt: u64,
    /// Copies that nothing refers to.
    pub orphans: u64,
    /// Contradictions in the metadata.
    pub metadata: u64,
    /// Datanodes that answer and have not told yet what they have.
    pub not_looked_at: u64,
    /// How old what is known of each datanode is.
    pub nodes: Vec<NodeSeen>,
    /// Each thing that is wrong; what is wrong with a chunk once for each file that holds it.
    pub problems: Vec<ProblemView>,
    /// What is counted already, of chunks that several files may share.
    #[serde(skip)]
    counted: BTreeSet<(&'static str, ChunkId, Option<NodeId>)>,
}

/// One thing that is wrong.
#[derive(Debug, Serialize)]
pub(crate) struct ProblemView {
    /// `lost`, `unreachable`, `under_replicated`, `missing`, `corrupt`, `orphan` or `metadata`.
    pub kind: &'static str,
    /// The file, or null.
    pub path: Option<String>,
    /// The chunk, or null.
    pub chunk: Option<String>,
    /// The node's id, or null.
    pub node: Option<String>,
    /// The node's name, or null.
    pub node_name: Option<String>,
    /// A sentence for people.
    pub detail: String,
}

impl FsckView {
    fn add(&mut self, problem: FsckProblem, names: &BTreeMap<NodeId, String>) {
        let (counter, kind) = match problem.kind {
            FsckKind::ChunkLost => (&mut self.lost, "lost"),
            FsckKind::ChunkUnreachable => (&mut self.unreachable, "unreachable"),
            FsckKind::UnderReplicated => (&mut self.under_replicated, "under_replicated"),
            FsckKind::CopyMissing => (&mut self.missing, "missing"),
            FsckKind::CopyCorrupt => (&mut self.corrupt, "corrupt"),
            FsckKind::Orphan => (&mut self.orphans, "orphan"),
            FsckKind::Metadata => (&mut self.metadata, "metadata"),
        };
        let first = |chunk| self.counted.insert((kind, chunk, problem.node));
        *counter += u64::from(problem.chunk.is_none_or(first));
        self.problems.push(ProblemView {
            kind,
            path: problem.path.map(|path| path.to_string()),
            chunk: problem.chunk.map(|chunk| chunk.to_string()),
            node: problem.node.map(|node| node.to_string()),
            node_name: problem.node.and_then(|node| names.get(&node).cloned()),
            detail: problem.detail,
        });
    }

    /// How old what is known of each datanode is, those that answer alike in one word.
    fn ages(&self) -> String {
        let age = |node: &NodeSeen| match (node.state, node.age_ms) {
            ("up" | "suspect" | "draining", Some(ms)) => format!("{} ago", duration(ms)),
            ("up" | "suspect" | "draining", None) => "not told yet".to_owned(),
            (state, _) => state.to_owned(),
        };
        let mut groups: Vec<(String, Vec<String>)> = Vec::new();
        for node in &self.nodes {
            let (age, name) = (age(node), plain(&node.node));
            match groups.iter_mut().find(|(known, _)| *known == age) {
                Some((_, names)) => names.push(name),
                None => groups.push((age, vec![name])),
            }
        }
        let said = |(age, names): &(String, Vec<String>)| format!("{age} ({})", names.join(", "));
        groups.iter().map(said).collect::<Vec<_>>().join(", ")
    }

    fn exit(&self) -> Exit {
        match () {
            () if self.lost + self.unreachable + self.metadata > 0 => Exit::HealthError,
            () if self.problems.is_empty() && self.not_looked_at == 0 => Exit::Ok,
            () => Exit::HealthWarn,
        }
    }
}

impl View for FsckView {
    fn page(&self, page: &mut Page) {
        let paint = page.paint;
        for problem in self.problems.iter().take(SHOWN) {
            let head = match problem.kind {
                "lost" | "unreachable" | "metadata" => paint.red(problem.kind),
                kind => paint.yellow(kind),
            };
            let place = problem.path.as_deref().map_or_else(String::new, |path| format!("{}: ", plain(path)));
            let node =
                problem.node_name.as_deref().map_or_else(String::new, |name| format!(" ({})", plain(name)));
            page.line(format!("{head}  {place}{}{node}", plain(&problem.detail)));
        }
        if let Some(more) = self.problems.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            page.line(format!("and {more} more: dfsctl fsck -o jsonl"));
        }
        let looked = [
            count(self.files, "file"),
            count(self.directories, "directory"),
            count(self.chunks, "chunk"),
            count(self.copies, "copy"),
        ];
        page.line(format!("looked at {}", looked.join(", ")));
        page.line(format!("what the datanodes have is known as of: {}", self.ages()));
        match self.clean {
            true => page.line(paint.green("clean")),
            false if self.problems.is_empty() => page.line(paint.yellow(&format!(
                "nothing wrong was found, but {} yet all there is: ask again, or with --fresh",
                match self.not_looked_at {
                    1 => "1 datanode has not told".to_owned(),
                    more => format!("{more} datanodes have not told"),
                }
            ))),
            false => page.line(format!(
                "{} lost, {} unreachable, {} under-replicated, {} missing, {} corrupt, {} orphans, {} contradictions in the metadata",
                self.lost,
                self.unreachable,
                self.under_replicated,
                self.missing,
                self.corrupt,
                self.orphans,
                self.metadata
            )),
        }
    }

    /// What is wrong, then how old what is known of each datanode is.
    fn lines(&self) -> serde_json::Result<Vec<String>> {
        let seen = self.nodes.iter().map(|node| Ok(serde_json::json!({ "seen": node }).to_string()));
        self.problems.iter().map(serde_json::to_string).chain(seen).collect()
    }
}

/// Whether a datanode answers and has not told yet what it has.
fn is_young(node: &NodeStatus) -> bool {
    node.state.answers() && node.inventory_ms.is_none()
}

/// The datanodes, once each that answers has told what it has: anew, if that is wanted.
async fn look(client: &Client, fresh: bool) -> Outcome<Vec<NodeStatus>> {
    let began = Instant::now();
    if fresh {
        client.take_inventories().await?;
    }
    loop {
        let nodes = client.nodes().await?;
        let passed = began.elapsed();
        let since = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        let old = |node: &NodeStatus| {
            is_young(node) || fresh && node.state.answers() && node.inventory_ms.is_some_and(|ms| ms > since)
        };
        let waits: Vec<_> = nodes.iter().filter(|node| old(node)).map(|node| plain(&node.name)).collect();
        if waits.is_empty() || !fresh && passed > YOUNG {
            return Ok(nodes);
        }
        if passed > FRESH {
            let text = format!("no fresh inventory within {} from {}", duration(since), waits.join(", "));
            return Err(Failure::new(Exit::Unavailable, "NoInventory", text)
                .hint("look at the logs of those datanodes, or check without --fresh"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Runs `dfsctl fsck`.
///
/// # Errors
/// If the cluster cannot be asked.
pub(crate) async fn run(invocation: &Invocation, args: Args) -> Outcome<Exit> {
    let client = invocation.operator().await?;
    let nodes = look(&client, args.fresh).await?;
    let mut view = FsckView::default();
    let seen = |node: &NodeStatus| NodeSeen {
        node: node.name.clone(),
        state: node.state.name(),
        age_ms: node.inventory_ms,
    };
    view.nodes = nodes.iter().map(seen).collect();
    view.not_looked_at = nodes.iter().filter(|node| is_young(node)).count() as u64;
    let names: BTreeMap<_, _> = nodes.into_iter().map(|node| (node.node, node.name)).collect();
    let mut cursor = None;
    loop {
        let step = client.fsck_step(cursor).await?;
        view.files += step.files;
        view.directories += step.directories;
        view.chunks += step.chunks;
        view.copies += step.copies;
        for problem in step.problems {
            view.add(problem, &names);
        }
        cursor = step.next;
        if cursor.is_none() {
            break;
        }
    }
    view.clean = view.problems.is_empty() && view.not_looked_at == 0;
    invocation.output.print(&view)?;
    Ok(view.exit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(kinds: &[FsckKind]) -> FsckView {
        let mut view = FsckView::default();
        for &kind in kinds {
            view.add(
                FsckProblem { kind, path: None, chunk: None, node: None, detail: "x".into() },
                &BTreeMap::new(),
            );
        }
        view
    }

    #[test]
    fn a_chunk_that_files_share_is_named_for_each_and_counted_once() {
        let mut view = FsckView::default();
        for (path, node) in [("/a", 1), ("/b", 1), ("/b", 2)] {
            let problem = FsckProblem {
                kind: FsckKind::CopyMissing,
                path: Some(path.parse().unwrap()),
                chunk: Some(ChunkId(7)),
                node: Some(NodeId(node)),
                detail: "x".into(),
            };
            view.add(problem, &BTreeMap::new());
        }
        assert_eq!((view.missing, view.problems.len()), (2, 3));
        assert_eq!(super::tests::view(&[FsckKind::Metadata; 2]).metadata, 2);
    }

    #[test]
    fn json_lines_tell_the_ages_too() {
        let mut view = view(&[FsckKind::Orphan]);
        view.nodes = vec![NodeSeen { node: "dn1".into(), state: "up", age_ms: Some(7) }];
        let lines = view.lines().unwrap();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1], r#"{"seen":{"age_ms":7,"node":"dn1","state":"up"}}"#);
    }

    #[test]
    fn the_exit_code_tells_lost_data_from_untidiness() {
        assert_eq!(view(&[]).exit(), Exit::Ok);
        for kind in
            [FsckKind::UnderReplicated, FsckKind::CopyMissing, FsckKind::CopyCorrupt, FsckKind::Orphan]
        {
            assert_eq!(view(&[kind]).exit(), Exit::HealthWarn);
        }
        assert_eq!(view(&[FsckKind::Orphan, FsckKind::ChunkLost]).exit(), Exit::HealthError);
        assert_eq!(view(&[FsckKind::ChunkUnreachable]).exit(), Exit::HealthError);
        assert_eq!(view(&[FsckKind::Metadata]).exit(), Exit::HealthError);
    }
}
