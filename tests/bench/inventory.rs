//! What it costs a coordinator that every datanode tells all it has.
//!
//! ```text
//! filled | quiet: what it does anyway | inventories wanted ... all whole ones are newer |
//! ```

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use dfs_client::{Client, MkdirOptions};
use dfs_tests::{Cluster, Options, cpu_seconds, path};

use crate::load;
use crate::ours;

const NODES: usize = 3;
/// How long it is measured what the coordinator does anyway.
const QUIET: Duration = Duration::from_secs(20);
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(200);
/// When it is given up.
const PATIENCE: Duration = Duration::from_secs(600);

/// Rounds on one cluster, as Markdown.
pub(crate) fn measure(dir: Option<&Path>, rounds: u32, count: u64) -> String {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut text = format!(
        "Commit {}, {count} files of 4 KiB, {NODES} datanodes with a copy of each.\n\n\
         | inventories, s | CPU of the coordinator, s | CPU when quiet, s/s | CPU of one inventory, s |\n\
         |---|---|---|---|\n",
        ours::commit()
    );
    runtime.block_on(async {
        let base = dir.map(|dir| tempfile::tempdir_in(dir).expect("a directory"));
        let data = base.as_ref().map(|base| base.path().join("data"));
        let cluster = Cluster::start(NODES, Options { data, ..Options::default() });
        let client = cluster.client().await;
        client.mkdir(&path("/small"), MkdirOptions::default()).await.expect("mkdir");
        load::small(&client, "/small", count).await;
        load::until(&client, PATIENCE, load::is_whole).await;
        for number in 1..=rounds {
            eprintln!("round {number} of {rounds}");
            text += &round(&cluster, &client).await;
        }
    });
    text
}

async fn round(cluster: &Cluster, client: &Client) -> String {
    let cpu = || cpu_seconds(cluster.coordinator().pid()).unwrap_or(0.0);
    let (before, began) = (cpu(), Instant::now());
    tokio::time::sleep(QUIET).await;
    let quiet = (cpu() - before) / began.elapsed().as_secs_f64();

    let (before, began) = (cpu(), Instant::now());
    client.take_inventories().await.expect("inventories are wanted");
    loop {
        let asked_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let nodes = client.nodes().await.expect("nodes");
        if nodes.iter().all(|node| node.inventory_ms.is_some_and(|age_ms| age_ms < asked_ms)) {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "it does not come to an end");
        tokio::time::sleep(LOOK).await;
    }
    let (took, used) = (began.elapsed().as_secs_f64(), cpu() - before);
    let each = (used - quiet * took).max(0.0) / NODES as f64;
    let mut line = String::new();
    let _ = writeln!(line, "| {took:.1} | {used:.2} | {quiet:.3} | {each:.2} |");
    line
}
