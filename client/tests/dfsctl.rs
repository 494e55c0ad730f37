//! dfsctl as a script meets it, without a cluster: exit codes, formats, help, development clusters that cannot start.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn dfsctl(here: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dfsctl"));
    command.current_dir(here).stdin(Stdio::null());
    for name in
        ["DFS_ENDPOINT", "COORDINATOR_HOST", "COORDINATOR_PORT", "DFS_NODE_BIN", "NO_COLOR", "CLICOLOR_FORCE"]
    {
        command.env_remove(name);
    }
    // The contexts of whoever runs the tests are not meant.
    command.env("XDG_CONFIG_HOME", "/nonexistent");
    command
}

fn run(here: &Path, args: &[&str]) -> (i32, String, String) {
    told(dfsctl(here).args(args).output().expect("dfsctl starts"))
}

fn told(output: Output) -> (i32, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is UTF-8");
    (output.status.code().expect("not killed"), text(output.stdout), text(output.stderr))
}

/// A port that nobody listens on.
fn closed_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

#[test]
fn exit_codes_tell_what_kind_of_failure_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let unreachable = format!("127.0.0.1:{}", closed_port());
    let table: &[(&[&str], i32)] = &[
        (&["--help"], 0),
        (&["--version"], 0),
        (&["version", "--client"], 0),
        (&["completion", "bash"], 0),
        (&["help", "put"], 0),
        (&[], 2),
        (&["lss"], 2),
        (&["put"], 2),
        (&["put", "x", "/x", "--chunk-size", "1KiB"], 2),
        (&["put", "x", "/x", "--replication", "9"], 2),
        (&["put", "x", "/x", "--if-match", "v1"], 2),
        (&["put", "x", "x"], 2),
        (&["put", "-"], 2),
        (&["ls", "relative"], 2),
        (&["get", "/x", "--range", "5"], 2),
        (&["rm", "-r", "/"], 2),
        (&["--endpoint", "no port:x", "ls"], 2),
        (&["--endpoint", &unreachable, "--timeout", "200ms", "ls"], 6),
        (&["--endpoint", &unreachable, "--timeout", "200ms", "version"], 0),
        (&["dev", "status"], 3),
        (&["dev", "down"], 3),
        (&["dev", "kill", "datanode-1"], 3),
        (&["dev", "up", "--set", "nonsense"], 2),
        (&["dev", "up", "--set", "node.name=x"], 2),
    ];
    for (args, expected) in table {
        let (code, _, stderr) = run(dir.path(), args);
        assert_eq!(code, *expected, "{args:?}: {stderr}");
    }
    let output = dfsctl(dir.path()).env("DFS_ENDPOINT", "a:b").arg("ls").output().unwrap();
    assert_eq!(output.status.code(), Some(78));
}

#[test]
fn an_unreachable_coordinator_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    let address = format!("127.0.0.1:{}", closed_port());
    let (code, stdout, stderr) = run(dir.path(), &["--endpoint", &address, "--timeout", "200ms", "ls"]);
    assert_eq!((code, stdout.as_str()), (6, ""));
    let said = format!(
        "error[Unavailable]: cannot reach the coordinator at {address} (from --endpoint): connection refused\n"
    );
    assert!(stderr.starts_with(&said), "{stderr}");
    assert!(stderr.contains("hint: is it running? 'dfsctl dev up'"), "{stderr}");

    let (_, _, stderr) = run(dir.path(), &["-o", "json", "--endpoint", &address, "--timeout", "200ms", "ls"]);
    let error: serde_json::Value = serde_json::from_str(&stderr).expect("one JSON object");
    assert_eq!((error["code"].as_str(), error["exit_code"].as_i64()), (Some("Unavailable"), Some(6)));
    assert_eq!(error["retryable"], true);
}

#[test]
fn a_wrong_command_line_is_json_too_when_json_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let (code, stdout, stderr) = run(dir.path(), &["-o", "json", "lss"]);
    let error: serde_json::Value = serde_json::from_str(&stderr).expect("one JSON object");
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert_eq!(error["message"], "unrecognized subcommand 'lss'");
    assert_eq!(error["hint"], "a similar subcommand exists: 'ls'");
    for args in [&["-qo", "json", "lss"][..], &["-o=json", "lss"], &["-o", "json", "dev"]] {
        let (code, _, stderr) = run(dir.path(), args);
        let error: serde_json::Value = serde_json::from_str(&stderr).expect("one JSON object");
        assert_eq!((code, error["exit_code"].as_i64()), (2, Some(2)), "{args:?}");
    }
}

#[test]
fn settings_that_the_nodes_refuse_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("refusing-node");
    fs::write(&program, "#!/bin/sh\necho \"cluster.min_ack: 3 is too many\" >&2\nexit 78\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let up = ["dev", "up", "--set", "cluster.min_ack=3"];
    let output = dfsctl(dir.path()).args(up).env("DFS_NODE_BIN", &program).output().unwrap();
    let (code, _, stderr) = told(output);
    assert_eq!(code, 78);
    assert!(stderr.contains("cluster.min_ack: 3 is too many"), "{stderr}");
    assert!(!dir.path().join(".dfs-dev").exists());
}

#[test]
fn colour_only_where_it_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let coloured = |command: &mut Command| {
        let output = command.args(["dev", "status"]).output().expect("dfsctl starts");
        output.stderr.contains(&0x1b)
    };
    assert!(!coloured(&mut dfsctl(dir.path())), "a pipe is no terminal");
    assert!(coloured(dfsctl(dir.path()).args(["--color", "always"])));
    assert!(coloured(dfsctl(dir.path()).env("CLICOLOR_FORCE", "1")));
    assert!(!coloured(dfsctl(dir.path()).env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1")));
    assert!(!coloured(dfsctl(dir.path()).env("CLICOLOR_FORCE", "1").args(["--color", "never"])));
}

#[test]
fn a_reader_that_goes_away_makes_no_noise() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = dfsctl(dir.path())
        .args(["completion", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("dfsctl starts");
    drop(child.stdout.take());
    let (code, _, stderr) = told(child.wait_with_output().expect("dfsctl ends"));
    // It may have written all before the pipe was closed.
    assert!(code == 141 || code == 0, "{code}");
    assert_eq!(stderr, "");
}

#[test]
fn help_is_instant() {
    let dir = tempfile::tempdir().unwrap();
    let fastest = (0..20).map(|_| {
        let begun = Instant::now();
        assert_eq!(run(dir.path(), &["--help"]).0, 0);
        begun.elapsed()
    });
    // The promise is 20 ms for a release build; this may be a debug build on a busy machine.
    assert!(fastest.min().is_some_and(|time| time < Duration::from_millis(200)));
}

#[test]
fn a_cluster_without_its_program_says_where_it_was_looked_for() {
    let dir = tempfile::tempdir().unwrap();
    let output =
        dfsctl(dir.path()).args(["dev", "up"]).env("DFS_NODE_BIN", "/no/such/dfs-node").output().unwrap();
    let (code, _, stderr) = told(output);
    assert_eq!(code, 78);
    assert!(stderr.contains("DFS_NODE_BIN names '/no/such/dfs-node', which is not a file"), "{stderr}");
    assert!(!dir.path().join(".dfs-dev").exists(), "nothing was made");
}

#[test]
fn a_node_that_ends_at_once_is_shown_with_the_end_of_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("broken-node");
    fs::write(&program, "#!/bin/sh\necho \"metadata is from the future\" >&2\nexit 3\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let output = dfsctl(dir.path()).args(["dev", "up"]).env("DFS_NODE_BIN", &program).output().unwrap();
    let (code, stdout, stderr) = told(output);
    assert_eq!((code, stdout.as_str()), (6, ""));
    assert!(stderr.contains("ended right after its start\n  | metadata is from the future\n"), "{stderr}");

    // The others were started as well, and end as soon.
    let began = Instant::now();
    let status: serde_json::Value = loop {
        let (code, stdout, _) = run(dir.path(), &["dev", "status", "-o", "json"]);
        let status: serde_json::Value = serde_json::from_str(&stdout).expect("one JSON object");
        let stopped = |nodes: &Vec<serde_json::Value>| nodes.iter().all(|node| node["pid"].is_null());
        assert_eq!(code, 0);
        if status["nodes"].as_array().is_some_and(stopped) {
            break status;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{status}");
    };
    let nodes = status["nodes"].as_array().expect("an array of nodes");
    assert_eq!(nodes.len(), 4);
    let (code, stdout, stderr) = run(dir.path(), &["dev", "kill", "datanode-1", "bogus"]);
    assert_eq!((code, stdout.as_str()), (3, ""), "{stderr}");
    let (code, _, stderr) = run(dir.path(), &["dev", "kill", "datanode-1", "datanode-1", "datanode-2"]);
    assert_eq!((code, stderr.matches("does not run").count()), (4, 3), "each once, and the sum: {stderr}");
    for node in nodes {
        assert!(node["name"].is_string() && node["role"].is_string() && node["address"].is_string());
        assert!(node["pid"].is_null() && node["state"] == "stopped" && node["data_dir"].is_string());
    }
    let below = dir.path().join("below");
    fs::create_dir(&below).unwrap();
    assert_eq!(run(&below, &["dev", "status"]).0, 0, "found from a directory below");
    assert_eq!(run(&below, &["dev", "down", "--purge"]).0, 2, "but not removed from there");
    let (code, stdout, stderr) = run(dir.path(), &["dev", "down", "--purge"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("its data is removed"), "{stdout}");
    assert!(!dir.path().join(".dfs-dev").exists());
}

/// A frame without a tail.
fn frame(kind: dfs_wire::frame::FrameKind, stream: u32, head: &[u8]) -> Vec<u8> {
    let header = dfs_wire::frame::Header {
        kind: kind as u8,
        flags: 0,
        head_len: u16::try_from(head.len()).expect("a short head"),
        tail_len: 0,
        stream,
        tail_crc: 0,
        head_crc: 0,
        sequence: 0,
    };
    [&header.seal(head)[..], head].concat()
}

/// Welcomes everybody, and answers each request with what cannot be read.
fn that_cannot_be_read() -> String {
    use dfs_wire::frame::{FrameKind, Header};
    use dfs_wire::handshake::Welcome;
    use dfs_wire::limits::{HEADER_BYTES, PREFACE_BYTES};
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let welcome = Welcome {
        version: 1,
        cluster: None,
        node: dfs_wire::id::NodeId(1),
        name: "c".into(),
        role: "coordinator".into(),
        session: 1,
        epoch: dfs_wire::id::Epoch(1),
        time_ms: 1_000,
        features: 0,
        connection_credit: 1 << 20,
    };
    let welcome = dfs_wire::codec::encode(&welcome).expect("a welcome");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            stream.read_exact(&mut [0; PREFACE_BYTES]).expect("a preface");
            let mut next = || {
                let mut bytes = [0; HEADER_BYTES];
                stream.read_exact(&mut bytes).ok()?;
                let header = Header::parse(&bytes, 1 << 16).ok()?;
                stream.read_exact(&mut vec![0; usize::from(header.head_len)]).ok()?;
                let answer = match FrameKind::from_number(header.kind)? {
                    FrameKind::Hello => frame(FrameKind::Welcome, 0, &welcome),
                    FrameKind::Request => frame(FrameKind::Response, header.stream, &[0xff; 7]),
                    _ => vec![],
                };
                stream.write_all(&answer).ok()
            };
            while next().is_some() {}
        }
    });
    address
}

#[test]
fn what_was_changed_is_not_known_if_the_answer_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let endpoint = that_cannot_be_read();
    let said =
        |verb: &[&str]| run(dir.path(), &[&["--endpoint", &endpoint, "--timeout", "5s"], verb].concat());
    let (code, stdout, stderr) = said(&["mkdir", "/d"]);
    assert!(stderr.starts_with("error[OutcomeUnknown]"), "{code} {stdout} {stderr}");
    assert!(stderr.contains("the other side is of another build"), "{stderr}");
}

/// Answers the greeting of one connection after the other with a frame, whose head is as it is given.
fn of_another_build(kind: dfs_wire::frame::FrameKind, head: Vec<u8>) -> String {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            // The greeting is read first: else the end of the connection takes the answer along.
            stream.read_exact(&mut [0; 40]).expect("a greeting");
            stream.write_all(&frame(kind, 0, &head)).expect("an answer");
            stream.read_to_end(&mut Vec::new()).ok();
        }
    });
    address
}

#[test]
fn a_cluster_of_another_build_is_told_as_that_with_versions_and_what_to_upgrade() {
    let dir = tempfile::tempdir().unwrap();
    let own = env!("CARGO_PKG_VERSION");
    let address = of_another_build(dfs_wire::frame::FrameKind::Welcome, vec![0xff; 7]);
    let (code, stdout, stderr) = run(dir.path(), &["--endpoint", &address, "--timeout", "5s", "ls"]);
    assert_eq!((code, stdout.as_str()), (12, ""), "{stderr}");
    let said = format!(
        "error[VersionMismatch]: coordinator at {address}: connecting to {address}: a message that dfs {own} (protocol version 1) cannot read: the other side is of another build"
    );
    assert!(stderr.starts_with(&said), "{stderr}");
    let hint = format!("hint: this is dfsctl {own}; use the one that was built with the cluster's nodes");
    assert!(stderr.contains(&hint) && stderr.contains("the coordinator first"), "{stderr}");

    // As a node says it that cannot read the greeting.
    let status = dfs_wire::status::Status::new(
        dfs_client::StatusCode::VersionMismatch,
        "a message that dfs 9.9.9 cannot read",
    );
    let head = dfs_wire::codec::encode(&status).unwrap();
    let address = of_another_build(dfs_wire::frame::FrameKind::Reject, head);
    let (code, stdout, stderr) = run(dir.path(), &["--endpoint", &address, "--timeout", "5s", "version"]);
    assert_eq!((code, stdout), (12, format!("client  {own}\nserver  -\n")), "{stderr}");
    assert!(stderr.contains("a message that dfs 9.9.9 cannot read") && stderr.contains(&hint), "{stderr}");
}
