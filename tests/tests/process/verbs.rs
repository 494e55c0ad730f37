//! Verbs that are shaped like the Unix tools of their names: what they print, in JSON too, and what they refuse.

use std::{fs, process::Command};

use dfs_tests::{Cluster, Dfsctl, Options, Variant, binaries};

/// Each line is refused with this code, and says these words.
fn refused(cluster: &Cluster, table: &[(&[&str], i32, &[&str])]) {
    for (args, code, words) in table {
        let said = cluster.dfsctl(args).run();
        assert_eq!(said.code, *code, "{args:?}: {}", said.stderr);
        said.says(words);
    }
}

#[test]
fn head_and_tail_print_the_ends_of_files_and_read_no_more_than_that() {
    let cluster = Cluster::start(3, Options::default());
    let lines: Vec<String> = (0..100_000).map(|number| format!("line {number}\n")).collect();
    cluster.file("log", lines.concat().as_bytes());
    cluster.file("short", b"one\ntwo");
    cluster.ok(&["put", "log", "short", "/"]);
    assert_eq!(cluster.ok(&["head", "/log"]), lines[..10].concat());
    assert_eq!(cluster.ok(&["tail", "/log"]), lines[99_990..].concat());
    assert_eq!(cluster.ok(&["tail", "-n", "60000", "/log"]), lines[40_000..].concat());
    assert_eq!(cluster.ok(&["head", "-c", "6", "/log"]), "line 0");
    assert_eq!(cluster.ok(&["tail", "-c", "3", "/short"]), "two");
    assert_eq!(
        cluster.ok(&["head", "-n", "1", "/log", "/short"]),
        "==> /log <==\nline 0\n\n==> /short <==\none\n"
    );
    let said = cluster.dfsctl(&["-o", "json", "tail", "/none"]).run().code(3);
    assert_eq!((said.text().as_str(), said.stderr.contains("\"code\":\"NotFound\"")), ("", true));
    for verb in ["head", "tail"] {
        refused(
            &cluster,
            &[
                (&[verb, "/"], 4, &["is a directory"]),
                (&[verb, "-n", "x", "/log"], 2, &["x"]),
                (&[verb, "-n", "1", "-c", "1", "/log"], 2, &["--bytes"]),
                (&[verb, "/none"], 3, &["/none"]),
                (&[verb], 2, &["PATH"]),
            ],
        );
    }
}

#[test]
fn diff_names_what_differs_between_the_cluster_and_this_machine() {
    let cluster = Cluster::start(3, Options::default());
    for dir in ["tree/sub", "tree/only-here"] {
        fs::create_dir_all(cluster.home().join(dir)).expect("a directory");
    }
    cluster.file("tree/same", &[7; 600_000]);
    cluster.file("tree/sub/changed", b"one\ntwo\n");
    cluster.ok(&["put", "-r", "tree", "/"]);
    assert_eq!(cluster.ok(&["diff", "-r", "dfs:/tree", "tree"]), "");
    cluster.ok(&["diff", "dfs:/tree/same", "dfs:/tree/same"]);
    cluster.file("tree/sub/changed", b"one\ntwX\n");
    cluster.file("tree/new", b"x");
    cluster.ok(&["rm", "-d", "/tree/only-here"]);
    let said = cluster.dfsctl(&["diff", "-r", "dfs:/tree", "tree"]).run().code(4);
    assert_eq!(
        said.text(),
        "only on the right: tree/new\nonly on the right: tree/only-here\ndfs:/tree/sub/changed and tree/sub/changed differ: byte 6, line 2\n"
    );
    let said =
        cluster.dfsctl(&["-o", "json", "diff", "tree/sub/changed", "dfs:/tree/sub/changed"]).run().code(4);
    let difference = &said.json()["differences"][0];
    assert_eq!((difference["offset"].as_i64(), difference["line"].as_i64()), (Some(6), Some(2)));
    assert!(difference["path"].is_null() && difference["kind"] == "content");
    refused(
        &cluster,
        &[
            (&["diff", "tree/same", "tree/new"], 2, &["dfs:/a/b"]),
            (&["diff", "dfs:/tree", "tree"], 4, &["-r"]),
            (&["diff", "dfs:/none", "tree/new"], 3, &["/none"]),
            (&["diff", "dfs:relative", "tree/new"], 2, &["/relative"]),
        ],
    );
}

#[test]
fn ls_sorts_as_it_is_told_and_find_takes_the_flags_of_unix() {
    let cluster = Cluster::start(3, Options::default());
    for (name, bytes) in [("b", 3), ("a", 1), (".c", 2)] {
        cluster.file("here", &vec![b'x'; bytes]);
        cluster.ok(&["put", "-T", "here", &format!("/{name}")]);
    }
    let names =
        |flags: &[&str]| cluster.ok(&[&["ls", "-1"], flags].concat()).lines().collect::<Vec<_>>().join(" ");
    assert_eq!(names(&["-a"]), ".c a b");
    assert_eq!(names(&["-r"]), "b a .c");
    assert_eq!(names(&["-t"]), ".c a b");
    assert_eq!(names(&["-S", "-h"]), "b .c a");
    assert_eq!(names(&["-Sr"]), "a .c b");
    assert_eq!(cluster.ok(&["find", "/", "-name", "[ab]", "-type", "f"]), "/a\n/b\n");
    assert_eq!(cluster.ok(&["find", "-name", ".c", "-print0"]), "/.c\0");
    let sorted = cluster.dfsctl(&["-o", "json", "ls", "-S"]).run().ok().json();
    assert_eq!(sorted["entries"][0]["name"], "b");
    refused(
        &cluster,
        &[
            (&["ls", "-t", "-S"], 2, &["--sort-size"]),
            (&["ls", "-x"], 2, &["-x"]),
            (&["find", "/", "-name"], 2, &["--name"]),
            (&["find", "/", "-type", "q"], 2, &["q"]),
            (&["find", "/", "-name", "a/b"], 2, &["slash"]),
        ],
    );
}

#[test]
fn contexts_name_clusters_and_the_nearest_word_counts() {
    let cluster = Cluster::start(3, Options::plain());
    let home = tempfile::tempdir().expect("a directory");
    let config = home.path().to_string_lossy().into_owned();
    let run = |args: &[&str]| {
        Dfsctl::new(binaries(Variant::Plain), home.path(), None, args).env("XDG_CONFIG_HOME", &config).run()
    };
    let address = cluster.coordinator().address();
    assert!(run(&["context", "ls"]).ok().text().contains("no context yet"));
    run(&["context", "add", "--dry-run", "real", address]).ok();
    assert!(!home.path().join("dfs/config.yaml").exists());
    run(&["context", "add", "real", address]).ok();
    run(&["context", "add", "dead", "127.0.0.1:1"]).ok();
    run(&["ls"]).ok();
    run(&["--context", "dead", "--timeout", "300ms", "ls"]).code(6).says(&["context 'dead'"]);
    run(&["context", "use", "dead"]).ok();
    run(&["--timeout", "300ms", "ls"]).code(6).says(&["current context, 'dead'"]);
    run(&["--context", "real", "ls"]).ok();
    run(&["--endpoint", address, "ls"]).ok();
    let listed = run(&["-o", "json", "context", "ls"]).ok().json();
    assert_eq!(
        (&listed["contexts"][0]["name"], &listed["contexts"][0]["current"]),
        (&"dead".into(), &true.into())
    );
    let text = run(&["context", "ls"]).ok().text();
    assert!(text.starts_with("CURRENT  NAME  ENDPOINT\n*        dead  127.0.0.1:1\n"), "{text}");
    run(&["context", "add", "real", "other:1"]).code(4).says(&["-f"]);
    run(&["context", "add", "bad", "a:b"]).code(2).says(&["a:b"]);
    run(&["context", "use", "none"]).code(3).says(&["dead, real"]);
    run(&["context", "rm", "real", "none"]).code(3).says(&["none"]);
    run(&["--context", "real", "--endpoint", "x", "ls"]).code(2).says(&["--endpoint"]);
    run(&["context", "rm", "dead"]).ok();
    fs::write(home.path().join("dfs/config.yaml"), "curent: x\n").expect("written");
    run(&["context", "ls"]).code(78).says(&["curent"]);
}

#[test]
fn a_misspelt_variable_is_refused_by_both_programs_and_each_knows_the_others() {
    let cluster = Cluster::start(3, Options::default());
    let dfsctl = |name: &str| cluster.dfsctl(&["ls"]).env(name, "4MiB").run();
    dfsctl("DFS_CLUSTER_CHUNK_SIZE").code(78).says(&["DFS_CLUSTER__CHUNK_SIZE"]);
    dfsctl("DFS_ENDPIONT").code(78).says(&["DFS_ENDPOINT"]);
    dfsctl("DFS_CLUSTER__CHUNK_SIZE").ok();
    dfsctl("DFS_SUBNET").ok();
    let node = |name: &str| {
        let mut command = Command::new(&binaries(Variant::Plain).node);
        command.args(["--role", "coordinator", "--check-config"]).env(name, "4MiB");
        let output = command.output().expect("it starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (wrong, right) in
        [("DFS_CLUSTER_CHUNK_SIZE", "`DFS_CLUSTER__CHUNK_SIZE`"), ("DFS_ENDPIONT", "`DFS_ENDPOINT`")]
    {
        let (code, said) = node(wrong);
        assert!(code == Some(78) && said.contains(wrong) && said.contains(right), "{code:?} {said}");
    }
    for known in ["DFS_CLUSTER__CHUNK_SIZE", "DFS_ENDPOINT", "DFS_NODE_BIN", "DFS_CONTEXT", "DFS_SUBNET"] {
        assert_eq!(node(known).0, Some(0), "{known}");
    }
}

#[test]
fn the_manual_has_a_page_for_each_verb() {
    let cluster = Cluster::start(0, Options::default());
    assert!(cluster.ok(&["man"]).contains(".TH"));
    let said = cluster.dfsctl(&["man", "--dir", "pages", "--dry-run", "-o", "json"]).run().ok().json();
    assert!(!cluster.home().join("pages").exists());
    let pages = said["pages"].as_array().map_or(0, Vec::len);
    cluster.ok(&["man", "--dir", "pages"]);
    assert_eq!(fs::read_dir(cluster.home().join("pages")).expect("a directory").count(), pages);
    assert!(cluster.home().join("pages/dfsctl-dev-up.1").is_file());
    cluster.file("taken", b"x");
    refused(
        &cluster,
        &[
            (&["man", "--dry-run"], 2, &["--dir"]),
            (&["man", "put"], 2, &["put"]),
            (&["man", "--dir", "taken/x"], 1, &["taken/x"]),
        ],
    );
}

#[test]
fn status_is_watched_until_somebody_has_seen_enough() {
    let cluster = Cluster::start(3, Options::default());
    let mut child = cluster.dfsctl(&["-o", "jsonl", "status", "--watch", "0.1"]).start();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().expect("a pipe")));
    let healths: Vec<_> = lines
        .take(3)
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(&line.expect("a line")).expect("JSON")["health"].clone()
        })
        .collect();
    child.kill().expect("killed");
    child.wait().expect("gone");
    assert_eq!(healths, ["ok", "ok", "ok"]);
    refused(
        &cluster,
        &[
            (&["status", "--watch", "--check"], 2, &["--check"]),
            (&["status", "--watch", "0"], 2, &["tenth"]),
            (&["status", "--watch", "x"], 2, &["x"]),
        ],
    );
}

#[test]
fn a_shell_is_offered_paths_of_the_cluster_and_contexts() {
    let cluster = Cluster::start(3, Options::default());
    cluster.ok(&["mkdir", "-p", "/data/sub", "/other"]);
    cluster.file("here", b"x");
    cluster.ok(&["put", "here", "/data/file"]);
    let offered = |words: &[&str]| {
        let args = [&["--", "dfsctl"], words].concat();
        let said = cluster.dfsctl(&args).env("COMPLETE", "fish").run().ok().text();
        said.lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(offered(&["ls", "/da"]), ["/data/"]);
    assert_eq!(offered(&["cat", "/data/"]), ["/data/file", "/data/sub/"]);
    assert_eq!(offered(&["diff", "dfs:/data/f"]), ["dfs:/data/file"]);
    assert!(offered(&["actors", "--node", "dn"]).contains(&"dn1".to_owned()));
    assert!(offered(&["he"]).contains(&"head".to_owned()));
    for shell in ["bash", "zsh", "fish"] {
        assert!(cluster.ok(&["completion", shell]).contains("COMPLETE="), "{shell}");
    }
    refused(
        &cluster,
        &[
            (&["completion"], 2, &["<SHELL>"]),
            (&["completion", "tcsh"], 2, &["tcsh"]),
            (&["completion", "bash", "more"], 2, &["more"]),
        ],
    );
    // A cluster that is away is offered nothing, and soon.
    let away = ["--", "dfsctl", "ls", "/da"];
    let said = cluster.dfsctl(&away).env("COMPLETE", "fish").env("DFS_ENDPOINT", "127.0.0.1:1").run().ok();
    assert_eq!(said.text(), "");
}
