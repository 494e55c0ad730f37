//! What a shell offers when a word is completed: paths of the cluster, nodes of a development cluster, contexts.
//!
//! Nothing here fails or waits for long: a shell that hangs is worse than one that offers nothing.

use std::ffi::OsStr;
use std::time::Duration;

use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter};
use dfs_wire::message::metadata::{EntryKind, FileStat};
use dfs_wire::path::DfsPath;

use crate::connect::config_file::{self, ConfigFile};
use crate::connect::endpoint::Said;
use crate::connect::invocation::Invocation;
use crate::dev_cluster::state::ClusterState;
use crate::output::Output;
use crate::output::failure::Outcome;
use crate::paths::walk::Walk;

/// How long the cluster may take to answer.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Entries of a directory that are looked at.
const LOOKED_AT: usize = 2048;

/// Completes paths of the cluster.
pub(crate) fn remote_paths() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| remote(current))
}

/// Completes paths of both kinds: `/...` may be either, `dfs:/...` is of the cluster, the rest of this machine.
pub(crate) fn any_paths() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let marked = current.to_str().is_some_and(|text| text.starts_with("dfs:"));
        let mut candidates = remote(current);
        if !marked {
            candidates.extend(PathCompleter::any().complete(current));
        }
        candidates
    })
}

/// Completes paths of this machine, and of the cluster those with `dfs:` in front.
pub(crate) fn marked_paths() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        match current.to_str().is_some_and(|text| text.starts_with("dfs:")) {
            true => remote(current),
            false => PathCompleter::any().complete(current),
        }
    })
}

/// Completes nodes of the development cluster.
pub(crate) fn dev_nodes() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let here = std::env::current_dir().unwrap_or_default();
        let found = ClusterState::nearest(&here).ok().flatten();
        let names = found.map_or_else(Vec::new, |(_, state)| state.nodes);
        beginning(current, names.into_iter().map(|node| node.name))
    })
}

/// Completes nodes of the cluster.
pub(crate) fn nodes() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let asked = ask(async |invocation| {
            let nodes = invocation.client().await?.nodes().await?;
            Ok(nodes.into_iter().map(|node| node.name).collect::<Vec<_>>())
        });
        let names = asked.unwrap_or_default().into_iter().chain(["coordinator".to_owned()]);
        beginning(current, names)
    })
}

/// Completes the names of contexts in the client's file.
pub(crate) fn contexts() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let path = config_file::path(|name| std::env::var(name).ok());
        let file = path.and_then(|path| ConfigFile::read(&path).ok()).unwrap_or_default();
        beginning(current, file.contexts.into_keys())
    })
}

fn beginning(current: &OsStr, names: impl Iterator<Item = String>) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else { return Vec::new() };
    names.filter(|name| name.starts_with(current)).map(CompletionCandidate::new).collect()
}

fn remote(current: &OsStr) -> Vec<CompletionCandidate> {
    let Some((mark, directory, begun)) = current.to_str().and_then(split) else { return Vec::new() };
    let asked = ask(async |invocation| {
        let client = invocation.client().await?;
        let (mut walk, mut found) = (Walk::new(&client, &directory, false), Vec::new());
        while let Some(stat) = walk.next().await? {
            found.push(stat);
            if found.len() >= LOOKED_AT {
                break;
            }
        }
        Ok(found)
    });
    let found = asked.unwrap_or_default();
    let below = found.iter().filter(|stat| stat.path != directory);
    below.filter_map(|stat| candidate(mark, stat, begun)).map(CompletionCandidate::new).collect()
}

/// The mark, the directory and the beginning of the name in a word.
fn split(word: &str) -> Option<(&str, DfsPath, &str)> {
    let (mark, path) = if word.starts_with("dfs:") { word.split_at("dfs:".len()) } else { ("", word) };
    let (above, begun) = path.rsplit_once('/')?;
    let directory = if above.is_empty() { DfsPath::root() } else { DfsPath::parse(above).ok()? };
    Some((mark, directory, begun))
}

/// The word that an entry completes to; a directory's goes on.
fn candidate(mark: &str, stat: &FileStat, begun: &str) -> Option<String> {
    stat.path.name().filter(|name| name.starts_with(begun))?;
    let slash = if stat.kind == EntryKind::Directory { "/" } else { "" };
    Some(format!("{mark}{}{slash}", stat.path))
}

/// What a question to the cluster comes to; `None` if nothing does in time.
fn ask<T>(question: impl AsyncFnOnce(&Invocation) -> Outcome<T>) -> Option<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let output = Output::new(Default::default(), Default::default(), true, 0);
    let invocation = Invocation::new(Said::default(), Some(PATIENCE), output);
    runtime.block_on(async { tokio::time::timeout(PATIENCE, question(&invocation)).await.ok()?.ok() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::views::tests::file;

    #[test]
    fn a_word_is_taken_apart_and_put_together_again() {
        let said = |word| split(word).map(|(mark, directory, begun)| format!("{mark} {directory} {begun}"));
        assert_eq!(said("/a/b").as_deref(), Some(" /a b"));
        assert_eq!(said("dfs:/a/").as_deref(), Some("dfs: /a "));
        assert_eq!(said("/x").as_deref(), Some(" / x"));
        assert_eq!((said("x"), said(""), said("dfs:"), said("/../x")), (None, None, None, None));
        let directory = FileStat { kind: EntryKind::Directory, ..file("/a/sub", 0) };
        assert_eq!(candidate("dfs:", &directory, "s").as_deref(), Some("dfs:/a/sub/"));
        assert_eq!(candidate("", &file("/a/file", 1), "").as_deref(), Some("/a/file"));
        assert_eq!(candidate("", &file("/a/file", 1), "x"), None);
    }
}
