//! What is done to a world, and when: a list that a seed makes up, that a person can write, and that can be cut down.

use std::fmt;
use std::str::FromStr;

use super::fate::Crash;
use super::id::HostId;
use super::trouble::Trouble;
use crate::Rng;

/// The most that a fault can be told: the milliseconds of a month, or as many KiB.
const NUMBER_MAX: u64 = 30 * 86_400_000;

/// Something that is done to a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process is killed; its machine goes on.
    Kill(HostId),
    /// The machine loses power, and with it what its disk was not told to keep.
    PowerOff(HostId),
    /// The machine loses power instead of making the change of its disk that comes after so many others.
    DieBefore(HostId, u64),
    /// The machine loses power right after that change.
    DieAfter(HostId, u64),
    /// The process ends at a step of its own, counted from the beginning of the world.
    Crash(Crash),
    /// The process is asked to stop.
    Stop(HostId),
    /// The process starts, if it is not there.
    Start(HostId),
    /// The process does nothing any more.
    Pause(HostId),
    /// It goes on.
    Resume(HostId),
    /// One actor panics: the one of this number, modulo their number, in the order of its node's tree.
    Panic(HostId, u64),
    /// One actor is killed in the middle of whatever it does.
    Slay(HostId, u64),
    /// Nothing gets from one to the other, nor back.
    Part(HostId, HostId),
    /// Nothing gets from the first to the second.
    Mute(HostId, HostId),
    /// The line between two takes so many KiB in a second, both ways.
    Slow(HostId, HostId, u64),
    /// The network between two is as it was.
    Join(HostId, HostId),
    /// Every connection between two breaks.
    Cut(HostId, HostId),
    /// One bit flips on its way from the first to the second.
    Flip(HostId, HostId),
    /// A connection from the first to the second on which nobody ever says anything.
    Ghost(HostId, HostId),
    /// All that the first said to the second, on the connection it opened last, is said again on another one.
    Replay(HostId, HostId),
    /// The wall clock is set by so many milliseconds.
    Clock(HostId, i64),
    /// The next sync of the disk fails.
    SyncFails(HostId),
    /// The next write to the disk fails.
    WriteFails(HostId),
    /// The next read of the disk fails.
    ReadFails(HostId),
    /// After so many others, something fails that is no read, write or sync: to open, make, name, remove or list, or to get room.
    FileFails(HostId, u64),
    /// Reads of the disk give less than was asked for, until it is healed: whoever reads asks again.
    ShortReads(HostId),
    /// Everything that the disk does takes so many milliseconds longer.
    SlowDisk(HostId, u64),
    /// The disk does not answer any more.
    HangDisk(HostId),
    /// The disk has no room left.
    Fill(HostId),
    /// It has room again, and no faults.
    Heal(HostId),
    /// A bit of a chunk on the disk flips.
    Rot(HostId),
    /// The disk is copied.
    Copy(HostId),
    /// The machine loses power and comes back with the copy of its disk.
    Swap(HostId),
}

/// A fault and its time, in milliseconds since the load began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// When.
    pub at_ms: u64,
    /// What.
    pub fault: Fault,
}

impl Fault {
    /// Whether it does harm at once. What does so for a while is seen as long as it is there, and some end what others began.
    pub(super) fn is_trouble(&self) -> bool {
        let planned = matches!(self, Self::Crash(_) | Self::DieBefore(..) | Self::DieAfter(..));
        let ends = matches!(self, Self::Start(_) | Self::Resume(_) | Self::Join(..) | Self::Heal(_));
        let harmless = matches!(self, Self::Clock(..) | Self::Copy(_) | Self::ShortReads(_));
        !(planned || ends || harmless)
    }

    /// Where it does.
    pub(super) fn trouble(&self) -> Trouble {
        match *self {
            Self::SyncFails(host)
            | Self::WriteFails(host)
            | Self::ReadFails(host)
            | Self::FileFails(host, _)
            | Self::SlowDisk(host, _)
            | Self::HangDisk(host) => return Trouble::Disk(host),
            Self::Fill(host) => return Trouble::Full(host),
            Self::Rot(host) => return Trouble::Hurt(host),
            Self::Panic(host, _) | Self::Slay(host, _) => return Trouble::Actor(host),
            _ => {}
        }
        match *(Planned { at_ms: 0, fault: *self }).hosts() {
            [a, b] => Trouble::between(a, b),
            [host, ..] => Trouble::At(host),
            [] => Trouble::At(HostId::WORLD),
        }
    }

    /// Whether clients are made to bear it: they have neither disks nor actors.
    pub(super) fn can_befall_clients(&self) -> bool {
        matches!(self, Self::Kill(_) | Self::Start(_) | Self::Crash(_))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(host) => write!(f, "kill {host}"),
            Self::PowerOff(host) => write!(f, "poweroff {host}"),
            Self::DieBefore(host, skip) => write!(f, "diebefore {host} {skip}"),
            Self::DieAfter(host, skip) => write!(f, "dieafter {host} {skip}"),
            Self::Crash(crash) => write!(f, "crash {crash}"),
            Self::Stop(host) => write!(f, "stop {host}"),
            Self::Start(host) => write!(f, "start {host}"),
            Self::Pause(host) => write!(f, "pause {host}"),
            Self::Resume(host) => write!(f, "resume {host}"),
            Self::Panic(host, actor) => write!(f, "panic {host} {actor}"),
            Self::Slay(host, actor) => write!(f, "slay {host} {actor}"),
            Self::Part(a, b) => write!(f, "part {a} {b}"),
            Self::Mute(a, b) => write!(f, "mute {a} {b}"),
            Self::Slow(a, b, rate) => write!(f, "slow {a} {b} {rate}"),
            Self::Join(a, b) => write!(f, "join {a} {b}"),
            Self::Cut(a, b) => write!(f, "cut {a} {b}"),
            Self::Flip(a, b) => write!(f, "flip {a} {b}"),
            Self::Ghost(a, b) => write!(f, "ghost {a} {b}"),
            Self::Replay(a, b) => write!(f, "replay {a} {b}"),
            Self::Clock(host, by) => write!(f, "clock {host} {by}"),
            Self::SyncFails(host) => write!(f, "syncfails {host}"),
            Self::WriteFails(host) => write!(f, "writefails {host}"),
            Self::ReadFails(host) => write!(f, "readfails {host}"),
            Self::FileFails(host, skip) => write!(f, "filefails {host} {skip}"),
            Self::ShortReads(host) => write!(f, "shortreads {host}"),
            Self::SlowDisk(host, by_ms) => write!(f, "slowdisk {host} {by_ms}"),
            Self::HangDisk(host) => write!(f, "hangdisk {host}"),
            Self::Fill(host) => write!(f, "fill {host}"),
            Self::Heal(host) => write!(f, "heal {host}"),
            Self::Rot(host) => write!(f, "rot {host}"),
            Self::Copy(host) => write!(f, "copy {host}"),
            Self::Swap(host) => write!(f, "swap {host}"),
        }
    }
}

impl Planned {
    /// What kind of fault it is, in one word.
    pub fn kind(&self) -> String {
        self.fault.to_string().split(' ').next().unwrap_or_default().to_owned()
    }

    /// The hosts that it names, in order.
    pub(super) fn hosts(&self) -> Vec<HostId> {
        self.fault.to_string().split(' ').filter_map(HostId::named).collect()
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} {}", self.at_ms / 1000, self.at_ms % 1000, self.fault)
    }
}

impl FromStr for Planned {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let wrong = || {
            format!("`{text}` is no fault; one is a time in seconds and what happens, like `12.5 kill d2`")
        };
        let [at, name, rest @ ..] = words.as_slice() else { return Err(wrong()) };
        let seconds: f64 = at.parse().map_err(|_| wrong())?;
        if !(0.0..86_400.0).contains(&seconds) {
            return Err(format!("`{at}` is not a time within a day"));
        }
        let host = |n: usize| rest.get(n).and_then(|name| HostId::named(name)).ok_or_else(wrong);
        let number = |n: usize| -> Result<i64, String> {
            let number: i64 = rest.get(n).and_then(|number| number.parse().ok()).ok_or_else(wrong)?;
            match number.abs_diff(0) <= NUMBER_MAX {
                true => Ok(number),
                false => Err(format!("`{text}`: {number} is too large, {NUMBER_MAX} is the most")),
            }
        };
        let count = |n: usize| u64::try_from(number(n)?).map_err(|_| format!("`{text}`: less than nothing"));
        let (fault, words) = match *name {
            "kill" => (Fault::Kill(host(0)?), 1),
            "poweroff" => (Fault::PowerOff(host(0)?), 1),
            "diebefore" => (Fault::DieBefore(host(0)?, count(1)?), 2),
            "dieafter" => (Fault::DieAfter(host(0)?, count(1)?), 2),
            "crash" => (Fault::Crash(Crash::of(rest).ok_or_else(wrong)?), 5),
            "stop" => (Fault::Stop(host(0)?), 1),
            "start" => (Fault::Start(host(0)?), 1),
            "pause" => (Fault::Pause(host(0)?), 1),
            "resume" => (Fault::Resume(host(0)?), 1),
            "panic" => (Fault::Panic(host(0)?, count(1)?), 2),
            "slay" => (Fault::Slay(host(0)?, count(1)?), 2),
            "part" => (Fault::Part(host(0)?, host(1)?), 2),
            "mute" => (Fault::Mute(host(0)?, host(1)?), 2),
            "slow" => (Fault::Slow(host(0)?, host(1)?, count(2)?), 3),
            "join" => (Fault::Join(host(0)?, host(1)?), 2),
            "cut" => (Fault::Cut(host(0)?, host(1)?), 2),
            "flip" => (Fault::Flip(host(0)?, host(1)?), 2),
            "ghost" => (Fault::Ghost(host(0)?, host(1)?), 2),
            "replay" => (Fault::Replay(host(0)?, host(1)?), 2),
            "clock" => (Fault::Clock(host(0)?, number(1)?), 2),
            "syncfails" => (Fault::SyncFails(host(0)?), 1),
            "writefails" => (Fault::WriteFails(host(0)?), 1),
            "readfails" => (Fault::ReadFails(host(0)?), 1),
            "filefails" => (Fault::FileFails(host(0)?, count(1)?), 2),
            "shortreads" => (Fault::ShortReads(host(0)?), 1),
            "slowdisk" => (Fault::SlowDisk(host(0)?, count(1)?), 2),
            "hangdisk" => (Fault::HangDisk(host(0)?), 1),
            "fill" => (Fault::Fill(host(0)?), 1),
            "heal" => (Fault::Heal(host(0)?), 1),
            "rot" => (Fault::Rot(host(0)?), 1),
            "copy" => (Fault::Copy(host(0)?), 1),
            "swap" => (Fault::Swap(host(0)?), 1),
            _ => return Err(wrong()),
        };
        if rest.len() != words {
            return Err(wrong());
        }
        Ok(Self { at_ms: (seconds * 1000.0).round() as u64, fault })
    }
}

/// A list of faults as a person writes it: one after another, with semicolons between.
///
/// # Errors
/// The first that is none.
pub fn parse(list: &str) -> Result<Vec<Planned>, String> {
    list.split(';').map(str::trim).filter(|part| !part.is_empty()).map(Planned::from_str).collect()
}

/// The same list as text.
pub fn text(faults: &[Planned]) -> String {
    faults.iter().map(Planned::to_string).collect::<Vec<_>>().join("; ")
}

/// Makes up faults for a cluster of `nodes` datanodes under load for `load_ms`. What destroys data hits one disk only: with
/// two copies acknowledged, nothing more can be survived.
pub(super) fn invent(rng: &mut Rng, nodes: u16, clients: u16, load_ms: u64) -> Vec<Planned> {
    let victim = HostId::datanode(1 + rng.below(nodes.into()) as u16);
    let mut faults = Vec::new();
    for _ in 0..rng.below(7) {
        incident(rng, (nodes, clients), victim, load_ms, &mut faults);
    }
    let mut more = rng.fork();
    if more.below(2) == 0 {
        of_files(&mut more, nodes, victim, load_ms, &mut faults);
    }
    faults.sort_by_key(|planned| planned.at_ms);
    if rng.below(4) == 0 {
        // This one lasts until the end of all faults.
        let host = HostId::datanode(1 + rng.below(nodes.into()) as u16);
        let at_ms = faults.last().map_or(load_ms, |last| last.at_ms);
        let fault = *rng.pick(&[Fault::Kill(host), Fault::PowerOff(host), Fault::Stop(host)]);
        faults.push(Planned { at_ms, fault });
    }
    faults
}

/// One thing goes wrong, and later it is over.
fn incident(
    rng: &mut Rng,
    (nodes, clients): (u16, u16),
    victim: HostId,
    load_ms: u64,
    faults: &mut Vec<Planned>,
) {
    let node = |rng: &mut Rng| match rng.below(u64::from(nodes) + 2) {
        0 | 1 => HostId::COORDINATOR,
        n => HostId::datanode(n as u16 - 1),
    };
    let at_ms = rng.below(load_ms);
    let longest = *rng.pick(&[1_000, 5_000, 20_000, 60_000]);
    let until = at_ms + 200 + rng.below(longest);
    let host = node(rng);
    let other = loop {
        let other = match rng.below(4) {
            0 => HostId::client(1 + rng.below(clients.into()) as u16),
            _ => node(rng),
        };
        if other != host {
            break other;
        }
    };
    let mut add = |at_ms: u64, fault: Fault| faults.push(Planned { at_ms, fault });
    match rng.below(34) {
        31..34 => {
            let client = HostId::client(1 + rng.below(clients.into()) as u16);
            add(at_ms, Fault::Kill(client));
            add(until, Fault::Start(client));
        }
        27..31 => of_client(rng, clients, (at_ms, until), add),
        25 => {
            // Everything at once, and back in any order.
            for host in std::iter::once(HostId::COORDINATOR).chain((1..=nodes).map(HostId::datanode)) {
                add(at_ms, Fault::PowerOff(host));
                add(until + rng.below(20_000), Fault::Start(host));
            }
        }
        22 => add(at_ms, Fault::Panic(host, rng.below(64))),
        23..25 => add(at_ms, Fault::Slay(host, rng.below(64))),
        0..8 => {
            let (first, then) = of_process(rng, host);
            add(at_ms, first);
            add(until, then);
        }
        8..15 => {
            let (first, then) = of_network(rng, host, other);
            add(at_ms, first);
            then.into_iter().for_each(|then| add(until, then));
            if let Fault::Cut(..) | Fault::Flip(..) = first {
                (1..rng.below(12)).for_each(|n| add(at_ms + 170 * n, first));
            }
        }
        _ => of_disk(rng, (host, victim), (at_ms, until), add),
    }
}

/// Something between a client and the coordinator: answers are lost, and what was asked is asked again.
fn of_client(rng: &mut Rng, clients: u16, (at_ms, until): (u64, u64), mut add: impl FnMut(u64, Fault)) {
    let (co, client) = (HostId::COORDINATOR, HostId::client(1 + rng.below(clients.into()) as u16));
    let often = match rng.below(6) {
        0 => Fault::Flip(co, client),
        1..3 => Fault::Replay(client, co),
        3 => Fault::Cut(co, client),
        _ => {
            // Longer than a client has patience, more often than not.
            add(at_ms, Fault::Mute(co, client));
            return add(until.max(at_ms + rng.below(20_000)), Fault::Join(co, client));
        }
    };
    (0..=rng.below(30)).for_each(|n| add(at_ms + 190 * n, often));
}

fn of_disk(
    rng: &mut Rng,
    (host, victim): (HostId, HostId),
    (at_ms, until): (u64, u64),
    mut add: impl FnMut(u64, Fault),
) {
    match rng.below(9) {
        n @ 0..2 => {
            add(at_ms, if n == 0 { Fault::SyncFails(victim) } else { Fault::WriteFails(victim) });
            add(until, Fault::Kill(victim));
            add(until + 100, Fault::Start(victim));
        }
        2 => add(at_ms, Fault::ReadFails(victim)),
        3 => {
            add(at_ms, Fault::Fill(host));
            add(until, Fault::Heal(host));
        }
        4..6 => (0..=rng.below(12)).for_each(|n| add(at_ms + 400 * n, Fault::Rot(victim))),
        6 => {
            add(at_ms, Fault::SlowDisk(host, *rng.pick(&[5, 50, 500])));
            add(until, Fault::Heal(host));
        }
        7 => {
            add(at_ms, Fault::HangDisk(host));
            add(until, Fault::Heal(host));
        }
        _ => {
            add(at_ms, Fault::Copy(victim));
            add(until, Fault::Swap(victim));
        }
    }
}

/// A disk gives less than was asked for, or fails in what it is asked besides reads and writes.
fn of_files(rng: &mut Rng, nodes: u16, victim: HostId, load_ms: u64, faults: &mut Vec<Planned>) {
    let host = match rng.below(u64::from(nodes) + 2) {
        n @ 2.. => HostId::datanode(n as u16 - 1),
        _ => HostId::COORDINATOR,
    };
    let at_ms = rng.below(load_ms);
    let until = at_ms + 200 + rng.below(20_000);
    let mut add = |at_ms: u64, fault: Fault| faults.push(Planned { at_ms, fault });
    if rng.below(2) == 0 {
        add(at_ms, Fault::ShortReads(host));
        return add(until, Fault::Heal(host));
    }
    let host = if rng.below(4) == 0 { HostId::COORDINATOR } else { victim };
    add(at_ms, Fault::FileFails(host, rng.below(40)));
    add(until, Fault::Kill(host));
    add(until + 100, Fault::Start(host));
}

fn of_process(rng: &mut Rng, host: HostId) -> (Fault, Fault) {
    match rng.below(13) {
        9..11 => (Fault::DieBefore(host, rng.below(40)), Fault::Start(host)),
        11 => (Fault::DieAfter(host, rng.below(40)), Fault::Start(host)),
        0..3 => (Fault::Kill(host), Fault::Start(host)),
        3..6 => (Fault::PowerOff(host), Fault::Start(host)),
        6 => (Fault::Stop(host), Fault::Start(host)),
        7 => (Fault::Pause(host), Fault::Resume(host)),
        _ => {
            let by = *rng.pick(&[1_000, 60_000, 3_600_000, -1_000, -60_000, -3_600_000]);
            (Fault::Clock(host, by), Fault::Clock(host, -by))
        }
    }
}

fn of_network(rng: &mut Rng, host: HostId, other: HostId) -> (Fault, Option<Fault>) {
    let join = Some(Fault::Join(host, other));
    match rng.below(10) {
        0..2 => (Fault::Part(host, other), join),
        2 => (Fault::Mute(host, other), join),
        3 => (Fault::Mute(other, host), join),
        4 => (Fault::Slow(host, other, 16 + rng.below(512)), join),
        5..7 => (Fault::Cut(host, other), None),
        7..9 => (Fault::Flip(host, other), None),
        _ => (Fault::Ghost(other, host), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_invented_can_be_written_down_and_read_again() {
        for seed in 0..500 {
            let faults = invent(&mut Rng::from_seed(seed), 5, 3, 20_000);
            assert_eq!(parse(&text(&faults)), Ok(faults));
        }
        for bad in [
            "kill d1",
            "1 kill",
            "1 kill x",
            "1 kill d1 d2",
            "-1 kill d1",
            "NaN kill d1",
            "1 explode d1",
            "1 slow d1 d2",
            "1 diebefore d1 -5",
            "1 slow d1 d2 18014398509481984",
            "1 clock d1 -9223372036854775808",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(parse(" ; "), Ok(vec![]));
    }
}
