//! Files get another number of copies, by a job that nothing stops for good.

use std::fs;

use dfs_tests::data::noise;
use dfs_tests::{Cluster, Options, wait_until};
use serde_json::Value;

const FILES: usize = 40;
/// Two chunks each.
const SIZE: usize = 300_000;

fn json(cluster: &Cluster, args: &[&str]) -> Value {
    let text = cluster.ok(&[&["-o", "json"], args].concat());
    serde_json::from_str(&text).expect("JSON")
}

/// Copies that each chunk of a file has, those that are not good as none.
fn copies(cluster: &Cluster, file: &str) -> Vec<usize> {
    let explained = json(cluster, &["explain", file]);
    let chunks = explained["files"][0]["chunk_list"].as_array().expect("chunks").clone();
    let good = |chunk: &Value| {
        let copies = chunk["replicas"].as_array().expect("copies").clone();
        copies.iter().map(|copy| if copy["copy"] == "good" { 1 } else { 100 }).sum()
    };
    chunks.iter().map(good).collect()
}

#[test]
fn files_get_another_number_of_copies_and_keep_it_whatever_restarts() {
    let cluster = Cluster::start(5, Options::default());
    for file in 0..FILES {
        cluster.file(&format!("f{file}"), &noise(file as u64, SIZE));
        cluster.ok(&["put", "-p", &format!("f{file}"), &format!("/d/{}/f{file}", file % 3)]);
    }
    cluster.ok(&["put", "f0", "/other"]);
    cluster.ok(&["cp", "/d/0/f0", "/shared"]);
    let files = || cluster.datanodes().iter().map(|node| node.chunk_files().len()).sum::<usize>();
    wait_until("all chunks have three copies", || files() == 3 * 2 * (FILES + 1));

    for (wrong, code) in [
        (vec!["0", "/d", "-r"], 2),
        (vec!["8", "/d", "-r"], 2),
        (vec!["2", "/gone"], 3),
        (vec!["2", "/d"], 4),
        (vec!["6", "/d", "-r"], 4),
    ] {
        let (said, text) = cluster.code(&[&["replication", "set"], &wrong[..]].concat());
        assert_eq!(said, code, "{wrong:?}: {text}");
    }
    let said = cluster.dfsctl(&["replication", "set", "6", "/d", "-r", "--dry-run"]).run();
    assert!(
        said.code == 4 && said.text().contains("need 6 datanodes that take chunks, there are 5"),
        "{}",
        said.text()
    );
    let plan = json(&cluster, &["replication", "set", "2", "/d", "-r", "--dry-run"]);
    let bytes = (FILES * SIZE) as u64;
    assert_eq!((&plan["files"], &plan["changed"]), (&FILES.into(), &FILES.into()), "{plan}");
    assert_eq!((&plan["added_bytes"], &plan["freed_bytes"]), (&0.into(), &bytes.into()), "{plan}");
    assert_eq!(files(), 3 * 2 * (FILES + 1), "nothing was done");

    // Up, with the coordinator killed on the way; another job about some of the files has to wait.
    let begun = json(&cluster, &["replication", "set", "5", "/d", "-r"]);
    let job = begun["job"]["job"].as_u64().expect("a job").to_string();
    assert_eq!(cluster.code(&["replication", "set", "4", "/d/1", "-r"]).0, 4);
    cluster.coordinator().kill();
    cluster.coordinator().restart();
    cluster.wait_for_nodes();
    let (code, said) = cluster.code(&["jobs", "wait", &job]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(json(&cluster, &["jobs", "show", &job])["bytes_done"], bytes);
    for file in 0..FILES {
        assert_eq!(copies(&cluster, &format!("/d/{}/f{file}", file % 3)), [5, 5]);
    }
    assert_eq!(copies(&cluster, "/other"), [3, 3]);
    assert_eq!(copies(&cluster, "/shared"), [5, 5], "it shares the chunks");
    assert_eq!(json(&cluster, &["stat", "/shared"])["entries"][0]["replication"], 3);

    // Down: what is shared keeps as many as the other file wants.
    let done = json(&cluster, &["replication", "set", "1", "/d", "-r", "--wait"]);
    assert_eq!(done["state"], "done", "{done}");
    for file in 0..FILES {
        let wanted = if file == 0 { 3 } else { 1 };
        assert_eq!(copies(&cluster, &format!("/d/{}/f{file}", file % 3)), [wanted, wanted]);
        cluster.ok(&["get", &format!("/d/{}/f{file}", file % 3), "back"]);
        assert!(fs::read(cluster.home().join("back")).expect("a file") == noise(file as u64, SIZE));
    }
    wait_until("what is beyond is deleted", || files() == 2 * (FILES - 1) + 3 * 2 * 2);
    assert_eq!(cluster.code(&["status", "--check"]).0, 0);
    cluster.ok(&["fsck"]);

    cluster.ok(&["replication", "set", "2", "/other", "--wait"]);
    assert_eq!(copies(&cluster, "/other"), [2, 2]);
    assert_eq!(json(&cluster, &["replication", "set", "2", "/other"])["changed"], 0);
}
