//! How a datanode joins and stays in the cluster.
//!
//! Register once per run, then a heartbeat every two seconds. A heartbeat names the version of the cluster state
//! the node knows; the answer brings what has changed since, or all of it, and the chunks to put into quarantine.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::health::HealthFinding;
use crate::auth::NodeKey;
use crate::id::{ChunkKey, ClusterId, Epoch, Incarnation, NodeId};
use crate::identity::KeyDigest;

/// What a datanode tells the coordinator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MembershipRequest {
    /// The first word of a run: who the node is and what it brings.
    Register(Register),
    /// Sent at each interval: load, and news of single copies.
    Heartbeat(Heartbeat),
    /// The node stops on purpose: it is neither suspect nor down.
    Leave(Leave),
}

impl MembershipRequest {
    /// A short name for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Register(_) => "membership.register",
            Self::Heartbeat(_) => "membership.heartbeat",
            Self::Leave(_) => "membership.leave",
        }
    }
}

/// First word of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    /// The node's own id, made when its data directory was formatted.
    pub node: NodeId,
    /// The cluster its disk belongs to; `None` for a fresh disk.
    pub cluster: Option<ClusterId>,
    /// The reign that took it in last; 0 for a fresh disk. A coordinator whose metadata does not know that reign works
    /// on an old copy of it, and takes the node in no more.
    pub epoch: Epoch,
    /// The highest commit position that it has heard of in that reign. A coordinator whose metadata branched off from
    /// that reign before it works on an old copy as well.
    pub position: u64,
    /// This run.
    pub incarnation: Incarnation,
    /// A name for people.
    pub name: String,
    /// Failure domain; copies of a chunk are spread over zones.
    pub zone: String,
    /// Where clients and peers reach it, `host:port`.
    pub address: String,
    /// Version of its software.
    pub version: String,
    /// Load and space now.
    pub load: NodeLoad,
}

/// Load and space of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLoad {
    /// Bytes of the file system that holds the data directory.
    pub capacity: u64,
    /// Bytes that chunks may still take, after the reserve and what open writes were promised.
    pub available: u64,
    /// Which file system that is: nodes that name the same one share it. 0 if that is not known.
    pub file_system: u128,
    /// Bytes of the contents of chunks.
    pub used: u64,
    /// Bytes of the footers of chunks, and of what fills their last pages.
    pub footers: u64,
    /// Bytes of the files in quarantine.
    pub quarantine: u64,
    /// Bytes kept free for deletes and metadata.
    pub reserve: u64,
    /// Chunks held.
    pub chunks: u64,
    /// Chunks in quarantine.
    pub quarantined: u64,
    /// Writes open now.
    pub write_streams: u32,
    /// Reads open now.
    pub read_streams: u32,
    /// Frames waiting for the disk.
    pub disk_queue: u32,
    /// Bytes of receive memory reserved.
    pub memory_reserved: u64,
    /// Bytes of receive memory that may be reserved at most.
    pub memory_limit: u64,
    /// State of the disk.
    pub disk: DiskHealth,
    /// Age of the oldest operation under way on the disk, in milliseconds; 0 = none.
    pub disk_silent_ms: u32,
}

/// State of a node's disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskHealth {
    /// Reads and writes.
    #[default]
    Writable,
    /// Reads and deletes; no room for more.
    Full,
    /// Reads only, for the reason given.
    ReadOnly(String),
    /// A write or sync failed; what it holds may still be readable.
    Failed(String),
}

/// What a registered node says at each interval: its load, and what became of its copies since the last answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The node that sends it.
    pub node: NodeId,
    /// Which run of that node speaks: a late word of an earlier one is refused.
    pub incarnation: Incarnation,
    /// Version of the cluster state it knows; 0 = none.
    pub state_version: u64,
    /// Version of [`Revoked`] that it knows; 0 = none.
    pub revoked_version: u64,
    /// Load and space now.
    pub load: NodeLoad,
    /// Tombstones carried out since the last heartbeat that was answered.
    pub deleted: Vec<ChunkKey>,
    /// Copies found bad since then (a mismatch read twice).
    pub corrupt: Vec<ChunkKey>,
    /// Copies that a reader was sent for and that are not there.
    pub missing: Vec<ChunkKey>,
    /// The latest time of the coordinator that the node had heard before it looked for them: a copy that was recorded
    /// later may have come since.
    pub heard_ms: u64,
    /// What needs attention on the node: at most
    /// [`NODE_FINDINGS_MAX`](crate::limits::NODE_FINDINGS_MAX), more are not kept.
    pub findings: Vec<HealthFinding>,
}

/// The last word of a node that stops on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leave {
    /// The node that stops.
    pub node: NodeId,
    /// Which run of that node speaks: a late word of an earlier one is refused.
    pub incarnation: Incarnation,
}

/// How the coordinator sees a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NodeState {
    /// Heard of lately.
    Up,
    /// Not heard of for 10 s: no new writes go there.
    Suspect,
    /// Not heard of for 30 s: reads go elsewhere too.
    Down,
    /// Stopped on purpose; it is expected back until an operator forgets it.
    Left,
    /// Heard of lately, gets no new chunks: an operator empties it.
    Draining,
    /// Another node has its name and address: whatever it held is gone.
    Lost,
    /// An operator forgot it: it is no part of the cluster any more.
    Forgotten,
}

impl NodeState {
    /// Every state.
    pub const ALL: [Self; 7] =
        [Self::Up, Self::Suspect, Self::Down, Self::Left, Self::Draining, Self::Lost, Self::Forgotten];

    /// The word for it: the same in output, metrics, logs and documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Down => "down",
            Self::Left => "left",
            Self::Draining => "draining",
            Self::Lost => "lost",
            Self::Forgotten => "forgotten",
        }
    }

    /// Whether the node answers as far as is known: chunks can be read there.
    pub const fn answers(self) -> bool {
        matches!(self, Self::Up | Self::Suspect | Self::Draining)
    }

    /// Whether the node is part of the cluster: what it holds may be read again without an operator's word.
    pub const fn belongs(self) -> bool {
        !matches!(self, Self::Lost | Self::Forgotten)
    }
}

impl std::fmt::Display for NodeState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// A node in the cluster state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeEntry {
    /// Id of the node: the entry replaces an older one of the same id.
    pub node: NodeId,
    /// Name for people.
    pub name: String,
    /// Failure domain.
    pub zone: String,
    /// Where it listens.
    pub address: String,
    /// How it is.
    pub state: NodeState,
}

/// What changed in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StateUpdate {
    /// Nothing since the version named in the heartbeat.
    Unchanged,
    /// These nodes changed; `from` is the version named in the heartbeat.
    Increment(StateIncrement),
    /// Everything: the version named was too old or unknown.
    Full(StateFull),
}

/// The nodes that changed between two versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateIncrement {
    /// The version it builds on.
    pub from: u64,
    /// The version it leads to.
    pub to: u64,
    /// Changed nodes, whole.
    pub nodes: Vec<NodeEntry>,
}

/// The whole cluster state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateFull {
    /// The version that the next heartbeat names, to be told of changes only.
    pub version: u64,
    /// Every node.
    pub nodes: Vec<NodeEntry>,
}

/// What the coordinator answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MembershipResponse {
    /// The node is taken in: its key, its heartbeat interval, and the cluster state.
    Registered(Registered),
    /// What changed, and what the node is to do.
    Heartbeat(HeartbeatReply),
    /// The goodbye is noted: the node may stop.
    Left,
}

/// A node was taken in: what it needs to take part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// The cluster that the node belongs to from now on; a fresh disk keeps it.
    pub cluster: ClusterId,
    /// The coordinator's reign.
    pub epoch: Epoch,
    /// The commit position of its metadata: whoever obeys an order to delete keeps it first.
    pub position: u64,
    /// The coordinator's clock, milliseconds.
    pub now_ms: u64,
    /// The key this node signs receipts with and checks grants with.
    pub key: NodeKey,
    /// How often to send heartbeats.
    pub heartbeat_interval_ms: u32,
    /// The whole cluster state.
    pub state: StateFull,
}

/// The keys for which certificates are not believed any more: all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// Rises with each change; 0 = there never was one.
    pub version: u64,
    /// The keys; at most [`REVOKED_MAX`](crate::limits::REVOKED_MAX).
    pub keys: BTreeSet<KeyDigest>,
}

/// The answer to a heartbeat: what changed, and what the node is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatReply {
    /// The coordinator's reign.
    pub epoch: Epoch,
    /// The commit position of its metadata: whoever obeys an order to delete keeps it first.
    pub position: u64,
    /// The coordinator's clock, milliseconds.
    pub now_ms: u64,
    /// What changed in the cluster since the version that the heartbeat named.
    pub update: StateUpdate,
    /// The keys that are not believed any more, if the heartbeat named another version of them.
    pub revoked: Option<Revoked>,
    /// Copies to put into quarantine; repeated until confirmed.
    pub tombstones: Vec<ChunkKey>,
    /// The coordinator does not know this run: register again.
    pub register_again: bool,
    /// The coordinator wants a full inventory now.
    pub inventory_wanted: bool,
}
