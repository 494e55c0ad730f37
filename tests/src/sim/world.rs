//! The world: hosts that take turns, the time between them, and what is done to them.
//!
//! A tick is the least time that anything takes to get from one host to another. Within it each host runs by itself, one
//! after the other, so that none sees what another does in the same tick: their order does not matter to what happens, and
//! one thread is enough. While nothing is on its way, ticks grow.

mod endings;
mod looks;
mod strikes;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Weak};

use dfs_actors::supervisor::Strike;
use futures_util::FutureExt as _;

use super::client::{Desk, Ledger, Load, Program};
use super::disk::{Fault as DiskFault, Medium};
use super::fate::Crash;
use super::faults::Fault;
use super::host::{Doom, Host, Stepped, set_now_us};
use super::id::HostId;
use super::net::{LATENCY_MIN_US, Presence, SimNet, Weather};
use super::node::{DATA_DIR, Probe, Site, run_coordinator, run_datanode};
use super::steps::Namer;
use super::trace::Trace;
use crate::Rng;
use crate::rng::mix;

/// The longest tick.
const TICK_MAX_US: u64 = 50_000;

/// What the world says when its clients begin: the times of faults are counted from there.
pub(super) const LOAD_BEGINS: &str = "the load begins";

/// All there is.
pub(super) struct World {
    pub(super) trace: Trace,
    pub(super) ledger: Arc<Ledger>,
    seed: u64,
    rng: Rng,
    net: SimNet,
    hosts: BTreeMap<HostId, Host>,
    media: BTreeMap<HostId, Medium>,
    copies: BTreeMap<HostId, Medium>,
    probes: BTreeMap<HostId, Probe>,
    /// Each life of each host: its number, and what all that it is made of holds.
    lives: Vec<(HostId, u32, Weak<dyn Any>)>,
    /// What clients have to do.
    loads: BTreeMap<HostId, Load>,
    /// Nodes that stopped in order, or were asked to and may have said their goodbye: and in which of their lives.
    left: BTreeMap<HostId, u32>,
    /// Whoever ends is started again.
    supervised: bool,
    /// Nodes whose disks were replaced by older copies.
    aged: BTreeSet<HostId>,
    now: u64,
    tick: u64,
    /// The metadata are an older copy of themselves.
    pub(super) serves_past: bool,
}

impl World {
    /// A coordinator and `nodes` datanodes, all of them down, with empty disks.
    pub(super) fn new(seed: u64, nodes: u16, keep: bool) -> Self {
        set_now_us(0);
        let (trace, mut rng) = (Trace::new(keep), Rng::from_seed(mix(seed)));
        let net = SimNet::new(rng.fork(), trace.clone());
        let ids = std::iter::once(HostId::COORDINATOR).chain((1..=nodes).map(HostId::datanode));
        let mut world = Self {
            ledger: Arc::default(),
            seed,
            rng,
            net,
            hosts: BTreeMap::new(),
            media: BTreeMap::new(),
            copies: BTreeMap::new(),
            probes: BTreeMap::new(),
            lives: Vec::new(),
            loads: BTreeMap::new(),
            left: BTreeMap::new(),
            supervised: false,
            aged: BTreeSet::new(),
            now: 0,
            serves_past: false,
            tick: LATENCY_MIN_US,
            trace: trace.clone(),
        };
        for id in ids {
            world.hosts.insert(id, Host::new(id, trace.clone()));
            let medium = Medium::new(trace.clone(), world.rng.fork());
            if id != HostId::COORDINATOR {
                world.ledger.disks.add(id, medium.clone());
            }
            world.media.insert(id, medium);
            world.probes.insert(id, Probe::default());
            world.net.ended(id, Presence::On);
        }
        world
    }

    /// Nodes, the coordinator first.
    pub(super) fn nodes(&self) -> Vec<HostId> {
        self.media.keys().copied().collect()
    }

    /// Gives the disks of datanodes another size.
    pub(super) fn resize_disks(&self, bytes: u64) {
        let datanodes = self.media.iter().filter(|(id, _)| **id != HostId::COORDINATOR);
        datanodes.for_each(|(_, medium)| medium.resize(bytes));
    }

    /// World time in milliseconds.
    pub(super) fn now_ms(&self) -> u64 {
        self.now / 1000
    }

    pub(super) fn probe(&self, id: HostId) -> &Probe {
        &self.probes[&id]
    }

    /// Datanodes that are down and did not stop in order.
    pub(super) fn missing(&self) -> Vec<HostId> {
        let down =
            |id: &HostId| !self.is_up(*id) && !self.left.contains_key(id) && *id != HostId::COORDINATOR;
        self.nodes().into_iter().filter(down).collect()
    }

    /// Datanodes with which nothing has been wrong for a while.
    pub(super) fn well(&self) -> Vec<HostId> {
        let well = |id: &HostId| self.ledger.troubles.is_well(*id, self.now);
        self.nodes().into_iter().filter(|id| *id != HostId::COORDINATOR).filter(well).collect()
    }

    /// What a client has waited for too long.
    pub(super) fn is_late(&self) -> Option<String> {
        self.ledger.is_late(self.now)
    }

    /// Tasks that a node's process has.
    pub(super) fn tasks(&self, id: HostId) -> usize {
        self.hosts.get(&id).map_or(0, Host::tasks)
    }

    pub(super) fn is_up(&self, id: HostId) -> bool {
        self.hosts.get(&id).is_some_and(Host::is_up)
    }

    /// Starts a node, if it is down.
    pub(super) fn start(&mut self, id: HostId) {
        let (Some(host), Some(medium)) = (self.hosts.get_mut(&id), self.media.get(&id)) else { return };
        if host.is_up() {
            return;
        }
        host.say("starts");
        if id == HostId::COORDINATOR {
            self.trace.tell_namer(Namer::restarted);
        }
        self.net.started(id);
        let (net, medium, probe) = (self.net.clone(), medium.clone(), self.probes[&id].clone());
        let seed = mix(self.seed ^ mix(u64::from(id.0) + 1));
        host.start(|birth| {
            let port = net.port(id, birth.doom.clone());
            let site = Site { birth, port, medium, seed, probe };
            match id {
                HostId::COORDINATOR => run_coordinator(site).boxed(),
                _ => run_datanode(site).boxed(),
            }
        });
        self.watch(id);
    }

    /// Takes down that a life of a host has begun.
    fn watch(&mut self, id: HostId) {
        let Some(host) = self.hosts.get(&id) else { return };
        let dooms = host.doom().map(|doom| -> Weak<dyn Any> { Arc::<Doom>::downgrade(doom) });
        self.lives.extend(dooms.map(|doom| (id, host.lives(), doom)));
    }

    fn host(&mut self, id: HostId) -> &mut Host {
        self.hosts.entry(id).or_insert_with(|| Host::new(id, self.trace.clone()))
    }

    /// Crashes that were planned and have not come.
    pub(super) fn crashes_to_come(&self) -> Vec<Crash> {
        self.hosts.values().flat_map(|host| host.fate.pending()).collect()
    }

    /// Starts a program on a client's host.
    pub(super) fn employ(&mut self, id: HostId, program: Program) {
        if let Program::Load(load) = program {
            self.ledger.owes(id.0.into(), load);
            self.loads.insert(id, load);
        }
        self.begin(id, program);
    }

    /// A client whose process was killed goes on with its work in another one.
    fn go_on(&mut self, id: HostId) {
        if let (Some(load), false) = (self.loads.get(&id).copied(), self.is_up(id)) {
            self.begin(id, Program::Load(load));
            self.hosts[&id].say("starts");
        }
    }

    fn begin(&mut self, id: HostId, program: Program) {
        self.host(id);
        self.net.started(id);
        let (net, ledger, trace) = (self.net.clone(), self.ledger.clone(), self.trace.clone());
        let seed = mix(self.seed ^ mix(u64::from(id.0) + 1));
        self.host(id).start(|birth| {
            let port = net.port(id, birth.doom.clone());
            super::client::run(Desk { birth, port, seed, ledger, trace }, program).boxed()
        });
        self.watch(id);
    }

    /// Lets a tick go by.
    pub(super) fn tick(&mut self) {
        let (before, until) = (self.net.activity(), self.now + self.tick);
        let mut ended = Vec::new();
        for host in self.hosts.values_mut() {
            match host.step(until) {
                Stepped::On => {}
                other => ended.push((host.id, other)),
            }
        }
        self.now = until;
        set_now_us(until);
        for (id, stepped) in ended {
            self.ended(id, stepped);
            if self.supervised {
                self.start(id);
            }
        }
        self.look_around();
        let busy = self.net.activity() != before || self.net.is_busy();
        self.tick = if busy { LATENCY_MIN_US } else { (self.tick * 2).min(TICK_MAX_US) };
    }

    /// Puts something into the trace that no host does.
    pub(super) fn say(&self, text: impl Into<String>) {
        Host::new(HostId::WORLD, self.trace.clone()).say(text);
    }

    /// Does something to the world.
    pub(super) fn inflict(&mut self, fault: Fault) {
        self.say(fault.to_string());
        if fault.is_trouble() {
            self.ledger.troubles.seen(fault.trouble(), self.now);
        }
        match fault {
            Fault::Kill(id) => self.down(id, "is killed", Presence::On),
            Fault::PowerOff(id) => self.power_off(id),
            Fault::Stop(id) => {
                // It may say its goodbye and die of something else before it has ended.
                self.leaves(id);
                self.hosts.get(&id).into_iter().for_each(Host::stop);
            }
            Fault::Start(id) if id.is_client() => self.go_on(id),
            Fault::Start(id) => self.start(id),
            Fault::Pause(id) => self.hosts.get_mut(&id).into_iter().for_each(Host::pause),
            Fault::Resume(id) => self.hosts.get_mut(&id).into_iter().for_each(Host::resume),
            Fault::Clock(id, by) => self.hosts.get_mut(&id).into_iter().for_each(|host| host.set_clock(by)),
            Fault::Panic(id, actor) => self.strike(id, actor, Strike::Panic),
            Fault::Slay(id, actor) => self.strike(id, actor, Strike::Kill),
            Fault::Part(a, b) => self.weather(a, b, true, Some(Weather::Held)),
            Fault::Mute(a, b) => self.weather(a, b, false, Some(Weather::Held)),
            Fault::Slow(a, b, rate) => self.weather(a, b, true, Some(Weather::Slow(rate * 1024))),
            Fault::Join(a, b) => self.weather(a, b, true, None),
            Fault::Cut(a, b) => self.net.cut(a, b),
            Fault::Flip(a, b) => self.net.flip_next(a, b),
            Fault::Ghost(a, b) => self.net.ghost(a, b),
            Fault::Replay(a, b) => self.net.replay(a, b),
            Fault::SyncFails(id) => self.disk(id, |disk, _| disk.fail(DiskFault::Sync)),
            Fault::WriteFails(id) => self.disk(id, |disk, _| disk.fail(DiskFault::Write)),
            Fault::ReadFails(id) => self.disk(id, |disk, _| disk.fail(DiskFault::Read)),
            Fault::FileFails(id, skip) => self.disk(id, |disk, _| disk.fail(DiskFault::File(skip))),
            Fault::ShortReads(id) => self.disk(id, |disk, _| disk.read_short()),
            Fault::Fill(id) => self.disk(id, |disk, _| disk.fill()),
            Fault::Heal(id) => self.disk(id, |disk, _| disk.heal()),
            Fault::DieBefore(id, skip) => self.host(id).fate.die_at_disk(id, skip, false),
            Fault::DieAfter(id, skip) => self.host(id).fate.die_at_disk(id, skip, true),
            Fault::SlowDisk(id, by_ms) => self.disk(id, |disk, _| disk.slow(by_ms)),
            Fault::HangDisk(id) => self.disk(id, |disk, _| disk.hang()),
            Fault::Crash(crash) => self.host(crash.host).fate.plan(crash),
            Fault::Rot(id) => {
                let chunks = Path::new(DATA_DIR).join("chunks");
                let mut which = None;
                self.disk(id, |disk, rng| which = disk.rot(&chunks, rng));
                match which {
                    Some((name, at)) => {
                        self.say(format!("a bit of {name}:{at} flips"));
                        self.ledger.disks.rots(id, name, self.now);
                    }
                    None => self.say("nothing to rot"),
                }
            }
            Fault::Copy(id) => {
                let copy = self.older_copy(id);
                self.copies.extend(copy.map(|copy| (id, copy)));
            }
            Fault::Swap(id) => {
                let Some(copy) = self.copies.get(&id).cloned() else { return };
                self.power_off(id);
                self.ledger.disks.grows_old(id, self.now);
                self.aged.insert(id);
                self.disk(id, |disk, rng| {
                    disk.restore(&copy);
                    disk.lose_power(rng);
                });
                self.start(id);
            }
        }
    }

    fn weather(&self, a: HostId, b: HostId, both: bool, weather: Option<Weather>) {
        self.net.set_weather(a, b, weather);
        if both {
            self.net.set_weather(b, a, weather);
        }
    }

    fn disk(&mut self, id: HostId, work: impl FnOnce(&Medium, &mut Rng)) {
        if let Some(medium) = self.media.get(&id) {
            work(medium, &mut self.rng);
        }
    }

    /// A copy of a disk.
    pub(super) fn copy_of(&self, id: HostId) -> Medium {
        self.media[&id].copy()
    }

    /// Lets a node lose power and come back with another disk; returns what it had.
    pub(super) fn replace(&mut self, id: HostId, by: &Medium) -> Medium {
        self.power_off(id);
        let before = self.copy_of(id);
        self.say(format!("another disk for {id}"));
        self.disk(id, |disk, _| disk.restore(by));
        self.start(id);
        before
    }

    /// A copy of a disk as it is, to come back later. Of one that is no datanode's yet nobody has any.
    fn older_copy(&self, id: HostId) -> Option<Medium> {
        let medium = self.media.get(&id)?;
        let is_one = || medium.names(Path::new(DATA_DIR)).iter().any(|name| name == "identity");
        (id == HostId::COORDINATOR || is_one()).then(|| medium.copy())
    }

    fn power_off(&mut self, id: HostId) {
        self.down(id, "loses power", Presence::Off);
        self.disk(id, Medium::lose_power);
    }

    /// Crashes that were planned at a step and have not come will not.
    pub(super) fn call_off_crashes(&self) {
        self.hosts.values().for_each(|host| host.fate.forgive());
    }

    /// Ends all faults: fair weather, sound disks, everybody up. A process whose disk failed it is started anew.
    pub(super) fn heal(&mut self) {
        self.say("all faults are over");
        self.ledger.heals(self.now);
        self.net.clear_weather();
        self.call_off_crashes();
        self.supervised = true;
        for id in self.nodes() {
            self.operate(id);
        }
    }

    /// An operator sees that a node runs, on a disk that works: one whose disk has failed it is started anew.
    pub(super) fn operate(&mut self, id: HostId) {
        let medium = &self.media[&id];
        medium.heal();
        let was_failing = medium.has_failed();
        self.hosts.get_mut(&id).into_iter().for_each(Host::resume);
        if was_failing {
            self.down(id, "is started anew by its operator", Presence::On);
        }
        self.start(id);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // One after another, each told before: what they drop must find the world as it was.
        let ids: Vec<_> = self.hosts.keys().copied().collect();
        ids.into_iter().for_each(|id| self.down(id, "the world ends", Presence::Off));
    }
}
