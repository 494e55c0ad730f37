//! Uploads to and reads from three datanodes, on a network and disks in memory, under virtual time.

#![allow(clippy::disallowed_methods, reason = "tests wait, and have tasks of their own")]

mod support;

#[path = "uploads/links.rs"]
mod links;
#[path = "uploads/reads.rs"]
mod reads;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use dfs_actors::peer::dial::dial;
use dfs_actors::supervisor::Strike;
use dfs_actors::supervisor::StrikeTarget;
use dfs_wire::auth::{Grant, GrantOp};
use dfs_wire::handshake::{ClientPeer, Hello, NodePeer, Peer};
use dfs_wire::id::*;
use dfs_wire::identity::PeerName;
use dfs_wire::limits::DATA_FRAME_BYTES;
use dfs_wire::link::{DataFrame, Dialed, Event, Link, Stream};
use dfs_wire::message::chunk::*;
use dfs_wire::message::facts::{ChunkFacts, Cipher, Sealing};
use dfs_wire::message::replication::{CopyChunk, Replicate, ReplicationRequest, ReplicationResponse};
use dfs_wire::message::{EndHead, Request, RequestHead, Response};
use dfs_wire::slab::{SlabBudget, SlabPool};
use dfs_wire::status::{Status, StatusCode};
use sha2::{Digest, Sha256};
use support::{MemNet, TestNode, env_on, hello};

struct World {
    net: Arc<MemNet>,
    nodes: Vec<TestNode>,
    budget: SlabBudget,
}

const MIB: usize = 1024 * 1024;

async fn world(slabs: usize) -> World {
    let net = Arc::new(MemNet::default());
    let mut nodes = vec![];
    for n in 1..=3 {
        nodes.push(TestNode::start(&net, n, slabs).await);
    }
    World { net, nodes, budget: SlabBudget::new(SlabPool::new(64), 64) }
}

fn grant(op: GrantOp, chunk: u128) -> Grant {
    Grant {
        epoch: Epoch(1),
        op,
        chunk: ChunkId(chunk),
        generation: Generation(1),
        file: InodeId(2),
        index: 0,
        len_max: 64 << 20,
        expires_ms: u64::MAX,
    }
}

fn content(len: usize) -> Bytes {
    (0..len).map(|i| (i * 31 % 251) as u8).collect::<Vec<_>>().into()
}

impl World {
    async fn link(&self, node: usize) -> Link {
        self.link_as(node, hello(NodeId(99))).await
    }

    async fn dial(&self, node: usize, hello: &Hello) -> Dialed {
        let (env, address) = (env_on(&self.net), &self.nodes[node].address);
        dial(&env, address, PeerName::AnyNode, hello, &self.budget, Duration::from_secs(5)).await.unwrap()
    }

    async fn link_as(&self, node: usize, hello: Hello) -> Link {
        let dialed = self.dial(node, &hello).await;
        tokio::spawn(dialed.driver.reader);
        tokio::spawn(dialed.driver.writer);
        dialed.link
    }

    fn write_request(&self, chunk: u128, len: usize) -> RequestHead {
        let grant = grant(GrantOp::Write, chunk);
        let replicas = self.nodes[1..].iter().map(|n| n.target(&grant)).collect();
        let mac = grant.sign(&self.nodes[0].key);
        let write = WriteChunk { grant, mac, len_hint: len as u32, replicas, min_ack: 2 };
        request(Request::Chunk(ChunkRequest::Write(write)))
    }

    async fn put(&self, link: &Link, chunk: u128, bytes: &Bytes) -> Result<ChunkStored, Status> {
        let stream = link.open(&self.write_request(chunk, bytes.len()), Bytes::new())?;
        send_all(&stream, bytes, Sha256::digest(bytes).into()).await
    }

    async fn settled(&self) {
        for node in &self.nodes {
            node.settled().await;
        }
    }

    fn holders(&self, chunk: u128, bytes: &Bytes) -> usize {
        let key = ChunkKey { chunk: ChunkId(chunk), generation: Generation(1) };
        let holds = |n: &&TestNode| {
            n.store.chunks.lock().unwrap().get(&key).is_some_and(|(_, b)| b == bytes)
                && n.store.facts.lock().unwrap().get(&key) == Some(&facts(bytes))
        };
        self.nodes.iter().filter(holds).count()
    }
}

fn request(body: Request) -> RequestHead {
    RequestHead { op: OpId(1), deadline_ms: 10_000, trace: None, body }
}

/// What a chunk of these bytes says of itself.
fn facts(bytes: &Bytes) -> ChunkFacts {
    let file_size = Some(bytes.len() as u64 + 9);
    ChunkFacts { offset: Some(9), last: true, file_size, mtime_ns: Some(-1), ..ChunkFacts::default() }
}

async fn send_all(stream: &Stream, bytes: &Bytes, sha256: [u8; 32]) -> Result<ChunkStored, Status> {
    let mut rest = bytes.clone();
    while !rest.is_empty() {
        let frame = DataFrame::new(rest.split_to(rest.len().min(DATA_FRAME_BYTES)));
        if stream.send(frame).await.is_err() {
            break;
        }
    }
    stream.end(EndHead { len: bytes.len() as u64, sha256, facts: Box::new(facts(bytes)) }).await.ok();
    match stream.recv().await? {
        Event::Response(Response::Chunk(ChunkResponse::Stored(stored)), _) => Ok(stored),
        other => panic!("{other:?}"),
    }
}

async fn read(link: &Link, node: &TestNode, chunk: u128, offset: u32, len: u32) -> Result<Vec<u8>, Status> {
    let grant = grant(GrantOp::Read, chunk);
    let mac = grant.sign(&node.key);
    let stream = link.open(
        &request(Request::Chunk(ChunkRequest::Read(ReadChunk { grant, mac, offset, len, facts: false }))),
        Bytes::new(),
    )?;
    let budget = SlabBudget::new(SlabPool::new(4), 4);
    stream.grant(budget.reserve(4).await);
    let mut out = vec![];
    loop {
        match stream.recv().await? {
            Event::Data(frame) => out.extend_from_slice(&frame.bytes),
            Event::Response(Response::Chunk(ChunkResponse::Read(read)), _) => {
                assert_eq!(read.len as usize, out.len());
                return Ok(out);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_chunk_of_any_length_is_stored_three_times_and_read_back() {
    let w = world(16).await;
    let link = w.link(0).await;
    for (chunk, len) in
        [0, 1, 65_536, DATA_FRAME_BYTES, DATA_FRAME_BYTES + 1, 5 * MIB + 77].into_iter().enumerate()
    {
        let (chunk, bytes) = (chunk as u128, content(len));
        let stored = w.put(&link, chunk, &bytes).await.unwrap();
        assert_eq!((stored.receipts.len(), stored.failed.len()), (3, 0), "{len} bytes");
        assert!(stored.receipts.iter().zip(&w.nodes).all(|(r, n)| r.verify(&n.key)));
        assert_eq!(w.holders(chunk, &bytes), 3);
        assert_eq!(read(&link, &w.nodes[0], chunk, 0, u32::MAX).await.unwrap(), bytes);
    }
    let whole = content(5 * MIB + 77);
    let part = read(&link, &w.nodes[0], 5, 1_000_001, 300_000).await.unwrap();
    assert_eq!(part, whole[1_000_001..1_300_001]);
    w.settled().await;
}

#[tokio::test(start_paused = true)]
async fn bytes_that_do_not_match_their_hash_are_refused_everywhere() {
    let w = world(16).await;
    let link = w.link(0).await;
    let bytes = content(MIB);
    let stream = link.open(&w.write_request(1, MIB), Bytes::new()).unwrap();
    let refused = send_all(&stream, &bytes, [0; 32]).await.unwrap_err();
    assert_eq!(refused.code, StatusCode::ChecksumMismatch);
    w.settled().await;
    assert_eq!(w.holders(1, &bytes), 0);
}

#[tokio::test(start_paused = true)]
async fn facts_that_cannot_be_those_of_the_bytes_are_refused() {
    let w = world(16).await;
    let link = w.link(0).await;
    let stream = link.open(&w.write_request(1, MIB), Bytes::new()).unwrap();
    let sealing = Sealing {
        cipher: Cipher::Aes256Gcm,
        key: EncryptionId(1),
        salt: [1; 16],
        plain_len: 4,
        plain_sha256: [0; 32],
    };
    let facts = Box::new(ChunkFacts { sealing: Some(sealing), ..ChunkFacts::default() });
    stream.send(DataFrame::new(Bytes::from_static(b"four"))).await.unwrap();
    stream.end(EndHead { len: 4, sha256: Sha256::digest(b"four").into(), facts }).await.unwrap();
    assert_eq!(stream.recv().await.unwrap_err().code, StatusCode::InvalidArgument);
    w.settled().await;
    assert_eq!(w.holders(1, &Bytes::from_static(b"four")), 0);
}

#[tokio::test(start_paused = true)]
async fn a_forged_grant_is_refused() {
    let w = world(16).await;
    let link = w.link(1).await;
    // Signed for node 1, shown to node 2.
    let stream = link.open(&w.write_request(1, MIB), Bytes::new()).unwrap();
    assert_eq!(stream.recv().await.unwrap_err().code, StatusCode::PermissionDenied);
    w.settled().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_leaves_nothing() {
    let w = world(16).await;
    let link = w.link(0).await;
    let stream = link.open(&w.write_request(1, 8 * MIB), Bytes::new()).unwrap();
    stream.send(DataFrame::new(content(DATA_FRAME_BYTES))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(stream);
    w.settled().await;
    let stream = link.open(&w.write_request(2, 8 * MIB), Bytes::new()).unwrap();
    stream.send(DataFrame::new(content(DATA_FRAME_BYTES))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    link.close(Status::new(StatusCode::Cancelled, "unplugged"));
    w.settled().await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_replica_does_not_fail_an_upload() {
    let w = world(16).await;
    w.nodes[2].root.shutdown().await;
    let link = w.link(0).await;
    let bytes = content(3 * MIB);
    let stored = w.put(&link, 1, &bytes).await.unwrap();
    assert_eq!((stored.receipts.len(), stored.failed.len()), (2, 1));
    assert_eq!(stored.failed[0].node, w.nodes[2].id);
    assert_eq!(w.holders(1, &bytes), 2);
}

#[tokio::test(start_paused = true)]
async fn a_stuck_replica_is_cut_and_costs_bounded_memory_and_time() {
    let w = world(16).await;
    w.nodes[1].store.stalled.store(true, Ordering::Relaxed);
    let link = w.link(0).await;
    let bytes = content(8 * MIB);
    let before = tokio::time::Instant::now();
    let put = w.put(&link, 1, &bytes);
    let watch = async {
        loop {
            let held = w.nodes[0].ingest.pool().in_use();
            assert!(held <= 4, "{held} slabs held for an upload that reserved 4");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let stored = tokio::select! { stored = put => stored.unwrap(), () = watch => unreachable!() };
    assert_eq!((stored.receipts.len(), stored.failed.len()), (2, 1));
    assert_eq!(stored.failed[0].status.code, StatusCode::Straggler);
    assert!(before.elapsed() < Duration::from_secs(10), "{:?}", before.elapsed());
    w.nodes[1].store.stalled.store(false, Ordering::Relaxed);
    w.settled().await;
}

#[tokio::test(start_paused = true)]
async fn more_uploads_than_memory_wait_their_turn_and_all_succeed() {
    let w = Arc::new(world(4).await);
    let mut puts = tokio::task::JoinSet::new();
    for chunk in 0..40u128 {
        let w = w.clone();
        puts.spawn(async move {
            let link = w.link(0).await;
            w.put(&link, chunk, &content(MIB + chunk as usize)).await
        });
    }
    let mut copies = vec![];
    while let Some(stored) = puts.join_next().await {
        copies.push(stored.unwrap().unwrap().receipts.len());
    }
    assert_eq!(copies, vec![3; 40]);
    assert!(w.nodes.iter().all(|n| n.ingest.pool().allocated() <= 8));
    w.settled().await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_streaming_session_ends_that_upload_only() {
    let w = world(16).await;
    let link = w.link(0).await;
    let victim = link.open(&w.write_request(1, 8 * MIB), Bytes::new()).unwrap();
    victim.send(DataFrame::new(content(DATA_FRAME_BYTES))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let uploads = w.nodes[0].tree.snapshot();
    let path = uploads.iter().find(|row| row.kind == "streaming").unwrap().path.clone();
    assert_eq!(w.nodes[0].tree.strike(&StrikeTarget::Path(path), Strike::Panic), 1);
    assert!(victim.recv().await.is_err(), "the client is told");
    let bytes = content(MIB);
    assert_eq!(
        w.put(&link, 2, &bytes).await.unwrap().receipts.len(),
        3,
        "the connection and its siblings live"
    );
    drop(victim);
    w.settled().await;
}

#[tokio::test(start_paused = true)]
async fn panics_of_the_standing_actors_are_survived() {
    let w = world(16).await;
    for kind in ["links", "listener", "session"] {
        let link = w.link(0).await;
        w.put(&link, 100, &content(10)).await.ok();
        assert!(w.nodes[0].tree.strike(&StrikeTarget::Kind(kind.into()), Strike::Panic) >= 1, "{kind}");
        tokio::time::sleep(Duration::from_secs(2)).await;
        let link = w.link(0).await;
        let bytes = content(MIB);
        let chunk = 200 + kind.len() as u128;
        assert_eq!(w.put(&link, chunk, &bytes).await.unwrap().receipts.len(), 3, "after a panic of {kind}");
    }
    w.settled().await;
}

#[tokio::test(start_paused = true)]
async fn a_chunk_is_copied_from_a_peer() {
    let w = world(16).await;
    let bytes = content(3 * MIB + 5);
    let link = w.link(0).await;
    let write = grant(GrantOp::Write, 1);
    let alone = WriteChunk {
        mac: write.sign(&w.nodes[0].key),
        grant: write.clone(),
        len_hint: 0,
        replicas: vec![],
        min_ack: 1,
    };
    let stream = link.open(&request(Request::Chunk(ChunkRequest::Write(alone))), Bytes::new()).unwrap();
    send_all(&stream, &bytes, Sha256::digest(&bytes).into()).await.unwrap();
    let source_grant = grant(GrantOp::Read, 1);
    let order = |leave: Grant| {
        let copy = CopyChunk {
            mac: leave.sign(&w.nodes[2].key),
            grant: leave,
            source: w.nodes[0].target(&source_grant),
            source_grant: source_grant.clone(),
        };
        Request::Replication(ReplicationRequest::Copy(copy))
    };
    let coordinator = NodePeer { node: NodeId(9), incarnation: Incarnation(1), name: "co".to_owned() };
    let hello = Hello { peer: Peer::Coordinator(coordinator), ..hello(NodeId(9)) };
    let other = w.link_as(2, hello).await;
    let by_a_peer = w.link(2).await.request(OpId(2), 0, order(grant(GrantOp::Copy, 1))).await;
    assert_eq!(by_a_peer.unwrap_err().code, StatusCode::PermissionDenied);
    let by_leave_to_write = other.request(OpId(2), 0, order(write)).await;
    assert_eq!(by_leave_to_write.unwrap_err().code, StatusCode::PermissionDenied);
    let copy = order(grant(GrantOp::Copy, 1));
    for attempt in 0..2 {
        match other.request(OpId(2), 0, copy.clone()).await.unwrap().0 {
            Response::Replication(ReplicationResponse::Stored(receipt)) => {
                assert!(receipt.verify(&w.nodes[2].key))
            }
            other => panic!("{other:?} at attempt {attempt}"),
        }
    }
    assert_eq!(w.holders(1, &bytes), 2);
    // A disk that says nothing is not waited for without an end.
    w.nodes[2].store.mute.store(true, Ordering::Relaxed);
    let began = tokio::time::Instant::now();
    let again = other.request(OpId(2), 0, copy).await;
    assert_eq!(again.unwrap_err().code, StatusCode::DeadlineExceeded);
    assert!(began.elapsed() < Duration::from_secs(70), "{:?}", began.elapsed());
    w.settled().await;
}

#[tokio::test(start_paused = true)]
async fn a_draining_node_lets_uploads_finish_and_closes_its_sessions() {
    let w = world(16).await;
    let link = w.link(0).await;
    let bytes = content(MIB);
    let stream = link.open(&w.write_request(1, MIB), Bytes::new()).unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    w.nodes[0].drain();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(link.open(&w.write_request(2, MIB), Bytes::new()).is_err(), "no new streams");
    assert_eq!(send_all(&stream, &bytes, Sha256::digest(&bytes).into()).await.unwrap().receipts.len(), 3);
    drop(stream);
    tokio::time::timeout(Duration::from_secs(30), link.closed()).await.expect("the session ends");
}

#[tokio::test(start_paused = true)]
async fn a_repeat_gets_the_receipts_again_and_other_bytes_do_not() {
    let w = world(16).await;
    let link = w.link(0).await;
    let bytes = content(MIB + 7);
    let first = w.put(&link, 1, &bytes).await.unwrap();
    assert_eq!(w.put(&link, 1, &bytes).await.unwrap(), first);
    let other = bytes.slice(1..);
    assert_eq!(w.put(&link, 1, &other).await.unwrap_err().code, StatusCode::ChunkExists);
    assert_eq!(w.holders(1, &bytes), 3);
    // A copy that is missing on one node only is made by the repeat.
    w.nodes[1].store.chunks.lock().unwrap().clear();
    assert_eq!(w.put(&link, 1, &bytes).await.unwrap().receipts.len(), 3);
    assert_eq!(w.holders(1, &bytes), 3);
    w.settled().await;
}

#[tokio::test(start_paused = true)]
async fn busy_is_never_said_once_bytes_may_be_on_a_replica() {
    let w = world(16).await;
    let link = w.link(0).await;
    w.nodes[0].store.busy.store(true, Ordering::Relaxed);
    let failed = w.put(&link, 1, &content(MIB)).await.unwrap_err();
    assert_eq!((failed.code, failed.node), (StatusCode::Unavailable, Some(w.nodes[0].id)), "{failed}");
    w.settled().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_cannot_pass_for_a_primary_whose_hash_is_trusted() {
    let w = world(16).await;
    let peer = Peer::Client(ClientPeer { client: ClientId(1), name: "liar".to_owned() });
    let link = w.link_as(1, Hello { peer, ..hello(NodeId(99)) }).await;
    let grant = grant(GrantOp::Write, 1);
    let replicate = Replicate { mac: grant.sign(&w.nodes[1].key), grant, len_hint: 1 };
    let body = Request::Replication(ReplicationRequest::Replicate(replicate));
    let stream = link.open(&request(body), Bytes::new()).unwrap();
    assert_eq!(stream.recv().await.unwrap_err().code, StatusCode::PermissionDenied);
    w.settled().await;
}
