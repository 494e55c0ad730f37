//! Output: data on standard output in one of four formats, everything else on standard error.
//!
//! The machine formats are a promise: fields are only ever added. Sizes are bytes, times RFC 3339 in UTC, ids
//! hexadecimal. A command that lists things prints one object with one array (`{"entries": [...]}`) as JSON and
//! YAML, and one line per thing as JSON lines; every other command prints one object.

pub(crate) mod exit;
pub(crate) mod failure;
pub(crate) mod findings;
pub(crate) mod fold;
pub(crate) mod list;
pub(crate) mod object;
pub(crate) mod page;
pub(crate) mod progress;
pub(crate) mod text;
pub(crate) mod used;
pub(crate) mod views;

use std::io::{IsTerminal, Write};

use clap::ValueEnum;
use serde::Serialize;

use self::page::{Page, Paint};
use crate::output::failure::{Failure, Outcome};

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people: aligned columns.
    #[default]
    Table,
    /// One JSON object.
    Json,
    /// One JSON object per line and thing.
    Jsonl,
    /// One YAML document.
    Yaml,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set or TERM is dumb.
    #[default]
    Auto,
    /// Always, into a file or a pipe as well.
    Always,
    /// Never, not even on a terminal.
    Never,
}

impl Color {
    fn enabled(self, terminal: bool) -> bool {
        let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto if set("NO_COLOR") => false,
            Self::Auto if std::env::var_os("CLICOLOR_FORCE").is_some_and(|v| !v.is_empty() && v != "0") => {
                true
            }
            Self::Auto => terminal && std::env::var_os("TERM").is_none_or(|term| term != "dumb"),
        }
    }
}

/// What a command that prints one thing prints.
pub(crate) trait View: Serialize {
    /// Writes it for people.
    fn page(&self, page: &mut Page);

    /// Its lines in the JSON lines format; by default the whole on one line.
    ///
    /// # Errors
    /// If a value cannot be put into JSON.
    fn lines(&self) -> serde_json::Result<Vec<String>> {
        Ok(vec![serde_json::to_string(self)?])
    }
}

/// Where and how a command prints.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// The format of the data.
    pub format: Format,
    /// Colours of standard output.
    pub paint: Paint,
    /// Colours of standard error.
    pub paint_err: Paint,
    /// Whether standard error is a terminal.
    pub terminal: bool,
    /// Columns of the terminal that standard output is; `None` if it is something else.
    pub columns: Option<usize>,
    /// Whether the user wants no summaries.
    pub quiet: bool,
    /// How much more the user wants to hear.
    pub verbose: u8,
}

impl Output {
    /// Reads the terminal and the environment.
    pub(crate) fn new(format: Format, color: Color, quiet: bool, verbose: u8) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self {
            format,
            paint: Paint::new(format == Format::Table && color.enabled(std::io::stdout().is_terminal())),
            paint_err: Paint::new(color.enabled(terminal)),
            terminal,
            columns: columns(),
            quiet,
            verbose,
        }
    }

    /// Prints a command's one result.
    ///
    /// # Errors
    /// If standard output cannot be written.
    pub(crate) fn print(&self, view: &impl View) -> Outcome {
        let text = self.render(view).map_err(|text| {
            Failure::new(
                crate::output::exit::Exit::Other,
                "Internal",
                format!("cannot print the result: {text}"),
            )
        })?;
        write_stdout(text.as_bytes())
    }

    /// The text that [`Self::print`] writes.
    ///
    /// # Errors
    /// What the format's writer says, if a value cannot be expressed in it.
    pub(crate) fn render(&self, view: &impl View) -> Result<String, String> {
        match self.format {
            Format::Table => {
                let mut page = Page::within(self.paint, self.columns);
                view.page(&mut page);
                Ok(page.finish())
            }
            Format::Json => {
                serde_json::to_string_pretty(view).map(|text| text + "\n").map_err(|e| e.to_string())
            }
            Format::Jsonl => {
                let lines = view.lines().map_err(|e| e.to_string())?;
                Ok(lines.iter().map(|line| format!("{line}\n")).collect())
            }
            Format::Yaml => serde_yaml_ng::to_string(view).map_err(|e| e.to_string()),
        }
    }

    /// A name that stands on a line of its own: byte for byte, unless a terminal would be driven by it.
    pub(crate) fn name_line(&self, name: &str) -> String {
        match self.columns {
            Some(_) => format!("{}\n", text::plain(name)),
            None => format!("{name}\n"),
        }
    }

    fn is_json(&self) -> bool {
        matches!(self.format, Format::Json | Format::Jsonl)
    }

    /// Whether the data is for people.
    pub(crate) fn is_table(&self) -> bool {
        self.format == Format::Table
    }

    /// Tells the user something that is not data, unless he wants quiet or a machine reads.
    pub(crate) fn note(&self, text: impl AsRef<str>) {
        if !self.quiet && self.is_table() {
            complain(&format!("{}\n", text.as_ref()));
        }
    }

    /// Tells the user of something he should know even when a machine reads the data.
    pub(crate) fn warn(&self, text: impl AsRef<str>) {
        match self.is_json() {
            true => complain(&format!("{}\n", serde_json::json!({ "warning": text.as_ref() }))),
            false => complain(&format!("{} {}\n", self.paint_err.yellow("warning:"), text.as_ref())),
        }
    }

    /// Shows a failure on standard error, in the form that suits the format.
    pub(crate) fn failure(&self, failure: &Failure) {
        if failure.exit == crate::output::exit::Exit::Pipe {
            // As with any Unix tool: nobody is left to hear it.
            return;
        }
        match serde_json::to_string(&failure.view()) {
            Ok(line) if self.is_json() => complain(&format!("{line}\n")),
            _ => complain(&page::failure_text(failure, self.paint_err)),
        }
    }
}

/// The width of the terminal on standard output, if it is one.
fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    // One that does not know its size is taken for one of the usual size.
    Some(if size.ws_col == 0 { 80 } else { usize::from(size.ws_col) })
}

/// Writes to standard output.
///
/// # Errors
/// If it cannot be written; a closed pipe has its own exit code.
pub(crate) fn write_stdout(bytes: &[u8]) -> Outcome {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|e| Failure::stdout(&e))
}

/// Writes to standard error. That it cannot be written is nobody's business: the exit code still tells.
pub(crate) fn complain(text: &str) {
    let mut stderr = std::io::stderr().lock();
    if stderr.write_all(text.as_bytes()).is_ok() {
        stderr.flush().unwrap_or_default();
    }
}
