//! The only place that knows what the bytes on the network mean.
//!
#![doc = include_str!("../PROTOCOL.md")]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

pub mod auth;
pub mod bugs;
pub mod codec;
pub mod credit;
pub mod frame;
pub mod handshake;
pub mod id;
pub mod identity;
pub mod limits;
pub mod link;
pub mod message;
pub mod path;
pub mod secret;
pub mod slab;
pub mod status;
pub mod tls;
pub mod units;
pub mod version;

/// Re-exported so that users of the protocol need no dependency for its payload type.
pub use bytes::Bytes;
