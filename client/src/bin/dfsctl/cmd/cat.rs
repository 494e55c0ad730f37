//! `dfsctl cat`: prints files.

use crate::args::ByteRange;
use crate::connect::invocation::Invocation;
use crate::operands::Operands;
use crate::output::exit::Exit;
use crate::output::failure::Outcome;
use crate::paths::content::print_all;

/// Prints files
///
/// Every byte is verified before it is printed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these bytes: A-B (both included, from 0), A- or -N (the last N)
    #[arg(long, value_name = "RANGE", value_parser = ByteRange::parse, allow_hyphen_values = true)]
    range: Option<ByteRange>,
    #[command(flatten)]
    operands: Operands,
}

/// Runs `dfsctl cat`.
///
/// # Errors
/// If a file is not there or cannot be read.
pub(crate) async fn run(invocation: &Invocation, args: Args) -> Outcome<Exit> {
    let client = invocation.client().await?;
    print_all(invocation, &client, &args.operands.paths, args.operands.literal, args.range).await
}
