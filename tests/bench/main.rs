//! Throughput and processor time of a whole cluster beside the ideal of the same machine; not a test. See README.md here.

mod heal;
mod ideal;
mod ours;
mod reclaim;
mod table;

use std::{path::PathBuf, process::ExitCode};

use ideal::Limits;
use ours::Bench;
use table::{Figure, Table};

/// What the command line says.
struct Args {
    limits: Option<PathBuf>,
    pairs: u32,
    mib: u64,
    small: u64,
    reclaim: Option<u64>,
    heal: bool,
    dir: Option<PathBuf>,
}

const HELP: &str = "cargo bench -p dfs-tests --bench figures -- [--limits PATH] [--pairs 5] [--mib 1024] [--small 4000] [--reclaim COUNT | --heal] [--dir DIR]
  --limits  the crate, or the built binary, that measures the ideals; or DFS_BENCH_LIMITS. Without it there are no ratios
  --pairs   rounds of ours and ideal in turn
  --mib     bytes of the large file, and of the eight files together
  --small   small files per round
  --reclaim instead of all that: how fast so many deleted files of 4 KiB are given back, beside how fast they were put
  --heal    instead of all that: a datanode of six dies with its disk, --mib in large files and --small small ones, under a steady load
  --dir     where the cluster and the ideals keep their data (default: the temporary directory)";

impl Args {
    fn parse() -> Result<Self, String> {
        let limits = std::env::var_os("DFS_BENCH_LIMITS").map(PathBuf::from);
        let mut args =
            Self { limits, pairs: 5, mib: 1024, small: 4_000, reclaim: None, heal: false, dir: None };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            let number = |text: String| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
            match word.as_str() {
                "--bench" => {}
                "--limits" => args.limits = Some(value()?.into()),
                "--pairs" => {
                    args.pairs = u32::try_from(number(value()?)?).map_err(|error| error.to_string())?
                }
                "--mib" => args.mib = number(value()?)?,
                "--small" => args.small = number(value()?)?,
                "--reclaim" => args.reclaim = Some(number(value()?)?),
                "--heal" => args.heal = true,
                "--dir" => args.dir = Some(value()?.into()),
                _ => return Err(HELP.to_owned()),
            }
        }
        Ok(args)
    }
}

/// The pairs of one round: a name, what ours did, and what the ideal did, if it was asked.
type Round = Vec<(&'static str, Figure, Option<Figure>)>;

async fn round(args: &Args, limits: Option<&Limits>) -> Round {
    let bench = Bench::start(args.dir.as_deref(), args.mib);
    let upload = |streams| limits.map(|limits| limits.upload(args.mib, streams));
    let download = || limits.map(|limits| limits.download(args.mib));
    let mut pairs: Round = vec![("1 file up", bench.put_one(), upload(4))];
    pairs.push(("1 file down, first time", bench.get_one(), None));
    pairs.push(("1 file down", bench.get_one(), download()));
    pairs.push(("8 files up at once", bench.put_eight(), upload(8)));
    let [put, get, delete] = bench.small(args.small).await;
    let [ideal_put, ideal_get] = limits.map(Limits::small).map_or([None, None], |both| both.map(Some));
    pairs.push(("4 KiB put, 32 at once", put, ideal_put));
    pairs.push(("4 KiB get, 32 at once", get, ideal_get));
    pairs.push(("4 KiB delete, 32 at once", delete, None));
    pairs
}

fn main() -> ExitCode {
    let args = match Args::parse() {
        Ok(args) => args,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(2);
        }
    };
    if let Some(count) = args.reclaim {
        println!("{}", reclaim::measure(args.dir.as_deref(), args.pairs, count));
        return ExitCode::SUCCESS;
    }
    if args.heal {
        println!("{}", heal::measure(args.dir.as_deref(), args.pairs, args.mib, args.small));
        return ExitCode::SUCCESS;
    }
    let limits = args.limits.as_deref().map(|path| Limits::at(path, args.dir.as_deref()));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut table = Table::default();
    for number in 1..=args.pairs {
        eprintln!("round {number} of {}", args.pairs);
        for (name, ours, ideal) in runtime.block_on(round(&args, limits.as_ref())) {
            eprintln!("  {name}: {ours:?} beside {ideal:?}");
            table.add(name, ours, ideal);
        }
    }
    println!("{}", table.markdown(&ours::conditions(args.mib, args.pairs)));
    ExitCode::SUCCESS
}
