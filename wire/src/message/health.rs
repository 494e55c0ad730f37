//! What needs attention: said by a datanode of itself, and by the coordinator of everything.

use serde::{Deserialize, Serialize};

use super::absent;

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
}
