//! `dfsctl sync` makes one directory like another, in both directions, and goes on where it was interrupted.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::Command,
    time::{Duration, UNIX_EPOCH},
};

use dfs_tests::{Cluster, Content, Options};
use serde_json::Value;

fn sync(cluster: &Cluster, args: &[&str]) -> Value {
    cluster.dfsctl(&[&["-o", "json", "sync"], args].concat()).run().ok().json()
}

fn counts(view: &Value) -> [usize; 3] {
    let len = |name: &str| view[name].as_array().map_or(0, Vec::len);
    let unchanged = view["unchanged"].as_u64().unwrap_or_default();
    [len("copied"), len("deleted"), usize::try_from(unchanged).expect("a small number")]
}

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().expect("a directory")).expect("made");
    fs::write(path, bytes).expect("a file");
}

#[test]
fn a_tree_goes_up_and_comes_back_and_what_is_the_same_does_not_move() {
    let cluster = Cluster::start(3, Options::default());
    let tree = cluster.home().join("tree");
    for number in 0..20_u64 {
        let content = Content::new("sync", number, number * 20_000);
        write(&tree.join(format!("d{}/file {number}", number % 3)), &content.bytes());
    }
    fs::create_dir(tree.join("empty")).expect("a directory");
    assert_eq!(counts(&sync(&cluster, &["tree", "dfs:/up"])), [20, 0, 0]);
    assert_eq!(counts(&sync(&cluster, &["tree", "dfs:/up"])), [0, 0, 20]);
    assert_eq!(counts(&sync(&cluster, &["dfs:/up", "back"])), [20, 0, 0]);
    assert_eq!(counts(&sync(&cluster, &["dfs:/up", "back"])), [0, 0, 20]);
    let same = Command::new("diff").args(["-r", "tree", "back"]).current_dir(cluster.home()).status();
    assert!(same.expect("diff runs").success());
    assert_eq!(cluster.ok(&["diff", "-r", "dfs:/up", "back"]), "");

    // Of one size and time, and other bytes: only reading tells.
    let changed = tree.join("d1/file 1");
    let time = fs::metadata(&changed).and_then(|meta| meta.modified()).expect("a time");
    write(&changed, &vec![b'!'; 20_000]);
    fs::File::options().write(true).open(&changed).and_then(|file| file.set_modified(time)).expect("set");
    assert_eq!(counts(&sync(&cluster, &["tree", "dfs:/up"])), [0, 0, 20]);
    assert_eq!(counts(&sync(&cluster, &["--checksum", "tree", "dfs:/up"])), [1, 0, 19]);
    assert_eq!(cluster.ok(&["diff", "-r", "dfs:/up", "tree"]), "");
}

#[test]
fn times_before_1970_and_finer_than_a_millisecond_are_kept_both_ways() {
    let cluster = Cluster::start(3, Options::default());
    let tree = cluster.home().join("tree");
    let times =
        [(-1, 999_999_999), (-86_400 * 365 * 30, 1), (0, 0), (0, 123_456), (1_700_000_000, 123_456_789)];
    for (number, (seconds, nanos)) in times.iter().enumerate() {
        let file = tree.join(number.to_string());
        write(&file, b"x");
        let whole = Duration::from_secs(i64::unsigned_abs(*seconds));
        let whole = if *seconds < 0 { UNIX_EPOCH - whole } else { UNIX_EPOCH + whole };
        let time = whole + Duration::from_nanos(*nanos);
        fs::File::options().write(true).open(&file).and_then(|file| file.set_modified(time)).expect("set");
    }
    assert_eq!(counts(&sync(&cluster, &["tree", "dfs:/up"])), [times.len(), 0, 0]);
    assert_eq!(counts(&sync(&cluster, &["tree", "dfs:/up"])), [0, 0, times.len()]);
    assert_eq!(counts(&sync(&cluster, &["dfs:/up", "back"])), [times.len(), 0, 0]);
    for (number, time) in times.iter().enumerate() {
        let meta = fs::metadata(cluster.home().join("back").join(number.to_string())).expect("a file");
        assert_eq!((meta.mtime(), meta.mtime_nsec()), (time.0, i64::try_from(time.1).expect("nanoseconds")));
    }
    assert_eq!(counts(&sync(&cluster, &["dfs:/up", "back"])), [0, 0, times.len()]);
}

#[test]
fn a_rehearsal_names_what_would_move_and_no_rate() {
    let cluster = Cluster::start(3, Options::default());
    write(&cluster.home().join("tree/a"), &[0; 2048]);
    let said = cluster.dfsctl(&["sync", "--dry-run", "tree", "dfs:/t"]).run().ok();
    assert_eq!(said.text(), "would copy tree/a to dfs:/t/a\n");
    assert_eq!(said.stderr, "would copy 1 file of 2.00 KiB, delete 0, leave 0\n");
}

#[test]
fn only_what_is_asked_for_is_deleted_and_never_for_a_source_that_is_empty() {
    let cluster = Cluster::start(3, Options::default());
    let tree = cluster.home().join("tree");
    for name in ["keep", "gone/a", "gone/b", "cache/x.tmp"] {
        write(&tree.join(name), name.as_bytes());
    }
    sync(&cluster, &["tree", "dfs:/t"]);
    fs::remove_dir_all(tree.join("gone")).expect("removed");
    fs::remove_dir_all(tree.join("cache")).expect("removed");
    assert_eq!(counts(&sync(&cluster, &["tree", "dfs:/t"])), [0, 0, 1]);
    let rehearsed = cluster.ok(&["sync", "--delete", "--dry-run", "--exclude", "*.tmp", "tree", "dfs:/t"]);
    assert_eq!(
        rehearsed,
        "would delete dfs:/t/gone/b\nwould delete dfs:/t/gone/a\nwould delete dfs:/t/gone\n"
    );
    let done = sync(&cluster, &["--delete", "--exclude", "*.tmp", "tree", "dfs:/t"]);
    assert_eq!(counts(&done), [0, 3, 1]);
    assert_eq!(cluster.ok(&["find", "/t", "--type", "f"]), "/t/cache/x.tmp\n/t/keep\n");
    cluster.ok(&["undelete", "/t/gone"]);

    fs::create_dir(cluster.home().join("nothing")).expect("a directory");
    cluster.dfsctl(&["sync", "--delete", "nothing", "dfs:/t"]).run().code(4).says(&["--allow-empty"]);
    // The other way round, local files go; a cluster's own directory does not.
    write(&cluster.home().join("local/extra"), b"x");
    let state = "{\"format\":2,\"dir\":\"/x\",\"set\":[],\"nodes\":[]}";
    write(&cluster.home().join("local/.dfs-dev/cluster.json"), state.as_bytes());
    let said = cluster.dfsctl(&["sync", "--delete", "dfs:/t", "local"]).run().ok();
    said.says(&["left out the directory of a development cluster: local/.dfs-dev"]);
    assert!(!cluster.home().join("local/extra").exists());
    assert!(cluster.home().join("local/.dfs-dev/cluster.json").exists());
    assert!(cluster.home().join("local/keep").exists());
}

#[test]
fn what_cannot_be_synced_is_refused_or_named_and_deletes_nothing() {
    let cluster = Cluster::start(3, Options::default());
    write(&cluster.home().join("tree/a"), b"x");
    write(&cluster.home().join("tree/b"), b"x");
    cluster.ok(&["mkdir", "-p", "/t/a", "/t/z"]);
    let table: &[(&[&str], i32, &str)] = &[
        (&["sync", "tree", "other"], 2, "dfs:/a/b"),
        (&["sync", "dfs:/t", "dfs:/u"], 2, "this machine"),
        (&["sync", "tree"], 2, "DST"),
        (&["sync", "none", "dfs:/t"], 3, "none"),
        (&["sync", "dfs:/none", "tree"], 3, "/none"),
        (&["sync", "tree/b", "dfs:/t"], 4, "not a directory"),
        (&["sync", "--exclude", "[a", "tree", "dfs:/t"], 2, "["),
        (&["sync", "--allow-empty", "tree", "dfs:/t"], 2, "--delete"),
    ];
    for (args, code, word) in table {
        let said = cluster.dfsctl(args).run();
        assert_eq!(said.code, *code, "{args:?}: {}", said.stderr);
        said.says(&[word]);
    }
    let said = cluster.dfsctl(&["sync", "--delete", "tree", "dfs:/t"]).run().code(8);
    said.says(&["InTheWay", "tree/a", "not deleted, because not all could be copied"]);
    assert_eq!(cluster.ok(&["find", "/t"]), "/t/a\n/t/b\n/t/z\n");
}
