//! What `--dry-run` asks of the cluster: whether it would refuse a step as things stand.
//!
//! The rules are those of the coordinator, in its order. What others change before the step is really taken, and what
//! earlier steps of the same command would have changed, is not known here.

use dfs_wire::id::VersionId;
use dfs_wire::message::metadata::{EntryKind, FileStat, Precondition};
use dfs_wire::path::DfsPath;

use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};
use crate::output::text::plain;
use crate::paths::walk::Walk;
use dfs_client::{Client, StatusCode};

/// Whether a directory could be made.
///
/// # Errors
/// What the cluster would answer.
pub(crate) async fn mkdir(client: &Client, path: &DfsPath, parents: bool) -> Outcome {
    match look(client, path, parents).await? {
        Some(stat) if parents && stat.kind == EntryKind::Directory => Ok(()),
        Some(_) => Err(exists(path)),
        None => Ok(()),
    }
}

/// Whether a file could be stored.
///
/// # Errors
/// What the cluster would answer.
pub(crate) async fn put(
    client: &Client,
    path: &DfsPath,
    parents: bool,
    precondition: Precondition,
) -> Outcome {
    let there = look(client, path, parents).await?;
    may_put(path, there.as_ref(), precondition)
}

/// Whether something could be brought back to exactly `path`.
///
/// # Errors
/// What the cluster would answer.
pub(crate) async fn undelete(client: &Client, path: &DfsPath) -> Outcome {
    match look(client, path, false).await? {
        Some(_) => Err(exists(path)),
        None => Ok(()),
    }
}

/// Whether something could be moved to exactly `to`.
///
/// # Errors
/// What the cluster would answer.
pub(crate) async fn rename(client: &Client, from: &DfsPath, to: &DfsPath, replace: bool) -> Outcome {
    let source = client.stat(from).await?;
    if from == to {
        return Ok(());
    }
    let Some(target) = look(client, to, false).await? else { return Ok(()) };
    let both = source.kind == EntryKind::Directory && target.kind == EntryKind::Directory;
    let empty = !both || is_empty(client, to).await?;
    may_replace(source.kind, &target, empty, replace)
}

/// Whether something could be deleted.
///
/// # Errors
/// What the cluster would answer.
pub(crate) async fn delete(
    client: &Client,
    path: &DfsPath,
    recursive: bool,
    if_match: Option<VersionId>,
) -> Outcome {
    let stat = client.stat(path).await?;
    if let Some(wanted) = if_match {
        may_match(&stat, wanted)?;
    }
    if stat.kind == EntryKind::Directory && !recursive && !is_empty(client, path).await? {
        return Err(not_empty(path));
    }
    Ok(())
}

/// What is at a path; if nothing is, its directory must be there, or be made on the way.
async fn look(client: &Client, path: &DfsPath, parents: bool) -> Outcome<Option<FileStat>> {
    match (client.stat(path).await, path.parent()) {
        (Ok(stat), _) => Ok(Some(stat)),
        (Err(e), Some(parent)) if e.status_code() == Some(StatusCode::NotFound) => {
            if !parents {
                client.stat(&parent).await?;
            }
            Ok(None)
        }
        (Err(e), _) => Err(e.into()),
    }
}

async fn is_empty(client: &Client, directory: &DfsPath) -> Outcome<bool> {
    Ok(Walk::new(client, directory, false).next().await?.is_none())
}

fn may_put(path: &DfsPath, there: Option<&FileStat>, precondition: Precondition) -> Outcome {
    let shown = plain(path.as_str());
    match (there, precondition) {
        (Some(stat), _) if stat.kind == EntryKind::Directory => {
            Err(refused("IsADirectory", format!("{shown} is a directory")))
        }
        (Some(_), Precondition::Absent) => {
            Err(refused("PreconditionFailed", format!("{shown} exists already")))
        }
        (Some(stat), Precondition::Match(wanted)) => may_match(stat, wanted),
        (None, Precondition::Match(wanted)) => {
            let message = format!("{shown} does not exist, wanted version {wanted}");
            Err(refused("PreconditionFailed", message))
        }
        _ => Ok(()),
    }
}

/// As POSIX `rename` has it.
fn may_replace(source: EntryKind, target: &FileStat, empty: bool, replace: bool) -> Outcome {
    let (to, shown) = (&target.path, plain(target.path.as_str()));
    match (source, target.kind) {
        _ if !replace => Err(exists(to)),
        (EntryKind::File, EntryKind::Directory) => {
            Err(refused("IsADirectory", format!("{shown} is a directory")))
        }
        (EntryKind::Directory, EntryKind::File) => {
            Err(refused("NotADirectory", format!("{shown} is not a directory")))
        }
        (EntryKind::Directory, EntryKind::Directory) if !empty => Err(not_empty(to)),
        _ => Ok(()),
    }
}

fn may_match(stat: &FileStat, wanted: VersionId) -> Outcome {
    let shown = plain(stat.path.as_str());
    match stat.kind {
        EntryKind::Directory => {
            Err(refused("PreconditionFailed", format!("{shown} is a directory and has no version")))
        }
        EntryKind::File if stat.version != wanted => {
            let message = format!("{shown} has version {}, not {wanted}", stat.version);
            Err(refused("PreconditionFailed", message))
        }
        EntryKind::File => Ok(()),
    }
}

fn refused(code: &'static str, message: String) -> Failure {
    Failure::new(Exit::Precondition, code, message)
}

fn exists(path: &DfsPath) -> Failure {
    refused("AlreadyExists", format!("{} exists already", plain(path.as_str())))
}

fn not_empty(path: &DfsPath) -> Failure {
    refused("DirectoryNotEmpty", format!("directory {} is not empty", plain(path.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::views::tests::file;

    fn said(outcome: Outcome) -> &'static str {
        outcome.map_or_else(|failure| failure.code, |()| "ok")
    }

    #[test]
    fn a_file_is_stored_where_the_coordinator_would_let_it() {
        let there = file("/f", 1);
        let directory = FileStat { kind: EntryKind::Directory, ..there.clone() };
        let put =
            |there: Option<&FileStat>, precondition| said(may_put(&file("/f", 1).path, there, precondition));
        let (this, other) = (Precondition::Match(there.version), Precondition::Match(VersionId(1)));
        assert_eq!(put(None, Precondition::Any), "ok");
        assert_eq!(put(None, Precondition::Absent), "ok");
        assert_eq!(put(None, this), "PreconditionFailed");
        assert_eq!(put(Some(&there), Precondition::Any), "ok");
        assert_eq!(put(Some(&there), Precondition::Absent), "PreconditionFailed");
        assert_eq!(put(Some(&there), this), "ok");
        assert_eq!(put(Some(&there), other), "PreconditionFailed");
        assert_eq!(put(Some(&directory), Precondition::Any), "IsADirectory");
    }

    #[test]
    fn a_target_is_replaced_as_posix_rename_does() {
        use EntryKind::{Directory, File};
        let target = |kind| FileStat { kind, ..file("/t", 1) };
        let moved = |source, there, empty, replace| said(may_replace(source, &target(there), empty, replace));
        assert_eq!(moved(File, File, true, true), "ok");
        assert_eq!(moved(File, File, true, false), "AlreadyExists");
        assert_eq!(moved(File, Directory, true, true), "IsADirectory");
        assert_eq!(moved(Directory, File, true, true), "NotADirectory");
        assert_eq!(moved(Directory, Directory, true, true), "ok");
        assert_eq!(moved(Directory, Directory, false, true), "DirectoryNotEmpty");
    }
}
