//! Where the chunks of a version are, for readers and for the curious.

use dfs_wire::id::{ChunkId, Generation, InodeId};
use dfs_wire::limits::CHUNKS_PER_REQUEST_MAX;
use dfs_wire::message::metadata::{CopyState, Explain, FileStat, OpenRead, PinnedVersion};
use dfs_wire::path::DfsPath;
use dfs_wire::status::StatusCode;

use crate::coordinator::metadata::model::records::{
    ChunkRecord, CopyRecord, FileBody, Inode, Reasons, SEGMENT_CHUNKS, Segment, Slot, Version, VersionState,
};
use crate::coordinator::metadata::model::tree;
use crate::coordinator::metadata::table::error::{MetaError, invalid, is_a_directory};
use crate::coordinator::metadata::table::keys;
use crate::coordinator::metadata::table::view::View;

/// Chunks of one page of explanations; each has a dozen lines to say.
const EXPLAIN_PAGE: u32 = 8;

/// A page of a version's chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadPage {
    /// The file, as of that version.
    pub stat: FileStat,
    /// The chunks, in order.
    pub chunks: Vec<LocatedChunk>,
    /// SHA-256 of the whole file, if it is known; with the first page only.
    pub sha256: Option<[u8; 32]>,
}

/// A chunk and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocatedChunk {
    /// Its place in the file.
    pub index: u32,
    /// By which datanodes know it, with the generation.
    pub chunk: ChunkId,
    /// The attempt that was committed.
    pub generation: Generation,
    /// The file it was written for (its grant says so).
    pub file: InodeId,
    /// Bytes of the chunk.
    pub len: u32,
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
    /// Versions that hold it.
    pub references: u32,
    /// Copies that it is to have.
    pub wanted: u8,
    /// Its copies, best first.
    pub copies: Vec<CopyRecord>,
}

/// A page of explanations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainPage {
    /// The file that the chunks are of.
    pub stat: FileStat,
    /// The chunks with what placement thought when it chose, and what became of them.
    pub chunks: Vec<(LocatedChunk, Reasons)>,
    /// Where to continue.
    pub next: Option<u32>,
}

/// A page of the chunks of the current version of a path, or of a version that was opened before.
///
/// # Errors
/// `NotFound`, `IsADirectory`; `VersionGone` if the pinned version was replaced or deleted and its lease is over.
pub fn open_read(view: &impl View, request: &OpenRead) -> Result<ReadPage, MetaError> {
    let (stat, body) = match request.version {
        Some(pinned) => pinned_version(view, &request.path, pinned)?,
        None => current(view, &request.path)?,
    };
    if request.first > body.chunk_count {
        return Err(invalid(format!("{} has {} chunks, not {}", stat.path, body.chunk_count, request.first)));
    }
    let most = CHUNKS_PER_REQUEST_MAX as u32;
    let count = if request.count == 0 { most } else { request.count.min(most) };
    let sha256 = match request.first {
        0 => view.require::<Version>(&keys::version(body.version))?.sha256,
        _ => None,
    };
    Ok(ReadPage { chunks: locate(view, &body, request.first, count)?, stat, sha256 })
}

fn current(view: &impl View, path: &DfsPath) -> Result<(FileStat, FileBody), MetaError> {
    let node = tree::node(view, path)?;
    let body = node.inode.file.ok_or_else(|| is_a_directory(path))?;
    Ok((tree::stat(path.clone(), node.id, &node.inode), body))
}

fn pinned_version(
    view: &impl View,
    path: &DfsPath,
    pinned: PinnedVersion,
) -> Result<(FileStat, FileBody), MetaError> {
    let version: Option<Version> = view.load(&keys::version(pinned.version))?;
    match version {
        Some(version) if version.inode == pinned.inode && version.state != VersionState::Releasing => {
            let inode = Inode {
                parent: InodeId::default(),
                name: String::new(),
                created_ms: version.created_ms,
                mtime_ns: version.mtime_ns,
                trashed: false,
                file: Some(version.body),
            };
            Ok((tree::stat(path.clone(), pinned.inode, &inode), version.body))
        }
        _ => Err(MetaError::refused_with_hint(
            StatusCode::VersionGone,
            format!(
                "version {} of {path} was replaced or deleted, and its read lease is over",
                pinned.version
            ),
            "open the path again to read its current version",
        )),
    }
}

fn locate(view: &impl View, body: &FileBody, first: u32, count: u32) -> Result<Vec<LocatedChunk>, MetaError> {
    let end = first.saturating_add(count).min(body.chunk_count);
    let mut segment: Option<(u32, Segment)> = None;
    let mut out = Vec::new();
    for index in first..end {
        let number = index / SEGMENT_CHUNKS;
        let key = keys::segment(body.version, number);
        let current = match segment.take() {
            Some((loaded, segment)) if loaded == number => segment,
            _ => view.require(&key)?,
        };
        let Slot::Stored(chunk) = current.slot(index) else {
            return Err(MetaError::damaged(&key, format!("it has no chunk {index}")));
        };
        let record: ChunkRecord = view.require(&keys::chunk(chunk))?;
        out.push(located(index, chunk, record));
        segment = Some((number, current));
    }
    Ok(out)
}

fn located(index: u32, chunk: ChunkId, mut record: ChunkRecord) -> LocatedChunk {
    // Stable: among equals the order of placement stays, so that the primary comes first.
    record.copies.sort_by_key(|copy| match copy.state {
        CopyState::Good => 0,
        CopyState::Unverified => 1,
        CopyState::Missing => 2,
        CopyState::Corrupt => 3,
        CopyState::Dropping => 4,
    });
    LocatedChunk {
        index,
        chunk,
        generation: record.generation,
        file: record.file,
        len: record.len,
        sha256: record.sha256,
        references: record.references,
        wanted: record.wanted,
        copies: record.copies,
    }
}

/// Why a chunk is where it is, and what became of it. It is told to people, and nothing rests on it: of a row that cannot be read,
/// because it is damaged or of a later build, nothing is told.
///
/// # Errors
/// Of the store.
pub(super) fn reasons(view: &impl View, chunk: ChunkId) -> Result<Reasons, MetaError> {
    match view.load::<Reasons>(&keys::reasons(chunk)) {
        Ok(kept) => Ok(kept.unwrap_or_default()),
        Err(MetaError::Damaged { .. }) => Ok(Reasons::default()),
        Err(error) => Err(error),
    }
}

/// Why the chunks of a file are where they are, a page at a time.
///
/// # Errors
/// `NotFound`, `IsADirectory`.
pub fn explain(view: &impl View, request: &Explain) -> Result<ExplainPage, MetaError> {
    let (stat, body) = current(view, &request.path)?;
    let mut chunks = Vec::new();
    for chunk in locate(view, &body, request.first, EXPLAIN_PAGE)? {
        let kept = reasons(view, chunk.chunk)?;
        chunks.push((chunk, kept));
    }
    let end = request.first.saturating_add(EXPLAIN_PAGE);
    Ok(ExplainPage { stat, chunks, next: (end < body.chunk_count).then_some(end) })
}
