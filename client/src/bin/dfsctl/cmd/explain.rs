//! `dfsctl explain`: where the chunks of files are, and why there.

use dfs_wire::message::membership::NodeState;
use dfs_wire::message::metadata::{
    ChunkExplanation, CopyCause, CopyEvent, CopyState, CopyTurn, Explained, PlacementReason, ReplicaLocation,
};
use serde::{Serialize, Serializer};

use crate::connect::invocation::Invocation;
use crate::operands::Operands;
use crate::output::exit::Exit;
use crate::output::failure::Outcome;
use crate::output::list::List;
use crate::output::object::object;
use crate::output::page::{Page, Paint};
use crate::output::text::{count, exact_time, hex, plain, present, size, time};
use crate::output::views::EntryView;

/// Shows where the chunks of files are, and why there
///
/// For each chunk its id, size and SHA-256, its copies, what placement thought of each node when it chose, and what became of
/// the copies since: which were made, found missing or bad, or deleted, when, and why.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    operands: Operands,
}

/// One file with all its chunks, as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct ExplainView {
    #[serde(flatten)]
    pub entry: EntryView,
    /// Its chunks, in order.
    pub chunk_list: Vec<ChunkView>,
}

/// One chunk, and why it has fewer copies than the file wants, beyond what its copies say by themselves.
#[derive(Debug)]
pub(crate) struct ChunkView {
    chunk: ChunkExplanation,
    lacking: Vec<String>,
}

#[derive(Debug)]
struct ReplicaView<'a>(&'a ReplicaLocation);

/// What placement thought of one node.
#[derive(Debug)]
struct ReasonView<'a>(&'a PlacementReason);

/// What became of one copy.
#[derive(Debug)]
struct TurnView<'a>(&'a CopyEvent);

impl Serialize for ChunkView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { chunk, lacking } = self;
        object!(serializer, {
            "index": chunk.index,
            "chunk": chunk.chunk.to_string(),
            "generation": chunk.generation.0,
            "size": chunk.len,
            "sha256": hex(&chunk.sha256),
            "references": chunk.references,
            "health": chunk.health.name(),
            "replicas": chunk.replicas.iter().map(ReplicaView).collect::<Vec<_>>(),
            "reasons": chunk.reasons.iter().map(ReasonView).collect::<Vec<_>>(),
            "lacking": lacking,
            "placed": chunk.placed_ms.map(exact_time),
            "life": chunk.life.iter().map(TurnView).collect::<Vec<_>>(),
            "life_forgotten": chunk.life_forgotten,
        })
    }
}

impl Serialize for ReplicaView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(replica) = self;
        object!(serializer, {
            "node": replica.name,
            "node_id": replica.node.to_string(),
            "address": present(&replica.address),
            "node_state": replica.node_state.name(),
            "copy": replica.copy.name(),
        })
    }
}

impl Serialize for TurnView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let CopyEvent { at_ms, node, name, turn } = self.0;
        object!(serializer, {
            "time": exact_time(*at_ms),
            "node": name,
            "node_id": node.to_string(),
            "turn": turn.name(),
            "cause": turn.cause().map(CopyCause::name),
        })
    }
}

impl Serialize for ReasonView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(reason) = self;
        object!(serializer, {
            "node": reason.name,
            "node_id": reason.node.to_string(),
            "chosen": reason.chosen,
            "rule": reason.rule,
            "detail": reason.detail,
        })
    }
}

/// Why a chunk has fewer copies than wanted, beyond what its copies say by themselves.
fn lacking(chunk: &ChunkExplanation, wanted: u8) -> Vec<String> {
    let wanted = usize::from(wanted);
    let usable = |copy| matches!(copy, CopyState::Good | CopyState::Unverified);
    if chunk.replicas.iter().filter(|replica| usable(replica.copy)).count() >= wanted {
        return Vec::new();
    }
    let mut why = Vec::new();
    let chosen: Vec<_> = chunk.reasons.iter().filter(|reason| reason.chosen).collect();
    for reason in &chosen {
        if chunk.replicas.iter().all(|replica| replica.node != reason.node) {
            why.push(format!("the copy planned on {} never arrived", reason.name));
        }
    }
    if !chosen.is_empty() && chosen.len() < wanted {
        why.push(format!("only {} of {wanted} nodes could take one when it was written", chosen.len()));
    }
    why
}

impl From<Explained> for ExplainView {
    fn from(explained: Explained) -> Self {
        let wanted = explained.stat.replication;
        let chunk = |chunk| ChunkView { lacking: lacking(&chunk, wanted), chunk };
        Self {
            entry: EntryView::from(&explained.stat),
            chunk_list: explained.chunks.into_iter().map(chunk).collect(),
        }
    }
}

impl ExplainView {
    fn text(&self, paint: Paint, columns: Option<usize>) -> String {
        let mut page = Page::within(paint, columns);
        let chunks = count(self.chunk_list.len() as u64, "chunk");
        let copies = self.entry.replication.unwrap_or(0);
        let head = paint.bold(&plain(&self.entry.path));
        let wanted = count(u64::from(copies), "copy");
        page.line(format!("{head}: {} in {chunks}, {wanted} wanted of each", size(self.entry.size)));
        page.line(format!("version {}", self.entry.version.as_deref().unwrap_or("-")));
        for chunk in &self.chunk_list {
            chunk.text(&mut page);
        }
        page.finish()
    }
}

impl ReplicaView<'_> {
    /// One phrase: where, and how good that is.
    fn text(&self, paint: Paint) -> String {
        let Self(replica) = self;
        let address = present(&replica.address).unwrap_or("address not known");
        let head = format!("  copy on {} ({}): ", plain(&replica.name), plain(address));
        let (copy, state) = (replica.copy.name(), replica.node_state.name());
        let phrase = match (replica.copy, replica.node_state) {
            (CopyState::Good, NodeState::Up) => paint.green("good"),
            (CopyState::Unverified, NodeState::Up) => paint.yellow("there, not verified yet"),
            (_, NodeState::Up) => paint.red(copy),
            (CopyState::Good, _) => paint.red(&format!("was good, but the node is {state}")),
            _ => paint.red(&format!("{copy}, and the node is {state}")),
        };
        head + &phrase
    }
}

impl ChunkView {
    fn text(&self, page: &mut Page) {
        let (paint, Self { chunk, lacking }) = (page.paint, self);
        page.line("");
        let head = paint.bold(&format!("chunk {}", chunk.index));
        let (generation, bytes) = (chunk.generation, size(u64::from(chunk.len)));
        page.line(format!("{head}  {}  generation {generation}  {bytes}", chunk.chunk));
        page.line(format!("  sha256 {}", hex(&chunk.sha256)));
        for replica in &chunk.replicas {
            page.line(ReplicaView(replica).text(paint));
        }
        for why in lacking {
            page.line(paint.yellow(&format!("  lacks a copy: {}", plain(why))));
        }
        for reason in &chunk.reasons {
            let mark = if reason.chosen { "chosen" } else { "passed over" };
            let (node, rule, detail) = (plain(&reason.name), plain(&reason.rule), plain(&reason.detail));
            page.line(paint.dim(&format!("  {mark}: {node} ({rule}) {detail}")));
        }
        if let Some(placed) = chunk.placed_ms {
            page.line(format!("  {}  placed, and writing began", time(placed)));
        }
        if chunk.life_forgotten > 0 {
            page.line(paint.dim(&format!("  ... {} before these are forgotten", chunk.life_forgotten)));
        }
        for turn in &chunk.life {
            page.line(TurnView(turn).text());
        }
    }
}

impl TurnView<'_> {
    /// One phrase: when, whose copy, what became of it, and why.
    fn text(&self) -> String {
        let CopyEvent { at_ms, name, turn, .. } = self.0;
        let phrase = match turn {
            CopyTurn::Copied(CopyCause::Drain) => "copied, because a node is emptied",
            CopyTurn::Copied(CopyCause::Balance) => "copied, because another node is fuller",
            CopyTurn::Copied(_) => "copied, because there were too few",
            CopyTurn::Verified => "read whole, and good",
            CopyTurn::Missing => "missing: the node does not have it",
            CopyTurn::Returned => "there after all, to be verified",
            CopyTurn::Corrupt => "corrupt: the node read something else",
            CopyTurn::Dropping(CopyCause::Drain) => "to be deleted, because the node is emptied",
            CopyTurn::Dropping(CopyCause::Balance) => "to be deleted, because it is elsewhere now",
            CopyTurn::Dropping(CopyCause::Corrupt) => "to be deleted, because it is corrupt",
            CopyTurn::Dropping(_) => "to be deleted, because there are more than wanted",
            CopyTurn::Kept => "kept after all, to be verified",
            CopyTurn::Deleted => "deleted",
            CopyTurn::Forgotten => "given up with its node, which was forgotten",
        };
        format!("  {}  copy on {} {phrase}", time(*at_ms), plain(name))
    }
}

/// Runs `dfsctl explain`.
///
/// # Errors
/// If a path is not there or is a directory.
pub(crate) async fn run(invocation: &Invocation, args: Args) -> Outcome<Exit> {
    let client = invocation.operator().await?;
    let (paths, mut tally) = args.operands.expand(invocation, &client).await;
    let mut list = List::new(invocation.output, "files");
    for (index, path) in paths.iter().enumerate() {
        match client.explain(path).await {
            Ok(explained) => {
                let view = ExplainView::from(explained);
                if index > 0 {
                    list.human_line("");
                }
                tally.count(list.push(&view, |paint| view.text(paint, invocation.output.columns)));
            }
            Err(e) => tally.fail(e.into()),
        }
    }
    list.finish_after(&tally)?;
    tally.finish("files")?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use dfs_wire::id::{ChunkId, Generation, NodeId};
    use dfs_wire::message::metadata::ChunkHealth;

    use super::*;

    fn chunk(copies: &[(u128, CopyState)], chosen: &[u128]) -> ChunkExplanation {
        let replicas = copies.iter().map(|(id, copy)| ReplicaLocation {
            node: NodeId(*id),
            name: format!("dn{id}"),
            address: String::new(),
            mac: Default::default(),
            node_state: NodeState::Up,
            copy: *copy,
        });
        let reasons = [1, 2, 3].map(|id| PlacementReason {
            node: NodeId(id),
            name: format!("dn{id}"),
            chosen: chosen.contains(&id),
            rule: String::new(),
            detail: String::new(),
        });
        ChunkExplanation {
            index: 0,
            chunk: ChunkId(1),
            generation: Generation(1),
            len: 1,
            sha256: [0; 32],
            references: 1,
            health: ChunkHealth::Safe,
            replicas: replicas.collect(),
            reasons: reasons.to_vec(),
            placed_ms: Some(1_000_000_000_000),
            life: vec![CopyEvent {
                at_ms: 1_000_000_060_000,
                node: NodeId(4),
                name: "dn4".to_owned(),
                turn: CopyTurn::Copied(CopyCause::Repair),
            }],
            life_forgotten: 1,
        }
    }

    #[test]
    fn the_json_of_a_chunk_is_a_promise() {
        let chunk = chunk(&[(1, CopyState::Good)], &[1]);
        let view = ChunkView { lacking: lacking(&chunk, 2), chunk };
        let expected = r#"{
  "index": 0,
  "chunk": "00000000000000000000000000000001",
  "generation": 1,
  "size": 1,
  "sha256": "0000000000000000000000000000000000000000000000000000000000000000",
  "references": 1,
  "health": "safe",
  "replicas": [
    {
      "node": "dn1",
      "node_id": "00000000000000000000000000000001",
      "address": null,
      "node_state": "up",
      "copy": "good"
    }
  ],
  "reasons": [
    {
      "node": "dn1",
      "node_id": "00000000000000000000000000000001",
      "chosen": true,
      "rule": "",
      "detail": ""
    },
    {
      "node": "dn2",
      "node_id": "00000000000000000000000000000002",
      "chosen": false,
      "rule": "",
      "detail": ""
    },
    {
      "node": "dn3",
      "node_id": "00000000000000000000000000000003",
      "chosen": false,
      "rule": "",
      "detail": ""
    }
  ],
  "lacking": [
    "only 1 of 2 nodes could take one when it was written"
  ],
  "placed": "2001-09-09T01:46:40.000Z",
  "life": [
    {
      "time": "2001-09-09T01:47:40.000Z",
      "node": "dn4",
      "node_id": "00000000000000000000000000000004",
      "turn": "copied",
      "cause": "repair"
    }
  ],
  "life_forgotten": 1
}"#;
        assert_eq!(serde_json::to_string_pretty(&view).unwrap(), expected);
    }

    #[test]
    fn a_chunk_with_too_few_copies_says_why() {
        use CopyState::{Corrupt, Good, Unverified};
        let all = chunk(&[(1, Good), (2, Unverified), (3, Good)], &[1, 2, 3]);
        assert_eq!(lacking(&all, 3), [""; 0]);
        let late = chunk(&[(1, Good), (2, Good)], &[1, 2, 3]);
        assert_eq!(lacking(&late, 3), ["the copy planned on dn3 never arrived"]);
        let few = chunk(&[(1, Good), (2, Corrupt)], &[1, 2]);
        let said = ["only 2 of 3 nodes could take one when it was written"];
        assert_eq!(lacking(&few, 3), said);
    }

    #[test]
    fn nothing_wraps_at_forty_columns() {
        let chunk = chunk(&[(1, CopyState::Good), (2, CopyState::Corrupt)], &[1, 2, 3]);
        let stat = crate::output::views::tests::file("/some/path/that/is/longer/than/forty/columns", 3);
        let view = ExplainView::from(Explained { stat, chunks: vec![chunk], next: None });
        let text = view.text(Paint::new(false), Some(40));
        // A path stays whole, and is wrapped by the terminal.
        assert!(
            text.lines().all(|line| line.chars().count() <= 40 || line.contains("/some/path/that")),
            "{text}"
        );
        assert!(text.contains("  copy on dn1 (address not known): good\n"), "{text}");
        assert!(view.text(Paint::new(false), None).contains(&format!("  sha256 {}\n", "0".repeat(64))));
    }

    #[test]
    fn a_copy_has_one_phrase() {
        let said = |copy: CopyState, node_state: NodeState, address: &str| {
            let mut chunk = chunk(&[(1, copy)], &[1]);
            let replica = chunk.replicas.first_mut().unwrap();
            (replica.node_state, replica.address) = (node_state, address.to_owned());
            ReplicaView(replica).text(Paint::new(false))
        };
        let text = [
            said(CopyState::Good, NodeState::Up, "h:1"),
            said(CopyState::Unverified, NodeState::Up, "h:1"),
            said(CopyState::Corrupt, NodeState::Up, "h:1"),
            said(CopyState::Good, NodeState::Down, ""),
            said(CopyState::Missing, NodeState::Left, "h:1"),
        ];
        let expected = [
            "  copy on dn1 (h:1): good",
            "  copy on dn1 (h:1): there, not verified yet",
            "  copy on dn1 (h:1): corrupt",
            "  copy on dn1 (address not known): was good, but the node is down",
            "  copy on dn1 (h:1): missing, and the node is left",
        ];
        assert_eq!(text, expected);
    }
}
