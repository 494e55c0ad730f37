//! Who is at the other end, as certificates say it.
//!
//! A certificate of a cluster names its holder in its subject alternative names, and nothing else of it counts:
//!
//! ```text
//! a coordinator    coordinator.dfs.internal    node.dfs.internal    <node id>.node.dfs.internal
//! a datanode       datanode.dfs.internal       node.dfs.internal    <node id>.node.dfs.internal
//! a user           <name>.user.dfs.internal
//! ```
//!
//! Addresses and host names are not in it: nodes move. Whoever connects knows whom he means, and asks for that name, so
//! that the ordinary check of a certificate's name is the check of who it is. A cluster has a certificate authority of its
//! own: what this one signs belongs to it.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::id::NodeId;
use crate::secret::hex;

const DOMAIN: &str = ".dfs.internal";
const NODE: &str = ".node.dfs.internal";
const USER: &str = ".user.dfs.internal";
const ANY_NODE: &str = "node.dfs.internal";
const COORDINATOR: &str = "coordinator.dfs.internal";
const DATANODE: &str = "datanode.dfs.internal";
/// Longest name of a user in a certificate: a label of a domain name.
const USER_BYTES_MAX: usize = 63;

/// Who somebody proved to be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Identity {
    /// A coordinator of the cluster.
    Coordinator(NodeId),
    /// A datanode of the cluster.
    Datanode(NodeId),
    /// A person or a program.
    User(String),
}

/// SHA-256 of a holder's name and of his public key as certificates have it (SubjectPublicKeyInfo, DER): the same for all certificates that
/// say of this key that it is his, and another one for whoever else had it certified: nobody has another's key revoked with his own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyDigest(pub [u8; 32]);

impl fmt::Display for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl KeyDigest {
    /// That of a key, given as its SubjectPublicKeyInfo in parts, in the hands of `who`.
    pub(crate) fn of(who: &Identity, info: &[&[u8]]) -> Self {
        let begun = Sha256::new().chain_update(who.to_string()).chain_update([0]);
        Self(info.iter().fold(begun, |hash, part| hash.chain_update(part)).finalize().into())
    }
}

/// Whoever showed a certificate, and proved that its key is his.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    /// Who it is.
    pub identity: Identity,
    /// Which key it has: what is revoked are keys.
    pub key: KeyDigest,
}

/// Whom somebody means to reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PeerName {
    /// Any coordinator of the cluster.
    Coordinator,
    /// This node, whatever its role.
    Node(NodeId),
    /// Any node of the cluster.
    AnyNode,
}

impl PeerName {
    /// The name that the certificate must have.
    pub fn dns_name(self) -> String {
        match self {
            Self::Coordinator => COORDINATOR.to_owned(),
            Self::Node(node) => format!("{node}{NODE}"),
            Self::AnyNode => ANY_NODE.to_owned(),
        }
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Coordinator => f.write_str("a coordinator"),
            Self::Node(node) => write!(f, "node {node}"),
            Self::AnyNode => f.write_str("a node"),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Coordinator(node) => write!(f, "coordinator {node}"),
            Self::Datanode(node) => write!(f, "datanode {node}"),
            Self::User(name) => write!(f, "user {name}"),
        }
    }
}

impl Identity {
    /// The names that its certificate has.
    pub fn dns_names(&self) -> Vec<String> {
        let node = |role: &str, node: &NodeId| {
            vec![role.to_owned(), PeerName::AnyNode.dns_name(), PeerName::Node(*node).dns_name()]
        };
        match self {
            Self::Coordinator(id) => node(COORDINATOR, id),
            Self::Datanode(id) => node(DATANODE, id),
            Self::User(name) => vec![format!("{name}{USER}")],
        }
    }

    /// Who has a certificate with these names; `None` if they name nobody, or more than one.
    pub fn from_dns_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let (mut role, mut node, mut user) = (Once::None, Once::None, Once::None);
        for name in names {
            match name {
                COORDINATOR => role.see(Self::Coordinator as fn(NodeId) -> Self),
                DATANODE => role.see(Self::Datanode),
                ANY_NODE => {}
                _ if !name.ends_with(DOMAIN) => {}
                _ => match (name.strip_suffix(NODE), name.strip_suffix(USER)) {
                    (Some(id), _) => node.see(id.parse::<NodeId>().ok()?),
                    (_, Some(name)) if is_user_name(name) => user.see(name.to_owned()),
                    _ => return None,
                },
            }
        }
        match (role, node, user) {
            (Once::Seen(role), Once::Seen(node), Once::None) => Some(role(node)),
            (Once::None, Once::None, Once::Seen(name)) => Some(Self::User(name)),
            _ => None,
        }
    }
}

/// Something that may be said once.
enum Once<T> {
    None,
    Seen(T),
    Again,
}

impl<T> Once<T> {
    fn see(&mut self, value: T) {
        *self = match self {
            Self::None => Self::Seen(value),
            Self::Seen(_) | Self::Again => Self::Again,
        };
    }
}

/// Whether a user can have this name in a certificate: lower-case letters, digits and inner hyphens, as in a domain name.
pub fn is_user_name(name: &str) -> bool {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let inner = !name.starts_with('-') && !name.ends_with('-');
    (1..=USER_BYTES_MAX).contains(&name.len()) && inner && name.bytes().all(legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_an_identity_are_read_as_it() {
        for who in [
            Identity::Coordinator(NodeId(7)),
            Identity::Datanode(NodeId(u128::MAX)),
            Identity::User("ada-2".to_owned()),
        ] {
            let names = who.dns_names();
            assert_eq!(Identity::from_dns_names(names.iter().map(String::as_str)), Some(who.clone()));
            let and_others = names.iter().map(String::as_str).chain(["example.org", "localhost"]);
            assert_eq!(Identity::from_dns_names(and_others), Some(who), "an operator's names do no harm");
        }
    }

    #[test]
    fn names_that_name_nobody_or_two_are_nobodys() {
        let node = PeerName::Node(NodeId(1)).dns_name();
        let other = PeerName::Node(NodeId(2)).dns_name();
        for names in [
            &[][..],
            &["example.org"],
            &[COORDINATOR],
            &[&node],
            &[COORDINATOR, DATANODE, &node],
            &[DATANODE, &node, &other],
            &[DATANODE, &node, "ada.user.dfs.internal"],
            &["ada.user.dfs.internal", "eve.user.dfs.internal"],
            &["a.b.user.dfs.internal"],
            &["-.user.dfs.internal"],
            &["*.user.dfs.internal"],
            &[DATANODE, "*.node.dfs.internal"],
            &[DATANODE, "xyz.node.dfs.internal"],
            &["ada.user.dfs.internal", "root.admin.dfs.internal"],
        ] {
            assert_eq!(Identity::from_dns_names(names.iter().copied()), None, "{names:?}");
        }
    }
}
