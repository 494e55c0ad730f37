//! Lines that fit a terminal: folded between words, so that nothing is torn where the terminal would.

use std::str::Chars;

/// No terminal is taken for narrower.
const COLUMNS_MIN: usize = 20;

/// What a character of a text is to a terminal.
enum Piece {
    /// Something to see, one column wide.
    Seen(char),
    /// A part of a colour's code.
    Code(char),
}

/// The characters of a text that has colours.
struct Pieces<'a> {
    chars: Chars<'a>,
    coded: bool,
}

impl Iterator for Pieces<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let char = self.chars.next()?;
        let coded = self.coded || char == '\u{1b}';
        self.coded = coded && char != 'm';
        Some(if coded { Piece::Code(char) } else { Piece::Seen(char) })
    }
}

fn pieces(text: &str) -> Pieces<'_> {
    Pieces { chars: text.chars(), coded: false }
}

/// The columns that a text takes.
pub(crate) fn width(text: &str) -> usize {
    pieces(text).filter(|piece| matches!(piece, Piece::Seen(_))).count()
}

/// The text as it fits into so many columns, its colours whole.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let (mut out, mut left) = (String::with_capacity(text.len()), columns);
    for piece in pieces(text) {
        match (piece, left) {
            (Piece::Code(char), _) => out.push(char),
            (Piece::Seen(_), 0) => {}
            (Piece::Seen(_), 1) => {
                out.push('\u{2026}');
                left = 0;
            }
            (Piece::Seen(char), _) => {
                out.push(char);
                left -= 1;
            }
        }
    }
    out
}

/// The lines of a text that take no more than so many columns; all but the first stand in by `indent`. A word that is longer
/// than a line is cut, but for paths, which somebody may copy: the terminal wraps those and loses nothing.
pub(crate) fn fold(text: &str, columns: usize, indent: usize) -> Vec<String> {
    let columns = columns.max(COLUMNS_MIN);
    let indent = indent.min(columns / 2);
    let mut lines = Vec::new();
    let (mut line, mut used, mut begun) = (String::new(), 0, false);
    for word in text.split(' ') {
        let wide = width(word);
        if begun && !word.is_empty() && used + 1 + wide > columns && used > indent {
            lines.push(std::mem::take(&mut line).trim_end().to_owned());
            line = " ".repeat(indent);
            (used, begun) = (indent, false);
        }
        if begun {
            line.push(' ');
            used += 1;
        }
        let room = if word.contains('/') { wide } else { columns.saturating_sub(used) };
        line.push_str(&cut(word, room));
        used += wide.min(room);
        begun = true;
    }
    lines.push(line.trim_end().to_owned());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_folded_between_words_and_long_words_are_cut_but_for_paths() {
        let folded = |text: &str, indent| fold(text, 20, indent).join("\n");
        assert_eq!(folded("short", 2), "short");
        assert_eq!(folded("one two three four five six", 2), "one two three four\n  five six");
        assert_eq!(folded("    in by four and more", 6), "    in by four and\n      more");
        assert_eq!(folded("a word_that_is_longer_than_a_line b", 2), "a word_that_is_long\u{2026}\n  b");
        assert_eq!(
            folded("a /path/that_is_longer_than_a_line b", 2),
            "a /path/that_is_longer_than_a_line\n  b"
        );
        assert_eq!(folded("label     value of it", 10), "label     value of\n          it");
        assert_eq!(folded("", 2), "");
    }

    #[test]
    fn colours_take_no_columns_and_stay_whole() {
        let red = "\u{1b}[31mred\u{1b}[0m";
        assert_eq!((width(red), cut(red, 3)), (3, red.to_owned()));
        assert_eq!(cut(red, 2), "\u{1b}[31mr\u{2026}\u{1b}[0m");
        assert_eq!(
            fold(&format!("{red} and many other words"), 20, 0),
            [format!("{red} and many other"), "words".into()]
        );
    }
}
