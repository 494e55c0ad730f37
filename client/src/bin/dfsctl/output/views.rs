//! The shapes that several commands print: stable, fields are only ever added.

use dfs_wire::message::metadata::{EntryKind, FileStat};
use serde::Serialize;

use super::Output;
use super::page::Paint;
use super::text::{date_of_ns, exact_time, exact_time_of_ns, plain, size, time_of_ns};

/// A file or directory.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct EntryView {
    pub path: String,
    /// The last part of the path; `/` for the root.
    pub name: String,
    /// `file` or `directory`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Bytes; 0 for a directory.
    pub size: u64,
    /// Last modification, as a date.
    pub modified: String,
    pub created: String,
    /// The entity tag that `--if-match` compares; null for a directory.
    pub version: Option<String>,
    pub inode: u64,
    /// Bytes of each chunk but the last; null for a directory.
    pub chunk_size: Option<u32>,
    /// Number of chunks; null for a directory.
    pub chunks: Option<u32>,
    /// Copies wanted of each chunk; null for a directory.
    pub replication: Option<u8>,
    #[serde(skip)]
    modified_ns: i64,
}

impl From<&FileStat> for EntryView {
    fn from(stat: &FileStat) -> Self {
        let file = stat.kind == EntryKind::File;
        Self {
            path: stat.path.to_string(),
            name: stat.path.name().unwrap_or("/").to_owned(),
            kind: if file { "file" } else { "directory" },
            size: stat.size,
            modified: exact_time_of_ns(stat.mtime_ns),
            created: exact_time(stat.created_ms),
            version: file.then(|| stat.version.to_string()),
            inode: stat.inode.0,
            chunk_size: file.then_some(stat.chunk_size),
            chunks: file.then_some(stat.chunk_count),
            replication: file.then_some(stat.replication),
            modified_ns: stat.mtime_ns,
        }
    }
}

impl EntryView {
    /// Whether it is a directory.
    pub(crate) fn is_directory(&self) -> bool {
        self.kind == "directory"
    }

    /// One line, as `ls` prints it: kind, size, time and `name`; `long` adds copies and chunks.
    pub(crate) fn line(&self, paint: Paint, name: &str, shape: Shape) -> String {
        let slash = if self.is_directory() && name != "/" { "/" } else { "" };
        let letter = match (self.is_directory(), shape.long) {
            (true, true) => "dir ",
            (true, false) => "d",
            (false, true) => "file",
            (false, false) => "-",
        };
        let bytes = if self.is_directory() { "-".to_owned() } else { size(self.size) };
        let number = |number: Option<u32>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let head = match (shape.is_narrow(), shape.long) {
            (true, _) => format!("{letter} {bytes:>9}  {}  ", date_of_ns(self.modified_ns)),
            (false, false) => format!("{letter} {bytes:>9}  {}  ", time_of_ns(self.modified_ns)),
            (false, true) => format!(
                "{letter} {bytes:>9}  {:<20}  {:>6}  {:>6}  ",
                time_of_ns(self.modified_ns),
                number(self.replication.map(u32::from)),
                number(self.chunks)
            ),
        };
        let name = shape.cut(head.chars().count() + slash.len(), name);
        let name = if self.is_directory() { paint.blue(&name) } else { name };
        format!("{head}{name}{slash}")
    }
}

/// The room for lines.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Copies and chunks, too.
    pub long: bool,
    columns: Option<usize>,
}

impl Shape {
    /// As standard output has it.
    pub(crate) fn new(output: Output, long: bool) -> Self {
        Self { long, columns: output.columns }
    }

    /// The titles above long lines.
    pub(crate) fn header(self) -> &'static str {
        match self.is_narrow() {
            true => "TYPE      SIZE  MODIFIED    NAME",
            false => "TYPE      SIZE  MODIFIED              COPIES  CHUNKS  NAME",
        }
    }

    /// A terminal with so few columns has no room for what is more than kind, size, day and name.
    fn is_narrow(self) -> bool {
        self.columns.is_some_and(|columns| columns < 80)
    }

    /// The name as it fits after `used` columns; whole where nothing wraps.
    fn cut(self, used: usize, name: &str) -> String {
        let Some(columns) = self.columns else { return name.to_owned() };
        let (name, room) = (plain(name), columns.saturating_sub(used).max(1));
        match name.chars().count() <= room {
            true => name,
            false => name.chars().take(room - 1).chain(['\u{2026}']).collect(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use dfs_wire::id::{InodeId, VersionId};
    use dfs_wire::path::DfsPath;

    use super::*;

    /// A file for tests.
    pub(crate) fn file(path: &str, size: u64) -> FileStat {
        FileStat {
            path: DfsPath::parse(path).unwrap(),
            inode: InodeId(7),
            kind: EntryKind::File,
            size,
            mtime_ns: 1_700_000_000_123_000_000,
            created_ms: 1_700_000_000_000,
            version: VersionId(0xab),
            chunk_size: 8 << 20,
            chunk_count: 2,
            replication: 3,
        }
    }

    #[test]
    fn the_json_of_an_entry_is_a_promise() {
        let json = serde_json::to_string_pretty(&EntryView::from(&file("/a b/c.txt", 1536))).unwrap();
        let expected = r#"{
  "path": "/a b/c.txt",
  "name": "c.txt",
  "type": "file",
  "size": 1536,
  "modified": "2023-11-14T22:13:20.123Z",
  "created": "2023-11-14T22:13:20.000Z",
  "version": "000000000000000000000000000000ab",
  "inode": 7,
  "chunk_size": 8388608,
  "chunks": 2,
  "replication": 3
}"#;
        assert_eq!(json, expected);
        let directory = FileStat { kind: EntryKind::Directory, size: 0, ..file("/", 0) };
        let view = serde_json::to_value(EntryView::from(&directory)).unwrap();
        assert!(view["version"].is_null() && view["chunks"].is_null() && view["name"] == "/");
    }

    fn shape(long: bool, columns: Option<usize>) -> Shape {
        Shape { long, columns }
    }

    #[test]
    fn lines_line_up() {
        let none = Paint::new(false);
        let view = EntryView::from(&file("/c.txt", 1536));
        assert_eq!(view.line(none, "c.txt", shape(false, None)), "-  1.50 KiB  2023-11-14T22:13:20Z  c.txt");
        let directory = EntryView::from(&FileStat { kind: EntryKind::Directory, ..file("/d", 0) });
        assert_eq!(directory.line(none, "d", shape(false, None)), "d         -  2023-11-14T22:13:20Z  d/");
        let long = shape(true, Some(80));
        let expected = "\
TYPE      SIZE  MODIFIED              COPIES  CHUNKS  NAME
file  1.50 KiB  2023-11-14T22:13:20Z       3       2  c.txt
dir          -  2023-11-14T22:13:20Z       -       -  d/";
        let lines = [view.line(none, "c.txt", long), directory.line(none, "d", long)];
        assert_eq!(format!("{}\n{}", long.header(), lines.join("\n")), expected);
    }

    #[test]
    fn nothing_wraps_at_forty_columns_and_names_are_whole_elsewhere() {
        let (none, name) = (Paint::new(false), "a name that is longer than forty columns \u{202e}");
        let view = EntryView::from(&file("/x", 1536));
        let narrow = shape(true, Some(40));
        let expected = "\
TYPE      SIZE  MODIFIED    NAME
file  1.50 KiB  2023-11-14  a name that\u{2026}";
        let text = format!("{}\n{}", narrow.header(), view.line(none, name, narrow));
        assert_eq!(text, expected);
        assert!(text.lines().all(|line| line.chars().count() <= 40));
        assert!(view.line(none, name, shape(false, Some(40))).chars().count() <= 40);
        assert!(view.line(none, name, shape(true, None)).ends_with(name), "byte for byte in a pipe");
    }
}
