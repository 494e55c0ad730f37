//! A coordinator that is killed again and again while copies are made: whether each piece of work ends, how much is copied, and
//! whether any chunk ever has fewer copies than before.
//!
//! ```text
//! filled | a datanode killed, its disk wiped: repair | a datanode drained | the drained one back: balance | all read
//!        | the coordinator is killed ten times in each, at random amounts of what is to be copied, and started again at once
//! ```

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use dfs_client::{Client, MkdirOptions};

use dfs_tests::{Cluster, Content, Mount, Options, Rng, path};
use dfs_wire::message::job::{DrainNode, JobState, StartBalance};
use dfs_wire::message::metadata::ChunkHealth;

use crate::load;
use crate::ours;

const NODES: usize = 5;
/// Bytes of one file.
const FILE: u64 = 64 << 20;
/// How often the coordinator is killed in each piece of work.
const KILLS: u64 = 10;
/// How far a datanode may be fuller than the mean, in percent.
const THRESHOLD: u8 = 2;
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(50);
/// When it is given up.
const PATIENCE: Duration = Duration::from_secs(900);

/// One run, as Markdown.
pub(crate) fn measure(dir: Option<&Path>, mib: u64, rounds: u32) -> String {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut text = format!(
        "Commit {}. 1 + {NODES} nodes, {mib} MiB in files of 64 MiB, three copies; a grace of 5 s. In each piece of work the coordinator is killed \
         {KILLS} times.\n\n\
         | work | kills | took, s | needed, MiB | copied, MiB | copied / needed | most chunks with too few copies |\n\
         |---|---|---|---|---|---|---|\n",
        ours::commit()
    );
    for number in 1..=rounds {
        eprintln!("round {number} of {rounds}");
        text += &runtime.block_on(round(dir, mib));
    }
    text
}

struct Bench {
    cluster: Cluster,
    client: Client,
    rng: Rng,
}

/// A piece of work, from its beginning to its end.
struct Work {
    name: &'static str,
    needed: u64,
    copied_before: u64,
    began: Instant,
}

async fn round(dir: Option<&Path>, mib: u64) -> String {
    let base = match dir {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    };
    let base = base.expect("a directory");
    // Balance takes datanodes on one file system for equally full. Once one is dead and another one drained, the others have a copy of all.
    let mut disks = Vec::new();
    for number in 1..=NODES {
        let at = base.path().join(format!("disk-{number}"));
        std::fs::create_dir(&at).expect("a directory");
        disks.push((Mount::memory(&at, (mib + 1024) << 20), at.join("data")));
    }
    let datanode_dirs = disks.iter().map(|(_, at)| at.clone()).collect();
    let data = Some(base.path().join("data"));
    let options = Options { data, datanode_dirs, ..Options::default() }
        .set("storage.reserve", "256MiB")
        .set("storage.quarantine_retention", "1s")
        .set("cluster.repair_grace", "5s");
    let cluster = Cluster::start(NODES, options);
    let client = cluster.client().await;
    let mut bench = Bench { cluster, client, rng: Rng::from_entropy() };
    bench.client.mkdir(&path("/large"), MkdirOptions::default()).await.expect("mkdir");
    let files = mib * (1 << 20) / FILE;
    load::many(&bench.client, files, 2, |client, number| async move {
        load::put(&client, &format!("/large/{number}"), number, FILE).await.expect("put");
    })
    .await;
    load::until(&bench.client, PATIENCE, load::is_whole).await;
    let mut text = bench.repair().await;
    text += &bench.drain().await;
    text += &bench.balance().await;
    bench.read_all(files).await;
    text
}

impl Bench {
    /// Bytes of chunks that the datanodes have written since they started.
    fn copied(&self) -> u64 {
        let running = self.cluster.datanodes().iter().filter(|node| node.runs());
        let written = running.map(|node| match node.get("/metrics") {
            Ok((_, page)) => load::metric(&page, "dfs_chunk_written_bytes_total"),
            Err(error) => panic!("{}: {error}", node.name()),
        });
        written.sum()
    }

    fn begin(&self, name: &'static str, needed: u64) -> Work {
        eprintln!("{name}");
        Work { name, needed, copied_before: self.copied(), began: Instant::now() }
    }

    /// Kills the coordinator ten times on the way, and waits for the end.
    async fn see_to_the_end(&mut self, work: Work, ended: impl AsyncFn(&Client) -> bool) -> String {
        assert!(work.needed > 0, "{} has nothing to do", work.name);
        let mut moments: Vec<u64> = (0..KILLS).map(|_| self.rng.below(work.needed)).collect();
        moments.sort_unstable();
        let (mut kills, mut too_few) = (0, 0);
        loop {
            assert!(
                work.began.elapsed() < PATIENCE,
                "{} does not come to an end:\n{}",
                work.name,
                self.cluster.log_tails(20)
            );
            let copied = self.copied() - work.copied_before;
            if moments.first().is_some_and(|at| copied >= *at) {
                moments.remove(0);
                self.cluster.coordinator().restart();
                kills += 1;
                continue;
            }
            if let Ok(status) = self.client.status().await
                && !status.counting
            {
                let now: u64 = status
                    .health_of_chunks
                    .iter()
                    .filter(|(word, _)| *word != ChunkHealth::Safe)
                    .map(|(_, n)| n)
                    .sum();
                too_few = too_few.max(now);
            }
            if ended(&self.client).await {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        let copied = self.copied() - work.copied_before;
        let mut line = String::new();
        let _ = writeln!(
            line,
            "| {} | {kills} | {:.0} | {} | {} | {:.3} | {too_few} |",
            work.name,
            work.began.elapsed().as_secs_f64(),
            work.needed >> 20,
            copied >> 20,
            copied as f64 / work.needed as f64,
        );
        eprint!("{line}");
        line
    }

    async fn repair(&mut self) -> String {
        let victim = self.cluster.datanode(0);
        let needed =
            victim.chunk_files().iter().map(|file| file.metadata().map_or(0, |meta| meta.len())).sum();
        victim.kill();
        std::fs::remove_dir_all(victim.data_dir()).expect("its disk is wiped");
        let work = self.begin("repair", needed);
        let whole = async |client: &Client| match client.status().await {
            Ok(status) => load::is_whole(&status) && status.findings.iter().any(|it| it.code == "NODE_DOWN"),
            Err(_) => false,
        };
        self.see_to_the_end(work, whole).await
    }

    async fn drain(&mut self) -> String {
        let node = self.cluster.datanode(1).name().to_owned();
        let word = DrainNode { node: node.clone(), successor: None, dry_run: false };
        let plan = self.client.drain_node(word).await.expect("a drain");
        let work = self.begin("drain", plan.amount.bytes);
        let line = self.see_to_the_end(work, job_has_ended).await;
        self.client.undrain_node(&node).await.expect("it takes chunks again");
        line
    }

    async fn balance(&mut self) -> String {
        // Deleted copies are gone from the disks, and all have said how full they are.
        tokio::time::sleep(Duration::from_secs(20)).await;
        let word = StartBalance { threshold_percent: THRESHOLD, dry_run: false };
        let plan = self.client.balance(word).await.expect("a balance");
        let work = self.begin("balance", plan.moves.iter().map(|it| it.bytes).sum());
        self.see_to_the_end(work, job_has_ended).await
    }

    async fn read_all(&self, files: u64) {
        for number in 0..files {
            let mut bytes = Vec::with_capacity(FILE as usize);
            let at = path(&format!("/large/{number}"));
            self.client.get_to_writer(&at, &mut bytes, Default::default()).await.expect("get");
            assert!(Content::new("load", number, FILE).bytes() == bytes, "{at} has other bytes");
        }
        let (code, said) = self.cluster.code(&["fsck"]);
        assert!(code == 0, "{said}");
    }
}

/// Whether the latest job has ended.
///
/// # Panics
/// If it ended in another way than by being done.
async fn job_has_ended(client: &Client) -> bool {
    let Ok(jobs) = client.jobs().await else { return false };
    let latest = jobs.iter().max_by_key(|job| job.id).expect("there is one");
    assert!(!latest.state.has_ended() || latest.state == JobState::Done, "{latest:?}");
    latest.state == JobState::Done
}
