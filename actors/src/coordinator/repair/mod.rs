//! Repair: a chunk with fewer good copies than it is to have gets new ones, without anybody's help.
//!
//! ```text
//!          a look: rows of the endangered, and of nodes whose copies do not count
//!   state <---------------------------------------------------------------- metadata
//!     | the most endangered first, bounded by node and in all
//!     v
//!   errand: read its record again -> verify a copy that may be good, or copy a good one elsewhere
//!     | a request to the node that is to have it, which fetches the chunk from another datanode itself
//!     v
//!   receipt of that node -> a finding, which the writer applies if the chunk still is what it was
//! ```
//!
//! What operators wish of copies that are as they should be, `wishes`, comes last. `caution` says when repair holds back, `state` decides when to look and what comes first, `places` how much at once, `parked` who waits for that, without the world; `plan` decides what to do about
//! one chunk; `look` reads, `errands` talks to the nodes. Nothing here deletes: the last copy of a chunk cannot be lost by repair. What is
//! under way is remembered in memory alone: after a restart the next look finds what is still to be done, and a copy that
//! was made without anybody noting it is found by its node's inventory.

mod actor;
mod caution;
mod errands;
mod look;
mod messages;
mod parked;
mod places;
mod plan;
mod state;
mod tally;
mod wishes;

pub(super) use actor::{Repair, RepairArgs};
pub(super) use errands::{Errands, introduction};
pub(super) use messages::RepairMsg;
pub use state::RepairConfig;
pub(super) use tally::RepairHealth;
pub use tally::RepairTally;
pub(in crate::coordinator) use wishes::{Move, WishReceiver, Wishes, wish_channel};
