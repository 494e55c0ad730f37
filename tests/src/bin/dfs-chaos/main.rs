//! `dfs-chaos`: breaks clusters on purpose, and says whether all that is promised held.

mod cli;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Run, Verb, find, names};
use dfs_tests::chaos::{run, table};

/// It cannot be done as it was asked for.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.verb {
        Verb::Ls => ls(),
        Verb::Run(run) => break_on_purpose(&run),
        Verb::Check { scenarios } => check(&scenarios),
    };
    done.unwrap_or_else(|wrong| {
        eprintln!("dfs-chaos: {wrong}");
        ExitCode::from(USAGE)
    })
}

/// Prints a line. Whoever does not read it to its end has seen enough.
fn say(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn ls() -> Result<ExitCode, String> {
    let names = names()?;
    let width = names.iter().map(String::len).max().unwrap_or(0);
    for name in &names {
        say(format_args!("{name:width$}  {}", find(name)?.about));
    }
    Ok(ExitCode::SUCCESS)
}

fn check(wanted: &[String]) -> Result<ExitCode, String> {
    let wrong: Vec<_> = wanted.iter().filter_map(|one| find(one).err()).collect();
    match wrong.is_empty() {
        true => {
            say(format_args!("{} can be run", wanted.join(", ")));
            Ok(ExitCode::SUCCESS)
        }
        false => Err(wrong.join("\n")),
    }
}

fn break_on_purpose(wanted: &Run) -> Result<ExitCode, String> {
    let scenarios = wanted.scenarios()?;
    // What is done to the cluster, while it is done.
    let log =
        tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    log.with_env_filter("dfs_tests=info").init();
    // Before anything runs: what was seen must not be lost for a name that cannot be written.
    let json = wanted.json.as_ref().map(|path| (path, std::fs::File::create(path)));
    let json =
        json.map(|(path, file)| file.map_err(|error| format!("{}: {error}", path.display()))).transpose()?;
    let (place, first) = (wanted.place(), wanted.first_seed());
    let mut reports = vec![];
    for time in 0..u64::from(wanted.times) {
        for scenario in &scenarios {
            let seed = first.wrapping_add(time);
            eprintln!("{} ({place}, seed {seed}): {}", scenario.name, scenario.about);
            let report = run(scenario, place, seed);
            eprintln!(
                "{}: {} after {} s",
                report.scenario,
                if report.passed { "ok" } else { "FAILED" },
                report.seconds
            );
            reports.push(report);
        }
    }
    say(table(&reports).trim_end());
    if let Some(file) = json {
        serde_json::to_writer_pretty(file, &reports).map_err(|error| format!("the reports: {error}"))?;
    }
    let passed = reports.iter().all(|report| report.passed);
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
