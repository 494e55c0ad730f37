//! `dfs-sim`: runs simulated clusters from seeds, and shows what happened in one.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use dfs_tests::sim::{NODES, OPS, Plan, parse, run};

/// Runs a whole dfs cluster in one thread and virtual time. A seed gives the same run again.
#[derive(Debug, Parser)]
#[command(name = "dfs-sim", version)]
struct Cli {
    /// The seed of the run, or the first of several.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds to run, one after another.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Datanodes.
    #[arg(long, default_value_t = NODES, value_parser = clap::value_parser!(u16).range(1..=50))]
    nodes: u16,
    /// Operations of each client.
    #[arg(long, default_value_t = OPS)]
    ops: u32,
    /// What is done to the cluster, instead of what follows from the seed: '12.5 kill d2; 14 start d2'.
    #[arg(long)]
    faults: Option<String>,
    /// Shows everything that happened.
    #[arg(long)]
    explain: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let given = match cli.faults.as_deref().map(parse).transpose() {
        Ok(given) => given,
        Err(wrong) => {
            eprintln!("dfs-sim: {wrong}");
            return ExitCode::from(2);
        }
    };
    let mut failed = 0;
    for seed in cli.seed..cli.seed.saturating_add(cli.seeds) {
        let mut plan = Plan { nodes: cli.nodes, ops: cli.ops, keep: cli.explain, ..Plan::of(seed) };
        if let Some(faults) = &given {
            plan.faults = faults.clone();
        }
        let began = Instant::now();
        let report = run(&plan);
        if cli.explain {
            report.trace.events().iter().for_each(|event| println!("{event}"));
        }
        println!(
            "seed {seed}: {:016x}, {} events, {} operations, {} s of virtual time in {:?}",
            report.hash,
            report.events,
            report.operations,
            report.took_ms / 1000,
            began.elapsed()
        );
        if !report.wrong.is_empty() {
            failed += 1;
            report.wrong.iter().for_each(|wrong| println!("  WRONG: {wrong}"));
            println!("  again: {plan}");
        }
    }
    if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
