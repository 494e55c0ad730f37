//! What `dfsctl` says is true, once, and in the form that its reader needs: pipes, disks that are full, machines.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use dfs_tests::{Cluster, Options};
use serde_json::Value;

/// `dfsctl` with standard output that takes nothing.
fn into_full(cluster: &Cluster, args: &[&str]) -> Output {
    let full = File::options().write(true).open("/dev/full").expect("/dev/full");
    let mut command = Command::new(&cluster.binaries().dfsctl);
    command.args(args).current_dir(cluster.home()).stdin(Stdio::null()).stdout(full);
    command.env("DFS_IDENTITY", cluster.user().expect("it is secured"));
    command.env("DFS_ENDPOINT", cluster.coordinator().address()).output().expect("it starts")
}

#[test]
fn names_on_lines_of_their_own_are_printed_byte_for_byte() {
    let cluster = Cluster::start(3, Options::default());
    cluster.file("here", b"x");
    let names = ["trailing blanks  ", "right\u{202e}left"];
    for name in names {
        cluster.ok(&["put", "-T", "here", &format!("/{name}")]);
    }
    assert_eq!(cluster.ok(&["ls", "-1", "/"]), format!("{}\n{}\n", names[1], names[0]));
    assert_eq!(cluster.ok(&["find", "/", "--type", "f"]), format!("/{}\n/{}\n", names[1], names[0]));
    let lines = cluster.ok(&["ls", "-l", "/"]);
    assert!(lines.starts_with("TYPE      SIZE  MODIFIED              COPIES  CHUNKS  NAME\n"), "{lines}");
    assert!(lines.ends_with(&format!("  {}\n", names[0])), "{lines}");
}

#[test]
fn output_that_cannot_be_written_for_lack_of_space_is_exit_code_9_in_every_verb() {
    let cluster = Cluster::start(3, Options::default());
    cluster.file("here", b"x");
    cluster.file("other", b"y");
    cluster.ok(&["put", "here", "/f"]);
    let verbs: &[&[&str]] = &[
        &["--help"],
        &["--version"],
        &["help", "put"],
        &["completion", "bash"],
        &["version"],
        &["ls"],
        &["ls", "-1"],
        &["ls", "-l", "-o", "json"],
        &["find"],
        &["tree"],
        &["du"],
        &["df"],
        &["stat", "/f"],
        &["cat", "/f"],
        &["head", "/f"],
        &["tail", "/f"],
        &["get", "/f", "-"],
        &["diff", "dfs:/f", "other"],
        &["sync", "-o", "json", ".", "dfs:/s"],
        &["man"],
        &["context", "ls"],
        &["explain", "/f"],
        &["verify", "/f"],
        &["fsck"],
        &["status"],
        &["nodes"],
        &["actors"],
        &["put", "-o", "json", "here", "/g"],
        &["mkdir", "-o", "json", "/d"],
        &["rm", "-o", "json", "/g"],
        &["trash", "ls"],
    ];
    let mut wrong = vec![];
    for args in verbs {
        let output = into_full(&cluster, args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.code() != Some(9) || !said.contains("no space left on the device") {
            wrong.push(format!("{args:?}: {} {said}", output.status));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_node_that_cannot_print_what_it_was_asked_ends_as_dfsctl_does() {
    let binaries = dfs_tests::binaries(dfs_tests::Variant::Plain);
    for args in
        [&["--help"][..], &["--version"], &["--print-config", "--role", "coordinator", "--data", "/x"]]
    {
        let run = |stdout: Stdio| {
            let mut command = Command::new(&binaries.node);
            command.args(args).stdin(Stdio::null()).stdout(stdout).output().expect("it starts")
        };
        let said = run(Stdio::piped());
        assert!(said.status.success() && !said.stdout.is_empty(), "{args:?}: {}", said.status);
        let said = run(File::options().write(true).open("/dev/full").expect("/dev/full").into());
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        assert_eq!(said.status.code(), Some(9), "{args:?}: {text}");
        assert!(text.starts_with("dfs-node: cannot write the output: "), "{args:?}: {text}");
    }
    let wrong = Command::new(&binaries.node).arg("--frobnicate").output().expect("it starts");
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("--frobnicate"));
}

#[test]
fn a_relative_path_of_the_cluster_is_refused_with_the_one_that_works() {
    let cluster = Cluster::start(3, Options::default());
    cluster.ok(&["mkdir", "/data"]);
    for (wrong, right) in [("./data", "/data"), ("data/", "/data"), ("../x", "/x")] {
        cluster.dfsctl(&["ls", wrong]).run().code(2).says(&[wrong, &format!("write {right}\n")]);
    }
    cluster.ok(&["ls", "/data"]);
}

#[test]
fn limits_of_one_request_never_reach_a_verb() {
    let cluster = Cluster::start(3, Options::default());
    let deep = "/n".repeat(200);
    cluster.ok(&["mkdir", "-p", &deep]);
    assert_eq!(cluster.ok(&["find", "/", "--type", "d"]).lines().count(), 200);
    let local: PathBuf = cluster.home().join("tree").join("m/".repeat(100));
    fs::create_dir_all(&local).expect("directories");
    fs::write(local.join("leaf"), "x").expect("a file");
    cluster.ok(&["put", "-r", "tree", "/"]);
    cluster.ok(&["stat", &format!("/tree{}/leaf", "/m".repeat(100))]);
}

#[test]
fn directories_are_not_counted_as_files_that_failed() {
    let cluster = Cluster::start(3, Options::default());
    cluster.file("here", b"x");
    for name in ["a", "b", "c"] {
        fs::create_dir_all(cluster.home().join("tree").join(name)).expect("a directory");
    }
    cluster.file("tree/leaf", b"x");
    cluster.ok(&["put", "here", "/file"]);
    let said = cluster.dfsctl(&["put", "-r", "-T", "tree", "/file"]).run().code(4);
    let last = "error[NotADirectory]: all 1 files and all 3 directories failed; the first: ";
    assert!(said.stderr.contains(last), "{}", said.stderr);
}

#[test]
fn an_error_leaves_no_empty_result_on_standard_output() {
    let cluster = Cluster::start(3, Options::default());
    for args in [
        &["ls", "/none"][..],
        &["stat", "/none"],
        &["find", "/none"],
        &["tree", "/none"],
        &["du", "/none"],
        &["explain", "/none"],
        &["verify", "/none"],
        &["rm", "/none"],
        &["mv", "/none", "/x"],
        &["mkdir", "/no/such"],
        &["undelete", "/none"],
    ] {
        for format in ["json", "yaml", "jsonl"] {
            let said = cluster.dfsctl(&[&["-o", format], args].concat()).run().code(3);
            assert_eq!(said.text(), "", "{args:?} in {format}");
        }
    }
    assert_eq!(cluster.dfsctl(&["-o", "json", "ls", "/"]).run().ok().json()["entries"][0], Value::Null);
}

#[test]
fn verify_says_lost_only_of_what_is_proved_to_be() {
    let cluster = Cluster::start(3, Options::default());
    cluster.file("here", b"some bytes");
    cluster.ok(&["put", "--replication", "1", "here", "/f"]);
    let (_, chunks) = cluster.verified("/f");
    let holder = cluster.named(chunks[0]["copies"][0]["node"].as_str().expect("a name"));
    let files = holder.chunk_files();
    holder.kill();
    let said = cluster.dfsctl(&["verify", "/f"]).run().code(11);
    assert!(said.text().starts_with("cannot tell  /f: "), "{}", said.text());
    assert!(said.text().contains("\n    out of reach  "), "{}", said.text());
    for file in files {
        fs::remove_file(file).expect("removed");
    }
    holder.start();
    cluster.wait_for_nodes();
    let said = cluster.dfsctl(&["verify", "/f"]).run().code(7);
    assert!(said.text().starts_with("LOST  /f: "), "{}", said.text());
}

/// The places of empty texts in a value.
fn empty_texts(value: &Value, place: &str) -> Vec<String> {
    match value {
        Value::String(text) if text.is_empty() => vec![place.to_owned()],
        Value::Array(items) => {
            items.iter().flat_map(|item| empty_texts(item, &format!("{place}[]"))).collect()
        }
        Value::Object(fields) => {
            fields.iter().flat_map(|(name, field)| empty_texts(field, &format!("{place}.{name}"))).collect()
        }
        _ => vec![],
    }
}

#[test]
fn what_is_absent_is_null_in_json_and_never_an_empty_text() {
    let cluster = Cluster::start(3, Options::default());
    cluster.file("here", b"x");
    cluster.ok(&["mkdir", "/d"]);
    cluster.ok(&["put", "here", "/f"]);
    for args in [
        &["status"][..],
        &["nodes"],
        &["df"],
        &["actors"],
        &["fsck"],
        &["version"],
        &["ls"],
        &["stat", "/f", "/d"],
        &["find"],
        &["du"],
        &["explain", "/f"],
        &["verify", "/f"],
        &["put", "here", "/g"],
        &["get", "/f", "there"],
        &["mv", "/g", "/h"],
        &["rm", "/h"],
        &["trash", "ls"],
    ] {
        let said = cluster.dfsctl(&[&["-o", "json"], args].concat()).run().ok();
        assert_eq!(empty_texts(&said.json(), ""), [""; 0], "{args:?}");
    }
}
