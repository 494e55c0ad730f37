//! What the actors must not do, because a run could not be played again from its seed, where clippy cannot see it. What it
//! can see is in `actors/.clippy.toml`.

use crate::source::Source;

const ROOM: &str = "actors/src/";

/// Choices between futures whose order is left to chance, or is fixed without a word on why none of them starves.
pub(crate) fn tossed_coins(source: &Source) -> Vec<String> {
    let Source { path, text, code } = source;
    if !path.starts_with(ROOM) {
        return vec![];
    }
    let mut complaints = Vec::new();
    for (at, word) in code.match_indices("select!") {
        let begins =
            code[..at].bytes().next_back().is_none_or(|byte| !byte.is_ascii_alphanumeric() && byte != b'_');
        if !begins {
            continue;
        }
        let inside = at + word.len() + code[at + word.len()..].find('{').map_or(0, |brace| brace + 1);
        let first = inside + code[inside..].len() - code[inside..].trim_start().len();
        let line = code[..at].bytes().filter(|byte| *byte == b'\n').count() + 1;
        let said = text[first..].lines().next().unwrap_or_default();
        match said.strip_prefix("biased;") {
            None => complaints.push(format!("{path}:{line}: `select!` without `biased;`: a coin decides")),
            Some(reason) if !reason.trim_start().starts_with("// ") => {
                complaints.push(format!("{path}:{line}: `biased;` does not say why nobody starves"));
            }
            Some(_) => {}
        }
    }
    complaints
}

/// State of the process: several nodes share it, and the second run in a process finds what the first one left.
pub(crate) fn process_state(source: &Source) -> Vec<String> {
    let Source { path, code, .. } = source;
    if !path.starts_with(ROOM) {
        return vec![];
    }
    let is_item = |line: &str| {
        let line = line.trim_start();
        let line = line
            .strip_prefix("pub")
            .map_or(line, |rest| rest.trim_start_matches(|c: char| c != ' ').trim_start());
        line.starts_with("static ") || line.contains("thread_local!")
    };
    let found = code.lines().enumerate().filter(|(_, line)| is_item(line));
    found
        .map(|(number, _)| format!("{path}:{}: state of the process: it belongs to a node", number + 1))
        .collect()
}

/// Bans without a bad sample that clippy is seen to refuse.
pub(crate) fn unproved_bans(bans: &str, samples: &Source) -> Vec<String> {
    let paths = bans.lines().filter_map(|line| line.split("path = \"").nth(1)?.split('"').next());
    let missing = paths.filter(|path| !samples.code.contains(*path));
    missing.map(|path| format!("{}: no bad sample of `{path}`", samples.path)).collect()
}

#[cfg(test)]
mod bites {
    use super::*;

    fn coins(text: &str) -> usize {
        tossed_coins(&Source::new("actors/src/a.rs", text)).len()
    }

    #[test]
    fn a_choice_is_in_order_and_says_why_nobody_starves() {
        assert_eq!(coins("tokio::select! {\n    x = a => x,\n    y = b => y,\n}"), 1);
        assert_eq!(coins("let x = futures_util::select! { x = a => x };"), 1);
        assert_eq!(coins("select! {\n    biased;\n    x = a => x,\n}"), 1);
        assert_eq!(coins("select! {\n    // first\n    biased; // once\n    x = a => x,\n}"), 0);
        assert_eq!(coins("select! {\n    biased; // once\n    x = a => x,\n}"), 0);
        assert_eq!(coins("// select! { x = a => x }\nlet y = my_select! { z };"), 0);
        assert_eq!(tossed_coins(&Source::new("client/src/a.rs", "select! { x = a => x }")), [""; 0]);
    }

    #[test]
    fn there_is_no_state_of_the_process() {
        let statics = |text| process_state(&Source::new("actors/src/a.rs", text)).len();
        assert_eq!(statics("fn f() {\n    static NEXT: AtomicU64 = AtomicU64::new(1);\n}"), 1);
        assert_eq!(statics("pub(crate) static TABLE: Mutex<u8> = Mutex::new(0);"), 1);
        assert_eq!(statics("pub static TABLE: [u8; 2] = [0; 2];"), 1);
        assert_eq!(statics("std::thread_local! { static LAST: u8 = 0 }"), 1);
        assert_eq!(statics("const KIND: &'static str = \"static x\";"), 0);
    }

    #[test]
    fn every_ban_has_its_sample() {
        let bans = "    { path = \"a::b\", reason = \"c\" },\n    { path = \"a::d\", reason = \"e\" },";
        let samples = Source::new("bans.rs", "let _sample = a::b; // a::d");
        assert_eq!(unproved_bans(bans, &samples), ["bans.rs: no bad sample of `a::d`"]);
    }
}
