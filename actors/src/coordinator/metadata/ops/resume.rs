//! Finding an upload again that was interrupted, and what of it is durable.

use dfs_wire::limits::UPLOADED_PAGE_MAX;
use dfs_wire::message::metadata::{StoredBytes, UploadFound, UploadedChunk, UploadedChunks, UploadedPage};
use dfs_wire::path::DfsPath;

use super::upload::open_session;
use crate::coordinator::metadata::model::records::{
    ChunkRecord, ChunkState, SEGMENT_CHUNKS, Segment, UploadSession, version_of,
};
use crate::coordinator::metadata::table::error::MetaError;
use crate::coordinator::metadata::table::keys;
use crate::coordinator::metadata::table::store::KeyRange;
use crate::coordinator::metadata::table::view::View;

/// Uploads of one path that are found.
const FOUND_MAX: usize = 16;
/// Uploads of one path that are looked at.
const LOOKED_AT_MAX: usize = 256;

/// The uploads to a path that can be gone on with, the latest first.
///
/// # Errors
/// Of the store.
pub fn find(view: &impl View, now_ms: u64, path: &DfsPath) -> Result<Vec<UploadFound>, MetaError> {
    let rows = view.scan(&KeyRange::prefix(&keys::uploads_at(path)), LOOKED_AT_MAX)?;
    let mut found = Vec::new();
    for (key, _) in rows.iter().rev() {
        let session =
            keys::parse_upload_at(key).ok_or_else(|| MetaError::damaged(key, "not an upload of a path"))?;
        let record: UploadSession = view.require(&keys::session(session))?;
        let Some(resume) = record.resume else { continue };
        found.push(UploadFound {
            session,
            resume,
            inode: record.inode,
            lease_ms: record.lease_until_ms.saturating_sub(now_ms),
            chunk_size: record.chunk_size,
            replication: record.replication,
            min_ack: record.min_ack,
            stored: record.stored,
        });
        if found.len() == FOUND_MAX {
            break;
        }
    }
    Ok(found)
}

/// A page of an upload's chunks, those that were never allocated left out.
///
/// # Errors
/// `SessionClosed`.
pub fn chunks(view: &impl View, request: &UploadedChunks) -> Result<UploadedPage, MetaError> {
    let session = open_session(view, request.session)?;
    let end = session.allocated.min(request.first.saturating_add(UPLOADED_PAGE_MAX));
    let mut page = UploadedPage { chunks: Vec::new(), next: (end < session.allocated).then_some(end) };
    let mut segment: Option<(u32, Segment)> = None;
    for index in request.first..end {
        let number = index / SEGMENT_CHUNKS;
        let current = match segment.take() {
            Some((loaded, segment)) if loaded == number => segment,
            _ => view.load(&keys::segment(version_of(request.session), number))?.unwrap_or_default(),
        };
        if let Some(chunk) = current.slot(index).chunk() {
            let record: ChunkRecord = view.require(&keys::chunk(chunk))?;
            let stored = (record.state == ChunkState::Live)
                .then_some(StoredBytes { len: record.len, sha256: record.sha256 });
            page.chunks.push(UploadedChunk { index, generation: record.generation, stored });
        }
        segment = Some((number, current));
    }
    Ok(page)
}
