//! What imports what: modules of one folder form no circle, and the two roles never import each other.
//!
//! A module is a file or a folder. At each level of a crate, `a -> b` if anything in `a` names anything in `b`, through
//! `use` or written out; a name that a façade (`mod.rs`) hands on counts for the module that it comes from. Tests do not
//! count: they may look at anything.

use std::collections::{BTreeMap, BTreeSet};

use crate::rooms::expand;
use crate::source::Source;

/// Folders that never name each other.
const WALLS: &[(&str, &str, &str)] = &[
    ("actors/src/", "coordinator", "datanode"),
    ("actors/src/", "peer", "coordinator"),
    ("actors/src/", "peer", "datanode"),
];

/// The modules of one crate, by their path from its root (`a::b`; the root is empty), with what each names.
struct Crate {
    names: BTreeMap<String, Vec<Named>>,
}

/// A path that a module names, as it is written.
struct Named {
    path: String,
    handed_on: bool,
}

impl Crate {
    fn of(sources: &[Source], root: &str) -> Self {
        let inside = sources.iter().filter_map(|source| Some((source, source.path.strip_prefix(root)?)));
        let names = inside
            .filter(|(_, path)| !is_test(path) && !path.starts_with("bin/"))
            .map(|(source, path)| (module_of(path), named(&without_tests(&source.code))))
            .collect();
        Self { names }
    }

    /// The module in which what `from` calls `path` stands; `None` if that is no module of this crate.
    fn home(&self, from: &str, path: &str, depth: usize) -> Option<String> {
        let mut segments: Vec<&str> = path.split("::").collect();
        let mut base: Vec<&str> = from.split("::").filter(|s| !s.is_empty()).collect();
        match *segments.first()? {
            "crate" => {
                base.clear();
                segments.remove(0);
            }
            "self" => drop(segments.remove(0)),
            "super" => {
                while segments.first() == Some(&"super") {
                    base.pop();
                    segments.remove(0);
                }
            }
            first if self.names.contains_key(&join(from, first)) => {}
            _ => return None,
        }
        base.extend(segments);
        let whole = (0..=base.len()).rev().find(|&n| self.names.contains_key(&base[..n].join("::")))?;
        let module = base[..whole].join("::");
        let Some(item) = base.get(whole) else { return Some(module) };
        // Handed on by a façade?
        let source = self.names[&module]
            .iter()
            .find(|named| named.handed_on && named.path.rsplit("::").next() == Some(*item));
        let further =
            source.filter(|_| depth < 4).and_then(|named| self.home(&module, &named.path, depth + 1));
        Some(further.unwrap_or(module))
    }

    /// Who names whom.
    fn edges(&self) -> BTreeSet<(String, String)> {
        let mut edges = BTreeSet::new();
        for (from, named) in &self.names {
            let homes = named.iter().filter_map(|named| self.home(from, &named.path, 0));
            edges.extend(homes.filter(|to| to != from).map(|to| (from.clone(), to)));
        }
        edges
    }
}

/// Where circles are looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Among {
    /// Folders: the files of one folder may know each other.
    Folders,
    /// Files, too.
    Files,
}

/// Circles among the modules of each folder, in each of `crates`.
pub(crate) fn circles(sources: &[Source], crates: &[(&str, Among)]) -> Vec<String> {
    crates.iter().flat_map(|(root, among)| circles_of(&Crate::of(sources, root), root, *among)).collect()
}

fn circles_of(whole: &Crate, root: &str, among: Among) -> Vec<String> {
    let edges = whole.edges();
    let mut complaints = Vec::new();
    let parents: BTreeSet<&str> = whole.names.keys().map(|module| parent(module)).collect();
    for level in parents {
        let mut graph: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (from, to) in &edges {
            if let (Some(from), Some(to)) = (child(level, from), child(level, to))
                && from != to
            {
                graph.entry(from).or_default().insert(to);
            }
        }
        let is_folder = |name: &&str| {
            let below = format!("{}::", join(level, name));
            whole.names.keys().any(|module| module.starts_with(&below))
        };
        let counts = |circle: &Vec<&str>| among == Among::Files || circle.iter().any(is_folder);
        if let Some(circle) = a_circle(&graph, &counts) {
            let place = format!("{root}{}", level.replace("::", "/"));
            complaints.push(format!("{place}: a circle: {}", circle.join(" -> ")));
        }
    }
    complaints
}

/// A shortest circle that counts, if there is one.
fn a_circle<'a>(
    graph: &BTreeMap<&'a str, BTreeSet<&'a str>>,
    counts: &dyn Fn(&Vec<&'a str>) -> bool,
) -> Option<Vec<&'a str>> {
    let from = |start: &'a str| {
        let mut paths = std::collections::VecDeque::from([vec![start]]);
        let mut seen = BTreeSet::new();
        while let Some(path) = paths.pop_front() {
            let last = *path.last()?;
            for next in graph.get(last).into_iter().flatten() {
                let longer = [path.as_slice(), &[*next]].concat();
                if *next == start {
                    return Some(longer);
                }
                if seen.insert(*next) {
                    paths.push_back(longer);
                }
            }
        }
        None
    };
    graph.keys().filter_map(|start| from(start)).filter(counts).min_by_key(Vec::len)
}

/// Names across a wall between rooms.
pub(crate) fn across_walls(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (root, one, other) in WALLS {
        let edges = Crate::of(sources, root).edges();
        let crosses = |from: &str, to: &str| {
            let pair = (child("", from), child("", to));
            pair == (Some(one), Some(other)) || pair == (Some(other), Some(one)) && *one != "peer"
        };
        let crossing = edges.iter().filter(|(from, to)| crosses(from, to));
        complaints.extend(
            crossing.map(|(from, to)| format!("{root}: {from} names {to}: there is a wall between them")),
        );
    }
    complaints
}

pub(crate) fn is_test(path: &str) -> bool {
    path.split('/').any(|part| part == "tests" || part == "fakes.rs" || part.ends_with("tests.rs"))
}

fn module_of(path: &str) -> String {
    let path = path.trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    match path {
        "lib" | "main" | "mod" => String::new(),
        path => path.replace('/', "::"),
    }
}

fn join(module: &str, name: &str) -> String {
    if module.is_empty() { name.to_owned() } else { format!("{module}::{name}") }
}

fn parent(module: &str) -> &str {
    module.rsplit_once("::").map_or("", |(parent, _)| parent)
}

/// The module directly below `level` that `module` is or lies in.
fn child<'a>(level: &str, module: &'a str) -> Option<&'a str> {
    let rest = match level {
        "" => module,
        level => module.strip_prefix(level)?.strip_prefix("::")?,
    };
    rest.split("::").next().filter(|name| !name.is_empty())
}

/// The code without what stands under `#[cfg(test)]`.
pub(crate) fn without_tests(code: &str) -> String {
    let mut kept = String::new();
    let mut rest = code;
    while let Some(at) = ["#[cfg(test)]", "#[cfg(any(test"].iter().filter_map(|mark| rest.find(mark)).min() {
        kept.push_str(&rest[..at]);
        rest = &rest[at..];
        rest = &rest[rest.find(']').map_or(rest.len(), |end| end + 1)..];
        let mut depth = 0;
        let end = rest.bytes().position(|byte| {
            depth += i32::from(byte == b'{') - i32::from(byte == b'}');
            depth == 0 && matches!(byte, b'}' | b';' | b',')
        });
        rest = &rest[end.map_or(rest.len(), |end| end + 1)..];
    }
    kept + rest
}

/// The paths that a file names in `use`, and those written out from `crate`, `super` or `self`.
fn named(code: &str) -> Vec<Named> {
    let mut found = Vec::new();
    let mut from = 0;
    for line in code.split_inclusive('\n') {
        let statement = line.trim_start();
        let handed_on = statement.starts_with("pub");
        let tree = statement.strip_prefix("use ").or_else(|| {
            statement.split_once(" use ").filter(|(before, _)| before.starts_with("pub")).map(|(_, t)| t)
        });
        if tree.is_some() {
            let whole = code[from..].split(';').next().unwrap_or_default();
            let tree = whole.split_once("use ").map_or("", |(_, tree)| tree);
            found.extend(expand(tree).into_iter().map(|path| Named { path, handed_on }));
        }
        from += line.len();
    }
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].bytes().next_back().unwrap_or(b' ');
            if before.is_ascii_alphanumeric() || before == b'_' || before == b':' {
                continue;
            }
            let end = code[at..].find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
            let path = code[at..end.map_or(code.len(), |end| at + end)].trim_end_matches(':').to_owned();
            found.push(Named { path, handed_on: false });
        }
    }
    found
}

#[cfg(test)]
mod bites {
    use super::*;

    fn sources(files: &[(&str, &str)]) -> Vec<Source> {
        files.iter().map(|(path, text)| Source::new(path, text)).collect()
    }

    #[test]
    fn a_circle_of_folders_is_found_through_a_facade_and_tests_do_not_count() {
        let circle = sources(&[
            ("x/src/lib.rs", "mod a;\nmod b;"),
            ("x/src/a/mod.rs", "mod inner;\npub use inner::Thing;"),
            ("x/src/a/inner.rs", "use crate::b::Other;\npub struct Thing;"),
            ("x/src/b/mod.rs", "use crate::{\n    a::Thing,\n};\npub struct Other;"),
        ]);
        assert_eq!(circles(&circle, &[("x/src/", Among::Folders)]), ["x/src/: a circle: a -> b -> a"]);
        let in_tests = sources(&[
            ("x/src/a/mod.rs", "use crate::b::Other;"),
            ("x/src/b/mod.rs", "#[cfg(test)]\nmod tests {\n    use crate::a::Thing;\n}\n"),
            ("x/src/b/state_tests.rs", "use crate::a::Thing;"),
        ]);
        assert_eq!(circles(&in_tests, &[("x/src/", Among::Files)]), [] as [&str; 0]);
    }

    #[test]
    fn a_circle_of_files_in_a_folder_is_found() {
        let files = sources(&[
            ("x/src/a/mod.rs", "mod one;\nmod two;\npub use one::One;"),
            ("x/src/a/one.rs", "use super::two::Two;"),
            ("x/src/a/two.rs", "fn f() -> super::One {}"),
        ]);
        assert_eq!(circles(&files, &[("x/src/", Among::Files)]), ["x/src/a: a circle: one -> two -> one"]);
        assert_eq!(circles(&files, &[("x/src/", Among::Folders)]), [] as [&str; 0]);
    }

    #[test]
    fn a_command_is_a_crate_of_its_own() {
        let files = sources(&[
            ("x/src/lib.rs", "mod a;"),
            ("x/src/bin/c/main.rs", "mod dev;\nmod way;"),
            ("x/src/bin/c/dev/mod.rs", "use crate::way::Way;\npub struct State;"),
            ("x/src/bin/c/way.rs", "use crate::dev::State;\npub struct Way;"),
        ]);
        assert_eq!(circles(&files, &[("x/src/", Among::Files)]), [] as [&str; 0]);
        let complaint = "x/src/bin/c/: a circle: dev -> way -> dev";
        assert_eq!(circles(&files, &[("x/src/bin/c/", Among::Files)]), [complaint]);
    }

    #[test]
    fn the_roles_are_held_apart() {
        let files = sources(&[
            ("actors/src/coordinator/a.rs", "use crate::datanode::authority::Heard;"),
            ("actors/src/datanode/authority/mod.rs", "pub struct Heard;"),
            ("actors/src/peer/mod.rs", "pub struct Peer;"),
            ("actors/src/datanode/service.rs", "use crate::peer::Peer;"),
            ("actors/src/datanode/b.rs", "use crate::coordinator::gc::Gc;"),
            ("actors/src/coordinator/gc/mod.rs", "pub struct Gc;"),
            ("actors/src/peer/c.rs", "use crate::coordinator::gc::Gc;"),
            ("actors/src/peer/d.rs", "use crate::datanode::authority::Heard;"),
        ]);
        let wall =
            |from: &str, to: &str| format!("actors/src/: {from} names {to}: there is a wall between them");
        let mut complaints = across_walls(&files);
        complaints.sort();
        assert_eq!(
            complaints,
            [
                wall("coordinator::a", "datanode::authority"),
                wall("datanode::b", "coordinator::gc"),
                wall("peer::c", "coordinator::gc"),
                wall("peer::d", "datanode::authority"),
            ]
        );
    }
}
