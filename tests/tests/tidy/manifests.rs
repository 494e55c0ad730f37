//! Rules on the manifests: every dependency is declared once, at the workspace; rooms depend on rooms as drawn;
//! lints are inherited; panics unwind.

use crate::rooms::names;
use crate::source::Source;

/// Which rooms a room may depend on.
const ROOMS: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("actors", &["dfs-wire"]),
    ("client", &["dfs-wire"]),
    ("node", &["dfs-wire", "dfs-actors", "dfs-client"]),
    ("tests", &["dfs-wire", "dfs-actors", "dfs-client", "dfs-node"]),
];

/// Dependencies declared outside the workspace table, with the reason.
const EXCEPTIONS: &[(&str, &str)] = &[
    // Inherited features can only be added to, and wire must build with fewer than the others: no runtime.
    ("wire/Cargo.toml", "tokio"),
];

pub(crate) fn misdeclared(path: &str, text: &str) -> Vec<String> {
    // A fuzz crate is a workspace of its own, as cargo-fuzz wants it.
    if path.contains("/fuzz/") {
        return vec![];
    }
    let room = path.split('/').next().unwrap_or_default();
    let allowed = ROOMS.iter().find(|(name, _)| *name == room).map_or(&[][..], |(_, rooms)| rooms);
    let mut complaints = Vec::new();
    let mut section = String::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
        } else if section.ends_with("dependencies") && !line.is_empty() && !line.starts_with('#') {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            let inherited = line.contains("workspace = true") || line.contains("workspace=true");
            if !inherited && !EXCEPTIONS.contains(&(path, name)) {
                complaints
                    .push(format!("{path}:{}: `{name}` is declared here, not at the workspace", number + 1));
            }
            // A room may name itself among its dev-dependencies, to be tested with a feature.
            let itself = name.strip_prefix("dfs-") == Some(room) && section == "dev-dependencies";
            if section == "dependencies" && line.contains("\"testing\"") {
                complaints.push(format!("{path}:{}: what is for tests is no part of what ships", number + 1));
            }
            if name.starts_with("dfs-") && !itself && !allowed.contains(&name) {
                complaints.push(format!("{path}:{}: {room} must not depend on {name}", number + 1));
            }
        }
    }
    let compact: String = text.split_whitespace().collect();
    if !compact.contains("[lints]workspace=true") {
        complaints.push(format!("{path}: the lints of the workspace are not inherited"));
    }
    complaints
}

/// Whether a file uses a crate: by a path into it (those of macros and attributes, too), a `use` or an `extern crate`. That
/// something else has its name is no use.
pub(crate) fn uses(source: &Source, name: &str) -> bool {
    let linked = |line: &str| {
        let rest = line.trim().strip_prefix("extern crate ")?;
        (rest.trim_end_matches(';').split(' ').next() == Some(name)).then_some(())
    };
    let named = |path: &str| names(source, path).is_some();
    named(name) || named(&format!("::{name}")) || source.code.lines().any(|line| linked(line).is_some())
}

/// Dependencies that no source file of the crate uses. `uses` says whether one does.
pub(crate) fn unused(path: &str, text: &str, uses: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut section = "";
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if section.ends_with("dependencies") && !section.starts_with("workspace") {
            let name = line.split(['.', '=', ' ', '#']).next().unwrap_or_default();
            if !name.is_empty() && !uses(&name.replace('-', "_")) {
                complaints.push(format!("{path}:{}: `{name}` is not used", number + 1));
            }
        }
    }
    complaints
}

pub(crate) fn aborting(text: &str) -> Vec<String> {
    let abort = |line: &&str| line.trim_start().starts_with("panic") && line.contains("abort");
    let found = text
        .lines()
        .filter(abort)
        .map(|line| format!("Cargo.toml: `{line}`: a panic must end one actor, not the node"));
    found.collect()
}

#[cfg(test)]
mod bites {
    use super::*;

    #[test]
    fn a_dependency_that_nobody_names_is_told() {
        let text = "[dependencies]\nserde.workspace = true\n# why\ntokio-util = { workspace = true }\n[lints]\nworkspace = true";
        let told = unused("x/Cargo.toml", text, &|name| name == "serde");
        assert_eq!(told, ["x/Cargo.toml:4: `tokio-util` is not used"]);
    }

    #[test]
    fn a_namesake_is_no_use() {
        let used = |text: &str| uses(&Source::new("x/src/a.rs", text), "bytes");
        for text in [
            "use bytes::Bytes;",
            "pub use bytes::{Bytes, BytesMut};",
            "use bytes as raw;",
            "extern crate bytes;",
            "let x: bytes::Bytes = y;",
            "#[bytes::made]\nfn f() {}",
            "bytes::bytes!(1);",
            "use ::bytes::{Bytes, BytesMut};",
        ] {
            assert!(used(text), "{text}");
        }
        for text in [
            "let bytes = 1;",
            "fn f(bytes: u64) {}",
            "use crate::bytes::Count;",
            "self.bytes.len()",
            "// bytes::Bytes",
            "struct S { bytes: Bytes }",
            "use std::{fs, os::bytes};",
            "let x = self::bytes::of(y);",
        ] {
            assert!(!used(text), "{text}");
        }
    }

    const LINTS: &str = "[lints]\nworkspace = true\n";

    #[test]
    fn stray_declarations_and_wrong_directions_are_seen() {
        let manifest = |dependency: &str| format!("{LINTS}[dependencies]\n# one\n{dependency}\n");
        assert_eq!(misdeclared("actors/Cargo.toml", &manifest("bytes.workspace = true")).len(), 0);
        assert_eq!(misdeclared("actors/Cargo.toml", &manifest("bytes = { workspace = true }")).len(), 0);
        assert_eq!(misdeclared("actors/Cargo.toml", &manifest("bytes = \"1\"")).len(), 1);
        assert_eq!(misdeclared("actors/Cargo.toml", &manifest("dfs-node.workspace = true")).len(), 1);
        assert_eq!(misdeclared("actors/Cargo.toml", &manifest("dfs-actors.workspace = true")).len(), 1);
        assert_eq!(misdeclared("wire/Cargo.toml", &manifest("tokio = \"1\"")).len(), 0);
        let testing = "dfs-actors = { workspace = true, features = [\"testing\"] }";
        assert_eq!(misdeclared("node/Cargo.toml", &manifest(testing)).len(), 1);
        let dev = format!("{LINTS}[dev-dependencies]\n{testing}\n");
        assert_eq!(misdeclared("node/Cargo.toml", &dev).len(), 0);
        assert_eq!(misdeclared("wire/Cargo.toml", "[dependencies]\n").len(), 1);
    }

    #[test]
    fn a_profile_that_aborts_is_seen() {
        assert_eq!(aborting("[profile.release]\npanic = \"abort\"\n").len(), 1);
        assert_eq!(aborting("[profile.release]\npanic = \"unwind\"\n").len(), 0);
    }
}
