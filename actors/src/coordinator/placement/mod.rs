//! Where new chunks go, and why.
//!
//! `state` decides, from numbers alone; `actor` owns what was promised since the nodes last reported.

mod actor;
mod messages;
mod state;

pub use actor::{Placement, PlacementArgs};
pub use messages::{PlaceChunks, PlacementMsg};
pub use state::{NO_SPACE_HINT, Placed, not_writable};
