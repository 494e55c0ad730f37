//! What needs attention: said by a datanode of itself, and by the coordinator of everything.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::absent;

/// The codes that findings have, of the coordinator and of datanodes.
pub const HEALTH_CODES: [&str; 26] = [
    "CHUNKS_LOST",
    "CHUNKS_UNREACHABLE",
    "CORRUPT_COPIES",
    "COUNTING",
    "DISK_FAILED",
    "DISK_FULL",
    "FEWER_NODES_THAN_RF",
    "GC_STUCK",
    "MAINTENANCE",
    "MASS_DELETE_STOPPED",
    "MASS_FAILURE",
    "METADATA_DISK_FULL",
    "METADATA_FAILING",
    "METADATA_OUTDATED",
    "NODE_DOWN",
    "NODE_LEFT",
    "NODE_LOST",
    "NODE_SUSPECT",
    "NODE_WAITING",
    "NO_WRITE_QUORUM",
    "REPAIR_STALLED",
    "SAFE_MODE",
    "SCRUB_OVERDUE",
    "SCRUB_UNREADABLE",
    "UNDER_REPLICATED",
    "UNSAFE",
];

/// Those of them that say that something cannot be read or written: nobody may call that well, so they cannot be muted.
pub const HEALTH_CODES_NEVER_MUTED: [&str; 8] = [
    "CHUNKS_LOST",
    "CHUNKS_UNREACHABLE",
    "MASS_DELETE_STOPPED",
    "MASS_FAILURE",
    "METADATA_DISK_FULL",
    "METADATA_FAILING",
    "METADATA_OUTDATED",
    "NO_WRITE_QUORUM",
];

/// Longest time for which operators may hear nothing of a finding.
pub const MUTE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthLevel {
    /// All is well.
    Ok,
    /// Data is safe, something needs attention.
    Warn,
    /// Data cannot be written or read.
    Error,
}

/// One thing that needs attention.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthFinding {
    /// Stable code (`NODE_DOWN`, `UNDER_REPLICATED`, `NO_WRITE_QUORUM`, `DISK_FULL`, ...).
    pub code: String,
    /// How bad.
    pub level: HealthLevel,
    /// A sentence with names and numbers.
    pub message: String,
    /// What an operator can do about it.
    #[serde(with = "absent")]
    pub hint: String,
    /// The name of the datanode that it is about; empty = it is about the cluster, or about whoever says it.
    #[serde(with = "absent")]
    pub subject: String,
    /// Milliseconds since it needs attention, as far as whoever says it remembers.
    pub age_ms: u64,
    /// Milliseconds for which operators want to hear nothing of it; 0 = it is not muted.
    pub muted_ms: u64,
}

impl HealthFinding {
    /// Something that needs attention from now on.
    pub fn new(code: &str, level: HealthLevel, message: String, hint: &str) -> Self {
        let (code, hint, subject) = (code.to_owned(), hint.to_owned(), String::new());
        Self { code, level, message, hint, subject, age_ms: 0, muted_ms: 0 }
    }

    /// It is about the datanode of this name.
    #[must_use]
    pub fn about(self, name: &str) -> Self {
        Self { subject: name.to_owned(), ..self }
    }
}

/// Hear nothing of something for a while: it is listed, but does not count for the health of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MuteFinding {
    /// The code of it.
    pub code: String,
    /// Only where it is about the datanode of this name; empty = whatever it is about.
    pub subject: String,
    /// Milliseconds from now; 0 = it is to be heard again.
    pub for_ms: u64,
}

/// What operators want to hear nothing of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MutedFinding {
    /// The code of it.
    pub code: String,
    /// Only where it is about the datanode of this name; empty = whatever it is about.
    #[serde(with = "absent")]
    pub subject: String,
    /// Milliseconds that are left; 0 = it is heard again.
    pub left_ms: u64,
    /// Who said so.
    pub by: String,
}

/// Something that happened to the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterEvent {
    /// Its number: the next one has the next number.
    pub number: u64,
    /// When, by the coordinator's wall clock, in milliseconds since 1970.
    pub at_ms: u64,
    /// Milliseconds ago.
    pub age_ms: u64,
    /// One word for what kind of thing it is: `health`, `node`, `job`, `operator`, `coordinator`.
    pub kind: String,
    /// How bad.
    pub level: HealthLevel,
    /// The name of the datanode that it is about; empty = it is about the cluster.
    #[serde(with = "absent")]
    pub subject: String,
    /// A sentence.
    pub text: String,
}

/// Which events are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadEvents {
    /// Those after the one of this number; `None` = the last ones.
    pub after: Option<u64>,
    /// How many at most.
    pub most: u32,
}
