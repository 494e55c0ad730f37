//! Memory is bounded however many clients come and however slow they are.

use std::time::Duration;

use dfs_client::{PutOptions, PutSource};
use dfs_tests::{Cluster, Content, MemoryWatch, Options, path};
use dfs_wire::{
    id::OpId,
    message::{
        Request, RequestHead,
        chunk::{ChunkRequest, ReadChunk},
    },
};
use tokio::task::JoinSet;

const MIB: u64 = 1024 * 1024;
/// What a process may need beside its buffers.
const BESIDE: u64 = 64 * MIB;

fn limit_32_mib() -> Options {
    Options::default().set("memory.limit", "32MiB")
}

#[tokio::test(flavor = "multi_thread")]
async fn seventy_puts_at_once_all_succeed_and_no_datanode_grows_past_its_limit() {
    let cluster = Cluster::start(3, limit_32_mib());
    let pids: Vec<_> = cluster.datanodes().iter().map(|node| node.pid()).collect();
    let watch = MemoryWatch::start(&pids);
    let mut puts = JoinSet::new();
    for number in 0..70 {
        // Clients of their own, so that each brings its connections.
        let client = cluster.client().await;
        puts.spawn(async move {
            let content = Content::new("many", number, 2 * MIB);
            let options = PutOptions::new().chunk_size(MIB as u32);
            let file = path(&format!("/f{number}"));
            client.put(PutSource::reader(content.reader(u64::MAX, || {})), &file, options).await.map(drop)
        });
    }
    while let Some(put) = puts.join_next().await {
        put.expect("no panic").expect("every put succeeds");
    }
    let most = watch.most();
    println!("most resident memory of a datanode: {} MiB", most / MIB);
    assert!(most > 8 * MIB && most <= 32 * MIB + BESIDE, "a datanode had {} MiB", most / MIB);
    let client = cluster.client().await;
    for number in [0, 35, 69] {
        let bytes = cluster.read(&client, &path(&format!("/f{number}"))).await.expect("read");
        Content::new("many", number, 2 * MIB).expect("read back", &bytes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_who_take_nothing_cost_bounded_memory_and_are_given_up_for_others() {
    let cluster = Cluster::start(3, limit_32_mib().set("network.stream_idle_timeout", "2s"));
    let client = cluster.client().await;
    let (file, content) = (path("/f"), Content::new("/f", 1, 8 * MIB));
    let options = PutOptions::new().chunk_size(8 * MIB as u32);
    client.put(PutSource::from(content.bytes()), &file, options).await.expect("put");
    let opened = client.open_read(&file, None, 0, 0).await.expect("open");
    let (grant, replicas) = (opened.chunks[0].grant.clone(), opened.chunks[0].replicas.clone());
    let watch = MemoryWatch::start(&cluster.datanodes().iter().map(|node| node.pid()).collect::<Vec<_>>());
    let (mut links, mut streams) = (vec![], vec![]);
    for replica in &replicas {
        for _ in 0..4 {
            let link = cluster.peer(&replica.address).await;
            for _ in 0..16 {
                let read = ReadChunk {
                    grant: grant.clone(),
                    mac: replica.mac,
                    offset: 0,
                    len: 8 * MIB as u32,
                    facts: false,
                };
                let body = Request::Chunk(ChunkRequest::Read(read));
                let head = RequestHead { op: OpId(1), deadline_ms: 60_000, trace: None, body };
                // Opened, and never granted any credit.
                streams.push(link.link().open(&head, bytes::Bytes::new()).expect("opened"));
            }
            links.push(link);
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    content.expect("another reader", &cluster.read(&client, &file).await.expect("read"));
    let small = PutSource::from(Content::new("g", 1, 10_000).bytes());
    client.put(small, &path("/g"), PutOptions::default()).await.expect("a writer");
    let most = watch.most();
    assert!(most <= 32 * MIB + BESIDE, "a datanode had {} MiB", most / MIB);
    drop(streams);
}
