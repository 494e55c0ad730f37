//! Files that are put and deleted at full rate, for long: whether what they leave behind levels off.
//!
//! ```text
//! put, delete | trash | read lease | deleted from the disks | quarantine | gone
//! ```

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dfs_client::{Client, MkdirOptions};
use dfs_tests::{Cluster, Options, path};
use tokio::task::JoinSet;

use crate::load;
use crate::ours;

const NODES: usize = 3;
const AT_ONCE: u64 = 32;
/// How often it is looked.
const LOOK: Duration = Duration::from_secs(20);
/// How long a file lies in the trash, how long its chunks can be read after, and how long a deleted copy stays in quarantine.
const WAITS: [(&str, &str); 3] = [
    ("cluster.trash_retention", "20s"),
    ("cluster.read_lease", "1min"),
    ("storage.quarantine_retention", "20s"),
];

/// One run, as Markdown.
pub(crate) fn measure(dir: Option<&Path>, lasts: Duration) -> String {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let waits: Vec<_> = WAITS.iter().map(|(key, value)| format!("{key} {value}")).collect();
    let text = format!(
        "Commit {}, files of 4 KiB put and deleted, {AT_ONCE} at once; {}, a round a second.\n\n\
         | after, s | put and deleted, files/s | in the trash | chunks with a record | deletions to confirm | in quarantine, files | disks, MiB | metadata, MiB | coordinator, MiB resident |\n\
         |---|---|---|---|---|---|---|---|---|\n",
        ours::commit(),
        waits.join(", ")
    );
    text + &runtime.block_on(run(dir, lasts))
}

async fn run(dir: Option<&Path>, lasts: Duration) -> String {
    let base = dir.map(|dir| tempfile::tempdir_in(dir).expect("a directory"));
    let options = Options { data: base.as_ref().map(|base| base.path().join("data")), ..Options::default() };
    let set = |options: Options, (key, value): &(&str, &str)| options.set(key, value);
    let options = WAITS.iter().fold(options.set("cluster.gc_interval", "1s"), set);
    let cluster = Cluster::start(NODES, options);
    let client = cluster.client().await;
    client.mkdir(&path("/churn"), MkdirOptions::default()).await.expect("mkdir");
    let (done, began) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let mut tasks = JoinSet::new();
    for worker in 0..AT_ONCE {
        let (client, done) = (client.clone(), Arc::clone(&done));
        tasks.spawn(async move {
            let mut number = worker;
            while began.elapsed() < lasts {
                let name = format!("/churn/{number}");
                load::put(&client, &name, number, load::SMALL).await.expect("put");
                client.delete(&path(&name), Default::default()).await.expect("delete");
                done.fetch_add(1, Ordering::Relaxed);
                number += AT_ONCE;
            }
        });
    }
    let (mut text, mut before, mut looked) = (String::new(), 0, began);
    while began.elapsed() < lasts {
        tokio::time::sleep(LOOK).await;
        let (now, at) = (done.load(Ordering::Relaxed), Instant::now());
        let rate = (now - before) as f64 / (at - looked).as_secs_f64();
        (before, looked) = (now, at);
        text += &look(&cluster, &client, began, rate).await;
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("no panic");
    }
    text
}

async fn look(cluster: &Cluster, client: &Client, began: Instant, rate: f64) -> String {
    let status = client.status().await.expect("status");
    let mib = |bytes: u64| bytes >> 20;
    let quarantined: u64 = cluster.datanodes().iter().map(|node| gauge(node, "dfs_chunks_quarantined")).sum();
    let disks: u64 = cluster.datanodes().iter().map(|node| taken(node.data_dir())).sum();
    let metadata = taken(cluster.coordinator().data_dir());
    let mut line = String::new();
    let _ = writeln!(
        line,
        "| {:.0} | {rate:.0} | {} | {} | {} | {quarantined} | {} | {} | {} |",
        began.elapsed().as_secs_f64(),
        status.trash_entries,
        status.chunks,
        status.tombstones,
        mib(disks),
        mib(metadata),
        mib(cluster.coordinator().rss()),
    );
    eprint!("{line}");
    line
}

fn gauge(node: &dfs_tests::NodeHandle, name: &str) -> u64 {
    let (_, page) = node.get("/metrics").expect("metrics");
    load::metric(&page, name)
}

/// Bytes that the files below a directory take on their disk; files that go meanwhile are not counted.
fn taken(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let of = |entry: std::fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => taken(&entry.path()),
        _ => entry.metadata().map_or(0, |meta| meta.blocks() * 512),
    };
    std::fs::read_dir(dir).map_or(0, |entries| entries.flatten().map(of).sum())
}
