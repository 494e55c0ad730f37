//! How many of each there are: counted by the transactions themselves, in the same commit as what is counted.

use serde::{Deserialize, Serialize};

/// What files take, as `du` counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Bytes of their contents.
    pub bytes: u64,
    /// Those times the copies that each file asks for.
    pub raw_bytes: u64,
}

impl Usage {
    /// So much more.
    pub fn add(&mut self, more: Self) {
        self.bytes = self.bytes.saturating_add(more.bytes);
        self.raw_bytes = self.raw_bytes.saturating_add(more.raw_bytes);
    }

    /// So much less.
    pub fn subtract(&mut self, less: Self) {
        self.bytes = self.bytes.saturating_sub(less.bytes);
        self.raw_bytes = self.raw_bytes.saturating_sub(less.raw_bytes);
    }
}

/// How many of each there are, kept in step with the tables.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Files, those in the trash included.
    pub files: u64,
    /// Directories, those in the trash included, the root not.
    pub directories: u64,
    /// Chunk records, dying ones included.
    pub chunks: u64,
    /// Chunks with fewer good copies than wanted.
    pub under_replicated: u64,
    /// Of those, chunks of which no copy is known that may be good.
    pub lost: u64,
    /// Entries in the trash.
    pub trash: u64,
    /// What was counted of them so far.
    pub trash_usage: Usage,
    /// Tombstones not yet confirmed.
    pub tombstones: u64,
    /// Upload sessions open.
    pub uploads: u64,
    /// How often a live chunk had a good copy less, began with one at most, or had one at most while its copies changed:
    /// while this stays, a look at all of them has missed none that depends on one node.
    pub worsened: u64,
}
