//! A development cluster is its directory: what is given with `--data` is what is meant, moved, copied or neither.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::Command,
};

use dfs_tests::{Dfsctl, Said, Variant, binaries, free_port};
use serde_json::Value;

/// A temporary directory with a development cluster in it, whose processes end with it.
struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().expect("a path").join(name)
    }

    fn run_in(&self, here: &str, args: &[&str]) -> Said {
        Dfsctl::new(binaries(Variant::Plain), &self.path(here), None, args).run()
    }

    fn run(&self, args: &[&str]) -> Said {
        self.run_in("", args)
    }

    fn up(&self) {
        let port = free_port().to_string();
        self.run(&["dev", "up", "--here", "--nodes", "1", "--port", &port]).ok();
    }

    fn nodes(&self, data: &str) -> Vec<Value> {
        let status = self.run(&["dev", "status", "--data", data, "-o", "json"]).ok().json();
        status["nodes"].as_array().cloned().unwrap_or_default()
    }

    /// How many of the cluster's processes run.
    fn running(&self, data: &str) -> usize {
        self.nodes(data).iter().filter(|node| node["state"] == "running").count()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for entry in fs::read_dir(self.dir.path()).into_iter().flatten().flatten() {
            if entry.path().join("cluster.json").is_file() {
                self.run(&["dev", "down", "--data", &entry.path().to_string_lossy()]);
            }
        }
    }
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").args(["-a"]).arg(from).arg(to).status().expect("cp runs");
    assert!(status.success());
}

#[test]
fn what_is_said_after_a_stop_works_as_it_stands() {
    let home = Home::new();
    let port = free_port().to_string();
    home.run(&["dev", "up", "--data", "a place", "--nodes", "1", "--port", &port]).ok();
    let said = home.run(&["dev", "down", "--data", "a place"]).ok().text();
    assert!(
        said.ends_with("its data is kept; 'dfsctl dev up --data \"a place\"' starts it again\n"),
        "{said}"
    );
    home.run(&["dev", "up", "--data", "a place"]).ok();
}

#[test]
fn a_copy_of_a_clusters_directory_is_refused_and_the_original_is_left_alone() {
    let home = Home::new();
    home.up();
    let (original, copied) = (home.path(".dfs-dev"), home.path("COPY"));
    copy(&original, &copied);
    let names = [original.to_string_lossy(), copied.to_string_lossy()];
    for verb in [
        &["dev", "down", "--purge", "--data", "COPY"][..],
        &["dev", "down", "--data", "COPY"],
        &["dev", "status", "--data", "COPY"],
        &["dev", "kill", "coordinator", "--data", "COPY"],
        &["dev", "up", "--data", "COPY"],
    ] {
        home.run(verb).code(4).says(&["NotItsOwn", &names[0], &names[1]]);
    }
    assert_eq!(home.running(".dfs-dev"), 2);
    // The same of a directory that is found, not named.
    fs::create_dir(home.path("project")).expect("a directory");
    fs::rename(&copied, home.path("project/.dfs-dev")).expect("moved");
    home.run_in("project", &["dev", "down", "--purge"]).code(4).says(&["NotItsOwn", &names[0]]);
    home.run_in("project", &["ls"]).code(4).says(&["NotItsOwn", &names[0]]);
    // And of a copy whose original was moved away while it runs: the processes tell.
    fs::rename(&original, home.path("elsewhere")).expect("moved");
    let elsewhere = home.path("elsewhere").to_string_lossy().into_owned();
    home.run_in("project", &["dev", "down", "--purge"]).code(4).says(&["NotItsOwn", &elsewhere]);
    assert_eq!(home.running("elsewhere"), 2);
}

#[test]
fn a_cluster_that_was_moved_works_at_its_new_place_with_all_it_holds() {
    let home = Home::new();
    home.up();
    fs::write(home.path("here"), "kept").expect("a file");
    home.run(&["put", "here", "/there"]).ok();
    home.run(&["dev", "down"]).ok();
    fs::rename(home.path(".dfs-dev"), home.path("moved")).expect("moved");
    home.run(&["dev", "up", "--data", "moved"]).ok();
    assert_eq!(home.running("moved"), 2);
    assert_eq!(home.run(&["cat", "/there"]).ok().text(), "kept");
    for node in home.nodes("moved") {
        let dir = node["data_dir"].as_str().unwrap_or_default().to_owned();
        assert!(Path::new(&dir).starts_with(home.path("moved")), "{dir}");
    }
    let said = home.run(&["dev", "down", "--purge", "--data", "moved"]).ok();
    assert!(said.text().contains("its data is removed") && !home.path("moved").exists(), "{}", said.text());
    // What leads to it went with it; where nothing is, nothing is removed.
    home.run(&["dev", "down", "--purge", "--data", "moved"]).code(3);
}

#[test]
fn a_cluster_that_was_moved_while_it_ran_says_so_and_can_be_stopped_and_started_there() {
    let home = Home::new();
    home.up();
    fs::rename(home.path(".dfs-dev"), home.path("moved")).expect("moved");
    let places = [home.path(".dfs-dev"), home.path("moved")].map(|path| path.to_string_lossy().into_owned());
    let words = ["MovedWhileRunning", "coordinator, datanode-1", &places[0], &places[1], "dev down --data"];
    home.run(&["dev", "up", "--data", "moved"]).code(4).says(&words);
    home.run(&["dev", "status", "--data", "moved"]).ok().says(&["was moved from", &places[0]]);
    let stopped = home.run(&["dev", "down", "--data", "moved", "-o", "json"]).ok().json();
    assert_eq!(stopped["stopped"].as_array().map(Vec::len), Some(2));
    home.run(&["dev", "up", "--data", "moved"]).ok();
    assert_eq!(home.running("moved"), 2);
}

#[test]
fn what_is_gone_is_not_purged_and_what_only_leads_to_a_cluster_is_not_it() {
    let home = Home::new();
    let port = free_port().to_string();
    home.run(&["dev", "up", "--data", "disk", "--nodes", "1", "--port", &port]).ok();
    let disk = home.path("disk").to_string_lossy().into_owned();
    home.run(&["dev", "down", "--purge", "--data", ".dfs-dev"]).code(4).says(&["only leads to", &disk]);
    copy(&home.path(".dfs-dev"), &home.path("project"));
    fs::create_dir(home.path("below")).expect("a directory");
    copy(&home.path(".dfs-dev"), &home.path("below/.dfs-dev"));
    home.run_in("below", &["dev", "down", "--purge"]).code(2).says(&["--data", &disk]);
    fs::remove_dir_all(home.path("project")).expect("removed");

    fs::rename(home.path("disk"), home.path("gone")).expect("moved");
    let said = home.run(&["dev", "down", "--purge"]).code(3).says(&["nothing is removed", &disk]);
    assert_eq!(said.text(), "");
    home.run(&["dev", "up"]).code(3).says(&["is not there", &disk]);
    assert!(!home.path("disk").exists(), "an empty cluster was made in its place");
    fs::rename(home.path("gone"), home.path("disk")).expect("moved back");
    assert_eq!(home.running("disk"), 2);
}

#[test]
fn a_cluster_of_a_directory_above_is_not_changed_for_good_unless_it_is_named() {
    let home = Home::new();
    home.up();
    fs::create_dir(home.path("below")).expect("a directory");
    let above = home.path(".dfs-dev").to_string_lossy().into_owned();
    for change in [&["--nodes", "7"][..], &["--set", "log.level=debug"]] {
        let args = [&["dev", "up"], change].concat();
        home.run_in("below", &args).code(2).says(&[&above, "--data", "--here"]);
    }
    assert_eq!(home.nodes(".dfs-dev").len(), 2);
    home.run_in("below", &["dev", "up"]).ok().says(&["directory above", &above, "--here"]);
    assert_eq!(home.nodes(".dfs-dev").len(), 2);
    let port = free_port().to_string();
    home.run_in("below", &["dev", "up", "--here", "--nodes", "1", "--port", &port]).ok();
    assert!(home.path("below/.dfs-dev/cluster.json").is_file());
    home.run_in("below", &["dev", "down", "--purge"]).ok();
    assert_eq!(home.running(".dfs-dev"), 2);
}

#[test]
fn what_is_a_clusters_own_is_left_out_of_a_tree_that_is_stored() {
    let home = Home::new();
    home.up();
    let port = free_port().to_string();
    home.run(&["dev", "up", "--data", "other", "--nodes", "1", "--port", &port]).ok();
    let state = fs::read(home.path("other/cluster.json")).expect("a state");
    fs::remove_file(home.path("other/cluster.json")).expect("only the nodes' directories are left");
    fs::write(home.path("note"), "mine").expect("a file");
    let said = home.run(&["put", "-r", ".", "/all", "-o", "json"]);
    fs::write(home.path("other/cluster.json"), state).expect("put back");
    let said = said.ok().says(&[
        "left out the directory of a development cluster: ./.dfs-dev\"",
        "left out the data directory of a node that runs: ./other/",
        "other/coordinator",
        "other/datanode-1",
        "left out the keys of a node: ./other/",
        "other/coordinator.keys",
        "other/datanode-1.keys",
    ]);
    let skipped = said.json()["skipped"].as_array().map(Vec::len);
    assert_eq!(skipped, Some(5), "{}", said.text());
    let stored = home.run(&["find", "/all", "--type", "f"]).ok().text();
    assert!(stored.lines().any(|line| line == "/all/note"), "{stored}");
    assert!(stored.lines().all(|line| !line.contains("redb") && !line.contains("identity")), "{stored}");
}

#[test]
fn the_log_of_a_node_is_printed_whole_in_part_and_as_it_grows() {
    let home = Home::new();
    home.up();
    let whole = home.run(&["dev", "logs", "datanode-1"]).ok().text();
    assert!(whole.lines().count() > 2, "{whole}");
    let last = home.run(&["dev", "logs", "-n", "1", "datanode-1", "-o", "json"]).ok().json();
    assert_eq!(last["lines"].as_array().map(Vec::len), Some(1));
    assert_eq!(last["lines"][0]["node"], "datanode-1");
    let follow =
        Dfsctl::new(binaries(Variant::Plain), &home.path(""), None, &["dev", "logs", "-f", "datanode-1"]);
    let mut child = follow.start();
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    home.run(&["dev", "kill", "datanode-1"]).ok();
    home.run(&["dev", "start", "datanode-1"]).ok();
    let more: Vec<_> = lines.take(whole.lines().count() + 2).map(|line| line.expect("a line")).collect();
    child.kill().expect("killed");
    child.wait().expect("gone");
    assert!(more.join("\n").starts_with(whole.trim_end()), "{more:?}");
    home.run(&["dev", "logs", "datanode-9"]).code(3).says(&["coordinator, datanode-1"]);
    home.run(&["dev", "logs", "-n", "x", "datanode-1"]).code(2);
    home.run(&["dev", "logs"]).code(2).says(&["NODE"]);
}
