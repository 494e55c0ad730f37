//! What has to be done to make one tree like another: pure, from what is on both sides.

use std::collections::BTreeMap;

use dfs_wire::path::DfsPath;

use crate::paths::glob::{NamePattern, Pattern};
use crate::paths::sides::Found;

/// A tree: what is below its top, by name from there on.
pub(super) type Tree = BTreeMap<String, Found>;

/// A pattern on names, or on paths from the top on if it holds a slash.
#[derive(Debug, Clone)]
pub(super) enum Match {
    Name(NamePattern),
    Path(std::sync::Arc<Pattern>),
}

impl Match {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text.trim_end_matches('/') {
            "" => Err("an empty pattern matches nothing".to_owned()),
            name if !name.contains('/') => NamePattern::parse(name).map(Self::Name),
            path => {
                let pattern = Pattern::parse(&format!("/{}", path.trim_start_matches('/')));
                pattern.map(|pattern| Self::Path(pattern.into())).map_err(|failure| failure.message)
            }
        }
    }

    fn takes(&self, name: &str) -> bool {
        match self {
            Self::Name(pattern) => pattern.is_match(name.rsplit('/').next().unwrap_or(name)),
            Self::Path(pattern) => {
                DfsPath::parse(&format!("/{name}")).is_ok_and(|path| pattern.matches(&path))
            }
        }
    }
}

/// Which part of both trees is looked at. What is not is neither copied nor deleted.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    pub(super) include: Vec<Match>,
    pub(super) exclude: Vec<Match>,
}

impl Filter {
    /// The part of a tree that is looked at.
    pub(super) fn apply(&self, mut tree: Tree) -> Tree {
        let excluded = |name: &str| self.exclude.iter().any(|pattern| pattern.takes(name));
        tree.retain(|name, _| !excluded(name) && !above(name).any(excluded));
        if self.include.is_empty() {
            return tree;
        }
        let included = |name: &str| self.include.iter().any(|pattern| pattern.takes(name));
        // A directory is there for what is in it.
        tree.retain(|name, found| {
            *found != Found::Directory && (included(name) || above(name).any(included))
        });
        tree
    }
}

/// The directories above a name, from the innermost on.
fn above(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(name.rsplit_once('/'), |(above, _)| above.rsplit_once('/')).map(|(above, _)| above)
}

/// One file to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileCopy {
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) modified_ns: i64,
    /// It may be the same already: that is found out by reading both.
    pub(super) compare: bool,
}

/// What is to be done, in this order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Directories to make, those above first.
    pub(super) make: Vec<String>,
    /// Files to copy.
    pub(super) copy: Vec<FileCopy>,
    /// What to delete, what is in a directory before it.
    pub(super) delete: Vec<(String, Found)>,
    /// Files that are the same on both sides.
    pub(super) unchanged: u64,
    /// Links and special files of the source.
    pub(super) skipped: Vec<String>,
    /// Names that are a file on one side and something else on the other.
    pub(super) in_the_way: Vec<String>,
}

/// How two trees are compared.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Comparison {
    /// By their bytes, not by size and time.
    pub(super) checksum: bool,
    /// What is only in the target goes.
    pub(super) delete: bool,
}

/// Compares two trees.
pub(super) fn plan(source: &Tree, target: &Tree, how: Comparison) -> Plan {
    let mut plan = Plan::default();
    for (name, found) in source {
        match (found, target.get(name)) {
            (Found::Other, _) => plan.skipped.push(name.clone()),
            (Found::Directory, None) => plan.make.push(name.clone()),
            (Found::Directory, Some(Found::Directory)) => {}
            (Found::File { size, modified_ns }, there @ (None | Some(Found::File { .. }))) => {
                let same_size = matches!(there, Some(Found::File { size: other, .. }) if other == size);
                if same_size && !how.checksum && there == Some(found) {
                    plan.unchanged += 1;
                    continue;
                }
                let (size, modified_ns) = (*size, *modified_ns);
                plan.copy.push(FileCopy {
                    name: name.clone(),
                    size,
                    modified_ns,
                    compare: same_size && how.checksum,
                });
            }
            _ => plan.in_the_way.push(name.clone()),
        }
    }
    if how.delete {
        let only_there = target.iter().rev().filter(|(name, _)| !source.contains_key(*name));
        plan.delete = only_there.map(|(name, found)| (name.clone(), *found)).collect();
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(entries: &[(&str, Found)]) -> Tree {
        entries.iter().map(|(name, found)| ((*name).to_owned(), *found)).collect()
    }

    fn file(size: u64, modified_ns: i64) -> Found {
        Found::File { size, modified_ns }
    }

    fn names(copies: &[FileCopy]) -> Vec<&str> {
        copies.iter().map(|copy| copy.name.as_str()).collect()
    }

    #[test]
    fn what_differs_is_copied_and_what_is_only_there_is_deleted_if_asked() {
        let dir = Found::Directory;
        let source = tree(&[
            ("d", dir),
            ("d/new", file(1, 1)),
            ("e", dir),
            ("l", Found::Other),
            ("longer", file(3, 1)),
            ("newer", file(2, 9)),
            ("same", file(2, 2)),
            ("type", file(1, 1)),
        ]);
        let target = tree(&[
            ("d", dir),
            ("gone", dir),
            ("gone/x", file(1, 1)),
            ("longer", file(2, 1)),
            ("newer", file(2, 2)),
            ("same", file(2, 2)),
            ("type", dir),
        ]);
        let found = plan(&source, &target, Comparison::default());
        assert_eq!(names(&found.copy), ["d/new", "longer", "newer"]);
        assert_eq!((found.make, found.unchanged, found.delete), (vec!["e".to_owned()], 1, vec![]));
        assert_eq!((found.skipped, found.in_the_way), (vec!["l".to_owned()], vec!["type".to_owned()]));

        let found = plan(&source, &target, Comparison { checksum: true, delete: true });
        let compared: Vec<_> =
            found.copy.iter().filter(|copy| copy.compare).map(|copy| &*copy.name).collect();
        assert_eq!(compared, ["newer", "same"], "of one size: their bytes decide");
        let deleted: Vec<_> = found.delete.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(deleted, ["gone/x", "gone"], "what is in a directory before it");
    }

    #[test]
    fn filters_take_names_or_paths_and_what_is_below_them() {
        let dir = Found::Directory;
        let all = tree(&[
            ("a.txt", file(1, 1)),
            ("b.tmp", file(1, 1)),
            ("sub", dir),
            ("sub/c.txt", file(1, 1)),
            ("sub/target", dir),
            ("sub/target/x.txt", file(1, 1)),
        ]);
        let left = |include: &[&str], exclude: &[&str]| {
            let parse = |texts: &[&str]| texts.iter().map(|text| Match::parse(text).unwrap()).collect();
            let filter = Filter { include: parse(include), exclude: parse(exclude) };
            filter.apply(all.clone()).into_keys().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(left(&[], &["*.tmp", "target/"]), "a.txt sub sub/c.txt");
        assert_eq!(left(&["*.txt"], &["target"]), "a.txt sub/c.txt");
        assert_eq!(left(&["sub/*.txt"], &[]), "sub/c.txt");
        assert_eq!(left(&["target"], &[]), "sub/target/x.txt");
        assert_eq!(left(&[], &["/sub/**"]), "a.txt b.tmp sub");
        for wrong in ["", "/", "[a", "a/["] {
            assert!(Match::parse(wrong).is_err(), "{wrong}");
        }
    }
}
