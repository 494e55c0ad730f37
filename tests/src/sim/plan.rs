//! What is to be run: a plan, which follows from a seed or is written down as a command.

use std::fmt;
use std::str::FromStr;

use super::faults::{Fault, Planned, invent, parse, text};
use super::id::HostId;
use super::{mended, script};
use crate::Rng;
use crate::rng::mix;

/// Datanodes of a world, where nothing else is said.
pub const NODES: u16 = 5;
/// The fewest datanodes of a world: as many as files have copies.
pub const NODES_MIN: u16 = 3;
/// The most datanodes of a world.
pub const NODES_MAX: u16 = 50;
/// Clients of a world, where nothing else is said.
pub const CLIENTS: u16 = 3;
/// The most clients of a world.
pub const CLIENTS_MAX: u16 = 20;
/// Operations of each, where nothing else is said.
pub const OPS: u32 = 20;
/// The most operations of a client.
pub const OPS_MAX: u32 = 500;
/// A world in which nothing comes to an end is ended.
pub(super) const LOAD_MAX_MS: u64 = 900_000;
/// The latest that anything is done to a world: what comes of it is to be seen.
const FAULTS_MAX_MS: u64 = LOAD_MAX_MS - 10_000;
/// Faults begin within so much of the load.
const LOAD_MS: u64 = 15_000;
/// What a plan's command begins with; see `.cargo/config.toml`.
const COMMAND: &str = "cargo sim";

/// What clients do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Life {
    /// What the seed says.
    #[default]
    Random,
    /// The short life of three datanodes and three clients in which every kind of step of the write path occurs.
    Scripted,
    /// The short life of four datanodes and two clients in which copies are lost and made anew, and an operator changes the cluster.
    Mended,
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Random => "random",
            Self::Scripted => "scripted",
            Self::Mended => "mended",
        })
    }
}

impl FromStr for Life {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Random, Self::Scripted, Self::Mended];
        let found = all.into_iter().find(|life| life.to_string() == text);
        found.ok_or_else(|| format!("`{text}` is no life; there are `random`, `scripted` and `mended`"))
    }
}

/// What is to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// All that is left to chance follows from it.
    pub seed: u64,
    /// Datanodes.
    pub nodes: u16,
    /// Clients.
    pub clients: u16,
    /// Operations of each client.
    pub ops: u32,
    /// What is done to the world, in order of time.
    pub faults: Vec<Planned>,
    /// Every event is kept, not only hashed.
    pub keep: bool,
    /// What clients do.
    pub life: Life,
}

impl Plan {
    /// The plan that follows from a seed.
    pub fn of(seed: u64) -> Self {
        Self::sized(seed, NODES, CLIENTS, OPS)
    }

    /// The plan that follows from a seed for a cluster of another size.
    pub fn sized(seed: u64, nodes: u16, clients: u16, ops: u32) -> Self {
        let faults = invent(&mut Rng::from_seed(mix(!seed)), nodes, clients, LOAD_MS);
        Self { seed, nodes, clients, ops, faults, keep: false, life: Life::Random }
    }

    /// A scripted life, with nothing done to it; of the random one, what follows from the seed.
    pub fn scripted(life: Life, seed: u64) -> Self {
        let (nodes, clients) = match life {
            Life::Random => return Self::of(seed),
            Life::Scripted => (script::NODES, script::CLIENTS),
            Life::Mended => (mended::NODES, mended::CLIENTS),
        };
        Self { seed, nodes, clients, ops: 0, faults: vec![], keep: false, life }
    }

    /// How long faults go on.
    pub(super) fn span_ms(&self) -> u64 {
        self.faults.last().map_or(0, |last| last.at_ms)
    }

    /// With other faults than those that follow from the seed, which are put in order.
    ///
    /// # Errors
    /// If one of them is done to a host that is not there, or that it cannot be done to, or too late, or if an older copy of a
    /// disk is to come back of which there is none.
    pub fn with(mut self, faults: Vec<Planned>) -> Result<Self, String> {
        self.faults = faults;
        self.faults.sort_by_key(|planned| planned.at_ms);
        self.check()?;
        Ok(self)
    }

    fn check(&self) -> Result<(), String> {
        bounded("nodes", self.nodes, (NODES_MIN, NODES_MAX))?;
        bounded("clients", self.clients, (1, CLIENTS_MAX))?;
        bounded("ops", self.ops, (0, OPS_MAX))?;
        for (at, Planned { at_ms, fault }) in self.faults.iter().enumerate() {
            let planned = &self.faults[at];
            if *at_ms > FAULTS_MAX_MS {
                let last = FAULTS_MAX_MS / 1000;
                return Err(format!("`{planned}`: that is too late; {last} is the last second"));
            }
            let copied = |host| self.faults[..at].iter().any(|before| before.fault == Fault::Copy(host));
            if let Fault::Swap(host) = *fault
                && !copied(host)
            {
                return Err(format!("`{planned}`: no `copy {host}` is before it"));
            }
        }
        self.faults.iter().try_for_each(|planned| {
            let wrong = |why: String| format!("`{planned}`: {why}");
            let hosts = planned.hosts();
            match hosts.as_slice() {
                [one] if one.is_client() && !planned.fault.can_befall_clients() => {
                    Err(wrong(format!("a client can be killed, started and cut off; {one} has nothing else")))
                }
                [one, other] if one == other => {
                    Err(wrong("there is nothing between a host and itself".into()))
                }
                _ => hosts.iter().try_for_each(|host| self.has(*host).map_err(wrong)),
            }
        })
    }

    fn has(&self, host: HostId) -> Result<(), String> {
        let Self { nodes, clients, .. } = self;
        let there = host == HostId::COORDINATOR
            || (1..=*nodes).any(|n| host == HostId::datanode(n))
            || (1..=*clients).any(|n| host == HostId::client(n));
        match there {
            true => Ok(()),
            false => Err(format!(
                "there is no {host}; this world has co, {} and {}",
                span("d", *nodes),
                span("c", *clients)
            )),
        }
    }
}

fn bounded<T: PartialOrd + fmt::Display + Copy>(
    what: &str,
    count: T,
    (least, most): (T, T),
) -> Result<(), String> {
    match (least..=most).contains(&count) {
        true => Ok(()),
        false => Err(format!("--{what} {count}: there are {least} to {most}")),
    }
}

fn span(letter: &str, count: u16) -> String {
    match count {
        1 => format!("{letter}1"),
        _ => format!("{letter}1 to {letter}{count}"),
    }
}

/// The command that runs it again.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, nodes, clients, ops, .. } = self;
        let faults = text(&self.faults);
        if self.life != Life::Random {
            return write!(f, "{COMMAND} --life {} --seed {seed} --faults '{faults}'", self.life);
        }
        write!(
            f,
            "{COMMAND} --seed {seed} --nodes {nodes} --clients {clients} --ops {ops} --faults '{faults}'"
        )
    }
}

/// Reads what `Display` writes. What comes before the first option, the command itself, may be absent or another one.
impl FromStr for Plan {
    type Err = String;

    fn from_str(command: &str) -> Result<Self, String> {
        let at = command.find("--").ok_or_else(|| format!("`{command}` names no seed"))?;
        let (mut seed, mut nodes, mut clients, mut ops, mut faults) = (None, None, None, None, None);
        let mut life = Life::Random;
        let mut rest = command[at..].trim();
        while let Some((option, after)) = rest.split_once(char::is_whitespace) {
            let after = after.trim_start();
            let (value, after) = match after.strip_prefix('\'') {
                Some(quoted) => quoted.split_once('\'').ok_or("a quotation mark is missing")?,
                None => after.split_once(char::is_whitespace).unwrap_or((after, "")),
            };
            match option {
                "--seed" => seed = Some(number(option, value)?),
                "--nodes" => nodes = Some(number(option, value)?),
                "--clients" => clients = Some(number(option, value)?),
                "--ops" => ops = Some(number(option, value)?),
                "--life" => life = value.parse()?,
                "--faults" => faults = Some(parse(value)?),
                _ => return Err(format!("`{option}` is no part of a plan")),
            }
            rest = after.trim();
        }
        if !rest.is_empty() {
            return Err(format!("`{rest}` wants a value"));
        }
        let seed = seed.ok_or_else(|| format!("`{command}` names no seed"))?;
        let plan = match life {
            Life::Random => {
                let (nodes, clients) = (nodes.unwrap_or(NODES), clients.unwrap_or(CLIENTS));
                bounded("nodes", nodes, (NODES_MIN, NODES_MAX))?;
                bounded("clients", clients, (1, CLIENTS_MAX))?;
                let ops = ops.unwrap_or(OPS);
                bounded("ops", ops, (0, OPS_MAX))?;
                Self::sized(seed, nodes, clients, ops)
            }
            Life::Scripted | Life::Mended if nodes.is_some() || clients.is_some() || ops.is_some() => {
                return Err(format!("the {life} life has a size of its own"));
            }
            Life::Scripted | Life::Mended => Self::scripted(life, seed),
        };
        match faults {
            Some(faults) => plan.with(faults),
            None => Ok(plan),
        }
    }
}

fn number<T: FromStr>(option: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{option} {value}: that is no number, or too large a one"))
}

/// The plans of a file: one command a line, between lines that are empty or begin with `#`.
///
/// # Errors
/// The first line that is none, with its number.
pub fn plans(file: &str) -> Result<Vec<Plan>, String> {
    let lines = file.lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    lines.map(|(at, line)| line.parse().map_err(|wrong| format!("line {}: {wrong}", at + 1))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_its_command() {
        for seed in 0..200 {
            let plan = Plan::sized(seed, 3 + (seed % 7) as u16, 1 + (seed % 4) as u16, seed as u32 % 30);
            assert_eq!(plan.to_string().parse(), Ok(plan));
        }
        for life in [Life::Scripted, Life::Mended] {
            let faults = parse("0 crash c1 after frame 12 power").unwrap();
            let scripted = Plan::scripted(life, 3).with(faults).unwrap();
            assert_eq!(scripted.to_string().parse(), Ok(scripted));
        }
        assert_eq!("--seed 7".parse(), Ok(Plan::of(7)));
        assert_eq!("--seed 7 --faults ''".parse(), Ok(Plan { faults: vec![], ..Plan::of(7) }));
        let plan: Plan = "dfs-sim --faults '2 start d1; 1 kill d1' --seed 7".parse().unwrap();
        assert_eq!(text(&plan.faults), "1.000 kill d1; 2.000 start d1");
    }

    #[test]
    fn a_file_of_plans_says_which_line_is_wrong() {
        let good = "# why\n--seed 1\n\ncargo sim --seed 2 --ops 3\n";
        assert_eq!(plans(good), Ok(vec![Plan::of(1), Plan::sized(2, NODES, CLIENTS, 3)]));
        let wrong = plans("# why\n\n--seed x").unwrap_err();
        assert!(wrong.starts_with("line 3: --seed x"), "{wrong}");
    }

    #[test]
    fn what_cannot_be_run_is_refused_with_its_reason() {
        for (command, why) in [
            ("", "names no seed"),
            ("--nodes 3", "names no seed"),
            ("--seed", "wants a value"),
            ("--seed 1 --nodes 2", "there are 3 to 50"),
            ("--seed 1 --clients 21", "there are 1 to 20"),
            ("--seed 1 --ops many", "no number"),
            ("--seed 1 --ops 501", "there are 0 to 500"),
            ("--seed 1 --faults '890.001 kill d1'", "890 is the last second"),
            ("--seed 1 --faults '1 copy d2; 1 copy d1; 0.5 swap d1'", "no `copy d1` is before it"),
            ("--seed 1 --life wild", "`random`, `scripted` and `mended`"),
            ("--seed 1 --colour red", "no part of a plan"),
            ("--seed 1 --faults '1 kill d6'", "there is no d6; this world has co, d1 to d5 and c1 to c3"),
            ("--seed 1 --nodes 3 --faults '1 kill d4'", "co, d1 to d3 and c1"),
            ("--seed 1 --life scripted --nodes 4", "a size of its own"),
            ("--seed 1 --clients 1 --faults '1 cut d2 c2'", "there is no c2"),
            ("--seed 1 --faults '1 poweroff c1'", "can be killed, started and cut off"),
            ("--seed 1 --faults '1 part d1 d1'", "between a host and itself"),
            ("--seed 1 --faults '1 kill d1", "quotation mark"),
        ] {
            let said = command.parse::<Plan>().unwrap_err();
            assert!(said.contains(why), "{command}: {said}");
        }
    }
}
