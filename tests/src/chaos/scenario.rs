//! What a scenario is: a cluster, a load, what is done to it and when, and what must hold. One YAML file each.

use std::{collections::BTreeMap, fmt, path::Path, time::Duration};

use serde::Deserialize;

use super::fault::{DATANODES_MAX, Fault};
use super::units::{Size, Span};

/// Sizes of files lie this far apart, so that a size says which put a file is of.
const SIZE_STEP: u64 = 16 * 1024;
/// The largest file of a load: a few are in memory at once.
const SIZE_MAX: u64 = 64 * 1024 * 1024;
/// Clients of one load: each is a connection, and histories of more are not judged in time.
const CLIENTS_MAX: usize = 16;
/// No scenario is given longer than this, in all.
const LONGEST_MAX: Duration = Duration::from_secs(3600);

/// One scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The name of its file.
    #[serde(skip)]
    pub name: String,
    /// What it shows, in a sentence.
    pub about: String,
    /// The cluster.
    pub topology: Topology,
    /// What clients do meanwhile.
    pub load: Load,
    /// What is done to the cluster, in order of time.
    pub faults: Vec<Fault>,
    /// How the cluster becomes whole.
    pub recovery: Recovery,
    /// What must hold beside what must always hold.
    #[serde(default)]
    pub checks: Checks,
    /// It is ended as failed after so long.
    pub longest: Span,
}

/// The cluster: a coordinator and datanodes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// How many datanodes.
    pub datanodes: usize,
    /// Each datanode has a disk in memory of this size.
    pub disk: Option<Size>,
    /// Configuration of every node: `section.key: value`.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
}

/// What clients do: they put, get, rename, remove and list a few paths again and again, and put files that are kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// Clients at the same time.
    pub clients: usize,
    /// Sizes of files, each as often as the others.
    pub sizes: Vec<Size>,
    /// How often which operation is done, against the others.
    #[serde(default)]
    pub mix: Mix,
    /// Pause of a client between two operations.
    pub pause: Span,
    /// How long before the first fault.
    pub quiet: Span,
    /// How long after the cluster is whole again.
    pub after: Span,
}

/// Weights of the operations.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mix {
    /// Puts to a path that others use as well.
    pub put: u32,
    /// Gets of such a path.
    pub get: u32,
    /// Renames of one to another.
    pub mv: u32,
    /// Removals.
    pub rm: u32,
    /// Listings.
    pub ls: u32,
    /// Puts of files that nobody touches again: what was acknowledged of them must be there at the end.
    pub keep: u32,
    /// Gets of those.
    pub look: u32,
}

impl Default for Mix {
    fn default() -> Self {
        Self { put: 4, get: 4, mv: 1, rm: 1, ls: 1, keep: 3, look: 3 }
    }
}

impl Mix {
    /// All weights together.
    pub(super) fn sum(&self) -> u32 {
        let Self { put, get, mv, rm, ls, keep, look } = *self;
        [put, get, mv, rm, ls, keep, look].iter().fold(0, |sum, weight| sum.saturating_add(*weight))
    }
}

/// How the cluster becomes whole. What was done is undone first: nodes are started, lines joined, disks emptied.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recovery {
    /// So long after that it must be healthy, and each chunk must have all its copies.
    pub within: Span,
}

/// What must hold besides. Always: nothing acknowledged is lost, no byte is wrong, one order explains what clients saw, and
/// the cluster becomes whole.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Checks {
    /// Operations that may fail.
    pub failed_max: Option<u64>,
    /// Operations whose outcome may stay unknown.
    pub unknown_max: Option<u64>,
    /// The first fault must show in `status` within this time.
    pub detect_within: Option<Span>,
    /// Each kind of actor that was struck and does not come and go must have been restarted.
    pub restarts: bool,
}

/// Why a scenario cannot be used.
#[derive(Debug)]
pub struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Scenario {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, or says what no scenario says: with the file and the line or the key.
    pub fn read(path: &Path) -> Result<Self, Refused> {
        let of_file = |why: String| Refused(format!("{}: {why}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| of_file(error.to_string()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        Self::parse(&name, &text).map_err(of_file)
    }

    /// The scenario that a text is.
    ///
    /// # Errors
    /// What is wrong with it, with the line or the key.
    pub(super) fn parse(name: &str, text: &str) -> Result<Self, String> {
        let mut scenario: Self = serde_yaml_ng::from_str(text).map_err(|error| error.to_string())?;
        name.clone_into(&mut scenario.name);
        let wrong = scenario.wrong();
        if wrong.is_empty() { Ok(scenario) } else { Err(wrong.join("; ")) }
    }

    /// Everything that does not fit together, by its key.
    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut demand = |holds: bool, key: &str, why: &str| {
            if !holds {
                wrong.push(format!("{key}: {why}"));
            }
        };
        let Topology { datanodes, set, .. } = &self.topology;
        demand((1..=DATANODES_MAX).contains(datanodes), "topology.datanodes", "1 to 6");
        for key in set.keys() {
            demand(key.split('.').count() == 2, "topology.set", &format!("`{key}` is no section.key"));
        }
        let Load { clients, sizes, mix, .. } = &self.load;
        demand((1..=CLIENTS_MAX).contains(clients), "load.clients", "1 to 16");
        demand(!sizes.is_empty(), "load.sizes", "at least one");
        demand(sizes.iter().all(|size| size.0 <= SIZE_MAX), "load.sizes", "at most 64 MiB");
        let apart = sizes.windows(2).all(|pair| pair[1].0 >= pair[0].0 + SIZE_STEP);
        demand(apart, "load.sizes", "ascending, each at least 16 KiB more than the one before");
        demand(mix.sum() > 0, "load.mix", "nothing would be done");
        demand(!self.faults.is_empty(), "faults", "at least one");
        demand(self.longest.0 <= LONGEST_MAX, "longest", "at most an hour");
        let sum = self.load.quiet.0 + self.faults_end() + self.recovery.within.0 + self.load.after.0;
        demand(sum <= self.longest.0, "longest", "shorter than load, faults and recovery together");
        for (at, fault) in self.faults.iter().enumerate() {
            wrong.extend(fault.wrong(*datanodes).map(|(key, why)| format!("faults[{at}].{key}: {why}")));
        }
        if self.faults.windows(2).any(|pair| pair[1].at < pair[0].at) {
            wrong.push("faults: not in order of time".to_owned());
        }
        if self.topology.disk.is_none() && self.faults.iter().any(Fault::fills) {
            wrong.push("topology.disk: a disk that is to be filled needs a size".to_owned());
        }
        wrong
    }

    /// When the last fault is over, counted from the first moment of trouble.
    pub(super) fn faults_end(&self) -> Duration {
        self.faults.iter().map(Fault::end).max().unwrap_or_default()
    }

    /// Size of the file of the put with this number, which it tells.
    pub(super) fn size_of(&self, put: u32) -> u64 {
        let sizes = &self.load.sizes;
        sizes[put as usize % sizes.len()].0 + u64::from(put)
    }

    /// The number of the put that made a file of this size; `None` if none did.
    pub(super) fn put_of(&self, size: u64) -> Option<u32> {
        let sizes = self.load.sizes.iter();
        let put = sizes.filter_map(|class| u32::try_from(size.checked_sub(class.0)?).ok());
        put.filter(|put| self.size_of(*put) == size).min()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) const SAMPLE: &str = "\
about: A sample.
topology:
  datanodes: 4
  set: {cluster.down_after: 6s}
load: {clients: 2, sizes: [1KiB, 300KiB], pause: 10ms, quiet: 1s, after: 1s}
faults:
  - {at: 0s, do: kill, node: datanode2, for: 5s}
recovery: {within: 30s}
longest: 2min
";

    fn refused(text: &str) -> String {
        Scenario::parse("sample", text).expect_err("refused")
    }

    #[test]
    fn a_sample_is_read_and_sizes_tell_the_put() {
        let sample = Scenario::parse("sample", SAMPLE).expect("a scenario");
        assert_eq!((sample.name.as_str(), sample.topology.datanodes), ("sample", 4));
        assert_eq!(sample.faults_end(), Duration::from_secs(5));
        for put in [0, 1, 2, 999, 12_345] {
            assert_eq!(sample.put_of(sample.size_of(put)), Some(put));
        }
        assert_eq!(sample.put_of(1), None);
    }

    #[test]
    fn unknown_keys_and_bad_values_are_refused_with_their_line() {
        let line = |from: &str, to: &str| refused(&SAMPLE.replace(from, to));
        let unknown = line("load:", "laod:");
        assert!(unknown.contains("unknown field `laod`") && unknown.contains("line 5"), "{unknown}");
        let inside = line("node: datanode2", "nod: datanode2");
        assert!(inside.contains("unknown field `nod`") && inside.contains("line 7"), "{inside}");
        let unit = line("at: 0s", "at: 5");
        assert!(unit.contains("`5` is no time with a unit") && unit.contains("line 7"), "{unit}");
        let kind = line("do: kill", "do: kil");
        assert!(kind.contains("unknown variant `kil`") && kind.contains("line 7"), "{kind}");
        assert!(line("1KiB", "1KiBs").contains("is no size"));
        assert!(line("longest: 2min\n", "").contains("missing field `longest`"));
    }

    #[test]
    fn what_does_not_fit_together_is_refused_with_its_key() {
        for (from, to, key) in [
            ("datanodes: 4", "datanodes: 7", "topology.datanodes"),
            ("cluster.down_after", "down_after", "topology.set"),
            ("clients: 2", "clients: 0", "load.clients"),
            ("[1KiB, 300KiB]", "[]", "load.sizes"),
            ("[1KiB, 300KiB]", "[1KiB, 2KiB]", "load.sizes"),
            ("node: datanode2", "node: datanode5", "faults[0].node"),
            ("do: kill", "do: kill-actor", "faults[0].actor"),
            (", for: 5s", ", for: 5s, actor: gc", "faults[0].actor"),
            (", for: 5s", ", for: 5s, times: 3", "faults[0].every"),
            ("do: kill", "do: fill", "topology.disk"),
            ("longest: 2min", "longest: 20s", "longest"),
        ] {
            let why = refused(&SAMPLE.replace(from, to));
            assert!(why.contains(&format!("{key}: ")), "{to}: {why}");
        }
    }
}
