//! Rules on single source files: length, module docs, leftovers, `unsafe`, white space.

/// Longest file, in lines.
const FILE_LINES_MAX: usize = 500;
/// Longest function, in lines from its `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;
/// Nine functions in ten of a crate are no longer than this.
const FUNCTION_LINES_P90: usize = 25;
/// The only file with `unsafe` code.
const UNSAFE_HOME: &str = "node/src/store/map.rs";

/// A source file with its text and its code: the same text with comments and the insides of literals blanked.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) code: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), code: blank(text) }
    }

    /// Whether `word` stands in the code as a whole identifier; gives its line.
    pub(crate) fn word(&self, word: &str) -> Option<usize> {
        let at = self
            .code
            .match_indices(word)
            .map(|(at, _)| at)
            .find(|at| is_whole(&self.code, *at, word.len()))?;
        Some(line_of(&self.code, at))
    }
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn is_whole(code: &str, at: usize, len: usize) -> bool {
    let bytes = code.as_bytes();
    let free = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_none_or(|byte| !is_name(*byte));
    free(at.checked_sub(1)) && free(Some(at + len))
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}

/// Replaces comments and the insides of string and character literals with blanks, so that braces and words in
/// them are not taken for code. Lengths and lines stay the same.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = skip(bytes, at);
        if end > at {
            out[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        }
        at = end.max(at + 1);
    }
    String::from_utf8(out).expect("only whole characters were blanked")
}

/// The end of the comment or literal that begins at `at`, or `at` itself if none does.
fn skip(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let until = |end: &[u8], from: usize| {
        let found =
            rest.get(from..).and_then(|tail| tail.windows(end.len()).position(|window| window == end));
        found.map_or(bytes.len(), |found| at + from + found + end.len())
    };
    let after_name = at > 0 && is_name(bytes[at - 1]);
    match rest {
        [b'/', b'/', ..] => until(b"\n", 0) - usize::from(rest.contains(&b'\n')),
        [b'/', b'*', ..] => until(b"*/", 2),
        [b'r', b'"' | b'#', ..] if !after_name || bytes[at - 1] == b'b' => {
            let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
            if rest.get(1 + hashes) != Some(&b'"') {
                return at;
            }
            until(&[&b"\""[..], &b"#".repeat(hashes)].concat(), hashes + 2)
        }
        [b'"', ..] => at + 1 + quoted(&rest[1..], b'"'),
        // A character, not a lifetime: the quote closes after one character or an escape.
        [b'\'', b'\\', ..] => at + 1 + quoted(&rest[1..], b'\''),
        [b'\'', ..] => match rest[1..].iter().take(5).position(|byte| *byte == b'\'') {
            Some(length)
                if std::str::from_utf8(&rest[1..=length]).is_ok_and(|text| text.chars().count() == 1) =>
            {
                at + length + 2
            }
            _ => at,
        },
        _ => at,
    }
}

fn quoted(bytes: &[u8], quote: u8) -> usize {
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            byte if *byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The functions of a file: name, first line, number of lines.
fn functions(code: &str) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ").filter(|(at, _)| is_whole(code, *at, 2)) {
        let name: String = code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        // A signature ends with a body or, in a trait, with a semicolon; array types hold semicolons in brackets.
        let mut depth = (0_i32, 0_i32);
        for (offset, byte) in code[at..].bytes().enumerate() {
            match byte {
                b'(' | b'[' => depth.0 += 1,
                b')' | b']' => depth.0 -= 1,
                b';' if depth == (0, 0) => break,
                b'{' => depth.1 += 1,
                b'}' => depth.1 -= 1,
                _ => continue,
            }
            if byte == b'}' && depth.1 == 0 {
                let first = line_of(code, at);
                found.push((name, first, line_of(code, at + offset) - first + 1));
                break;
            }
        }
    }
    found.into_iter().filter(|(name, ..)| !name.is_empty()).collect()
}

pub(crate) fn too_long(source: &Source, files: &[(&str, usize)], fns: &[(&str, &str, usize)]) -> Vec<String> {
    let path = source.path.as_str();
    let mut complaints = Vec::new();
    let allowed = files.iter().find(|(file, _)| *file == path).map_or(FILE_LINES_MAX, |(_, lines)| *lines);
    let lines = source.text.lines().count();
    if lines > allowed {
        complaints.push(format!("{path}: {lines} lines, more than {allowed}: split it"));
    }
    for (name, first, lines) in functions(&source.code) {
        let listed = fns.iter().find(|(file, function, _)| *file == path && *function == name);
        let allowed = listed.map_or(FUNCTION_LINES_MAX, |(_, _, lines)| *lines);
        if lines > allowed {
            complaints.push(format!("{path}:{first}: `{name}` has {lines} lines, more than {allowed}"));
        }
    }
    complaints
}

/// Crates of whose functions more than a tenth are longer than [`FUNCTION_LINES_P90`].
pub(crate) fn long_on_the_whole(sources: &[Source]) -> Vec<String> {
    let mut lengths: std::collections::BTreeMap<&str, Vec<usize>> = std::collections::BTreeMap::new();
    for source in sources.iter().filter(|source| source.path.contains("/src/")) {
        let room = source.path.split('/').next().unwrap_or_default();
        let lines = functions(&source.code).into_iter().map(|(_, _, lines)| lines);
        lengths.entry(room).or_default().extend(lines);
    }
    let too_long = |(room, mut lines): (&str, Vec<usize>)| {
        lines.sort_unstable();
        let p90 = lines.get(lines.len() * 9 / 10).copied().unwrap_or(0);
        (p90 > FUNCTION_LINES_P90).then(|| {
            format!("{room}: a tenth of the functions has {p90} lines or more, not {FUNCTION_LINES_P90}")
        })
    };
    lengths.into_iter().filter_map(too_long).collect()
}

pub(crate) fn no_module_doc(source: &Source) -> Vec<String> {
    let first = source.text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!["));
    let documented = first.is_some_and(|line| line.starts_with("//!"));
    if documented {
        vec![]
    } else {
        vec![format!("{}:1: no `//!` that says what the module is", source.path)]
    }
}

pub(crate) fn unfinished(source: &Source) -> Vec<String> {
    let path = &source.path;
    let mut complaints = Vec::new();
    for word in ["todo!", "unimplemented!", "dbg!"] {
        let name = word.trim_end_matches('!');
        let whole = source.code.match_indices(word).find(|(at, _)| is_whole(&source.code, *at, name.len()));
        if let Some((at, _)) = whole {
            complaints.push(format!("{path}:{}: `{word}`", line_of(&source.code, at)));
        }
    }
    for mark in ["#[ignore", "allow(dead_code", "expect(dead_code", "allow(unused"] {
        if let Some(at) = source.code.find(mark) {
            complaints.push(format!(
                "{path}:{}: `{mark}`: finish it, test it or remove it",
                line_of(&source.code, at)
            ));
        }
    }
    for (number, line) in source.text.lines().enumerate() {
        let comment = line.split_once("//").map_or("", |(_, comment)| comment);
        if ["TO", "FIX"].iter().zip(["DO", "ME"]).any(|(a, b)| comment.contains(&format!("{a}{b}"))) {
            complaints.push(format!("{path}:{}: a note to do it later", number + 1));
        }
    }
    complaints
}

pub(crate) fn misplaced_unsafe(source: &Source) -> Vec<String> {
    match source.word("unsafe") {
        Some(line) if source.path != UNSAFE_HOME => {
            vec![format!("{}:{line}: `unsafe` belongs in {UNSAFE_HOME} alone", source.path)]
        }
        _ => vec![],
    }
}

pub(crate) fn unclean(path: &str, text: &str) -> Vec<String> {
    // Written in pieces, so that this file does not accuse itself.
    let machine = ["work", "home", "root", "Users"].map(|dir| format!("/{dir}/"));
    let mut complaints = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut complain = |what: &str| complaints.push(format!("{path}:{}: {what}", number + 1));
        if line.trim_end() != line {
            complain("blanks at the end of the line");
        }
        if line.contains('\t') {
            complain("a tab");
        }
        let begins = |at: usize| {
            at == 0
                || !line.as_bytes()[at - 1].is_ascii_alphanumeric()
                    && !line[..at].ends_with(['.', '}', '-', '_'])
        };
        if machine.iter().any(|dir| line.match_indices(dir.as_str()).any(|(at, _)| begins(at))) {
            complain("a path of somebody's machine");
        }
    }
    if !text.is_empty() && (!text.ends_with('\n') || text.ends_with("\n\n")) {
        complaints.push(format!("{path}: must end with one newline"));
    }
    complaints
}

#[cfg(test)]
mod bites {
    use super::*;

    #[test]
    fn a_crate_of_long_functions_is_told() {
        let function = |lines: usize| format!("fn f() {{\n{}}}\n", "    x();\n".repeat(lines - 2));
        let of = |long: usize| {
            let text = function(5).repeat(100 - long) + &function(26).repeat(long);
            long_on_the_whole(&[Source::new("x/src/a.rs", &text)])
        };
        assert_eq!((of(10).len(), of(11).len()), (1, 1));
        assert_eq!(of(9), [] as [&str; 0]);
    }

    fn sample(text: &str) -> Source {
        Source::new("node/src/sample.rs", text)
    }

    #[test]
    fn comments_and_literals_are_not_code() {
        let text = "let a = \"{ unsafe \\\" }\"; // unsafe {\nlet b = r#\"unsafe \" {\"#; let c = '{'; /* { */ let d: &'a str = '\\'';";
        let code = blank(text);
        assert_eq!(code.len(), text.len());
        assert!(!code.contains("unsafe") && !code.contains('{'), "{code}");
        assert!(code.contains("let d: &'a str ="), "{code}");
    }

    #[test]
    fn long_files_and_functions_are_seen_and_the_ratchet_holds() {
        let long = format!("fn f(a: [u8; 2]) {{\n{}}}\nfn g() {{}}\n", "    let _ = \"}\";\n".repeat(70));
        assert_eq!(functions(&blank(&long)), [("f".to_owned(), 1, 72), ("g".to_owned(), 73, 1)]);
        assert_eq!(too_long(&sample(&long), &[], &[]).len(), 1);
        assert_eq!(too_long(&sample(&long), &[], &[("node/src/sample.rs", "f", 72)]).len(), 0);
        assert_eq!(too_long(&sample(&long), &[], &[("node/src/sample.rs", "f", 71)]).len(), 1);
        let file = "//\n".repeat(501);
        assert_eq!(too_long(&sample(&file), &[], &[]).len(), 1);
        assert_eq!(too_long(&sample(&file), &[("node/src/sample.rs", 501)], &[]).len(), 0);
    }

    #[test]
    fn missing_module_docs_are_seen() {
        assert_eq!(no_module_doc(&sample("use std::io;\n")).len(), 1);
        assert_eq!(no_module_doc(&sample("#![warn(x)]\n\n//! What it is.\n")).len(), 0);
    }

    #[test]
    fn leftovers_are_seen_in_code_and_not_in_text() {
        for bad in [
            "todo!()",
            "x => unimplemented!(),",
            "#[ignore = \"slow\"]",
            "#[allow(dead_code)]",
            concat!("// TO", "DO: later"),
        ] {
            assert_eq!(unfinished(&sample(bad)).len(), 1, "{bad}");
        }
        assert_eq!(unfinished(&sample("let text = \"todo!()\"; // no ignore")).len(), 0);
    }

    #[test]
    fn unsafe_is_seen_outside_its_home() {
        assert_eq!(misplaced_unsafe(&sample("unsafe { f() }")).len(), 1);
        assert_eq!(misplaced_unsafe(&sample("fn unsafe_settings() {} // unsafe")).len(), 0);
        assert_eq!(misplaced_unsafe(&Source::new(UNSAFE_HOME, "unsafe { f() }")).len(), 0);
    }

    #[test]
    fn unclean_text_is_seen() {
        for bad in [
            "a \n",
            "\ta\n",
            "a",
            "a\n\n",
            &format!("see /{}/me/x\n", "home"),
            &format!("\"/{}/x\"\n", "work"),
        ] {
            assert_eq!(unclean("a.md", bad).len(), 1, "{bad:?}");
        }
        assert_eq!(unclean("a.md", "${GITHUB}/work/x ../home/y\n").len(), 0);
    }
}
