//! A development cluster as it is on this machine: its state in `cluster.json`, its nodes, their processes.

pub(crate) mod file;
pub(crate) mod node;
pub(crate) mod process;
pub(crate) mod state;
