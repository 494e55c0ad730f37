//! Upload sessions: opened, kept, and ended by the one commit that makes a file visible. What happens to the chunks
//! in between is in [`super::transfer`].
//!
//! Chunks are filled into segments of the version to come while they are recorded, so that the commit is one small
//! batch however large the file is. Nothing of it can be seen before; an upload that is given up or whose lease ends
//! is released like a superseded version. A session is open as long as its row is there: the lease only says when
//! the row may be removed.

use dfs_wire::bugs::{self, Bug};
use dfs_wire::id::SessionId;
use dfs_wire::limits::{CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, CREATED_LEVELS_MAX, REPLICATION_MAX};
use dfs_wire::message::metadata::{CommitUpload, CommittedFile, EntryKind, OpenUpload, Precondition};
use dfs_wire::path::DfsPath;
use dfs_wire::status::StatusCode;

use super::OpContext;
use super::outcome::reused;
use crate::coordinator::metadata::model::chunks::supersede;
use crate::coordinator::metadata::model::outcome::{OpenedUpload, StepProgress};
use crate::coordinator::metadata::model::records::{
    FileBody, Inode, ReleaseJob, SEGMENT_CHUNKS, UploadSession, Version, VersionState, version_of,
};
use crate::coordinator::metadata::model::time::ns;
use crate::coordinator::metadata::model::tree::{self, Lookup, TreeNode};
use crate::coordinator::metadata::table::error::{MetaError, invalid, is_a_directory, not_found};
use crate::coordinator::metadata::table::keys::{self, table};
use crate::coordinator::metadata::table::store::KeyRange;
use crate::coordinator::metadata::table::txn::Txn;
use crate::coordinator::metadata::table::view::View;

/// Chunks of one file.
pub(super) const CHUNKS_MAX: u32 = 1 << 24;

pub(super) fn session_closed(session: SessionId) -> MetaError {
    MetaError::refused_with_hint(
        StatusCode::SessionClosed,
        format!("upload {session} is not open: it was committed, aborted, or its lease ended"),
        "start the upload again",
    )
}

pub(super) fn open_session(view: &impl View, session: SessionId) -> Result<UploadSession, MetaError> {
    view.load(&keys::session(session))?.ok_or_else(|| session_closed(session))
}

/// The upload that this operation has opened before, if it is open still.
///
/// # Errors
/// `OpIdReuse` if it was opened by another request.
pub fn reopened(
    view: &impl View,
    ctx: &OpContext,
    request: &OpenUpload,
) -> Result<Option<OpenedUpload>, MetaError> {
    let session = ctx.session();
    let Some(record) = view.load::<UploadSession>(&keys::session(session))? else { return Ok(None) };
    let same = record.path == request.path
        && [0, record.chunk_size].contains(&request.chunk_size)
        && [0, record.replication].contains(&request.replication)
        && (record.precondition, record.parents) == (request.precondition, request.parents)
        && (record.mtime_ns, record.resume) == (request.mtime_ns, request.resume)
        && record.source.is_none();
    match same {
        true => Ok(Some(opened(ctx, session, &record))),
        false => Err(reused(ctx.op)),
    }
}

fn opened(ctx: &OpContext, session: SessionId, record: &UploadSession) -> OpenedUpload {
    OpenedUpload {
        session,
        inode: record.inode,
        lease_ms: ctx.policy.upload_lease_ms,
        chunk_size: record.chunk_size,
        replication: record.replication,
        min_ack: record.min_ack,
        allocations: Vec::new(),
    }
}

/// Begins an upload. Nothing of it is visible, not even a parent directory.
///
/// # Errors
/// `InvalidArgument`, `IsADirectory`, `NotADirectory`, `NotFound` for the parent, `PreconditionFailed`.
pub fn open(txn: &mut Txn<'_>, ctx: &OpContext, request: &OpenUpload) -> Result<OpenedUpload, MetaError> {
    let policy = &ctx.policy;
    let chunk_size = if request.chunk_size == 0 { policy.chunk_size } else { request.chunk_size };
    let replication = if request.replication == 0 { policy.replication } else { request.replication };
    if !(CHUNK_BYTES_MIN..=CHUNK_BYTES_MAX).contains(&chunk_size) {
        return Err(invalid(format!(
            "a chunk size of {chunk_size} is not between {CHUNK_BYTES_MIN} and {CHUNK_BYTES_MAX} bytes"
        )));
    }
    if !(1..=REPLICATION_MAX).contains(&replication) {
        return Err(invalid(format!("{replication} copies are not between 1 and {REPLICATION_MAX}")));
    }
    let size_max = u64::from(chunk_size) * u64::from(CHUNKS_MAX);
    if request.size_hint.is_some_and(|size| size > size_max) {
        return Err(MetaError::refused_with_hint(
            StatusCode::InvalidArgument,
            format!("with chunks of {chunk_size} bytes a file has at most {size_max} bytes"),
            "choose a larger chunk size",
        ));
    }
    check_target(txn, &request.path, request.precondition, request.parents)?;
    let session = ctx.session();
    // The operation has opened an upload before, which has ended: what it left is not to be written into again.
    if txn.get(&keys::version(version_of(session)))?.is_some() {
        return Err(session_closed(session));
    }
    let record = UploadSession {
        path: request.path.clone(),
        inode: tree::next_inode(txn)?,
        chunk_size,
        replication,
        min_ack: if bugs::is(Bug::AckAfterOne) { 1 } else { policy.min_ack.clamp(1, replication) },
        precondition: request.precondition,
        parents: request.parents,
        mtime_ns: request.mtime_ns,
        opened_ms: ctx.now_ms,
        lease_until_ms: ctx.now_ms.saturating_add(policy.upload_lease_ms),
        stored: 0,
        bytes: 0,
        high: 0,
        allocated: 0,
        short: None,
        source: None,
        resume: request.resume,
    };
    start(txn, session, &record)?;
    Ok(opened(ctx, session, &record))
}

/// Writes the rows of a session that begins.
pub(super) fn start(txn: &mut Txn<'_>, id: SessionId, record: &UploadSession) -> Result<(), MetaError> {
    txn.put(keys::session(id), record)?;
    txn.put(keys::lease(record.lease_until_ms, id), &())?;
    if record.resume.is_some() {
        txn.put(keys::upload_at(&record.path, id), &())?;
    }
    txn.count(|t| t.uploads += 1)
}

/// Removes the rows of a session that ends.
fn end(txn: &mut Txn<'_>, id: SessionId, record: &UploadSession) -> Result<(), MetaError> {
    txn.delete(keys::session(id));
    if let Some(source) = &record.source {
        txn.delete(keys::pin(source.version, id));
    }
    if record.resume.is_some() {
        txn.delete(keys::upload_at(&record.path, id));
    }
    txn.count(|t| t.uploads = t.uploads.saturating_sub(1))
}

/// Checks that a file may be made at `path` as things stand; returns the file that it would replace.
pub(super) fn check_target(
    view: &impl View,
    path: &DfsPath,
    precondition: Precondition,
    parents: bool,
) -> Result<Option<TreeNode>, MetaError> {
    if path.is_root() {
        return Err(is_a_directory(path));
    }
    let node = match tree::find(view, path)? {
        Lookup::Here(node) if node.inode.kind() == EntryKind::Directory => return Err(is_a_directory(path)),
        Lookup::Here(node) => Some(node),
        Lookup::Free { .. } => None,
        Lookup::NoParent { depth, .. } if !parents => {
            return Err(not_found(path, &tree::prefix(path, depth + 1)));
        }
        Lookup::NoParent { depth, .. } => {
            if path.segments().count() - 1 - depth > CREATED_LEVELS_MAX {
                return Err(MetaError::refused_with_hint(
                    StatusCode::InvalidArgument,
                    format!("{path} needs more than {CREATED_LEVELS_MAX} new directories at once"),
                    "make the upper directories first, with mkdir",
                ));
            }
            None
        }
    };
    let version = node.as_ref().and_then(|n| n.inode.file).map(|body| body.version);
    let failed = |text: String| Err(MetaError::refused(StatusCode::PreconditionFailed, text));
    match (precondition, version) {
        (Precondition::Absent, Some(version)) => {
            failed(format!("{path} exists already, as version {version}"))
        }
        (Precondition::Match(wanted), None) => {
            failed(format!("{path} does not exist, wanted version {wanted}"))
        }
        (Precondition::Match(wanted), Some(version)) if wanted != version => {
            failed(format!("{path} has version {version}, not {wanted}"))
        }
        _ => Ok(node),
    }
}

/// Makes the file visible: one batch. The last commit wins; what it replaces is released after the read lease.
///
/// # Errors
/// `SessionClosed`; `InvalidArgument` if chunks are missing or lengths do not add up; those of [`open`], judged anew.
pub fn commit(
    txn: &mut Txn<'_>,
    ctx: &OpContext,
    request: &CommitUpload,
) -> Result<CommittedFile, MetaError> {
    let id = request.session;
    let mut session = open_session(txn, id)?;
    if bugs::is(Bug::TrustLength) {
        session.bytes = request.size;
    }
    check_complete(&session, request)?;
    let path = &session.path;
    let replaced = check_target(txn, path, session.precondition, session.parents)?;
    let parent = match session.parents {
        true => tree::make_missing(txn, path, 1, ctx.wall_ms)?,
        false => tree::place(txn, path)?.0,
    };
    let body = FileBody {
        version: version_of(id),
        size: session.bytes,
        chunk_size: session.chunk_size,
        chunk_count: session.stored,
        replication: session.replication,
    };
    let inode = Inode {
        parent,
        name: path.name().ok_or_else(|| is_a_directory(path))?.to_owned(),
        created_ms: replaced.as_ref().map_or(ctx.wall_ms, |old| old.inode.created_ms),
        mtime_ns: session.mtime_ns.unwrap_or(ns(ctx.wall_ms)),
        trashed: false,
        file: Some(body),
    };
    if let Some(TreeNode { id: old, inode: Inode { file: Some(old_body), .. }, .. }) = &replaced {
        let release_at = ctx.now_ms.saturating_add(ctx.policy.read_lease_ms);
        supersede(txn, *old, old_body.version, release_at)?;
        txn.delete(keys::inode(*old));
    }
    let version = Version {
        inode: session.inode,
        body,
        created_ms: inode.created_ms,
        mtime_ns: inode.mtime_ns,
        state: VersionState::Live,
        sha256: session.source.as_ref().map_or(request.sha256, |source| source.sha256),
    };
    txn.put(keys::version(body.version), &version)?;
    tree::link(txn, session.inode, &inode)?;
    tree::touch(txn, parent, ctx.wall_ms)?;
    end(txn, id, &session)?;
    txn.count(|t| t.files += u64::from(replaced.is_none()))?;
    if session.allocated > session.stored {
        let (segment, slot) = (session.stored / SEGMENT_CHUNKS, session.stored % SEGMENT_CHUNKS);
        let job = ReleaseJob { segment, slot, trim: true };
        txn.put(keys::release(ctx.now_ms, body.version), &job)?;
    }
    Ok(CommittedFile {
        inode: session.inode,
        size: body.size,
        mtime_ns: inode.mtime_ns,
        created_ms: inode.created_ms,
        version: body.version,
        chunk_size: body.chunk_size,
        chunk_count: body.chunk_count,
        replication: body.replication,
    })
}

fn check_complete(session: &UploadSession, request: &CommitUpload) -> Result<(), MetaError> {
    let wanted = request.chunk_count;
    if session.stored != wanted || session.high != wanted {
        return Err(invalid(format!(
            "{} of {wanted} chunks are recorded, the highest has index {}",
            session.stored,
            i64::from(session.high) - 1
        )));
    }
    if session.short.is_some_and(|index| index + 1 != wanted) {
        return Err(invalid("a chunk before the last is shorter than the chunk size"));
    }
    if session.bytes != request.size {
        return Err(invalid(format!("the chunks have {} bytes, the file {}", session.bytes, request.size)));
    }
    Ok(())
}

pub(super) fn renew_lease(session: &mut UploadSession, ctx: &OpContext) {
    session.lease_until_ms =
        session.lease_until_ms.max(ctx.now_ms.saturating_add(ctx.policy.upload_lease_ms));
}

/// Gives an upload up.
///
/// # Errors
/// `SessionClosed`.
pub fn abort(txn: &mut Txn<'_>, ctx: &OpContext, session: SessionId) -> Result<(), MetaError> {
    let record = open_session(txn, session)?;
    close(txn, ctx, session, &record)
}

fn close(
    txn: &mut Txn<'_>,
    ctx: &OpContext,
    id: SessionId,
    session: &UploadSession,
) -> Result<(), MetaError> {
    end(txn, id, session)?;
    if session.allocated == 0 {
        return Ok(());
    }
    let version = version_of(id);
    let body = FileBody {
        version,
        size: session.bytes,
        chunk_size: session.chunk_size,
        chunk_count: session.stored,
        replication: session.replication,
    };
    let record = Version {
        inode: session.inode,
        body,
        created_ms: session.opened_ms,
        mtime_ns: ns(ctx.now_ms),
        state: VersionState::Releasing,
        sha256: None,
    };
    txn.put(keys::version(version), &record)?;
    txn.put(keys::release(ctx.now_ms, version), &ReleaseJob::default())
}

/// Keeps an upload's lease.
///
/// # Errors
/// `SessionClosed`.
pub fn renew(txn: &mut Txn<'_>, ctx: &OpContext, session: SessionId) -> Result<u64, MetaError> {
    let mut record = open_session(txn, session)?;
    renew_lease(&mut record, ctx);
    txn.put(keys::session(session), &record)?;
    Ok(ctx.policy.upload_lease_ms)
}

/// Gives up some uploads whose lease has ended.
///
/// # Errors
/// Of the store.
pub fn expire(txn: &mut Txn<'_>, ctx: &OpContext) -> Result<StepProgress, MetaError> {
    let due = KeyRange::between(table::LEASE, &keys::lease(ctx.now_ms, SessionId(0)));
    let found = txn.scan(&due, 17)?;
    let mut done = 0;
    for (key, _) in found.iter().take(16) {
        let id = keys::parse_lease(key).ok_or_else(|| MetaError::damaged(key, "not the end of a lease"))?;
        txn.delete(key.clone());
        match txn.load::<UploadSession>(&keys::session(id))? {
            None => {}
            Some(session) if session.lease_until_ms >= ctx.now_ms && !bugs::is(Bug::GcIgnoresLease) => {
                txn.put(keys::lease(session.lease_until_ms, id), &())?;
            }
            Some(session) => {
                close(txn, ctx, id, &session)?;
                done += 1;
            }
        }
    }
    Ok(StepProgress { done, more: found.len() > 16 })
}
