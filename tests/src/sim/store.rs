//! What a datanode keeps, in memory: its chunks and its membership.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dfs_actors::datanode::authority::{Heard, IdentityStore, Joined};
use dfs_actors::datanode::chunk_store::{
    ChunkIdentity, ChunkInfo, ChunkReader, ChunkSeal, ChunkStore, ChunkWriter, ReplicaState, StoreError,
    StoreStats, Verified,
};
use dfs_wire::id::ChunkKey;
use dfs_wire::limits::BLOCK_BYTES;
use dfs_wire::link::DataFrame;
use dfs_wire::status::{Status, StatusCode};
use futures_util::future::BoxFuture;

/// Room of a disk.
const CAPACITY_BYTES: u64 = 1 << 40;

type Chunks = BTreeMap<ChunkKey, (ChunkInfo, Bytes)>;

/// A disk that is as fast as memory and never fails. Cheap to clone.
#[derive(Clone)]
pub(super) struct MemStore {
    disk: Arc<str>,
    chunks: Arc<Mutex<Chunks>>,
}

impl MemStore {
    pub(super) fn new(disk: &str) -> Self {
        Self { disk: disk.into(), chunks: Arc::default() }
    }

    /// Committed chunks.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Chunks> {
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ChunkStore for MemStore {
    fn create(
        &self,
        identity: ChunkIdentity,
        _len_hint: u32,
    ) -> BoxFuture<'static, Result<Box<dyn ChunkWriter>, StoreError>> {
        let store = self.clone();
        Box::pin(async move {
            if let Some((info, _)) = store.lock().get(&identity.key()) {
                return Err(StoreError::AlreadyCommitted(Box::new(*info)));
            }
            Ok(Box::new(MemWriter { store, identity, bytes: BytesMut::new() }) as Box<dyn ChunkWriter>)
        })
    }

    fn open(&self, key: ChunkKey) -> BoxFuture<'static, Result<Arc<dyn ChunkReader>, StoreError>> {
        let missing = StoreError::NotFound { disk: self.disk.clone(), key };
        let found = self.lock().get(&key).cloned().ok_or(missing);
        Box::pin(async move {
            found.map(|(info, bytes)| Arc::new(MemReader(info, bytes)) as Arc<dyn ChunkReader>)
        })
    }

    fn quarantine(&self, keys: Vec<ChunkKey>) -> BoxFuture<'static, Vec<(ChunkKey, Result<(), StoreError>)>> {
        let mut chunks = self.lock();
        for key in &keys {
            chunks.remove(key);
        }
        Box::pin(async move { keys.into_iter().map(|key| (key, Ok(()))).collect() })
    }

    fn purge_quarantine(&self, _older_than: Duration) -> BoxFuture<'static, Result<u64, StoreError>> {
        Box::pin(async { Ok(0) })
    }

    fn inventory(&self, after: Option<ChunkKey>, limit: usize) -> Vec<ChunkInfo> {
        let chunks = self.lock();
        let later = chunks.iter().filter(|(key, _)| after.is_none_or(|after| **key > after));
        later.take(limit).map(|(_, (info, _))| *info).collect()
    }

    fn verify(&self, key: ChunkKey) -> BoxFuture<'static, Result<ChunkInfo, StoreError>> {
        let opened = self.open(key);
        Box::pin(async move { opened.await.map(|reader| *reader.info()) })
    }

    fn stats(&self) -> StoreStats {
        let chunks = self.lock();
        let used_bytes = chunks.values().map(|(info, _)| u64::from(info.len)).sum();
        StoreStats {
            disk: self.disk.to_string(),
            capacity_bytes: CAPACITY_BYTES,
            available_bytes: CAPACITY_BYTES - used_bytes,
            used_bytes,
            chunks: chunks.len() as u64,
            ..StoreStats::default()
        }
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

struct MemWriter {
    store: MemStore,
    identity: ChunkIdentity,
    bytes: BytesMut,
}

impl ChunkWriter for MemWriter {
    fn write(&mut self, frame: Bytes, block_crcs: &[u32]) -> BoxFuture<'_, Result<(), StoreError>> {
        assert_eq!(checksums(&frame), block_crcs, "the caller has checked the frame");
        self.bytes.extend_from_slice(&frame);
        Box::pin(async { Ok(()) })
    }

    fn commit(self: Box<Self>, seal: ChunkSeal) -> BoxFuture<'static, Result<(), StoreError>> {
        let Self { store, identity, bytes } = *self;
        assert_eq!(bytes.len(), seal.len as usize, "the caller seals what it wrote");
        let info = ChunkInfo { identity, len: seal.len, sha256: seal.sha256, state: ReplicaState::Verified };
        store.lock().insert(info.key(), (info, bytes.freeze()));
        Box::pin(async { Ok(()) })
    }
}

struct MemReader(ChunkInfo, Bytes);

impl ChunkReader for MemReader {
    fn info(&self) -> &ChunkInfo {
        &self.0
    }

    fn read(&self, offset: u32, len: u32) -> BoxFuture<'static, Result<Verified, StoreError>> {
        let bytes = self.1.slice(offset as usize..(offset + len) as usize);
        let block_crcs = checksums(&bytes);
        Box::pin(async move { Ok(Verified { bytes, block_crcs }) })
    }
}

fn checksums(bytes: &Bytes) -> Vec<u32> {
    let blocks = (0..bytes.len()).step_by(BLOCK_BYTES);
    blocks.map(|at| DataFrame::new(bytes.slice(at..bytes.len().min(at + BLOCK_BYTES))).crc).collect()
}

/// The membership of a node.
#[derive(Default)]
pub(super) struct MemIdentity(Mutex<Option<Joined>>);

impl MemIdentity {
    fn lock(&self) -> MutexGuard<'_, Option<Joined>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IdentityStore for MemIdentity {
    fn joined(&self) -> Option<Joined> {
        self.lock().clone()
    }

    fn save(&self, joined: Joined) -> BoxFuture<'static, Result<(), Status>> {
        *self.lock() = Some(joined);
        Box::pin(async { Ok(()) })
    }

    fn keep(&self, heard: Heard) -> BoxFuture<'static, Result<(), Status>> {
        let kept = match self.lock().as_mut().filter(|joined| joined.epoch == heard.epoch) {
            Some(joined) => {
                joined.position = joined.position.max(heard.position);
                Ok(())
            }
            None => Err(Status::new(StatusCode::StaleEpoch, "another reign took this node in")),
        };
        Box::pin(async { kept })
    }
}
