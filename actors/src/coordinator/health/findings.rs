//! What is said of the cluster as a whole, and all that is said in its order.

use dfs_wire::id::NodeId;
use dfs_wire::message::admin::{HealthFinding, HealthLevel};
use dfs_wire::message::metadata::ChunkHealth;
use dfs_wire::units::size;

use super::nodes;
use super::signs::Signs;
use super::words::{finding, some, span};
use crate::coordinator::metadata::model::records::UnknownReign;
use crate::coordinator::metadata::table::error::FREE_SPACE_HINT;
use crate::coordinator::metadata::writer::StoreTrouble;
use crate::coordinator::placement::not_writable;

/// What needs attention, the worst first.
pub(crate) fn findings(signs: &Signs<'_>) -> Vec<HealthFinding> {
    let mut all: Vec<HealthFinding> = signs.store.iter().map(of_store).collect();
    all.extend(signs.unknown_reign.map(outdated));
    all.extend(quorum(signs));
    for node in &signs.view.nodes {
        let of = nodes::state(node, signs).into_iter().chain(nodes::disk(node));
        let of = of.chain(nodes::corrupt(node, (signs.corrupt)(node))).chain(nodes::told_by(node));
        all.extend(of.map(|finding| finding.about(&node.entry.name)));
    }
    all.extend(signs.view.waiting.iter().map(nodes::waiting));
    all.extend(of_chunks(signs));
    all.extend(signs.stuck.iter().map(|stuck| {
        finding(
            "GC_STUCK",
            HealthLevel::Warn,
            format!(
                "garbage collection ({}) has failed {} times in a row: {}",
                stuck.step.name(),
                stuck.failures,
                stuck.cause
            ),
            "its space is not given back until it gets on; `dfsctl fsck` checks the metadata",
        )
    }));
    for mode in signs.unsafe_modes {
        all.push(finding(
            "UNSAFE",
            HealthLevel::Warn,
            format!("a weaker mode than the contract's is configured: {mode}"),
            "see the consistency document for what it gives up",
        ));
    }
    // Stable: within a level the order above stays.
    // What is so on purpose hides nothing else.
    all.sort_by_key(|finding| (std::cmp::Reverse(finding.level), finding.code == "UNSAFE"));
    all
}

/// Chunks that are not as their files ask, whoever is to blame.
fn of_chunks(signs: &Signs<'_>) -> Vec<HealthFinding> {
    let mut out = Vec::new();
    let lost = signs.census.of(ChunkHealth::Lost).chunks;
    if lost > 0 {
        out.push(finding(
            "CHUNKS_LOST",
            HealthLevel::Error,
            format!(
                "{} no copy that may be good: their files cannot be read",
                some(lost, "chunk has", "chunks have")
            ),
            "`dfsctl fsck` names the files; a disk that was taken out may still hold a copy",
        ));
    }
    let unreachable = signs.census.of(ChunkHealth::Unreachable).chunks;
    if unreachable > 0 {
        let away = signs.census.unreachable_on().take(NODES_NAMED + 1);
        let mut away: Vec<_> = away.map(|(node, _)| phrase(signs, node)).collect();
        if away.len() > NODES_NAMED {
            away.truncate(NODES_NAMED);
            away.push("others".to_owned());
        }
        out.push(finding(
            "CHUNKS_UNREACHABLE",
            HealthLevel::Error,
            format!(
                "{} cannot be read now: copies are on {}",
                some(unreachable, "chunk", "chunks"),
                away.join(", ")
            ),
            "start those datanodes; `dfsctl fsck` names the files",
        ));
    }
    let under = signs.census.of(ChunkHealth::UnderReplicated).chunks;
    if under > 0 {
        out.extend(of_repair(signs));
        out.push(finding(
            "UNDER_REPLICATED",
            HealthLevel::Warn,
            format!("{} fewer good copies that can be read than asked for", some(under, "chunk has", "chunks have")),
            "copies are made up by themselves if enough datanodes are up and have room: start those that are away, or \
             add one; `dfsctl fsck` names the files",
        ));
    }
    if signs.counting {
        out.push(finding(
            "COUNTING",
            HealthLevel::Warn,
            "a node changed its state, and the chunks are being counted since: what is said of them is of before".to_owned(),
            "ask again in some seconds",
        ));
    }
    out
}

/// Why what is missing is not made up.
fn of_repair(signs: &Signs<'_>) -> Option<HealthFinding> {
    let repair = signs.repair;
    if let Some(first) = repair.waits_for.first() {
        return Some(finding(
            "SAFE_MODE",
            HealthLevel::Warn,
            format!(
                "the coordinator has just started, and {} not heard of yet, {} among them: nothing is repaired for 10 minutes, or until those that have all copies or two of nearly all chunks have reported",
                some(repair.waits_for.len() as u64, "datanode was", "datanodes were"),
                signs.view.name(*first)
            ),
            "start the datanodes that are away; after that time repair goes on without them",
        ));
    }
    if let Some(cause) = &repair.sparing {
        return Some(finding(
            "MASS_FAILURE",
            HealthLevel::Error,
            format!("{cause}: only chunks with one good copy left are repaired"),
            "look for what they have in common, a switch or a power line; `dfsctl nodes forget` ends the wait for one, \
             `dfsctl maintenance start` says that one comes back",
        ));
    }
    repair.stalled().map(|cause| {
        finding(
            "REPAIR_STALLED",
            HealthLevel::Warn,
            format!("missing copies could not be made up, again and again; last because: {cause}"),
            "it is tried again by itself; `dfsctl nodes` says which datanodes have room",
        )
    })
}

/// Nodes that a sentence names.
const NODES_NAMED: usize = 4;

/// A node with how it is, and since when.
fn phrase(signs: &Signs<'_>, id: NodeId) -> String {
    let name = signs.view.name(id);
    let state = signs.view.state(id);
    match signs.view.node(id) {
        Some(node) => format!("{name} ({state} for {})", span(signs.now_ms.saturating_sub(node.since_ms))),
        None => format!("{name} ({state})"),
    }
}

/// Code of a metadata store that does not commit.
pub const METADATA_FAILING: &str = "METADATA_FAILING";
/// Code of a metadata store that takes nothing new for want of space.
pub const METADATA_DISK_FULL: &str = "METADATA_DISK_FULL";

fn of_store(trouble: &StoreTrouble) -> HealthFinding {
    match trouble {
        StoreTrouble::Failing(cause) => finding(
            METADATA_FAILING,
            HealthLevel::Error,
            format!("the metadata store does not commit, counts may be missing: {cause}"),
            "check the coordinator's disk and log; a store whose disk failed needs a restart of the coordinator",
        ),
        StoreTrouble::Hanging(seconds) => finding(
            METADATA_FAILING,
            HealthLevel::Error,
            format!("a commit to the metadata store has taken {seconds} s so far"),
            "check the coordinator's disk: it does not answer, or is far too slow",
        ),
        StoreTrouble::Tight(space) => finding(
            METADATA_DISK_FULL,
            HealthLevel::Error,
            format!(
                "the coordinator's metadata disk has {} left, {} are kept free: nothing new is taken",
                size(space.available),
                size(space.reserve)
            ),
            FREE_SPACE_HINT,
        ),
    }
}

/// The metadata is an old copy.
fn outdated(seen: &UnknownReign) -> HealthFinding {
    let UnknownReign { epoch, name, known, .. } = seen;
    let known = match known {
        Some(known) => format!("of which this metadata knows only those up to {known}"),
        None => "which this metadata does not know".to_owned(),
    };
    let what = format!("datanode {name} {}, {known}", seen.seen());
    finding(
        "METADATA_OUTDATED",
        HealthLevel::Error,
        format!(
            "{what}: it is an old copy, and what was written since is missing in it. Nothing is deleted, and nodes that have \
             seen more stay apart"
        ),
        &format!(
            "stop the coordinator and restore a newer copy of its metadata; to go on with this one and lose what was written \
             since, restart it with coordinator.give_up_epoch={epoch}"
        ),
    )
}

/// Whether chunks can be placed at all, and on as many nodes as files ask for by default.
fn quorum(signs: &Signs<'_>) -> Option<HealthFinding> {
    let usable = signs.view.nodes.iter().filter(|node| not_writable(node).is_none()).count();
    let wanted = usize::from(signs.policy.replication);
    let needed = wanted.min(usize::from(signs.policy.min_ack)).max(1);
    let total = signs.view.nodes.iter().filter(|node| node.entry.state.belongs()).count();
    if usable < needed {
        return Some(finding(
            "NO_WRITE_QUORUM",
            HealthLevel::Error,
            format!("{usable} of {total} datanodes can take chunks, {needed} are needed: writes are refused"),
            "start datanodes, or free space on them; `dfsctl nodes` says what is wrong with each",
        ));
    }
    (usable < wanted).then(|| {
        finding(
            "FEWER_NODES_THAN_RF",
            HealthLevel::Warn,
            format!("{usable} of {total} datanodes can take chunks, files ask for {wanted} copies"),
            "new files have fewer copies than asked for until more datanodes are usable",
        )
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dfs_wire::message::membership::{DiskHealth, NodeLoad, NodeState};
    use dfs_wire::message::metadata::CopyState;

    use super::*;
    use crate::coordinator::gc::Stuck;
    use crate::coordinator::health::signs::DELETIONS_COUNTED;
    use crate::coordinator::membership::{ClusterView, NodeView};
    use crate::coordinator::metadata::model::census::Census;
    use crate::coordinator::metadata::ops::Policy;
    use crate::coordinator::metadata::ops::mutation::Step;
    use crate::coordinator::repair::RepairTally;

    fn node(id: u128, state: NodeState, disk: DiskHealth) -> Arc<NodeView> {
        let load = NodeLoad { available: 1 << 30, disk, ..NodeLoad::default() };
        let mut node = NodeView { load, ..NodeView::for_tests(id) };
        (node.entry.state, node.entry.address) = (state, format!("h:{id}"));
        Arc::new(node)
    }

    /// So many chunks with one copy of two, and so many with none.
    fn census(under_replicated: u64, lost: u64) -> Census {
        let copies = |state| [(NodeId(1), state), (NodeId(2), CopyState::Missing)];
        let census = Census::default().with_group(2, &copies(CopyState::Good), under_replicated);
        census.with_group(2, &copies(CopyState::Missing), lost)
    }

    /// The messages and hints of findings about nodes, with so many deletions that wait for each and a copy expected on the first.
    fn words(nodes: Vec<Arc<NodeView>>, copies: u64, deletions: u64) -> Vec<String> {
        let view = ClusterView { version: 1, nodes, ..ClusterView::default() };
        let census = Census::default().with_group(1, &[(NodeId(4), CopyState::Good)], copies);
        let signs = Signs {
            view: &view,
            census: &census,
            counting: false,
            now_ms: 600_000,
            unknown_reign: None,
            policy: &Policy::default(),
            unsafe_modes: &[],
            store: None,
            stuck: &[],
            repair: &RepairTally::default(),
            corrupt: &|_| 0,
            deletions: &|_| deletions,
        };
        let said = |f: HealthFinding| format!("{} {} | {}", f.code, f.message, f.hint);
        findings(&signs).into_iter().map(said).collect()
    }

    #[test]
    fn deletions_that_wait_for_a_node_that_is_gone_name_it_and_what_ends_them() {
        use NodeState::{Down, Left, Lost, Up};
        let with = |state| {
            let up = (1..=3).map(|id| node(id, Up, DiskHealth::Writable));
            up.chain([node(4, state, DiskHealth::Writable)]).collect::<Vec<_>>()
        };
        let many = DELETIONS_COUNTED as u64;
        assert_eq!(words(with(Up), 1, 12), [""; 0], "one that answers is told, and confirms them");
        assert_eq!(
            words(with(Down), 1, 12),
            [
                "NODE_DOWN datanode dn-4 (h:4) is down; 12 deletions wait for dn-4 | start it again, or check the network \
              between it and the coordinator; if it will not come back, `dfsctl nodes forget dn-4` ends them"
            ]
        );
        assert_eq!(
            words(with(Down), 1, 0),
            [
                "NODE_DOWN datanode dn-4 (h:4) is down | start it again, or check the network between it and the coordinator"
            ]
        );
        assert_eq!(
            words(with(Left), 2, 1),
            [
                "NODE_LEFT datanode dn-4 stopped on purpose 10 min ago and has not come back: 2 copies are on it; 1 deletion \
              waits for dn-4 | start it again; if it will not come back, `dfsctl nodes forget dn-4` ends the wait for it"
            ]
        );
        assert_eq!(
            words(with(Left), 0, many),
            [
                "NODE_LEFT datanode dn-4 stopped on purpose 10 min ago and has not come back; 4096 deletions or more wait for \
              dn-4 | start it again; if it will not come back, `dfsctl nodes forget dn-4` ends the wait for it"
            ]
        );
        assert_eq!(words(with(Left), 0, 0), [""; 0], "nobody misses it");
        // Its name is another's now.
        let id = NodeId(4);
        assert_eq!(
            words(with(Lost), 1, 3),
            [format!(
                "NODE_LOST datanode dn-4 (h:4) is lost: another node took its name and address; 3 deletions wait for it | \
                 once nothing needs its copies any more, `dfsctl nodes forget {id}` ends them"
            )]
        );
        assert_eq!(
            words(with(Lost), 1, 0),
            [format!(
                "NODE_LOST datanode dn-4 (h:4) is lost: another node took its name and address | once nothing needs its \
                 copies any more, forget it: `dfsctl nodes forget {id}`"
            )]
        );
    }

    #[test]
    fn a_node_in_its_announced_maintenance_alarms_nobody() {
        let mut away = (*node(4, NodeState::Left, DiskHealth::Writable)).clone();
        (away.since_ms, away.grace_until_ms) = (590_000, Some(700_000));
        let up = (1..=3).map(|id| node(id, NodeState::Up, DiskHealth::Writable));
        let nodes: Vec<_> = up.chain([Arc::new(away)]).collect();
        assert_eq!(
            words(nodes.clone(), 1, 5),
            [
                "MAINTENANCE datanode dn-4 stopped on purpose 10 s ago: for 100 s more it alarms nobody that 1 copy is on it | \
              start it again before that"
            ]
        );
        assert_eq!(words(nodes, 0, 5), [""; 0]);
    }

    #[test]
    fn one_chunk_is_spoken_of_as_one() {
        assert_eq!(some(1, "chunk has", "chunks have"), "1 chunk has");
        assert_eq!(some(2, "chunk has", "chunks have"), "2 chunks have");
    }

    fn codes(nodes: Vec<Arc<NodeView>>, under_replicated: u64, corrupt: u64) -> Vec<(String, HealthLevel)> {
        let view = ClusterView { version: 1, nodes, ..ClusterView::default() };
        let census = census(under_replicated, 0);
        let unsafe_modes = if corrupt > 0 { vec!["min_ack 1".to_owned()] } else { vec![] };
        let signs = Signs {
            view: &view,
            census: &census,
            counting: false,
            now_ms: 0,
            unknown_reign: None,
            policy: &Policy::default(),
            unsafe_modes: &unsafe_modes,
            store: None,
            stuck: &[],
            repair: &RepairTally::default(),
            corrupt: &|_| corrupt,
            deletions: &|_| 0,
        };
        let found = findings(&signs);
        assert!(found.iter().all(|f| !f.message.is_empty() && !f.hint.is_empty()));
        found.into_iter().map(|f| (f.code, f.level)).collect()
    }

    #[test]
    fn lost_data_is_an_error_and_comes_first() {
        let nodes = (1..=3).map(|id| node(id, NodeState::Up, DiskHealth::Writable)).collect();
        let census = census(2, 1);
        let view = ClusterView { version: 1, nodes, ..ClusterView::default() };
        let policy = Policy::default();
        let mut repair = RepairTally::default();
        repair.sparing = Some("2 of 3 datanodes are down".to_owned());
        let stuck = [Stuck { step: Step::Purge, failures: 3, cause: "damaged".to_owned() }];
        let signs = Signs {
            view: &view,
            census: &census,
            counting: false,
            now_ms: 0,
            unknown_reign: None,
            policy: &policy,
            unsafe_modes: &[],
            store: Some(StoreTrouble::Hanging(11)),
            stuck: &stuck,
            repair: &repair,
            corrupt: &|_| 0,
            deletions: &|_| 0,
        };
        let codes: Vec<_> = findings(&signs).into_iter().map(|f| (f.code, f.level)).collect();
        let expected = [
            (METADATA_FAILING, HealthLevel::Error),
            ("CHUNKS_LOST", HealthLevel::Error),
            ("MASS_FAILURE", HealthLevel::Error),
            ("UNDER_REPLICATED", HealthLevel::Warn),
            ("GC_STUCK", HealthLevel::Warn),
        ];
        assert_eq!(codes, expected.map(|(code, level)| (code.to_owned(), level)));
    }

    #[test]
    fn each_trouble_has_its_code() {
        use NodeState::{Down, Left, Suspect, Up};
        let ok = || DiskHealth::Writable;
        let warn = |code: &str| (code.to_owned(), HealthLevel::Warn);
        let healthy = vec![node(1, Up, ok()), node(2, Up, ok()), node(3, Up, ok()), node(4, Left, ok())];
        assert_eq!(codes(healthy.clone(), 0, 0), []);
        let worn = codes(healthy, 7, 1);
        let bad = "CORRUPT_COPIES";
        let expected = [bad, bad, bad, bad, "UNDER_REPLICATED", "UNSAFE"].map(warn);
        assert_eq!(worn, expected);
        let two = vec![node(1, Up, ok()), node(2, Up, ok()), node(3, Down, ok())];
        assert_eq!(codes(two, 0, 0), [warn("FEWER_NODES_THAN_RF"), warn("NODE_DOWN")]);
        let one = vec![
            node(1, Up, ok()),
            node(2, Up, DiskHealth::Full),
            node(3, Suspect, ok()),
            node(4, Up, DiskHealth::Failed("EIO".into())),
        ];
        let expected = [
            ("NO_WRITE_QUORUM".to_owned(), HealthLevel::Error),
            warn("DISK_FULL"),
            warn("NODE_SUSPECT"),
            warn("DISK_FAILED"),
        ];
        assert_eq!(codes(one, 0, 0), expected);
        assert_eq!(codes(vec![], 0, 0).first().map(|f| f.1), Some(HealthLevel::Error));
    }
}
