//! Where new chunks go, and why.
//!
//! [`state`] decides, from numbers alone; [`actor`] owns what was promised since the nodes last reported.

pub mod actor;
pub mod messages;
pub mod state;
