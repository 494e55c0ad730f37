//! Another number of copies for files that are there: said of the file at once, and of its chunks part by part.
//!
//! ```text
//! parts(path, at) ---> some files below it, in the order of a listing, each whole or a stretch of its chunks ---> set
//!        ^                                                                                                         |
//!        +------------------------------------ place of the next one ----------------------------------------------+
//! set, more copies:   the chunks of a file, and with the last of them what the file says
//!      fewer copies:  what the file says, with the first of its chunks, and then they
//!      each chunk is wanted as often as the file says that wants the most of all that share it, never less often
//! ```
//!
//! Nothing is copied or dropped here: what is wanted of a chunk changes, and repair follows. Wherever it ends, no file says that its
//! chunks are wanted more often than they are. A part may be set again. What was put after the job was asked for has the number that
//! it was put with; a file that was begun is found again by its inode, wherever it was moved.

use std::collections::VecDeque;

use dfs_wire::id::{ChunkId, InodeId, NodeId, OpId, VersionId};
use dfs_wire::message::job::{JobId, JobState, WantedCopies, WorkAmount};
use dfs_wire::path::DfsPath;

use super::list::walk_files;
use crate::coordinator::metadata::model::chunks::{HolderWishes, PUT_OPS_MAX, put_chunk};
use crate::coordinator::metadata::model::outcome::StepProgress;
use crate::coordinator::metadata::model::records::{
    ChunkRecord, ChunkState, FileBody, Inode, JobRecord, SEGMENT_CHUNKS, Segment, Version,
};
use crate::coordinator::metadata::table::error::MetaError;
use crate::coordinator::metadata::table::keys;
use crate::coordinator::metadata::table::txn::{Overlay, Txn};
use crate::coordinator::metadata::table::view::View;

/// Chunks of the parts that are set at once, about: some milliseconds of the writer's time.
pub const PART_CHUNKS_MAX: u64 = if cfg!(test) { 40 } else { 1024 };
/// Files that are set at once.
const PART_FILES_MAX: usize = 256;
/// Writes that one chunk takes at most, and those that its file does.
const PART_OPS_MAX: usize = PUT_OPS_MAX + 4;

/// A stretch of the chunks of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilePart {
    /// Whose chunks they are.
    pub inode: InodeId,
    /// Its contents, when they were looked at.
    pub version: VersionId,
    /// The first of the chunks.
    pub first: u32,
    /// One more than the last of them.
    pub end: u32,
    /// Chunks of the whole file.
    pub of: u32,
}

/// How far somebody has come among the files below a path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilePlace {
    /// The last path that was passed; `None` = at the beginning.
    pub after: Option<DfsPath>,
    /// A file that was begun, and its chunk that comes next.
    pub begun: Option<FilePart>,
}

/// Some parts of files, and where it goes on after them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parts {
    /// The parts, in the order of a listing of their files.
    pub parts: Vec<FilePart>,
    /// The last path that was passed.
    pub after: Option<DfsPath>,
    /// What is left of the last file.
    pub begun: Option<FilePart>,
    /// There are no more.
    pub all: bool,
}

/// The parts of files below `path` from a place on, of those that were there at the time `asked_ms` of the coordinator.
///
/// # Errors
/// `NotFound` if `path` is not there; those of the store.
pub fn parts(view: &impl View, path: &DfsPath, at: &FilePlace, asked_ms: u64) -> Result<Parts, MetaError> {
    let mut found = Parts { after: at.after.clone(), ..Parts::default() };
    let mut room = PART_CHUNKS_MAX;
    if let Some(begun) = at.begun
        && let Some(body) = contents(view, begun.inode)?.filter(|body| body.version == begun.version)
    {
        found.begun = take(&mut found.parts, &mut room, (begun.inode, &body), begun.first);
        if found.begun.is_some() {
            return Ok(found);
        }
    }
    let Parts { parts, begun, .. } = &mut found;
    let walked = walk_files(view, path, at.after.as_ref(), |_, inode, body| {
        if begun.is_some() || room == 0 || parts.len() >= PART_FILES_MAX {
            return Ok(false);
        }
        if version_ms(body.version) <= asked_ms {
            *begun = take(parts, &mut room, (inode, body), 0);
        }
        Ok(true)
    })?;
    (found.after, found.all) = (walked.last, walked.all && found.begun.is_none());
    Ok(found)
}

/// The contents of a file that is there.
fn contents(view: &impl View, inode: InodeId) -> Result<Option<FileBody>, MetaError> {
    Ok(view.load::<Inode>(&keys::inode(inode))?.and_then(|inode| inode.file))
}

/// When the upload was opened that wrote a version: its number is that of the operation.
fn version_ms(version: VersionId) -> u64 {
    OpId(version.0).stamp_ms()
}

/// Takes a file up, as far as there is room; where it ends before the file does is returned.
fn take(
    parts: &mut Vec<FilePart>,
    room: &mut u64,
    (inode, body): (InodeId, &FileBody),
    first: u32,
) -> Option<FilePart> {
    let most = u32::try_from((*room).max(1)).unwrap_or(u32::MAX);
    let first = first.min(body.chunk_count);
    let end = body.chunk_count.min(first.saturating_add(most));
    *room = room.saturating_sub(u64::from(end.saturating_sub(first)));
    let part = FilePart { inode, version: body.version, first, end, of: body.chunk_count };
    parts.push(part);
    (end < body.chunk_count).then_some(FilePart { first: end, end: body.chunk_count, ..part })
}

/// Has the chunks of these parts, and the files they are of, wanted in so many copies, while the job that asks for it goes on;
/// counts the chunks of which that is another number than before. Of a job that does not go on nothing is done, and there is more.
///
/// # Errors
/// Of the store; then some of it may be done.
pub fn set(
    overlay: &mut Overlay,
    job: JobId,
    copies: u8,
    parts: &[FilePart],
) -> Result<StepProgress, MetaError> {
    let known: Option<JobRecord> = overlay.load(&keys::job(job))?;
    if known.is_none_or(|known| known.state != JobState::Running) {
        return Ok(StepProgress { done: 0, more: true });
    }
    let mut rest: VecDeque<FilePart> = parts.iter().copied().collect();
    let mut done = 0;
    while !rest.is_empty() {
        let (left, changed) = overlay.mutate(|txn| {
            let (mut rest, mut changed, mut asked) = (rest.clone(), 0, HolderWishes::default());
            while let Some(part) = rest.front_mut().filter(|_| txn.has_room(PART_OPS_MAX)) {
                changed += set_some(txn, copies, part, &mut asked)?;
                if part.first >= part.end {
                    rest.pop_front();
                }
            }
            Ok((rest, changed))
        })?;
        (rest, done) = (left, done + changed);
    }
    Ok(StepProgress { done, more: false })
}

/// Sets as much of a part as the batch has room for, one chunk at least; the part goes on behind it.
fn set_some(
    txn: &mut Txn<'_>,
    copies: u8,
    part: &mut FilePart,
    asked: &mut HolderWishes,
) -> Result<u64, MetaError> {
    let Some(body) = contents(txn, part.inode)?.filter(|body| body.version == part.version) else {
        part.first = part.end;
        return Ok(0);
    };
    if copies < body.replication {
        say(txn, part.inode, copies)?;
        asked.forget();
    }
    let mut changed = 0;
    while part.first < part.end && txn.has_room(PUT_OPS_MAX + 2) {
        let key = keys::segment(part.version, part.first / SEGMENT_CHUNKS);
        let segment: Segment = txn.require(&key)?;
        let stop =
            part.end.min((part.first / SEGMENT_CHUNKS).saturating_add(1).saturating_mul(SEGMENT_CHUNKS));
        while part.first < stop && txn.has_room(PUT_OPS_MAX + 2) {
            if let Some(chunk) = segment.slot(part.first).chunk() {
                changed += u64::from(want(txn, chunk, copies, asked)?);
            }
            part.first += 1;
        }
    }
    if copies > body.replication && part.first >= part.of {
        say(txn, part.inode, copies)?;
    }
    Ok(changed)
}

/// Has a file say how many copies its chunks are to have.
fn say(txn: &mut Txn<'_>, inode: InodeId, copies: u8) -> Result<(), MetaError> {
    let key = keys::inode(inode);
    let mut file: Inode = txn.require(&key)?;
    let Some(body) = &mut file.file else { return Ok(()) };
    body.replication = copies;
    let (body, at) = (*body, keys::version(body.version));
    let version: Version = txn.require(&at)?;
    txn.put(at, &Version { body, ..version })?;
    txn.put(key, &file)
}

/// Wants a chunk as often as the file does that wants it the most, and `copies` times at least; says whether that is another number.
fn want(txn: &mut Txn<'_>, chunk: ChunkId, copies: u8, asked: &mut HolderWishes) -> Result<bool, MetaError> {
    let Some(old) = txn.load::<ChunkRecord>(&keys::chunk(chunk))? else { return Ok(false) };
    if old.state != ChunkState::Live || old.references == 0 || old.wanted == copies {
        return Ok(false);
    }
    let wanted = match copies > old.wanted {
        true => copies,
        false => asked.wanted(txn, chunk, &old)?.max(copies),
    };
    if wanted != old.wanted {
        put_chunk(txn, chunk, Some(&old), &ChunkRecord { wanted, ..old.clone() })?;
    }
    Ok(wanted != old.wanted)
}

/// How many chunks of a part, from its first one on, have as many good copies as are wanted of them, and no more of them on nodes
/// that are `heard` of; and their bytes. A chunk that cannot have them, because no copy of it is left, is passed over and counted apart.
///
/// # Errors
/// Of the store.
pub fn settled(
    view: &impl View,
    part: &FilePart,
    heard: &dyn Fn(NodeId) -> bool,
) -> Result<Settled, MetaError> {
    let mut settled = Settled { next: part.first, ..Settled::default() };
    while settled.next < part.end {
        let segment: Option<Segment> =
            view.load(&keys::segment(part.version, settled.next / SEGMENT_CHUNKS))?;
        let slot = segment.unwrap_or_default().slot(settled.next);
        let record: Option<ChunkRecord> = match slot.chunk() {
            Some(chunk) => view.load(&keys::chunk(chunk))?,
            None => None,
        };
        // What is gone was replaced or deleted.
        if let Some(record) = record.filter(|record| record.state == ChunkState::Live) {
            let (lost, wanted) = (record.is_lost(), usize::from(record.wanted));
            let here = record.copies.iter().filter(|copy| heard(copy.node)).count();
            if !lost && (record.good() < wanted || here > wanted) {
                settled.waits = true;
                return Ok(settled);
            }
            settled.lost += u64::from(lost);
            settled.amount.chunks += 1;
            settled.amount.bytes = settled.amount.bytes.saturating_add(record.len.into());
        }
        settled.next += 1;
    }
    Ok(settled)
}

/// How far a part is as it is to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settled {
    /// The first chunk that is not, or the end of the part.
    pub next: u32,
    /// A chunk is not yet as it is to be.
    pub waits: bool,
    /// Chunks that are, and their bytes.
    pub amount: WorkAmount,
    /// Chunks of which no copy is left, among them.
    pub lost: u64,
}

/// A look at what another number of copies means for the files below a path.
#[derive(Debug, Clone)]
pub struct ReplicationLook {
    wanted: WantedCopies,
    after: Option<DfsPath>,
    found: FilesFound,
}

/// What is below a path, and what another number of copies means for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FilesFound {
    /// Files below the path, or 1.
    pub files: u64,
    /// Those that are to have another number of copies now.
    pub changed: u64,
    /// Chunks of all files, and their bytes.
    pub amount: WorkAmount,
    /// Bytes that are to be copied.
    pub added_bytes: u64,
    /// Bytes that become free.
    pub freed_bytes: u64,
}

impl ReplicationLook {
    /// A look that has not begun.
    pub fn new(wanted: WantedCopies) -> Self {
        Self { wanted, after: None, found: FilesFound::default() }
    }

    /// Looks at some more files; says whether that was all of them.
    ///
    /// # Errors
    /// As [`parts`].
    pub fn step(&mut self, view: &impl View, files: usize) -> Result<bool, MetaError> {
        let Self { wanted: WantedCopies { path, copies }, after, found } = self;
        let mut seen = 0;
        let walked = walk_files(view, path, after.as_ref(), |_, _, body| {
            if seen >= files {
                return Ok(false);
            }
            seen += 1;
            found.add(body, *copies);
            Ok(true)
        })?;
        *after = walked.last;
        Ok(walked.all)
    }

    /// What was found.
    pub fn found(&self) -> FilesFound {
        self.found
    }
}

impl FilesFound {
    fn add(&mut self, body: &FileBody, copies: u8) {
        let times = |count: u8| body.size.saturating_mul(count.into());
        self.files += 1;
        self.changed += u64::from(body.replication != copies);
        self.amount.chunks = self.amount.chunks.saturating_add(body.chunk_count.into());
        self.amount.bytes = self.amount.bytes.saturating_add(body.size);
        let (more, fewer) =
            (copies.saturating_sub(body.replication), body.replication.saturating_sub(copies));
        self.added_bytes = self.added_bytes.saturating_add(times(more));
        self.freed_bytes = self.freed_bytes.saturating_add(times(fewer));
    }
}
