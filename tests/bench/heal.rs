//! A datanode dies with its disk while clients work at a steady rate: how long it takes until all is whole again, and what the
//! clients notice.
//!
//! ```text
//! filled | capacity: as fast as it goes | steady load ------------------------------------------------->|
//!                                       |<-- quiet -->| node killed, disk wiped | repair ... all is safe |
//! ```
//!
//! The load is open: an operation is due at its time whatever became of those before it, and what it waits counts.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dfs_client::{Client, MkdirOptions};
use dfs_tests::{Cluster, Options, path};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::load::{is_whole, many, put, small as small_files, until};
use crate::ours;

const NODES: usize = 6;
/// Bytes of one large file.
const LARGE: u64 = 64 << 20;
/// Bytes of the files that the load puts and gets.
const LOAD: u64 = 64 << 10;
/// Files that the load gets.
const LOADED: u64 = 256;
/// Of so many operations one is a put.
const PUT_EVERY: u64 = 4;
/// How long a node that is down may take to come back.
const GRACE: Duration = Duration::from_secs(10);
/// How long the capacity, and the quiet, is measured.
const SPAN: Duration = Duration::from_secs(20);
/// When it is given up.
const PATIENCE: Duration = Duration::from_secs(1800);

/// An operation that ended: when it was due, how long it took, whether it succeeded.
type Done = (Instant, Duration, bool);

/// Latencies of a span of time.
struct Latency {
    operations: usize,
    failed: usize,
    p50: Duration,
    p99: Duration,
}

impl Latency {
    fn of(all: &[Done], from: Instant, to: Instant) -> Self {
        let within: Vec<_> = all.iter().filter(|(due, ..)| (from..to).contains(due)).collect();
        let mut took: Vec<_> = within.iter().map(|(_, took, _)| *took).collect();
        took.sort_unstable();
        let at = |share: f64| took.get((took.len() as f64 * share) as usize).copied().unwrap_or_default();
        let failed = within.iter().filter(|(.., well)| !well).count();
        Self { operations: took.len(), failed, p50: at(0.5), p99: at(0.99) }
    }
}

/// What lies in the cluster.
#[derive(Clone, Copy)]
pub(crate) struct Filled {
    /// In large files.
    pub(crate) mib: u64,
    /// Small files.
    pub(crate) small: u64,
}

/// Rounds on fresh clusters, as Markdown; the load takes so many percent of what goes.
pub(crate) fn measure(dir: Option<&Path>, rounds: u32, filled: Filled, load_percent: u64) -> String {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let Filled { mib, small } = filled;
    let mut text = format!(
        "Commit {}. 1 + {NODES} nodes, {mib} MiB in large files and {small} files of 4 KiB, three copies; grace 10 s. Load: gets and \
         puts of 64 KiB, 3 to 1, at {load_percent} % of what goes.\n\n\
         | load, op/s | seen after, s | whole after, s | of that repair, s | copied, MiB/s | copied, chunks/s | quiet p50 / p99, ms | repair p50 / p99, ms | p99 ratio | failed |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
        ours::commit()
    );
    for number in 1..=rounds {
        eprintln!("round {number} of {rounds}");
        text += &runtime.block_on(round(dir, filled, load_percent));
    }
    text
}

async fn round(dir: Option<&Path>, Filled { mib, small }: Filled, load_percent: u64) -> String {
    let base = dir.map(|dir| tempfile::tempdir_in(dir).expect("a directory"));
    let options = Options { data: base.as_ref().map(|base| base.path().join("data")), ..Options::default() };
    let cluster =
        Cluster::start(NODES, options.set("cluster.repair_grace", &format!("{}s", GRACE.as_secs())));
    let client = cluster.client().await;
    fill(&client, mib, small).await;
    until(&client, PATIENCE, |status| is_whole(status) && status.nodes_up as usize == NODES).await;
    let rate = if load_percent > 0 { capacity(&client).await * load_percent as f64 / 100.0 } else { 0.0 };
    let (load, mut done) = steady(client.clone(), rate);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let quiet = Instant::now();
    tokio::time::sleep(SPAN).await;

    let victim = cluster.datanode(0);
    let held = victim.chunk_files().len() as u64;
    let bytes: u64 =
        victim.chunk_files().iter().map(|file| file.metadata().map_or(0, |meta| meta.len())).sum();
    let killed = Instant::now();
    victim.kill();
    std::fs::remove_dir_all(victim.data_dir()).expect("its disk is wiped");
    until(&client, PATIENCE, |status| status.findings.iter().any(|finding| finding.code == "NODE_DOWN"))
        .await;
    let seen = killed.elapsed();
    tokio::time::sleep(GRACE).await;
    let repair = Instant::now();
    until(&client, PATIENCE, is_whole).await;
    let (whole, took) = (killed.elapsed(), repair.elapsed());
    let healed = Instant::now();
    load.abort();
    let mut all = Vec::new();
    while let Some(one) = done.recv().await {
        all.push(one);
    }
    let (before, during) = (Latency::of(&all, quiet, killed), Latency::of(&all, repair, healed));
    let ms = |span: Duration| span.as_secs_f64() * 1e3;
    let ratio = match before.p99.is_zero() {
        true => "–".to_owned(),
        false => format!("{:.2}", during.p99.as_secs_f64() / before.p99.as_secs_f64()),
    };
    let mut line = String::new();
    let _ = writeln!(
        line,
        "| {rate:.0} | {:.1} | {:.1} | {:.1} | {:.0} | {:.0} | {:.1} / {:.1} | {:.1} / {:.1} | {ratio} | {} of {} |",
        seen.as_secs_f64(),
        whole.as_secs_f64(),
        took.as_secs_f64(),
        bytes as f64 / f64::from(1 << 20) / took.as_secs_f64(),
        held as f64 / took.as_secs_f64(),
        ms(before.p50),
        ms(before.p99),
        ms(during.p50),
        ms(during.p99),
        during.failed,
        during.operations,
    );
    line
}

async fn fill(client: &Client, mib: u64, small: u64) {
    for directory in ["/large", "/small", "/load"] {
        client.mkdir(&path(directory), MkdirOptions::default()).await.expect("mkdir");
    }
    small_files(client, "/small", small).await;
    many(client, LOADED, 32, |client, number| async move {
        put(&client, &format!("/load/{number}"), number, LOAD).await.expect("put");
    })
    .await;
    many(client, mib * (1 << 20) / LARGE, 2, |client, number| async move {
        put(&client, &format!("/large/{number}"), number, LARGE).await.expect("put");
    })
    .await;
}

/// One operation of the load.
async fn operation(client: &Client, number: u64) -> bool {
    let of = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    if number.is_multiple_of(PUT_EVERY) {
        return put(client, &format!("/load/{}", LOADED + number), number, LOAD).await.is_ok();
    }
    let mut bytes = Vec::with_capacity(LOAD as usize);
    let at = path(&format!("/load/{}", of % LOADED));
    let got = client.get_to_writer(&at, &mut bytes, Default::default()).await;
    got.is_ok() && bytes.len() as u64 == LOAD
}

/// Operations a second, as fast as it goes.
async fn capacity(client: &Client) -> f64 {
    let (next, began) = (Arc::new(AtomicU64::new(1 << 40)), Instant::now());
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        let (client, next) = (client.clone(), next.clone());
        tasks.spawn(async move {
            while began.elapsed() < SPAN {
                assert!(
                    operation(&client, next.fetch_add(1, Ordering::Relaxed)).await,
                    "nothing is wrong yet"
                );
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("no panic");
    }
    (next.load(Ordering::Relaxed) - (1 << 40)) as f64 / began.elapsed().as_secs_f64()
}

/// Operations at a steady rate, until it is aborted.
fn steady(client: Client, rate: f64) -> (tokio::task::JoinHandle<()>, mpsc::UnboundedReceiver<Done>) {
    let (tell, done) = mpsc::unbounded_channel();
    let load = tokio::spawn(async move {
        let began = Instant::now();
        if rate <= 0.0 {
            return;
        }
        for number in 0_u64.. {
            let due = began + Duration::from_secs_f64(number as f64 / rate);
            tokio::time::sleep_until(due.into()).await;
            let (client, tell) = (client.clone(), tell.clone());
            tokio::spawn(async move {
                let well = operation(&client, number).await;
                let _ = tell.send((due, due.elapsed(), well));
            });
        }
    });
    (load, done)
}
