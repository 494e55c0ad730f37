//! Nothing is called well that was not looked at, or that cannot be read.

use std::fs;
use std::time::{Duration, Instant};

use dfs_tests::{Cluster, NodeHandle, Options, data::noise};

/// Waits until `dfsctl` with these arguments ends with `code`; gives what it printed.
fn until_code(cluster: &Cluster, args: &[&str], code: i32, limit: Duration) -> String {
    let began = Instant::now();
    loop {
        let said = cluster.dfsctl(args).run();
        if said.code == code {
            return String::from_utf8_lossy(&said.stdout).into_owned();
        }
        assert!(
            began.elapsed() < limit,
            "{args:?} still ends with {} after {limit:?}:\n{}",
            said.code,
            String::from_utf8_lossy(&said.stdout)
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn remove_chunks(node: &NodeHandle) -> usize {
    let files = node.chunk_files();
    files.iter().for_each(|file| fs::remove_file(file).expect("a chunk file is removed"));
    files.len()
}

/// A cluster whose logs may speak of chunks that are gone.
fn start(datanodes: usize) -> Cluster {
    start_with(datanodes, Options::default())
}

/// The same, but nothing is repaired: what is missing stays so.
fn start_without_repair(datanodes: usize) -> Cluster {
    start_with(datanodes, Options::default().set("cluster.repair_max", "0"))
}

fn start_with(datanodes: usize, options: Options) -> Cluster {
    let mut cluster = Cluster::start(datanodes, options);
    cluster.logs().allow("the file of a chunk is gone");
    cluster
}

#[test]
fn chunks_that_a_node_lost_while_it_was_off_are_missed_as_soon_as_it_is_back_however_young() {
    let cluster = start_without_repair(3);
    for name in ["a", "b", "c"] {
        cluster.file(name, &noise(7, 100_000));
        cluster.ok(&["put", name, &format!("/{name}")]);
    }
    assert_eq!(cluster.code(&["fsck"]).0, 0);
    let victim = cluster.datanode(1);
    victim.kill();
    assert_eq!(remove_chunks(victim), 3);
    victim.restart();
    let text = until_code(&cluster, &["fsck"], 10, Duration::from_secs(20));
    assert!(text.contains("3 under-replicated, 3 missing"), "{text}");
    until_code(&cluster, &["status", "--check"], 10, Duration::from_secs(10));
}

#[test]
fn a_chunk_that_a_reader_does_not_find_is_recorded_as_missing() {
    let cluster = start_without_repair(3);
    cluster.file("in", &noise(8, 100_000));
    cluster.ok(&["put", "in", "/f"]);
    assert_eq!(remove_chunks(cluster.datanode(2)), 1);
    let (code, chunks) = cluster.verified("/f");
    assert_eq!(code, 10, "{chunks:?}");
    let text = until_code(&cluster, &["fsck"], 10, Duration::from_secs(15));
    assert!(text.contains("1 under-replicated, 1 missing"), "{text}");
}

#[test]
fn what_cannot_be_read_is_an_error_at_once_whoever_stopped_it() {
    let cluster = start(5);
    cluster.file("in", &noise(9, 100_000));
    cluster.ok(&["put", "--replication", "2", "in", "/f"]);
    let holders: Vec<_> = cluster.datanodes().iter().filter(|node| !node.chunk_files().is_empty()).collect();
    assert_eq!(holders.len(), 2);
    assert!(holders[0].stop().success());
    // Announced: it alarms nobody for a while, and status says for how long.
    let said = until_code(&cluster, &["status", "--check"], 0, Duration::from_secs(5));
    assert!(said.contains("MAINTENANCE") && said.contains("4 of 5 datanodes up"), "{said}");
    assert!(holders[1].stop().success());
    let said = until_code(&cluster, &["status", "--check"], 11, Duration::from_secs(5));
    assert!(said.contains("1 chunk that cannot be read now") && !said.contains("all there"), "{said}");
    assert!(said.contains("CHUNKS_UNREACHABLE") && said.contains(holders[0].name()), "{said}");
    let said = until_code(&cluster, &["fsck"], 11, Duration::from_secs(5));
    assert!(said.contains("1 unreachable") && said.contains("/f"), "{said}");
    let (_, metrics) = cluster.coordinator().get("/metrics").expect("metrics");
    let line = metrics.lines().find(|line| line.contains("cluster_chunks{") && line.contains("unreachable"));
    assert!(line.is_some_and(|line| line.ends_with(" 1.0") || line.ends_with(" 1")), "{line:?}");
    let (status, health) = cluster.coordinator().get("/healthz/cluster").expect("an answer");
    assert_eq!(status, 200, "three others take writes: {health}");
    assert!(health.contains("\"writable\":true") && health.contains("\"all_readable\":false"), "{health}");
    holders[1].restart();
    until_code(&cluster, &["status", "--check"], 0, Duration::from_secs(20));
}

#[test]
fn a_read_of_what_is_on_nodes_that_were_stopped_names_them_within_seconds() {
    let cluster = start(5);
    cluster.file("in", &noise(9, 100_000));
    cluster.ok(&["put", "--replication", "2", "in", "/f"]);
    let holders: Vec<_> = cluster.datanodes().iter().filter(|node| !node.chunk_files().is_empty()).collect();
    assert_eq!(holders.len(), 2);
    holders.iter().for_each(|node| assert!(node.stop().success()));
    for args in [&["get", "/f", "out"][..], &["cat", "/f"], &["head", "/f"]] {
        let began = Instant::now();
        let said = cluster.dfsctl(args).run().code(6);
        assert!(began.elapsed() < Duration::from_secs(10), "{args:?} took {:?}", began.elapsed());
        for node in &holders {
            let named = format!("{} ({}): it was stopped", node.name(), node.address());
            assert!(said.stderr.contains(&named), "{}", said.stderr);
        }
        said.says(&["error[ReplicasUnreachable]", "chunk 0", "  chunk: ", "hint: start ", "then repeat"]);
    }
    assert!(!cluster.home().join("out").exists());
    holders[0].restart();
    cluster.ok(&["get", "/f", "out"]);
}

#[test]
fn copies_on_dead_nodes_are_not_good_ones() {
    let cluster = start(3);
    cluster.file("in", &noise(9, 100_000));
    cluster.ok(&["put", "in", "/f"]);
    cluster.datanode(0).kill();
    cluster.datanode(1).kill();
    let said = until_code(&cluster, &["fsck"], 10, Duration::from_secs(60));
    assert!(said.contains("1 under-replicated"), "{said}");
    cluster.datanode(2).kill();
    let began = Instant::now();
    while !until_code(&cluster, &["status", "--check"], 11, Duration::from_secs(60))
        .contains("CHUNKS_UNREACHABLE")
    {
        assert!(began.elapsed() < Duration::from_secs(60), "its copies count as good for ever");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn fsck_says_how_old_its_view_is_and_takes_a_fresh_one_if_asked() {
    let cluster = start_without_repair(3);
    cluster.file("in", &noise(9, 100_000));
    cluster.ok(&["put", "in", "/f"]);
    let said = cluster.ok(&["fsck"]);
    assert!(said.contains("known as of") && said.ends_with("clean\n"), "{said}");
    remove_chunks(cluster.datanode(1));
    // Nobody has read the chunk since: only what is looked at is known. The file's name is still in the node's index, so
    // the reader that opens it is what finds out.
    cluster.verified("/f");
    let said = until_code(&cluster, &["fsck", "--fresh"], 10, Duration::from_secs(20));
    assert!(said.contains("1 missing"), "{said}");
    let json = cluster.dfsctl(&["fsck", "-o", "json"]).run();
    let view: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(view["nodes"].as_array().map(Vec::len), Some(3), "{view}");
    assert!(view["nodes"][0]["age_ms"].is_u64() && view["not_looked_at"] == 0, "{view}");
}

#[test]
fn a_fresh_look_is_no_older_than_the_command() {
    let cluster = start(3);
    let ages = |args: &[&str]| -> Vec<u64> {
        let view = cluster.dfsctl(&[&["-o", "json", "fsck"], args].concat()).run().ok().json();
        let nodes = view["nodes"].as_array().expect("nodes").iter();
        nodes.map(|node| node["age_ms"].as_u64().expect("an age")).collect()
    };
    // What was told at the start of the nodes is some seconds old by now.
    let began = Instant::now();
    while ages(&[]).iter().any(|age| *age < 5_000) {
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", ages(&[]));
        std::thread::sleep(Duration::from_millis(200));
    }
    let asked = Instant::now();
    let fresh = ages(&["--fresh"]);
    let took = u64::try_from(asked.elapsed().as_millis()).expect("a short time");
    assert!(fresh.len() == 3 && fresh.iter().all(|age| *age <= took), "{fresh:?} in {took} ms");
    let lines = cluster.ok(&["-o", "jsonl", "fsck"]);
    assert_eq!(lines.lines().filter(|line| line.starts_with("{\"seen\":{\"age_ms\":")).count(), 3, "{lines}");
}

#[test]
fn a_node_that_is_gone_is_forgotten_but_not_with_the_last_copy() {
    let cluster = start(4);
    cluster.file("in", &noise(9, 100_000));
    cluster.ok(&["put", "--replication", "2", "in", "/two"]);
    cluster.ok(&["put", "--replication", "3", "in", "/three"]);
    let (two, rest): (Vec<_>, Vec<_>) =
        cluster.datanodes().iter().partition(|node| node.chunk_files().len() == 2);
    let victim = two.first().or(rest.first()).expect("a node").name().to_owned();
    let said = cluster.code(&["nodes", "forget", &victim]);
    assert!(said.0 == 4 && said.1.contains("stop it first"), "it runs: {said:?}");
    let (code, said) = cluster.code(&["nodes", "forget", "nobody"]);
    assert!(code == 3 && said.contains("no datanode 'nobody'") && said.contains(&victim), "{code} {said}");
    let (code, said) = cluster.code(&["nodes", "forget"]);
    assert!(code == 2 && said.contains("<NODE>"), "{code} {said}");
    // A deletion waits for a node that is gone, until it is forgotten.
    let holders: Vec<_> = cluster.datanodes().iter().filter(|node| !node.chunk_files().is_empty()).collect();
    let gone = holders.first().expect("a holder");
    assert!(gone.stop().success());
    let said = cluster.ok(&["nodes", "forget", gone.name(), "--dry-run"]);
    assert!(said.contains("would be forgotten"), "{said}");
    let told = cluster.ok(&["nodes", "forget", gone.name(), "-o", "json"]);
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    let id = told["id"].as_str().expect("an id");
    assert!(
        cluster.ok(&["nodes", "forget", id]).contains("is forgotten"),
        "a repeat is answered as the first try"
    );
    assert!(!cluster.ok(&["nodes"]).contains(gone.name()));
    // The others now have the last known copies of something.
    let mut refused = 0;
    for node in cluster.datanodes().iter().filter(|node| node.name() != gone.name()) {
        assert!(node.stop().success());
        let (code, said) = cluster.code(&["nodes", "forget", node.name()]);
        assert!(code == 0 || code == 4 && said.contains("last known copy"), "{code} {said}");
        refused += usize::from(code == 4);
    }
    assert!(refused >= 1, "somebody had the last copy");
    until_code(&cluster, &["status", "--check"], 11, Duration::from_secs(10));
}
