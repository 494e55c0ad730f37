//! Jobs: long work that an operator asked for, what it is about, and how far it has come.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::absent;
use crate::id::NodeId;
use crate::path::DfsPath;

/// The number of a job: the next one has the next number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobId(pub u64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for JobId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// What a job does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobTask {
    /// Empty a datanode: everything on it gets a copy elsewhere.
    Drain(NamedNode),
    /// Bring copies from full datanodes to emptier ones: one that is fuller than the mean by no more than so many percent of
    /// its space is left alone.
    Balance(u8),
    /// Have other numbers of copies made of files that are there.
    Replication(WantedCopies),
    /// Empty a datanode, onto another one as far as that can take it.
    Replace(ReplacedNode),
}

/// A datanode, and the one that is to take its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplacedNode {
    /// Who is emptied.
    pub old: NamedNode,
    /// Who gets what it has.
    pub new: NamedNode,
}

/// So many copies that files are to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedCopies {
    /// A file, or a directory: then all files below it are meant.
    pub path: DfsPath,
    /// Copies of each chunk.
    pub copies: u8,
}

/// A datanode, and its name when it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedNode {
    /// The id on its disk.
    pub node: NodeId,
    /// The name it had then, for people.
    pub name: String,
}

impl JobTask {
    /// One word for the kind of work.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Drain(_) => "drain",
            Self::Balance(_) => "balance",
            Self::Replication(_) => "replication",
            Self::Replace(_) => "replace",
        }
    }

    /// The datanode that is emptied by it, if one is, and where its copies are to go if that was said.
    pub const fn empties(&self) -> Option<(&NamedNode, Option<NodeId>)> {
        match self {
            Self::Drain(node) => Some((node, None)),
            Self::Replace(ReplacedNode { old, new }) => Some((old, Some(new.node))),
            Self::Balance(_) | Self::Replication(_) => None,
        }
    }
}

/// Where in its life a job is.
///
/// ```text
/// Running <--pause, resume--> Paused
///    |  \                       |
///    |   +------- cancel -------+--> Cancelled
///    +-- all is done --> Done         it cannot be done --> Failed
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobState {
    /// It goes on.
    Running,
    /// An operator stopped it for a while.
    Paused,
    /// All of it is done.
    Done,
    /// It ended before all was done, and says why.
    Failed,
    /// An operator ended it.
    Cancelled,
}

impl JobState {
    /// A word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether it will not go on.
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

/// So many chunks, and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkAmount {
    /// Copies of chunks.
    pub chunks: u64,
    /// Bytes of those copies.
    pub bytes: u64,
}

/// A job, as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStatus {
    /// Its number.
    pub id: JobId,
    /// What it does.
    pub task: JobTask,
    /// Where in its life it is.
    pub state: JobState,
    /// Who asked for it.
    pub asked_by: String,
    /// Milliseconds since it was asked for.
    pub age_ms: u64,
    /// Milliseconds it has been in its state.
    pub state_ms: u64,
    /// How much there is to do.
    pub total: WorkAmount,
    /// How much of it is done.
    pub done: WorkAmount,
    /// Bytes a second of late.
    pub bytes_per_second: u64,
    /// Milliseconds that it may still take, going on as of late; `None` = nobody can say.
    pub left_ms: Option<u64>,
    /// What it could not do, counted.
    pub exceptions: u64,
    /// The last of these; empty if there was none.
    #[serde(with = "absent")]
    pub last_exception: String,
}

/// What an operator does to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobAction {
    /// Stop it for a while.
    Pause,
    /// Have it go on.
    Resume,
    /// End it; what is done stays done.
    Cancel,
}

/// Empty a datanode, or have it take chunks again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainNode {
    /// Its name or id.
    pub node: String,
    /// The name or id of the datanode that is to take its place; `None` = whichever can take a copy.
    pub successor: Option<String>,
    /// Only say what would happen.
    pub dry_run: bool,
}

/// What emptying a datanode takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainPlan {
    /// Id of the datanode.
    pub node: NodeId,
    /// Its name for people.
    pub name: String,
    /// What is on it.
    pub amount: WorkAmount,
    /// Why it cannot be emptied whole; nothing if it can.
    pub obstacles: Vec<String>,
    /// The job that does it; `None` if it was only to be said.
    pub job: Option<JobStatus>,
}

/// Bring copies from full datanodes to emptier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartBalance {
    /// A datanode that is fuller than the mean by no more than so many percent of its space is left alone.
    pub threshold_percent: u8,
    /// Only say what would happen.
    pub dry_run: bool,
}

/// Bytes that go from one datanode to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedMove {
    /// Name of the datanode that has them.
    pub from: String,
    /// Name of the datanode that is to have them.
    pub to: String,
    /// How many, about.
    pub bytes: u64,
}

/// What balancing takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalancePlan {
    /// How full each datanode is, by name, in percent of its space.
    pub filled_percent: Vec<(String, u8)>,
    /// What goes where; nothing if all are within the threshold.
    pub moves: Vec<PlannedMove>,
    /// What stays uneven, and why.
    pub obstacles: Vec<String>,
    /// The job that does it; `None` if it was only to be said, or nothing is to be done.
    pub job: Option<JobStatus>,
}

/// Have another number of copies made of files that are there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetReplication {
    /// Of which files, and how many.
    pub wanted: WantedCopies,
    /// All files below a directory are meant, if the path is one.
    pub recursive: bool,
    /// Only say what would happen.
    pub dry_run: bool,
}

/// What it takes to have another number of copies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicationPlan {
    /// Files that are meant.
    pub files: u64,
    /// Those of them that are to have another number of copies now.
    pub changed: u64,
    /// Chunks of all of them, and their bytes, each counted once.
    pub amount: WorkAmount,
    /// Bytes that are to be copied, about.
    pub added_bytes: u64,
    /// Bytes that become free, about.
    pub freed_bytes: u64,
    /// Why it cannot be done; nothing if it can.
    pub obstacles: Vec<String>,
    /// The job that does it; `None` if it was only to be said.
    pub job: Option<JobStatus>,
}
