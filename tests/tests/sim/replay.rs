//! A run is a function of its plan.

use dfs_tests::sim::{Plan, run};

const SEEDS: u64 = 20;

#[test]
fn a_seed_gives_the_same_run_again() {
    let mut hashes = std::collections::BTreeSet::new();
    for seed in 0..SEEDS {
        let (first, second) = (run(&Plan::of(seed)), run(&Plan::of(seed)));
        assert_eq!((first.hash, first.events), (second.hash, second.events), "seed {seed}");
        assert!(first.events > 1_000, "something went on");
        hashes.insert(first.hash);
    }
    assert_eq!(hashes.len() as u64, SEEDS, "another seed gives another run");
}
