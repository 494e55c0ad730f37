//! The namespace: what files there are, what they are made of, and where the pieces lie.
//!
//! ```text
//!              Mutation (by value)                     MetadataRequest that only reads
//!                     |                                            |
//!   writer/: one writer, group commit                  reader.rs: over committed snapshots
//!                     |                                            |
//!                ops/* on a Txn  ------------ the same View ------ ops/* on a snapshot
//!                     |                                            |
//!   table/txn.rs: Overlay -> batches      table/store.rs: MetadataStore (memory, redb; engines live in dfs-node)
//! ```
//!
//! [`table::keys`] draws the tables, [`model::records`] says what is in them, [`table::format`] how they are written; [`model::worth`] says what a chunk
//! is worth, [`model::census`] what all of them are. Everything but the actor, and where it and the reads block, is pure.

pub mod migrate;
pub mod model;
pub mod ops;
pub mod reader;
pub mod table;
pub mod writer;

pub use table::error::MetaError;

#[cfg(test)]
mod tests;
