//! What people read: lines, aligned tables, a little colour.

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, presets};

use super::text::plain;
use crate::cmd::failure::Failure;

/// Colours, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint {
    enabled: bool,
}

macro_rules! colours {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal;)+) => {
        impl Paint {
            $($(#[doc = $doc])+
            pub fn $name(self, text: &str) -> String {
                self.wrap($code, text)
            })+
        }
    };
}

colours! {
    /// Bold.
    bold = "1";
    /// Dimmed.
    dim = "2";
    /// Bad.
    red = "31";
    /// Good.
    green = "32";
    /// Needs attention.
    yellow = "33";
    /// Directories.
    blue = "34";
}

impl Paint {
    /// With or without colour.
    pub const fn new(enabled: bool) -> Self {
        Self { enabled }
    }

    /// Whether there are colours.
    pub const fn enabled(self) -> bool {
        self.enabled
    }

    fn wrap(self, code: &str, text: &str) -> String {
        match self.enabled {
            true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }
}

/// A text that grows.
#[derive(Debug)]
pub struct Page {
    /// Its colours.
    pub paint: Paint,
    text: String,
}

/// A column: its title and whether it holds numbers.
#[derive(Debug, Clone, Copy)]
pub enum Column {
    /// Text, to the left.
    Text(&'static str),
    /// Numbers, to the right.
    Number(&'static str),
}

impl Column {
    const fn title(self) -> &'static str {
        match self {
            Self::Text(title) | Self::Number(title) => title,
        }
    }
}

/// How a field of a table strikes the eye.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tone {
    /// Like the rest.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// Needs attention.
    Warn,
    /// Bad.
    Bad,
}

/// One field of a table.
#[derive(Debug, Clone, Default)]
pub struct Field {
    text: String,
    tone: Tone,
}

impl Field {
    /// A field that strikes the eye.
    pub fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }
}

impl<T: Into<String>> From<T> for Field {
    fn from(text: T) -> Self {
        Self { text: text.into(), tone: Tone::Plain }
    }
}

impl Page {
    /// An empty page.
    pub const fn new(paint: Paint) -> Self {
        Self { paint, text: String::new() }
    }

    /// Adds a line.
    pub fn line(&mut self, text: impl AsRef<str>) {
        self.text.push_str(text.as_ref().trim_end());
        self.text.push('\n');
    }

    /// Adds `label  value`, the label padded to `width`.
    pub fn field(&mut self, width: usize, label: &str, value: impl AsRef<str>) {
        let label = format!("{label:<width$}");
        let line = format!("{}  {}", self.paint.dim(&label), value.as_ref());
        self.line(line);
    }

    /// Adds an aligned table; with no rows, only its titles.
    pub fn table(&mut self, columns: &[Column], rows: Vec<Vec<Field>>) {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        if self.paint.enabled {
            table.enforce_styling();
        }
        table.set_header(columns.iter().map(|column| self.cell(*column, column.title().into(), true)));
        for row in rows {
            table.add_row(columns.iter().zip(row).map(|(column, field)| self.cell(*column, field, false)));
        }
        let last = columns.len().saturating_sub(1);
        for (index, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, if index == last { 0 } else { 2 }));
        }
        for line in table.lines() {
            self.line(line);
        }
    }

    fn cell(&self, column: Column, field: Field, title: bool) -> Cell {
        let cell = Cell::new(plain(&field.text)).set_alignment(match column {
            Column::Text(_) => CellAlignment::Left,
            Column::Number(_) => CellAlignment::Right,
        });
        match (self.paint.enabled, title, field.tone) {
            (false, ..) | (true, false, Tone::Plain) => cell,
            (true, true, _) => cell.add_attribute(Attribute::Bold),
            (true, false, Tone::Good) => cell.fg(Color::DarkGreen),
            (true, false, Tone::Warn) => cell.fg(Color::DarkYellow),
            (true, false, Tone::Bad) => cell.fg(Color::DarkRed),
        }
    }

    /// The text.
    pub fn finish(self) -> String {
        self.text
    }
}

/// A failure for people: `error[Code]: message`, then what else is known.
pub fn failure_text(failure: &Failure, paint: Paint) -> String {
    let mut page = Page::new(paint);
    let head = paint.red(&format!("error[{}]:", failure.code));
    let mut lines = failure.message.lines();
    page.line(format!("{head} {}", plain(lines.next().unwrap_or_default())));
    lines.for_each(|line| page.line(plain(line)));
    if let Some(chunk) = &failure.chunk {
        page.line(format!("  chunk: {chunk}"));
    }
    if let Some(node) = &failure.node {
        page.line(format!("  node: {node}"));
    }
    if !failure.hint.is_empty() {
        for (index, line) in failure.hint.lines().enumerate() {
            let head = if index == 0 { "hint:" } else { "     " };
            page.line(format!("  {} {}", paint.yellow(head), plain(line)));
        }
    }
    page.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align_and_have_no_trailing_blanks() {
        let mut page = Page::new(Paint::new(false));
        let columns = [Column::Text("NAME"), Column::Number("SIZE"), Column::Text("NOTE")];
        let row = |a: &str, b: &str, c: &str| vec![a.into(), b.into(), c.into()];
        page.table(&columns, vec![row("a", "1 B", ""), row("文字", "12.0 MiB", "x")]);
        assert_eq!(page.finish(), "NAME      SIZE  NOTE\na          1 B\n文字  12.0 MiB  x\n");
    }

    #[test]
    fn a_failure_says_what_and_what_next() {
        let failure = Failure::no_match("/a*");
        let text = failure_text(&failure, Paint::new(false));
        assert_eq!(
            text,
            "error[NoMatch]: no path matches '/a*'\n  hint: the patterns are * ? [] {} **; --literal takes the path as it is written\n"
        );
    }
}
