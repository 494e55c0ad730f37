//! Where a cluster runs that is to be broken: what every such place can do to it.

use std::fmt;
use std::path::PathBuf;

use dfs_client::{ChunkId, ClientConfig};

use super::fault::Way;
use crate::identity;

/// A node of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Member {
    Coordinator,
    /// From 1.
    Datanode(usize),
}

impl Member {
    /// The datanode that calls itself so: its number is at the end.
    pub(super) fn named(name: &str) -> Option<Self> {
        let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
        digits.parse().ok().filter(|number| *number > 0).map(Self::Datanode)
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Coordinator => f.write_str("coordinator"),
            Self::Datanode(number) => write!(f, "datanode{number}"),
        }
    }
}

/// A place where a cluster runs. What is asked for again, or of a node that is not in that state, changes nothing. Calls block.
pub(super) trait Ground: Send + Sync {
    /// Where clients find the coordinator.
    fn endpoint(&self) -> String;

    /// The directory with the identity of an operator.
    fn identity(&self) -> PathBuf;

    /// A configuration for its clients.
    fn config(&self) -> ClientConfig {
        let tls = Some(identity(&self.identity()));
        ClientConfig { tls, ..ClientConfig::new([self.endpoint()]) }
    }

    /// Where a node listens.
    fn address(&self, node: Member) -> String;

    /// SIGKILL. The node stays away until it is started.
    fn kill(&self, node: Member) -> Result<(), String>;

    /// SIGTERM, to its end. The node stays away until it is started.
    fn stop(&self, node: Member) -> Result<(), String>;

    /// Starts a node with the data that it has.
    fn start(&self, node: Member) -> Result<(), String>;

    /// Lets a node stand still.
    fn pause(&self, node: Member) -> Result<(), String>;

    /// Lets it go on.
    fn resume(&self, node: Member) -> Result<(), String>;

    /// Kills a datanode and empties its directory.
    fn wipe(&self, datanode: usize) -> Result<(), String>;

    /// Cuts the line of a datanode.
    fn cut(&self, datanode: usize, way: Way) -> Result<(), String>;

    /// What goes to a datanode comes so many milliseconds later.
    fn slow(&self, datanode: usize, delay_ms: u64) -> Result<(), String>;

    /// Mends the line of a datanode, whatever is wrong with it.
    fn join(&self, datanode: usize) -> Result<(), String>;

    /// Takes what is left of a datanode's disk.
    fn fill(&self, datanode: usize) -> Result<(), String>;

    /// Gives it back.
    fn empty(&self, datanode: usize) -> Result<(), String>;

    /// Changes a byte in a datanode's copy of a chunk.
    fn spoil(&self, datanode: usize, chunk: ChunkId) -> Result<(), String>;

    /// Starts again what ended by itself, as an init system would, and tells what that was.
    fn revive(&self) -> Vec<String>;

    /// Panics in all logs that nobody ordered.
    fn panics(&self) -> Vec<String>;

    /// The last lines of all logs.
    fn logs(&self) -> String;
}
