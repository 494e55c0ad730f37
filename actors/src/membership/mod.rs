//! Who belongs to the cluster and how they are.
//!
//! [`state`] is the register of nodes as a pure machine; [`view`] is the picture of it that everyone else reads;
//! [`actor`] gives it a mailbox, a clock and a voice.

pub mod actor;
pub mod messages;
pub mod state;
pub mod view;
