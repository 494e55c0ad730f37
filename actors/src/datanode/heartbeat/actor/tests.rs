//! A datanode's membership, running: over a coordinator and a disk of memory, in virtual time.

use super::*;
use crate::datanode::authority::Joined;
use crate::datanode::fakes::{Rig, key};
use dfs_wire::auth::NodeKey;
use dfs_wire::id::{ClusterId, Epoch};

#[tokio::test(start_paused = true)]
async fn a_node_registers_reports_and_learns_its_coordinator() {
    let rig = Rig::start(0..3).await;
    rig.pass(9).await;
    assert_eq!(rig.calls(), (1, 4));
    let joined = Joined { cluster: ClusterId(1), key: NodeKey([7; 32]), epoch: Epoch(1), position: 0 };
    assert_eq!(rig.identity.joined(), Some(joined));
    let known = rig.agents.view.get();
    assert!(known.active && known.cluster == Some(ClusterId(1)) && known.epoch == Epoch(1));
    assert_eq!(known.clock.map(|c| c.coordinator_ms), Some(9_000), "the reading of the last heartbeat");
    assert_eq!(rig.told().reports.len(), 1, "an inventory follows the registration");
}

#[tokio::test(start_paused = true)]
async fn tombstones_reach_the_disk_and_are_confirmed() {
    let rig = Rig::start(0..10).await;
    rig.told().tombstones.extend([key(2), key(5), key(77)]);
    rig.agents.heartbeat.try_send(HeartbeatMsg::Corrupt(key(9))).unwrap();
    rig.pass(9).await;
    assert_eq!(rig.told().deleted.iter().copied().collect::<Vec<_>>(), [key(2), key(5), key(77)]);
    assert!(rig.told().corrupt.contains(&key(9)));
    assert_eq!(rig.store.chunks.lock().unwrap().len(), 8, "what is not there is confirmed all the same");
}

#[tokio::test(start_paused = true)]
async fn what_was_heard_of_the_metadata_is_durable_before_an_order_to_delete_is_obeyed() {
    let rig = Rig::start(0..10).await;
    rig.pass(3).await;
    let position = || rig.identity.joined().map(|joined| joined.position);
    rig.told().position = 40;
    rig.pass(4).await;
    assert_eq!(position(), Some(0), "no order, no write");
    // A disk that keeps nothing: the orders wait, those of a heartbeat and those of an inventory.
    let taken = rig.identity.0.lock().unwrap().take();
    rig.told().tombstones.insert(key(2));
    rig.told().unwanted.insert(key(3), ());
    rig.agents.inventory.try_send(crate::datanode::inventory::InventoryMsg::Take).unwrap();
    rig.pass(9).await;
    assert_eq!((rig.store.chunks.lock().unwrap().len(), rig.told().deleted.len()), (10, 0));
    rig.identity.0.lock().unwrap().clone_from(&taken);
    rig.pass(9).await;
    assert_eq!(position(), Some(40));
    assert!(rig.told().deleted.contains(&key(2)));
    rig.told().position = 50;
    rig.agents.inventory.try_send(crate::datanode::inventory::InventoryMsg::Take).unwrap();
    rig.pass(9).await;
    assert_eq!((rig.store.chunks.lock().unwrap().len(), position()), (8, Some(50)));
    rig.told().position = 60;
    rig.pass(40).await;
    assert_eq!(position(), Some(60), "now and then without an order");
    rig.told().position = 70;
    rig.pass(3).await;
    rig.root.shutdown().await;
    assert_eq!(position(), Some(70), "and at an orderly stop");
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_that_forgot_the_node_is_registered_with_again() {
    let rig = Rig::start(0..1).await;
    rig.pass(5).await;
    rig.told().knows = false;
    rig.pass(5).await;
    assert_eq!(rig.told().registered, 2);
    rig.told().dead = true;
    rig.pass(60).await;
    assert!(!rig.agents.view.get().active, "it says that it is lost");
    rig.told().dead = false;
    rig.pass(15).await;
    assert!(rig.agents.view.get().active);
    assert_eq!(rig.told().registered, 2, "the coordinator never forgot it");
}

#[tokio::test(start_paused = true)]
async fn a_superseded_node_says_so_and_falls_silent() {
    let rig = Rig::start(0..1).await;
    rig.pass(3).await;
    rig.told().superseded = true;
    let verdict = rig.agents.view.told_to_stop().await;
    assert_eq!(verdict.code, StatusCode::AlreadyExists);
    rig.told().superseded = false;
    let heartbeats = rig.told().heartbeats;
    rig.panic("heartbeat").await;
    rig.pass(60).await;
    assert_eq!(rig.calls(), (1, heartbeats));
}

#[tokio::test(start_paused = true)]
async fn a_node_waits_for_its_own_cluster_and_says_why() {
    let rig = Rig::start(0..1).await;
    rig.pass(3).await;
    rig.told().foreign = true;
    rig.pass(600).await;
    let known = rig.agents.view.get();
    assert!(!known.active && rig.agents.view.verdict().is_none());
    assert!(known.refusal.as_ref().is_some_and(|why| why.contains("another cluster")), "{known:?}");
    rig.told().foreign = false;
    rig.pass(10).await;
    assert!(rig.agents.view.get().active && rig.agents.view.get().refusal.is_none());
    assert_eq!(rig.told().named, [Epoch(0), Epoch(1)], "the reign that took it in before");
}

#[tokio::test(start_paused = true)]
async fn a_panic_restarts_the_heartbeat_alone_and_it_registers_again() {
    let rig = Rig::start(0..1).await;
    rig.pass(3).await;
    rig.panic("heartbeat").await;
    rig.pass(5).await;
    assert_eq!(rig.told().registered, 2);
    assert!(rig.agents.view.get().active);
}

#[tokio::test(start_paused = true)]
async fn an_orderly_stop_says_goodbye_and_a_dead_coordinator_does_not_delay_it_for_long() {
    let rig = Rig::start(0..1).await;
    rig.pass(3).await;
    rig.root.shutdown().await;
    assert!(rig.told().left);
    let rig = Rig::start(0..1).await;
    rig.pass(3).await;
    rig.told().dead = true;
    let begun = tokio::time::Instant::now();
    rig.root.shutdown().await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}
