//! What is kept, what is gone on with, and what is never touched.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;

use dfs_wire::id::{InodeId, VersionId};
use dfs_wire::message::metadata::EntryKind;

use super::*;

fn stat(version: u128) -> FileStat {
    FileStat {
        path: "/x".parse().unwrap(),
        inode: InodeId(2),
        kind: EntryKind::File,
        size: 10,
        mtime_ns: 0,
        created_ms: 0,
        version: VersionId(version),
        chunk_size: 2,
        chunk_count: 5,
        replication: 3,
    }
}

fn open(to: &Path, version: u128, keep: Keep) -> PartFile {
    loop {
        let opened = PartFile::open(to, &stat(version), (0, 10), keep, true, true, &Env::system(None));
        match opened.unwrap() {
            Some(part) => return part,
            None => thread::sleep(LOCK_POLL),
        }
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A part of which some chunks are verified. Gives its path.
fn kept(to: &Path) -> PathBuf {
    let mut part = open(to, 1, Keep::AndResume);
    [0, 1, 3].into_iter().for_each(|i| part.mark(i, true));
    to.with_file_name(&part.name)
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_part_is_kept_only_if_something_of_it_is_verified() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("out");
    for keep in [Keep::Nothing, Keep::Progress, Keep::AndResume] {
        drop(open(&to, 1, keep));
        assert!(names(dir.path()).is_empty(), "{keep:?}");
    }
    let mut part = open(&to, 1, Keep::Nothing);
    part.mark(0, true);
    drop(part);
    assert!(names(dir.path()).is_empty());
    kept(&to);
    assert_eq!(names(dir.path()).len(), 1);
    assert!(is_resumable(&to) && !is_resumable(&dir.path().join("other")));
    let part = open(&to, 1, Keep::AndResume);
    assert_eq!(part.claimed().iter().copied().collect::<Vec<_>>(), [0, 1, 3]);
    part.finish(true).unwrap();
    assert_eq!(names(dir.path()), ["out"]);
    assert_eq!(fs::metadata(&to).unwrap().len(), 10);
}

#[test]
fn a_part_of_another_version_gives_way() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("out");
    for keep in [Keep::AndResume, Keep::Progress] {
        kept(&to);
        let other = open(&to, 2, keep);
        assert!(other.claimed().is_empty(), "another version is another file");
        other.finish(true).unwrap();
        assert_eq!(names(dir.path()), ["out"]);
    }
    let (one, two) = (kept(&to), kept(&dir.path().join("beside")));
    assert_ne!(one, two);
    open(&to, 1, Keep::Progress).finish(true).unwrap();
    assert!(!one.exists() && two.exists(), "that of another file stays");
}

#[test]
fn what_only_looks_like_a_part_is_never_touched() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("out");
    let part = kept(&to);
    let bytes = fs::read(&part).unwrap();
    let name = |digit: &str| dir.path().join(format!(".dfs-{}.part", digit.repeat(32)));
    // A copy of a part, to the last bit of its mode; one that came from the cluster; one with a second name.
    fs::copy(&part, name("a")).unwrap();
    fs::remove_file(&part).unwrap();
    fs::copy(name("a"), &part).unwrap();
    fs::set_permissions(&part, fs::Permissions::from_mode(0o1600)).unwrap();
    fs::write(name("b"), &bytes).unwrap();
    fs::write(name("c"), "mine").unwrap();
    std::os::unix::fs::symlink("/etc/hostname", name("d")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, name("e"), rustix::fs::FileType::Fifo, 0o1600.into(), 0).unwrap();
    let linked = kept(&to);
    fs::hard_link(&linked, dir.path().join("second name")).unwrap();
    let before = names(dir.path());
    assert!(!is_resumable(&to));
    for keep in [Keep::AndResume, Keep::Progress, Keep::Nothing] {
        let part = open(&to, 1, keep);
        assert!(part.claimed().is_empty());
        drop(part);
        assert_eq!(names(dir.path()), before, "{keep:?}");
    }
    assert!(fs::read(&part).unwrap() == bytes && fs::read(name("b")).unwrap() == bytes);
    assert_eq!(fs::read(name("c")).unwrap(), b"mine");
}

#[test]
fn what_takes_the_parts_name_is_neither_renamed_nor_removed() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("out");
    fs::write(&to, "old").unwrap();
    let part = open(&to, 1, Keep::Progress);
    let hidden = dir.path().join(&part.name);
    fs::write(dir.path().join("theirs"), "theirs").unwrap();
    fs::rename(dir.path().join("theirs"), &hidden).unwrap();
    let error = part.finish(true).unwrap_err();
    assert!(format!("{error:?}").contains("taken away"), "{error:?}");
    assert_eq!((fs::read(&to).unwrap(), fs::read(&hidden).unwrap()), (b"old".to_vec(), b"theirs".to_vec()));
}

#[test]
fn two_gets_of_one_file_do_not_share_a_part() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("out");
    let (one, two) = (open(&to, 1, Keep::Progress), open(&to, 1, Keep::Progress));
    assert_eq!(names(dir.path()).len(), 2);
    one.finish(true).unwrap();
    two.finish(true).unwrap();
    assert_eq!(names(dir.path()), ["out"]);
}

#[test]
fn the_last_write_of_a_get_that_was_given_up_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("out");
    let mut part = open(&to, 1, Keep::AndResume);
    part.mark(2, true);
    let write = part.position(0);
    drop(part);
    // Who is not patient leaves it to its writer.
    let other = PartFile::open(&to, &stat(1), (0, 10), Keep::AndResume, true, false, &Env::system(None));
    assert!(other.unwrap().unwrap().claimed().is_empty());
    let ending = thread::spawn(move || {
        thread::sleep(Duration::from_millis(200));
        drop(write);
    });
    let part = open(&to, 1, Keep::AndResume);
    assert!(part.claimed().contains(&2));
    ending.join().unwrap();
}

#[test]
fn an_existing_file_is_replaced_only_if_that_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("out");
    let unasked = || PartFile::open(&to, &stat(1), (0, 1), Keep::Nothing, false, true, &Env::system(None));
    let part = unasked().unwrap().unwrap();
    fs::write(&to, "mine").unwrap();
    assert_eq!(part.finish(false).unwrap_err().code(), "AlreadyExists");
    assert!(unasked().is_err());
    assert_eq!((fs::read_to_string(&to).unwrap().as_str(), names(dir.path()).len()), ("mine", 1));
}

#[test]
fn mode_and_owner_of_what_is_replaced_are_kept_and_a_part_is_nobody_elses_to_read() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("out");
    fs::write(dir.path().join("usual"), "").unwrap();
    let part = open(&to, 1, Keep::Progress);
    assert_eq!(mode(&dir.path().join(&part.name)), 0o1600);
    part.finish(true).unwrap();
    assert_eq!(mode(&to), mode(&dir.path().join("usual")), "as any new file here");
    for bits in [0o640, 0o4755, 0o444] {
        fs::set_permissions(&to, fs::Permissions::from_mode(bits)).unwrap();
        open(&to, 1, Keep::Progress).finish(true).unwrap();
        assert_eq!(mode(&to), bits & 0o777);
    }
    if !rustix::process::geteuid().is_root() {
        return;
    }
    std::os::unix::fs::chown(&to, Some(12_345), Some(54_321)).unwrap();
    open(&to, 1, Keep::Progress).finish(true).unwrap();
    let found = fs::metadata(&to).unwrap();
    assert_eq!((found.uid(), found.gid(), mode(&to)), (12_345, 54_321, 0o444));
}

#[test]
fn the_longest_names_have_a_part_file_too() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("n".repeat(255));
    kept(&to);
    assert!(is_resumable(&to));
    open(&to, 1, Keep::AndResume).finish(true).unwrap();
    assert_eq!(names(dir.path()).len(), 1);
    let nameless =
        PartFile::open(Path::new("/"), &stat(1), (0, 10), Keep::Nothing, true, true, &Env::system(None));
    assert!(nameless.is_err());
}

#[test]
fn runs_that_lie_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("out");
    let mut part = open(&to, 1, Keep::AndResume);
    part.mark(0, true);
    part.trailer.chunks = vec![(0, u32::MAX)];
    part.trailer.sequence += 1;
    part.trailer.write(&part.file).unwrap();
    part.finished = true;
    drop(part);
    assert!(open(&to, 1, Keep::AndResume).claimed().len() <= 6);
    assert_eq!(runs(&BTreeSet::from([0, 1, 2, 5])), [(0, 2), (5, 5)]);
}
