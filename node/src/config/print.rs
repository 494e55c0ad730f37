//! The configuration in words: `--print-config`, and the tables of the reference document.

use std::fmt::Write as _;

use super::{
    keys::{KEYS, Key, Kind, SECTIONS},
    layers::{Layers, size, span},
};

/// The merged configuration as a YAML file that could be loaded again, each value with its origin.
pub(crate) fn print(layers: &Layers) -> String {
    let mut out = String::new();
    for (section, _) in SECTIONS {
        let _ = writeln!(out, "{section}:");
        for key in KEYS.iter().filter(|key| key.section == *section) {
            let path = key.path();
            let line = format!("  {}: {}", key.name, quoted(key, &layers.text(&path)));
            let _ = writeln!(out, "{line:<44} # {}", layers.origin(&path));
        }
    }
    out
}

fn quoted(key: &Key, value: &str) -> String {
    match key.kind {
        Kind::Secret if !value.is_empty() => "\"(not shown)\"".to_owned(),
        Kind::Text | Kind::Path => serde_json::Value::from(value).to_string(),
        _ if value.is_empty() => "\"\"".to_owned(),
        _ => value.to_owned(),
    }
}

/// The generated part of `node/docs/CONFIGURATION.md`: one table per section.
pub fn reference() -> String {
    let mut out = String::new();
    for (section, heading) in SECTIONS {
        let _ = writeln!(out, "### `{section}`\n\n{heading}\n");
        let _ = writeln!(out, "| key | default | value | meaning |\n|---|---|---|---|");
        for key in KEYS.iter().filter(|key| key.section == *section) {
            let default =
                if key.default.is_empty() { "(empty)".to_owned() } else { format!("`{}`", key.default) };
            let live = if key.live { " Applied by SIGHUP." } else { "" };
            let _ = writeln!(out, "| `{}` | {default} | {} | {}{live} |", key.name, kind(key.kind), key.doc);
        }
        out.push('\n');
    }
    out
}

fn kind(kind: Kind) -> String {
    match kind {
        Kind::Text => "text".to_owned(),
        Kind::Secret => "text, never shown".to_owned(),
        Kind::Path => "path".to_owned(),
        Kind::Flag => "`true` or `false`".to_owned(),
        Kind::Count(low, high) => format!("number, {low} to {high}"),
        Kind::Size(low, high) => format!("size, {} to {}", size(low), size(high)),
        Kind::Time(low, high) => format!("time, {} to {}", span(low), span(high)),
        Kind::Choice(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
    }
}
