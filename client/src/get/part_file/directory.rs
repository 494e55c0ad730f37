//! The directory of a destination, held open: what is done in it is done there, wherever its path leads by then.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

use crate::env::Env;

/// Fresh names that are tried before giving up: more than one is never needed.
const NAMES_TRIED: u32 = 3;
/// What the names of part files begin and end with.
const PREFIX: &[u8] = b".dfs-";
const SUFFIX: &[u8] = b".part";
/// Hexadecimal digits between.
const DIGITS: usize = 32;

/// A directory and a name in it.
#[derive(Debug)]
pub(super) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// The directory of `destination`.
    pub(super) fn of(destination: &Path) -> io::Result<Self> {
        let parent = destination.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(parent, flags, Mode::empty())?;
        Ok(Self { fd, path: parent.to_owned() })
    }

    /// Where it was found.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a file under a random name, which no file here has and none that is to come can count on.
    pub(super) fn create(&self, env: &Env) -> io::Result<(File, OsString)> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o666);
        let mut tried = 0;
        loop {
            let name = OsString::from(format!(".dfs-{:032x}.part", env.u128()));
            match rustix::fs::openat(&self.fd, &name, flags, mode) {
                Ok(fd) => return Ok((File::from(fd), name)),
                Err(Errno::EXIST) if tried < NAMES_TRIED => tried += 1,
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Opens a file that is there, not what a link leads to, and not waiting for what a pipe may bring.
    pub(super) fn open(&self, name: &OsStr, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&self.fd, name, flags, Mode::empty())?))
    }

    /// What is under a name; a link is looked at itself.
    pub(super) fn look(&self, name: &OsStr) -> Option<Stat> {
        rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).ok()
    }

    /// Whether `name` is the name of this very file.
    pub(super) fn holds(&self, name: &OsStr, file: &File) -> bool {
        let (Some(found), Ok(ours)) = (self.look(name), file.metadata()) else { return false };
        FileType::from_raw_mode(found.st_mode).is_file()
            && (found.st_dev, found.st_ino) == (ours.dev(), ours.ino())
    }

    /// Removes the name of `file`, if it is still its name.
    pub(super) fn remove(&self, name: &OsStr, file: &File) {
        if self.holds(name, file) {
            let removed = rustix::fs::unlinkat(&self.fd, name, AtFlags::empty());
            removed.inspect_err(|error| tracing::debug!(%error, "a part file could not be removed")).ok();
        }
    }

    /// Gives a file another name, replacing what has it if that is allowed.
    pub(super) fn rename(&self, from: &OsStr, to: &OsStr, replace: bool) -> io::Result<()> {
        if replace {
            return Ok(rustix::fs::renameat(&self.fd, from, &self.fd, to)?);
        }
        match rustix::fs::renameat_with(&self.fd, from, &self.fd, to, RenameFlags::NOREPLACE) {
            // Not every file system can do it in one step.
            Err(Errno::INVAL | Errno::NOSYS) if self.look(to).is_none() => {
                Ok(rustix::fs::renameat(&self.fd, from, &self.fd, to)?)
            }
            outcome => Ok(outcome?),
        }
    }

    /// Makes its names durable. One that may be written and not read cannot be synced.
    pub(super) fn sync(&self) -> io::Result<()> {
        match self.readable() {
            Ok(fd) => Ok(rustix::fs::fsync(fd)?),
            Err(Errno::ACCESS) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    fn readable(&self) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, ".", flags, Mode::empty())
    }

    /// The names here that part files may have. Whose they are says their content.
    pub(super) fn names_of_parts(&self) -> Vec<OsString> {
        let Ok(entries) = self.readable().and_then(rustix::fs::Dir::new) else { return Vec::new() };
        let names = entries.filter_map(|entry| Some(entry.ok()?.file_name().to_bytes().to_vec()));
        names.filter(|name| is_name_of_part(name)).map(|name| OsStr::from_bytes(&name).to_owned()).collect()
    }
}

fn is_name_of_part(name: &[u8]) -> bool {
    let digits = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX));
    digits.is_some_and(|d| d.len() == DIGITS && d.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_names_are_told_from_those_of_users() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::of(&dir.path().join("x")).unwrap();
        let (file, name) = directory.create(&Env::system(None)).unwrap();
        let (_, other) = directory.create(&Env::system(None)).unwrap();
        assert_ne!(name, other);
        for theirs in
            [".x.dfs-part", ".dfs-.part", ".dfs-0123.part", &format!(".dfs-{}.part", "G".repeat(32))]
        {
            std::fs::write(dir.path().join(theirs), "theirs").unwrap();
        }
        let mut found = directory.names_of_parts();
        found.sort();
        let mut expected = [name.clone(), other];
        expected.sort();
        assert_eq!(found, expected);
        directory.sync().unwrap();

        std::fs::rename(dir.path().join(".x.dfs-part"), dir.path().join(&name)).unwrap();
        assert!(!directory.holds(&name, &file));
        directory.remove(&name, &file);
        assert_eq!(std::fs::read(dir.path().join(&name)).unwrap(), b"theirs", "not ours to remove");
    }
}
