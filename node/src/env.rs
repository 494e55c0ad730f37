//! The real world for actors: the system's clocks, TCP, and the system's randomness.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use dfs_actors::env::{Clock, Connection, Env, ListeningSocket, MonoTime, Net, Rng};
use dfs_actors::peer::gate::Gate;
use dfs_client::tune_socket;
use dfs_wire::identity::PeerName;
use dfs_wire::tls::{Proof, ProofCell, Tls, speaks_no_tls};
use futures_util::future::BoxFuture;
use tokio::io::split;
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};

use crate::security::Security;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;

/// The environment of a node in production.
pub fn system(security: Security, gate: Gate) -> Env {
    Env::new(Arc::new(SystemClock::new()), Arc::new(TcpNet { security, gate }), Arc::new(SystemRng))
}

/// Tokio's timer and the system's date.
#[derive(Clone, Copy, Debug)]
struct SystemClock {
    started: tokio::time::Instant,
}

impl SystemClock {
    fn new() -> Self {
        Self { started: tokio::time::Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> MonoTime {
        MonoTime::from_micros(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn wall_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(span))
    }
}

/// The generator of the operating system, by way of `rand`'s per-thread one.
#[derive(Clone, Copy, Debug)]
struct SystemRng;

impl Rng for SystemRng {
    fn u64(&self) -> u64 {
        rand::random()
    }
}

/// TCP, with the socket options of every dfs connection (the SDK has them, for both ends), and TLS around it.
#[derive(Clone, Debug)]
struct TcpNet {
    security: Security,
    gate: Gate,
}

impl TcpNet {
    async fn dial(&self, addr: &str, whom: PeerName) -> io::Result<Connection> {
        let stream = TcpStream::connect(addr).await?;
        let Some(tls) = self.security.current() else {
            return if self.gate == Gate::Required { Err(no_certificate()) } else { plain(stream) };
        };
        tune_socket(&stream)?;
        let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
        match tls.connect(stream, whom).await {
            Ok(stream) => {
                let bearer = Tls::bearer(&stream);
                if !self.security.believes(bearer.as_ref()) {
                    let text = "the certificate of whoever answers was revoked";
                    return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
                }
                let proof = ProofCell::known(Proof::Secured(bearer));
                let (reader, writer) = split(stream);
                Ok(Connection { reader: Box::new(reader), writer: Box::new(writer), peer, local, proof })
            }
            // While a cluster is secured node by node, some are not yet.
            Err(error) if self.gate == Gate::Permissive && speaks_no_tls(&error) => {
                plain(TcpStream::connect(addr).await?)
            }
            Err(error) => Err(error),
        }
    }
}

impl Net for TcpNet {
    fn connect<'a>(
        &'a self,
        addr: &'a str,
        whom: PeerName,
        timeout: Duration,
    ) -> BoxFuture<'a, io::Result<Connection>> {
        Box::pin(async move {
            tokio::time::timeout(timeout, self.dial(addr, whom))
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        })
    }

    fn listen<'a>(&'a self, addr: &'a str) -> BoxFuture<'a, io::Result<Box<dyn ListeningSocket>>> {
        Box::pin(async move {
            let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no address");
            for address in lookup_host(addr).await? {
                match bind(address) {
                    Ok(listener) => {
                        let local = listener.local_addr()?;
                        let (security, gate) = (self.security.clone(), self.gate);
                        let acceptor = TcpAcceptor { listener, local, security, gate };
                        return Ok(Box::new(acceptor) as Box<dyn ListeningSocket>);
                    }
                    Err(error) => last = error,
                }
            }
            Err(last)
        })
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restarted node gets its port back although connections of its former life linger.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Nothing is said in clear where everything is to be secured.
fn no_certificate() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "this node has no certificate yet")
}

fn plain(stream: TcpStream) -> io::Result<Connection> {
    tune_socket(&stream)?;
    let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
    let (reader, writer) = stream.into_split();
    let proof = ProofCell::known(Proof::Plain);
    Ok(Connection { reader: Box::new(reader), writer: Box::new(writer), peer, local, proof })
}

/// A connection that somebody made to us: its first byte tells whether it is secured.
fn arrived(stream: TcpStream, tls: &Tls) -> io::Result<Connection> {
    tune_socket(&stream)?;
    let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
    let arriving = tls.accept(stream);
    let proof = arriving.proof();
    let (reader, writer) = split(arriving);
    Ok(Connection { reader: Box::new(reader), writer: Box::new(writer), peer, local, proof })
}

struct TcpAcceptor {
    listener: TcpListener,
    local: SocketAddr,
    security: Security,
    gate: Gate,
}

impl ListeningSocket for TcpAcceptor {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Connection>> {
        Box::pin(async {
            loop {
                let (stream, _) = self.listener.accept().await?;
                // A peer that is gone before its options are set is no error of the listener.
                let taken = match self.security.current() {
                    Some(tls) => arrived(stream, &tls),
                    None if self.gate == Gate::Required => Err(no_certificate()),
                    None => plain(stream),
                };
                if let Ok(connection) = taken {
                    return Ok(connection);
                }
            }
        })
    }

    fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn bytes_cross_a_real_connection_and_a_port_is_bound_twice_in_a_row() {
        let env = system(Security::default(), Gate::Off);
        let mut listener = env.net.listen("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().to_string();
        let (ours, theirs) =
            tokio::join!(env.net.connect(&address, PeerName::Coordinator, Duration::from_secs(5)), async {
                listener.accept().await
            });
        let (mut ours, mut theirs) = (ours.expect("connected"), theirs.expect("accepted"));
        assert_eq!((ours.peer, ours.local), (theirs.local, theirs.peer));
        ours.writer.write_all(b"dfs").await.expect("written");
        let mut read = [0; 3];
        theirs.reader.read_exact(&mut read).await.expect("read");
        assert_eq!(&read, b"dfs");
        drop(listener);
        env.net.listen(&address).await.expect("the port is free again at once");
    }

    #[tokio::test]
    async fn a_connection_to_nobody_fails() {
        let env = system(Security::default(), Gate::Off);
        let listener = env.net.listen("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().to_string();
        drop(listener);
        assert!(env.net.connect(&address, PeerName::Coordinator, Duration::from_secs(5)).await.is_err());
        assert!(env.clock.wall_ms() > 1_700_000_000_000 && env.rng.u64() != env.rng.u64());
    }
}
