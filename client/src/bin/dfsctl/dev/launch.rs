//! Starts the processes of a development cluster, detached, and reads what they said.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::dev_cluster::process::Process;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome, reason};

/// Environment variables that would reach into the nodes and contradict the flags they are started with.
const ENV_REMOVED: [&str; 9] = [
    "COORDINATOR_HOST",
    "COORDINATOR_PORT",
    "DATANODE_HOST",
    "DATANODE_PORT",
    "DISK_STORAGE_BASE_DIR",
    "DFS_ENDPOINT",
    "DFS_CONTEXT",
    "DFS_NODE_BIN",
    "DFS_CHAOS_TOKEN",
];

/// What to start.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub binary: PathBuf,
    pub args: Vec<OsString>,
    /// Where its standard error and output go, appended.
    pub log: PathBuf,
}

impl Launch {
    /// Starts it in a session of its own, so that it outlives the shell and hears nothing of its Ctrl-C.
    ///
    /// A new session needs `setsid` between fork and exec; dfsctl starts itself for that (`dev exec`), which keeps
    /// the pid.
    ///
    /// # Errors
    /// If the log cannot be opened or the process not started.
    pub(crate) fn start(&self) -> Outcome<Process> {
        let open = || OpenOptions::new().create(true).append(true).open(&self.log);
        let log = open().map_err(|e| Failure::local("write", &self.log, &e))?;
        let log_too = open().map_err(|e| Failure::local("write", &self.log, &e))?;
        let failed = |e: io::Error| {
            Failure::new(
                Exit::Other,
                "StartFailed",
                format!("cannot start {}: {}", self.binary.display(), reason(&e)),
            )
        };
        let mut command = clean_command(&std::env::current_exe().map_err(failed)?);
        command.args(["dev", "exec", "--"]).arg(&self.binary).args(&self.args);
        command.stdin(Stdio::null()).stdout(log).stderr(log_too);
        let child = command.spawn().map_err(failed)?;
        Process::now(child.id()).ok_or_else(|| failed(io::Error::from(io::ErrorKind::NotFound)))
    }
}

/// A command whose environment does not contradict the flags a node is started with.
pub(crate) fn clean_command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for name in ENV_REMOVED {
        command.env_remove(name);
    }
    command
}

/// The other half of [`Launch::start`]: becomes the node. Returns only if that fails.
pub(crate) fn become_program(program: &[OsString]) -> Failure {
    let Some((binary, args)) = program.split_first() else { return Failure::usage("no program to start") };
    if let Err(e) = rustix::process::setsid() {
        // Already the leader of a session: started by hand, not by `dev up`.
        eprintln!("dfsctl dev exec: no new session: {e}");
    }
    let error = Command::new(binary).args(args).exec();
    let shown = Path::new(binary).display();
    Failure::new(Exit::Other, "StartFailed", format!("cannot start {shown}: {}", reason(&error)))
}

/// The last lines of a log, at most `lines` of them and 16 KiB; empty if it cannot be read.
pub(crate) fn tail(log: &Path, from: u64, lines: usize) -> Vec<String> {
    const BYTES: u64 = 16 * 1024;
    let read = || -> io::Result<Vec<u8>> {
        let mut file = fs::File::open(log)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(BYTES).max(from.min(len))))?;
        let mut bytes = Vec::new();
        file.take(BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<_> = text.lines().map(str::to_owned).collect();
    all.iter().skip(all.len().saturating_sub(lines)).cloned().collect()
}

/// Finds the node's program: DFS_NODE_BIN, beside dfsctl, or in PATH.
///
/// # Errors
/// If it is nowhere: the message says where it was looked for.
pub(crate) fn node_binary() -> Outcome<PathBuf> {
    const NAME: &str = "dfs-node";
    if let Some(named) = std::env::var_os("DFS_NODE_BIN").filter(|value| !value.is_empty()) {
        let path = PathBuf::from(named);
        return match path.is_file() {
            true => Ok(std::path::absolute(&path).unwrap_or(path)),
            false => Err(Failure::new(
                Exit::Config,
                "NoNodeBinary",
                format!("DFS_NODE_BIN names '{}', which is not a file", path.display()),
            )),
        };
    }
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.to_owned()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = beside.iter().cloned().chain(std::env::split_paths(&path)).map(|dir| dir.join(NAME));
    found.into_iter().find(|candidate| candidate.is_file()).ok_or_else(|| {
        let beside = beside.map_or_else(String::new, |dir| format!("in {} (beside dfsctl), ", dir.display()));
        let message = format!("the program of the nodes, {NAME}, was not found: looked {beside}and in PATH");
        Failure::new(Exit::Config, "NoNodeBinary", message).hint(
            "build it with 'cargo build --release', or name it in the environment variable DFS_NODE_BIN",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_end_of_the_log_since_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("x.log");
        fs::write(&log, "old\none\ntwo\nthree\n").unwrap();
        assert_eq!(tail(&log, 4, 2), ["two", "three"]);
        assert_eq!(tail(&log, 4, 20), ["one", "two", "three"]);
        assert!(tail(&dir.path().join("none"), 0, 3).is_empty());
    }
}
