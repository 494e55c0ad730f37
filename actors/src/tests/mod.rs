//! What no single room can be held to: both roles together, and the bans of the crate.

mod bans;
mod whole;
