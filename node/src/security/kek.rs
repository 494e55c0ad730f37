//! The key-encryption key: what the secrets of a cluster are wrapped under wherever they are stored.
//!
//! ```text
//! file      dfs-kek-1:<64 hexadecimal digits>\n                          outside the data directory, of this user alone
//! wrapped   1 | key id: 8 | nonce: 12 | AES-256-GCM of the secret | tag: 16         authenticated with it: the purpose
//! ```
//!
//! Whoever has a copy of the metadata, a backup or the disk it was on, and not this file, has no key of the cluster. Whoever loses
//! this file loses them too: it belongs into a backup of its own.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use dfs_actors::coordinator::KeyWrap;
use dfs_wire::secret::Secret;
use dfs_wire::status::{Status, StatusCode};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::private;

const FILE: &str = "kek";
const PREFIX: &str = "dfs-kek-1:";
const FILE_BYTES_MAX: u64 = 256;
const VERSION: u8 = 1;
const ID_BYTES: usize = 8;

/// Seals and opens with what is in the file.
#[derive(Debug)]
pub(crate) struct Kek {
    key: RandomizedNonceKey,
    id: [u8; ID_BYTES],
    path: PathBuf,
}

impl Kek {
    /// Reads the key in a directory; `None` if there is none.
    ///
    /// # Errors
    /// If it cannot be read, is none, or others can read it.
    pub(crate) fn load(dir: &Path) -> anyhow::Result<Option<Self>> {
        let path = dir.join(FILE);
        let text = match private::read(&path, FILE_BYTES_MAX) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        private::must_be_ours(&path).with_context(|| path.display().to_string())?;
        let secret = text.strip_prefix(PREFIX).and_then(|digits| digits.parse::<Secret>().ok());
        let secret = secret.with_context(|| format!("{} is not a key-encryption key", path.display()))?;
        Self::new(&secret, path).map(Some)
    }

    /// Makes a new key in a directory, durably.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn make(dir: &Path) -> anyhow::Result<Self> {
        let (path, secret) = (dir.join(FILE), super::fresh_secret());
        let text = Zeroizing::new(format!("{PREFIX}{}\n", *Zeroizing::new(secret.reveal())));
        private::make_secret_dir(dir)
            .and_then(|()| private::replace(&path, &text))
            .with_context(|| format!("write {}", path.display()))?;
        tracing::warn!(path = %path.display(), "made the key that wraps all keys of this cluster: keep a copy of it elsewhere");
        Self::new(&secret, path)
    }

    fn new(secret: &Secret, path: PathBuf) -> anyhow::Result<Self> {
        let bytes = secret.expose();
        let key = RandomizedNonceKey::new(&AES_256_GCM, bytes).context("make a key of it")?;
        let digest = Sha256::new().chain_update(b"dfs kek id\0").chain_update(bytes).finalize();
        let id = digest.first_chunk().copied().unwrap_or_default();
        Ok(Self { key, id, path })
    }
}

impl KeyWrap for Kek {
    fn seal(&self, purpose: &str, secret: &[u8]) -> Result<Vec<u8>, Status> {
        let mut sealed = secret.to_vec();
        let nonce = self.key.seal_in_place_append_tag(Aad::from(purpose), &mut sealed).map_err(|_| {
            Status::new(StatusCode::Internal, "a secret could not be wrapped: there is no randomness")
        })?;
        let mut out = vec![VERSION];
        out.extend(self.id);
        out.extend(nonce.as_ref());
        out.extend(sealed);
        Ok(out)
    }

    fn open(&self, purpose: &str, wrapped: &[u8]) -> Result<Vec<u8>, Status> {
        let refused = |text: String| {
            Status::new(StatusCode::Corrupt, text).hint(
                "put the file that this cluster's secrets were wrapped under in its place, from its backup",
            )
        };
        let broken = || refused(format!("what is stored as '{purpose}' is damaged"));
        let (&[version], rest) = wrapped.split_first_chunk::<1>().ok_or_else(broken)?;
        let (id, rest) = rest.split_first_chunk::<ID_BYTES>().ok_or_else(broken)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(broken)?;
        if version != VERSION {
            let text = format!("'{purpose}' is wrapped in form {version}, which this build does not know");
            return Err(Status::new(StatusCode::VersionMismatch, text));
        }
        if *id != self.id {
            let text = format!("'{purpose}' was wrapped under another key than {}", self.path.display());
            return Err(refused(text));
        }
        let mut opened = sealed.to_vec();
        let nonce = Nonce::from(nonce);
        let len = self.key.open_in_place(nonce, Aad::from(purpose), &mut opened).map_err(|_| broken())?.len();
        opened.truncate(len);
        Ok(opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrapped_is_unwrapped_for_the_same_purpose_under_the_same_key_only() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Kek::load(dir.path()).unwrap().is_none());
        let made = Kek::make(dir.path()).unwrap();
        let wrapped = made.seal("a purpose", b"secret").unwrap();
        assert!(!wrapped.windows(6).any(|part| part == b"secret"));
        assert_ne!(wrapped, made.seal("a purpose", b"secret").unwrap(), "a nonce of its own");
        let loaded = Kek::load(dir.path()).unwrap().expect("it is there");
        assert_eq!(loaded.open("a purpose", &wrapped).unwrap(), b"secret");
        assert!(loaded.open("another", &wrapped).is_err());
        for at in 0..wrapped.len() {
            let mut damaged = wrapped.clone();
            damaged[at] ^= 1;
            assert!(loaded.open("a purpose", &damaged).is_err(), "byte {at}");
            assert!(loaded.open("a purpose", &wrapped[..at]).is_err(), "cut at {at}");
        }
        let other = tempfile::tempdir().unwrap();
        let refused = Kek::make(other.path()).unwrap().open("a purpose", &wrapped).unwrap_err();
        assert!(refused.message.contains("another key"), "{refused}");
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_none_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        Kek::make(dir.path()).unwrap();
        let path = dir.path().join(FILE);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(format!("{:#}", Kek::load(dir.path()).unwrap_err()).contains("chmod 600"));
        private::replace(&path, "dfs-kek-1:00\n").unwrap();
        let refused = format!("{:#}", Kek::load(dir.path()).unwrap_err());
        assert!(refused.contains("is not a key-encryption key"), "{refused}");
    }
}
