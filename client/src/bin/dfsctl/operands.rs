//! Paths of the cluster on the command line, for the verbs that take several.

use dfs_wire::path::DfsPath;

use crate::complete::remote_paths;
use crate::connect::invocation::Invocation;
use crate::output::failure::Tally;
use crate::paths::remote::{RemoteArg, expand_all};
use dfs_client::Client;

/// Paths of the cluster. A verb that says something else of them, or does without, changes the argument.
#[derive(Debug, clap::Args)]
pub(crate) struct Operands {
    /// Files or patterns
    #[arg(required = true, value_name = "PATH", value_parser = RemoteArg::parse, add = remote_paths())]
    pub paths: Vec<RemoteArg>,
    /// Take paths as they are written, without patterns
    #[arg(long)]
    pub literal: bool,
}

impl Operands {
    /// All that it stands for, the root if nothing is named, with a tally that has counted what stands for nothing.
    pub(crate) async fn expand(&self, invocation: &Invocation, client: &Client) -> (Vec<DfsPath>, Tally) {
        let root = [RemoteArg { text: "/".to_owned(), directory: false }];
        let paths = if self.paths.is_empty() { &root[..] } else { &self.paths };
        expand_all(invocation, client, paths, self.literal).await
    }
}

/// Help of a verb's paths that begins at the root if none is named.
pub(crate) fn or_root(help: &'static str) -> impl FnOnce(clap::Arg) -> clap::Arg {
    move |paths| paths.required(false).help(help)
}

/// From where to where in the cluster.
#[derive(Debug, clap::Args)]
pub(crate) struct Route {
    /// Sources (paths or patterns), then the destination
    #[arg(required = true, num_args = 2.., value_name = "PATH", value_parser = RemoteArg::parse, add = remote_paths())]
    pub paths: Vec<RemoteArg>,
    /// Take the destination exactly, even if it is a directory
    #[arg(short = 'T', long)]
    pub no_target_directory: bool,
    /// Take paths as they are written, without patterns
    #[arg(long)]
    pub literal: bool,
}
