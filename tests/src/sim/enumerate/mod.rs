//! Every step that can be a process's last.
//!
//! Each scripted life ([`Plan::scripted`]) is run once and its steps are taken down: each change of a disk, each part of a metadata
//! commit, each frame sent. Each has a name, and every name is listed (`listed.rs`) with the step of the write path that it
//! belongs to. Then, for each step, a world in which that host ends just before it, or just after it, and comes back a while
//! later; and for pairs of steps, a world with both. What must hold at the end is what must hold after any run.
//!
//! Of the second life only what the first one does not have is enumerated, by the names of the steps.

mod listed;

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use super::fate::Crash;
use super::faults::{Fault, Planned};
use super::plan::{Life, Plan};
use super::run::{Report, run};
use super::steps::Step;
use super::sweep::sweep;
use super::{mended, script};

pub use listed::{LISTED, PARTS, empty_parts};

/// The seed of the script: what it decides is how long things are on their way, and which of the unsynced survives.
pub const SEED: u64 = 1;
/// How long a host is down after a crash: no client notices, clients wait for it, clients give it up.
const DOWN_MS: [u64; 3] = [300, 3_000, 12_000];
/// What a host does so soon after its start is its recovery.
const RECOVERY_MS: u64 = 5_000;

/// How much is enumerated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// After the first occurrence of each name.
    Once,
    /// After the first occurrence of each name and before the last, and a second crash in each recovery.
    Short,
    /// Each step.
    EachStep,
    /// Each ordered pair of names.
    EachPair,
}

impl FromStr for Extent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "once" => Ok(Self::Once),
            "short" => Ok(Self::Short),
            "step" => Ok(Self::EachStep),
            "pair" => Ok(Self::EachPair),
            _ => Err(format!("`{text}` is no extent; there are `once`, `short`, `step` and `pair`")),
        }
    }
}

/// A world with one crash or two.
#[derive(Clone, Debug)]
pub struct Point {
    /// How it ends, and the names of the steps.
    pub name: String,
    /// The names of the last of them.
    pub steps: Vec<String>,
    /// What is to be run.
    pub plan: Plan,
    /// The step of the crash, if others are to follow it in other worlds.
    leads_on: Option<Step>,
}

/// The lives that are enumerated over, each with the seed of its own.
pub const LIVES: [Life; 2] = [Life::Scripted, Life::Mended];

/// The steps of a life while nothing ends before its time.
///
/// # Errors
/// If not even that is clean.
pub fn steps(life: Life) -> Result<Vec<Step>, String> {
    let plan = Plan { keep: true, ..Plan::scripted(life, SEED) };
    let report = run(&plan);
    match report.wrong.is_empty() {
        true => Ok(within_script(life, report.trace.steps())),
        false => Err(format!("without a crash: {}; again: {plan}", report.wrong.join("; "))),
    }
}

/// Steps of the script itself: what comes after it is there to look at what is left.
fn within_script(life: Life, mut steps: Vec<Step>) -> Vec<Step> {
    let end_ms = match life {
        Life::Mended => mended::END_MS,
        Life::Scripted | Life::Random => script::END_MS,
    };
    steps.retain(|step| step.at < end_ms * 1000);
    steps
}

/// A life, its steps, and the names of those that an earlier one has.
struct Book {
    life: Life,
    steps: Vec<Step>,
    known: BTreeSet<String>,
}

impl Book {
    fn all() -> Result<Vec<Self>, String> {
        let mut known = BTreeSet::new();
        let book = |life| {
            let steps = steps(life)?;
            let names: Vec<String> = by_name(&steps).into_keys().map(str::to_owned).collect();
            let book = Self { life, steps, known: known.clone() };
            known.extend(names);
            Ok(book)
        };
        LIVES.into_iter().map(book).collect()
    }

    fn is_new(&self, step: &Step) -> bool {
        step.names.iter().any(|name| !self.known.contains(name))
    }
}

/// The places in `steps` at which each name occurs.
pub fn by_name(steps: &[Step]) -> BTreeMap<&str, Vec<usize>> {
    let mut found: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, step) in steps.iter().enumerate() {
        step.names.iter().for_each(|name| found.entry(name).or_default().push(at));
    }
    found
}

/// How a host ends at a step.
#[derive(Clone, Copy)]
struct Way {
    after: bool,
    power: bool,
}

const BEFORE: Way = Way { after: false, power: true };
const AFTER: Way = Way { after: true, power: true };
const KILLED: Way = Way { after: false, power: false };

/// The faults of a host that ends at a step, and comes back if it is a node.
fn crash(step: &Step, way: Way) -> Vec<Planned> {
    let Step { at, host, place, number, .. } = *step;
    let crash = Crash { host, place, number, after: way.after, power: way.power };
    let mut faults = vec![Planned { at_ms: 0, fault: Fault::Crash(crash) }];
    if !host.is_client() {
        let down_ms = DOWN_MS[(number as usize + usize::from(way.after)) % DOWN_MS.len()];
        faults.push(Planned { at_ms: at / 1000 + down_ms, fault: Fault::Start(host) });
    }
    faults
}

fn point(life: Life, name: &str, steps: &[String], way: Way, mut faults: Vec<Planned>) -> Point {
    let how = match way {
        Way { power: false, .. } => "killed at",
        Way { after: false, .. } => "dies before",
        Way { after: true, .. } => "dies after",
    };
    faults.sort_by_key(|planned| planned.at_ms);
    let plan = Plan { faults, ..Plan::scripted(life, SEED) };
    Point { name: format!("{how} {name}"), steps: steps.to_vec(), plan, leads_on: None }
}

/// Worlds with one crash.
fn singles(book: &Book, extent: Extent) -> Vec<Point> {
    let Book { life, steps, .. } = book;
    let mut points = Vec::new();
    for (turn, (name, places)) in by_name(steps).into_iter().enumerate() {
        let once =
            |place: &usize, way| point(*life, name, &steps[*place].names, way, crash(&steps[*place], way));
        let new = !book.known.contains(name);
        if extent == Extent::EachStep {
            // A step with several names is one step.
            let mine = |place: &&usize| steps[**place].names.first().is_some_and(|first| first == name);
            let new = |place: &&usize| book.is_new(&steps[**place]);
            points.extend(
                places
                    .iter()
                    .filter(mine)
                    .filter(new)
                    .flat_map(|place| [BEFORE, AFTER].map(|way| once(place, way))),
            );
            continue;
        }
        // Of pairs the second one may be new where the first is not.
        let first = places.first().into_iter().filter(|_| new || extent == Extent::EachPair);
        points.extend(first.map(|place| {
            let (mut point, step) = (once(place, AFTER), steps[*place].clone());
            if extent != Extent::Once {
                (point.plan.keep, point.leads_on) = (true, Some(step));
            }
            point
        }));
        if extent == Extent::Short && new {
            let last = places.last().into_iter();
            points.extend(last.map(|place| once(place, if turn % 2 == 0 { BEFORE } else { KILLED })));
        }
    }
    points
}

/// Worlds with a second crash. `then` are the steps of the world with the first one alone; `turn` says which of them is
/// chosen, where not all are.
fn doubles(book: &Book, first: &Step, then: Vec<Step>, turn: usize, extent: Extent) -> Vec<Point> {
    let once = crash(first, AFTER);
    let back_ms = once.last().map_or(0, |planned| planned.at_ms);
    let is_recovery =
        |step: &Step| step.host == first.host && (back_ms..back_ms + RECOVERY_MS).contains(&(step.at / 1000));
    let mut seen = BTreeSet::new();
    let mut seconds = within_script(book.life, then);
    seconds.retain(|step| {
        step.at > first.at
            && (extent == Extent::EachPair || is_recovery(step))
            && (extent != Extent::EachPair || book.is_new(first) || book.is_new(step))
            && step.names.iter().filter(|name| seen.insert((*name).clone())).count() > 0
    });
    let chosen = match extent {
        Extent::EachPair => &seconds[..],
        _ if seconds.is_empty() => &[],
        _ => std::slice::from_ref(&seconds[turn % seconds.len()]),
    };
    let both = |second: &Step| {
        let names = format!("{}, and then {}", first.names.join(" and "), second.names.join(" and "));
        let faults = once.iter().copied().chain(crash(second, AFTER)).collect();
        point(book.life, &names, &second.names, AFTER, faults)
    };
    chosen.iter().map(both).collect()
}

/// Runs worlds with one crash, and finds those with a second.
fn first_round(
    book: &Book,
    points: &[Point],
    extent: Extent,
    jobs: usize,
    mut each: impl FnMut(&Point, &Report),
) -> Vec<Point> {
    let (mut second, mut turn) = (Vec::new(), 0);
    let mut left = points.iter();
    sweep(&plans(points), jobs, |_, report| {
        let Some(point) = left.next() else { return };
        each(point, &report);
        if let Some(first) = &point.leads_on {
            second.extend(doubles(book, first, report.trace.steps(), turn, extent));
            turn += 1;
        }
    });
    second
}

fn plans(points: &[Point]) -> Vec<Plan> {
    points.iter().map(|point| point.plan.clone()).collect()
}

/// Runs every point on so many threads; `each` is given it with what came of it.
///
/// # Errors
/// As [`steps`].
pub fn enumerate(extent: Extent, jobs: usize, mut each: impl FnMut(&Point, &Report)) -> Result<(), String> {
    for book in Book::all()? {
        let second = first_round(&book, &singles(&book, extent), extent, jobs, &mut each);
        let mut left = second.iter();
        sweep(&plans(&second), jobs, |_, report| {
            left.next().into_iter().for_each(|point| each(point, &report));
        });
    }
    Ok(())
}

/// Worlds of a life with one crash: after each name that an earlier life does not have is first done, and about when it is last
/// done.
///
/// # Errors
/// As [`steps`].
pub fn first_crashes(life: Life) -> Result<Vec<Plan>, String> {
    let book = Book::all()?.into_iter().find(|book| book.life == life);
    let points = book.map(|book| singles(&book, Extent::Short)).unwrap_or_default();
    Ok(plans(&points).into_iter().map(|plan| Plan { keep: false, ..plan }).collect())
}

/// The points themselves. To know what comes after a first crash, its world is run.
///
/// # Errors
/// As [`steps`].
pub fn points(extent: Extent, jobs: usize) -> Result<Vec<Point>, String> {
    let mut points = Vec::new();
    for book in Book::all()? {
        let mut all = singles(&book, extent);
        let (leading, _): (Vec<_>, Vec<_>) = all.iter().cloned().partition(|point| point.leads_on.is_some());
        all.extend(first_round(&book, &leading, extent, jobs, |_, _| {}));
        points.append(&mut all);
    }
    points.iter_mut().for_each(|point| point.plan.keep = false);
    Ok(points)
}
