//! Files of this machine are safe from a get, whatever they and those in the cluster are called.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use dfs_tests::{Cluster, Content, Fault, MayMount, Mount, Options, may_mount, wait_until};

const MIB: u64 = 1024 * 1024;

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn files_that_are_called_like_part_files_are_fetched_and_left_as_any_other() {
    let cluster = Cluster::start(3, Options::default());
    let home = cluster.home();
    let part = format!(".dfs-{}.part", "0f".repeat(16));
    let files = [
        ("x".to_owned(), Content::new("x", 1, 4 * MIB)),
        (".x.dfs-part".to_owned(), Content::new("part", 1, 17)),
        (".x.dfs-part.json".to_owned(), Content::new("note", 1, 18)),
        (part, Content::new("random", 1, 2 * MIB)),
    ];
    fs::create_dir(home.join("d")).expect("a directory");
    for (name, content) in &files {
        fs::write(home.join("d").join(name), content.bytes()).expect("a file");
    }
    cluster.ok(&["put", "-r", "d", "/"]);
    for jobs in ["1", "32"] {
        cluster.ok(&["get", "-r", "-j", jobs, "/d", "out/"]);
        cluster.ok(&["get", "-r", "-j", jobs, "--resume", "/d", "out/"]);
        for (name, content) in &files {
            let found = fs::read(home.join("out/d").join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
            content.expect(name, &found);
        }
        assert_eq!(names(&home.join("out/d")).len(), files.len());
    }
    // The user's own, where only x is fetched.
    fs::create_dir(home.join("mine")).expect("a directory");
    for (name, content) in &files[1..] {
        fs::write(home.join("mine").join(name), content.bytes()).expect("a file");
    }
    cluster.ok(&["get", "/d/x", "mine/"]);
    cluster.ok(&["get", "--resume", "/d/x", "mine/y"]);
    for (name, content) in &files {
        content.expect(name, &fs::read(home.join("mine").join(name)).expect("a file"));
    }
    assert_eq!(names(&home.join("mine")).len(), files.len() + 1);
}

/// Starts a get of `/big` to `big`, interrupts it when `when` says so, gives what it said.
fn interrupted(cluster: &Cluster, when: impl Fn() -> bool) -> String {
    let mut command = Command::new(&cluster.binaries().dfsctl);
    command.args(["get", "/big", "big"]).current_dir(cluster.home());
    command.env("DFS_IDENTITY", cluster.user().expect("it is secured"));
    command.env("DFS_ENDPOINT", cluster.coordinator().address()).stderr(std::process::Stdio::piped());
    let child = command.spawn().expect("it starts");
    wait_until("it is time to interrupt", when);
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill").success());
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{said}");
    said
}

#[test]
fn an_interrupted_get_says_that_something_is_kept_only_if_it_is() {
    let cluster = Cluster::start(3, Options { proxied: true, ..Options::default() });
    let content = Content::new("big", 1, 16 * MIB);
    cluster.file("in", &content.bytes());
    cluster.ok(&["put", "in", "/big"]);
    let slow = |fault| (0..3).for_each(|node| cluster.proxy(node).set(fault));
    slow(Fault::Stall);
    let began = Instant::now();
    let said = interrupted(&cluster, || began.elapsed() > Duration::from_millis(700));
    assert!(said.contains("interrupted") && !said.contains("kept"), "{said}");
    assert_eq!(names(cluster.home()).iter().filter(|name| name.contains("part")).count(), 0);

    slow(Fault::Delay(Duration::from_millis(100)));
    let big = cluster.home().join("big");
    let said = interrupted(&cluster, || dfs_client::is_resumable(&big));
    assert!(said.contains("kept") && said.contains("--resume"), "{said}");
    slow(Fault::None);
    let got = cluster.dfsctl(&["get", "--resume", "-o", "json", "/big", "big"]).run().ok().json();
    assert!(got["files"][0]["resumed_bytes"].as_u64() > Some(0), "{got}");
    content.expect("resumed", &fs::read(&big).expect("a file"));
    assert_eq!(names(cluster.home()).iter().filter(|name| name.contains("part")).count(), 0);
}

#[test]
fn a_file_that_is_replaced_keeps_its_mode_and_owner() {
    let cluster = Cluster::start(3, Options::default());
    let there = cluster.file("there", b"old");
    cluster.file("in", b"new");
    cluster.ok(&["put", "in", "/f"]);
    fs::set_permissions(&there, fs::Permissions::from_mode(0o640)).expect("a mode");
    let owner = std::os::unix::fs::chown(&there, Some(4_321), Some(1_234)).is_ok();
    cluster.ok(&["get", "/f", "there"]);
    let found = fs::metadata(&there).expect("a file");
    assert_eq!((fs::read(&there).expect("a file"), found.mode() & 0o7777), (b"new".to_vec(), 0o640));
    assert!(!owner || (found.uid(), found.gid()) == (4_321, 1_234), "{found:?}");
    cluster.ok(&["get", "/f", "fresh"]);
    let mode = |name: &str| fs::metadata(cluster.home().join(name)).expect("a file").mode();
    assert_eq!(mode("fresh"), mode("in"), "as any new file");
}

#[test]
fn a_get_to_a_full_or_read_only_disk_says_so_and_leaves_nothing() {
    if may_mount("a full local disk") != MayMount::Yes {
        return;
    }
    let cluster = Cluster::start(3, Options::default());
    cluster.file("in", &Content::new("in", 1, 3 * MIB).bytes());
    cluster.ok(&["put", "in", "/big"]);
    let disk = Mount::memory(&cluster.home().join("small"), MIB);
    for args in [&["get", "/big", "small/"][..], &["get", "--resume", "/big", "small/"]] {
        cluster.dfsctl(args).run().code(9).says(&["no space left", "small/big"]);
        assert!(names(disk.dir()).is_empty(), "{:?}", names(disk.dir()));
    }
    disk.make_read_only();
    cluster.dfsctl(&["get", "/big", "small/"]).run().code(5).says(&["read-only", "small/big"]);
}
