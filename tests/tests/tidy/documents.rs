//! Rules on documents: links lead to files and headings that exist, the protocol names every status code, and comments
//! that document say something.

use std::collections::BTreeSet;

use dfs_wire::status::StatusCode;

use crate::circles::is_test;
use crate::source::Source;

/// Where production code is.
const PRODUCTION: [&str; 4] = ["wire/src/", "actors/src/", "node/src/", "client/src/"];
/// The text of the protocol is made from these: a row of its tables has the name and the type beside the comment.
const OF_THE_PROTOCOL: [&str; 2] = ["wire/src/message/", "wire/src/id.rs"];

/// The links of a document that lead nowhere. `exists` says whether a path of the repository exists, `document`
/// gives a document's text, for the headings in it.
pub(crate) fn dead_links(
    path: &str,
    text: &str,
    exists: &dyn Fn(&str) -> bool,
    document: &dyn Fn(&str) -> Option<String>,
) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, target) in links(text) {
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (file, heading) = target.split_once('#').unwrap_or((&target, ""));
        let place = if file.is_empty() { Some(path.to_owned()) } else { resolve(path, file) };
        let found = place.as_deref().is_some_and(exists);
        let text = place.as_deref().and_then(document);
        let named =
            heading.is_empty() || text.is_some_and(|text| headings(&text).any(|slug| slug == heading));
        if !found || !named {
            complaints.push(format!("{path}:{number}: the link to `{target}` leads nowhere"));
        }
    }
    complaints
}

/// Files and folders of the repository that a document names in back quotes and that are not there.
pub(crate) fn names_of_nothing(path: &str, text: &str, exists: &dyn Fn(&str) -> bool) -> Vec<String> {
    const ROOMS: [&str; 7] = ["wire/", "actors/", "node/", "client/", "tests/", "configs/", "compose/"];
    let mut complaints = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let quoted = line.split('`').skip(1).step_by(2);
        let paths = quoted.filter(|name| ROOMS.iter().any(|room| name.starts_with(room)));
        // Patterns and placeholders are no names.
        let names = paths.filter(|name| !name.contains(|c: char| c.is_whitespace() || "<>*{}$…".contains(c)));
        let gone = names.filter(|name| !exists(name.trim_end_matches('/')));
        complaints.extend(gone.map(|name| format!("{path}:{}: `{name}` is not there", number + 1)));
    }
    complaints
}

/// Link targets outside code blocks, with their lines.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut fenced = false;
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        fenced ^= line.trim_start().starts_with("```");
        let pieces = line.split("](").skip(1).filter(|_| !fenced);
        found.extend(
            pieces.filter_map(|rest| rest.split_once(')')).map(|(target, _)| (number + 1, target.to_owned())),
        );
    }
    found
}

/// A relative link of `path` as a path of the repository; `None` if it leads out of it.
fn resolve(path: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in link.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The headings of a document as the anchors that renderers make of them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter(|line| line.starts_with('#')).map(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        title
            .chars()
            .filter(|c| c.is_alphanumeric() || "-_ ".contains(*c))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect()
    })
}

pub(crate) fn undocumented_codes(protocol: &str, codes: &[StatusCode]) -> Vec<String> {
    let row = |code: &StatusCode| {
        let (number, name) = (code.number().to_string(), code.name());
        protocol.lines().any(|line| {
            line.starts_with('|')
                && line.contains(name)
                && line.split(['|', ' ', '`']).any(|cell| cell == number)
        })
    };
    let missing = codes.iter().filter(|code| !row(code));
    missing.map(|code| format!("wire/PROTOCOL.md: no row for {} {}", code.number(), code.name())).collect()
}

/// The words of the code, those in its literals too: codes that are text have names like types.
pub(crate) fn words_of_code(sources: &[Source]) -> BTreeSet<&str> {
    let lines = sources.iter().flat_map(|source| source.text.lines());
    let code = lines.filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_')).collect()
}

/// Names in back quotes, in comments that document, that look like types of ours and are nowhere in the code. Links are
/// rustdoc's to check.
pub(crate) fn names_no_type(source: &Source, known: &BTreeSet<&str>) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut fenced = false;
    for (number, line) in source.text.lines().enumerate() {
        let line = line.trim_start();
        let Some(said) = line.strip_prefix("//!").or_else(|| line.strip_prefix("///")) else {
            fenced = false;
            continue;
        };
        fenced ^= said.trim_start().starts_with("```");
        let quoted = said.split('`').skip(1).step_by(2).filter(|_| !fenced);
        for name in quoted.filter(|name| looks_like_a_type(name)) {
            if !name.split("::").all(|part| known.contains(part)) {
                complaints.push(format!("{}:{}: `{name}` is not in the code", source.path, number + 1));
            }
        }
    }
    complaints
}

/// Whether a name is in camel case, with a second capital (`Accept` may be a word of others), or a path that begins so.
fn looks_like_a_type(name: &str) -> bool {
    let first = name.split("::").next().unwrap_or_default();
    let letters = name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == ':');
    let camel = first.starts_with(|c: char| c.is_ascii_uppercase())
        && !first.contains('_')
        && first.contains(|c: char| c.is_ascii_lowercase())
        && first.chars().skip(1).any(|c| c.is_ascii_uppercase());
    letters && (camel || name.contains("::") && first.starts_with(|c: char| c.is_ascii_uppercase()))
}

/// Comments on production items that begin with a sentence of at most two words, such as "Its path.": the name and the
/// type say as much. What has no full stop is help of the command; what names something in back quotes says it.
pub(crate) fn says_nothing(source: &Source) -> Vec<String> {
    let path = source.path.as_str();
    let is_in = |places: &[&str]| places.iter().any(|place| path.starts_with(place));
    if !is_in(&PRODUCTION) || is_in(&OF_THE_PROTOCOL) || is_test(path) {
        return vec![];
    }
    let said = |line: &str| line.trim_start().strip_prefix("///").unwrap_or_default().trim().to_owned();
    let lines: Vec<_> = source.text.lines().map(said).collect();
    let alone = |at: usize| {
        let beside = [at.checked_sub(1), Some(at + 1)];
        beside.into_iter().flatten().all(|at| lines.get(at).is_none_or(String::is_empty))
    };
    let empty = |said: &str| said.ends_with('.') && !said.contains('`') && said.split(' ').count() <= 2;
    let found = lines.iter().enumerate().filter(|(at, said)| empty(said) && alone(*at));
    found
        .map(|(at, said)| {
            format!("{path}:{}: \"{said}\" says nothing: tell what the name and the type do not", at + 1)
        })
        .collect()
}

#[cfg(test)]
mod bites {
    use super::*;

    #[test]
    fn a_type_that_is_gone_is_not_named_any_more() {
        let code = Source::new("a.rs", "struct ChunkKey;\n// ChunkName\nimpl Lease { fn renew() {} }");
        let sources = [code];
        let known = words_of_code(&sources);
        let told = |text: &str| names_no_type(&Source::new("b.rs", text), &known).len();
        assert_eq!(told("//! Takes a `ChunkName` to a `ChunkKey`."), 1);
        assert_eq!(told("/// Takes a `ChunkName`, or `Lease::renew`."), 1);
        assert_eq!(told("    /// As `Lease::drop` does."), 1);
        assert_eq!(
            told("//! `Accept`, `CRC32`, `O_DIRECT`, `chunk_name`, `Vec of ChunkName`, [`ChunkName`](x)."),
            1
        );
        assert_eq!(told("//! ```text\n//! `ChunkName`\n//! ```\n//! then"), 0);
        assert_eq!(told("// `ChunkName` is gone"), 0);
    }

    #[test]
    fn a_file_that_is_not_there_is_not_named() {
        let exists = |path: &str| path == "wire/src/id.rs" || path == "wire/src";
        let text = "See `wire/src/id.rs`, `wire/src/` and `wire/src/gone.rs`, not `wire/src/<name>.rs` or `other/a.rs`.";
        assert_eq!(names_of_nothing("a.md", text, &exists), ["a.md:1: `wire/src/gone.rs` is not there"]);
    }

    #[test]
    fn dead_links_are_seen() {
        let exists = |path: &str| ["node/docs/a.md", "README.md", "configs"].contains(&path);
        let document = |path: &str| (path == "README.md").then(|| "# dfs: what it is\n".to_owned());
        let complaints = |text: &str| dead_links("node/docs/a.md", text, &exists, &document).len();
        assert_eq!(
            complaints(
                "[a](../../README.md) [b](../../configs/) [c](https://x.y) [d](../../README.md#dfs-what-it-is)"
            ),
            0
        );
        assert_eq!(complaints("```\n[a](nowhere)\n```\n"), 0);
        for bad in ["[a](b.md)", "[a](../../../x)", "[a](../../README.md#no-such)"] {
            assert_eq!(complaints(bad), 1, "{bad}");
        }
    }

    #[test]
    fn comments_that_say_nothing_are_seen() {
        let found = |path, text: &str| says_nothing(&Source::new(path, text)).len();
        let file = "node/src/sample.rs";
        for bad in ["Who.", "Its path.", "The node.\n    ///\n    /// # Errors"] {
            let text = format!("struct A {{\n    /// {bad}\n    b: u32,\n}}\n");
            assert_eq!(found(file, &text), 1, "{bad}");
            let elsewhere = [
                "wire/src/message/admin.rs",
                "wire/src/id.rs",
                "node/src/store/tests/a.rs",
                "tests/src/a.rs",
            ];
            assert!(elsewhere.iter().all(|path| found(path, &text) == 0), "{bad}");
        }
        for good in [
            "Bytes, counted once.",
            "Which shell",
            "Section `node`.",
            "A long sentence that ends on the\n/// next line.",
        ] {
            assert_eq!(found(file, &format!("/// {good}\nstruct A;\n")), 0, "{good}");
        }
    }

    #[test]
    fn missing_codes_are_seen() {
        let first = StatusCode::ALL.first().copied().expect("a code");
        let row = format!("| {} | `{}` | text |\n", first.number(), first.name());
        assert_eq!(undocumented_codes(&row, &[first]).len(), 0);
        assert_eq!(undocumented_codes(&row, StatusCode::ALL).len(), StatusCode::ALL.len() - 1);
    }
}
