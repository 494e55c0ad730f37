//! One chunk on its way to its nodes, attempt after attempt until it is durable.

use std::sync::Arc;
use std::time::Duration;

use dfs_wire::auth::Receipt;
use dfs_wire::id::{Generation, NodeId};
use dfs_wire::identity::PeerName;
use dfs_wire::link::{Event, Link, Stream};
use dfs_wire::message::chunk::{ChunkRequest, ChunkResponse, ChunkStored, Target, WriteChunk};
use dfs_wire::message::metadata::{Allocation, StoredChunk};
use dfs_wire::message::{EndHead, Request, RequestHead, Response};
use dfs_wire::status::{Status, StatusCode};
use tokio::time::Instant;

use super::feed::{ChunkSource, Feed};
use super::session::Session;
use crate::backoff::Backoff;
use crate::digest::{BATCH_FRAMES, Sha};
use crate::error::{Error, ErrorKind};
use crate::memory::{Held, MemoryBound};
use crate::options::DegradedChunk;
use crate::patience::patiently;
use crate::rpc::{millis, unexpected};

/// A place that was chosen before this is asked for again: leave to write ends with its time, and nodes fill up.
const PLACE_AGE_MAX: Duration = Duration::from_secs(10);
/// Answers of "busy" after which the chunk asks for other nodes.
const BUSY_BEFORE_ELSEWHERE: u32 = 3;

/// A chunk that is durable.
pub(super) struct Uploaded {
    pub(super) stored: StoredChunk,
    pub(super) len: u64,
    pub(super) degraded: Option<DegradedChunk>,
}

/// Whether this failure says that the node is better left alone for a while. Slowness does not (in a small cluster
/// that would cost a copy), nor does a grant that is too old, nor a queue.
fn faults_node(code: StatusCode) -> bool {
    use StatusCode::{Busy, Cancelled, PermissionDenied, StaleEpoch, Straggler};
    !matches!(code, Busy | Cancelled | PermissionDenied | StaleEpoch | Straggler)
}

/// Why an attempt did not store the chunk.
struct Failure {
    error: Error,
    /// Nodes that had a part in it.
    blame: Vec<NodeId>,
    /// Bytes counted as moved that were moved for nothing.
    sent: u64,
    /// The node let bytes come: some may be stored somewhere.
    touched: bool,
}

impl Failure {
    fn of(error: Error, node: NodeId) -> Self {
        Self { error, blame: vec![node], sent: 0, touched: false }
    }

    /// The fault lies on this machine: no other node can help.
    fn is_local(&self) -> bool {
        self.blame.is_empty()
    }
}

/// Stores one chunk, on other nodes if need be. Without an allocation it asks for one above the generation `given_up`.
///
/// Cancel safety: the stream is reset; the nodes drop what they have.
pub(super) async fn upload(
    session: Arc<Session>,
    index: u32,
    source: ChunkSource,
    mut allocation: Option<Allocation>,
    given_up: Generation,
) -> Result<Uploaded, Error> {
    let mut backoff = Backoff::new(&session.inner.config.retry, &session.inner.env);
    // Taken before a node is asked, for all attempts: a stream that is open never waits for this client's memory.
    let memory = seat(&session, &source).await?;
    // What the coordinator is told to give up: the last generation that came for this chunk, used or not.
    let generation = |place: &Allocation| place.grant.generation;
    let mut above = allocation.as_ref().map_or(given_up, generation);
    let asked = Instant::now();
    let turn = session.inner.upload_pace.enter(source.len(), session.inner.config.retry.busy_budget).await?;
    if asked.elapsed() >= PLACE_AGE_MAX {
        allocation = None;
    }
    // Its place may have been chosen before a node failed another chunk: then a better one costs one round trip.
    allocation = allocation.filter(|place| !place.targets.iter().any(|t| session.avoids(t.node)));
    let mut last: Option<Error> = None;
    let mut busy = 0;
    loop {
        let place = match allocation.take() {
            Some(place) => place,
            None => allocate_one(&session, index, above, last.take()).await?,
        };
        above = generation(&place);
        let failure = match attempt(&session, &place, &source, &memory).await {
            Ok(uploaded) => {
                session.meter.chunk_done();
                session.stored();
                turn.done(uploaded.len);
                return Ok(uploaded);
            }
            Err(failure) => failure,
        };
        session.meter.unmoved(failure.sent);
        if failure.is_local() {
            return Err(failure.error);
        }
        tracing::debug!(index, error = %failure.error, "a chunk could not be stored, trying again");
        if failure.error.is_busy() && !failure.touched && busy < BUSY_BEFORE_ELSEWHERE {
            // Nothing was stored anywhere, so the same grant is still good. Otherwise it is not: the bytes may be others
            // by now (a local file that changes), and copies of one generation must not differ.
            busy += 1;
            allocation = Some(place);
        } else {
            if failure.error.status_code().is_some_and(faults_node) {
                failure.blame.iter().for_each(|&node| session.avoid(node));
            }
            busy = 0;
            session.meter.failed_over();
        }
        session.meter.retried();
        last = Some(failure.error.clone());
        let chunk = format_args!("storing chunk {index}").to_string();
        backoff.pause(failure.error).await.map_err(|e| e.context(chunk))?;
    }
}

/// Asks for a place, and explains a refusal by what made it necessary to ask.
async fn allocate_one(
    session: &Session,
    index: u32,
    above: Generation,
    last: Option<Error>,
) -> Result<Allocation, Error> {
    match (session.allocate_again(index, above).await, last) {
        (Ok(places), _) => places.into_iter().find(|a| a.index == index).ok_or_else(|| {
            Error::new(StatusCode::ProtocolViolation, format!("chunk {index} was not given a place"))
        }),
        // A full disk explains itself better than "not enough nodes", which is what comes of it.
        (Err(error), Some(last))
            if last.kind() == ErrorKind::NoSpace && error.kind() != ErrorKind::NoSpace =>
        {
            Err(last.with_hint("free some space or add a node").caused_by(error))
        }
        (Err(error), Some(last)) => Err(error.caused_by(last)),
        (Err(error), None) => Err(error),
    }
}

/// Memory for one chunk: a batch being sent, one being read, one with the connection.
async fn seat(session: &Session, source: &ChunkSource) -> Result<MemoryBound, Error> {
    let slabs = match source {
        ChunkSource::File(_) => MemoryBound::slabs_for(source.len()).min(3 * BATCH_FRAMES),
        // It is in memory already.
        ChunkSource::Frames(_) => return Ok(session.inner.upload_memory.clone()),
    };
    let patience = session.inner.config.retry.busy_budget;
    session.inner.upload_memory.acquire(slabs, patience).await.map(Held::into_bound)
}

async fn attempt(
    session: &Session,
    place: &Allocation,
    source: &ChunkSource,
    memory: &MemoryBound,
) -> Result<Uploaded, Failure> {
    let Some((primary, replicas)) = place.targets.split_first() else {
        let error = Error::new(StatusCode::ProtocolViolation, "a chunk was given no node");
        return Err(Failure { error, blame: Vec::new(), sent: 0, touched: false });
    };
    let inner = &session.inner;
    let patience = inner.config.timeouts.write_stall;
    let failed = |error: Error| {
        if matches!(error.status_code(), Some(StatusCode::ConnectionLost | StatusCode::Unavailable)) {
            inner.pool.failed(&primary.address);
        }
        Failure::of(error.at_node(primary.node).about_chunk(place.grant.chunk), primary.node)
    };
    let links = inner.config.links_per_datanode;
    let conn = inner.pool.get(&primary.address, PeerName::Node(primary.node), links).await.map_err(failed)?;
    let request = write_request(session, place, primary, replicas, source.len(), patience);
    let stream = conn.link().open(&request, bytes::Bytes::new()).map_err(|s| failed(s.into()))?;
    let mut feed = Feed::new(source.clone(), memory.clone(), patience, inner.env.workers);
    let mut sent = 0;
    let outcome = send(session, place.index, conn.link(), &stream, &mut feed, &mut sent).await;
    let fail = |error: Error| Failure { sent, touched: stream.is_credited(), ..failed(error) };
    match outcome {
        Ok(()) | Err(SendError::Ended) => {}
        Err(SendError::Stalled) => return Err(fail(stalled(patience))),
        Err(SendError::Local(error)) => {
            return Err(Failure { error, blame: Vec::new(), sent, touched: true });
        }
    }
    let answer = match patiently(conn.link(), patience, answer(&stream)).await {
        Some(Ok(stored)) => stored,
        Some(Err(error)) => return Err(blame_named(fail(error), place)),
        None => return Err(fail(stalled(patience))),
    };
    inner.pool.served(&primary.address);
    let (len, sha256) = feed.totals();
    judge(session, place, answer, len, sha256).map_err(|f| Failure { sent, touched: true, ..f })
}

fn write_request(
    session: &Session,
    place: &Allocation,
    primary: &Target,
    replicas: &[Target],
    len: u64,
    patience: Duration,
) -> RequestHead {
    let write = WriteChunk {
        grant: place.grant.clone(),
        mac: primary.mac,
        len_hint: u32::try_from(len).unwrap_or(u32::MAX),
        replicas: replicas.to_vec(),
        min_ack: session.min_ack,
    };
    // Twice the client's own patience: a writer that waits for its turn is cut by its client, not by the node.
    let deadline_ms = millis(patience.saturating_mul(2));
    RequestHead {
        op: session.inner.rpc.log_id(),
        deadline_ms,
        trace: None,
        body: Request::Chunk(ChunkRequest::Write(write)),
    }
}

enum SendError {
    /// The node ended the stream; its answer says why.
    Ended,
    /// Nobody took a byte for too long.
    Stalled,
    /// The source failed.
    Local(Error),
}

async fn send(
    session: &Session,
    index: u32,
    link: &Link,
    stream: &Stream,
    feed: &mut Feed,
    sent: &mut u64,
) -> Result<(), SendError> {
    let patience = session.inner.config.timeouts.write_stall;
    loop {
        let frames = feed.next().await.map_err(SendError::Local)?;
        if frames.is_empty() {
            break;
        }
        let mut batch = 0;
        for frame in frames {
            let len = frame.bytes.len() as u64;
            match patiently(link, patience, stream.send(frame)).await {
                Some(Ok(())) => batch += len,
                Some(Err(_)) => return Err(SendError::Ended),
                None => return Err(SendError::Stalled),
            }
        }
        *sent += batch;
        session.meter.moved(batch);
    }
    let (len, sha256) = feed.totals();
    match patiently(link, patience, stream.end(EndHead { len, sha256, facts: session.facts(index, len) }))
        .await
    {
        Some(Ok(())) => Ok(()),
        Some(Err(_)) => Err(SendError::Ended),
        None => Err(SendError::Stalled),
    }
}

async fn answer(stream: &Stream) -> Result<ChunkStored, Error> {
    loop {
        match stream.recv().await? {
            Event::Response(Response::Chunk(ChunkResponse::Stored(stored)), _) => return Ok(stored),
            Event::Response(other, _) => return Err(unexpected(&other)),
            Event::Data(_) | Event::End(_) => {}
        }
    }
}

fn stalled(patience: Duration) -> Error {
    let text = format!("the node took no bytes, or gave no answer, for {} s", patience.as_secs());
    Error::new(StatusCode::Unavailable, text)
}

/// The node that the error names knows best whose fault it is, if it is one of ours.
fn blame_named(failure: Failure, place: &Allocation) -> Failure {
    match failure.error.node() {
        Some(node) if place.targets.iter().any(|t| t.node == node) => {
            Failure { blame: vec![node], ..failure }
        }
        _ => failure,
    }
}

/// Whether the answer makes the chunk durable: enough distinct nodes vouch for exactly these bytes.
fn judge(
    session: &Session,
    place: &Allocation,
    answer: ChunkStored,
    len: u64,
    sha256: Sha,
) -> Result<Uploaded, Failure> {
    let chunk = place.grant.chunk;
    let vouches = |receipt: &Receipt| {
        receipt.chunk == chunk
            && receipt.generation == place.grant.generation
            && u64::from(receipt.len) == len
            && receipt.sha256 == sha256
            && place.targets.iter().any(|t| t.node == receipt.node)
    };
    if let Some(wrong) = answer.receipts.iter().find(|r| !vouches(r)) {
        let text = "a node acknowledged other bytes than were sent";
        let error = Error::new(StatusCode::ChecksumMismatch, text).at_node(wrong.node).about_chunk(chunk);
        return Err(Failure::of(error, wrong.node));
    }
    let mut receipts = answer.receipts;
    receipts.sort_by_key(|r| r.node);
    receipts.dedup_by_key(|r| r.node);
    let (copies, wanted) = (receipts.len(), usize::from(session.replication));
    let failed: Vec<_> = answer.failed.iter().map(|f| (f.node, f.status.to_string())).collect();
    for replica in answer.failed.iter().filter(|f| faults_node(f.status.code)) {
        session.avoid(replica.node);
    }
    let enough = usize::from(session.min_ack).max(1);
    if copies < enough {
        let primary = place.targets.first().map(|target| target.node);
        let stored = |node: &NodeId| receipts.iter().any(|receipt| receipt.node == *node);
        primary.filter(stored).into_iter().for_each(|node| session.doubt(node));
        let cause = answer.failed.into_iter().next().map_or_else(
            || Status::new(StatusCode::Internal, "no reason was given"),
            |f| f.status.at_node(f.node),
        );
        let alone = primary.filter(|node| failed.is_empty() || !stored(node));
        let blame = failed.iter().map(|(node, _)| *node).chain(alone);
        let text = format!("{copies} durable copies of at least {enough}");
        let error =
            Error::new(StatusCode::NoWriteQuorum, text).about_chunk(chunk).caused_by(Error::from(cause));
        return Err(Failure { error, blame: blame.collect(), sent: 0, touched: true });
    }
    let degraded = (copies < wanted).then(|| {
        tracing::debug!(index = place.index, %chunk, copies, wanted, "a chunk has fewer copies than wanted");
        DegradedChunk { index: place.index, chunk, copies, wanted, failed }
    });
    let stored = StoredChunk { index: place.index, receipts };
    Ok(Uploaded { stored, len, degraded })
}
