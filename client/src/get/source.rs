//! A copy that is being read, and when another one is asked beside it.

use std::sync::Arc;
use std::time::Duration;

use dfs_wire::id::NodeId;
use dfs_wire::identity::PeerName;
use dfs_wire::limits::DATA_FRAME_BYTES;
use dfs_wire::link::{Event, Stream};
use dfs_wire::message::chunk::{ChunkRequest, ReadChunk};
use dfs_wire::message::metadata::{ChunkLocation, ReplicaLocation};
use dfs_wire::message::{Request, RequestHead};
use dfs_wire::status::{Status, StatusCode};
use tokio::time::{Instant, timeout};

use super::fetch::{CopyError, Part, Reader};
use crate::error::Error;
use crate::memory::Held;
use crate::patience::patiently;
use crate::pool::Conn;
use crate::rpc::millis;

/// Patience with a connection to a node that the coordinator knows to be away.
const AWAY_CONNECT: Duration = Duration::from_millis(500);
/// How often it is looked whether a stream's connection brings other bytes.
const LOOK: Duration = Duration::from_millis(200);
/// Bytes between two looks that are more than signs of life.
const LINE_BYTES: u64 = 512;
/// Patience with a line that brings bytes of other streams, in times of the patience with a silent one.
const TIMES_MAX: u32 = 6;

/// Which copy is read, and which one may take over if it hangs.
pub(crate) struct Copies<'a> {
    /// The copy that is read; after it was read, the one that was read last.
    pub(crate) replica: &'a ReplicaLocation,
    /// The next best one, if there is one and it may be mixed with the first.
    pub(crate) spare: Option<&'a ReplicaLocation>,
    /// Nodes that gave bytes.
    pub(crate) sources: Vec<NodeId>,
}

impl<'a> Copies<'a> {
    /// This copy and no other.
    pub(crate) fn only(replica: &'a ReplicaLocation) -> Self {
        Self { replica, spare: None, sources: Vec::new() }
    }

    /// Bytes came from the copy that is read.
    pub(super) fn gave(&mut self) {
        let node = self.replica.node;
        if !self.sources.contains(&node) {
            self.sources.push(node);
        }
    }
}

/// What is read of a chunk.
#[derive(Clone, Copy)]
pub(crate) struct PartRead<'a> {
    pub(crate) location: &'a ChunkLocation,
    pub(crate) part: Part,
    pub(crate) held: &'a Held,
}

/// One copy's stream.
pub(super) struct CopyStream {
    conn: Arc<Conn>,
    stream: Stream,
    opened: Instant,
    heard: bool,
}

impl CopyStream {
    /// Asks a copy for what is missing of a part, of which `done` bytes are here.
    pub(super) async fn open(
        reader: &Reader,
        replica: &ReplicaLocation,
        wanted: PartRead<'_>,
        done: u64,
    ) -> Result<Self, CopyError> {
        let config = &reader.inner.config;
        let links = config.links_per_datanode;
        let (pool, whom) = (&reader.inner.pool, PeerName::Node(replica.node));
        let connected = match pool.open_one(&replica.address, whom) {
            // A host that is off refuses nothing: it is not waited for if the node is known to be away.
            None if !replica.node_state.answers() => {
                let dialled = timeout(AWAY_CONNECT, pool.get(&replica.address, whom, links)).await;
                let late = format!("no connection to {}", replica.address);
                dialled.unwrap_or_else(|_| Err(Error::new(StatusCode::Unavailable, late)))
            }
            Some(conn) if !replica.node_state.answers() => Ok(conn),
            _ => pool.get(&replica.address, whom, links).await,
        };
        let conn = connected.map_err(CopyError::Unreachable)?;
        let PartRead { location, part, held } = wanted;
        let done = u32::try_from(done).unwrap_or(u32::MAX).min(part.len);
        let read = ReadChunk {
            grant: location.grant.clone(),
            mac: replica.mac,
            offset: part.offset + done,
            len: part.len - done,
            facts: false,
        };
        let body = Request::Chunk(ChunkRequest::Read(read));
        // How long the node may let it wait for its turn: "busy" comes before the patience with a silent node ends.
        let deadline_ms = millis(config.timeouts.read_stall / 2);
        let request = RequestHead { op: reader.inner.rpc.log_id(), deadline_ms, trace: None, body };
        let opened = conn.link().open(&request, bytes::Bytes::new());
        let stream = opened.map_err(|status| CopyError::Unreachable(status.into()))?;
        if let Some(credit) = held.credit() {
            stream.grant(credit);
        }
        Ok(Self { conn, stream, opened: Instant::now(), heard: false })
    }

    /// What comes next; `None` = nothing did within the patience with a silent node. If nothing comes for longer than
    /// nearly all reads took lately, the spare copy is asked for the rest, and who answers first is read on; the other one
    /// is given up.
    pub(super) async fn next<'a>(
        &mut self,
        reader: &Reader,
        copies: &mut Copies<'a>,
        wanted: PartRead<'_>,
        done: u64,
    ) -> Option<Result<Event, Status>> {
        let event = match copies.spare {
            None => self.in_patience(reader).await,
            Some(spare) => match self.soon(reader).await {
                Some(event) => Some(event),
                None => {
                    copies.spare = None;
                    self.beside(reader, copies, spare, wanted, done).await
                }
            },
        };
        if event.is_some() && !std::mem::replace(&mut self.heard, true) {
            reader.inner.waits.add(self.opened.elapsed());
        }
        event
    }

    async fn in_patience(&self, reader: &Reader) -> Option<Result<Event, Status>> {
        patiently(self.conn.link(), reader.inner.config.timeouts.read_stall, self.stream.recv()).await
    }

    /// As [`Self::next`], but only as long as there is no reason to ask elsewhere.
    async fn soon(&self, reader: &Reader) -> Option<Result<Event, Status>> {
        let (link, begun) = (self.conn.link(), Instant::now());
        let longest = reader.inner.config.timeouts.read_stall.saturating_mul(TIMES_MAX);
        let mut silent = Duration::ZERO;
        while silent < reader.inner.waits.hedge_after() && begun.elapsed() < longest {
            let before = link.received();
            if let Ok(event) = timeout(LOOK, self.stream.recv()).await {
                return Some(event);
            }
            // Streams take turns: behind a slow line this one's comes. If each of them had one, it is its node that
            // says nothing.
            let (moved, round) =
                (link.received() - before, (link.streams() as u64 + 1) * DATA_FRAME_BYTES as u64);
            silent = if (LINE_BYTES..=round).contains(&moved) { Duration::ZERO } else { silent + LOOK };
        }
        None
    }

    /// Asks another copy beside this one, and goes on with the one that answers first.
    async fn beside<'a>(
        &mut self,
        reader: &Reader,
        copies: &mut Copies<'a>,
        spare: &'a ReplicaLocation,
        wanted: PartRead<'_>,
        done: u64,
    ) -> Option<Result<Event, Status>> {
        tracing::debug!(node = %copies.replica.node, index = wanted.part.index, "no byte comes, asking another copy");
        // Others pass this node by for a while: it is not tried by each of them.
        reader.inner.pool.failed(&copies.replica.address);
        reader.inner.waits.add(self.opened.elapsed());
        let second = async {
            let source = Self::open(reader, spare, wanted, done).await.ok()?;
            let event = source.stream.recv().await.ok()?;
            Some((source, event))
        };
        tokio::select! {
            biased;
            event = self.in_patience(reader) => return event,
            second = second => if let Some((source, event)) = second {
                reader.meter.failed_over();
                *self = source;
                copies.replica = spare;
                return Some(Ok(event));
            },
        }
        self.in_patience(reader).await
    }
}
