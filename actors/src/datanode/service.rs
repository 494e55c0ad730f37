//! From request to answer on a datanode.

use std::sync::Arc;
use std::time::Duration;

use crate::watch;
use dfs_wire::Bytes;
use dfs_wire::auth::{Grant, GrantOp, Mac};
use dfs_wire::handshake::{Hello, Peer, Welcome};
use dfs_wire::id::{ChunkKey, OpId};
use dfs_wire::identity::KeyDigest;
use dfs_wire::limits::{CHUNK_BYTES_MAX, DATA_FRAME_BYTES, REPLICATION_MAX};
use dfs_wire::link::{Incoming, Stream};
use dfs_wire::message::admin::{AdminRequest, AdminResponse, GarbageKind, GcBegun, RunGc, ScrubStatus};
use dfs_wire::message::chunk::{
    ChunkRequest, ChunkResponse, ChunkVerified, ReadChunk, VerifyChunk, WriteChunk,
};
use dfs_wire::message::replication::{CopyChunk, Replicate, ReplicationRequest, ReplicationResponse};
use dfs_wire::message::{Request, Response, ResponseHead};
use dfs_wire::slab::{Reservation, SlabBudget};
use dfs_wire::status::{Status, StatusCode};
use dfs_wire::version::ProtocolVersion;
use futures_util::future::BoxFuture;

use super::BUSY_PAUSE_MS;
use super::courtesy::Courtesy;
use super::reads::{Reads, in_time};
use crate::budgets::STREAMING_MAILBOX;
use crate::datanode::authority::Authority;
use crate::datanode::chunk_store::{ChunkStore, StoreError};
use crate::datanode::heartbeat::CopyFault;
use crate::datanode::quarantine::QuarantineMsg;
use crate::datanode::reads::ReadPlaces;
use crate::datanode::replication::{CopyJob, copy_chunk};
use crate::datanode::scrub::ScrubMsg;
use crate::datanode::streaming::{
    Admitted, Origin, Streaming, StreamingArgs, Turn, Turns, UploadLimits, WriteOrder,
};
use crate::env::Clock;
use crate::peer::admin::NodeAdmin;
use crate::peer::links::LinksMsg;
use crate::peer::session::{PeerInfo, Service};
use crate::supervisor::{Addr, AskError, Berth, Nursery, Reply};

/// Patience with a disk that checks a whole chunk: 64 MiB, at 1 MiB/s.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(64);
/// How long a copy that the coordinator orders waits for its turn. With the link and the rest it leaves most of the 90 s that the
/// coordinator gives it: 64 MiB at 1 MiB/s.
const COPY_WAITS: Duration = Duration::from_secs(15);
/// Patience with the actor of the quarantine, which waits for no disk itself.
const QUARANTINE_TIMEOUT: Duration = Duration::from_secs(5);

/// Bounds of a datanode's service.
#[derive(Debug, Clone, Copy)]
pub struct DatanodeLimits {
    /// Bounds of each upload.
    pub upload: UploadLimits,
    /// Slabs an upload would like; it gets at least one.
    pub window_slabs: usize,
    /// Patience with an upload that waits for memory or a free place.
    pub prepare_timeout: Duration,
    /// Reads served at once; more wait.
    pub reads_max: usize,
    /// Large uploads served at once; more wait. Few large chunks at a time end soon and together;
    /// many would each take so long that the slowest of their copies count as stragglers.
    pub bulk_uploads_max: usize,
}

/// What the service is made of.
pub struct DatanodeParts {
    /// Where chunks are read and written.
    pub store: Arc<dyn ChunkStore>,
    /// Grants and receipts.
    pub authority: Arc<dyn Authority>,
    /// Memory for uploads from clients.
    pub ingest: SlabBudget,
    /// Memory for copies from primaries. Apart from the other, so that primaries that wait for each other cannot
    /// hold what both need.
    pub replica: SlabBudget,
    /// Where uploads from clients live.
    pub uploads: Nursery,
    /// Where copies from primaries live.
    pub copies: Nursery,
    /// Links to peers.
    pub links: Addr<LinksMsg>,
    /// Who purges the quarantine.
    pub quarantine: Addr<QuarantineMsg>,
    /// Who is told of copies that are not as the coordinator thinks.
    pub found: Arc<dyn Fn(ChunkKey, CopyFault) + Send + Sync>,
    /// The scrub, and how it does.
    pub scrub: (Addr<ScrubMsg>, watch::Receiver<ScrubStatus>),
    /// Name, actors, uptime.
    pub admin: NodeAdmin,
    /// Bounds; what they are when a request comes counts for it. Reads at once are fixed at the start.
    pub limits: watch::Receiver<DatanodeLimits>,
    /// What is waited by.
    pub clock: Arc<dyn Clock>,
}

/// Serves the data requests of clients and peers.
pub struct DatanodeService {
    parts: DatanodeParts,
    reads: ReadPlaces,
    turns: UploadTurns,
    courtesy: Courtesy,
}

/// Places for uploads from clients.
struct UploadTurns {
    /// All of them.
    all: Turns,
    /// Those of large chunks among them.
    bulk: Turns,
}

impl DatanodeService {
    /// A service of these parts.
    pub fn new(parts: DatanodeParts) -> Self {
        let DatanodeLimits { reads_max, bulk_uploads_max, .. } = *parts.limits.borrow();
        let turns = |max| Turns::new(max, parts.clock.clone());
        let turns = UploadTurns { all: turns(parts.uploads.max()), bulk: turns(bulk_uploads_max) };
        let reads = ReadPlaces::new(reads_max, parts.clock.clone());
        let written = [parts.uploads.clone(), parts.copies.clone()];
        let writing = move || written.iter().any(|nursery| nursery.taken() > 0);
        let courtesy = Courtesy::new(parts.clock.clone(), Arc::new(writing));
        Self { parts, reads, turns, courtesy }
    }

    fn limits(&self) -> DatanodeLimits {
        *self.parts.limits.borrow()
    }

    /// Uploads and copies under way here.
    pub fn writes_open(&self) -> u32 {
        u32::try_from(self.parts.uploads.taken() + self.parts.copies.taken()).unwrap_or(u32::MAX)
    }

    /// Reads under way here, those included whose last bytes the sockets have not taken.
    pub fn reads_open(&self) -> u32 {
        u32::try_from(self.reads.taken()).unwrap_or(u32::MAX)
    }

    /// The places that requests share here: name, how many, held, and how many requests wait for one.
    pub fn places(&self) -> [(&'static str, usize, usize, usize); 4] {
        let UploadTurns { all, bulk } = &self.turns;
        [
            ("reads", self.reads.max(), self.reads.taken(), self.reads.waiting()),
            ("uploads", all.max(), all.taken(), all.waiting()),
            ("bulk_uploads", bulk.max(), bulk.taken(), bulk.waiting()),
            self.courtesy.places(),
        ]
    }

    /// Whether a request waits for a place here: whoever reads for nobody lets it go first.
    pub fn is_pressed(&self) -> bool {
        // Copies that are ordered wait for clients themselves.
        let [reads, uploads, bulk, _ordered] = self.places();
        [reads, uploads, bulk].iter().any(|(.., waiting)| *waiting > 0)
    }

    /// How the scrub does, as it last showed it: when it did something, or kept its cursor.
    pub fn scrub_status(&self) -> ScrubStatus {
        self.parts.scrub.1.borrow().clone()
    }

    async fn ask_scrub<T: Send + 'static>(
        &self,
        asker: &Asker,
        question: impl FnOnce(Reply<T>) -> ScrubMsg,
    ) -> Result<T, Status> {
        let asked = self.parts.scrub.0.ask(question, asker.patience(self.limits().prepare_timeout)).await;
        let busy = |error| Status::new(StatusCode::Busy, format!("the scrub does not answer: {error}"));
        asked.map_err(|error| busy(error).retry_after_ms(BUSY_PAUSE_MS))
    }

    async fn dispatch(&self, peer: &PeerInfo, incoming: Incoming) {
        let Incoming { head, tail, stream } = incoming;
        drop(tail);
        if self.parts.admin.is_draining() && !matches!(head.body, Request::Admin(_)) {
            return self.refuse(&stream, Status::new(StatusCode::Unavailable, "the node is draining")).await;
        }
        let asker = Asker { op: head.op, session: peer.session, deadline_ms: head.deadline_ms };
        let answer: ResponseHead = match head.body {
            Request::Chunk(ChunkRequest::Write(write)) => return self.write(&asker, write, stream).await,
            Request::Replication(ReplicationRequest::Replicate(copy)) => {
                return self.replicate(&asker, copy, stream).await;
            }
            Request::Chunk(ChunkRequest::Read(read)) => {
                let for_client = matches!(peer.peer, Peer::Client(_));
                self.read(&asker, &read, for_client, &stream).await
            }
            Request::Chunk(ChunkRequest::Verify(verify)) => self.verify(&asker, &verify).await,
            Request::Replication(ReplicationRequest::Copy(copy)) => self.copy(&asker, copy).await,
            Request::Admin(
                request @ (AdminRequest::NodeInfo | AdminRequest::Actors | AdminRequest::Chaos(_)),
            ) => self.parts.admin.answer(&request).map(Response::Admin),
            Request::Admin(AdminRequest::GcStatus) => self.gc_status().await.map(Response::Admin),
            Request::Admin(AdminRequest::RunGc(word)) => self.run_gc(word).await.map(Response::Admin),
            Request::Admin(AdminRequest::ScrubStatus) => {
                let status = self.ask_scrub(&asker, ScrubMsg::Status).await;
                status.map(|status| Response::Admin(AdminResponse::ScrubStatus(Box::new(status))))
            }
            Request::Admin(AdminRequest::ScrubStart(pace)) => {
                let round = self.ask_scrub(&asker, |reply| ScrubMsg::Start(pace, reply)).await;
                round.map(|round| Response::Admin(AdminResponse::ScrubStarted(round)))
            }
            other => Err(unsupported(&format!("{} is answered by the coordinator", other.name()))),
        };
        let answer = answer.map_err(|status| status.at_node(self.parts.authority.node()));
        if let Err(status) = &answer {
            tracing::info!(%status, "request failed");
        }
        if let Err(status) = stream.respond(answer, Bytes::new()).await {
            tracing::debug!(%status, "nobody to answer");
        }
    }

    async fn write(&self, asker: &Asker, word: WriteChunk, stream: Stream) {
        let checked = self.check_upload(&word);
        let order = WriteOrder::of_client(asker.op, word);
        self.upload(asker, checked.map(|()| order), stream, &self.parts.uploads, &self.parts.ingest).await;
    }

    async fn replicate(&self, asker: &Asker, word: Replicate, stream: Stream) {
        let checked = self.check_store(&word.grant, &word.mac, GrantOp::Write);
        let order = WriteOrder::of_primary(asker.op, word);
        self.upload(asker, checked.map(|()| order), stream, &self.parts.copies, &self.parts.replica).await;
    }

    fn check_upload(&self, write: &WriteChunk) -> Result<(), Status> {
        self.check_store(&write.grant, &write.mac, GrantOp::Write)?;
        let copies = write.replicas.len() + 1;
        let mut nodes: Vec<_> =
            write.replicas.iter().map(|t| t.node).chain([self.parts.authority.node()]).collect();
        nodes.sort_unstable();
        nodes.dedup();
        if nodes.len() != copies || copies > usize::from(REPLICATION_MAX) {
            return Err(Status::new(
                StatusCode::InvalidArgument,
                "the copies must be on distinct nodes, seven at most",
            ));
        }
        Ok(())
    }

    fn check_store(&self, grant: &Grant, mac: &Mac, op: GrantOp) -> Result<(), Status> {
        self.parts.authority.check(grant, mac, op)?;
        if grant.len_max > CHUNK_BYTES_MAX {
            let text = format!("a chunk of {} bytes is too long", grant.len_max);
            return Err(Status::new(StatusCode::InvalidArgument, text));
        }
        Ok(())
    }

    /// Starts a streaming session once there is a place and memory for it, or says why not.
    async fn upload(
        &self,
        asker: &Asker,
        order: Result<WriteOrder, Status>,
        stream: Stream,
        places: &Nursery,
        budget: &SlabBudget,
    ) {
        let admitted = match order {
            Ok(order) => self.admit(asker, &order, places, budget).await.map(|room| (order, room)),
            Err(status) => Err(status),
        };
        let (order, UploadRoom { berth, reservation, turns }) = match admitted {
            Ok(admitted) => admitted,
            Err(status) => return self.refuse(&stream, status).await,
        };
        let name = order.grant.chunk.to_string();
        let admitted = Admitted { order, stream, reservation, turns };
        let parts = &self.parts;
        let (store, authority, links) = (parts.store.clone(), parts.authority.clone(), parts.links.clone());
        let args = StreamingArgs::new(admitted, store, authority, links, self.limits().upload);
        // If the supervisor is down the arguments are dropped with the stream in them, which resets it.
        if let Err(error) = berth.start::<Streaming>(&name, args, STREAMING_MAILBOX).await {
            tracing::warn!(%error, "no streaming session could be started");
        }
    }

    /// Waits for a place, then for memory: what the chunk can use, up to the window, as far as others leave it. In this
    /// order, so that whoever waits for a place holds no memory.
    async fn admit(
        &self,
        asker: &Asker,
        order: &WriteOrder,
        places: &Nursery,
        budget: &SlabBudget,
    ) -> Result<UploadRoom, Status> {
        let limits = self.limits();
        let patience = asker.patience(limits.prepare_timeout);
        let busy = |text: String| Status::new(StatusCode::Busy, text).retry_after_ms(BUSY_PAUSE_MS);
        let mut turns = vec![];
        // Copies are not held back: their primaries were.
        if order.origin == Origin::Client {
            let kinds =
                [(order.is_bulk(), &self.turns.bulk, "large uploads"), (true, &self.turns.all, "uploads")];
            for (_, kind, name) in kinds.into_iter().filter(|(needed, ..)| *needed) {
                let turn = kind.enter(asker.session, patience).await;
                let late = || {
                    busy(format!("{} {name} are under way here, and {} wait", kind.taken(), kind.waiting()))
                };
                turns.push(turn.ok_or_else(late)?);
            }
        }
        let berth = places.reserve(patience).await.map_err(|e| busy(e.to_string()))?;
        let useful = (order.len_hint as usize).div_ceil(DATA_FRAME_BYTES).max(1);
        match self.parts.clock.timeout(patience, budget.reserve(useful.min(limits.window_slabs))).await {
            Ok(reservation) => Ok(UploadRoom { berth, reservation, turns }),
            Err(_) => {
                let (free, total) = (budget.available(), budget.total());
                Err(busy(format!("no memory for another upload: {free} of {total} slabs free")))
            }
        }
    }

    async fn refuse(&self, stream: &Stream, status: Status) {
        let status = status.at_node(self.parts.authority.node());
        tracing::info!(%status, "request refused");
        if let Err(gone) = stream.respond(Err(status), Bytes::new()).await {
            tracing::debug!(status = %gone, "nobody to answer");
        }
    }

    async fn read(&self, asker: &Asker, read: &ReadChunk, for_client: bool, stream: &Stream) -> ResponseHead {
        self.parts.authority.check(&read.grant, &read.mac, GrantOp::Read)?;
        let _served = for_client.then(|| self.courtesy.serves());
        let limits = self.limits();
        let reads = Reads {
            store: self.parts.store.as_ref(),
            authority: self.parts.authority.as_ref(),
            places: &self.reads,
            patience: asker.patience(limits.prepare_timeout),
            stall: limits.upload.idle,
            disk: limits.upload.answer,
        };
        let done = reads.send_range(read, stream).await;
        self.report(read.grant.chunk_key(), &done);
        done.map(|read| Response::Chunk(ChunkResponse::Read(read)))
    }

    /// Tells the coordinator of a copy that was just found bad, or not found.
    fn report<T>(&self, key: ChunkKey, outcome: &Result<T, Status>) {
        match outcome.as_ref().err().map(|status| status.code) {
            Some(StatusCode::Corrupt) => (self.parts.found)(key, CopyFault::Corrupt),
            Some(StatusCode::NotFound) => (self.parts.found)(key, CopyFault::Missing),
            _ => {}
        }
    }

    async fn verify(&self, asker: &Asker, verify: &VerifyChunk) -> ResponseHead {
        self.parts.authority.check(&verify.grant, &verify.mac, GrantOp::Read)?;
        let key = verify.grant.chunk_key();
        let failed = |e: StoreError| e.status(self.parts.authority.node());
        // A whole chunk is read for it, so it takes its turn among the reads.
        let place = self.reads.enter(asker.patience(self.limits().prepare_timeout)).await?;
        let store = self.parts.store.clone();
        let check = self.reads.work(place, async move { store.verify(key).await });
        let checked = async { check.await?.map_err(failed) };
        let verified = in_time(&self.parts.clock, VERIFY_TIMEOUT, checked)
            .await
            .map_err(|status| status.about_chunk(key.chunk));
        self.report(key, &verified);
        let info = verified?;
        Ok(Response::Chunk(ChunkResponse::Verified(ChunkVerified { len: info.len, sha256: info.sha256 })))
    }

    /// What is in quarantine here, and until when.
    async fn gc_status(&self) -> Result<AdminResponse, Status> {
        let told = self.parts.quarantine.ask(QuarantineMsg::Look, QUARANTINE_TIMEOUT).await;
        told.map(|garbage| AdminResponse::GcStatus(vec![garbage])).map_err(unanswered)
    }

    /// Lets a round of purging begin at once. What is old enough goes, and nothing else; how much that is, is known afterwards.
    async fn run_gc(&self, word: RunGc) -> Result<AdminResponse, Status> {
        if word.kind != GarbageKind::Quarantined {
            let text = format!("what is {} is the coordinator's to collect", word.kind.name());
            return Err(
                Status::new(StatusCode::InvalidArgument, text).hint("a datanode purges what is quarantined")
            );
        }
        if !word.dry_run {
            let begun = self.parts.quarantine.ask(QuarantineMsg::Begin, QUARANTINE_TIMEOUT).await;
            begun.map_err(unanswered)?;
        }
        Ok(AdminResponse::GcBegun(GcBegun { due: None, more: false }))
    }

    async fn copy(&self, asker: &Asker, request: CopyChunk) -> ResponseHead {
        self.check_store(&request.grant, &request.mac, GrantOp::Copy)?;
        let place = self.courtesy.enter(asker.patience(COPY_WAITS)).await;
        let busy =
            || Status::new(StatusCode::Busy, "other copies are made here").retry_after_ms(BUSY_PAUSE_MS);
        let place = place.ok_or_else(busy)?;
        let copied = self.fetch(asker.op, request).await;
        place.rest().await;
        copied
    }

    async fn fetch(&self, op: OpId, request: CopyChunk) -> ResponseHead {
        let parts = &self.parts;
        let (store, authority, links) = (parts.store.clone(), parts.authority.clone(), parts.links.clone());
        let job = CopyJob {
            op,
            request,
            store,
            authority,
            links,
            budget: parts.replica.clone(),
            clock: parts.clock.clone(),
        };
        copy_chunk(job).await.map(|receipt| Response::Replication(ReplicationResponse::Stored(receipt)))
    }
}

fn unanswered(error: AskError) -> Status {
    Status::new(StatusCode::Unavailable, format!("the quarantine did not answer: {error}; nothing was done"))
        .hint("try again in a moment")
}

/// What an upload needs to begin.
struct UploadRoom {
    berth: Berth,
    reservation: Reservation,
    turns: Vec<Turn>,
}

/// Who asks, and how long he waits.
struct Asker {
    op: OpId,
    session: u64,
    deadline_ms: u32,
}

impl Asker {
    fn patience(&self, limit: Duration) -> Duration {
        match self.deadline_ms {
            0 => limit,
            millis => limit.min(Duration::from_millis(millis.into())),
        }
    }
}

impl Service for DatanodeService {
    fn welcome<'a>(
        &'a self,
        hello: &'a Hello,
        version: ProtocolVersion,
        session: u64,
    ) -> BoxFuture<'a, Result<Welcome, Status>> {
        let cluster = self.parts.authority.cluster().ok();
        let welcome = match (hello.cluster, cluster) {
            (Some(theirs), Some(ours)) if theirs != ours => Err(Status::new(
                StatusCode::WrongCluster,
                format!("this node belongs to cluster {ours}, not to {theirs}"),
            )),
            _ if matches!(hello.peer, Peer::Newcomer(_)) => {
                Err(unsupported("certificates are given out by the coordinator"))
            }
            _ => Ok(self.parts.admin.welcome(cluster, version, session)),
        };
        Box::pin(std::future::ready(welcome))
    }

    fn is_revoked(&self, key: &KeyDigest) -> bool {
        self.parts.authority.is_revoked(key)
    }

    fn serve(self: Arc<Self>, peer: Arc<PeerInfo>, incoming: Incoming) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            if let Some(status) = not_from(&peer.peer, &incoming.head.body) {
                return self.refuse(&incoming.stream, status).await;
            }
            self.dispatch(&peer, incoming).await;
        })
    }
}

fn unsupported(text: &str) -> Status {
    Status::new(StatusCode::Unsupported, format!("{text}, not by a datanode"))
}

/// Why a peer may not ask for this, if it may not. A primary's SHA-256 is trusted, since it has checked it; a client's is not:
/// it goes through a primary. Only the coordinator has copies made that no client asked for.
fn not_from(peer: &Peer, body: &Request) -> Option<Status> {
    let text = match (body, peer) {
        (Request::Replication(ReplicationRequest::Replicate(_)), Peer::Datanode(_)) => return None,
        (Request::Replication(ReplicationRequest::Copy(_)), Peer::Coordinator(_)) => return None,
        (Request::Replication(ReplicationRequest::Replicate(_)), _) => {
            "only a datanode may forward a chunk; clients write to a primary"
        }
        (Request::Replication(ReplicationRequest::Copy(_)), _) => {
            "only the coordinator may have a chunk copied"
        }
        _ => return None,
    };
    Some(Status::new(StatusCode::PermissionDenied, text))
}
