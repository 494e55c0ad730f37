//! A cluster that lost copies becomes whole by itself, and one that has too many drops them.

use std::fs;
use std::time::Duration;

use dfs_tests::data::noise;
use dfs_tests::{Cluster, Options, wait_until};
use serde_json::Value;

const FILES: usize = 12;
/// Two chunks each, the second one short.
const SIZE: usize = 300_000;

/// A cluster that waits for a silent node for a second only.
fn start(datanodes: usize) -> Cluster {
    let options = Options::default()
        .set("cluster.suspect_after", "2s")
        .set("cluster.down_after", "4s")
        .set("cluster.repair_grace", "1s");
    let cluster = Cluster::start(datanodes, options);
    for file in 0..FILES {
        cluster.file(&format!("f{file}"), &noise(file as u64, SIZE));
        cluster.ok(&["put", &format!("f{file}"), &format!("/f{file}")]);
    }
    // A put answers when two nodes have it; the third may still write.
    wait_until("all chunks have three copies", || all_have_three_good_copies(&cluster));
    cluster
}

/// The states of the copies of all chunks of all files, by chunk.
fn copies(cluster: &Cluster) -> Vec<Vec<Value>> {
    let explain = |file| -> Value {
        let text = cluster.ok(&["-o", "json", "explain", &format!("/f{file}")]);
        serde_json::from_str(&text).expect("JSON")
    };
    let chunks = (0..FILES)
        .flat_map(|file| explain(file)["files"][0]["chunk_list"].as_array().expect("chunks").clone());
    chunks.map(|chunk| chunk["replicas"].as_array().expect("copies").clone()).collect()
}

fn all_have_three_good_copies(cluster: &Cluster) -> bool {
    let copies = copies(cluster);
    assert_eq!(copies.len(), 2 * FILES);
    copies.iter().all(|copies| copies.len() == 3 && copies.iter().all(|copy| copy["copy"] == "good"))
}

#[track_caller]
fn all_is_read_right(cluster: &Cluster) {
    for file in 0..FILES {
        cluster.ok(&["get", &format!("/f{file}"), "back"]);
        let back = fs::read(cluster.home().join("back")).expect("a file");
        assert!(back == noise(file as u64, SIZE), "f{file} has other bytes");
    }
}

#[test]
fn what_a_node_had_that_died_is_made_up_and_dropped_again_when_it_comes_back_after_all() {
    let cluster = start(5);
    let victim = cluster.datanode(1);
    let before = victim.chunk_files().len();
    assert!(before > 0);
    victim.kill();
    wait_until("all chunks have three copies elsewhere", || {
        let away = |copies: &Vec<Value>| {
            let there = copies.iter().filter(|copy| copy["node"] != "dn2" && copy["copy"] == "good");
            there.count() == 3
        };
        copies(&cluster).iter().all(away)
    });
    all_is_read_right(&cluster);
    victim.restart();
    cluster.wait_for_nodes();
    wait_until("no chunk has more than three copies", || all_have_three_good_copies(&cluster));
    let files = || cluster.datanodes().iter().map(|node| node.chunk_files().len()).sum::<usize>();
    wait_until("no disk has more", || files() == 3 * 2 * FILES);
    all_is_read_right(&cluster);
    wait_until("all is well", || cluster.code(&["status", "--check"]).0 == 0);
    let verified = (0..FILES).map(|file| cluster.verified(&format!("/f{file}")).0);
    assert!(verified.into_iter().all(|code| code == 0));
    // The node's word that a copy is gone comes with its next heartbeat.
    wait_until("what became of the copies is told", || {
        let told = cluster.ok(&["-o", "json", "explain", "/f0", "/f1", "/f2"]);
        let told: Value = serde_json::from_str(&told).expect("JSON");
        let chunks = told["files"].as_array().expect("files").iter();
        let chunks: Vec<_> = chunks.flat_map(|file| file["chunk_list"].as_array().expect("chunks")).collect();
        assert!(chunks.iter().all(|chunk| chunk["placed"].is_string()));
        let has = |turn: &str, cause: Option<&str>| {
            let mut all = chunks.iter().flat_map(|chunk| chunk["life"].as_array().expect("its life"));
            all.any(|it| it["turn"] == turn && it["cause"].as_str() == cause)
        };
        has("copied", Some("repair")) && has("dropping", Some("surplus")) && has("deleted", None)
    });
    let said = cluster.ok(&["explain", "/f0", "/f1", "/f2"]);
    assert!(said.contains("copied, because there were too few"), "{said}");
}

#[test]
fn copies_that_a_disk_lost_or_spoiled_are_made_anew_though_no_other_node_can_take_them() {
    let mut cluster = start(3);
    cluster.logs().allow("corrupt");
    cluster.logs().allow("the file of a chunk is gone");
    let files = cluster.datanode(0).chunk_files();
    assert_eq!(files.len(), 2 * FILES, "each node has each chunk");
    fs::remove_file(&files[0]).expect("a chunk file is removed");
    let mut bytes = fs::read(&files[1]).expect("a chunk file");
    bytes[5_000] ^= 1;
    fs::write(&files[1], bytes).expect("a chunk file is spoiled");
    let bad = (0..FILES).filter(|file| cluster.verified(&format!("/f{file}")).0 == 10).count();
    assert!((1..=2).contains(&bad), "{bad} files are seen to be hurt");
    // That all is well may be said before the node has told what is not.
    wait_until("the copies are made anew", || {
        let read = (0..FILES).all(|file| cluster.verified(&format!("/f{file}")).0 == 0);
        read && cluster.datanode(0).chunk_files().len() == 2 * FILES
    });
    wait_until("all is well", || cluster.code(&["status", "--check"]).0 == 0);
    assert!(all_have_three_good_copies(&cluster));
    all_is_read_right(&cluster);
}

#[test]
fn a_node_in_maintenance_costs_no_copy_and_alarms_nobody_until_that_is_over() {
    let cluster = start(5);
    let files = || cluster.datanodes().iter().map(|node| node.chunk_files().len()).sum::<usize>();
    let before = files();
    assert_eq!(cluster.ok(&["maintenance"]), "no datanode is in maintenance\n");
    assert_eq!(cluster.ok(&["maintenance", "start", "dn2", "--for", "1h"]), "dn2 may be away for 1h 0m\n");
    assert!(cluster.ok(&["maintenance", "ls"]).contains("dn2"));
    for (wrong, code) in [
        (["start", "dn2", "--for", "0s"], 2),
        (["start", "dn2", "--for", "8days"], 2),
        (["start", "dn2", "--for", "soon"], 2),
        (["start", "dn9", "--for", "1h"], 3),
    ] {
        let (said, text) = cluster.code(&[&["maintenance"], &wrong[..]].concat());
        assert_eq!(said, code, "{wrong:?}: {text}");
    }
    cluster.datanode(1).kill();
    wait_until("it counts as down", || cluster.ok(&["nodes"]).contains("down"));
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(files(), before, "nothing is made elsewhere");
    let (code, said) = cluster.code(&["status", "--check"]);
    assert_eq!(code, 0, "{said}");
    assert!(cluster.ok(&["status"]).contains("MAINTENANCE"));
    // It is known after the coordinator was away as well, which waits for no node that may be away.
    cluster.coordinator().kill();
    cluster.coordinator().restart();
    wait_until("all others are heard of", || cluster.ok(&["nodes"]).matches(" up ").count() == 4);
    // Then repair begins with its next step. A node that ought to be back before it has would be waited for.
    std::thread::sleep(Duration::from_secs(3));
    assert!(cluster.ok(&["maintenance"]).contains("dn2"));
    assert_eq!(cluster.ok(&["maintenance", "stop", "dn2"]), "the maintenance of dn2 is over\n");
    wait_until("all chunks have three copies elsewhere", || {
        let here = |copies: &Vec<Value>| {
            copies.iter().filter(|copy| copy["node"] != "dn2" && copy["copy"] == "good").count() == 3
        };
        copies(&cluster).iter().all(here)
    });
    all_is_read_right(&cluster);
}

#[test]
fn an_operator_ends_the_grace_of_a_node_that_was_stopped_politely() {
    let cluster = start(5);
    cluster.datanode(1).stop();
    wait_until("it may be away", || cluster.ok(&["maintenance"]).contains("dn2"));
    let files = || cluster.datanodes()[2..].iter().map(|node| node.chunk_files().len()).sum::<usize>();
    let before = files();
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(files(), before, "it is waited for");
    // Less than a millisecond is not nothing.
    assert!(cluster.ok(&["maintenance", "start", "dn2", "--for", "500us"]).contains("dn2 may be away"));
    cluster.ok(&["maintenance", "stop", "dn2"]);
    assert_eq!(cluster.ok(&["maintenance"]), "no datanode is in maintenance\n");
    wait_until("all chunks have three copies elsewhere", || {
        let here = |copies: &Vec<Value>| {
            copies.iter().filter(|copy| copy["node"] != "dn2" && copy["copy"] == "good").count() == 3
        };
        copies(&cluster).iter().all(here)
    });
}

#[test]
fn a_node_that_comes_back_within_the_grace_costs_no_copy() {
    let options = Options::default().set("cluster.suspect_after", "2s").set("cluster.down_after", "4s");
    let cluster = Cluster::start(4, options);
    cluster.file("in", &noise(1, 1_000_000));
    cluster.ok(&["put", "in", "/f"]);
    wait_until("all is well", || cluster.code(&["status", "--check"]).0 == 0);
    let files = |cluster: &Cluster| -> usize {
        cluster.datanodes().iter().map(|node| node.chunk_files().len()).sum()
    };
    let before = files(&cluster);
    cluster.datanode(0).kill();
    wait_until("it counts as down", || cluster.ok(&["nodes"]).contains("down"));
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(files(&cluster), before, "it may come back");
    cluster.datanode(0).restart();
    cluster.wait_for_nodes();
    wait_until("all is well", || cluster.code(&["status", "--check"]).0 == 0);
    assert_eq!(files(&cluster), before);
}
