//! How two ends agree to talk.
//!
//! ```text
//! connector                                    acceptor
//!   "DFS1" lowest:u16 highest:u16  ---------->   magic and versions checked before anything is decoded
//!   Hello (frame 0, head <= 4 KiB) ---------->
//!                                  <----------   Welcome (frame 0)  -> both sides speak the chosen version
//!                                            or  Reject (frame 0) with a status, then the connection closes
//! ```
//!
//! A foreign or newer peer gets a Reject, never silence. Deadlines (5 s) are the callers': they own the clocks.

use std::io::ErrorKind;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::codec;
use crate::frame::{FrameKind, Header};
use crate::id::{ClientId, ClusterId, Epoch, Incarnation, NodeId};
use crate::limits::{HANDSHAKE_HEAD_BYTES_MAX, HEADER_BYTES, PREFACE_BYTES};
use crate::secret::Secret;
use crate::status::{Status, StatusCode};
use crate::tls;
use crate::version::{ProtocolVersion, unreadable};

/// The first four bytes of every connection.
pub const MAGIC: [u8; 4] = *b"DFS1";

/// The connector's first word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The cluster it means to reach; `None` = whichever answers.
    pub cluster: Option<ClusterId>,
    /// Who connects, and in which role.
    pub peer: Peer,
    /// Proof of that beside the certificate. It travels only where the connection is secured.
    pub credentials: Option<Credentials>,
    /// Feature bits it understands; none are defined yet.
    pub features: u64,
    /// Data bytes the acceptor may have in flight on the whole connection.
    pub connection_credit: u64,
}

/// Who connects, and in which role: it decides what may be asked, and which places are taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Peer {
    /// A program that stores and reads files.
    Client(ClientPeer),
    /// A datanode: to its coordinator, or to another datanode with a copy.
    Datanode(NodePeer),
    /// Somebody who looks after the cluster. Places are kept for such connections; they move no chunks.
    Operator(ClientPeer),
    /// The cluster's coordinator, which has datanodes copy and verify chunks.
    Coordinator(NodePeer),
    /// Somebody who does not belong to the cluster yet, and shows why it should let him.
    Newcomer(ClientPeer),
}

/// What proves who somebody is, beside a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Credentials {
    /// The secret of a join token.
    Join(Secret),
    /// What only whoever is on the coordinator's host can read.
    Host(Secret),
}

/// A client that connects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientPeer {
    /// Its id, for logs.
    pub client: ClientId,
    /// What it is, for logs (`dfsctl 0.1.0`).
    pub name: String,
}

/// A node that connects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePeer {
    /// Id of its data directory.
    pub node: NodeId,
    /// This run of it.
    pub incarnation: Incarnation,
    /// Its name for people.
    pub name: String,
}

/// The acceptor's yes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version both speak from here on.
    pub version: u16,
    /// The cluster; `None` if the acceptor has not joined one yet.
    pub cluster: Option<ClusterId>,
    /// Id of the node that answers.
    pub node: NodeId,
    /// Its name for people.
    pub name: String,
    /// `coordinator` or `datanode`.
    pub role: String,
    /// Names this connection in both logs.
    pub session: u64,
    /// The reign the acceptor knows of.
    pub epoch: Epoch,
    /// A coordinator's time in milliseconds: what the ids of operations are stamped with. 0 from a datanode.
    pub time_ms: u64,
    /// Feature bits both understand.
    pub features: u64,
    /// Data bytes the connector may have in flight on the whole connection.
    pub connection_credit: u64,
}

/// Why no agreement was reached.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The connection ended before its first byte, as those of port scanners and health checks do.
    #[error("the connection was closed before anything was said")]
    NothingSaid,
    /// The connection broke.
    #[error("connection lost during the handshake: {0}")]
    Io(#[from] std::io::Error),
    /// The other side said no, or has been told no.
    #[error("{0}")]
    Rejected(Status),
}

impl HandshakeError {
    /// The failure as a status.
    pub fn into_status(self) -> Status {
        match self {
            Self::Io(e) if tls::is_distrust(&e) => Status::new(
                StatusCode::Unauthenticated,
                format!("the connection was not secured: {e}"),
            )
            .hint("check that both sides' certificates are of this cluster's authority and have not expired"),
            Self::Io(e) => {
                Status::new(StatusCode::ConnectionLost, format!("connection lost during the handshake: {e}"))
            }
            Self::NothingSaid => Status::new(StatusCode::ConnectionLost, self.to_string()),
            Self::Rejected(status) => status,
        }
    }
}

fn refuse(code: StatusCode, text: impl Into<String>) -> HandshakeError {
    HandshakeError::Rejected(Status::new(code, text))
}

/// Speaks first: offers this build's versions and `hello`, and waits for the answer.
///
/// Cancel safety: none; a cancelled handshake leaves a connection to be dropped.
///
/// # Errors
/// If the connection breaks, the acceptor refuses, or what it answers is not this protocol.
pub async fn connect<IO: AsyncRead + AsyncWrite + Unpin>(
    io: &mut IO,
    hello: &Hello,
) -> Result<Welcome, HandshakeError> {
    let mut out = preface().to_vec();
    append_frame(&mut out, FrameKind::Hello, hello)?;
    io.write_all(&out).await?;
    io.flush().await?;
    let (header, head) = read_frame(io).await?;
    match FrameKind::from_number(header.kind) {
        Some(FrameKind::Welcome) => {
            let welcome: Welcome = decode(&head)?;
            if ProtocolVersion::from_number(welcome.version).is_none() {
                return Err(refuse(
                    StatusCode::VersionMismatch,
                    format!("peer chose protocol version {}", welcome.version),
                ));
            }
            Ok(welcome)
        }
        Some(FrameKind::Reject) => Err(HandshakeError::Rejected(decode(&head)?)),
        _ => {
            Err(refuse(StatusCode::ProtocolViolation, "the peer answered the handshake with something else"))
        }
    }
}

/// The first half of an answer: reads the preface and the hello, and tells a peer whose first words make no sense.
///
/// Cancel safety: as [`connect`], but [`answer`] may still be used to refuse the peer.
///
/// # Errors
/// If the connection breaks or the connector is refused; it has been told then.
pub async fn receive<IO: AsyncRead + AsyncWrite + Unpin>(
    io: &mut IO,
) -> Result<(Hello, ProtocolVersion), HandshakeError> {
    let outcome = read_hello(io).await;
    if let Err(HandshakeError::Rejected(status)) = &outcome {
        answer(io, &Err(status.clone())).await?;
    }
    outcome
}

/// The second half of an answer: says yes or no.
///
/// # Errors
/// If the connection breaks.
pub async fn answer<IO: AsyncWrite + Unpin>(
    io: &mut IO,
    outcome: &Result<Welcome, Status>,
) -> Result<(), HandshakeError> {
    let mut out = Vec::with_capacity(256);
    match outcome {
        Ok(welcome) => append_frame(&mut out, FrameKind::Welcome, welcome)?,
        Err(status) => append_frame(&mut out, FrameKind::Reject, status)?,
    }
    io.write_all(&out).await?;
    io.flush().await?;
    Ok(())
}

async fn read_hello<IO: AsyncRead + Unpin>(io: &mut IO) -> Result<(Hello, ProtocolVersion), HandshakeError> {
    let mut preface = [0; PREFACE_BYTES];
    let (first, rest) = preface.split_at_mut(1);
    io.read_exact(first).await.map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => HandshakeError::NothingSaid,
        // Something was said, and TLS made nothing of it.
        _ => HandshakeError::Io(error),
    })?;
    io.read_exact(rest).await?;
    let [m0, m1, m2, m3, l0, l1, h0, h1] = preface;
    if [m0, m1, m2, m3] != MAGIC {
        return Err(refuse(
            StatusCode::ProtocolViolation,
            "this is a dfs port: the connection did not begin with DFS1",
        ));
    }
    let (lowest, highest) = (u16::from_le_bytes([l0, l1]), u16::from_le_bytes([h0, h1]));
    let Some(version) = ProtocolVersion::negotiate(lowest, highest) else {
        let (own_low, own_high) = (ProtocolVersion::LOWEST.number(), ProtocolVersion::HIGHEST.number());
        let text = format!(
            "no common protocol version: offered {lowest} to {highest}, spoken here {own_low} to {own_high}"
        );
        return Err(refuse(StatusCode::VersionMismatch, text));
    };
    let (header, head) = read_frame(io).await?;
    if FrameKind::from_number(header.kind) != Some(FrameKind::Hello) {
        return Err(refuse(StatusCode::ProtocolViolation, "the first frame must be Hello"));
    }
    Ok((decode(&head)?, version))
}

fn preface() -> [u8; PREFACE_BYTES] {
    let [m0, m1, m2, m3] = MAGIC;
    let [l0, l1] = ProtocolVersion::LOWEST.number().to_le_bytes();
    let [h0, h1] = ProtocolVersion::HIGHEST.number().to_le_bytes();
    [m0, m1, m2, m3, l0, l1, h0, h1]
}

fn append_frame<T: Serialize>(out: &mut Vec<u8>, kind: FrameKind, message: &T) -> Result<(), HandshakeError> {
    let head = codec::encode(message).map_err(|e| refuse(StatusCode::Internal, e.to_string()))?;
    let head_len = u16::try_from(head.len()).ok().filter(|len| usize::from(*len) <= HANDSHAKE_HEAD_BYTES_MAX);
    let Some(head_len) = head_len else {
        return Err(refuse(
            StatusCode::InvalidArgument,
            format!("handshake message of {} bytes is too long", head.len()),
        ));
    };
    let header = Header {
        kind: kind as u8,
        flags: 0,
        head_len,
        tail_len: 0,
        stream: 0,
        tail_crc: 0,
        head_crc: 0,
        sequence: 0,
    };
    out.extend_from_slice(&header.seal(&head));
    out.extend_from_slice(&head);
    Ok(())
}

async fn read_frame<IO: AsyncRead + Unpin>(io: &mut IO) -> Result<(Header, Vec<u8>), HandshakeError> {
    let mut bytes = [0; HEADER_BYTES];
    io.read_exact(&mut bytes).await?;
    let violation = |e: crate::frame::FrameError| refuse(StatusCode::ProtocolViolation, e.to_string());
    let header = Header::parse(&bytes, HANDSHAKE_HEAD_BYTES_MAX).map_err(violation)?;
    if header.tail_len != 0 {
        return Err(refuse(StatusCode::ProtocolViolation, "a handshake frame has no tail"));
    }
    let mut head = vec![0; header.head_len.into()];
    io.read_exact(&mut head).await?;
    header.verify_head(&head).map_err(violation)?;
    Ok((header, head))
}

fn decode<T: serde::de::DeserializeOwned>(head: &[u8]) -> Result<T, HandshakeError> {
    codec::decode(head).map_err(|e| refuse(StatusCode::VersionMismatch, unreadable(&e)))
}
