//! A datanode is emptied: everything on it gets a copy elsewhere first, whoever dies meanwhile.

use std::fs;

use dfs_tests::data::noise;
use dfs_tests::{Cluster, Options, wait_until};
use serde_json::Value;

const FILES: usize = 12;
/// Two chunks each, the second one short.
const SIZE: usize = 300_000;

fn start(datanodes: usize) -> Cluster {
    let options = Options::default().set("cluster.suspect_after", "2s").set("cluster.down_after", "4s");
    let cluster = Cluster::start(datanodes, options);
    for file in 0..FILES {
        cluster.file(&format!("f{file}"), &noise(file as u64, SIZE));
        // Every third has one copy only.
        let copies = if file % 3 == 0 { "1" } else { "3" };
        cluster.ok(&["put", "--replication", copies, &format!("f{file}"), &format!("/f{file}")]);
    }
    wait_until("all is well", || cluster.code(&["status", "--check"]).0 == 0);
    cluster
}

#[track_caller]
fn all_is_read_right(cluster: &Cluster) {
    for file in 0..FILES {
        cluster.ok(&["get", &format!("/f{file}"), "back"]);
        let back = fs::read(cluster.home().join("back")).expect("a file");
        assert!(back == noise(file as u64, SIZE), "f{file} has other bytes");
    }
}

fn json(cluster: &Cluster, args: &[&str]) -> Value {
    let text = cluster.ok(&[&["-o", "json"], args].concat());
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn a_node_that_is_drained_ends_empty_can_be_forgotten_and_nothing_was_at_risk() {
    let cluster = start(5);
    let victim = cluster.datanode(1);
    assert!(!victim.chunk_files().is_empty());
    let plan = json(&cluster, &["nodes", "drain", "dn2", "--dry-run"]);
    assert!(plan["chunks"].as_u64() > Some(0) && plan["job"].is_null(), "{plan}");
    assert_eq!(cluster.ok(&["jobs"]), "there are no jobs\n");
    let drained = json(&cluster, &["nodes", "drain", "dn2", "--wait"]);
    assert_eq!((&drained["state"], &drained["kind"]), (&"done".into(), &"drain".into()), "{drained}");
    assert_eq!(drained["chunks_done"], plan["chunks"], "{drained}");
    assert!(victim.chunk_files().is_empty());
    let listed = json(&cluster, &["nodes"]);
    let states: Vec<_> =
        listed["nodes"].as_array().expect("nodes").iter().map(|node| &node["state"]).collect();
    assert_eq!(states.iter().filter(|state| **state == "draining").count(), 1, "{listed}");
    // It stays out of the way, and is still so when it was restarted.
    victim.stop();
    victim.restart();
    wait_until("it is back", || !cluster.ok(&["nodes"]).contains("left"));
    cluster.file("more", &noise(99, SIZE));
    cluster.ok(&["put", "more", "/more"]);
    wait_until("all is well", || cluster.code(&["status", "--check"]).0 == 0);
    assert!(victim.chunk_files().is_empty());
    victim.stop();
    let forgotten = json(&cluster, &["nodes", "forget", "dn2"]);
    assert_eq!((&forgotten["copies"], &forgotten["lost"]), (&0.into(), &0.into()), "{forgotten}");
    all_is_read_right(&cluster);
    assert_eq!(cluster.code(&["status", "--check"]).0, 0);
    let verified = (0..FILES).map(|file| cluster.verified(&format!("/f{file}")).0);
    assert!(verified.into_iter().all(|code| code == 0));
}

#[test]
fn a_drain_goes_on_after_the_coordinator_died_and_copies_nothing_twice() {
    let cluster = start(5);
    let plan = json(&cluster, &["nodes", "drain", "dn2"]);
    let job = plan["job"]["job"].to_string();
    for _ in 0..3 {
        cluster.coordinator().kill();
        cluster.coordinator().restart();
    }
    wait_until("all nodes are heard of", || !cluster.ok(&["nodes"]).contains("suspect"));
    assert_eq!(cluster.code(&["jobs", "wait", &job]).0, 0);
    assert!(cluster.datanode(1).chunk_files().is_empty());
    wait_until("all is well", || cluster.code(&["status", "--check"]).0 == 0);
    let files = || cluster.datanodes().iter().map(|node| node.chunk_files().len()).sum::<usize>();
    wait_until("no disk has more than it should", || files() == 2 * (FILES / 3 + 3 * (FILES - FILES / 3)));
    all_is_read_right(&cluster);
}

#[test]
fn a_node_that_the_others_cannot_do_without_is_not_drained_and_says_why() {
    let cluster = start(3);
    let (code, why) = cluster.code(&["nodes", "drain", "dn2"]);
    assert_eq!(code, 4, "{why}");
    assert!(
        why.contains("16 of its chunks are to have 3 copies, and 2 other datanodes can take any"),
        "{why}"
    );
    assert_eq!(cluster.code(&["nodes", "drain", "dn2", "--dry-run"]).0, 4);
    assert_eq!(cluster.code(&["nodes", "drain", "nobody"]).0, 3);
    assert_eq!(cluster.code(&["nodes", "undrain", "dn2"]).0, 4);
    for wrong in [["jobs", "pause", "7"], ["jobs", "cancel", "7"], ["jobs", "show", "7"]] {
        assert_eq!(cluster.code(&wrong).0, 3, "{wrong:?}");
    }
    assert_eq!(cluster.code(&["jobs", "pause", "x"]).0, 2);
    let listed = json(&cluster, &["nodes"]);
    assert!(!listed.to_string().contains("draining"), "{listed}");
}

#[test]
fn a_drain_that_is_paused_moves_nothing_and_one_that_is_cancelled_gives_the_node_back() {
    let cluster = start(4);
    let before = cluster.datanode(1).chunk_files().len();
    // Nothing can be copied meanwhile, so that there is time to pause it.
    cluster.datanode(3).pause();
    cluster.ok(&["nodes", "drain", "dn2"]);
    let paused = json(&cluster, &["jobs", "pause", "1"]);
    assert_eq!(paused["state"], "paused");
    cluster.datanode(3).resume();
    wait_until("all are back", || {
        !["suspect", "down"].iter().any(|state| cluster.ok(&["nodes"]).contains(state))
    });
    std::thread::sleep(std::time::Duration::from_secs(8));
    assert!(cluster.datanode(1).chunk_files().len() + 4 >= before, "what was under way may have ended");
    assert!(cluster.ok(&["nodes"]).contains("draining"), "it takes no new chunks");
    assert_eq!(json(&cluster, &["nodes", "undrain", "dn2"])["state"], "cancelled");
    wait_until("it takes chunks again", || !cluster.ok(&["nodes"]).contains("draining"));
    assert_eq!(cluster.code(&["jobs", "resume", "1"]).0, 4, "it has ended");
    all_is_read_right(&cluster);
}

#[test]
fn where_nothing_is_copied_no_node_is_emptied_and_nothing_balanced() {
    let cluster = Cluster::start(4, Options::default().set("cluster.repair_max", "0"));
    for verb in [&["nodes", "drain", "dn2"][..], &["balance"]] {
        let (code, why) = cluster.code(verb);
        assert_eq!(code, 4, "{why}");
        assert!(why.contains("cluster.repair_max is 0"), "{why}");
    }
    assert_eq!(cluster.ok(&["jobs"]), "there are no jobs\n");
}

#[test]
fn a_node_that_is_replaced_has_all_it_had_on_the_one_that_takes_its_place_even_if_it_is_gone() {
    let cluster = start(5);
    cluster.datanode(4).stop();
    for file in 0..FILES {
        cluster.file(&format!("g{file}"), &noise(file as u64, SIZE));
        cluster.ok(&["put", "--replication", "2", &format!("g{file}"), &format!("/g{file}")]);
    }
    cluster.datanode(4).restart();
    wait_until("all is well", || cluster.code(&["status", "--check"]).0 == 0);
    for (wrong, code) in
        [(["dn2", "dn2"], 2), (["dn2", "nobody"], 3), (["nobody", "dn2"], 3), (["dn2", "datanode"], 3)]
    {
        assert_eq!(cluster.code(&[&["nodes", "replace"], &wrong[..]].concat()).0, code, "{wrong:?}");
    }
    let chunks = |node: usize| {
        let files = cluster.datanode(node).chunk_files();
        let names = files.iter().filter_map(|file| file.file_name().map(ToOwned::to_owned));
        names.collect::<std::collections::BTreeSet<_>>()
    };
    let (had, before) = (chunks(1), chunks(4));
    assert!(had.difference(&before).count() > 0);
    let plan = json(&cluster, &["nodes", "replace", "dn2", "dn5", "--dry-run"]);
    assert!(plan["job"].is_null() && plan["obstacles"] == Value::Array(vec![]), "{plan}");
    let done = json(&cluster, &["nodes", "replace", "dn2", "dn5", "--wait"]);
    assert_eq!((&done["state"], &done["about"]), (&"done".into(), &"replace dn2 by dn5".into()), "{done}");
    assert!(chunks(1).is_empty());
    assert!(chunks(4).is_superset(&had), "all that it had is on dn5");
    assert_eq!(cluster.code(&["nodes", "drain", "dn2"]).0, 0, "it is empty");

    // One that died is replaced as well, by the one that has become free.
    cluster.ok(&["nodes", "undrain", "dn2"]);
    cluster.datanode(2).kill();
    wait_until("it is down", || cluster.ok(&["nodes"]).contains("down"));
    let gone = chunks(2);
    let sole = json(&cluster, &["nodes", "replace", "dn3", "dn2"]);
    let job = sole["job"]["job"].to_string();
    wait_until("what others have of it is there", || {
        let others: std::collections::BTreeSet<_> = [0, 3, 4].into_iter().flat_map(&chunks).collect();
        let now = chunks(1);
        gone.iter().all(|chunk| now.contains(chunk) || !others.contains(chunk))
    });
    cluster.datanode(2).restart();
    assert_eq!(cluster.code(&["jobs", "wait", &job]).0, 0, "with those of which it had the only copy");
    assert!(chunks(2).is_empty() && chunks(1).is_superset(&gone));
    wait_until("all is well", || cluster.code(&["status", "--check"]).0 == 0);
    all_is_read_right(&cluster);
}
