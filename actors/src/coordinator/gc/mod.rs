//! Garbage collection: what nothing refers to any more is given back, step by step, whatever crashes in between.
//!
//! `actor` drives the bounded steps of the metadata in cycles; the queues they work off are rows of
//! the metadata, so that a cycle goes on after a crash where its last commit left it. What becomes of the bytes is each
//! datanode's business.

mod actor;
mod health;
mod messages;
mod state;

pub use actor::{Gc, GcArgs};
pub use health::{GcHealth, Stuck};
pub use messages::GcMsg;
pub use state::GcConfig;
