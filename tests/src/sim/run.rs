//! A run: a world from its first tick to its verdict.

mod older;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use dfs_actors::supervisor::ActorTree;

use super::client::{Load, PATHS, Program, history};
use super::faults::Planned;
use super::id::HostId;
use super::plan::{LOAD_MAX_MS, Life, Plan};
use super::trace::{Trace, What};
use super::world::{LOAD_BEGINS, World};
use super::{mended, script};
use crate::history::check;

/// Within so much time after everything works again, nothing is left on disks that nobody wants.
const TIDY_MS: u64 = 240_000;
/// Silence after which it is not said to be up.
const SILENT_SOON_MS: u64 = 8_000;
/// Silence after which a node counts as down.
const SILENT_MS: u64 = 32_000;
const AUDITOR: HostId = HostId::client(90);
/// In one world of so many an operator restores an older copy of the metadata, at the end.
const OLDER_ONE_OF: u64 = 4;
const ROGUE: HostId = HostId::client(80);

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The number that stands for all that happened.
    pub hash: u64,
    /// How many events that was.
    pub events: u64,
    /// Operations of clients.
    pub operations: usize,
    /// Virtual milliseconds.
    pub took_ms: u64,
    /// What went wrong; nothing if the run is clean.
    pub wrong: Vec<String>,
    /// What happened.
    pub trace: Trace,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trace({:016x})", self.hash())
    }
}

impl Report {
    /// Of a run that came to no verdict.
    pub(super) fn failed(why: String) -> Self {
        let trace = Trace::new(false);
        Self { hash: 0, events: 0, operations: 0, took_ms: 0, wrong: vec![why], trace }
    }
}

/// Runs a plan to its verdict.
pub fn run(plan: &Plan) -> Report {
    listen_to_logs();
    let mut world = World::new(plan.seed, plan.nodes, plan.keep);
    let mut wrong = Vec::new();
    let lived = match plan.life {
        Life::Random => live(&mut world, plan),
        Life::Scripted => live_script(&mut world, plan, &Script::first()),
        Life::Mended => live_script(&mut world, plan, &Script::second()),
    };
    // What was seen first comes first; what did not come to its end may be only what followed from it.
    wrong.extend(world.ledger.accusations());
    wrong.extend(lived.err());
    let ops = history(&world.ledger);
    let operations = ops.len();
    if wrong.is_empty() {
        wrong.extend(check(PATHS, ops).err());
        wrong.extend(unexpected_errors(&world));
    }
    let (trace, took_ms) = (world.trace.clone(), world.now_ms());
    let (hash, events) = (trace.hash(), trace.count());
    // Nobody is left there to accuse.
    wrong.append(&mut world.end());
    Report { hash, events, operations, took_ms, wrong, trace }
}

fn listen_to_logs() {
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let levels = tracing_subscriber::filter::Targets::new()
            .with_default(tracing::Level::WARN)
            .with_target("dfs_actors::coordinator::metadata::writer::committer", tracing::Level::TRACE);
        let logs = tracing_subscriber::registry().with(levels).with(super::trace::Logs);
        logs.try_init().expect("what is logged in a run is heard here, and nowhere else");
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| super::trace::panicked(info, || before(info))));
    });
}

/// The world from beginning to end. An error is a world in which something did not come to its end.
fn live(world: &mut World, plan: &Plan) -> Result<(), String> {
    world.nodes().into_iter().for_each(|id| world.start(id));
    world.employ(AUDITOR, Program::Prepare(plan.nodes.into()));
    until_done(world, &[AUDITOR], LOAD_MAX_MS)?;
    let tasks: BTreeMap<HostId, usize> = world.nodes().into_iter().map(|id| (id, world.tasks(id))).collect();
    let mut clients: Vec<_> = (1..=plan.clients).map(HostId::client).collect();
    let load = Load { operations: plan.ops, span_ms: plan.span_ms() };
    clients.iter().for_each(|id| world.employ(*id, Program::Load(load)));
    world.employ(ROGUE, Program::Rogue(plan.ops));
    clients.push(ROGUE);
    under_load(world, plan, &clients)?;
    told(world)?;
    world.heal();
    world.employ(AUDITOR, Program::Settle(plan.nodes.into()));
    clients.push(AUDITOR);
    until_done(world, &clients, LOAD_MAX_MS)?;
    settled(world, plan.nodes, &tasks)?;
    if !world.ledger.has_accused() && plan.seed.is_multiple_of(OLDER_ONE_OF) {
        older::restored(world, plan.nodes.into())?;
        settled(world, plan.nodes, &tasks)?;
    }
    Ok(())
}

/// Everything is as it should be once nothing is broken any more.
fn settled(world: &mut World, nodes: u16, tasks: &BTreeMap<HostId, usize>) -> Result<(), String> {
    if world.ledger.has_accused() {
        return Ok(());
    }
    world.employ(AUDITOR, Program::Audit(nodes.into()));
    until_done(world, &[AUDITOR], LOAD_MAX_MS)?;
    if !world.ledger.has_accused() {
        tidied(world, tasks)?;
    }
    Ok(())
}

/// A life that is written down.
struct Script {
    faults: Vec<Planned>,
    parts: Vec<(HostId, Program)>,
    /// Whoever has most to do: the life lasts as long as he lives.
    actor: HostId,
    end_ms: u64,
    /// Bytes of each datanode's disk, if that is another number than elsewhere.
    disk_bytes: Option<u64>,
    /// What is to be done before the end, whoever died on the way.
    last: Option<Program>,
}

impl Script {
    fn first() -> Self {
        let parts = vec![
            (script::ACTOR, Program::Act),
            (script::QUITTER, Program::Quit),
            (script::RECORDER, Program::Record(script::GIVE_UP_MS)),
        ];
        let (faults, end_ms) = (script::happens(), script::END_MS);
        Self { faults, parts, actor: script::ACTOR, end_ms, disk_bytes: None, last: None }
    }

    fn second() -> Self {
        let parts = vec![(mended::ACTOR, Program::Mend), (mended::OPERATOR, Program::Operate)];
        let (faults, end_ms) = (mended::happens(), mended::END_MS);
        let (disk_bytes, last) = (Some(mended::DISK_BYTES), Some(Program::TakeBack));
        Self { faults, parts, actor: mended::ACTOR, end_ms, disk_bytes, last }
    }
}

/// The world of a script, from beginning to end.
fn live_script(world: &mut World, plan: &Plan, script: &Script) -> Result<(), String> {
    let mut faults = script.faults.clone();
    faults.extend(&plan.faults);
    faults.sort_by_key(|planned| planned.at_ms);
    let mut faults = faults.into_iter().peekable();
    if let Some(bytes) = script.disk_bytes {
        world.resize_disks(bytes);
    }
    world.nodes().into_iter().for_each(|id| world.start(id));
    script.parts.iter().for_each(|(host, program)| world.employ(*host, program.clone()));
    while world.is_up(script.actor) || world.now_ms() < script.end_ms || faults.peek().is_some() {
        while let Some(planned) = faults.next_if(|planned| planned.at_ms <= world.now_ms()) {
            world.inflict(planned.fault);
        }
        if world.now_ms() > LOAD_MAX_MS {
            return Err("the script has not come to its end".to_owned());
        }
        world.tick();
    }
    let missed: Vec<_> = world.crashes_to_come().iter().map(ToString::to_string).collect();
    if !missed.is_empty() {
        return Err(format!("these crashes never came: {}", missed.join(", ")));
    }
    told(world)?;
    world.heal();
    if let Some(last) = &script.last {
        world.employ(AUDITOR, last.clone());
        until_done(world, &[AUDITOR], LOAD_MAX_MS)?;
    }
    world.employ(AUDITOR, Program::Settle(plan.nodes.into()));
    until_done(world, &[AUDITOR], LOAD_MAX_MS)?;
    settled(world, plan.nodes, &idle_tasks(plan.nodes))
}

/// The tasks of so many nodes that have done nothing yet but find each other.
fn idle_tasks(nodes: u16) -> BTreeMap<HostId, usize> {
    static TASKS: Mutex<BTreeMap<u16, BTreeMap<HostId, usize>>> = Mutex::new(BTreeMap::new());
    let look = move || {
        let mut world = World::new(0, nodes, false);
        let nodes = world.nodes();
        nodes.iter().for_each(|id| world.start(*id));
        while world.now_ms() < script::BEGIN_MS {
            world.tick();
        }
        nodes.into_iter().map(|id| (id, world.tasks(id))).collect()
    };
    // A thread has one world at a time.
    let mut all = TASKS.lock().unwrap_or_else(PoisonError::into_inner);
    all.entry(nodes).or_insert_with(|| std::thread::spawn(look).join().expect("nodes start")).clone()
}

/// Lets `look` see the trees of a coordinator and of a datanode while they run.
///
/// # Panics
/// If the two do not find each other.
pub fn with_trees<T>(look: impl FnOnce(&ActorTree, &ActorTree) -> T) -> T {
    let mut world = World::new(0, 1, false);
    world.nodes().into_iter().for_each(|id| world.start(id));
    world.employ(AUDITOR, Program::Prepare(1));
    until_done(&mut world, &[AUDITOR], LOAD_MAX_MS).expect("they find each other");
    let tree = |id| world.probe(id).look().tree.clone().expect("it runs");
    look(&tree(HostId::COORDINATOR), &tree(HostId::datanode(1)))
}

fn until_done(world: &mut World, clients: &[HostId], patience_ms: u64) -> Result<(), String> {
    let end = world.now_ms() + patience_ms;
    while let Some(busy) = clients.iter().find(|id| world.is_up(**id)) {
        if world.now_ms() > end {
            return Err(format!("{busy} has not come to an end in {} s", patience_ms / 1000));
        }
        if let Some(late) = world.is_late() {
            return Err(late);
        }
        world.tick();
    }
    Ok(())
}

/// Sees that no node is said to be away with which nothing is wrong. If datanodes are down, waits for as long as one may be
/// silent, and sees whether that is told.
fn told(world: &mut World) -> Result<(), String> {
    // Whoever is down from now on was down before.
    world.call_off_crashes();
    let down = world.missing();
    if down.is_empty() {
        let well = world.well();
        if well.is_empty() {
            return Ok(());
        }
        world.employ(AUDITOR, Program::Told(vec![], well));
        return until_done(world, &[AUDITOR], LOAD_MAX_MS);
    }
    world.operate(HostId::COORDINATOR);
    let (soon, end) = (world.now_ms() + SILENT_SOON_MS, world.now_ms() + SILENT_MS);
    while world.now_ms() < soon {
        world.tick();
    }
    world.employ(AUDITOR, Program::Silent(down.len(), world.nodes().len() - 1));
    until_done(world, &[AUDITOR], LOAD_MAX_MS)?;
    while world.now_ms() < end {
        world.tick();
    }
    let well = world.well();
    world.employ(AUDITOR, Program::Told(down, well));
    until_done(world, &[AUDITOR], LOAD_MAX_MS)
}

fn under_load(world: &mut World, plan: &Plan, clients: &[HostId]) -> Result<(), String> {
    let began = world.now_ms();
    world.say(LOAD_BEGINS);
    let mut faults = plan.faults.iter().peekable();
    while faults.peek().is_some() || clients.iter().any(|id| world.is_up(*id)) {
        while let Some(planned) = faults.next_if(|planned| began + planned.at_ms <= world.now_ms()) {
            world.inflict(planned.fault);
        }
        if faults.peek().is_none()
            && plan.faults.last().is_none_or(|last| world.now_ms() > began + last.at_ms + 100)
        {
            return Ok(());
        }
        if world.now_ms() > began + LOAD_MAX_MS {
            return Err("the load has not come to an end".to_owned());
        }
        world.tick();
    }
    Ok(())
}

/// Waits until nothing is on any disk, in any buffer, that nobody wants.
fn tidied(world: &mut World, tasks: &BTreeMap<HostId, usize>) -> Result<(), String> {
    let end = world.now_ms() + TIDY_MS;
    loop {
        let litter = [litter(world), leaks(world, tasks)].concat();
        if litter.is_empty() {
            return Ok(());
        }
        if world.now_ms() > end {
            return Err(format!("{} s after all faults: {}", TIDY_MS / 1000, litter.join("; ")));
        }
        let next = world.now_ms() + 1000;
        while world.now_ms() < next {
            world.tick();
        }
    }
}

/// What is on disks and should not be, or should be and is not.
fn litter(world: &World) -> Vec<String> {
    let live = world.ledger.live().clone();
    let mut litter = Vec::new();
    let mut there = BTreeSet::new();
    for (host, node, keys) in world.on_disks() {
        let orphans: Vec<_> = keys.iter().filter(|key| !live.contains(&(**key, node))).collect();
        if let Some(one) = orphans.first() {
            litter.push(format!("{} orphans on {host}, {one} among them", orphans.len()));
        }
        there.extend(keys.into_iter().map(|key| (key, node)));
    }
    for host in world.nodes() {
        let unfinished = world.unfinished(host);
        if !unfinished.is_empty() {
            litter.push(format!("unfinished or set aside on {host}: {unfinished:?}"));
        }
    }
    let rotten = world.ledger.disks.to_be_healed();
    if let Some(one) = rotten.first() {
        litter.push(format!("{} copies are rotten and others are good, {one} among them", rotten.len()));
    }
    let good: BTreeSet<_> = world.ledger.good().values().flatten().copied().collect();
    if let Some((key, node)) = good.difference(&there).next() {
        litter.push(format!("{key} is called good on {node}, and is not there"));
    }
    litter
}

/// What has not come to its end in a process: tasks, messages, buffers.
fn leaks(world: &World, tasks: &BTreeMap<HostId, usize>) -> Vec<String> {
    let (mut leaks, members) = (Vec::new(), world.nodes().len());
    for (id, before) in tasks {
        let now = world.tasks(*id);
        if now > *before {
            leaks.push(format!("{now} tasks on {id}, {before} at first"));
        }
        let seen = world.probe(*id).look();
        let left = seen.talk.iter().flat_map(|talk| talk.leftovers(members));
        leaks.extend(left.map(|left| format!("{left} on {id}")));
        let transfers = seen.transfers.as_ref().map_or(0, |count| count());
        if transfers > 0 {
            leaks.push(format!("{transfers} chunks come and go on {id}"));
        }
        for (purpose, budget) in &seen.budgets {
            if budget.available() != budget.total() {
                let gone = budget.total() - budget.available();
                leaks.push(format!("{gone} slabs of {purpose} on {id} have not come back"));
            }
        }
        let rows = seen.tree.as_ref().map(|tree| tree.snapshot()).unwrap_or_default();
        let stuck = rows.iter().filter(|row| row.stats.depth > 0).map(|row| row.path.as_str());
        let stuck: Vec<_> = stuck.collect();
        if !stuck.is_empty() {
            leaks.push(format!("messages wait on {id} for {stuck:?}"));
        }
    }
    leaks
}

/// What is logged as an error with nothing near that explains it: a node whose disk or actors fail is right to say so.
fn unexpected_errors(world: &World) -> Vec<String> {
    let events = world.trace.events();
    let errors = events.iter().filter(|event| {
        matches!(event.what, What::Log(tracing::Level::ERROR, _))
            && !world.ledger.troubles.may_log_errors(event.host, event.at)
    });
    errors.take(5).map(|event| format!("logged: {event}")).collect()
}
