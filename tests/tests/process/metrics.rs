//! Metrics as Prometheus takes them: what a node of each role says passes the check of Prometheus' own tool.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    process::{Command, Stdio},
};

use dfs_tests::{Cluster, NodeHandle, Options, data::noise, wait_until};

/// Whether `promtool` can be run; what it would have shown is said if not, and is demanded where `CI=true`.
fn may_run_promtool() -> bool {
    match Command::new("promtool").arg("--version").output() {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let missing = "promtool (Debian's package `prometheus`) is missing: the metrics were not checked";
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{missing}");
            eprintln!("{missing}");
            false
        }
        Err(error) => panic!("promtool: {error}"),
    }
}

/// What `promtool check metrics` says of `text`; nothing is best.
fn promtool(text: &str) -> String {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool runs");
    child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    format!("{}{}", if output.status.success() { "" } else { "refused\n" }, String::from_utf8_lossy(&said))
}

#[test]
fn the_metrics_of_each_role_pass_the_check_of_prometheus() {
    if !may_run_promtool() {
        return;
    }
    assert!(promtool("# TYPE x info\nx_info{a=\"b\"} 1\n").contains("refused"), "promtool checks something");
    let cluster = Cluster::start(3, Options::default());
    cluster.file("in", &noise(1, 3_000_000));
    cluster.ok(&["put", "in", "/f"]);
    cluster.ok(&["get", "/f", "back"]);
    cluster.code(&["stat", "/no-such"]);
    let home = tempfile::tempdir().expect("a temporary directory");
    let all = NodeHandle::alone("all", home.path(), &[]);
    all.start();
    all.wait_ready();
    drop(TcpStream::connect(all.address()).expect("connected"));
    wait_until("a knock", || all.get("/metrics").is_ok_and(|(_, text)| text.contains("NothingSaid")));
    for node in cluster.nodes().chain([&all]) {
        let (status, text) = node.get("/metrics").expect("an answer");
        assert_eq!(status, 200);
        let said = promtool(&text);
        assert_eq!(said, "", "of {}:\n{text}", node.name());
    }
}

#[test]
fn metrics_come_in_the_form_that_is_asked_for() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let node = NodeHandle::alone("coordinator", home.path(), &[]);
    node.start();
    node.wait_ready();
    for (accept, kind, end) in [
        ("*/*", "text/plain; version=0.0.4; charset=utf-8", false),
        ("application/openmetrics-text", "application/openmetrics-text; version=1.0.0; charset=utf-8", true),
    ] {
        let mut stream = TcpStream::connect(node.admin()).expect("connected");
        let request = format!(
            "GET /metrics HTTP/1.1\r\nHost: {}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n",
            node.admin()
        );
        stream.write_all(request.as_bytes()).expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        assert!(answer.contains(&format!("content-type: {kind}\r\n")), "{answer}");
        assert_eq!(answer.ends_with("# EOF\n"), end, "{answer}");
    }
}
