//! What is said of single nodes: their state, their disks, what they say of themselves.

use dfs_wire::message::admin::{HealthFinding, HealthLevel};
use dfs_wire::message::membership::{DiskHealth, NodeState};
use dfs_wire::units::size;

use super::signs::{DELETIONS_COUNTED, Signs};
use super::words::{finding, some, span};
use crate::coordinator::membership::NodeView;
use crate::coordinator::membership::WaitingNode;

fn warn(code: &str, message: String, hint: &str) -> HealthFinding {
    finding(code, HealthLevel::Warn, message, hint)
}

/// Deletions that wait for a node, as a part of a sentence; empty if there are none.
fn waits(deletions: u64, whom: &str) -> String {
    match deletions {
        0 => String::new(),
        1 => format!("; 1 deletion waits for {whom}"),
        n if n >= DELETIONS_COUNTED as u64 => format!("; {n} deletions or more wait for {whom}"),
        n => format!("; {n} deletions wait for {whom}"),
    }
}

/// What is said of a node that is not there. Deletions wait for it until it comes back and confirms them, or is forgotten.
pub(super) fn state(node: &NodeView, signs: &Signs<'_>) -> Option<HealthFinding> {
    let (name, address) = (&node.entry.name, &node.entry.address);
    let deletions = || (signs.deletions)(node.entry.node);
    let leased = node.entry.state != NodeState::Left;
    if let Some(rest) = node.grace_until_ms.filter(|until| leased && *until > signs.now_ms) {
        return Some(leased_until(node, rest - signs.now_ms));
    }
    match node.entry.state {
        NodeState::Down => {
            let mut hint = "start it again, or check the network between it and the coordinator".to_owned();
            let waiting = waits(deletions(), name);
            if !waiting.is_empty() {
                hint += &format!("; if it will not come back, `dfsctl nodes forget {name}` ends them");
            }
            Some(warn("NODE_DOWN", format!("datanode {name} ({address}) is down{waiting}"), &hint))
        }
        NodeState::Suspect => Some(warn(
            "NODE_SUSPECT",
            format!("datanode {name} ({address}) has not been heard of lately"),
            "it gets no new chunks until it reports again",
        )),
        NodeState::Lost => {
            // By its id: its name is another node's now.
            let (id, waiting) = (node.entry.node, waits(deletions(), "it"));
            let hint = match waiting.as_str() {
                "" => format!("forget it: `dfsctl nodes forget {id}`"),
                _ => format!("`dfsctl nodes forget {id}` ends them"),
            };
            Some(warn(
                "NODE_LOST",
                format!(
                    "datanode {name} ({address}) is lost: another node took its name and address{waiting}"
                ),
                &format!("once nothing needs its copies any more, {hint}"),
            ))
        }
        NodeState::Left => left(node, signs, deletions),
        NodeState::Up | NodeState::Draining | NodeState::Forgotten => None,
    }
}

/// What is said of a node that an operator has down for maintenance.
fn leased_until(node: &NodeView, rest_ms: u64) -> HealthFinding {
    let (name, state) = (&node.entry.name, node.entry.state);
    let message = format!(
        "datanode {name} is {state}, and in maintenance for {} more: its copies are not made elsewhere meanwhile, but those of \
         chunks with one good copy left",
        span(rest_ms)
    );
    let hint = format!("`dfsctl maintenance stop {name}` ends it");
    finding("MAINTENANCE", HealthLevel::Ok, message, &hint)
}

/// What is said of a node that stopped on purpose while something is expected of it.
fn left(node: &NodeView, signs: &Signs<'_>, deletions: impl Fn() -> u64) -> Option<HealthFinding> {
    let (name, copies) = (&node.entry.name, signs.census.expected(node.entry.node));
    let copies_are = || some(copies, "copy is", "copies are");
    let ago = span(signs.now_ms.saturating_sub(node.since_ms));
    let rest = node.grace_until_ms.map_or(0, |until| until.saturating_sub(signs.now_ms));
    if rest > 0 {
        let message = || {
            format!(
                "datanode {name} stopped on purpose {ago} ago: for {} more it alarms nobody that {} on it",
                span(rest),
                copies_are()
            )
        };
        return (copies > 0)
            .then(|| finding("MAINTENANCE", HealthLevel::Ok, message(), "start it again before that"));
    }
    let held = if copies > 0 { format!(": {} on it", copies_are()) } else { String::new() };
    let waiting = waits(deletions(), name);
    let message =
        format!("datanode {name} stopped on purpose {ago} ago and has not come back{held}{waiting}");
    let hint = format!(
        "start it again; if it will not come back, `dfsctl nodes forget {name}` ends the wait for it"
    );
    (copies > 0 || !waiting.is_empty()).then(|| warn("NODE_LEFT", message, &hint))
}

/// What is said of a node's disk. Of a node that is gone nothing is known.
pub(super) fn disk(node: &NodeView) -> Option<HealthFinding> {
    let name = &node.entry.name;
    match &node.load.disk {
        _ if matches!(node.entry.state, NodeState::Left | NodeState::Lost) => None,
        DiskHealth::Writable => None,
        DiskHealth::Full => Some(warn(
            "DISK_FULL",
            format!("the disk of {name} is full: {} are used by chunks", size(node.load.used)),
            "delete files and purge the trash, enlarge the disk, or add datanodes",
        )),
        DiskHealth::ReadOnly(why) | DiskHealth::Failed(why) => Some(warn(
            "DISK_FAILED",
            format!("the disk of {name} takes no writes: {why}"),
            "check the disk and its log; restart the datanode once it is repaired or replaced",
        )),
    }
}

/// What is said of a node with so many bad copies.
pub(super) fn corrupt(node: &NodeView, copies: u64) -> Option<HealthFinding> {
    let message = || format!("{} holds {copies} bad copies of chunks", node.entry.name);
    let hint = "readers are served from other copies; check that disk; `dfsctl fsck` names the files";
    (copies > 0).then(|| warn("CORRUPT_COPIES", message(), hint))
}

/// What a node that reports says of itself.
pub(super) fn told_by(node: &NodeView) -> impl Iterator<Item = HealthFinding> {
    let reports = node.entry.state.answers();
    let name = &node.entry.name;
    let named = move |told: &HealthFinding| HealthFinding {
        message: format!("datanode {name}: {}", told.message),
        ..told.clone()
    };
    node.findings.iter().filter(move |_| reports).map(named)
}

/// A node that asks to join.
pub(super) fn waiting(waiting: &WaitingNode) -> HealthFinding {
    let record = &waiting.record;
    finding(
        "NODE_WAITING",
        HealthLevel::Warn,
        format!("datanode {} ({}) waits for an operator's yes: {}", record.name, record.address, waiting.why),
        &format!("let it in with `dfsctl nodes admit {}`, or stop it", waiting.node),
    )
    .about(&record.name)
}
