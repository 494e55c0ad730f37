//! Who this user is to a secured cluster.

use std::path::Path;

use dfs_client::{IdentityError, Tls, read_identity};

use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};

/// Reads the directory.
///
/// # Errors
/// If a file is missing or no such thing, they do not belong together, or others can read the key.
pub(crate) fn read(dir: &Path) -> Outcome<Tls> {
    read_identity(dir).map_err(|error| match &error {
        IdentityError::Unreadable(path, cause) => Failure::local("read", path, cause)
            .hint("the directory of --identity holds ca.pem, certificate.pem and key.pem"),
        IdentityError::Open(path, _) => {
            let path = path.display();
            let hint = format!("chmod 600 '{path}', and ask for another key if they may have read it");
            Failure::new(Exit::Config, "OpenKey", error.to_string()).hint(hint)
        }
        IdentityError::Unusable(..) => Failure::new(Exit::Config, "BadIdentity", error.to_string())
            .hint("'dfs-node init-admin' on the coordinator's host makes another"),
    })
}
