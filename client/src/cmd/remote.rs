//! Remote paths as a user writes them: `/a/b` or `dfs:/a/b`, perhaps with a pattern, perhaps with a final slash.

use dfs_wire::message::metadata::EntryKind;
use dfs_wire::path::DfsPath;

use super::failure::{Failure, Outcome};
use super::glob::{self, Pattern};
use super::output::text::plain;
use crate::Client;

/// What a user wrote for a remote path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteArg {
    /// Without `dfs:`.
    pub text: String,
    /// It ended with a slash: only a directory will do.
    pub directory: bool,
}

impl RemoteArg {
    /// Whether `text` can only be a remote path.
    pub fn is_marked(text: &str) -> bool {
        text.starts_with("dfs:")
    }

    /// Whether `text` may be a remote path.
    pub fn is_remote(text: &str) -> bool {
        Self::is_marked(text) || text.starts_with('/')
    }

    /// Reads a remote path.
    ///
    /// # Errors
    /// If it starts neither with `/` nor with `dfs:/`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let path = text.strip_prefix("dfs:").unwrap_or(text);
        if !path.starts_with('/') {
            let shown = plain(text);
            return Err(format!("'{shown}' is not a remote path: write /{} or dfs:/...", plain(path)));
        }
        Ok(Self { text: path.to_owned(), directory: path.len() > 1 && path.ends_with('/') })
    }

    /// The path as it is written, patterns not looked at.
    ///
    /// # Errors
    /// If it breaks a rule of paths.
    pub fn path(&self) -> Outcome<DfsPath> {
        DfsPath::parse(&self.text).map_err(|e| bad_path(&e.to_string()))
    }

    /// The paths it stands for: itself, or what its pattern matches.
    ///
    /// # Errors
    /// If a pattern matches nothing, or the cluster cannot be asked.
    pub async fn expand(&self, client: &Client, literal: bool) -> Outcome<Vec<DfsPath>> {
        if literal || !glob::is_pattern(&self.text) {
            return Ok(vec![self.path()?]);
        }
        let pattern = Pattern::parse(&self.text)?;
        let mut found = pattern.find(client).await?;
        found.retain(|stat| !self.directory || stat.kind == EntryKind::Directory);
        if !found.is_empty() {
            return Ok(found.into_iter().map(|stat| stat.path).collect());
        }
        // As in a shell, a pattern that matches nothing may be a name that merely looks like one.
        match self.path() {
            Ok(path) if client.stat(&path).await.is_ok() => Ok(vec![path]),
            _ => Err(Failure::no_match(&self.text)),
        }
    }
}

/// The paths that several arguments stand for, each once, in the order written.
///
/// # Errors
/// The first argument that stands for nothing.
pub async fn expand_all(client: &Client, args: &[RemoteArg], literal: bool) -> Outcome<Vec<DfsPath>> {
    let mut paths = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for arg in args {
        for path in arg.expand(client, literal).await? {
            if seen.insert(path.clone()) {
                paths.push(path);
            }
        }
    }
    Ok(paths)
}

/// A failure about a path that breaks a rule.
pub fn bad_path(why: &str) -> Failure {
    Failure::new(super::exit::Exit::Usage, "InvalidPath", why)
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
}
