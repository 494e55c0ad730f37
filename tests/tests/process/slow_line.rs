//! A slow line costs time and nothing else.

use std::time::{Duration, Instant};

use dfs_tests::{Cluster, Content, Options, SlowLine, in_a_network_of_its_own};

/// So many files at once that none of them gets a whole frame through within a datanode's patience, if all begin.
const FILES: u64 = 32;
const BYTES: u64 = 300_000;
const BITS_PER_SECOND: u64 = 2_000_000;

#[test]
fn many_files_over_a_slow_line_all_arrive_in_the_time_that_the_line_takes() {
    let name = "slow_line::many_files_over_a_slow_line_all_arrive_in_the_time_that_the_line_takes";
    if !in_a_network_of_its_own(name) {
        return;
    }
    let line = SlowLine::new(BITS_PER_SECOND);
    let cluster = Cluster::start(3, Options { host: SlowLine::NEAR, ..Options::default() });
    let (up, content) = (cluster.home().join("up"), |n: u64| Content::new("slow", n, BYTES));
    std::fs::create_dir(&up).expect("a directory");
    for number in 0..FILES {
        std::fs::write(up.join(format!("f{number}")), content(number).bytes()).expect("a file");
    }
    // At 80 % of the line, and a few seconds to begin and to end.
    let enough = Duration::from_secs(FILES * BYTES * 8 * 10 / (BITS_PER_SECOND * 8) + 5);
    for args in [&["-o", "json", "put", "-r", "up", "/"][..], &["-o", "json", "get", "-r", "/up", "down/"]] {
        let begun = Instant::now();
        let said = cluster.dfsctl(args).in_network_of(line.far()).patience(4 * enough).run();
        let took = begun.elapsed();
        println!("{args:?}: {took:?} of {enough:?}\n{}", said.stderr);
        let said = said.code(0).json();
        let files = said["files"].as_array().expect("files");
        assert_eq!(files.len() as u64, FILES);
        assert!(files.iter().all(|file| file["degraded_chunks"] == 0), "{said}");
        assert!(took <= enough, "{args:?} took {took:?}");
    }
    for number in 0..FILES {
        let found = std::fs::read(cluster.home().join(format!("down/up/f{number}"))).expect("a file");
        content(number).expect("over the line", &found);
    }
}
