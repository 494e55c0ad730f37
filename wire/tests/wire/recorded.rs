//! Files that record what the code makes. With `DFS_BLESS=1` they are written; else they must be what is made.

use std::path::PathBuf;

/// What to do if a recorded file is not what the code makes now.
pub(crate) const BLESS: &str = "bytes that are released never change: if this change is meant, read \"Versions\" in wire/PROTOCOL.md, \
     then run `DFS_BLESS=1 cargo test -p dfs-wire --test wire` and review the difference";

/// A path below the crate's folder.
pub(crate) fn path(relative: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(relative)
}

/// The text of a file below the crate's folder; empty if it is not there.
pub(crate) fn read(relative: &str) -> String {
    std::fs::read_to_string(path(relative)).unwrap_or_default()
}

/// Compares a file with what it should hold, or writes it.
pub(crate) fn check(relative: &str, made: &str) {
    if std::env::var_os("DFS_BLESS").is_some() {
        std::fs::create_dir_all(path(relative).parent().expect("it is in a folder"))
            .expect("make the folder");
        // Other tests read the records meanwhile: they find the old one or the new one, and nothing else there.
        let unfinished = path(&format!("{}.new", relative.replace('/', "-")));
        std::fs::write(&unfinished, made).expect("write the record");
        std::fs::rename(&unfinished, path(relative)).expect("put the record in its place");
        return;
    }
    let recorded = read(relative);
    for (number, (was, is)) in recorded.lines().zip(made.lines()).enumerate() {
        assert_eq!(was, is, "{relative}, line {}: {BLESS}", number + 1);
    }
    assert_eq!(recorded.lines().count(), made.lines().count(), "{relative}: {BLESS}");
}
