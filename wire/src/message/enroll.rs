//! How those who belong to a cluster come to a certificate, and to the next one.
//!
//! ```text
//! newcomer                                                        coordinator
//!   TLS, the authority known by its digest in the token  ----->
//!   Hello: Newcomer, with the token's secret             ----->     one that is unknown or too old is refused here
//!   Request(Enroll): who it wants to be, its public key  ----->     refuses one that another used; uses it up, then signs
//!                                                        <-----   Enrolled
//! ```
//!
//! The private key never leaves whoever made it. That the newcomer has it is proved by every connection it makes later. A certificate for
//! another's key is of no use, and revoking it does that other no harm: what is revoked is a key in somebody's hands.

use serde::{Deserialize, Serialize};

use crate::id::NodeId;
use crate::identity::{Identity, KeyDigest};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnrollRequest {
    /// The first certificate of a node, with a join token.
    Node(EnrollNode),
    /// A certificate for a user; asked by whoever is on the coordinator's host.
    User(EnrollUser),
    /// The next certificate of whoever asks.
    Renew(PublicKey),
}

impl EnrollRequest {
    /// A short name for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Node(_) => "enroll.node",
            Self::User(_) => "enroll.user",
            Self::Renew(_) => "enroll.renew",
        }
    }
}

/// A public key of ECDSA on the curve P-256: 65 bytes, an uncompressed point.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey(pub Vec<u8>);

impl PublicKey {
    /// Bytes of an uncompressed point of P-256.
    pub const BYTES: usize = 65;
    const UNCOMPRESSED: u8 = 4;

    /// What certificates have before such a point: a SubjectPublicKeyInfo in DER, id-ecPublicKey on prime256v1 (RFC 5480).
    const INFO_PREFIX: [u8; 26] = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
        0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ];

    /// By what it is known in the hands of `who`: the same as that of a certificate that says so.
    pub fn digest(&self, who: &Identity) -> KeyDigest {
        KeyDigest::of(who, &[&Self::INFO_PREFIX, &self.0])
    }

    /// Whether it has the form of one.
    pub fn is_well_formed(&self) -> bool {
        self.0.len() == Self::BYTES && self.0.first() == Some(&Self::UNCOMPRESSED)
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({} bytes)", self.0.len())
    }
}

/// A node that wants to belong to the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrollNode {
    /// What it wants to be; its token has to be for that.
    pub role: JoinRole,
    /// Its own id, made when its data directory was formatted.
    pub node: NodeId,
    /// Its name, for people.
    pub name: String,
    /// The key that it made for itself.
    pub public_key: PublicKey,
}

/// What a join token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinRole {
    /// To be a datanode.
    Datanode,
}

impl JoinRole {
    /// The word that people use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Datanode => "datanode",
        }
    }
}

/// A user that wants a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrollUser {
    /// Who it is.
    pub name: String,
    /// The key that it made for itself.
    pub public_key: PublicKey,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnrollResponse {
    /// A certificate.
    Enrolled(Enrolled),
}

/// A certificate, and those of whom its holder trusts. Each is X.509, in DER.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// The certificate.
    pub certificate: Vec<u8>,
    /// The authorities of the cluster.
    pub authorities: Vec<Vec<u8>>,
    /// When the certificate ends, in milliseconds since the Unix epoch.
    pub not_after_ms: u64,
}
