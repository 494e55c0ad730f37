//! The same disk as the metadata engine has it: what it does with its file, it does here.

use std::io;
use std::path::{Path, PathBuf};

use dfs_node::metadata::redb::StoreFiles;
use dfs_node::store::disk_io::{DiskFile as _, DiskIo, sync_dir};
use redb::DatabaseError;

use super::file::SimFile;
use super::mount::SimDisk;

impl StoreFiles for SimDisk {
    type File = SimFile;
    type Backend = SimFile;

    fn resolved(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(path.to_owned())
    }

    fn is_missing(&self, path: &Path) -> bool {
        let state = self.state();
        let file = state.file_at(path).ok().and_then(|inode| state.files.get(&inode));
        file.is_none_or(|file| file.now.is_empty())
    }

    fn open(&self, path: &Path, is_new: bool) -> io::Result<SimFile> {
        if is_new { self.find_or_make(path) } else { self.find(path) }
    }

    /// A disk is in one machine, in which one process has it at a time.
    fn lock(&self, _: &SimFile) -> io::Result<bool> {
        self.alive().map(|()| true)
    }

    fn empty(&self, file: &SimFile) -> io::Result<()> {
        file.set_len(0)
    }

    fn show_what_is_durable(&self, file: &SimFile) -> io::Result<()> {
        file.sync()?;
        file.forget_lost()
    }

    fn backend(&self, file: SimFile) -> Result<SimFile, DatabaseError> {
        Ok(file)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        DiskIo::rename(self, from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        sync_dir(self, path)
    }
}
