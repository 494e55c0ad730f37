//! The records of nodes.

use dfs_wire::codec::{self, CodecError};
use serde::{Deserialize, Serialize};

use crate::coordinator::metadata::table::format::Record;

/// What lasts of a node's state. Whether it answers follows from when it was last heard of, and is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// It belongs to the cluster.
    Member,
    /// It stopped on purpose and has not come back.
    Left,
    /// An operator empties it.
    Draining,
    /// Another node has its name and address: whatever it held is gone.
    Lost,
    /// An operator forgot it.
    Forgotten,
}

/// A node that registered once, as the metadata remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Name for people.
    pub name: String,
    /// Failure domain: copies of a chunk go to different ones if they can.
    pub zone: String,
    /// Where it listens.
    pub address: String,
    /// When it registered for the first time, in the coordinator's time.
    pub registered_ms: u64,
    /// What lasts of its state.
    pub standing: Standing,
    /// Since when, in the coordinator's time.
    pub since_ms: u64,
}

impl Record for NodeRecord {
    const FORMAT: u8 = 2;

    fn from_older(format: u8, body: &[u8]) -> Option<Result<Self, CodecError>> {
        (format == 1).then(|| codec::decode::<NodeRecordV1>(body).map(Self::from))
    }
}

/// A [`NodeRecord`] of format 1.
#[derive(Serialize, Deserialize)]
struct NodeRecordV1 {
    name: String,
    zone: String,
    address: String,
    registered_ms: u64,
    left: bool,
}

impl From<NodeRecordV1> for NodeRecord {
    fn from(old: NodeRecordV1) -> Self {
        let NodeRecordV1 { name, zone, address, registered_ms, left } = old;
        let standing = if left { Standing::Left } else { Standing::Member };
        Self { name, zone, address, registered_ms, standing, since_ms: registered_ms }
    }
}
