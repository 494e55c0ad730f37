//! The dfsctl binary: everything is in [`dfs_client::cmd`].

use std::process::ExitCode;

fn main() -> ExitCode {
    dfs_client::cmd::main()
}
