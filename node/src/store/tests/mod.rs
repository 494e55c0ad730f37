//! The store as its callers see it, on a disk that fails and on a real one.

mod crash;
mod cursor;
mod faults;
mod faulty_disk;
mod integrity;
mod quarantine;
mod real;
mod writing;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dfs_actors::datanode::chunk_store::{
    ChunkIdentity, ChunkSeal, ChunkStore, ChunkWriter, READ_BYTES_MAX, StoreError,
};
use dfs_wire::id::{ChunkId, ChunkKey, ClusterId, Generation, InodeId, NodeId};
use dfs_wire::limits::DATA_FRAME_BYTES;
use dfs_wire::message::facts::ChunkFacts;
use sha2::{Digest, Sha256};

use self::faulty_disk::FaultyDisk;
use super::data_dir::DataDir;
use super::disk_io::DiskIo;
use super::layout::{Aside, Layout};
use super::{FileStore, StoreConfig, SweepReport, format};

const ROOT: &str = "/disk";
/// A round of purging may take so long.
const LONG: Duration = Duration::from_secs(3600);

fn identity(chunk: u128, generation: u32) -> ChunkIdentity {
    ChunkIdentity {
        cluster: ClusterId(7),
        chunk: ChunkId(chunk),
        generation: Generation(generation),
        file: InodeId(42),
        index: 3,
    }
}

fn key(chunk: u128, generation: u32) -> ChunkKey {
    identity(chunk, generation).key()
}

/// Bytes that differ for every seed and offset.
fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        out.extend_from_slice(&(state >> 11).to_le_bytes());
    }
    out.truncate(len);
    out
}

fn seal(data: &[u8]) -> ChunkSeal {
    ChunkSeal { len: data.len() as u32, sha256: Sha256::digest(data).into() }
}

async fn write_all(writer: &mut dyn ChunkWriter, data: &[u8]) -> Result<(), StoreError> {
    for frame in data.chunks(DATA_FRAME_BYTES) {
        writer.write(Bytes::copy_from_slice(frame), &format::block_crcs(frame)).await?;
    }
    Ok(())
}

async fn put(store: &FileStore, identity: ChunkIdentity, data: &[u8]) -> Result<(), StoreError> {
    let mut writer = store.create(identity, data.len() as u32).await?;
    write_all(&mut *writer, data).await?;
    writer.commit(seal(data), ChunkFacts::default()).await
}

async fn get(store: &FileStore, key: ChunkKey) -> Result<Vec<u8>, StoreError> {
    let reader = store.open(key).await?;
    let len = reader.info().len;
    let mut out = Vec::new();
    while (out.len() as u32) < len {
        let at = out.len() as u32;
        let piece = reader.read(at, READ_BYTES_MAX.min(len - at)).await?;
        assert_eq!(piece.block_crcs, format::block_crcs(&piece.bytes));
        out.extend_from_slice(&piece.bytes);
    }
    Ok(out)
}

fn config(root: impl AsRef<Path>) -> StoreConfig {
    StoreConfig { reserve_bytes: 0, ..StoreConfig::new(root.as_ref()) }
}

/// Files in quarantine, wherever they are in it.
fn aside(disk: &FaultyDisk) -> Vec<String> {
    let root = Layout::new(ROOT).quarantine_dir();
    let inside = disk.names_in(&root).into_iter().flat_map(|name| disk.names_in(&root.join(name)));
    inside.chain(disk.names_in(&root)).filter(|name| Aside::parse(name).is_some()).collect()
}

/// A store that runs every job on its caller's thread, so that each run takes the same steps.
fn open_inline(disk: &FaultyDisk) -> (FileStore, SweepReport) {
    try_open_inline(disk).unwrap()
}

fn try_open_inline(disk: &FaultyDisk) -> anyhow::Result<(FileStore, SweepReport)> {
    open_with(Arc::new(disk.clone()), StoreConfig { io_threads: 0, ..config(ROOT) })
}

fn open_with(io: Arc<dyn DiskIo>, config: StoreConfig) -> anyhow::Result<(FileStore, SweepReport)> {
    let (store, report) = FileStore::open(Arc::new(DataDir::open(&config.data_dir, io)?), &config)?;
    if store.data_dir().identity().is_none() {
        store.begin_run(NodeId(1))?;
    }
    Ok((store, report))
}
