//! What need not be sent: copies within the cluster, sums that are kept, and what an interrupted put has stored already.

use std::fs;
use std::process::Command;
use std::time::{Duration, SystemTime};

use dfs_tests::{Cluster, Content, Options, path};

const MIB: u64 = 1024 * 1024;

fn chunks(cluster: &Cluster) -> u64 {
    let status = cluster.dfsctl(&["-o", "json", "status"]).run().ok().json();
    status["chunks"].as_u64().expect("a number")
}

#[test]
fn a_copy_moves_no_byte_and_outlives_its_source() {
    let cluster = Cluster::start(3, Options::default());
    let content = Content::new("copied", 1, 5 * MIB + 3);
    cluster.file("src", &content.bytes());
    cluster.ok(&["put", "-p", "--chunk-size", "64KiB", "src", "/d/src"]);
    cluster.ok(&["mkdir", "/d/empty"]);
    let before = chunks(&cluster);
    let copied = cluster.dfsctl(&["-o", "json", "cp", "/d/src", "/copy"]).run().ok().json();
    assert_eq!(
        (copied["files"][0]["size"].as_u64(), copied["bytes"].as_u64()),
        (Some(5 * MIB + 3), Some(5 * MIB + 3))
    );
    cluster.dfsctl(&["cp", "-r", "/d", "/tree"]).run().ok().says(&["copied 1 file, no byte moved"]);
    assert_eq!(cluster.ok(&["find", "/tree"]), "/tree/empty\n/tree/src\n");
    assert_eq!(chunks(&cluster), before, "not one chunk more");
    cluster.ok(&["fsck"]);
    cluster.ok(&["rm", "-r", "/d"]);
    cluster.ok(&["trash", "empty", "--yes"]);
    for copy in ["/copy", "/tree/src"] {
        let bytes = cluster.dfsctl(&["cat", copy]).run().ok().stdout;
        assert!(bytes == content.bytes(), "{copy} has other bytes");
    }
    cluster.ok(&["verify", "/copy"]);
}

#[test]
fn a_copy_that_cannot_be_says_why() {
    let cluster = Cluster::start(3, Options::default());
    cluster.file("f", b"12345");
    cluster.ok(&["put", "-p", "f", "/d/f"]);
    cluster.dfsctl(&["cp", "/none", "/x"]).run().code(3).says(&["/none does not exist"]);
    cluster.dfsctl(&["cp", "/d", "/x"]).run().code(4).says(&["'/d' is a directory", "-r"]);
    cluster.dfsctl(&["cp", "/d/f", "/d/f"]).run().code(2).says(&["are the same file"]);
    cluster.dfsctl(&["cp", "-r", "/d", "/d/sub"]).run().code(2).says(&["lies inside it"]);
    cluster.dfsctl(&["cp", "/d/f", "/no/dir/f"]).run().code(3).says(&["--parents"]);
    cluster.dfsctl(&["cp", "/d/f"]).run().code(2);
    let said = cluster.dfsctl(&["cp", "--dry-run", "/d/f", "/g"]).run().ok();
    assert_eq!(said.text(), "would copy /d/f to /g\n");
    cluster.dfsctl(&["stat", "/g"]).run().code(3);
    cluster.ok(&["cp", "/d/f", "/g"]);
    cluster.dfsctl(&["cp", "-n", "/d/f", "/g"]).run().code(4).says(&["exists already", "without -n"]);
    let json = cluster.dfsctl(&["-o", "json", "cp", "/none", "/x"]).run().code(3);
    assert!(json.stdout.is_empty() && json.stderr.contains(r#""code":"NotFound""#), "{}", json.stderr);
}

#[test]
fn sums_are_those_of_sha256sum_kept_or_read() {
    let cluster = Cluster::start(3, Options::default());
    let bytes = Content::new("summed", 1, 3 * MIB + 5).bytes();
    cluster.file("kept", &bytes);
    cluster.file("read", &bytes[..1000]);
    cluster.ok(&["put", "-p", "--checksum", "--chunk-size", "64KiB", "kept", "/d/kept"]);
    cluster.ok(&["put", "read", "/d/read"]);
    cluster.ok(&["cp", "/d/kept", "/d/copy"]);
    let kept = |p: &str| {
        let said = cluster.dfsctl(&["-o", "json", "checksum", p]).run().ok().json();
        said["files"][0]["kept"].as_bool()
    };
    assert_eq!(["/d/kept", "/d/copy", "/d/read"].map(kept), [Some(true), Some(true), Some(false)]);
    let lines = cluster.ok(&["checksum", "--relative-to", "/d", "/d/kept", "/d/read"]);
    cluster.file("sums", lines.as_bytes());
    let check = Command::new("sha256sum")
        .args(["-c", "sums"])
        .current_dir(cluster.home())
        .output()
        .expect("sha256sum");
    assert!(check.status.success(), "{lines}{}", String::from_utf8_lossy(&check.stderr));
    assert_eq!(cluster.ok(&["checksum", "--read", "/d/kept"]), cluster.ok(&["checksum", "/d/kept"]));

    let said = cluster.dfsctl(&["checksum", "-c", "sums", "--relative-to", "/d"]).run().ok();
    assert_eq!(said.text(), "/d/kept: OK\n/d/read: OK\n");
    cluster.file("f", b"other");
    cluster.ok(&["put", "f", "/d/read"]);
    let said = cluster.dfsctl(&["checksum", "-c", "sums", "--relative-to", "/d"]).run().code(8);
    assert_eq!(said.text(), "/d/kept: OK\n/d/read: FAILED\n");
    cluster.file("one", lines.lines().last().expect("a line").replace("  read", "  /d/read").as_bytes());
    cluster.dfsctl(&["checksum", "-c", "one"]).run().code(7).says(&["has another SHA-256"]);
    cluster.dfsctl(&["checksum", "/d"]).run().code(4).says(&["-r"]);
    cluster.dfsctl(&["checksum", "/none"]).run().code(3);
    cluster.dfsctl(&["checksum"]).run().code(2);
    cluster.dfsctl(&["checksum", "-c", "f"]).run().code(2).says(&["line 1 of 'f'"]);
}

#[test]
fn times_before_1970_and_below_a_millisecond_are_kept() {
    let cluster = Cluster::start(3, Options::default());
    let file = cluster.file("old", b"old");
    let time = SystemTime::UNIX_EPOCH - Duration::new(86_400 * 365 * 3, 123_456_789);
    fs::File::options().write(true).open(&file).and_then(|f| f.set_modified(time)).expect("a time");
    cluster.ok(&["put", "--preserve", "old", "/old"]);
    let said = cluster.dfsctl(&["-o", "json", "stat", "/old"]).run().ok().json();
    assert_eq!(said["entries"][0]["modified"], "1967-01-01T23:59:59.876543211Z", "{said}");
    cluster.ok(&["cp", "-p", "/old", "/copy"]);
    cluster.ok(&["get", "--preserve", "/copy", "new"]);
    let got = fs::metadata(cluster.home().join("new")).and_then(|m| m.modified()).expect("a time");
    assert_eq!(got, time);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_that_was_killed_goes_on_and_sends_no_stored_chunk_again() {
    let cluster = Cluster::start(3, Options::default());
    let client = cluster.client().await;
    let content = Content::new("interrupted", 1, 64 * MIB);
    cluster.file("big", &content.bytes());
    let put = ["put", "--chunk-size", "64KiB", "big", "/big"];
    let mut child = cluster.dfsctl(&put).start();
    let stored = async {
        loop {
            let found = client.find_uploads(&path("/big")).await.expect("an answer");
            if let Some(upload) = found.iter().find(|upload| upload.stored >= 32) {
                return upload.stored;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let stored = tokio::time::timeout(Duration::from_secs(60), stored).await.expect("it moves");
    child.kill().and_then(|()| child.wait()).expect("killed");
    let resume = ["-o", "json", "put", "--resume", "--chunk-size", "64KiB", "big", "/big"];
    let said = cluster.dfsctl(&resume).run().ok().json();
    let resumed = said["files"][0]["resumed_bytes"].as_u64().expect("a number");
    assert!(resumed >= u64::from(stored) * 65_536 && resumed < 64 * MIB, "{resumed} of {stored} chunks");
    let bytes = cluster.dfsctl(&["cat", "/big"]).run().ok().stdout;
    assert!(bytes == content.bytes(), "other bytes");
    assert_eq!(cluster.dfsctl(&["-o", "json", "status"]).run().ok().json()["uploads_open"], 0);
    cluster.ok(&["fsck"]);
    cluster.dfsctl(&["put", "--resume", "-", "/x"]).run().code(2).says(&["--resume needs a file"]);
}
