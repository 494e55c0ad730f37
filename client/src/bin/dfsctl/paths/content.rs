//! The bytes of a file of the cluster: which ones a range means, and what to do when they cannot be had.

use std::ops::Range;

use dfs_wire::path::DfsPath;

use crate::args::ByteRange;
use crate::connect::invocation::Invocation;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};
use crate::output::text::plain;
use crate::paths::remote::{RemoteArg, expand_all};
use dfs_client::{Client, GetOptions};

/// The bytes that a range of a file means.
///
/// # Errors
/// If the file is not there, or no byte of the range in it.
pub(crate) async fn bytes_of(
    client: &Client,
    path: &DfsPath,
    range: Option<ByteRange>,
) -> Outcome<Option<Range<u64>>> {
    match range {
        None => Ok(None),
        Some(range) => {
            let within = range.within(client.stat(path).await?.size);
            let refused = |text| Failure::usage(format!("{}: {text}", plain(path.as_str())));
            within.map(Some).map_err(refused)
        }
    }
}

/// What to do about a failed read.
pub(crate) fn hinted(error: dfs_client::Error) -> Failure {
    let failure = Failure::from(error);
    if failure.code == "IsADirectory" { directory_hint(failure) } else { failure }
}

/// What to do about a directory that was to be printed.
pub(crate) fn directory_hint(failure: Failure) -> Failure {
    failure.hint("'dfsctl ls PATH' lists it, 'dfsctl get -r PATH DIRECTORY' fetches it")
}

/// Writes files to standard output, one after the other. One that cannot be read does not keep back the others.
///
/// # Errors
/// If one cannot be read, or standard output not be written.
pub(crate) async fn print_all(
    invocation: &Invocation,
    client: &Client,
    args: &[RemoteArg],
    literal: bool,
    range: Option<ByteRange>,
) -> Outcome<Exit> {
    let (paths, mut tally) = expand_all(invocation, client, args, literal).await;
    for path in &paths {
        tally.add(print(client, path, range).await);
        if tally.unread() {
            break;
        }
    }
    tally.finish("files")?;
    Ok(Exit::Ok)
}

/// Writes a file, or a range of it, to standard output.
async fn print(client: &Client, path: &DfsPath, range: Option<ByteRange>) -> Outcome {
    let mut options = GetOptions::new();
    options.range = bytes_of(client, path, range).await?;
    client.get_to_writer(path, &mut tokio::io::stdout(), options).await.map_err(hinted)?;
    Ok(())
}
