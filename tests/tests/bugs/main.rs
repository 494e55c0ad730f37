//! The simulator bites: each bug that can be planted in production code is found by it, within a number of seeds that is written down.
//!
//! ```sh
//! cargo test --profile sim -p dfs-tests --features bugs,sim --test bugs                        # all of them
//! cargo test --profile sim -p dfs-tests --features bugs,sim --test bugs -- SkipFileSync        # one of them
//! cargo test --profile sim -p dfs-tests --features bugs,sim --test bugs -- SkipFileSync 7      # one of them, by one seed
//! ```
//! One that only a job can have is looked for where jobs are: the seeds are then the numbers of the worlds with one crash in the second scripted
//! life. What finds a bug is what looks at every run of the simulator. Without it the same seeds are clean. The table of what was
//! found, when this was last written down, is in `tests/README.md`, and so
//! is the number of seeds that each may need.

use std::collections::BTreeMap;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dfs_tests::sim::enumerate::first_crashes;
use dfs_tests::sim::{Life, Plan, run_apart_after};
use dfs_wire::bugs::{self, Bug};

/// Where the table is in which each bug has its budget, in the third column.
const README: &str = include_str!("../../README.md");

/// Seeds that may be needed to find a bug.
fn budget(bug: Bug) -> Result<Range<u64>, String> {
    let name = format!("`{bug:?}`");
    let rows = README.lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    let mut budgets =
        rows.filter(|row| row.get(1) == Some(&name.as_str())).map(|row| row.get(3)?.parse().ok());
    let budget = budgets.next().flatten().ok_or_else(|| format!("tests/README.md gives {name} no budget"))?;
    Ok(0..budget)
}

/// What came of looking for a bug.
struct Search {
    bug: Bug,
    /// The last seed that was run.
    seed: u64,
    /// What was wrong with its run.
    wrong: Option<String>,
    took: Duration,
}

/// What is wrong with a run while a bug is there.
fn wrong(plan: &Plan, bug: Option<Bug>) -> Vec<String> {
    run_apart_after(plan, move || bugs::plant(bug)).wrong
}

/// The plan of a seed, where a bug is looked for; `None` if there are not so many.
fn plan(bug: Bug, seed: u64) -> Option<Plan> {
    static CRASHES: LazyLock<Vec<Plan>> =
        LazyLock::new(|| first_crashes(Life::Mended).expect("the scripted lives are clean"));
    match bug {
        Bug::LoseJobCursor => CRASHES.get(usize::try_from(seed).ok()?).cloned(),
        _ => Some(Plan::of(seed)),
    }
}

fn look_for(bug: Bug, seeds: Range<u64>) -> Search {
    let (began, mut seed) = (Instant::now(), seeds.start);
    let found = seeds.map_while(|next| Some((next, plan(bug, next)?))).find_map(|(next, plan)| {
        seed = next;
        wrong(&plan, Some(bug)).into_iter().next()
    });
    Search { bug, seed, wrong: found, took: began.elapsed() }
}

/// Does `work` for each item, on as many threads as there are cores.
fn each<T: Send>(items: Vec<T>, work: impl Fn(T) + Sync) {
    let queue = Mutex::new(items.into_iter());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(item) = next() {
                    work(item);
                }
            });
        }
    });
}

fn tell(search: &Search) {
    let (name, seconds) = (format!("{:?}", search.bug), search.took.as_secs_f64());
    match &search.wrong {
        Some(what) => {
            let what: String = what.chars().take(200).collect();
            println!("{name:<20} seed {:>3}  {seconds:>6.1} s  {}", search.seed, what.replace('\n', " "));
        }
        None => println!("{name:<20} NOT FOUND up to seed {}, {seconds:.1} s", search.seed),
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    match asked_for(&words) {
        Ok(tasks) => look_for_all(tasks),
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

/// Which bugs are to be found, by which seeds.
fn asked_for(words: &[String]) -> Result<Vec<(Bug, Range<u64>)>, String> {
    let (name, seed) = match words {
        [] => return Bug::ALL.iter().map(|bug| Ok((*bug, budget(*bug)?))).collect(),
        [name] => (name, None),
        [name, seed] => (name, Some(seed)),
        _ => return Err("one bug, and one seed".to_owned()),
    };
    let known = Bug::ALL.iter().copied().find(|bug| *name == format!("{bug:?}"));
    let bug = known.ok_or_else(|| format!("there is no bug {name}; there are {:?}", Bug::ALL))?;
    let Some(seed) = seed else { return Ok(vec![(bug, budget(bug)?)]) };
    let seed: u64 = seed.parse().map_err(|why| format!("`{seed}` is no seed: {why}"))?;
    Ok(vec![(bug, seed..seed.saturating_add(1))])
}

fn look_for_all(tasks: Vec<(Bug, Range<u64>)>) -> ExitCode {
    let (used, failed) = (Mutex::new(BTreeMap::new()), Mutex::new(0));
    let count = |set: &Mutex<u32>| *set.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    each(tasks, |(bug, seeds)| {
        let search = look_for(bug, seeds);
        tell(&search);
        match search.wrong {
            Some(_) => {
                let plan = plan(bug, search.seed).map(|plan| (format!("{plan:?}"), (search.seed, plan)));
                used.lock().unwrap_or_else(PoisonError::into_inner).extend(plan);
            }
            None => count(&failed),
        }
    });
    let used = used.into_inner().unwrap_or_else(PoisonError::into_inner);
    each(used.into_values().collect(), |(seed, plan)| {
        if let Some(what) = wrong(&plan, None).first() {
            println!("seed {seed} without any bug: {what}");
            count(&failed);
        }
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
