//! Start: nothing on the disk is believed before it was looked at.
//!
//! | found | done |
//! |---|---|
//! | file in `tmp/` | deleted: it was never acknowledged |
//! | chunk file with a sound footer and the right name | indexed, `Unverified` |
//! | chunk file of another cluster, and the identity names ours | the store does not open, and nothing is moved |
//! | chunk file whose footer is bad in two reads, or is another chunk's | moved aside as damaged, reported |
//! | a FIFO, a socket, a device, a directory, a link under a chunk's name | moved aside as damaged, reported |
//! | chunk file of another format version | left alone, reported, not indexed |
//! | chunk file that cannot be read (EIO) | left alone, reported, not indexed: nothing is known about it |
//! | any other name | left alone, reported |
//!
//! What is in quarantine already is neither listed nor opened (quarantine.rs).
//!
//! Nobody has ordered any of it deleted, so nothing that is moved here is ever purged: a damaged footer may be all that is
//! wrong with the last copy of a chunk. An operator deletes the file when the chunk is known to be good elsewhere.
//!
//! What is indexed will be reported, counted and vouched for, so it must be durable. Its bytes are: the file had no name
//! under `chunks/` before they were synced. Its name may be in memory only, if an earlier process was killed between the
//! rename and the sync of the directory. So every directory is synced before its chunks count; an error fails the disk,
//! which says so in every report and vouches for nothing (see `create`).
//!
//! One read of at most 8 KiB a chunk, on several threads: the disk, not the CPU, sets the pace.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use dfs_actors::datanode::chunk_store::{ChunkInfo, ReplicaState};
use dfs_wire::id::ClusterId;

use super::disk::{Disk, count, lock};
use super::format::FormatError;
use super::index::Index;
use super::layout::{Aside, Layout, parse_chunk_name};
use super::quarantine::{HourlyQuarantine, open_place};
use super::reader::{FooterError, read_footer_surely};
use crate::private::is_not_a_file;

/// Lines kept of each list of a [`SweepReport`]; the counts go on.
pub const REPORT_LINES_MAX: usize = 1000;

/// What the sweep found.
#[derive(Debug, Default)]
pub struct SweepReport {
    /// Chunks that are in the index now.
    pub chunks: u64,
    /// Bytes of those chunks, without headers and footers.
    pub bytes: u64,
    /// Temporary files deleted.
    pub tmp_removed: u64,
    /// Files moved aside as damaged: the path and the reason. These replicas need repair from others.
    pub damaged: Vec<(PathBuf, String)>,
    /// How many there were, however many are listed.
    pub damaged_count: u64,
    /// Files that could not be read, are of another format version, or are not ours: the path and the reason.
    pub left_alone: Vec<(PathBuf, String)>,
    /// How many there were, however many are listed.
    pub left_alone_count: u64,
}

/// Chunk files of another cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strays {
    /// How many such files there are.
    pub count: u64,
    /// One of them.
    pub path: PathBuf,
    /// The cluster that this one is of.
    pub cluster: ClusterId,
}

impl fmt::Display for Strays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, path, cluster } = self;
        write!(f, "{count} of its chunks are of another one ({} of cluster {cluster})", path.display())
    }
}

/// Why a disk cannot be swept.
#[derive(Debug)]
pub(crate) enum SweepError {
    Io(io::Error),
    OtherCluster { ours: ClusterId, strays: Strays },
}

impl From<io::Error> for SweepError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What is to be done with one file.
enum Finding {
    Sound(ChunkInfo),
    OtherCluster(PathBuf, ClusterId),
    Bad(PathBuf, String),
    LeftAlone(PathBuf, String),
}

/// Sweeps a disk on `threads` threads. Returns the index, what is in quarantine, and the report.
///
/// # Errors
/// If a directory cannot be listed, or holds chunks of another cluster than `cluster`. A disk that refuses writes is
/// marked so, and is no error: it can be read.
pub(crate) fn sweep(
    disk: &Disk,
    cluster: Option<ClusterId>,
    threads: usize,
) -> Result<(Index, HourlyQuarantine, SweepReport), SweepError> {
    let mut report = SweepReport { tmp_removed: clear_tmp(disk)?, ..SweepReport::default() };
    // A chunk that was taken out of service, and not durably, must not come back once that was reported.
    sync_names(disk, &disk.layout.quarantine_dir());
    let index = Index::default();
    let (mut bad, mut strays) = (Vec::new(), None::<Strays>);
    for finding in scan(disk, cluster, &index, threads)? {
        match finding {
            Finding::Bad(path, reason) => bad.push((path, reason)),
            Finding::LeftAlone(path, reason) => {
                tracing::warn!(disk = %disk.label, path = %path.display(), reason, "file left alone");
                report.left_alone_count += 1;
                note(&mut report.left_alone, path, reason);
            }
            Finding::OtherCluster(path, cluster) => {
                strays.get_or_insert(Strays { count: 0, path, cluster }).count += 1;
            }
            Finding::Sound(_) => {} // indexed where it was found
        }
    }
    if let (Some(ours), Some(strays)) = (cluster, strays) {
        return Err(SweepError::OtherCluster { ours, strays });
    }
    move_aside(disk, &bad);
    report.damaged_count = bad.len() as u64;
    bad.into_iter().for_each(|(path, reason)| note(&mut report.damaged, path, reason));
    let totals = index.totals();
    (report.chunks, report.bytes) = (totals.chunks, totals.bytes);
    Ok((index, HourlyQuarantine::open(disk), report))
}

fn note(list: &mut Vec<(PathBuf, String)>, path: PathBuf, reason: String) {
    if list.len() < REPORT_LINES_MAX {
        list.push((path, reason));
    }
}

fn clear_tmp(disk: &Disk) -> io::Result<u64> {
    let dir = disk.layout.tmp_dir();
    let mut removed = 0;
    for name in disk.io.list(&dir)? {
        if !Layout::is_tmp_name(&name) || disk.check_writable().is_err() {
            continue;
        }
        match disk.io.unlink(&dir.join(&name)) {
            Ok(()) => removed += 1,
            Err(e) => {
                let error = disk.write_failed("unlink of a leftover temporary file", 0, e);
                tracing::warn!(disk = %disk.label, name, %error, "temporary file left behind");
            }
        }
    }
    Ok(removed)
}

/// Looks at every chunk file, a directory at a time per thread. Sound ones go straight into the index.
fn scan(disk: &Disk, cluster: Option<ClusterId>, index: &Index, threads: usize) -> io::Result<Vec<Finding>> {
    let leaves = disk.layout.leaves();
    let next = AtomicUsize::new(0);
    let outcome = Mutex::new((Vec::new(), None));
    let work = || {
        while let Some(leaf) = leaves.get(next.fetch_add(1, Ordering::Relaxed)) {
            match scan_leaf(disk, cluster, index, leaf) {
                Ok(findings) => lock(&outcome).0.extend(findings),
                Err(e) => {
                    lock(&outcome).1 = Some(io::Error::new(e.kind(), format!("{}: {e}", leaf.display())))
                }
            }
        }
    };
    if threads <= 1 {
        work();
    } else {
        std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    }
    match outcome.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        (_, Some(error)) => Err(error),
        (findings, None) => Ok(findings),
    }
}

fn scan_leaf(
    disk: &Disk,
    cluster: Option<ClusterId>,
    index: &Index,
    leaf: &Path,
) -> io::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for name in disk.io.list(leaf)? {
        match look_at(disk, cluster, leaf, &name) {
            Finding::Sound(info) => index.insert(info),
            other => findings.push(other),
        }
    }
    sync_names(disk, leaf);
    Ok(findings)
}

/// Makes durable what was found in a directory. An error fails the disk, and there it is told.
fn sync_names(disk: &Disk, dir: &Path) {
    if disk.check_writable().is_ok() {
        let _told_by_the_disk = disk.sync_dir(dir);
    }
}

fn look_at(disk: &Disk, cluster: Option<ClusterId>, leaf: &Path, name: &str) -> Finding {
    let path = leaf.join(name);
    let Some(key) = parse_chunk_name(name) else {
        return Finding::LeftAlone(path, "not the name of a chunk".to_owned());
    };
    let footer = disk.io.open(&path).map_err(FooterError::Io).and_then(|file| read_footer_surely(&*file));
    let footer = match footer {
        Ok(footer) => footer,
        Err(FooterError::Format(error @ FormatError::Version(_))) => {
            return Finding::LeftAlone(path, error.to_string());
        }
        Err(FooterError::Format(error)) => return Finding::Bad(path, error.to_string()),
        Err(FooterError::Io(error)) if is_not_a_file(&error) => return Finding::Bad(path, error.to_string()),
        Err(FooterError::Io(error)) => {
            count(&disk.counters.read_errors, 1);
            return Finding::LeftAlone(path, error.to_string());
        }
    };
    if footer.identity.key() != key {
        return Finding::Bad(path, format!("its footer says that it is chunk {}", footer.identity.key()));
    }
    if disk.layout.leaf_of(key) != leaf {
        return Finding::Bad(path, "in the wrong directory".to_owned());
    }
    if let Some(ours) = cluster
        && footer.identity.cluster != ours
    {
        return Finding::OtherCluster(path, footer.identity.cluster);
    }
    let (identity, seal) = (footer.identity, footer.seal);
    Finding::Sound(ChunkInfo {
        identity,
        len: seal.len,
        sha256: seal.sha256,
        state: ReplicaState::Unverified,
    })
}

/// Moves damaged files to where they are kept. They are never served, whether or not this works: they are not in the index.
/// It is no promise to anybody either, so an error matters only to the disk, which notes it.
fn move_aside(disk: &Disk, bad: &[(PathBuf, String)]) {
    for (path, reason) in bad {
        tracing::error!(disk = %disk.label, path = %path.display(), reason, "chunk file damaged");
    }
    if bad.is_empty() || disk.check_writable().is_err() {
        return;
    }
    let Ok(kept) = open_place(disk, &disk.layout.damaged_dir()) else { return };
    let to = if kept.is_some() { disk.layout.damaged_dir() } else { disk.layout.quarantine_dir() };
    let mut leaves = BTreeSet::new();
    for (n, (path, _)) in (0..).zip(bad) {
        leaves.extend(move_one_aside(disk, path, &to, n));
    }
    // Where the files went first.
    let synced = match kept {
        Some(dir) => disk.sync_opened(&to, &*dir),
        None => disk.sync_dir(&to),
    };
    let _ = synced.and_then(|()| leaves.iter().try_for_each(|leaf| disk.sync_dir(leaf)));
}

/// Returns the directory it left.
fn move_one_aside(disk: &Disk, path: &Path, to: &Path, n: u64) -> Option<PathBuf> {
    let (copy, leaf) = (path.file_name()?.to_str()?, path.parent()?);
    disk.check_writable().ok()?;
    let bytes = disk.io.open(path).and_then(|file| file.file_len()).unwrap_or(0);
    let aside = Aside { copy, since_ms: disk.unix_ms().1, n, bytes: Some(bytes), damaged: true };
    match disk.io.rename(path, &to.join(aside.to_string())) {
        Ok(()) => Some(leaf.to_owned()),
        Err(e) => {
            let error = disk.write_failed("moving a damaged chunk aside", 0, e);
            tracing::warn!(disk = %disk.label, path = %path.display(), %error, "damaged chunk left where it is");
            None
        }
    }
}
