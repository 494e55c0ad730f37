//! The shell around a listening socket.

use std::time::Duration;

use super::bound::Bound;
use super::messages::ListenerMsg;
use super::state::Failures;
use crate::budgets::SESSION_MAILBOX;
use crate::env::{Connection, Env, ListeningSocket};
use crate::peer::session::{Session, SessionArgs, SessionCommon};
use crate::supervisor::{ActorError, Addr, Behaviour, ChildSpec, Ctx, Nursery};

/// Pause after a failed accept (too many open files, most often), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Patience with connections that were told to go.
const ROOM_TIMEOUT: Duration = Duration::from_secs(1);
/// What a session may take to start beside its handshake.
const START_MARGIN: Duration = Duration::from_secs(5);

/// What a listener is made from.
#[derive(Clone)]
pub struct ListenerArgs {
    /// The socket, bound already: connections wait there until the listener runs.
    pub bound: Bound,
    /// Where sessions live: room for as many as there are places.
    pub sessions: Nursery,
    /// What all sessions share.
    pub common: SessionCommon,
}

/// The owner of a listening socket.
#[derive(Debug)]
pub struct Listener;

impl Behaviour for Listener {
    type Msg = ListenerMsg;
    type Args = ListenerArgs;
    const KIND: &'static str = "listener";

    async fn start(args: ListenerArgs, ctx: &mut Ctx<ListenerMsg>) -> Result<Self, ActorError> {
        let address = args.bound.address();
        let socket = match args.bound.take() {
            Some(socket) => socket,
            None => ctx
                .env()
                .net
                .listen(&address.to_string())
                .await
                .map_err(|e| ActorError::fatal("listen", e))?,
        };
        tracing::info!(%address, "listening");
        ctx.spawn(accept(ctx.env().clone(), socket, args));
        Ok(Self)
    }

    async fn handle(&mut self, msg: ListenerMsg, _ctx: &mut Ctx<ListenerMsg>) -> Result<(), ActorError> {
        match msg {}
    }
}

async fn accept(env: Env, mut socket: Box<dyn ListeningSocket>, args: ListenerArgs) {
    let mut failures = Failures::default();
    loop {
        match socket.accept().await {
            Ok(connection) => start_session(&env, connection, &args).await,
            Err(error) => {
                if let Some(count) = failures.note(env.now()) {
                    tracing::warn!(%error, count, "accepting connections failed");
                }
                env.clock.sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn start_session(env: &Env, connection: Connection, args: &ListenerArgs) {
    let (peer, session) = (connection.peer, args.bound.next_session());
    // There are never more connections than places but for those that were told to go: they go within moments.
    let berth = match args.sessions.reserve(ROOM_TIMEOUT).await {
        Ok(berth) => berth,
        Err(error) => {
            tracing::warn!(%peer, %error, "connection closed: too many are open");
            return;
        }
    };
    let spec = |args: SessionArgs| {
        let patience = args.limits.handshake_timeout + START_MARGIN;
        let home = Addr::new(&env.clock, SESSION_MAILBOX);
        ChildSpec::new::<Session>(format!("{session}"), &home, args).start_timeout(Some(patience))
    };
    let args = SessionArgs::new(connection, session, &args.common);
    if let Err(error) = berth.start_spec(spec(args)).await {
        tracing::warn!(%peer, %error, "no session could be started");
    }
}
