//! A slow line costs time and nothing else.

use std::time::{Duration, Instant};

use dfs_tests::{Cluster, Content, Options, SlowLine, in_a_network_of_its_own};

/// A line, and so many files at once that none of them gets a whole frame through within a datanode's patience, if all begin.
struct Load {
    files: u64,
    bytes: u64,
    bits_per_second: u64,
}

/// Two minutes.
const SHORT: Load = Load { files: 32, bytes: 300_000, bits_per_second: 2_000_000 };
/// Twenty minutes.
const LONG: Load = Load { files: 40, bytes: 1_500_000, bits_per_second: 1_000_000 };

impl Load {
    /// As long as it may take: 80 % of the line, and a few seconds to begin and to end.
    fn enough(&self) -> Duration {
        Duration::from_secs(self.files * self.bytes * 8 * 10 / (self.bits_per_second * 8) + 5)
    }
}

#[test]
fn many_files_over_a_slow_line_all_arrive_in_the_time_that_the_line_takes() {
    let name = "slow_line::many_files_over_a_slow_line_all_arrive_in_the_time_that_the_line_takes";
    if !in_a_network_of_its_own(name) {
        return;
    }
    let long = std::env::var("DFS_TEST_LONG").is_ok_and(|value| value == "1");
    let load = if long { LONG } else { SHORT };
    let line = SlowLine::new(load.bits_per_second);
    let cluster = Cluster::start(3, Options { host: SlowLine::NEAR, ..Options::default() });
    let (up, content) = (cluster.home().join("up"), |n: u64| Content::new("slow", n, load.bytes));
    std::fs::create_dir(&up).expect("a directory");
    for number in 0..load.files {
        std::fs::write(up.join(format!("f{number}")), content(number).bytes()).expect("a file");
    }
    let enough = load.enough();
    for args in [&["-o", "json", "put", "-r", "up", "/"][..], &["-o", "json", "get", "-r", "/up", "down/"]] {
        let begun = Instant::now();
        let said = cluster.dfsctl(args).in_network_of(line.far()).patience(4 * enough).run();
        let took = begun.elapsed();
        let share = load.files * load.bytes * 800 / load.bits_per_second * 1000 / took.as_millis() as u64;
        println!("{args:?}: {took:?} of {enough:?}, {share} % of the line\n{}", said.stderr);
        let said = said.code(0).json();
        let files = said["files"].as_array().expect("files");
        assert_eq!(files.len() as u64, load.files);
        assert!(files.iter().all(|file| file["degraded_chunks"] == 0), "{said}");
        assert!(took <= enough, "{args:?} took {took:?}");
    }
    for number in 0..load.files {
        let found = std::fs::read(cluster.home().join(format!("down/up/f{number}"))).expect("a file");
        content(number).expect("over the line", &found);
    }
}
