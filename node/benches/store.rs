//! The chunk store against its disk: 1 GiB of 8 MiB chunks, durable, four uploads at a time, through O_DIRECT and through
//! the page cache, beside the same files written plainly by four threads; then reads by mapping and by pread.
//!
//! `cargo bench -p dfs-node --bench store`. Absolute figures are the machine's; the ratios within one run are ours.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dfs_actors::datanode::chunk_store::{ChunkIdentity, ChunkSeal, ChunkStore, READ_BYTES_MAX};
use dfs_node::store::{DataDir, DirectIo, FileStore, OsDisk, ReadMode, StoreConfig, format};
use dfs_wire::id::{ChunkId, ClusterId, Generation, InodeId, NodeId};
use dfs_wire::limits::DATA_FRAME_BYTES;
use dfs_wire::message::facts::ChunkFacts;
use dfs_wire::slab::SlabPool;
use tokio::runtime::Runtime;

const CHUNK: usize = 8 << 20;
const CHUNKS: u128 = 128;
const UPLOADS: u128 = 4;

/// The frames of one chunk, in slabs as the network would have filled them.
fn frames() -> Vec<(Bytes, Vec<u32>)> {
    let pool = SlabPool::new(0);
    (0..CHUNK / DATA_FRAME_BYTES)
        .map(|n| {
            let mut slab = pool.take();
            slab.iter_mut().enumerate().for_each(|(i, b)| *b = (i * 31 + n) as u8);
            let frame = slab.freeze(DATA_FRAME_BYTES, ());
            let crcs = format::block_crcs(&frame);
            (frame, crcs)
        })
        .collect()
}

fn open(dir: &Path, direct_io: DirectIo, read_mode: ReadMode) -> Arc<FileStore> {
    let dir = DataDir::open(dir, Arc::new(OsDisk)).expect("a fresh directory");
    let config = StoreConfig { direct_io, read_mode, ..StoreConfig::new(dir.layout().root()) };
    let (store, _) = FileStore::open(Arc::new(dir), &config).expect("a store");
    store.begin_run(NodeId(1)).expect("an identity");
    Arc::new(store)
}

async fn upload(store: &FileStore, chunk: u128, frames: &[(Bytes, Vec<u32>)]) {
    let identity = ChunkIdentity {
        cluster: ClusterId(1),
        chunk: ChunkId::time_ordered(1_700_000_000_000, chunk),
        generation: Generation(1),
        file: InodeId(1),
        index: 0,
    };
    let mut writer =
        store.create(identity, (frames.len() * DATA_FRAME_BYTES) as u32).await.expect("a writer");
    for (frame, crcs) in frames {
        writer.write(frame.clone(), crcs).await.expect("a frame");
    }
    let seal = ChunkSeal { len: (frames.len() * DATA_FRAME_BYTES) as u32, sha256: [0; 32] };
    writer.commit(seal, ChunkFacts::default()).await.expect("a commit");
}

/// Every upload takes each fourth chunk.
async fn upload_all(store: &Arc<FileStore>, frames: &Arc<Vec<(Bytes, Vec<u32>)>>) {
    let tasks: Vec<_> = (0..UPLOADS)
        .map(|first| {
            let (store, frames) = (store.clone(), frames.clone());
            tokio::spawn(async move {
                for chunk in (first..CHUNKS).step_by(UPLOADS as usize) {
                    upload(&store, chunk, &frames).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("an upload");
    }
}

fn base() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory")
}

fn store_run(runtime: &Runtime, direct_io: DirectIo, frames: &Arc<Vec<(Bytes, Vec<u32>)>>) -> Duration {
    let base = base();
    let store = open(base.path(), direct_io, ReadMode::Pread);
    let start = Instant::now();
    runtime.block_on(upload_all(&store, frames));
    let took = start.elapsed();
    runtime.block_on(store.close());
    took
}

fn plain_run(frames: &[(Bytes, Vec<u32>)]) -> Duration {
    let base = base();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for first in 0..UPLOADS {
            let base = base.path();
            scope.spawn(move || {
                for chunk in (first..CHUNKS).step_by(UPLOADS as usize) {
                    let mut file = File::create(base.join(chunk.to_string())).expect("a file");
                    frames.iter().for_each(|(frame, _)| file.write_all(frame).expect("a write"));
                    file.sync_data().expect("a sync");
                }
            });
        }
    });
    start.elapsed()
}

fn writes(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let frames = Arc::new(frames());
    let mut group = c.benchmark_group("write_1GiB_of_8MiB_chunks");
    group.sample_size(10).warm_up_time(Duration::from_millis(1)).measurement_time(Duration::from_secs(10));
    group.throughput(Throughput::Bytes(CHUNKS as u64 * CHUNK as u64));
    for (name, direct_io) in [("store_direct", DirectIo::On), ("store_buffered", DirectIo::Off)] {
        group.bench_function(name, |b| {
            b.iter_custom(|n| (0..n).map(|_| store_run(&runtime, direct_io, &frames)).sum());
        });
    }
    group.bench_function("plain_files", |b| b.iter_custom(|n| (0..n).map(|_| plain_run(&frames)).sum()));
}

fn reads(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let frames = frames();
    let mut group = c.benchmark_group("read_8MiB_chunk_from_page_cache");
    group.sample_size(20).measurement_time(Duration::from_secs(3));
    group.throughput(Throughput::Bytes(CHUNK as u64));
    for (name, read_mode) in [("mmap", ReadMode::Mmap), ("pread", ReadMode::Pread)] {
        let base = base();
        let store = open(base.path(), DirectIo::Off, read_mode);
        runtime.block_on(upload(&store, 1, &frames));
        let key = store.inventory(None, 1)[0].key();
        let reader = runtime.block_on(store.open(key)).expect("a reader");
        group.bench_function(name, |b| {
            b.iter(|| {
                for offset in (0..CHUNK as u32).step_by(READ_BYTES_MAX as usize) {
                    let bytes = runtime.block_on(reader.read(offset, READ_BYTES_MAX)).expect("a range");
                    std::hint::black_box(bytes);
                }
            });
        });
    }
}

criterion_group!(benches, writes, reads);
criterion_main!(benches);
