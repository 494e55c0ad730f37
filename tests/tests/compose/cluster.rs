//! A cluster in containers under a project name, a subnet and a port of its own, and the `dfsctl` to speak to it.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use serde_json::Value;

/// Datanodes of `compose/cluster.yml`.
pub(crate) const DATANODES: u64 = 6;
/// Patience with the whole cluster.
const READY_TIMEOUT: Duration = Duration::from_secs(120);
const IMAGE: &str = "dfs:suite";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the repository").to_path_buf()
}

/// Runs a command to its end; a failure ends the test with everything it said.
#[track_caller]
fn run(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    output
}

fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).output().is_ok_and(|output| output.status.success())
}

/// The `dfsctl` of the image under test, which is built once per run of the suite unless DFS_PREBUILT says that it
/// was. An engine that does not answer is a failure.
fn built() -> &'static Path {
    static DFSCTL: OnceLock<PathBuf> = OnceLock::new();
    DFSCTL.get_or_init(|| {
        run(Command::new("docker").arg("info"));
        let profile = std::env::var("DFS_PROFILE").unwrap_or_else(|_| "release".to_owned());
        if std::env::var_os("DFS_PREBUILT").is_none() {
            let mut build = Command::new(root().join("compose/build.sh"));
            run(build.env("DFS_PROFILE", &profile).env("DFS_IMAGE", IMAGE));
        }
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
        let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let dfsctl = root().join(target).join(triple).join(profile).join("dfsctl");
        assert!(dfsctl.exists(), "{} was built", dfsctl.display());
        dfsctl
    })
}

/// A running cluster; taken down, with its volumes, when dropped.
pub(crate) struct Cluster {
    project: String,
    subnet: String,
    port: u16,
    dfsctl: &'static Path,
    home: tempfile::TempDir,
}

impl Cluster {
    /// Brings a cluster up and waits until all its nodes are.
    pub(crate) fn up(name: &str) -> Self {
        let dfsctl = built();
        let free =
            TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port");
        let cluster = Self {
            project: format!("dfs-{name}-{}", std::process::id()),
            // Somewhere in 172.29, so that a run does not meet what another left behind.
            subnet: format!("172.29.{}", 64 + u32::from(free.port()) % 128),
            port: free.port(),
            dfsctl,
            home: tempfile::tempdir().expect("a temporary directory"),
        };
        run(cluster.compose().args(["up", "-d", "--no-build"]));
        cluster.wait_for_nodes(DATANODES);
        cluster
    }

    /// `docker compose`, or `docker-compose` where that is what there is, for this cluster.
    fn compose(&self) -> Command {
        static PLUGIN: OnceLock<bool> = OnceLock::new();
        let plugin = *PLUGIN.get_or_init(|| succeeds(Command::new("docker").args(["compose", "version"])));
        let mut command = Command::new(if plugin { "docker" } else { "docker-compose" });
        if plugin {
            command.arg("compose");
        }
        command.arg("-f").arg(root().join("compose/cluster.yml")).args(["-p", &self.project]);
        command
            .env("DFS_IMAGE", IMAGE)
            .env("DFS_SUBNET", &self.subnet)
            .env("DFS_PORT", self.port.to_string());
        command
    }

    /// A directory for the files of the test.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// `dfsctl` with this cluster as its endpoint.
    pub(crate) fn dfsctl(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.dfsctl);
        command.args(args).current_dir(self.home()).env("DFS_ENDPOINT", format!("127.0.0.1:{}", self.port));
        command
    }

    /// Runs `dfsctl`, which must succeed; gives its standard output.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        String::from_utf8(run(&mut self.dfsctl(args)).stdout).expect("UTF-8")
    }

    /// Runs `dfsctl -o json`, which must succeed.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let text = self.ok(&[&["-o", "json"], args].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error} in {text}"))
    }

    /// The exit code of a `dfsctl` that may fail.
    #[track_caller]
    pub(crate) fn exit_code(&self, args: &[&str]) -> i32 {
        let output = self.dfsctl(args).stdin(Stdio::null()).output().expect("dfsctl starts");
        output.status.code().expect("an exit code, not a signal")
    }

    /// Starts `dfsctl` with pipes, for something to happen in the middle.
    pub(crate) fn start(&self, args: &[&str]) -> Child {
        let mut command = self.dfsctl(args);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("dfsctl starts")
    }

    /// SIGKILL to a container's process.
    pub(crate) fn kill(&self, service: &str) {
        run(self.compose().args(["kill", "-s", "SIGKILL", service]));
    }

    /// Starts a container that was stopped or killed.
    pub(crate) fn revive(&self, service: &str) {
        run(self.compose().args(["start", service]));
    }

    /// Stops a container in order and starts it again.
    pub(crate) fn restart(&self, service: &str) {
        run(self.compose().args(["restart", "-t", "35", service]));
    }

    /// Waits until the coordinator counts so many datanodes as up.
    pub(crate) fn wait_for_nodes(&self, wanted: u64) {
        let deadline = Instant::now() + READY_TIMEOUT;
        let mut last;
        loop {
            let output =
                self.dfsctl(&["-o", "json", "status"]).stdin(Stdio::null()).output().expect("dfsctl starts");
            last = format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            if status["nodes_up"].as_u64() == Some(wanted) {
                return;
            }
            assert!(Instant::now() < deadline, "{wanted} datanodes were not up in time; status said: {last}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Waits until the engine calls every container healthy: the health check of the image works in it.
    pub(crate) fn wait_for_health(&self) {
        let ids = String::from_utf8(run(self.compose().args(["ps", "-q"])).stdout).expect("UTF-8");
        let deadline = Instant::now() + READY_TIMEOUT;
        for id in ids.split_whitespace() {
            let health = || {
                let output = run(Command::new("docker").args([
                    "inspect",
                    "-f",
                    "{{.Name}} {{.State.Health.Status}}",
                    id,
                ]));
                String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
            };
            while !health().ends_with(" healthy") {
                assert!(Instant::now() < deadline, "{}", health());
                std::thread::sleep(Duration::from_millis(500));
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = self.compose().args(["logs", "--no-color", "--tail", "60"]).output();
            eprintln!(
                "{}",
                logs.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
            );
        }
        let down = self.compose().args(["down", "-v", "-t", "1"]).output();
        if !down.is_ok_and(|output| output.status.success()) {
            eprintln!("the project {} could not be taken down", self.project);
        }
    }
}
