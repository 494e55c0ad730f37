//! The dfs-node binary: one or more nodes of a cluster in one process.

use std::process::ExitCode;

use dfs_node::{cli::Cli, process, roles};

/// The environment, as text: what is none cannot be a name or a value of ours, and must not keep a node from starting.
fn environment() -> impl Iterator<Item = (String, String)> {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(move |(name, value)| (text(name), text(value)))
}

const _: () =
    assert!(!dfs_wire::bugs::PLANTABLE, "the feature `bugs` is for tests: no binary is built with it");

fn main() -> ExitCode {
    process::run(|| Cli::read(std::env::args_os())?.begin(environment()), roles::start)
}
