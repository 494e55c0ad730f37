//! Errors of the disk: which ones fail it, which do not, and that nobody is told less than happened.

use std::path::Path;
use std::time::Duration;

use dfs_actors::datanode::chunk_store::{ChunkStore, DiskState};
use rustix::io::Errno;

use super::faulty_disk::{FaultyDisk, Op};
use super::*;
use crate::store::NodeIdentity;

async fn with_one_chunk() -> (FaultyDisk, FileStore) {
    let disk = FaultyDisk::new();
    let (store, _) = open_inline(&disk);
    put(&store, identity(1, 1), &content(1, 300_000)).await.unwrap();
    (disk, store)
}

async fn assert_failed_for_writes_only(disk: &FaultyDisk, store: &FileStore) {
    let syncs = disk.count("sync_data") + disk.count("sync_dir");
    assert!(matches!(store.stats().state, DiskState::Failed(_)), "{:?}", store.stats().state);
    assert!(store.stats().write_errors > 0);
    assert!(matches!(store.create(identity(9, 1), 10).await.err(), Some(StoreError::DiskFailed { .. })));
    let moved = store.quarantine(vec![key(1, 1)]).await;
    assert!(matches!(moved[0].1, Err(StoreError::DiskFailed { .. })));
    assert!(matches!(store.purge_quarantine(Duration::ZERO, LONG).await, Err(StoreError::DiskFailed { .. })));
    assert_eq!(get(store, key(1, 1)).await.unwrap(), content(1, 300_000), "reads go on");
    let now = disk.count("sync_data") + disk.count("sync_dir");
    assert_eq!(now, syncs, "no fsync is ever tried again");
}

async fn save_identity(store: &FileStore, identity: NodeIdentity) -> Result<(), StoreError> {
    store.change_identity(move |_| Some(identity)).await
}

#[tokio::test]
async fn a_failed_fdatasync_fails_the_disk_and_is_never_retried() {
    let (disk, store) = with_one_chunk().await;
    disk.fail_next(Op::SyncData, Errno::IO);
    let error = put(&store, identity(2, 1), &content(2, 10)).await.unwrap_err();
    assert!(matches!(error, StoreError::DiskFailed { .. }), "{error}");
    assert!(error.to_string().contains("fdatasync of chunk"), "{error}");
    assert!(matches!(get(&store, key(2, 1)).await, Err(StoreError::NotFound { .. })));
    assert_failed_for_writes_only(&disk, &store).await;
}

#[tokio::test]
async fn a_failed_directory_fsync_fails_the_disk_and_the_commit() {
    let (disk, store) = with_one_chunk().await;
    disk.fail_next(Op::SyncDir, Errno::IO);
    let error = put(&store, identity(2, 1), &content(2, 10)).await.unwrap_err();
    assert!(matches!(error, StoreError::DiskFailed { .. }), "{error}");
    assert_failed_for_writes_only(&disk, &store).await;
}

#[tokio::test]
async fn a_failed_write_surfaces_at_the_next_frame_or_in_the_commit() {
    for frames_after in [0, 1] {
        let (disk, store) = with_one_chunk().await;
        let frame = Bytes::from(content(2, 256 * 1024));
        let crcs = format::block_crcs(&frame);
        let mut writer = store.create(identity(2, 1), 0).await.unwrap();
        disk.fail_next(Op::Write, Errno::IO);
        writer.write(frame.clone(), &crcs).await.unwrap();
        if frames_after == 1 {
            let error = writer.write(frame.clone(), &crcs).await.unwrap_err();
            assert!(matches!(error, StoreError::DiskFailed { .. }), "{error}");
        }
        let error = writer.commit(seal(&frame), ChunkFacts::default()).await.unwrap_err();
        assert!(matches!(error, StoreError::DiskFailed { .. }), "{error}");
        assert_failed_for_writes_only(&disk, &store).await;
    }
}

#[tokio::test]
async fn a_failed_rename_fails_the_disk() {
    let (disk, store) = with_one_chunk().await;
    disk.fail_next(Op::Rename, Errno::IO);
    assert!(matches!(put(&store, identity(2, 1), b"x").await, Err(StoreError::DiskFailed { .. })));
    assert_failed_for_writes_only(&disk, &store).await;
}

#[tokio::test]
async fn a_read_only_file_system_is_named_so() {
    let (disk, store) = with_one_chunk().await;
    disk.fail_next(Op::Create, Errno::ROFS);
    assert!(matches!(store.create(identity(2, 1), 10).await.err(), Some(StoreError::DiskFailed { .. })));
    assert!(matches!(store.stats().state, DiskState::ReadOnly(_)));
    assert_eq!(get(&store, key(1, 1)).await.unwrap(), content(1, 300_000));
}

#[tokio::test]
async fn a_disk_that_finds_at_the_sync_of_a_file_that_it_is_full_is_full_and_not_failed() {
    for errno in [Errno::NOSPC, Errno::DQUOT] {
        let (disk, store) = with_one_chunk().await;
        disk.refuse_allocate();
        disk.fail_next(Op::SyncData, errno);
        let error = put(&store, identity(2, 1), &content(2, 300_000)).await.unwrap_err();
        assert!(matches!(error, StoreError::NoSpace { needed, .. } if needed > 300_000), "{error}");
        assert_eq!(store.stats().state, DiskState::Full);
        let later = disk.uptime() + Duration::from_secs(11);
        assert_eq!(store.core.disk.state(later), DiskState::Writable, "nothing is latched");
        assert_eq!(disk.names_in(Path::new("/disk/tmp")), [""; 0], "what was not synced is not kept");
        assert!(matches!(get(&store, key(2, 1)).await, Err(StoreError::NotFound { .. })));
        put(&store, identity(2, 1), &content(2, 300_000)).await.unwrap();
        disk.restart(super::faulty_disk::Survives::Nothing);
        assert_eq!(get(&store, key(2, 1)).await.unwrap(), content(2, 300_000), "durable");
    }
}

#[tokio::test]
async fn an_identity_for_which_there_is_no_room_at_its_sync_fails_no_disk() {
    let (disk, store) = with_one_chunk().await;
    let identity = store.data_dir().identity().unwrap();
    disk.fail_next(Op::SyncData, Errno::DQUOT);
    let joined = NodeIdentity { epoch: dfs_wire::id::Epoch(5), ..identity.clone() };
    let error = save_identity(&store, joined.clone()).await.unwrap_err();
    assert!(matches!(error, StoreError::NoSpace { .. }), "{error}");
    assert_eq!(store.data_dir().identity(), Some(identity), "the one before");
    save_identity(&store, joined.clone()).await.unwrap();
    drop(store);
    disk.restart(super::faulty_disk::Survives::Nothing);
    assert_eq!(open_inline(&disk).0.data_dir().identity(), Some(joined), "durable");
}

#[tokio::test]
async fn a_read_only_disk_that_takes_writes_again_is_used_again_and_stores_what_it_was_told_meanwhile() {
    for errno in [Errno::ROFS, Errno::ACCESS, Errno::PERM] {
        let (disk, store) = with_one_chunk().await;
        drop(store);
        let (store, _) = open_inline(&disk);
        disk.fail_next(Op::Create, errno);
        let run = store.begin_run(NodeId(9)).unwrap();
        let joined = NodeIdentity { epoch: dfs_wire::id::Epoch(5), ..run };
        save_identity(&store, joined.clone()).await.unwrap();
        store.stats();
        disk.fail_next(Op::Create, errno);
        disk.advance_clock(Duration::from_secs(11));
        store.stats();
        assert!(matches!(store.stats().state, DiskState::ReadOnly(_)), "tried in vain");
        disk.advance_clock(Duration::from_secs(9));
        store.stats();
        assert!(matches!(store.stats().state, DiskState::ReadOnly(_)), "not all the time");
        disk.advance_clock(Duration::from_secs(2));
        store.stats();
        assert_eq!(store.stats().state, DiskState::Writable);
        put(&store, identity(2, 1), &content(2, 10)).await.unwrap();
        drop(store);
        disk.restart(super::faulty_disk::Survives::Nothing);
        let (store, _) = open_inline(&disk);
        assert_eq!(store.data_dir().identity(), Some(joined), "durable");
        assert_eq!(get(&store, key(2, 1)).await.unwrap(), content(2, 10));
    }
}

#[tokio::test]
async fn a_read_only_disk_whose_syncs_fail_when_it_is_tried_has_failed_for_good() {
    let (disk, store) = with_one_chunk().await;
    disk.fail_next(Op::Create, Errno::ROFS);
    assert!(store.create(identity(2, 1), 10).await.is_err());
    disk.fail_next(Op::SyncDir, Errno::IO);
    store.stats();
    disk.advance_clock(Duration::from_secs(11));
    store.stats();
    assert_failed_for_writes_only(&disk, &store).await;
    disk.advance_clock(Duration::from_secs(60));
    store.stats();
    assert_failed_for_writes_only(&disk, &store).await;
}

#[tokio::test]
async fn no_space_leaves_nothing_and_does_not_fail_the_disk() {
    for op in [Op::Create, Op::Allocate, Op::Write, Op::SetLen, Op::Rename] {
        let (disk, store) = with_one_chunk().await;
        disk.fail_next(op, Errno::NOSPC);
        // Shorter than the hint, so that the file is cut to its length.
        let outcome = async {
            let mut writer = store.create(identity(2, 1), 900_000).await?;
            write_all(&mut *writer, &content(2, 300_000)).await?;
            writer.commit(seal(&content(2, 300_000)), ChunkFacts::default()).await
        };
        let error = outcome.await.unwrap_err();
        assert!(matches!(error, StoreError::NoSpace { .. }), "{op:?}: {error}");
        assert_eq!(store.stats().state, DiskState::Full, "{op:?}: whatever its numbers say");
        assert_eq!(disk.names_in(Path::new("/disk/tmp")), [""; 0], "{op:?}");
        assert_eq!((store.stats().temporary, store.stats().promised_bytes), (0, 0), "{op:?}");
        put(&store, identity(2, 1), &content(2, 300_000)).await.unwrap();
        assert_eq!(store.stats().state, DiskState::Writable, "{op:?}: it took something");
        assert_eq!(get(&store, key(2, 1)).await.unwrap(), content(2, 300_000), "{op:?}");
    }
}

#[tokio::test]
async fn too_many_open_files_is_busy_and_condemns_nobody() {
    let (disk, store) = with_one_chunk().await;
    disk.fail_next(Op::Create, Errno::MFILE);
    assert!(matches!(store.create(identity(2, 1), 10).await.err(), Some(StoreError::Busy { .. })));
    store.core.open_files.clear();
    disk.fail_next(Op::Read, Errno::MFILE);
    assert!(matches!(store.open(key(1, 1)).await.err(), Some(StoreError::Busy { .. })));
    assert_eq!(store.stats().state, DiskState::Writable);
    assert_eq!(get(&store, key(1, 1)).await.unwrap(), content(1, 300_000));
}

#[tokio::test]
async fn too_few_descriptors_cost_the_open_files_and_not_the_read_or_the_write() {
    let (disk, store) = with_one_chunk().await;
    put(&store, identity(2, 1), &content(2, 10)).await.unwrap();
    get(&store, key(1, 1)).await.unwrap(); // open from now on, for the next reader
    disk.fail_next(Op::Create, Errno::MFILE);
    put(&store, identity(3, 1), &content(3, 10)).await.unwrap();
    get(&store, key(1, 1)).await.unwrap();
    disk.fail_next(Op::Read, Errno::MFILE);
    assert_eq!(get(&store, key(2, 1)).await.unwrap(), content(2, 10));
}

#[tokio::test]
async fn a_sync_of_a_directory_needs_no_descriptor() {
    let (disk, store) = with_one_chunk().await;
    disk.fail_next(Op::OpenDir, Errno::MFILE);
    put(&store, identity(2, 1), &content(2, 10)).await.unwrap();
    assert!(store.quarantine(vec![key(2, 1)]).await[0].1.is_ok());
    assert_eq!(store.stats().state, DiskState::Writable);
}

fn open_small_disk(disk: &FaultyDisk, reserve_bytes: u64) -> FileStore {
    let config = StoreConfig { io_threads: 0, reserve_bytes, ..config(ROOT) };
    open_with(Arc::new(disk.clone()), config).unwrap().0
}

#[tokio::test]
async fn the_reserve_is_kept_deletes_work_and_fullness_is_not_latched() {
    let disk = FaultyDisk::new();
    disk.set_capacity(1_000_000);
    let store = open_small_disk(&disk, 1 << 30); // no more than 5 %: 50,000 bytes
    put(&store, identity(1, 1), &content(1, 500_000)).await.unwrap();
    let error = store.create(identity(2, 1), 480_000).await.err().unwrap();
    let StoreError::NoSpace { needed, available, reserve, disk: name } = &error else { panic!("{error}") };
    assert_eq!((*needed, *reserve, &**name), (483_328 + 4096, 50_000, ROOT));
    assert!(*available < 500_000);
    put(&store, identity(2, 1), &content(2, 430_000)).await.unwrap();
    disk.set_capacity(980_000);
    store.stats();
    assert_eq!(store.stats().state, DiskState::Full);
    let moved = store.quarantine(vec![key(1, 1)]).await;
    assert!(moved[0].1.is_ok(), "{moved:?}");
    assert_eq!(store.stats().state, DiskState::Full, "quarantine keeps the bytes");
    assert_eq!(store.purge_quarantine(Duration::ZERO, LONG).await.unwrap().bytes, 507_904);
    store.stats();
    assert_eq!(store.stats().state, DiskState::Writable);
    put(&store, identity(3, 1), &content(3, 480_000)).await.unwrap();
}

#[tokio::test]
async fn what_open_writers_were_promised_is_not_promised_twice() {
    let disk = FaultyDisk::new();
    disk.set_capacity(1_000_000);
    disk.refuse_allocate();
    let store = open_small_disk(&disk, 0);
    let mut first = store.create(identity(1, 1), 600_000).await.unwrap();
    assert_eq!(store.stats().promised_bytes, 602_112 + 4096);
    assert!(matches!(store.create(identity(2, 1), 600_000).await.err(), Some(StoreError::NoSpace { .. })));
    write_all(&mut *first, &content(1, 512 * 1024)).await.unwrap();
    assert_eq!(
        store.stats().promised_bytes,
        602_112 + 4096 - 512 * 1024,
        "written bytes are no promise any more"
    );
    drop(first);
    assert_eq!(store.stats().promised_bytes, 0);
    put(&store, identity(2, 1), &content(2, 600_000)).await.unwrap();
}

#[tokio::test]
async fn a_writer_without_a_hint_is_held_to_the_reserve_too() {
    let disk = FaultyDisk::new();
    disk.set_capacity(600_000);
    let store = open_small_disk(&disk, 10_000);
    let mut writer = store.create(identity(1, 1), 0).await.unwrap();
    let error = write_all(&mut *writer, &content(1, 600_000)).await.unwrap_err();
    assert!(matches!(error, StoreError::NoSpace { .. }), "{error}");
    drop(writer);
    assert_eq!(disk.names_in(Path::new("/disk/tmp")), [""; 0]);
    assert_eq!(store.stats().promised_bytes, 0);
}

#[tokio::test]
async fn a_disk_without_a_free_byte_lets_its_node_start_join_and_delete() {
    let (disk, store) = with_one_chunk().await;
    drop(store);
    disk.set_capacity(0);
    let (store, _) = open_inline(&disk);
    let run = store.begin_run(NodeId(9)).unwrap();
    assert_eq!(run.incarnation.0, 2);
    let joined = NodeIdentity { cluster: Some(ClusterId(7)), node_key: Some([1; 32]), ..run };
    save_identity(&store, joined.clone()).await.unwrap();
    assert_eq!(store.stats().state, DiskState::Full);
    assert!(store.quarantine(vec![key(1, 1)]).await[0].1.is_ok());
    assert!(store.purge_quarantine(Duration::ZERO, LONG).await.unwrap().bytes > 0);
    drop(store);
    disk.restart(super::faulty_disk::Survives::Nothing);
    assert_eq!(open_inline(&disk).0.data_dir().identity(), Some(joined), "durable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_does_not_answer_is_told_of_until_it_does() {
    let disk = FaultyDisk::new();
    let (store, _) = open_with(Arc::new(disk.clone()), config(ROOT)).unwrap();
    disk.hold_next_sync_dir(Duration::from_millis(300));
    let putting = put(&store, identity(1, 1), b"x");
    let looking = async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        disk.advance_clock(Duration::from_millis(60));
        assert_eq!(store.stats().oldest_job_ms, 60);
        let later = disk.uptime() + crate::store::watch::STALLED_AFTER;
        assert!(matches!(store.core.disk.state(later), DiskState::Stalled(_)));
    };
    let (outcome, ()) = tokio::join!(putting, looking);
    outcome.unwrap();
    let later = disk.uptime() + crate::store::watch::STALLED_AFTER;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(store.core.disk.state(later), DiskState::Writable, "nothing is latched");
}

#[tokio::test]
async fn a_read_only_disk_lets_its_node_start_and_join() {
    let (disk, store) = with_one_chunk().await;
    drop(store);
    let (store, _) = open_inline(&disk);
    disk.fail_next(Op::Create, Errno::ROFS);
    let run = store.begin_run(NodeId(9)).unwrap();
    assert_eq!(run.incarnation.0, 2);
    assert!(matches!(store.stats().state, DiskState::ReadOnly(_)));
    let joined = NodeIdentity { epoch: dfs_wire::id::Epoch(5), ..run };
    save_identity(&store, joined.clone()).await.unwrap();
    assert_eq!(store.data_dir().identity(), Some(joined), "in memory");
    assert_eq!(get(&store, key(1, 1)).await.unwrap(), content(1, 300_000));
}

#[tokio::test]
async fn a_failed_sync_of_the_identity_fails_the_disk() {
    for op in [Op::SyncData, Op::SyncDir] {
        let (disk, store) = with_one_chunk().await;
        disk.fail_next(op, Errno::IO);
        let identity = store.data_dir().identity().unwrap();
        let error = save_identity(&store, NodeIdentity { cluster: Some(ClusterId(7)), ..identity })
            .await
            .unwrap_err();
        assert!(matches!(error, StoreError::DiskFailed { .. }), "{error}");
        assert!(store.begin_run(NodeId(9)).is_ok(), "its chunks are read all the same");
        assert_failed_for_writes_only(&disk, &store).await;
    }
}

#[tokio::test]
async fn a_disk_that_fails_in_the_sweep_still_serves() {
    let (disk, store) = with_one_chunk().await;
    drop(store);
    disk.plant(Path::new("/disk/tmp/7.part"), b"left over");
    disk.fail_next(Op::Unlink, Errno::ROFS);
    let (store, report) = open_inline(&disk);
    assert_eq!((report.chunks, report.tmp_removed), (1, 0));
    assert!(matches!(store.stats().state, DiskState::ReadOnly(_)));
    assert_eq!(get(&store, key(1, 1)).await.unwrap(), content(1, 300_000));
    disk.heal();
}
