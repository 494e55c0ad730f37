//! How the file of a store begins.

use std::cell::RefCell;
use std::path::PathBuf;

use super::*;

/// Directories that were synced, each with the length of the file then.
type Synced = Vec<(PathBuf, u64)>;

/// Opens a store of a file, whose directory is synced with this outcome.
fn opened(path: &Path, sync: io::Result<()>) -> (Result<Database, DatabaseError>, Synced, Arc<FileHistory>) {
    let (synced, sync) = (RefCell::new(Vec::new()), RefCell::new(Some(sync)));
    let history = Arc::default();
    let sync_dir = |directory: &Path| {
        let len = std::fs::metadata(path).expect("the file is there before its name is synced").len();
        synced.borrow_mut().push((directory.to_owned(), len));
        sync.borrow_mut().take().unwrap_or(Ok(()))
    };
    let database = open_file(path, &RedbOptions::default(), &history, true, &sync_dir);
    (database, synced.into_inner(), history)
}

#[test]
fn a_new_file_has_its_name_once_it_is_whole_and_the_name_is_durable_before_anything_is_committed() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("metadata.redb");
    // What a start left that died while it made the file.
    std::fs::write(path.with_extension(UNFINISHED), [0; 4096]).expect("written");
    let (failed, synced, history) = opened(&path, Err(io::ErrorKind::Other.into()));
    assert!(failed.is_err() && history.lost().is_some(), "a name that may not last holds nothing");
    let once = |synced: &Synced| matches!(&synced[..], [(dir, 1..)] if dir == home.path());
    assert!(once(&synced), "named only when it was made: {synced:?}");
    assert!(!path.with_extension(UNFINISHED).exists());
    for _ in 0..2 {
        let (database, synced, _) = opened(&path, Ok(()));
        drop(database.expect("opened"));
        assert!(once(&synced), "who gave it the name may have died before it was durable");
    }
}
