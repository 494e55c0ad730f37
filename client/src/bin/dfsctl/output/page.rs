//! What people read: lines, aligned tables, a little colour.

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, presets};

use super::fold::{cut, fold, width};
use super::text::plain;
use crate::output::failure::Failure;

/// Colours, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paint {
    enabled: bool,
}

macro_rules! colours {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal;)+) => {
        impl Paint {
            $($(#[doc = $doc])+
            pub(crate) fn $name(self, text: &str) -> String {
                self.wrap($code, text)
            })+
        }
    };
}

colours! {
    /// Text that stands out.
    bold = "1";
    /// Text that may be passed over.
    dim = "2";
    /// What is bad.
    red = "31";
    /// What is good.
    green = "32";
    /// What needs attention.
    yellow = "33";
    /// Names of directories.
    blue = "34";
}

impl Paint {
    /// With or without colour.
    pub(crate) const fn new(enabled: bool) -> Self {
        Self { enabled }
    }

    /// Whether there are colours.
    pub(crate) const fn enabled(self) -> bool {
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
pub(crate) struct Page {
    pub paint: Paint,
    /// Columns that its lines may take; `None`: any number.
    columns: Option<usize>,
    text: String,
}

/// A column: its title and whether it holds numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Column {
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
pub(crate) enum Tone {
    /// Like the rest.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// It needs attention.
    Warn,
    /// It is broken or lost.
    Bad,
}

/// One field of a table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Field {
    text: String,
    tone: Tone,
}

impl Field {
    /// A field that strikes the eye.
    pub(crate) fn toned(text: impl Into<String>, tone: Tone) -> Self {
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
    pub(crate) const fn new(paint: Paint) -> Self {
        Self::within(paint, None)
    }

    /// An empty page for a terminal of so many columns; `None`: for something else, whose lines have no end.
    pub(crate) const fn within(paint: Paint, columns: Option<usize>) -> Self {
        Self { paint, columns, text: String::new() }
    }

    /// Adds a line. If it is folded, what follows stands in by two more.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) {
        let text = text.as_ref().trim_end();
        let indent = text.len() - text.trim_start_matches(' ').len();
        self.folded(text, indent + 2);
    }

    fn folded(&mut self, text: &str, indent: usize) {
        match self.columns {
            Some(columns) => fold(text, columns, indent).iter().for_each(|line| self.whole(line)),
            None => self.whole(text),
        }
    }

    /// Adds a line as it is: one to be copied, such as a command.
    pub(crate) fn whole(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// Adds `label  value`, the label padded to `width`.
    pub(crate) fn field(&mut self, width: usize, label: &str, value: impl AsRef<str>) {
        let label = format!("{label:<width$}");
        let line = format!("{}  {}", self.paint.dim(&label), value.as_ref());
        self.folded(line.trim_end(), width + 2);
    }

    /// Adds an aligned table; with no rows, only its titles.
    pub(crate) fn table(&mut self, columns: &[Column], rows: Vec<Vec<Field>>) {
        self.lines_of(columns, rows).iter().for_each(|line| self.whole(line));
    }

    /// As [`Self::table`], without the columns of these titles, the first one first, as far as there is no room for them.
    pub(crate) fn table_that_fits(&mut self, columns: &[Column], rows: Vec<Vec<Field>>, spare: &[&str]) {
        let (mut columns, mut rows, mut spare) = (columns.to_vec(), rows, spare.iter());
        let room = self.columns.unwrap_or(usize::MAX);
        loop {
            let lines = self.lines_of(&columns, rows.clone());
            let fits = lines.iter().all(|line| width(line) <= room);
            let Some(title) = spare.next().filter(|_| !fits) else {
                return lines.iter().for_each(|line| self.whole(&cut(line, room)));
            };
            if let Some(place) = columns.iter().position(|column| column.title() == *title) {
                columns.remove(place);
                rows.iter_mut().filter(|row| place < row.len()).for_each(|row| drop(row.remove(place)));
            }
        }
    }

    fn lines_of(&self, columns: &[Column], rows: Vec<Vec<Field>>) -> Vec<String> {
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
        table.lines().map(|line| line.trim_end().to_owned()).collect()
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

    /// Everything written so far.
    pub(crate) fn finish(self) -> String {
        self.text
    }
}

/// A failure for people: `error[Code]: message`, then what else is known.
pub(crate) fn failure_text(failure: &Failure, paint: Paint) -> String {
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
