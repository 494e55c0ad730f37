//! The behaviour of a dfs node: what its actors are, what they decide and how they are kept running.
//!
//! ```text
//! root                   of a coordinator (rest for one, outer intensity: escalation ends the process)
//! +- coordinator         (one for one)
//! |  +- metadata-writer  every change, in groups
//! |  +- membership       the register of nodes
//! |  +- placement        where new chunks go
//! |  +- gc               what nobody needs any more is deleted
//! |  +- census           what all chunks are worth
//! |  +- errands          links to datanodes, for what they are to do
//! |  +- repair           makes up copies that are missing, and drops those that are too many
//! |  +- jobs             long work that operators ask for: how far it is, and what repair is to do for it
//! |  +- events           what happened, and since when something needs attention
//! +- transport           (one for one)
//!    +- sessions         nursery: one session for each connection
//!    +- listener         the socket
//!
//! root                   of a datanode (the same)
//! +- datanode            (one for one)
//! |  +- control          the connection to the coordinator
//! |  +- replication      links to other datanodes
//! |  +- uploads          nursery: one streaming session for each upload from a client
//! |  +- copies           nursery: the same for each copy from a primary
//! +- transport           (one for one)
//! |  +- sessions         nursery: one session for each connection
//! |  +- listener         the socket
//! +- agents              (one for one)
//!    +- heartbeat        registration, heartbeats, tombstones
//!    +- inventory        what the node has
//!    +- quarantine       empties it
//!    +- scrub            reads everything again, within its period
//! ```
//!
//! Rules of this crate:
//! - Actors decide, tasks move bytes: a session owns the tasks of its streams, and no frame passes through a mailbox.
//! - A decision of any weight is a pure function or state machine (event and time in, effects out) in a `state.rs` or
//!   `policy.rs`, and its actor a thin shell.
//! - Time, network, randomness and disks come in through the traits of [`mod@env`] and [`datanode::chunk_store`]. Absent on purpose:
//!   sockets, the file system, the system clock, environment variables, process exit, global state.
//! - No behaviour depends on the iteration order of a hash map: the simulator replays a run from its seed.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "tests move the clock and wait; the build without them is held to the bans"
    )
)]

pub mod budgets;
pub mod coordinator;
pub mod datanode;
pub mod env;
pub mod peer;
pub mod supervisor;
pub mod watch;

#[cfg(test)]
mod tests;
