//! The socket, before the listener lives.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::env::{Env, ListeningSocket};
use crate::supervisor::FirstLife;

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

    /// The socket, in the first life.
    pub(super) fn take(&self) -> Option<Box<dyn ListeningSocket>> {
        self.socket.take()
    }

    pub(super) fn next_session(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The address really bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
