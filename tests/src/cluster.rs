//! A cluster of real processes on loopback: one coordinator, any number of datanodes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use dfs_client::{ChunkId, Client, ClientConfig, DfsPath, NodeId, metadata::FsckProblem};
use serde_json::Value;

use crate::{
    binaries::{Binaries, Variant, binaries},
    certificates::{TestAuthority, identity},
    dfsctl::Dfsctl,
    logs::LogWatch,
    node::{NodeHandle, Recipe},
    peer::{PeerLink, client_hello},
    ports::free_port,
    proxy::FaultProxy,
    wait::wait_until,
};

/// How a cluster is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// Configuration of every node, `section.key` and value; later ones win.
    pub set: Vec<(String, String)>,
    /// Where the data directories are made; `None` = in the cluster's temporary directory.
    pub data: Option<PathBuf>,
    /// The data directory of each datanode instead, in order.
    pub datanode_dirs: Vec<PathBuf>,
    /// Which build.
    pub variant: Variant,
    /// Puts a [`FaultProxy`] in front of each datanode.
    pub proxied: bool,
    /// Each datanode reaches the coordinator through a [`FaultProxy`] of its own.
    pub uplinks: bool,
    /// The address that all nodes listen on.
    pub host: &'static str,
    /// Who believes whom.
    pub trust: Trust,
}

/// Who believes whom in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Whom the cluster's own authority certified: as it is where nobody says.
    Cluster,
    /// Whom an authority of the test certified, and this is `security.mode`; if that is not off, clients have a certificate, too.
    Own(&'static str),
    /// Everybody, for nothing is secured: for tests that speak for themselves.
    Everybody,
}

impl Default for Options {
    fn default() -> Self {
        let fast = [
            ("cluster.heartbeat_interval", "500ms"),
            ("cluster.suspect_after", "5s"),
            ("cluster.down_after", "10s"),
            ("cluster.chunk_size", "256KiB"),
            ("cluster.gc_interval", "1s"),
            ("memory.limit", "64MiB"),
        ];
        let set = fast.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        Self {
            set,
            data: None,
            datanode_dirs: vec![],
            variant: Variant::Plain,
            proxied: false,
            uplinks: false,
            host: "127.0.0.1",
            trust: Trust::Cluster,
        }
    }
}

impl Options {
    /// As by default, but nothing is secured: for tests that speak for themselves, or start nodes beside the cluster's own.
    pub fn plain() -> Self {
        Self { trust: Trust::Everybody, ..Self::default() }
    }

    /// Sets a configuration key on every node.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.set.push((key.to_owned(), value.to_owned()));
        self
    }
}

/// A running cluster. Ends all its processes when dropped, and fails the test then if their logs hold alarms.
pub struct Cluster {
    coordinator: NodeHandle,
    datanodes: Vec<NodeHandle>,
    proxies: Vec<FaultProxy>,
    uplinks: Vec<FaultProxy>,
    binaries: &'static Binaries,
    logs: LogWatch,
    authority: TestAuthority,
    /// The identity of its clients, if it is secured from the beginning.
    user: Option<PathBuf>,
    // Last: the processes end before their directory goes.
    home: tempfile::TempDir,
}

/// Gives a node a certificate. Who it is it knows only once it has a directory: it says so when it is shown another's.
fn certify(recipe: &mut Recipe, mode: &str, authority: &TestAuthority) {
    let dir = authority.issue(&recipe.name, &["nobody.user.dfs.internal".to_owned()]);
    let file = |name: &str| dir.join(name).display().to_string();
    let settings = [
        ("ca", file("ca.pem")),
        ("certificate", file("certificate.pem")),
        ("key", file("key.pem")),
        ("mode", mode.to_owned()),
    ];
    recipe.args.extend(
        settings.iter().flat_map(|(key, value)| ["--set".to_owned(), format!("security.{key}={value}")]),
    );
    let output = recipe.command().args(["--set", "security.mode=required"]).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let names =
        said.split_once("has to have the names ").and_then(|(_, rest)| rest.split_once(", and the extended"));
    let (names, _) = names.unwrap_or_else(|| panic!("{} does not say who it is: {said}", recipe.name));
    let names: Vec<_> = names.split(" and ").map(str::to_owned).collect();
    authority.issue(&recipe.name, &names);
}

/// Has the nodes believe whom they are to believe; gives the identity of clients where that is made before the nodes.
fn secure(
    trust: Trust,
    coordinator: &mut Recipe,
    datanodes: &mut [Recipe],
    authority: &TestAuthority,
) -> Option<PathBuf> {
    if trust == Trust::Cluster {
        invite(coordinator, datanodes);
        return None;
    }
    let all = datanodes.iter_mut().chain([coordinator]);
    match trust {
        Trust::Own(mode) => {
            all.for_each(|recipe| certify(recipe, mode, authority));
            (mode != "off").then(|| authority.user("tester"))
        }
        Trust::Cluster | Trust::Everybody => {
            all.for_each(|recipe| recipe.args.push("--insecure".to_owned()));
            None
        }
    }
}

/// Has the coordinator keep a join token for each datanode.
fn invite(coordinator: &mut Recipe, datanodes: &mut [Recipe]) {
    let set = |recipe: &mut Recipe, key: &str, value: String| {
        recipe.args.extend(["--set".to_owned(), format!("security.{key}={value}")]);
    };
    let names: Vec<_> = datanodes.iter().map(|recipe| recipe.name.clone()).collect();
    set(coordinator, "invite", names.join(","));
    let invitations = coordinator.keys().join("invitations");
    for recipe in datanodes {
        set(recipe, "join_token_file", invitations.join(&recipe.name).display().to_string());
    }
}

/// An identity for the tests, made as an operator makes his first one.
fn operator(coordinator: &NodeHandle, home: &Path) -> PathBuf {
    coordinator.wait_ready();
    let dir = home.join("operator");
    let out = dir.to_str().expect("text");
    let said = coordinator.command().args(["init-admin", "--user", "tester", "--out", out]).output();
    let said = said.expect("it runs");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    dir
}

impl Cluster {
    /// Starts a coordinator and `datanodes` datanodes, and waits until all of them are up.
    pub fn start(datanodes: usize, options: Options) -> Self {
        let binaries = binaries(options.variant);
        let home = tempfile::tempdir().expect("a temporary directory");
        let base = options.data.clone().unwrap_or_else(|| home.path().join("data"));
        let mut logs = LogWatch::default();
        let host = options.host;
        let coordinator_address = format!("{host}:{}", free_port());
        let mut recipe = |name: &str, role: &'static str, address: String, up: &str, data_dir: PathBuf| {
            let admin = format!("127.0.0.1:{}", free_port());
            let mut args = vec!["--coordinator".to_owned(), up.to_owned()];
            let port = admin.rsplit(':').next().unwrap_or_default();
            args.extend(["--set".to_owned(), format!("admin.port={port}")]);
            args.extend(
                options.set.iter().flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]),
            );
            fs::create_dir_all(&data_dir).expect("a data directory");
            let log = home.path().join(format!("{name}.log"));
            logs.watch(&log);
            Recipe {
                binary: binaries.node.clone(),
                name: name.to_owned(),
                role,
                data_dir,
                log,
                address,
                admin,
                args,
            }
        };
        let up = coordinator_address.as_str();
        let mut first = recipe("coordinator", "coordinator", up.to_owned(), up, base.join("coordinator"));
        let (mut recipes, mut proxies, mut uplinks) = (vec![], vec![], vec![]);
        for index in 0..datanodes {
            let name = format!("dn{}", index + 1);
            let dir = options.datanode_dirs.get(index).cloned().unwrap_or_else(|| base.join(&name));
            uplinks.extend(options.uplinks.then(|| FaultProxy::start(up)));
            let up = uplinks.last().map_or(up, FaultProxy::address);
            let mut recipe = recipe(&name, "datanode", format!("{host}:{}", free_port()), up, dir);
            if options.proxied {
                let proxy = FaultProxy::start(&recipe.address);
                recipe.args.extend(["--set".to_owned(), format!("node.advertise={}", proxy.address())]);
                proxies.push(proxy);
            }
            recipes.push(recipe);
        }
        let authority = TestAuthority::new(home.path().join("certificates"));
        let own = secure(options.trust, &mut first, &mut recipes, &authority);
        let coordinator = NodeHandle::start_new(first);
        let user = match options.trust {
            Trust::Cluster => Some(operator(&coordinator, home.path())),
            Trust::Own(_) | Trust::Everybody => own,
        };
        let datanodes = recipes.into_iter().map(NodeHandle::start_new).collect();
        let cluster =
            Self { coordinator, datanodes, proxies, uplinks, binaries, logs, authority, user, home };
        cluster.wait_for_nodes();
        cluster
    }

    /// Waits until every node whose process runs is ready, and the coordinator has heard of this run of it and calls it
    /// up, and calls no other so.
    #[track_caller]
    pub fn wait_for_nodes(&self) {
        for node in self.nodes().filter(|node| node.runs()) {
            node.wait_ready();
        }
        let wanted = self.datanodes.iter().filter(|node| node.runs()).count();
        wait_until(&format!("{wanted} datanodes up"), || {
            let said = self.dfsctl(&["-o", "json", "nodes"]).run();
            let nodes: Value = serde_json::from_slice(&said.stdout).unwrap_or_default();
            let up = |node: &Value| node["state"] == "up";
            nodes["nodes"]
                .as_array()
                .is_some_and(|nodes| nodes.iter().filter(|node| up(node)).count() == wanted)
        });
    }

    /// The coordinator.
    pub fn coordinator(&self) -> &NodeHandle {
        &self.coordinator
    }

    /// A datanode, from 0.
    pub fn datanode(&self, index: usize) -> &NodeHandle {
        &self.datanodes[index]
    }

    /// All datanodes.
    pub fn datanodes(&self) -> &[NodeHandle] {
        &self.datanodes
    }

    /// All nodes, the coordinator first.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeHandle> {
        std::iter::once(&self.coordinator).chain(&self.datanodes)
    }

    /// The datanode of this name.
    #[track_caller]
    pub fn named(&self, name: &str) -> &NodeHandle {
        self.datanodes.iter().find(|node| node.name() == name).unwrap_or_else(|| panic!("no datanode {name}"))
    }

    /// The proxy in front of a datanode, if the cluster was started with proxies.
    pub fn proxy(&self, index: usize) -> &FaultProxy {
        &self.proxies[index]
    }

    /// The proxy through which a datanode reaches the coordinator, if the cluster was started with those.
    pub fn uplink(&self, index: usize) -> &FaultProxy {
        &self.uplinks[index]
    }

    /// A directory for the files of the test; `dfsctl` runs in it.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// What the logs may hold.
    pub fn logs(&mut self) -> &mut LogWatch {
        &mut self.logs
    }

    /// The last lines of every log.
    pub fn log_tails(&self, lines: usize) -> String {
        self.logs.tails(lines)
    }

    /// Panics in the logs that nobody ordered.
    pub fn panics(&self) -> Vec<String> {
        self.logs.panics()
    }

    /// The binaries it runs.
    pub fn binaries(&self) -> &'static Binaries {
        self.binaries
    }

    /// The directory with the identity of its clients, if it is secured.
    pub fn user(&self) -> Option<&Path> {
        self.user.as_deref()
    }

    /// A configuration for clients of this cluster.
    pub fn config(&self) -> ClientConfig {
        let tls = self.user.as_deref().map(identity);
        ClientConfig { agent: "dfs-tests".to_owned(), tls, ..ClientConfig::new([self.coordinator.address()]) }
    }

    /// A connected client.
    pub async fn client(&self) -> Client {
        self.client_with(self.config()).await
    }

    /// A connected client with a configuration of its own.
    pub async fn client_with(&self, config: ClientConfig) -> Client {
        Client::connect(config).await.unwrap_or_else(|error| panic!("connect: {error:?}"))
    }

    /// A connection to a node that speaks the protocol request by request, as a client of this cluster.
    pub async fn peer(&self, address: &str) -> PeerLink {
        match self.user.as_deref().map(identity) {
            Some(tls) => PeerLink::secured(address, &tls, &client_hello())
                .await
                .unwrap_or_else(|error| panic!("{address}: {error}")),
            None => PeerLink::connect(address).await,
        }
    }

    /// `dfsctl` with this cluster as its endpoint, in [`Self::home`].
    pub fn dfsctl(&self, args: &[&str]) -> Dfsctl {
        let dfsctl = Dfsctl::new(self.binaries, self.home(), Some(self.coordinator.address()), args);
        match &self.user {
            Some(dir) => dfsctl.env("DFS_IDENTITY", dir.to_str().expect("text")),
            None => dfsctl,
        }
    }

    /// The id of a datanode.
    pub fn node_id(&self, index: usize) -> NodeId {
        let nodes = self.dfsctl(&["-o", "json", "nodes"]).run().ok().json();
        let name = self.datanode(index).name();
        let found = nodes["nodes"].as_array().and_then(|all| all.iter().find(|node| node["name"] == name));
        let id = found.and_then(|node| node["id"].as_str()).and_then(|id| id.parse().ok());
        id.unwrap_or_else(|| panic!("{name} is not in {nodes}"))
    }

    /// Who signs the certificates of a secured cluster.
    pub fn authority(&self) -> &TestAuthority {
        &self.authority
    }

    /// Writes a file into [`Self::home`].
    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.home().join(name);
        fs::write(&path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Runs `dfsctl`, which must succeed; gives its standard output.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        self.dfsctl(args).run().ok().text()
    }

    /// The exit code of a `dfsctl` that may fail, and what it said on standard error.
    #[track_caller]
    pub fn code(&self, args: &[&str]) -> (i32, String) {
        let said = self.dfsctl(args).run();
        (said.code, said.stderr)
    }

    /// The chunks of a file as `dfsctl verify` saw them, which reads every copy of each, and its exit code.
    #[track_caller]
    pub fn verified(&self, path: &str) -> (i32, Vec<Value>) {
        let said = self.dfsctl(&["-o", "json", "verify", path]).run();
        let answer = said.json();
        let chunks = answer["files"][0]["chunks"].as_array().cloned();
        (said.code, chunks.unwrap_or_else(|| panic!("no chunks in {answer}\n{}", said.stderr)))
    }

    /// SIGKILL to everything, as fast as it goes.
    pub fn kill_all(&self) {
        self.nodes().for_each(NodeHandle::kill);
    }

    /// Starts everything that does not run, and waits until it is up.
    #[track_caller]
    pub fn start_all(&self) {
        self.nodes().filter(|node| !node.runs()).for_each(NodeHandle::start);
        self.wait_for_nodes();
    }

    /// The file of a chunk on a datanode.
    pub fn chunk_file(&self, node: &NodeHandle, chunk: ChunkId) -> Option<PathBuf> {
        let id = chunk.to_string();
        let named =
            |file: &PathBuf| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&id));
        node.chunk_files().into_iter().find(named)
    }

    /// Everything `fsck` finds wrong.
    pub async fn fsck(&self, client: &Client) -> Vec<FsckProblem> {
        let (mut cursor, mut problems) = (None, vec![]);
        loop {
            let step = client.fsck_step(cursor).await.unwrap_or_else(|error| panic!("fsck: {error:?}"));
            problems.extend(step.problems);
            cursor = step.next;
            if cursor.is_none() {
                return problems;
            }
        }
    }

    /// The bytes of a file, read to the end and verified by the client.
    pub async fn read(&self, client: &Client, path: &DfsPath) -> Result<Vec<u8>, dfs_client::Error> {
        let mut bytes = vec![];
        client.get_to_writer(path, &mut bytes, dfs_client::GetOptions::default()).await?;
        Ok(bytes)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill_all();
        if std::thread::panicking() {
            eprintln!("{}", self.logs.tails(60));
            return;
        }
        let complaints = self.logs.complaints();
        assert!(complaints.is_empty(), "the logs hold alarms:\n{}", complaints.join("\n"));
    }
}
