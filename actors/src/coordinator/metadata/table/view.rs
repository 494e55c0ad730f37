//! Typed reading, the same over a committed snapshot and over a transaction in progress.

use super::error::MetaError;
use super::format::{Record, decode};
use super::store::{KeyRange, MetadataSnapshot, Pair};

/// Something that answers for keys.
pub trait View {
    /// The value of `key`.
    ///
    /// # Errors
    /// Of the store.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, MetaError>;

    /// The first pairs of `range`, at most `limit`.
    ///
    /// # Errors
    /// Of the store.
    fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<Pair>, MetaError>;

    /// The record under `key`.
    ///
    /// # Errors
    /// Of the store, or [`MetaError::Damaged`].
    fn load<T: Record>(&self, key: &[u8]) -> Result<Option<T>, MetaError>
    where
        Self: Sized,
    {
        self.get(key)?.map(|value| decode(key, &value)).transpose()
    }

    /// The record under `key`, which must be there because another record says so.
    ///
    /// # Errors
    /// As [`Self::load`]; a missing record is damage.
    fn require<T: Record>(&self, key: &[u8]) -> Result<T, MetaError>
    where
        Self: Sized,
    {
        self.load(key)?.ok_or_else(|| MetaError::damaged(key, "it is missing"))
    }

    /// Whether anything lies in `range`.
    ///
    /// # Errors
    /// Of the store.
    fn any(&self, range: &KeyRange) -> Result<bool, MetaError> {
        Ok(!self.scan(range, 1)?.is_empty())
    }
}

/// A committed state, for operations that only read.
pub struct Committed<'a>(pub &'a dyn MetadataSnapshot);

impl View for Committed<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, MetaError> {
        Ok(self.0.get(key)?)
    }

    fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<Pair>, MetaError> {
        Ok(self.0.scan(range, limit)?)
    }
}
