//! The pure machine of a datanode's membership.
//!
//! ```text
//!            time, backoff            registered          identity durable
//!   Apart ----------------> Joining -------------> Saving ----------------> Active --+ heartbeat answered,
//!     ^                        |                     |                      |   ^    |   or failed (again at the
//!     +---- failed ------------+---- failed ---------+                      |   +----+   next interval)
//!     +---- register_again, NotRegistered, a coordinator not to be obeyed --+
//!
//!   any ---- a newer process has our id ----> Stopped (for good)
//! ```
//!
//! Not to be obeyed are a coordinator of a lower epoch than the node has seen, one of another cluster, and one that says
//! itself that its metadata does not know the reign which took this node in. The node stays apart from them and asks
//! again: the right coordinator may be at that address by then.
//!
//! The epoch that is saved is the one of the reign that took the node in last, and it is what the node names when it
//! registers. An epoch seen in a grant fences at once, but only in memory: the coordinator that signed it takes the node
//! in within a heartbeat, and must first be told what the node was part of before.
//!
//! A disk may take its time, or not answer at all. While the identity is being saved the node's heartbeats go on, so that
//! the coordinator sees that the node is there and how its disk does; their answers teach it nothing, and it obeys none.
//!
//! One call is under way at a time. What a heartbeat reports (deletes carried out, copies found bad) stays pending until
//! a heartbeat that carried it is answered, so that a lost answer loses nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dfs_wire::id::{ChunkKey, Epoch};
use dfs_wire::limits::TOMBSTONES_PER_HEARTBEAT_MAX;
use dfs_wire::message::membership::{HeartbeatReply, Registered, Revoked, StateUpdate};
use dfs_wire::status::{Status, StatusCode};

use crate::budgets::FINDINGS_WAITING_MAX;
use crate::datanode::authority::Joined;
use crate::env::MonoTime;

/// Bad copies told in one heartbeat.
pub(crate) const CORRUPT_PER_HEARTBEAT_MAX: usize = 256;
/// Failed heartbeats in a row after which the coordinator counts as lost.
pub(crate) const LOST_AFTER: u32 = 3;
/// However urgent news are, heartbeats are this far apart.
const NEWS_PAUSE: Duration = Duration::from_millis(100);
/// Bounds of the interval that a coordinator may ask for.
const INTERVAL_MS: std::ops::RangeInclusive<u32> = 50..=60_000;

/// The times of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeartbeatConfig {
    /// How long a call to the coordinator may take.
    pub call_timeout: Duration,
    /// Wait after the first failed registration; doubled by each further one.
    pub backoff_min: Duration,
    /// Longest wait between registrations.
    pub backoff_max: Duration,
}

impl Default for HeartbeatConfig {
    fn default() -> Self {
        Self {
            call_timeout: Duration::from_secs(5),
            backoff_min: Duration::from_millis(200),
            backoff_max: Duration::from_secs(5),
        }
    }
}

/// What there is to learn from an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Learned {
    /// The cluster and key, after a registration.
    pub joined: Option<Joined>,
    /// The coordinator's reign.
    pub epoch: Epoch,
    /// The commit position of its metadata.
    pub position: u64,
    /// The coordinator's clock when it answered.
    pub now_ms: u64,
    /// What changed in the cluster.
    pub update: StateUpdate,
    /// The keys that are not believed any more, if that is news.
    pub revoked: Option<Revoked>,
}

/// What the shell is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Call the coordinator: register.
    Register,
    /// Call the coordinator: still here.
    Heartbeat {
        /// Deletes carried out.
        deleted: Vec<ChunkKey>,
        /// Copies found bad.
        corrupt: Vec<ChunkKey>,
        /// Copies looked for in vain.
        missing: Vec<ChunkKey>,
    },
    /// Make this durable.
    Save(Joined),
    /// Put this into the shared knowledge.
    Learn(Box<Learned>),
    /// The coordinator has not answered for a while, or does not know this run.
    Lost,
    /// The coordinator took this run in, and is not to be obeyed: say why.
    Distrust(Status),
    /// Put these chunks into quarantine.
    Quarantine(Vec<ChunkKey>),
    /// Report all chunks; `anew` = even if a report is under way, for it began before this run was known.
    TakeInventory {
        /// Once more after the one under way.
        anew: bool,
    },
    /// Serve no more; the process should end.
    Stop(Status),
}

/// Where the machine is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum RegistrationPhase {
    Apart {
        not_before: MonoTime,
    },
    Joining,
    /// Taken in at `heard`, and not for good before that is durable.
    Saving {
        word: Box<Registered>,
        heard: MonoTime,
    },
    Active,
    Stopped,
}

/// What the call under way tells.
#[derive(Debug, Default)]
struct Told {
    deleted: Vec<ChunkKey>,
    corrupt: Vec<ChunkKey>,
    missing: Vec<ChunkKey>,
}

/// Whether the node has to register, when the next heartbeat is due, and what it says.
#[derive(Debug)]
pub(crate) struct HeartbeatState {
    config: HeartbeatConfig,
    phase: RegistrationPhase,
    /// What the identity file says.
    saved: Option<Joined>,
    attempts: u32,
    interval: Duration,
    next_at: MonoTime,
    calling: bool,
    /// Not even news are asked for before.
    quiet_until: MonoTime,
    failures: u32,
    deleted: BTreeSet<ChunkKey>,
    corrupt: BTreeSet<ChunkKey>,
    /// Whether the coordinator was heard of since each was looked for in vain: only then is it told, for what was looked
    /// for was recorded by then.
    missing: BTreeMap<ChunkKey, bool>,
    told: Told,
    quarantining: BTreeSet<ChunkKey>,
    /// The last page of tombstones was full: there are more.
    more: bool,
}

impl HeartbeatState {
    /// A machine that has not registered yet. `saved` is what the identity file says, if it says all of it.
    pub(crate) fn new(config: HeartbeatConfig, saved: Option<Joined>, now: MonoTime) -> Self {
        Self {
            config,
            phase: RegistrationPhase::Apart { not_before: now },
            saved,
            attempts: 0,
            interval: Duration::from_secs(2),
            next_at: now,
            calling: false,
            quiet_until: now,
            failures: 0,
            deleted: BTreeSet::new(),
            corrupt: BTreeSet::new(),
            missing: BTreeMap::new(),
            told: Told::default(),
            quarantining: BTreeSet::new(),
            more: false,
        }
    }

    /// Whether the coordinator knows this run, as far as this node can tell.
    pub(crate) fn is_active(&self) -> bool {
        self.phase == RegistrationPhase::Active
    }

    /// Calls that have failed in a row.
    pub(crate) fn failed_in_a_row(&self) -> u32 {
        self.attempts.max(self.failures)
    }

    /// The next instant at which [`Self::step`] may have something to do.
    pub(crate) fn wakes_at(&self) -> Option<MonoTime> {
        match &self.phase {
            _ if self.calling => None,
            RegistrationPhase::Apart { not_before } => Some(*not_before),
            RegistrationPhase::Active | RegistrationPhase::Saving { .. } => Some(self.next_at),
            RegistrationPhase::Joining | RegistrationPhase::Stopped => None,
        }
    }

    /// Lets time pass.
    pub(crate) fn step(&mut self, now: MonoTime) -> Vec<Effect> {
        if self.calling || self.wakes_at().is_none_or(|at| now < at) {
            return Vec::new();
        }
        self.calling = true;
        self.quiet_until = now + NEWS_PAUSE;
        if matches!(self.phase, RegistrationPhase::Saving { .. }) {
            vec![Effect::Heartbeat { deleted: Vec::new(), corrupt: Vec::new(), missing: Vec::new() }]
        } else if matches!(self.phase, RegistrationPhase::Active) {
            let deleted: Vec<_> = self.deleted.iter().take(TOMBSTONES_PER_HEARTBEAT_MAX).copied().collect();
            let corrupt: Vec<_> = self.corrupt.iter().take(CORRUPT_PER_HEARTBEAT_MAX).copied().collect();
            let missing = self.missing.iter().filter(|(_, heard)| **heard).map(|(key, _)| *key);
            let missing: Vec<_> = missing.take(CORRUPT_PER_HEARTBEAT_MAX).collect();
            let beat = Effect::Heartbeat {
                deleted: deleted.clone(),
                corrupt: corrupt.clone(),
                missing: missing.clone(),
            };
            self.told = Told { deleted, corrupt, missing };
            vec![beat]
        } else {
            self.phase = RegistrationPhase::Joining;
            vec![Effect::Register]
        }
    }

    /// Somebody waits for what changed in the cluster: the next heartbeat comes at once, or a little after the last one.
    /// Whoever still waits then asks again.
    pub(crate) fn news_wanted(&mut self, now: MonoTime) {
        if matches!(self.phase, RegistrationPhase::Active) {
            self.next_at = self.next_at.min(now.max(self.quiet_until));
        }
    }

    /// The coordinator took this run in. `epoch` is the highest that the node has seen.
    pub(crate) fn registered(
        &mut self,
        now: MonoTime,
        epoch: Epoch,
        jitter: u64,
        word: Registered,
    ) -> Vec<Effect> {
        self.calling = false;
        if self.phase != RegistrationPhase::Joining {
            return Vec::new();
        }
        if let Some(saved) = self.saved.as_ref().filter(|s| s.cluster != word.cluster) {
            let text = format!(
                "this disk belongs to cluster {}, the coordinator is of {}",
                saved.cluster, word.cluster
            );
            self.apart(now, jitter);
            return vec![Effect::Distrust(Status::new(StatusCode::WrongCluster, text))];
        }
        if word.epoch < epoch {
            let text = format!("the coordinator is of epoch {}, this node obeys {epoch}", word.epoch);
            self.apart(now, jitter);
            return vec![Effect::Distrust(Status::new(StatusCode::StaleEpoch, text))];
        }
        let joined = joined(&word);
        let known = |saved: &Joined| saved.epoch == joined.epoch && saved.key == joined.key;
        if self.saved.as_ref().is_some_and(known) {
            return self.activate(now, word);
        }
        self.interval = interval_of(&word);
        self.next_at = now + self.interval;
        self.phase = RegistrationPhase::Saving { word: Box::new(word), heard: now };
        vec![Effect::Save(joined)]
    }

    /// The identity is durable, or could not be made so.
    pub(crate) fn saved(
        &mut self,
        now: MonoTime,
        jitter: u64,
        outcome: Result<Joined, Status>,
    ) -> Vec<Effect> {
        match (std::mem::replace(&mut self.phase, RegistrationPhase::Joining), outcome) {
            (RegistrationPhase::Saving { mut word, heard }, Ok(joined)) => {
                let current = joined.epoch == word.epoch;
                self.saved = Some(joined);
                if current {
                    // The coordinator's clock went on meanwhile.
                    let passed = u64::try_from(now.since(heard).as_millis()).unwrap_or(u64::MAX);
                    word.now_ms = word.now_ms.saturating_add(passed);
                    return self.activate(now, *word);
                }
                // Of an earlier registration, on a disk that was slow: the one after it is still being saved.
                self.phase = RegistrationPhase::Saving { word, heard };
                Vec::new()
            }
            (RegistrationPhase::Saving { .. }, Err(_)) => {
                self.apart(now, jitter);
                Vec::new()
            }
            (phase, _) => {
                self.phase = phase;
                Vec::new()
            }
        }
    }

    /// A heartbeat was answered. `epoch` is the highest that the node has seen.
    pub(crate) fn answered(
        &mut self,
        now: MonoTime,
        epoch: Epoch,
        jitter: u64,
        word: HeartbeatReply,
    ) -> Vec<Effect> {
        self.calling = false;
        if !matches!(self.phase, RegistrationPhase::Active | RegistrationPhase::Saving { .. }) {
            return Vec::new();
        }
        if word.register_again || word.epoch < epoch {
            self.attempts = 0;
            self.apart(now, jitter);
            if word.register_again {
                self.phase = RegistrationPhase::Apart { not_before: now };
            }
            return vec![Effect::Lost];
        }
        self.failures = 0;
        self.next_at = now + self.interval;
        if self.phase != RegistrationPhase::Active {
            return Vec::new();
        }
        let told = std::mem::take(&mut self.told);
        self.deleted.retain(|key| told.deleted.binary_search(key).is_err());
        self.corrupt.retain(|key| told.corrupt.binary_search(key).is_err());
        self.missing.retain(|key, _| !told.missing.contains(key));
        self.missing.values_mut().for_each(|heard| *heard = true);
        let HeartbeatReply { epoch, position, now_ms, update, revoked, .. } = word;
        let learned = Learned { joined: None, epoch, position, now_ms, update, revoked };
        let mut effects = vec![Effect::Learn(Box::new(learned))];
        self.more = word.tombstones.len() >= TOMBSTONES_PER_HEARTBEAT_MAX;
        let news: Vec<ChunkKey> = word
            .tombstones
            .iter()
            .copied()
            .filter(|key| !self.deleted.contains(key) && !self.quarantining.contains(key))
            .collect();
        if !news.is_empty() {
            self.quarantining.extend(news.iter().copied());
            effects.push(Effect::Quarantine(news));
        }
        if word.inventory_wanted {
            effects.push(Effect::TakeInventory { anew: false });
        }
        effects
    }

    /// A call failed or timed out: what it told is told again.
    pub(crate) fn failed(&mut self, now: MonoTime, jitter: u64, status: &Status) -> Vec<Effect> {
        self.calling = false;
        self.told = Told::default();
        match (&self.phase, status.code) {
            (RegistrationPhase::Stopped, _) => Vec::new(),
            (_, StatusCode::AlreadyExists) => {
                self.phase = RegistrationPhase::Stopped;
                vec![Effect::Stop(status.clone())]
            }
            (RegistrationPhase::Active | RegistrationPhase::Saving { .. }, StatusCode::NotRegistered) => {
                self.phase = RegistrationPhase::Apart { not_before: now };
                vec![Effect::Lost]
            }
            (RegistrationPhase::Active | RegistrationPhase::Saving { .. }, StatusCode::WrongCluster) => {
                self.apart(now, jitter);
                vec![Effect::Lost]
            }
            (RegistrationPhase::Active | RegistrationPhase::Saving { .. }, _) => {
                self.failures = self.failures.saturating_add(1);
                self.next_at = now + self.interval;
                if self.failures == LOST_AFTER { vec![Effect::Lost] } else { Vec::new() }
            }
            _ => {
                self.apart(now, jitter);
                Vec::new()
            }
        }
    }

    /// These chunks are in quarantine, or could not be put there (and will be asked for again).
    pub(crate) fn quarantined(&mut self, now: MonoTime, outcomes: &[(ChunkKey, bool)]) {
        for (key, done) in outcomes {
            if self.quarantining.remove(key) && *done {
                self.deleted.insert(*key);
            }
        }
        if self.more && self.quarantining.is_empty() && !self.calling {
            self.next_at = self.next_at.min(now);
        }
    }

    /// A copy was found bad. Returns whether there was room to remember it.
    pub(crate) fn report_corrupt(&mut self, key: ChunkKey) -> bool {
        if self.corrupt.len() >= FINDINGS_WAITING_MAX && !self.corrupt.contains(&key) {
            return false;
        }
        self.corrupt.insert(key);
        true
    }

    /// A copy was looked for in vain: the coordinator is told with the second heartbeat from now, unless the shell finds it
    /// then. Returns whether there was room to remember it.
    pub(crate) fn report_missing(&mut self, key: ChunkKey) -> bool {
        if self.missing.len() >= FINDINGS_WAITING_MAX && !self.missing.contains_key(&key) {
            return false;
        }
        self.missing.entry(key).or_insert(false);
        true
    }

    fn activate(&mut self, now: MonoTime, word: Registered) -> Vec<Effect> {
        self.phase = RegistrationPhase::Active;
        (self.attempts, self.failures) = (0, 0);
        self.interval = interval_of(&word);
        self.next_at = now + self.interval;
        let joined = Some(joined(&word));
        let Registered { epoch, position, now_ms, state, .. } = word;
        let learned =
            Learned { joined, epoch, position, now_ms, update: StateUpdate::Full(state), revoked: None };
        vec![Effect::Learn(Box::new(learned)), Effect::TakeInventory { anew: true }]
    }

    /// Back to the start, after a wait: doubled each time, with up to half of it added by chance so that nodes do not
    /// all come at once when a coordinator returns.
    fn apart(&mut self, now: MonoTime, jitter: u64) {
        let doubled = self.config.backoff_min.saturating_mul(1 << self.attempts.min(16));
        let wait = doubled.min(self.config.backoff_max);
        self.attempts = self.attempts.saturating_add(1);
        let extra = wait.mul_f64((jitter % 1024) as f64 / 2048.0);
        self.phase = RegistrationPhase::Apart { not_before: now + wait + extra };
    }
}

fn interval_of(word: &Registered) -> Duration {
    let millis = word.heartbeat_interval_ms.clamp(*INTERVAL_MS.start(), *INTERVAL_MS.end());
    Duration::from_millis(u64::from(millis))
}

/// What a registration leaves to keep.
fn joined(word: &Registered) -> Joined {
    let Registered { cluster, epoch, position, key, .. } = word;
    Joined { cluster: *cluster, key: key.clone(), epoch: *epoch, position: *position }
}

#[cfg(test)]
mod tests;
