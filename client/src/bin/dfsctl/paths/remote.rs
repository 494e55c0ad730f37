//! Remote paths as a user writes them: `/a/b` or `dfs:/a/b`, perhaps with a pattern, perhaps with a final slash.

use dfs_wire::message::metadata::EntryKind;
use dfs_wire::path::DfsPath;

use crate::connect::invocation::Invocation;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome, Tally};
use crate::output::text::plain;
use crate::paths::glob::{self, Pattern};
use crate::paths::look::{absent_is_none, not_a_directory};
use dfs_client::Client;

/// What a user wrote for a remote path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemoteArg {
    /// The path without `dfs:`.
    pub text: String,
    /// It ended with a slash: only a directory will do.
    pub directory: bool,
}

impl RemoteArg {
    /// Whether `text` can only be a remote path.
    pub(crate) fn is_marked(text: &str) -> bool {
        text.starts_with("dfs:")
    }

    /// Whether `text` may be a remote path.
    pub(crate) fn is_remote(text: &str) -> bool {
        Self::is_marked(text) || text.starts_with('/')
    }

    /// Reads a remote path.
    ///
    /// # Errors
    /// If it starts neither with `/` nor with `dfs:/`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let path = text.strip_prefix("dfs:").unwrap_or(text);
        if !path.starts_with('/') {
            return Err(format!(
                "a path of the cluster begins with a slash: write {}",
                plain(&absolute(path))
            ));
        }
        Ok(Self { text: path.to_owned(), directory: path.len() > 1 && path.ends_with('/') })
    }

    /// The path as it is written, patterns not looked at.
    ///
    /// # Errors
    /// If it breaks a rule of paths.
    pub(crate) fn path(&self) -> Outcome<DfsPath> {
        DfsPath::parse(&self.text).map_err(|e| bad_path(&e.to_string()))
    }

    /// The paths it stands for. A name that exists is taken as it is written, even if it looks like a pattern: what a
    /// script was given by `find` means that file and no other. Else a pattern stands for all that it matches.
    ///
    /// # Errors
    /// If a pattern matches nothing, a final slash follows a file, or the cluster cannot be asked.
    async fn expand(&self, client: &Client, literal: bool) -> Outcome<ArgMeaning> {
        let pattern = !literal && glob::is_pattern(&self.text);
        let path = match self.path() {
            // A pattern may be longer than a path, or escape what no name holds.
            Err(failure) if !pattern => return Err(failure),
            path => path.ok(),
        };
        if let Some(path) = path {
            let there =
                if pattern || self.directory { absent_is_none(client.stat(&path).await)? } else { None };
            match there.map(|stat| stat.kind) {
                Some(EntryKind::File) if self.directory => return Err(not_a_directory(&path)),
                None if pattern => {}
                _ => return Ok(ArgMeaning::Path(path)),
            }
        }
        let pattern = Pattern::parse(&self.text)?;
        let mut found = pattern.find(client).await?;
        found.retain(|stat| !self.directory || stat.kind == EntryKind::Directory);
        match found.is_empty() {
            true => Err(Failure::no_match(&self.text)),
            false => Ok(ArgMeaning::Matches(pattern, found.into_iter().map(|stat| stat.path).collect())),
        }
    }
}

/// The path that was probably meant by a relative one: there is no current directory in the cluster.
fn absolute(path: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    format!("/{}", names.join("/"))
}

/// What one argument stands for.
enum ArgMeaning {
    Path(DfsPath),
    Matches(Pattern, Vec<DfsPath>),
}

/// What several arguments stand for.
#[derive(Debug, Default)]
pub(crate) struct Expanded {
    /// The paths, each once, in the order written.
    pub paths: Vec<DfsPath>,
    /// The patterns among the arguments that matched something.
    pub patterns: Vec<Pattern>,
    /// Why some arguments stand for nothing.
    pub failed: Vec<Failure>,
}

/// The paths that several arguments stand for; one that stands for nothing does not keep the others from being done.
pub(crate) async fn expand_each(client: &Client, args: &[RemoteArg], literal: bool) -> Expanded {
    let mut expanded = Expanded::default();
    let mut seen = std::collections::BTreeSet::new();
    for arg in args {
        let paths = match arg.expand(client, literal).await {
            Ok(ArgMeaning::Path(path)) => vec![path],
            Ok(ArgMeaning::Matches(pattern, paths)) => {
                expanded.patterns.push(pattern);
                paths
            }
            Err(failure) => {
                expanded.failed.push(failure);
                continue;
            }
        };
        expanded.paths.extend(paths.into_iter().filter(|path| seen.insert(path.clone())));
    }
    expanded
}

/// As [`expand_each`], with a tally that has counted the arguments that stand for nothing and told of them.
pub(crate) async fn expand_all(
    invocation: &Invocation,
    client: &Client,
    args: &[RemoteArg],
    literal: bool,
) -> (Vec<DfsPath>, Tally) {
    let Expanded { paths, failed, .. } = expand_each(client, args, literal).await;
    let mut tally = Tally::of(invocation.output, args.len().max(paths.len()));
    for failure in failed {
        tally.fail(failure);
    }
    (paths, tally)
}

/// `path` as seen from `directory`.
pub(crate) fn below<'a>(directory: &DfsPath, path: &'a DfsPath) -> &'a str {
    let rest = path.as_str().strip_prefix(directory.as_str()).unwrap_or(path.as_str());
    rest.trim_start_matches('/')
}

/// A failure about a path that breaks a rule.
pub(crate) fn bad_path(why: &str) -> Failure {
    Failure::new(Exit::Usage, "InvalidPath", why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remote_paths_are_told_from_local_ones() {
        let parse = |text| RemoteArg::parse(text).map(|arg| (arg.text, arg.directory));
        assert_eq!(parse("/a/b"), Ok(("/a/b".into(), false)));
        assert_eq!(parse("dfs:/a/"), Ok(("/a/".into(), true)));
        assert_eq!(parse("/"), Ok(("/".into(), false)));
        for bad in ["a", "./a", "dfs:a", "dfs:", "", "-"] {
            assert!(parse(bad).is_err(), "{bad} passed");
        }
        assert!(RemoteArg::parse("/../x").unwrap().path().is_err());
    }

    #[test]
    fn a_relative_path_is_refused_once_with_the_one_that_works() {
        let said = |text| RemoteArg::parse(text).unwrap_err();
        let right = |path: &str| format!("a path of the cluster begins with a slash: write {path}");
        for (wrong, path) in [
            ("./data", "/data"),
            ("data", "/data"),
            ("../a//./b/", "/a/b"),
            ("dfs:a", "/a"),
            (".", "/"),
            ("", "/"),
        ] {
            assert_eq!(said(wrong), right(path), "{wrong}");
            assert!(RemoteArg::parse(path).is_ok_and(|arg| arg.path().is_ok()));
        }
    }
}
