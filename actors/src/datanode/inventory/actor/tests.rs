//! Inventories, running: over a coordinator and a disk of memory, in virtual time.

use super::*;
use crate::datanode::fakes::{Rig, key};

#[tokio::test(start_paused = true)]
async fn an_inventory_covers_everything_without_gaps() {
    let rig = Rig::start(0..2_500).await;
    rig.pass(2).await;
    let told = rig.told();
    let bounds: Vec<_> = told
        .reports
        .iter()
        .map(|r| (r.after.as_ref().map(|c| c.chunk.0), r.upto.as_ref().map(|c| c.chunk.0)))
        .collect();
    assert_eq!(bounds, [(None, Some(1_023)), (Some(1_023), Some(2_047)), (Some(2_047), None)]);
    assert_eq!(told.reports.iter().map(|r| r.copies.len()).sum::<usize>(), 2_500);
}

#[tokio::test(start_paused = true)]
async fn what_nothing_refers_to_goes_into_quarantine_and_a_mass_delete_does_not() {
    let rig = Rig::start(0..1_500).await;
    rig.told().unwanted.extend((0..300).map(|id| (key(id), ())));
    rig.agents.inventory.try_send(InventoryMsg::Take).unwrap();
    rig.pass(2).await;
    assert_eq!(rig.store.chunks.lock().unwrap().len(), 1_200);
    assert_eq!(rig.agents.health.findings(), []);
    rig.told().unwanted.extend((300..1_500).map(|id| (key(id), ())));
    rig.agents.inventory.try_send(InventoryMsg::Take).unwrap();
    rig.pass(2).await;
    assert_eq!(rig.store.chunks.lock().unwrap().len(), 1_200, "none was touched");
    let findings = rig.agents.health.findings();
    assert!(matches!(findings.as_slice(), [f] if f.code == "MASS_DELETE_STOPPED"), "{findings:?}");
    rig.pass(2).await;
    assert_eq!(rig.told().findings, ["MASS_DELETE_STOPPED"], "the coordinator is told");
    rig.told().unwanted.clear();
    rig.agents.inventory.try_send(InventoryMsg::Take).unwrap();
    rig.pass(2).await;
    assert_eq!(rig.agents.health.findings(), []);
}

#[tokio::test(start_paused = true)]
async fn orders_of_an_old_reign_are_not_carried_out() {
    let rig = Rig::start(0..100).await;
    rig.pass(2).await;
    rig.told().unwanted.extend((0..10).map(|id| (key(id), ())));
    rig.agents.view.update(|known| known.epoch = Epoch(9));
    rig.agents.inventory.try_send(InventoryMsg::Take).unwrap();
    rig.pass(120).await;
    assert_eq!(rig.store.chunks.lock().unwrap().len(), 100);
    rig.told().epoch = Epoch(9);
    rig.pass(20).await;
    assert_eq!(rig.store.chunks.lock().unwrap().len(), 90, "but those of the one to be obeyed are");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_not_taken_in_reports_nothing() {
    let rig = Rig::start(0..3).await;
    rig.told().foreign = true;
    rig.agents.view.update(|known| known.active = false);
    let before = rig.told().reports.len();
    rig.agents.inventory.try_send(InventoryMsg::Take).unwrap();
    rig.pass(60).await;
    assert_eq!(rig.told().reports.len(), before);
}

#[tokio::test(start_paused = true)]
async fn a_panic_restarts_the_inventory_alone_and_it_begins_anew() {
    let rig = Rig::start(0..3).await;
    rig.pass(2).await;
    rig.panic("inventory").await;
    rig.pass(10).await;
    assert_eq!(rig.told().reports.len(), 2);
}
