//! Who this user is to a secured cluster: a directory with the certificate of the cluster's authority (`ca.pem`), and the user's
//! own certificate and key (`certificate.pem`, `key.pem`).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use dfs_client::{Tls, TlsMaterial};

use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};

/// Permissions that nobody else has on a key.
const OTHERS: u32 = 0o077;

/// Reads the directory.
///
/// # Errors
/// If a file is missing or no such thing, they do not belong together, or others can read the key.
pub(crate) fn read(dir: &Path) -> Outcome<Tls> {
    let file = |name: &str| {
        let path = dir.join(name);
        fs::read(&path).map_err(|e| {
            Failure::local("read", &path, &e)
                .hint("the directory of --identity holds ca.pem, certificate.pem and key.pem")
        })
    };
    let (ca, certificate) = (file("ca.pem")?, file("certificate.pem")?);
    let path = dir.join("key.pem");
    let mode = fs::metadata(&path).map_or(0, |meta| meta.permissions().mode() & 0o7777);
    if mode & OTHERS != 0 {
        let message = format!("'{}' can be read by other users (mode {mode:04o})", path.display());
        let hint =
            format!("chmod 600 '{}', and ask for another key if they may have read it", path.display());
        return Err(Failure::new(Exit::Config, "OpenKey", message).hint(hint));
    }
    let key = file("key.pem")?;
    Tls::new(TlsMaterial { ca: &ca, own: Some((&certificate, &key)) }).map_err(|e| {
        let message = format!("the identity in '{}' cannot be used: {e}", dir.display());
        Failure::new(Exit::Config, "BadIdentity", message)
    })
}
