//! Garbage collection: what nothing refers to any more is given back, step by step, whatever crashes in between.
//!
//! On a coordinator, [`actor`] drives the bounded steps of the metadata in cycles; the queues they work off are rows of
//! the metadata, so that a cycle goes on after a crash where its last commit left it. On a datanode, [`orphan_gc`]
//! empties the quarantine.

pub mod actor;
pub mod health;
pub mod messages;
pub mod orphan_gc;
pub mod state;
