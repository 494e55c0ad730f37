//! What several of the measurements need: files, and the wait until something is so.

use std::time::{Duration, Instant};

use dfs_client::admin::ClusterStatus;
use dfs_client::{Client, PutOptions, PutSource};
use dfs_tests::{Content, path};
use dfs_wire::message::metadata::ChunkHealth;
use tokio::task::JoinSet;

/// Bytes of a small file.
pub(crate) const SMALL: u64 = 4096;
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(100);

/// Puts a file.
pub(crate) async fn put(client: &Client, at: &str, number: u64, len: u64) -> Result<(), dfs_client::Error> {
    let source = PutSource::from(Content::new("load", number, len).bytes());
    client.put(source, &path(at), PutOptions::default()).await.map(drop)
}

/// Puts so many small files into a directory.
pub(crate) async fn small(client: &Client, directory: &'static str, count: u64) {
    many(client, count, 32, move |client, number| async move {
        put(&client, &format!("{directory}/{number}"), number, SMALL).await.expect("put");
    })
    .await;
}

/// Does something so many times.
pub(crate) async fn many<W: Future<Output = ()> + Send + 'static>(
    client: &Client,
    count: u64,
    at_once: u64,
    work: impl Fn(Client, u64) -> W,
) {
    let mut tasks = JoinSet::new();
    for number in 0..count {
        if tasks.len() as u64 >= at_once {
            tasks.join_next().await.expect("some run").expect("no panic");
        }
        tasks.spawn(work(client.clone(), number));
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("no panic");
    }
}

/// Whether every chunk has all its copies.
pub(crate) fn is_whole(status: &ClusterStatus) -> bool {
    let is_safe = |(word, chunks): &(ChunkHealth, u64)| *chunks == 0 || *word == ChunkHealth::Safe;
    !status.counting && status.health_of_chunks.iter().all(is_safe)
}

/// Waits until the cluster is like this.
///
/// # Panics
/// If it is not within `patience`.
pub(crate) async fn until(client: &Client, patience: Duration, done: impl Fn(&ClusterStatus) -> bool) {
    let began = Instant::now();
    while !done(&client.status().await.expect("status")) {
        assert!(began.elapsed() < patience, "it does not come to an end");
        tokio::time::sleep(LOOK).await;
    }
}

/// The sum of a metric's samples on a page of them.
pub(crate) fn metric(page: &str, name: &str) -> u64 {
    let lines = page.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
}
