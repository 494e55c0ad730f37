//! What a chunk is worth: the one place where the state of a copy and the state of its node meet.
//!
//! ```text
//!   node \ copy          good        unverified   corrupt   missing, dropping
//!   up suspect draining  good        unverified   bad       -
//!   down left            away        away         -         -        "announced" while it may be away: it said that it goes, or an operator did
//!   lost forgotten       -           -            -         -
//!
//!   good >= wanted                          safe
//!   good + announced >= wanted, good >= 1   maintenance
//!   good + unverified >= 1                  under_replicated
//!   away >= 1                               unreachable
//!   else                                    lost
//! ```
//!
//! `fsck`, `status`, `explain`, metrics and the judgement of inventories all ask here, so that no two of them can disagree.
//! `nodes forget` asks for more: what was never verified proves nothing there. Nothing is stored: a node that changes its state changes no row of a chunk.

use dfs_wire::bugs::{self, Bug};
use dfs_wire::id::NodeId;
use dfs_wire::message::membership::NodeState;
use dfs_wire::message::metadata::{ChunkHealth, CopyState};

/// How far the copies of a node can be counted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reach {
    /// They can be read now, as far as is known.
    Here,
    /// They cannot be read now, but may come back.
    Away {
        /// The node said that it goes, and its grace is not over.
        announced: bool,
    },
    /// They will not come back.
    Gone,
}

impl Reach {
    /// How far the copies of a node in this state can be counted on; `in_grace` = it left lately and said so, or an operator did.
    pub const fn of(state: NodeState, in_grace: bool) -> Self {
        match state {
            NodeState::Up | NodeState::Suspect | NodeState::Draining => Self::Here,
            NodeState::Down | NodeState::Left => Self::Away { announced: in_grace },
            NodeState::Lost | NodeState::Forgotten => Self::Gone,
        }
    }
}

/// Says how far a node's copies can be counted on.
pub type Reaches<'a> = &'a dyn Fn(NodeId) -> Reach;

/// The copies of a chunk, counted by what they are good for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Worth {
    /// Copies asked for.
    pub wanted: u8,
    /// Good copies that can be read now.
    pub good: u8,
    /// Copies that can be read now and may be good.
    pub unverified: u8,
    /// Copies that may be good, on nodes that cannot be asked now.
    pub away: u8,
    /// Good ones of those, on nodes whose absence was announced, by themselves or by an operator.
    pub announced: u8,
    /// Copies that can be asked for and are known to be bad.
    pub bad: u8,
}

impl Worth {
    /// What these copies are worth together.
    pub fn of(wanted: u8, copies: impl Iterator<Item = (NodeId, CopyState)>, reach: Reaches<'_>) -> Self {
        let mut worth = Self { wanted, ..Self::default() };
        for (node, state) in copies {
            match (reach(node), state) {
                (Reach::Gone, _) | (_, CopyState::Missing | CopyState::Dropping) => {}
                (Reach::Here, CopyState::Good) => worth.good += 1,
                (Reach::Away { .. }, CopyState::Good) if bugs::is(Bug::CountDeadCopies) => worth.good += 1,
                (Reach::Here, CopyState::Unverified) => worth.unverified += 1,
                (Reach::Here, CopyState::Corrupt) => worth.bad += 1,
                (Reach::Away { .. }, CopyState::Corrupt) => {}
                (Reach::Away { announced }, CopyState::Good) => {
                    worth.away += 1;
                    worth.announced += u8::from(announced);
                }
                (Reach::Away { .. }, CopyState::Unverified) => worth.away += 1,
            }
        }
        worth
    }

    /// The one word for it.
    pub fn health(&self) -> ChunkHealth {
        if self.good >= self.wanted {
            ChunkHealth::Safe
        } else if self.good >= 1 && self.good.saturating_add(self.announced) >= self.wanted {
            ChunkHealth::Maintenance
        } else if self.good > 0 || self.unverified > 0 {
            ChunkHealth::UnderReplicated
        } else if self.away > 0 {
            ChunkHealth::Unreachable
        } else {
            ChunkHealth::Lost
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REACHES: [Reach; 4] =
        [Reach::Here, Reach::Away { announced: false }, Reach::Away { announced: true }, Reach::Gone];
    const STATES: [CopyState; 5] =
        [CopyState::Good, CopyState::Unverified, CopyState::Corrupt, CopyState::Missing, CopyState::Dropping];

    fn health(wanted: u8, copies: &[(Reach, CopyState)]) -> ChunkHealth {
        let reach = |node: NodeId| copies[usize::try_from(node.0).unwrap()].0;
        let listed = copies.iter().enumerate().map(|(at, copy)| (NodeId(at as u128), copy.1));
        Worth::of(wanted, listed, &reach).health()
    }

    #[test]
    fn each_pair_of_states_counts_as_what_both_make_of_it() {
        use ChunkHealth::{Lost, Maintenance, Safe, UnderReplicated, Unreachable};
        use CopyState::{Corrupt, Dropping, Good, Missing, Unverified};
        use Reach::{Away, Gone, Here};
        let (down, left) = (Away { announced: false }, Away { announced: true });
        let table: [(&[(Reach, CopyState)], ChunkHealth); 14] = [
            (&[(Here, Good), (Here, Good)], Safe),
            (&[(Here, Good), (left, Good)], Maintenance),
            (&[(Here, Good), (down, Good)], UnderReplicated),
            (&[(Here, Good), (left, Unverified)], UnderReplicated),
            (&[(left, Good), (left, Good)], Unreachable),
            (&[(down, Good), (Here, Corrupt)], Unreachable),
            (&[(Here, Unverified), (Here, Unverified)], UnderReplicated),
            (&[(Here, Unverified), (left, Good)], UnderReplicated),
            (&[(down, Unverified)], Unreachable),
            (&[(down, Corrupt)], Lost),
            (&[(Here, Missing), (Here, Dropping)], Lost),
            (&[(Gone, Good), (Gone, Good)], Lost),
            (&[(Gone, Good), (down, Good)], Unreachable),
            (&[], Lost),
        ];
        for (copies, expected) in table {
            assert_eq!(health(2, copies), expected, "{copies:?}");
        }
    }

    proptest! {
        #[test]
        fn a_better_copy_never_makes_a_chunk_worse(
            wanted in 1u8..4,
            copies in prop::collection::vec((0usize..4, 0usize..5), 0..6),
            at in 0usize..6,
        ) {
            let listed: Vec<_> = copies.iter().map(|(r, s)| (REACHES[*r], STATES[*s])).collect();
            let before = health(wanted, &listed);
            let mut better = listed.clone();
            if let Some(copy) = better.get_mut(at) {
                *copy = (Reach::Here, CopyState::Good);
            }
            prop_assert!(health(wanted, &better) <= before);
            let mut gone = listed;
            gone.iter_mut().for_each(|copy| copy.0 = Reach::Gone);
            prop_assert_eq!(health(wanted, &gone), ChunkHealth::Lost);
        }
    }
}
