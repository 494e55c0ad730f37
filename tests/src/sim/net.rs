//! A network of pipes in memory.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dfs_actors::env::{BoxRead, BoxWrite, Connection, ListeningSocket, Net, Rng, SeededRng};
use dfs_client::{BoxReader, BoxWriter, ConnectFuture, Connector};
use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::sync::mpsc;

use super::trace::{Tap, Trace};

/// Bytes that lie between a sender and the wire, and between the wire and a receiver.
const PIPE_BYTES: usize = 256 * 1024;
/// Bytes that cross the wire at once.
const PIECE_BYTES: usize = 64 * 1024;
/// Milliseconds that they take, at most.
const DELAY_MAX_MS: u64 = 2;
/// Connections that nobody has accepted yet.
const BACKLOG: usize = 64;

/// Where every connection comes from: nobody is told apart by the port that it dials from.
const DIALLER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 254)), 40_000);

fn socket_address(address: &str) -> io::Result<SocketAddr> {
    address.parse().map_err(|_| io::ErrorKind::AddrNotAvailable.into())
}

/// All lines of a world: each piece of bytes takes a while that the seed decides.
pub(super) struct SimNet {
    trace: Trace,
    rng: SeededRng,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Who listens at which address.
    listeners: BTreeMap<String, mpsc::Sender<Connection>>,
    connections: u64,
}

impl SimNet {
    /// A network on which nobody listens yet.
    pub(super) fn new(seed: u64, trace: Trace) -> Arc<Self> {
        Arc::new(Self { trace, rng: SeededRng::new(seed), state: Mutex::default() })
    }

    /// The network as `name` sees it.
    pub(super) fn as_seen_by(self: &Arc<Self>, name: &str) -> Place {
        Place { net: self.clone(), name: name.to_owned() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings what comes out of one pipe to another, until one of them is closed.
    async fn carry(
        self: Arc<Self>,
        mut from: ReadHalf<DuplexStream>,
        mut to: WriteHalf<DuplexStream>,
        mut tap: Tap,
    ) {
        let mut piece = vec![0; PIECE_BYTES];
        while let Ok(count @ 1..) = from.read(&mut piece).await {
            tap.saw(&piece[..count]);
            tokio::time::sleep(Duration::from_millis(self.rng.below(DELAY_MAX_MS + 1))).await;
            if to.write_all(&piece[..count]).await.is_err() {
                break;
            }
        }
        to.shutdown().await.ok();
    }
}

/// Where somebody stands in the network.
pub(super) struct Place {
    net: Arc<SimNet>,
    name: String,
}

impl Place {
    async fn dial(&self, address: &str) -> io::Result<(ReadHalf<DuplexStream>, WriteHalf<DuplexStream>)> {
        let (listener, number) = {
            let mut state = self.net.lock();
            let listener = state.listeners.get(address).cloned().ok_or(io::ErrorKind::ConnectionRefused)?;
            state.connections += 1;
            (listener, state.connections)
        };
        let ((ours, near), (far, theirs)) = (duplex(PIPE_BYTES), duplex(PIPE_BYTES));
        let (reader, writer) = split(theirs);
        let (peer, local) = (DIALLER, socket_address(address)?);
        let connection = Connection { reader: Box::new(reader), writer: Box::new(writer), peer, local };
        listener.send(connection).await.map_err(|_| io::ErrorKind::ConnectionRefused)?;
        let ((near_out, near_in), (far_out, far_in)) = (split(near), split(far));
        let there = Tap::on(&self.net.trace, &format!("{}>{address}#{number}", self.name), true);
        let back = Tap::on(&self.net.trace, &format!("{address}>{}#{number}", self.name), false);
        tokio::spawn(self.net.clone().carry(near_out, far_in, there));
        tokio::spawn(self.net.clone().carry(far_out, near_in, back));
        Ok(split(ours))
    }
}

impl Net for Place {
    fn connect<'a>(&'a self, addr: &'a str, timeout: Duration) -> BoxFuture<'a, io::Result<Connection>> {
        Box::pin(async move {
            let dialled = tokio::time::timeout(timeout, self.dial(addr)).await;
            let (reader, writer) = dialled.map_err(|_| io::ErrorKind::TimedOut)??;
            let (reader, writer): (BoxRead, BoxWrite) = (Box::new(reader), Box::new(writer));
            Ok(Connection { reader, writer, peer: socket_address(addr)?, local: DIALLER })
        })
    }

    fn listen<'a>(&'a self, addr: &'a str) -> BoxFuture<'a, io::Result<Box<dyn ListeningSocket>>> {
        Box::pin(async move {
            let address = socket_address(addr)?;
            let (sender, incoming) = mpsc::channel(BACKLOG);
            self.net.lock().listeners.insert(addr.to_owned(), sender);
            Ok(Box::new(Door { address, incoming }) as Box<dyn ListeningSocket>)
        })
    }
}

impl Connector for Place {
    fn connect<'a>(&'a self, address: &'a str) -> ConnectFuture<'a> {
        Box::pin(async move {
            let (reader, writer) = self.dial(address).await?;
            Ok((Box::new(reader) as BoxReader, Box::new(writer) as BoxWriter))
        })
    }
}

struct Door {
    address: SocketAddr,
    incoming: mpsc::Receiver<Connection>,
}

impl ListeningSocket for Door {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Connection>> {
        Box::pin(async { self.incoming.recv().await.ok_or_else(|| io::ErrorKind::NotConnected.into()) })
    }

    fn local_addr(&self) -> SocketAddr {
        self.address
    }
}
