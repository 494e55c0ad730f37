//! How a connection comes to be: TCP in earnest, pipes in memory in tests.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use dfs_wire::identity::PeerName;
use dfs_wire::tls::Tls;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A boxed reader.
pub type BoxReader = Box<dyn AsyncRead + Send + Unpin>;
/// A boxed writer.
pub type BoxWriter = Box<dyn AsyncWrite + Send + Unpin>;
/// What [`Connector::connect`] returns: both directions of the stream. Dropping both closes it.
pub type ConnectFuture<'a> = Pin<Box<dyn Future<Output = io::Result<(BoxReader, BoxWriter)>> + Send + 'a>>;

/// Opens byte streams to addresses.
pub trait Connector: Send + Sync + 'static {
    /// Opens a stream to `address` (`host:port`), where `whom` is expected. The caller brings the deadline.
    fn connect<'a>(&'a self, address: &'a str, whom: PeerName) -> ConnectFuture<'a>;
}

/// TCP, with the options of [`tune_socket`], and TLS around it where there is one: then never without.
#[derive(Debug, Clone, Default)]
pub struct TcpConnector {
    /// Whom to trust, and who this client is.
    pub tls: Option<Tls>,
}

/// Sent bytes that nobody acknowledges for so long mean that the peer is gone: as long as a session waits for a word of
/// its peer at most, so that the kernel never gives up a connection that the protocol still waits for.
const USER_TIMEOUT: Duration = Duration::from_secs(20);
/// Silence after which the kernel asks whether the peer is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Unsent bytes in the kernel beyond which a socket is not writable: control frames then wait behind little data.
const NOT_SENT_LOW_WATER: u32 = 512 * 1024;

/// Sets the socket options that long transfers and fast failure detection want, for either end of a connection: nodes
/// use it too. Buffer sizes are left to the kernel: setting them switches its tuning off, and was slower.
///
/// # Errors
/// If the peer is gone already. Options that a kernel or a sandbox does not know are left out: they only help.
pub fn tune_socket(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE));
    #[cfg(target_os = "linux")]
    {
        let _ = socket.set_tcp_user_timeout(Some(USER_TIMEOUT));
        let _ = socket.set_tcp_notsent_lowat(NOT_SENT_LOW_WATER);
    }
    Ok(())
}

impl Connector for TcpConnector {
    fn connect<'a>(&'a self, address: &'a str, whom: PeerName) -> ConnectFuture<'a> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            tune_socket(&stream)?;
            let Some(tls) = &self.tls else {
                let (reader, writer) = stream.into_split();
                return Ok((Box::new(reader) as BoxReader, Box::new(writer) as BoxWriter));
            };
            let (reader, writer) = tokio::io::split(tls.connect(stream, whom).await?);
            Ok((Box::new(reader) as BoxReader, Box::new(writer) as BoxWriter))
        })
    }
}
