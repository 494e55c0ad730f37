//! A list that is printed while it is read, so that a million entries need no memory.

use serde::Serialize;

use super::page::Paint;
use super::{Format, Output, write_stdout};
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome, Tally};

/// Text is handed to standard output in pieces of about this size.
const FLUSH_BYTES: usize = 32 * 1024;

/// Prints `{"<name>": [...]}`, one line per item, or a line per item for people.
///
/// [`List::finish`] closes the document; call it also when reading failed half-way, so that what was printed is
/// still well-formed.
#[derive(Debug)]
pub(crate) struct List {
    output: Output,
    name: &'static str,
    items: u64,
    buffer: String,
}

impl List {
    /// A list whose array has the name `name`.
    pub(crate) fn new(output: Output, name: &'static str) -> Self {
        Self { output, name, items: 0, buffer: String::new() }
    }

    /// Where and how it prints.
    pub(crate) fn output(&self) -> Output {
        self.output
    }

    /// Adds an item; `human` gives its line for people.
    ///
    /// # Errors
    /// If standard output cannot be written.
    pub(crate) fn push<T: Serialize>(&mut self, item: &T, human: impl FnOnce(Paint) -> String) -> Outcome {
        self.render(item, human).map_err(|text| {
            Failure::new(Exit::Other, "Internal", format!("cannot print an entry: {text}"))
        })?;
        self.items += 1;
        if self.buffer.len() >= FLUSH_BYTES { self.flush() } else { Ok(()) }
    }

    /// Adds an item; for people exactly `text`, without a line's end.
    ///
    /// # Errors
    /// If standard output cannot be written.
    pub(crate) fn raw<T: Serialize>(&mut self, item: &T, text: &str) -> Outcome {
        if self.output.format != Format::Table {
            return self.push(item, |_| String::new());
        }
        self.buffer.push_str(text);
        self.items += 1;
        if self.buffer.len() >= FLUSH_BYTES { self.flush() } else { Ok(()) }
    }

    /// Adds a line that only people see.
    pub(crate) fn human_line(&mut self, line: &str) {
        if self.output.format == Format::Table {
            self.buffer.push_str(line);
            self.buffer.push('\n');
        }
    }

    fn render<T: Serialize>(&mut self, item: &T, human: impl FnOnce(Paint) -> String) -> Result<(), String> {
        let first = self.items == 0;
        match self.output.format {
            Format::Table => {
                let text = human(self.output.paint);
                self.human_line(text.strip_suffix('\n').unwrap_or(&text));
            }
            Format::Jsonl => {
                self.buffer.push_str(&serde_json::to_string(item).map_err(|e| e.to_string())?);
                self.buffer.push('\n');
            }
            Format::Json => {
                let text = serde_json::to_string_pretty(item).map_err(|e| e.to_string())?;
                match first {
                    true => self.buffer.push_str(&format!("{{\n  \"{}\": [\n    ", self.name)),
                    false => self.buffer.push_str(",\n    "),
                }
                // A newline inside a JSON text is always layout: within strings it is escaped.
                self.buffer.push_str(&text.replace('\n', "\n    "));
            }
            Format::Yaml => {
                let text = serde_yaml_ng::to_string(&[item]).map_err(|e| e.to_string())?;
                if first {
                    self.buffer.push_str(&format!("{}:\n", self.name));
                }
                self.buffer.push_str(&text);
            }
        }
        Ok(())
    }

    /// Hands what is printed so far to standard output.
    ///
    /// # Errors
    /// If standard output cannot be written.
    pub(crate) fn flush(&mut self) -> Outcome {
        let text = std::mem::take(&mut self.buffer);
        write_stdout(text.as_bytes())
    }

    /// As [`Self::finish`], but prints nothing at all if nothing came and everything failed: the failure is all there
    /// is to say.
    ///
    /// # Errors
    /// If standard output cannot be written.
    pub(crate) fn finish_after(self, tally: &Tally) -> Outcome<u64> {
        if self.items == 0 && tally.nothing() { Ok(0) } else { self.finish() }
    }

    /// Closes the document and gives the number of items.
    ///
    /// # Errors
    /// If standard output cannot be written.
    pub(crate) fn finish(mut self) -> Outcome<u64> {
        match (self.output.format, self.items) {
            (Format::Json, 0) => self.buffer.push_str(&format!("{{\n  \"{}\": []\n}}\n", self.name)),
            (Format::Json, _) => self.buffer.push_str("\n  ]\n}\n"),
            (Format::Yaml, 0) => self.buffer.push_str(&format!("{}: []\n", self.name)),
            _ => {}
        }
        self.flush()?;
        Ok(self.items)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::output::Color;

    fn rendered(format: Format, items: &[Value]) -> String {
        let mut list = List::new(Output::new(format, Color::Never, false, 0), "things");
        for item in items {
            list.render(item, |_| item["a"].to_string()).unwrap();
            list.items += 1;
        }
        let closing = match (format, items.is_empty()) {
            (Format::Json, false) => "\n  ]\n}\n",
            _ => "",
        };
        list.buffer + closing
    }

    #[test]
    fn a_streamed_list_is_the_document_it_claims_to_be() {
        let items = [json!({"a": 1, "b": "x\ny"}), json!({"a": 2, "b": []})];
        let whole = json!({"things": items});
        assert_eq!(serde_json::from_str::<Value>(&rendered(Format::Json, &items)).unwrap(), whole);
        assert_eq!(serde_yaml_ng::from_str::<Value>(&rendered(Format::Yaml, &items)).unwrap(), whole);
        let lines = rendered(Format::Jsonl, &items);
        assert_eq!(
            lines.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()).collect::<Vec<_>>(),
            items
        );
        assert_eq!(rendered(Format::Table, &items), "1\n2\n");
    }
}
