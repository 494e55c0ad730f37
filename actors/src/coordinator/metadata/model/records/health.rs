//! What needs attention since when, what operators want to hear nothing of, and what happened.

use std::collections::BTreeMap;

use dfs_wire::id::Epoch;
use dfs_wire::message::admin::HealthLevel;
use serde::{Deserialize, Serialize};

use crate::coordinator::metadata::table::format::Record;

/// What a finding is known by: its code, and the name of the datanode that it is about, if it is about one.
pub type FindingKey = (String, String);

/// A finding that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandingFinding {
    /// How bad it is.
    pub level: HealthLevel,
    /// Since when, in the coordinator's time.
    pub since_ms: u64,
}

/// Operators want to hear nothing of a finding for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mute {
    /// Until when, in the coordinator's time.
    pub until_ms: u64,
    /// Who said so.
    pub by: String,
}

/// What is remembered of the health of the cluster. One row.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthBook {
    /// The reign whose beginning was noted last.
    pub epoch: Epoch,
    /// The number of the next event.
    pub next_event: u64,
    /// What needs attention.
    pub standing: BTreeMap<FindingKey, StandingFinding>,
    /// What is muted; a key without a name stands for all datanodes.
    pub mutes: BTreeMap<FindingKey, Mute>,
}

impl Record for HealthBook {}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRecord {
    /// When, by the wall clock, in milliseconds since 1970: the coordinator's time stands still while it is off.
    pub wall_ms: u64,
    /// One word for what kind of thing it is.
    pub kind: String,
    /// Whether data is in danger by it.
    pub level: HealthLevel,
    /// The name of the datanode that it is about; empty = it is about the cluster.
    pub subject: String,
    /// What people are told: a sentence with names and numbers.
    pub text: String,
}

impl Record for EventRecord {}
