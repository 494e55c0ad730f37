//! How the file of a store begins.

use std::cell::RefCell;

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
fn the_name_of_a_new_file_is_durable_before_anything_is_in_it() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("metadata.redb");
    let once = vec![(home.path().to_owned(), 0)];
    let (failed, synced, history) = opened(&path, Err(io::ErrorKind::Other.into()));
    assert!(failed.is_err() && history.lost().is_some(), "a name that may not last holds nothing");
    assert_eq!((&synced, std::fs::metadata(&path).expect("there").len()), (&once, 0));
    let (database, synced, _) = opened(&path, Ok(()));
    drop(database.expect("opened"));
    assert_eq!(synced, once, "a try that failed made nothing durable");
    let (database, synced, _) = opened(&path, Ok(()));
    assert!(database.is_ok() && synced.is_empty(), "it has a name already");
}
