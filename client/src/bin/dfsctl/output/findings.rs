//! Findings of health, as they are printed.

use dfs_wire::message::admin::HealthLevel;

use super::exit::Exit;
use super::page::Paint;

/// A word for how bad something is.
pub(crate) const fn word(level: HealthLevel) -> &'static str {
    match level {
        HealthLevel::Ok => "OK",
        HealthLevel::Warn => "WARN",
        HealthLevel::Error => "ERROR",
    }
}

/// A text in the colour of how bad it is.
pub(crate) fn toned(paint: Paint, level: HealthLevel, text: &str) -> String {
    match level {
        HealthLevel::Ok => paint.green(text),
        HealthLevel::Warn => paint.yellow(text),
        HealthLevel::Error => paint.red(text),
    }
}

/// A line that says how bad what is.
pub(crate) fn line(paint: Paint, level: HealthLevel, word: &str, what: &str, text: &str) -> String {
    let head = toned(paint, level, &format!("{word:<5} {what}"));
    if text.is_empty() { head } else { format!("{head}  {text}") }
}

/// The exit code that says how the cluster is.
pub(crate) const fn exit_of(health: HealthLevel) -> Exit {
    match health {
        HealthLevel::Ok => Exit::Ok,
        HealthLevel::Warn => Exit::HealthWarn,
        HealthLevel::Error => Exit::HealthError,
    }
}
