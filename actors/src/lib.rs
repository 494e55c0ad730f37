//! The behaviour of a dfs node: what its actors are, what they decide and how they are kept running.
//!
//! ```text
//! root (one for one, outer intensity: escalation ends the process)
//! ├── transport      listener, and a nursery of connections: one session actor each
//! ├── coordinator    metadata writer and sessions, membership, placement, repair, balancer, garbage collection
//! ├── datanode       disks, streaming sessions, replication, heartbeat, inventory, orphans, scrub
//! └── observation    health, metrics, the actor tree
//! ```
//!
//! Rules of this crate:
//! - Actors decide, tasks move bytes: a session owns the tasks of its streams, and no frame passes through a mailbox.
//! - A decision of any weight is a pure function or state machine (event and time in, effects out) in a `state.rs` or
//!   `policy.rs`, and its actor a thin shell.
//! - Time, network, randomness and disks come in through the traits of [`mod@env`] and [`datanode::chunk_store`]. Absent on purpose:
//!   sockets, the file system, the system clock, environment variables, process exit, global state.
//! - No behaviour depends on the iteration order of a hash map: the simulator replays a run from its seed.

pub mod budgets;
pub mod coordinator;
pub mod datanode;
pub mod env;
pub mod peer;
pub mod supervisor;

#[cfg(test)]
mod tests;
