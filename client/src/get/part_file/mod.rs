//! The file that a get to a path writes, until it is whole: under a random name, which no other file has or gets.
//!
//! Whose part it is says its content alone: a trailer names the file it was made as, where it is to go, the version and the
//! chunks that were verified. A later get finds it by looking at every file here whose name looks like one; what is
//! not proved to be such a part, by mark, trailer, name and inode, is somebody's file, and is not touched.

mod attributes;
mod directory;
mod trailer;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dfs_wire::message::metadata::FileStat;
use dfs_wire::status::StatusCode;
use rustix::fs::{FlockOperation, OFlags};

use self::directory::Directory;
use self::trailer::{Trailer, inode_of, whole_len};
use super::absorb::FilePosition;
use crate::env::Env;
use crate::error::Error;

/// From this size on the page cache is passed by: filling cold memory costs more than the disk does.
const DIRECT_FROM: u64 = 16 * 1024 * 1024;

/// How long a part file's lock is waited for. A get that was given up holds it until its last write has ended.
pub(super) const LOCK_PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at such a lock.
pub(super) const LOCK_POLL: Duration = Duration::from_millis(20);

/// What becomes of the part if the get does not end well, and of one that lies there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// It is removed.
    Nothing,
    /// It is kept if anything of it is verified; an older one for the same destination is removed.
    Progress,
    /// As before, but an older one of the same version is gone on with.
    AndResume,
}

/// A destination being written.
#[derive(Debug)]
pub(super) struct PartFile {
    directory: Directory,
    destination: OsString,
    /// The destination, for messages.
    path: Arc<PathBuf>,
    name: OsString,
    file: Arc<File>,
    direct: Option<Arc<File>>,
    keep: Keep,
    finished: bool,
    trailer: Trailer,
    done: BTreeSet<u32>,
}

impl PartFile {
    /// Makes a part file for `destination` and bytes `start .. end` of a version, or opens the one that an earlier get
    /// kept: then the chunks that it brought are reported by [`Self::claimed`]. `None` if that one is locked still, and the
    /// caller is `patient`: to be tried again after [`LOCK_POLL`].
    ///
    /// Blocks, but for no lock.
    pub(super) fn open(
        destination: &Path,
        stat: &FileStat,
        (start, end): (u64, u64),
        keep: Keep,
        overwrite: bool,
        patient: bool,
        env: &Env,
    ) -> Result<Option<Self>, Error> {
        let Some(name) = destination.file_name() else {
            let text = format!("{} is not a file name", destination.display());
            return Err(Error::new(StatusCode::InvalidArgument, text));
        };
        let failed = |e| Error::local_file("preparing", destination, e);
        let directory = Directory::of(destination).map_err(failed)?;
        if !overwrite && directory.look(name).is_some() {
            return Err(exists(destination));
        }
        // A single chunk is never half verified.
        let keep = if stat.chunk_count > 1 { keep } else { Keep::Nothing };
        let wanted = Trailer {
            format: 1,
            name: String::new(),
            inode: 0,
            born: None,
            destination: escaped(name),
            version: stat.version.to_string(),
            start,
            end,
            chunk_size: stat.chunk_size,
            mode: 0,
            sequence: 0,
            chunks: Vec::new(),
        };
        let older = match keep {
            Keep::Nothing => None,
            _ => match look_through(&directory, &wanted, keep, patient) {
                Ok(older) => older,
                Err(InUse) => return Ok(None),
            },
        };
        let part = match older {
            Some(found) => Self::adopt(directory, destination, found, keep),
            None => Self::create(directory, destination, wanted, keep, env).map_err(failed)?,
        };
        part.prepare().map(Some).map_err(failed)
    }

    fn create(
        directory: Directory,
        destination: &Path,
        wanted: Trailer,
        keep: Keep,
        env: &Env,
    ) -> io::Result<Self> {
        let (file, name) = directory.create(env)?;
        let found = LeftPart { file, trailer: wanted, name };
        // From here on it is removed if anything fails.
        let mut part = Self::adopt(directory, destination, found, Keep::Nothing);
        // Without locks a later get could not tell whether it may have the file.
        let locked = try_lock(&part.file) == Lock::Taken;
        part.trailer.mode = attributes::mark(&part.file)?;
        (part.trailer.inode, part.trailer.born) = inode_of(&part.file.metadata()?);
        part.trailer.name = part.name.to_string_lossy().into_owned();
        part.reserve()?;
        part.trailer.sequence += 1;
        part.trailer.write(&part.file)?;
        part.keep = if locked { keep } else { Keep::Nothing };
        Ok(part)
    }

    fn adopt(directory: Directory, destination: &Path, found: LeftPart, keep: Keep) -> Self {
        let LeftPart { file, trailer, name } = found;
        let last = u32::try_from(trailer.end / u64::from(trailer.chunk_size.max(1))).unwrap_or(u32::MAX);
        let done = trailer.chunks.iter().flat_map(|&(a, b)| a..=b.min(last)).collect();
        Self {
            directory,
            destination: destination.file_name().unwrap_or_default().to_owned(),
            path: Arc::new(destination.to_owned()),
            name,
            file: Arc::new(file),
            direct: None,
            keep,
            finished: false,
            trailer,
            done,
        }
    }

    /// Opens it a second time, past the page cache, if that is worth it.
    fn prepare(mut self) -> io::Result<Self> {
        if self.len() >= DIRECT_FROM {
            let direct = self.directory.open(&self.name, OFlags::WRONLY | OFlags::DIRECT).ok();
            let same = |file: &File| file.metadata().is_ok_and(|m| m.ino() == self.trailer.inode);
            self.direct = direct.filter(same).map(Arc::new);
        }
        Ok(self)
    }

    fn len(&self) -> u64 {
        self.trailer.end.saturating_sub(self.trailer.start)
    }

    /// Takes the room at once: a full disk is told before bytes are moved for nothing.
    fn reserve(&self) -> io::Result<()> {
        let len = whole_len(self.len());
        match rustix::fs::fallocate(&self.file, rustix::fs::FallocateFlags::empty(), 0, len) {
            Err(e @ (rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT)) => Err(e.into()),
            Ok(()) => Ok(()),
            Err(_) => self.file.set_len(len),
        }
    }

    /// Chunks that an earlier get says it verified.
    pub(super) fn claimed(&self) -> &BTreeSet<u32> {
        &self.done
    }

    /// Where byte `offset` of the part is.
    pub(super) fn position(&self, offset: u64) -> FilePosition {
        FilePosition { file: self.file.clone(), direct: self.direct.clone(), path: self.path.clone(), offset }
    }

    /// Notes that a chunk is verified, or turned out not to be.
    pub(super) fn mark(&mut self, index: u32, verified: bool) {
        if verified {
            self.done.insert(index);
        } else {
            self.done.remove(&index);
        }
    }

    /// Writes down what is verified, if the get may be resumed. Best effort: it only saves time.
    pub(super) fn save(&mut self) {
        if self.keep == Keep::Nothing {
            return;
        }
        self.trailer.chunks = runs(&self.done);
        self.trailer.sequence += 1;
        if let Err(error) = self.trailer.write(&self.file) {
            tracing::debug!(%error, "what was fetched could not be written down");
        }
    }

    /// Makes the part the destination: synced, renamed, the directory synced. Blocks.
    pub(super) fn finish(mut self, overwrite: bool) -> Result<(), Error> {
        let path = self.path.clone();
        let failed = |e| Error::local_file("finishing", &path, e);
        self.file.set_len(self.len()).map_err(failed)?;
        attributes::settle(&self.file, &self.directory, &self.destination, self.trailer.mode)
            .map_err(failed)?;
        self.file.sync_all().map_err(failed)?;
        if !self.directory.holds(&self.name, &self.file) {
            let text = format!(
                "{} was taken away while it was written",
                self.directory.path().join(&self.name).display()
            );
            return Err(Error::local("finishing", io::Error::other(text))
                .with_hint("another program works in that directory; what it put there was left as it is"));
        }
        match self.directory.rename(&self.name, &self.destination, overwrite) {
            Ok(()) => self.finished = true,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Err(exists(&path)),
            Err(e) => return Err(failed(e)),
        }
        self.directory.sync().map_err(failed)
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        if self.keep == Keep::Nothing || self.done.is_empty() {
            self.directory.remove(&self.name, &self.file);
        } else {
            // Its mark may be gone already, if it was as good as finished.
            attributes::mark(&self.file).ok();
            self.save();
        }
    }
}

/// A part that an earlier get left, locked.
struct LeftPart {
    file: File,
    trailer: Trailer,
    name: OsString,
}

/// The part to go on with is locked by the last write of the get that left it.
struct InUse;

/// Looks at every part here that no get is at work on: gives the one to go on with, removes the others that were for
/// the same destination, and those that hold nothing. Who is not `patient` passes by the one to go on with if it is locked.
fn look_through(
    directory: &Directory,
    wanted: &Trailer,
    keep: Keep,
    patient: bool,
) -> Result<Option<LeftPart>, InUse> {
    let mut chosen = None;
    for name in directory.names_of_parts() {
        let Some((file, trailer)) = recognise(directory, &name) else { continue };
        let fits = is_same(&trailer, wanted) && keep == Keep::AndResume && chosen.is_none();
        let useless = trailer.destination == wanted.destination || trailer.chunks.is_empty();
        if !fits && !useless {
            continue;
        }
        let lock = try_lock(&file);
        if fits && patient && lock == Lock::Held {
            return Err(InUse);
        }
        // Until it was locked, another get may have gone on with it, or have made it somebody's whole file.
        let Some(trailer) = (lock == Lock::Taken).then(|| read(directory, &name, &file)).flatten() else {
            continue;
        };
        if fits && !trailer.chunks.is_empty() {
            chosen = Some(LeftPart { file, trailer, name });
        } else {
            directory.remove(&name, &file);
        }
    }
    Ok(chosen)
}

/// Opens a file if it is proved to be a part of a get of this user.
fn recognise(directory: &Directory, name: &OsStr) -> Option<(File, Trailer)> {
    let file = directory.open(name, OFlags::RDWR).ok()?;
    let trailer = read(directory, name, &file)?;
    Some((file, trailer))
}

fn read(directory: &Directory, name: &OsStr, file: &File) -> Option<Trailer> {
    let ours = attributes::is_marked(file) && directory.holds(name, file);
    let metadata = ours.then(|| file.metadata().ok()).flatten()?;
    Trailer::read(file, name.to_str()?, inode_of(&metadata), metadata.len())
}

fn is_same(found: &Trailer, wanted: &Trailer) -> bool {
    let about = |t: &Trailer| (t.destination.clone(), t.version.clone(), t.start, t.end, t.chunk_size);
    about(found) == about(wanted)
}

/// Whether a get to `local` that was interrupted left something which one with [`crate::GetOptions::resume`] may go
/// on with. Blocks.
pub fn is_resumable(local: &Path) -> bool {
    let destination = local.canonicalize().unwrap_or_else(|_| local.to_owned());
    let (Some(name), Ok(directory)) = (destination.file_name(), Directory::of(&destination)) else {
        return false;
    };
    let wanted = escaped(name);
    directory.names_of_parts().iter().any(|name| {
        recognise(&directory, name).is_some_and(|(_, t)| t.destination == wanted && !t.chunks.is_empty())
    })
}

fn escaped(name: &OsStr) -> String {
    name.as_bytes().escape_ascii().to_string()
}

fn exists(path: &Path) -> Error {
    Error::new(StatusCode::AlreadyExists, format!("{} exists already", path.display()))
        .with_hint("choose another name or allow it to be replaced")
}

#[derive(Debug, PartialEq, Eq)]
enum Lock {
    Taken,
    Held,
    Impossible,
}

/// Locks a part file, so that two gets never write one.
fn try_lock(file: &File) -> Lock {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Lock::Taken,
        Err(rustix::io::Errno::WOULDBLOCK) => Lock::Held,
        Err(_) => Lock::Impossible,
    }
}

fn runs(done: &BTreeSet<u32>) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &index in done {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(index) => *last = index,
            _ => runs.push((index, index)),
        }
    }
    runs
}

#[cfg(test)]
mod tests;
