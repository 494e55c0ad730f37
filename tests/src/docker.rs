//! The container engine, through its command line: `docker compose`, or `docker-compose` 1.29 where that is what there is.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_path_buf()
}

/// Runs a command to its end; gives what it printed.
///
/// # Errors
/// That it does not start or does not succeed, with everything it said.
pub fn said(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => {
            let (out, err) = (text(&output.stdout), text(&output.stderr));
            Err(format!("{command:?}: {}\n{out}{err}", output.status))
        }
    }
}

/// Runs `docker`.
///
/// # Errors
/// As [`said`].
pub fn docker(args: &[&str]) -> Result<String, String> {
    said(Command::new("docker").args(args))
}

/// An image of the nodes, and the `dfsctl` that was built with it.
#[derive(Clone, Debug)]
pub struct Image {
    /// The name that the engine knows it by.
    pub name: String,
    /// The command line of the same build, for this machine.
    pub dfsctl: PathBuf,
}

impl Image {
    /// Builds it, unless `DFS_PREBUILT` says that it was. `DFS_PROFILE` is the profile of cargo, `release` unless it is set.
    ///
    /// # Errors
    /// The engine does not answer, or the build fails.
    pub fn build(name: &str, features: &str) -> Result<Self, String> {
        docker(&["info"])?;
        let profile = std::env::var("DFS_PROFILE").unwrap_or_else(|_| "release".to_owned());
        if std::env::var_os("DFS_PREBUILT").is_none() {
            let mut build = Command::new(root().join("compose/build.sh"));
            build.env("DFS_PROFILE", &profile).env("DFS_FEATURES", features).env("DFS_IMAGE", name);
            said(&mut build)?;
        }
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
        let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let dfsctl = root().join(target).join(triple).join(profile).join("dfsctl");
        match dfsctl.exists() {
            true => Ok(Self { name: name.to_owned(), dfsctl }),
            false => Err(format!("{} was not built", dfsctl.display())),
        }
    }
}

/// A cluster of `compose/cluster.yml` under a project name, a subnet and a port of its own.
#[derive(Debug)]
pub struct Project {
    name: String,
    image: String,
    subnet: String,
    port: u16,
    files: Vec<PathBuf>,
}

impl Project {
    /// One that is not up yet.
    ///
    /// # Errors
    /// No port is free.
    pub fn new(name: &str, image: &Image) -> Result<Self, String> {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let port = free.map_err(|error| format!("no free port: {error}"))?.port();
        Ok(Self {
            name: format!("dfs-{name}-{}", std::process::id()),
            image: image.name.clone(),
            // Somewhere in 172.29, so that a run does not meet what another left behind.
            subnet: format!("172.29.{}", 64 + u32::from(port) % 128),
            port,
            files: vec![root().join("compose/cluster.yml")],
        })
    }

    /// Puts another file on top.
    pub fn add(&mut self, file: &Path) {
        self.files.push(file.to_owned());
    }

    /// Its name, which containers, networks and volumes begin with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Port of the coordinator on this machine's loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// First three numbers of its addresses.
    pub fn subnet(&self) -> &str {
        &self.subnet
    }

    /// `docker compose` or `docker-compose` for it.
    pub fn compose(&self) -> Command {
        static PLUGIN: OnceLock<bool> = OnceLock::new();
        let plugin = *PLUGIN.get_or_init(|| docker(&["compose", "version"]).is_ok());
        let mut command = Command::new(if plugin { "docker" } else { "docker-compose" });
        if plugin {
            command.arg("compose");
        }
        for file in &self.files {
            command.arg("-f").arg(file);
        }
        command.args(["-p", &self.name]);
        command
            .env("DFS_IMAGE", &self.image)
            .env("DFS_SUBNET", &self.subnet)
            .env("DFS_PORT", self.port.to_string());
        command
    }

    /// Runs it with these arguments.
    ///
    /// # Errors
    /// As [`said`].
    pub fn run(&self, args: &[&str]) -> Result<String, String> {
        said(self.compose().args(args))
    }

    /// The id of the container of a service.
    ///
    /// # Errors
    /// As [`said`]; or there is none.
    pub fn container(&self, service: &str) -> Result<String, String> {
        let id = self.run(&["ps", "-q", service])?.trim().to_owned();
        if id.is_empty() { Err(format!("{service} has no container")) } else { Ok(id) }
    }

    /// Where the identity of its operator is on this machine, for root.
    ///
    /// # Errors
    /// As [`said`].
    pub fn operator(&self) -> Result<PathBuf, String> {
        let volume = format!("{}_operator", self.name);
        Ok(docker(&["volume", "inspect", "-f", "{{.Mountpoint}}", &volume])?.trim().into())
    }

    /// The last lines of all logs.
    pub fn logs(&self, lines: usize) -> String {
        let lines = lines.to_string();
        self.run(&["logs", "--no-color", "--tail", &lines]).unwrap_or_else(|why| why)
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if let Err(why) = self.run(&["down", "-v", "-t", "1"]) {
            eprintln!("the project {} could not be taken down: {why}", self.name);
        }
    }
}
