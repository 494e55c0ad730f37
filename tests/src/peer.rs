//! Peers that follow a script instead of the protocol, and peers that follow the protocol by hand.

use std::{io, time::Duration};

use bytes::Bytes;
use dfs_wire::{
    codec,
    frame::{FrameKind, Header},
    handshake::{self, ClientPeer, HandshakeError, Hello, Peer, Welcome},
    id::{ClientId, OpId},
    identity::PeerName,
    limits::{CONNECTION_CREDIT_BYTES, HEADER_BYTES},
    link::{DataFrame, Dialed, Event, Link, Stream},
    message::{EndHead, Request, RequestHead, Response},
    slab::{SlabBudget, SlabPool},
    status::{Status, StatusCode},
    tls::Tls,
};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

/// Patience with one answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a well-behaved client says first.
pub fn client_hello() -> Hello {
    Hello {
        cluster: None,
        peer: Peer::Client(ClientPeer { client: ClientId(7), name: "dfs-tests".to_owned() }),
        credentials: None,
        features: 0,
        connection_credit: CONNECTION_CREDIT_BYTES,
    }
}

/// A raw TCP connection to a node.
pub struct ScriptedPeer {
    stream: TcpStream,
}

impl ScriptedPeer {
    /// Connects.
    pub async fn connect(address: &str) -> Self {
        let stream = timeout(PATIENCE, TcpStream::connect(address)).await.expect("an answer in time");
        Self { stream: stream.unwrap_or_else(|error| panic!("{address}: {error}")) }
    }

    /// Sends bytes. A node that has closed the connection by then does no harm.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = timeout(PATIENCE, self.stream.write_all(bytes)).await;
    }

    /// Shakes hands properly.
    ///
    /// # Errors
    /// What the node refuses with.
    pub async fn handshake(&mut self, hello: &Hello) -> Result<Welcome, HandshakeError> {
        timeout(PATIENCE, handshake::connect(&mut self.stream, hello)).await.expect("an answer in time")
    }

    /// Everything the node says until it closes the connection, and whether it closed it within `patience`.
    pub async fn until_closed(&mut self, patience: Duration) -> (Vec<u8>, bool) {
        let mut bytes = vec![];
        let closed = timeout(patience, async {
            let mut buffer = vec![0; 16 * 1024];
            loop {
                match self.stream.read(&mut buffer).await {
                    Ok(0) => return,
                    Ok(len) => bytes.extend_from_slice(&buffer[..len]),
                    // A reset is a close too: unread bytes of ours were in its buffer.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return,
                    Err(error) => panic!("unexpected end of a connection: {error}"),
                }
            }
        });
        let closed = closed.await.is_ok();
        (bytes, closed)
    }

    /// The reason among the frames a node sent before it closed the connection.
    pub fn reason(mut bytes: &[u8]) -> Option<Status> {
        while let Some((header, rest)) = bytes.split_at_checked(HEADER_BYTES) {
            let header = Header::parse(header.try_into().ok()?, dfs_wire::limits::HEAD_BYTES_MAX).ok()?;
            let (head, rest) = rest.split_at_checked(header.head_len.into())?;
            let kind = FrameKind::from_number(header.kind)?;
            if matches!(kind, FrameKind::Reject | FrameKind::Error | FrameKind::Goaway | FrameKind::Reset) {
                return codec::decode(head).ok();
            }
            bytes = rest.get(header.tail_len as usize..)?;
        }
        None
    }
}

/// A connection that speaks the protocol, request by request.
pub struct PeerLink {
    link: Link,
    budget: SlabBudget,
    _tasks: JoinSet<()>,
}

impl PeerLink {
    /// Connects and shakes hands as a client.
    pub async fn connect(address: &str) -> Self {
        let peer = ScriptedPeer::connect(address).await;
        Self::over(peer.stream, &client_hello()).await.unwrap_or_else(|error| panic!("{address}: {error}"))
    }

    /// Shakes hands over a connection, as whoever `hello` says.
    ///
    /// # Errors
    /// What the node refuses with.
    pub async fn over(stream: TcpStream, hello: &Hello) -> Result<Self, HandshakeError> {
        let (reader, writer) = stream.into_split();
        Self::of(reader, writer, hello).await
    }

    /// Connects to whoever is at `address`, with a certificate, and shakes hands as whoever `hello` says.
    ///
    /// # Errors
    /// What the node refuses with, or that one does not believe the other.
    pub async fn secured(address: &str, tls: &Tls, hello: &Hello) -> Result<Self, HandshakeError> {
        let stream = ScriptedPeer::connect(address).await.stream;
        let (reader, writer) = split(tls.connect(stream, PeerName::AnyNode).await?);
        Self::of(reader, writer, hello).await
    }

    async fn of<R, W>(reader: R, writer: W, hello: &Hello) -> Result<Self, HandshakeError>
    where
        R: AsyncRead + Unpin + Send + Sync + 'static,
        W: AsyncWrite + Unpin + Send + Sync + 'static,
    {
        let budget = SlabBudget::new(SlabPool::new(64), 64);
        let greeting = Link::connect(reader, writer, hello, budget.clone());
        let Dialed { link, driver, .. } = timeout(PATIENCE, greeting).await.expect("an answer in time")?;
        let mut tasks = JoinSet::new();
        tasks.spawn(driver.reader);
        tasks.spawn(driver.writer);
        Ok(Self { link, budget, _tasks: tasks })
    }

    /// The link itself.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// The node's refusal.
    pub async fn ask(&self, op: u128, body: Request) -> Result<Response, Status> {
        let answer = timeout(PATIENCE, self.link.request(OpId(op), 10_000, body)).await;
        answer.expect("an answer in time").map(|(response, _)| response)
    }

    /// Opens a stream, sends `data` in frames with a proper end, and waits for the answer.
    ///
    /// # Errors
    /// The node's refusal.
    pub async fn upload(&self, body: Request, data: &[u8]) -> Result<Response, Status> {
        let end =
            EndHead { len: data.len() as u64, sha256: Sha256::digest(data).into(), facts: Box::default() };
        self.upload_with_end(body, data, end).await
    }

    /// As [`Self::upload`], with an end that may lie.
    ///
    /// # Errors
    /// The node's refusal.
    pub async fn upload_with_end(
        &self,
        body: Request,
        data: &[u8],
        end: EndHead,
    ) -> Result<Response, Status> {
        let head = RequestHead { op: OpId(1), deadline_ms: 10_000, trace: None, body };
        let stream = self.link.open(&head, Bytes::new())?;
        let sending = async {
            for frame in data.chunks(dfs_wire::limits::DATA_FRAME_BYTES) {
                if stream.send(DataFrame::new(Bytes::copy_from_slice(frame))).await.is_err() {
                    return;
                }
            }
            // A refusal may be on its way already: the answer says so.
            let _ = stream.end(end).await;
        };
        let receiving = async {
            loop {
                if let Event::Response(response, _) = stream.recv().await? {
                    return Ok(response);
                }
            }
        };
        let both = async { tokio::join!(sending, receiving).1 };
        timeout(PATIENCE, both).await.unwrap_or_else(|_| {
            Err(Status::new(StatusCode::DeadlineExceeded, "the node neither took the bytes nor refused them"))
        })
    }

    /// Opens a stream and leaves it to the caller to take what comes: of what is not taken, 2 MiB are under way at most.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn begin(&self, body: Request) -> Result<Stream, Status> {
        let head = RequestHead { op: OpId(1), deadline_ms: 10_000, trace: None, body };
        let stream = self.link.open(&head, Bytes::new())?;
        stream.grant(self.budget.reserve(8).await);
        Ok(stream)
    }

    /// Opens a stream, takes all data, and waits for the answer.
    ///
    /// # Errors
    /// The node's refusal.
    pub async fn download(&self, body: Request) -> Result<(Vec<u8>, Response), Status> {
        let stream = self.begin(body).await?;
        let mut bytes = vec![];
        let receiving = async {
            loop {
                match stream.recv().await? {
                    Event::Data(frame) => bytes.extend_from_slice(&frame.bytes),
                    Event::Response(response, tail) => {
                        bytes.extend_from_slice(&tail);
                        return Ok::<_, Status>(response);
                    }
                    Event::End(_) => {}
                }
            }
        };
        let response = timeout(PATIENCE, receiving).await.expect("an answer in time")?;
        Ok((bytes, response))
    }
}
