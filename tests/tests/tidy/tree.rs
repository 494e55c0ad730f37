//! Rules on the shape of the repository: a closed top level, and no source file that no crate includes.

use std::collections::BTreeSet;

use crate::source::Source;

/// What the top level may hold besides dot-files.
const TOP: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "LICENSE",
    "node",
    "client",
    "wire",
    "actors",
    "configs",
    "compose",
    "tests",
];

pub(crate) fn strangers(files: &[String]) -> Vec<String> {
    let tops: BTreeSet<&str> = files.iter().filter_map(|path| path.split('/').next()).collect();
    let allowed = |name: &&str| TOP.contains(name) || name.starts_with('.');
    tops.into_iter()
        .filter(|name| !allowed(name))
        .map(|name| format!("{name}: the top level is closed"))
        .collect()
}

/// Whether cargo finds a file by itself: crate roots, binaries, tests, benches, examples, fuzz targets.
fn is_root(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    matches!(
        parts.as_slice(),
        [_, "build.rs"]
            | [_, "src", "lib.rs" | "main.rs"]
            | [_, "src", "bin", _]
            | [_, "src", "bin", _, "main.rs"]
            | [_, "tests" | "benches" | "examples" | "bench", _]
            | [_, "tests" | "benches" | "examples" | "bench", _, "main.rs"]
            | [_, "fuzz", "fuzz_targets" | "src", _]
    )
}

/// Where the children of a module live: beside a root or `mod.rs`, else in a directory of its name.
pub(crate) fn home_of_children(path: &str) -> String {
    let (dir, file) = path.rsplit_once('/').unwrap_or(("", path));
    if is_root(path) || file == "mod.rs" { dir.to_owned() } else { path.trim_end_matches(".rs").to_owned() }
}

/// The modules a file declares without a body, with the path each is given, if any.
fn children(source: &Source) -> Vec<(String, Option<String>)> {
    let mut found = Vec::new();
    let mut given = None;
    for (line, code) in source.text.lines().zip(source.code.lines()) {
        if let Some((_, path)) = line.trim().strip_prefix("#[path").and_then(|rest| rest.split_once('"')) {
            given = path.split('"').next().map(str::to_owned);
        }
        let code = code
            .trim()
            .trim_start_matches("pub(crate) ")
            .trim_start_matches("pub(super) ")
            .trim_start_matches("pub ");
        if let Some(name) = code.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')) {
            found.push((name.trim().to_owned(), given.take()));
        }
    }
    found
}

pub(crate) fn dead_files(sources: &[Source]) -> Vec<String> {
    let mut alive: BTreeSet<String> = BTreeSet::new();
    let mut waiting: Vec<&Source> = sources.iter().filter(|source| is_root(&source.path)).collect();
    while let Some(source) = waiting.pop() {
        if !alive.insert(source.path.clone()) {
            continue;
        }
        let home = home_of_children(&source.path);
        let beside = source.path.rsplit_once('/').map_or("", |(dir, _)| dir);
        for (name, given) in children(source) {
            let wanted = match given {
                Some(path) => vec![format!("{beside}/{path}")],
                None => vec![format!("{home}/{name}.rs"), format!("{home}/{name}/mod.rs")],
            };
            waiting.extend(sources.iter().filter(|source| wanted.contains(&source.path)));
        }
    }
    let dead = sources.iter().filter(|source| !alive.contains(&source.path));
    dead.map(|source| format!("{}: no crate includes this file", source.path)).collect()
}

#[cfg(test)]
mod bites {
    use super::*;

    #[test]
    fn strangers_at_the_top_are_seen() {
        let files = ["README.md", ".ci/run", "node/src/lib.rs", "utils/x.rs", "notes.txt"].map(str::to_owned);
        assert_eq!(strangers(&files).len(), 2);
    }

    #[test]
    fn files_without_a_mod_are_seen() {
        let sources = [
            Source::new("node/src/lib.rs", "pub mod a;\n// mod c;\n#[path = \"odd/name.rs\"]\nmod d;"),
            Source::new("node/src/a.rs", "mod b;"),
            Source::new("node/src/a/b.rs", ""),
            Source::new("node/src/c.rs", ""),
            Source::new("node/src/odd/name.rs", ""),
            Source::new("tests/tests/one.rs", ""),
        ];
        assert_eq!(dead_files(&sources), ["node/src/c.rs: no crate includes this file"]);
    }
}
