//! What many runs came to, for people and for programs.

use std::fmt;
use std::process::Command;

use dfs_tests::sim::{Plan, Tally};
use serde_json::{Value, json};

/// See [`Tally`]; with where it was and how long it took.
pub(crate) struct Summary {
    commit: String,
    seeds: Option<(u64, u64)>,
    tally: Tally,
    failures: Vec<(Plan, Vec<String>)>,
    seconds: f64,
    /// The shortest plan that fails as the first one that failed, if one was looked for.
    pub(crate) shortest: Option<(Plan, Vec<String>)>,
}

impl Summary {
    pub(crate) fn new(
        plans: &[Plan],
        tally: Tally,
        failures: Vec<(Plan, Vec<String>)>,
        seconds: f64,
    ) -> Self {
        let seeds = || plans.iter().map(|plan| plan.seed);
        let seeds = seeds().min().zip(seeds().max());
        Self { commit: commit(), seeds, tally, failures, seconds, shortest: None }
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.failures.is_empty()
    }

    fn rate(&self) -> f64 {
        self.tally.runs as f64 / self.seconds.max(0.001)
    }

    pub(crate) fn json(&self) -> Value {
        let Self { commit, seeds, tally, failures, seconds, shortest } = self;
        let failed = |(plan, wrong): &(Plan, Vec<String>)| json!({ "seed": plan.seed, "again": plan.to_string(), "wrong": wrong });
        json!({
            "commit": commit,
            "first_seed": seeds.map(|seeds| seeds.0),
            "last_seed": seeds.map(|seeds| seeds.1),
            "runs": tally.runs,
            "failed": tally.failed,
            "events": tally.events,
            "operations": tally.operations,
            "virtual_seconds": tally.virtual_ms / 1000,
            "seconds": seconds,
            "runs_per_second": self.rate(),
            "faults": tally.faults,
            "failures": failures.iter().map(failed).collect::<Vec<_>>(),
            "shortest": shortest.as_ref().map(failed),
        })
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { commit, seeds, tally, failures, seconds, shortest } = self;
        let Tally { runs, failed, events, operations, virtual_ms, faults } = tally;
        let (first, last) = seeds.unwrap_or_default();
        writeln!(f, "commit      {commit}")?;
        writeln!(
            f,
            "runs        {runs} (seeds {first} to {last}) in {seconds:.0} s, {:.1} a second",
            self.rate()
        )?;
        writeln!(
            f,
            "in them     {operations} operations, {events} events, {} virtual hours",
            virtual_ms / 3_600_000
        )?;
        let kinds: Vec<_> = faults.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        writeln!(f, "faults      {}: {}", faults.values().sum::<u64>(), kinds.join(", "))?;
        write!(f, "failed      {failed}")?;
        failures.iter().try_for_each(|failed| write_failure(f, failed))?;
        let Some(shortest) = shortest else { return Ok(()) };
        write!(f, "\nthe shortest that fails as the first one:")?;
        write_failure(f, shortest)
    }
}

fn write_failure(f: &mut fmt::Formatter<'_>, (plan, wrong): &(Plan, Vec<String>)) -> fmt::Result {
    write!(f, "\n  {plan}\n      {}", wrong.first().map_or("", String::as_str))
}

/// The commit of the sources, with `-dirty` if they were changed since.
fn commit() -> String {
    let describe = ["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"];
    let told = Command::new("git").args(["-C", env!("CARGO_MANIFEST_DIR")]).args(describe).output();
    let told = told.ok().filter(|told| told.status.success());
    told.map_or("unknown".to_owned(), |told| String::from_utf8_lossy(&told.stdout).trim().to_owned())
}
