//! `dfs-sim`: runs simulated clusters from seeds, and shows what happened in one.

mod cli;
mod progress;
mod summary;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use dfs_tests::sim::{Page, Plan, Report, Tally, faults_help, kind, run_apart, shrink, sweep_alone};

use cli::{Cli, Output, Refusal};
use progress::Progress;
use summary::Summary;

/// It cannot be run as it was asked for.
const USAGE: u8 = 2;
/// Plans that are run to find a shorter one.
const SHRINK_RUNS_MAX: u32 = 300;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.asks_for_faults() {
        say(faults_help());
        return ExitCode::SUCCESS;
    }
    match cli.plans() {
        Ok(plans) => run(&cli, &plans),
        Err(Refusal::Usage(wrong)) => {
            eprintln!("dfs-sim: {wrong}");
            ExitCode::from(USAGE)
        }
        Err(Refusal::Failed(wrong)) => {
            eprintln!("dfs-sim: {wrong}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli, plans: &[Plan]) -> ExitCode {
    let mut progress = Progress::new(plans.len());
    let (mut tally, mut failures, mut looked) = (Tally::default(), vec![], Ok(()));
    let people = cli.output == Output::Text;
    let lines = cli.each || (people && plans.len() == 1);
    if people && plans.len() > 1 {
        eprintln!("{} runs, {} at a time", plans.len(), cli.jobs());
    }
    sweep_alone(plans, cli.jobs(), |plan, report| {
        tally.add(plan, &report);
        progress.pause(|| {
            if plan.keep {
                looked = show(cli, plan, &report);
            }
            if lines {
                say(line(plan, &report));
            }
            if people {
                report.wrong.iter().for_each(|wrong| say(format_args!("seed {}: WRONG: {wrong}", plan.seed)));
            }
            if people && !report.wrong.is_empty() {
                say(format_args!("  again: {plan}"));
            }
        });
        if !report.wrong.is_empty() {
            failures.push((plan.clone(), report.wrong));
        }
        progress.step(tally.runs, tally.failed);
    });
    progress.end();
    let seconds = progress.seconds();
    let shortest = failures.first().filter(|_| cli.shrink).map(|(plan, wrong)| shortest(plan, wrong));
    let mut summary = Summary::new(plans, tally, failures, seconds);
    summary.shortest = shortest;
    match cli.output {
        Output::Json => say(summary.json()),
        Output::Text if plans.len() > 1 || cli.shrink => say(&summary),
        Output::Text => {}
    }
    if let Err(why) = &looked {
        eprintln!("dfs-sim: {why}");
    }
    match (summary.is_clean(), looked) {
        (false, _) => ExitCode::FAILURE,
        (true, Err(_)) => ExitCode::from(USAGE),
        (true, Ok(())) => ExitCode::SUCCESS,
    }
}

/// Prints a line. Whoever does not read it to its end has seen enough.
fn say(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// What happened in a run, as it was asked for.
fn show(cli: &Cli, plan: &Plan, report: &Report) -> Result<(), String> {
    if cli.events {
        report.trace.events().iter().for_each(say);
    }
    let page = Page::of(plan, report, cli.view());
    if cli.explain {
        say(page.text());
    }
    let Some(path) = &cli.svg else { return Ok(()) };
    std::fs::write(path, page.svg()).map_err(|error| format!("{}: {error}", path.display()))
}

/// The shortest plan that is found to fail in the same way, and what is wrong then.
fn shortest(plan: &Plan, wrong: &[String]) -> (Plan, Vec<String>) {
    let mut progress = Progress::new(SHRINK_RUNS_MAX as usize);
    let (sought, mut runs) = (kind(wrong), 0);
    let mut found = (plan.clone(), wrong.to_vec());
    eprintln!("looking for a shorter plan in which also: {sought}");
    shrink(plan, SHRINK_RUNS_MAX, |candidate| {
        let report = run_apart(candidate);
        let fails = kind(&report.wrong) == sought;
        if fails {
            found = (candidate.clone(), report.wrong);
        }
        runs += 1;
        progress.step(runs, 1);
        fails
    });
    progress.end();
    found
}

fn line(plan: &Plan, report: &Report) -> String {
    let Report { hash, events, operations, took_ms, .. } = report;
    let seconds = took_ms / 1000;
    format!(
        "seed {}: {hash:016x}, {events} events, {operations} operations, {seconds} virtual seconds",
        plan.seed
    )
}
