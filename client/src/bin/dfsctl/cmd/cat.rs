//! `dfsctl cat`: prints files.

use crate::args::ByteRange;
use crate::complete::remote_paths;
use crate::connect::invocation::Invocation;
use crate::output::exit::Exit;
use crate::output::failure::Outcome;
use crate::paths::content::print_all;
use crate::paths::remote::RemoteArg;

/// Prints files
///
/// Every byte is verified before it is printed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files or patterns
    #[arg(required = true, value_name = "PATH", value_parser = RemoteArg::parse, add = remote_paths())]
    paths: Vec<RemoteArg>,
    /// Only these bytes: A-B (both included, from 0), A- or -N (the last N)
    #[arg(long, value_name = "RANGE", value_parser = ByteRange::parse, allow_hyphen_values = true)]
    range: Option<ByteRange>,
    /// Take paths as they are written, without patterns
    #[arg(long)]
    literal: bool,
}

/// Runs `dfsctl cat`.
///
/// # Errors
/// If a file is not there or cannot be read.
pub(crate) async fn run(context: &Invocation, args: Args) -> Outcome<Exit> {
    let client = context.client().await?;
    print_all(context, &client, &args.paths, args.literal, args.range).await
}
