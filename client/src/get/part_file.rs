//! The file that a get to a path writes: `.<name>.dfs-part` beside its destination, until it is whole.
//!
//! Beside it, when it is to be kept for a later get, lies `.<name>.dfs-part.json` with the version and the chunks that were
//! verified. It is a hint only: on resumption each of those chunks is hashed again.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use dfs_wire::message::metadata::FileStat;
use dfs_wire::status::StatusCode;
use rustix::fs::{FlockOperation, OFlags, RenameFlags};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::absorb::Place;
use crate::error::Error;

/// From this size on the page cache is passed by: filling cold memory costs more than the disk does.
const DIRECT_FROM: u64 = 16 * 1024 * 1024;
/// Longest file name of usual file systems.
const LOCAL_NAME_MAX: usize = 255;
/// Longest side file worth reading.
const NOTE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How long a part file's lock is waited for. A get that was given up holds it until its last write has ended.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
const LOCK_POLL: Duration = Duration::from_millis(20);

/// What becomes of the part if the get does not end well, and of one that lies there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// It is removed; an older one is overwritten.
    Nothing,
    /// It is kept if anything of it is verified; an older one is overwritten.
    Progress,
    /// It is kept; an older one of the same version is gone on with.
    AndResume,
}

/// What was fetched so far, and of what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    format: u32,
    version: String,
    start: u64,
    end: u64,
    chunk_size: u32,
    /// Runs of verified chunks, first and last.
    chunks: Vec<(u32, u32)>,
}

/// A destination being written.
#[derive(Debug)]
pub(super) struct PartFile {
    destination: PathBuf,
    path: Arc<PathBuf>,
    note_path: PathBuf,
    file: Arc<File>,
    direct: Option<Arc<File>>,
    keep: Keep,
    finished: bool,
    note: Note,
    done: BTreeSet<u32>,
}

impl PartFile {
    /// Opens or creates the part file of `destination` for bytes `start .. end` of a version. On resumption, chunks
    /// that an earlier get brought are reported by [`Self::claimed`].
    ///
    /// Blocks.
    pub(super) fn open(
        destination: &Path,
        stat: &FileStat,
        (start, end): (u64, u64),
        keep: Keep,
        overwrite: bool,
    ) -> Result<Self, Error> {
        if !overwrite && destination.symlink_metadata().is_ok() {
            return Err(exists(destination));
        }
        let path = beside(destination, "")?;
        let note_path = beside(destination, ".json")?;
        let file = lock(&path)?;
        let note = Note {
            format: 1,
            version: stat.version.to_string(),
            start,
            end,
            chunk_size: stat.chunk_size,
            chunks: Vec::new(),
        };
        let done = if keep == Keep::AndResume { claimed(&note_path, &note) } else { BTreeSet::new() };
        let failed = |e| Error::local_file("preparing", &path, e);
        if done.is_empty() {
            file.set_len(0).map_err(failed)?;
        }
        let len = end.saturating_sub(start);
        reserve(&file, len).map_err(failed)?;
        let flags = i32::try_from(OFlags::DIRECT.bits()).unwrap_or(0);
        let direct = (len >= DIRECT_FROM)
            .then(|| OpenOptions::new().write(true).custom_flags(flags).open(&path).ok().map(Arc::new))
            .flatten();
        Ok(Self {
            destination: destination.to_owned(),
            path: Arc::new(path),
            note_path,
            file: Arc::new(file),
            direct,
            keep,
            finished: false,
            note,
            done,
        })
    }

    /// Chunks that an earlier get says it verified.
    pub(super) fn claimed(&self) -> &BTreeSet<u32> {
        &self.done
    }

    /// Where byte `offset` of the part is.
    pub(super) fn place(&self, offset: u64) -> Place {
        Place { file: self.file.clone(), direct: self.direct.clone(), path: self.path.clone(), offset }
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
    pub(super) fn save(&self) {
        if self.keep == Keep::Nothing {
            return;
        }
        let note = Note { chunks: runs(&self.done), ..self.note.clone() };
        let new = self.note_path.with_extension("json.new");
        let saved = serde_json::to_vec(&note)
            .map_err(io::Error::other)
            .and_then(|bytes| fs::write(&new, bytes))
            .and_then(|()| fs::rename(&new, &self.note_path));
        if let Err(error) = saved {
            tracing::debug!(%error, "what was fetched could not be written down");
        }
    }

    /// Makes the part the destination: synced, renamed, the directory synced. Blocks.
    pub(super) fn finish(mut self, overwrite: bool) -> Result<(), Error> {
        let failed = |e| Error::local_file("finishing", &self.destination, e);
        self.file.set_len(self.note.end.saturating_sub(self.note.start)).map_err(failed)?;
        self.file.sync_all().map_err(failed)?;
        if overwrite {
            fs::rename(self.path.as_path(), &self.destination).map_err(failed)?;
        } else {
            self.rename_to_nothing()?;
        }
        self.finished = true;
        fs::remove_file(&self.note_path).ok();
        let directory = parent_of(&self.destination);
        File::open(directory).and_then(|d| d.sync_all()).map_err(failed)
    }

    fn rename_to_nothing(&self) -> Result<(), Error> {
        let (from, to) = (self.path.as_path(), self.destination.as_path());
        let cwd = rustix::fs::CWD;
        match rustix::fs::renameat_with(cwd, from, cwd, to, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::EXIST) => Err(exists(to)),
            // Not every file system can do it in one step.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if !to.exists() => {
                fs::rename(from, to).map_err(|e| Error::local_file("finishing", to, e))
            }
            Err(e) => Err(Error::local_file("finishing", to, e.into())),
        }
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let keep = match self.keep {
            Keep::Nothing => false,
            Keep::Progress => !self.done.is_empty(),
            Keep::AndResume => true,
        };
        if keep {
            self.save();
        } else {
            fs::remove_file(self.path.as_path()).ok();
            fs::remove_file(&self.note_path).ok();
        }
    }
}

/// Whether a get to `local` that was interrupted left something which one with [`crate::GetOptions::resume`] may go
/// on with.
pub fn is_resumable(local: &Path) -> bool {
    let destination = local.canonicalize().unwrap_or_else(|_| local.to_owned());
    beside(&destination, ".json").is_ok_and(|note| note.is_file())
}

fn exists(path: &Path) -> Error {
    Error::new(StatusCode::AlreadyExists, format!("{} exists already", path.display()))
        .with_hint("choose another name or allow it to be replaced")
}

fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The hidden name beside `destination`; shortened to a hash where the file system would refuse it.
fn beside(destination: &Path, suffix: &str) -> Result<PathBuf, Error> {
    let Some(name) = destination.file_name() else {
        let text = format!("{} is not a file name", destination.display());
        return Err(Error::new(StatusCode::InvalidArgument, text));
    };
    // Room for the longest suffix and the ".new" of a note being replaced.
    let mut hidden = std::ffi::OsString::from(".");
    if name.len() + ".".len() + ".dfs-part.json.new".len() <= LOCAL_NAME_MAX {
        hidden.push(name);
    } else {
        let hash = Sha256::digest(name.as_encoded_bytes());
        hidden.push(hash.iter().take(16).map(|b| format!("{b:02x}")).collect::<String>());
    }
    hidden.push(".dfs-part");
    hidden.push(suffix);
    Ok(parent_of(destination).join(hidden))
}

/// Opens the part file and locks it, so that two gets never write one file. Blocks for [`LOCK_PATIENCE`] at most.
fn lock(path: &Path) -> Result<File, Error> {
    let failed = |e| Error::local_file("creating", path, e);
    let began = Instant::now();
    loop {
        let no_follow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).custom_flags(no_follow);
        let file = options.open(path).map_err(failed)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) if began.elapsed() < LOCK_PATIENCE => {
                thread::sleep(LOCK_POLL);
                continue;
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let text = format!("another get is writing {}", path.display());
                return Err(Error::new(StatusCode::AlreadyExists, text).with_hint("wait for it to end"));
            }
            Err(e) => return Err(failed(e.into())),
        }
        // Between opening and locking, another get may have renamed it away: then it is somebody's whole file.
        let (ours, named) = (file.metadata().map_err(failed)?, fs::symlink_metadata(path));
        if named.is_ok_and(|n| (n.dev(), n.ino()) == (ours.dev(), ours.ino())) {
            return Ok(file);
        }
    }
}

/// Takes the room at once: a full disk is told before bytes are moved for nothing.
fn reserve(file: &File, len: u64) -> io::Result<()> {
    if len == 0 {
        return Ok(());
    }
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, len) {
        Err(rustix::io::Errno::NOSPC) => Err(rustix::io::Errno::NOSPC.into()),
        Ok(()) => Ok(()),
        Err(_) => file.set_len(len),
    }
}

fn claimed(note_path: &Path, wanted: &Note) -> BTreeSet<u32> {
    let fits = fs::metadata(note_path).is_ok_and(|m| m.is_file() && m.len() <= NOTE_BYTES_MAX);
    let note: Option<Note> =
        fits.then(|| fs::read(note_path).ok().and_then(|b| serde_json::from_slice(&b).ok())).flatten();
    match note {
        Some(note) if Note { chunks: Vec::new(), ..note.clone() } == *wanted => {
            let last = u32::try_from(wanted.end / u64::from(wanted.chunk_size.max(1))).unwrap_or(u32::MAX);
            note.chunks.iter().flat_map(|&(a, b)| a..=b.min(last)).collect()
        }
        _ => BTreeSet::new(),
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
mod tests {
    use dfs_wire::id::{InodeId, VersionId};
    use dfs_wire::message::metadata::EntryKind;

    use super::*;

    fn stat(version: u128) -> FileStat {
        FileStat {
            path: "/x".parse().unwrap(),
            inode: InodeId(2),
            kind: EntryKind::File,
            size: 10,
            mtime_ms: 0,
            created_ms: 0,
            version: VersionId(version),
            chunk_size: 2,
            chunk_count: 5,
            replication: 3,
        }
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn an_interrupted_part_is_kept_only_if_it_may_be_resumed() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("out");
        drop(PartFile::open(&to, &stat(1), (0, 10), Keep::Nothing, true).unwrap());
        assert!(names(dir.path()).is_empty());
        drop(PartFile::open(&to, &stat(1), (0, 10), Keep::Progress, true).unwrap());
        assert!(names(dir.path()).is_empty(), "nothing of it is verified");
        let mut part = PartFile::open(&to, &stat(1), (0, 10), Keep::AndResume, true).unwrap();
        [0, 1, 3].into_iter().for_each(|i| part.mark(i, true));
        drop(part);
        assert_eq!(names(dir.path()), [".out.dfs-part", ".out.dfs-part.json"]);
        let part = PartFile::open(&to, &stat(1), (0, 10), Keep::AndResume, true).unwrap();
        assert_eq!(part.claimed().iter().copied().collect::<Vec<_>>(), [0, 1, 3]);
        assert!(PartFile::open(&to, &stat(1), (0, 10), Keep::AndResume, true).is_err(), "one get at a time");
        drop(part);
        let other = PartFile::open(&to, &stat(2), (0, 10), Keep::AndResume, true).unwrap();
        assert!(other.claimed().is_empty(), "another version is another file");
        other.finish(true).unwrap();
        assert_eq!(names(dir.path()), ["out"]);
        assert_eq!(fs::metadata(&to).unwrap().len(), 10);
    }

    #[test]
    fn the_last_write_of_a_get_that_was_given_up_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("out");
        let mut part = PartFile::open(&to, &stat(1), (0, 10), Keep::AndResume, true).unwrap();
        part.mark(2, true);
        let write = part.place(0);
        drop(part);
        let ending = thread::spawn(move || {
            thread::sleep(Duration::from_millis(200));
            drop(write);
        });
        let part = PartFile::open(&to, &stat(1), (0, 10), Keep::AndResume, true).unwrap();
        assert!(part.claimed().contains(&2));
        ending.join().unwrap();
    }

    #[test]
    fn an_existing_file_is_replaced_only_if_that_is_allowed() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("out");
        let part = PartFile::open(&to, &stat(1), (0, 1), Keep::Nothing, false).unwrap();
        fs::write(&to, "mine").unwrap();
        assert_eq!(part.finish(false).unwrap_err().code(), "AlreadyExists");
        assert!(PartFile::open(&to, &stat(1), (0, 1), Keep::Nothing, false).is_err());
        assert_eq!((fs::read_to_string(&to).unwrap().as_str(), names(dir.path()).len()), ("mine", 1));
    }

    #[test]
    fn the_longest_names_have_a_part_file_too() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("n".repeat(255));
        PartFile::open(&to, &stat(1), (0, 3), Keep::AndResume, true).unwrap().finish(true).unwrap();
        assert_eq!(names(dir.path()).len(), 1);
        assert!(beside(Path::new("/"), "").is_err() && beside(Path::new(".."), "").is_err());
    }

    #[test]
    fn a_note_that_lies_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let note = dir.path().join("note");
        let wanted =
            Note { format: 1, version: "v".into(), start: 0, end: 10, chunk_size: 2, chunks: vec![] };
        let lie = Note { chunks: vec![(0, u32::MAX)], ..wanted.clone() };
        fs::write(&note, serde_json::to_vec(&lie).unwrap()).unwrap();
        assert!(claimed(&note, &wanted).len() <= 6);
        fs::write(&note, "{").unwrap();
        assert!(claimed(&note, &wanted).is_empty());
        assert_eq!(runs(&BTreeSet::from([0, 1, 2, 5])), [(0, 2), (5, 5)]);
    }
}
