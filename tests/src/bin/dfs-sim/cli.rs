//! The command line.

use std::num::NonZero;
use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{ArgGroup, Parser, ValueEnum};
use dfs_tests::Rng;
use dfs_tests::sim::enumerate::{Extent, points};
use dfs_tests::sim::{
    CLIENTS, CLIENTS_MAX, Life, NODES, NODES_MAX, NODES_MIN, OPS, OPS_MAX, Plan, Planned, View, parse, plans,
};

const TIMELINE: &str = "Timeline";
/// The most seeds of one sweep: plans are made before the first is run.
const SEEDS_MAX: u64 = 1_000_000;
/// What a plan consists of, which a file of plans and the enumeration bring themselves.
const OF_A_SEED: [&str; 4] = ["nodes", "clients", "ops", "life"];
/// What is drawn, and which part of it.
const DRAWN: [&str; 6] = ["explain", "svg", "from", "to", "all", "events"];
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
#[command(name = "dfs-sim", version, after_help = EXAMPLES,
    group(ArgGroup::new("drawn").args(["explain", "svg"]).multiple(true)))]
pub(crate) struct Cli {
    /// The seed of the run, or the first of several
    #[arg(long, value_name = "S", conflicts_with = "fresh")]
    pub(crate) seed: Option<u64>,
    /// How many seeds to run
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<u64>::new().range(1..=SEEDS_MAX))]
    pub(crate) seeds: Option<u64>,
    /// Begin with a seed that chance gives, and say which
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Run the plans of a file, and seeds besides if any are asked for: one command a line, `#` before comments
    #[arg(long, value_name = "FILE", conflicts_with_all = OF_A_SEED, conflicts_with = "faults")]
    pub(crate) plans: Option<PathBuf>,
    /// Datanodes
    #[arg(long, value_name = "N", default_value_t = NODES, conflicts_with = "life",
        value_parser = clap::value_parser!(u16).range(i64::from(NODES_MIN)..=i64::from(NODES_MAX)))]
    pub(crate) nodes: u16,
    /// Clients
    #[arg(long, value_name = "N", default_value_t = CLIENTS, conflicts_with = "life",
        value_parser = clap::value_parser!(u16).range(1..=i64::from(CLIENTS_MAX)))]
    pub(crate) clients: u16,
    /// Operations of each client
    #[arg(long, value_name = "N", default_value_t = OPS, conflicts_with = "life",
        value_parser = clap::value_parser!(u32).range(..=i64::from(OPS_MAX)))]
    pub(crate) ops: u32,
    /// What clients do: `random`, or one of two lives that have a size of their own: `scripted`, in which every
    /// kind of step of the write path occurs, and `mended`, in which copies are lost and made anew
    #[arg(long, default_value_t = Life::Random)]
    pub(crate) life: Life,
    /// Run the scripted lives once for each point at which a process can end: `once` after each name, `short`, each `step`, or each `pair` of steps
    #[arg(long, value_name = "EXTENT", conflicts_with_all = ["seed", "seeds", "fresh", "faults", "plans"])]
    #[arg(conflicts_with_all = OF_A_SEED, conflicts_with_all = DRAWN)]
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
    #[arg(long, value_name = "SECONDS", help_heading = TIMELINE, allow_negative_numbers = true, requires = "drawn")]
    pub(crate) from: Option<f64>,
    /// Up to this second of the load
    #[arg(long, value_name = "SECONDS", help_heading = TIMELINE, allow_negative_numbers = true, requires = "drawn")]
    pub(crate) to: Option<f64>,
    /// With what goes on all the time: heartbeats, pings, credits
    #[arg(long, help_heading = TIMELINE, requires = "drawn")]
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

/// Why nothing is run.
pub(crate) enum Refusal {
    /// It was asked for in a way that makes no sense.
    Usage(String),
    /// What it would be compared with is not clean itself.
    Failed(String),
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Self::Usage(why)
    }
}

impl Cli {
    /// What is to be run, in order: at least one plan.
    ///
    /// # Errors
    /// If that is nothing that can be run.
    pub(crate) fn plans(&self) -> Result<Vec<Plan>, Refusal> {
        match self.crashes {
            Some(extent) => {
                let points = points(extent, self.jobs()).map_err(Refusal::Failed)?;
                Ok(points.into_iter().map(|point| point.plan).collect())
            }
            None => Ok(self.written_and_seeds()?),
        }
    }

    fn written(&self) -> Result<Vec<Plan>, String> {
        let Some(path) = &self.plans else { return Ok(vec![]) };
        let wrong = |why: String| format!("{}: {why}", path.display());
        let file = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let plans = plans(&file).map_err(wrong)?;
        if plans.is_empty() {
            return Err(wrong("there is no plan in it".to_owned()));
        }
        Ok(plans)
    }

    fn written_and_seeds(&self) -> Result<Vec<Plan>, String> {
        self.check_view()?;
        let mut wanted = self.written()?;
        let seeds =
            self.seeds.unwrap_or(u64::from(self.plans.is_none() || self.seed.is_some() || self.fresh));
        // Few enough to be read and written by a person.
        let chance = || Rng::from_entropy().below(1 << 40);
        let first = if self.fresh { chance() } else { self.seed.unwrap_or(1) };
        if self.fresh {
            eprintln!("fresh seeds: --seed {first} --seeds {seeds} runs them again");
        }
        let end =
            first.checked_add(seeds).ok_or_else(|| format!("there are no {seeds} seeds from {first} on"))?;
        for seed in first..end {
            let plan = match self.life {
                Life::Random => Plan::sized(seed, self.nodes, self.clients, self.ops),
                life @ (Life::Scripted | Life::Mended) => Plan::scripted(life, seed),
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

    fn check_view(&self) -> Result<(), String> {
        let (from, to) = (self.from.unwrap_or(f64::MIN), self.to.unwrap_or(f64::MAX));
        match from <= to {
            true => Ok(()),
            false => Err(format!("nothing is between --from {from} and --to {to}")),
        }
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
