//! Writers: frames, commits, races, and futures dropped at every turn.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};

use dfs_actors::datanode::chunk_store::{ChunkStore, ReplicaState};
use proptest::prelude::*;

use super::faulty_disk::{FaultyDisk, Op};
use super::*;

const TMP: &str = "/disk/tmp";

fn fresh() -> (FaultyDisk, FileStore) {
    let disk = FaultyDisk::new();
    let (store, _) = open_inline(&disk);
    assert!(store.is_direct());
    (disk, store)
}

#[tokio::test]
async fn what_is_committed_reads_back_and_is_listed() {
    let (_, store) = fresh();
    let data = content(5, 600_001);
    put(&store, identity(5, 2), &data).await.unwrap();
    let reader = store.open(key(5, 2)).await.unwrap();
    assert_eq!(reader.info().seal(), seal(&data));
    let info = store.inventory(None, 10)[0];
    assert_eq!((info.identity, info.len, info.state), (identity(5, 2), 600_001, ReplicaState::Verified));
    assert!(matches!(store.open(key(5, 1)).await.err(), Some(StoreError::NotFound { .. })));
    let stats = store.stats();
    assert_eq!((stats.chunks, stats.used_bytes, stats.temporary, stats.promised_bytes), (1, 600_001, 0, 0));
    assert!(stats.fsyncs >= 2 && stats.queue_depth == 0, "{stats:?}");
}

#[tokio::test]
async fn ranges_outside_the_chunk_are_refused() {
    let (_, store) = fresh();
    put(&store, identity(1, 1), &content(1, 100)).await.unwrap();
    let reader = store.open(key(1, 1)).await.unwrap();
    assert_eq!(reader.read(100, 0).await.unwrap().bytes, "");
    for (offset, len) in [(0, 101), (100, 1), (101, 0), (u32::MAX, 1), (1, u32::MAX), (0, READ_BYTES_MAX + 1)]
    {
        let error = reader.read(offset, len).await.unwrap_err();
        assert!(matches!(error, StoreError::Invalid { .. }), "{offset} {len}: {error}");
    }
}

#[tokio::test]
async fn frames_and_seals_out_of_shape_are_refused() {
    let (disk, store) = fresh();
    let full = Bytes::from(content(1, DATA_FRAME_BYTES));
    let crcs = format::block_crcs(&full);
    let refused = |result: Result<(), StoreError>| matches!(result, Err(StoreError::Invalid { .. }));
    let mut writer = store.create(identity(1, 1), 0).await.unwrap();
    assert!(refused(writer.write(Bytes::new(), &[]).await));
    assert!(refused(writer.write(full.clone(), &crcs[1..]).await));
    assert!(refused(writer.write(vec![0; DATA_FRAME_BYTES + 1].into(), &[0; 5]).await));
    writer.write(full.slice(..10), &[1]).await.unwrap();
    assert!(refused(writer.write(full.slice(..10), &[1]).await), "nothing follows a short frame");
    assert!(refused(writer.commit(ChunkSeal { len: 11, sha256: [0; 32] }, ChunkFacts::default()).await));
    assert_eq!(disk.names_in(Path::new(TMP)), [""; 0]);
    assert!(matches!(
        store.create(identity(1, 1), 64 * 1024 * 1024 + 1).await.err(),
        Some(StoreError::Invalid { .. })
    ));
    let mut writer = store.create(identity(1, 1), 0).await.unwrap();
    for _ in 0..256 {
        writer.write(full.clone(), &crcs).await.unwrap();
    }
    assert!(refused(writer.write(full.slice(..1), &[1]).await), "64 MiB is the most");
}

#[tokio::test]
async fn a_chunk_is_committed_once_and_generations_stand_side_by_side() {
    let (disk, store) = fresh();
    let data = content(1, 1000);
    put(&store, identity(1, 2), &data).await.unwrap();
    let again = put(&store, identity(1, 2), &data).await.unwrap_err();
    assert!(matches!(again, StoreError::AlreadyCommitted(info) if info.seal() == seal(&data)));
    put(&store, identity(1, 1), &content(2, 10)).await.unwrap();
    put(&store, identity(1, 3), &content(3, 10)).await.unwrap();
    assert_eq!(store.inventory(None, 10).len(), 3);
    assert_eq!(store.inventory(Some(key(1, 1)), 1)[0].key(), key(1, 2));
    assert_eq!(get(&store, key(1, 2)).await.unwrap(), data);

    let mut first = store.create(identity(9, 1), 10).await.unwrap();
    let mut second = store.create(identity(9, 1), 10).await.unwrap();
    write_all(&mut *first, b"first").await.unwrap();
    write_all(&mut *second, b"other").await.unwrap();
    second.commit(seal(b"other"), ChunkFacts::default()).await.unwrap();
    let late = first.commit(seal(b"first"), ChunkFacts::default()).await.unwrap_err();
    assert!(matches!(late, StoreError::AlreadyCommitted(_)), "{late}");
    assert_eq!(get(&store, key(9, 1)).await.unwrap(), b"other");
    assert_eq!(disk.names_in(Path::new(TMP)), [""; 0]);
}

#[tokio::test]
async fn a_dropped_writer_leaves_nothing() {
    let (disk, store) = fresh();
    for frames in 0..3 {
        let mut writer = store.create(identity(1, 1), 1_000_000).await.unwrap();
        write_all(&mut *writer, &content(1, frames * 200_000)).await.unwrap();
        assert_eq!((store.stats().temporary, disk.names_in(Path::new(TMP)).len()), (1, 1));
        drop(writer);
        assert_eq!(disk.names_in(Path::new(TMP)), [""; 0]);
    }
    assert_eq!((store.stats().temporary, store.stats().promised_bytes), (0, 0));
}

#[tokio::test]
async fn a_dropped_commit_is_finished_all_the_same() {
    let (disk, store) = fresh();
    let data = content(1, 70_000);
    let mut writer = store.create(identity(1, 1), 70_000).await.unwrap();
    write_all(&mut *writer, &data).await.unwrap();
    drop(writer.commit(seal(&data), ChunkFacts::default()));
    assert_eq!(get(&store, key(1, 1)).await.unwrap(), data, "the work starts with the call");
    assert_eq!(disk.names_in(Path::new(TMP)), [""; 0]);
}

/// Polls a future `polls` times and drops it.
fn poll_and_drop<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    (0..polls).find_map(|_| match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn futures_dropped_at_any_await_leave_a_consistent_store() {
    let disk = FaultyDisk::new();
    let config = StoreConfig { io_threads: 2, queue_depth: 1, ..config(ROOT) };
    let (store, _) = open_with(Arc::new(disk.clone()), config).unwrap();
    let data = content(1, 300_000);
    for round in 0..200u128 {
        let polls = (round % 3) as usize;
        drop(poll_and_drop(store.create(identity(round, 1), 300_000), polls));
        let mut writer = store.create(identity(round, 1), 300_000).await.unwrap();
        let frame = Bytes::copy_from_slice(&data[..DATA_FRAME_BYTES]);
        // Taken or not, never half: if it was not, it is written again.
        if poll_and_drop(writer.write(frame.clone(), &format::block_crcs(&frame)), polls).is_none() {
            writer.write(frame.clone(), &format::block_crcs(&frame)).await.unwrap();
        }
        let rest = Bytes::copy_from_slice(&data[DATA_FRAME_BYTES..]);
        writer.write(rest.clone(), &format::block_crcs(&rest)).await.unwrap();
        drop(poll_and_drop(writer.commit(seal(&data), ChunkFacts::default()), polls));
        drop(poll_and_drop(store.quarantine(vec![key(round / 2, 1)]), polls));
        drop(poll_and_drop(store.verify(key(round, 1)), polls));
    }
    store.close().await;
    drop(store);
    assert_eq!(disk.names_in(Path::new(TMP)), [""; 0]);
    let (store, report) = open_inline(&disk);
    assert_eq!((report.damaged_count, report.tmp_removed), (0, 0));
    for info in store.inventory(None, 1000) {
        assert_eq!(get(&store, info.key()).await.unwrap(), data);
    }
    assert_eq!(report.chunks + store.stats().quarantined, 200, "every commit was finished");
}

/// Memory that counts how much of it is alive.
struct Counted {
    bytes: Vec<u8>,
    alive: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_frame_is_given_back_as_soon_as_it_is_written_or_cannot_be() {
    let (disk, store) = fresh();
    let alive = Arc::new(AtomicUsize::new(0));
    let frame = |len| {
        alive.fetch_add(1, Ordering::SeqCst);
        Bytes::from_owner(Counted { bytes: content(1, len), alive: alive.clone() })
    };
    let mut writer = store.create(identity(1, 1), 1_000_000).await.unwrap();
    writer.write(frame(DATA_FRAME_BYTES), &[0; 4]).await.unwrap();
    assert_eq!(alive.load(Ordering::SeqCst), 0);
    disk.fail_next(Op::Write, rustix::io::Errno::NOSPC);
    writer.write(frame(DATA_FRAME_BYTES), &[0; 4]).await.unwrap();
    assert_eq!(alive.load(Ordering::SeqCst), 0);
    assert!(writer.write(frame(100), &[0]).await.is_err());
    assert_eq!((alive.load(Ordering::SeqCst), store.stats().queue_depth), (0, 0));
}

#[tokio::test]
async fn open_writers_are_bounded() {
    let disk = FaultyDisk::new();
    let config = StoreConfig { io_threads: 0, open_writers_max: 2, ..config(ROOT) };
    let (store, _) = open_with(Arc::new(disk), config).unwrap();
    let first = store.create(identity(1, 1), 1).await.unwrap();
    let _second = store.create(identity(2, 1), 1).await.unwrap();
    assert!(matches!(store.create(identity(3, 1), 1).await.err(), Some(StoreError::Busy { .. })));
    drop(first);
    store.create(identity(3, 1), 1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_commits_shares_its_directory_fsyncs() {
    let disk = FaultyDisk::new();
    let config = StoreConfig { io_threads: 4, ..config(ROOT) };
    let (store, _) = open_with(Arc::new(disk.clone()), config).unwrap();
    let mut writers = Vec::new();
    for n in 0..32u128 {
        // Ids of the same seconds: all in one directory.
        writers.push(store.create(identity(n, 1), 10).await.unwrap());
    }
    let (syncs, dir_syncs) = (disk.count("sync_data"), disk.count("sync_dir"));
    disk.hold_next_sync_dir(std::time::Duration::from_millis(50));
    let commits: Vec<_> = writers.into_iter().map(|w| w.commit(seal(b""), ChunkFacts::default())).collect();
    for commit in commits {
        commit.await.unwrap();
    }
    assert_eq!(disk.count("sync_data") - syncs, 32, "each file is synced");
    let dir_syncs = disk.count("sync_dir") - dir_syncs;
    assert!((1..=8).contains(&dir_syncs), "{dir_syncs} directory fsyncs for 32 files in one directory");
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_finishes_what_was_accepted_and_refuses_the_rest() {
    let disk = FaultyDisk::new();
    let (store, _) = open_with(Arc::new(disk.clone()), config(ROOT)).unwrap();
    let mut writer = store.create(identity(1, 1), 10).await.unwrap();
    let mut open = store.create(identity(2, 1), 10).await.unwrap();
    write_all(&mut *writer, b"accepted").await.unwrap();
    let commit = writer.commit(seal(b"accepted"), ChunkFacts::default());
    store.close().await;
    store.close().await;
    commit.await.unwrap();
    assert!(matches!(store.create(identity(3, 1), 10).await.err(), Some(StoreError::Closed { .. })));
    assert!(matches!(store.open(key(1, 1)).await.err(), Some(StoreError::Closed { .. })));
    assert!(matches!(store.verify(key(1, 1)).await.err(), Some(StoreError::Closed { .. })));
    assert!(matches!(store.quarantine(vec![key(1, 1)]).await[0].1, Err(StoreError::Closed { .. })));
    assert!(matches!(write_all(&mut *open, b"late").await, Err(StoreError::Closed { .. })));
    assert!(matches!(open.commit(seal(b""), ChunkFacts::default()).await, Err(StoreError::Closed { .. })));
    store.stats();
    drop(store);
    let (store, report) = open_inline(&disk);
    assert_eq!((report.chunks, report.tmp_removed), (1, 1));
    assert_eq!(get(&store, key(1, 1)).await.unwrap(), b"accepted");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_length_reads_back_in_any_range(
        len in prop_oneof![0usize..9000, 60_000usize..70_000, 255_000usize..270_000, 0usize..2_500_000],
        hint in prop_oneof![Just(0u32), 0u32..3_000_000],
        aligned: bool,
        from in 0.0..1.0f64,
        size in 0.0..1.0f64,
    ) {
        let (_, store) = fresh();
        let data = content(len as u64, len);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut writer = store.create(identity(1, 1), hint).await.unwrap();
            let pool = dfs_wire::slab::SlabPool::new(4);
            for frame in data.chunks(DATA_FRAME_BYTES) {
                let crcs = format::block_crcs(frame);
                let bytes = if aligned {
                    let mut slab = pool.take();
                    slab[..frame.len()].copy_from_slice(frame);
                    slab.freeze(frame.len(), ())
                } else {
                    Bytes::from([&[0], frame].concat()).slice(1..)
                };
                writer.write(bytes, &crcs).await.unwrap();
            }
            writer.commit(seal(&data), ChunkFacts::default()).await.unwrap();
            assert_eq!(get(&store, key(1, 1)).await.unwrap(), data);
            let offset = (from * len as f64) as usize;
            let range = offset..offset + ((size * (len - offset) as f64) as usize).min(READ_BYTES_MAX as usize);
            let reader = store.open(key(1, 1)).await.unwrap();
            let piece = reader.read(range.start as u32, range.len() as u32).await.unwrap();
            assert_eq!(piece.block_crcs, format::block_crcs(&data[range.clone()]));
            assert_eq!(piece.bytes, data[range]);
            store.verify(key(1, 1)).await.unwrap();
        });
    }
}
