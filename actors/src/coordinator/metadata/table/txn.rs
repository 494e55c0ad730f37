//! Group commit without an engine's transaction: an overlay of accepted mutations over one snapshot.
//!
//! ```text
//! snapshot (committed) <- Overlay.accepted (mutations of this group) <- Txn.writes (the mutation in progress)
//!                              each one becomes a Batch of its own           dropped alone if it fails
//! ```
//!
//! The engine is called once per group, with the finished batches; so a panic in an operation never meets an open
//! write transaction. Invariant: no batch exceeds the bounds of [`super::store`], whatever was asked.

use std::collections::BTreeMap;

use super::error::MetaError;
use super::format::{Record, encode};
use super::keys;
use super::store::{
    BATCH_BYTES_MAX, BATCH_OPS_MAX, Batch, Condition, KeyRange, MetadataSnapshot, Pair, SCAN_PAIRS_MAX,
};
use super::totals::Totals;
use super::view::View;

type Writes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Writes that one mutation may make: the rest of a batch is the fence and the counters.
pub const MUTATION_OPS_MAX: usize = BATCH_OPS_MAX - 2;

/// A group of mutations that will be committed together.
pub struct Overlay {
    snapshot: Box<dyn MetadataSnapshot>,
    accepted: Writes,
    batches: Vec<Batch>,
    fence: Option<Condition>,
}

impl Overlay {
    /// A group over `snapshot`; every batch is conditional on `fence` (the reign that this writer opened).
    pub fn new(snapshot: Box<dyn MetadataSnapshot>, fence: Option<Condition>) -> Self {
        Self { snapshot, accepted: Writes::new(), batches: Vec::new(), fence }
    }

    /// Runs one mutation: all its writes become one batch, or, if it fails, none.
    ///
    /// # Errors
    /// Those of `mutation`, and [`MetaError::TooLarge`].
    pub fn mutate<T>(
        &mut self,
        mutation: impl FnOnce(&mut Txn<'_>) -> Result<T, MetaError>,
    ) -> Result<T, MetaError> {
        let mut txn = Txn { overlay: self, writes: Writes::new(), totals: None };
        let out = mutation(&mut txn)?;
        let writes = txn.finish()?;
        if !writes.is_empty() {
            let pairs = writes.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
            let batch = Batch { conditions: self.fence.iter().cloned().collect(), writes: pairs };
            assert!(batch.check_bounds().is_ok(), "the transaction checked its own bounds");
            self.batches.push(batch);
            self.accepted.extend(writes);
        }
        Ok(out)
    }

    /// The batches of the group, in order.
    pub fn into_batches(self) -> Vec<Batch> {
        self.batches
    }

    /// How many batches there are.
    pub fn batches(&self) -> usize {
        self.batches.len()
    }

    /// Whether no mutation wrote anything.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }
}

impl View for Overlay {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, MetaError> {
        match self.accepted.get(key) {
            Some(value) => Ok(value.clone()),
            None => Ok(self.snapshot.get(key)?),
        }
    }

    fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<Pair>, MetaError> {
        merged(range, limit, &self.accepted, |range, limit| Ok(self.snapshot.scan(range, limit)?))
    }
}

/// One mutation in progress. Reads see its own writes.
pub struct Txn<'a> {
    overlay: &'a Overlay,
    writes: Writes,
    totals: Option<Totals>,
}

impl Txn<'_> {
    /// Puts a record.
    ///
    /// # Errors
    /// If the record has no encoding.
    pub fn put<T: Record>(&mut self, key: Vec<u8>, record: &T) -> Result<(), MetaError> {
        let value = encode(&key, record)?;
        self.writes.insert(key, Some(value));
        Ok(())
    }

    /// Deletes whatever is under `key`.
    pub fn delete(&mut self, key: Vec<u8>) {
        self.writes.insert(key, None);
    }

    /// Changes the counters.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn count(&mut self, change: impl FnOnce(&mut Totals)) -> Result<(), MetaError> {
        let mut totals = match self.totals {
            Some(totals) => totals,
            None => self.load(keys::TOTALS)?.unwrap_or_default(),
        };
        change(&mut totals);
        self.totals = Some(totals);
        Ok(())
    }

    /// Writes made so far.
    pub fn ops(&self) -> usize {
        self.writes.len()
    }

    /// Whether `more` writes still fit, with some room for closing words. Steps of long work stop by it.
    pub fn has_room(&self, more: usize) -> bool {
        self.writes.len() + more + 8 <= MUTATION_OPS_MAX && self.bytes() < BATCH_BYTES_MAX / 2
    }

    fn bytes(&self) -> usize {
        self.writes.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum()
    }

    fn finish(mut self) -> Result<Writes, MetaError> {
        if self.writes.len() > MUTATION_OPS_MAX || self.bytes() > BATCH_BYTES_MAX - 4096 {
            return Err(MetaError::TooLarge { ops: self.writes.len(), max: MUTATION_OPS_MAX });
        }
        if let Some(totals) = self.totals {
            self.put(keys::TOTALS.to_vec(), &totals)?;
        }
        Ok(self.writes)
    }
}

impl View for Txn<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, MetaError> {
        match self.writes.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.overlay.get(key),
        }
    }

    fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<Pair>, MetaError> {
        merged(range, limit, &self.writes, |range, limit| self.overlay.scan(range, limit))
    }
}

/// The first `limit` pairs of `below` as changed by `above`.
fn merged(
    range: &KeyRange,
    limit: usize,
    above: &Writes,
    below: impl Fn(&KeyRange, usize) -> Result<Vec<Pair>, MetaError>,
) -> Result<Vec<Pair>, MetaError> {
    let mut rest = range.clone();
    let mut out = Vec::new();
    while out.len() < limit && !rest.is_empty() {
        let wanted = (limit - out.len()).min(SCAN_PAIRS_MAX);
        let found = below(&rest, wanted)?;
        // Past the last pair of a full page only the next page knows what comes: what lies above there must wait.
        let page = match found.last() {
            Some((last, _)) if found.len() >= wanted => {
                KeyRange { end: Some([last.as_slice(), &[0]].concat()), ..rest.clone() }
            }
            _ => rest.clone(),
        };
        let mut all: BTreeMap<Vec<u8>, Vec<u8>> = found.into_iter().collect();
        for (key, value) in above.range::<[u8], _>((page.start_bound(), page.end_bound())) {
            match value {
                Some(value) => all.insert(key.clone(), value.clone()),
                None => all.remove(key),
            };
        }
        out.extend(all);
        if page == rest {
            break;
        }
        rest = KeyRange { start: page.end.unwrap_or_default(), start_excluded: false, ..rest };
    }
    out.truncate(limit);
    Ok(out)
}
