//! Mistakes of users and operators: each gets the documented exit code, and a message that a stranger understands.

use std::{fs, process::Command};

use dfs_tests::{Cluster, Dfsctl, Options, Variant, binaries};

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_on_the_command_line_get_their_exit_code_and_a_message_that_names_the_thing() {
    let cluster = Cluster::start(3, Options::default());
    fs::write(cluster.home().join("here"), "x").expect("a file");
    fs::create_dir(cluster.home().join("dir")).expect("a directory");
    cluster.dfsctl(&["put", "here", "/there"]).run().ok();
    cluster.dfsctl(&["mkdir", "/full"]).run().ok();
    cluster.dfsctl(&["put", "here", "/full/x"]).run().ok();
    let table: &[(&[&str], i32, &[&str])] = &[
        (&["put", "missing", "/x"], 3, &["missing"]),
        (&["put", "dir", "/x"], 4, &["-r"]),
        (&["put", "here", "/no/such/dir/x"], 3, &["/no"]),
        (&["put", "-n", "here", "/there"], 4, &["/there"]),
        (&["put", "--if-match", "00000000000000000000000000000001", "here", "/there"], 4, &["/there"]),
        (&["put", "--chunk-size", "1000", "here", "/x"], 2, &["64.0 KiB"]),
        (&["put", "--chunk-size", "1TiB", "here", "/x"], 2, &["64.0 MiB"]),
        (&["put", "--replication", "0", "here", "/x"], 2, &["1 to 7"]),
        (&["put", "--replication", "9", "here", "/x"], 2, &["1 to 7"]),
        (&["put", "here", "/there/below"], 4, &["/there"]),
        (&["get", "/missing"], 3, &["/missing"]),
        (&["get", "/there", "no/such/dir/x"], 3, &["no/such/dir"]),
        (&["get", "/full", "x"], 4, &["-r"]),
        (&["cat", "/full"], 4, &["/full"]),
        (&["get", "/nothing-*"], 3, &["/nothing-*"]),
        (&["rm", "/missing"], 3, &["/missing"]),
        (&["rm", "/full"], 4, &["-r"]),
        (&["mkdir", "/full"], 4, &["/full"]),
        (&["mv", "/missing", "/y"], 3, &["/missing"]),
        (&["stat", "relative"], 2, &["relative"]),
        (&["undelete", "/never"], 3, &["/never"]),
        (&["find", "/none"], 3, &["/none"]),
        (&["find", "/", "--type", "x"], 2, &["'x'", "--type", "possible values: f, d"]),
        (&["find", "/", "--larger", "big"], 2, &["'big'", "--larger"]),
        (&["find", "/", "--older", "3parsecs"], 2, &["'3parsecs'", "--older"]),
        (&["find", "/", "--name", "[a"], 2, &["'[a'", "--name"]),
        (&["nodes", "frobnicate"], 2, &["frobnicate"]),
        (&["frobnicate"], 2, &["frobnicate"]),
        (&["ls", "--endpoint", "127.0.0.1:1", "/"], 6, &["127.0.0.1:1"]),
        (&["ls", "--endpoint", "not an address", "/"], 2, &["not an address"]),
    ];
    let mut wrong = vec![];
    for (args, code, words) in table {
        let said = cluster.dfsctl(args).run();
        let missing: Vec<_> = words.iter().filter(|word| !said.stderr.contains(*word)).collect();
        if said.code != *code || !missing.is_empty() || said.stderr.contains("panicked") {
            wrong.push(format!("{args:?}: {} for {code}, without {missing:?}:\n{}", said.code, said.stderr));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // And nothing happened.
    let client = cluster.client().await;
    let all = client.list_all(&"/".parse().expect("a path"), true).await.expect("a listing");
    let names: Vec<_> = all.iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(names, ["/full", "/full/x", "/there"]);
}

#[test]
fn a_cluster_that_is_not_there_is_named_with_what_to_do() {
    let home = tempfile::tempdir().expect("a directory");
    let said = Dfsctl::new(binaries(Variant::Plain), home.path(), Some("127.0.0.1:1"), &["status"]).run();
    said.code(6).says(&["127.0.0.1:1", "connect"]);
}

/// Runs `dfs-node` with arguments that must end it by themselves.
fn refused(args: &[&str], code: i32, words: &[&str]) {
    let mut command = Command::new(&binaries(Variant::Plain).node);
    command.args(args).env_remove("COORDINATOR_HOST").env_remove("COORDINATOR_PORT");
    let output = command.output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    assert!(!said.contains("draining"), "{args:?}: what never served has nothing to drain: {said}");
    for word in words {
        assert!(said.contains(word), "{args:?}: no {word:?} in: {said}");
    }
}

#[test]
fn a_configuration_that_cannot_be_used_ends_the_node_with_78_and_a_suggestion() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("node.yaml");
    fs::write(&file, "node:\n  role: datanode\n  lisen_port: 1\n").expect("a file");
    let file = file.to_string_lossy();
    refused(&["--config", &file], 78, &["lisen_port", "listen_port"]);
    refused(&["--role", "datanode", "--set", "memory.limt=1GiB"], 78, &["memory.limt", "memory.limit"]);
    refused(&["--role", "datanode", "--set", "memory.limit=1"], 78, &["memory.limit"]);
    refused(&["--role", "gateway"], 78, &["gateway"]);
    refused(&[], 78, &["role"]);
    refused(&["--config", "/nowhere/at/all.yaml"], 78, &["/nowhere/at/all.yaml"]);
    refused(
        &["--role", "coordinator", "--set", "cluster.min_ack=5", "--check-config"],
        78,
        &["cluster.replication"],
    );
}

#[test]
fn questions_about_the_configuration_are_answered_and_make_no_directories() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    let ask = |args: &[&str]| {
        let mut command = Command::new(&binaries(Variant::Plain).node);
        let output = command.args(["--role", "coordinator"]).args(args).arg("--data").arg(&data).output();
        let output = output.expect("it starts");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(ask(&["--check-config"]).contains("valid"));
    let printed = ask(&["--print-config", "--zone", "here"]);
    assert!(printed.contains("# flag --zone") && printed.contains("# default"), "{printed}");
    assert!(!data.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_a_data_directory_or_a_port_is_refused_with_the_reason() {
    let cluster = Cluster::start(1, Options::default());
    let (coordinator, node) = (cluster.coordinator(), cluster.datanode(0));
    let dir = node.data_dir().to_string_lossy().into_owned();
    let common = ["--role", "datanode", "--coordinator", coordinator.address(), "--set", "admin.port=0"];
    let same_dir = [&common[..], &["--listen", "127.0.0.1:0", "--data", &dir]].concat();
    refused(&same_dir, 1, &["in use", &node.pid().to_string()]);
    let fresh = tempfile::tempdir().expect("a directory");
    let fresh = fresh.path().to_string_lossy().into_owned();
    let same_port = [&common[..], &["--insecure", "--listen", node.address(), "--data", &fresh]].concat();
    refused(&same_port, 1, &[node.address()]);
    assert!(node.runs() && coordinator.runs());
}
