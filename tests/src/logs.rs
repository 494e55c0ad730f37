//! The logs of a cluster, watched: an `ERROR` or a panic that the test did not announce is a failure.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// What the logs of a cluster may hold.
#[derive(Clone, Debug, Default)]
pub struct LogWatch {
    allowed: Vec<String>,
    files: Vec<PathBuf>,
}

impl LogWatch {
    pub(crate) fn watch(&mut self, file: &Path) {
        self.files.push(file.to_owned());
    }

    /// Lines that hold this text are part of the test.
    pub fn allow(&mut self, text: &str) {
        self.allowed.push(text.to_owned());
    }

    /// Every line that should not be there, with its file's name.
    pub fn complaints(&self) -> Vec<String> {
        self.files.iter().flat_map(|file| self.complaints_of(file)).collect()
    }

    fn complaints_of(&self, file: &Path) -> Vec<String> {
        let text =
            fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        text.lines()
            .filter(|line| is_alarm(line) && !self.allowed.iter().any(|text| line.contains(text.as_str())))
            .map(|line| format!("{name}: {line}"))
            .collect()
    }

    /// Every panic that nobody ordered, with its file's name.
    pub(crate) fn panics(&self) -> Vec<String> {
        self.files
            .iter()
            .flat_map(|file| {
                let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                let text = fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                panics_in(&text.unwrap_or_default()).into_iter().map(move |line| format!("{name}: {line}"))
            })
            .collect()
    }

    /// The last lines of every log, for the report of a failure.
    pub(crate) fn tails(&self, lines: usize) -> String {
        let mut out = String::new();
        for file in &self.files {
            let text =
                fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
            let all: Vec<_> = text.lines().collect();
            out += &format!("--- {}\n", file.display());
            for line in all.iter().skip(all.len().saturating_sub(lines)) {
                out += line;
                out.push('\n');
            }
        }
        out
    }
}

/// The lines of a log that tell of a panic which nobody ordered.
pub(crate) fn panics_in(log: &str) -> Vec<String> {
    let panic =
        |line: &&str| is_alarm(line) && line.contains("panic reason=") || line.contains("panicked at");
    let lines = log.lines().filter(panic).filter(|line| !line.contains(ORDERED));
    lines.map(str::to_owned).collect()
}

/// The words of a panic that was ordered: `supervisor/chaos.rs` of the actors.
const ORDERED: &str = "chaos ordered this panic";

/// A line of level `ERROR`, or one that the runtime prints when a thread panics before the log is set up.
fn is_alarm(line: &str) -> bool {
    let level = line.split_whitespace().nth(1);
    level == Some("ERROR") || (line.starts_with("thread '") && line.contains("panicked at"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unannounced_error_or_panic_is_a_complaint_and_an_announced_one_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("dn1.log");
        let text = "2026-01-01T00:00:00Z  INFO dfs: an ERROR in words\n2026-01-01T00:00:00Z ERROR dfs: it broke\n\
                    2026-01-01T00:00:00Z  WARN dfs: careful\nthread 'main' (1) panicked at src/main.rs:1:1:\n";
        fs::write(&file, text).expect("written");
        let mut watch = LogWatch::default();
        watch.watch(&file);
        assert_eq!(watch.complaints().len(), 2, "{:?}", watch.complaints());
        assert_eq!(watch.panics().len(), 1, "{:?}", watch.panics());
        watch.allow("it broke");
        watch.allow("panicked");
        assert_eq!(watch.complaints(), Vec::<String>::new());
        assert!(watch.tails(1).ends_with("src/main.rs:1:1:\n"));
    }

    #[test]
    fn a_panic_that_was_ordered_is_none_that_nobody_ordered() {
        let log = "2026-01-01T00:00:00Z ERROR dfs: panic reason=\"chaos ordered this panic\" location=\"a.rs\"\n\
                   2026-01-01T00:00:00Z ERROR dfs: panic reason=\"index out of bounds\" location=\"b.rs\"\n\
                   2026-01-01T00:00:00Z  INFO dfs: panic reason=\"x\"\n";
        assert_eq!(panics_in(log).len(), 1, "{:?}", panics_in(log));
    }
}
