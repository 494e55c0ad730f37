//! Chunks on their way out: who may be sent to, in what turn, and the sending itself.

mod places;
mod serve;

pub(super) use places::ReadPlaces;
pub(super) use serve::{Reads, in_time};
