//! Connections, kept and reused: a few per address, the least busy first, the dead forgotten, the idle closed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use dfs_wire::handshake::{ClientPeer, Hello, Peer};
use dfs_wire::id::{ClientId, ClusterId};
use dfs_wire::identity::PeerName;
use dfs_wire::limits::CONNECTION_CREDIT_BYTES;
use dfs_wire::link::{Dialed, Driver, Link};
use dfs_wire::status::{Status, StatusCode};
use dfs_wire::tls::{is_distrust, speaks_no_tls};
use tokio::time::{Instant, timeout};

use crate::config::{ClientConfig, Timeouts};
use crate::env::Env;
use crate::error::Error;
use crate::memory::MemoryBound;

/// First pause before an address that failed is preferred again; doubled with each failure.
const COOLDOWN_MIN: Duration = Duration::from_millis(500);
/// Longest such pause.
const COOLDOWN_MAX: Duration = Duration::from_secs(15);
/// Addresses remembered at most; beyond it those without a connection are forgotten.
const PEERS_MAX: usize = 4096;

/// One connection to a node, and when it was last used.
pub(crate) struct Conn {
    link: Link,
    /// Whom the other end has proved to be, where connections are secured.
    whom: PeerName,
    last_used: Mutex<Instant>,
}

impl Conn {
    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    fn touch(&self) {
        *self.last_used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn idle_for(&self) -> Duration {
        self.last_used.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.link.close(Status::new(StatusCode::Cancelled, "the client closed the connection"));
    }
}

#[derive(Default)]
struct PeerState {
    conns: Vec<Arc<Conn>>,
    failures: u32,
    cooling_until: Option<Instant>,
    /// A node has answered there.
    welcomed: bool,
    /// The dial that failed last, and when.
    refused: Option<(Instant, Error)>,
}

struct PeerConns {
    address: String,
    state: Mutex<PeerState>,
    /// One dial at a time for each address; those who only need a connection share its result.
    dialling: tokio::sync::Mutex<()>,
}

impl PeerConns {
    fn lock(&self) -> MutexGuard<'_, PeerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The least busy live connection to `whom`, and how many there are. The dead and the draining are let go.
    fn least_busy(&self, whom: PeerName) -> Option<(Arc<Conn>, usize, usize)> {
        let mut state = self.lock();
        state.conns.retain(|c| !c.link.is_draining());
        let fits = |conn: &&Arc<Conn>| conn.whom == whom || whom == PeerName::AnyNode;
        let count = state.conns.iter().filter(fits).count();
        let fitting = state.conns.iter().filter(fits);
        let best = fitting.map(|c| (c.link.streams(), c)).min_by_key(|(streams, _)| *streams);
        best.map(|(streams, conn)| (conn.clone(), streams, count))
    }
}

/// All connections of a client. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Pool {
    inner: Arc<PoolInner>,
}

struct PoolInner {
    env: Env,
    me: Peer,
    timeouts: Timeouts,
    cluster: OnceLock<ClusterId>,
    /// A coordinator's time, and when it was told.
    time: Mutex<Option<(u64, Instant)>>,
    memory: MemoryBound,
    peers: Mutex<BTreeMap<String, Arc<PeerConns>>>,
}

impl Pool {
    pub(crate) fn new(config: &ClientConfig, env: Env, memory: MemoryBound) -> Self {
        let me = ClientPeer { client: ClientId(env.u128()), name: config.agent.clone() };
        let inner = PoolInner {
            env,
            me: if config.operator { Peer::Operator(me) } else { Peer::Client(me) },
            timeouts: config.timeouts.clone(),
            cluster: OnceLock::new(),
            time: Mutex::default(),
            memory,
            peers: Mutex::new(BTreeMap::new()),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The world it connects in.
    pub(crate) fn env(&self) -> &Env {
        &self.inner.env
    }

    /// The cluster that answered first; nothing else is talked to after.
    pub(crate) fn cluster(&self) -> Option<ClusterId> {
        self.inner.cluster.get().copied()
    }

    /// The coordinator's time, counted on from what it last told; 0 before it told any.
    pub(crate) fn time_ms(&self) -> u64 {
        let told = *self.inner.time.lock().unwrap_or_else(PoisonError::into_inner);
        told.map_or(0, |(ms, at)| {
            ms.saturating_add(u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX))
        })
    }

    /// Greets `address` on a new connection: so a coordinator tells its time again.
    pub(crate) async fn greet_again(&self, address: &str) -> Result<(), Error> {
        let peer = self.peer(address);
        let _guard = peer.dialling.lock().await;
        self.dial(&peer, PeerName::Coordinator).await.map(drop)
    }

    /// A connection to `address`, where `whom` is expected: one that is idle, or a new one while there are fewer than `links_max`, or the least
    /// busy.
    ///
    /// Cancel safety: a dial that was begun is given up.
    pub(crate) async fn get(
        &self,
        address: &str,
        whom: PeerName,
        links_max: usize,
    ) -> Result<Arc<Conn>, Error> {
        let peer = self.peer(address);
        if let Some((conn, streams, count)) = peer.least_busy(whom) {
            if streams == 0 || count >= links_max {
                conn.touch();
                return Ok(conn);
            }
            // A connection more would be good, but nobody waits for it if somebody else is dialling.
            let dialled = match peer.dialling.try_lock() {
                Ok(_guard) => self.dial(&peer, whom).await.ok(),
                Err(_) => None,
            };
            let chosen = dialled.unwrap_or(conn);
            chosen.touch();
            return Ok(chosen);
        }
        let asked = Instant::now();
        let _guard = peer.dialling.lock().await;
        if let Some((conn, ..)) = peer.least_busy(whom) {
            conn.touch();
            return Ok(conn);
        }
        // Whoever waited for a dial that failed shares its failure: a crowd does not knock one by one.
        let refused = peer.lock().refused.clone();
        match refused {
            Some((at, error)) if at >= asked => Err(error),
            _ => self.dial(&peer, whom).await,
        }
    }

    /// A connection to `whom` at `address` that is open already, if there is one. Does not dial.
    pub(crate) fn open_one(&self, address: &str, whom: PeerName) -> Option<Arc<Conn>> {
        let (conn, ..) = self.peer(address).least_busy(whom)?;
        conn.touch();
        Some(conn)
    }

    /// Whether `address` failed so lately that others are to be preferred.
    pub(crate) fn is_cooling(&self, address: &str) -> bool {
        let peer = self.peers().get(address).cloned();
        peer.is_some_and(|p| p.lock().cooling_until.is_some_and(|until| Instant::now() < until))
    }

    /// Notes that `address` failed somebody.
    pub(crate) fn failed(&self, address: &str) {
        let peer = self.peer(address);
        let mut state = peer.lock();
        let pause = COOLDOWN_MIN.saturating_mul(1 << state.failures.min(8)).min(COOLDOWN_MAX);
        state.failures = state.failures.saturating_add(1);
        state.cooling_until = Some(Instant::now() + pause);
    }

    /// Notes that `address` served somebody.
    pub(crate) fn served(&self, address: &str) {
        let peer = self.peer(address);
        let mut state = peer.lock();
        state.failures = 0;
        state.cooling_until = None;
    }

    fn peers(&self) -> MutexGuard<'_, BTreeMap<String, Arc<PeerConns>>> {
        self.inner.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn peer(&self, address: &str) -> Arc<PeerConns> {
        let mut peers = self.peers();
        if let Some(peer) = peers.get(address) {
            return peer.clone();
        }
        if peers.len() >= PEERS_MAX {
            peers.retain(|_, p| !p.lock().conns.is_empty());
        }
        let peer = PeerConns {
            address: address.to_owned(),
            state: Mutex::default(),
            dialling: tokio::sync::Mutex::new(()),
        };
        let peer = Arc::new(peer);
        peers.insert(address.to_owned(), peer.clone());
        peer
    }

    async fn dial(&self, peer: &Arc<PeerConns>, whom: PeerName) -> Result<Arc<Conn>, Error> {
        let welcomed = peer.lock().welcomed;
        let mut dialled = self.try_dial(&peer.address, whom).await;
        if !welcomed && dialled.as_ref().is_err_and(is_nonsense) {
            // Damaged on its way, it would not come the same way again.
            dialled = self.try_dial(&peer.address, whom).await;
        }
        match dialled {
            Ok(conn) => {
                let mut state = peer.lock();
                state.welcomed = true;
                state.failures = 0;
                state.cooling_until = None;
                state.refused = None;
                state.conns.push(conn.clone());
                Ok(conn)
            }
            Err(error) => {
                let error = if welcomed && is_nonsense(&error) { damaged(error) } else { error };
                self.failed(&peer.address);
                peer.lock().refused = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    async fn try_dial(&self, address: &str, whom: PeerName) -> Result<Arc<Conn>, Error> {
        let inner = &self.inner;
        let unreachable = |text: String| {
            Error::new(StatusCode::Unavailable, text)
                .with_hint("check the address, that the node runs, and that no firewall is in between")
        };
        let (reader, writer) =
            match timeout(inner.timeouts.connect, inner.env.connector.connect(address, whom)).await {
                Ok(Ok(halves)) => halves,
                Ok(Err(e)) if is_distrust(&e) || speaks_no_tls(&e) => return Err(unproven(address, whom, e)),
                Ok(Err(e)) => return Err(unreachable(format!("cannot connect to {address}")).caused_by(e)),
                Err(_) => {
                    let seconds = inner.timeouts.connect.as_secs_f32();
                    return Err(unreachable(format!("no connection to {address} within {seconds} s")));
                }
            };
        let hello = Hello {
            cluster: self.cluster(),
            peer: inner.me.clone(),
            credentials: None,
            features: 0,
            connection_credit: inner.memory.bytes().max(CONNECTION_CREDIT_BYTES),
        };
        let greeting = Link::connect(reader, writer, &hello, inner.memory.credit_budget());
        let Dialed { link, driver, welcome } = match timeout(inner.timeouts.handshake, greeting).await {
            Ok(Ok(dialed)) => dialed,
            Ok(Err(e)) => return Err(refused(address, e.into_status())),
            Err(_) => {
                let seconds = inner.timeouts.handshake.as_secs_f32();
                return Err(unreachable(format!(
                    "{address} did not answer the handshake within {seconds} s"
                )));
            }
        };
        if let PeerName::Node(node) = whom
            && welcome.node != node
        {
            let text = format!("node {} answers at {address}, where {node} was expected", welcome.node);
            return Err(Error::new(StatusCode::Unavailable, text));
        }
        if let Some(cluster) = welcome.cluster {
            let known = *inner.cluster.get_or_init(|| cluster);
            if known != cluster {
                let text = format!("{address} serves cluster {cluster}, not {known}");
                return Err(Error::new(StatusCode::WrongCluster, text));
            }
        }
        if welcome.time_ms > 0 {
            let told = (welcome.time_ms, Instant::now());
            *inner.time.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
        }
        tracing::debug!(address, session = welcome.session, node = %welcome.node, "connected");
        let conn = Arc::new(Conn { link, whom, last_used: Mutex::new(Instant::now()) });
        run(driver, &conn, &inner.timeouts);
        Ok(conn)
    }
}

/// A handshake that failed. A lost connection is only "unavailable": no request was sent on it yet.
fn refused(address: &str, status: Status) -> Error {
    let code = match status.code {
        StatusCode::ConnectionLost => StatusCode::Unavailable,
        code => code,
    };
    Error::from(Status { code, ..status }).context(format_args!("connecting to {address}"))
}

/// Whoever answers has not proved to be the one who is meant.
fn unproven(address: &str, whom: PeerName, error: std::io::Error) -> Error {
    let (code, text, hint) = match speaks_no_tls(&error) {
        true => (
            StatusCode::ProtocolViolation,
            format!("{address} takes plain connections, and this client makes secured ones only"),
            "is it a node of the cluster that is meant? If the cluster is not secured, leave the identity out",
        ),
        false => (
            StatusCode::Unauthenticated,
            format!("whoever answers at {address} is not {whom} of the cluster that is trusted"),
            "check the address, and that the authority's certificate is that of this cluster",
        ),
    };
    Error::new(code, text).with_hint(hint).caused_by(error)
}

/// Whether either side made no sense of the other.
fn is_nonsense(error: &Error) -> bool {
    error.status_code() == Some(StatusCode::ProtocolViolation)
}

/// Nonsense from where a node has answered before: it was damaged on its way, and may be tried again like any lost
/// connection. From elsewhere it is another program that answers, and final.
fn damaged(error: Error) -> Error {
    Error::new(StatusCode::Unavailable, "the handshake was damaged on its way").caused_by(error)
}

/// Starts the tasks of a connection; they end when the link closes, which the last user's drop does.
fn run(driver: Driver, conn: &Arc<Conn>, timeouts: &Timeouts) {
    tokio::spawn(driver.reader);
    tokio::spawn(driver.writer);
    let (link, weak) = (conn.link.clone(), Arc::downgrade(conn));
    let (keepalive, idle) = (timeouts.keepalive, timeouts.idle);
    tokio::spawn(async move {
        while timeout(keepalive, link.closed()).await.is_err() {
            let Some(conn) = weak.upgrade() else { return };
            if link.streams() > 0 {
                conn.touch();
            } else if conn.idle_for() >= idle {
                link.close(Status::new(StatusCode::Cancelled, "the connection was idle"));
                return;
            }
            link.tick();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says what was made of the handshake, the same each time.
    struct Babble(std::sync::atomic::AtomicUsize);

    impl crate::env::Connector for Babble {
        fn connect<'a>(&'a self, _: &'a str, _: PeerName) -> crate::env::ConnectFuture<'a> {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Box::pin(async {
                let nonsense = std::io::Cursor::new(b"HTTP/1.1 400 Bad Request\r\n\r\n".repeat(8));
                Ok((Box::new(nonsense) as crate::BoxReader, Box::new(tokio::io::sink()) as crate::BoxWriter))
            })
        }
    }

    #[tokio::test]
    async fn nonsense_is_final_only_from_where_no_node_has_answered() {
        for (welcomed, code, dials) in
            [(false, StatusCode::ProtocolViolation, 2), (true, StatusCode::Unavailable, 1)]
        {
            let babble = Arc::new(Babble(0.into()));
            let config = crate::ClientConfig::new(["h:1"]);
            let env = Env { connector: babble.clone(), ..Env::system(None) };
            let pool = Pool::new(&config, env, MemoryBound::new(16));
            let peer = pool.peer("h:1");
            peer.lock().welcomed = welcomed;
            let error = pool.dial(&peer, PeerName::Coordinator).await.err().expect("nobody speaks there");
            assert_eq!(error.status_code(), Some(code), "{error}");
            assert_eq!(error.retryable(), welcomed);
            assert_eq!(babble.0.load(std::sync::atomic::Ordering::Relaxed), dials);
        }
    }
}
