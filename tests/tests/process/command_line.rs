//! The command line means what it says: names before patterns, rehearsals that foretell, one bad argument among good.

use dfs_tests::{Cluster, Options};

fn names(cluster: &Cluster, directory: &str) -> Vec<String> {
    cluster.ok(&["ls", "-1", directory]).lines().map(str::to_owned).collect()
}

#[test]
fn a_name_that_exists_is_that_file_alone_though_it_looks_like_a_pattern() {
    let cluster = Cluster::start(3, Options::default());
    cluster.file("here", b"x");
    cluster.ok(&["mkdir", "/pat"]);
    for name in ["/pat/a*", "/pat/[x]", "/pat/a1", "/pat/x", "/pat/b1", "/pat/b2"] {
        cluster.ok(&["put", "-T", "here", name]);
    }
    cluster.ok(&["rm", "/pat/a*", "/pat/[x]"]);
    assert_eq!(names(&cluster, "/pat"), ["a1", "b1", "b2", "x"]);
    cluster.ok(&["rm", "/pat/b*"]);
    assert_eq!(names(&cluster, "/pat"), ["a1", "x"]);
}

#[test]
fn everything_is_deleted_only_if_it_is_meant_however_it_is_written() {
    let cluster = Cluster::start(3, Options::default());
    cluster.ok(&["mkdir", "/one", "/two"]);
    for everything in ["/", "/*", "/{*,x}", "/[!z]*", "/{one,two}"] {
        cluster.dfsctl(&["rm", "-r", everything]).run().code(2).says(&["--yes"]);
        let said = cluster.dfsctl(&["rm", "-r", "--dry-run", everything]).run().ok();
        assert_eq!(said.text().lines().count(), 2, "{everything}: {}", said.text());
    }
    assert_eq!(names(&cluster, "/"), ["one", "two"]);
    cluster.ok(&["rm", "-r", "/one", "/two"]);
    assert_eq!(names(&cluster, "/"), [""; 0]);
}

#[test]
fn what_is_rehearsed_fails_where_the_real_thing_would() {
    let cluster = Cluster::start(3, Options::default());
    cluster.file("here", b"x");
    std::fs::create_dir_all(cluster.home().join("tree/sub")).expect("directories");
    cluster.file("tree/sub/leaf", b"x");
    cluster.ok(&["mkdir", "-p", "/full/in", "/empty"]);
    cluster.ok(&["put", "here", "/file"]);
    let table: &[&[&str]] = &[
        &["mkdir", "/full"],
        &["mkdir", "/no/such"],
        &["mkdir", "-p", "/file/below"],
        &["put", "here", "/no/such/file"],
        &["put", "-n", "here", "/file"],
        &["put", "-T", "here", "/full"],
        &["put", "-r", "-T", "tree", "/file"],
        &["rm", "-d", "/full"],
        &["rm", "/file/"],
        &["get", "-n", "/file", "here"],
        &["get", "/full", "-"],
        &["mv", "-T", "/empty", "/full"],
        &["mv", "/empty", "/file"],
        &["mv", "-n", "-T", "/empty", "/full"],
        &["mv", "/file", "/no/such/file"],
        &["undelete", "/never"],
    ];
    for args in table {
        let rehearsed = cluster.dfsctl(&[args, &["--dry-run"][..]].concat()).run();
        let done = cluster.dfsctl(args).run();
        assert_ne!(done.code, 0, "{args:?}");
        assert_eq!(rehearsed.code, done.code, "{args:?}: {} but {}", rehearsed.stderr, done.stderr);
    }
    let said = cluster.ok(&["get", "--dry-run", "/file", "-"]);
    assert_eq!(said, "would copy /file to -\n");
}

#[test]
fn the_deletion_that_a_rehearsal_names_is_the_one_that_comes_back() {
    let cluster = Cluster::start(3, Options::default());
    for bytes in [3, 1, 2] {
        cluster.file("here", &vec![b'x'; bytes]);
        cluster.ok(&["put", "here", "/f"]);
        cluster.ok(&["rm", "/f"]);
    }
    let listed = cluster.dfsctl(&["trash", "ls", "-o", "json"]).run().ok().json();
    let deleted: Vec<_> =
        listed["entries"].as_array().into_iter().flatten().map(|e| e["deleted"].to_string()).collect();
    assert!(deleted.len() == 3 && deleted.is_sorted(), "{deleted:?}");
    let inode = |args: &[&str]| cluster.dfsctl(args).run().ok().json()["entries"][0]["inode"].clone();
    let rehearsed = inode(&["undelete", "--dry-run", "/f", "-o", "json"]);
    assert_eq!(inode(&["undelete", "/f", "-o", "json"]), rehearsed);
    assert_eq!(cluster.ok(&["cat", "/f"]), "xx", "the latest deletion");
}

#[test]
fn one_bad_argument_does_not_keep_the_good_ones_from_being_done() {
    let cluster = Cluster::start(3, Options::default());
    cluster.file("here", b"x");
    for name in ["/a", "/b", "/c", "/d"] {
        cluster.ok(&["put", "here", name]);
    }
    let said = cluster.dfsctl(&["cat", "/a", "/missing", "/b", "/none*"]).run().code(8);
    assert_eq!(said.text(), "xx");
    cluster.dfsctl(&["verify", "/a", "/missing"]).run().code(8).says(&["/missing"]);
    let said = cluster.dfsctl(&["ls", "/none*", "/a"]).run().code(8).says(&["/none*"]);
    assert!(said.text().contains("/a"), "{}", said.text());
    cluster.dfsctl(&["rm", "/none*", "/a", "/b", "/b"]).run().code(8).says(&["/none*"]);
    cluster.dfsctl(&["rm", "/c/", "/d"]).run().code(8).says(&["not a directory"]);
    assert_eq!(names(&cluster, "/"), ["c"]);
    cluster.dfsctl(&["mv", "/c/", "/e"]).run().code(4).says(&["not a directory"]);
}
