//! Where new chunks go, and why.
//!
//! ```text
//!   chunks of a file --> nodes that can take them --> two drawn by free space --> the less loaded one, for each copy
//!                          minus what was promised                                  |
//!                            ^                                                      v
//!                            +----- promises, until the second report after <-- all chunks placed, or none
//! ```
//!
//! `state` decides, from numbers alone; `actor` owns what was promised since the nodes last reported.

mod actor;
mod messages;
mod state;

pub use actor::{Placement, PlacementArgs};
pub use messages::PlacementMsg;
pub use state::{NO_SPACE_HINT, PlaceChunks, Placed, not_writable};
