//! The actor that owns a listening socket and starts a session for each connection, up to a bound.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::budgets::SESSION_MAILBOX;
use crate::env::ListeningSocket;
use crate::env::{Connection, Env, MonoTime};
use crate::peer::session::{Session, SessionArgs, SessionCommon};
use crate::supervisor::{ActorError, Addr, Behaviour, ChildSpec, Ctx, FirstLife, Nursery};

/// Pause after a failed accept (too many open files, most often), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Between two lines about failed accepts.
const LOG_PAUSE: Duration = Duration::from_secs(60);
/// Patience with connections that were told to go.
const ROOM_TIMEOUT: Duration = Duration::from_secs(1);
/// What a session may take to start beside its handshake.
const START_MARGIN: Duration = Duration::from_secs(5);

/// A socket that is bound before the actors are started, so that a port in use is an error of the start and a free
/// port is known before the node introduces itself. The first life of the listener takes it; a later one binds the
/// same address again.
#[derive(Clone)]
pub struct Bound {
    address: SocketAddr,
    socket: FirstLife<Box<dyn ListeningSocket>>,
    /// Sessions begun at this address, in all lives of the listener: sessions outlive it, so numbers go on.
    begun: Arc<AtomicU64>,
}

impl Bound {
    /// Binds `address` (`host:port`; port 0 takes a free one).
    ///
    /// # Errors
    /// The socket's error.
    pub async fn bind(env: &Env, address: &str) -> io::Result<Self> {
        let socket = env.net.listen(address).await?;
        Ok(Self { address: socket.local_addr(), socket: FirstLife::new(socket), begun: Arc::default() })
    }

    fn next_session(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The address really bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

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

/// Nothing can be told to a listener: it listens.
#[derive(Debug)]
pub enum ListenerMsg {}

/// The owner of a listening socket.
#[derive(Debug)]
pub struct Listener;

impl Behaviour for Listener {
    type Msg = ListenerMsg;
    type Args = ListenerArgs;
    const KIND: &'static str = "listener";

    async fn start(args: ListenerArgs, ctx: &mut Ctx<ListenerMsg>) -> Result<Self, ActorError> {
        let address = args.bound.address;
        let socket = match args.bound.socket.take() {
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

/// Failed accepts. They come ten a second while there are too few descriptors: a line a minute says enough.
#[derive(Debug, Default)]
struct Failures {
    logged: Option<MonoTime>,
    count: u64,
}

impl Failures {
    /// Counts one. How many to log, if it is time for a line.
    fn note(&mut self, now: MonoTime) -> Option<u64> {
        self.count += 1;
        let due = self.logged.is_none_or(|logged| now.since(logged) >= LOG_PAUSE);
        due.then(|| {
            self.logged = Some(now);
            std::mem::take(&mut self.count)
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_descriptors_are_a_line_a_minute() {
        let mut failures = Failures::default();
        let at = |tenths: u64| MonoTime::from_micros(tenths * 100_000);
        let lines: Vec<_> = (0..=1_200).filter_map(|tenths| failures.note(at(tenths))).collect();
        assert_eq!(lines, [1, 600, 600]);
    }
}
