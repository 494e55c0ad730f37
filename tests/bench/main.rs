//! Throughput and processor time of a whole cluster beside the ideal of the same machine; not a test. See README.md here.

mod churn;
mod heal;
mod ideal;
mod inventory;
mod kills;
mod load;
mod ours;
mod reclaim;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use dfs_tests::Trust;
use ideal::Limits;
use ours::Bench;
use table::{Figure, Table};

/// What is measured.
enum Subject {
    /// The workloads beside the ideal.
    Pairs,
    /// The workloads on a secured cluster beside one that is not.
    Secured,
    /// How fast so many deleted files are given back.
    Reclaim(u64),
    /// A datanode that dies with its disk, while clients take so many percent of what goes.
    Heal(u64),
    /// Inventories of so many files.
    Inventory(u64),
    /// Putting and deleting for so long.
    Churn(Duration),
    /// A coordinator that is killed while copies are made.
    Kills,
}

/// What the command line says.
struct Args {
    limits: Option<PathBuf>,
    pairs: u32,
    mib: u64,
    small: u64,
    subject: Subject,
    dir: Option<PathBuf>,
}

const HELP: &str = "cargo bench -p dfs-tests --bench figures -- [--limits PATH] [--pairs 5] [--mib 1024] [--small 4000] [SUBJECT] [--dir DIR]
  --limits  the crate, or the built binary, that measures the ideals; or DFS_BENCH_LIMITS. Without it there are no ratios
  --pairs   rounds: of ours and ideal in turn, or of the subject
  --mib     bytes of the large file, and of the eight files together
  --small   small files per round
  --dir     where the cluster and the ideals keep their data (default: the temporary directory)
instead of all that, one SUBJECT:
  --secured          the same workloads with TLS, beside the same without
  --reclaim COUNT    how fast so many deleted files of 4 KiB are given back, beside how fast they were put
  --heal PERCENT     a datanode of six dies with its disk, --mib in large files and --small small ones, while clients take so much of what goes
  --inventory COUNT  what it costs the coordinator that each datanode tells all its copies of so many files
  --churn SECONDS    small files put and deleted at full rate for so long: whether what they leave behind levels off
  --kills            a coordinator that is killed ten times in a repair, a drain and a balance, --mib in large files";

impl Args {
    fn parse() -> Result<Self, String> {
        let limits = std::env::var_os("DFS_BENCH_LIMITS").map(PathBuf::from);
        let mut args = Self { limits, pairs: 5, mib: 1024, small: 4_000, subject: Subject::Pairs, dir: None };
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
                "--secured" => args.subject = Subject::Secured,
                "--reclaim" => args.subject = Subject::Reclaim(number(value()?)?),
                "--heal" => args.subject = Subject::Heal(number(value()?)?),
                "--inventory" => args.subject = Subject::Inventory(number(value()?)?),
                "--churn" => args.subject = Subject::Churn(Duration::from_secs(number(value()?)?)),
                "--kills" => args.subject = Subject::Kills,
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
    let bench = Bench::start(args.dir.as_deref(), args.mib, Trust::Cluster);
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
    let (dir, rounds) = (args.dir.as_deref(), args.pairs);
    let text = match args.subject {
        Subject::Pairs => pairs(&args),
        Subject::Secured => secured(&args),
        Subject::Reclaim(count) => reclaim::measure(dir, rounds, count),
        Subject::Heal(load_percent) => {
            heal::measure(dir, rounds, heal::Filled { mib: args.mib, small: args.small }, load_percent)
        }
        Subject::Inventory(count) => inventory::measure(dir, rounds, count),
        Subject::Churn(lasts) => churn::measure(dir, lasts),
        Subject::Kills => kills::measure(dir, args.mib, rounds),
    };
    println!("{text}");
    ExitCode::SUCCESS
}

/// The workloads beside the ideal, as Markdown.
fn pairs(args: &Args) -> String {
    let limits = args.limits.as_deref().map(|path| Limits::at(path, args.dir.as_deref()));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut table = Table::default();
    for number in 1..=args.pairs {
        eprintln!("round {number} of {}", args.pairs);
        for (name, ours, ideal) in runtime.block_on(round(args, limits.as_ref())) {
            eprintln!("  {name}: {ours:?} beside {ideal:?}");
            table.add(name, ours, ideal);
        }
    }
    table.markdown(&ours::conditions(args.mib, args.pairs), ("dfs", "ideal"))
}

/// The workloads with TLS beside the same without, in turn, as Markdown.
fn secured(args: &Args) -> String {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut table = Table::default();
    for number in 1..=args.pairs {
        eprintln!("round {number} of {}", args.pairs);
        let run = |trust| {
            let bench = Bench::start(args.dir.as_deref(), args.mib, trust);
            let mut figures =
                vec![("1 file up", bench.put_one()), ("1 file down, first time", bench.get_one())];
            figures.extend([("1 file down", bench.get_one()), ("8 files up at once", bench.put_eight())]);
            let [put, get, delete] = runtime.block_on(bench.small(args.small));
            let small = ["4 KiB put, 32 at once", "4 KiB get, 32 at once", "4 KiB delete, 32 at once"];
            figures.extend(small.into_iter().zip([put, get, delete]));
            figures
        };
        // Whichever is first warms the machine up: they take turns at that.
        let (with, without) = match number % 2 {
            0 => (run(Trust::Cluster), run(Trust::Everybody)),
            _ => {
                let without = run(Trust::Everybody);
                (run(Trust::Cluster), without)
            }
        };
        for ((name, with), (_, without)) in with.into_iter().zip(without) {
            eprintln!("  {name}: {with:?} beside {without:?}");
            table.add(name, with, Some(without));
        }
    }
    table.markdown(&ours::conditions(args.mib, args.pairs), ("secured", "plain"))
}
