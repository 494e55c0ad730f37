//! Starting, answering, reloading, draining, and the data directory that only one process may own.

use std::process::Output;

use dfs_tests::{
    Cluster, NodeHandle, Options,
    data::{lines, noise},
    wait_until,
};

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn health_and_metrics_are_served_and_a_terminated_node_ends_well() {
    let cluster = Cluster::start(3, Options::default());
    cluster.file("in", &noise(1, 100_000));
    cluster.ok(&["put", "in", "/f"]);
    let node = cluster.datanode(0);
    let asked = node.command().arg("healthcheck").output().expect("it starts");
    assert!(asked.status.success(), "{}", said(&asked));
    let (status, text) = cluster.coordinator().get("/healthz/cluster").expect("an answer");
    assert!(status == 200 && text.contains("\"writable\":true"), "{text}");
    for node in cluster.nodes() {
        assert!(node.get("/livez").is_ok_and(|(status, _)| status == 200));
        let (status, text) = node.get("/metrics").expect("an answer");
        assert!(status == 200 && text.contains("dfs_actors_running{"), "{text}");
        assert!(text.lines().all(|line| line.starts_with("dfs_") || line.starts_with("# ")), "{text}");
    }
    cluster.code(&["stat", "/no-such"]);
    let metrics = cluster.coordinator().get("/metrics").expect("an answer").1;
    for sample in [
        "request=\"metadata.commit_upload\",code=\"Ok\"} 1.0\n",
        "request=\"metadata.stat\",code=\"NotFound\"}",
        "dfs_request_duration_seconds_count{node=\"coordinator\",request=\"metadata.commit_upload\"} 1\n",
    ] {
        assert!(metrics.contains(sample), "{sample} is missing in\n{metrics}");
    }
    assert_eq!(cluster.datanode(0).stop().code(), Some(0));
    assert_eq!(cluster.coordinator().stop().code(), Some(0));
    let asked = cluster.datanode(0).command().arg("healthcheck").output().expect("it starts");
    assert_eq!(asked.status.code(), Some(1), "{}", said(&asked));
    cluster.start_all();
    cluster.ok(&["get", "/f", "back"]);
}

#[test]
fn an_environment_that_is_no_text_keeps_no_node_from_starting() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
    let home = tempfile::tempdir().expect("a temporary directory");
    let node = NodeHandle::alone("coordinator", home.path(), &["--check-config"]);
    let bytes = OsStr::from_bytes(b"\xff\xfe");
    let asked = node.command().env("FOREIGN", bytes).env(bytes, "x").output().expect("it starts");
    assert!(asked.status.success(), "{}", said(&asked));
}

#[test]
fn without_enough_datanodes_writes_are_refused_and_reads_are_served() {
    let cluster = Cluster::start(3, Options::default());
    cluster.file("in", &lines(100));
    cluster.ok(&["put", "in", "/f"]);
    cluster.datanode(0).kill();
    cluster.wait_for_nodes();
    cluster.ok(&["put", "in", "/two-copies"]);
    cluster.datanode(1).kill();
    cluster.wait_for_nodes();
    let (code, text) = cluster.code(&["put", "--timeout", "10s", "in", "/refused"]);
    assert_eq!(code, 6, "{text}");
    assert_eq!(cluster.ok(&["cat", "/f"]).into_bytes(), lines(100));
    assert!(cluster.coordinator().get("/healthz/cluster").is_ok_and(|(status, _)| status == 503));
    assert_eq!(cluster.code(&["stat", "/refused"]).0, 3, "nothing of a refused write is visible");
}

#[test]
fn hangup_changes_the_log_level_and_a_bad_file_changes_nothing() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let file = home.path().join("node.yaml");
    std::fs::write(&file, "log:\n  level: info\n").expect("written");
    let node = NodeHandle::alone("coordinator", home.path(), &["--config", &file.display().to_string()]);
    node.start();
    node.wait_ready();
    // The counters tell when a signal was obeyed: two that are pending at once are one.
    let obeyed = |applied: u32, refused: u32| {
        wait_until("the reload", || {
            node.get("/metrics").is_ok_and(|(_, text)| {
                text.contains(&format!("dfs_config_reloads_total{{outcome=\"applied\"}} {applied}.0\n"))
                    && text
                        .contains(&format!("dfs_config_reloads_total{{outcome=\"refused\"}} {refused}.0\n"))
            })
        });
    };
    let times_logged = || node.log().matches("configuration reloaded").count();
    std::fs::write(&file, "log:\n  level: debug\nnetwork:\n  idle_timeot: 5s\n").expect("written");
    node.reload();
    obeyed(0, 1);
    wait_until("the reason", || node.log().contains("did you mean `network.idle_timeout`?"));
    std::fs::write(&file, "log:\n  level: error\n").expect("written");
    node.reload();
    obeyed(1, 1);
    // At the new level nothing more is said, not even that it was reloaded; back at the old one it is.
    assert_eq!(times_logged(), 0);
    std::fs::write(&file, "log:\n  level: info\n").expect("written");
    node.reload();
    obeyed(2, 1);
    wait_until("a line about the second", || times_logged() == 1);
    assert_eq!(node.stop().code(), Some(0));
}
