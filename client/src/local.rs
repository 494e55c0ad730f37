//! Names from the cluster as local paths: never out of the directory they were meant for.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use dfs_wire::status::StatusCode;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::Error;

/// The local path for `relative` below `base`, whose directories are made as needed.
///
/// `relative` comes from a server, so it is not trusted: it must be relative, without `.`, `..` or NUL, and no
/// directory on the way may be a symbolic link or lie on the other side of one (checked with `openat2`, as the kernel
/// resolves it; on kernels without it, step by step). The last segment may be anything that is not a link to
/// somewhere else: it is not opened here.
///
/// Blocks. Make `base` itself before.
///
/// ```
/// use dfs_client::safe_local_path;
///
/// let base = std::env::temp_dir();
/// assert_eq!(safe_local_path(&base, "a.txt")?, base.join("a.txt"));
/// assert!(safe_local_path(&base, "../a.txt").is_err());
/// # Ok::<(), dfs_client::Error>(())
/// ```
///
/// # Errors
/// `InvalidPath` if the path would lead out of `base`; a local error if a directory cannot be made.
pub fn safe_local_path(base: &Path, relative: &str) -> Result<PathBuf, Error> {
    let refuse = |why: &str| {
        let shown: String = relative.chars().take(80).collect();
        Err(Error::new(StatusCode::InvalidPath, format!("{why}: {shown:?}"))
            .with_hint("this name cannot be stored safely below the destination; get the file by itself"))
    };
    if relative.is_empty() || relative.contains('\0') {
        return refuse("not a file name");
    }
    // Asked of the text, not of Path, which would quietly drop "." and doubled slashes.
    if relative.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return refuse("the name leads out of the destination");
    }
    let path = Path::new(relative);
    if !path.components().all(|c| matches!(c, Component::Normal(_))) {
        return refuse("the name leads out of the destination");
    }
    let failed = |e: io::Error| Error::local_file("preparing a directory for", &base.join(path), e);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut dir = rustix::fs::open(base, flags, Mode::empty()).map_err(|e| failed(e.into()))?;
    for segment in path.parent().into_iter().flat_map(Path::components) {
        dir = match enter(&dir, segment.as_os_str().as_ref()) {
            Ok(dir) => dir,
            Err(Errno::LOOP | Errno::XDEV | Errno::NOTDIR) => {
                return refuse("a directory on the way is a link or a file");
            }
            Err(e) => return Err(failed(e.into())),
        };
    }
    let name = path.file_name().unwrap_or_default();
    match rustix::fs::readlinkat(&dir, name, Vec::new()) {
        Ok(_) => refuse("the name is taken by a symbolic link"),
        Err(_) => Ok(base.join(path)),
    }
}

/// Opens the directory `name` in `dir`, made if it is missing; never through a link.
fn enter(dir: &OwnedFd, name: &Path) -> Result<OwnedFd, Errno> {
    match rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o777)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(e),
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(dir, name, flags, Mode::empty(), within) {
        Err(Errno::NOSYS | Errno::PERM) => rustix::fs::openat(dir, name, flags, Mode::empty()),
        opened => opened,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn hostile_names_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        for bad in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "../x",
            "a/../../x",
            "a/..",
            "./a",
            "a/./b",
            ".",
            "a//b",
            "a/",
            "/a",
            "a\0b",
            "a/\0",
        ] {
            assert!(safe_local_path(dir.path(), bad).is_err(), "{bad:?} was allowed");
        }
        let long = format!("{}/x", "n".repeat(300));
        assert!(safe_local_path(dir.path(), &long).is_err());
    }

    #[test]
    fn honest_names_get_their_directories() {
        let dir = tempfile::tempdir().unwrap();
        for good in ["a", "b c/ü/…", "...", "..a/b", "-rf", "a:b\\c", "~"] {
            let path = safe_local_path(dir.path(), good).unwrap();
            assert_eq!(path, dir.path().join(good));
            assert!(path.parent().unwrap().is_dir());
        }
    }

    #[test]
    fn links_do_not_lead_out() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        symlink(outside.path(), dir.path().join("link")).unwrap();
        symlink("/etc/passwd", dir.path().join("file")).unwrap();
        std::fs::write(dir.path().join("plain"), "x").unwrap();
        for bad in ["link/x", "link/a/b", "file", "plain/x", "link"] {
            assert!(safe_local_path(dir.path(), bad).is_err(), "{bad:?} was allowed");
        }
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0, "nothing was made outside");
        assert!(safe_local_path(dir.path(), "plain").is_ok(), "a file may be replaced");
    }
}
