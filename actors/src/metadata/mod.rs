//! The namespace: what files there are, what they are made of, and where the pieces lie.
//!
//! ```text
//!              Mutation (by value)                     MetadataRequest that only reads
//!                     |                                            |
//!   writer.rs: one writer, group commit                reader.rs: over committed snapshots
//!                     |                                            |
//!                ops/* on a Txn  ------------ the same View ------ ops/* on a snapshot
//!                     |                                            |
//!   txn.rs: Overlay -> batches            store.rs: MetadataStore (memory, redb; engines live in dfs-node)
//! ```
//!
//! [`keys`] draws the tables, [`records`] says what is in them. Everything but the actor is pure.

pub mod chunks;
pub mod committer;
pub mod error;
pub mod keys;
pub mod memory;
pub mod ops;
pub mod reader;
pub mod records;
pub mod store;
pub mod store_health;
pub mod time;
pub mod tree;
pub mod txn;
pub mod view;
pub mod writer;

pub use error::MetaError;

#[cfg(test)]
mod tests;
