//! Who signs the certificates of a cluster: the seam to the node, which has the keys.

use dfs_wire::identity::Identity;
use dfs_wire::message::enroll::PublicKey;
use dfs_wire::secret::Secret;
use dfs_wire::status::Status;

/// A certificate that was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// X.509, in DER.
    pub certificate: Vec<u8>,
    /// When it ends, in milliseconds since the Unix epoch.
    pub not_after_ms: u64,
}

/// The certificate authority of a cluster.
pub trait CertificateAuthority: Send + Sync + 'static {
    /// SHA-256 of its certificate: how newcomers know it.
    fn digest(&self) -> [u8; 32];

    /// Its certificate, X.509 in DER.
    fn certificate(&self) -> Vec<u8>;

    /// Certifies that `key` is that of `who`.
    ///
    /// # Errors
    /// `InvalidArgument` if the key is none.
    fn sign(&self, who: &Identity, key: &PublicKey) -> Result<Signed, Status>;

    /// A secret that nobody knows yet.
    fn fresh_secret(&self) -> Secret;

    /// Whether this is the secret that only whoever is on this host can read.
    fn is_host(&self, secret: &Secret) -> bool;
}

/// Keeps secrets wrapped where they are stored: under a key that lies elsewhere.
pub trait KeyWrap: Send + Sync {
    /// Wraps a secret. Only for the same `purpose` it is unwrapped again.
    ///
    /// # Errors
    /// If there is no randomness.
    fn seal(&self, purpose: &str, secret: &[u8]) -> Result<Vec<u8>, Status>;

    /// The secret again.
    ///
    /// # Errors
    /// `Corrupt` if it was changed, or was wrapped under another key, which is said.
    fn open(&self, purpose: &str, wrapped: &[u8]) -> Result<Vec<u8>, Status>;
}

/// Wraps nothing: for tests, whose secrets are none.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwrapped;

#[cfg(any(test, feature = "testing"))]
impl KeyWrap for Unwrapped {
    fn seal(&self, _purpose: &str, secret: &[u8]) -> Result<Vec<u8>, Status> {
        Ok(secret.to_vec())
    }

    fn open(&self, _purpose: &str, wrapped: &[u8]) -> Result<Vec<u8>, Status> {
        Ok(wrapped.to_vec())
    }
}
