//! The store on a real file system, with real threads: every mode of writing and reading, many tasks at once.

use std::sync::Arc;
use std::time::Duration;

use dfs_actors::datanode::chunk_store::ChunkStore;
use dfs_wire::link::DataFrame;

use super::*;
use crate::store::{DirectIo, OsDisk, ReadMode};

fn open_real(config: StoreConfig) -> (FileStore, SweepReport) {
    open_with(Arc::new(OsDisk), config).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mode_stores_and_serves_under_concurrency() {
    for direct_io in [DirectIo::Auto, DirectIo::Off] {
        for read_mode in [ReadMode::Mmap, ReadMode::Pread] {
            let base = tempfile::tempdir().unwrap();
            let config = StoreConfig {
                direct_io,
                read_mode,
                open_files_max: 4,
                queue_depth: 8,
                ..config(base.path())
            };
            let (store, _) = open_real(config.clone());
            let store = Arc::new(store);
            let tasks: Vec<_> = (0..8u128).map(|task| tokio::spawn(exercise(store.clone(), task))).collect();
            for task in tasks {
                task.await.unwrap();
            }
            store.close().await;
            let stats = store.stats();
            assert_eq!((stats.chunks, stats.temporary, stats.read_errors, stats.write_errors), (24, 0, 0, 0));
            drop(store);
            assert_eq!(std::fs::read_dir(base.path().join("tmp")).unwrap().count(), 0);
            let (store, report) = open_real(config);
            assert_eq!((report.chunks, report.damaged_count, report.left_alone_count), (24, 0, 0));
            for info in store.inventory(None, 100) {
                let data = content(info.identity.chunk.0 as u64, info.len as usize);
                assert_eq!(get(&store, info.key()).await.unwrap(), data);
                store.verify(info.key()).await.unwrap();
            }
        }
    }
}

/// Commits, quarantines and abandons chunks of all sizes, and reads while others do.
async fn exercise(store: Arc<FileStore>, task: u128) {
    for n in 0..4u128 {
        let chunk = task * 100 + n;
        let data = content(chunk as u64, [3, 65_536, 700_001, 4_200_000][n as usize] + task as usize);
        put(&store, identity(chunk, 1), &data).await.unwrap();
        let reader = store.open(key(chunk, 1)).await.unwrap();
        let held = reader.read(0, 3).await.unwrap().bytes;
        assert_eq!(get(&store, key(chunk, 1)).await.unwrap(), data);
        let mut abandoned = store.create(identity(chunk, 2), 500_000).await.unwrap();
        write_all(&mut *abandoned, &content(0, 300_000)).await.unwrap();
        drop(abandoned);
        if n == 0 {
            store.quarantine(vec![key(chunk, 1)]).await[0].1.clone().unwrap();
            store.purge_quarantine(Duration::ZERO, LONG).await.unwrap();
            assert_eq!(reader.read(0, 2).await.unwrap().bytes, data[..2], "an open reader is not disturbed");
        }
        assert_eq!(held, data[..3], "bytes that are held stay valid");
    }
}

#[tokio::test]
async fn a_flipped_bit_on_a_real_disk_is_found_through_mapping_and_pread() {
    for read_mode in [ReadMode::Mmap, ReadMode::Pread] {
        let base = tempfile::tempdir().unwrap();
        let (store, _) = open_real(StoreConfig { read_mode, ..config(base.path()) });
        put(&store, identity(1, 1), &content(1, 200_000)).await.unwrap();
        let path = base.path().join("chunks/0/0").join(key(1, 1).to_string());
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[150_000] ^= 0x10;
        std::fs::write(&path, bytes).unwrap();
        let reader = store.open(key(1, 1)).await.unwrap();
        assert_eq!(reader.read(0, 131_072).await.unwrap().bytes, content(1, 200_000)[..131_072]);
        assert!(matches!(reader.read(131_072, 1).await, Err(StoreError::Corrupt { .. })));
    }
}

#[tokio::test]
async fn a_mapping_is_handed_on_unseen_whatever_becomes_of_its_file() {
    let base = tempfile::tempdir().unwrap();
    let (store, _) = open_real(StoreConfig { read_mode: ReadMode::Mmap, ..config(base.path()) });
    let data = content(1, 700_001);
    put(&store, identity(1, 1), &data).await.unwrap();
    let path = base.path().join("chunks/0/0").join(key(1, 1).to_string());
    let reader = store.open(key(1, 1)).await.unwrap();
    let pieces = [(0, 262_144), (262_144, 262_144), (524_288, 175_713), (65_536, 65_536)];
    let mut mapped = Vec::new();
    for (offset, len) in pieces {
        mapped.push(reader.read(offset, len).await.unwrap());
    }
    // In the middle of a block, the bytes are copied: their checksums have to be computed.
    let copied = reader.read(100, 100_000).await.unwrap();
    // Where the device has nothing to give any more a load is SIGBUS, as beyond the end of a file.
    std::fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    for (piece, (offset, len)) in mapped.iter().zip(pieces) {
        let frame = DataFrame::verified(piece.bytes.clone(), &piece.block_crcs).unwrap();
        let (from, to) = (offset as usize, (offset + len) as usize);
        assert_eq!(frame.crc, crc32fast::hash(&data[from..to]), "{piece:?}");
        let sent = send_to_a_socket(&frame.bytes);
        assert_eq!(sent.map_err(|e| e.raw_os_error()), Err(Some(14)), "EFAULT, and no signal");
    }
    assert_eq!(copied.bytes, data[100..100_100]);
    assert_eq!(copied.block_crcs, format::block_crcs(&data[100..100_100]));
}

fn send_to_a_socket(bytes: &[u8]) -> std::io::Result<usize> {
    let (mut sender, _receiver) = std::os::unix::net::UnixStream::pair()?;
    std::io::Write::write(&mut sender, bytes)
}

#[tokio::test]
async fn one_directory_has_one_store() {
    let base = tempfile::tempdir().unwrap();
    let (store, _) = open_real(config(base.path()));
    let error = open_with(Arc::new(OsDisk), config(base.path())).err().unwrap();
    assert!(error.to_string().contains(&format!("in use by process {}", std::process::id())), "{error}");
    store.close().await;
    open_real(config(base.path()));
}
