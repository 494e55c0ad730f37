//! Another number of copies for files that are there: said of the file at once, and of its chunks part by part.
//!
//! ```text
//! parts(path, at) ---> some files below it, in the order of a listing, each whole or a stretch of its chunks ---> set
//!        ^                                                                                                         |
//!        +------------------------------------ place of the next one ----------------------------------------------+
//! set: inode and version say the new number; each chunk is wanted as often as the file that wants the most copies
//!      of all that share it
//! ```
//!
//! Nothing is copied or dropped here: what is wanted of a chunk changes, and repair follows. A part may be set again, and a
//! file whose contents were replaced meanwhile is left alone: whoever replaced them said how many copies they are to have.

use std::collections::VecDeque;

use dfs_wire::id::{ChunkId, InodeId, VersionId};
use dfs_wire::message::job::{WantedCopies, WorkAmount};
use dfs_wire::path::DfsPath;
use dfs_wire::status::StatusCode;

use super::list::walk_files;
use crate::coordinator::metadata::model::chunks::{PUT_OPS_MAX, put_chunk, wanted_by_holders};
use crate::coordinator::metadata::model::outcome::StepProgress;
use crate::coordinator::metadata::model::records::{
    ChunkRecord, ChunkState, FileBody, Inode, SEGMENT_CHUNKS, Segment, Version,
};
use crate::coordinator::metadata::model::tree::{self, Lookup};
use crate::coordinator::metadata::table::error::MetaError;
use crate::coordinator::metadata::table::keys;
use crate::coordinator::metadata::table::txn::{Overlay, Txn};
use crate::coordinator::metadata::table::view::View;

/// Chunks of the parts that are set at once, about: some milliseconds of the writer's time.
pub const PART_CHUNKS_MAX: u64 = if cfg!(test) { 40 } else { 1024 };
/// Files that are set at once.
const PART_FILES_MAX: usize = 256;
/// Writes that one chunk takes at most, and those that its file does.
const PART_OPS_MAX: usize = PUT_OPS_MAX + 2;

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
}

/// How far somebody has come among the files below a path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilePlace {
    /// The file that comes next or was the last one; `None` = at the beginning.
    pub file: Option<DfsPath>,
    /// Its chunk that comes next; 0 = the whole file is done.
    pub chunk: u32,
}

/// Some parts of files, and where it goes on after them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parts {
    /// Each with the path that its file has.
    pub parts: Vec<(DfsPath, FilePart)>,
    /// `None` = there are no more.
    pub next: Option<FilePlace>,
}

/// The parts of files below `path` from a place on.
///
/// # Errors
/// `NotFound` if `path` is not there; those of the store.
pub fn parts(view: &impl View, path: &DfsPath, at: &FilePlace) -> Result<Parts, MetaError> {
    let mut found = Parts::default();
    let mut chunks = 0;
    // What is in the place of the file that was begun, if anything: it may have been replaced or moved.
    if let Some(file) = at.file.as_ref().filter(|_| at.chunk > 0)
        && let Some((inode, body)) = file_at(view, file)?
        && !take(&mut found, &mut chunks, file.clone(), (inode, &body), at.chunk)
    {
        return Ok(found);
    }
    walk_files(view, path, at.file.as_ref(), |file, inode, body| {
        Ok(take(&mut found, &mut chunks, file, (inode, body), 0))
    })?;
    Ok(found)
}

fn file_at(view: &impl View, file: &DfsPath) -> Result<Option<(InodeId, FileBody)>, MetaError> {
    match tree::find(view, file) {
        Ok(Lookup::Here(node)) => Ok(node.inode.file.map(|body| (node.id, body))),
        Ok(Lookup::Free { .. } | Lookup::NoParent { .. }) => Ok(None),
        Err(error) if error.code() == StatusCode::NotADirectory => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes a file up, as far as there is room; says whether another one may follow.
fn take(
    found: &mut Parts,
    chunks: &mut u64,
    file: DfsPath,
    (inode, body): (InodeId, &FileBody),
    first: u32,
) -> bool {
    let room = u32::try_from(PART_CHUNKS_MAX.saturating_sub(*chunks)).unwrap_or(u32::MAX);
    let first = first.min(body.chunk_count);
    let end = body.chunk_count.min(first.saturating_add(room.max(1)));
    found.parts.push((file.clone(), FilePart { inode, version: body.version, first, end }));
    *chunks = chunks.saturating_add(u64::from(end.saturating_sub(first)));
    let chunk = if end < body.chunk_count { end } else { 0 };
    let full = chunk > 0 || *chunks >= PART_CHUNKS_MAX || found.parts.len() >= PART_FILES_MAX;
    found.next = full.then_some(FilePlace { file: Some(file), chunk });
    !full
}

/// Has the chunks of these parts, and the files they are of, wanted in so many copies; counts the chunks of which that
/// is another number than before.
///
/// # Errors
/// Of the store; then some of it may be done.
pub fn set(overlay: &mut Overlay, copies: u8, parts: &[FilePart]) -> Result<StepProgress, MetaError> {
    let mut rest: VecDeque<FilePart> = parts.iter().copied().collect();
    let mut done = 0;
    while !rest.is_empty() {
        let (left, changed) = overlay.mutate(|txn| {
            let (mut rest, mut changed) = (rest.clone(), 0);
            while let Some(part) = rest.front_mut().filter(|_| txn.has_room(PART_OPS_MAX)) {
                changed += set_some(txn, copies, part)?;
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
fn set_some(txn: &mut Txn<'_>, copies: u8, part: &mut FilePart) -> Result<u64, MetaError> {
    let inode: Option<Inode> = txn.load(&keys::inode(part.inode))?;
    let Some((inode, body)) = inode.and_then(|inode| inode.file.map(|body| (inode, body))) else {
        part.first = part.end;
        return Ok(0);
    };
    if body.version != part.version {
        part.first = part.end;
        return Ok(0);
    }
    if body.replication != copies {
        let body = FileBody { replication: copies, ..body };
        let version: Version = txn.require(&keys::version(body.version))?;
        txn.put(keys::version(body.version), &Version { body, ..version })?;
        txn.put(keys::inode(part.inode), &Inode { file: Some(body), ..inode })?;
    }
    let mut changed = 0;
    while part.first < part.end && txn.has_room(PUT_OPS_MAX) {
        let key = keys::segment(part.version, part.first / SEGMENT_CHUNKS);
        let segment: Segment = txn.require(&key)?;
        let stop =
            part.end.min((part.first / SEGMENT_CHUNKS).saturating_add(1).saturating_mul(SEGMENT_CHUNKS));
        while part.first < stop && txn.has_room(PUT_OPS_MAX) {
            if let Some(chunk) = segment.slot(part.first).chunk() {
                changed += u64::from(want(txn, chunk, copies)?);
            }
            part.first += 1;
        }
    }
    Ok(changed)
}

/// Wants a chunk as often as a file does that holds it; says whether that is another number.
fn want(txn: &mut Txn<'_>, chunk: ChunkId, copies: u8) -> Result<bool, MetaError> {
    let Some(old) = txn.load::<ChunkRecord>(&keys::chunk(chunk))? else { return Ok(false) };
    if old.state != ChunkState::Live || old.references == 0 {
        return Ok(false);
    }
    let wanted = match copies > old.wanted {
        true => copies,
        false => wanted_by_holders(txn, chunk, &old)?,
    };
    if wanted != old.wanted {
        put_chunk(txn, chunk, Some(&old), &ChunkRecord { wanted, ..old.clone() })?;
    }
    Ok(wanted != old.wanted)
}

/// How many chunks of a part, from its first one on, have as many good copies as are wanted of them, and no more copies;
/// and their bytes. A chunk that cannot have them, because no copy of it is left, is passed over and counted apart.
///
/// # Errors
/// Of the store.
pub fn settled(view: &impl View, part: &FilePart) -> Result<Settled, MetaError> {
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
            let lost = record.is_lost();
            if !lost && (record.good() < record.wanted.into() || record.copies.len() > record.wanted.into()) {
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
        let (mut seen, mut last) = (0, None);
        let all = walk_files(view, path, after.as_ref(), |file, _, body| {
            if seen >= files {
                return Ok(false);
            }
            (seen, last) = (seen + 1, Some(file));
            found.add(body, *copies);
            Ok(true)
        })?;
        *after = last.or(after.take());
        Ok(all)
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
