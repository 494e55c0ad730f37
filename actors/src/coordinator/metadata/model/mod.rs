//! The records that lie in the tables, and the rules that hold between them.

pub mod census;
pub mod chunks;
pub mod copies;
mod formats;
pub mod older;
pub mod outcome;
pub mod records;
pub mod time;
pub mod tree;
pub mod worth;
