//! An open file of a simulated disk.

use std::io::{self, IoSlice};
use std::path::PathBuf;

use bytes::Bytes;
use dfs_node::store::disk_io::DiskFile;
use redb::StorageBackend;
use rustix::io::Errno;

use super::content::File;
use super::medium::{Fault, State, errno};
use super::mount::SimDisk;
use crate::rng::mix;

/// An open file.
pub(in crate::sim) struct SimFile {
    pub(super) disk: SimDisk,
    pub(super) inode: u64,
    pub(super) path: PathBuf,
}

impl std::fmt::Debug for SimFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.path.display(), self.disk.birth.host)
    }
}

impl SimFile {
    fn file<T>(&self, look: impl FnOnce(&mut File) -> T) -> io::Result<T> {
        self.disk.alive()?;
        let mut state = self.disk.state();
        state.files.get_mut(&self.inode).map(look).ok_or_else(|| errno(Errno::BADF))
    }

    fn change<T>(
        &self,
        what: &'static str,
        change: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        self.disk.change(what, &self.path, change)
    }

    /// Writes `data`, or a part of it if that fails.
    fn put(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.change("write", |state| {
            let fails = state.strikes(Fault::Write);
            let at = offset as usize;
            let room = if fails { Err(errno(Errno::IO)) } else { state.grow(self.inode, at + data.len()) };
            let file = state.files.get_mut(&self.inode).ok_or_else(|| errno(Errno::BADF))?;
            if room.is_err() {
                // Where the file is that long already: a part that is not there takes no room.
                let there = file.now.len().saturating_sub(at).min(data.len());
                file.write(at, &data[..part_of(there, offset)]);
            } else {
                file.write(at, data);
            }
            room
        })
    }

    fn resize(&self, len: u64) -> io::Result<()> {
        self.change("set length of", |state| {
            state.refuses()?;
            state.grow(self.inode, len as usize)?;
            let file = state.files.get_mut(&self.inode).ok_or_else(|| errno(Errno::BADF))?;
            file.resize(len as usize);
            Ok(())
        })
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.change("sync", |state| {
            let fails = state.strikes(Fault::Sync);
            let file = state.files.get_mut(&self.inode).ok_or_else(|| errno(Errno::BADF))?;
            if fails {
                file.fail_sync();
                return Err(errno(Errno::IO));
            }
            file.sync();
            Ok(())
        })
    }

    /// Reads from `offset`, maybe less than there is.
    fn get(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        if state.strikes(Fault::Read) {
            return Err(errno(Errno::IO));
        }
        let len =
            if state.reads_short { part_of(out.len(), offset).max(1).min(out.len()) } else { out.len() };
        drop(state);
        self.file(|file| file.read(offset as usize, &mut out[..len]))
    }

    /// Has the kernel drop what it keeps of the file and is not to be written.
    pub(super) fn forget_lost(&self) -> io::Result<()> {
        self.file(File::forget_lost)
    }
}

/// Some of `len` bytes, none and all of them among what it may be; it differs from place to place.
fn part_of(len: usize, offset: u64) -> usize {
    let chance = mix(offset ^ (len as u64) << 40);
    (chance % (len as u64 + 1)) as usize
}

impl DiskFile for SimFile {
    fn write_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let data: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        self.put(&data, offset)
    }

    fn read_some(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.get(buf, offset)
    }

    fn read_fresh(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.forget_lost()?;
        self.read_at(buf, offset)
    }

    fn map(&self, _: u64, _: usize) -> io::Result<Option<Bytes>> {
        Ok(None)
    }

    fn file_len(&self) -> io::Result<u64> {
        self.file(|file| file.now.len() as u64)
    }

    fn allocate(&self, len: u64) -> io::Result<bool> {
        self.resize(len).map(|()| true)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.resize(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }
}

impl StorageBackend for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.file_len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.read_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.resize(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.put(data, offset)
    }
}
