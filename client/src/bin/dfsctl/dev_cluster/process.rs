//! A process, known by start time so that a reused pid is never hit.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

/// How a node's process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RunState {
    Running,
    /// It was stopped with `dev pause`.
    Paused,
    /// There is no such process.
    Stopped,
}

/// One process, for ever: a pid alone may be given to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub pid: u32,
    /// Clock ticks between boot and its start.
    pub start_ticks: u64,
    /// The boot of the machine it was started in: process ids begin anew with each.
    pub boot_id: String,
}

impl Process {
    /// The process that has this pid now.
    pub(crate) fn now(pid: u32) -> Option<Self> {
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
}
