//! A whole cluster in one thread: a coordinator, datanodes and clients, over a network and disks in memory.
//!
//! ```text
//!  plan.rs     what is to be run, as a command     faults.rs   what is done to a world, and when
//!  run.rs      plan -> world -> verdict            sweep.rs    many runs on several threads
//!  shrink.rs   the shortest plan that still fails  enumerate   a crash at each step of script.rs; steps.rs names them
//!  world.rs    hosts take turns, tick by tick      client.rs   what clients do, and what they saw
//!  host.rs     a process: a runtime of its own     node.rs     what runs in it: the real trees, store and engine
//!  net         connections                         disk        media, and what power cuts leave of them
//!  trace.rs    every event, and the hash of all    explain     a run as a timeline
//!  trouble.rs  where something was wrong, and when proof.rs    what disks durably hold
//! ```
//! What all of them do follows from a seed: real actors, the real SDK, the real chunk store and the real metadata engine,
//! whose doors to the world (`dfs_actors::env::Env`, `dfs_client::Env`, `DiskIo`, redb's backend) lead into this one. Two runs
//! are the same if the hashes of their traces are.

mod catalogue;
mod client;
mod disk;
pub mod enumerate;
mod explain;
mod fate;
mod faults;
mod host;
mod id;
mod mended;
mod net;
mod node;
mod plan;
mod proof;
mod run;
mod script;
mod shrink;
mod steps;
mod sweep;
mod trace;
mod trouble;
mod world;

pub use catalogue::faults_help;
pub use explain::{Page, View};
pub use fate::{Crash, Place};
pub use faults::{Fault, Planned, parse, text};
pub use id::HostId;
pub use plan::{CLIENTS, CLIENTS_MAX, Life, NODES, NODES_MAX, NODES_MIN, OPS, OPS_MAX, Plan, plans};
pub use run::{Report, run, with_trees};
pub use shrink::{kind, shrink};
pub use steps::Step;
pub use sweep::{Tally, run_apart, run_apart_after, sweep, sweep_alone};
pub use trace::{Event, Trace, What};

/// What this process has allocated: of many runs nothing is to be left.
#[global_allocator]
static HEAP: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;
