//! One `dfs-node` process: started, signalled, looked at, and ended when its handle goes.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    binaries::{Variant, binaries},
    ports::free_port,
    proc_fs,
    wait::wait_until,
};

/// Names that a developer's shell may hold and that would change a node or a client under test.
const FOREIGN: &[&str] = &[
    "COORDINATOR_HOST",
    "COORDINATOR_PORT",
    "DATANODE_HOST",
    "DATANODE_PORT",
    "LOG_LEVEL",
    "ENVIRONMENT",
    "DISK_STORAGE_BASE_DIR",
];

/// A command that sees none of the developer's settings.
pub(crate) fn clean_command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("DFS_") || FOREIGN.contains(&name.as_ref()) {
            command.env_remove(name.as_ref());
        }
    }
    command
}

/// The committed chunk files in the data directory of a datanode, sorted.
pub fn chunk_files_below(data_dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![data_dir.join("chunks")];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { waiting.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// How to start a node.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub(crate) binary: PathBuf,
    pub(crate) name: String,
    pub(crate) role: &'static str,
    pub(crate) data_dir: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) address: String,
    pub(crate) admin: String,
    pub(crate) args: Vec<String>,
}

/// A node process. It is killed when the handle is dropped.
pub struct NodeHandle {
    recipe: Recipe,
    child: Mutex<Option<Child>>,
}

impl Recipe {
    /// Where its keys lie: beside its data.
    pub(crate) fn keys(&self) -> PathBuf {
        let mut name = self.data_dir.file_name().unwrap_or_default().to_owned();
        name.push(".keys");
        self.data_dir.with_file_name(name)
    }

    /// A command that starts it.
    pub(crate) fn command(&self) -> Command {
        let mut command = clean_command(&self.binary);
        command
            .args(["--role", self.role, "--name", &self.name, "--listen", &self.address])
            .arg("--data")
            .arg(&self.data_dir)
            .args(&self.args)
            .stdin(Stdio::null());
        command
    }
}

impl NodeHandle {
    /// A lone node that is not running yet, in `home`, with more arguments; it believes everybody unless they say otherwise.
    pub fn alone(role: &'static str, home: &Path, args: &[&str]) -> Self {
        let mut all: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let admin = free_port();
        if !args.iter().any(|arg| arg.starts_with("security.")) {
            all.push("--insecure".to_owned());
        }
        all.extend(["--set".to_owned(), format!("admin.port={admin}")]);
        let recipe = Recipe {
            binary: binaries(Variant::Plain).node.clone(),
            name: role.to_owned(),
            role,
            data_dir: home.join(role),
            log: home.join(format!("{role}.log")),
            address: format!("127.0.0.1:{}", free_port()),
            admin: format!("127.0.0.1:{admin}"),
            args: all,
        };
        Self { recipe, child: Mutex::new(None) }
    }

    pub(crate) fn start_new(recipe: Recipe) -> Self {
        let node = Self { recipe, child: Mutex::new(None) };
        node.start();
        node
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its name in listings and logs.
    pub fn name(&self) -> &str {
        &self.recipe.name
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.recipe.address
    }

    /// Where its admin port is.
    pub fn admin(&self) -> &str {
        &self.recipe.admin
    }

    /// The directory it owns.
    pub fn data_dir(&self) -> &Path {
        &self.recipe.data_dir
    }

    /// The directory of its keys.
    pub fn keys(&self) -> PathBuf {
        self.recipe.keys()
    }

    /// All it has logged, over all its runs.
    pub fn log(&self) -> String {
        let bytes = fs::read(&self.recipe.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The id of its process.
    ///
    /// # Panics
    /// If it does not run.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.child().as_ref().map_or_else(|| panic!("{} does not run", self.name()), Child::id)
    }

    /// Whether its process is there.
    pub fn runs(&self) -> bool {
        self.child().as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Resident memory.
    pub fn rss(&self) -> u64 {
        proc_fs::resident_bytes(self.pid()).unwrap_or(0)
    }

    /// Open files.
    pub fn fds(&self) -> usize {
        proc_fs::open_files(self.pid()).unwrap_or(0)
    }

    /// The committed chunk files in its directory, sorted.
    pub fn chunk_files(&self) -> Vec<PathBuf> {
        chunk_files_below(self.data_dir())
    }

    /// The answer of the admin port to a GET: status and body.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn get(&self, page: &str) -> std::io::Result<(u16, String)> {
        let mut stream = TcpStream::connect(self.admin())?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET {page} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        Ok((status, answer.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned())))
    }

    /// Waits until it says that it does its work.
    ///
    /// # Panics
    /// If it ends instead, or does not in time.
    #[track_caller]
    pub fn wait_ready(&self) {
        wait_until(&format!("{} is ready", self.name()), || {
            self.expect_running();
            matches!(self.get("/readyz"), Ok((200, _)))
        });
    }

    #[track_caller]
    fn expect_running(&self) {
        let ended = match self.child().as_mut().map(Child::try_wait) {
            Some(Ok(None)) => return,
            Some(ended) => format!("{ended:?}"),
            None => "by the test".to_owned(),
        };
        panic!("{} ended by itself, {ended}:\n{}", self.name(), self.log());
    }

    /// A command that would start it once more.
    pub fn command(&self) -> Command {
        self.recipe.command()
    }

    /// Starts its process, with the data and the addresses it had.
    ///
    /// # Panics
    /// If it runs already.
    #[track_caller]
    pub fn start(&self) {
        self.start_with(&[]);
    }

    /// As [`Self::start`], with more arguments for this run.
    ///
    /// # Panics
    /// If it runs already.
    #[track_caller]
    pub fn start_with(&self, args: &[&str]) {
        assert!(!self.runs(), "{} runs already", self.name());
        let log = File::options().create(true).append(true).open(&self.recipe.log).expect("a log file");
        let mut command = self.command();
        command.args(args).env("RUST_BACKTRACE", "1").stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        *self.child() = Some(child);
    }

    #[track_caller]
    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).unwrap_or_else(|error| panic!("{signal:?} to {}: {error}", self.name()));
    }

    /// SIGKILL, and waits until the process is gone. Does nothing to one that is gone already.
    pub fn kill(&self) {
        if let Some(mut child) = self.child().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGSTOP: the process is there and does nothing.
    #[track_caller]
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    #[track_caller]
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGHUP: it reads its configuration again.
    #[track_caller]
    pub fn reload(&self) {
        self.signal(Signal::HUP);
    }

    /// SIGTERM, and waits until the process has ended by itself.
    #[track_caller]
    pub fn stop(&self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait(Duration::from_secs(40))
    }

    /// Waits until the process ends by itself.
    ///
    /// # Panics
    /// If it does not within `patience`.
    #[track_caller]
    pub fn wait(&self, patience: Duration) -> ExitStatus {
        let deadline = Instant::now() + patience;
        loop {
            let ended = self.child().as_mut().and_then(|child| child.try_wait().ok().flatten());
            if let Some(status) = ended {
                *self.child() = None;
                return status;
            }
            assert!(Instant::now() < deadline, "{} did not end in {patience:?}", self.name());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGKILL, then a new process over the same data.
    #[track_caller]
    pub fn restart(&self) {
        self.kill();
        self.start();
    }
}

impl Drop for NodeHandle {
    fn drop(&mut self) {
        self.kill();
    }
}
