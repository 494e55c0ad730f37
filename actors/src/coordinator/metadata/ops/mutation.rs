//! Every change by value: what the writer applies, and how a repeated operation gets its first outcome.
//!
//! A request may take more than one batch (record the last chunks, then commit): all batches of a request lie in one
//! group, so they become durable together, and only the last one shows.

use dfs_wire::auth::{ClusterKey, NodeKey};
use dfs_wire::id::{ChunkKey, Generation, NodeId, SessionId};
use dfs_wire::identity::Identity;
use dfs_wire::message::job::JobId;
use dfs_wire::message::metadata::{
    AllocateChunks, CommitUpload, CopyOpened, CopyProgress, Delete, Mkdir, OpenCopy, OpenUpload,
    RecordChunks, Rename, SessionOnly, TrashPurge, Undelete,
};
use dfs_wire::secret::SecretDigest;
use serde::Serialize;
use std::cell::RefCell;
use std::collections::BTreeMap;

use super::forget::ForgetNode;
use super::inventory::CopyFinding;
use super::outcome::RequestDigest;
use super::replication::FilePart;
use super::surplus::{self, CopyDrop};
use super::transfer::{self, ChunkPlacement};
use super::trust::{self, Joining, NewKey};
use super::{
    OpContext, cluster, copy, events, forget, gc, inventory, jobs, maintenance, names, outcome, replication,
    trash, trash_usage, upload,
};
use crate::coordinator::metadata::model::outcome::{AllocatedChunk, Outcome, StepProgress};
use crate::coordinator::metadata::model::records::{
    EventRecord, HealthBook, JobRecord, JoinTokenRecord, Maintenance, NodeRecord, Standing, UnknownReign,
};
use crate::coordinator::metadata::table::error::{MetaError, invalid};
use crate::coordinator::metadata::table::txn::{Overlay, Txn};

/// A change to the metadata.
#[derive(Debug, Clone)]
pub enum Mutation {
    /// Make a directory.
    Mkdir(Mkdir),
    /// Move a file or directory.
    Rename(Rename),
    /// Move a file or directory to the trash.
    Delete(Delete),
    /// Bring something back.
    Undelete(Undelete),
    /// Drop something from the trash.
    TrashPurge(TrashPurge),
    /// Begin a file; one placement for each chunk to allocate at once.
    OpenUpload(OpenUpload, Vec<ChunkPlacement>),
    /// Allocate chunks; one placement each.
    Allocate(AllocateChunks, Vec<ChunkPlacement>),
    /// Say that chunks are durable.
    Record(RecordChunks),
    /// Begin a copy.
    OpenCopy(OpenCopy),
    /// Go on with a copy.
    CopyChunks(SessionOnly),
    /// Make a file visible.
    Commit(CommitUpload),
    /// Give an upload up.
    Abort(SessionOnly),
    /// Keep an upload's lease.
    Renew(SessionOnly),
    /// Remember nodes, all of them at once.
    PutNodes(Vec<(NodeId, NodeRecord)>),
    /// Remember what an operator says of a node that may be away.
    Maintain(NodeId, Maintenance),
    /// Remember that a node has seen a reign which this metadata has not.
    NoteUnknownReign(UnknownReign),
    /// Remember a join token.
    PutJoinToken(SecretDigest, JoinTokenRecord),
    /// Use a join token up, and note the key that its user has certified until then.
    Join(Joining, u64),
    /// Note that somebody has a certificate for a key.
    NoteKey(NewKey),
    /// Believe none of somebody's keys any more.
    RevokeKeys(Identity),
    /// Forget a node that will not come back.
    ForgetNode(ForgetNode),
    /// Take a node's word that copies are gone (any number).
    ConfirmDeleted(NodeId, Vec<ChunkKey>),
    /// Apply what an inventory or a report of bad copies means (any number).
    ApplyFindings(NodeId, Vec<CopyFinding>),
    /// Order a copy of a live chunk away.
    DropCopy(CopyDrop),
    /// Keep a copy that was ordered away.
    KeepCopy(NodeId, ChunkKey),
    /// Have a node delete a copy that may have come to be unnoted.
    DiscardCopy(NodeId, ChunkKey),
    /// Remember jobs as they are now, or forget them.
    PutJobs(Vec<(JobId, Option<JobRecord>)>),
    /// Want so many copies of parts of files (any number), for a job that goes on.
    SetReplication(JobId, u8, Vec<FilePart>),
    /// Note what happened, and what is remembered of the health with it.
    NoteEvents(Vec<EventRecord>, HealthBook),
    /// One bounded step of background work (as many batches as its group may have of it).
    Step(Step),
}

/// Background work, done in bounded steps until one reports no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Close uploads whose lease ended.
    ExpireUploads,
    /// Take expired entries out of the trash.
    Trash,
    /// Count what deleted directories take.
    TrashUsage,
    /// Take deleted directories apart.
    Purge,
    /// Give up the chunks of versions that nobody may read any more.
    Release,
    /// Turn given-up generations into tombstones.
    Orphans,
    /// Forget outcomes of old operations.
    ExpireOutcomes,
    /// Take away what is said of forgotten nodes.
    Forget,
}

impl Step {
    /// All of them, in the order in which one feeds the next.
    pub const ALL: [Self; 8] = [
        Self::ExpireUploads,
        Self::Trash,
        Self::TrashUsage,
        Self::Purge,
        Self::Release,
        Self::Orphans,
        Self::ExpireOutcomes,
        Self::Forget,
    ];

    /// A short name for logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ExpireUploads => "expire_uploads",
            Self::Trash => "trash",
            Self::TrashUsage => "trash_usage",
            Self::Purge => "purge",
            Self::Release => "release",
            Self::Orphans => "orphans",
            Self::ExpireOutcomes => "expire_outcomes",
            Self::Forget => "forget",
        }
    }

    /// Does nothing while the metadata is known to be an old copy: what it takes for garbage may be newer than it.
    fn run(self, overlay: &mut Overlay, ctx: &OpContext) -> Result<StepProgress, MetaError> {
        if cluster::unknown_reign(overlay)?.is_some() {
            return Ok(StepProgress::default());
        }
        match self {
            Self::ExpireUploads => overlay.mutate(|t| upload::expire(t, ctx)),
            Self::Trash => gc::trash_step(overlay, ctx),
            Self::TrashUsage => overlay.mutate(trash_usage::step),
            Self::Purge => gc::purge_step(overlay, ctx),
            Self::Release => gc::release_step(overlay, ctx),
            Self::Orphans => gc::orphan_step(overlay, ctx),
            Self::ExpireOutcomes => overlay.mutate(|t| outcome::expire(t, ctx)),
            Self::Forget => overlay.mutate(|t| forget::step(t, ctx)),
        }
    }
}

impl Mutation {
    /// A short name for logs and metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Mkdir(_) => "mkdir",
            Self::Rename(_) => "rename",
            Self::Delete(_) => "delete",
            Self::Undelete(_) => "undelete",
            Self::TrashPurge(_) => "trash_purge",
            Self::OpenUpload(..) => "open_upload",
            Self::Allocate(..) => "allocate_chunks",
            Self::Record(_) => "record_chunks",
            Self::OpenCopy(_) => "open_copy",
            Self::CopyChunks(_) => "copy_chunks",
            Self::Commit(_) => "commit_upload",
            Self::Abort(_) => "abort_upload",
            Self::Renew(_) => "renew_session",
            Self::PutNodes(_) => "put_nodes",
            Self::Maintain(..) => "maintain",
            Self::PutJoinToken(..) => "put_join_token",
            Self::Join(..) => "join",
            Self::NoteKey(_) => "note_key",
            Self::RevokeKeys(_) => "revoke_keys",
            Self::NoteUnknownReign(_) => "note_unknown_reign",
            Self::ForgetNode(_) => "forget_node",
            Self::ConfirmDeleted(..) => "confirm_deleted",
            Self::ApplyFindings(..) => "apply_findings",
            Self::DropCopy(_) => "drop_copy",
            Self::KeepCopy(..) => "keep_copy",
            Self::DiscardCopy(..) => "discard_copy",
            Self::PutJobs(_) => "put_jobs",
            Self::SetReplication(..) => "set_replication",
            Self::NoteEvents(..) => "note_events",
            Self::Step(step) => step.name(),
        }
    }

    /// Whether it begins something that takes more room than it gives back. What ends or finishes something does not.
    pub const fn takes_space(&self) -> bool {
        matches!(self, Self::Mkdir(_) | Self::OpenUpload(..) | Self::Allocate(..) | Self::OpenCopy(_))
    }

    /// Applies the change to the group. If it fails, the group is as it was, but for the memory of the failure.
    ///
    /// # Errors
    /// Those of the operation.
    pub fn apply(
        &self,
        overlay: &mut Overlay,
        ctx: &OpContext,
        receipts: &ReceiptKeys,
    ) -> Result<Outcome, MetaError> {
        match self {
            Self::Mkdir(r) => {
                once(overlay, ctx, self.name(), r, |t| names::mkdir(t, ctx, r).map(|()| Outcome::Done))
            }
            Self::Rename(r) => {
                once(overlay, ctx, self.name(), r, |t| names::rename(t, ctx, r).map(|()| Outcome::Done))
            }
            Self::Delete(r) => {
                once(overlay, ctx, self.name(), r, |t| names::delete(t, ctx, r).map(Outcome::Deleted))
            }
            Self::Undelete(r) => {
                once(overlay, ctx, self.name(), r, |t| trash::undelete(t, ctx, r).map(Outcome::Restored))
            }
            Self::TrashPurge(r) => {
                once(overlay, ctx, self.name(), r, |t| trash::trash_purge(t, ctx, r).map(Outcome::Purged))
            }
            Self::OpenUpload(r, placements) => open_upload(overlay, ctx, r, placements),
            Self::Allocate(r, placements) => allocate(overlay, ctx, r, placements).map(Outcome::Allocated),
            Self::Record(r) => record(overlay, ctx, r, receipts).map(|()| Outcome::Done),
            Self::OpenCopy(r) => open_copy(overlay, ctx, r).map(Outcome::CopyOpened),
            Self::CopyChunks(r) => copy_chunks(overlay, ctx, r.session).map(Outcome::Copied),
            Self::Commit(r) => commit_upload(overlay, ctx, r, receipts),
            Self::Abort(r) => once(overlay, ctx, self.name(), r, |t| {
                upload::abort(t, ctx, r.session).map(|()| Outcome::Done)
            }),
            Self::Renew(r) => overlay.mutate(|t| upload::renew(t, ctx, r.session)).map(Outcome::Renewed),
            Self::PutNodes(nodes) => overlay
                .mutate(|t| nodes.iter().try_for_each(|(id, r)| put_node(t, *id, r)))
                .map(|()| Outcome::Done),
            Self::Maintain(node, said) => {
                overlay.mutate(|t| maintenance::set(t, *node, *said)).map(|()| Outcome::Done)
            }
            Self::NoteUnknownReign(seen) => {
                overlay.mutate(|t| cluster::note_unknown(t, seen)).map(|()| Outcome::Done)
            }
            Self::PutJoinToken(..) | Self::Join(..) | Self::NoteKey(_) | Self::RevokeKeys(_) => {
                overlay.mutate(|t| self.trust(t, ctx))
            }
            Self::ForgetNode(r) => overlay.mutate(|t| forget::begin(t, ctx, r)).map(|()| Outcome::Done),
            Self::ConfirmDeleted(node, copies) => {
                let mut left = copies.as_slice();
                while !left.is_empty() {
                    let taken = overlay.mutate(|t| gc::confirm_deleted(t, ctx, *node, left))?;
                    left = left.get(taken..).unwrap_or_default();
                }
                Ok(Outcome::Done)
            }
            Self::ApplyFindings(node, findings) => apply_findings(overlay, ctx, *node, findings),
            Self::DropCopy(order) => overlay.mutate(|t| surplus::drop_copy(t, ctx, order)).map(one),
            Self::KeepCopy(node, key) => overlay.mutate(|t| surplus::keep_copy(t, ctx, *key, *node)).map(one),
            Self::DiscardCopy(node, key) => {
                overlay.mutate(|t| surplus::discard_copy(t, ctx, *key, *node)).map(one)
            }
            Self::SetReplication(job, copies, parts) => {
                replication::set(overlay, *job, *copies, parts).map(Outcome::Progress)
            }
            Self::NoteEvents(events, book) => {
                overlay.mutate(|t| events::note(t, events, book)).map(|()| Outcome::Done)
            }
            Self::Step(step) => step.run(overlay, ctx).map(Outcome::Progress),
            Self::PutJobs(changes) => overlay.mutate(|t| jobs::put(t, changes)).map(|()| Outcome::Done),
        }
    }

    /// What is about whom the cluster trusts.
    fn trust(&self, txn: &mut Txn<'_>, ctx: &OpContext) -> Result<Outcome, MetaError> {
        match self {
            Self::PutJoinToken(secret, token) => trust::put_token(txn, *secret, token, ctx)?,
            Self::Join(joining, not_after_ms) => {
                return trust::join(txn, joining, *not_after_ms, ctx).map(one);
            }
            Self::NoteKey(new) => trust::note_key(txn, new, ctx)?,
            Self::RevokeKeys(who) => {
                let done = trust::revoke(txn, who, ctx)?;
                return Ok(Outcome::Progress(StepProgress { done, more: false }));
            }
            _ => {}
        }
        Ok(Outcome::Done)
    }
}

fn put_node(txn: &mut Txn<'_>, node: NodeId, record: &NodeRecord) -> Result<(), MetaError> {
    cluster::put_node(txn, node, record)?;
    match record.standing {
        Standing::Lost => maintenance::forget(txn, node),
        _ => Ok(()),
    }
}

/// One change, if it was made.
fn one(done: bool) -> Outcome {
    Outcome::Progress(StepProgress { done: done.into(), more: false })
}

fn apply_findings(
    overlay: &mut Overlay,
    ctx: &OpContext,
    node: NodeId,
    findings: &[CopyFinding],
) -> Result<Outcome, MetaError> {
    let mut done = 0;
    for page in findings.chunks(inventory::CHANGES_MAX) {
        done += overlay.mutate(|t| inventory::apply(t, ctx, node, page))?;
    }
    Ok(Outcome::Progress(StepProgress { done, more: false }))
}

/// Runs `change` unless the operation has an outcome already; remembers the outcome with its effect.
fn once(
    overlay: &mut Overlay,
    ctx: &OpContext,
    name: &str,
    request: &impl Serialize,
    change: impl FnOnce(&mut Txn<'_>) -> Result<Outcome, MetaError>,
) -> Result<Outcome, MetaError> {
    let digest = outcome::digest(name, request)?;
    if let Some(first) = outcome::recall(overlay, ctx.op, &digest)? {
        return first.map_err(|status| MetaError::Refused(Box::new(status)));
    }
    outcome::admit(overlay, ctx)?;
    let result = overlay.mutate(|txn| {
        let out = change(txn)?;
        outcome::remember(txn, ctx, &digest, Ok(out.clone()))?;
        Ok(out)
    });
    remember_refusal(overlay, ctx, &digest, result)
}

/// A definite failure is an outcome too: a copy of the request that comes late must not succeed after all.
fn remember_refusal(
    overlay: &mut Overlay,
    ctx: &OpContext,
    digest: &RequestDigest,
    result: Result<Outcome, MetaError>,
) -> Result<Outcome, MetaError> {
    if let Err(MetaError::Refused(status)) = &result
        && !status.retryable()
    {
        overlay.mutate(|txn| outcome::remember(txn, ctx, digest, Err(status.as_ref().clone())))?;
    }
    result
}

/// As many batches as it takes; what was allocated before a failure is allocated again by the next try.
fn allocate(
    overlay: &mut Overlay,
    ctx: &OpContext,
    request: &AllocateChunks,
    placements: &[ChunkPlacement],
) -> Result<Vec<AllocatedChunk>, MetaError> {
    transfer::check_count(request, placements.len())?;
    let (mut first, mut out) = (request.first, Vec::new());
    for page in placements.chunks(transfer::STEP_CHUNKS) {
        let count = u32::try_from(page.len()).map_err(|_| invalid("too many chunks at once"))?;
        let request = AllocateChunks { first, count, ..request.clone() };
        out.extend(overlay.mutate(|t| transfer::allocate(t, ctx, &request, page))?);
        first = first.saturating_add(count);
    }
    Ok(out)
}

/// As many batches as it takes; what was recorded before a failure stays recorded, which saying it again does not change.
fn record(
    overlay: &mut Overlay,
    ctx: &OpContext,
    request: &RecordChunks,
    receipts: &ReceiptKeys,
) -> Result<(), MetaError> {
    transfer::check_chunks(request.chunks.len())?;
    let verify = |receipt: &_| receipts.verify(receipt);
    let mut pages = request.chunks.chunks(transfer::STEP_CHUNKS);
    // Even with nothing to record, the session must be open, and its lease is renewed.
    let first = pages.next().unwrap_or_default();
    std::iter::once(first)
        .chain(pages)
        .try_for_each(|page| overlay.mutate(|t| transfer::record(t, ctx, request.session, page, &verify)))
}

fn open_upload(
    overlay: &mut Overlay,
    ctx: &OpContext,
    request: &OpenUpload,
    placements: &[ChunkPlacement],
) -> Result<Outcome, MetaError> {
    // While the session is open, its record is the outcome. A refusal is not remembered: an upload that a late repeat opens
    // after all is seen by nobody, and ends with its lease.
    let mut opened = match upload::reopened(overlay, ctx, request)? {
        Some(opened) => opened,
        None => {
            outcome::admit(overlay, ctx)?;
            overlay.mutate(|t| upload::open(t, ctx, request))?
        }
    };
    if !placements.is_empty() {
        let count = u32::try_from(placements.len()).map_err(|_| invalid("too many chunks at once"))?;
        let (session, above) = (opened.session, Generation(0));
        let request = AllocateChunks { session, first: 0, count, above, exclude: Vec::new() };
        opened.allocations = allocate(overlay, ctx, &request, placements)?;
    }
    Ok(Outcome::Opened(opened))
}

fn open_copy(overlay: &mut Overlay, ctx: &OpContext, request: &OpenCopy) -> Result<CopyOpened, MetaError> {
    match copy::reopened(overlay, ctx, request)? {
        Some(opened) => Ok(opened),
        None => {
            outcome::admit(overlay, ctx)?;
            overlay.mutate(|t| copy::open(t, ctx, request))
        }
    }
}

/// Some batches of a copy. A repeat goes on where the first one ended.
fn copy_chunks(
    overlay: &mut Overlay,
    ctx: &OpContext,
    session: SessionId,
) -> Result<CopyProgress, MetaError> {
    let mut progress = overlay.mutate(|t| copy::step(t, ctx, session))?;
    for _ in 1..copy::STEPS_PER_REQUEST {
        if progress.copied == progress.chunk_count {
            break;
        }
        progress = overlay.mutate(|t| copy::step(t, ctx, session))?;
    }
    Ok(progress)
}

fn commit_upload(
    overlay: &mut Overlay,
    ctx: &OpContext,
    request: &CommitUpload,
    receipts: &ReceiptKeys,
) -> Result<Outcome, MetaError> {
    let digest = outcome::digest("commit_upload", request)?;
    if let Some(first) = outcome::recall(overlay, ctx.op, &digest)? {
        return first.map_err(|status| MetaError::Refused(Box::new(status)));
    }
    outcome::admit(overlay, ctx)?;
    let last = RecordChunks { session: request.session, chunks: request.chunks.clone() };
    let recorded = match last.chunks.is_empty() {
        true => Ok(()),
        false => record(overlay, ctx, &last, receipts),
    };
    let result = recorded.and_then(|()| {
        overlay.mutate(|txn| {
            let out = upload::commit(txn, ctx, request).map(Outcome::Committed)?;
            outcome::remember(txn, ctx, &digest, Ok(out.clone()))?;
            Ok(out)
        })
    });
    remember_refusal(overlay, ctx, &digest, result)
}

/// The keys that receipts are checked with, derived once per node.
#[derive(Debug)]
pub struct ReceiptKeys {
    cluster: ClusterKey,
    nodes: RefCell<BTreeMap<NodeId, NodeKey>>,
}

impl ReceiptKeys {
    /// Nodes whose keys are kept: more than any cluster has, fewer than a liar could name.
    const KEPT_MAX: usize = 4096;

    /// Keys of the nodes of the cluster with this secret.
    pub fn new(cluster: ClusterKey) -> Self {
        Self { cluster, nodes: RefCell::default() }
    }

    /// Whether the receipt was signed by the node it names.
    pub fn verify(&self, receipt: &dfs_wire::auth::Receipt) -> bool {
        let mut nodes = self.nodes.borrow_mut();
        if nodes.len() >= Self::KEPT_MAX {
            nodes.clear();
        }
        let key = nodes.entry(receipt.node).or_insert_with(|| self.cluster.node_key(receipt.node));
        receipt.verify(key)
    }
}
