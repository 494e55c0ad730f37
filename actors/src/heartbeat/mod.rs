//! A datanode's side of membership: joining, heartbeats, and what the node thereby knows of its coordinator.
//!
//! [`state`] is the pure machine, [`actor`] its shell; [`view`] is what the rest of the node reads, and where grants
//! are checked.

pub mod actor;
#[cfg(test)]
pub(crate) mod fakes;
pub mod messages;
pub mod state;
pub mod tree;
pub mod view;
