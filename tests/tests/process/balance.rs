//! Copies go from full datanodes to emptier ones, and end there.

use std::fs;

use dfs_tests::data::noise;
use dfs_tests::{Cluster, MayMount, Mount, Options, may_mount, wait_until};
use serde_json::Value;

const MIB: u64 = 1024 * 1024;
const FILES: usize = 30;
const SIZE: usize = 1_500_000;

fn json(cluster: &Cluster, args: &[&str]) -> Value {
    let text = cluster.ok(&[&["-o", "json"], args].concat());
    serde_json::from_str(&text).expect("JSON")
}

/// How full each datanode is, in percent.
fn filled(cluster: &Cluster) -> Vec<u64> {
    let plan = json(cluster, &["balance", "--dry-run"]);
    let filled = plan["filled"].as_array().cloned().unwrap_or_default();
    filled.iter().filter_map(|of| of["percent"].as_u64()).collect()
}

#[test]
fn a_new_node_gets_its_share_and_every_chunk_keeps_its_copies() {
    if may_mount("a disk of a known size") != MayMount::Yes {
        return;
    }
    let home = tempfile::tempdir().expect("a directory");
    let disks: Vec<_> = (0..4).map(|n| Mount::memory(&home.path().join(format!("d{n}")), 96 * MIB)).collect();
    let dirs = disks.iter().map(|disk| disk.dir().join("data")).collect();
    let options = Options { datanode_dirs: dirs, ..Options::default() };
    let cluster =
        Cluster::start(4, options.set("cluster.suspect_after", "2s").set("cluster.down_after", "4s"));
    let late = cluster.datanode(3);
    late.stop();
    for file in 0..FILES {
        cluster.file(&format!("f{file}"), &noise(file as u64, SIZE));
        cluster.ok(&["put", "--replication", "2", &format!("f{file}"), &format!("/f{file}")]);
    }
    late.restart();
    cluster.wait_for_nodes();
    wait_until("all is well", || cluster.code(&["status", "--check"]).0 == 0);
    wait_until("all have said how full they are", || {
        let filled = filled(&cluster);
        filled.len() == 4 && filled.iter().filter(|percent| **percent > 20).count() == 3
    });
    assert!(late.chunk_files().is_empty());
    for wrong in ["0", "51", "x"] {
        assert_eq!(cluster.code(&["balance", "--threshold", wrong]).0, 2);
    }
    let plan = json(&cluster, &["balance", "--dry-run"]);
    assert!(plan["job"].is_null(), "{plan}");
    let moves = plan["moves"].as_array().expect("moves");
    assert!(!moves.is_empty() && moves.iter().all(|of| of["to"] == "dn4"), "{plan}");
    let done = json(&cluster, &["balance", "--threshold", "5", "--wait"]);
    assert_eq!((&done["state"], &done["kind"]), (&"done".into(), &"balance".into()), "{done}");
    let filled = filled(&cluster);
    let mean = filled.iter().sum::<u64>() / 4;
    assert!(filled.iter().all(|percent| percent.abs_diff(mean) <= 7), "{filled:?}");
    assert!(!late.chunk_files().is_empty());
    assert_eq!(cluster.code(&["status", "--check"]).0, 0);
    let files = || cluster.datanodes().iter().map(|node| node.chunk_files().len()).sum::<usize>();
    let chunks = FILES * SIZE.div_ceil(256 * 1024);
    wait_until("each chunk has two copies", || files() == 2 * chunks);
    for file in 0..FILES {
        cluster.ok(&["get", &format!("/f{file}"), "back"]);
        assert!(fs::read(cluster.home().join("back")).expect("a file") == noise(file as u64, SIZE));
        assert_eq!(cluster.verified(&format!("/f{file}")).0, 0);
    }
    assert_eq!(json(&cluster, &["balance"])["job"], Value::Null, "nothing more is to be done");
}
