//! The command line.

use std::num::NonZero;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use dfs_tests::Rng;
use dfs_tests::sim::enumerate::{Extent, points};
use dfs_tests::sim::{CLIENTS, CLIENTS_MAX, Life, NODES, NODES_MAX, OPS, Plan, Planned, View, parse, plans};

const TIMELINE: &str = "Timeline";
const EXAMPLES: &str = "\
Examples:
  cargo sim --seed 7 --explain | less -S           what happens in a run
  cargo sim --seed 7 --svg run.svg --from 4 --to 9 a part of it as a picture, for a browser
  cargo sim --faults '1 part d1 co; 5 join d1 co'  faults of your own
  cargo sim-fast --fresh --seeds 5000 --shrink     many seeds, optimised; the shortest plan that fails, if one does
  cargo sim --plans tests/tests/sim/failed.txt     all that ever failed

Exit codes: 0 all runs are clean, 1 one is not, 2 it cannot be run as it was asked for.
";

/// Runs a whole dfs cluster in one thread and in virtual time: a coordinator, datanodes and clients, over a network and
/// disks in memory. All that happens follows from a seed; the same seed gives the same run again.
#[derive(Debug, Parser)]
#[command(name = "dfs-sim", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// The seed of the run, or the first of several
    #[arg(long, value_name = "S", conflicts_with = "fresh")]
    pub(crate) seed: Option<u64>,
    /// How many seeds to run
    #[arg(long, value_name = "N")]
    pub(crate) seeds: Option<u64>,
    /// Begin with a seed that chance gives, and say which
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Run the plans of a file as well: one command a line, `#` before comments
    #[arg(long, value_name = "FILE")]
    pub(crate) plans: Option<PathBuf>,
    /// Datanodes
    #[arg(long, value_name = "N", default_value_t = NODES, value_parser = clap::value_parser!(u16).range(1..=i64::from(NODES_MAX)))]
    pub(crate) nodes: u16,
    /// Clients
    #[arg(long, value_name = "N", default_value_t = CLIENTS, value_parser = clap::value_parser!(u16).range(1..=i64::from(CLIENTS_MAX)))]
    pub(crate) clients: u16,
    /// Operations of each client
    #[arg(long, value_name = "N", default_value_t = OPS)]
    pub(crate) ops: u32,
    /// What clients do: `random`, or the `scripted` life in which every kind of step occurs, of three datanodes and two clients
    #[arg(long, default_value_t = Life::Random)]
    pub(crate) life: Life,
    /// Run the scripted life once for each point at which a process can end: `short`, each `step`, or each `pair` of steps
    #[arg(long, value_name = "EXTENT", conflicts_with_all = ["seed", "seeds", "fresh", "faults"])]
    pub(crate) crashes: Option<Extent>,
    /// What is done to the cluster, instead of what follows from the seed: '12.5 kill d2; 14 start d2'; '' for nothing;
    /// `help` lists what can be done
    #[arg(long, value_name = "LIST", value_parser = List::read)]
    pub(crate) faults: Option<List>,
    /// Runs at the same time; as many as there are cores unless given
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<NonZero<usize>>,
    /// A line for each run, its hash in it
    #[arg(long)]
    pub(crate) each: bool,
    /// Look for the shortest plan that fails as the first one that does
    #[arg(long)]
    pub(crate) shrink: bool,
    /// Draw the run as a timeline, with a lane for each host
    #[arg(long, help_heading = TIMELINE)]
    pub(crate) explain: bool,
    /// Write the timeline as a picture
    #[arg(long, value_name = "FILE", help_heading = TIMELINE)]
    pub(crate) svg: Option<PathBuf>,
    /// From this second of the load on
    #[arg(long, value_name = "SECONDS", help_heading = TIMELINE, allow_negative_numbers = true)]
    pub(crate) from: Option<f64>,
    /// Up to this second of the load
    #[arg(long, value_name = "SECONDS", help_heading = TIMELINE, allow_negative_numbers = true)]
    pub(crate) to: Option<f64>,
    /// With what goes on all the time: heartbeats, pings, credits
    #[arg(long, help_heading = TIMELINE)]
    pub(crate) all: bool,
    /// Every single event, one a line
    #[arg(long, help_heading = TIMELINE)]
    pub(crate) events: bool,
    /// Form of the summary
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

/// A list of faults.
#[derive(Clone, Debug)]
pub(crate) enum List {
    Given(Vec<Planned>),
    /// Which faults there are is asked.
    Help,
}

impl List {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "help" => Ok(Self::Help),
            _ => {
                parse(text).map(Self::Given).map_err(|wrong| format!("{wrong}; --faults help lists them all"))
            }
        }
    }
}

/// For whom the summary is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// People.
    Text,
    /// Programs.
    Json,
}

impl Cli {
    /// What is to be run, in order.
    ///
    /// # Errors
    /// If that is nothing that can be run.
    pub(crate) fn plans(&self) -> Result<Vec<Plan>, String> {
        let mut wanted = match &self.plans {
            None => vec![],
            Some(path) => {
                let file = std::fs::read_to_string(path);
                let file = file.map_err(|error| format!("{}: {error}", path.display()))?;
                plans(&file).map_err(|wrong| format!("{}: {wrong}", path.display()))?
            }
        };
        if let Some(extent) = self.crashes {
            wanted.extend(points(extent, self.jobs())?.into_iter().map(|point| point.plan));
            return Ok(wanted);
        }
        let seeds =
            self.seeds.unwrap_or(u64::from(self.plans.is_none() || self.seed.is_some() || self.fresh));
        // Few enough to be read and written by a person.
        let chance = || Rng::from_entropy().below(1 << 40);
        let first = if self.fresh { chance() } else { self.seed.unwrap_or(1) };
        if self.fresh {
            eprintln!("fresh seeds: --seed {first} --seeds {seeds} runs them again");
        }
        for seed in (first..=u64::MAX).take(usize::try_from(seeds).unwrap_or(usize::MAX)) {
            let plan = match self.life {
                Life::Random => Plan::sized(seed, self.nodes, self.clients, self.ops),
                Life::Scripted => Plan::scripted(seed),
            };
            wanted.push(match &self.faults {
                Some(List::Given(faults)) => plan.with(faults.clone())?,
                Some(List::Help) | None => plan,
            });
        }
        match wanted.as_mut_slice() {
            [one] => one.keep = self.looks(),
            _ if self.looks() => {
                return Err("a timeline is of one run: give --seed, and no --seeds".to_owned());
            }
            _ => {}
        }
        Ok(wanted)
    }

    /// Whether anybody wants to see what happened.
    fn looks(&self) -> bool {
        self.explain || self.events || self.svg.is_some()
    }

    pub(crate) fn view(&self) -> View {
        View { from: self.from, to: self.to, all: self.all }
    }

    /// Whether the kinds of faults are to be told, and nothing run.
    pub(crate) fn asks_for_faults(&self) -> bool {
        matches!(self.faults, Some(List::Help))
    }

    pub(crate) fn jobs(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
        self.jobs.map_or_else(cores, NonZero::get)
    }
}
