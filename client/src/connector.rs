//! How a connection comes to be: TCP in earnest, pipes in memory in tests.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::TcpStream;

/// A boxed reader.
pub type BoxReader = Box<dyn AsyncRead + Send + Unpin>;
/// A boxed writer.
pub type BoxWriter = Box<dyn AsyncWrite + Send + Unpin>;
/// What [`Connector::connect`] returns.
pub type ConnectFuture<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Transport>>> + Send + 'a>>;

/// A byte stream in both directions that can be taken apart.
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin {
    /// Its two halves.
    fn split(self: Box<Self>) -> (BoxReader, BoxWriter);
}

impl Transport for TcpStream {
    fn split(self: Box<Self>) -> (BoxReader, BoxWriter) {
        let (reader, writer) = self.into_split();
        (Box::new(reader), Box::new(writer))
    }
}

impl Transport for DuplexStream {
    fn split(self: Box<Self>) -> (BoxReader, BoxWriter) {
        let (reader, writer) = tokio::io::split(*self);
        (Box::new(reader), Box::new(writer))
    }
}

/// Opens byte streams to addresses.
pub trait Connector: Send + Sync + 'static {
    /// Opens a stream to `address` (`host:port`). The caller brings the deadline.
    fn connect<'a>(&'a self, address: &'a str) -> ConnectFuture<'a>;
}

/// TCP, with the socket options that long transfers and fast failure detection want.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpConnector;

/// Sent bytes that nobody acknowledges for so long mean that the peer is gone.
const USER_TIMEOUT: Duration = Duration::from_secs(15);
/// Unsent bytes in the kernel beyond which a socket is not writable: control frames then wait behind little data.
const NOT_SENT_LOW_WATER: u32 = 512 * 1024;

impl Connector for TcpConnector {
    fn connect<'a>(&'a self, address: &'a str) -> ConnectFuture<'a> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            // What follows only helps: an old kernel or a strange sandbox without it still moves files.
            let socket = SockRef::from(&stream);
            #[cfg(target_os = "linux")]
            {
                let _ = socket.set_tcp_user_timeout(Some(USER_TIMEOUT));
                let _ = socket.set_tcp_notsent_lowat(NOT_SENT_LOW_WATER);
            }
            Ok(Box::new(stream) as Box<dyn Transport>)
        })
    }
}
