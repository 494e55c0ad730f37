//! A client that lies, and that uses what was granted to it for longer than it may: whoever believes it is accused.
//!
//! It speaks the protocol by hand. What it is refused, for whatever reason, is as it should be.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use dfs_client::Connector as _;
use dfs_wire::auth::{Grant, GrantOp, Mac};
use dfs_wire::id::{ChunkId, Epoch, Generation, NodeId, OpId};
use dfs_wire::identity::PeerName;
use dfs_wire::link::{DataFrame, Dialed, Event, Link};
use dfs_wire::message::chunk::{ChunkRequest, ChunkResponse, ReadChunk, WriteChunk};
use dfs_wire::message::metadata::{
    Allocation, ChunkLocation, CommitUpload, MetadataRequest, MetadataResponse, OpenRead, OpenUpload,
    Precondition, RecordChunks, StoredChunk, UploadOpened,
};
use dfs_wire::message::{EndHead, Request, RequestHead, Response};
use dfs_wire::slab::{SlabBudget, SlabPool};
use dfs_wire::status::{Status, StatusCode};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{CHUNK, Desk, PATHS, path_of};
use crate::Rng;
use crate::peer::client_hello;
use crate::sim::host::{Ending, now_us};
use crate::sim::id::HostId;
use crate::sim::trace::What;

/// Patience with one answer.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE_MAX_MS: u64 = 2_500;
/// Grants that are kept for later.
const KEPT_MAX: usize = 24;

/// Runs so many acts.
pub(super) async fn run(desk: Desk, acts: u32) -> Ending {
    let rng = Rng::from_seed(desk.seed);
    let mut rogue = Rogue { desk, rng, kept: VecDeque::new(), files: 0, op: 0 };
    for _ in 0..acts {
        sleep(Duration::from_millis(rogue.rng.below(PAUSE_MAX_MS))).await;
        let done = match rogue.rng.below(4) {
            0 => rogue.lie_to_node().await,
            1 => rogue.lie_to_coordinator().await,
            2 => rogue.bend().await,
            _ => rogue.hoard().await,
        };
        if let Err(status) = done {
            rogue.say(format!("got nowhere: {}", status.code.name()));
        }
    }
    Ok(())
}

/// Stores a chunk, hands in its receipts alone, and is not heard of again.
pub(super) async fn record(desk: Desk, at_ms: u64) -> Ending {
    let rng = Rng::from_seed(desk.seed);
    let mut rogue = Rogue { desk, rng, kept: VecDeque::new(), files: 0, op: 0 };
    sleep(Duration::from_micros((at_ms * 1000).saturating_sub(now_us()))).await;
    let done = rogue.store_and_record().await;
    rogue.say(format!("a chunk is stored and recorded: {:?}", done.map_err(|status| status.code)));
    Ok(())
}

/// Leave to read a chunk on one node.
#[derive(Clone)]
struct Leave {
    grant: Grant,
    mac: Mac,
    node: NodeId,
    address: String,
    len: u32,
}

impl Leave {
    fn all(location: &ChunkLocation) -> impl Iterator<Item = Self> {
        location.replicas.iter().map(|replica| Self {
            grant: location.grant.clone(),
            mac: replica.mac,
            node: replica.node,
            address: replica.address.clone(),
            len: location.len,
        })
    }
}

struct Wire {
    link: Link,
    time_ms: u64,
    budget: SlabBudget,
    _tasks: JoinSet<()>,
}

struct Rogue {
    desk: Desk,
    rng: Rng,
    kept: VecDeque<Leave>,
    files: u32,
    op: u64,
}

impl Rogue {
    fn say(&self, text: String) {
        self.desk.trace.note(now_us(), self.desk.birth.host, What::Client(text));
    }

    fn expect_refusal<T: std::fmt::Debug>(&self, what: &str, answer: Result<T, Status>) {
        match answer {
            Ok(answer) => self.desk.ledger.accuse(format!("{what} was believed: {answer:?}")),
            Err(status) => self.say(format!("{what}: {}", status.code.name())),
        }
    }

    async fn dial(&self, address: &str) -> Result<Wire, Status> {
        let lost = |text: String| Status::new(StatusCode::ConnectionLost, text);
        let (budget, hello) = (SlabBudget::new(SlabPool::new(8), 8), client_hello());
        let dialed = timeout(PATIENCE, async {
            let (reader, writer) =
                self.desk.port.connect(address, PeerName::AnyNode).await.map_err(|e| lost(e.to_string()))?;
            let greeting = Link::connect(reader, writer, &hello, budget.clone());
            greeting.await.map_err(|e| lost(e.to_string()))
        });
        let Dialed { link, driver, welcome } = dialed.await.map_err(|_| lost("no answer".to_owned()))??;
        let mut tasks = JoinSet::new();
        tasks.spawn(driver.reader);
        tasks.spawn(driver.writer);
        Ok(Wire { link, time_ms: welcome.time_ms, budget, _tasks: tasks })
    }

    async fn ask(&mut self, body: MetadataRequest) -> Result<MetadataResponse, Status> {
        let wire = self.dial(&HostId::COORDINATOR.address()).await?;
        self.op += 1;
        let op =
            OpId::time_ordered(wire.time_ms, u128::from(self.op) << 32 | u128::from(self.rng.below(1 << 32)));
        let request = wire.link.request(op, PATIENCE.as_millis() as u32, Request::Metadata(body));
        match timeout(PATIENCE, request).await {
            Ok(Ok((Response::Metadata(response), _))) => Ok(response),
            Ok(Ok((other, _))) => Err(Status::new(StatusCode::ProtocolViolation, format!("{other:?}"))),
            Ok(Err(status)) => Err(status),
            Err(_) => Err(Status::new(StatusCode::DeadlineExceeded, "no answer")),
        }
    }

    /// The first chunk of some file, if there is one.
    async fn look(&mut self) -> Result<ChunkLocation, Status> {
        let path = path_of(self.rng.below(PATHS as u64) as usize);
        let request = OpenRead { path, version: None, first: 0, count: 1 };
        match self.ask(MetadataRequest::OpenRead(request)).await? {
            MetadataResponse::ReadOpened(opened) => {
                let none = || Status::new(StatusCode::NotFound, "no chunk");
                opened.chunks.into_iter().next().ok_or_else(none)
            }
            other => Err(Status::new(StatusCode::ProtocolViolation, format!("{other:?}"))),
        }
    }

    /// Opens a stream, sends what there is to send, and takes all that comes until the answer.
    async fn stream(
        &self,
        address: &str,
        body: ChunkRequest,
        data: Option<(&[u8], EndHead)>,
    ) -> Result<ChunkResponse, Status> {
        let wire = self.dial(address).await?;
        let deadline_ms = PATIENCE.as_millis() as u32;
        let head = RequestHead { op: OpId(1), deadline_ms, trace: None, body: Request::Chunk(body) };
        let stream = wire.link.open(&head, Bytes::new())?;
        stream.grant(wire.budget.reserve(4).await);
        let both = async {
            if let Some((data, end)) = data
                && stream.send(DataFrame::new(Bytes::copy_from_slice(data))).await.is_ok()
            {
                // A refusal may be on its way already: the answer says so.
                stream.end(end).await.ok();
            }
            loop {
                match stream.recv().await? {
                    Event::Response(Response::Chunk(response), _) => return Ok(response),
                    Event::Response(other, _) => {
                        return Err(Status::new(StatusCode::ProtocolViolation, format!("{other:?}")));
                    }
                    Event::Data(_) | Event::End(_) => {}
                }
            }
        };
        timeout(PATIENCE, both)
            .await
            .unwrap_or_else(|_| Err(Status::new(StatusCode::DeadlineExceeded, "slow")))
    }

    async fn read(&self, leave: &Leave) -> Result<ChunkResponse, Status> {
        let Leave { grant, mac, address, len, .. } = leave.clone();
        self.stream(
            &address,
            ChunkRequest::Read(ReadChunk { grant, mac, offset: 0, len, facts: false }),
            None,
        )
        .await
    }

    /// Begins a file that is never to be seen.
    async fn open(&mut self, len: usize) -> Result<(UploadOpened, Allocation), Status> {
        self.files += 1;
        let request = OpenUpload {
            path: crate::path(&format!("/rogue.{}", self.files)),
            chunk_size: CHUNK,
            replication: 0,
            precondition: Precondition::Any,
            parents: false,
            size_hint: Some(len as u64),
            allocate: 1,
            mtime_ns: None,
            resume: None,
        };
        match self.ask(MetadataRequest::OpenUpload(request)).await? {
            MetadataResponse::UploadOpened(mut opened) => {
                let none = || Status::new(StatusCode::NoWriteQuorum, "no place");
                let place = opened.allocations.pop().ok_or_else(none)?;
                Ok((opened, place))
            }
            other => Err(Status::new(StatusCode::ProtocolViolation, format!("{other:?}"))),
        }
    }

    async fn write(&self, place: &Allocation, data: &[u8], end: EndHead) -> Result<ChunkResponse, Status> {
        let (primary, replicas) =
            place.targets.split_first().ok_or_else(|| Status::new(StatusCode::Internal, "no target"))?;
        let write = WriteChunk {
            grant: place.grant.clone(),
            mac: primary.mac,
            len_hint: data.len() as u32,
            replicas: replicas.to_vec(),
            min_ack: 2,
        };
        self.stream(&primary.address, ChunkRequest::Write(write), Some((data, end))).await
    }

    fn bytes(&mut self) -> (Vec<u8>, EndHead) {
        let len = 1 + self.rng.below(u64::from(CHUNK));
        let data = crate::Content::new("rogue", self.files.into(), len).bytes();
        let end = EndHead { len, sha256: Sha256::digest(&data).into(), facts: Box::default() };
        (data, end)
    }

    /// Ends a chunk with another length or sum than what came.
    async fn lie_to_node(&mut self) -> Result<(), Status> {
        let (data, mut end) = self.bytes();
        let (_, place) = self.open(data.len()).await?;
        match self.rng.below(3) {
            0 => end.len += 1,
            1 => end.len -= 1,
            _ => end.sha256[0] ^= 1,
        }
        let answer = self.write(&place, &data, end).await;
        self.expect_refusal("a chunk that is not what its end says", answer);
        Ok(())
    }

    async fn store_and_record(&mut self) -> Result<(), Status> {
        let (data, end) = self.bytes();
        let (opened, place) = self.open(data.len()).await?;
        let ChunkResponse::Stored(stored) = self.write(&place, &data, end).await? else { return Ok(()) };
        let chunks = vec![StoredChunk { index: 0, receipts: stored.receipts }];
        self.ask(MetadataRequest::RecordChunks(RecordChunks { session: opened.session, chunks })).await?;
        Ok(())
    }

    /// Stores a chunk, and then says of it what is not so.
    async fn lie_to_coordinator(&mut self) -> Result<(), Status> {
        let (data, end) = self.bytes();
        let (opened, place) = self.open(data.len()).await?;
        let ChunkResponse::Stored(stored) = self.write(&place, &data, end).await? else { return Ok(()) };
        let mut receipts = stored.receipts;
        let (mut size, mut chunk_count) = (data.len() as u64, 1);
        let lie = self.rng.below(7);
        match lie {
            0 => size += 1,
            1 => size -= 1,
            2 => chunk_count = 2,
            3 => receipts.truncate(1),
            4 => receipts.iter_mut().for_each(|receipt| receipt.node = place.targets[0].node),
            5 => {
                size -= 1;
                receipts.iter_mut().for_each(|receipt| receipt.len -= 1);
            }
            _ => receipts.iter_mut().for_each(|receipt| receipt.mac.0[0] ^= 1),
        }
        let chunks = vec![StoredChunk { index: 0, receipts }];
        let commit = CommitUpload { session: opened.session, chunks, size, chunk_count, sha256: None };
        let answer = self.ask(MetadataRequest::CommitUpload(commit)).await;
        let what = [
            "a file that is longer than its chunks",
            "a file that is shorter than its chunks",
            "a file with more chunks than were stored",
            "a file whose chunk is durable once",
            "a file with one receipt twice",
            "a file with a receipt of another length",
            "a file with a forged receipt",
        ];
        self.expect_refusal(what[lie as usize], answer);
        Ok(())
    }

    /// Reads with a grant that is not quite what was granted.
    async fn bend(&mut self) -> Result<(), Status> {
        let location = self.look().await?;
        let Some(mut leave) = Leave::all(&location).next() else { return Ok(()) };
        let grant = &mut leave.grant;
        match self.rng.below(7) {
            0 => grant.chunk = ChunkId(grant.chunk.0 ^ 1),
            1 => grant.generation = Generation(grant.generation.0 + 1),
            2 => grant.index += 1,
            3 => grant.len_max *= 2,
            4 => grant.expires_ms += 3_600_000,
            5 => grant.epoch = Epoch(grant.epoch.0 + 1),
            _ => grant.op = GrantOp::Write,
        }
        let answer = self.read(&leave).await;
        self.expect_refusal("a grant that was bent", answer);
        Ok(())
    }

    /// Keeps grants, and uses them where a node has obeyed one of a later reign.
    async fn hoard(&mut self) -> Result<(), Status> {
        let location = self.look().await?;
        for fresh in Leave::all(&location) {
            let older = |kept: &&Leave| kept.node == fresh.node && kept.grant.epoch < fresh.grant.epoch;
            let Some(old) = self.kept.iter().find(older).cloned() else { continue };
            if self.read(&fresh).await.is_ok() {
                let answer = self.read(&old).await;
                self.expect_refusal("a grant of an earlier reign", answer);
            }
        }
        self.kept.extend(Leave::all(&location));
        while self.kept.len() > KEPT_MAX {
            self.kept.pop_front();
        }
        Ok(())
    }
}
