//! Why a chunk is where it is, and what became of it.

use dfs_wire::id::NodeId;
use dfs_wire::message::metadata::CopyTurn;
use serde::{Deserialize, Serialize};

use super::StoredReason;

/// Turns that are kept of one chunk.
pub const LIFE_KEPT_MAX: usize = 16;

/// Why a chunk is where it is: what placement thought when it was written, and what became of its copies since.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reasons {
    /// The chosen nodes first, then some of those passed over.
    pub reasons: Vec<StoredReason>,
    /// When they were chosen, by the wall clock; `None` in rows of builds that did not keep it.
    pub placed_ms: Option<u64>,
    /// What became of the copies, the oldest first: at most [`LIFE_KEPT_MAX`].
    pub life: Vec<StoredTurn>,
    /// Turns before those.
    pub forgotten: u32,
}

/// What became of one copy, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredTurn {
    /// When, by the wall clock: it is for people.
    pub at_ms: u64,
    /// Whose copy it is or was.
    pub node: NodeId,
    /// What became of it.
    pub turn: CopyTurn,
}

impl Reasons {
    /// Adds the latest turn, and lets the oldest go if they become too many.
    pub fn note(&mut self, turn: StoredTurn) {
        let beyond = (self.life.len() + 1).saturating_sub(LIFE_KEPT_MAX);
        self.life.drain(..beyond);
        self.forgotten = self.forgotten.saturating_add(u32::try_from(beyond).unwrap_or(u32::MAX));
        self.life.push(turn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_turns_are_kept_and_those_before_are_counted() {
        let mut kept = Reasons::default();
        for at_ms in 0..20 {
            kept.note(StoredTurn { at_ms, node: NodeId(1), turn: CopyTurn::Missing });
        }
        assert_eq!((kept.life.len(), kept.forgotten), (LIFE_KEPT_MAX, 4));
        let ends = (kept.life.first().map(|it| it.at_ms), kept.life.last().map(|it| it.at_ms));
        assert_eq!(ends, (Some(4), Some(19)));
    }
}
