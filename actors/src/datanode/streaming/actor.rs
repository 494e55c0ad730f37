//! The shell around an upload.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dfs_wire::Bytes;
use dfs_wire::link::Stream;
use dfs_wire::message::chunk::{ChunkResponse, ChunkStored};
use dfs_wire::message::replication::{Replicate, ReplicationResponse};
use dfs_wire::message::{Response, ResponseHead};
use dfs_wire::status::{Status, StatusCode};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::messages::StreamingMsg;
use super::order::{Admitted, Origin};
use super::pipeline::Upload;
use super::state::{Effect, Received, UploadLimits, UploadState};
use super::turns::Turn;
use crate::datanode::authority::Authority;
use crate::datanode::chunk_store::ChunkStore;
use crate::datanode::replication::{Forward, Gauge, Sent};
use crate::peer::links::LinksMsg;
use crate::supervisor::{ActorError, Addr, Behaviour, Ctx, FirstLife};

/// How often an upload looks at the clock.
const TICK: Duration = Duration::from_millis(250);

/// What a streaming session is made from.
#[derive(Clone)]
pub struct StreamingArgs {
    admitted: FirstLife<Admitted>,
    store: Arc<dyn ChunkStore>,
    authority: Arc<dyn Authority>,
    links: Addr<LinksMsg>,
    limits: UploadLimits,
}

impl StreamingArgs {
    /// Arguments for one upload.
    pub fn new(
        admitted: Admitted,
        store: Arc<dyn ChunkStore>,
        authority: Arc<dyn Authority>,
        links: Addr<LinksMsg>,
        limits: UploadLimits,
    ) -> Self {
        Self { admitted: FirstLife::new(admitted), store, authority, links, limits }
    }
}

/// One chunk that is being written here.
pub struct Streaming {
    state: UploadState,
    stream: Arc<Stream>,
    origin: Origin,
    received: Arc<AtomicU64>,
    replicas: Vec<(AbortHandle, Arc<Gauge>)>,
    _turns: Vec<Turn>,
}

impl Behaviour for Streaming {
    type Msg = StreamingMsg;
    type Args = StreamingArgs;
    const KIND: &'static str = "streaming";

    async fn start(args: StreamingArgs, ctx: &mut Ctx<StreamingMsg>) -> Result<Self, ActorError> {
        let Admitted { order, stream, reservation, turns } = args.admitted.claim("take the upload")?;
        let nodes: Vec<_> = order.replicas.iter().map(|target| target.node).collect();
        let origin = order.origin;
        let limits = match origin {
            Origin::Client => args.limits,
            Origin::Primary => args.limits.behind_a_primary(),
        };
        let state = UploadState::new(ctx.now(), args.authority.node(), &nodes, order.min_ack, limits);
        ctx.set_credits(reservation.bytes());
        ctx.set_tick(TICK);
        let stream = Arc::new(stream);
        let received = Arc::new(AtomicU64::new(0));
        // Room for every frame that the reservation lets in, and the end.
        let room = reservation.slabs() + 1;
        let (mut senders, mut replicas) = (Vec::new(), Vec::new());
        for (index, target) in order.replicas.iter().enumerate() {
            let (sender, items) = mpsc::channel(room);
            let gauge = Arc::new(Gauge::default());
            let request = Replicate { grant: order.grant.clone(), mac: target.mac, len_hint: order.len_hint };
            let (op, links, authority) = (order.op, args.links.clone(), args.authority.clone());
            let (target, clock, seen) = (target.clone(), ctx.env().clock.clone(), gauge.clone());
            let forward = Forward { op, target, request, items, links, authority, clock, gauge: seen };
            let done = move |outcome| StreamingMsg::Replica(index, Box::new(outcome));
            replicas.push((ctx.spawn_then(forward.run(), done), gauge));
            senders.push(sender);
        }
        let upload = Upload {
            order,
            stream: stream.clone(),
            reservation,
            store: args.store,
            authority: args.authority,
            replicas: senders,
            received: received.clone(),
        };
        let own = ctx.addr().clone();
        let on_sealed = move || {
            if let Err(error) = own.try_send(StreamingMsg::Sealed) {
                tracing::debug!(%error, "the upload ended before its last byte");
            }
        };
        ctx.spawn_then(upload.run(on_sealed), |outcome| StreamingMsg::Local(Box::new(outcome)));
        Ok(Self { state, stream, origin, received, replicas, _turns: turns })
    }

    async fn handle(&mut self, msg: StreamingMsg, ctx: &mut Ctx<StreamingMsg>) -> Result<(), ActorError> {
        let now = ctx.now();
        let effects = match msg {
            StreamingMsg::Sealed => {
                self.state.on_sealed(now);
                Vec::new()
            }
            StreamingMsg::Local(outcome) => self.state.on_local(now, *outcome),
            StreamingMsg::Replica(index, outcome) => {
                if let Err(status) = outcome.as_ref() {
                    tracing::warn!(%status, "a replica has no copy");
                }
                self.state.on_replica(now, index, *outcome)
            }
        };
        self.carry_out(effects, ctx).await;
        Ok(())
    }

    async fn tick(&mut self, ctx: &mut Ctx<StreamingMsg>) -> Result<(), ActorError> {
        let sent: Vec<Sent> = self.replicas.iter().map(|(_, gauge)| gauge.now()).collect();
        let received =
            Received { frames: self.received.load(Ordering::Relaxed), line: self.stream.link_received() };
        let effects = self.state.on_tick(ctx.now(), received, &sent);
        self.carry_out(effects, ctx).await;
        Ok(())
    }
}

impl Streaming {
    async fn carry_out(&mut self, effects: Vec<Effect>, ctx: &mut Ctx<StreamingMsg>) {
        for effect in effects {
            let answer = match effect {
                Effect::Cut(index) => {
                    if let Some((transfer, _)) = self.replicas.get(index) {
                        tracing::warn!(replica = index, "a replica fell behind and was cut");
                        transfer.abort();
                    }
                    continue;
                }
                Effect::Answer(stored) => self.success(stored),
                Effect::Fail(status) => {
                    tracing::info!(%status, "upload failed");
                    Err(status)
                }
            };
            // The peer may be gone; then there is nobody to answer, and that is all.
            if let Err(status) = self.stream.respond(answer, Bytes::new()).await {
                tracing::debug!(%status, "nobody to answer");
            }
            ctx.stop("done");
        }
    }

    fn success(&self, stored: ChunkStored) -> ResponseHead {
        if self.origin == Origin::Client {
            return Ok(Response::Chunk(ChunkResponse::Stored(stored)));
        }
        let receipt = stored.receipts.into_iter().next();
        let receipt =
            receipt.ok_or_else(|| Status::new(StatusCode::Internal, "a durable copy without a receipt"))?;
        Ok(Response::Replication(ReplicationResponse::Stored(receipt)))
    }
}
