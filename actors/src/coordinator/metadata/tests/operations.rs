//! Operation ids: the first outcome counts (C8 of the contract), and what the refusals say.

use super::*;
use crate::coordinator::metadata::model::time::ns;

fn mkdir(p: &str, parents: bool) -> Mutation {
    Mutation::Mkdir(Mkdir { path: path(p), parents })
}

#[test]
fn repeating_an_operation_gives_its_first_outcome_and_changes_nothing() {
    let mut lab = Lab::new();
    lab.mkdir("/a");
    lab.put("/a/f", 10);
    let session = lab.open(upload_of("/a/g")).unwrap().session;
    let delete = |p: &str| {
        Mutation::Delete(Delete { path: path(p), recursive: false, skip_trash: false, if_match: None })
    };
    let all = [
        mkdir("/b", false),
        mkdir("/a", false),
        Mutation::Rename(Rename { from: path("/a/f"), to: path("/b/f"), replace: false }),
        Mutation::Rename(Rename { from: path("/none"), to: path("/b/f"), replace: false }),
        delete("/b/f"),
        Mutation::Undelete(Undelete { path: Some(path("/b/f")), inode: None, to: None }),
        delete("/b/f"),
        Mutation::TrashPurge(TrashPurge { inode: None }),
        Mutation::OpenUpload(upload_of("/a/h"), Vec::new()),
        Mutation::Commit(CommitUpload { session, chunks: Vec::new(), size: 0, chunk_count: 0, sha256: None }),
        Mutation::Abort(SessionOnly { session }),
    ];
    let mut firsts = Vec::new();
    for (i, mutation) in all.iter().enumerate() {
        let op = OpId(1_000 + i as u128);
        let first = lab.apply_as(op, mutation);
        // At once, later, and after everything else has happened.
        let before = lab.dump();
        lab.now_ms += 50;
        assert_eq!(lab.apply_as(op, mutation), first, "{}", mutation.name());
        assert_eq!(lab.dump(), before, "{} changed something when repeated", mutation.name());
        firsts.push(first);
    }
    assert!(firsts.iter().filter(|f| f.is_err()).count() == 3, "{firsts:#?}");
    let before = lab.dump();
    for (i, mutation) in all.iter().enumerate() {
        assert_eq!(lab.apply_as(OpId(1_000 + i as u128), mutation), firsts[i], "{}", mutation.name());
    }
    assert_eq!(lab.dump(), before);
}

#[test]
fn a_definite_failure_stays_one_though_it_could_succeed_now() {
    let mut lab = Lab::new();
    let late = OpId(5);
    assert_eq!(lab.apply_as(late, &mkdir("/a/b", false)).unwrap_err().code(), StatusCode::NotFound);
    lab.mkdir("/a");
    assert_eq!(lab.apply_as(late, &mkdir("/a/b", false)).unwrap_err().code(), StatusCode::NotFound);
    lab.apply(&mkdir("/a/b", false)).unwrap();
}

#[test]
fn an_operation_id_used_for_something_else_is_refused() {
    let mut lab = Lab::new();
    let op = OpId(5);
    lab.apply_as(op, &mkdir("/a", false)).unwrap();
    assert_eq!(lab.apply_as(op, &mkdir("/b", false)).unwrap_err().code(), StatusCode::OpIdReuse);
    let delete = Delete { path: path("/a"), recursive: false, skip_trash: false, if_match: None };
    assert_eq!(lab.apply_as(op, &Mutation::Delete(delete)).unwrap_err().code(), StatusCode::OpIdReuse);
    assert!(lab.reader().stat(&path("/a")).is_ok());
}

#[test]
fn refusals_name_the_path_and_the_part_that_is_in_the_way() {
    let mut lab = Lab::new();
    lab.mkdir("/d/e");
    lab.put("/d/f", 10);
    let version = lab.reader().stat(&path("/d/f")).unwrap().version;
    let text = |lab: &mut Lab, m: Mutation| lab.apply(&m).unwrap_err().into_status().to_string();
    let said = text(&mut lab, mkdir("/d/x/y", false));
    assert_eq!(said, "NotFound: /d/x/y does not exist: there is no /d/x");
    let said = text(&mut lab, mkdir("/d/f/y/z", true));
    assert_eq!(said, "NotADirectory: /d/f/y/z is not a directory: /d/f is a file");
    let rename = |a: &str, b: &str| Mutation::Rename(Rename { from: path(a), to: path(b), replace: true });
    for (mutation, code) in [
        (rename("/d", "/d/e/g"), StatusCode::InvalidArgument),
        (rename("/", "/x"), StatusCode::InvalidArgument),
        (rename("/d/f", "/d/e"), StatusCode::IsADirectory),
        (rename("/d/e", "/d/f"), StatusCode::NotADirectory),
        (rename("/d/e", "/d"), StatusCode::DirectoryNotEmpty),
        (rename("/d/none", "/d/g"), StatusCode::NotFound),
        (mkdir("/", false), StatusCode::AlreadyExists),
        (mkdir("/d/f", true), StatusCode::AlreadyExists),
        (mkdir(&"/n".repeat(60), true), StatusCode::InvalidArgument),
    ] {
        assert_eq!(lab.code(&mutation), code, "{mutation:?}");
    }
    let delete = |p: &str, recursive, if_match| {
        Mutation::Delete(Delete { path: path(p), recursive, skip_trash: false, if_match })
    };
    assert_eq!(lab.code(&delete("/", true, None)), StatusCode::InvalidArgument);
    assert_eq!(lab.code(&delete("/d", false, None)), StatusCode::DirectoryNotEmpty);
    let other = dfs_wire::id::VersionId(1);
    assert_eq!(lab.code(&delete("/d/f", false, Some(other))), StatusCode::PreconditionFailed);
    lab.apply(&delete("/d/f", false, Some(version))).unwrap();
}

#[test]
fn a_deep_mkdir_and_a_deep_commit_fit_into_one_batch() {
    let mut lab = Lab::new();
    lab.mkdir(&"/n".repeat(48));
    lab.put(&format!("{}/f", "/m".repeat(48)), 10);
    assert!(lab.ops_max > 100, "this is the widest there is: {}", lab.ops_max);
    lab.assert_consistent();
}

#[test]
fn the_trash_gives_back_the_latest_deletion_and_nothing_after_it_was_emptied() {
    let mut lab = Lab::new();
    lab.mkdir("/d");
    for size in [1, 2, 3] {
        lab.put("/d/f", size);
        lab.now_ms += 10;
        lab.delete("/d/f", false).unwrap();
    }
    let undelete = |to: Option<&str>| {
        Mutation::Undelete(Undelete { path: Some(path("/d/f")), inode: None, to: to.map(path) })
    };
    lab.apply(&undelete(None)).unwrap();
    assert_eq!(lab.reader().stat(&path("/d/f")).unwrap().size, 3);
    assert_eq!(lab.code(&undelete(None)), StatusCode::AlreadyExists);
    lab.apply(&undelete(Some("/d/g"))).unwrap();
    assert_eq!(lab.reader().stat(&path("/d/g")).unwrap().size, 2);
    lab.delete("/d/g", false).unwrap();
    assert_eq!(lab.apply(&Mutation::TrashPurge(TrashPurge { inode: None })).unwrap(), Outcome::Purged(2));
    assert!(lab.reader().trash_list(&TrashList { after: None, limit: 0 }).unwrap().entries.is_empty());
    assert_eq!(lab.code(&undelete(Some("/d/h"))), StatusCode::NotFound);
    // Deleted in the same instant as the emptying, or after the clock stepped back: it is in the trash.
    lab.now_ms -= 5_000;
    lab.delete("/d/f", false).unwrap();
    lab.drain();
    assert_eq!(lab.totals().trash, 1);
    lab.apply(&undelete(None)).unwrap();
}

#[test]
fn people_see_the_wall_clock_and_expiry_does_not() {
    let mut lab = Lab::new();
    lab.wall_ahead_ms = 365 * 24 * 60 * 60 * 1000;
    let date = lab.now_ms + lab.wall_ahead_ms;
    let session = lab.open(upload_of("/open")).unwrap().session;
    let file = lab.put("/d/f", 10);
    let directory = lab.reader().stat(&path("/d")).unwrap();
    assert_eq!((file.mtime_ns, file.created_ms), (ns(date), date));
    assert_eq!((directory.mtime_ns, directory.created_ms), (ns(date), date));
    lab.delete("/d", false).unwrap();
    lab.drain();
    assert_eq!((lab.totals().trash, lab.totals().uploads), (1, 1), "nothing is due");
    lab.commit(session, 0, 0).unwrap();
}
