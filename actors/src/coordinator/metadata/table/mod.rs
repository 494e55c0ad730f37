//! The ground floor: an ordered map of bytes, what its keys are, and changing it in transactions.

pub mod error;
pub mod format;
pub mod keys;
#[cfg(any(test, feature = "testing"))]
pub mod memory;
pub mod store;
pub mod totals;
pub mod txn;
pub mod view;
