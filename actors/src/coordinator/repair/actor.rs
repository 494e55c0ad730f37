//! The repairer: looks, reads, and has nodes do what [`super::plan`] says.

use std::sync::Arc;
use std::time::Duration;

use dfs_wire::auth::{Grant, GrantOp, Receipt};
use dfs_wire::id::{ChunkId, ChunkKey, NodeId, OpId};
use dfs_wire::message::chunk::{ChunkRequest, ChunkResponse, Target, VerifyChunk};
use dfs_wire::message::metadata::CopyCause;
use dfs_wire::message::replication::{CopyChunk, ReplicationRequest, ReplicationResponse};
use dfs_wire::message::{Request, Response};
use dfs_wire::status::{Status, StatusCode};

use super::caution::{is_heard, mass_failure, unheard};
use super::errands::{Errands, NodeAddress};
use super::look::step;
use super::messages::RepairMsg;
use super::places::Effort;
use super::plan::{Outlook, Remedy};
use super::state::{ErrandEnd, Look, RepairConfig, RepairState};
use super::tally::{RepairHealth, Repaired};
use super::wishes::{WishReceiver, Wishes};
use crate::coordinator::census::Counted;
use crate::coordinator::membership::{ClusterView, ViewReceiver};
use crate::coordinator::metadata::model::outcome::Outcome;
use crate::coordinator::metadata::model::records::ChunkRecord;
use crate::coordinator::metadata::model::time::ReignClock;
use crate::coordinator::metadata::ops::inventory::{CopyChange, CopyFinding};
use crate::coordinator::metadata::ops::mutation::Mutation;
use crate::coordinator::metadata::ops::surplus::CopyDrop;
use crate::coordinator::metadata::reader::{MetadataReader, MetadataReads, ReadFor};
use crate::coordinator::metadata::table::keys;
use crate::coordinator::metadata::table::view::View as _;
use crate::coordinator::metadata::writer::WriterMsg;
use crate::coordinator::placement::{PlaceChunks, PlacementMsg};
use crate::coordinator::signer::Signer;
use crate::supervisor::{ActorError, Addr, AskError, Behaviour, Ctx};
use crate::watch;

/// Patience with one read, with placement and with the writer.
const STEP_WITHIN: Duration = Duration::from_secs(20);
/// Patience with one errand: 64 MiB at 1 MiB/s, and the waits of both nodes.
const ERRAND_WITHIN: Duration = Duration::from_secs(90);
/// How long the leave lasts that a node is given for it.
const GRANT_MS: u64 = 2 * 90_000;
/// How often the machine is asked.
const TICK: Duration = Duration::from_millis(500);

/// What the actor is built from.
#[derive(Clone)]
pub(crate) struct RepairArgs {
    pub(crate) config: RepairConfig,
    pub(crate) reads: MetadataReads,
    pub(crate) view: ViewReceiver,
    pub(crate) census: watch::Receiver<Counted>,
    pub(crate) time: ReignClock,
    pub(crate) writer: Addr<WriterMsg>,
    pub(crate) placement: Addr<PlacementMsg>,
    pub(crate) signer: Arc<Signer>,
    pub(crate) errands: Errands,
    pub(crate) health: Arc<RepairHealth>,
    pub(crate) wishes: WishReceiver,
}

/// Makes up what is missing of copies.
pub(crate) struct Repair {
    args: RepairArgs,
    state: RepairState,
}

impl Repair {
    fn proceed(&mut self, ctx: &mut Ctx<RepairMsg>) {
        let (view, now) = (self.args.view.borrow().clone(), ctx.now());
        let (census, now_ms) = (self.args.census.borrow().clone(), self.args.time.now_ms());
        self.state.begin(now, is_heard(&view, now_ms, &census));
        if let Some(look) = self.state.look() {
            self.look(look, ctx);
        }
        loop {
            let batch = self.state.batch(now);
            if batch.is_empty() {
                break;
            }
            self.read(batch, ctx);
        }
        let waits_for = if self.state.is_settling() { unheard(&view, now_ms) } else { Vec::new() };
        let failure = mass_failure(&view, &self.args.wishes.borrow().leaving, now_ms);
        self.args.health.is_at(waits_for, failure, self.state.load());
    }

    /// Reads the records of chunks that are to be seen to.
    fn read(&self, batch: Vec<ChunkId>, ctx: &mut Ctx<RepairMsg>) {
        let (reads, chunks) = (self.args.reads.clone(), batch.clone());
        let question = move |reader: &MetadataReader| {
            reader.read(|rows| {
                let record = |chunk: &ChunkId| rows.load(&keys::chunk(*chunk));
                chunks.iter().map(record).collect::<Result<Vec<Option<ChunkRecord>>, _>>()
            })
        };
        let task = async move { reads.ask(ReadFor::Health, STEP_WITHIN, question).await };
        ctx.spawn_then(task, move |read| RepairMsg::Read(batch, read));
    }

    fn look(&mut self, look: Look, ctx: &mut Ctx<RepairMsg>) {
        let args = self.args.clone();
        let (view, wishes) = (args.view.borrow().clone(), args.wishes.borrow().clone());
        let reads = args.reads.clone();
        let question = move |reader: &MetadataReader| {
            reader.read(|rows| step(rows, &outlook(&args, &view, &wishes), &look))
        };
        let task = async move { reads.ask(ReadFor::Health, STEP_WITHIN, question).await };
        ctx.spawn_then(task, RepairMsg::Looked);
    }

    /// Begins what is to be done about a chunk, by its record of now.
    fn begin(&mut self, chunk: ChunkId, record: &ChunkRecord, ctx: &mut Ctx<RepairMsg>) {
        let (view, now) = (self.args.view.borrow().clone(), ctx.now());
        let wishes = self.args.wishes.borrow().clone();
        let outlook = outlook(&self.args, &view, &wishes);
        let urgency = outlook.urgency(chunk, record).unwrap_or(0);
        let Some(remedy) = outlook.remedy(chunk, record, &|node| self.state.busy(node)) else {
            return self.state.ended(now, chunk, ErrandEnd::Done);
        };
        let nodes: Vec<NodeId> = match &remedy {
            Remedy::Verify(node) => vec![*node],
            Remedy::Copy { sources, .. } => sources.first().copied().into_iter().collect(),
            Remedy::Keep(_) | Remedy::Drop(..) => vec![],
        };
        let copies = matches!(remedy, Remedy::Copy { .. });
        let effort = Effort { nodes, bytes: record.len.into(), copies };
        if !self.state.begin_errand(now, (urgency, chunk), effort) {
            return;
        }
        let keep = outlook.keepers(record);
        let errand =
            Errand { args: self.args.clone(), view: view.clone(), chunk, record: record.clone(), keep };
        ctx.spawn_then(errand.run(remedy, OpId(ctx.env().rng.u128())), move |done| {
            RepairMsg::Ended(chunk, done)
        });
    }
}

fn outlook<'a>(args: &RepairArgs, view: &'a ClusterView, wishes: &'a Wishes) -> Outlook<'a> {
    let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let now_ms = args.time.now_ms();
    Outlook {
        view,
        now_ms,
        grace_ms: ms(args.config.grace),
        settle_ms: ms(args.config.settle_for),
        sparing: mass_failure(view, &wishes.leaving, now_ms).is_some(),
        wishes,
    }
}

/// What is to be done about one chunk, with all it takes.
struct Errand {
    args: RepairArgs,
    view: Arc<ClusterView>,
    chunk: ChunkId,
    record: ChunkRecord,
    /// Nodes that are heard of and have good copies.
    keep: Vec<NodeId>,
}

impl Errand {
    fn key(&self) -> ChunkKey {
        ChunkKey { chunk: self.chunk, generation: self.record.generation }
    }

    fn grant(&self, op: GrantOp) -> Grant {
        let record = &self.record;
        Grant {
            epoch: self.args.signer.epoch(),
            op,
            chunk: self.chunk,
            generation: record.generation,
            file: record.file,
            index: record.index,
            len_max: record.len,
            expires_ms: self.args.time.now_ms().saturating_add(GRANT_MS),
        }
    }

    fn address(&self, node: NodeId) -> Result<NodeAddress, Status> {
        let known = self.view.node(node).map(|known| known.entry.address.clone());
        let gone = || Status::new(StatusCode::Unavailable, "the node is not known any more").at_node(node);
        known.map(|address| NodeAddress { node, address }).ok_or_else(gone)
    }

    async fn run(self, remedy: Remedy, op: OpId) -> Result<Repaired, Status> {
        let (change, done) = match remedy {
            Remedy::Verify(node) => (self.found(node, self.verify(node).await?), Repaired::Verified),
            Remedy::Keep(node) => (Mutation::KeepCopy(node, self.key()), Repaired::Kept),
            Remedy::Drop(node, cause) => (self.dropping(node, cause), Repaired::Dropped),
            Remedy::Copy { sources, not, rather_not, to, bad, cause } => {
                let target = match to {
                    Some(to) => Ok(to),
                    None => self.place(not, rather_not).await,
                };
                match (target, bad.filter(|_| to.is_none())) {
                    (Ok(node), _) => (
                        self.found(node, self.copied(sources, node, (cause, op)).await?),
                        Repaired::Copied(self.record.len),
                    ),
                    (Err(_), Some(bad)) => (self.dropping(bad, CopyCause::Corrupt), Repaired::Dropped),
                    (Err(status), None) => return Err(status),
                }
            }
        };
        match self.change(op, change).await? {
            Outcome::Progress(progress) if progress.done > 0 => Ok(done),
            _ => Err(Status::new(StatusCode::PreconditionFailed, "the chunk is not what it was")),
        }
    }

    /// Has a node copy the chunk; if that fails, what it may have of it is ordered away.
    async fn copied(
        &self,
        sources: Vec<NodeId>,
        node: NodeId,
        (cause, op): (CopyCause, OpId),
    ) -> Result<CopyChange, Status> {
        let source = sources.into_iter().next();
        let source = source.ok_or_else(|| Status::new(StatusCode::Unavailable, "no copy to read"))?;
        let copied = self.copy(source, node, cause).await;
        if copied.as_ref().is_err_and(|status| status.code != StatusCode::Busy) {
            // Unless it was too busy to begin, the node may have it all the same, or get it in a moment.
            if let Err(status) = self.change(op, Mutation::DiscardCopy(node, self.key())).await {
                tracing::warn!(chunk = %self.chunk, %node, %status, "a copy may be left that nobody noted");
            }
        }
        copied
    }

    async fn change(&self, op: OpId, change: Mutation) -> Result<Outcome, Status> {
        self.args.writer.ask(WriterMsg::mutate(op, change), STEP_WITHIN).await.map_err(silent)?
    }

    fn found(&self, node: NodeId, change: CopyChange) -> Mutation {
        Mutation::ApplyFindings(node, vec![CopyFinding { key: self.key(), change }])
    }

    fn dropping(&self, node: NodeId, cause: CopyCause) -> Mutation {
        Mutation::DropCopy(CopyDrop { key: self.key(), node, keep: self.keep.clone(), cause })
    }

    async fn place(&self, not: Vec<NodeId>, rather_not: Vec<NodeId>) -> Result<NodeId, Status> {
        let ask = |exclude: Vec<NodeId>| {
            let request =
                PlaceChunks { bytes: vec![u64::from(self.record.len)], copies: 1, min_ack: 1, exclude };
            self.args.placement.ask(|reply| PlacementMsg::Place(request, reply), STEP_WITHIN)
        };
        let strict = [not.clone(), rather_not].concat();
        let placed = match ask(strict).await.map_err(silent)? {
            Ok(placed) => placed,
            Err(_) => ask(not).await.map_err(silent)??,
        };
        let node = placed.first().and_then(|placed| placed.nodes.first()).copied();
        node.ok_or_else(|| Status::new(StatusCode::NoWriteQuorum, "no node can take another copy"))
    }

    async fn verify(&self, node: NodeId) -> Result<CopyChange, Status> {
        let grant = self.grant(GrantOp::Read);
        let mac = self.args.signer.sign(&grant, node);
        let request = Request::Chunk(ChunkRequest::Verify(VerifyChunk { grant, mac }));
        match self.args.errands.ask(self.address(node)?, request, ERRAND_WITHIN).await? {
            Response::Chunk(ChunkResponse::Verified(it)) => {
                Ok(self.judged(it.len, it.sha256, CopyChange::Verified))
            }
            _ => Err(unexpected(node, "something else")),
        }
    }

    async fn copy(&self, source: NodeId, node: NodeId, cause: CopyCause) -> Result<CopyChange, Status> {
        let (grant, source_grant) = (self.grant(GrantOp::Copy), self.grant(GrantOp::Read));
        let at = self.address(source)?;
        let copy = CopyChunk {
            mac: self.args.signer.sign(&grant, node),
            grant,
            source: Target {
                node: source,
                address: at.address,
                mac: self.args.signer.sign(&source_grant, source),
            },
            source_grant,
        };
        let request = Request::Replication(ReplicationRequest::Copy(copy));
        match self.args.errands.ask(self.address(node)?, request, ERRAND_WITHIN).await? {
            Response::Replication(ReplicationResponse::Stored(receipt)) => {
                if !self.is_of(&receipt, node) {
                    return Err(unexpected(node, "a receipt of something else"));
                }
                tracing::debug!(chunk = %self.chunk, %node, %source, "a copy was made up");
                Ok(self.judged(receipt.len, receipt.sha256, CopyChange::Copied(cause)))
            }
            _ => Err(unexpected(node, "something else")),
        }
    }

    fn is_of(&self, receipt: &Receipt, node: NodeId) -> bool {
        let about = ChunkKey { chunk: receipt.chunk, generation: receipt.generation };
        receipt.node == node && about == self.key() && receipt.verify(&self.args.signer.key(node))
    }

    /// What the node has read of its copy means: if it is what it should be, then `well`.
    fn judged(&self, len: u32, sha256: [u8; 32], well: CopyChange) -> CopyChange {
        match (len, sha256) == (self.record.len, self.record.sha256) {
            true => well,
            false => CopyChange::Corrupt,
        }
    }
}

fn silent(error: AskError) -> Status {
    Status::new(StatusCode::Unavailable, format!("no word from within: {error}"))
}

fn unexpected(node: NodeId, what: &str) -> Status {
    Status::new(StatusCode::ProtocolViolation, format!("the node answered {what}")).at_node(node)
}

impl Behaviour for Repair {
    type Msg = RepairMsg;
    type Args = RepairArgs;
    const KIND: &'static str = "repair";

    async fn start(args: RepairArgs, ctx: &mut Ctx<RepairMsg>) -> Result<Self, ActorError> {
        ctx.set_tick(TICK);
        let state = RepairState::new(args.config, ctx.now());
        Ok(Self { args, state })
    }

    async fn handle(&mut self, msg: RepairMsg, ctx: &mut Ctx<RepairMsg>) -> Result<(), ActorError> {
        let now = ctx.now();
        match msg {
            RepairMsg::Looked(Ok(found)) => self.state.found(now, found),
            RepairMsg::Looked(Err(status)) => {
                tracing::warn!(%status, "endangered chunks could not be looked for");
                self.state.blind(now);
            }
            RepairMsg::Read(batch, Ok(records)) => {
                for (chunk, record) in batch.into_iter().zip(records) {
                    match record {
                        Some(record) => self.begin(chunk, &record, ctx),
                        None => self.state.ended(now, chunk, ErrandEnd::Done),
                    }
                }
            }
            RepairMsg::Read(batch, Err(status)) => {
                tracing::info!(chunks = batch.len(), %status, "endangered chunks could not be looked at");
                batch.into_iter().for_each(|chunk| self.state.ended(now, chunk, ErrandEnd::Failed));
            }
            RepairMsg::Ended(chunk, done) => {
                if let Err(status) = &done {
                    tracing::info!(%chunk, %status, "a copy could not be made up now");
                }
                let end = match &done {
                    Ok(_) => ErrandEnd::Done,
                    Err(status) if status.code == StatusCode::Busy => ErrandEnd::Refused,
                    Err(_) => ErrandEnd::Failed,
                };
                self.state.ended(now, chunk, end);
                if end != ErrandEnd::Refused {
                    self.args.health.note(done.map_err(|status| status.to_string()));
                }
            }
        }
        self.proceed(ctx);
        Ok(())
    }

    async fn tick(&mut self, ctx: &mut Ctx<RepairMsg>) -> Result<(), ActorError> {
        self.state.passes(ctx.now());
        self.proceed(ctx);
        Ok(())
    }
}
