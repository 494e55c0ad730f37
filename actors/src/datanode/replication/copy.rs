//! Fetching a whole chunk from a peer, when the node is asked to have a copy of it.

use std::sync::Arc;
use std::time::Duration;

use dfs_wire::Bytes;
use dfs_wire::auth::Receipt;
use dfs_wire::id::{ChunkId, NodeId, OpId};
use dfs_wire::limits::DATA_FRAME_BYTES;
use dfs_wire::link::Event;
use dfs_wire::message::chunk::{ChunkRequest, ChunkResponse, ReadChunk};
use dfs_wire::message::replication::CopyChunk;
use dfs_wire::message::{Request, RequestHead, Response};
use dfs_wire::slab::SlabBudget;
use dfs_wire::status::{Status, StatusCode};
use sha2::{Digest, Sha256};

use super::forward::link_to;
use crate::datanode::authority::Authority;
use crate::datanode::chunk_store::{ChunkIdentity, ChunkSeal, ChunkStore, StoreError};
use crate::datanode::reads::in_time;
use crate::env::Clock;
use crate::peer::links::LinksMsg;
use crate::supervisor::Addr;

/// Longest standstill of the source.
const STALL: Duration = Duration::from_secs(10);
/// Longest wait for a turn among the reads of the source: its answer comes before it counts as standing still.
const TURN_MS: u32 = 5_000;
/// Longest wait for this node's disk, which may have a whole chunk to read or to write.
const DISK: Duration = Duration::from_secs(64);
/// Slabs that a copy works with: enough to keep a disk busy, few enough to leave memory to uploads.
const SLABS: usize = 4;

/// What a copy needs.
pub struct CopyJob {
    /// The request that it answers; the source is told the same.
    pub op: OpId,
    /// What to copy, from where; the grant to write was checked before.
    pub request: CopyChunk,
    /// Where it goes.
    pub store: Arc<dyn ChunkStore>,
    /// Who signs for it.
    pub authority: Arc<dyn Authority>,
    /// Where the link to the source comes from.
    pub links: Addr<LinksMsg>,
    /// Memory to receive into.
    pub budget: SlabBudget,
    /// What is waited by.
    pub clock: Arc<dyn Clock>,
}

/// Waits for this node's disk, not for ever.
struct Patience<'a> {
    clock: &'a Arc<dyn Clock>,
    node: NodeId,
    chunk: ChunkId,
}

impl Patience<'_> {
    async fn wait<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, Status> {
        let done = async { work.await.map_err(|error| error.status(self.node)) };
        in_time(self.clock, DISK, done).await.map_err(|status| status.about_chunk(self.chunk))
    }
}

/// Copies one chunk from a peer to this node's disk. The SHA-256 that the source names is checked here.
///
/// A chunk that is here already is a success, once it has been read and found good.
///
/// Cancel safety: dropping the future leaves nothing behind, or the whole chunk.
///
/// # Errors
/// What the source or the disk did wrong; `DeadlineExceeded` if one of them says nothing.
pub async fn copy_chunk(job: CopyJob) -> Result<Receipt, Status> {
    let grant = &job.request.grant;
    let identity = ChunkIdentity {
        cluster: job.authority.cluster()?,
        chunk: grant.chunk,
        generation: grant.generation,
        file: grant.file,
        index: grant.index,
    };
    let disk = Patience { clock: &job.clock, node: job.authority.node(), chunk: grant.chunk };
    let created = async {
        match job.store.create(identity, grant.len_max).await {
            Err(StoreError::AlreadyCommitted(_)) => Ok(None),
            created => created.map(Some),
        }
    };
    let Some(mut writer) = disk.wait(created).await? else {
        // A receipt says that the bytes were seen to be good: a copy found here is read before it gets one.
        let info = disk.wait(job.store.verify(identity.key())).await?;
        return job.authority.sign(grant.chunk_key(), info.len, info.sha256);
    };
    let link = link_to(&job.links, job.authority.as_ref(), &job.clock, &job.request.source).await?;
    let read = ReadChunk {
        grant: job.request.source_grant.clone(),
        mac: job.request.source.mac,
        offset: 0,
        len: grant.len_max,
        facts: true,
    };
    let body = Request::Chunk(ChunkRequest::Read(read));
    let head = RequestHead { op: job.op, deadline_ms: TURN_MS, trace: None, body };
    let stream = link.open(&head, Bytes::new())?;
    let slabs = (grant.len_max as usize).div_ceil(DATA_FRAME_BYTES).clamp(1, SLABS);
    let reservation = job.clock.timeout(STALL, job.budget.reserve(slabs)).await;
    stream.grant(reservation.map_err(|_| Status::new(StatusCode::Busy, "no memory to receive a copy into"))?);
    let (mut sha256, mut len) = (Sha256::new(), 0u32);
    let read = loop {
        let event = job.clock.timeout(STALL, stream.recv()).await;
        match event.map_err(|_| Status::new(StatusCode::DeadlineExceeded, "the source stood still"))?? {
            Event::Data(frame) => {
                sha256.update(&frame.bytes);
                len = len.saturating_add(u32::try_from(frame.bytes.len()).unwrap_or(u32::MAX));
                disk.wait(writer.write(frame.bytes.clone(), frame.block_crcs())).await?;
            }
            Event::Response(Response::Chunk(ChunkResponse::Read(read)), _) => break read,
            Event::Response(..) | Event::End(_) => {
                return Err(Status::new(StatusCode::ProtocolViolation, "the source answered something else"));
            }
        }
    };
    let sha256: [u8; 32] = sha256.finalize().into();
    if (len, sha256) != (read.chunk_len, read.chunk_sha256) {
        let text = "what the source sent is not the chunk it announced";
        return Err(Status::new(StatusCode::ChecksumMismatch, text).about_chunk(grant.chunk));
    }
    let facts = read.facts.map(|facts| *facts).filter(|facts| facts.suit(len)).unwrap_or_default();
    disk.wait(writer.commit(ChunkSeal { len, sha256 }, facts)).await?;
    job.authority.sign(grant.chunk_key(), len, sha256)
}
