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

    fn put(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        self.change("write", |state| {
            if state.strikes(Fault::Write) {
                return Err(errno(Errno::IO));
            }
            let (mut at, len) = (offset as usize, parts.iter().map(|part| part.len()).sum::<usize>());
            state.grow(self.inode, at + len)?;
            let file = state.files.get_mut(&self.inode).ok_or_else(|| errno(Errno::BADF))?;
            for part in parts {
                file.write(at, part);
                at += part.len();
            }
            Ok(())
        })
    }

    fn resize(&self, len: u64) -> io::Result<()> {
        self.change("set length of", |state| {
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
                let mut dirty = std::mem::take(&mut file.dirty);
                file.lost.append(&mut dirty);
                return Err(errno(Errno::IO));
            }
            file.sync();
            Ok(())
        })
    }

    fn get(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        if self.disk.state().strikes(Fault::Read) {
            return Err(errno(Errno::IO));
        }
        self.file(|file| {
            let from = offset as usize;
            let bytes = file.now.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            out.copy_from_slice(bytes);
            Ok(())
        })?
    }
}

impl DiskFile for SimFile {
    fn write_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let parts: Vec<&[u8]> = parts.iter().map(|part| &part[..]).collect();
        self.put(&parts, offset)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.get(buf, offset)
    }

    fn read_fresh(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.get(buf, offset)
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
        self.get(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.resize(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.put(&[data], offset)
    }
}
