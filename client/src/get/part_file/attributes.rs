//! Mode, owner and access list of a file that is replaced: kept, as if it had been written in place.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{FileType, Mode, Stat, XattrFlags};
use rustix::process::{Gid, Uid};

use super::directory::Directory;

/// Where Linux keeps an access list.
const ACCESS_LIST: &str = "system.posix_acl_access";
/// Longest access list worth copying.
const ACCESS_LIST_BYTES_MAX: usize = 64 * 1024;
/// What a part file has beside the permission to read and write it: the sticky bit, which means nothing for a file on
/// Linux, and which no file has that came from the cluster.
const PART: u32 = 0o1600;
/// The bits that are kept. Set-user-id and the like do not outlive new contents.
const PERMISSIONS: u32 = 0o777;

/// Marks a new file as a part that is nobody else's to read. Returns the permissions that a new file gets here.
pub(super) fn mark(file: &File) -> io::Result<u32> {
    let mode = file.metadata()?.mode() & PERMISSIONS;
    // A file system without permissions refuses: what is left there is not gone on with, then.
    rustix::fs::fchmod(file, Mode::from_raw_mode(PART)).ok();
    Ok(mode)
}

/// Whether a file has the mark of a part of this user's, and no second name.
pub(super) fn is_marked(file: &File) -> bool {
    file.metadata().is_ok_and(|m| {
        m.is_file()
            && m.mode() & 0o7777 == PART
            && m.uid() == rustix::process::geteuid().as_raw()
            && m.nlink() == 1
    })
}

/// Gives `file` what the file has that it replaces, or else the permissions of a new one.
///
/// An owner or a group that this user may not give away is not kept; then nobody gets more than strangers had.
pub(super) fn settle(file: &File, directory: &Directory, destination: &OsStr, new: u32) -> io::Result<()> {
    let replaced = directory.look(destination).filter(|s| FileType::from_raw_mode(s.st_mode).is_file());
    let Some(replaced) = replaced else {
        return Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(new))?);
    };
    let group = keep_owner(file, &replaced)?;
    let list = copy_access_list(&directory.path().join(destination), file);
    let mode = replaced.st_mode & PERMISSIONS;
    let mode = if group && list { mode } else { mode & (0o707 | (mode & 0o007) << 3) };
    Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(mode))?)
}

/// Returns whether at least the group is the same.
fn keep_owner(file: &File, replaced: &Stat) -> io::Result<bool> {
    let ours = file.metadata()?;
    if (ours.uid(), ours.gid()) == (replaced.st_uid, replaced.st_gid) {
        return Ok(true);
    }
    let (uid, gid) = (Uid::from_raw(replaced.st_uid), Gid::from_raw(replaced.st_gid));
    let Err(error) = rustix::fs::fchown(file, Some(uid), Some(gid)) else { return Ok(true) };
    tracing::warn!(%error, owner = replaced.st_uid, "the owner of the file that is replaced cannot be kept");
    Ok(rustix::fs::fchown(file, None, Some(gid)).is_ok())
}

/// Copies the access list, if there is one. Without it, the permissions of the group would mean more than they did.
fn copy_access_list(from: &Path, to: &File) -> bool {
    let mut list = vec![0; ACCESS_LIST_BYTES_MAX];
    match rustix::fs::lgetxattr(from, ACCESS_LIST, &mut list[..]) {
        Err(_) | Ok(0) => true,
        Ok(len) => {
            let list = list.get(..len).unwrap_or_default();
            rustix::fs::fsetxattr(to, ACCESS_LIST, list, XattrFlags::empty()).is_ok()
        }
    }
}
