//! Nothing without authority: a datanode serves what was granted, to whom it was granted, as long as it was granted; a
//! coordinator commits what a datanode signed for.

use std::time::Duration;

use dfs_client::{PutOptions, PutSource};
use dfs_tests::{Cluster, Content, Options, PeerLink, path};
use dfs_wire::{
    auth::{Grant, GrantOp, Mac},
    id::{ChunkId, Epoch, Generation, InodeId},
    message::{
        EndHead, Request, Response,
        chunk::{ChunkRequest, ChunkResponse, ReadChunk, VerifyChunk, WriteChunk},
        metadata::{
            Allocation, ChunkLocation, CommitUpload, MetadataRequest, MetadataResponse, OpenUpload,
            Precondition, StoredChunk, UploadOpened,
        },
    },
    status::{Status, StatusCode},
};

const LEN: u32 = 100_000;

async fn open_upload(coordinator: &PeerLink, name: &str, op: u128) -> UploadOpened {
    let request = OpenUpload {
        path: path(name),
        chunk_size: 256 * 1024,
        replication: 1,
        precondition: Precondition::Any,
        parents: false,
        size_hint: Some(u64::from(LEN)),
        allocate: 1,
        mtime_ns: None,
        resume: None,
    };
    match coordinator.ask(op, Request::Metadata(MetadataRequest::OpenUpload(request))).await {
        Ok(Response::Metadata(MetadataResponse::UploadOpened(opened))) => opened,
        other => panic!("open an upload: {other:?}"),
    }
}

fn write(grant: Grant, mac: Mac) -> Request {
    Request::Chunk(ChunkRequest::Write(WriteChunk {
        grant,
        mac,
        len_hint: LEN,
        replicas: vec![],
        min_ack: 1,
    }))
}

fn read(grant: Grant, mac: Mac) -> Request {
    Request::Chunk(ChunkRequest::Read(ReadChunk { grant, mac, offset: 0, len: LEN, facts: false }))
}

/// Every way to bend a grant.
fn bent(grant: &Grant) -> Vec<(&'static str, Grant)> {
    let change = |what, change: fn(&mut Grant)| {
        let mut grant = grant.clone();
        change(&mut grant);
        (what, grant)
    };
    vec![
        change("another chunk", |grant| grant.chunk = ChunkId(grant.chunk.0 ^ 1)),
        change("another generation", |grant| grant.generation = Generation(grant.generation.0 + 1)),
        change("another file", |grant| grant.file = InodeId(grant.file.0 + 1)),
        change("another place", |grant| grant.index += 1),
        change("more bytes", |grant| grant.len_max *= 2),
        change("a longer time", |grant| grant.expires_ms += 3_600_000),
        change("a later reign", |grant| grant.epoch = Epoch(grant.epoch.0 + 1)),
        change("the other method", |grant| {
            grant.op = if grant.op == GrantOp::Read { GrantOp::Write } else { GrantOp::Read };
        }),
    ]
}

#[track_caller]
fn expect_refusal<T: std::fmt::Debug>(what: &str, answer: Result<T, Status>, codes: &[StatusCode]) {
    match answer {
        Err(status) if codes.contains(&status.code) => {}
        other => panic!("{what}: {other:?}, not one of {codes:?}"),
    }
}

/// A file of one chunk, where it is, and the links to its datanode and to another.
struct Stage {
    cluster: Cluster,
    coordinator: PeerLink,
}

impl Stage {
    async fn new(options: Options) -> Self {
        let cluster = Cluster::start(2, options);
        let coordinator = cluster.peer(cluster.coordinator().address()).await;
        Self { cluster, coordinator }
    }

    /// The link to the node an allocation names, and to one it does not name.
    async fn nodes_of(&self, address: &str) -> (PeerLink, PeerLink) {
        let other =
            self.cluster.datanodes().iter().find(|node| node.address() != address).expect("two nodes");
        (self.cluster.peer(address).await, self.cluster.peer(other.address()).await)
    }

    async fn allocation(&self, name: &str, op: u128) -> (UploadOpened, Allocation) {
        let mut opened = open_upload(&self.coordinator, name, op).await;
        let allocation = opened.allocations.pop().expect("one chunk was asked for");
        (opened, allocation)
    }

    async fn location(&self, name: &str, content: &Content) -> ChunkLocation {
        let client = self.cluster.client().await;
        let options = PutOptions::new().replication(1);
        client.put(PutSource::from(content.bytes()), &path(name), options).await.expect("put");
        let mut opened = client.open_read(&path(name), None, 0, 0).await.expect("open");
        opened.chunks.pop().expect("one chunk")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_needs_exactly_the_grant_that_the_coordinator_signed() {
    use StatusCode::{ChecksumMismatch, ChunkExists, InvalidArgument, PermissionDenied, StaleEpoch};
    let stage = Stage::new(Options::default()).await;
    let (_, allocation) = stage.allocation("/write", 1).await;
    let (target, bytes) = (allocation.targets[0].clone(), Content::new("w", 1, LEN.into()).bytes());
    let (node, other) = stage.nodes_of(&target.address).await;
    for (what, grant) in bent(&allocation.grant) {
        let answer = node.upload(write(grant, target.mac), &bytes).await;
        expect_refusal(what, answer, &[PermissionDenied, StaleEpoch]);
    }
    let mut mac = target.mac;
    mac.0[15] ^= 1;
    expect_refusal(
        "a forged signature",
        node.upload(write(allocation.grant.clone(), mac), &bytes).await,
        &[PermissionDenied],
    );
    let answer = other.upload(write(allocation.grant.clone(), target.mac), &bytes).await;
    expect_refusal("another node", answer, &[PermissionDenied]);
    let answer = node.download(read(allocation.grant.clone(), target.mac)).await;
    expect_refusal("reading with leave to write", answer, &[PermissionDenied]);
    let long = vec![1; 300 * 1024];
    let answer = node.upload(write(allocation.grant.clone(), target.mac), &long).await;
    expect_refusal(
        "more bytes than granted",
        answer,
        &[PermissionDenied, InvalidArgument, StatusCode::FlowControl, StatusCode::ProtocolViolation],
    );

    let (_, allocation) = stage.allocation("/write2", 2).await;
    let target = allocation.targets[0].clone();
    let (node, _) = stage.nodes_of(&target.address).await;
    let lie = EndHead { len: bytes.len() as u64, sha256: [7; 32], facts: Box::default() };
    let answer = node.upload_with_end(write(allocation.grant.clone(), target.mac), &bytes, lie).await;
    expect_refusal("a hash that is not the bytes'", answer, &[ChecksumMismatch]);
    // What the refusals are worth: the same request as it should be is served, once.
    let good = node.upload(write(allocation.grant.clone(), target.mac), &bytes).await;
    assert!(matches!(good, Ok(Response::Chunk(ChunkResponse::Stored(_)))), "{good:?}");
    let replayed = node.upload(write(allocation.grant.clone(), target.mac), &vec![9; bytes.len()]).await;
    match replayed {
        Ok(Response::Chunk(ChunkResponse::Stored(stored))) => {
            assert_eq!(stored.receipts[0].sha256, sha2_of(&bytes), "other bytes under the same chunk");
        }
        other => expect_refusal("a replay", other, &[ChunkExists, PermissionDenied, ChecksumMismatch]),
    }
}

fn sha2_of(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_needs_exactly_the_grant_that_the_coordinator_signed() {
    use StatusCode::{PermissionDenied, StaleEpoch};
    let stage = Stage::new(Options::default()).await;
    let content = Content::new("r", 1, LEN.into());
    let chunk = stage.location("/read", &content).await;
    let replica = chunk.replicas[0].clone();
    let (node, other) = stage.nodes_of(&replica.address).await;
    for (what, grant) in bent(&chunk.grant) {
        expect_refusal(
            what,
            node.download(read(grant.clone(), replica.mac)).await,
            &[PermissionDenied, StaleEpoch],
        );
        let check = Request::Chunk(ChunkRequest::Verify(VerifyChunk { grant, mac: replica.mac }));
        expect_refusal(what, node.ask(1, check).await, &[PermissionDenied, StaleEpoch]);
    }
    let answer = other.download(read(chunk.grant.clone(), replica.mac)).await;
    expect_refusal("another node", answer, &[PermissionDenied]);
    let answer = node.upload(write(chunk.grant.clone(), replica.mac), &content.bytes()).await;
    expect_refusal("writing with leave to read", answer, &[PermissionDenied]);
    let (bytes, _) =
        node.download(read(chunk.grant.clone(), replica.mac)).await.expect("the grant as it was given");
    content.expect("the chunk", &bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn leave_to_write_ends_with_its_time() {
    let stage = Stage::new(Options::default().set("cluster.grant_ttl", "10s")).await;
    let content = Content::new("late", 1, LEN.into());
    let (_, allocation) = stage.allocation("/late", 3).await;
    let target = allocation.targets[0].clone();
    let (writer, _) = stage.nodes_of(&target.address).await;
    tokio::time::sleep(Duration::from_millis(12_500)).await;
    let late = writer.upload(write(allocation.grant.clone(), target.mac), &content.bytes()).await;
    expect_refusal("a late write", late, &[StatusCode::PermissionDenied]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_needs_the_receipts_that_the_datanodes_signed() {
    let stage = Stage::new(Options::default()).await;
    let (opened, allocation) = stage.allocation("/commit", 4).await;
    let target = allocation.targets[0].clone();
    let (node, _) = stage.nodes_of(&target.address).await;
    let bytes = Content::new("c", 1, LEN.into()).bytes();
    let stored = node.upload(write(allocation.grant.clone(), target.mac), &bytes).await;
    let Ok(Response::Chunk(ChunkResponse::Stored(stored))) = stored else { panic!("{stored:?}") };
    let commit = |receipts, size: u64| {
        let chunks = vec![StoredChunk { index: 0, receipts }];
        let commit = CommitUpload { session: opened.session, chunks, size, chunk_count: 1, sha256: None };
        Request::Metadata(MetadataRequest::CommitUpload(commit))
    };
    let good = stored.receipts[0].clone();
    let refused = [StatusCode::PermissionDenied, StatusCode::InvalidArgument];
    let mut op = 100;
    let mut forged = vec![("no receipt", vec![])];
    let mut bend = |what, change: fn(&mut dfs_wire::auth::Receipt)| {
        let mut receipt = good.clone();
        change(&mut receipt);
        forged.push((what, vec![receipt]));
    };
    bend("another length", |receipt| receipt.len += 1);
    bend("another hash", |receipt| receipt.sha256[0] ^= 1);
    bend("another node", |receipt| receipt.node.0 ^= 1);
    bend("another chunk", |receipt| receipt.chunk.0 ^= 1);
    bend("another generation", |receipt| receipt.generation.0 += 1);
    bend("a forged signature", |receipt| receipt.mac.0[0] ^= 1);
    for (what, receipts) in forged {
        op += 1;
        let answer = stage.coordinator.ask(op, commit(receipts, LEN.into())).await;
        let codes = [&refused[..], &[StatusCode::NoWriteQuorum, StatusCode::PreconditionFailed]].concat();
        expect_refusal(what, answer, &codes);
    }
    let answer = stage.coordinator.ask(200, commit(vec![good.clone()], u64::from(LEN) + 1)).await;
    expect_refusal("a size that is not the chunks'", answer, &refused);
    let client = stage.cluster.client().await;
    assert!(client.stat(&path("/commit")).await.is_err(), "nothing of a refused commit is visible");
    let answer = stage.coordinator.ask(300, commit(vec![good.clone()], LEN.into())).await;
    assert!(matches!(answer, Ok(Response::Metadata(MetadataResponse::Committed(_)))), "{answer:?}");
    let again = stage.coordinator.ask(300, commit(vec![good], LEN.into())).await;
    assert!(matches!(again, Ok(Response::Metadata(MetadataResponse::Committed(_)))), "a repeat: {again:?}");
}
