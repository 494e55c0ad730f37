//! `dfs-sim`, as people and machines use it.

use std::process::{Command, Output};

use dfs_tests::sim::{Plan, Planned, plans, run_apart, sweep};

const FAILED: &str = include_str!("failed.txt");

fn dfs_sim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dfs-sim")).args(args).output().expect("dfs-sim starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("it says UTF-8")
}

/// Where a seed depends on what belongs to a process or a thread, its hash is another one here.
#[test]
fn the_same_seeds_give_the_same_hashes_in_another_process_and_beside_other_runs() {
    let seeds = ["--seeds", "20", "--each", "--output", "json"];
    let hashes = |jobs| {
        let said = dfs_sim(&[&seeds[..], &["--jobs", jobs]].concat());
        assert!(said.status.success(), "{}", text(&said.stdout));
        let lines = text(&said.stdout).lines().filter(|line| line.starts_with("seed "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let alone = hashes("1");
    assert_eq!(alone.len(), 20);
    assert_eq!(alone, hashes("3"));
}

#[test]
fn what_ever_failed_is_clean() {
    let plans = plans(FAILED).unwrap_or_else(|wrong| panic!("failed.txt: {wrong}"));
    assert!(!plans.is_empty());
    let mut wrong = vec![];
    sweep(&plans, 2, |plan, report| {
        wrong.extend(report.wrong.iter().map(|what| format!("{plan}\n    {what}")));
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_summary_for_programs_says_what_was_run() {
    let said = dfs_sim(&[
        "--seed",
        "5",
        "--seeds",
        "2",
        "--nodes",
        "4",
        "--ops",
        "3",
        "--faults",
        "1 kill d4; 2 start d4",
        "-o",
        "json",
    ]);
    assert_eq!(said.status.code(), Some(0));
    let summary: serde_json::Value = serde_json::from_slice(&said.stdout).expect("JSON alone");
    for (key, value) in [("runs", 2), ("failed", 0), ("first_seed", 5), ("last_seed", 6)] {
        assert_eq!(summary[key], value, "{key}");
    }
    assert_eq!(summary["faults"], serde_json::json!({ "kill": 2, "start": 2 }));
    assert!(summary["operations"].as_u64() > Some(2 * 3 * 2), "{summary}");
}

#[test]
fn a_run_is_drawn_as_text_and_as_a_picture_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let svg = dir.path().join("run.svg");
    let to = svg.to_str().expect("UTF-8");
    let said =
        dfs_sim(&["--nodes", "3", "--ops", "1", "--faults", "", "--explain", "--svg", to, "--to", "9"]);
    assert_eq!(said.status.code(), Some(0), "{}", text(&said.stderr));
    assert!(text(&said.stdout).contains("●──"), "{}", text(&said.stdout));
    assert!(std::fs::read_to_string(&svg).expect("a picture").contains("</svg>"));
}

#[test]
fn the_kinds_of_faults_are_told_to_whoever_asks() {
    let said = dfs_sim(&["--faults", "help"]);
    assert_eq!(said.status.code(), Some(0));
    assert!(text(&said.stdout).contains("kill HOST "), "{}", text(&said.stdout));
}

#[test]
fn what_cannot_be_run_is_said_with_its_reason_and_is_exit_code_2() {
    for (args, why) in [
        (&["--faults", "1 kil d2"][..], "`1 kil d2` is no fault"),
        (&["--faults", "1 kill d9"], "there is no d9; this world has co, d1 to d5 and c1 to c3"),
        (&["--faults", "1 pause c2"], "a client can be killed"),
        (&["--faults", "1 diebefore d1 -5"], "`1 diebefore d1 -5`: less than nothing"),
        (&["--faults", "1 slow d1 d2 18014398509481984"], "18014398509481984 is too large"),
        (&["--ops", "501"], "501 is not in 0..=500"),
        (&["--faults", "901 kill d1"], "`901.000 kill d1`: that is too late"),
        (&["--faults", "1 swap d1"], "no `copy d1` is before it"),
        (&["--nodes", "2"], "2 is not in 3..=50"),
        (&["--seeds", "0"], "0 is not in 1..=1000000"),
        (&["--seed", "18446744073709551615", "--seeds", "2"], "there are no 2 seeds from"),
        (&["--plans", "/dev/null"], "/dev/null: there is no plan in it"),
        (&["--plans", "/dev/null", "--faults", ""], "cannot be used with"),
        (&["--plans", "/dev/null", "--nodes", "4"], "cannot be used with"),
        (&["--crashes", "short", "--plans", "/dev/null"], "cannot be used with"),
        (&["--crashes", "short", "--ops", "3"], "cannot be used with"),
        (&["--crashes", "short", "--explain"], "cannot be used with"),
        (&["--life", "scripted", "--nodes", "4"], "cannot be used with"),
        (&["--from", "1"], "required"),
        (&["--explain", "--from", "2", "--to", "1"], "nothing is between --from 2 and --to 1"),
        (&["--explain", "--from", "NaN"], "nothing is between"),
        (&["--seed", "x"], "invalid value 'x'"),
        (&["--seed", "1", "--fresh"], "cannot be used with"),
        (&["--seeds", "2", "--explain"], "a timeline is of one run"),
        (&["--plans", "/nowhere"], "/nowhere: No such file"),
        (&["--plans", "Cargo.toml"], "Cargo.toml: line 1"),
    ] {
        let said = dfs_sim(args);
        assert_eq!(said.status.code(), Some(2), "{args:?}");
        assert!(text(&said.stderr).contains(why), "{args:?}: {}", text(&said.stderr));
    }
}

#[test]
fn a_run_that_fails_is_exit_code_1_even_if_it_cannot_be_drawn() {
    let (size, faults) = (["--nodes", "3", "--clients", "1", "--ops", "6"], ["--faults", ALL_DISKS_ARE_OLD]);
    let said = dfs_sim(&[&size[..], &faults, &["--svg", "/nowhere/run.svg"]].concat());
    assert!(text(&said.stderr).contains("/nowhere/run.svg"), "{}", text(&said.stderr));
    assert_eq!(said.status.code(), Some(1));
}

/// Whoever brings old copies of all disks back at once has lost what was acknowledged since; the rest of this plan is harmless.
const ALL_DISKS_ARE_OLD: &str =
    "0.3 copy d1; 0.3 copy d2; 0.3 copy d3; 1 cut d1 c1; 2 swap d1; 2 swap d2; 2 swap d3";

#[test]
fn a_plan_that_fails_is_exit_code_1_and_is_shortened_to_what_it_takes() {
    let (size, faults) = (["--nodes", "3", "--clients", "1", "--ops", "6"], ["--faults", ALL_DISKS_ARE_OLD]);
    let said = dfs_sim(&[&size[..], &faults, &["--shrink", "-o", "json"]].concat());
    assert_eq!(said.status.code(), Some(1));
    let summary: serde_json::Value = serde_json::from_slice(&said.stdout).expect("JSON alone");
    let wrong = |of: &serde_json::Value| of["wrong"][0].as_str().expect("words").to_owned();
    assert!(wrong(&summary["failures"][0]).contains("no copy"), "{summary}");
    let shortest: Plan =
        summary["shortest"]["again"].as_str().and_then(|again| again.parse().ok()).expect("a plan");
    let mut kinds: Vec<_> = shortest.faults.iter().map(Planned::kind).collect();
    kinds.sort();
    assert_eq!(kinds, ["copy", "copy", "copy", "swap", "swap", "swap"], "{shortest}");
    assert!(shortest.ops < 6, "{shortest}");
    // It is the plan that fails so, and nothing besides it.
    assert_eq!(run_apart(&shortest).wrong[0], wrong(&summary["shortest"]));
}
