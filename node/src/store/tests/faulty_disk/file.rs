//! An open file of the faulty disk.

use std::io::{self, IoSlice};

use bytes::Bytes;
use rustix::io::Errno;

use super::{FaultyDisk, Op};
use crate::store::disk_io::{DiskFile, WriteMode};

/// See the module's documentation.
pub(super) struct FaultyFile {
    pub(super) disk: FaultyDisk,
    pub(super) inode: u64,
    /// `None` for reading.
    pub(super) mode: Option<WriteMode>,
}

impl FaultyFile {
    fn read(&self, buf: &mut [u8], offset: u64, cached: bool) -> io::Result<()> {
        let mut state = self.disk.state();
        state.step(Op::Read)?;
        if state.unreadable.is_some_and(|(inode, before)| inode == self.inode && offset < before) {
            return Err(Errno::IO.into());
        }
        let (offset, end) = (offset as usize, offset as usize + buf.len());
        let bytes = state.inodes[&self.inode].now.get(offset..end);
        buf.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        if let Some((inode, at)) = state.cache_flip
            && cached
            && inode == self.inode
            && (offset..end).contains(&at)
        {
            buf[at - offset] ^= 1;
        }
        Ok(())
    }
}

impl DiskFile for FaultyFile {
    fn write_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.step(Op::Write)?;
        assert!(self.mode.is_some(), "a file open for reading was written");
        state.must_be_unpublished(self.inode);
        let mut at = offset as usize;
        for part in parts.iter() {
            let aligned = (part.as_ptr().addr() | part.len() | at).is_multiple_of(4096);
            if self.mode == Some(WriteMode::Direct) && !aligned {
                return Err(Errno::INVAL.into());
            }
            state.grow(self.inode, at + part.len())?;
            state.inodes.get_mut(&self.inode).unwrap().now[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        Ok(())
    }

    fn read_some(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read(buf, offset, true)?;
        Ok(buf.len())
    }

    fn read_fresh(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.read(buf, offset, false)
    }

    fn map(&self, _: u64, _: usize) -> io::Result<Option<Bytes>> {
        Ok(None)
    }

    fn file_len(&self) -> io::Result<u64> {
        Ok(self.disk.state().inodes[&self.inode].now.len() as u64)
    }

    fn allocate(&self, len: u64) -> io::Result<bool> {
        let mut state = self.disk.state();
        state.step(Op::Allocate)?;
        if state.no_allocate {
            return Ok(false);
        }
        state.grow(self.inode, len as usize)?;
        Ok(true)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.step(Op::SetLen)?;
        state.must_be_unpublished(self.inode);
        state.inodes.get_mut(&self.inode).unwrap().now.resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        *state.counts.entry("sync_data").or_default() += 1;
        state.step(Op::SyncData)?;
        let inode = state.inodes.get_mut(&self.inode).unwrap();
        inode.synced = inode.now.clone();
        Ok(())
    }
}
