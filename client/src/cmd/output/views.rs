//! The shapes that several commands print: stable, fields are only ever added.

use dfs_wire::message::metadata::{EntryKind, FileStat};
use serde::Serialize;

use super::page::Paint;
use super::text::{exact_time, plain, size, time};

/// A file or directory.
#[derive(Debug, Clone, Serialize)]
pub struct EntryView {
    /// Its path.
    pub path: String,
    /// The last part of the path; `/` for the root.
    pub name: String,
    /// `file` or `directory`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Bytes; 0 for a directory.
    pub size: u64,
    /// Last modification.
    pub modified: String,
    /// Creation.
    pub created: String,
    /// The entity tag that `--if-match` compares; null for a directory.
    pub version: Option<String>,
    /// Its inode.
    pub inode: u64,
    /// Bytes of each chunk but the last; null for a directory.
    pub chunk_size: Option<u32>,
    /// Number of chunks; null for a directory.
    pub chunks: Option<u32>,
    /// Copies wanted of each chunk; null for a directory.
    pub replication: Option<u8>,
    #[serde(skip)]
    modified_ms: u64,
}

impl From<&FileStat> for EntryView {
    fn from(stat: &FileStat) -> Self {
        let file = stat.kind == EntryKind::File;
        Self {
            path: stat.path.to_string(),
            name: stat.path.name().unwrap_or("/").to_owned(),
            kind: if file { "file" } else { "directory" },
            size: stat.size,
            modified: exact_time(stat.mtime_ms),
            created: exact_time(stat.created_ms),
            version: file.then(|| stat.version.to_string()),
            inode: stat.inode.0,
            chunk_size: file.then_some(stat.chunk_size),
            chunks: file.then_some(stat.chunk_count),
            replication: file.then_some(stat.replication),
            modified_ms: stat.mtime_ms,
        }
    }
}

impl EntryView {
    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.kind == "directory"
    }

    /// One line, as `ls` prints it: kind, size, time and `name`; `long` adds what else is known.
    pub fn line(&self, paint: Paint, name: &str, long: bool) -> String {
        let name = plain(name);
        let (letter, bytes, name) = match self.is_directory() {
            true if name == "/" => ("d", "-".to_owned(), paint.blue("/")),
            true => ("d", "-".to_owned(), format!("{}/", paint.blue(&name))),
            false => ("-", size(self.size), name),
        };
        let more = match (long, self.version.as_deref()) {
            (false, _) => String::new(),
            (true, Some(version)) => {
                let (copies, chunks) = (self.replication.unwrap_or(0), self.chunks.unwrap_or(0));
                format!("{copies:>2} x {chunks:>5}  {version}  ")
            }
            (true, None) => format!("{:>10}  {:<32}  ", "-", "-"),
        };
        format!("{letter} {bytes:>9}  {}  {more}{name}", paint.dim(&time(self.modified_ms)))
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
            mtime_ms: 1_700_000_000_123,
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

    #[test]
    fn lines_line_up() {
        let none = Paint::new(false);
        let view = EntryView::from(&file("/c.txt", 1536));
        assert_eq!(view.line(none, "c.txt", false), "-  1.50 KiB  2023-11-14T22:13:20Z  c.txt");
        let directory = EntryView::from(&FileStat { kind: EntryKind::Directory, ..file("/d", 0) });
        assert_eq!(directory.line(none, "d", false), "d         -  2023-11-14T22:13:20Z  d/");
        let long = [&view, &directory].map(|entry| entry.line(none, "n", true).find("  n").unwrap_or(0));
        assert_eq!(long.first(), long.last());
    }
}
