//! How the file of a store begins.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Barrier;

use dfs_actors::coordinator::metadata::table::store::{
    Batch, BatchOutcome, Condition, MetaStoreError, MetadataStore,
};

use super::*;

/// Directories that were synced, each with the length of the file then.
type Synced = Vec<(PathBuf, u64)>;

/// Files in directories that are never synced.
const UNSYNCED: OsFiles<fn(&Path) -> io::Result<()>> = OsFiles(|_| Ok(()));

/// Opens a store of a file, whose directory is synced with this outcome.
fn opened(path: &Path, sync: io::Result<()>) -> (Result<Database, DatabaseError>, Synced, Arc<FileHistory>) {
    let (synced, sync) = (RefCell::new(Vec::new()), RefCell::new(Some(sync)));
    let history = Arc::default();
    let sync_dir = |directory: &Path| {
        let len = std::fs::metadata(path).expect("the file is there before its name is synced").len();
        synced.borrow_mut().push((directory.to_owned(), len));
        sync.borrow_mut().take().unwrap_or(Ok(()))
    };
    let database = open_file(&OsFiles(sync_dir), path, &RedbOptions::default(), &history, Opening::First);
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

#[test]
fn what_another_start_is_making_is_left_alone() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("metadata.redb");
    let half = path.with_extension(UNFINISHED);
    std::fs::write(&half, [7; 4096]).expect("written");
    let other = File::open(&half).expect("it is there");
    other.lock().expect("locked");
    let (refused, synced, _) = opened(&path, Ok(()));
    assert!(matches!(refused, Err(DatabaseError::DatabaseAlreadyOpen)));
    assert_eq!((synced.len(), std::fs::read(&half).expect("there")), (0, vec![7; 4096]));
    drop(other);
    opened(&path, Ok(())).0.expect("it died");
}

#[test]
fn what_was_made_in_the_meantime_is_not_emptied_and_its_place_is_not_taken() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("metadata.redb");
    let half = File::create_new(path.with_extension(UNFINISHED)).expect("a file");
    std::fs::rename(path.with_extension(UNFINISHED), &path).expect("it is whole");
    std::fs::write(&path, [7; 4096]).expect("used");
    assert!(matches!(claim(&UNSYNCED, &half, &path), Err(DatabaseError::DatabaseAlreadyOpen)));
    assert_eq!(std::fs::read(&path).expect("there"), [7; 4096]);
}

/// Seen to fail without the lock.
#[test]
fn of_several_that_start_at_once_one_has_the_store_and_keeps_what_it_was_given() {
    const STARTS: u8 = 4;
    let store = |path: &Path| super::super::redb::RedbStore::open(path, &RedbOptions::default());
    let first = |who: u8| Batch {
        conditions: vec![Condition::Absent(b"first".to_vec())],
        writes: vec![(b"first".to_vec(), Some(vec![who]))],
    };
    for round in 0..40 {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("metadata.redb");
        let barrier = Barrier::new(usize::from(STARTS));
        let start = |who: u8| {
            barrier.wait();
            match store(&path) {
                Ok(store) => (store.commit(&[first(who)]).expect("committed") == [BatchOutcome::Applied])
                    .then_some(who),
                Err(MetaStoreError::Locked { .. }) => None,
                Err(other) => panic!("round {round}: {other}"),
            }
        };
        let winners: Vec<u8> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..STARTS).map(|who| scope.spawn(move || start(who))).collect();
            starts.into_iter().filter_map(|start| start.join().expect("no panic")).collect()
        });
        assert_eq!(winners.len(), 1, "round {round}: one was first, and none forgot it");
        let kept = store(&path).expect("opened").snapshot().expect("open").get(b"first").expect("read");
        assert_eq!(kept.as_deref(), Some(&winners[..]), "round {round}");
    }
}

#[test]
fn a_file_that_is_gone_while_it_is_used_is_not_made_again() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("metadata.redb");
    drop(opened(&path, Ok(())).0.expect("made"));
    for make_it_go in [|path: &Path| std::fs::remove_file(path), |path: &Path| std::fs::write(path, "")] {
        make_it_go(&path).expect("gone");
        let again = Opening::Again { check: true };
        let found = open_file(&UNSYNCED, &path, &RedbOptions::default(), &Arc::default(), again);
        let error = found.expect_err("what was acknowledged was in it").to_string();
        assert!(error.contains("restore it from a backup"), "{error}");
        assert_eq!(std::fs::metadata(&path).map_or(0, |found| found.len()), 0);
        assert!(!path.with_extension(UNFINISHED).exists());
    }
}

#[test]
fn a_link_is_followed_to_where_the_file_is_to_be_and_stays() {
    let (home, disk) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("another"));
    let (path, there) = (home.path().join("metadata.redb"), disk.path().join("there.redb"));
    std::os::unix::fs::symlink(&there, &path).expect("a link");
    let error = opened(&path, Ok(())).0.expect_err("where it leads nothing is mounted").to_string();
    assert!(error.contains("leads nowhere"), "{error}");
    std::fs::write(&there, "").expect("a place for it");
    let history = Arc::default();
    for _ in 0..2 {
        drop(open_file(&UNSYNCED, &path, &RedbOptions::default(), &history, Opening::First).expect("opened"));
        assert!(std::fs::symlink_metadata(&path).expect("a link").is_symlink());
        assert!(std::fs::metadata(&there).expect("the file").len() > 0);
    }
}

#[test]
fn an_unfinished_file_that_is_none_is_named() {
    let home = tempfile::tempdir().expect("a directory");
    let (path, victim) = (home.path().join("metadata.redb"), home.path().join("thesis"));
    std::fs::write(&victim, "x").expect("written");
    std::os::unix::fs::symlink(&victim, path.with_extension(UNFINISHED)).expect("a link");
    let error = opened(&path, Ok(())).0.expect_err("a link is not followed").to_string();
    assert!(error.contains("metadata.unfinished"), "{error}");
    assert_eq!(std::fs::read(&victim).expect("there"), b"x");
}
