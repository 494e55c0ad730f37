//! What every node answers about itself: who it is, and its actors.

use dfs_wire::handshake::Welcome;
use dfs_wire::id::{ClusterId, Epoch, NodeId};
use dfs_wire::limits::CONNECTION_CREDIT_BYTES;
use dfs_wire::message::admin::{ActorInfo, AdminRequest, AdminResponse, NodeInfo};
use dfs_wire::status::{Status, StatusCode};
use dfs_wire::version::ProtocolVersion;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::env::{Env, MonoTime};
use crate::supervisor::{ActorRow, ActorTree};

/// What a node knows of itself. Cheap to clone.
#[derive(Clone)]
pub struct NodeAdmin {
    node: NodeId,
    name: String,
    role: &'static str,
    version: String,
    tree: ActorTree,
    env: Env,
    started: MonoTime,
    chaos: Option<ChaosToken>,
    draining: Arc<AtomicBool>,
    facts: Arc<dyn Fn() -> NodeFacts + Send + Sync>,
}

/// What a node learns while it runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct NodeFacts {
    /// Its cluster, once known.
    pub cluster: Option<ClusterId>,
    /// The reign it knows of.
    pub epoch: Epoch,
}

/// The unchanging part of what a node says of itself.
#[derive(Debug, Clone)]
pub struct NodeName {
    /// By which the cluster knows it.
    pub node: NodeId,
    /// Its name for people.
    pub name: String,
    /// `coordinator` or `datanode`.
    pub role: &'static str,
    /// Version of its software.
    pub version: String,
    /// Who may ask for deliberate faults, if its configuration allows them.
    pub chaos: Option<ChaosToken>,
}

/// What whoever asks for deliberate faults has to know.
#[derive(Clone, PartialEq, Eq)]
pub struct ChaosToken(String);

impl ChaosToken {
    /// Only who says exactly this is obeyed.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// Bytes of the secret.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no secret.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether that is what was said. How long it takes says nothing but the length.
    fn is(&self, said: &str) -> bool {
        let (ours, theirs) = (self.0.as_bytes(), said.as_bytes());
        let differing = ours.iter().zip(theirs).fold(0, |all, (a, b)| all | (a ^ b));
        ours.len() == theirs.len() && differing == 0
    }
}

impl fmt::Debug for ChaosToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChaosToken(..)")
    }
}

impl NodeAdmin {
    /// For a node that starts now.
    pub fn new(
        name: NodeName,
        tree: ActorTree,
        env: Env,
        facts: Arc<dyn Fn() -> NodeFacts + Send + Sync>,
    ) -> Self {
        let started = env.now();
        let NodeName { node, name, role, version, chaos } = name;
        let draining = Arc::new(AtomicBool::new(false));
        let chaos = chaos.filter(|_| cfg!(feature = "chaos"));
        Self { node, name, role, version, tree, env, started, chaos, draining, facts }
    }

    /// Its name for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Milliseconds since it started.
    pub fn uptime_ms(&self) -> u64 {
        millis(self.env.now(), self.started)
    }

    /// Says from here on that the node is draining.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the node is draining.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// The welcome to a peer.
    pub fn welcome(&self, cluster: Option<ClusterId>, version: ProtocolVersion, session: u64) -> Welcome {
        Welcome {
            version: version.number(),
            cluster,
            node: self.node,
            name: self.name.clone(),
            role: self.role.to_owned(),
            session,
            epoch: (self.facts)().epoch,
            time_ms: 0,
            features: 0,
            connection_credit: CONNECTION_CREDIT_BYTES,
        }
    }

    /// Answers what is about this node alone.
    ///
    /// # Errors
    /// `Unsupported` for what only a coordinator answers, and for chaos where it is not enabled.
    pub fn answer(&self, request: &AdminRequest) -> Result<AdminResponse, Status> {
        match request {
            AdminRequest::NodeInfo => Ok(AdminResponse::NodeInfo(self.info())),
            AdminRequest::Actors => Ok(AdminResponse::Actors(self.actors())),
            AdminRequest::Chaos(chaos) => match &self.chaos {
                Some(token) if token.is(&chaos.token) => self.chaos(chaos),
                Some(_) => Err(Status::new(
                    StatusCode::PermissionDenied,
                    "deliberate faults are for those who know the token of this node",
                )
                .hint("it is chaos.token in the node's configuration; dfsctl takes it from DFS_CHAOS_TOKEN")),
                None => Err(Status::new(StatusCode::Unsupported, "deliberate faults are not enabled here")
                    .hint("needs a build with the feature `chaos` and chaos.enabled in the configuration")),
            },
            AdminRequest::ClusterStatus
            | AdminRequest::Nodes
            | AdminRequest::AdmitNode(_)
            | AdminRequest::ForgetNode(_)
            | AdminRequest::TakeInventories
            | AdminRequest::GcStatus
            | AdminRequest::RunGc(_)
            | AdminRequest::DrainNode(_)
            | AdminRequest::UndrainNode(_)
            | AdminRequest::Balance(_)
            | AdminRequest::Jobs
            | AdminRequest::ActOnJob(..)
            | AdminRequest::MaintainNode(_)
            | AdminRequest::SetReplication(_)
            | AdminRequest::MuteFinding(_)
            | AdminRequest::Mutes
            | AdminRequest::Events(_)
            | AdminRequest::MakeJoinToken(_)
            | AdminRequest::RevokeKeys(_) => {
                Err(Status::new(StatusCode::Unsupported, "only the coordinator knows the cluster"))
            }
            AdminRequest::ScrubStatus | AdminRequest::ScrubStart(_) => {
                Err(Status::new(StatusCode::Unsupported, "a coordinator has no chunks that could be read"))
            }
        }
    }

    fn info(&self) -> NodeInfo {
        NodeInfo {
            node: self.node,
            name: self.name.clone(),
            role: self.role.to_owned(),
            version: self.version.to_owned(),
            cluster: (self.facts)().cluster,
            uptime_ms: self.uptime_ms(),
            chaos: self.chaos.is_some(),
            draining: self.is_draining(),
        }
    }

    fn actors(&self) -> Vec<ActorInfo> {
        let now = self.env.now();
        self.tree.snapshot().into_iter().take(ACTORS_SHOWN_MAX).map(|row| actor_info(row, now)).collect()
    }
}

/// Actors in one answer: what fits into a message. Sessions and uploads beyond it are left out.
const ACTORS_SHOWN_MAX: usize = 256;

fn millis(now: MonoTime, since: MonoTime) -> u64 {
    u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX)
}

fn actor_info(row: ActorRow, now: MonoTime) -> ActorInfo {
    let stats = row.stats;
    let mut last_exit = stats.last_exit.unwrap_or_default();
    last_exit.truncate(last_exit.char_indices().nth(100).map_or(last_exit.len(), |(i, _)| i));
    ActorInfo {
        path: row.path,
        kind: row.kind.to_owned(),
        state: stats.state.as_str().to_owned(),
        restarts: stats.restarts,
        last_exit,
        mailbox: stats.depth,
        mailbox_max: stats.depth_max,
        handled: stats.handled,
        slow: stats.slow,
        credit_bytes: stats.credits,
        uptime_ms: millis(now, stats.started_at),
    }
}

#[cfg(any(test, feature = "chaos"))]
impl NodeAdmin {
    fn chaos(&self, chaos: &dfs_wire::message::admin::Chaos) -> Result<AdminResponse, Status> {
        use crate::supervisor::{Strike, StrikeTarget};
        use dfs_wire::message::admin::ChaosAction;
        let strike = match chaos.action {
            ChaosAction::Kill => Strike::Kill,
            ChaosAction::Panic => Strike::Panic,
            ChaosAction::Pause(millis) => Strike::Pause(std::time::Duration::from_millis(millis.into())),
            ChaosAction::Delay(millis) => Strike::Delay(std::time::Duration::from_millis(millis.into())),
        };
        let path = chaos.actor.contains('/');
        let target = if path {
            StrikeTarget::Path(chaos.actor.clone())
        } else {
            StrikeTarget::Kind(chaos.actor.clone())
        };
        Ok(AdminResponse::Chaos(u32::try_from(self.tree.strike(&target, strike)).unwrap_or(u32::MAX)))
    }
}

#[cfg(not(any(test, feature = "chaos")))]
impl NodeAdmin {
    fn chaos(&self, _chaos: &dfs_wire::message::admin::Chaos) -> Result<AdminResponse, Status> {
        Err(Status::new(StatusCode::Unsupported, "this build cannot make deliberate faults"))
    }
}
