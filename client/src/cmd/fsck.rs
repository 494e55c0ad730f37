//! `dfsctl fsck`: checks the metadata against what the nodes hold.

use std::collections::BTreeMap;

use dfs_wire::id::NodeId;
use dfs_wire::message::metadata::{FsckKind, FsckProblem};
use serde::Serialize;

use super::context::Context;
use super::exit::Exit;
use super::failure::Outcome;
use super::output::View;
use super::output::page::Page;
use super::output::text::{count, plain};

/// Problems that are printed for people; all are in the machine formats.
const SHOWN: usize = 200;

/// Checks the metadata against what the nodes hold; changes nothing
///
/// Exit code 0 if all is well, 10 if something is missing, superfluous or bad but every chunk can be read, 11 if a chunk
/// cannot or the metadata contradicts itself.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// What `fsck` prints.
#[derive(Debug, Default, Serialize)]
pub struct FsckView {
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
    /// Each thing that is wrong.
    pub problems: Vec<ProblemView>,
}

/// One thing that is wrong.
#[derive(Debug, Serialize)]
pub struct ProblemView {
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
    /// A sentence.
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
        *counter += 1;
        self.problems.push(ProblemView {
            kind,
            path: problem.path.map(|path| path.to_string()),
            chunk: problem.chunk.map(|chunk| chunk.to_string()),
            node: problem.node.map(|node| node.to_string()),
            node_name: problem.node.and_then(|node| names.get(&node).cloned()),
            detail: problem.detail,
        });
    }

    fn exit(&self) -> Exit {
        match () {
            () if self.lost + self.unreachable + self.metadata > 0 => Exit::HealthError,
            () if self.problems.is_empty() => Exit::Ok,
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
        match self.clean {
            true => page.line(paint.green("clean")),
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

    fn lines(&self) -> serde_json::Result<Vec<String>> {
        self.problems.iter().map(serde_json::to_string).collect()
    }
}

/// Runs `dfsctl fsck`.
///
/// # Errors
/// If the cluster cannot be asked.
pub async fn run(context: &Context, _args: Args) -> Outcome<Exit> {
    let client = context.operator().await?;
    let names: BTreeMap<_, _> =
        client.nodes().await?.into_iter().map(|node| (node.node, node.name)).collect();
    let mut view = FsckView::default();
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
    view.clean = view.problems.is_empty();
    context.output.print(&view)?;
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
