//! The links of a primary to its replicas: to whom, and what their end costs.

use dfs_actors::env::Connection;
use dfs_actors::env::Net as _;
use dfs_wire::auth::{NodeKey, Receipt};
use dfs_wire::handshake::Welcome;
use support::CLUSTER;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_client_cannot_have_a_node_dial_where_it_likes() {
    let w = world(16).await;
    let link = w.link(0).await;
    let bytes = content(MIB);
    let mut head = w.write_request(1, MIB);
    let Request::Chunk(ChunkRequest::Write(write)) = &mut head.body else { unreachable!() };
    write.replicas[0].address = "mem:4444".to_owned();
    write.replicas[1].node = NodeId(5555);
    write.replicas[1].address = "mem:5555".to_owned();
    let stream = link.open(&head, Bytes::new()).unwrap();
    let stored = send_all(&stream, &bytes, Sha256::digest(&bytes).into()).await.unwrap();
    assert_eq!(stored.receipts.len(), 2, "the replica is where the coordinator says");
    assert_eq!((stored.failed.len(), stored.failed[0].node), (1, NodeId(5555)));
    assert_eq!(stored.failed[0].status.code, StatusCode::NotRegistered);
    let dialed = w.net.dialed.lock().unwrap().clone();
    assert!(dialed.iter().all(|address| !["mem:4444", "mem:5555"].contains(&&**address)), "{dialed:?}");
    // The links of others to the same replica have not suffered.
    assert_eq!(w.put(&link, 2, &bytes).await.unwrap().receipts.len(), 3);
    w.settled().await;
}

/// Shakes hands as `node`.
async fn welcome(connection: Connection, node: NodeId) -> Link {
    let budget = SlabBudget::new(SlabPool::new(16), 16);
    let mut accepting = Link::accept(connection.reader, connection.writer, budget);
    let (hello, version) = accepting.hello().await.unwrap();
    let welcome = Welcome {
        version: version.number(),
        cluster: Some(CLUSTER),
        node,
        name: "scripted".to_owned(),
        role: "datanode".to_owned(),
        session: 1,
        epoch: Epoch(1),
        time_ms: 0,
        features: 0,
        connection_credit: 64 << 20,
    };
    let (link, driver) = accepting.welcome(&hello, welcome).await.unwrap();
    tokio::spawn(driver.reader);
    tokio::spawn(driver.writer);
    link
}

/// Takes one copy in, and signs for it.
async fn store_one(link: &Link, node: NodeId, key: &NodeKey) {
    let incoming = link.next_request().await.unwrap();
    let Request::Replication(ReplicationRequest::Replicate(copy)) = incoming.head.body else {
        panic!("{incoming:?}")
    };
    incoming.stream.grant(SlabBudget::new(SlabPool::new(16), 16).reserve(4).await);
    let end = loop {
        match incoming.stream.recv().await.unwrap() {
            Event::Data(_) => {}
            Event::End(end) => break end,
            other => panic!("{other:?}"),
        }
    };
    let (chunk, generation) = (copy.grant.chunk, copy.grant.generation);
    let receipt = Receipt::sign(node, chunk, generation, end.len as u32, end.sha256, key);
    let stored = Response::Replication(ReplicationResponse::Stored(receipt));
    incoming.stream.respond(Ok(stored), Bytes::new()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_link_that_closes_just_when_it_is_needed_costs_no_copy() {
    let w = world(16).await;
    w.nodes[1].root.shutdown().await;
    let mut listener = w.net.listen(&w.nodes[1].address).await.unwrap();
    let (node, key) = (w.nodes[1].id, w.nodes[1].key.clone());
    let replica = tokio::spawn(async move {
        let idle = welcome(listener.accept().await.unwrap(), node).await;
        idle.next_request().await.unwrap();
        idle.close(Status::new(StatusCode::Unavailable, "no request for too long"));
        let fresh = welcome(listener.accept().await.unwrap(), node).await;
        store_one(&fresh, node, &key).await;
        fresh
    });
    let link = w.link(0).await;
    let stored = w.put(&link, 1, &content(3 * MIB)).await.unwrap();
    assert_eq!((stored.receipts.len(), &stored.failed[..]), (3, &[][..]));
    drop(replica.await.unwrap());
    w.nodes[0].settled().await;
}

#[tokio::test(start_paused = true)]
async fn a_link_that_nobody_uses_is_closed_by_the_end_that_opened_it() {
    let w = world(16).await;
    let link = w.link(0).await;
    w.put(&link, 1, &content(MIB)).await.unwrap();
    let sessions = || (w.nodes[1].tree.count("session"), w.nodes[2].tree.count("session"));
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(sessions(), (1, 1));
    // The replicas would keep them for 60 s.
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(sessions(), (0, 0));
    assert_eq!(w.put(&link, 2, &content(MIB)).await.unwrap().receipts.len(), 3);
    w.settled().await;
}

/// Seen to fail with one counter for the whole process.
#[tokio::test(start_paused = true)]
async fn sessions_are_counted_by_their_listener_across_its_lives() {
    let w = world(16).await;
    let number = async |node: usize| w.dial(node, &hello(NodeId(99))).await.welcome.session;
    assert_eq!((number(0).await, number(0).await), (1, 2));
    assert_eq!(number(1).await, 1, "each node counts its own");
    assert_eq!(w.nodes[0].tree.strike(&StrikeTarget::Path("root/listener".into()), Strike::Kill), 1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(number(0).await, 3, "sessions of the life before may still be there");
}
