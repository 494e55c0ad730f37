//! `dfs-chaos`, as people and machines use it.

use std::process::{Command, Output};

use dfs_tests::binaries;
use serde_json::Value;

/// What must be there, at least.
const SCENARIOS: [&str; 18] = [
    "corrupt-replica",
    "delay-actor",
    "disk-full",
    "drain-under-load",
    "full-restart",
    "kill-actor-random",
    "kill-coordinator",
    "kill-datanode",
    "panic-storm",
    "partition",
    "pause-coordinator",
    "pause-datanode",
    "rejoin-after-deletes",
    "rolling-restart",
    "slow-replica",
    "stale-rejoin",
    "two-corrupt",
    "wipe-datanode",
];

fn dfs_chaos(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dfs-chaos")).args(args).output().expect("dfs-chaos starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("it says UTF-8")
}

#[test]
fn every_scenario_of_the_repository_is_listed_and_can_be_run() {
    let said = dfs_chaos(&["ls"]);
    assert_eq!(said.status.code(), Some(0), "{}", text(&said.stderr));
    let listed: Vec<_> = text(&said.stdout).lines().filter_map(|line| line.split(' ').next()).collect();
    for name in SCENARIOS {
        assert!(listed.contains(&name), "no {name} in {listed:?}");
    }
    let said = dfs_chaos(&[&["check"], listed.as_slice()].concat());
    assert_eq!(said.status.code(), Some(0), "{}", text(&said.stderr));
}

#[test]
fn what_cannot_be_run_is_said_with_its_reason_and_is_exit_code_2() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("bad.yaml");
    std::fs::write(&file, "about: x\ntopolgy: {}\n").expect("written");
    let bad = file.to_str().expect("UTF-8");
    for (args, why) in [
        (&["check", bad][..], "bad.yaml: unknown field `topolgy`"),
        (&["check", bad], "line 2"),
        (&["run", bad], "bad.yaml: unknown field `topolgy`"),
        (&["check", "no-such"], "there is no scenario `no-such`; these are there: corrupt-replica"),
        (&["check", "/nowhere.yaml"], "/nowhere.yaml: No such file"),
        (&["run"], "required"),
        (&["run", "kill-datanode", "--local", "--compose"], "cannot be used with"),
        (&["run", "kill-datanode", "--times", "0"], "0 is not in 1..=1000"),
        (&["run", "kill-datanode", "--json", "/nowhere/r.json"], "/nowhere/r.json: No such file"),
        (&["destroy"], "unrecognized subcommand"),
    ] {
        let said = dfs_chaos(args);
        assert_eq!(said.status.code(), Some(2), "{args:?}");
        assert!(text(&said.stderr).contains(why), "{args:?}: {}", text(&said.stderr));
    }
}

/// A cluster of three, whose datanodes are killed one after the other.
const SHORT: &str = "\
about: Datanodes are killed, and an actor; the cluster becomes whole.
topology:
  datanodes: 3
  set: {cluster.suspect_after: 2s, cluster.down_after: 5s, cluster.gc_interval: 1s}
load: {clients: 3, sizes: [4KiB, 300KiB], pause: 20ms, quiet: 2s, after: 1s}
faults:
  - {at: 0s, do: kill-actor, node: datanode1, actor: heartbeat}
  - {at: 1s, do: kill, node: any-datanode, for: 3s}
recovery: {within: 60s}
checks: {detect_within: 10s, restarts: true}
longest: 3min
";

/// The same with a promise that nobody can keep: that the trouble never shows in a figure.
const BROKEN: &str = "checks: {failed_max: 0, detect_within: 1ms}";

#[test]
fn a_run_is_judged_and_its_exit_code_says_whether_all_held() {
    // The binaries are built by whoever asks first: not while a scenario is timed.
    binaries(dfs_tests::Variant::Chaos);
    let dir = tempfile::tempdir().expect("a directory");
    let place = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let (good, bad, json) = (place("good.yaml"), place("bad.yaml"), place("reports.json"));
    std::fs::write(&good, SHORT).expect("written");
    let checks = SHORT.lines().find(|line| line.starts_with("checks")).expect("checks");
    std::fs::write(&bad, SHORT.replace(checks, BROKEN)).expect("written");

    let said = dfs_chaos(&["run", &good, "--local", "--seed", "7", "--json", &json]);
    assert_eq!(said.status.code(), Some(0), "{}{}", text(&said.stdout), text(&said.stderr));
    let reports: Value = serde_json::from_slice(&std::fs::read(&json).expect("a file")).expect("JSON");
    let report = &reports[0];
    assert_eq!(
        (&report["passed"], &report["seed"], &report["ground"]),
        (&true.into(), &7.into(), &"local".into())
    );
    assert_eq!((&report["acknowledged"]["lost"], &report["wrong_bytes"]), (&0.into(), &0.into()));
    assert!(
        report["acknowledged"]["kept"].as_u64() > Some(0) && report["whole"]["chunks"].as_u64() > Some(0)
    );
    assert_eq!(report["linearizable"], true);
    assert!(report["restarts"]["heartbeat"].as_u64() >= Some(1), "{report}");
    for time in ["before", "during", "after"] {
        assert!(report["latency"][time]["p99_ms"].as_f64() > Some(0.0), "{time}: {report}");
    }

    let said = dfs_chaos(&["run", &bad]);
    assert_eq!(said.status.code(), Some(1), "{}", text(&said.stdout));
    assert!(text(&said.stdout).contains("not within 1ms"), "{}", text(&said.stdout));
}
