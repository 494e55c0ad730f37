//! Sharing: what one client takes of a node's places leaves some for the next.

use std::time::{Duration, Instant};

use dfs_client::{PutOptions, PutSource};
use dfs_tests::{Cluster, Content, NodeHandle, Options, PeerLink, path, wait_until};
use dfs_wire::{
    id::OpId,
    link::Stream,
    message::{
        Request, RequestHead, Response,
        chunk::{ChunkRequest, WriteChunk},
        metadata::{Allocation, MetadataRequest, MetadataResponse, OpenUpload, Precondition},
    },
};

const CHUNK: u32 = 2 * 1024 * 1024;

/// Room for 32 chunks, as a client asks for it that moves 32 at once.
async fn allocations(coordinator: &PeerLink, op: u128) -> Vec<Allocation> {
    let request = OpenUpload {
        path: path(&format!("/slow-{op}")),
        chunk_size: CHUNK,
        replication: 1,
        precondition: Precondition::Any,
        parents: false,
        size_hint: Some(32 * u64::from(CHUNK)),
        allocate: 32,
        mtime_ns: None,
        resume: None,
    };
    match coordinator.ask(op, Request::Metadata(MetadataRequest::OpenUpload(request))).await {
        Ok(Response::Metadata(MetadataResponse::UploadOpened(opened))) => opened.allocations,
        other => panic!("open an upload: {other:?}"),
    }
}

/// Begins to write a chunk, and sends nothing.
fn begin(link: &PeerLink, allocation: &Allocation) -> Stream {
    let target = &allocation.targets[0];
    let (grant, mac) = (allocation.grant.clone(), target.mac);
    let write = WriteChunk { grant, mac, len_hint: CHUNK, replicas: vec![], min_ack: 1 };
    let body = Request::Chunk(ChunkRequest::Write(write));
    let head = RequestHead { op: OpId(1), deadline_ms: 60_000, trace: None, body };
    link.link().open(&head, bytes::Bytes::new()).expect("opened")
}

fn bulk(node: &NodeHandle, metric: &str) -> f64 {
    let (_, text) = node.get("/metrics").expect("metrics");
    let line = text
        .lines()
        .find(|line| line.starts_with(&format!("{metric}{{")) && line.contains("kind=\"bulk_uploads\""));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("{metric}: {text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_of_many_chunks_over_a_slow_line_leaves_places_for_another_put() {
    let cluster = Cluster::start(2, Options::default());
    let coordinator = cluster.peer(cluster.coordinator().address()).await;
    let mut slow = vec![];
    for op in 1..=4 {
        slow.extend(allocations(&coordinator, op).await);
    }
    let (mut links, mut streams) = (vec![], vec![]);
    for node in cluster.datanodes() {
        let link = cluster.peer(node.address()).await;
        let here = slow.iter().filter(|allocation| allocation.targets[0].address == node.address());
        streams.extend(here.map(|allocation| begin(&link, allocation)));
        links.push(link);
        wait_until("the places are taken", || bulk(node, "dfs_places_waiting") >= 8.0);
        assert_eq!((bulk(node, "dfs_places_taken"), bulk(node, "dfs_places_max")), (12.0, 16.0));
    }
    let client = cluster.client().await;
    let (file, content) = (path("/quick"), Content::new("/quick", 1, 2 * u64::from(CHUNK)));
    let options = PutOptions::new().chunk_size(CHUNK);
    let began = Instant::now();
    client.put(PutSource::from(content.bytes()), &file, options).await.expect("put");
    // Those in the way are given up after 30 s of standstill.
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    content.expect("read back", &cluster.read(&client, &file).await.expect("read"));
    drop(streams);
}
