//! A cluster in containers, as a ground for chaos: `compose/cluster.yml` with nodes that can be told to fail.
//!
//! Files of volumes and the network of a container are reached from the host, as root: the image has no shell.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::Command,
    sync::{Mutex, PoisonError},
};

use dfs_client::ChunkId;
use serde_json::{Map, Value, json};

use super::CHAOS_TOKEN;
use super::fault::Way;
use super::ground::{Ground, Member};
use super::local::{clear, fill, flip};
use super::scenario::Scenario;
use crate::docker::{Image, Project, docker, said};
use crate::logs::panics_in;
use crate::{chunk_files_below, wait_until};

/// The image of nodes that can be told to fail.
const IMAGE: &str = "dfs:chaos";
/// Lines of each log that a failure shows.
const LOG_LINES: usize = 40;
/// Where the coordinator and the datanodes listen.
const PORTS: (u16, u16) = (8080, 8081);
/// The table of rules that hurt a container's lines.
const TABLE: &str = "dfs_chaos";

/// Containers on a network of their own.
pub(super) struct Compose {
    project: Project,
    /// The containers: they stay the same through all starts.
    ids: BTreeMap<Member, String>,
    /// How often the engine had started each again when it was last asked.
    restarts: Mutex<BTreeMap<Member, u64>>,
    // What `compose` reads beside the file of the repository.
    _home: tempfile::TempDir,
}

impl Compose {
    /// Builds the image if need be, brings the cluster of a scenario up and waits until it answers.
    ///
    /// # Panics
    /// If that fails.
    pub(super) fn start(scenario: &Scenario) -> Self {
        Self::bring_up(scenario).unwrap_or_else(|why| panic!("{why}"))
    }

    fn bring_up(scenario: &Scenario) -> Result<Self, String> {
        let image = Image::build(IMAGE, "chaos")?;
        let home = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut project = Project::new("chaos", &image)?;
        let file = home.path().join("scenario.yml");
        // JSON is YAML.
        let text = on_top(scenario).to_string();
        std::fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
        project.add(&file);
        let all = members(scenario.topology.datanodes);
        let services: Vec<String> = all.iter().map(Member::to_string).collect();
        let services: Vec<&str> = services.iter().map(String::as_str).collect();
        project.run(&[&["up", "-d", "--no-build"], services.as_slice()].concat())?;
        let id = |member: &Member| Ok((*member, project.container(&member.to_string())?));
        let ids = all.iter().map(id).collect::<Result<_, String>>()?;
        let cluster = Self { project, ids, restarts: Mutex::default(), _home: home };
        let wanted = scenario.topology.datanodes as u64;
        wait_until("all containers are up", || {
            let mut ask = Command::new(&image.dfsctl);
            ask.args(["-o", "json", "status"]).env("DFS_ENDPOINT", cluster.endpoint());
            ask.env("DFS_IDENTITY", cluster.project.operator().unwrap_or_default());
            let status: Value =
                said(&mut ask).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
            status["nodes_up"].as_u64() == Some(wanted)
        });
        Ok(cluster)
    }

    fn id(&self, node: Member) -> Result<&str, String> {
        self.ids.get(&node).map(String::as_str).ok_or_else(|| format!("there is no {node}"))
    }

    fn network(&self) -> String {
        format!("{}_dfs", self.project.name())
    }

    fn ip(&self, node: Member) -> String {
        let last = match node {
            Member::Coordinator => 10,
            Member::Datanode(number) => 10 + number,
        };
        format!("{}.{last}", self.project.subnet())
    }

    /// Where the data directory of a datanode is on this machine.
    fn volume(&self, datanode: usize) -> Result<PathBuf, String> {
        let volume = format!("{}_datanode{datanode}", self.project.name());
        Ok(docker(&["volume", "inspect", "-f", "{{.Mountpoint}}", &volume])?.trim().into())
    }

    /// Rules for the packets of a datanode's container, in place of what was there.
    fn rule(&self, datanode: usize, rules: &[String]) -> Result<(), String> {
        let id = self.id(Member::Datanode(datanode))?;
        let pid = docker(&["inspect", "-f", "{{.State.Pid}}", id])?;
        let nft = |text: &str| {
            said(Command::new("nsenter").args(["-t", pid.trim(), "-n", "nft"]).args(text.split_whitespace()))
        };
        nft(&format!("add table inet {TABLE}"))?;
        nft(&format!("flush table inet {TABLE}"))?;
        for chain in ["input", "output"] {
            nft(&format!("add chain inet {TABLE} {chain} {{ type filter hook {chain} priority 0 ; }}"))?;
        }
        rules.iter().try_for_each(|rule| nft(&format!("add rule inet {TABLE} {rule}")).map(drop))
    }

    fn is_connected(&self, id: &str) -> Result<bool, String> {
        let networks = docker(&["inspect", "-f", "{{json .NetworkSettings.Networks}}", id])?;
        Ok(networks.contains(&self.network()))
    }

    fn is(&self, node: Member, state: &str) -> Result<bool, String> {
        let found = docker(&["inspect", "-f", "{{.State.Status}}", self.id(node)?])?;
        Ok(found.trim() == state)
    }
}

fn members(datanodes: usize) -> Vec<Member> {
    std::iter::once(Member::Coordinator).chain((1..=datanodes).map(Member::Datanode)).collect()
}

/// What goes on top of the cluster's file: settings, and disks of a size.
fn on_top(scenario: &Scenario) -> Value {
    let topology = &scenario.topology;
    let variable = |(key, value): (&String, &String)| {
        (format!("DFS_{}", key.replace('.', "__").to_uppercase()), json!(value))
    };
    let mut environment: Map<String, Value> = topology.set.iter().map(variable).collect();
    environment.insert("DFS_CHAOS__ENABLED".to_owned(), json!("true"));
    environment.insert("DFS_CHAOS__TOKEN".to_owned(), json!(CHAOS_TOKEN));
    let service = |member: &Member| (member.to_string(), json!({ "environment": environment.clone() }));
    let services: Map<String, Value> = members(topology.datanodes).iter().map(service).collect();
    let mut whole = json!({ "services": services });
    if let Some(size) = topology.disk {
        let options = json!({ "type": "tmpfs", "device": "tmpfs", "o": format!("size={},uid=65532,gid=65532", size.0) });
        let volume = |number: usize| (format!("datanode{number}"), json!({ "driver_opts": options.clone() }));
        whole["volumes"] = Value::Object((1..=topology.datanodes).map(volume).collect());
    }
    whole
}

impl Ground for Compose {
    fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.project.port())
    }

    fn identity(&self) -> PathBuf {
        self.project.operator().unwrap_or_default()
    }

    fn address(&self, node: Member) -> String {
        let port = if node == Member::Coordinator { PORTS.0 } else { PORTS.1 };
        format!("{}:{port}", self.ip(node))
    }

    fn kill(&self, node: Member) -> Result<(), String> {
        match self.is(node, "running")? || self.is(node, "paused")? {
            true => docker(&["kill", "-s", "KILL", self.id(node)?]).map(drop),
            false => Ok(()),
        }
    }

    fn stop(&self, node: Member) -> Result<(), String> {
        docker(&["stop", "-t", "35", self.id(node)?]).map(drop)
    }

    fn start(&self, node: Member) -> Result<(), String> {
        docker(&["start", self.id(node)?]).map(drop)
    }

    fn pause(&self, node: Member) -> Result<(), String> {
        match self.is(node, "running")? {
            true => docker(&["pause", self.id(node)?]).map(drop),
            false => Ok(()),
        }
    }

    fn resume(&self, node: Member) -> Result<(), String> {
        match self.is(node, "paused")? {
            true => docker(&["unpause", self.id(node)?]).map(drop),
            false => Ok(()),
        }
    }

    fn wipe(&self, datanode: usize) -> Result<(), String> {
        self.kill(Member::Datanode(datanode))?;
        clear(&self.volume(datanode)?)
    }

    fn cut(&self, datanode: usize, way: Way) -> Result<(), String> {
        let coordinator = self.ip(Member::Coordinator);
        match way {
            Way::Both => {
                let id = self.id(Member::Datanode(datanode))?;
                docker(&["network", "disconnect", "-f", &self.network(), id]).map(drop)
            }
            Way::In => self.rule(datanode, &[format!("input tcp dport {} drop", PORTS.1)]),
            Way::Out => {
                self.rule(datanode, &[format!("output ip daddr {coordinator} tcp dport {} drop", PORTS.0)])
            }
        }
    }

    fn slow(&self, datanode: usize, delay_ms: u64) -> Result<(), String> {
        // The kernels of containers do not delay: what comes is thinned out to the rate that the proxy's delay makes.
        let rate = 64 * 1000 / delay_ms.max(1);
        let rule = format!("input tcp dport {} limit rate over {} kbytes/second drop", PORTS.1, rate.max(1));
        self.rule(datanode, &[rule])
    }

    fn join(&self, datanode: usize) -> Result<(), String> {
        let node = Member::Datanode(datanode);
        let id = self.id(node)?;
        if self.is_connected(id)? {
            return self.rule(datanode, &[]);
        }
        let (ip, alias) = (self.ip(node), node.to_string());
        docker(&["network", "connect", "--ip", &ip, "--alias", &alias, &self.network(), id]).map(drop)
    }

    fn fill(&self, datanode: usize) -> Result<(), String> {
        fill(&self.volume(datanode)?.join("filler"))
    }

    fn empty(&self, datanode: usize) -> Result<(), String> {
        let filler = self.volume(datanode)?.join("filler");
        match filler.exists() {
            true => std::fs::remove_file(&filler).map_err(|error| format!("{}: {error}", filler.display())),
            false => Ok(()),
        }
    }

    fn spoil(&self, datanode: usize, chunk: ChunkId) -> Result<(), String> {
        let id = chunk.to_string();
        let files = chunk_files_below(&self.volume(datanode)?);
        let named =
            |file: &&PathBuf| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&id));
        flip(
            files
                .iter()
                .find(named)
                .ok_or_else(|| format!("datanode{datanode} has no file of chunk {id}"))?,
        )
    }

    fn revive(&self) -> Vec<String> {
        let ids: Vec<&str> = self.ids.values().map(String::as_str).collect();
        let counts = docker(&[&["inspect", "-f", "{{.RestartCount}}"], ids.as_slice()].concat());
        let counts = counts.unwrap_or_default();
        let mut known = self.restarts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut told = vec![];
        for (node, count) in self.ids.keys().zip(counts.lines().filter_map(|line| line.parse::<u64>().ok())) {
            let before = known.insert(*node, count).unwrap_or(0);
            told.extend((before < count).then(|| node.to_string()));
        }
        told
    }

    fn panics(&self) -> Vec<String> {
        let told = |id: &String| {
            // What nodes log goes to standard error.
            let output = Command::new("docker").args(["logs", id]).output();
            output.map(|output| panics_in(&String::from_utf8_lossy(&output.stderr))).unwrap_or_default()
        };
        let all = self
            .ids
            .iter()
            .flat_map(|(node, id)| told(id).into_iter().map(move |line| format!("{node}: {line}")));
        all.collect()
    }

    fn logs(&self) -> String {
        self.project.logs(LOG_LINES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_and_disks_of_a_scenario_go_on_top_of_the_cluster() {
        let text =
            crate::chaos::scenario::tests::SAMPLE.replace("datanodes: 4", "datanodes: 2\n  disk: 1MiB");
        let whole = on_top(&Scenario::parse("sample", &text).expect("a scenario"));
        assert_eq!(whole["services"].as_object().map(Map::len), Some(3));
        let environment = &whole["services"]["datanode2"]["environment"];
        assert_eq!(environment["DFS_CLUSTER__DOWN_AFTER"], "6s");
        assert_eq!(environment["DFS_CHAOS__ENABLED"], "true");
        assert_eq!(whole["volumes"]["datanode2"]["driver_opts"]["o"], "size=1048576,uid=65532,gid=65532");
    }
}
