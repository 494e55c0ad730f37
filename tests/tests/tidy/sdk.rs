//! Rules on the client: the SDK stays apart from the command over it and small enough to be known, and verbs of the
//! command do not borrow from verbs.

use crate::circles::{is_test, without_tests};
use crate::rooms::{expand, names};
use crate::source::Source;

/// What only the command is built with.
const OF_THE_COMMAND: &[&str] = &[
    "clap",
    "clap_complete",
    "clap_mangen",
    "comfy_table",
    "humantime",
    "indicatif",
    "jiff",
    "serde_yaml_ng",
    "strsim",
    "tracing_subscriber",
    "walkdir",
];
/// Most public items of the SDK, those that a macro makes and re-exports of the protocol's types among them. A module of
/// the protocol counts as one: what a program has to learn is what the SDK adds to the conversations that
/// `wire/PROTOCOL.md` writes down once for all, and it meets their types only as arguments and answers.
const PUBLIC_MAX: usize = 168;
/// Modules of the protocol that the SDK hands on, and where their types are.
const HANDED_ON: &[(&str, &[&str])] = &[
    ("admin", &["wire/src/message/admin.rs"]),
    ("metadata", &["wire/src/message/metadata/"]),
    ("job", &["wire/src/message/job.rs"]),
];
/// Most types of the protocol that can be reached through them.
const HANDED_ON_MAX: usize = 110;
/// What only the SDK's `env` may name: by a path, or as a word.
const DOORS: &[&str] = &[
    "rand",
    "getrandom",
    "std::thread",
    "thread::sleep",
    "thread::spawn",
    "std::net::TcpStream",
    "std::time::Instant",
    "std::time::SystemTime::now",
    "SystemTime::now",
];
const DOOR_WORDS: &[&str] = &["spawn_blocking", "TcpStream", "TcpListener", "UdpSocket"];
/// Where the verbs are.
const VERBS: &str = "client/src/bin/dfsctl/cmd/";

fn is_sdk(path: &str) -> bool {
    path.starts_with("client/src/") && !path.starts_with("client/src/bin/")
}

pub(crate) fn named_command(source: &Source) -> Vec<String> {
    if !is_sdk(&source.path) {
        return vec![];
    }
    let named = |name: &&str| names(source, name).map(|line| (line, (*name).to_owned()));
    let complaint =
        |(line, name)| format!("{}:{line}: `{name}` belongs to dfsctl, not to the SDK", source.path);
    OF_THE_COMMAND.iter().filter_map(named).map(complaint).collect()
}

/// Ways to the world beside the one that a program can exchange for its own. Tests may do these things.
pub(crate) fn side_doors(source: &Source) -> Vec<String> {
    let path = &source.path;
    if !is_sdk(path) || is_test(path) || path.starts_with("client/src/env/") {
        return vec![];
    }
    let source = Source { path: path.clone(), text: String::new(), code: without_tests(&source.code) };
    let named = DOORS.iter().filter(|door| names(&source, door).is_some());
    let words = DOOR_WORDS.iter().filter(|word| source.word(word).is_some());
    let complaint = |name: &&str| format!("{path}: `{name}`: the SDK sees the world through its `env`");
    named.chain(words).map(complaint).collect()
}

pub(crate) fn too_public(sources: &[Source]) -> Vec<String> {
    let count: usize = sources.iter().filter(|source| is_sdk(&source.path)).map(public_items).sum();
    let mut complaints = Vec::new();
    if count > PUBLIC_MAX {
        complaints.push(format!("client/src: {count} public items, more than {PUBLIC_MAX}"));
    }
    let places: Vec<_> = HANDED_ON.iter().flat_map(|(_, places)| places.iter().copied()).collect();
    let of_the_protocol = |source: &&Source| places.iter().any(|place| source.path.starts_with(*place));
    let count: usize = sources.iter().filter(of_the_protocol).map(public_items).sum();
    if count > HANDED_ON_MAX {
        complaints.push(format!(
            "client/src/lib.rs: hands on {count} items of the protocol, more than {HANDED_ON_MAX}"
        ));
    }
    let known = |module: &String| HANDED_ON.iter().any(|(name, _)| name == module);
    let sdk = sources.iter().filter(|source| is_sdk(&source.path));
    let strangers = sdk.flat_map(handed_on).filter(|item| is_module(item) && !known(item));
    complaints
        .extend(strangers.map(|item| format!("client/src: `{item}`: no such module is handed on so far")));
    complaints
}

/// What is re-exported from the protocol, by its last name.
fn handed_on(source: &Source) -> Vec<String> {
    let lists = source.code.split("pub use dfs_wire::").skip(1);
    let trees = lists.map(|rest| rest.split_once(';').map_or(rest, |(list, _)| list));
    let paths = trees.flat_map(expand);
    paths.map(|path| path.rsplit("::").next().unwrap_or_default().to_owned()).collect()
}

fn is_module(item: &str) -> bool {
    item.starts_with(|c: char| c.is_ascii_lowercase())
}

/// The public items of a file: declared, made by the builders' macro (a line with a field and how it is taken), or
/// re-exported from the protocol.
fn public_items(source: &Source) -> usize {
    let item = |line: &str| {
        let Some(rest) = line.trim_start().strip_prefix("pub ") else { return false };
        let mut words = rest.split([' ', '<', '(']).filter(|word| !["async", "const"].contains(word));
        let kinds = ["fn", "struct", "enum", "trait", "type", "static", "mod"];
        words.next().is_some_and(|word| kinds.contains(&word)) || rest.starts_with("const ")
    };
    let made = |line: &str| {
        let how = line.trim().split_once(": ").map_or("", |(_, how)| how);
        (how.starts_with("plain ") || how.starts_with("some ")) && how.ends_with(',')
    };
    let own = source.code.lines().filter(|line| item(line) || made(line)).count();
    own + handed_on(source).len()
}

pub(crate) fn borrowed(source: &Source) -> Vec<String> {
    let Some(verb) = source.path.strip_prefix(VERBS) else { return vec![] };
    let verb = verb.split(['/', '.']).next().unwrap_or_default();
    let named = |rest: &str| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next() == Some(verb);
    let lines = source.code.lines().enumerate();
    // From a verb's own file or folder `super` is the room of the verbs, or the verb itself.
    let above = if source.path.matches('/').count() > VERBS.matches('/').count() {
        "super::super::"
    } else {
        "super::"
    };
    let other = lines.filter(|(_, line)| {
        let borrows = line.split("crate::cmd::").skip(1).any(|rest| !named(rest));
        let room = line.strip_prefix("use ").and_then(|path| path.strip_prefix(above));
        borrows || room.is_some_and(|rest| !named(rest))
    });
    other
        .map(|(line, _)| format!("{}:{}: a verb does not borrow from a verb", source.path, line + 1))
        .collect()
}

#[cfg(test)]
mod bites {
    use super::*;

    #[test]
    fn the_sdk_names_nothing_of_the_command() {
        let complaints = |path: &str| named_command(&Source::new(path, "use clap::Parser;")).len();
        assert_eq!(complaints("client/src/put/mod.rs"), 1);
        assert_eq!(complaints("client/src/bin/dfsctl/args.rs"), 0);
    }

    #[test]
    fn the_world_comes_in_through_one_door() {
        let doors = |path: &str, text: &str| side_doors(&Source::new(path, text)).len();
        let sdk = "client/src/put/source.rs";
        assert_eq!(doors(sdk, "let x = rand::random();"), 1);
        assert_eq!(doors(sdk, "use tokio::task;\nlet x = task::spawn_blocking(f);"), 1);
        assert_eq!(doors(sdk, "let x = handle.spawn_blocking(f);"), 1);
        assert_eq!(doors(sdk, "use tokio::{io, net::TcpStream};"), 1);
        assert_eq!(doors(sdk, "use std::time::{Duration, SystemTime};\nlet x = SystemTime::now();"), 1);
        assert_eq!(doors(sdk, "use std::time::{Duration, Instant};"), 1);
        assert_eq!(doors(sdk, "fn f() {\n    std::thread::sleep(TICK);\n}"), 1);
        assert_eq!(doors(sdk, "use std::thread;\nfn f() { thread::spawn(g) }"), 2);
        assert_eq!(doors(sdk, "use tokio::time::Instant;\nlet x = SystemTime::UNIX_EPOCH;"), 0);
        assert_eq!(doors(sdk, "#[cfg(test)]\nmod tests {\n    fn f() { std::thread::sleep(TICK); }\n}"), 0);
        assert_eq!(doors("client/src/env/mod.rs", "let x = rand::random();"), 0);
        assert_eq!(doors("client/src/bin/dfsctl/main.rs", "let x = rand::random();"), 0);
    }

    #[test]
    fn public_items_are_counted() {
        let count = |text: &str| public_items(&Source::new("client/src/a.rs", text));
        assert_eq!(
            count("pub fn a() {}\n    pub async fn b() {}\npub const C: u8 = 1;\npub(crate) fn d() {}\n"),
            3
        );
        assert_eq!(count("        parents: plain bool,\n        op: some OpId,\n    pub field: u8,\n"), 2);
        assert_eq!(
            count("pub use dfs_wire::{\n    id::{A, B},\n    message::{c, d},\n    path::E,\n};\n"),
            5
        );
        let many = Source::new("client/src/a.rs", &"pub fn a() {}\n".repeat(PUBLIC_MAX + 1));
        assert_eq!(too_public(&[many]).len(), 1);
        let many =
            Source::new("wire/src/message/metadata/a.rs", &"pub struct A;\n".repeat(HANDED_ON_MAX + 1));
        assert_eq!(too_public(&[many]).len(), 1, "reached through a module");
        let module = |text| too_public(&[Source::new("client/src/lib.rs", text)]).len();
        assert_eq!(module("pub use dfs_wire::message::{admin, membership};"), 1);
        assert_eq!(module("pub use dfs_wire::{id::{A, B}, message::{admin, metadata}};"), 0);
    }

    #[test]
    fn a_verb_that_borrows_is_seen() {
        let complaints = |text: &str| borrowed(&Source::new("client/src/bin/dfsctl/cmd/put.rs", text)).len();
        assert_eq!(complaints("use crate::cmd::cat::hinted;"), 1);
        assert_eq!(complaints("use crate::cmd::puts::Job;"), 1);
        assert_eq!(complaints("use crate::cmd::{cat, put};"), 1);
        assert_eq!(complaints("use super::cat::hinted;"), 1);
        assert_eq!(complaints("use crate::cmd::put::plan::Job;"), 0);
        assert_eq!(complaints("use crate::paths::remote::RemoteArg;"), 0);
    }
}
