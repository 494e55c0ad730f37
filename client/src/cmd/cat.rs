//! `dfsctl cat`: prints files.

use dfs_wire::path::DfsPath;

use super::args::ByteRange;
use super::context::Context;
use super::exit::Exit;
use super::failure::{Failure, Outcome};
use super::remote::{RemoteArg, expand_all};
use crate::{Client, GetOptions};

/// Prints files
///
/// Every byte is verified before it is printed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files or patterns
    #[arg(required = true, value_name = "PATH", value_parser = RemoteArg::parse)]
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
pub async fn run(context: &Context, args: Args) -> Outcome<Exit> {
    let client = context.client().await?;
    for path in expand_all(&client, &args.paths, args.literal).await? {
        print(&client, &path, args.range).await?;
    }
    Ok(Exit::Ok)
}

/// Writes a file, or a range of it, to standard output.
///
/// # Errors
/// If it cannot be read, or standard output not be written.
pub async fn print(client: &Client, path: &DfsPath, range: Option<ByteRange>) -> Outcome {
    let options = GetOptions { range: bytes_of(client, path, range).await?, ..GetOptions::default() };
    client.get_to_writer(path, &mut tokio::io::stdout(), options).await.map_err(hinted)?;
    Ok(())
}

/// The bytes that a range of a file means.
///
/// # Errors
/// If the file is not there.
pub async fn bytes_of(
    client: &Client,
    path: &DfsPath,
    range: Option<ByteRange>,
) -> Outcome<Option<std::ops::Range<u64>>> {
    match range {
        None => Ok(None),
        Some(range) => Ok(Some(range.within(client.stat(path).await?.size))),
    }
}

/// What to do about a failed read.
pub fn hinted(error: crate::Error) -> Failure {
    let failure = Failure::from(error);
    match failure.code {
        "IsADirectory" => failure.hint("'dfsctl ls' lists it, 'dfsctl get -r' fetches it"),
        _ => failure,
    }
}
