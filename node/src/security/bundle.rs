//! The identity of a node in one file, so that it is replaced as a whole: its key, its certificate, then those of the authorities
//! that it trusts. And that of a user, in the files that `dfsctl` looks for.

use std::io;
use std::path::Path;

use dfs_wire::message::enroll::Enrolled;
use pem::{EncodeConfig, LineEnding, Pem, encode_config};
use rcgen::KeyPair;
use zeroize::Zeroizing;

use crate::private;

const FILE: &str = "identity.pem";
const FILE_BEFORE: &str = "identity.before.pem";
const BYTES_MAX: u64 = 1024 * 1024;

/// A certificate in PEM.
pub(crate) fn pem_of(der: &[u8]) -> String {
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    encode_config(&Pem::new("CERTIFICATE", der), config)
}

fn authorities(enrolled: &Enrolled) -> String {
    enrolled.authorities.iter().map(|der| pem_of(der)).collect()
}

/// What is in the file.
pub(crate) fn assemble(key: &KeyPair, enrolled: &Enrolled) -> Zeroizing<String> {
    let key = Zeroizing::new(key.serialize_pem());
    Zeroizing::new(format!("{}{}{}", *key, pem_of(&enrolled.certificate), authorities(enrolled)))
}

/// The identity that is kept in a directory; `None` if there is none.
///
/// # Errors
/// If it cannot be read, or others can read it.
pub(crate) fn read(dir: &Path) -> io::Result<Option<Zeroizing<String>>> {
    let path = dir.join(FILE);
    match private::read(&path, BYTES_MAX) {
        Ok(text) => {
            private::must_be_ours(&path)?;
            Ok(Some(Zeroizing::new(text)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Moves the identity in a directory aside, if there is one, in place of one that was moved before: it may be wanted back.
///
/// # Errors
/// As the operating system.
pub(crate) fn set_aside(dir: &Path) -> io::Result<()> {
    match std::fs::rename(dir.join(FILE), dir.join(FILE_BEFORE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        moved => moved.and_then(|()| private::sync_dir(dir)),
    }
}

/// Keeps an identity in a directory in place of the one before, durably.
///
/// # Errors
/// As the operating system.
pub(crate) fn keep(dir: &Path, bundle: &str) -> io::Result<()> {
    private::make_secret_dir(dir)?;
    private::replace(&dir.join(FILE), bundle)
}

/// Writes the identity of a user into a directory, for `dfsctl --identity`.
///
/// # Errors
/// As the operating system.
pub(crate) fn write_user(dir: &Path, key: &KeyPair, enrolled: &Enrolled) -> io::Result<()> {
    private::make_dirs(dir)?;
    private::replace(&dir.join("ca.pem"), &authorities(enrolled))?;
    private::replace(&dir.join("key.pem"), &Zeroizing::new(key.serialize_pem()))?;
    private::replace(&dir.join("certificate.pem"), &pem_of(&enrolled.certificate))
}
