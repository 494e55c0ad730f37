//! What rots at rest is found by the scrub, without a reader, and healed; what cannot be healed is named, and nothing else touched.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use dfs_tests::data::{noise, sha256, sha256_of};
use dfs_tests::{Cluster, NodeHandle, Options, wait_until};
use serde_json::Value;

/// Two chunks, the second one short.
const SIZE: usize = 300_000;
const FILES: usize = 8;

/// A cluster of three, so that each node has each chunk, whose logs may speak of what rots.
fn start(options: Options) -> Cluster {
    let mut cluster = Cluster::start(3, options);
    for alarm in ["chunk replica is corrupt", "a node reports copies"] {
        cluster.logs().allow(alarm);
    }
    for file in 0..FILES {
        cluster.file(&format!("f{file}"), &noise(file as u64, SIZE));
        cluster.ok(&["put", &format!("f{file}"), &format!("/f{file}")]);
    }
    // A put answers when two nodes have it; the third may still write.
    wait_until("each node has each chunk", || {
        cluster.datanodes().iter().all(|node| node.chunk_files().len() == 2 * FILES)
    });
    wait_until("all is well", || cluster.code(&["status", "--check"]).0 == 0);
    cluster
}

fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("the chunk file opens");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read");
    file.write_all_at(&[byte[0] ^ 0x10], at).expect("written");
    file.sync_all().expect("synced");
}

fn name(path: &Path) -> String {
    path.file_name().expect("a name").to_string_lossy().into_owned()
}

/// The chunk files of a node, by name, in order.
fn files(node: &NodeHandle) -> BTreeMap<String, PathBuf> {
    node.chunk_files().into_iter().map(|path| (name(&path), path)).collect()
}

/// The chunks of a file, as they are in the names of their files.
fn chunks(cluster: &Cluster, path: &str) -> Vec<String> {
    let said: Value = serde_json::from_str(&cluster.ok(&["-o", "json", "explain", path])).expect("JSON");
    let list = said["files"][0]["chunk_list"].as_array().expect("chunks").clone();
    list.iter().map(|chunk| chunk["chunk"].as_str().expect("an id").to_owned()).collect()
}

fn status(cluster: &Cluster, node: &str) -> Value {
    let said = cluster.ok(&["-o", "json", "scrub", "status", node]);
    let said: Value = serde_json::from_str(&said).expect("JSON");
    said["nodes"][0].clone()
}

/// Has every node read everything, and waits until it has.
fn scrub(cluster: &Cluster) {
    let said = cluster.ok(&["-o", "json", "scrub", "start", "--unpaced"]);
    let said: Value = serde_json::from_str(&said).expect("JSON");
    for started in said["nodes"].as_array().expect("nodes") {
        let node = started["node"].as_str().expect("a name");
        wait_until(&format!("{node} has read everything"), || {
            let ended = &status(cluster, node)["last"]["round"];
            ended.as_u64() >= started["round"].as_u64()
        });
    }
}

#[track_caller]
fn is_read_right(cluster: &Cluster, file: usize) {
    cluster.ok(&["get", &format!("/f{file}"), "back"]);
    assert_eq!(sha256_of(&cluster.home().join("back")), sha256(&noise(file as u64, SIZE)), "f{file}");
}

#[test]
fn two_of_three_copies_that_rot_in_different_places_are_healed_without_a_reader() {
    let cluster = start(Options::default());
    let all: Vec<_> = files(cluster.datanode(0)).into_keys().collect();
    // Of each chunk two copies, on two nodes in turn, in two places.
    for (index, chunk) in all.iter().enumerate() {
        flip(&files(cluster.datanode(index % 3))[chunk], 10);
        flip(&files(cluster.datanode((index + 1) % 3))[chunk], 20_000);
    }
    // The first half is read before anything is found: a reader is served the good one.
    (0..FILES / 2).for_each(|file| is_read_right(&cluster, file));
    scrub(&cluster);
    // That all is well may be said before a node has told what its scrub found.
    wait_until("all copies are good", || {
        (0..FILES).all(|file| cluster.verified(&format!("/f{file}")).0 == 0)
    });
    wait_until("all is well", || cluster.code(&["status", "--check"]).0 == 0);
    (0..FILES).for_each(|file| is_read_right(&cluster, file));
    let bad = |node: &NodeHandle| status(&cluster, node.name())["last"]["bad"].as_u64().expect("a number");
    assert!(cluster.datanodes().iter().map(bad).sum::<u64>() > 0);
    scrub(&cluster);
    assert_eq!(cluster.datanodes().iter().map(bad).sum::<u64>(), 0, "nothing bad is left");
}

#[test]
fn when_all_copies_of_a_chunk_rot_the_file_is_named_and_nothing_else_is_touched() {
    let cluster = start(Options::default());
    let lost = chunks(&cluster, "/f3").remove(0);
    let before: Vec<_> = cluster.datanodes().iter().map(files).collect();
    for (node, at) in cluster.datanodes().iter().zip([5, 70_000, 140_000]) {
        let there = files(node);
        let (_, path) = there.iter().find(|(name, _)| name.starts_with(&lost)).expect("a copy");
        flip(path, at);
    }
    scrub(&cluster);
    wait_until("the coordinator knows", || {
        let said = cluster.dfsctl(&["status", "--check"]).run();
        said.code == 11 && said.text().contains("CHUNKS_LOST")
    });
    let (code, said) = cluster.code(&["get", "/f3", "back"]);
    assert_eq!(code, 7, "{said}");
    assert!(said.contains("/f3"), "{said}");
    assert!(!cluster.home().join("back").exists());
    assert_eq!(cluster.verified("/f3").0, 7);
    let fsck = cluster.dfsctl(&["fsck"]).run();
    assert!(fsck.code != 0 && fsck.text().contains("/f3"), "{}", fsck.text());
    (0..FILES).filter(|file| *file != 3).for_each(|file| is_read_right(&cluster, file));
    scrub(&cluster);
    let after: Vec<_> = cluster.datanodes().iter().map(files).collect();
    assert_eq!(before, after, "bad copies of which there is no good one are the only ones there are");
    let quarantined =
        |node: &NodeHandle| fs::read_dir(node.data_dir().join("quarantine")).expect("a directory").count();
    assert_eq!(cluster.datanodes().iter().map(quarantined).sum::<usize>(), 0);
}

#[test]
fn a_scrub_comes_by_itself_goes_on_after_a_restart_and_begins_anew_where_its_cursor_is_damaged() {
    let cluster = start(Options::default().set("storage.scrub_period", "10s"));
    let node = cluster.datanode(0);
    let round = || status(&cluster, node.name())["last"]["round"].as_u64().unwrap_or(0);
    wait_until("a round has ended", || round() >= 1);
    flip(&files(node).into_values().next().expect("a chunk"), 1_000);
    let bad = || -> f64 {
        let (_, metrics) = node.get("/metrics").expect("an answer");
        let line = metrics.lines().find_map(|line| line.strip_prefix("dfs_scrub_bad{")).expect("a gauge");
        line.split_once("} ").expect("a value").1.trim().parse().expect("a number")
    };
    wait_until("what rotted is found unasked", || bad() == 1.0);
    wait_until("and healed", || cluster.code(&["status", "--check"]).0 == 0 && bad() == 0.0);
    assert_eq!((0..FILES).map(|file| cluster.verified(&format!("/f{file}")).0).sum::<i32>(), 0);
    let before = round();
    node.stop();
    node.start();
    cluster.wait_for_nodes();
    assert!(round() >= before, "the rounds go on: {before}");
    node.stop();
    fs::write(node.data_dir().join("scrub"), "nonsense").expect("written");
    node.start();
    cluster.wait_for_nodes();
    wait_until("it begins anew", || round() >= 1);
    assert!(node.log().contains("the cursor of the scrub is damaged"));
}
