//! Connections to datanodes, shared by whoever has something to ask of them.
//!
//! One actor owns the links to all peers: it dials when a link is first needed, shares a link among requests,
//! opens another one when the present ones are busy, and refuses quickly for a moment after a peer could not be
//! reached, so that work does not pile up behind a dead node. The bytes themselves do not pass through it.
//!
//! A datanode has one for the chunks that it forwards and fetches, a coordinator one for what it has datanodes do. A link
//! that nobody uses is closed by this end, which opened it, before the other does.

mod actor;
mod messages;
mod state;

pub use actor::{Links, LinksArgs};
pub use messages::{LinkRequest, LinksMsg, link};
pub use state::PeerLimits;
