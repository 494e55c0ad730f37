//! The dfs-node binary: one or more nodes of a cluster in one process.

use std::process::ExitCode;

use clap::Parser as _;
use dfs_node::{cli::Cli, process, roles};

fn main() -> ExitCode {
    process::run(|| Cli::parse().begin(std::env::vars()), roles::start)
}
