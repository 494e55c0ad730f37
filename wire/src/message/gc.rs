//! Garbage collection as an operator sees it: what waits to be freed, and until when.

use serde::{Deserialize, Serialize};

/// Where what was stored is on its way to being free space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum GarbageKind {
    /// Referred to by a version: not on its way. That of the trash and of what is pending is part of it.
    Live,
    /// Deleted, and can be brought back.
    Trash,
    /// Versions that nothing refers to any more: they wait until nobody may be reading them.
    Pending,
    /// Copies that nothing refers to any more: their nodes are told to delete them.
    Orphan,
    /// Files that nodes have taken out of service and keep for a while.
    Quarantined,
}

impl GarbageKind {
    /// All of them, in the order in which one becomes the next.
    pub const ALL: [Self; 5] = [Self::Live, Self::Trash, Self::Pending, Self::Orphan, Self::Quarantined];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Trash => "trash",
            Self::Pending => "pending",
            Self::Orphan => "orphan",
            Self::Quarantined => "quarantined",
        }
    }

    /// What is counted of it.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Live => "file",
            Self::Trash => "entry",
            Self::Pending => "version",
            Self::Orphan | Self::Quarantined => "copy",
        }
    }
}

/// How much there is of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Garbage {
    /// Which kind.
    pub kind: GarbageKind,
    /// Files, entries of the trash, versions or copies, as [`GarbageKind::unit`] says.
    pub count: u64,
    /// Bytes of their contents on all disks.
    pub bytes: u64,
    /// Only so many were counted: there are more.
    pub more: bool,
    /// Of them, those that nothing keeps any longer: the next round takes them on.
    pub due: u64,
    /// In so many milliseconds the first of it goes on; `None` if that is not known, or there is none.
    pub first_ms: Option<u64>,
    /// In so many milliseconds the last of it has gone on; `None` if that is not known, or there is none.
    pub last_ms: Option<u64>,
}

/// Begin a round of garbage collection at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunGc {
    /// What it is to take on. Nothing goes before its time.
    pub kind: GarbageKind,
    /// Only say what is due.
    pub dry_run: bool,
}

/// What a round of garbage collection takes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcBegun {
    /// How much of the kind is due; `None` where nobody counts that before.
    pub due: Option<u64>,
    /// There is more than was counted.
    pub more: bool,
}
