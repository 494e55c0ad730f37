//! A look at a path of the cluster, and what is said of what does not fit there.

use dfs_wire::message::metadata::FileStat;
use dfs_wire::path::DfsPath;

use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};
use crate::output::text::plain;
use dfs_client::StatusCode;

/// What is at a path, or nothing.
///
/// # Errors
/// If the cluster cannot be asked.
pub(crate) fn absent_is_none(found: Result<FileStat, dfs_client::Error>) -> Outcome<Option<FileStat>> {
    match found {
        Ok(stat) => Ok(Some(stat)),
        Err(e) if matches!(e.status_code(), Some(StatusCode::NotFound | StatusCode::NotADirectory)) => {
            Ok(None)
        }
        Err(e) => Err(e.into()),
    }
}

/// A failure about a directory where only a file will do.
pub(crate) fn is_a_directory(path: &DfsPath) -> Failure {
    let message = format!("'{}' is a directory", plain(path.as_str()));
    Failure::new(Exit::Precondition, "IsADirectory", message)
}

/// A failure about a file where only a directory will do.
pub(crate) fn not_a_directory(path: &DfsPath) -> Failure {
    let message = format!("'{}' is a file, not a directory", plain(path.as_str()));
    Failure::new(Exit::Precondition, "NotADirectory", message)
}
