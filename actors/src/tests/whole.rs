//! Datanodes' agents and a coordinator, talking to each other: no wire, but every actor of both sides.

use dfs_wire::auth::GrantOp;

use crate::coordinator::metadata::table::store::{Batch, KeyRange, SCAN_PAIRS_MAX};
use crate::coordinator::tests::*;
use crate::datanode::authority::{Authority, NodeAuthority, SelfDescription};
use crate::datanode::chunk_store::ChunkStore;
use crate::datanode::control::CoordinatorLink;
use crate::datanode::fakes::{FakeIdentity, FakeStore, me};
use crate::datanode::heartbeat::{HeartbeatConfig, want_news};
use crate::datanode::inventory::InventoryConfig;
use crate::datanode::tree::{Agents, AgentsArgs, agents};

/// A connection to a coordinator in the same process, which can be cut.
struct Wire {
    service: std::sync::Mutex<Option<Arc<CoordinatorService>>>,
}

impl CoordinatorLink for Wire {
    fn call(&self, body: Request, timeout: Duration) -> BoxFuture<'static, Result<Response, Status>> {
        let service = self.service.lock().unwrap().clone();
        let deadline_ms = u32::try_from(timeout.as_millis()).unwrap();
        Box::pin(async move {
            let Some(service) = service else {
                return Err(Status::new(StatusCode::ConnectionLost, "the wire is cut"));
            };
            service.answer(RequestHead { op: OpId(1), deadline_ms, trace: None, body }).await
        })
    }
}

struct Datanode {
    _root: Root,
    agents: Agents,
    store: Arc<FakeStore>,
    authority: NodeAuthority,
}

async fn datanode(env: &Env, wire: &Arc<Wire>, id: u128) -> Datanode {
    let store = FakeStore::with(0..0);
    let (name, address) = (format!("dn-{id}"), format!("10.0.0.{id}:8081"));
    let me = SelfDescription { node: NodeId(id), name, address, ..me() };
    let (spec, agents) = agents(AgentsArgs {
        me,
        link: wire.clone(),
        identity: Arc::new(FakeIdentity::default()),
        store: store.clone(),
        probe: Arc::new(Room),
        heartbeat: HeartbeatConfig::default(),
        inventory: InventoryConfig::default(),
        quarantine: crate::datanode::quarantine::QuarantineConfig::default(),
        clock: env.clock.clone(),
    });
    let root = Root::start(env.clone(), ActorTree::new(format!("dn-{id}")), spec).await.unwrap();
    let authority = NodeAuthority::new(
        NodeId(id),
        agents.view.clone(),
        env.clock.clone(),
        want_news(agents.heartbeat.clone()),
    );
    Datanode { _root: root, agents, store, authority }
}

struct Room;

impl crate::datanode::heartbeat::LoadProbe for Room {
    fn load(&self) -> NodeLoad {
        load()
    }
}

async fn cluster_of(nodes: u128) -> (Rig, Arc<Wire>, Vec<Datanode>) {
    let rig = Rig::start().await;
    let wire = Arc::new(Wire { service: std::sync::Mutex::new(Some(rig.service.clone())) });
    let mut all = Vec::new();
    for id in 1..=nodes {
        all.push(datanode(&rig.env, &wire, id).await);
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    (rig, wire, all)
}

/// Stores the chunk of an allocation on its targets and has them sign for it.
fn store(nodes: &[Datanode], allocation: &Allocation) -> StoredChunk {
    let grant = &allocation.grant;
    let receipts = allocation.targets.iter().map(|target| {
        let node = nodes.iter().find(|n| n.authority.node() == target.node).unwrap();
        node.authority.check(grant, &target.mac, GrantOp::Write).unwrap();
        let key = grant.chunk_key();
        node.store.chunks.lock().unwrap().insert(key);
        node.authority.sign(key, 1, [0; 32]).unwrap()
    });
    StoredChunk { index: allocation.index, receipts: receipts.collect() }
}

async fn put(rig: &Rig, nodes: &[Datanode], at: &str) {
    let opened = rig.open(at, 1).await.unwrap();
    let chunk = store(nodes, &opened.allocations[0]);
    rig.commit(opened.session, vec![chunk], 1).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_node_that_joined_just_now_is_known_to_whoever_asks() {
    let (rig, wire, nodes) = cluster_of(1).await;
    let _second = datanode(&rig.env, &wire, 2).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let known = || nodes[0].authority.address_of(NodeId(2));
    assert_eq!(known(), None, "the next heartbeat is not due yet");
    let began = tokio::time::Instant::now();
    while known().is_none() {
        nodes[0].authority.want_news();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(began.elapsed() < Duration::from_millis(300), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_chunk_is_granted_stored_deleted_and_gone_from_every_disk() {
    let (rig, _wire, nodes) = cluster_of(4).await;
    put(&rig, &nodes, "/f").await;
    put(&rig, &nodes, "/kept").await;
    let on_disks = || nodes.iter().map(|n| n.store.inventory(None, 10).len()).sum::<usize>();
    assert_eq!(on_disks(), 6);
    let delete = Delete { path: path("/f"), recursive: false, skip_trash: true, if_match: None };
    rig.meta(MetadataRequest::Delete(delete)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(620)).await;
    assert_eq!(on_disks(), 3, "quarantined once the read lease has ended");
    let status = rig.status();
    assert_eq!((status.chunks, status.tombstones), (1, 0), "and confirmed");
    // An hour of inventories later nothing else is missed or thrown away.
    tokio::time::sleep(Duration::from_secs(7_200)).await;
    assert_eq!((on_disks(), rig.findings()), (3, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_new_reign_is_obeyed_at_once_and_grants_of_the_old_one_no_more() {
    let (rig, wire, nodes) = cluster_of(3).await;
    put(&rig, &nodes, "/f").await;
    let old = rig.read("/f").await.unwrap().chunks[0].clone();
    *wire.service.lock().unwrap() = None;
    let rig = rig.restart().await;
    *wire.service.lock().unwrap() = Some(rig.service.clone());
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(rig.findings(), [""; 0], "all are back");
    let new = rig.read("/f").await.unwrap().chunks[0].clone();
    for (location, good) in [(old, false), (new, true)] {
        for replica in &location.replicas {
            let node = nodes.iter().find(|n| n.authority.node() == replica.node).unwrap();
            let outcome = node.authority.check(&location.grant, &replica.mac, GrantOp::Read);
            assert_eq!(outcome.map_err(|s| s.code), if good { Ok(()) } else { Err(StatusCode::StaleEpoch) });
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_wiped_disk_is_found_by_its_inventory() {
    let (rig, _wire, nodes) = cluster_of(3).await;
    put(&rig, &nodes, "/f").await;
    tokio::time::sleep(Duration::from_secs(700)).await;
    nodes[1].store.chunks.lock().unwrap().clear();
    nodes[1].agents.inventory.try_send(crate::datanode::inventory::InventoryMsg::Take).unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(rig.findings(), ["UNDER_REPLICATED"]);
    let copies: Vec<_> = rig.read("/f").await.unwrap().chunks[0].replicas.iter().map(|r| r.copy).collect();
    assert_eq!(copies, [CopyState::Good, CopyState::Good, CopyState::Missing]);
}

#[tokio::test(start_paused = true)]
async fn nodes_outlive_a_coordinator_that_is_gone_for_a_while() {
    let (rig, wire, nodes) = cluster_of(3).await;
    let service = wire.service.lock().unwrap().take();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(nodes.iter().all(|n| !n.agents.view.get().active));
    assert_eq!(rig.findings()[0], "NO_WRITE_QUORUM");
    *wire.service.lock().unwrap() = service;
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(rig.findings(), [""; 0]);
    put(&rig, &nodes, "/f").await;
}

/// The metadata as a backup holds it.
fn backup(store: &MemoryStore) -> Arc<MemoryStore> {
    let copy = MemoryStore::new();
    for (key, value) in store.snapshot().unwrap().scan(&KeyRange::prefix(b""), SCAN_PAIRS_MAX).unwrap() {
        copy.commit(&[Batch { conditions: vec![], writes: vec![(key, Some(value))] }]).unwrap();
    }
    Arc::new(copy)
}

/// A cluster that went on in a second reign for two hours after the backup was made; then the wire was cut, and a
/// coordinator began over the backup. Returns it, what it should have begun with, and the second reign.
async fn restored() -> (Rig, Arc<MemoryStore>, dfs_wire::id::Epoch, Arc<Wire>, Vec<Datanode>) {
    let (rig, wire, nodes) = cluster_of(3).await;
    put(&rig, &nodes, "/before").await;
    let open = rig.open("/meanwhile", 1).await.unwrap();
    let chunk = store(&nodes, &open.allocations[0]);
    *wire.service.lock().unwrap() = None;
    let old = backup(&rig.store);
    let rig = rig.restart().await;
    *wire.service.lock().unwrap() = Some(rig.service.clone());
    tokio::time::sleep(Duration::from_secs(10)).await;
    rig.commit(open.session, vec![chunk], 1).await.unwrap();
    put(&rig, &nodes, "/after").await;
    tokio::time::sleep(Duration::from_secs(7_200)).await;
    *wire.service.lock().unwrap() = None;
    rig.root.shutdown().await;
    let (epoch, newest, env) = (rig.reign.epoch, rig.store.clone(), rig.env.clone());
    let rig = Rig::over(old, env).await;
    assert!(rig.reign.epoch > epoch, "no number tells that it is the older one");
    rig.next_op.set(2_000_000);
    (rig, newest, epoch, wire, nodes)
}

/// A cluster that went on for two hours after a copy of its metadata was made, in the same reign; then the wire was cut,
/// and a coordinator began over the copy. Returns it, the reign, the wire, and the datanodes.
async fn restored_hot() -> (Rig, dfs_wire::id::Epoch, Arc<Wire>, Vec<Datanode>) {
    let (rig, wire, nodes) = cluster_of(3).await;
    put(&rig, &nodes, "/before").await;
    let old = backup(&rig.store);
    put(&rig, &nodes, "/after").await;
    tokio::time::sleep(Duration::from_secs(7_200)).await;
    *wire.service.lock().unwrap() = None;
    rig.root.shutdown().await;
    let (epoch, env) = (rig.reign.epoch, rig.env.clone());
    let rig = Rig::over(old, env).await;
    rig.next_op.set(2_000_000);
    (rig, epoch, wire, nodes)
}

fn on_disks(nodes: &[Datanode]) -> usize {
    nodes.iter().map(|n| n.store.inventory(None, 100).len()).sum()
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_with_an_old_copy_of_its_metadata_is_found_out_and_deletes_nothing() {
    let (rig, newest, epoch, wire, nodes) = restored().await;
    *wire.service.lock().unwrap() = Some(rig.service.clone());
    tokio::time::sleep(Duration::from_secs(10)).await;
    let delete = Delete { path: path("/before"), recursive: false, skip_trash: false, if_match: None };
    rig.meta(MetadataRequest::Delete(delete)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10_800)).await;
    let status = rig.status();
    let first = &status.findings[0];
    assert_eq!((first.code.as_str(), first.level), ("METADATA_OUTDATED", HealthLevel::Error));
    assert!(first.message.contains(&epoch.to_string()) && first.message.contains("dn-"), "{first:?}");
    assert!(first.hint.contains(&format!("coordinator.give_up_epoch={epoch}")), "{first:?}");
    assert_eq!((status.nodes_up, on_disks(&nodes)), (0, 9), "they stay apart, with all they have");
    assert_eq!(status.trash_entries, 1, "nothing is collected, though its time has come");
    assert!(nodes.iter().all(|n| !n.agents.view.get().active));
    // The proof endures, even if no node is there to give it again; and nobody is told to delete anything.
    *wire.service.lock().unwrap() = None;
    let rig = rig.restart().await;
    rig.register(9).await;
    let orphan = (ChunkId::time_ordered(0, 1), 0, false);
    assert_eq!(rig.inventory(9, &[orphan]).await.unwrap(), []);
    assert_eq!(rig.findings()[0], "METADATA_OUTDATED");
    // The right metadata is all that was missing.
    rig.root.shutdown().await;
    let rig = Rig::over(newest, rig.env).await;
    *wire.service.lock().unwrap() = Some(rig.service.clone());
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!((rig.findings(), on_disks(&nodes)), (vec![], 9));
    for at in ["/before", "/meanwhile", "/after"] {
        rig.read(at).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_operator_can_go_on_with_an_old_copy_on_purpose() {
    let (rig, _, epoch, wire, nodes) = restored().await;
    let given_up = |epoch| cluster::give_up(rig.store.as_ref(), epoch).unwrap();
    assert!(!given_up(epoch), "not before there is a proof");
    *wire.service.lock().unwrap() = Some(rig.service.clone());
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!given_up(dfs_wire::id::Epoch(epoch.0 + 1)), "only what the proof names");
    assert!(given_up(epoch) && !given_up(epoch), "once");
    *wire.service.lock().unwrap() = None;
    let rig = rig.restart().await;
    *wire.service.lock().unwrap() = Some(rig.service.clone());
    tokio::time::sleep(Duration::from_secs(10_800)).await;
    assert_eq!((rig.findings(), on_disks(&nodes)), (vec![], 3), "what it does not know is gone");
    rig.read("/before").await.unwrap();
    assert_eq!(rig.read("/after").await.unwrap_err().code, StatusCode::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_the_metadata_that_was_made_within_the_same_reign_is_found_out_too() {
    let (rig, epoch, wire, nodes) = restored_hot().await;
    *wire.service.lock().unwrap() = Some(rig.service.clone());
    // As long as it takes for what nobody knows to be collected.
    tokio::time::sleep(Duration::from_secs(10_800)).await;
    let status = rig.status();
    let first = &status.findings[0];
    assert_eq!((first.code.as_str(), first.level), ("METADATA_OUTDATED", HealthLevel::Error));
    assert!(first.message.contains("has heard of commit"), "{first:?}");
    assert!(first.hint.contains(&format!("coordinator.give_up_epoch={epoch}")), "{first:?}");
    assert_eq!((status.nodes_up, on_disks(&nodes)), (0, 6), "they stay apart, with all they have");
    // On purpose it can be gone on with.
    assert!(cluster::give_up(rig.store.as_ref(), epoch).unwrap());
    *wire.service.lock().unwrap() = None;
    let rig = rig.restart().await;
    *wire.service.lock().unwrap() = Some(rig.service.clone());
    tokio::time::sleep(Duration::from_secs(10_800)).await;
    assert_eq!((rig.findings(), on_disks(&nodes)), (vec![], 3), "what it does not know is gone");
    rig.read("/before").await.unwrap();
    assert_eq!(rig.read("/after").await.unwrap_err().code, StatusCode::NotFound);
}
