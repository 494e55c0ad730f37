//! Power cuts at every step: what was acknowledged is there, what was not leaves no trace that is served.

use std::path::Path;

use dfs_actors::datanode::chunk_store::{ChunkStore, ReplicaState};

use super::faulty_disk::{FaultyDisk, Survives};
use super::*;

const MODES: [Survives; 6] = [
    Survives::Nothing,
    Survives::Names,
    Survives::Data,
    Survives::Some(1),
    Survives::Some(2),
    Survives::Some(3),
];

/// A formatted disk with one committed chunk.
async fn prepared() -> FaultyDisk {
    let disk = FaultyDisk::new();
    let (store, _) = open_inline(&disk);
    put(&store, identity(1, 1), &content(1, 5000)).await.unwrap();
    disk
}

/// Runs `work` on a fresh disk with power lost at each of its steps in turn, and `check` after each restart.
async fn at_every_step<T>(work: impl AsyncFn(&FileStore) -> T, check: impl AsyncFn(&FaultyDisk, T, u64)) {
    let disk = prepared().await;
    let before = disk.steps();
    work(&open_inline(&disk).0).await;
    let opening = {
        let disk = prepared().await;
        let _ = open_inline(&disk);
        disk.steps() - before
    };
    let steps = disk.steps() - before - opening;
    assert!(steps >= 3, "{steps} steps");
    for survives in MODES {
        for n in 0..=steps {
            let disk = prepared().await;
            let (store, _) = open_inline(&disk);
            disk.cut_power_at(disk.steps() + n);
            let outcome = work(&store).await;
            drop(store);
            disk.restart(survives);
            check(&disk, outcome, n).await;
        }
    }
}

#[tokio::test]
async fn a_commit_is_whole_or_absent_after_a_power_cut_at_any_step() {
    let (small, large) = (content(2, 70_001), content(3, 600_000));
    let work = async |store: &FileStore| {
        let first = put(store, identity(2, 1), &small).await;
        (first, put(store, identity(3, 1), &large).await)
    };
    let check =
        async |disk: &FaultyDisk, outcome: (Result<(), StoreError>, Result<(), StoreError>), n: u64| {
            let (store, report) = open_inline(disk);
            assert_eq!(report.damaged, [], "step {n}: no torn file ever has a name");
            assert_eq!(get(&store, key(1, 1)).await.unwrap(), content(1, 5000), "step {n}: an earlier chunk");
            for (chunk, outcome, data) in [(2, &outcome.0, &small), (3, &outcome.1, &large)] {
                match (outcome, get(&store, key(chunk, 1)).await) {
                    (_, Ok(bytes)) => assert_eq!(&bytes, data, "step {n}"),
                    (Ok(()), Err(error)) => panic!("step {n}: acknowledged and lost: {error}"),
                    (Err(_), Err(StoreError::NotFound { .. })) => {}
                    (Err(_), Err(error)) => panic!("step {n}: {error}"),
                }
            }
            assert_eq!(disk.names_in(Path::new("/disk/tmp")), [""; 0], "step {n}");
        };
    at_every_step(work, check).await;
}

#[tokio::test]
async fn what_a_killed_process_renamed_and_did_not_sync_is_durable_before_it_counts() {
    let disk = prepared().await;
    let (store, _) = open_inline(&disk);
    // Files, footer and fdatasync come first: some step is the sync of the directory after the rename.
    let before = disk.steps();
    put(&store, identity(9, 1), &content(9, 5000)).await.unwrap();
    let last = disk.steps() - before - 1;
    disk.cut_power_at(disk.steps() + last);
    assert!(put(&store, identity(2, 1), &content(2, 5000)).await.is_err());
    drop(store);
    disk.revive();
    let (store, report) = open_inline(&disk);
    assert_eq!(report.chunks, 3, "the name was visible, and is reported as a copy");
    drop(store);
    disk.restart(Survives::Nothing);
    assert_eq!(get(&open_inline(&disk).0, key(2, 1)).await.unwrap(), content(2, 5000), "and stays one");
}

#[tokio::test]
async fn a_disk_that_cannot_sync_what_it_found_fails_and_vouches_for_nothing() {
    let disk = prepared().await;
    disk.fail_next(super::faulty_disk::Op::SyncDir, rustix::io::Errno::IO);
    let (store, _) = open_inline(&disk);
    assert!(matches!(store.stats().state, dfs_actors::datanode::chunk_store::DiskState::Failed(_)));
    let again = store.create(identity(1, 1), 5000).await.err();
    assert!(matches!(again, Some(StoreError::DiskFailed { .. })), "{again:?}");
    assert_eq!(get(&store, key(1, 1)).await.unwrap(), content(1, 5000), "it is read all the same");
}

#[tokio::test]
async fn a_quarantine_is_whole_or_undone_after_a_power_cut_at_any_step() {
    let work = async |store: &FileStore| store.quarantine(vec![key(1, 1)]).await;
    let check = async |disk: &FaultyDisk, outcome: Vec<(ChunkKey, Result<(), StoreError>)>, n: u64| {
        let (store, _) = open_inline(disk);
        let aside = aside(disk);
        match get(&store, key(1, 1)).await {
            Ok(bytes) => {
                assert!(outcome[0].1.is_err(), "step {n}: quarantined, and came back");
                assert_eq!(bytes, content(1, 5000));
            }
            Err(StoreError::NotFound { .. }) => assert_eq!(aside.len(), 1, "step {n}: moved, not lost"),
            Err(error) => panic!("step {n}: {error}"),
        }
    };
    at_every_step(work, check).await;
}

#[tokio::test]
async fn replacing_a_corrupt_chunk_is_whole_or_absent_after_a_power_cut_at_any_step() {
    let data = content(1, 5000);
    let work = async |store: &FileStore| {
        let entry = store.core.index.get(key(1, 1)).unwrap();
        store.core.index.set_state(key(1, 1), entry.instance, ReplicaState::Corrupt);
        put(store, identity(1, 1), &data).await
    };
    let check = async |disk: &FaultyDisk, outcome: Result<(), StoreError>, n: u64| {
        let (store, _) = open_inline(disk);
        match get(&store, key(1, 1)).await {
            Ok(bytes) => assert_eq!(bytes, data, "step {n}"),
            Err(error) => assert!(outcome.is_err(), "step {n}: acknowledged and lost: {error}"),
        }
    };
    at_every_step(work, check).await;
}

#[tokio::test]
async fn formatting_can_be_interrupted_at_any_step() {
    let disk = FaultyDisk::new();
    let _ = open_inline(&disk);
    let steps = disk.steps();
    // One of the many directories made in a row is as good as another.
    let interesting = |n: &u64| *n < 12 || n + 12 >= steps || n.is_multiple_of(25);
    for survives in MODES {
        for n in (0..steps).filter(interesting) {
            let disk = FaultyDisk::new();
            disk.cut_power_at(n);
            let _ = try_open_inline(&disk); // a cut in the sweep marks the disk, and the store opens
            disk.restart(survives);
            let (store, _) =
                try_open_inline(&disk).unwrap_or_else(|e| panic!("step {n}, {survives:?}: {e:#}"));
            put(&store, identity(1, 1), b"x").await.unwrap();
            drop(store);
            disk.restart(Survives::Nothing);
            assert_eq!(get(&open_inline(&disk).0, key(1, 1)).await.unwrap(), b"x", "step {n}, {survives:?}");
        }
    }
}

#[test]
fn the_identity_is_the_old_or_the_new_one_after_a_power_cut_at_any_step() {
    for survives in MODES {
        for n in 0..8 {
            let disk = FaultyDisk::new();
            let dir = DataDir::open(ROOT, Arc::new(disk.clone())).unwrap();
            let old = dir.next_run(NodeId(1));
            dir.save(old.clone()).unwrap();
            disk.cut_power_at(disk.steps() + n);
            let new = crate::store::NodeIdentity { cluster: Some(ClusterId(9)), ..old.clone() };
            let saved = dir.save(new.clone());
            drop(dir);
            disk.restart(survives);
            let found = DataDir::open(ROOT, Arc::new(disk.clone())).unwrap().identity().unwrap();
            assert!(found == new || (saved.is_err() && found == old), "step {n}, {survives:?}: {found:?}");
        }
    }
}

#[test]
fn an_identity_that_a_killed_process_left_in_memory_is_not_torn_by_the_next() {
    for survives in MODES {
        for (cut, again) in (0..8).flat_map(|cut| (0..8).map(move |again| (cut, again))) {
            let disk = FaultyDisk::new();
            let open = || DataDir::open(ROOT, Arc::new(disk.clone())).unwrap();
            let mut dir = open();
            let first = dir.next_run(NodeId(1));
            dir.save(first.clone()).unwrap();
            let second = dir.next_run(NodeId(2));
            dir.save(second.clone()).unwrap();
            // Killed in the middle of a save, which the machine survives; then the power goes in the middle of another.
            for n in [cut, again] {
                disk.cut_power_at(disk.steps() + n);
                let _ = dir.save(dir.next_run(NodeId(3)));
                drop(dir);
                disk.revive();
                dir = open();
            }
            drop(dir);
            disk.restart(survives);
            let found = open().identity().unwrap();
            assert!(
                found.incarnation >= second.incarnation,
                "steps {cut} and {again}, {survives:?}: {found:?}"
            );
        }
    }
}
