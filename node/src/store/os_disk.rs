//! The real file system.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, IoSlice, Read};
use std::num::NonZeroU64;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use rustix::fs::{Advice, CWD, FallocateFlags, FlockOperation, OFlags, RenameFlags};
use rustix::io::Errno;

use super::aligned::{AlignedBuf, is_aligned};
use super::disk_io::{DirLock, DiskDir, DiskFile, DiskIo, LockOutcome, WriteMode};
use super::map;
use super::watermarks::Space;
use crate::private::{self, DIR_MODE, FILE_MODE};

const DIRECT: i32 = OFlags::DIRECT.bits().cast_signed();

/// [`DiskIo`] on the operating system's file systems. Modes are explicit, so no umask can open a file to others.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsDisk;

impl OsDisk {
    /// Whether O_DIRECT works in `dir`: writes an aligned page to a new file and reads it back.
    ///
    /// # Errors
    /// Whatever fails for another reason than O_DIRECT.
    pub fn probe_direct(io: &dyn DiskIo, probe: &Path) -> io::Result<bool> {
        io.unlink(probe)?;
        let outcome = Self::write_probe(io, probe);
        io.unlink(probe)?;
        match outcome {
            Ok(same) => Ok(same),
            Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::INVAL | Errno::OPNOTSUPP)) => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn write_probe(io: &dyn DiskIo, probe: &Path) -> io::Result<bool> {
        let mut page = AlignedBuf::zeroed(4096);
        page.fill(0x5a);
        let file = io.create(probe, WriteMode::Direct)?;
        file.write_at(&mut [IoSlice::new(&page)], 0)?;
        let mut back = AlignedBuf::zeroed(4096);
        file.read_at(&mut back, 0)?;
        Ok(back[..] == page[..])
    }
}

impl DiskIo for OsDisk {
    fn create(&self, path: &Path, mode: WriteMode) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(FILE_MODE);
        if mode == WriteMode::Direct {
            options.custom_flags(DIRECT);
        }
        Ok(Box::new(OsFile(options.open(path)?)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        // A symbolic link in the data directory is nobody's chunk.
        Ok(Box::new(OsFile(private::open(OpenOptions::new().read(true), OFlags::NOFOLLOW, path)?)))
    }

    fn update(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(FILE_MODE);
        Ok(Box::new(OsFile(private::open(&mut options, OFlags::NOFOLLOW, path)?)))
    }

    fn exchange(&self, from: &Path, to: &Path) -> io::Result<()> {
        match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => self.rename(from, to),
            other => Ok(other?),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        match std::fs::remove_file(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn create_dir(&self, path: &Path) -> io::Result<bool> {
        match DirBuilder::new().mode(DIR_MODE).create(path) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn remove_dir(&self, path: &Path) -> io::Result<bool> {
        match std::fs::remove_dir(path) {
            Ok(()) => Ok(true),
            Err(e)
                if matches!(
                    Errno::from_io_error(&e),
                    Some(Errno::NOTEMPTY | Errno::EXIST | Errno::NOENT)
                ) =>
            {
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }

    fn open_dir(&self, path: &Path) -> io::Result<Box<dyn DiskDir>> {
        let directory = OFlags::DIRECTORY.bits().cast_signed();
        Ok(Box::new(OsDir(OpenOptions::new().read(true).custom_flags(directory).open(path)?)))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(path)? {
            // A name that is not UTF-8 is not ours; its lossy form parses as nothing.
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn list_some(&self, path: &Path, limit: usize, wanted: &dyn Fn(&str) -> bool) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(path)? {
            if names.len() >= limit {
                break;
            }
            let name = entry?.file_name().to_string_lossy().into_owned();
            if wanted(&name) {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(Space {
            capacity: stat.f_blocks.saturating_mul(stat.f_frsize),
            available: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }

    fn device(&self, path: &Path) -> io::Result<u64> {
        Ok(std::fs::metadata(path)?.dev())
    }

    fn lock(&self, path: &Path) -> io::Result<LockOutcome> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
        let file = match private::open(&mut options, OFlags::empty(), path) {
            // Of a read-only file system, what is there can still be locked.
            Err(e) if Errno::from_io_error(&e) == Some(Errno::ROFS) => {
                private::open(OpenOptions::new().read(true), OFlags::empty(), path)?
            }
            other => other?,
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut text = String::new();
                (&file).take(32).read_to_string(&mut text)?;
                return Ok(LockOutcome::Taken(text.trim().parse().ok()));
            }
            Err(e) => return Err(e.into()),
        }
        // Only for whoever wonders who has it: a full or read-only disk must not keep its chunks from being served.
        let pid = format!("{}\n", std::process::id());
        let written = file.write_all_at(pid.as_bytes(), 0).and_then(|()| file.set_len(pid.len() as u64));
        if let Err(error) = written {
            tracing::warn!(path = %path.display(), %error, "the lock does not say which process has it");
        }
        Ok(LockOutcome::Held(Box::new(OsLock { _file: file })))
    }

    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn uptime(&self) -> Duration {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        START.elapsed()
    }
}

struct OsDir(File);

impl DiskDir for OsDir {
    fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}

/// The lock goes with the descriptor, which closes when this is dropped or the process ends in any way.
struct OsLock {
    _file: File,
}

impl DirLock for OsLock {}

struct OsFile(File);

impl DiskFile for OsFile {
    fn write_at(&self, mut parts: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        IoSlice::advance_slices(&mut parts, 0); // drops empty parts
        while !parts.is_empty() {
            match rustix::io::pwritev(&self.0, parts, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    IoSlice::advance_slices(&mut parts, n);
                    offset += n as u64;
                }
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    fn read_some(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn read_fresh(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if is_aligned(buf) {
            // A second descriptor of the same file, whatever its name is now.
            let path = format!("/proc/self/fd/{}", self.0.as_raw_fd());
            if let Ok(direct) = OpenOptions::new().read(true).custom_flags(DIRECT).open(path) {
                match direct.read_exact_at(buf, offset) {
                    Err(e) if Errno::from_io_error(&e) == Some(Errno::INVAL) => {}
                    done => return done,
                }
            }
        }
        // The next best: ask the kernel to forget the range first. It may decline; the read is right all the same.
        let _ = rustix::fs::fadvise(&self.0, offset, NonZeroU64::new(buf.len() as u64), Advice::DontNeed);
        DiskFile::read_at(self, buf, offset)
    }

    fn map(&self, offset: u64, len: usize) -> io::Result<Option<Bytes>> {
        match map::map_committed(&self.0, offset, len) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == io::ErrorKind::Unsupported => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn file_len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn allocate(&self, len: u64) -> io::Result<bool> {
        loop {
            match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, len) {
                Ok(()) => return Ok(true),
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn direct_and_buffered_files_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let direct = OsDisk::probe_direct(&OsDisk, &dir.path().join("probe")).unwrap();
        for mode in [WriteMode::Buffered, WriteMode::Direct] {
            if mode == WriteMode::Direct && !direct {
                continue;
            }
            let path = dir.path().join(format!("{mode:?}"));
            let file = OsDisk.create(&path, mode).unwrap();
            let (a, b) = (AlignedBuf::copy_of(&[1; 4096]), AlignedBuf::copy_of(&[2; 8192]));
            file.allocate(16_384).unwrap();
            file.write_at(&mut [IoSlice::new(&a), IoSlice::new(&[]), IoSlice::new(&b)], 0).unwrap();
            file.sync_data().unwrap();
            assert!(OsDisk.create(&path, mode).is_err(), "never overwrites");
            let mut back = AlignedBuf::zeroed(8192);
            let file = OsDisk.open(&path).unwrap();
            file.read_fresh(&mut back, 4096).unwrap();
            assert!(back.iter().all(|&b| b == 2));
            let mut page = [0; 10];
            file.read_fresh(&mut page, 4090).unwrap();
            assert_eq!(page, [1, 1, 1, 1, 1, 1, 2, 2, 2, 2]);
        }
        assert_eq!(OsDisk.list(dir.path()).unwrap().iter().filter(|n| n.as_str() == "probe").count(), 0);
    }

    #[test]
    fn two_names_change_places() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&b, "old").unwrap();
        let file = OsDisk.update(&a).unwrap();
        file.write_at(&mut [IoSlice::new(b"new")], 0).unwrap();
        OsDisk.exchange(&a, &b).unwrap();
        assert_eq!(std::fs::read(&b).unwrap(), b"new");
        assert_eq!(std::fs::read(&a).unwrap(), b"old", "both are there");
    }

    #[test]
    fn files_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (sub, file) = (dir.path().join("d"), dir.path().join("d/f"));
        assert!(OsDisk.create_dir(&sub).unwrap() && !OsDisk.create_dir(&sub).unwrap());
        OsDisk.create(&file, WriteMode::Buffered).unwrap();
        let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&sub), mode(&file)), (0o700, 0o600));
    }
}
