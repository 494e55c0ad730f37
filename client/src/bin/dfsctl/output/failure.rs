//! Failures as a user meets them: what happened, where, why, and what to do next.

use std::fmt;
use std::io;
use std::path::Path;
use std::rc::Rc;

use dfs_wire::status::StatusCode;
use serde::Serialize;

use crate::output::Output;
use crate::output::exit::Exit;
use crate::output::text::plain;
use dfs_client::{Error, ErrorKind};

/// A failure of a command or of one item of it.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// How the process should end.
    pub exit: Exit,
    /// Stable word: the name of a status code, or one of dfsctl's own (`Usage`, `LocalFile`, `NoMatch`, ...).
    pub code: &'static str,
    /// What happened, to whom, and why.
    pub message: String,
    /// What to do next, or empty.
    pub hint: String,
    /// Whether the same command may succeed later without anybody changing anything.
    pub retryable: bool,
    /// The node where it happened.
    pub node: Option<String>,
    /// The chunk it is about.
    pub chunk: Option<String>,
    /// The operation whose outcome is unknown.
    pub op: Option<String>,
}

/// What a command gives.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// The JSON of a failure on standard error.
#[derive(Debug, Serialize)]
pub(crate) struct FailureView<'a> {
    /// One word for programs, which stays the same.
    pub code: &'a str,
    /// The process's exit code if this were the only failure.
    pub exit_code: u8,
    /// What happened, for people.
    pub message: &'a str,
    /// What to do next, or null.
    pub hint: Option<&'a str>,
    /// Whether repeating may help.
    pub retryable: bool,
    /// The node where it happened, or null.
    pub node: Option<&'a str>,
    /// The chunk it is about, or null.
    pub chunk: Option<&'a str>,
    /// The operation whose outcome is unknown, or null: the coordinator's log names it, and an SDK may repeat it.
    pub op: Option<&'a str>,
}

impl Failure {
    /// A failure of dfsctl's own.
    pub(crate) fn new(exit: Exit, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            exit,
            code,
            message: message.into(),
            hint: String::new(),
            retryable: exit == Exit::Unavailable,
            node: None,
            chunk: None,
            op: None,
        }
    }

    /// The command line makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "Usage", message)
    }

    /// A pattern matched nothing.
    pub(crate) fn no_match(pattern: &str) -> Self {
        Self::new(Exit::NotFound, "NoMatch", format!("no path matches '{}'", plain(pattern)))
            .hint("the patterns are * ? [] {} **; --literal takes the path as it is written")
    }

    /// A file or directory of this machine could not be used; `action` is a verb (`read`, `write`).
    pub(crate) fn local(action: &str, path: &Path, error: &io::Error) -> Self {
        let exit = match error.kind() {
            io::ErrorKind::NotFound => Exit::NotFound,
            io::ErrorKind::AlreadyExists => Exit::Precondition,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Exit::Denied,
            kind if is_full(kind) => Exit::NoSpace,
            io::ErrorKind::BrokenPipe => Exit::Pipe,
            _ => Exit::Other,
        };
        let shown = plain(&path.to_string_lossy());
        let failure =
            Self::new(exit, "LocalFile", format!("cannot {action} local '{shown}': {}", reason(error)));
        match error.kind() {
            io::ErrorKind::NotFound if path.is_relative() => match std::env::current_dir() {
                Ok(here) => failure.hint(format!("the name is relative to {}", here.display())),
                Err(_) => failure,
            },
            io::ErrorKind::StorageFull => failure.hint("free some space on this machine"),
            _ => failure,
        }
    }

    /// Writing to standard output failed.
    pub(crate) fn stdout(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Exit::Pipe, "Pipe", "the reader of the output went away"),
            kind => {
                let exit = if is_full(kind) { Exit::NoSpace } else { Exit::Other };
                Self::new(exit, "LocalFile", format!("cannot write the output: {}", reason(error)))
            }
        }
    }

    /// Adds what to do next, unless something more exact is said already.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        if self.hint.is_empty() {
            self.hint = hint.into();
        }
        self
    }

    /// Puts what was being done in front.
    #[must_use]
    pub(crate) fn context(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// Whether the failure says that a path does not exist.
    pub(crate) fn is_not_found(&self) -> bool {
        self.exit == Exit::NotFound
    }

    /// The JSON of it.
    pub(crate) fn view(&self) -> FailureView<'_> {
        FailureView {
            code: self.code,
            exit_code: self.exit.number(),
            message: &self.message,
            hint: (!self.hint.is_empty()).then_some(self.hint.as_str()),
            retryable: self.retryable,
            node: self.node.as_deref(),
            chunk: self.chunk.as_deref(),
            op: self.op.as_deref(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let local = || local_exit(&error);
        let exit = error.status_code().map_or_else(local, Exit::of);
        let mut message = error.message().to_owned();
        let mut cause = std::error::Error::source(&error);
        while let Some(source) = cause {
            let text = cause_text(source);
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            cause = source.source();
        }
        let mut message = said_once(message);
        if let Some(op) = error.op() {
            message = format!("{message} (operation {op})");
        }
        let failure = Self {
            exit,
            // One word for this machine's files, whether the SDK or dfsctl met the failure.
            code: match (error.status_code(), error.kind()) {
                (Some(code), _) => code.name(),
                (None, ErrorKind::SourceChanged) => error.code(),
                (None, _) => "LocalFile",
            },
            message,
            hint: error.hint().to_owned(),
            retryable: error.retryable(),
            node: error.node().map(|id| id.to_string()),
            chunk: error.chunk().map(|id| id.to_string()),
            op: error.op().map(|op| op.to_string()),
        };
        match error.status_code() {
            Some(code) => failure.default_hint(code),
            None => failure,
        }
    }
}

/// Whether there is no room, for whatever reason.
fn is_full(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Without `stat /a:` in front of a sentence that begins with `/a` anyway.
fn said_once(message: String) -> String {
    let rest = message.split_once(' ').and_then(|(_, rest)| {
        let (subject, sentence) = rest.split_once(": ")?;
        let more = sentence.strip_prefix(subject)?;
        more.starts_with(' ').then(|| sentence.to_owned())
    });
    rest.unwrap_or(message)
}

fn local_exit(error: &Error) -> Exit {
    let io = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    match (error.kind(), io.map(io::Error::kind)) {
        (kind @ (ErrorKind::NoSpace | ErrorKind::SourceChanged), _) => Exit::of_kind(kind),
        (_, Some(io::ErrorKind::BrokenPipe)) => Exit::Pipe,
        (_, Some(io::ErrorKind::NotFound)) => Exit::NotFound,
        (_, Some(io::ErrorKind::AlreadyExists)) => Exit::Precondition,
        (_, Some(io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)) => Exit::Denied,
        _ => Exit::Other,
    }
}

fn cause_text(source: &(dyn std::error::Error + 'static)) -> String {
    if let Some(io) = source.downcast_ref::<io::Error>() {
        return reason(io);
    }
    source.downcast_ref::<Error>().map_or_else(|| source.to_string(), |error| error.message().to_owned())
}

impl Failure {
    /// What to do next when the other side did not say.
    fn default_hint(self, code: StatusCode) -> Self {
        let hint = match code {
            StatusCode::NoWriteQuorum => "'dfsctl nodes' says which datanodes are down and why",
            StatusCode::NoSpace => {
                "'dfsctl df' says which nodes are full; deleted files give their space back after their time in the trash ('dfsctl trash empty' does it now)"
            }
            StatusCode::ReplicasUnreachable => {
                "'dfsctl nodes' says which datanodes are down; start them and repeat"
            }
            StatusCode::Corrupt => "'dfsctl verify PATH' reads every copy and names the bad ones",
            StatusCode::OutcomeUnknown | StatusCode::StaleOperation => {
                "look with 'dfsctl stat PATH' whether it was done before you repeat it"
            }
            StatusCode::VersionMismatch => concat!(
                "this is dfsctl ",
                env!("CARGO_PKG_VERSION"),
                "; use the one that was built with the cluster's nodes ('dfs-node --version' there says which), or upgrade them: the coordinator first, then the datanodes, clients last"
            ),
            StatusCode::WrongCluster => {
                "the endpoint leads to another cluster than before; check --endpoint and DFS_ENDPOINT"
            }
            StatusCode::ProtocolViolation => {
                "what answers there does not speak the dfs protocol of this dfsctl: is it the coordinator's port?"
            }
            StatusCode::Busy => "repeat after a pause, or with a smaller -j",
            StatusCode::Internal => "the log of the node has more",
            _ => return self,
        };
        self.hint(hint)
    }
}

/// An I/O error in words a stranger understands, without Rust's `(os error N)` where the words say it all.
pub(crate) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only".to_owned(),
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::StorageFull => "no space left on the device".to_owned(),
        io::ErrorKind::AlreadyExists => "it exists already".to_owned(),
        io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        io::ErrorKind::NotADirectory => "a part of the path is not a directory".to_owned(),
        _ => error.to_string(),
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// What several items came to: keeps the first failure and counts, and decides the exit code.
#[derive(Default)]
pub(crate) struct Tally {
    /// Items that worked.
    pub done: u64,
    /// Items that failed.
    pub failed: u64,
    first: Option<Failure>,
    /// The reader of the output went away: nothing else matters.
    pipe: Option<Failure>,
    /// Tells of failures as they come; `None`: the end of the command tells of the only one.
    tell: Option<Tell>,
}

/// Tells of a failure as it comes.
pub(crate) type Tell = Rc<dyn Fn(&Failure)>;

impl Tally {
    /// A tally of so many items, which tells of each failure as it comes if there are several.
    pub(crate) fn of(output: Output, items: usize) -> Self {
        let mut tally = Self::default();
        tally.tell_each(output, items);
        tally
    }

    /// Tells of failures as they come from now on, if there are several items.
    pub(crate) fn tell_each(&mut self, output: Output, items: usize) {
        if items > 1 {
            self.tell = Some(Rc::new(move |failure| output.failure(failure)));
        }
    }

    /// A tally that has failures told in another way.
    pub(crate) fn telling(tell: Tell) -> Self {
        Self { tell: Some(tell), ..Self::default() }
    }

    /// Counts one item.
    pub(crate) fn count<T>(&mut self, outcome: Outcome<T>) -> Option<T> {
        match outcome {
            Ok(value) => {
                self.done += 1;
                Some(value)
            }
            Err(failure) => {
                self.fail(failure);
                None
            }
        }
    }

    /// Counts one item whose value nobody needs.
    pub(crate) fn add<T>(&mut self, outcome: Outcome<T>) {
        self.count(outcome);
    }

    /// Counts an item that failed.
    pub(crate) fn fail(&mut self, failure: Failure) {
        self.failed += 1;
        if let Some(tell) = &self.tell {
            tell(&failure);
        }
        if failure.exit == Exit::Pipe {
            self.pipe.get_or_insert_with(|| failure.clone());
        }
        self.first.get_or_insert(failure);
    }

    /// Whether nobody reads the output any more.
    pub(crate) fn unread(&self) -> bool {
        self.pipe.is_some()
    }

    /// Whether something failed and nothing worked: then there is no result to print, only the failure.
    pub(crate) fn nothing(&self) -> bool {
        self.done == 0 && self.failed > 0
    }

    /// The end of the command: nothing failed; all failed (the first failure's code); or some did (partial).
    pub(crate) fn finish(self, noun: &str) -> Outcome {
        self.finish_with(noun, Self::default(), "")
    }

    /// As [`Self::finish`], of two kinds of items, each counted by itself.
    pub(crate) fn finish_with(self, noun: &str, other: Self, other_noun: &str) -> Outcome {
        if let Some(pipe) = self.pipe.or(other.pipe) {
            return Err(pipe);
        }
        let Some(first) = self.first.or(other.first) else { return Ok(()) };
        let (done, failed) = (self.done + other.done, self.failed + other.failed);
        let kinds = [(self.done, self.failed, noun), (other.done, other.failed, other_noun)];
        let kinds = kinds.iter().filter(|(_, failed, _)| *failed > 0);
        if done > 0 {
            let counts = kinds.map(|(done, failed, noun)| format!("{failed} of {} {noun}", done + failed));
            let text = format!("{} failed", counts.collect::<Vec<_>>().join(" and "));
            return Err(Failure::new(Exit::Partial, "Partial", text)
                .hint("the lines above say which and why; the others are done"));
        }
        if failed == 1 {
            return Err(first);
        }
        let counts: Vec<_> = kinds.map(|(_, failed, noun)| format!("all {failed} {noun}")).collect();
        let text = format!("{} failed; the first: {}", counts.join(" and "), first.message);
        Err(Failure { message: text, ..first })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_is_partial_only_if_something_worked() {
        let fail = || Failure::no_match("/x*");
        assert!(Tally::default().finish("files").is_ok());
        let mut one = Tally::default();
        one.fail(fail());
        assert_eq!(one.finish("files").unwrap_err().exit, Exit::NotFound);
        let mut mixed = Tally::default();
        mixed.fail(fail());
        mixed.count(Ok(()));
        assert_eq!(mixed.finish("files").unwrap_err().exit, Exit::Partial);
    }

    #[test]
    fn directories_are_not_counted_as_files() {
        let tally = |done: u64, failed: u64| {
            let mut tally = Tally { done, ..Tally::default() };
            (0..failed).for_each(|_| tally.fail(Failure::no_match("/x*")));
            tally
        };
        let said = |files: Tally, directories: Tally| {
            files.finish_with("files", directories, "directories").unwrap_err().message
        };
        let first = "no path matches '/x*'";
        assert_eq!(
            said(tally(0, 1), tally(0, 1746)),
            format!("all 1 files and all 1746 directories failed; the first: {first}")
        );
        assert_eq!(said(tally(0, 0), tally(0, 2)), format!("all 2 directories failed; the first: {first}"));
        assert_eq!(said(tally(3, 0), tally(0, 2)), "2 of 2 directories failed");
        assert_eq!(said(tally(3, 1), tally(1, 1)), "1 of 4 files and 1 of 2 directories failed");
        assert_eq!(said(tally(0, 1), tally(0, 0)), first);
    }

    #[test]
    fn a_reader_that_went_away_is_no_partial_failure() {
        let mut tally = Tally::default();
        tally.add(Ok(()));
        tally.fail(Failure::stdout(&io::Error::from(io::ErrorKind::BrokenPipe)));
        tally.fail(Failure::no_match("/x*"));
        assert_eq!(tally.finish("files").unwrap_err().exit, Exit::Pipe);
    }

    #[test]
    fn a_path_is_not_said_twice() {
        let said = |text: &str| said_once(text.to_owned());
        assert_eq!(said("stat /a b: /a b does not exist"), "/a b does not exist");
        assert_eq!(said("put /a: 3 nodes are down"), "put /a: 3 nodes are down");
        assert_eq!(said("put /a: /ab exists"), "put /a: /ab exists");
        assert_eq!(said("x"), "x");
    }

    #[test]
    fn the_json_of_a_failure_keeps_its_fields() {
        let json = serde_json::to_value(Failure::no_match("/x*").view()).unwrap();
        let keys: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys, ["chunk", "code", "exit_code", "hint", "message", "node", "op", "retryable"]);
        assert_eq!(json["exit_code"], 3);
    }

    #[test]
    fn a_missing_local_file_says_where_it_was_looked_for() {
        let failure = Failure::local("read", Path::new("no-such"), &io::Error::from(io::ErrorKind::NotFound));
        assert_eq!(failure.message, "cannot read local 'no-such': no such file or directory");
        assert!(failure.hint.starts_with("the name is relative to /"), "{}", failure.hint);
        assert_eq!(failure.exit, Exit::NotFound);
    }
}
