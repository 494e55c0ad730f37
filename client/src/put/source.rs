//! Whether a local file that was put is still what it was when the put began.
//!
//! A file is read in parts, some of them twice: if somebody writes to it meanwhile, what is stored is no state that it ever
//! had. So it is looked at again before the commit.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::env::age_of;
use crate::error::Error;

/// Times of files are as fine as the kernel's tick: who writes within the one of the first look leaves no trace.
pub(super) const TICK: Duration = Duration::from_millis(20);

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileStamp {
    inode: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileStamp {
    /// Looks at an open file. `None` if it was changed just now: it is to be looked at again after [`TICK`]. Blocks.
    pub(super) fn first(file: &File) -> std::io::Result<Option<Self>> {
        let metadata = file.metadata()?;
        let age = metadata.modified().ok().and_then(age_of);
        Ok(age.is_none_or(|age| age >= TICK).then(|| Self::of(&metadata)))
    }

    /// Looks at an open file, whenever it was changed. Blocks.
    pub(super) fn again(file: &File) -> std::io::Result<Self> {
        file.metadata().map(|metadata| Self::of(&metadata))
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// What is different now, of the file or of its name; `None` if nothing is. Blocks.
    pub(super) fn changed(&self, file: &File, path: &Path) -> Option<String> {
        let now = match file.metadata() {
            Ok(metadata) => Self::of(&metadata),
            Err(e) => return Some(format!("it cannot be looked at any more: {e}")),
        };
        if now.size != self.size {
            return Some(format!("its size went from {} to {} bytes", self.size, now.size));
        }
        if now != *self {
            return Some("it was written to, or changed otherwise".to_owned());
        }
        match path.metadata() {
            Ok(named) if Self::of(&named).inode == self.inode => None,
            Ok(_) => Some("another file has its name".to_owned()),
            Err(_) => Some("its name is gone".to_owned()),
        }
    }
}

/// The failure of a put whose source changed.
pub(super) fn changed(path: &Path, how: &str) -> Error {
    Error::source_changed(format!("{} changed while it was read: {how}", path.display())).with_hint(
        "nothing was stored; put it again when nobody writes to it, or allow it to change and store what was read",
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    #[test]
    fn every_change_of_a_file_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, "0123456789").unwrap();
        let open = || {
            let file = File::open(&path).unwrap();
            std::thread::sleep(TICK);
            (FileStamp::first(&file).unwrap().unwrap(), file)
        };
        let fresh = File::open(&path).unwrap();
        fs::write(&path, "0123456789").unwrap();
        assert_eq!(FileStamp::first(&fresh).unwrap(), None, "it may be changed again without a trace");
        let (seen, file) = open();
        assert_eq!(seen.changed(&file, &path), None);
        fs::read(&path).unwrap();
        assert_eq!(seen.changed(&file, &path), None, "reading is no change");
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"x").unwrap();
        assert!(seen.changed(&file, &path).unwrap().contains("from 10 to 11 bytes"));

        let (seen, file) = open();
        fs::OpenOptions::new().write(true).open(&path).unwrap().write_all(b"y").unwrap();
        assert!(seen.changed(&file, &path).is_some(), "of the same size");

        let (seen, file) = open();
        let old = fs::metadata(&path).unwrap().modified().unwrap();
        let write = fs::OpenOptions::new().write(true).open(&path).unwrap();
        (&write).write_all(b"z").unwrap();
        write.set_modified(old).unwrap();
        assert!(seen.changed(&file, &path).is_some(), "with its time put back");

        let (seen, file) = open();
        fs::write(dir.path().join("new"), "0123456789").unwrap();
        fs::rename(dir.path().join("new"), &path).unwrap();
        assert!(seen.changed(&file, &path).is_some(), "replaced");
    }
}
