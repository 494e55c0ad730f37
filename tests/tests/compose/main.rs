//! A cluster of one coordinator and six datanodes in containers, used as a stranger would use it.
//!
//! Needs a container engine; its absence is a failure, not a skip. Behind the feature `compose`, so that
//! `cargo test --workspace` needs none.

mod cluster;

use std::{
    fs,
    io::{Read as _, Write as _},
    sync::{Mutex, MutexGuard, PoisonError},
};

use cluster::{Cluster, DATANODES};
use dfs_tests::data::{lines, noise, sha256, sha256_of};
use serde_json::Value;

const MB: usize = 1_000_000;
const CHUNK_SIZES: [(&str, u64); 6] = [
    ("256KiB", 256 << 10),
    ("1MiB", 1 << 20),
    ("4MiB", 4 << 20),
    ("8MiB", 8 << 20),
    ("32MiB", 32 << 20),
    ("64MiB", 64 << 20),
];

/// Seven nodes are enough for one machine: the tests take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The chunks of a file as `verify` saw them, which read every copy of each.
fn verified(cluster: &Cluster, path: &str) -> Vec<Value> {
    let answer = cluster.json(&["verify", path]);
    let file = &answer["files"][0];
    assert_eq!(file["verdict"], "ok", "{path}: {file}");
    file["chunks"].as_array().unwrap_or_else(|| panic!("chunks in {answer}")).clone()
}

#[test]
fn files_of_every_size_come_back_whole_from_chunks_of_every_size_and_from_every_replica() {
    let _turn = turn();
    let cluster = Cluster::up("matrix");
    cluster.wait_for_health();
    let files = [
        ("lines-1000", lines(1_000)),
        ("lines-50000", lines(50_000)),
        ("1mb", noise(1, MB)),
        ("10mb", noise(2, 10 * MB)),
        ("100mb", noise(3, 100 * MB)),
    ];
    for (name, bytes) in &files {
        let (source, sum) = (cluster.home().join(name), sha256(bytes));
        fs::write(&source, bytes).expect("the input is written");
        for (chunk_size, chunk_bytes) in CHUNK_SIZES {
            let path = format!("/{name}-{chunk_size}");
            cluster.ok(&["put", "--chunk-size", chunk_size, name, &path]);
            cluster.ok(&["get", &path, "back"]);
            let back = cluster.home().join("back");
            assert_eq!(sha256_of(&back), sum, "{path}");
            fs::remove_file(&back).expect("removed");
            let chunks = verified(&cluster, &path);
            assert_eq!(chunks.len() as u64, (bytes.len() as u64).div_ceil(chunk_bytes), "{path}");
            for chunk in &chunks {
                assert_eq!(chunk["good"], 3, "{path}: {chunk}");
            }
            cluster.ok(&["rm", &path]);
            assert_eq!(cluster.exit_code(&["get", &path, "gone"]), 3, "{path} was deleted");
            assert!(!cluster.home().join("gone").exists());
        }
    }
    assert_eq!(cluster.json(&["ls", "/"])["entries"].as_array().map(Vec::len), Some(0));
}

#[test]
fn a_datanode_killed_in_the_middle_of_an_upload_or_a_download_is_not_noticed_by_the_client() {
    let _turn = turn();
    let cluster = Cluster::up("kill");
    let bytes = noise(4, 192 * MB);
    let (first, second) = bytes.split_at(bytes.len() / 3);

    let mut put = cluster.start(&["put", "--chunk-size", "4MiB", "-", "/big"]);
    let mut pipe = put.stdin.take().expect("a pipe");
    pipe.write_all(first).expect("the first third is taken");
    cluster.kill("datanode2");
    pipe.write_all(second).expect("the rest is taken");
    drop(pipe);
    assert!(put.wait().expect("it ends").success(), "the upload fails");

    let victim = holder(&cluster, "/big");
    let mut get = cluster.start(&["get", "/big", "-"]);
    let mut pipe = get.stdout.take().expect("a pipe");
    let mut back = vec![0; bytes.len() / 3];
    pipe.read_exact(&mut back).expect("the first third comes");
    cluster.kill(&victim);
    pipe.read_to_end(&mut back).expect("the rest comes");
    assert!(get.wait().expect("it ends").success(), "the download fails");
    assert_eq!(sha256(&back), sha256(&bytes));

    cluster.revive("datanode2");
    cluster.revive(&victim);
    cluster.wait_for_nodes(DATANODES);
    cluster.ok(&["get", "/big", "back"]);
    assert_eq!(sha256_of(&cluster.home().join("back")), sha256(&bytes));
}

/// A live datanode that holds a chunk in the last third of a file.
fn holder(cluster: &Cluster, path: &str) -> String {
    let answer = cluster.json(&["nodes"]);
    let up = |name: &str| {
        let nodes = answer["nodes"].as_array().unwrap_or_else(|| panic!("nodes in {answer}"));
        nodes.iter().any(|node| node["name"] == name && node["state"] == "up")
    };
    let explained = cluster.json(&["explain", path]);
    let names: Vec<String> = (1..=DATANODES)
        .map(|n| format!("datanode{n}"))
        .filter(|name| name != "datanode2" && up(name))
        .collect();
    let text = explained.to_string();
    names
        .into_iter()
        .max_by_key(|name| text.matches(&format!("\"{name}\"")).count())
        .expect("a live datanode")
}

#[test]
fn everything_is_there_after_restarts_in_order_and_without() {
    let _turn = turn();
    let cluster = Cluster::up("restart");
    let bytes = noise(5, 20 * MB);
    fs::write(cluster.home().join("in"), &bytes).expect("the input is written");
    cluster.ok(&["mkdir", "/d"]);
    cluster.ok(&["put", "--chunk-size", "1MiB", "in", "/d/one"]);
    cluster.ok(&["put", "in", "/d/two"]);
    cluster.ok(&["mv", "/d/two", "/d/three"]);
    cluster.ok(&["rm", "/d/one"]);

    cluster.restart("coordinator");
    cluster.wait_for_nodes(DATANODES);
    assert_eq!(cluster.exit_code(&["stat", "/d/one"]), 3, "a delete survives");
    cluster.ok(&["undelete", "/d/one"]);

    cluster.kill("coordinator");
    for n in 1..=DATANODES {
        cluster.kill(&format!("datanode{n}"));
    }
    cluster.revive("coordinator");
    for n in 1..=DATANODES {
        cluster.revive(&format!("datanode{n}"));
    }
    cluster.wait_for_nodes(DATANODES);
    for path in ["/d/one", "/d/three"] {
        cluster.ok(&["get", path, "back"]);
        assert_eq!(sha256_of(&cluster.home().join("back")), sha256(&bytes), "{path}");
        fs::remove_file(cluster.home().join("back")).expect("removed");
        assert!(verified(&cluster, path).iter().all(|chunk| chunk["good"] == 3), "{path}");
    }
    assert_eq!(cluster.exit_code(&["stat", "/d/two"]), 3, "a rename survives");
}
