//! Flipped bits: found, read twice, reported, never served.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dfs_actors::datanode::chunk_store::{ChunkStore, ReplicaState};
use dfs_wire::id::ClusterId;

use super::faulty_disk::{FaultyDisk, Survives};
use super::*;
use crate::store::layout::Layout;

const LEN: usize = 300_000;

async fn with_one_chunk() -> (FaultyDisk, FileStore, PathBuf) {
    let disk = FaultyDisk::new();
    let (store, _) = open_inline(&disk);
    put(&store, identity(1, 1), &content(1, LEN)).await.unwrap();
    (disk, store, Layout::new(ROOT).chunk_file(key(1, 1)))
}

fn state_of(store: &FileStore) -> ReplicaState {
    store.inventory(None, 1)[0].state
}

#[tokio::test]
async fn a_corrupt_block_is_never_served_and_takes_the_replica_out_of_service() {
    let (disk, store, path) = with_one_chunk().await;
    let reader = store.open(key(1, 1)).await.unwrap();
    disk.flip(&path, 70_000);
    assert_eq!(
        reader.read(0, 65_536).await.unwrap().bytes,
        content(1, LEN)[..65_536],
        "another block is still good"
    );
    let error = reader.read(65_000, 1000).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("block 1"), "{error}");
    assert_eq!(state_of(&store), ReplicaState::Corrupt);
    assert_eq!((store.stats().corrupt, store.stats().chunks), (1, 1));
    assert!(store.stats().read_errors > 0);
    assert!(matches!(store.open(key(1, 1)).await.err(), Some(StoreError::Corrupt { .. })));
}

#[tokio::test]
async fn a_bit_flipped_in_memory_is_read_again_and_condemns_nobody() {
    let (disk, store, path) = with_one_chunk().await;
    disk.flip_cached(&path, 70_000);
    assert_eq!(get(&store, key(1, 1)).await.unwrap(), content(1, LEN));
    assert_eq!(state_of(&store), ReplicaState::Verified);
}

#[tokio::test]
async fn a_file_that_is_gone_is_not_there_any_more_and_a_disk_that_is_gone_says_nothing() {
    let (disk, store, path) = with_one_chunk().await;
    put(&store, identity(2, 1), &content(2, LEN)).await.unwrap();
    let layout = Layout::new(ROOT);
    disk.vanish(&path);
    assert!(matches!(store.verify(key(1, 1)).await, Err(StoreError::NotFound { .. })));
    assert!(matches!(store.open(key(1, 1)).await.err(), Some(StoreError::NotFound { .. })));
    assert_eq!(store.stats().chunks, 1, "the inventory does not name it any more");
    disk.vanish(&layout.chunk_file(key(2, 1)));
    disk.vanish(&layout.chunks_dir());
    assert!(matches!(store.verify(key(2, 1)).await, Err(StoreError::Io { .. })));
    assert_eq!(store.stats().chunks, 1, "it may be there again when the disk is");
}

#[tokio::test]
async fn a_read_error_condemns_nobody() {
    let (disk, store, path) = with_one_chunk().await;
    let reader = store.open(key(1, 1)).await.unwrap();
    disk.set_unreadable(&path, 100_000); // the data, not the footer
    assert!(matches!(reader.read(0, 10).await, Err(StoreError::Io { .. })));
    assert!(matches!(store.verify(key(1, 1)).await, Err(StoreError::Io { .. })));
    disk.set_unreadable(&path, 0);
    assert_eq!(state_of(&store), ReplicaState::Verified);
    assert_eq!(reader.read(0, 10).await.unwrap().bytes, content(1, LEN)[..10]);
    assert_eq!(store.stats().read_errors, 2);
}

#[tokio::test]
async fn a_corrupt_replica_is_replaced_by_a_new_commit_and_kept_aside() {
    let (disk, store, path) = with_one_chunk().await;
    disk.flip(&path, 0);
    assert!(matches!(store.verify(key(1, 1)).await, Err(StoreError::Corrupt { .. })));
    put(&store, identity(1, 1), &content(1, LEN)).await.unwrap();
    assert_eq!(get(&store, key(1, 1)).await.unwrap(), content(1, LEN));
    assert_eq!((store.stats().corrupt, store.stats().quarantined), (0, 1));
    assert_eq!(aside(&disk).len(), 1);
}

#[tokio::test]
async fn a_scrub_finds_flips_in_data_padding_and_footer() {
    let padded = LEN.next_multiple_of(4096);
    for at in [0, 65_536, LEN - 1, LEN, padded - 1, padded, padded + 5, padded + 4095] {
        let (disk, store, path) = with_one_chunk().await;
        assert_eq!(store.verify(key(1, 1)).await.unwrap().state, ReplicaState::Verified);
        disk.flip(&path, at);
        let error = store.verify(key(1, 1)).await.unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{at}: {error}");
        assert_eq!(state_of(&store), ReplicaState::Corrupt, "{at}");
        disk.flip(&path, at);
        assert_eq!(store.verify(key(1, 1)).await.unwrap().state, ReplicaState::Verified, "sound again: {at}");
    }
}

#[tokio::test]
async fn a_scrub_finds_a_seal_that_never_matched() {
    let disk = FaultyDisk::new();
    let (store, _) = open_inline(&disk);
    let data = content(1, 100);
    let mut writer = store.create(identity(1, 1), 100).await.unwrap();
    write_all(&mut *writer, &data).await.unwrap();
    writer.commit(ChunkSeal { len: 100, sha256: [9; 32] }, ChunkFacts::default()).await.unwrap();
    let error = store.verify(key(1, 1)).await.unwrap_err();
    assert!(error.to_string().contains("SHA-256"), "{error}");
}

#[tokio::test]
async fn a_restart_makes_replicas_unverified_and_a_scrub_verified() {
    let (disk, store, _) = with_one_chunk().await;
    drop(store);
    let (store, report) = open_inline(&disk);
    assert_eq!((report.chunks, report.bytes), (1, LEN as u64));
    assert_eq!(state_of(&store), ReplicaState::Unverified);
    assert_eq!(get(&store, key(1, 1)).await.unwrap(), content(1, LEN), "served, block by block");
    assert_eq!(store.verify(key(1, 1)).await.unwrap().state, ReplicaState::Verified);
    assert_eq!(state_of(&store), ReplicaState::Verified);
    assert!(matches!(store.verify(key(5, 1)).await, Err(StoreError::NotFound { .. })));
}

#[tokio::test]
async fn the_sweep_moves_aside_what_does_not_describe_itself_and_nothing_purges_it() {
    let (disk, store, path) = with_one_chunk().await;
    let good = disk.bytes_of(&path);
    drop(store);
    let layout = Layout::new(ROOT);
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    disk.plant(&layout.chunk_file(key(2, 1)), &bad);
    disk.plant(&layout.chunk_file(key(3, 1)), &good); // another chunk's bytes under this name
    disk.plant(&layout.chunk_file(key(4, 1)), &good[..good.len() - 4096]);
    disk.plant(&layout.chunk_file(key(5, 1)), b"");
    disk.plant(&layout.leaf_of(key(1, 1)).join("notes.txt"), b"whose?");
    disk.plant(Path::new("/disk/tmp/12.part"), b"unfinished");
    disk.plant(Path::new("/disk/tmp/keep.me"), b"not ours");
    let (store, report) = open_inline(&disk);
    assert_eq!((report.chunks, report.damaged_count, report.left_alone_count), (1, 4, 1));
    assert_eq!(report.tmp_removed, 1);
    assert!(report.damaged.iter().any(|(_, why)| why.contains("says that it is chunk")), "{report:?}");
    for chunk in 2..=5 {
        assert!(matches!(get(&store, key(chunk, 1)).await, Err(StoreError::NotFound { .. })), "{chunk}");
    }
    assert_eq!(disk.names_in(Path::new("/disk/tmp")), ["keep.me"]);
    drop(store);
    disk.restart(Survives::Nothing);
    let (store, report) = open_inline(&disk);
    assert_eq!(report.damaged_count, 0, "they were moved durably");
    assert_eq!((store.stats().quarantined, store.stats().damaged), (4, 4));
    // Nobody ordered them deleted: they may be the last copies, with all of the data.
    disk.advance_clock(Duration::from_secs(365 * 86_400));
    assert_eq!(store.purge_quarantine(Duration::ZERO, LONG).await.unwrap().files, 0);
    assert_eq!(aside(&disk).len(), 4);
}

#[tokio::test]
async fn the_same_damaged_name_in_two_directories_is_kept_twice() {
    let (disk, store, path) = with_one_chunk().await;
    drop(store);
    let leaf = Layout::new(ROOT).leaves().into_iter().next_back().unwrap();
    disk.plant(&leaf.join(path.file_name().unwrap()), &disk.bytes_of(&path));
    disk.flip(&path, LEN.next_multiple_of(4096) + 4095);
    assert_eq!(open_inline(&disk).1.damaged_count, 2);
    assert_eq!(aside(&disk).len(), 2);
}

#[tokio::test]
async fn another_format_version_is_left_where_it_is() {
    let (disk, store, path) = with_one_chunk().await;
    drop(store);
    let mut newer = disk.bytes_of(&path);
    let version = newer.len() - format::TRAILER_BYTES + 8;
    newer[version] = 3;
    let newer_path = Layout::new(ROOT).chunk_file(key(2, 1));
    disk.plant(&newer_path, &newer);
    let (_, report) = open_inline(&disk);
    assert_eq!((report.chunks, report.damaged_count, report.left_alone_count), (1, 0, 1));
    assert!(report.left_alone[0].1.contains("version 3"), "{report:?}");
    assert_eq!(disk.bytes_of(&newer_path), newer);
}

#[tokio::test]
async fn a_disk_that_reads_other_garbage_each_time_condemns_nobody() {
    let (disk, store, path) = with_one_chunk().await;
    let footer = LEN.next_multiple_of(4096) + 5;
    for at in [70_000, footer] {
        disk.flip(&path, at);
        disk.flip_cached(&path, at + 1); // the first read of a block differs from the second, and both are wrong
        store.core.open_files.clear();
        assert!(matches!(get(&store, key(1, 1)).await, Err(StoreError::Io { .. })), "{at}");
        assert_eq!(state_of(&store), ReplicaState::Verified, "{at}");
        disk.flip(&path, at);
    }
    disk.flip(&path, footer);
    drop(store);
    let (store, report) = open_inline(&disk);
    assert_eq!((report.chunks, report.damaged_count, report.left_alone_count), (0, 0, 1), "{report:?}");
    drop(store);
}

#[tokio::test]
async fn another_clusters_chunk_is_not_taken_and_keeps_the_store_from_opening() {
    let (disk, store, _) = with_one_chunk().await;
    let dir = store.data_dir().clone();
    let ours = crate::store::NodeIdentity { cluster: Some(ClusterId(8)), ..dir.identity().unwrap() };
    dir.save(ours).unwrap();
    assert!(matches!(store.create(identity(2, 1), 1).await.err(), Some(StoreError::Invalid { .. })));
    drop((store, dir));
    let error = try_open_inline(&disk).err().unwrap().to_string();
    assert!(
        error.contains(&ClusterId(8).to_string()) && error.contains(&ClusterId(7).to_string()),
        "{error}"
    );
    assert!(error.contains("1 of its chunks") && error.contains("restore"), "{error}");
    assert_eq!(aside(&disk), [""; 0], "nothing was moved");
    // The right identity is put back: all is as it was.
    let dir = DataDir::open(ROOT, Arc::new(disk.clone())).unwrap();
    let right = crate::store::NodeIdentity { cluster: Some(ClusterId(7)), ..dir.identity().unwrap() };
    dir.save(right).unwrap();
    drop(dir);
    let (store, report) = open_inline(&disk);
    assert_eq!((report.chunks, report.damaged_count), (1, 0));
    assert_eq!(get(&store, key(1, 1)).await.unwrap(), content(1, LEN));
}

#[tokio::test]
async fn an_unreadable_file_is_left_alone_and_found_again() {
    let (disk, store, path) = with_one_chunk().await;
    drop(store);
    disk.set_unreadable(&path, u64::MAX);
    let (store, report) = open_inline(&disk);
    assert_eq!((report.chunks, report.damaged_count, report.left_alone_count), (0, 0, 1));
    drop(store);
    disk.set_unreadable(&path, 0);
    assert_eq!(open_inline(&disk).1.chunks, 1, "it was not condemned for an error");
}
