//! The records of the trash, and what lies in it.

use dfs_wire::id::InodeId;
use dfs_wire::path::DfsPath;
use serde::{Deserialize, Serialize};

use super::{FileBody, Inode};
use crate::coordinator::metadata::table::totals::Usage;

/// The root of a deleted tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrashEntry {
    /// The path it had.
    pub path: DfsPath,
    /// When it was deleted.
    pub deleted_ms: u64,
    /// When it will be purged.
    pub expires_ms: u64,
    /// What was counted of it so far.
    pub usage: Usage,
}

/// Where the count of a deleted directory goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrashWalk {
    /// A directory in it, or itself.
    pub directory: InodeId,
    /// The name up to which that directory is done, with all that lies below; empty at its begin.
    pub after: String,
}

/// How far the trash has been searched for entries that were emptied out of it. One pass is enough: whatever is deleted
/// meanwhile is dated after the horizon.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrashSweep {
    /// The horizon it is for; another one begins a new search.
    pub horizon_ms: u64,
    /// The last row of the expiry table that was looked at.
    pub after: Vec<u8>,
    /// Nothing is left.
    pub done: bool,
}

impl Inode {
    /// What the file takes; nothing for a directory.
    pub fn usage(&self) -> Usage {
        let of_body = |body: FileBody| Usage {
            bytes: body.size,
            raw_bytes: body.size.saturating_mul(u64::from(body.replication)),
        };
        self.file.map_or_else(Usage::default, of_body)
    }
}
