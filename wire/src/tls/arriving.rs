//! A connection that was accepted: whether it is secured is told by its first byte.
//!
//! ```text
//! silent --first byte 22 (a TLS handshake)--> greeting --done--> secured
//!    \--any other, or no certificate here---> plain     \--failed--> parting --heard out--> over
//! ```
//! Whoever is refused has spoken already. To close a socket with words in it that nobody read resets the connection, and the
//! reason that was sent is lost on the way: so what comes is read, to its end or for a while.
//!
//! All of it happens while it is read or written, so that whoever accepts connections waits for none of them, and the
//! patience that a reader has with the first words covers the handshake, too.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{FallibleAccept, TlsAcceptor};

use super::{Proof, ProofCell, bearer_of};
use crate::limits::TLS_BUFFER_BYTES;

/// The type of a TLS record that carries a handshake.
const TLS_HANDSHAKE: u8 = 22;
/// What is read of somebody who was refused.
const HEARD_MAX: usize = 64 * 1024;

/// A connection that was accepted.
pub struct Arriving<IO> {
    state: State<IO>,
    acceptor: Option<TlsAcceptor>,
    proof: ProofCell,
}

enum State<IO> {
    Silent(IO),
    Greeting(Box<FallibleAccept<Prefixed<IO>>>),
    Parting(Parting<IO>),
    Secured(Box<TlsStream<Prefixed<IO>>>),
    Plain(Prefixed<IO>),
    Over,
}

/// A connection that was refused, until the other end has heard it.
struct Parting<IO> {
    io: Prefixed<IO>,
    why: io::Error,
    /// Nothing more is sent.
    shut: bool,
    /// Bytes that were read and not looked at.
    heard: usize,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Parting<IO> {
    /// Completes when the other end has closed, or said too much.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.shut {
            // Where even that fails there is nobody to hear anything.
            let shut = ready!(Pin::new(&mut self.io).poll_shutdown(cx));
            self.shut = true;
            if shut.is_err() {
                return Poll::Ready(());
            }
        }
        while self.heard < HEARD_MAX {
            let mut bytes = [0; 1024];
            let mut heard = ReadBuf::new(&mut bytes);
            let read = ready!(Pin::new(&mut self.io).poll_read(cx, &mut heard));
            if read.is_err() || heard.filled().is_empty() {
                break;
            }
            self.heard += heard.filled().len();
        }
        Poll::Ready(())
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Arriving<IO> {
    pub(super) fn new(io: IO, acceptor: Option<TlsAcceptor>) -> Self {
        Self { state: State::Silent(io), acceptor, proof: ProofCell::default() }
    }

    /// What will be known of the other end once its first byte was read.
    pub fn proof(&self) -> ProofCell {
        self.proof.clone()
    }

    /// Goes on until it is decided what the connection is.
    fn poll_decided(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match &mut self.state {
                State::Silent(io) => {
                    let mut byte = [0];
                    let mut first = ReadBuf::new(&mut byte);
                    ready!(Pin::new(io).poll_read(cx, &mut first))?;
                    let first = first.filled().first().copied();
                    let State::Silent(io) = std::mem::replace(&mut self.state, State::Over) else { continue };
                    let io = Prefixed { first, io };
                    self.state = match &self.acceptor {
                        Some(acceptor) if first == Some(TLS_HANDSHAKE) => {
                            let limit = Some(TLS_BUFFER_BYTES);
                            let greeting =
                                acceptor.accept_with(io, |session| session.set_buffer_limit(limit));
                            State::Greeting(Box::new(greeting.into_fallible()))
                        }
                        _ => {
                            self.proof.set(Proof::Plain);
                            State::Plain(io)
                        }
                    };
                }
                State::Greeting(greeting) => {
                    let stream = match ready!(Pin::new(&mut **greeting).poll(cx)) {
                        Ok(stream) => stream,
                        Err((why, io)) => {
                            self.state = State::Parting(Parting { io, why, shut: false, heard: 0 });
                            continue;
                        }
                    };
                    let certificates = stream.get_ref().1.peer_certificates();
                    let bearer = certificates.and_then(<[_]>::first).and_then(bearer_of);
                    self.proof.set(Proof::Secured(bearer));
                    self.state = State::Secured(Box::new(stream));
                }
                State::Parting(parting) => {
                    ready!(parting.poll(cx));
                    let over = std::mem::replace(&mut self.state, State::Over);
                    let State::Parting(Parting { why, .. }) = over else { continue };
                    return Poll::Ready(Err(why));
                }
                State::Secured(_) | State::Plain(_) => return Poll::Ready(Ok(())),
                State::Over => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            }
        }
    }

    /// The stream to read or write, once it is decided what it is.
    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Pin<&mut dyn ByteStream>>> {
        ready!(self.poll_decided(cx))?;
        Poll::Ready(match &mut self.state {
            State::Secured(stream) => Ok(Pin::new(&mut **stream)),
            State::Plain(stream) => Ok(Pin::new(stream)),
            State::Silent(_) | State::Greeting(_) | State::Parting(_) | State::Over => {
                Err(io::ErrorKind::NotConnected.into())
            }
        })
    }
}

trait ByteStream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> ByteStream for T {}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Arriving<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_stream(cx))?.poll_read(cx, buf)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Arriving<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_stream(cx))?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_stream(cx))?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_stream(cx))?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.state {
            // Nothing was said: there is nobody to take leave of.
            State::Silent(io) => Pin::new(io).poll_shutdown(cx),
            State::Greeting(_) | State::Parting(_) | State::Over => Poll::Ready(Ok(())),
            State::Secured(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
            State::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// A connection whose first byte was read already.
struct Prefixed<IO> {
    first: Option<u8>,
    io: IO,
}

impl<IO: AsyncRead + Unpin> AsyncRead for Prefixed<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        match self.first.take() {
            Some(byte) => {
                buf.put_slice(&[byte]);
                Poll::Ready(Ok(()))
            }
            None => Pin::new(&mut self.io).poll_read(cx, buf),
        }
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Prefixed<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
