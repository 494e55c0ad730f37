//! Which room may import what. The rooms keep their promises (wire: bytes only; actors: no concrete world) only if
//! somebody looks.

use crate::circles::is_test;
use crate::source::Source;

/// Paths that a room's code must not name, with the reason. Files of tests (`tests.rs`, `tests/`) may use what they like.
const BANS: &[(&str, &[&str], &str)] = &[
    (
        "wire/src/",
        &[
            "tokio::net",
            "tokio::time",
            "tokio::fs",
            "tokio::spawn",
            "tokio::task",
            "std::fs",
            "std::net",
            "std::thread",
            "std::env",
            "std::time::Instant",
            "std::time::SystemTime",
            "tracing",
            "log",
            "ractor",
            "rand",
            "dfs_actors",
            "dfs_node",
            "dfs_client",
        ],
        "wire knows bytes: no sockets, files, runtime, clock or logging",
    ),
    (
        "actors/src/",
        &[
            "clap",
            "figment",
            "redb",
            "memmap2",
            "axum",
            "std::env",
            "std::net::TcpStream",
            "std::net::TcpListener",
            "std::net::UdpSocket",
            "std::net::ToSocketAddrs",
            "std::fs",
            "std::time::SystemTime",
            "tokio::net",
            "tokio::fs",
            "rustix",
            "rand",
            "dfs_node",
            "dfs_client",
        ],
        "actors see the world through traits: no environment, disk, socket or randomness of their own",
    ),
    ("node/src/", &["ractor"], ABOVE_RACTOR),
    ("tests/src/", &["ractor"], ABOVE_RACTOR),
    (
        "client/src/",
        &["dfs_actors", "dfs_node", "ractor", "redb"],
        "the client knows the wire and nothing behind it",
    ),
];

const ABOVE_RACTOR: &str = "the supervisor of the actors alone knows ractor";

/// What a pure state machine must not name.
const STATE_BANS: &[&str] = &[
    "ractor",
    "tokio",
    "tracing",
    "std::time::Instant::now",
    "Instant::now",
    "SystemTime",
    "rand",
    "std::thread",
    "async",
    "await",
];

pub(crate) fn misplaced_import(source: &Source) -> Vec<String> {
    let path = &source.path;
    let mut complaints = Vec::new();
    if path.ends_with("/tests.rs") || path.contains("/src/") && path.contains("/tests/") {
        return complaints;
    }
    for (_, banned, reason) in BANS.iter().filter(|(room, ..)| path.starts_with(room)) {
        for name in *banned {
            complaints.extend(names(source, name).map(|line| format!("{path}:{line}: `{name}`: {reason}")));
        }
    }
    if path.starts_with("actors/src/") && (path.ends_with("/state.rs") || path.contains("/state/")) {
        for name in STATE_BANS {
            let line = names(source, name)
                .or_else(|| source.word(name).filter(|_| ["async", "await"].contains(name)));
            complaints.extend(line.map(|line| {
                format!("{path}:{line}: `{name}`: a state is pure: event and time in, effects out")
            }));
        }
    }
    complaints
}

/// What is not as in every other room of the actors: parts of a room that are public beside its façade, and actors that
/// are called so.
pub(crate) fn odd_room(source: &Source) -> Vec<String> {
    let path = &source.path;
    if !path.starts_with("actors/src/") {
        return vec![];
    }
    let mut complaints = Vec::new();
    for (number, line) in source.code.lines().enumerate() {
        let line = line.trim();
        for part in ["state", "actor", "messages"] {
            if line.starts_with("pub") && line.ends_with(&format!("mod {part};")) {
                let text = "`mod.rs` hands on what others may use; the parts of a room are its own";
                complaints.push(format!("{path}:{}: `{line}`: {text}", number + 1));
            }
        }
        let name = line.split("struct ").nth(1).unwrap_or_default();
        let name: String = name.chars().take_while(|c| c.is_alphanumeric()).collect();
        if name.len() > "Actor".len() && name.ends_with("Actor") {
            complaints.push(format!("{path}:{}: `{name}`: an actor is called by what it is", number + 1));
        }
    }
    complaints
}

/// Rooms of an actor whose pure part has another name, with the reason.
const STATES_ELSEWHERE: &[(&str, &str)] =
    &[("actors/src/supervisor", "whoever knows supervisors looks for their policy: `policy.rs`")];

/// Actors and what they are told that do not stand where they stand in every other room: the actor in `actor.rs` under the
/// name of its room (with at most another word before or behind), its messages in `messages.rs`.
pub(crate) fn misplaced_actor(source: &Source) -> Vec<String> {
    let path = &source.path;
    if !path.starts_with("actors/src/") || is_test(path) {
        return vec![];
    }
    let (dir, file) = path.rsplit_once('/').unwrap_or(("", path));
    let room = dir.rsplit('/').next().unwrap_or_default();
    let room: String = room.split('_').map(capitalized).collect();
    let mut complaints = Vec::new();
    for (number, line) in source.code.lines().enumerate() {
        let mut complain = |text: &str| complaints.push(format!("{path}:{}: {text}", number + 1));
        if let Some(actor) = after(line, "impl Behaviour for ") {
            if file != "actor.rs" {
                complain("an actor stands in the `actor.rs` of its room");
            }
            if !actor.starts_with(&room) && !actor.ends_with(&room) {
                complain(&format!("`{actor}`: an actor is called as its room is"));
            }
        }
        let told = after(line, "type Msg = ").filter(|_| file == "actor.rs");
        if told.is_some_and(|told| !told.ends_with("Msg")) {
            complain("what an actor is told has a name that ends in `Msg`");
        }
        if after(line, "enum ").is_some_and(|name| name.ends_with("Msg")) && file != "messages.rs" {
            complain("what an actor is told stands in the `messages.rs` of its room");
        }
    }
    complaints
}

/// Rooms of an actor that are not whole: a façade with private parts, a pure state, messages, and a picture in one of the
/// first two.
pub(crate) fn incomplete_rooms(sources: &[Source]) -> Vec<String> {
    let rooms = sources.iter().filter_map(|source| source.path.strip_suffix("/actor.rs"));
    let rooms = rooms.filter(|room| room.starts_with("actors/src/"));
    rooms.flat_map(|room| incomplete_room(room, sources)).collect()
}

fn incomplete_room(room: &str, sources: &[Source]) -> Vec<String> {
    let part = |name: &str| sources.iter().find(|source| source.path == format!("{room}/{name}"));
    let mut complaints = Vec::new();
    let elsewhere = STATES_ELSEWHERE.iter().any(|(excused, _)| *excused == room);
    for name in ["mod.rs", "state.rs", "messages.rs"] {
        if part(name).is_none() && !(name == "state.rs" && elsewhere) {
            complaints.push(format!("{room}: the room of an actor has a {name}"));
        }
    }
    let draws = |source: &Source| source.text.lines().any(|line| line.starts_with("//! ```text"));
    if ![part("mod.rs"), part("state.rs")].into_iter().flatten().any(draws) {
        complaints.push(format!("{room}: neither `mod.rs` nor `state.rs` draws what the actor does"));
    }
    let lines = part("mod.rs").map(|source| source.code.lines().collect::<Vec<_>>()).unwrap_or_default();
    let public = |line: &&str| line.starts_with("pub") && line.contains(" mod ") && line.ends_with(';');
    let text = "`mod.rs` hands on what others may use; the parts of a room are its own";
    complaints
        .extend(lines.into_iter().filter(public).map(|line| format!("{room}/mod.rs: `{line}`: {text}")));
    complaints
}

/// Tests of modules that lie elsewhere than all others: they are `mod tests`, in the file that they test or where the
/// language looks for that module.
pub(crate) fn misplaced_tests(source: &Source) -> Vec<String> {
    let path = &source.path;
    let mut complaints = Vec::new();
    if !path.contains("/src/") {
        return complaints;
    }
    if path.ends_with("_tests.rs") {
        complaints.push(format!("{path}: tests are in `tests.rs`, or in files in `tests/`"));
    }
    let mut lines = source.code.lines().map(str::trim).enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        if line.starts_with("#[path") {
            complaints.push(format!("{path}:{}: a module lies where the language looks for it", number + 1));
        }
        let below = lines.peek().map(|(_, below)| *below).unwrap_or_default();
        let module = after(below, "mod ").filter(|_| line == "#[cfg(test)]" && !is_test(path));
        if let Some(name) = module.filter(|name| !["tests", "fakes"].contains(name)) {
            complaints.push(format!("{path}:{}: `{name}`: tests are in `mod tests`", number + 2));
        }
    }
    complaints
}

/// The name behind `words`, if a line has them.
fn after<'a>(line: &'a str, words: &str) -> Option<&'a str> {
    let rest = line.split(words).nth(1)?;
    rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

/// The line on which the code names a path: in a `use`, with or without braces, or written out where it is used.
pub(crate) fn names(source: &Source, path: &str) -> Option<usize> {
    let code = source.code.as_str();
    let below = format!("{path}::");
    let used = code.match_indices("use ").find(|(at, word)| {
        let tree = code[at + word.len()..].split(';').next().unwrap_or_default();
        let begins = code[..*at].bytes().next_back().is_none_or(|byte| byte.is_ascii_whitespace());
        begins && expand(tree).iter().any(|used| used == path || used.starts_with(&below))
    });
    let written = code.match_indices(path).find(|(at, _)| {
        let before = code[..*at].bytes().next_back().unwrap_or(b' ');
        let after = &code[at + path.len()..];
        // What follows `crate::` or `self::` is a module of the room itself.
        let whole = !before.is_ascii_alphanumeric() && before != b'_' && before != b':';
        let ends = !after.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        whole && ends && (path.contains("::") || after.starts_with("::"))
    });
    let (at, _) = used.or(written)?;
    Some(code.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1)
}

/// The paths that a `use` tree names: `a::{b, c::{d}}` gives `a::b` and `a::c::d`.
pub(crate) fn expand(tree: &str) -> Vec<String> {
    let Some((prefix, list)) = tree.split_once('{') else {
        let path = tree.split_once(" as ").map_or(tree, |(path, _)| path);
        return vec![path.split_whitespace().collect()];
    };
    let prefix: String = prefix.split_whitespace().collect();
    let list = list.trim_end().strip_suffix('}').unwrap_or(list);
    let mut depth = 0;
    let separate = |c: char| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    };
    let items: Vec<&str> = list.split(separate).filter(|item| !item.trim().is_empty()).collect();
    items.into_iter().flat_map(expand).map(|item| format!("{prefix}{item}")).collect()
}

#[cfg(test)]
mod bites {
    use super::*;

    fn complaints(path: &str, text: &str) -> usize {
        misplaced_import(&Source::new(path, text)).len()
    }

    #[test]
    fn each_room_is_held_to_its_promise() {
        assert_eq!(complaints("wire/src/a.rs", "use tokio::net::TcpStream;"), 1);
        assert_eq!(complaints("wire/src/a.rs", "use tokio::{io::AsyncRead, net::TcpStream};"), 1);
        assert_eq!(complaints("wire/src/a.rs", "use tokio::{\n    net,\n    sync::mpsc,\n};"), 1);
        assert_eq!(complaints("wire/src/a.rs", "use std::{io::Write as _, fs::File};"), 1);
        assert_eq!(complaints("wire/src/a.rs", "fn f() { tracing::info!(); }"), 1);
        assert_eq!(complaints("wire/src/a.rs", "use tokio::{io::AsyncRead, sync::{mpsc, time}};"), 0);
        assert_eq!(complaints("wire/src/a.rs", "use crate::log::x; // std::net"), 0);
        assert_eq!(complaints("actors/src/a.rs", "let x = std::env::var(\"A\");"), 1);
        assert_eq!(complaints("actors/src/a.rs", "use std::{fmt, net::{SocketAddr, TcpStream}};"), 1);
        assert_eq!(complaints("client/src/a.rs", "use dfs_node::config;"), 1);
        assert_eq!(complaints("node/src/a.rs", "use std::net::TcpStream;"), 0);
        assert_eq!(complaints("node/src/a.rs", "let x = ractor::call!(a, B);"), 1);
        assert_eq!(complaints("tests/src/sim/a.rs", "use ractor::Actor;"), 1);
        assert_eq!(complaints("wire/src/link/tests.rs", "use tokio::time::sleep;"), 0);
        assert_eq!(complaints("wire/src/link/tests/peer.rs", "use tokio::time::sleep;"), 0);
    }

    #[test]
    fn rooms_are_alike() {
        let odd = |path, text| odd_room(&Source::new(path, text)).len();
        assert_eq!(odd("actors/src/a/mod.rs", "pub mod state;\nmod actor;\npub(crate) mod messages;"), 2);
        assert_eq!(odd("actors/src/a/actor.rs", "pub struct LeaseActor {\n}"), 1);
        assert_eq!(odd("actors/src/a/actor.rs", "pub struct Lease {\n}\nstruct Actors;"), 0);
        assert_eq!(odd("node/src/a/mod.rs", "pub mod state;"), 0);
    }

    #[test]
    fn an_actor_and_its_messages_stand_in_their_places() {
        let odd = |path, text| misplaced_actor(&Source::new(path, text)).len();
        let actor = "impl Behaviour for Lease {\n    type Msg = LeaseMsg;";
        assert_eq!(odd("actors/src/lease/actor.rs", actor), 0);
        assert_eq!(odd("actors/src/lease/mod.rs", actor), 1);
        assert_eq!(odd("actors/src/lease.rs", actor), 2, "a loose one, in no room of its name");
        assert_eq!(odd("actors/src/lease/actor.rs", "impl Behaviour for Taker {"), 1);
        assert_eq!(odd("actors/src/lease/actor.rs", "impl Behaviour for LeaseTaker {"), 0);
        assert_eq!(odd("actors/src/chunk_lease/actor.rs", "impl Behaviour for ChunkLease {"), 0);
        assert_eq!(odd("actors/src/lease/actor.rs", "    type Msg = Words;"), 1);
        assert_eq!(odd("actors/src/lease/actor.rs", "pub enum LeaseMsg {}"), 1);
        assert_eq!(odd("actors/src/lease/messages.rs", "pub enum LeaseMsg {}"), 0);
        assert_eq!(odd("actors/src/lease/tests.rs", "impl Behaviour for Probe {\nenum ProbeMsg {"), 0);
    }

    #[test]
    fn a_room_is_whole() {
        let picture = "//! A lease.\n//!\n//! ```text\n//! a -> b\n//! ```\nmod state;";
        let whole = [
            ("mod.rs", "//! A lease.\nmod state;"),
            ("state.rs", picture),
            ("actor.rs", ""),
            ("messages.rs", ""),
        ];
        let odd = |parts: &[(&str, &str)]| {
            let source = |(name, text): &(&str, &str)| Source::new(&format!("actors/src/lease/{name}"), text);
            incomplete_rooms(&parts.iter().map(source).collect::<Vec<_>>()).len()
        };
        assert_eq!(odd(&whole), 0);
        let without = |name| whole.into_iter().filter(|(part, _)| *part != name).collect::<Vec<_>>();
        assert_eq!(odd(&without("mod.rs")), 1);
        assert_eq!(odd(&without("messages.rs")), 1);
        assert_eq!(odd(&without("state.rs")), 2, "and nothing is drawn");
        assert_eq!(odd(&without("actor.rs")), 0, "no actor");
        let open = ("mod.rs", "pub(crate) mod words;\npub mod state;\npub use state::State;");
        assert_eq!(odd(&[&without("mod.rs")[..], &[open]].concat()), 2);
    }

    #[test]
    fn tests_lie_where_all_tests_lie() {
        let odd = |path, text| misplaced_tests(&Source::new(path, text)).len();
        assert_eq!(odd("node/src/a_tests.rs", ""), 1);
        assert_eq!(odd("node/src/a.rs", "#[cfg(test)]\n#[path = \"b.rs\"]\nmod tests;"), 1);
        assert_eq!(odd("node/src/a.rs", "#[cfg(test)]\nmod power_cut;"), 1);
        assert_eq!(odd("node/src/a.rs", "#[cfg(test)]\npub(crate) mod odd {"), 1);
        assert_eq!(odd("node/src/a.rs", "#[cfg(test)]\nmod tests;"), 0);
        assert_eq!(odd("node/src/a/tests/mod.rs", "#[cfg(test)]\nmod power_cut;"), 0);
        assert_eq!(odd("actors/tests/a.rs", "#[path = \"a/b.rs\"]\nmod b;"), 0);
    }

    #[test]
    fn a_state_is_pure() {
        assert_eq!(complaints("actors/src/lease/state.rs", "use tokio::sync::mpsc;"), 1);
        assert_eq!(complaints("actors/src/lease/state.rs", "async fn f() {}"), 1);
        assert_eq!(complaints("actors/src/lease/state.rs", "let now = Instant::now();"), 1);
        assert_eq!(complaints("actors/src/lease/state/words.rs", "use tokio::sync::mpsc;"), 1);
        assert_eq!(complaints("actors/src/lease/actor.rs", "use tokio::sync::mpsc;"), 0);
    }
}
