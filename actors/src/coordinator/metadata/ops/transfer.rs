//! The chunks of an open upload: where they are to go, and that they are durable there.

use std::collections::{BTreeMap, BTreeSet};

use dfs_wire::auth::Receipt;
use dfs_wire::bugs::{self, Bug};
use dfs_wire::id::{ChunkId, ChunkKey, Generation, NodeId, SessionId};
use dfs_wire::limits::{CHUNKS_PER_REQUEST_MAX, REPLICATION_MAX};
use dfs_wire::message::metadata::{AllocateChunks, CopyState, StoredChunk};
use dfs_wire::status::StatusCode;

use super::OpContext;
use super::upload::{CHUNKS_MAX, open_session, renew_lease};
use crate::coordinator::metadata::model::chunks::{PUT_OPS_MAX, put_chunk};
use crate::coordinator::metadata::model::outcome::AllocatedChunk;
use crate::coordinator::metadata::model::records::{
    ChunkRecord, ChunkState, CopyRecord, Orphan, OrphanBatch, Reasons, SEGMENT_CHUNKS, Segment, Slot,
    StoredReason, UploadSession, version_of,
};
use crate::coordinator::metadata::table::error::{MetaError, invalid};
use crate::coordinator::metadata::table::keys;
use crate::coordinator::metadata::table::txn::{MUTATION_OPS_MAX, Txn};
use crate::coordinator::metadata::table::view::View;

/// Chunks that one batch allocates or records: each may take a dozen rows and more.
pub const STEP_CHUNKS: usize = 8;

const _: () = assert!(
    // Beside the chunks and their reasons: the session, two segments, what was given up.
    STEP_CHUNKS * (PUT_OPS_MAX + 1) + 4 <= MUTATION_OPS_MAX
);

/// Placement reasons kept per chunk: the chosen nodes and some of those passed over.
const REASONS_MAX: usize = 8;
/// Bytes of each text of a kept reason.
const REASON_TEXT_MAX: usize = 96;

/// Where placement wants one chunk, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChunkPlacement {
    /// Distinct nodes, the primary first.
    pub nodes: Vec<NodeId>,
    /// What it thought of the nodes, the chosen ones first.
    pub reasons: Vec<StoredReason>,
}

/// Says whether a receipt was signed by the node it names.
pub type VerifyReceipt<'a> = &'a dyn Fn(&Receipt) -> bool;

/// The segments that one operation touches, loaded once and stored once.
#[derive(Default)]
struct Segments(BTreeMap<u32, Segment>);

impl Segments {
    fn at(&mut self, txn: &Txn<'_>, session: SessionId, index: u32) -> Result<&mut Segment, MetaError> {
        let number = index / SEGMENT_CHUNKS;
        match self.0.entry(number) {
            std::collections::btree_map::Entry::Occupied(found) => Ok(found.into_mut()),
            std::collections::btree_map::Entry::Vacant(place) => {
                let key = keys::segment(version_of(session), number);
                Ok(place.insert(txn.load(&key)?.unwrap_or_default()))
            }
        }
    }

    fn store(self, txn: &mut Txn<'_>, session: SessionId) -> Result<(), MetaError> {
        self.0
            .into_iter()
            .try_for_each(|(number, segment)| txn.put(keys::segment(version_of(session), number), &segment))
    }
}

/// Whether a request may ask for so many chunks at once.
///
/// # Errors
/// `InvalidArgument` if not.
pub fn check_chunks(count: usize) -> Result<(), MetaError> {
    match count <= CHUNKS_PER_REQUEST_MAX {
        true => Ok(()),
        false => {
            Err(invalid(format!("{count} chunks in one request, the most are {CHUNKS_PER_REQUEST_MAX}")))
        }
    }
}

/// Whether what a request asks for is possible, and matches its placements.
///
/// # Errors
/// `InvalidArgument` if not.
pub fn check_count(request: &AllocateChunks, placements: usize) -> Result<(), MetaError> {
    check_chunks(request.count as usize)?;
    if request.count as usize != placements {
        return Err(invalid(format!("{} chunks with {placements} placements", request.count)));
    }
    match request.first.checked_add(request.count) {
        Some(end) if end <= CHUNKS_MAX => Ok(()),
        _ => Err(invalid(format!("a file has at most {CHUNKS_MAX} chunks"))),
    }
}

/// Allocates chunks, one per placement, at most [`STEP_CHUNKS`]. A chunk of the generation that the request names gets the next one, and the old
/// one is given up; a chunk of a later one keeps it. So each step from one generation to the next is taken at most once,
/// whatever is repeated and however late, before the chunk was recorded and after (U2 of the contract).
///
/// # Errors
/// `SessionClosed`, `InvalidArgument`, `NoWriteQuorum` if a placement has too few nodes.
pub fn allocate(
    txn: &mut Txn<'_>,
    ctx: &OpContext,
    request: &AllocateChunks,
    placements: &[ChunkPlacement],
) -> Result<Vec<AllocatedChunk>, MetaError> {
    let id = request.session;
    let mut session = own_chunks(txn, id)?;
    check_count(request, placements.len())?;
    let end = request.first.saturating_add(request.count);
    let (mut segments, mut orphans, mut out) = (Segments::default(), OrphanBatch::default(), Vec::new());
    for (index, placement) in (request.first..end).zip(placements) {
        check_placement(&session, index, placement)?;
        let slot = segments.at(txn, id, index)?.slot(index);
        let old = match slot.chunk() {
            Some(chunk) => Some((chunk, txn.require::<ChunkRecord>(&keys::chunk(chunk))?)),
            None => None,
        };
        let known = old.as_ref().map_or(Generation(0), |(_, record)| record.generation);
        if request.above > known {
            let text = format!("chunk {index} never had generation {}: it is at {known}", request.above);
            return Err(invalid(text));
        }
        let (chunk, record) = match old {
            Some((chunk, record)) if known > request.above && !bugs::is(Bug::AllocateAgain) => {
                (chunk, record)
            }
            old => {
                if let Some((chunk, record)) = &old {
                    give_up(&mut session, &mut orphans, slot, *chunk, record);
                }
                let chunk = match &old {
                    Some((chunk, _)) => *chunk,
                    None => fresh_chunk(txn, ctx, index)?,
                };
                let record = pending(ctx, &session, id, index, old.as_ref().map(|o| &o.1), placement);
                put_chunk(txn, chunk, old.as_ref().map(|o| &o.1), &record)?;
                txn.put(keys::reasons(chunk), &kept_reasons(placement, ctx))?;
                segments.at(txn, id, index)?.set(index, Slot::Allocated(chunk));
                (chunk, record)
            }
        };
        out.push(allocated(chunk, &record));
    }
    if let Some(first) = orphans.orphans.first() {
        let first = ChunkKey { chunk: first.chunk, generation: first.generation };
        txn.put(keys::orphans(ctx.now_ms, first), &orphans)?;
    }
    segments.store(txn, id)?;
    session.allocated = session.allocated.max(end);
    renew_lease(&mut session, ctx);
    txn.put(keys::session(id), &session)?;
    Ok(out)
}

/// An open upload whose chunks come from its client.
fn own_chunks(view: &impl View, id: SessionId) -> Result<UploadSession, MetaError> {
    let session = open_session(view, id)?;
    match &session.source {
        None => Ok(session),
        Some(source) => {
            Err(invalid(format!("upload {id} is a copy of {}: it has its chunks from there", source.path)))
        }
    }
}

/// A chunk id that was never given out. Randomness makes a collision as good as impossible; were it broken, bytes
/// of two files would mix, so it is checked.
fn fresh_chunk(view: &impl View, ctx: &OpContext, index: u32) -> Result<ChunkId, MetaError> {
    let chunk = ctx.chunk(index);
    match view.get(&keys::chunk(chunk))? {
        None => Ok(chunk),
        Some(_) => {
            Err(MetaError::refused(StatusCode::Internal, format!("chunk id {chunk} was given out before")))
        }
    }
}

fn check_placement(session: &UploadSession, index: u32, placement: &ChunkPlacement) -> Result<(), MetaError> {
    let distinct: BTreeSet<_> = placement.nodes.iter().collect();
    let count = placement.nodes.len();
    if distinct.len() != count || count > usize::from(REPLICATION_MAX) {
        return Err(invalid(format!("the placement of chunk {index} names a node twice, or too many nodes")));
    }
    if count < usize::from(session.min_ack) {
        return Err(MetaError::refused(
            StatusCode::NoWriteQuorum,
            format!("chunk {index} needs {} nodes, {count} are usable", session.min_ack),
        ));
    }
    Ok(())
}

/// Gives up the generation that counted so far.
fn give_up(
    session: &mut UploadSession,
    orphans: &mut OrphanBatch,
    slot: Slot,
    chunk: ChunkId,
    old: &ChunkRecord,
) {
    if matches!(slot, Slot::Stored(_)) {
        session.stored = session.stored.saturating_sub(1);
        session.bytes = session.bytes.saturating_sub(u64::from(old.len));
        if session.short == Some(old.index) {
            session.short = None;
        }
    }
    let nodes = old.copies.iter().map(|copy| copy.node).collect();
    orphans.orphans.push(Orphan { chunk, generation: old.generation, nodes });
}

fn pending(
    ctx: &OpContext,
    session: &UploadSession,
    id: SessionId,
    index: u32,
    old: Option<&ChunkRecord>,
    placement: &ChunkPlacement,
) -> ChunkRecord {
    // A planned copy is "missing" until its receipt comes.
    let planned = |&node| CopyRecord { node, state: CopyState::Missing, since_ms: ctx.now_ms };
    ChunkRecord {
        generation: Generation(old.map_or(1, |o| o.generation.0.saturating_add(1))),
        state: ChunkState::Pending(ctx.op),
        file: session.inode,
        version: version_of(id),
        index,
        len: session.chunk_size,
        sha256: [0; 32],
        references: 1,
        wanted: session.replication,
        copies: placement.nodes.iter().map(planned).collect(),
    }
}

fn kept_reasons(placement: &ChunkPlacement, ctx: &OpContext) -> Reasons {
    let cut = |text: &str| text.chars().take(REASON_TEXT_MAX).collect::<String>();
    let kept = placement.reasons.iter().take(REASONS_MAX);
    Reasons {
        reasons: kept
            .map(|r| StoredReason { rule: cut(&r.rule), detail: cut(&r.detail), ..r.clone() })
            .collect(),
        placed_ms: Some(ctx.wall_ms),
        ..Reasons::default()
    }
}

fn allocated(chunk: ChunkId, record: &ChunkRecord) -> AllocatedChunk {
    AllocatedChunk {
        index: record.index,
        chunk,
        generation: record.generation,
        file: record.file,
        len_max: record.len,
        nodes: record.copies.iter().map(|copy| copy.node).collect(),
    }
}

/// Records chunks as durable, at most [`STEP_CHUNKS`]. Repeating it, or saying it again with more receipts, is fine.
///
/// # Errors
/// `SessionClosed`; `PermissionDenied` for a receipt that is forged, of another chunk or an earlier generation;
/// `NoWriteQuorum` for fewer distinct copies than needed; `InvalidArgument` for lengths that cannot be.
pub fn record(
    txn: &mut Txn<'_>,
    ctx: &OpContext,
    id: SessionId,
    chunks: &[StoredChunk],
    verify: VerifyReceipt<'_>,
) -> Result<(), MetaError> {
    let mut session = own_chunks(txn, id)?;
    let mut segments = Segments::default();
    for stored in chunks {
        let segment = segments.at(txn, id, stored.index)?;
        let slot = segment.slot(stored.index);
        let chunk = slot.chunk();
        let chunk = chunk.ok_or_else(|| invalid(format!("chunk {} was never allocated", stored.index)))?;
        segment.set(stored.index, Slot::Stored(chunk));
        let old: ChunkRecord = txn.require(&keys::chunk(chunk))?;
        let (len, sha256) = check_receipts(&session, chunk, &old, stored, verify)?;
        let mut new = ChunkRecord { state: ChunkState::Live, len, sha256, ..old.clone() };
        for copy in new.copies.iter_mut().filter(|c| stored.receipts.iter().any(|r| r.node == c.node)) {
            *copy = CopyRecord { state: CopyState::Good, since_ms: ctx.now_ms, ..*copy };
        }
        if matches!(slot, Slot::Allocated(_)) {
            count_chunk(&mut session, stored.index, len)?;
        }
        put_chunk(txn, chunk, Some(&old), &new)?;
    }
    segments.store(txn, id)?;
    renew_lease(&mut session, ctx);
    txn.put(keys::session(id), &session)
}

pub(super) fn count_chunk(session: &mut UploadSession, index: u32, len: u32) -> Result<(), MetaError> {
    if len < session.chunk_size {
        if let Some(other) = session.short {
            return Err(invalid(format!("chunks {other} and {index} are both short: only the last may be")));
        }
        session.short = Some(index);
    }
    session.stored += 1;
    session.bytes += u64::from(len);
    session.high = session.high.max(index + 1);
    Ok(())
}

/// Checks what the nodes say of one chunk; returns its length and hash.
fn check_receipts(
    session: &UploadSession,
    chunk: ChunkId,
    record: &ChunkRecord,
    stored: &StoredChunk,
    verify: VerifyReceipt<'_>,
) -> Result<(u32, [u8; 32]), MetaError> {
    let denied = |text: String| {
        MetaError::refused(StatusCode::PermissionDenied, format!("chunk {}: {text}", stored.index))
    };
    let first = stored.receipts.first();
    let first = first.ok_or_else(|| invalid(format!("chunk {} comes without receipts", stored.index)))?;
    let mut nodes = BTreeSet::new();
    for receipt in &stored.receipts {
        if receipt.chunk != chunk || receipt.generation != record.generation {
            return Err(denied(format!(
                "a receipt is for {} generation {}, allocated is {chunk} generation {}",
                receipt.chunk, receipt.generation, record.generation
            )));
        }
        if record.copy(receipt.node).is_none() {
            return Err(denied(format!("node {} was not asked to store it", receipt.node)));
        }
        if (receipt.len, receipt.sha256) != (first.len, first.sha256) {
            return Err(denied("its receipts are for different bytes".to_owned()));
        }
        if !verify(receipt) {
            return Err(denied(format!("the receipt of node {} is not signed by it", receipt.node)));
        }
        nodes.insert(receipt.node);
    }
    if record.state == ChunkState::Live && (record.len, record.sha256) != (first.len, first.sha256) {
        return Err(denied("it was recorded before with other bytes".to_owned()));
    }
    if nodes.len() < usize::from(session.min_ack) {
        return Err(MetaError::refused(
            StatusCode::NoWriteQuorum,
            format!(
                "chunk {} is durable on {} nodes, {} are needed",
                stored.index,
                nodes.len(),
                session.min_ack
            ),
        ));
    }
    if first.len == 0 || first.len > session.chunk_size {
        return Err(invalid(format!("chunk {} has an impossible length of {}", stored.index, first.len)));
    }
    Ok((first.len, first.sha256))
}
