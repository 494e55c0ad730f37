//! The engine for tests: a sorted map behind a lock. Nothing survives the process.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use super::store::{
    Batch, BatchOutcome, Condition, KeyRange, MetaStoreError, MetadataSnapshot, MetadataStore, Pair,
    SCAN_PAIRS_MAX,
};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// A store in memory. A snapshot shares the map until the next commit copies it: fine for the sizes of tests.
#[derive(Debug, Default)]
pub struct MemoryStore {
    map: RwLock<Arc<Map>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

struct MemorySnapshot(Arc<Map>);

impl MetadataSnapshot for MemorySnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, MetaStoreError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<Pair>, MetaStoreError> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let pairs = self.0.range::<[u8], _>((range.start_bound(), range.end_bound()));
        Ok(pairs.take(limit.min(SCAN_PAIRS_MAX)).map(|(k, v)| (k.clone(), v.clone())).collect())
    }
}

fn refused(map: &Map, batch: &Batch) -> Option<usize> {
    batch.conditions.iter().position(|condition| match condition {
        Condition::Absent(key) => map.contains_key(key),
        Condition::Equals(key, value) => map.get(key) != Some(value),
    })
}

impl MetadataStore for MemoryStore {
    fn snapshot(&self) -> Result<Box<dyn MetadataSnapshot>, MetaStoreError> {
        let map = self.map.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(Box::new(MemorySnapshot(Arc::clone(&map))))
    }

    fn commit(&self, batches: &[Batch]) -> Result<Vec<BatchOutcome>, MetaStoreError> {
        batches.iter().try_for_each(Batch::check_bounds)?;
        let mut shared = self.map.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let map = Arc::make_mut(&mut shared);
        let mut outcomes = Vec::with_capacity(batches.len());
        for batch in batches {
            if let Some(place) = refused(map, batch) {
                outcomes.push(BatchOutcome::Refused(place));
                continue;
            }
            for (key, value) in &batch.writes {
                match value {
                    Some(value) => map.insert(key.clone(), value.clone()),
                    None => map.remove(key),
                };
            }
            outcomes.push(BatchOutcome::Applied);
        }
        Ok(outcomes)
    }

    fn reopen(&self) -> Result<(), MetaStoreError> {
        Ok(())
    }
}
