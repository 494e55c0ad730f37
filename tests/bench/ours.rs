//! The workloads on a cluster of one coordinator and three datanodes with the product's defaults.

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use dfs_client::{Client, MkdirOptions, PutOptions, PutSource};
use dfs_tests::{Cluster, Content, Options, Trust, cpu_seconds, cpu_seconds_of_children, path};
use tokio::task::JoinSet;

use crate::table::Figure;

const AT_ONCE: u64 = 32;
const SMALL: u64 = 4096;

/// A cluster with its inputs.
pub(crate) struct Bench {
    cluster: Cluster,
    mib: u64,
    _base: Option<tempfile::TempDir>,
}

impl Bench {
    /// Starts a cluster, its data in `dir` if one is given, and makes the inputs (in the page cache, as for the ideal).
    pub(crate) fn start(dir: Option<&Path>, mib: u64, trust: Trust) -> Self {
        let base = dir.map(|dir| {
            std::fs::create_dir_all(dir).expect("a directory");
            tempfile::tempdir_in(dir).expect("a directory")
        });
        let data = base.as_ref().map(|base| base.path().join("data"));
        let cluster = Cluster::start(3, Options { set: vec![], data, trust, ..Options::default() });
        for part in 0..8 {
            let content = Content::new("bench", part, mib * (1 << 20) / 8);
            let bytes = content.bytes();
            cluster.file(&format!("part-{part}"), &bytes);
            let whole = std::fs::File::options().create(true).append(true).open(cluster.home().join("whole"));
            std::io::Write::write_all(&mut whole.expect("an input"), &bytes).expect("written");
        }
        let _ = Command::new("sync").status();
        Self { cluster, mib, _base: base }
    }

    /// Processor time of all nodes, of children that ended, and of this process, so far.
    fn cpu(&self) -> f64 {
        let nodes: f64 = self.cluster.nodes().map(|node| cpu_seconds(node.pid()).unwrap_or(0.0)).sum();
        nodes + cpu_seconds_of_children()
    }

    fn bytes(&self, work: impl FnOnce()) -> Figure {
        let (cpu, began) = (self.cpu(), Instant::now());
        work();
        let (seconds, cpu) = (began.elapsed().as_secs_f64(), self.cpu() - cpu);
        let bytes = (self.mib << 20) as f64;
        Figure { rate: bytes / seconds / 1e6, cpu: cpu / (bytes / f64::from(1 << 30)) }
    }

    fn dfsctl(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.cluster.binaries().dfsctl);
        command
            .args(args)
            .current_dir(self.cluster.home())
            .env("DFS_ENDPOINT", self.cluster.coordinator().address());
        if let Some(dir) = self.cluster.user() {
            command.env("DFS_IDENTITY", dir);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// `dfsctl put` of the whole input.
    pub(crate) fn put_one(&self) -> Figure {
        self.bytes(|| assert!(self.dfsctl(&["put", "whole", "/whole"]).status().expect("dfsctl").success()))
    }

    /// `dfsctl get` of it to nowhere.
    pub(crate) fn get_one(&self) -> Figure {
        self.bytes(|| assert!(self.dfsctl(&["get", "/whole", "-"]).status().expect("dfsctl").success()))
    }

    /// Eight `dfsctl put` at once, of an eighth each.
    pub(crate) fn put_eight(&self) -> Figure {
        self.bytes(|| {
            let start = |part| {
                let (from, to) = (format!("part-{part}"), format!("/part-{part}"));
                self.dfsctl(&["put", &from, &to]).spawn().expect("dfsctl")
            };
            let puts: Vec<_> = (0..8).map(start).collect();
            for mut put in puts {
                assert!(put.wait().expect("dfsctl").success());
            }
        })
    }

    /// Small files through the SDK: put, get, delete.
    pub(crate) async fn small(&self, count: u64) -> [Figure; 3] {
        let me = std::process::id();
        let used = || self.cpu() + cpu_seconds(me).unwrap_or(0.0);
        small(&self.cluster.client().await, count, &used).await
    }
}

/// Small files through the SDK: put, get, delete. `cpu` is the processor time used so far.
pub(crate) async fn small(client: &Client, count: u64, cpu: &dyn Fn() -> f64) -> [Figure; 3] {
    client.mkdir(&path("/small"), MkdirOptions::default()).await.expect("mkdir");
    let put = each(client, count, cpu, |client: Client, number| async move {
        let source = PutSource::from(Content::new("small", number, SMALL).bytes());
        client.put(source, &name(number), PutOptions::default()).await.expect("put");
    });
    let put = put.await;
    let get = each(client, count, cpu, |client: Client, number| async move {
        let mut bytes = Vec::with_capacity(4096);
        client.get_to_writer(&name(number), &mut bytes, Default::default()).await.expect("get");
        assert_eq!(bytes.len() as u64, SMALL);
    });
    let get = get.await;
    let delete = each(client, count, cpu, |client: Client, number| async move {
        client.delete(&name(number), Default::default()).await.expect("delete");
    });
    [put, get, delete.await]
}

async fn each<F, W>(client: &Client, count: u64, cpu: &dyn Fn() -> f64, work: F) -> Figure
where
    F: Fn(Client, u64) -> W + Clone + Send + 'static,
    W: Future<Output = ()> + Send,
{
    let (used, began, next) = (cpu(), Instant::now(), Arc::new(AtomicU64::new(0)));
    let mut tasks = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (client, next, work) = (client.clone(), next.clone(), work.clone());
        tasks.spawn(async move {
            loop {
                match next.fetch_add(1, Ordering::Relaxed) {
                    number if number < count => work(client.clone(), number).await,
                    _ => return,
                }
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("no panic");
    }
    let (seconds, used) = (began.elapsed().as_secs_f64(), cpu() - used);
    Figure { rate: count as f64 / seconds, cpu: used / count as f64 * 1e6 }
}

fn name(number: u64) -> dfs_client::DfsPath {
    path(&format!("/small/{number}"))
}

fn say(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// Which commit is measured, when, and on what.
pub(crate) fn commit() -> String {
    let tree = say("git", &["describe", "--always", "--dirty"]);
    // Binaries that were named by hand may be of any commit.
    let commit = match std::env::var_os("DFS_TEST_BINARIES") {
        Some(_) => format!("not known (DFS_TEST_BINARIES; the tree is at {tree})"),
        None => tree,
    };
    let (date, cores) = (say("date", &["-u", "+%Y-%m-%d %H:%M UTC"]), say("nproc", &[]));
    format!("{commit}, {date}, {cores} cores")
}

/// What the table needs to be worth anything: commit, date, machine, durability.
pub(crate) fn conditions(mib: u64, pairs: u32) -> String {
    format!(
        "Commit {}, {mib} MiB, {pairs} pairs, median (least–most). Durable: every copy is synced \
         before it is acknowledged, 3 copies, SHA-256 at client and primary. CPU: clients and all nodes.",
        commit()
    )
}
