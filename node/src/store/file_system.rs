//! Which file system a directory is on, told so that others can compare: nodes of one machine that share one have its free
//! space in common, and nobody may count it twice.
//!
//! The kernel's number of the device tells file systems of one machine apart, the kernel's id of its boot tells machines
//! apart; containers of one machine share both. The number that comes of them is another after a restart of the machine, and
//! so it is kept nowhere.

use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::disk_io::DiskIo;
use crate::private;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// A UUID with its line's end.
const BOOT_ID_BYTES: u64 = 37;

/// The file system that `path` is on; 0 if the system does not say.
pub(crate) fn id_of(io: &dyn DiskIo, path: &Path) -> u128 {
    let boot = private::read(Path::new(BOOT_ID), BOOT_ID_BYTES);
    let found = boot.and_then(|boot| Ok::<_, io::Error>(combine(boot.trim(), io.device(path)?)));
    found.unwrap_or_else(|error| {
        tracing::warn!(path = %path.display(), %error, "which file system this is cannot be told: its space may be counted twice");
        0
    })
}

fn combine(boot: &str, device: u64) -> u128 {
    let digest = Sha256::new().chain_update(boot).chain_update(device.to_le_bytes()).finalize();
    digest.first_chunk().map_or(0, |bytes: &[u8; 16]| u128::from_be_bytes(*bytes)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::OsDisk;

    #[test]
    fn directories_of_one_file_system_agree_and_others_do_not() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let id = id_of(&OsDisk, one.path());
        assert!(id != 0 && id == id_of(&OsDisk, other.path()));
        assert_ne!(id, id_of(&OsDisk, Path::new("/proc")), "another file system");
        assert_ne!(combine("a", 1), combine("b", 1), "another machine");
        assert_eq!(id_of(&OsDisk, &one.path().join("none")), 0);
    }
}
