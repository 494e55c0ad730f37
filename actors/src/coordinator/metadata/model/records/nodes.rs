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
    /// Until when, in the coordinator's time, an operator has it down for maintenance: it may be away meanwhile. 0 = not at all.
    pub lease_until_ms: u64,
}

impl Record for NodeRecord {
    const FORMAT: u8 = 3;

    fn from_older(format: u8, body: &[u8]) -> Option<Result<Self, CodecError>> {
        match format {
            1 => Some(codec::decode::<NodeRecordV1>(body).map(Self::from)),
            2 => Some(codec::decode::<NodeRecordV2>(body).map(Self::from)),
            _ => None,
        }
    }
}

/// A [`NodeRecord`] of format 2.
#[derive(Serialize, Deserialize)]
struct NodeRecordV2 {
    name: String,
    zone: String,
    address: String,
    registered_ms: u64,
    standing: Standing,
    since_ms: u64,
}

impl From<NodeRecordV2> for NodeRecord {
    fn from(old: NodeRecordV2) -> Self {
        let NodeRecordV2 { name, zone, address, registered_ms, standing, since_ms } = old;
        Self { name, zone, address, registered_ms, standing, since_ms, lease_until_ms: 0 }
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
        Self { name, zone, address, registered_ms, standing, since_ms: registered_ms, lease_until_ms: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_older_builds_are_read_as_nodes_that_are_in_no_maintenance() {
        let (name, zone, address) = ("dn1".to_owned(), "a".to_owned(), "10.0.0.1:8081".to_owned());
        let expected = NodeRecord {
            name: name.clone(),
            zone: zone.clone(),
            address: address.clone(),
            registered_ms: 7,
            standing: Standing::Draining,
            since_ms: 9,
            lease_until_ms: 0,
        };
        let second =
            NodeRecordV2 { name, zone, address, registered_ms: 7, standing: Standing::Draining, since_ms: 9 };
        let body = codec::encode(&second).expect("it has an encoding");
        assert_eq!(NodeRecord::from_older(2, &body).expect("known").expect("read"), expected);
        assert!(NodeRecord::from_older(4, &body).is_none(), "a newer build's");
    }
}
