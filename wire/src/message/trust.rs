//! What operators do about who is let in.

use serde::{Deserialize, Serialize};

use super::enroll::JoinRole;
use crate::id::NodeId;
use crate::secret::JoinToken;

/// Make a join token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MakeJoinToken {
    /// What it is to be good for.
    pub role: JoinRole,
    /// The name or id of the only node that it is to be good for; `None` = any that the cluster does not know.
    pub node: Option<String>,
    /// Milliseconds that it lasts; 0 = as long as is usual.
    pub for_ms: u64,
}

/// A join token. Nobody is told it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinTokenMade {
    /// The token.
    pub token: JoinToken,
    /// The only node that it is good for.
    pub node: Option<NodeId>,
    /// Milliseconds that it lasts.
    pub left_ms: u64,
}

/// Believe none of the certificates any more that somebody was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RevokeKeys {
    /// The datanode with this name or id.
    Node(String),
    /// The user with this name.
    User(String),
}

/// Certificates that are not believed any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysRevoked {
    /// Whose they are.
    pub who: String,
    /// For how many keys they are.
    pub keys: u64,
}
