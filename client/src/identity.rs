//! Who a user is to a secured cluster: a directory with the certificate of the cluster's authority (`ca.pem`), and the user's own
//! certificate and key (`certificate.pem`, `key.pem`).

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use dfs_wire::tls::{Tls, TlsError, TlsMaterial};

/// Permissions that nobody else has on a key.
const OTHERS: u32 = 0o077;

/// Why an identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file of it cannot be read.
    #[error("cannot read '{}': {}", .0.display(), .1)]
    Unreadable(PathBuf, #[source] io::Error),
    /// Other users of this machine can read the key: it may be known.
    #[error("'{}' can be read by other users (mode {:04o})", .0.display(), .1)]
    Open(PathBuf, u32),
    /// What is in the files is no such thing, or does not belong together.
    #[error("the identity in '{}' cannot be used: {}", .0.display(), .1)]
    Unusable(PathBuf, #[source] TlsError),
}

/// Reads the identity in a directory, for [`ClientConfig::tls`](crate::ClientConfig::tls).
///
/// ```no_run
/// # fn example() -> Result<(), dfs_client::IdentityError> {
/// let tls = dfs_client::read_identity("identity".as_ref())?;
/// let config = dfs_client::ClientConfig { tls: Some(tls), ..dfs_client::ClientConfig::new(["coordinator:8080"]) };
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If a file is missing or no such thing, they do not belong together, have ended, or others can read the key.
pub fn read_identity(dir: &Path) -> Result<Tls, IdentityError> {
    let file = |name: &str| {
        let path = dir.join(name);
        fs::read(&path).map_err(|error| IdentityError::Unreadable(path, error))
    };
    let (ca, certificate) = (file("ca.pem")?, file("certificate.pem")?);
    let path = dir.join("key.pem");
    let mode = fs::metadata(&path).map_or(0, |meta| meta.permissions().mode() & 0o7777);
    if mode & OTHERS != 0 {
        return Err(IdentityError::Open(path, mode));
    }
    let key = file("key.pem")?;
    Tls::new(TlsMaterial { ca: &ca, own: Some((&certificate, &key)) })
        .map_err(|error| IdentityError::Unusable(dir.to_owned(), error))
}
