//! A run is a function of its plan.

use std::collections::BTreeSet;

use dfs_tests::sim::{Plan, Report, run};

const SEEDS: u64 = 20;

/// Where two runs part, in words; `None` if they are the same.
fn difference(first: &Report, second: &Report) -> Option<String> {
    if (first.hash, first.events) == (second.hash, second.events) {
        return None;
    }
    let (one, two) = (first.trace.events(), second.trace.events());
    let at = one.iter().zip(&two).take_while(|(a, b)| a == b).count();
    let line = |events: &[dfs_tests::sim::Event], at: usize| {
        events.get(at).map_or("(end)".to_owned(), ToString::to_string)
    };
    let before: String = (at.saturating_sub(3)..at).map(|at| format!("    {}\n", line(&one, at))).collect();
    Some(format!(
        "event {at} differs, after\n{before}  first:  {}\n  second: {}",
        line(&one, at),
        line(&two, at)
    ))
}

#[test]
fn a_seed_gives_the_same_run_again() {
    let mut hashes = BTreeSet::new();
    for seed in 0..SEEDS {
        let plan = Plan { keep: true, ..Plan::of(seed) };
        let (first, second) = (run(&plan), run(&plan));
        if let Some(difference) = difference(&first, &second) {
            panic!("seed {seed}: {difference}");
        }
        assert!(first.events > 1_000, "something went on");
        hashes.insert(first.hash);
    }
    assert_eq!(hashes.len() as u64, SEEDS, "another seed gives another run");
}
