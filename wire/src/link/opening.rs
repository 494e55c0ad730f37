//! How a connection becomes a link: the handshake, and the first credits that it agrees on.
//!
//! What one side says that the other may have in flight is what its link holds the other to. Deadlines are the callers':
//! wire has no clock.

use tokio::io::{AsyncRead, AsyncWrite, Join, join};

use super::{Driver, Link, LinkParams, Role};
use crate::handshake::{self, HandshakeError, Hello, Welcome};
use crate::slab::SlabBudget;
use crate::status::Status;
use crate::version::ProtocolVersion;

/// A connection whose peer said welcome. Nothing moves on it until the driver's halves are run.
#[derive(Debug)]
pub struct Dialed {
    /// Opens streams, or hears of requests, once the driver runs.
    pub link: Link,
    /// The work of the connection, to be spawned by its owner.
    pub driver: Driver,
    /// What the peer said of itself.
    pub welcome: Welcome,
}

impl Link {
    /// Shakes hands over a connection that was just made, as whoever `hello` says. Inline payloads are received into
    /// `budget`. Waits for the peer without a deadline: bring one.
    ///
    /// Cancel safety: dropping the future closes the connection.
    ///
    /// # Errors
    /// If the connection breaks, the acceptor refuses, or what it answers is not this protocol.
    pub async fn connect<R, W>(
        reader: R,
        writer: W,
        hello: &Hello,
        budget: SlabBudget,
    ) -> Result<Dialed, HandshakeError>
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let mut io = join(reader, writer);
        let welcome = handshake::connect(&mut io, hello).await?;
        let params = LinkParams {
            role: Role::Connector,
            budget,
            send_credit: welcome.connection_credit,
            recv_credit: hello.connection_credit,
        };
        let (reader, writer) = io.into_inner();
        let (link, driver) = Self::new(reader, writer, params);
        Ok(Dialed { link, driver, welcome })
    }

    /// Takes a connection that arrived, to shake hands over it: [`Accepting::hello`] first, then [`Accepting::welcome`]
    /// or [`Accepting::refuse`]. Inline payloads are received into `budget`.
    pub fn accept<R, W>(reader: R, writer: W, budget: SlabBudget) -> Accepting<R, W>
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        Accepting { io: join(reader, writer), budget }
    }
}

/// A connection that arrived and has not been answered. Dropping it closes the connection without a word.
#[derive(Debug)]
pub struct Accepting<R, W> {
    io: Join<R, W>,
    budget: SlabBudget,
}

impl<R, W> Accepting<R, W>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    /// Reads the peer's hello, and the version that both speak. A peer whose first words make no sense is told so.
    ///
    /// Cancel safety: after a cancelled one the peer may be refused, and nothing else.
    ///
    /// # Errors
    /// If the connection breaks or the peer was refused; it has been told then.
    pub async fn hello(&mut self) -> Result<(Hello, ProtocolVersion), HandshakeError> {
        handshake::receive(&mut self.io).await
    }

    /// Answers `hello` with yes. Nothing moves on the link until the driver's halves are run.
    ///
    /// Cancel safety: dropping the future closes the connection.
    ///
    /// # Errors
    /// If the connection breaks.
    pub async fn welcome(
        mut self,
        hello: &Hello,
        welcome: Welcome,
    ) -> Result<(Link, Driver), HandshakeError> {
        let params = LinkParams {
            role: Role::Acceptor,
            budget: self.budget,
            send_credit: hello.connection_credit,
            recv_credit: welcome.connection_credit,
        };
        handshake::answer(&mut self.io, &Ok(welcome)).await?;
        let (reader, writer) = self.io.into_inner();
        Ok(Link::new(reader, writer, params))
    }

    /// Answers with no, and closes the connection.
    ///
    /// Cancel safety: dropping the future closes the connection; the peer may not know why then.
    ///
    /// # Errors
    /// If the connection breaks.
    pub async fn refuse(mut self, status: Status) -> Result<(), HandshakeError> {
        handshake::answer(&mut self.io, &Err(status)).await
    }
}
