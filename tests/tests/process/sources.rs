//! What is put is what was there: a source that changes meanwhile, or is none, is told.

use std::{
    fs,
    io::{Seek as _, Write as _},
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use dfs_client::ErrorKind;
use dfs_tests::{Cluster, Content, Fault, Options, path};

const MIB: u64 = 1024 * 1024;

/// Runs `during` again and again while `work` is done.
fn meanwhile<T>(mut during: impl FnMut() + Send, work: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                during();
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let outcome = work();
        over.store(true, Ordering::Relaxed);
        outcome
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_while_it_is_put_is_not_stored_unless_that_is_allowed() {
    let cluster = Cluster::start(3, Options::default());
    let client = cluster.client().await;
    let content = Content::new("changing", 1, 48 * MIB);
    fs::create_dir(cluster.home().join("d")).expect("a directory");
    let file = cluster.file("d/changing", &content.bytes());
    cluster.file("d/still", b"as it was");
    let append = || {
        let mut file = fs::OpenOptions::new().append(true).open(&file).expect("a file");
        file.write_all(b"more").expect("appended");
    };
    let overwrite = || {
        let mut file = fs::OpenOptions::new().write(true).open(&file).expect("a file");
        file.seek(std::io::SeekFrom::Start(MIB)).and_then(|_| file.write_all(b"other")).expect("written");
    };
    let put = |args: &[&str]| cluster.dfsctl(args).run();
    let said = meanwhile(append, || put(&["put", "d/changing", "/changing"]));
    said.code(14).says(&["d/changing", "changed while it was read", "--allow-changing"]);
    let said = meanwhile(overwrite, || put(&["-o", "json", "put", "d/changing", "/changing"])).code(14);
    let failure = said.stderr.lines().last().unwrap_or_default().to_owned();
    assert!(
        failure.contains(r#""code":"SourceChanged""#) && failure.contains(r#""exit_code":14"#),
        "{failure}"
    );
    let error = client.stat(&path("/changing")).await.expect_err("nothing was stored");
    assert_eq!(error.kind(), ErrorKind::NotFound);

    // One of several.
    let said = meanwhile(append, || put(&["put", "-r", "d", "/"]));
    said.code(8).says(&["d/changing", "changed while it was read"]);
    assert_eq!(client.stat(&path("/d/changing")).await.expect_err("not stored").kind(), ErrorKind::NotFound);
    assert_eq!(cluster.ok(&["cat", "/d/still"]), "as it was");

    let said = meanwhile(overwrite, || put(&["put", "--allow-changing", "d/changing", "/changing"]));
    said.code(0).says(&["warning:", "changed while it was read", "d/changing"]);
    let args = ["-o", "json", "put", "-r", "--allow-changing", "d", "/"];
    let said = meanwhile(append, || put(&args)).code(0).json();
    let changed = |name: &str| {
        let files = said["files"].as_array().expect("files");
        let found = files.iter().find(|file| file["target"] == format!("/d/{name}")).expect("the file");
        found["source_changed"].as_bool()
    };
    assert_eq!((changed("changing"), changed("still")), (Some(true), Some(false)), "{said}");
    // Read and nothing else: no change.
    meanwhile(|| drop(fs::read(&file)), || put(&["put", "d/changing", "/read"])).code(0);
}

#[test]
fn a_standard_input_that_is_closed_is_no_empty_file() {
    let cluster = Cluster::start(3, Options::default());
    let shell = |line: &str| {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", line]).current_dir(cluster.home()).env("DFSCTL", &cluster.binaries().dfsctl);
        command.env("DFS_IDENTITY", cluster.user().expect("it is secured"));
        command.env("DFS_ENDPOINT", cluster.coordinator().address()).stdin(Stdio::piped());
        let output = command.output().expect("a shell");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = shell("\"$DFSCTL\" put - /closed <&-");
    assert!(code == Some(2) && said.contains("standard input is closed"), "{code:?}: {said}");
    cluster.dfsctl(&["stat", "/closed"]).run().code(3);
    let (code, said) = shell("\"$DFSCTL\" put - /empty </dev/null");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(cluster.ok(&["cat", "/empty"]), "");
}

#[test]
fn a_range_past_the_end_is_wrong_and_the_size_is_named() {
    let cluster = Cluster::start(3, Options::default());
    cluster.file("in", b"0123456789");
    cluster.ok(&["put", "in", "/f"]);
    for args in [&["cat", "--range", "10-", "/f"][..], &["get", "--range", "20-30", "/f", "out"]] {
        cluster.dfsctl(args).run().code(2).says(&["/f", "the file has 10 bytes"]);
    }
    assert!(!cluster.home().join("out").exists());
    assert_eq!(cluster.ok(&["cat", "--range", "8-30", "/f"]), "89");
}

#[test]
fn a_put_that_cannot_succeed_says_so_within_seconds() {
    let cluster = Cluster::start(3, Options::default());
    cluster.file("in", &Content::new("in", 1, MIB).bytes());
    cluster.ok(&["put", "in", "/before"]);
    cluster.datanode(0).kill();
    cluster.datanode(1).kill();
    // Nobody knows yet, then the client does; and when the coordinator does.
    for _ in 0..2 {
        let begun = Instant::now();
        cluster.dfsctl(&["put", "in", "/after"]).run().code(6).says(&["NoWriteQuorum"]);
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        cluster.wait_for_nodes();
    }
    cluster.dfsctl(&["cat", "/before"]).run().ok();
}

#[test]
fn it_is_said_what_is_tried_when_nobody_answers() {
    let cluster = Cluster::start(1, Options { proxied: true, ..Options::default() });
    cluster.proxy(0).set(Fault::Stall);
    let dead = cluster.proxy(0).address().to_owned();
    let said = cluster.dfsctl(&["--endpoint", &dead, "ls", "/"]).run().code(6);
    said.says(&[&format!("trying to reach the coordinator at {dead} (from --endpoint)"), "cannot reach"]);
}
