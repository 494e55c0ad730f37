//! Files that are this user's alone: made so, and mended at each start, for a restored backup or an older version may have
//! left them open to others. One of them holds the key with which every grant of a cluster is signed.
//!
//! What has the name of such a file may be something else. A FIFO would make whoever opens it wait for ever, a device may do
//! anything. So files are opened without waiting, and taken only if they are plain files.

use std::fmt;
use std::fs::{DirBuilder, File, FileType, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

/// Permissions of a file.
pub(crate) const FILE_MODE: u32 = 0o600;
/// Permissions of a directory.
pub(crate) const DIR_MODE: u32 = 0o700;

const OTHERS: u32 = 0o077;
const OTHERS_WRITE: u32 = 0o022;
/// Of a directory that is shared on purpose, as `/tmp` is.
const STICKY: u32 = 0o1000;

/// What is there instead of a plain file.
#[derive(Debug)]
struct NotAFile(&'static str);

impl fmt::Display for NotAFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is there, not a file", self.0)
    }
}

impl std::error::Error for NotAFile {}

impl From<NotAFile> for io::Error {
    fn from(what: NotAFile) -> Self {
        Self::new(io::ErrorKind::InvalidInput, what)
    }
}

/// Whether an error of [`open`] says that something else than a plain file is there.
pub(crate) fn is_not_a_file(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<NotAFile>())
}

/// Opens a plain file, with `flags` besides what `options` say, and never waits for whoever is at the other end of
/// something else.
///
/// # Errors
/// As the operating system; one of which [`is_not_a_file`] is true.
pub(crate) fn open(options: &mut OpenOptions, flags: OFlags, path: &Path) -> io::Result<File> {
    let flags = (flags | OFlags::NONBLOCK).bits().cast_signed();
    let file = options.custom_flags(flags).open(path).map_err(|error| explain(error, path))?;
    match kind_of(file.metadata()?.file_type()) {
        Some(kind) => Err(NotAFile(kind).into()),
        None => Ok(file),
    }
}

/// Sockets cannot be opened, FIFOs not for writing, directories neither, links not where they are not followed.
fn explain(error: io::Error, path: &Path) -> io::Error {
    let odd = [Errno::NXIO, Errno::NODEV, Errno::ISDIR, Errno::LOOP];
    if !Errno::from_io_error(&error).is_some_and(|errno| odd.contains(&errno)) {
        return error;
    }
    let kind = std::fs::symlink_metadata(path).ok().and_then(|found| kind_of(found.file_type()));
    kind.map_or(error, |kind| NotAFile(kind).into())
}

fn kind_of(found: FileType) -> Option<&'static str> {
    match found {
        _ if found.is_file() => None,
        _ if found.is_dir() => Some("a directory"),
        _ if found.is_symlink() => Some("a symbolic link"),
        _ if found.is_fifo() => Some("a FIFO"),
        _ if found.is_socket() => Some("a socket"),
        _ => Some("a device"),
    }
}

/// Reads a short text, at most `bytes_max` of it.
///
/// # Errors
/// As [`open`].
pub(crate) fn read(path: &Path, bytes_max: u64) -> io::Result<String> {
    let mut text = String::new();
    let file = open(OpenOptions::new().read(true), OFlags::empty(), path)?;
    file.take(bytes_max).read_to_string(&mut text)?;
    Ok(text)
}

/// Makes a directory for secrets. One that is there is refused if it is somebody else's, or if others can write into it: they could replace what is
/// put there.
///
/// # Errors
/// `PermissionDenied` with what to do; as the operating system.
pub(crate) fn make_secret_dir(path: &Path) -> io::Result<()> {
    make_dirs(path)?;
    let found = std::fs::metadata(path)?;
    if found.uid() != rustix::process::geteuid().as_raw() {
        let text = format!("{} belongs to another user (uid {})", path.display(), found.uid());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    let mode = found.permissions().mode() & 0o7777;
    if mode & OTHERS_WRITE != 0 {
        let text = format!("other users can write into {} (mode {mode:04o}): chmod 700 it", path.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    Ok(())
}

/// Refuses a file that other users of this machine can read: what is secret in it may be known.
///
/// # Errors
/// `PermissionDenied` with what to do; as the operating system.
pub(crate) fn must_be_ours(path: &Path) -> io::Result<()> {
    let mode = std::fs::metadata(path)?.permissions().mode() & 0o7777;
    if mode & OTHERS == 0 {
        return Ok(());
    }
    let text = format!(
        "is open to other users of this machine (mode {mode:04o}): chmod 600 it, and replace what it holds if they may have read it"
    );
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

/// Writes a short text in place of what was there.
///
/// # Errors
/// As [`open`].
pub(crate) fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(FILE_MODE);
    open(&mut options, OFlags::empty(), path)?.write_all(text.as_bytes())
}

/// Writes a short text in place of what was there, durably and as a whole: whoever reads finds the one or the other.
///
/// # Errors
/// As [`open`]; what was there stays.
pub(crate) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    // Whatever lies there, of an attempt before or of somebody else, is not written to.
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(FILE_MODE);
    let mut file = open(&mut options, OFlags::NOFOLLOW, &new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    let above = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    sync_dir(above.unwrap_or_else(|| Path::new(".")))
}

/// Makes a directory and what is missing above it, and makes their names durable.
///
/// # Errors
/// As the operating system.
pub(crate) fn make_dirs(path: &Path) -> io::Result<()> {
    let make = || DirBuilder::new().mode(DIR_MODE).create(path);
    match make() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_dirs(path.parent().filter(|parent| !parent.as_os_str().is_empty()).ok_or(error)?)?;
            make()?;
        }
        made => made?,
    }
    let above = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    sync_dir(above.unwrap_or_else(|| Path::new(".")))
}

/// Makes the names in a directory durable.
///
/// # Errors
/// As the operating system; after one, nothing is known about any of them.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Closes a file or a directory to other users, if it is there and open to them. What cannot be mended is told of.
pub(crate) fn mend(path: &Path) {
    let Ok(found) = std::fs::symlink_metadata(path) else { return };
    let mode = found.permissions().mode();
    let wanted = match found.file_type() {
        kind if kind.is_dir() => DIR_MODE,
        kind if kind.is_file() => FILE_MODE,
        _ => return,
    };
    if mode & OTHERS == 0 {
        return;
    }
    let (shown, was) = (path.display(), format!("{:04o}", mode & 0o7777));
    if mode & STICKY != 0 {
        tracing::warn!(path = %shown, was, "a directory of many users holds files of this node; give it one of its own");
        return;
    }
    match std::fs::set_permissions(path, Permissions::from_mode(wanted)) {
        Ok(()) => {
            tracing::warn!(path = %shown, was, "was open to other users of this machine, and is closed now")
        }
        Err(error) => {
            tracing::warn!(path = %shown, was, %error, "is open to other users of this machine, and cannot be closed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, Mode, mknodat};

    use super::*;

    fn mode_of(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn what_is_no_plain_file_is_named_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        mknodat(CWD, at("fifo"), rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        std::fs::create_dir(at("dir")).unwrap();
        for (name, kind) in [("fifo", "a FIFO"), ("socket", "a socket"), ("dir", "a directory")] {
            let reading = read(&at(name), 10).map(drop);
            for tried in [reading, write(&at(name), "x")] {
                let error = tried.unwrap_err();
                assert!(is_not_a_file(&error) && error.to_string().starts_with(kind), "{name}: {error}");
            }
        }
        let error = read(Path::new("/dev/null"), 10).unwrap_err();
        assert!(error.to_string().starts_with("a device"), "{error}");
        assert!(!is_not_a_file(&read(&at("none"), 10).unwrap_err()));
        write(&at("file"), "text\n").unwrap();
        assert_eq!((read(&at("file"), 3).unwrap(), mode_of(&at("file"))), ("tex".to_owned(), 0o600));
    }

    #[test]
    fn what_is_open_to_others_is_closed_and_what_is_shared_on_purpose_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let (sub, file) = (dir.path().join("a/b"), dir.path().join("a/b/f"));
        make_dirs(&sub).unwrap();
        assert_eq!((mode_of(&sub), mode_of(sub.parent().unwrap())), (0o700, 0o700));
        std::fs::write(&file, "x").unwrap();
        for (path, open, closed) in [(&sub, 0o755, 0o700), (&file, 0o644, 0o600), (&sub, 0o1777, 0o1777)] {
            std::fs::set_permissions(path, Permissions::from_mode(open)).unwrap();
            mend(path);
            assert_eq!(mode_of(path), closed, "{}", path.display());
        }
        mend(&dir.path().join("none"));
    }
}
