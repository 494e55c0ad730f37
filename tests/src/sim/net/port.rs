//! The network as one process sees it: it dials, and it listens.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use dfs_actors::env::{Connection, ListeningSocket, Net};
use dfs_client::{BoxReader, BoxWriter, ConnectFuture, Connector};
use dfs_wire::identity::{Bearer, Identity, PeerName};
use dfs_wire::tls::{Proof, ProofCell};
use futures_util::future::BoxFuture;

use super::half::{Half, bearer};
use super::lines::{Listening, Piece, Presence, SYN_AGAIN, SimNet};
use crate::sim::host::Doom;
use crate::sim::id::HostId;

impl SimNet {
    /// The network as one life of `host` sees it.
    pub(in crate::sim) fn port(&self, host: HostId, doom: Arc<Doom>) -> Port {
        Port { net: self.clone(), host, doom }
    }

    /// Opens a connection from `host` to a node that says nothing and never reads, as the double of a lost one would be.
    pub(in crate::sim) fn ghost(&self, host: HostId, to: HostId) {
        let doom = Arc::new(Doom::default());
        let mut state = self.lock();
        let Ok((_near, far)) = self.connect(&mut state, host, &doom, &to.address()) else { return };
        doom.seal();
        drop(state);
        drop(far);
    }
}

impl SimNet {
    /// Opens a connection from `host` to a node on which everything is said again that `host` said to it on the last one.
    pub(in crate::sim) fn replay(&self, host: HostId, to: HostId) {
        let doom = Arc::new(Doom::default());
        let mut guard = self.lock();
        let state = &mut *guard;
        let Some(said) = state.said.get(&(host, to)).cloned().filter(|said| !said.is_empty()) else { return };
        let Ok(ends) = self.connect(state, host, &doom, &to.address()) else { return };
        let latency = state.latency(host, to, said.len());
        let dialled = state.dialled;
        if let Some(line) = state.lines.get_mut(&dialled) {
            let pipe = &mut line.pipes[0];
            let at = pipe.arrives(latency);
            pipe.bytes += said.len();
            pipe.pieces.push_back(Piece { at, bytes: said.clone().into() });
        }
        // The connection is no reason to forget what was said on the one before.
        state.said.insert((host, to), said);
        doom.seal();
        drop(guard);
        drop(ends);
    }
}

/// The network as one process sees it.
#[derive(Clone)]
pub(in crate::sim) struct Port {
    net: SimNet,
    host: HostId,
    doom: Arc<Doom>,
}

impl Port {
    /// From now on this host proves to be this.
    pub(in crate::sim) fn prove(&self, identity: Identity) {
        self.net.prove(self.host, identity);
    }

    /// Whoever answers at an address, if that is the one who was meant: the check that TLS makes of a certificate's names.
    fn meant(&self, address: &str, whom: PeerName) -> io::Result<Bearer> {
        let state = self.net.lock();
        let answers = state.owner(address).map(|to| bearer(&state, to));
        let is_meant = |who: &Bearer| who.identity.dns_names().contains(&whom.dns_name());
        let another = || io::Error::new(io::ErrorKind::InvalidData, format!("it is not {whom} that answers"));
        answers.filter(is_meant).ok_or_else(another)
    }

    async fn dial(&self, address: &str) -> io::Result<(Half, Half)> {
        loop {
            let round_trip = {
                let mut state = self.net.lock();
                if self.doom.is_sealed() {
                    return Err(io::ErrorKind::NetworkUnreachable.into());
                }
                let to = state.owner(address).ok_or(io::ErrorKind::AddrNotAvailable)?;
                let off = state.off.get(&to) == Some(&Presence::Off);
                let there = state.latency(self.host, to, 0).filter(|_| !off);
                there.and_then(|there| Some(there + state.latency(to, self.host, 0)?))
            };
            match round_trip {
                Some(micros) => {
                    tokio::time::sleep(Duration::from_micros(micros)).await;
                    let mut state = self.net.lock();
                    return self.net.connect(&mut state, self.host, &self.doom, address);
                }
                None => tokio::time::sleep(SYN_AGAIN).await,
            }
        }
    }
}

impl Net for Port {
    fn connect<'a>(
        &'a self,
        addr: &'a str,
        whom: PeerName,
        timeout: Duration,
    ) -> BoxFuture<'a, io::Result<Connection>> {
        Box::pin(async move {
            let dialled = tokio::time::timeout(timeout, self.dial(addr)).await;
            let (reader, writer) = dialled.map_err(|_| io::ErrorKind::TimedOut)??;
            let answers = Some(self.meant(addr, whom)?);
            let peer = addr.parse().map_err(|_| io::ErrorKind::AddrNotAvailable)?;
            Ok(Connection {
                reader: Box::new(reader),
                writer: Box::new(writer),
                peer,
                local: peer,
                proof: ProofCell::known(Proof::Secured(answers)),
            })
        })
    }

    fn listen<'a>(&'a self, addr: &'a str) -> BoxFuture<'a, io::Result<Box<dyn ListeningSocket>>> {
        Box::pin(async move {
            let address = addr.parse().map_err(|_| io::ErrorKind::AddrNotAvailable)?;
            let mut state = self.net.lock();
            state.dialled += 1;
            let number = state.dialled;
            let listening = Listening {
                doom: self.doom.clone(),
                host: self.host,
                number,
                waiting: VecDeque::new(),
                waker: None,
            };
            let before = state.listening.insert(addr.to_owned(), listening);
            drop(state);
            // Connections that nobody had accepted: to drop one takes the lock.
            drop(before);
            let name = addr.to_owned();
            Ok(Box::new(Door { net: self.net.clone(), name, number, address }) as Box<dyn ListeningSocket>)
        })
    }
}

impl Connector for Port {
    fn connect<'a>(&'a self, address: &'a str, whom: PeerName) -> ConnectFuture<'a> {
        Box::pin(async move {
            let (reader, writer) = self.dial(address).await?;
            self.meant(address, whom)?;
            Ok((Box::new(reader) as BoxReader, Box::new(writer) as BoxWriter))
        })
    }
}

struct Door {
    net: SimNet,
    name: String,
    number: u64,
    address: SocketAddr,
}

impl Drop for Door {
    fn drop(&mut self) {
        let mut state = self.net.lock();
        let listening = state.listening.get(&self.name);
        let ours = listening.is_some_and(|there| there.number == self.number && !there.doom.is_sealed());
        let gone = ours.then(|| state.listening.remove(&self.name));
        drop(state);
        drop(gone);
    }
}

impl ListeningSocket for Door {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Connection>> {
        Box::pin(poll_fn(|cx| {
            let mut state = self.net.lock();
            let Some(listening) = state.listening.get_mut(&self.name) else {
                return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
            };
            match listening.waiting.pop_front() {
                Some(connection) => Poll::Ready(Ok(connection)),
                None => {
                    listening.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        }))
    }

    fn local_addr(&self) -> SocketAddr {
        self.address
    }
}
