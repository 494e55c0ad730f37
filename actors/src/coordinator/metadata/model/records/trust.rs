//! The records of whom a cluster trusts.

use std::collections::BTreeMap;

use dfs_wire::id::NodeId;
use dfs_wire::identity::KeyDigest;
use dfs_wire::message::enroll::JoinRole;
use serde::{Deserialize, Serialize};

use crate::coordinator::metadata::table::format::Record;

/// The certificate authority of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityRecord {
    /// Its certificate, X.509 in DER.
    pub certificate: Vec<u8>,
    /// Its private key, PKCS #8, wrapped.
    pub key: Vec<u8>,
}

impl Record for AuthorityRecord {}

/// A join token. What it is known by is the digest of its secret, the key of the row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinTokenRecord {
    /// What it is good for.
    pub role: JoinRole,
    /// The only node that it is good for; `None` = any that the cluster does not know.
    pub node: Option<NodeId>,
    /// When it ends, in the coordinator's time.
    pub expires_ms: u64,
    /// When it ends by the wall clock, milliseconds since the Unix epoch: whichever comes first.
    pub expires_wall_ms: u64,
    /// The node and the key that it was used for: the same ones may ask again, in case the answer was lost.
    pub used: Option<(NodeId, KeyDigest)>,
}

impl Record for JoinTokenRecord {}

/// The keys for which somebody was given certificates that have not ended, and when the last of each ends, in milliseconds since
/// the Unix epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedKeys(pub BTreeMap<KeyDigest, u64>);

impl Record for IssuedKeys {}

/// The keys that are not believed any more, and until when that has to be remembered, in milliseconds since the Unix epoch: their
/// certificates have ended by then.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedKeys {
    /// Rises with each change; 0 = there never was one.
    pub version: u64,
    /// Each with the time until which it is remembered.
    pub keys: BTreeMap<KeyDigest, u64>,
}

impl Record for RevokedKeys {}
