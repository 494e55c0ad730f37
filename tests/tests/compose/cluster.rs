//! A cluster in containers under a project name, a subnet and a port of its own, and the `dfsctl` to speak to it.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use dfs_tests::docker::{Image, Project, said};
use serde_json::Value;

/// Datanodes of `compose/cluster.yml`.
pub(crate) const DATANODES: u64 = 6;
/// Patience with the whole cluster.
const READY_TIMEOUT: Duration = Duration::from_secs(120);

/// Runs a command to its end; a failure ends the test with everything it said.
#[track_caller]
fn run(command: &mut Command) -> String {
    said(command).unwrap_or_else(|why| panic!("{why}"))
}

/// The image under test, which is built once per run of the suite unless DFS_PREBUILT says that it was. An engine that does
/// not answer is a failure.
fn built() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| Image::build("dfs:suite", "").unwrap_or_else(|why| panic!("{why}")))
}

/// A running cluster; taken down, with its volumes, when dropped.
pub(crate) struct Cluster {
    project: Project,
    home: tempfile::TempDir,
}

impl Cluster {
    /// Brings a cluster up and waits until all its nodes are.
    pub(crate) fn up(name: &str) -> Self {
        let project = Project::new(name, built()).unwrap_or_else(|why| panic!("{why}"));
        let cluster = Self { project, home: tempfile::tempdir().expect("a temporary directory") };
        run(cluster.project.compose().args(["up", "-d", "--no-build"]));
        cluster.wait_for_nodes(DATANODES);
        cluster
    }

    /// A directory for the files of the test.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// `dfsctl` with this cluster as its endpoint.
    pub(crate) fn dfsctl(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&built().dfsctl);
        let endpoint = format!("127.0.0.1:{}", self.project.port());
        command.args(args).current_dir(self.home()).env("DFS_ENDPOINT", endpoint);
        command.env("DFS_IDENTITY", self.project.operator().unwrap_or_else(|why| panic!("{why}")));
        command
    }

    /// Runs `dfsctl`, which must succeed; gives its standard output.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        run(&mut self.dfsctl(args))
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
        run(self.project.compose().args(["kill", "-s", "SIGKILL", service]));
    }

    /// Starts a container that was stopped or killed.
    pub(crate) fn revive(&self, service: &str) {
        run(self.project.compose().args(["start", service]));
    }

    /// Stops a container in order and starts it again.
    pub(crate) fn restart(&self, service: &str) {
        run(self.project.compose().args(["restart", "-t", "35", service]));
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
        let ids = run(self.project.compose().args(["ps", "-q"]));
        let deadline = Instant::now() + READY_TIMEOUT;
        for id in ids.split_whitespace() {
            let form = "{{.Name}} {{.State.Health.Status}}";
            let health = || run(Command::new("docker").args(["inspect", "-f", form, id])).trim().to_owned();
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
            eprintln!("{}", self.project.logs(60));
        }
    }
}
