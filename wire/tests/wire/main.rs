//! What the wire promises, checked from outside the crate.

mod document;
mod generate;
mod golden;
mod handshake;
mod recorded;
mod round_trips;
mod schema;
