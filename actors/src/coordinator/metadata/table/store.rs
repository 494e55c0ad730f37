//! What the metadata needs from a storage engine: ordered byte keys, snapshots, durable compare-and-batch commits.
//!
//! The bounds of a [`Batch`] are etcd's (128 operations, about 1 MiB), so that a replicated engine can take the place
//! of the embedded one without a change above this trait. One contract suite runs against every engine
//! (`node/src/metadata/tests/contract.rs`).

use std::fmt;

/// Conditions and writes that one [`Batch`] may hold together.
pub const BATCH_OPS_MAX: usize = 128;
/// Bytes of keys and values that one [`Batch`] may hold together.
pub const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Pairs that one [`MetadataSnapshot::scan`] returns at most, whatever its caller asks for.
pub const SCAN_PAIRS_MAX: usize = 4096;

/// A key with its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Why the store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetaStoreError {
    /// Another process has the store open.
    #[error("{what} is in use by another process: one process per metadata store")]
    Locked {
        /// The file or address.
        what: String,
    },
    /// The bytes in the store are not what was written.
    #[error("{what} is corrupt: {cause}")]
    Corrupt {
        /// The file or address.
        what: String,
        /// What was found.
        cause: String,
    },
    /// The engine or the disk below it failed. After a failed commit nobody knows whether it happened.
    #[error("{action}: {cause}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// What the engine said.
        cause: String,
    },
    /// The disk is full. Nothing was written: neither now nor after a power cut will any of it be there.
    #[error("{action}: the disk of the metadata is full: {cause}")]
    NoSpace {
        /// What was being done.
        action: &'static str,
        /// What the engine said.
        cause: String,
    },
    /// The disk lost something that was written to it. What can be read may not be what is durable, so nothing is
    /// answered for the rest of this process; the next one opens what is durable.
    #[error("the disk of the metadata failed: {cause}")]
    Failed {
        /// What was lost.
        cause: String,
    },
    /// An earlier failure left the engine in an unknown state: it answers nothing until it is reopened.
    #[error("the metadata store is closed since an earlier failure: {cause}")]
    Poisoned {
        /// The earlier failure.
        cause: String,
    },
    /// A batch is larger than the declared bounds. Nothing was written.
    #[error("a batch of {ops} operations and {bytes} bytes is over the bounds of the store")]
    BatchTooLarge {
        /// Its conditions and writes.
        ops: usize,
        /// Its keys and values.
        bytes: usize,
    },
}

/// What must hold for a batch to be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// The key has no value.
    Absent(Vec<u8>),
    /// The key has exactly this value.
    Equals(Vec<u8>, Vec<u8>),
}

/// Writes that happen together or not at all, if all conditions hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// All of them must hold just before the batch.
    pub conditions: Vec<Condition>,
    /// A value to put, or `None` to delete; at most one write per key.
    pub writes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Batch {
    /// Conditions and writes together.
    pub fn ops(&self) -> usize {
        self.conditions.len() + self.writes.len()
    }

    /// Bytes of all keys and values.
    pub fn bytes(&self) -> usize {
        let conditions = self.conditions.iter().map(|c| match c {
            Condition::Absent(key) => key.len(),
            Condition::Equals(key, value) => key.len() + value.len(),
        });
        let writes = self.writes.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len));
        conditions.chain(writes).sum()
    }

    /// Checks the declared bounds; every engine calls it before anything else.
    ///
    /// # Errors
    /// [`MetaStoreError::BatchTooLarge`].
    pub fn check_bounds(&self) -> Result<(), MetaStoreError> {
        let (ops, bytes) = (self.ops(), self.bytes());
        if ops > BATCH_OPS_MAX || bytes > BATCH_BYTES_MAX {
            return Err(MetaStoreError::BatchTooLarge { ops, bytes });
        }
        Ok(())
    }
}

/// What became of one batch of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchOutcome {
    /// All its writes are durable.
    Applied,
    /// The condition at this place did not hold: none of its writes happened.
    Refused(usize),
}

/// A range of keys: from a start to an exclusive end, in byte order.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key that may be in the range.
    pub start: Vec<u8>,
    /// Whether a key equal to `start` is left out (to go on after the last key of a page).
    pub start_excluded: bool,
    /// The first key after the range, or `None` for no end.
    pub end: Option<Vec<u8>>,
}

impl KeyRange {
    /// All keys that start with `prefix`.
    pub fn prefix(prefix: &[u8]) -> Self {
        Self { start: prefix.to_vec(), start_excluded: false, end: successor(prefix) }
    }

    /// All keys from `start` up to but without `end`.
    pub fn between(start: &[u8], end: &[u8]) -> Self {
        Self { start: start.to_vec(), start_excluded: false, end: Some(end.to_vec()) }
    }

    /// The part of this range that lies after `key`; the whole range if `key` lies before it.
    #[must_use]
    pub fn after(mut self, key: &[u8]) -> Self {
        if key >= self.start.as_slice() {
            self.start = key.to_vec();
            self.start_excluded = true;
        }
        self
    }

    /// The part of this range from `key` on; the whole range if `key` lies before it.
    #[must_use]
    pub fn from(mut self, key: &[u8]) -> Self {
        if key > self.start.as_slice() {
            self.start = key.to_vec();
            self.start_excluded = false;
        }
        self
    }

    /// Whether `key` lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        let after_start =
            if self.start_excluded { key > self.start.as_slice() } else { key >= self.start.as_slice() };
        after_start && self.end.as_ref().is_none_or(|end| key < end.as_slice())
    }

    /// Whether no key can lie in the range.
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| &self.start >= end)
    }

    /// The start as the standard library writes it.
    pub fn start_bound(&self) -> std::ops::Bound<&[u8]> {
        match self.start_excluded {
            true => std::ops::Bound::Excluded(self.start.as_slice()),
            false => std::ops::Bound::Included(self.start.as_slice()),
        }
    }

    /// The end as the standard library writes it.
    pub fn end_bound(&self) -> std::ops::Bound<&[u8]> {
        match &self.end {
            Some(end) => std::ops::Bound::Excluded(end.as_slice()),
            None => std::ops::Bound::Unbounded,
        }
    }
}

impl fmt::Debug for KeyRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = if self.start_excluded { '(' } else { '[' };
        write!(f, "{open}{}..", self.start.escape_ascii())?;
        match &self.end {
            Some(end) => write!(f, "{})", end.escape_ascii()),
            None => f.write_str(")"),
        }
    }
}

/// The first key after all that start with `prefix`; `None` if there is none.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}

/// The state after some commit: later commits do not change what it answers. Short-lived: an engine may keep disk
/// space for it.
pub trait MetadataSnapshot: Send + Sync {
    /// The value of `key`.
    ///
    /// # Errors
    /// If the engine fails or finds the value corrupt.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, MetaStoreError>;

    /// The first pairs of `range` in key order, at most `limit` and [`SCAN_PAIRS_MAX`] of them.
    ///
    /// # Errors
    /// As [`Self::get`].
    fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<Pair>, MetaStoreError>;
}

/// Room on the disk of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreSpace {
    /// Bytes that are free.
    pub available: u64,
    /// Bytes kept free for what gives space back, and for what finishes work that was begun.
    pub reserve: u64,
    /// Bytes that the store takes.
    pub used: u64,
}

impl StoreSpace {
    /// Whether only the reserve is left.
    pub fn is_tight(self) -> bool {
        self.available < self.reserve
    }
}

/// A storage engine. Calls block on the disk: never from an async worker.
///
/// An engine that lost a write or failed to sync is [`MetaStoreError::Failed`] from then on, whatever is asked of it: the
/// kernel may show the lost bytes to readers and report success to the next sync (Rebello et al., USENIX ATC 2020).
pub trait MetadataStore: Send + Sync {
    /// The state after the last commit.
    ///
    /// # Errors
    /// If the engine fails or is poisoned.
    fn snapshot(&self) -> Result<Box<dyn MetadataSnapshot>, MetaStoreError>;

    /// Applies the batches in order, each seeing those before it, and makes them durable together (group commit).
    ///
    /// When it returns, every batch with [`BatchOutcome::Applied`] survives a power cut. A refused batch leaves the
    /// others alone.
    ///
    /// # Errors
    /// [`MetaStoreError::BatchTooLarge`] before anything is done. [`MetaStoreError::NoSpace`] means that no batch
    /// happened, and with any other error it is unknown which did; either way the store is poisoned until
    /// [`Self::reopen`].
    fn commit(&self, batches: &[Batch]) -> Result<Vec<BatchOutcome>, MetaStoreError>;

    /// Closes the engine and opens it again from what is durable. What is in flight elsewhere fails, and so do readers
    /// meanwhile: they never wait for it.
    ///
    /// # Errors
    /// If the store cannot be opened; it stays poisoned. [`MetaStoreError::Failed`] if it never will be by this process.
    fn reopen(&self) -> Result<(), MetaStoreError>;

    /// Room on its disk, if it has one and can tell.
    fn space(&self) -> Option<StoreSpace> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_range_holds_what_starts_with_it() {
        let range = KeyRange::prefix(b"a\xff");
        assert!(range.contains(b"a\xff") && range.contains(b"a\xff\xff") && !range.contains(b"b"));
        assert_eq!(range.end.as_deref(), Some(&b"b"[..]));
        assert_eq!(KeyRange::prefix(b"\xff\xff").end, None);
        let rest = KeyRange::prefix(b"a").after(b"ab");
        assert!(!rest.contains(b"ab") && rest.contains(b"ab\0") && rest.contains(b"az"));
        assert_eq!(KeyRange::prefix(b"b").after(b"a"), KeyRange::prefix(b"b"), "a cursor before the range");
        assert!(KeyRange::prefix(b"a").from(b"ab").contains(b"ab"));
        assert!(KeyRange::between(b"b", b"a").is_empty());
    }

    #[test]
    fn bounds_count_conditions_and_writes() {
        let write = |i: u8| (vec![i], Some(vec![0; 10]));
        let mut batch = Batch { conditions: vec![], writes: (0..128).map(write).collect() };
        assert!(batch.check_bounds().is_ok());
        batch.conditions.push(Condition::Absent(b"x".to_vec()));
        assert!(matches!(batch.check_bounds(), Err(MetaStoreError::BatchTooLarge { ops: 129, .. })));
        let big = Batch { conditions: vec![], writes: vec![(vec![1], Some(vec![0; BATCH_BYTES_MAX]))] };
        assert!(big.check_bounds().is_err());
    }
}
