//! The processes of a development cluster: started detached, known by start time so that a reused pid is never hit.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use super::state::RunState;
use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome, reason};

/// Environment variables that would reach into the nodes and contradict the flags they are started with.
const ENV_REMOVED: [&str; 8] = [
    "COORDINATOR_HOST",
    "COORDINATOR_PORT",
    "DATANODE_HOST",
    "DATANODE_PORT",
    "DISK_STORAGE_BASE_DIR",
    "DFS_ENDPOINT",
    "DFS_CONTEXT",
    "DFS_NODE_BIN",
];

/// One process, for ever: a pid alone may be given to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// Its pid.
    pub pid: u32,
    /// Clock ticks between boot and its start.
    pub start_ticks: u64,
    /// Which boot.
    pub boot_id: String,
}

impl Process {
    /// The process that has this pid now.
    fn now(pid: u32) -> Option<Self> {
        let Stat { start_ticks, .. } = stat(pid)?;
        Some(Self { pid, start_ticks, boot_id: boot_id() })
    }

    /// How it is now.
    pub(crate) fn state(&self) -> RunState {
        match stat(self.pid) {
            Some(stat) if stat.start_ticks == self.start_ticks && boot_id() == self.boot_id => {
                stat.run_state()
            }
            _ => RunState::Stopped,
        }
    }

    /// The file its output goes to, if that is another than `log`: it was started for another directory then. A file
    /// that is gone tells nothing.
    pub(crate) fn writes_elsewhere(&self, log: &Path) -> Option<PathBuf> {
        let output = format!("/proc/{}/fd/1", self.pid);
        let (written, path) = (fs::metadata(&output).ok()?, fs::read_link(&output).ok()?);
        let same = |meta: fs::Metadata| (meta.dev(), meta.ino()) == (written.dev(), written.ino());
        let here = fs::metadata(log).is_ok_and(same);
        (!here && written.is_file() && fs::metadata(&path).is_ok_and(same)).then_some(path)
    }

    /// Sends a signal, if it is still that process.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        if self.state() == RunState::Stopped {
            return Ok(());
        }
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(rustix::process::kill_process(pid, signal)?)
    }

    /// Waits until `done` holds for its state; whether it came to that.
    pub(crate) fn wait(&self, limit: Duration, done: impl Fn(RunState) -> bool) -> bool {
        let until = Instant::now() + limit;
        while !done(self.state()) {
            if Instant::now() > until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }
}

/// What is needed of `/proc/PID/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    letter: char,
    threads: u64,
    start_ticks: u64,
}

impl Stat {
    /// A killed process has its ports and locks until the last of its threads is gone, which may still be waiting for
    /// the disk; its first thread counts as a zombie long before.
    fn run_state(self) -> RunState {
        match self.letter {
            'Z' | 'X' | 'x' if self.threads <= 1 => RunState::Stopped,
            'T' | 't' => RunState::Paused,
            _ => RunState::Running,
        }
    }
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The command in parentheses may hold anything.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    // Fields 3, 20 and 22 of the line.
    let letter = fields.next()?.chars().next()?;
    let threads = fields.nth(16)?.parse().ok()?;
    let start_ticks = fields.nth(1)?.parse().ok()?;
    Some(Stat { letter, threads, start_ticks })
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// What to start.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    /// The program.
    pub binary: PathBuf,
    /// Its arguments.
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
    fn the_stat_line_is_read_whatever_the_command_is_called() {
        let line = "42 (a) b) (c) S 1 42 42 0 -1 4194304 95 0 0 0 0 0 0 0 20 0 7 0 12345 2703360 219";
        assert_eq!(parse_stat(line), Some(Stat { letter: 'S', threads: 7, start_ticks: 12345 }));
        for bad in ["", "42", "42 (x)", "42 (x) S 1 2 3"] {
            assert_eq!(parse_stat(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_process_is_gone_with_its_last_thread() {
        let stat = |letter, threads| Stat { letter, threads, start_ticks: 1 };
        assert_eq!(stat('Z', 2).run_state(), RunState::Running);
        assert_eq!(stat('Z', 1).run_state(), RunState::Stopped);
        assert_eq!(stat('T', 9).run_state(), RunState::Paused);
    }

    #[test]
    fn a_reused_pid_is_not_the_process() {
        let own = Process::now(std::process::id()).unwrap();
        assert_eq!(own.state(), RunState::Running);
        let other = Process { start_ticks: own.start_ticks + 1, ..own.clone() };
        assert_eq!(other.state(), RunState::Stopped);
        // Signal 9 to it must do nothing: this test would not live to say so.
        other.signal(Signal::KILL).unwrap();
        let earlier_boot = Process { boot_id: "another".into(), ..own };
        assert_eq!(earlier_boot.state(), RunState::Stopped);
    }

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
