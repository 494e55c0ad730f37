//! The test harness: clusters of real processes on loopback, and the tools to disturb and watch them.
//!
//! ```no_run
//! # async fn example() {
//! use dfs_tests::{Cluster, Options};
//!
//! let cluster = Cluster::start(3, Options::default());
//! let client = cluster.client().await;
//! cluster.datanode(0).kill();
//! cluster.dfsctl(&["ls", "/"]).run().ok();
//! # }
//! ```
//!
//! What a suite may rely on:
//! - the binaries are built (once per run) in the profile of the suite; a fresh clone needs nothing else;
//! - every process is ended by its id when its cluster goes out of scope, panic or not; data lives in a temporary
//!   directory that goes with it;
//! - a cluster whose logs hold an `ERROR` or a panic that the test did not announce fails the test at its end;
//! - random schedules print their seed; `DFS_TEST_SEED` replays it;
//! - the bytes of every file are a function of a key and an offset, so that any of them can be checked anywhere.

mod binaries;
mod certificates;
pub mod chaos;
mod cluster;
mod content;
pub mod data;
mod dfsctl;
mod disk;
pub mod docker;
pub mod history;
mod line;
mod logs;
mod node;
mod peer;
mod ports;
mod proc_fs;
mod proxy;
mod rng;
#[cfg(feature = "sim")]
pub mod sim;
mod wait;

pub use binaries::{Binaries, Variant, binaries, example};
pub use certificates::{TestAuthority, identity};
pub use cluster::{Cluster, Options, Trust};
pub use content::{Content, Hooked};
pub use dfsctl::{Dfsctl, Said};
pub use disk::{Frozen, LoopDisk, MayMount, Mount, WITHOUT_MOUNTS, may_mount};
pub use line::{SlowLine, in_a_network_of_its_own};
pub use logs::LogWatch;
pub use node::{NodeHandle, chunk_files_below};
pub use peer::{PeerLink, ScriptedPeer, client_hello};
pub use ports::free_port;
pub use proc_fs::{
    MemoryWatch, cpu_seconds, cpu_seconds_of_children, open_files, resident_bytes, written_bytes,
};
pub use proxy::{Fault, FaultProxy};
pub use rng::Rng;
pub use wait::{PATIENCE, eventually, path, wait_until};
