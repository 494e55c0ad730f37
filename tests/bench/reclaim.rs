//! How fast the metadata of deleted files is given back, apart from everything else.
//!
//! ```text
//! put, delete | trash emptied ... no entry left | a lease later ... no chunk and no order left |
//!             |<------- trash -------->|        |<---------- release and orders ------------->|
//! ```

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use dfs_tests::{Cluster, Options, written_bytes};

use crate::load::until;
use crate::ours;

/// The shortest read lease that there is.
const LEASE: Duration = Duration::from_secs(60);
/// When it is given up.
const PATIENCE: Duration = Duration::from_secs(600);

/// What one round came to.
struct Round {
    put: f64,
    reclaim: f64,
    trash: f64,
    release: f64,
    metadata: f64,
}

/// Rounds on fresh clusters, as Markdown.
pub(crate) fn measure(dir: Option<&Path>, rounds: u32, count: u64) -> String {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut text = format!(
        "Commit {}, {count} files of 4 KiB, read lease 60 s, a round a second.\n\n\
         | put, files/s | reclaim, files/s | reclaim / put | trash, files/s | release and orders, files/s | metadata written, bytes/file |\n\
         |---|---|---|---|---|---|\n",
        ours::commit()
    );
    for number in 1..=rounds {
        eprintln!("round {number} of {rounds}");
        let Round { put, reclaim, trash, release, metadata } = runtime.block_on(round(dir, count));
        let ratio = reclaim / put;
        let _ = writeln!(
            text,
            "| {put:.0} | {reclaim:.0} | {ratio:.2} | {trash:.0} | {release:.0} | {metadata:.0} |"
        );
    }
    text
}

async fn round(dir: Option<&Path>, count: u64) -> Round {
    let base = dir.map(|dir| tempfile::tempdir_in(dir).expect("a directory"));
    let options = Options { data: base.as_ref().map(|base| base.path().join("data")), ..Options::default() };
    let options = options.set("cluster.read_lease", "1min").set("cluster.gc_interval", "1s");
    let cluster = Cluster::start(3, options);
    let client = cluster.client().await;
    let [put, _, _] = ours::small(&client, count, &|| 0.0).await;
    let coordinator = cluster.coordinator().pid();
    let written = || written_bytes(coordinator).unwrap_or(0);

    let (before, began) = (written(), Instant::now());
    client.trash_purge(None, None).await.expect("the trash is emptied");
    until(&client, PATIENCE, |status| status.trash_entries == 0).await;
    let trash = began.elapsed();
    tokio::time::sleep(LEASE.saturating_sub(began.elapsed())).await;
    let due = began + LEASE;
    until(&client, PATIENCE, |status| (status.chunks, status.tombstones) == (0, 0)).await;
    let release = due.elapsed();
    let files = count as f64;
    Round {
        put: put.rate,
        reclaim: files / (trash + release).as_secs_f64(),
        trash: files / trash.as_secs_f64(),
        release: files / release.as_secs_f64(),
        metadata: (written() - before) as f64 / files,
    }
}
