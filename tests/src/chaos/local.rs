//! A cluster of processes of this machine, as a ground for chaos.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use dfs_client::ChunkId;

use super::CHAOS_TOKEN;
use super::fault::{Deed, Way};
use super::ground::{Ground, Member};
use super::scenario::Scenario;
use crate::{Cluster, Fault as Harm, Mount, NodeHandle, Options, Variant};

/// Lines of each log that a failure shows.
const LOG_LINES: usize = 40;
/// What fills a disk.
const FILLER: &str = "filler";

/// Processes on loopback, with proxies between them where a scenario hurts lines.
pub(super) struct Local {
    /// Nodes that are away on purpose. Held while a node is started or ended.
    away: Mutex<BTreeSet<Member>>,
    cluster: Cluster,
    // After the cluster: its processes end before their disks go.
    disks: Vec<Mount>,
    // Where they are mounted.
    _home: tempfile::TempDir,
}

impl Local {
    /// Starts the cluster of a scenario and waits until all of it is up.
    ///
    /// # Panics
    /// If it does not come up, or a disk in memory cannot be mounted.
    pub(super) fn start(scenario: &Scenario) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let topology = &scenario.topology;
        let lines = scenario.faults.iter().any(|fault| matches!(fault.deed, Deed::Cut | Deed::Slow));
        let mount = |number: usize, bytes| Mount::memory(&home.path().join(format!("disk{number}")), bytes);
        let disks: Vec<Mount> = match topology.disk {
            Some(size) => (1..=topology.datanodes).map(|number| mount(number, size.0)).collect(),
            None => vec![],
        };
        let options = Options {
            variant: Variant::Chaos,
            proxied: lines,
            uplinks: lines,
            datanode_dirs: disks.iter().map(|disk| disk.dir().join("data")).collect(),
            ..Options::default()
        };
        let set = topology.set.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let set = set.chain([("chaos.enabled", "true"), ("chaos.token", CHAOS_TOKEN)]);
        let options = set.fold(options, |options, (key, value)| options.set(key, value));
        let mut cluster = Cluster::start(topology.datanodes, options);
        // What is broken on purpose is logged, and judged by what it does.
        cluster.logs().allow("");
        Self { away: Mutex::default(), cluster, disks, _home: home }
    }

    fn node(&self, member: Member) -> &NodeHandle {
        match member {
            Member::Coordinator => self.cluster.coordinator(),
            Member::Datanode(number) => self.cluster.datanode(number - 1),
        }
    }

    fn away(&self) -> MutexGuard<'_, BTreeSet<Member>> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn filler(&self, datanode: usize) -> Result<std::path::PathBuf, String> {
        let disk = self.disks.get(datanode - 1).ok_or("its disk has no size")?;
        Ok(disk.dir().join(FILLER))
    }
}

/// What went wrong with a file, with its name.
fn of_file(path: &Path) -> impl Fn(std::io::Error) -> String + '_ {
    move |error| format!("{}: {error}", path.display())
}

/// Takes what is left of a file system, to the last byte.
pub(super) fn fill(filler: &Path) -> Result<(), String> {
    let mut file = File::create(filler).map_err(of_file(filler))?;
    for size in [65_536, 1] {
        let piece = vec![0x5a; size];
        while file.write_all(&piece).is_ok() {}
    }
    Ok(())
}

/// Flips a bit in the middle of a chunk's data, of which there is the size of its file at most.
pub(super) fn flip(chunk_file: &Path) -> Result<(), String> {
    let wrong = of_file(chunk_file);
    let file = OpenOptions::new().read(true).write(true).open(chunk_file).map_err(&wrong)?;
    // The footer is at the end: a page and a sum for each block.
    let place = file.metadata().map_err(&wrong)?.len() / 4;
    let mut byte = [0];
    file.read_exact_at(&mut byte, place).map_err(&wrong)?;
    file.write_all_at(&[byte[0] ^ 0x10], place).map_err(&wrong)?;
    file.sync_all().map_err(&wrong)
}

/// Removes all that is in a directory.
pub(super) fn clear(dir: &Path) -> Result<(), String> {
    for entry in fs::read_dir(dir).map_err(of_file(dir))?.flatten() {
        let path = entry.path();
        let gone = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        gone.map_err(of_file(&path))?;
    }
    Ok(())
}

impl Ground for Local {
    fn endpoint(&self) -> String {
        self.node(Member::Coordinator).address().to_owned()
    }

    fn identity(&self) -> PathBuf {
        self.cluster.user().unwrap_or(Path::new("")).to_owned()
    }

    fn address(&self, node: Member) -> String {
        self.node(node).address().to_owned()
    }

    fn kill(&self, node: Member) -> Result<(), String> {
        let mut away = self.away();
        away.insert(node);
        self.node(node).kill();
        Ok(())
    }

    fn stop(&self, node: Member) -> Result<(), String> {
        let mut away = self.away();
        away.insert(node);
        if self.node(node).runs() {
            self.node(node).stop();
        }
        Ok(())
    }

    fn start(&self, node: Member) -> Result<(), String> {
        let mut away = self.away();
        away.remove(&node);
        if !self.node(node).runs() {
            self.node(node).start();
        }
        Ok(())
    }

    fn pause(&self, node: Member) -> Result<(), String> {
        let _away = self.away();
        if self.node(node).runs() {
            self.node(node).pause();
        }
        Ok(())
    }

    fn resume(&self, node: Member) -> Result<(), String> {
        let _away = self.away();
        if self.node(node).runs() {
            self.node(node).resume();
        }
        Ok(())
    }

    fn wipe(&self, datanode: usize) -> Result<(), String> {
        self.kill(Member::Datanode(datanode))?;
        clear(self.node(Member::Datanode(datanode)).data_dir())
    }

    fn cut(&self, datanode: usize, way: Way) -> Result<(), String> {
        if way != Way::Out {
            self.cluster.proxy(datanode - 1).set(Harm::Stall);
        }
        if way != Way::In {
            self.cluster.uplink(datanode - 1).set(Harm::Stall);
        }
        Ok(())
    }

    fn slow(&self, datanode: usize, delay_ms: u64) -> Result<(), String> {
        self.cluster.proxy(datanode - 1).set(Harm::Delay(Duration::from_millis(delay_ms)));
        Ok(())
    }

    fn join(&self, datanode: usize) -> Result<(), String> {
        self.cluster.proxy(datanode - 1).set(Harm::None);
        self.cluster.uplink(datanode - 1).set(Harm::None);
        Ok(())
    }

    fn fill(&self, datanode: usize) -> Result<(), String> {
        fill(&self.filler(datanode)?)
    }

    fn empty(&self, datanode: usize) -> Result<(), String> {
        let filler = self.filler(datanode)?;
        match filler.exists() {
            true => fs::remove_file(&filler).map_err(of_file(&filler)),
            false => Ok(()),
        }
    }

    fn spoil(&self, datanode: usize, chunk: ChunkId) -> Result<(), String> {
        let file = self.cluster.chunk_file(self.node(Member::Datanode(datanode)), chunk);
        flip(&file.ok_or_else(|| format!("datanode{datanode} has no file of chunk {chunk}"))?)
    }

    fn revive(&self) -> Vec<String> {
        let away = self.away();
        let all = (0..=self.cluster.datanodes().len()).map(|number| match number {
            0 => Member::Coordinator,
            number => Member::Datanode(number),
        });
        let ended = all.filter(|member| !away.contains(member) && !self.node(*member).runs());
        let ended: Vec<_> = ended.collect();
        ended.iter().for_each(|member| self.node(*member).start());
        ended.iter().map(Member::to_string).collect()
    }

    fn panics(&self) -> Vec<String> {
        self.cluster.panics()
    }

    fn logs(&self) -> String {
        self.cluster.log_tails(LOG_LINES)
    }
}
