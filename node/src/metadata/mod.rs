//! Engines behind [`dfs_actors::coordinator::metadata::table::store::MetadataStore`] (redb here; the one in memory is in dfs-actors), their
//! contract suite, and the thread on which commits block.

pub mod lane;
mod opening;
pub mod redb;
mod watched;

#[cfg(test)]
mod tests;
