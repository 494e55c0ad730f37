//! Copies that move no byte: a new version whose chunk list names the chunks of another.
//!
//! ```text
//! OpenCopy          an upload session with a source; a pin keeps the source's chunks          nothing visible
//! CopyChunks ...    each step fills some places: the chunk gets a reference more, and a row   nothing visible
//!                   that says who holds it
//! CommitUpload      as for any upload                                                         all of it
//! ```
//!
//! A file of a million chunks is some thousand such steps; how far they have come is how many places the session has
//! filled, so a step may be repeated, and a client that lost its way asks for the next one. A copy that is given up, or
//! whose lease ends, is released like any upload: each place gives its reference back.
//!
//! Who holds a chunk: the version it was written for, as the record says, and each version with a row
//! `f <chunk> <version> <place>`. Their number is the record's `references`; fsck compares them.

use dfs_wire::id::{ChunkId, SessionId, VersionId};
use dfs_wire::message::metadata::{CopyOpened, CopyProgress, OpenCopy};
use dfs_wire::status::StatusCode;

use super::OpContext;
use super::outcome::reused;
use super::transfer::count_chunk;
use super::upload::{check_target, open_session, renew_lease, session_closed, start};
use crate::coordinator::metadata::model::chunks::{PUT_OPS_MAX, put_chunk};
use crate::coordinator::metadata::model::records::{
    ChunkRecord, ChunkState, CopySource, SEGMENT_CHUNKS, Segment, Slot, UploadSession, Version, version_of,
};
use crate::coordinator::metadata::model::tree;
use crate::coordinator::metadata::table::error::{MetaError, invalid, is_a_directory};
use crate::coordinator::metadata::table::keys;
use crate::coordinator::metadata::table::txn::Txn;
use crate::coordinator::metadata::table::view::View;

/// Steps that one request takes: each is a batch of its own.
pub const STEPS_PER_REQUEST: usize = 16;
/// Writes that [`share`] makes at most.
const SHARE_OPS_MAX: usize = PUT_OPS_MAX + 1;

/// The copy that this operation has opened before, if it is open still.
///
/// # Errors
/// `OpIdReuse` if it was opened by another request.
pub fn reopened(
    view: &impl View,
    ctx: &OpContext,
    request: &OpenCopy,
) -> Result<Option<CopyOpened>, MetaError> {
    let session = ctx.session();
    let Some(record) = view.load::<UploadSession>(&keys::session(session))? else { return Ok(None) };
    let same = record.path == request.to
        && (record.precondition, record.parents) == (request.precondition, request.parents);
    match &record.source {
        Some(source) if same && source.path == request.from => Ok(Some(opened(ctx, session, source))),
        _ => Err(reused(ctx.op)),
    }
}

fn opened(ctx: &OpContext, session: SessionId, source: &CopySource) -> CopyOpened {
    CopyOpened {
        session,
        lease_ms: ctx.policy.upload_lease_ms,
        version: source.version,
        size: source.size,
        chunk_count: source.chunk_count,
    }
}

/// Begins a copy of what is at `from` now. Nothing of it is visible.
///
/// # Errors
/// `NotFound`, `IsADirectory`, `InvalidArgument` (onto itself), `PreconditionFailed`; those of a new file.
pub fn open(txn: &mut Txn<'_>, ctx: &OpContext, request: &OpenCopy) -> Result<CopyOpened, MetaError> {
    let node = tree::node(txn, &request.from)?;
    let body = node.inode.file.ok_or_else(|| is_a_directory(&request.from))?;
    if request.from == request.to {
        return Err(invalid(format!("{} and {} are the same file", request.from, request.to)));
    }
    if let Some(wanted) = request.if_match
        && wanted != body.version
    {
        let text = format!("{} has version {}, not {wanted}", request.from, body.version);
        return Err(MetaError::refused(StatusCode::PreconditionFailed, text));
    }
    check_target(txn, &request.to, request.precondition, request.parents)?;
    let version: Version = txn.require(&keys::version(body.version))?;
    let session = ctx.session();
    if txn.get(&keys::version(version_of(session)))?.is_some() {
        return Err(session_closed(session));
    }
    let source = CopySource {
        path: request.from.clone(),
        version: body.version,
        size: body.size,
        chunk_count: body.chunk_count,
        sha256: version.sha256,
    };
    let answer = opened(ctx, session, &source);
    let record = UploadSession {
        path: request.to.clone(),
        inode: tree::next_inode(txn)?,
        chunk_size: body.chunk_size,
        replication: body.replication,
        min_ack: 1,
        precondition: request.precondition,
        parents: request.parents,
        mtime_ns: request.preserve.then_some(node.inode.mtime_ns),
        opened_ms: ctx.now_ms,
        lease_until_ms: ctx.now_ms.saturating_add(ctx.policy.upload_lease_ms),
        stored: 0,
        bytes: 0,
        high: 0,
        allocated: 0,
        short: None,
        source: Some(source),
        resume: None,
    };
    txn.put(keys::pin(body.version, session), &())?;
    start(txn, session, &record)?;
    Ok(answer)
}

/// Fills places of a copy with the chunks of its source, as many as one batch takes.
///
/// # Errors
/// `SessionClosed`; `InvalidArgument` for an upload that is not a copy.
pub fn step(txn: &mut Txn<'_>, ctx: &OpContext, id: SessionId) -> Result<CopyProgress, MetaError> {
    let mut session = open_session(txn, id)?;
    let source = session.source.clone();
    let source = source.ok_or_else(|| invalid(format!("upload {id} is not a copy")))?;
    let version = version_of(id);
    while session.stored < source.chunk_count && txn.has_room(SHARE_OPS_MAX) {
        let number = session.stored / SEGMENT_CHUNKS;
        let from: Segment = txn.require(&keys::segment(source.version, number))?;
        let mut to: Segment = txn.load(&keys::segment(version, number))?.unwrap_or_default();
        let end = source.chunk_count.min(number.saturating_add(1).saturating_mul(SEGMENT_CHUNKS));
        while session.stored < end && txn.has_room(SHARE_OPS_MAX) {
            let index = session.stored;
            let Slot::Stored(chunk) = from.slot(index) else {
                let key = keys::segment(source.version, number);
                return Err(MetaError::damaged(&key, format!("it has no chunk {index}")));
            };
            let len = share(txn, chunk, (version, index), session.replication)?;
            to.set(index, Slot::Stored(chunk));
            count_chunk(&mut session, index, len)?;
            session.allocated = session.stored;
        }
        txn.put(keys::segment(version, number), &to)?;
    }
    renew_lease(&mut session, ctx);
    txn.put(keys::session(id), &session)?;
    Ok(CopyProgress { copied: session.stored, chunk_count: source.chunk_count })
}

/// Lets a place of one more version hold a chunk, of which that wants so many copies; returns the chunk's length.
fn share(
    txn: &mut Txn<'_>,
    chunk: ChunkId,
    (version, index): (VersionId, u32),
    copies: u8,
) -> Result<u32, MetaError> {
    let key = keys::chunk(chunk);
    let old: ChunkRecord = txn.require(&key)?;
    if old.state != ChunkState::Live || old.references == 0 {
        return Err(MetaError::damaged(&key, "a version holds it, but it is not live"));
    }
    let more = old.references.checked_add(1);
    let references = more.ok_or_else(|| invalid(format!("chunk {chunk} has too many holders")))?;
    let wanted = old.wanted.max(copies);
    put_chunk(txn, chunk, Some(&old), &ChunkRecord { references, wanted, ..old.clone() })?;
    txn.put(keys::holder(chunk, version, index), &())?;
    Ok(old.len)
}
