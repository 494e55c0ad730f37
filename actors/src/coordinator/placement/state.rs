//! The choice of nodes for a chunk, as a pure function, and the promises it takes into account.
//!
//! Power of two choices (Mitzenmacher 2001): draw two nodes, each with a probability in proportion to its free space,
//! and take the less loaded. The draw keeps disks of different sizes equally full, the comparison keeps queues short,
//! and neither herds everybody to the one node that looked best in the last heartbeat.
//!
//! Copies of a chunk never share a node, and share a zone only when there are fewer zones with room than copies.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use dfs_wire::id::NodeId;
use dfs_wire::message::membership::{DiskHealth, NodeState};
use dfs_wire::message::metadata::PlacementReason;
use dfs_wire::status::{Status, StatusCode};
use dfs_wire::units::size;

use crate::coordinator::membership::NodeView;

/// Nodes named in an error text; the rest are counted.
const NAMED_MAX: usize = 8;
/// What a client should wait before it asks again: a heartbeat or so.
const RETRY_AFTER_MS: u32 = 2_000;
/// What to do when the disks have no room for a chunk, or for all of a file.
pub const NO_SPACE_HINT: &str = "delete files (and purge the trash), or add datanodes or disks";

/// Chunks of one file to find nodes for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceChunks {
    /// Room that a copy of each chunk may take; one entry a chunk.
    pub bytes: Vec<u64>,
    /// Copies of each.
    pub copies: u8,
    /// Fewest copies to go on with.
    pub min_ack: u8,
    /// Nodes that just failed the client.
    pub exclude: Vec<NodeId>,
}

/// What is asked of placement for one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Demand<'a> {
    /// Copies that the chunk is to have.
    pub copies: u8,
    /// Fewest copies to go on with when there are not enough nodes.
    pub min_ack: u8,
    /// Room that each copy may take.
    pub bytes: u64,
    /// Nodes that just failed the client.
    pub exclude: &'a [NodeId],
}

impl Demand<'_> {
    /// Nodes without which the write is refused: a file of one copy needs one, any other at least `min_ack`.
    pub(crate) fn needed(&self) -> usize {
        usize::from(self.copies.min(self.min_ack).max(1))
    }
}

/// Where a chunk goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The nodes, the primary first.
    pub nodes: Vec<NodeId>,
    /// What was thought of every node, in the order of the candidates.
    pub reasons: Vec<PlacementReason>,
}

/// What was given to a node within one heartbeat.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Promise {
    bytes: u64,
    picks: u32,
}

/// Promises to one node. A promise lives until the second report after it: the first may have been on its way, or the
/// client not yet there, when it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct NodePressure {
    report: u64,
    fresh: Promise,
    aging: Promise,
}

/// Room and work promised to nodes since they last reported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pressure {
    nodes: BTreeMap<NodeId, NodePressure>,
}

impl Pressure {
    /// Ages promises of nodes that have reported since, and forgets nodes that are gone.
    pub(crate) fn observe<N: Borrow<NodeView>>(&mut self, candidates: &[N]) {
        let report = |c: &N| (c.borrow().entry.node, c.borrow().report);
        let known: BTreeMap<NodeId, u64> = candidates.iter().map(report).collect();
        self.nodes.retain(|node, _| known.contains_key(node));
        for (node, pressure) in &mut self.nodes {
            let Some(&report) = known.get(node) else { continue };
            match report.saturating_sub(pressure.report) {
                0 if report == pressure.report => continue,
                1 => pressure.aging = std::mem::take(&mut pressure.fresh),
                // Several reports, or a count that began anew: nothing of the old is still open.
                _ => (pressure.aging, pressure.fresh) = (Promise::default(), Promise::default()),
            }
            pressure.report = report;
        }
    }

    /// Notes that `bytes` were promised on `node`, whose last report was number `report`.
    pub(crate) fn promise(&mut self, node: NodeId, report: u64, bytes: u64) {
        let pressure = self.nodes.entry(node).or_insert(NodePressure { report, ..NodePressure::default() });
        pressure.fresh.bytes = pressure.fresh.bytes.saturating_add(bytes);
        pressure.fresh.picks = pressure.fresh.picks.saturating_add(1);
    }

    /// Bytes promised to `node` that its last report may not know of.
    pub(crate) fn promised_bytes(&self, node: NodeId) -> u64 {
        self.nodes.get(&node).map_or(0, |p| p.fresh.bytes.saturating_add(p.aging.bytes))
    }

    /// Without the promises that a report has followed: if the client has come, the report knows of it.
    #[must_use]
    pub(crate) fn fresh_only(&self) -> Self {
        let fresh = |p: &NodePressure| NodePressure { aging: Promise::default(), ..*p };
        Self { nodes: self.nodes.iter().map(|(node, p)| (*node, fresh(p))).collect() }
    }

    /// Bytes promised to all nodes.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.nodes.keys().fold(0, |sum: u64, node| sum.saturating_add(self.promised_bytes(*node)))
    }

    fn picks(&self, node: NodeId) -> u32 {
        self.nodes.get(&node).map_or(0, |p| p.fresh.picks)
    }
}

/// A candidate that may be chosen, with its numbers.
struct Usable<'a> {
    at: usize,
    candidate: &'a NodeView,
    free: u64,
    work: u64,
}

impl Usable<'_> {
    /// Weight in the draw. In MiB, so that sums over a cluster stay far from the end of the numbers.
    fn weight(&self) -> u64 {
        (self.free >> 20).saturating_add(1)
    }

    fn detail(&self) -> String {
        format!("{} free, {} writes", size(self.free), self.work)
    }
}

/// Why a node cannot take a chunk: a stable word, and the numbers.
fn refusal(candidate: &NodeView, free: u64, demand: &Demand<'_>) -> Option<(&'static str, String)> {
    let load = &candidate.load;
    match candidate.entry.state {
        NodeState::Down => return Some(("down", "not heard of for too long".to_owned())),
        NodeState::Suspect => return Some(("suspect", "not heard of lately".to_owned())),
        NodeState::Left => return Some(("left", "stopped on purpose".to_owned())),
        NodeState::Draining => return Some(("draining", "is being emptied".to_owned())),
        NodeState::Lost => return Some(("lost", "another node has its name and address".to_owned())),
        NodeState::Forgotten => return Some(("forgotten", "an operator forgot it".to_owned())),
        NodeState::Up => {}
    }
    match &load.disk {
        DiskHealth::Failed(why) | DiskHealth::ReadOnly(why) => return Some(("disk_failed", why.clone())),
        DiskHealth::Full => return Some(("full", format!("{} free, all kept in reserve", size(free)))),
        DiskHealth::Writable => {}
    }
    if free < demand.bytes {
        return Some(("full", format!("{} free, {} needed", size(free), size(demand.bytes))));
    }
    let excluded = demand.exclude.contains(&candidate.entry.node);
    excluded.then(|| ("excluded", "just failed the client that asks".to_owned()))
}

/// Why new chunks do not go to this node now, as a sentence; `None` if they may.
pub fn not_writable(candidate: &NodeView) -> Option<String> {
    let demand = Demand { copies: 1, min_ack: 1, bytes: 1, exclude: &[] };
    refusal(candidate, candidate.load.available, &demand).map(|(rule, detail)| format!("{rule}: {detail}"))
}

/// Places all chunks or none, and takes the promises down if all went well.
///
/// # Errors
/// As [`place`].
pub(crate) fn place_all<N: Borrow<NodeView>>(
    candidates: &[N],
    pressure: &mut Pressure,
    request: &PlaceChunks,
    below: &mut dyn FnMut(u64) -> u64,
) -> Result<Vec<Placed>, Status> {
    pressure.observe(candidates);
    let mut promised = pressure.clone();
    let mut all = Vec::with_capacity(request.bytes.len());
    for bytes in &request.bytes {
        let demand = Demand {
            copies: request.copies,
            min_ack: request.min_ack,
            bytes: *bytes,
            exclude: &request.exclude,
        };
        let placed = match place(candidates, &promised, &demand, below) {
            // An old promise may be counted twice, here and in the report: nobody is refused for that.
            Err(status) if status.code == StatusCode::NoSpace => {
                place(candidates, &promised.fresh_only(), &demand, below)?
            }
            other => other?,
        };
        for node in &placed.nodes {
            let report =
                candidates.iter().map(N::borrow).find(|c| c.entry.node == *node).map_or(0, |c| c.report);
            promised.promise(*node, report, *bytes);
        }
        all.push(placed);
    }
    *pressure = promised;
    Ok(all)
}

/// Chooses nodes for one chunk. `below(n)` gives a random number under `n`.
///
/// Fewer usable nodes than copies is no failure as long as there are [`Demand::needed`]: the file is then
/// under-replicated until a node returns.
///
/// # Errors
/// `NoSpace` if it is room that is missing, else `NoWriteQuorum`; both name the nodes and what is wrong with each.
pub(crate) fn place<N: Borrow<NodeView>>(
    candidates: &[N],
    pressure: &Pressure,
    demand: &Demand<'_>,
    below: &mut dyn FnMut(u64) -> u64,
) -> Result<Placed, Status> {
    let mut reasons = Vec::with_capacity(candidates.len());
    let mut usable = Vec::new();
    for (at, candidate) in candidates.iter().map(N::borrow).enumerate() {
        let free = candidate.load.available.saturating_sub(pressure.promised_bytes(candidate.entry.node));
        let refused = refusal(candidate, free, demand);
        if refused.is_none() {
            let load = &candidate.load;
            let work = u64::from(load.write_streams)
                + u64::from(load.disk_queue)
                + u64::from(pressure.picks(candidate.entry.node));
            usable.push(Usable { at, candidate, free, work });
        }
        let (rule, detail) = refused.unwrap_or(("enough", String::new()));
        reasons.push(PlacementReason {
            node: candidate.entry.node,
            name: candidate.entry.name.clone(),
            chosen: false,
            rule: rule.to_owned(),
            detail,
        });
    }
    if usable.len() < demand.needed() {
        return Err(too_few(usable.len(), demand, &reasons));
    }
    Ok(choose(usable, demand, reasons, below))
}

fn choose(
    mut usable: Vec<Usable<'_>>,
    demand: &Demand<'_>,
    mut reasons: Vec<PlacementReason>,
    below: &mut dyn FnMut(u64) -> u64,
) -> Placed {
    let mut nodes = Vec::with_capacity(usize::from(demand.copies));
    let mut zones: BTreeMap<&str, u32> = BTreeMap::new();
    let mut say = |at: usize, chosen: bool, rule: &str, detail: String| {
        if let Some(reason) = reasons.get_mut(at) {
            (reason.chosen, reason.rule, reason.detail) = (chosen, rule.to_owned(), detail);
        }
    };
    for one in &usable {
        say(one.at, false, "enough", one.detail());
    }
    while nodes.len() < usize::from(demand.copies) {
        let taken = |u: &Usable<'_>| zones.get(u.candidate.entry.zone.as_str()).copied().unwrap_or(0);
        let Some(least) = usable.iter().map(taken).min() else { break };
        let pool: Vec<usize> =
            (0..usable.len()).filter(|&i| usable.get(i).map(taken) == Some(least)).collect();
        for one in usable.iter().filter(|u| taken(u) > least) {
            say(one.at, false, "zone", format!("zone {:?} has a copy already", one.candidate.entry.zone));
        }
        let Some(first) = draw(&usable, &pool, below) else { break };
        let rest: Vec<usize> = pool.into_iter().filter(|&i| i != first).collect();
        let second = draw(&usable, &rest, below);
        let winner = second.filter(|&other| is_lighter(&usable, other, first)).unwrap_or(first);
        if let Some(loser) = second.map(|other| if winner == first { other } else { first }) {
            let (Some(lost), Some(won)) = (usable.get(loser), usable.get(winner)) else { break };
            say(
                lost.at,
                false,
                "busier",
                format!("{}; {} has {}", lost.detail(), won.candidate.entry.name, won.detail()),
            );
        }
        let chosen = usable.swap_remove(winner);
        say(chosen.at, true, "chosen", chosen.detail());
        *zones.entry(chosen.candidate.entry.zone.as_str()).or_default() += 1;
        nodes.push(chosen.candidate.entry.node);
    }
    Placed { nodes, reasons }
}

/// One of `pool`, in proportion to free space.
fn draw(usable: &[Usable<'_>], pool: &[usize], below: &mut dyn FnMut(u64) -> u64) -> Option<usize> {
    let weight = |i: &usize| usable.get(*i).map_or(0, Usable::weight);
    let total: u64 = pool.iter().map(weight).fold(0, u64::saturating_add);
    if total == 0 {
        return None;
    }
    let mut ticket = below(total);
    for i in pool {
        match ticket.checked_sub(weight(i)) {
            Some(rest) => ticket = rest,
            None => return Some(*i),
        }
    }
    pool.last().copied()
}

fn is_lighter(usable: &[Usable<'_>], a: usize, b: usize) -> bool {
    match (usable.get(a), usable.get(b)) {
        (Some(a), Some(b)) => (a.work, std::cmp::Reverse(a.free)) < (b.work, std::cmp::Reverse(b.free)),
        _ => false,
    }
}

fn too_few(usable: usize, demand: &Demand<'_>, reasons: &[PlacementReason]) -> Status {
    if reasons.is_empty() {
        return Status::new(StatusCode::NoWriteQuorum, "no datanode has registered with this coordinator")
            .hint("start a datanode that points at this coordinator")
            .retry_after_ms(RETRY_AFTER_MS);
    }
    let refused: Vec<_> = reasons.iter().filter(|r| r.rule != "enough").collect();
    let mut named: Vec<String> =
        refused.iter().take(NAMED_MAX).map(|r| format!("{} is {} ({})", r.name, r.rule, r.detail)).collect();
    if refused.len() > NAMED_MAX {
        named.push(format!("and {} more", refused.len() - NAMED_MAX));
    }
    let counts =
        format!("{usable} of {} datanodes can take this chunk, {} needed", reasons.len(), demand.needed());
    let by = |rule: &str| refused.iter().filter(|r| r.rule == rule).count();
    // Those that failed the client a moment ago may be there again in the next: it is not room alone that is missing.
    let may_return = usable + by("excluded") >= demand.needed();
    if usable + by("full") >= demand.needed() && !may_return {
        return Status::new(StatusCode::NoSpace, format!("{counts}: {}", named.join(", ")))
            .hint(NO_SPACE_HINT);
    }
    Status::new(StatusCode::NoWriteQuorum, format!("{counts}: {}", named.join(", ")))
        .hint("bring the named datanodes back; `dfsctl nodes` shows them")
        .retry_after_ms(RETRY_AFTER_MS)
}

#[cfg(test)]
mod tests;
