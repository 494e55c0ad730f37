//! Runs `dfsctl` as a user would, with a deadline.

use std::{
    io::{Read, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{binaries::Binaries, node::clean_command};

/// What a `dfsctl` said, and how it ended.
#[derive(Clone, Debug)]
pub struct Said {
    /// The arguments, for messages.
    pub args: String,
    /// Its exit code.
    pub code: i32,
    /// Its data.
    pub stdout: Vec<u8>,
    /// All else.
    pub stderr: String,
}

impl Said {
    /// Fails unless it succeeded.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.code(0)
    }

    /// Fails unless it ended with this code.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "dfsctl {}\n{}\n{}", self.args, self.text(), self.stderr);
        self
    }

    /// Fails unless what it said beside the data holds each of `words`.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "dfsctl {}: no {word:?} in:\n{}", self.args, self.stderr);
        }
        self
    }

    /// Its data as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Its data as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|error| panic!("dfsctl {}: {error} in {}", self.args, self.text()))
    }
}

/// A `dfsctl` about to run.
pub struct Dfsctl {
    command: Command,
    args: String,
    input: Vec<u8>,
    patience: Duration,
}

impl Dfsctl {
    /// In a directory, with an endpoint in the environment.
    pub fn new(binaries: &Binaries, dir: &Path, endpoint: Option<&str>, args: &[&str]) -> Self {
        let mut command = clean_command(&binaries.dfsctl);
        command.args(args).current_dir(dir).env("NO_COLOR", "1");
        // The contexts of whoever runs the tests are not meant.
        command.env("XDG_CONFIG_HOME", "/nonexistent");
        command.envs(endpoint.map(|endpoint| ("DFS_ENDPOINT", endpoint)));
        Self { command, args: args.join(" "), input: vec![], patience: Duration::from_secs(120) }
    }

    /// Lets it run in the network of another process.
    pub fn in_network_of(mut self, pid: u32) -> Self {
        let inner = std::mem::replace(&mut self.command, clean_command(Path::new("nsenter")));
        self.command.args(["-t", &pid.to_string(), "-n"]).arg(inner.get_program()).args(inner.get_args());
        self.command.current_dir(inner.get_current_dir().unwrap_or(Path::new("/")));
        self.command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        self
    }

    /// Waits so long for its end.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Gives it these bytes on standard input, through a pipe.
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Adds an argument that need not be UTF-8.
    pub fn arg(mut self, arg: impl Into<PathBuf>) -> Self {
        self.command.arg(arg.into());
        self
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts it with pipes, for something to happen in the middle. The caller ends it.
    pub fn start(mut self) -> Child {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        self.command.spawn().unwrap_or_else(|error| panic!("dfsctl {}: {error}", self.args))
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// If it is still running after two minutes, or ended by a signal.
    #[track_caller]
    pub fn run(mut self) -> Said {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("dfsctl {}: {error}", self.args));
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let input = std::mem::take(&mut self.input);
        let feeding = std::thread::spawn(move || {
            // A program that ends early closes the pipe: its exit code tells then.
            let _ = stdin.expect("a pipe").write_all(&input);
        });
        let (out, err) = (collect(stdout.expect("a pipe")), collect(stderr.expect("a pipe")));
        let deadline = Instant::now() + self.patience;
        let status = loop {
            if let Some(status) = child.try_wait().expect("a child can be waited for") {
                break status;
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                panic!("dfsctl {}: no end in {:?}", self.args, self.patience);
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let _ = feeding.join();
        let stderr = String::from_utf8_lossy(&err.join().unwrap_or_default()).into_owned();
        let code = status.code().unwrap_or_else(|| panic!("dfsctl {}: {status}\n{stderr}", self.args));
        Said { args: self.args, code, stdout: out.join().unwrap_or_default(), stderr }
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = vec![];
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}
