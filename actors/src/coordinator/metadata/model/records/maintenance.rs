//! What operators have said of nodes that may be away.

use std::collections::BTreeMap;

use dfs_wire::id::NodeId;
use dfs_wire::message::membership::NodeState;
use serde::{Deserialize, Serialize};

use crate::coordinator::metadata::table::format::Record;

/// An operator's word about a node. Times are the coordinator's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Maintenance {
    /// It may be away until then.
    Until(u64),
    /// Since then it may not be away any more.
    Over(u64),
}

/// The words that count, by node. One row: there are no more of them than nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaintainedNodes(pub BTreeMap<NodeId, Maintenance>);

impl Record for MaintainedNodes {}

impl Maintenance {
    /// Until when a node that is in this state since `since_ms` may be away without alarm, if at all. One that left on purpose has
    /// a grace of its own; an operator can make it longer, and end it, but does not make that of the next time shorter.
    pub fn grace_until(said: Option<Self>, state: NodeState, since_ms: u64, grace_ms: u64) -> Option<u64> {
        let own = since_ms.saturating_add(grace_ms);
        match (state, said) {
            (NodeState::Lost | NodeState::Forgotten, _) => None,
            (NodeState::Left, Some(Self::Over(at))) if at >= since_ms => Some(at),
            (NodeState::Left, Some(Self::Until(until))) => Some(own.max(until)),
            (NodeState::Left, _) => Some(own),
            (_, Some(Self::Until(until))) => Some(until),
            (_, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use NodeState::{Down, Forgotten, Left, Lost, Up};

    #[test]
    fn a_word_of_an_operator_lengthens_a_grace_or_ends_it() {
        let grace = |said, state| Maintenance::grace_until(said, state, 1_000, 600);
        assert_eq!((grace(None, Up), grace(None, Down), grace(None, Left)), (None, None, Some(1_600)));
        let until = |until| Some(Maintenance::Until(until));
        assert_eq!((grace(until(9_000), Down), grace(until(9_000), Left)), (Some(9_000), Some(9_000)));
        assert_eq!(grace(until(1_100), Left), Some(1_600), "it left, and has its own grace");
        let over = |at| Some(Maintenance::Over(at));
        assert_eq!((grace(over(1_300), Left), grace(over(1_300), Down)), (Some(1_300), None));
        assert_eq!(grace(over(999), Left), Some(1_600), "that was before it left");
        assert_eq!((grace(until(9_000), Lost), grace(until(9_000), Forgotten)), (None, None));
    }
}
