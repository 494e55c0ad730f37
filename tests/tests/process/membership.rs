//! Who belongs to the cluster: a name and an address are one node's, and a machine with a new disk takes its own place.

use std::fs;

use dfs_tests::{Cluster, NodeHandle, Options, wait_until};

fn status(cluster: &Cluster) -> String {
    cluster.dfsctl(&["status", "--all"]).run().text()
}

fn states(cluster: &Cluster) -> Vec<String> {
    let nodes: serde_json::Value = serde_json::from_str(&cluster.ok(&["nodes", "-o", "json"])).expect("JSON");
    let state = |node: &serde_json::Value| format!("{} {}", node["name"], node["state"]).replace('"', "");
    nodes["nodes"].as_array().expect("a list").iter().map(state).collect()
}

#[test]
fn a_datanode_that_advertises_another_ones_address_or_has_its_name_is_refused_with_both_named() {
    let cluster = Cluster::start(3, Options::plain());
    let (first, coordinator) = (cluster.datanode(0), cluster.coordinator().address());
    let home = tempfile::tempdir().expect("a temporary directory");
    let advertises = format!("node.advertise={}", first.address());
    let thief =
        NodeHandle::alone("datanode", home.path(), &["--coordinator", coordinator, "--set", &advertises]);
    thief.start();
    let refused = |node: &NodeHandle, why: &str| {
        wait_until(&format!("it is refused: {why}"), || {
            node.get("/readyz").is_ok_and(|(code, text)| code == 503 && text.contains(why))
        });
    };
    refused(&thief, &format!("advertises {}, which is the address of {}", first.address(), first.name()));
    assert_eq!(thief.stop().code(), Some(0));
    let name = format!("node.name={}", first.name());
    let namesake =
        NodeHandle::alone("datanode", home.path(), &["--coordinator", coordinator, "--set", &name]);
    namesake.start();
    refused(&namesake, &format!("the name {} belongs to the node", first.name()));
    let nowhere = ["--coordinator", coordinator, "--set", "node.advertise=127.0.0.1:1"];
    let aside = tempfile::tempdir().expect("a temporary directory");
    let deaf = NodeHandle::alone("datanode", aside.path(), &nowhere);
    deaf.start();
    refused(&deaf, "does not answer at 127.0.0.1:1, where it says that it is reached");
    assert_eq!(states(&cluster).len(), 3);
    assert!(!status(&cluster).contains("NODE_"), "{}", status(&cluster));
}

#[test]
fn a_machine_with_an_empty_disk_takes_its_own_place_and_the_node_that_it_was_is_lost() {
    let cluster = Cluster::start(3, Options::plain());
    cluster.file("in", &dfs_tests::data::noise(1, 100_000));
    cluster.ok(&["put", "in", "/f"]);
    let first = cluster.datanode(0);
    first.kill();
    let aside = cluster.home().join("aside");
    fs::rename(first.data_dir(), &aside).expect("moved");
    first.start();
    wait_until("the old id is lost", || status(&cluster).contains("NODE_LOST"));
    let lost = format!("{} lost", first.name());
    let up = format!("{} up", first.name());
    assert!(states(&cluster).contains(&lost) && states(&cluster).contains(&up), "{:?}", states(&cluster));
    cluster.ok(&["get", "/f", "back"]);
    // The disk turns up again, at another place: it is not listened to, and says what to do.
    let home = tempfile::tempdir().expect("a temporary directory");
    fs::rename(&aside, home.path().join("datanode")).expect("moved");
    let args = ["--coordinator", cluster.coordinator().address(), "--set", "node.name=old"];
    let old = NodeHandle::alone("datanode", home.path(), &args);
    old.start();
    wait_until("it waits", || status(&cluster).contains("dfsctl nodes admit"));
    cluster.ok(&["nodes", "admit", "old"]);
    wait_until("it is back", || states(&cluster).contains(&"old up".to_owned()));
    assert!(!status(&cluster).contains("NODE_LOST"), "{}", status(&cluster));
}

#[test]
fn one_datanode_too_many_waits_for_an_operator() {
    let cluster = Cluster::start(2, Options::plain().set("cluster.nodes_unasked_max", "2"));
    let home = tempfile::tempdir().expect("a temporary directory");
    let args = ["--coordinator", cluster.coordinator().address(), "--set", "node.name=third"];
    let third = NodeHandle::alone("datanode", home.path(), &args);
    third.start();
    wait_until("it waits", || status(&cluster).contains("NODE_WAITING"));
    let member = cluster.datanode(0).name();
    for (args, code, words) in [
        (&["nodes", "admit", "nobody"][..], 3, ["'nobody' is not the name", "waiting now: third ("]),
        (&["nodes", "admit", member], 3, [member, "waiting now: third ("]),
        (&["nodes", "admit"], 2, ["required arguments", "<NODE>"]),
    ] {
        cluster.dfsctl(args).run().code(code).says(&words);
    }
    assert_eq!(states(&cluster).len(), 2);
    let said = cluster.dfsctl(&["nodes", "admit", "third", "-o", "json"]).run().ok().json();
    assert_eq!(said, serde_json::json!({ "admitted": "third" }));
    wait_until("it joins", || states(&cluster).contains(&"third up".to_owned()));
    assert!(!status(&cluster).contains("NODE_WAITING"), "{}", status(&cluster));
}

#[test]
fn a_datanode_that_stands_still_is_never_said_to_be_up_while_nobody_knows() {
    let cluster = Cluster::start(
        3,
        Options::default().set("cluster.suspect_after", "20s").set("cluster.down_after", "40s"),
    );
    assert!(status(&cluster).contains("3 of 3 datanodes up\n"));
    let still = cluster.datanode(1);
    still.pause();
    let said = format!("2 of 3 datanodes up, {} silent for ", still.name());
    wait_until("its silence is told", || status(&cluster).contains(&said));
    cluster.dfsctl(&["status", "--check"]).run().ok();
    let (code, health) = cluster.coordinator().get("/healthz/cluster").expect("an answer");
    let health: serde_json::Value = serde_json::from_str(&health).expect("JSON");
    assert_eq!((code, &health["nodes_silent"]), (200, &1.into()), "{health}");
    assert_eq!(health["silent"][0]["name"], still.name(), "{health}");
    still.resume();
    wait_until("it is heard of again", || status(&cluster).contains("3 of 3 datanodes up\n"));
}
