//! A datanode's control connection to its coordinator.
//!
//! Heartbeats and inventories go over one connection of their own, so that they never wait behind chunks. The actor
//! owns it: it dials when something is to be said, keeps it alive, and gives up on calls that wait too long. It does
//! not retry: what to say again, and when, is the business of who says it.

mod actor;
mod link;
mod messages;
mod state;

pub use actor::{Control, ControlArgs};
pub use link::{ControlLink, CoordinatorLink};
pub use messages::{Call, ControlMsg};
