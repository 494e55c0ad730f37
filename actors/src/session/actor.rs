//! The shell around a session.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dfs_wire::handshake;
use dfs_wire::limits::CONNECTION_CREDIT_BYTES;
use dfs_wire::link::{Link, LinkParams, Liveness, Role};
use dfs_wire::slab::SlabBudget;
use dfs_wire::status::{Status, StatusCode};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::Instrument;

use super::requests::RequestStats;
use super::state::{SessionLimits, SessionState, Verdict};
use super::{PeerInfo, Service};
use crate::env::{Clock, Connection};
use crate::supervisor::{ActorError, Behaviour, Ctx};

/// How often a session looks whether its peer is alive. Three silent looks end it: 15 s.
const TICK: Duration = Duration::from_secs(5);

/// What a session can be told.
#[derive(Debug)]
pub enum SessionMsg {
    /// Take no new requests; end with the last one open.
    Drain,
    /// The connection has ended.
    Closed,
}

/// What a session is made from.
#[derive(Clone)]
pub struct SessionArgs {
    /// The connection; taken by the one life that a session has.
    pub connection: Arc<Mutex<Option<Connection>>>,
    /// Number of the session.
    pub session: u64,
    /// What serves its requests.
    pub service: Arc<dyn Service>,
    /// Memory for payloads that ride in requests.
    pub budget: SlabBudget,
    /// Limits.
    pub limits: SessionLimits,
    /// Turns true when the node drains.
    pub draining: watch::Receiver<bool>,
    /// Counters of the node's requests.
    pub requests: RequestStats,
}

impl SessionArgs {
    /// Arguments for one accepted connection.
    pub fn new(connection: Connection, session: u64, common: &SessionCommon) -> Self {
        let SessionCommon { service, budget, limits, draining, requests } = common.clone();
        Self {
            connection: Arc::new(Mutex::new(Some(connection))),
            session,
            service,
            budget,
            limits: *limits.borrow(),
            draining,
            requests,
        }
    }
}

/// What all sessions of a node share.
#[derive(Clone)]
pub struct SessionCommon {
    /// What serves their requests.
    pub service: Arc<dyn Service>,
    /// Memory for payloads that ride in requests.
    pub budget: SlabBudget,
    /// Limits of each session; a new one takes what they are when it begins.
    pub limits: watch::Receiver<SessionLimits>,
    /// Turns true when the node drains.
    pub draining: watch::Receiver<bool>,
    /// Counters of the node's requests.
    pub requests: RequestStats,
}

/// One connection of a peer.
pub struct Session {
    link: Link,
    state: SessionState,
    served: Arc<AtomicU64>,
}

impl Behaviour for Session {
    type Msg = SessionMsg;
    type Args = SessionArgs;
    const KIND: &'static str = "session";

    async fn start(args: SessionArgs, ctx: &mut Ctx<SessionMsg>) -> Result<Self, ActorError> {
        let connection = args.connection.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(connection) = connection else {
            return Err(ActorError::fatal("take the connection", "a session has one life only"));
        };
        let (link, peer) = match shake_hands(&args, connection, ctx).await {
            Ok(done) => done,
            Err(status) => {
                tracing::info!(session = args.session, %status, "connection refused");
                ctx.stop("handshake failed");
                return Ok(Self::closed(&args, ctx, status));
            }
        };
        tracing::debug!(session = args.session, peer = %peer.address, "session open");
        let served = Arc::new(AtomicU64::new(0));
        let serving = Serving {
            service: args.service.clone(),
            served: served.clone(),
            requests: args.requests.clone(),
            clock: ctx.env().clock.clone(),
        };
        ctx.spawn_then(serve_requests(link.clone(), Arc::new(peer), serving), |()| SessionMsg::Closed);
        let mut draining = args.draining.clone();
        let drained = async move { draining.wait_for(|draining| *draining).await.is_ok() };
        ctx.spawn_then(drained, |_| SessionMsg::Drain);
        ctx.set_tick(TICK);
        Ok(Self { link, state: SessionState::new(ctx.now(), args.limits), served })
    }

    async fn handle(&mut self, msg: SessionMsg, ctx: &mut Ctx<SessionMsg>) -> Result<(), ActorError> {
        match msg {
            SessionMsg::Drain => {
                self.state.drain();
                self.link.goaway(&Status::new(StatusCode::Unavailable, "the node is draining"));
                self.look(ctx);
            }
            SessionMsg::Closed => {
                if let Some(status) = self.link.status() {
                    tracing::debug!(%status, "session closed");
                }
                ctx.stop("connection closed");
            }
        }
        Ok(())
    }

    async fn tick(&mut self, ctx: &mut Ctx<SessionMsg>) -> Result<(), ActorError> {
        ctx.set_credits(self.link.credit_outstanding());
        if self.link.tick() != Liveness::Dead {
            self.look(ctx);
        }
        Ok(())
    }

    async fn stop(&mut self, _ctx: &mut Ctx<SessionMsg>) {
        self.link.close(Status::new(StatusCode::Unavailable, "the node closed the session"));
    }
}

impl Session {
    /// The state of a session that ends right after its start.
    fn closed(args: &SessionArgs, ctx: &Ctx<SessionMsg>, status: Status) -> Self {
        let params =
            LinkParams { role: Role::Acceptor, budget: args.budget.clone(), send_credit: 0, recv_credit: 0 };
        let (link, _nothing_to_drive) = Link::new(tokio::io::empty(), tokio::io::sink(), params);
        link.close(status);
        Self { link, state: SessionState::new(ctx.now(), args.limits), served: Arc::default() }
    }

    fn look(&mut self, ctx: &mut Ctx<SessionMsg>) {
        let reason =
            match self.state.tick(ctx.now(), self.link.streams(), self.served.load(Ordering::Relaxed)) {
                Verdict::Keep => return,
                Verdict::CloseIdle => "no request for too long",
                Verdict::CloseDrained => "drained",
            };
        self.link.close(Status::new(StatusCode::Unavailable, reason));
        ctx.stop(reason);
    }
}

async fn shake_hands(
    args: &SessionArgs,
    connection: Connection,
    ctx: &mut Ctx<SessionMsg>,
) -> Result<(Link, PeerInfo), Status> {
    let address = connection.peer;
    let mut io = tokio::io::join(connection.reader, connection.writer);
    let accept =
        handshake::accept(&mut io, |hello, version| args.service.welcome(hello, version, args.session));
    let late = || {
        Status::new(StatusCode::DeadlineExceeded, format!("{address} did not finish the handshake in time"))
    };
    let (hello, welcome) = tokio::time::timeout(args.limits.handshake_timeout, accept)
        .await
        .map_err(|_| late())?
        .map_err(handshake::HandshakeError::into_status)?;
    let (reader, writer) = io.into_inner();
    let params = LinkParams {
        role: Role::Acceptor,
        budget: args.budget.clone(),
        send_credit: hello.connection_credit,
        recv_credit: welcome.connection_credit.min(CONNECTION_CREDIT_BYTES),
    };
    let (link, driver) = Link::new(reader, writer, params);
    ctx.spawn(driver.reader);
    ctx.spawn(driver.writer);
    Ok((link, PeerInfo { peer: hello.peer, address, session: args.session }))
}

/// What the requests of a session are served with, and counted by.
struct Serving {
    service: Arc<dyn Service>,
    served: Arc<AtomicU64>,
    requests: RequestStats,
    clock: Arc<dyn Clock>,
}

/// Serves requests until the connection ends: one task each, as many as the link lets the peer open.
async fn serve_requests(link: Link, peer: Arc<PeerInfo>, serving: Serving) {
    let mut requests = JoinSet::new();
    loop {
        let incoming = tokio::select! {
            biased;
            Some(done) = requests.join_next(), if !requests.is_empty() => {
                if let Err(e) = done && e.is_panic() {
                    tracing::error!(session = peer.session, "a request panicked; its stream was reset");
                }
                continue;
            }
            incoming = link.accept() => incoming,
        };
        let Some(incoming) = incoming else { return };
        serving.served.fetch_add(1, Ordering::Relaxed);
        let kind = incoming.head.body.name();
        incoming.stream.observe(serving.requests.begin(kind, serving.clock.clone()));
        let span = tracing::info_span!(
            "request",
            name = kind,
            request = %incoming.head.op,
            session = peer.session,
        );
        requests.spawn(Arc::clone(&serving.service).serve(peer.clone(), incoming).instrument(span));
    }
}
