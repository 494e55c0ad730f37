//! What happened to the cluster, and since when something needs attention: kept, so that whoever comes later can read it.
//!
//! ```text
//!  state of nodes --+
//!  findings --------+--> state: what is news --> one write at a time: some events, and the book of what stands
//!  jobs, operators -+                             |
//!                                                 +--> published: the service shows findings with their age and their mutes
//! ```
//!
//! Events are for people. Nothing is decided by them, and where the metadata cannot be written the oldest of those that
//! wait are dropped and counted. A write whose outcome nobody knows is repeated, and may be there twice.

mod actor;
mod messages;
mod state;

pub(super) use actor::{BookReceiver, Events, EventsArgs, book_channel};
pub(crate) use messages::{EventsMsg, Happening};
