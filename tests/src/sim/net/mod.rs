//! The network: connections as pairs of pipes, each piece of bytes on its way for as long as the seed says.
//!
//! ```text
//! writer -- poll_write --> [ pieces, each with the time at which it is there ] -- poll_read, once it is time --> reader
//!               ^ full: CAPACITY bytes on their way                |
//!               '--------------- woken when read ------------------'
//! ```
//! What can go wrong with a connection follows TCP: what is sent into a partition is kept and arrives after it (or the
//! connection is given up by then); a process that ends resets its connections; a machine that loses power says nothing,
//! and resets them once it is up again and hears from them. Bytes of one connection never overtake each other; those of
//! two do.

mod about;
mod half;
mod lines;
mod port;
mod tap;

pub(super) use lines::{LATENCY_MIN_US, Presence, SimNet, Weather};
pub(super) use port::Port;
