//! What becomes of nodes, their words and their copies.

use super::*;
use crate::coordinator::metadata::model::records::Standing;

#[tokio::test(start_paused = true)]
async fn writes_follow_the_number_of_usable_nodes() {
    let rig = with_nodes(0).await;
    let refused = rig.open("/f", 1).await.unwrap_err();
    assert!(
        refused.code == StatusCode::NoWriteQuorum && refused.message.contains("no datanode"),
        "{refused}"
    );
    rig.register(1).await;
    assert_eq!(rig.open("/f", 1).await.unwrap_err().code, StatusCode::NoWriteQuorum);
    rig.register(2).await;
    assert_eq!(rig.open("/f", 1).await.unwrap().allocations[0].targets.len(), 2);
    assert_eq!(rig.findings(), ["FEWER_NODES_THAN_RF"]);
    rig.register(3).await;
    assert_eq!(rig.open("/g", 1).await.unwrap().allocations[0].targets.len(), 3);
    assert_eq!(rig.findings(), [""; 0]);
    rig.pass(12, &[1, 2]).await;
    assert_eq!(rig.findings(), ["FEWER_NODES_THAN_RF", "NODE_SUSPECT"]);
    rig.pass(20, &[1]).await;
    assert_eq!(rig.findings()[0], "NO_WRITE_QUORUM");
    let status = rig.status();
    assert_eq!((status.health, status.nodes_up, status.nodes_total), (HealthLevel::Error, 1, 3));
    let refused = rig.open("/h", 1).await.unwrap_err();
    assert!(refused.message.contains("dn-3 is down"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_silent_is_named_before_anybody_knows_how_it_is_and_alarms_nobody() {
    let rig = with_nodes(3).await;
    let silent = || {
        let status = rig.status();
        assert_eq!((status.health, status.nodes_up), (HealthLevel::Ok, 3), "{:?}", status.findings);
        assert_eq!(status.nodes_silent as usize, status.silent.len());
        status.silent.into_iter().map(|node| (node.name, node.silent_ms)).collect::<Vec<_>>()
    };
    rig.pass(4, &[1, 2]).await;
    assert_eq!(silent(), [], "a heartbeat may be late");
    rig.pass(2, &[1, 2]).await;
    assert_eq!(silent(), [("dn-3".to_owned(), 6_000)]);
    rig.pass(2, &[2, 3]).await;
    assert_eq!(silent(), []);
    rig.pass(4, &[2]).await;
    assert_eq!(
        silent(),
        [("dn-1".to_owned(), 8_000), ("dn-3".to_owned(), 6_000)],
        "the longest silent first"
    );
    // Once it is known, it is a finding, and no longer something unknown.
    rig.pass(6, &[1, 2]).await;
    let status = rig.status();
    assert_eq!((status.nodes_up, status.nodes_silent), (2, 0));
    assert!(rig.findings().contains(&"NODE_SUSPECT".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn at_most_eight_silent_nodes_are_named_and_all_are_counted() {
    let rig = with_nodes(10).await;
    rig.pass(6, &[]).await;
    let status = rig.status();
    assert_eq!((status.nodes_silent, status.silent.len()), (10, 8));
}

#[tokio::test(start_paused = true)]
async fn bad_and_missing_copies_reach_health_fsck_and_readers() {
    let rig = with_nodes(3).await;
    let allocation = rig.put("/f").await;
    let (chunk, generation) = (allocation.grant.chunk, allocation.grant.generation);
    let copy = ChunkKey { chunk, generation };
    rig.beat(2, &[], &[copy]).await;
    assert_eq!(rig.findings(), ["CORRUPT_COPIES", "UNDER_REPLICATED"]);
    let read = rig.read("/f").await.unwrap();
    let last = read.chunks[0].replicas.last().unwrap();
    assert_eq!((last.node, last.copy), (NodeId(2), CopyState::Corrupt), "the last resort");
    // Copies younger than an inventory may be are not missed by it.
    rig.pass(700, &[1, 2, 3]).await;
    assert!(rig.inventory(3, &[]).await.unwrap().is_empty());
    rig.inventory(1, &[(chunk, generation.0, false)]).await.unwrap();
    let MetadataResponse::Fsck(step) = rig.meta(MetadataRequest::Fsck(Fsck { cursor: None })).await.unwrap()
    else {
        panic!()
    };
    let kinds: Vec<_> = step.problems.iter().map(|p| (p.kind, p.node)).collect();
    assert!(kinds.contains(&(FsckKind::CopyMissing, Some(NodeId(3)))), "{kinds:?}");
    assert!(kinds.contains(&(FsckKind::CopyCorrupt, Some(NodeId(2)))), "{kinds:?}");
    assert!(step.next.is_none() && !kinds.iter().any(|k| k.0 == FsckKind::ChunkLost));
}

#[tokio::test(start_paused = true)]
async fn an_inventory_orders_old_orphans_away_and_fsck_names_those_that_stay() {
    let rig = with_nodes(3).await;
    let now = rig.service.parts.time.now_ms();
    let (old, young) = (ChunkId::time_ordered(now, 1), ChunkId::time_ordered(now + 7_200_000, 1));
    rig.pass(3_700, &[1, 2, 3]).await;
    let copies = [(old, 0, false), (young, 0, false)];
    for _ in 0..2 {
        let ordered: Vec<_> = rig.inventory(1, &copies).await.unwrap().iter().map(|c| c.chunk).collect();
        assert_eq!(ordered, [old], "the young one may be an upload's");
    }
    let MetadataResponse::Fsck(step) = rig.meta(MetadataRequest::Fsck(Fsck { cursor: None })).await.unwrap()
    else {
        panic!()
    };
    let orphans: Vec<_> = step.problems.iter().map(|p| (p.kind, p.chunk, p.node)).collect();
    assert_eq!(orphans, [(FsckKind::Orphan, Some(old), Some(NodeId(1)))]);
    assert!(rig.inventory(1, &[(young, 0, false), (old, 0, false)]).await.is_err(), "out of order");
    assert_eq!(rig.inventory(9, &[]).await.unwrap_err().code, StatusCode::NotRegistered);
}

#[tokio::test(start_paused = true)]
async fn everything_is_remembered_by_the_next_reign() {
    let rig = with_nodes(3).await;
    rig.put("/f").await;
    let first = rig.reign.epoch;
    let rig = rig.restart().await;
    assert!(rig.reign.epoch > first);
    let read = rig.read("/f").await.unwrap();
    let names: Vec<_> = read.chunks[0].replicas.iter().map(|r| (r.node_state, r.name.clone())).collect();
    assert!(
        names.iter().all(|(state, name)| *state == NodeState::Suspect && name.starts_with("dn-")),
        "{names:?}"
    );
    assert!(rig.beat(1, &[], &[]).await.register_again);
    assert_eq!(
        rig.open("/g", 1).await.unwrap_err().code,
        StatusCode::NoWriteQuorum,
        "nobody has reported yet"
    );
    for id in 1..=3 {
        rig.register(id).await;
    }
    rig.open("/g", 1).await.unwrap();
    assert_eq!(rig.findings(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_leaves_is_not_missed_even_by_the_next_reign() {
    let rig = with_nodes(4).await;
    let leave = Leave { node: NodeId(4), incarnation: Incarnation(1) };
    rig.member(MembershipRequest::Leave(leave)).await.unwrap();
    rig.pass(40, &[1, 2, 3]).await;
    assert_eq!(rig.findings(), [""; 0]);
    let rig = rig.restart().await;
    rig.pass(40, &[]).await;
    assert_eq!(rig.service.view().state(NodeId(4)), NodeState::Left);
    assert_eq!(rig.service.view().state(NodeId(1)), NodeState::Down);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_any_actor_restarts_it_alone_and_the_coordinator_works_on() {
    for kind in ["metadata-writer", "membership", "placement", "gc"] {
        let rig = with_nodes(3).await;
        assert_eq!(rig.tree.strike(&StrikeTarget::Kind(kind.to_owned()), Strike::Panic), 1);
        tokio::time::sleep(Duration::from_secs(3)).await;
        for row in rig.tree.snapshot() {
            assert_eq!(row.stats.restarts, u64::from(row.kind == kind), "{} after {kind}", row.kind);
        }
        for id in 1..=3 {
            if rig.beat(id, &[], &[]).await.register_again {
                assert_eq!(kind, "membership", "only it has forgotten who registered");
                rig.register(id).await;
            }
        }
        rig.put("/f").await;
        rig.read("/f").await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn requests_for_someone_else_and_without_an_id_are_refused() {
    let rig = with_nodes(1).await;
    let body = Request::Metadata(MetadataRequest::Mkdir(Mkdir { path: path("/a"), parents: false }));
    let head = RequestHead { op: OpId(0), deadline_ms: 0, trace: None, body };
    assert_eq!(rig.service.answer(head).await.unwrap_err().code, StatusCode::InvalidArgument);
    let nodes = rig.ask(Request::Admin(AdminRequest::Nodes)).await.unwrap();
    let Response::Admin(AdminResponse::Nodes(nodes)) = nodes else { panic!() };
    assert_eq!(
        nodes.iter().map(|n| (n.state, n.name.as_str())).collect::<Vec<_>>(),
        [(NodeState::Up, "dn-1")]
    );
}

#[test]
fn nobody_speaks_for_another_node() {
    use dfs_wire::handshake::{ClientPeer, NodePeer, Peer};
    use dfs_wire::id::ClientId;
    let leave = |id| MembershipRequest::Leave(Leave { node: NodeId(id), incarnation: Incarnation(1) });
    let node = Peer::Datanode(NodePeer { node: NodeId(1), incarnation: Incarnation(1), name: "dn-1".into() });
    let client = Peer::Client(ClientPeer { client: ClientId(1), name: "dfsctl".into() });
    let verdict = |peer: &Peer, body: Request| crate::coordinator::service::speaks_for_itself(peer, &body);
    assert!(verdict(&node, Request::Membership(leave(1))).is_ok());
    for (peer, id) in [(&node, 2), (&client, 1)] {
        let refused = verdict(peer, Request::Membership(leave(id))).unwrap_err();
        assert_eq!(refused.code, StatusCode::PermissionDenied);
    }
    assert!(verdict(&client, Request::Admin(AdminRequest::Nodes)).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_node_is_counted_only_if_it_is_itself_that_answers_at_its_address() {
    let rig = with_nodes(3).await;
    // One that advertises another's address, and one whose address nobody answers at.
    for (address, says) in [
        ("proxy:1", "dn-4 (00000000000000000000000000000004) says that it is reached at proxy:1, but dn-1"),
        (
            "nowhere:1",
            "dn-4 does not answer at nowhere:1, where it says that it is reached: cannot reach nowhere:1",
        ),
    ] {
        rig.doors.0.lock().unwrap().insert("proxy:1".to_owned(), Some(1));
        let word = Register { address: address.to_owned(), ..word(4) };
        let refused = rig.try_register(word).await.unwrap_err();
        assert_eq!(refused.code, StatusCode::NotAdmitted);
        assert!(refused.message.contains(says) && refused.hint.contains("node.advertise"), "{refused}");
    }
    assert_eq!(rig.service.view().nodes.len(), 3);
    // A wiped machine takes the place of the node that it was, once that is silent; the next reign knows as well.
    let wiped = Register { name: "dn-1".into(), address: "10.0.0.1:8081".into(), ..word(4) };
    rig.doors.0.lock().unwrap().insert("10.0.0.1:8081".to_owned(), Some(4));
    assert_eq!(rig.try_register(wiped.clone()).await.unwrap_err().code, StatusCode::NotAdmitted);
    rig.pass(40, &[2, 3]).await;
    rig.try_register(wiped).await.unwrap();
    let states = |rig: &Rig| (rig.service.view().state(NodeId(1)), rig.service.view().state(NodeId(4)));
    assert_eq!(states(&rig), (NodeState::Lost, NodeState::Up));
    assert!(rig.findings().contains(&"NODE_LOST".to_owned()));
    let rig = rig.restart().await;
    assert_eq!(states(&rig), (NodeState::Lost, NodeState::Suspect));
    let back = rig.try_register(word(1)).await.unwrap_err();
    assert!(back.code == StatusCode::NotAdmitted && back.message.contains("is lost"), "{back}");
}

#[tokio::test(start_paused = true)]
async fn a_lost_node_comes_back_by_an_operators_word() {
    let rig = with_nodes(3).await;
    rig.pass(40, &[2, 3]).await;
    let wiped = Register { name: "dn-1".into(), address: "10.0.0.1:8081".into(), ..word(4) };
    rig.doors.0.lock().unwrap().insert("10.0.0.1:8081".to_owned(), Some(4));
    rig.try_register(wiped).await.unwrap();
    let elsewhere = Register { name: "old".into(), address: "10.0.0.9:8081".into(), ..word(1) };
    rig.doors.0.lock().unwrap().insert("10.0.0.9:8081".to_owned(), Some(1));
    rig.try_register(elsewhere.clone()).await.unwrap_err();
    assert!(rig.findings().contains(&"NODE_WAITING".to_owned()));
    let admit = |name: &str| Request::Admin(AdminRequest::AdmitNode(name.to_owned()));
    let wrong = rig.ask(admit("other")).await.unwrap_err();
    assert!(wrong.code == StatusCode::NotFound && wrong.hint.contains("old"), "{wrong}");
    rig.ask(admit("old")).await.unwrap();
    assert!(!rig.findings().contains(&"NODE_WAITING".to_owned()));
    rig.try_register(elsewhere).await.unwrap();
    assert_eq!(rig.service.view().state(NodeId(1)), NodeState::Up);
}

fn forget(name: &str) -> Request {
    let word =
        dfs_wire::message::admin::ForgetNode { node: name.to_owned(), accept_loss: true, dry_run: false };
    Request::Admin(AdminRequest::ForgetNode(word))
}

#[tokio::test(start_paused = true)]
async fn a_node_that_registers_in_the_moment_it_is_forgotten_is_one_or_the_other_everywhere() {
    let mut seen = [0, 0];
    for later in 0..24 {
        let rig = with_nodes(3).await;
        rig.pass(40, &[2, 3]).await;
        // Both are under way at once; the registration begins a little later and later.
        let registration = async {
            for _ in 0..later {
                tokio::task::yield_now().await;
            }
            rig.try_register(Register { incarnation: Incarnation(2), ..word(1) }).await
        };
        let (forgotten, registered) = tokio::join!(rig.ask(forget("dn-1")), registration);
        seen[usize::from(forgotten.is_ok())] += 1;
        assert!(forgotten.is_ok() != registered.is_ok(), "{forgotten:?} {registered:?}");
        let live = rig.service.view().state(NodeId(1));
        let reader = MetadataReader::new(rig.store.clone());
        let durable = reader.node(NodeId(1)).unwrap().unwrap().standing;
        let expected = match forgotten {
            Ok(_) => (NodeState::Forgotten, Standing::Forgotten),
            Err(_) => (NodeState::Up, Standing::Member),
        };
        assert_eq!((live, durable), expected);
        let rig = rig.restart().await;
        let after = rig.try_register(Register { incarnation: Incarnation(3), ..word(1) }).await;
        assert_eq!(after.is_ok(), durable == Standing::Member, "{after:?}");
    }
    assert!(seen.iter().all(|times| *times > 0), "each was first once: {seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_only_the_metadata_knows_to_be_forgotten_is_so_everywhere_when_it_comes_back() {
    let rig = with_nodes(3).await;
    rig.pass(40, &[2, 3]).await;
    // As after a word whose outcome the coordinator did not learn.
    let record = || {
        let reader = MetadataReader::new(rig.store.clone());
        reader.node(NodeId(1)).unwrap().unwrap()
    };
    let forgotten = crate::coordinator::metadata::model::records::NodeRecord {
        standing: Standing::Forgotten,
        ..record()
    };
    let key = crate::coordinator::metadata::table::keys::node(NodeId(1));
    let value = crate::coordinator::metadata::table::format::encode(&key, &forgotten).unwrap();
    let writes = vec![(key, Some(value))];
    rig.store
        .commit(&[crate::coordinator::metadata::table::store::Batch { conditions: Vec::new(), writes }])
        .unwrap();
    let refused = rig.try_register(word(1)).await.unwrap_err();
    assert_eq!(refused.code, StatusCode::NotAdmitted, "{refused}");
    assert_eq!(rig.service.view().state(NodeId(1)), NodeState::Forgotten);
    assert_eq!(record().standing, Standing::Forgotten);
}
