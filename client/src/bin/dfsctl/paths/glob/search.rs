//! Finding what matches a pattern, directory by directory: `/logs/2026-*/app.log` reads the names in `/logs` that begin
//! with `2026-`, and asks for one path in each directory that matches, not for the whole tree; only `**` reads all that
//! is below.
//!
//! Names of a directory come in the order of their bytes, and a listing begins anywhere among them: those that share what
//! a pattern begins with lie side by side, and the others are not asked for.

use std::collections::BTreeMap;

use dfs_wire::message::metadata::{EntryKind, FileStat};
use dfs_wire::path::DfsPath;

use super::syntax::{Alternative, Pattern, Segment, Token, literal, name_matches, path_matches, prefix};
use crate::output::failure::Outcome;
use crate::paths::look::absent_is_none;
use crate::paths::walk::Walk;
use dfs_client::Client;

impl Pattern {
    /// Every path of the cluster that matches, in order.
    ///
    /// # Errors
    /// If the cluster cannot be asked; that a directory is not there is not an error.
    pub(crate) async fn find(&self, client: &Client) -> Outcome<Vec<FileStat>> {
        let mut found = BTreeMap::new();
        for alternative in &self.alternatives {
            for stat in alternative.find(client).await? {
                found.insert(stat.path.clone(), stat);
            }
        }
        Ok(found.into_values().collect())
    }
}

impl Alternative {
    async fn find(&self, client: &Client) -> Outcome<Vec<FileStat>> {
        let Some(mut level) = absent_is_none(client.stat(&self.base).await)?.map(|stat| vec![stat]) else {
            return Ok(Vec::new());
        };
        for (index, segment) in self.rest.iter().enumerate() {
            let mut next = Vec::new();
            for directory in level.iter().filter(|stat| stat.kind == EntryKind::Directory) {
                match segment {
                    // From here on everything below is read once and matched against all that is left.
                    Segment::AnyNames => {
                        let rest = self.rest.get(index..).unwrap_or_default();
                        all_below(client, &directory.path, rest, &mut next).await?;
                    }
                    Segment::Name(tokens) => in_directory(client, &directory.path, tokens, &mut next).await?,
                }
            }
            level = next;
            if *segment == Segment::AnyNames {
                break;
            }
        }
        Ok(level)
    }
}

/// Adds what lies anywhere below `directory` and whose names from there on match `rest`.
async fn all_below(
    client: &Client,
    directory: &DfsPath,
    rest: &[Segment],
    found: &mut Vec<FileStat>,
) -> Outcome {
    let depth = directory.segments().count();
    let mut walk = Walk::new(client, directory, true);
    while let Some(stat) = next(&mut walk).await? {
        let names: Vec<_> = stat.path.segments().skip(depth).collect();
        if !names.is_empty() && path_matches(rest, &names) {
            found.push(stat);
        }
    }
    Ok(())
}

/// Adds what lies in `directory` and whose name matches `tokens`.
async fn in_directory(
    client: &Client,
    directory: &DfsPath,
    tokens: &[Token],
    found: &mut Vec<FileStat>,
) -> Outcome {
    if let Some(name) = literal(tokens) {
        if let Ok(path) = directory.join(&name) {
            found.extend(absent_is_none(client.stat(&path).await)?);
        }
        return Ok(());
    }
    let prefix = prefix(tokens);
    let depth = directory.segments().count();
    let mut walk = Walk::after(client, directory, just_before(directory, &prefix));
    while let Some(stat) = next(&mut walk).await? {
        let Some(name) = stat.path.segments().nth(depth) else { continue };
        if is_past(name, &prefix) {
            break;
        }
        if name_matches(tokens, name) {
            found.push(stat);
        }
    }
    Ok(())
}

/// The next entry; a directory that went away between two looks has no more.
async fn next(walk: &mut Walk) -> Outcome<Option<FileStat>> {
    match walk.next().await {
        Err(failure) if failure.is_not_found() => Ok(None),
        outcome => outcome,
    }
}

/// A path in `directory` that lies before every name that begins with `prefix`, and close to them; `None` = begin at the
/// first name.
fn just_before(directory: &DfsPath, prefix: &str) -> Option<DfsPath> {
    let last = prefix.chars().next_back()?;
    let stem = prefix.strip_suffix(last)?;
    let before = (0..u32::from(last)).rev().filter_map(char::from_u32).find(|c| *c != '/')?;
    // The last character there is: next to nothing lies between this name and the first that is wanted. Where the
    // rules of names refuse it, the stem begins a little earlier.
    let close = directory.join(&format!("{stem}{before}{}", char::MAX));
    close.or_else(|_| directory.join(stem)).ok().filter(|path| path != directory)
}

/// Whether `name` lies behind every name that begins with `prefix`.
fn is_past(name: &str, prefix: &str) -> bool {
    name > prefix && !name.starts_with(prefix)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ops::Bound;

    use proptest::prelude::*;

    use super::super::syntax::tokens;
    use super::*;

    /// The names of a directory that a search looks at, and those among them that match.
    fn looked_at<'a>(names: &'a BTreeSet<String>, pattern: &str) -> (usize, Vec<&'a str>) {
        let (tokens, directory) = (tokens(pattern).unwrap(), DfsPath::parse("/d").unwrap());
        let prefix = prefix(&tokens);
        let after = just_before(&directory, &prefix).map(|path| path.segments().last().unwrap().to_owned());
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let seen: Vec<_> =
            names.range((from, Bound::Unbounded)).take_while(|name| !is_past(name, &prefix)).collect();
        let found = seen.iter().map(|name| name.as_str()).filter(|name| name_matches(&tokens, name));
        (seen.len(), found.collect())
    }

    #[test]
    fn of_many_names_only_those_are_read_that_begin_as_the_pattern() {
        let names = (0..100_000).map(|number| format!("part-{number:05}")).collect();
        assert_eq!(looked_at(&names, "part-4711*").0, 10);
        assert_eq!(looked_at(&names, "part-4711*").1.len(), 10);
        assert_eq!(looked_at(&names, "part-00000*"), (1, vec!["part-00000"]));
        assert_eq!(looked_at(&names, "part-99?99").0, 1_000);
        assert_eq!(looked_at(&names, "q*").0, 0);
        assert_eq!(looked_at(&names, "*1").0, 100_000);
    }

    #[test]
    fn a_prefix_at_the_edge_of_what_names_may_hold_loses_nothing() {
        for name in ["a", "0", "\u{e000}x", "é", "a0", ".a", "..a", "..", "\u{10ffff}", "!", " "] {
            let names: BTreeSet<_> = [name, "zz", "A"].map(str::to_owned).into();
            assert!(looked_at(&names, &format!("{name}*")).1.contains(&name), "{name:?}");
        }
        let long = "x".repeat(255);
        let names: BTreeSet<_> = [long.clone()].into();
        assert_eq!(looked_at(&names, &format!("{long}*")).1, [long.as_str()]);
    }

    proptest! {
        #[test]
        fn nothing_that_matches_is_passed_over(
            names in prop::collection::btree_set("[a-c/é.-]{1,5}".prop_map(|name| name.replace('/', "0")), 0..40),
            pattern in "[a-c0é.*?-]{1,4}",
        ) {
            let tokens = tokens(&pattern).unwrap();
            let all: Vec<_> = names.iter().filter(|name| name_matches(&tokens, name)).map(String::as_str).collect();
            prop_assert_eq!(looked_at(&names, &pattern).1, all);
        }
    }
}
