//! Each step of the write path, and of all that goes on beside it, may be a process's last.

use std::collections::BTreeSet;

use dfs_tests::sim::enumerate::{self, Extent, LISTED, LIVES, empty_parts};
use dfs_tests::sim::{HostId, Life, Step};

#[test]
fn every_step_that_occurs_is_listed_and_every_listed_one_occurs() {
    let of = |life| enumerate::steps(life).unwrap_or_else(|wrong| panic!("{wrong}"));
    let steps: Vec<_> = LIVES.into_iter().flat_map(of).collect();
    let occurring = enumerate::by_name(&steps);
    let listed: BTreeSet<&str> = LISTED.iter().map(|(name, _)| *name).collect();
    let new = occurring.keys().filter(|name| !listed.contains(*name));
    let new: String = new.map(|name| format!("    (\"{name}\", \"\"),\n")).collect();
    assert!(new.is_empty(), "these steps are not in enumerate/listed.rs:\n{new}");
    let gone: Vec<_> = listed.iter().filter(|name| !occurring.contains_key(*name)).collect();
    assert!(gone.is_empty(), "these are in enumerate/listed.rs, and did not occur: {gone:#?}");
    assert_eq!(
        empty_parts(occurring.keys().copied()),
        Vec::<&str>::new(),
        "parts of the contract without a step"
    );
    assert!(
        LISTED.is_sorted() && listed.len() == LISTED.len(),
        "enumerate/listed.rs is in order, each name once"
    );
}

#[test]
fn in_the_second_life_a_balance_brings_something_back_to_the_node_that_was_emptied() {
    let steps = enumerate::steps(Life::Mended).unwrap_or_else(|wrong| panic!("{wrong}"));
    let moved = |step: &Step| {
        step.host == HostId::datanode(3)
            && step.names.iter().any(|name| name == "datanode: rename chunks/*/*/*")
    };
    let back = steps.iter().filter(|step| moved(step) && step.at > 97_000_000).count();
    assert!(back > 0, "no chunk came to it after 97 s");
}

#[test]
fn wherever_a_process_ends_nothing_is_lost_and_nothing_is_left() {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let (mut at, mut failed, mut ended_at) = (0, 0, BTreeSet::new());
    let run = enumerate::enumerate(extent(), jobs, |point, report| {
        at += 1;
        ended_at.extend(point.steps.clone());
        if !report.wrong.is_empty() {
            failed += 1;
            println!("{}:\n  {}\n  again: {}", point.name, report.wrong.join("\n  "), point.plan);
        }
    });
    assert_eq!(run, Ok(()));
    let empty = empty_parts(ended_at.iter().map(String::as_str));
    assert!(empty.is_empty(), "nothing ends at a step of {empty:?}");
    println!("{at} points, {failed} failed");
    assert_eq!(failed, 0, "of {at} points are not clean");
}

fn extent() -> Extent {
    match std::env::var("DFS_TEST_LONG").as_deref() {
        Ok("1") => Extent::EachStep,
        Ok("2") => Extent::EachPair,
        _ => Extent::Once,
    }
}
