//! Where things go: the rules of POSIX `cp` and `mv` for a destination in the cluster.

use dfs_wire::message::metadata::EntryKind;
use dfs_wire::path::DfsPath;

use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};
use crate::output::text::plain;
use crate::paths::remote::{RemoteArg, bad_path};
use dfs_client::{Client, StatusCode};

/// Where things go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    /// Into this directory, under their own names.
    Into(DfsPath),
    /// Under exactly this path.
    Exactly(DfsPath),
}

impl Destination {
    /// The path for something called `name`.
    ///
    /// # Errors
    /// If the name is not one that a path may have.
    pub(crate) fn of(&self, name: &str) -> Outcome<DfsPath> {
        match self {
            Self::Exactly(path) => Ok(path.clone()),
            Self::Into(directory) => {
                directory.join(name).map_err(|e| bad_path(&format!("the name '{}': {e}", plain(name))))
            }
        }
    }
}

/// What a command line says about its destination.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    /// More than one source.
    pub several: bool,
    /// The destination is meant exactly (`-T`).
    pub exact: bool,
    /// A missing directory may be made.
    pub make: bool,
}

/// Decides where things go.
///
/// # Errors
/// If the destination does not fit what is asked for.
pub(crate) async fn decide(client: &Client, target: &RemoteArg, wish: Wish) -> Outcome<Destination> {
    let path = target.path()?;
    let kind = match client.stat(&path).await {
        Ok(stat) => Some(stat.kind),
        Err(e) if e.status_code() == Some(StatusCode::NotFound) => None,
        Err(e) => return Err(e.into()),
    };
    rule(path, kind, target.directory, wish)
}

/// The rules themselves.
fn rule(path: DfsPath, kind: Option<EntryKind>, slash: bool, wish: Wish) -> Outcome<Destination> {
    let shown = plain(path.as_str());
    let no_directory = |code, exit, what: &str| Failure::new(exit, code, format!("'{shown}' {what}"));
    match kind {
        _ if wish.exact && wish.several => {
            Err(Failure::usage("-T names one destination, but there are several sources"))
        }
        _ if wish.exact => Ok(Destination::Exactly(path)),
        Some(EntryKind::Directory) => Ok(Destination::Into(path)),
        Some(EntryKind::File) if wish.several => Err(no_directory(
            "NotADirectory",
            Exit::Precondition,
            "is a file, but several sources need a directory",
        )),
        Some(EntryKind::File) if slash => Err(no_directory("NotADirectory", Exit::Precondition, "is a file")),
        Some(EntryKind::File) => Ok(Destination::Exactly(path)),
        None if (slash || wish.several) && wish.make => Ok(Destination::Into(path)),
        None if slash || wish.several => {
            let hint = format!("make it first: dfsctl mkdir -p '{shown}'");
            Err(no_directory("NotFound", Exit::NotFound, "does not exist, but a directory is needed")
                .hint(hint))
        }
        None => Ok(Destination::Exactly(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(kind: Option<EntryKind>, slash: bool, several: bool, exact: bool, make: bool) -> String {
        let path = DfsPath::parse("/t").unwrap();
        match rule(path, kind, slash, Wish { several, exact, make }).and_then(|place| place.of("n")) {
            Ok(path) => path.to_string(),
            Err(failure) => failure.code.to_owned(),
        }
    }

    #[test]
    fn destinations_follow_cp() {
        let (file, directory) = (Some(EntryKind::File), Some(EntryKind::Directory));
        assert_eq!(said(directory, false, false, false, false), "/t/n");
        assert_eq!(said(directory, true, true, false, false), "/t/n");
        assert_eq!(said(directory, false, false, true, false), "/t");
        assert_eq!(said(file, false, false, false, false), "/t");
        assert_eq!(said(file, true, false, false, false), "NotADirectory");
        assert_eq!(said(file, false, true, false, false), "NotADirectory");
        assert_eq!(said(None, false, false, false, false), "/t");
        assert_eq!(said(None, true, false, false, false), "NotFound");
        assert_eq!(said(None, true, false, false, true), "/t/n");
        assert_eq!(said(None, false, true, false, false), "NotFound");
        assert_eq!(said(None, false, true, false, true), "/t/n");
        assert_eq!(said(None, false, true, true, true), "Usage");
    }
}
