//! Looking at the cluster and at one node.

use serde::{Deserialize, Serialize};

use super::absent;
pub use super::gc::{Garbage, GarbageKind, GcBegun, RunGc};
pub use super::health::{ClusterEvent, HealthFinding, HealthLevel, MuteFinding, MutedFinding, ReadEvents};
use super::job::{
    BalancePlan, DrainNode, DrainPlan, JobAction, JobId, JobStatus, ReplicationPlan, SetReplication,
    StartBalance,
};
use super::membership::{NodeLoad, NodeState};
use super::metadata::ChunkHealth;
pub use super::trust::{JoinTokenMade, KeysRevoked, MakeJoinToken, RevokeKeys};
use crate::id::{ClusterId, Epoch, NodeId};

/// What anyone may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdminRequest {
    /// Name, version and state of the node that answers.
    NodeInfo,
    /// The cluster as the coordinator sees it.
    ClusterStatus,
    /// Every datanode as the coordinator sees it.
    Nodes,
    /// The actors of the node that answers.
    Actors,
    /// Kill, panic or pause an actor (only in builds and configurations with chaos).
    Chaos(Chaos),
    /// Let the datanode with this name or id in, which waits for an operator's yes.
    AdmitNode(String),
    /// Forget a datanode that will not come back.
    ForgetNode(ForgetNode),
    /// Have every datanode that answers tell all it has, from the start.
    TakeInventories,
    /// What waits to be freed: in the metadata, or in the quarantine of the datanode that answers.
    GcStatus,
    /// Begin a round of garbage collection at once: what is quarantined at a datanode, everything else at the coordinator.
    RunGc(RunGc),
    /// How the scrub of the datanode that answers does.
    ScrubStatus,
    /// Begin a round of the scrub of the datanode that answers, at this pace, in place of one under way.
    ScrubStart(ScrubPace),
    /// Empty a datanode.
    DrainNode(DrainNode),
    /// Have a datanode that is emptied, by its name or id, take chunks again.
    UndrainNode(String),
    /// Bring copies from full datanodes to emptier ones.
    Balance(StartBalance),
    /// The jobs there are, those that ended lately among them.
    Jobs,
    /// Pause, resume or cancel a job.
    ActOnJob(JobId, JobAction),
    /// Say for how long a datanode may be away.
    MaintainNode(MaintainNode),
    /// Have another number of copies made of files that are there.
    SetReplication(SetReplication),
    /// Hear nothing of something that needs attention for a while.
    MuteFinding(MuteFinding),
    /// What operators want to hear nothing of.
    Mutes,
    /// What happened to the cluster.
    Events(ReadEvents),
    /// Let somebody in: a secret for one node that wants to join.
    MakeJoinToken(MakeJoinToken),
    /// Believe somebody's certificates no more.
    RevokeKeys(RevokeKeys),
}

impl AdminRequest {
    /// A short name for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NodeInfo => "admin.node_info",
            Self::ClusterStatus => "admin.cluster_status",
            Self::Nodes => "admin.nodes",
            Self::Actors => "admin.actors",
            Self::Chaos(_) => "admin.chaos",
            Self::AdmitNode(_) => "admin.admit_node",
            Self::ForgetNode(_) => "admin.forget_node",
            Self::TakeInventories => "admin.take_inventories",
            Self::GcStatus => "admin.gc_status",
            Self::RunGc(_) => "admin.run_gc",
            Self::ScrubStatus => "admin.scrub_status",
            Self::ScrubStart(_) => "admin.scrub_start",
            Self::DrainNode(_) => "admin.drain_node",
            Self::UndrainNode(_) => "admin.undrain_node",
            Self::Balance(_) => "admin.balance",
            Self::Jobs => "admin.jobs",
            Self::ActOnJob(..) => "admin.act_on_job",
            Self::MaintainNode(_) => "admin.maintain_node",
            Self::SetReplication(_) => "admin.set_replication",
            Self::MuteFinding(_) => "admin.mute_finding",
            Self::Mutes => "admin.mutes",
            Self::Events(_) => "admin.events",
            Self::MakeJoinToken(_) => "admin.make_join_token",
            Self::RevokeKeys(_) => "admin.revoke_keys",
        }
    }
}

/// Say for how long a datanode may be away: its copies are not made elsewhere meanwhile, and nobody is alarmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaintainNode {
    /// Its name or id.
    pub node: String,
    /// Milliseconds from now; 0 = its maintenance is over.
    pub for_ms: u64,
}

/// For how long a datanode may be away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaintainedNode {
    /// Its id.
    pub node: NodeId,
    /// Its name, for people.
    pub name: String,
    /// Milliseconds that are left; 0 = its maintenance is over.
    pub left_ms: u64,
}

/// Forget a datanode that will not come back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgetNode {
    /// Its name or id.
    pub node: String,
    /// Even if it has the last known copy of chunks, which are lost with it.
    pub accept_loss: bool,
    /// Only say what would happen.
    pub dry_run: bool,
}

/// What forgetting a datanode ends, or would end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgottenNode {
    /// Id of the node, as on its disk.
    pub node: NodeId,
    /// The name it had, for people.
    pub name: String,
    /// Copies of live chunks that were still expected on it.
    pub copies: u64,
    /// Chunks of which it had the last known copy.
    pub lost: u64,
}

/// What to do to which actor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chaos {
    /// Path in the tree, or a kind.
    pub actor: String,
    /// The harm that is done to it.
    pub action: ChaosAction,
    /// What the node's configuration has as its token: who does not know it is not obeyed.
    pub token: String,
}

/// What to do to an actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChaosAction {
    /// Kill it at its next await.
    Kill,
    /// Make its next message panic.
    Panic,
    /// Let it handle nothing for so many milliseconds.
    Pause(u32),
    /// Let it wait for so many milliseconds before each message; 0 = not any more.
    Delay(u32),
}

/// The answer to an [`AdminRequest`], one variant for each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdminResponse {
    /// The node that answers, of itself.
    NodeInfo(NodeInfo),
    /// The cluster as the coordinator sees it.
    ClusterStatus(Box<ClusterStatus>),
    /// Every datanode as the coordinator sees it.
    Nodes(Vec<NodeStatus>),
    /// Every actor of the node that answers, a parent before its children.
    Actors(Vec<ActorInfo>),
    /// So many actors were hit.
    Chaos(u32),
    /// The datanode with this name is taken in when it asks again.
    NodeAdmitted(String),
    /// The datanode is forgotten, or would be.
    NodeForgotten(ForgottenNode),
    /// The datanodes are asked with their next heartbeats.
    InventoriesWanted,
    /// What waits to be freed, each kind once.
    GcStatus(Vec<Garbage>),
    /// A round has begun, or would.
    GcBegun(GcBegun),
    /// How the scrub of the datanode that answers does.
    ScrubStatus(Box<ScrubStatus>),
    /// The round of this number begins.
    ScrubStarted(u64),
    /// The datanode is emptied, or would be.
    NodeDrains(Box<DrainPlan>),
    /// The datanode takes chunks again; the job that was to empty it, as it ended.
    NodeUndrained(Box<JobStatus>),
    /// Copies are brought elsewhere, or would be.
    Balances(Box<BalancePlan>),
    /// The jobs, the latest first.
    Jobs(Vec<JobStatus>),
    /// The job, as it is now.
    Job(Box<JobStatus>),
    /// For how long the datanode may be away.
    NodeMaintained(MaintainedNode),
    /// What it takes to have another number of copies, and the job that does it.
    Replicates(Box<ReplicationPlan>),
    /// What operators want to hear nothing of, all of it.
    Mutes(Vec<MutedFinding>),
    /// Some events, the oldest first.
    Events(Vec<ClusterEvent>),
    /// The secret, which nobody is told again.
    JoinTokenMade(JoinTokenMade),
    /// So many certificates are worth nothing any more.
    KeysRevoked(KeysRevoked),
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Id of its data directory.
    pub node: NodeId,
    /// Its name for people.
    pub name: String,
    /// `coordinator` or `datanode`.
    pub role: String,
    /// Version of its software.
    pub version: String,
    /// The cluster it belongs to.
    pub cluster: Option<ClusterId>,
    /// Milliseconds since it started.
    pub uptime_ms: u64,
    /// Whether the chaos feature is compiled in and enabled.
    pub chaos: bool,
    /// Whether it is draining.
    pub draining: bool,
}

/// A datanode that counts as up and was not heard of for more than two heartbeats.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilentNode {
    /// Its name for people.
    pub name: String,
    /// Milliseconds since it was last heard of.
    pub silent_ms: u64,
}

/// The cluster as the coordinator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// Id of the cluster.
    pub cluster: ClusterId,
    /// The coordinator's reign.
    pub epoch: Epoch,
    /// Version of the coordinator's software.
    pub version: String,
    /// The worst level of the findings.
    pub health: HealthLevel,
    /// Everything that needs attention.
    pub findings: Vec<HealthFinding>,
    /// Datanodes that count as up, the silent ones among them.
    pub nodes_up: u32,
    /// How many of those were not heard of for more than two heartbeats: whether they are up is not known.
    pub nodes_silent: u32,
    /// The first of these, the longest silent first.
    pub silent: Vec<SilentNode>,
    /// Datanodes that belong to the cluster, whether they answer or not.
    pub nodes_total: u32,
    /// Bytes of all data file systems, each counted once, however many nodes share it.
    pub capacity: u64,
    /// Bytes of them that chunks may still take.
    pub available: u64,
    /// Bytes of new files that this is enough for, with as many copies as are made by default.
    pub usable: u64,
    /// Copies that are made by default.
    pub replication: u8,
    /// Bytes of the contents of chunks, all copies.
    pub used: u64,
    /// Bytes of their footers, and of what fills their last pages.
    pub footers: u64,
    /// Bytes of the files in quarantine.
    pub quarantine: u64,
    /// Bytes of the metadata.
    pub metadata: u64,
    /// Files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Chunks with a record.
    pub chunks: u64,
    /// How many live chunks are worth what, those of open uploads included; each word once, the best first.
    pub health_of_chunks: Vec<(ChunkHealth, u64)>,
    /// They are being counted since a node changed its state: the numbers are of before.
    pub counting: bool,
    /// Entries in the trash.
    pub trash_entries: u64,
    /// Bytes of the files in the trash.
    pub trash_bytes: u64,
    /// Those times the copies that each file asks for: a part of what chunks take.
    pub trash_raw_bytes: u64,
    /// A large directory that was deleted is being counted: there are more bytes than said.
    pub trash_counting: bool,
    /// Tombstones that nodes have not yet confirmed.
    pub tombstones: u64,
    /// Upload sessions open.
    pub uploads_open: u64,
    /// Outcomes of operations that are remembered: a repeat is told the first one.
    pub outcomes: u64,
    /// Bytes that they take, about.
    pub outcome_bytes: u64,
    /// Bytes that they may take before the oldest are forgotten early.
    pub outcome_bytes_max: u64,
    /// How far back they reach, in milliseconds.
    pub outcomes_reach_ms: u64,
    /// Whether a weaker mode than the contract's is configured, and which.
    pub unsafe_modes: Vec<String>,
    /// Milliseconds since the coordinator started.
    pub uptime_ms: u64,
}

impl ClusterStatus {
    /// Live chunks that are worth this.
    pub fn chunks_that_are(&self, health: ChunkHealth) -> u64 {
        self.health_of_chunks.iter().find(|(word, _)| *word == health).map_or(0, |(_, chunks)| *chunks)
    }
}

/// A datanode as the coordinator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Id of its data directory.
    pub node: NodeId,
    /// Its name for people.
    pub name: String,
    /// Failure domain.
    pub zone: String,
    /// Where it listens.
    pub address: String,
    /// Version of its software.
    pub version: String,
    /// How it is.
    pub state: NodeState,
    /// Milliseconds it has been so.
    pub state_ms: u64,
    /// Milliseconds that are left of the announced maintenance of a node that left.
    pub grace_left_ms: Option<u64>,
    /// Milliseconds since it was last heard of; `None` = not since the coordinator started.
    pub last_seen_ms: Option<u64>,
    /// Its load and space when last heard of.
    pub load: NodeLoad,
    /// Copies of live chunks that it should have.
    pub copies_expected: u64,
    /// Milliseconds since it last told everything it has, in its present run; `None` = not yet.
    pub inventory_ms: Option<u64>,
    /// Copies it is known to hold that are bad.
    pub corrupt_copies: u64,
    /// Tombstones it has not yet confirmed.
    pub tombstones: u64,
    /// Why new chunks do not go there now; empty if they may.
    pub not_writable: String,
}

/// How fast a datanode reads all it has again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScrubPace {
    /// So that the round ends within the period, and within the budget.
    #[default]
    Period,
    /// As fast as the budget allows, beside the work for clients.
    Budget,
    /// As fast as the disk reads, whoever else wants it.
    Unpaced,
}

/// What a scrub is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScrubPhase {
    /// Its cursor is being read from the disk.
    #[default]
    Starting,
    /// A round is under way.
    Reading,
    /// A round is under way, and lets the work for clients go first.
    Yielding,
    /// The disk does not answer, or fails too many reads in a row: it is tried again later.
    Halted,
    /// A round has ended, or there is nothing to read.
    Resting,
}

/// A round of a scrub that has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubRound {
    /// Rounds are counted from 1.
    pub round: u64,
    /// When it began, by the node's wall clock: milliseconds since the Unix epoch.
    pub began_ms: u64,
    /// When it ended, by the same clock.
    pub ended_ms: u64,
    /// Chunks that were read whole.
    pub chunks: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// How many of them were bad: the same mismatch was read twice.
    pub bad: u64,
    /// Chunks of which the disk gave no answer, or an error: nothing is known about their bytes.
    pub unreadable: u64,
}

/// How the scrub of a datanode does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubStatus {
    /// What it is doing.
    pub phase: ScrubPhase,
    /// How fast.
    pub pace: ScrubPace,
    /// The round under way, or the last one: its end is the last that was counted in it.
    pub round: ScrubRound,
    /// Chunks that the node had when the round began.
    pub chunks_total: u64,
    /// Bytes of them.
    pub bytes_total: u64,
    /// Bytes a second, over the round.
    pub rate: u64,
    /// Milliseconds until the round ends at this pace; `None` = no round is under way, or it cannot be said.
    pub left_ms: Option<u64>,
    /// Milliseconds until the next round begins; `None` = one is under way.
    pub next_ms: Option<u64>,
    /// Copies that were bad or unreadable and are still there: they are read again now and then.
    pub doubted: u64,
    /// Within so many milliseconds everything is to be read.
    pub period_ms: u64,
    /// Bytes a second that it reads at most.
    pub budget: u64,
    /// Milliseconds that the node has run since a round last ended.
    pub since_ms: u64,
    /// No round has ended within twice the period.
    pub overdue: bool,
    /// The last round that ended.
    pub last: Option<ScrubRound>,
}

/// An actor as its supervisor sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActorInfo {
    /// Place in the tree, `/`-separated.
    pub path: String,
    /// The kind of actor: the same for all that do the same work.
    pub kind: String,
    /// `running`, `restarting`, `stopped`, ...
    pub state: String,
    /// How often it was restarted.
    pub restarts: u64,
    /// Why it last ended; empty if it never did.
    #[serde(with = "absent")]
    pub last_exit: String,
    /// Messages waiting.
    pub mailbox: u64,
    /// Most messages that were waiting at once.
    pub mailbox_max: u64,
    /// Messages handled.
    pub handled: u64,
    /// Handlers that took longer than 100 ms.
    pub slow: u64,
    /// Bytes of credit it holds.
    pub credit_bytes: u64,
    /// Milliseconds since it (re)started.
    pub uptime_ms: u64,
}
