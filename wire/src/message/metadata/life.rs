//! What became of the copies of a chunk, and why. The coordinator keeps turns and causes as they are here: variants are only ever added, at the
//! end.

use serde::{Deserialize, Serialize};

use crate::id::NodeId;

/// Why the coordinator had a copy made, or ordered one away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CopyCause {
    /// The chunk had fewer good copies than wanted.
    Repair,
    /// A node is being emptied.
    Drain,
    /// A node is fuller than others.
    Balance,
    /// The chunk has more copies than wanted.
    Surplus,
    /// The copy is bad, and makes room.
    Corrupt,
}

impl CopyCause {
    /// The one word for it in text, metrics and documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Repair => "repair",
            Self::Drain => "drain",
            Self::Balance => "balance",
            Self::Surplus => "surplus",
            Self::Corrupt => "corrupt",
        }
    }
}

/// What became of one copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CopyTurn {
    /// It was made from another one, and read whole.
    Copied(CopyCause),
    /// Its node has read it whole, and it is what it should be.
    Verified,
    /// Its node does not have it.
    Missing,
    /// Its node has it after all, or has one that nobody knew of.
    Returned,
    /// Its node has read it, and it is not what it should be.
    Corrupt,
    /// Its node is told to delete it.
    Dropping(CopyCause),
    /// The order to delete it was taken back.
    Kept,
    /// Its node has deleted it.
    Deleted,
    /// Its node was forgotten.
    Forgotten,
}

impl CopyTurn {
    /// The one word for it in text, metrics and documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Copied(_) => "copied",
            Self::Verified => "verified",
            Self::Missing => "missing",
            Self::Returned => "returned",
            Self::Corrupt => "corrupt",
            Self::Dropping(_) => "dropping",
            Self::Kept => "kept",
            Self::Deleted => "deleted",
            Self::Forgotten => "forgotten",
        }
    }

    /// Why the coordinator had it so, where it was the coordinator's doing.
    pub const fn cause(self) -> Option<CopyCause> {
        match self {
            Self::Copied(cause) | Self::Dropping(cause) => Some(cause),
            _ => None,
        }
    }
}

/// What became of a copy of a chunk, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyEvent {
    /// When, by the wall clock, in milliseconds since 1970.
    pub at_ms: u64,
    /// Whose copy it is or was.
    pub node: NodeId,
    /// Its name for people.
    pub name: String,
    /// What became of it.
    pub turn: CopyTurn,
}
