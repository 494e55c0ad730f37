//! One word for one concept: names of types that stand for several things, and the glossary held against the code.
//!
//! Types of production code count, as they are written at the left margin: what stands in a function is read with it,
//! what stands in an `impl` is named by its trait.

use std::collections::BTreeMap;

use crate::circles::{is_test, without_tests};
use crate::source::Source;
use crate::tree::home_of_children;

/// Names that every room may use for its own, because they are the grammar in which rooms, machines and verbs are written.
const GRAMMAR: &[(&str, &str)] = &[
    ("Args", "what a verb of the command is told"),
    ("Effect", "what the machine of an actor wants done"),
    ("Plan", "what a verb of the command is going to do"),
    ("Shared", "what the clones of a handle have in common"),
    ("State", "what the lock of a handle guards"),
    ("Verb", "the verbs below a verb of the command"),
];

/// Names that once stood for many things. One type may have each.
const UNTANGLED: [&str; 10] =
    ["Job", "NodeRecord", "Origin", "Peer", "Progress", "Step", "Target", "Verdict", "Wanted", "Watch"];

/// A type of production code.
struct Type {
    name: String,
    path: String,
    line: usize,
}

/// A word of the glossary, with the cell of its row that says where it is at home.
struct Term {
    word: String,
    home: String,
    line: usize,
}

fn types(sources: &[Source]) -> Vec<Type> {
    let mut found = Vec::new();
    let for_tests: Vec<_> = sources.iter().flat_map(modules_for_tests).collect();
    let is_for_tests = |path: &str| is_test(path) || for_tests.iter().any(|module| path.starts_with(module));
    for Source { path, code, .. } in sources.iter().filter(|source| room(&source.path).is_some()) {
        if is_for_tests(path) {
            continue;
        }
        let kept = without_tests(code);
        for name in kept.lines().filter_map(declared) {
            let line = code.lines().position(|line| declared(line) == Some(name)).unwrap_or(0) + 1;
            found.push(Type { name: name.to_owned(), path: path.clone(), line });
        }
    }
    found
}

/// How the paths of modules begin that a file declares for tests alone.
fn modules_for_tests(source: &Source) -> Vec<String> {
    let kept = without_tests(&source.code);
    let kept: Vec<_> = modules(&kept).collect();
    let home = home_of_children(&source.path);
    let left_out = modules(&source.code).filter(|name| !kept.contains(name));
    left_out.flat_map(|name| [format!("{home}/{name}.rs"), format!("{home}/{name}/")]).collect()
}

fn modules(code: &str) -> impl Iterator<Item = &str> {
    code.lines().filter_map(|line| line.split_once("mod ")?.1.strip_suffix(';'))
}

/// The type that a line declares at the left margin.
fn declared(line: &str) -> Option<&str> {
    let item = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(") ")?.1,
        Some(rest) => rest.trim_start(),
        None => line,
    };
    let (kind, rest) = item.split_once(' ')?;
    let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    ["struct", "enum", "trait", "type", "union"].contains(&kind).then_some(name)
}

/// What a name must be unique in: a crate, or the command that stands on the SDK.
fn room(path: &str) -> Option<&str> {
    let (room, rest) = path.split_once('/')?;
    let production = ["wire", "actors", "client", "node"].contains(&room) && rest.starts_with("src/");
    match rest.starts_with("src/bin/") {
        true => Some("dfsctl"),
        false => production.then_some(room),
    }
}

/// Names that stand for several things: twice in one room, or more than twice in all; those that were untangled, and
/// words of the glossary, more than once. Names of the grammar that need no exception any more are told, too.
pub(crate) fn tangled(sources: &[Source], glossary: &str) -> Vec<String> {
    let mut named: BTreeMap<String, Vec<Type>> = BTreeMap::new();
    for found in types(sources) {
        named.entry(found.name.clone()).or_default().push(found);
    }
    let words: Vec<_> = terms(glossary).iter().map(|term| type_name(&term.word)).collect();
    let mut complaints = Vec::new();
    for (name, types) in &named {
        let in_a_room =
            types.iter().map(|at| types.iter().filter(|by| room(&by.path) == room(&at.path)).count());
        let single = UNTANGLED.contains(&name.as_str()) || words.contains(name);
        let allowed = if single { 1 } else { 2 };
        let many = types.len() > allowed || in_a_room.max() > Some(1);
        let excepted = GRAMMAR.iter().any(|(word, _)| word == name);
        let places: Vec<_> = types.iter().map(|at| format!("{}:{}", at.path, at.line)).collect();
        match (many, excepted) {
            (true, false) => {
                complaints.push(format!("`{name}` is the name of several types: {}", places.join(", ")))
            }
            (false, true) => {
                complaints.push(format!("`{name}` needs no exception any more: {}", places.join(", ")))
            }
            _ => {}
        }
    }
    complaints
}

/// Exceptions for names that no type has any more.
pub(crate) fn stale_exceptions(sources: &[Source]) -> Vec<String> {
    let found = types(sources);
    let gone = GRAMMAR.iter().filter(|(word, _)| found.iter().all(|at| at.name != *word));
    gone.map(|(word, _)| format!("`{word}` needs no exception any more: no type has that name")).collect()
}

/// Methods that are called like those of the standard library that panic, and do not.
pub(crate) fn false_alarms(source: &Source) -> Vec<String> {
    let is_false = |line: &str| {
        ["fn expect", "fn unwrap"]
            .iter()
            .any(|name| line.split_once(name).is_some_and(|(_, rest)| rest.starts_with(['(', '<'])))
    };
    let counts = room(&source.path).is_some() && !is_test(&source.path);
    let lines = source.code.lines().enumerate().filter(|(_, line)| counts && is_false(line));
    lines.map(|(at, _)| format!("{}:{}: a method of this name panics", source.path, at + 1)).collect()
}

/// The words of the table: more than one may stand in the first cell.
fn terms(glossary: &str) -> Vec<Term> {
    let mut found = Vec::new();
    for (at, row) in glossary.lines().enumerate().filter(|(_, line)| line.starts_with("| **")) {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let home = cells.get(3).copied().unwrap_or_default();
        let words = cells.get(1).copied().unwrap_or_default().split("**").skip(1).step_by(2);
        found.extend(words.map(|word| Term { word: word.to_owned(), home: home.to_owned(), line: at + 1 }));
    }
    found
}

/// How a type of that name is written.
fn type_name(word: &str) -> String {
    let parts = word.split([' ', '-', '_']).filter(|part| !part.is_empty());
    parts.map(|part| part[..1].to_uppercase() + &part[1..]).collect()
}

/// Words of the glossary that are at home nowhere: a row names at least one file, and for each file what stands in its
/// code. A type that is called like the word is among what the row names. No word stands twice, and they are in order.
pub(crate) fn homeless(path: &str, glossary: &str, sources: &[Source]) -> Vec<String> {
    let types = types(sources);
    let terms = terms(glossary);
    let mut complaints = Vec::new();
    for Term { word, home, line } in &terms {
        let mut complain = |what: String| complaints.push(format!("{path}:{line}: {word}: {what}"));
        let homes: Vec<_> =
            home.split(';').map(|home| home.split('`').skip(1).step_by(2).collect::<Vec<_>>()).collect();
        for home in &homes {
            let Some((file, names)) = home.split_last().filter(|(_, names)| !names.is_empty()) else {
                complain("the row does not say what it is in the code, and in which file".to_owned());
                continue;
            };
            match sources.iter().find(|source| source.path == **file) {
                None => complain(format!("`{file}` is not there")),
                Some(source) => {
                    let gone = names.iter().filter(|name| source.word(name).is_none());
                    gone.for_each(|name| complain(format!("`{name}` does not stand in {file}")));
                }
            }
        }
        let says = |found: &Type| {
            homes
                .iter()
                .any(|home| home.contains(&found.name.as_str()) && home.contains(&found.path.as_str()))
        };
        let same = types.iter().filter(|found| found.name == type_name(word) && !says(found));
        same.for_each(|found| {
            complain(format!("`{}` in {} is not what the row names", found.name, found.path))
        });
    }
    let order = |term: &Term| term.word.replace('-', " ").to_lowercase();
    let rows: Vec<_> =
        terms.chunk_by(|one, next| one.line == next.line).filter_map(<[Term]>::first).collect();
    let late = rows.windows(2).filter(|pair| order(pair[0]) >= order(pair[1]));
    complaints.extend(
        late.map(|pair| format!("{path}:{}: {}: out of order, or twice", pair[1].line, pair[1].word)),
    );
    complaints
}

#[cfg(test)]
mod bites {
    use super::*;

    fn sources(files: &[(&str, &str)]) -> Vec<Source> {
        files.iter().map(|(path, text)| Source::new(path, text)).collect()
    }

    const GLOSSARY: &str = "| **grant** | Leave to write. | `Grant` in `wire/src/a.rs` |\n";

    #[test]
    fn a_name_of_several_types_is_seen() {
        let tangle = |files: &[(&str, &str)]| tangled(&sources(files), GLOSSARY);
        let (one, two) = ("pub struct Thing;\n", "enum Thing { A }\n");
        assert_eq!(
            tangle(&[("wire/src/a.rs", one), ("wire/src/b/c.rs", two)]),
            ["`Thing` is the name of several types: wire/src/a.rs:1, wire/src/b/c.rs:1"]
        );
        let apart =
            [("wire/src/a.rs", one), ("actors/src/a.rs", "//! A.\npub(in crate::x) type Thing = u8;\n")];
        assert_eq!(tangle(&apart), [""; 0], "two rooms may each have one");
        let third = ("node/src/a.rs", "trait Thing {}\n");
        assert_eq!(tangle(&[apart[0], apart[1], third]).len(), 1);
        let command = [("client/src/a.rs", one), ("client/src/bin/dfsctl/a.rs", two)];
        assert_eq!(tangle(&command), [""; 0], "the command is a room of its own");
        for single in ["Verdict", "Grant"] {
            let text = format!("pub struct {single};\n");
            assert_eq!(tangle(&[("wire/src/a.rs", &text), ("node/src/a.rs", &text)]).len(), 1, "{single}");
        }
    }

    #[test]
    fn tests_traits_and_the_grammar_do_not_count_and_the_grammar_is_needed() {
        let tangle = |files: &[(&str, &str)]| tangled(&sources(files), GLOSSARY);
        let one = ("wire/src/a.rs", "struct Thing;\n");
        for harmless in [
            ("wire/src/tests/b.rs", "struct Thing;\n"),
            ("wire/src/b.rs", "#[cfg(test)]\nstruct Thing;\n"),
            ("wire/src/b.rs", "impl A for B {\n    type Thing = u8;\n}\n"),
            ("wire/src/b.rs", "// struct Thing;\nfn f() -> Thing {}\n"),
            ("tests/src/b.rs", "struct Thing;\n"),
            ("wire/src/harness/b.rs", "struct Thing;\n"),
        ] {
            let root = ("wire/src/lib.rs", "#[cfg(test)]\npub(crate) mod harness;\nmod a;\nmod b;\n");
            assert_eq!(tangle(&[root, one, harmless]), [""; 0], "{harmless:?}");
        }
        let state = "struct State;\n";
        assert_eq!(tangle(&[("node/src/a.rs", state), ("node/src/b.rs", state)]), [""; 0]);
        assert_eq!(
            tangle(&[("node/src/a.rs", state)]),
            ["`State` needs no exception any more: node/src/a.rs:1"]
        );
        let stale = |text: &str| stale_exceptions(&sources(&[("node/src/a.rs", text)])).len();
        assert_eq!((stale(""), stale(state)), (GRAMMAR.len(), GRAMMAR.len() - 1));
    }

    #[test]
    fn methods_that_only_sound_like_a_panic_are_seen() {
        let told = |text: &str| false_alarms(&Source::new("wire/src/a.rs", text)).len();
        assert_eq!(told("    pub fn expect<T>(&self) {}\n    fn unwrap(self) {}\n"), 2);
        assert_eq!(
            told("fn expect_coordinator() {}\n// fn expect(\nx.expect(\"y\");\nfn unwrap_or() {}\n"),
            0
        );
    }

    #[test]
    fn words_that_are_at_home_nowhere_are_seen() {
        let code = sources(&[("wire/src/a.rs", "pub struct Grant;\n"), ("node/src/b.rs", "fn stays() {}\n")]);
        let told = |text: &str| homeless("g.md", text, &code);
        assert_eq!(told(GLOSSARY), [""; 0]);
        assert_eq!(
            told(&format!("{GLOSSARY}| **stay**, **home** | x | `stays` in `node/src/b.rs` |\n")),
            [""; 0]
        );
        for bad in [
            "| **stay** | No home. |\n",
            "| **stay** | x | in words only |\n",
            "| **stay** | No name. | `node/src/b.rs` |\n",
            "| **stay** | x | `stays` in `node/src/gone.rs` |\n",
            "| **stay** | x | `Stays` in `node/src/b.rs` |\n",
            "| **grant** | Another thing. | `stays` in `node/src/b.rs` |\n",
            "| **stay** | x | `stays` in `node/src/b.rs` |\n| **go** | x | `stays` in `node/src/b.rs` |\n",
        ] {
            assert_eq!(told(bad).len(), 1, "{bad}: {:?}", told(bad));
        }
    }
}
