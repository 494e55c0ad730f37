//! The ideals of this machine, measured by a program of its own: the same copies, durability and hashes, and nothing else.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::table::Figure;

/// The program that measures ideals.
pub(crate) struct Limits {
    binary: PathBuf,
    dir: Option<PathBuf>,
}

impl Limits {
    /// Takes a binary as it is; builds a crate first.
    pub(crate) fn at(path: &Path, dir: Option<&Path>) -> Self {
        let binary = if path.is_dir() { Self::build(path) } else { path.to_owned() };
        Self { binary, dir: dir.map(|dir| dir.join("ideal")) }
    }

    fn build(path: &Path) -> PathBuf {
        let target = std::env::current_exe().expect("this executable").with_file_name("limits");
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--release", "--manifest-path"]).arg(path.join("Cargo.toml"));
        cargo.arg("--target-dir").arg(&target);
        assert!(cargo.status().expect("cargo").success(), "{cargo:?}");
        let release = target.join("release");
        let found = std::fs::read_dir(&release).expect("what was built").flatten().map(|entry| entry.path());
        let program =
            |path: &PathBuf| path.is_file() && path.extension().is_none() && !path.ends_with(".cargo-lock");
        found.into_iter().find(program).expect("a program")
    }

    /// Runs one measurement; gives its lines.
    fn run(&self, args: &[&str]) -> Vec<Value> {
        let mut command = Command::new(&self.binary);
        command.args(args).args(["--runs", "1"]);
        if let Some(dir) = &self.dir {
            command.arg("--dir").arg(dir);
        }
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn bytes(&self, args: &[&str]) -> Figure {
        let lines = self.run(args);
        let line = lines.first().expect("a measurement");
        Figure { rate: median(line, "mb_s"), cpu: median(line, "cpu_s_per_gib") }
    }

    /// Three durable copies, hashed at the client and at the primary.
    pub(crate) fn upload(&self, mib: u64, streams: u32) -> Figure {
        let (size, streams) = (format!("{mib}MiB"), streams.to_string());
        let how = [
            "--cold",
            "--direct",
            "--buf",
            "4MiB",
            "--fsync",
            "--hash",
            "sha256",
            "--hash-at",
            "client,primary",
        ];
        self.bytes(&[&["ideal-upload", "--size", &size, "--streams", &streams], &how[..]].concat())
    }

    /// One copy from the page cache, hashed at the client, to nowhere.
    pub(crate) fn download(&self, mib: u64) -> Figure {
        let size = format!("{mib}MiB");
        self.bytes(&[
            "ideal-download",
            "--size",
            &size,
            "--streams",
            "4",
            "--hash",
            "sha256",
            "--hash-at",
            "client",
        ])
    }

    /// Three durable copies of 4 KiB in a log, and reading them: put, get.
    pub(crate) fn small(&self) -> [Figure; 2] {
        let lines =
            self.run(&["ideal-small", "--size", "4KiB", "--conc", "32", "--count", "20000", "--fsync"]);
        ["put", "get"].map(|op| {
            let line = lines.iter().find(|line| line["op"] == op).expect("a measurement");
            Figure { rate: median(line, "ops_s"), cpu: median(line, "cpu_us_per_op") }
        })
    }
}

fn median(line: &Value, field: &str) -> f64 {
    line[field]["median"].as_f64().unwrap_or_else(|| panic!("no {field} in {line}"))
}
