//! Whom a datanode obeys: what it knows of its coordinator, and the check of grants against it.

mod identity;
mod rule;
mod view;

pub use identity::{Heard, IdentityStore, Joined, SelfDescription};
pub use rule::Authority;
pub use view::{ClockReading, CoordinatorView, Knowledge, NodeAuthority, WantNews};
