//! What the store needs of a file system: the seam behind which a test puts a disk that loses unsynced writes.
//!
//! Every call may block and is made on an I/O thread (or at start). Durability is as POSIX has it and no better:
//! file contents are durable after [`DiskFile::sync_data`], names after [`DiskDir::sync`] of their directory.

use std::io::{self, IoSlice};
use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::watermarks::Space;

/// How a new file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteMode {
    /// Through the page cache.
    Buffered,
    /// O_DIRECT: addresses, offsets and lengths are multiples of 4 KiB.
    Direct,
}

/// Proof that this process owns a data directory; given up when dropped.
pub trait DirLock: Send + Sync {}

/// The answer to a request for a lock.
pub enum LockOutcome {
    /// Ours until dropped.
    Held(Box<dyn DirLock>),
    /// Somebody else's: the process of this id, if it left its id.
    Taken(Option<u32>),
}

/// An open directory.
pub trait DiskDir: Send + Sync {
    /// Makes the names in it durable.
    ///
    /// # Errors
    /// As the operating system; after one, nothing is known about any of them.
    fn sync(&self) -> io::Result<()>;
}

/// Makes the names in a directory durable that nobody keeps open.
///
/// # Errors
/// As [`DiskIo::open_dir`] and [`DiskDir::sync`].
pub fn sync_dir(io: &dyn DiskIo, path: &Path) -> io::Result<()> {
    io.open_dir(path)?.sync()
}

/// Work for a disk.
pub type DiskJob = Box<dyn FnOnce() + Send>;

/// A file system.
pub trait DiskIo: Send + Sync + 'static {
    /// Creates a file that must not exist, for writing, private to this user.
    ///
    /// # Errors
    /// As the operating system; EINVAL if it knows no O_DIRECT here.
    fn create(&self, path: &Path, mode: WriteMode) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file for reading.
    ///
    /// # Errors
    /// As the operating system.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file for writing in place, private to this user; makes it if it is not there.
    ///
    /// # Errors
    /// As the operating system.
    fn update(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Lets two names change places at once. Where the file system cannot, it is [`Self::rename`].
    ///
    /// # Errors
    /// As the operating system.
    fn exchange(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file another name, replacing what had it.
    ///
    /// # Errors
    /// As the operating system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a name. One that is not there is no error.
    ///
    /// # Errors
    /// As the operating system.
    fn unlink(&self, path: &Path) -> io::Result<()>;

    /// Makes a directory private to this user. `false` if it was there.
    ///
    /// # Errors
    /// As the operating system.
    fn create_dir(&self, path: &Path) -> io::Result<bool>;

    /// Removes a directory that has nothing in it. `false` if it has, or is not there.
    ///
    /// # Errors
    /// As the operating system.
    fn remove_dir(&self, path: &Path) -> io::Result<bool>;

    /// Opens a directory, to sync it.
    ///
    /// # Errors
    /// As the operating system.
    fn open_dir(&self, path: &Path) -> io::Result<Box<dyn DiskDir>>;

    /// The names in a directory, sorted.
    ///
    /// # Errors
    /// As the operating system.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;

    /// Some of the names in a directory that `wanted` says yes to, at most `limit`, in any order: of a directory that may
    /// have very many, without a list of them all.
    ///
    /// # Errors
    /// As the operating system.
    fn list_some(&self, path: &Path, limit: usize, wanted: &dyn Fn(&str) -> bool) -> io::Result<Vec<String>> {
        Ok(self.list(path)?.into_iter().filter(|name| wanted(name)).take(limit).collect())
    }

    /// Free space of the file system that `path` is on.
    ///
    /// # Errors
    /// As the operating system.
    fn space(&self, path: &Path) -> io::Result<Space>;

    /// Which file system `path` is on, among those of this host.
    ///
    /// # Errors
    /// As the operating system.
    fn device(&self, path: &Path) -> io::Result<u64>;

    /// Takes the exclusive lock that is the file `path`, without waiting, and leaves this process's id in it if it can.
    ///
    /// # Errors
    /// As the operating system; a lock that is taken is not an error.
    fn lock(&self, path: &Path) -> io::Result<LockOutcome>;

    /// Runs a job of a store that has no threads of its own: at once here, and later where a disk takes its time.
    fn run(&self, job: DiskJob) {
        job();
    }

    /// The wall clock, which may jump.
    fn now(&self) -> SystemTime;

    /// Time since some instant of this run; it never jumps.
    fn uptime(&self) -> Duration;
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Writes all of `parts`, one after the other, at `offset`.
    ///
    /// # Errors
    /// As the operating system; any part may have been written.
    fn write_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()>;

    /// Reads from `offset` as much as is given at once, which may be less than there is; nothing at the end of the file.
    ///
    /// # Errors
    /// As the operating system.
    fn read_some(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Fills `buf` from `offset`.
    ///
    /// # Errors
    /// As the operating system; [`io::ErrorKind::UnexpectedEof`] if the file ends before.
    fn read_at(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buf.is_empty() {
            match self.read_some(buf, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    buf = buf.get_mut(n..).unwrap_or_default();
                    offset += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// As [`Self::read_at`], but from the device and not from the page cache where that is possible.
    ///
    /// # Errors
    /// As [`Self::read_at`].
    fn read_fresh(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// Maps a range of a committed file, with every page of it in memory. `None` if there is no mapping here.
    ///
    /// # Errors
    /// As the operating system.
    fn map(&self, offset: u64, len: usize) -> io::Result<Option<Bytes>>;

    /// Bytes of the file.
    ///
    /// # Errors
    /// As the operating system.
    fn file_len(&self) -> io::Result<u64>;

    /// Allocates space for the first `len` bytes and makes the file that long. `false` if the file system cannot.
    ///
    /// # Errors
    /// As the operating system, notably ENOSPC.
    fn allocate(&self, len: u64) -> io::Result<bool>;

    /// Cuts or extends the file. Never a committed chunk's.
    ///
    /// # Errors
    /// As the operating system.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes the contents and the length durable.
    ///
    /// # Errors
    /// As the operating system; after one, nothing is known about any byte of the file.
    fn sync_data(&self) -> io::Result<()>;
}
