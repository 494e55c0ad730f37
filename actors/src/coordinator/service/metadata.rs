//! Requests about the namespace: validated, placed, handed to the writer or answered from committed metadata.

use std::sync::Arc;

use dfs_wire::id::{ChunkKey, NodeId, OpId};
use dfs_wire::limits::{CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, CHUNKS_PER_REQUEST_MAX, REPLICATION_MAX};
use dfs_wire::message::membership::NodeState;
use dfs_wire::message::metadata::{
    AllocateChunks, Allocated, Allocation, ChunkExplanation, CopyEvent, Deleted, Explain, Explained, Fsck,
    FsckKind, FsckProblem, FsckStep, LeaseLeft, MetadataRequest, MetadataResponse, OpenRead, OpenUpload,
    PlacementReason, ReadOpened, StoredChunk, TrashPage, UploadOpened,
};
use dfs_wire::status::{Status, StatusCode};

use super::dispatch::{Asked, CoordinatorService, refused, unexpected};
use crate::coordinator::census::reaches;
use crate::coordinator::metadata::model::outcome::{AllocatedChunk, OpenedUpload, Outcome};
use crate::coordinator::metadata::model::records::{StoredReason, StoredTurn, UploadSession};
use crate::coordinator::metadata::model::worth::Worth;
use crate::coordinator::metadata::ops::mutation::Mutation;
use crate::coordinator::metadata::ops::transfer::ChunkPlacement;
use crate::coordinator::metadata::reader::{MetadataReader, ReadFor};
use crate::coordinator::metadata::table::error::MetaError;
use crate::coordinator::metadata::table::keys;
use crate::coordinator::metadata::table::view::View;
use crate::coordinator::placement::{NO_SPACE_HINT, PlaceChunks, Placed, PlacementMsg};

/// Orphans that a check of the metadata adds from the inventories.
const ORPHANS_SHOWN: usize = 64;

/// Chunks of an upload that placement is to find nodes for.
struct ChunksToPlace<'a> {
    first: u32,
    count: u32,
    chunk_size: u32,
    size_hint: Option<u64>,
    copies: u8,
    min_ack: u8,
    exclude: &'a [NodeId],
}

fn invalid(text: String) -> Status {
    Status::new(StatusCode::InvalidArgument, text)
}

fn check_count(what: &str, count: usize) -> Result<(), Status> {
    if count > CHUNKS_PER_REQUEST_MAX {
        return Err(invalid(format!("{count} chunks in one {what}, the most are {CHUNKS_PER_REQUEST_MAX}")));
    }
    Ok(())
}

/// Each chunk once, each node once a chunk: the signatures are the writer's to check.
fn check_stored(chunks: &[StoredChunk]) -> Result<(), Status> {
    check_count("record", chunks.len())?;
    for chunk in chunks {
        let mut nodes: Vec<NodeId> = chunk.receipts.iter().map(|r| r.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        if nodes.len() != chunk.receipts.len() || nodes.len() > usize::from(REPLICATION_MAX) {
            return Err(invalid(format!("chunk {} has receipts of the same node, or too many", chunk.index)));
        }
    }
    Ok(())
}

/// The placement as the metadata keeps it: the chosen nodes' reasons first.
fn kept(placed: Placed) -> ChunkPlacement {
    let (mut reasons, passed): (Vec<_>, Vec<_>) =
        placed.reasons.into_iter().partition(|reason| reason.chosen);
    reasons.sort_by_key(|reason| placed.nodes.iter().position(|node| *node == reason.node));
    let stored =
        |r: PlacementReason| StoredReason { node: r.node, chosen: r.chosen, rule: r.rule, detail: r.detail };
    ChunkPlacement { nodes: placed.nodes, reasons: reasons.into_iter().chain(passed).map(stored).collect() }
}

impl CoordinatorService {
    pub(super) async fn metadata(
        self: &Arc<Self>,
        asked: &Asked,
        request: MetadataRequest,
    ) -> Result<MetadataResponse, Status> {
        if request.is_mutation() && asked.op == OpId(0) {
            return Err(invalid(format!("{} needs an operation id", request.name())));
        }
        match request {
            MetadataRequest::Stat(_)
            | MetadataRequest::List(_)
            | MetadataRequest::TrashList(_)
            | MetadataRequest::DiskUsage(_)
            | MetadataRequest::OpenRead(_)
            | MetadataRequest::Explain(_)
            | MetadataRequest::Fsck(_)
            | MetadataRequest::FindUploads(_)
            | MetadataRequest::UploadedChunks(_) => {
                self.apart(ReadFor::Requests, asked, move |service, reader| service.look(reader, request))
                    .await
            }
            MetadataRequest::OpenUpload(r) => self.open_upload(asked, r).await,
            MetadataRequest::AllocateChunks(r) => self.allocate(asked, r).await,
            other => self.change_names(asked, other).await,
        }
    }

    /// What only reads: from the state after the last commit.
    fn look(&self, reader: &MetadataReader, request: MetadataRequest) -> Result<MetadataResponse, MetaError> {
        match request {
            MetadataRequest::Stat(r) => reader.stat(&r.path).map(MetadataResponse::Stat),
            MetadataRequest::List(r) => reader.list(&r).map(MetadataResponse::Listed),
            MetadataRequest::TrashList(r) => {
                reader.trash_list(&r).map(|page| MetadataResponse::Trash(self.dated(page)))
            }
            MetadataRequest::DiskUsage(r) => reader.disk_usage(&r).map(MetadataResponse::DiskUsage),
            MetadataRequest::OpenRead(r) => self.open_read(reader, &r).map(MetadataResponse::ReadOpened),
            MetadataRequest::Explain(r) => self.explain(reader, &r).map(MetadataResponse::Explained),
            MetadataRequest::Fsck(r) => self.fsck(reader, &r).map(MetadataResponse::Fsck),
            MetadataRequest::FindUploads(r) => {
                reader.find_uploads(self.parts.time.now_ms(), &r.path).map(MetadataResponse::Uploads)
            }
            MetadataRequest::UploadedChunks(r) => {
                reader.uploaded_chunks(&r).map(MetadataResponse::UploadedChunks)
            }
            other => {
                Err(MetaError::refused(StatusCode::Internal, format!("{} does not only read", other.name())))
            }
        }
    }

    /// What the writer does with nothing added.
    async fn change_names(
        &self,
        asked: &Asked,
        request: MetadataRequest,
    ) -> Result<MetadataResponse, Status> {
        let mutation = match request {
            MetadataRequest::Mkdir(r) => Mutation::Mkdir(r),
            MetadataRequest::Rename(r) => Mutation::Rename(r),
            MetadataRequest::Delete(r) => Mutation::Delete(r),
            MetadataRequest::Undelete(r) => Mutation::Undelete(r),
            MetadataRequest::TrashPurge(r) => Mutation::TrashPurge(r),
            MetadataRequest::AbortUpload(r) => Mutation::Abort(r),
            MetadataRequest::RenewSession(r) => Mutation::Renew(r),
            MetadataRequest::OpenCopy(r) => Mutation::OpenCopy(r),
            MetadataRequest::CopyChunks(r) => Mutation::CopyChunks(r),
            MetadataRequest::RecordChunks(r) => {
                check_stored(&r.chunks)?;
                self.change(asked, Mutation::Record(r)).await?;
                return Ok(MetadataResponse::Recorded);
            }
            MetadataRequest::CommitUpload(r) => {
                check_stored(&r.chunks)?;
                Mutation::Commit(r)
            }
            other => return Err(invalid(format!("{} is not a change of the namespace", other.name()))),
        };
        match self.change(asked, mutation).await? {
            Outcome::Done => Ok(MetadataResponse::Done),
            Outcome::Deleted(deleted) => {
                let expires_ms = deleted.expires_ms.map(|at| self.parts.time.date(at));
                Ok(MetadataResponse::Deleted(Deleted { expires_ms, ..deleted }))
            }
            Outcome::Restored(stat) => Ok(MetadataResponse::Stat(stat)),
            Outcome::Purged(entries) => Ok(MetadataResponse::Purged(entries)),
            Outcome::Committed(stat) => Ok(MetadataResponse::Committed(stat)),
            Outcome::CopyOpened(opened) => Ok(MetadataResponse::CopyOpened(opened)),
            Outcome::Copied(progress) => Ok(MetadataResponse::CopyProgress(progress)),
            Outcome::Renewed(lease_ms) => Ok(MetadataResponse::Renewed(LeaseLeft { lease_ms })),
            other @ (Outcome::Opened(_) | Outcome::Allocated(_) | Outcome::Progress(_)) => {
                Err(unexpected(&other))
            }
        }
    }

    /// A page of the trash with the dates that people are shown.
    fn dated(&self, mut page: TrashPage) -> TrashPage {
        for item in &mut page.entries {
            item.deleted_ms = self.parts.time.date(item.deleted_ms);
            item.expires_ms = self.parts.time.date(item.expires_ms);
        }
        page
    }

    async fn open_upload(&self, asked: &Asked, request: OpenUpload) -> Result<MetadataResponse, Status> {
        check_count("allocation", request.allocate as usize)?;
        let policy = &self.parts.config.policy;
        let chunk_size = if request.chunk_size == 0 { policy.chunk_size } else { request.chunk_size };
        let copies = if request.replication == 0 { policy.replication } else { request.replication };
        let valid = (CHUNK_BYTES_MIN..=CHUNK_BYTES_MAX).contains(&chunk_size) && copies <= REPLICATION_MAX;
        if valid {
            self.check_room(request.size_hint, copies)?;
        }
        // A request that makes no sense gets no nodes: the writer refuses it, and remembers that it did.
        let placements = if valid && request.allocate > 0 {
            let wanted = ChunksToPlace {
                first: 0,
                count: request.allocate,
                chunk_size,
                size_hint: request.size_hint,
                copies,
                min_ack: policy.min_ack.clamp(1, copies),
                exclude: &[],
            };
            self.place(asked, wanted).await?
        } else {
            Vec::new()
        };
        match self.change(asked, Mutation::OpenUpload(request, placements)).await? {
            Outcome::Opened(opened) => Ok(MetadataResponse::UploadOpened(self.opened(opened))),
            other => Err(unexpected(&other)),
        }
    }

    fn opened(&self, opened: OpenedUpload) -> UploadOpened {
        UploadOpened {
            session: opened.session,
            inode: opened.inode,
            lease_ms: opened.lease_ms,
            chunk_size: opened.chunk_size,
            replication: opened.replication,
            min_ack: opened.min_ack,
            epoch: self.parts.reign.epoch,
            allocations: self.allocations(&opened.allocations),
        }
    }

    /// Refuses early what certainly has no room. What is promised to others is placement's to count.
    fn check_room(&self, size_hint: Option<u64>, copies: u8) -> Result<(), Status> {
        let Some(size) = size_hint else { return Ok(()) };
        let view = self.view();
        let room: Vec<(&str, u64)> = view
            .nodes
            .iter()
            .filter(|n| n.entry.state == NodeState::Up)
            .map(|n| (n.entry.name.as_str(), n.load.available))
            .collect();
        let copies = usize::from(copies).min(room.len());
        let needed = size.saturating_mul(copies as u64);
        let available = room.iter().fold(0, |sum: u64, (_, one)| sum.saturating_add(*one));
        if needed <= available {
            return Ok(());
        }
        // The fullest first: they are what an operator has to look at.
        let mut fullest = room;
        fullest.sort_unstable_by_key(|(_, available)| *available);
        let named: Vec<_> =
            fullest.iter().take(8).map(|(name, available)| format!("{name} {available}")).collect();
        let text = format!(
            "{needed} bytes are needed for {copies} copies, the datanodes have {available} left: {}",
            named.join(", ")
        );
        Err(Status::new(StatusCode::NoSpace, text).hint(NO_SPACE_HINT))
    }

    async fn allocate(
        self: &Arc<Self>,
        asked: &Asked,
        request: AllocateChunks,
    ) -> Result<MetadataResponse, Status> {
        check_count("allocation", request.count as usize)?;
        let session = request.session;
        let key = keys::session(session);
        let load =
            move |_: &Self, reader: &MetadataReader| reader.read(|view| view.load::<UploadSession>(&key));
        let placements = match self.apart(ReadFor::Requests, asked, load).await? {
            Some(upload) => {
                let wanted = ChunksToPlace {
                    first: request.first,
                    count: request.count,
                    chunk_size: upload.chunk_size,
                    size_hint: None,
                    copies: upload.replication,
                    min_ack: upload.min_ack,
                    exclude: &request.exclude,
                };
                self.place(asked, wanted).await?
            }
            // The writer says why.
            None => (0..request.count).map(|_| ChunkPlacement::default()).collect(),
        };
        match self.change(asked, Mutation::Allocate(request, placements)).await? {
            Outcome::Allocated(chunks) => {
                Ok(MetadataResponse::Allocated(Allocated { allocations: self.allocations(&chunks) }))
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn place(&self, asked: &Asked, wanted: ChunksToPlace<'_>) -> Result<Vec<ChunkPlacement>, Status> {
        let size = u64::from(wanted.chunk_size);
        let of_chunk = |index: u32| match wanted.size_hint {
            Some(hint) => hint.saturating_sub(u64::from(index) * size).clamp(1, size),
            None => size,
        };
        let last = wanted.first.saturating_add(wanted.count);
        let request = PlaceChunks {
            bytes: (wanted.first..last).map(of_chunk).collect(),
            copies: wanted.copies,
            min_ack: wanted.min_ack,
            exclude: wanted.exclude.to_vec(),
        };
        let question = |reply| PlacementMsg::Place(request, reply);
        let placed = self.parts.placement.ask(question, self.left(asked)).await;
        let placed = placed.map_err(|error| refused("placement", error))??;
        Ok(placed.into_iter().map(kept).collect())
    }

    fn allocations(&self, chunks: &[AllocatedChunk]) -> Vec<Allocation> {
        let view = self.view();
        let expires_ms = self.expiry(self.parts.config.write_grant);
        chunks.iter().map(|chunk| self.parts.signer.allocation(&view, chunk, expires_ms)).collect()
    }

    fn expiry(&self, lasts: std::time::Duration) -> u64 {
        let lasts = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
        self.parts.time.now_ms().saturating_add(lasts)
    }

    fn open_read(&self, reader: &MetadataReader, request: &OpenRead) -> Result<ReadOpened, MetaError> {
        let page = reader.open_read(request)?;
        let view = self.view();
        let expires_ms = self.expiry(self.parts.config.read_grant);
        let chunks =
            page.chunks.iter().map(|chunk| self.parts.signer.location(&view, chunk, expires_ms)).collect();
        Ok(ReadOpened {
            stat: page.stat,
            lease_ms: self.parts.config.policy.read_lease_ms,
            chunks,
            sha256: page.sha256,
        })
    }

    fn explain(&self, reader: &MetadataReader, request: &Explain) -> Result<Explained, MetaError> {
        let page = reader.explain(request)?;
        let view = self.view();
        let expires_ms = self.expiry(self.parts.config.read_grant);
        let reason = |r: &StoredReason| PlacementReason {
            node: r.node,
            name: view.name(r.node),
            chosen: r.chosen,
            rule: r.rule.clone(),
            detail: r.detail.clone(),
        };
        let turn = |turn: &StoredTurn| CopyEvent {
            at_ms: turn.at_ms,
            node: turn.node,
            name: view.name(turn.node),
            turn: turn.turn,
        };
        let explained = page.chunks.iter().map(|(chunk, kept)| ChunkExplanation {
            index: chunk.index,
            chunk: chunk.chunk,
            generation: chunk.generation,
            len: chunk.len,
            sha256: chunk.sha256,
            references: chunk.references,
            health: {
                let copies = chunk.copies.iter().map(|copy| (copy.node, copy.state));
                Worth::of(chunk.wanted, copies, &reaches(&view, self.parts.time.now_ms())).health()
            },
            replicas: self.parts.signer.location(&view, chunk, expires_ms).replicas,
            reasons: kept.reasons.iter().map(reason).collect(),
            placed_ms: kept.placed_ms,
            life: kept.life.iter().map(turn).collect(),
            life_forgotten: kept.forgotten,
        });
        Ok(Explained { chunks: explained.collect(), stat: page.stat, next: page.next })
    }

    /// A step of checking; the last one adds what the inventories say and the tables cannot.
    fn fsck(&self, reader: &MetadataReader, request: &Fsck) -> Result<FsckStep, MetaError> {
        let view = self.view();
        let mut step = reader.fsck(request, &reaches(&view, self.parts.time.now_ms()))?;
        if step.next.is_none() {
            let orphan = |(node, key): (NodeId, ChunkKey)| FsckProblem {
                kind: FsckKind::Orphan,
                path: None,
                chunk: Some(key.chunk),
                node: Some(node),
                detail: format!(
                    "nothing refers to it, and {} does not put it into quarantine; see its health",
                    view.name(node)
                ),
            };
            step.problems
                .extend(self.parts.examiner.reports.stubborn_orphans(ORPHANS_SHOWN).into_iter().map(orphan));
        }
        Ok(step)
    }
}
