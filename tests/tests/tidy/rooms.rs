//! Which room may import what. The rooms keep their promises (wire: bytes only; actors: no concrete world) only if
//! somebody looks.

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
    (
        "client/src/",
        &["dfs_actors", "dfs_node", "ractor", "redb"],
        "the client knows the wire and nothing behind it",
    ),
];

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
    fn a_state_is_pure() {
        assert_eq!(complaints("actors/src/lease/state.rs", "use tokio::sync::mpsc;"), 1);
        assert_eq!(complaints("actors/src/lease/state.rs", "async fn f() {}"), 1);
        assert_eq!(complaints("actors/src/lease/state.rs", "let now = Instant::now();"), 1);
        assert_eq!(complaints("actors/src/lease/state/words.rs", "use tokio::sync::mpsc;"), 1);
        assert_eq!(complaints("actors/src/lease/actor.rs", "use tokio::sync::mpsc;"), 0);
    }
}
