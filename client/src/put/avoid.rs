//! Nodes that an upload keeps out of its allocations for a while.
//!
//! ```text
//!   it failed                                             -> failed
//!   it stored its copy, but too few others did through it -> doubted: either it reaches nobody, or they are away
//!
//!   too few nodes are left  -> the doubted are let in first, then the failed
//! ```
//!
//! Who is away is known to the coordinator only after some seconds of silence. Where most nodes have just died, the ones that are left
//! are found so: each of them stores its own copy.

use std::collections::BTreeMap;
use std::time::Duration;

use dfs_wire::id::NodeId;
use tokio::time::Instant;

/// How long: the coordinator knows better by then.
const AVOID_FOR: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy)]
struct Fault {
    since: Instant,
    /// It may be that others were at fault.
    doubted: bool,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Avoided(BTreeMap<NodeId, Fault>);

impl Avoided {
    /// The node failed.
    pub(super) fn failed(&mut self, node: NodeId, now: Instant) {
        self.0.insert(node, Fault { since: now, doubted: false });
    }

    /// The node did its part, and the write failed all the same.
    pub(super) fn doubted(&mut self, node: NodeId, now: Instant) {
        let known = self.0.get(&node).is_some_and(|fault| !fault.is_over(now));
        if !known {
            self.0.insert(node, Fault { since: now, doubted: true });
        }
    }

    /// Whether the node is kept out now.
    pub(super) fn contains(&self, node: NodeId, now: Instant) -> bool {
        self.0.get(&node).is_some_and(|fault| !fault.is_over(now))
    }

    /// All that are kept out now.
    pub(super) fn nodes(&mut self, now: Instant) -> Vec<NodeId> {
        self.0.retain(|_, fault| !fault.is_over(now));
        self.0.keys().copied().collect()
    }

    /// Lets those in whose fault it may not have been; whether there were any.
    pub(super) fn let_doubted_in(&mut self) -> bool {
        let before = self.0.len();
        self.0.retain(|_, fault| !fault.doubted);
        self.0.len() < before
    }

    /// Lets everybody in.
    pub(super) fn let_all_in(&mut self) {
        self.0.clear();
    }
}

impl Fault {
    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.since) >= AVOID_FOR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_doubted_are_let_in_first_and_nobody_is_kept_out_for_long() {
        let (now, mut avoided) = (Instant::now(), Avoided::default());
        avoided.failed(NodeId(2), now);
        avoided.doubted(NodeId(3), now);
        assert_eq!(avoided.nodes(now), [NodeId(2), NodeId(3)]);
        assert!(avoided.let_doubted_in());
        assert_eq!(avoided.nodes(now), [NodeId(2)]);
        assert!(!avoided.let_doubted_in());
        let (almost, later) = (now + AVOID_FOR - Duration::from_millis(1), now + AVOID_FOR);
        assert!(avoided.contains(NodeId(2), almost) && !avoided.contains(NodeId(2), later));
        assert!(avoided.nodes(later).is_empty());
    }

    #[test]
    fn a_node_that_failed_is_not_let_in_for_a_doubt() {
        let (now, mut avoided) = (Instant::now(), Avoided::default());
        avoided.failed(NodeId(2), now);
        avoided.doubted(NodeId(2), now);
        assert!(!avoided.let_doubted_in());
        avoided.doubted(NodeId(3), now);
        avoided.failed(NodeId(3), now);
        assert!(!avoided.let_doubted_in(), "what is certain stays");
        avoided.let_all_in();
        assert!(avoided.nodes(now).is_empty());
    }
}
