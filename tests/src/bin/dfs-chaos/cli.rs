//! The command line.

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};
use dfs_tests::Rng;
use dfs_tests::chaos::{Place, Scenario};

const EXAMPLES: &str = "\
Examples:
  cargo chaos ls                                what there is
  cargo chaos run kill-datanode wipe-datanode   break clusters of local processes, and judge
  cargo chaos run --times 10 --json r.json all  every scenario, ten times
  cargo chaos run --compose kill-actor-random   in containers
  cargo chaos check my.yaml                     whether a file is a scenario

Exit codes: 0 all held, 1 something did not, 2 it cannot be done as it was asked for.
";

/// Breaks dfs clusters on purpose, under load, and says whether all that is promised held.
#[derive(Debug, Parser)]
#[command(name = "dfs-chaos", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List the scenarios
    Ls,
    /// Run scenarios, one after the other, and judge them
    Run(Run),
    /// Check files without running them
    Check {
        /// Files, or names of scenarios
        #[arg(value_name = "SCENARIO", required = true)]
        scenarios: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// Names of scenarios, files, or `all`
    #[arg(value_name = "SCENARIO", required = true)]
    pub(crate) scenarios: Vec<String>,
    /// On processes of this machine (the default)
    #[arg(long, conflicts_with = "compose")]
    local: bool,
    /// In containers; needs an engine, and root for what is done to files and lines
    #[arg(long)]
    compose: bool,
    /// What chance is seeded with; the second time with the next one. By chance unless given
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Write the reports to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// How often each scenario is run
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) times: u32,
}

impl Run {
    /// The scenarios that are wanted.
    ///
    /// # Errors
    /// Those that are not there or cannot be used.
    pub(crate) fn scenarios(&self) -> Result<Vec<Scenario>, String> {
        let all = if self.scenarios.iter().any(|name| name == "all") { names()? } else { vec![] };
        let wanted = if all.is_empty() { &self.scenarios } else { &all };
        wanted.iter().map(|name| find(name)).collect()
    }

    /// Where they run.
    pub(crate) fn place(&self) -> Place {
        if self.compose && !self.local { Place::Compose } else { Place::Local }
    }

    /// The seed of the first run: short enough to be read and written by a person.
    pub(crate) fn first_seed(&self) -> u64 {
        self.seed.unwrap_or_else(|| Rng::from_entropy().below(1 << 40))
    }
}

/// Where the scenarios of the repository are.
fn shelf() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).join("compose/scenarios")
}

/// The names of the scenarios of the repository, sorted.
///
/// # Errors
/// If they cannot be listed.
pub(crate) fn names() -> Result<Vec<String>, String> {
    let shelf = shelf();
    let entries = std::fs::read_dir(&shelf).map_err(|error| format!("{}: {error}", shelf.display()))?;
    let files = entries.flatten().map(|entry| entry.path());
    let files = files.filter(|path| path.extension().is_some_and(|end| end == "yaml"));
    let mut names: Vec<_> =
        files.map(|path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

/// The scenario of a name or in a file.
///
/// # Errors
/// If there is none, or it cannot be used.
pub(crate) fn find(wanted: &str) -> Result<Scenario, String> {
    let named = !wanted.contains('/') && !wanted.ends_with(".yaml") && !wanted.ends_with(".yml");
    let path = if named { shelf().join(format!("{wanted}.yaml")) } else { PathBuf::from(wanted) };
    if named && !path.exists() {
        return Err(format!("there is no scenario `{wanted}`; these are there: {}", names()?.join(", ")));
    }
    Scenario::read(&path).map_err(|refused| refused.to_string())
}
