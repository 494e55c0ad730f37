//! The shell around a session.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::watch;
use dfs_wire::Bytes;
use dfs_wire::handshake::{HandshakeError, Hello, Welcome};
use dfs_wire::limits::SILENT_TICKS_MAX;
use dfs_wire::link::{Accepting, Incoming, Link, LinkParams, Liveness, Role};
use dfs_wire::slab::SlabBudget;
use dfs_wire::status::{Status, StatusCode};
use dfs_wire::tls::{Proof, ProofCell};
use tokio::task::JoinSet;
use tracing::Instrument;

use super::eviction::Source;
use super::knocks::Knocks;
use super::messages::SessionMsg;
use super::places::{LINGER, Place, Places, crowded};
use super::requests::RequestStats;
use super::state::{SessionFate, SessionLimits, SessionState};
use super::{PeerInfo, Service};
use crate::env::{BoxRead, BoxWrite, Clock, Connection};
use crate::peer::gate::{Gate, out_of_place, revoked};
use crate::supervisor::{ActorError, Behaviour, Ctx, FirstLife};

/// How often a session looks whether its peer is alive. The third silent look in a row ends it: 15 to 20 s after the peer's
/// last word, for that came at any time between two looks.
const TICK: Duration = Duration::from_secs(5);

const _: () = assert!(TICK.as_secs() * (SILENT_TICKS_MAX as u64 + 1) <= 20);

/// Patience with a refused peer that takes not even that: the answer fits into an empty socket.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// What a session is made from.
#[derive(Clone)]
pub struct SessionArgs {
    /// The connection and its place; a session has one life only.
    pub arrived: FirstLife<Arrived>,
    /// Number of the session.
    pub session: u64,
    /// What serves its requests.
    pub service: Arc<dyn Service>,
    /// Memory for payloads that ride in requests.
    pub budget: SlabBudget,
    /// Patience with the handshake, and with a session that asks for nothing.
    pub limits: SessionLimits,
    /// Turns true when the node drains.
    pub draining: watch::Receiver<bool>,
    /// Counters of the node's requests.
    pub requests: RequestStats,
    /// Connections that came to nothing.
    pub knocks: Knocks,
    /// What has to be proved.
    pub gate: Gate,
}

/// A connection that was accepted, with its place.
pub struct Arrived {
    connection: Connection,
    place: Place,
}

impl SessionArgs {
    /// Arguments for one accepted connection.
    pub fn new(connection: Connection, session: u64, common: &SessionCommon) -> Self {
        let SessionCommon { service, budget, limits, draining, requests, places, knocks, gate } =
            common.clone();
        let place = places.arrive(session, connection.peer.ip());
        Self {
            arrived: FirstLife::new(Arrived { connection, place }),
            knocks,
            gate,
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
    /// Who may be connected.
    pub places: Places,
    /// Connections that came to nothing.
    pub knocks: Knocks,
    /// What has to be proved.
    pub gate: Gate,
}

/// One connection of a peer.
pub struct Session {
    link: Link,
    state: SessionState,
    served: Arc<AtomicU64>,
    _place: Option<Place>,
}

impl Behaviour for Session {
    type Msg = SessionMsg;
    type Args = SessionArgs;
    const KIND: &'static str = "session";

    async fn start(args: SessionArgs, ctx: &mut Ctx<SessionMsg>) -> Result<Self, ActorError> {
        let Arrived { connection, place } = args.arrived.claim("take the connection")?;
        let source = connection.peer.ip().into();
        let (link, peer) = match shake_hands(&args, connection, &place, ctx).await {
            Ok(done) => done,
            Err(error) => {
                note(&args, source, &error, ctx);
                ctx.stop("handshake failed");
                return Ok(Self::closed(&args, ctx, error.into_status()));
            }
        };
        tracing::debug!(session = args.session, peer = %peer.address, "session open");
        let served = Arc::new(AtomicU64::new(0));
        let serving = Serving {
            service: args.service.clone(),
            served: served.clone(),
            requests: args.requests.clone(),
            clock: ctx.env().clock.clone(),
            busy: Box::new(place.busy()),
        };
        ctx.spawn_then(serve_requests(link.clone(), Arc::new(peer), serving), |()| SessionMsg::Closed);
        let mut draining = args.draining.clone();
        let drained = async move { draining.wait_for(|draining| *draining).await.is_ok() };
        ctx.spawn_then(drained, |_| SessionMsg::Drain);
        ctx.spawn_then(place.told_to_go(), |()| SessionMsg::MakeRoom);
        ctx.set_tick(TICK);
        Ok(Self { link, state: SessionState::new(ctx.now(), args.limits), served, _place: Some(place) })
    }

    async fn handle(&mut self, msg: SessionMsg, ctx: &mut Ctx<SessionMsg>) -> Result<(), ActorError> {
        match msg {
            SessionMsg::Drain => {
                self.state.drain();
                self.link.goaway(&Status::new(StatusCode::Unavailable, "the node is draining"));
                self.look(ctx);
            }
            SessionMsg::MakeRoom => {
                self.link.goaway(&made_room());
                ctx.send_after(LINGER, SessionMsg::Leave);
            }
            SessionMsg::Leave => {
                self.link.close(made_room());
                ctx.stop("made room");
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
        let state = SessionState::new(ctx.now(), args.limits);
        Self { link, state, served: Arc::default(), _place: None }
    }

    fn look(&mut self, ctx: &mut Ctx<SessionMsg>) {
        let reason =
            match self.state.tick(ctx.now(), self.link.streams(), self.served.load(Ordering::Relaxed)) {
                SessionFate::Keep => return,
                SessionFate::CloseIdle => "no request for too long",
                SessionFate::CloseDrained => "drained",
            };
        self.link.close(Status::new(StatusCode::Unavailable, reason));
        ctx.stop(reason);
    }
}

fn made_room() -> Status {
    Status::new(StatusCode::Busy, "the connection was idle, and its place was needed for another")
        .hint("connect again")
}

/// Logs a connection that came to nothing, unless there were such lines about its source lately.
fn note(args: &SessionArgs, source: Source, error: &HandshakeError, ctx: &Ctx<SessionMsg>) {
    let (reason, status) = match error {
        HandshakeError::NothingSaid => ("NothingSaid", None),
        HandshakeError::Io(_) => (StatusCode::ConnectionLost.name(), None),
        HandshakeError::Rejected(status) => (status.code.name(), Some(status)),
    };
    let Some(count) = args.knocks.note(source, reason, ctx.now()) else { return };
    let session = args.session;
    match status {
        Some(status) => tracing::info!(session, %source, count, %status, "connections refused"),
        None => tracing::info!(session, %source, count, %error, "connections that came to nothing"),
    }
}

async fn shake_hands(
    args: &SessionArgs,
    connection: Connection,
    place: &Place,
    ctx: &mut Ctx<SessionMsg>,
) -> Result<(Link, PeerInfo), HandshakeError> {
    let (address, proof) = (connection.peer, connection.proof);
    let mut accepting = Link::accept(connection.reader, connection.writer, args.budget.clone());
    let end = end_of_patience(args.limits.handshake_timeout, place, &*ctx.env().clock);
    tokio::pin!(end);
    let agreed = tokio::select! {
        biased; // Whoever has to go need not be heard.
        status = &mut end => Err(HandshakeFailure::Untold(status)),
        agreed = agree(args, place, &proof, &mut accepting) => agreed,
    };
    let (hello, welcome) = match agreed {
        Ok(agreed) => agreed,
        Err(HandshakeFailure::Told(error)) => return Err(error),
        Err(HandshakeFailure::Untold(status)) => {
            // Whoever does not take it in time learns nothing.
            let _ = ctx.env().clock.timeout(REFUSAL_TIMEOUT, accepting.refuse(status.clone())).await;
            return Err(HandshakeError::Rejected(status));
        }
    };
    let (link, driver) = tokio::select! {
        biased; // Whoever is welcomed is, even if only just.
        opened = accepting.welcome(&hello, welcome) => opened?,
        status = end => return Err(HandshakeError::Rejected(status)),
    };
    place.open(link.clone());
    ctx.spawn(driver.reader);
    ctx.spawn(driver.writer);
    let bearer = match proof.get() {
        Proof::Secured(bearer) => bearer,
        Proof::Plain => None,
    };
    let Hello { peer, credentials, .. } = hello;
    Ok((link, PeerInfo { peer, bearer, credentials, address, session: args.session }))
}

/// Why there is no agreement, and whether the peer knows.
enum HandshakeFailure {
    Told(HandshakeError),
    Untold(Status),
}

/// Completes, with the reason, when the handshake has to end: its time is over, or somebody else needs the place.
fn end_of_patience<'a>(
    limit: Duration,
    place: &'a Place,
    clock: &dyn Clock,
) -> impl Future<Output = Status> + use<'a> {
    let (told_to_go, late) = (place.told_to_go(), clock.sleep(limit));
    async move {
        tokio::select! {
            biased; // Once; the place is the better reason.
            () = told_to_go => crowded(),
            () = late => {
                let text = format!("the handshake was not finished within {} ms", limit.as_millis());
                Status::new(StatusCode::DeadlineExceeded, text)
            }
        }
    }
}

async fn agree(
    args: &SessionArgs,
    place: &Place,
    proof: &ProofCell,
    accepting: &mut Accepting<BoxRead, BoxWrite>,
) -> Result<(Hello, Welcome), HandshakeFailure> {
    let (hello, version) = accepting.hello().await.map_err(HandshakeFailure::Told)?;
    let proof = proof.get();
    args.gate.admit(&hello, &proof).map_err(HandshakeFailure::Untold)?;
    if let Proof::Secured(Some(bearer)) = &proof
        && args.service.is_revoked(&bearer.key)
    {
        return Err(HandshakeFailure::Untold(revoked()));
    }
    let welcome =
        args.service.welcome(&hello, version, args.session).await.map_err(HandshakeFailure::Untold)?;
    place.introduce(&hello.peer).map_err(HandshakeFailure::Untold)?;
    Ok((hello, welcome))
}

/// What the requests of a session are served with, and counted by.
struct Serving {
    service: Arc<dyn Service>,
    served: Arc<AtomicU64>,
    requests: RequestStats,
    clock: Arc<dyn Clock>,
    /// Notes that the peer asked for something.
    busy: Box<dyn Fn() + Send>,
}

/// Serves requests until the connection ends: one task each, as many as the link lets the peer open.
async fn serve_requests(link: Link, peer: Arc<PeerInfo>, serving: Serving) {
    let mut requests = JoinSet::new();
    loop {
        let incoming = tokio::select! {
            biased; // There are no more ends than beginnings, so these do not starve.
            Some(done) = requests.join_next(), if !requests.is_empty() => {
                if let Err(e) = done && e.is_panic() {
                    tracing::error!(session = peer.session, "a request panicked; its stream was reset");
                }
                continue;
            }
            incoming = link.next_request() => incoming,
        };
        let Some(incoming) = incoming else { return };
        serving.served.fetch_add(1, Ordering::Relaxed);
        (serving.busy)();
        let kind = incoming.head.body.name();
        incoming.stream.observe(serving.requests.begin(kind, serving.clock.clone()));
        let span = tracing::info_span!(
            "request",
            name = kind,
            request = %incoming.head.op,
            session = peer.session,
        );
        let gone = peer.bearer.as_ref().is_some_and(|bearer| serving.service.is_revoked(&bearer.key));
        let refusal = gone.then(revoked).or_else(|| out_of_place(&peer.peer, &incoming.head.body));
        if let Some(status) = refusal {
            requests.spawn(refuse(incoming, status).instrument(span));
        } else {
            requests.spawn(Arc::clone(&serving.service).serve(peer.clone(), incoming).instrument(span));
        }
    }
}

async fn refuse(incoming: Incoming, status: Status) {
    if let Err(gone) = incoming.stream.respond(Err(status), Bytes::new()).await {
        tracing::debug!(status = %gone, "nobody to answer");
    }
}
