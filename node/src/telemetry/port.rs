//! The socket of the admin port, bounded: so many connections at once, and the one that moved nothing for longest makes
//! room for the next, so that nobody who is silent or does not read keeps a health check out.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    time::{Instant, Sleep},
};

/// Connections served at once.
const CONNECTIONS_MAX: usize = 64;
/// Time for a whole request to arrive, for a peer to take more of an answer, and idle time between two requests.
const PATIENCE: Duration = Duration::from_secs(15);

/// The connections in the order in which they last moved, each with what ends it when it is dropped.
#[derive(Debug, Default)]
struct Table {
    last: u64,
    open: BTreeMap<u64, oneshot::Sender<()>>,
}

impl Table {
    fn newest(&mut self, end: oneshot::Sender<()>) -> u64 {
        self.last += 1;
        self.open.insert(self.last, end);
        self.last
    }
}

#[derive(Clone, Debug, Default)]
struct Slots(Arc<Mutex<Table>>);

impl Slots {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slot for a new connection, at the cost of another one if there is none.
    fn take(&self) -> ConnectionSlot {
        let (end, ended) = oneshot::channel();
        let mut table = self.lock();
        let number = table.newest(end);
        if table.open.len() > CONNECTIONS_MAX {
            table.open.pop_first();
        }
        ConnectionSlot { slots: self.clone(), number, ended }
    }
}

/// The slot of one connection, given back when it is dropped.
#[derive(Debug)]
struct ConnectionSlot {
    slots: Slots,
    number: u64,
    ended: oneshot::Receiver<()>,
}

impl ConnectionSlot {
    /// The connection moved: others make room before it.
    fn moved(&mut self) {
        let mut table = self.slots.lock();
        if let Some(end) = table.open.remove(&self.number) {
            self.number = table.newest(end);
        }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.slots.lock().open.remove(&self.number);
    }
}

/// A listener that bounds how many connections are open.
#[derive(Debug)]
pub(super) struct Bounded {
    inner: TcpListener,
    slots: Slots,
}

impl Bounded {
    /// Bounds a listener.
    pub(super) fn new(inner: TcpListener) -> Self {
        Self { inner, slots: Slots::default() }
    }
}

impl axum::serve::Listener for Bounded {
    type Io = Guarded;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Guarded, SocketAddr) {
        let (stream, address) = axum::serve::Listener::accept(&mut self.inner).await;
        let deadline = Box::pin(tokio::time::sleep(PATIENCE));
        (Guarded { stream, deadline, slot: self.slots.take() }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// A connection that is closed when its time is over or its slot is needed.
#[derive(Debug)]
pub(super) struct Guarded {
    stream: TcpStream,
    deadline: Pin<Box<Sleep>>,
    slot: ConnectionSlot,
}

impl Guarded {
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        self.deadline.as_mut().poll(cx).is_ready() || Pin::new(&mut self.slot.ended).poll(cx).is_ready()
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_over(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        match written {
            Poll::Ready(Ok(_)) => {
                // An answer is on its way: the next request gets its own time. Bytes that only trickle in do not.
                self.deadline.as_mut().reset(Instant::now() + PATIENCE);
                self.slot.moved();
            }
            Poll::Pending if self.is_over(cx) => return Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Ready(Err(_)) | Poll::Pending => {}
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_moved_nothing_for_longest_makes_room() {
        let slots = Slots::default();
        let mut held: Vec<_> = (0..CONNECTIONS_MAX).map(|_| slots.take()).collect();
        held[0].moved();
        let next = slots.take();
        let over: Vec<_> = (0..CONNECTIONS_MAX)
            .filter(|&at| held[at].ended.try_recv() != Err(oneshot::error::TryRecvError::Empty))
            .collect();
        assert_eq!(over, [1]);
        assert_eq!(slots.lock().open.len(), CONNECTIONS_MAX);
        drop((held, next));
        assert_eq!(slots.lock().open.len(), 0);
    }
}
