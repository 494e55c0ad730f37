//! From request to answer on a coordinator.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::watch;
use dfs_wire::Bytes;
use dfs_wire::handshake::{Hello, Peer, Welcome};
use dfs_wire::id::{NodeId, OpId};
use dfs_wire::identity::KeyDigest;
use dfs_wire::limits::SILENT_NAMED_MAX;
use dfs_wire::link::Incoming;
use dfs_wire::message::admin::{AdminRequest, AdminResponse, ClusterStatus, HealthLevel, NodeStatus};
use dfs_wire::message::inventory::InventoryRequest;
use dfs_wire::message::membership::MembershipRequest;
use dfs_wire::message::metadata::ChunkHealth;
use dfs_wire::message::{Request, RequestHead, Response, ResponseHead};
use dfs_wire::status::{Status, StatusCode};
use dfs_wire::version::ProtocolVersion;
use futures_util::future::BoxFuture;

use super::doorbell::Doorbell;
use super::read_order::is_avoided;
use super::trust::Trust;
use super::turns::InventoryTurns;
use crate::coordinator::census::Counted;
use crate::coordinator::events::{BookReceiver, EventsMsg};
use crate::coordinator::gc::GcMsg;
use crate::coordinator::health::{DELETIONS_COUNTED, Examined, Examiner, annotate, deletions};
use crate::coordinator::jobs::JobsMsg;
use crate::coordinator::membership::{ClusterView, MembershipConfig, MembershipMsg, NodeView, ViewReceiver};
use crate::coordinator::metadata::model::outcome::Outcome;
use crate::coordinator::metadata::model::time::ReignClock;
use crate::coordinator::metadata::ops::Policy;
use crate::coordinator::metadata::ops::cluster::Reign;
use crate::coordinator::metadata::ops::mutation::Mutation;
use crate::coordinator::metadata::reader::{MetadataReader, MetadataReads, ReadFor};
use crate::coordinator::metadata::table::error::MetaError;
use crate::coordinator::metadata::writer::{StoreTrouble, WriterMetrics, WriterMsg};
use crate::coordinator::placement::{PlacementMsg, not_writable};
use crate::coordinator::repair::{RepairHealth, RepairTally};
use crate::coordinator::signer::Signer;
use crate::coordinator::space::Space;
use crate::env::{Env, MonoTime};
use crate::peer::admin::NodeAdmin;
use crate::peer::session::{PeerInfo, Service};
use crate::supervisor::{Addr, AskError};

/// How long a request may take if its sender does not say.
const DEADLINE_DEFAULT: Duration = Duration::from_secs(30);
/// The longest deadline that is honoured.
const DEADLINE_MAX: Duration = Duration::from_secs(120);
/// Patience with the metadata when the cluster is shown: less than that of whoever looks.
pub(super) const SHOWN_WITHIN: Duration = Duration::from_secs(3);
/// Patience with the metadata in a handshake: a small part of the peer's.
const STAMPED_WITHIN: Duration = Duration::from_secs(1);
/// Findings in one answer; the worst come first.
const FINDINGS_MAX: usize = 64;
/// What a refused client is asked to wait.
const BUSY_PAUSE_MS: u32 = 250;

/// What is configured of the service.
#[derive(Debug, Clone)]
pub struct CoordinatorConfig {
    /// Defaults and times of the metadata.
    pub policy: Policy,
    /// Times of membership.
    pub membership: MembershipConfig,
    /// How long leave to write a chunk lasts.
    pub write_grant: Duration,
    /// How long leave to read a chunk lasts: no longer than a superseded version is kept.
    pub read_grant: Duration,
    /// Version of the software.
    pub version: String,
    /// Weaker modes than the contract's that are configured, each in a sentence.
    pub unsafe_modes: Vec<String>,
}

impl CoordinatorConfig {
    /// The defaults, for software of this version.
    pub fn new(version: impl Into<String>) -> Self {
        let policy = Policy::default();
        Self {
            policy,
            membership: MembershipConfig::default(),
            write_grant: Duration::from_millis(policy.upload_lease_ms),
            read_grant: Duration::from_millis(policy.read_lease_ms),
            version: version.into(),
            unsafe_modes: Vec::new(),
        }
    }
}

/// What the service is made of.
pub struct CoordinatorParts {
    /// Who this coordinator is.
    pub reign: Reign,
    /// What is configured.
    pub config: CoordinatorConfig,
    /// Clock, network and randomness.
    pub env: Env,
    /// The coordinator's time.
    pub time: ReignClock,
    /// Reads of metadata that is committed.
    pub reads: MetadataReads,
    /// Who changes metadata.
    pub writer: Addr<WriterMsg>,
    /// What it counts, and how its store does.
    pub metrics: Arc<WriterMetrics>,
    /// Who collects it.
    pub collector: Addr<GcMsg>,
    /// Who keeps the register of nodes.
    pub membership: Addr<MembershipMsg>,
    /// Who chooses nodes.
    pub placement: Addr<PlacementMsg>,
    /// The jobs that operators asked for.
    pub(in crate::coordinator) jobs: Addr<JobsMsg>,
    /// The picture of the cluster.
    pub view: ViewReceiver,
    /// The latest count of all chunks.
    pub(in crate::coordinator) census: watch::Receiver<Counted>,
    /// Asks who is at an address.
    pub doorbell: Arc<dyn Doorbell>,
    /// Looks at everything that may need attention.
    pub(in crate::coordinator) examiner: Arc<Examiner>,
    /// Keeps what happened.
    pub(in crate::coordinator) events: Addr<EventsMsg>,
    /// What is remembered of the health of the cluster.
    pub(in crate::coordinator) book: BookReceiver,
    /// What repair does.
    pub(in crate::coordinator) repair: Arc<RepairHealth>,
    /// Who is let in, and who not any more.
    pub trust: Trust,
    /// Signs what clients may do at datanodes.
    pub(in crate::coordinator) signer: Arc<Signer>,
    /// Name, actors, uptime.
    pub admin: NodeAdmin,
}

/// Serves clients and datanodes on a coordinator.
pub struct CoordinatorService {
    pub(in crate::coordinator) parts: CoordinatorParts,
    pub(super) turns: InventoryTurns,
}

/// What all of a request's work must keep to.
pub(super) struct Asked {
    pub(super) op: OpId,
    /// Where the request comes from, if from another process.
    pub(super) source: Option<IpAddr>,
    until: MonoTime,
}

impl CoordinatorService {
    /// A service of these parts.
    pub fn new(parts: CoordinatorParts) -> Self {
        let turns = InventoryTurns::new(parts.env.clock.clone());
        Self { parts, turns }
    }

    /// Answers one request of this process, within its deadline.
    ///
    /// # Errors
    /// The status that the sender is told.
    pub async fn answer(self: &Arc<Self>, head: RequestHead) -> ResponseHead {
        self.answer_to(None, head).await
    }

    /// What this process asks of itself.
    pub(super) fn asked_here(&self) -> Asked {
        let op = OpId(self.parts.env.rng.u128());
        Asked { op, source: None, until: self.parts.env.now() + DEADLINE_DEFAULT }
    }

    async fn answer_to(self: &Arc<Self>, peer: Option<&PeerInfo>, head: RequestHead) -> ResponseHead {
        let limit = match head.deadline_ms {
            0 => DEADLINE_DEFAULT,
            ms => Duration::from_millis(u64::from(ms)).min(DEADLINE_MAX),
        };
        let source = peer.map(|peer| peer.address.ip());
        let asked = Asked { op: head.op, source, until: self.parts.env.now() + limit };
        match head.body {
            Request::Metadata(request) => self.metadata(&asked, request).await.map(Response::Metadata),
            Request::Membership(request) => self.membership(&asked, request).await.map(Response::Membership),
            Request::Inventory(InventoryRequest::Report(report)) => {
                self.inventory(&asked, report).await.map(Response::Inventory)
            }
            Request::Inventory(InventoryRequest::Confirm(word)) => {
                let judge = move |service: &Self, reader: &MetadataReader| service.confirm(reader, &word);
                self.apart(ReadFor::Requests, &asked, judge).await.map(Response::Inventory)
            }
            Request::Admin(AdminRequest::AdmitNode(node)) => {
                self.admit_node(&asked, &node).await.map(Response::Admin)
            }
            Request::Admin(AdminRequest::ForgetNode(word)) => {
                self.forget_node(&asked, &word).await.map(Response::Admin)
            }
            Request::Admin(AdminRequest::MaintainNode(word)) => {
                self.maintain_node(&asked, &word).await.map(Response::Admin)
            }
            Request::Admin(AdminRequest::DrainNode(word)) => {
                self.drain_node(&asked, &word).await.map(Response::Admin)
            }
            Request::Admin(AdminRequest::UndrainNode(node)) => {
                self.undrain_node(&asked, &node).await.map(Response::Admin)
            }
            Request::Admin(
                request @ (AdminRequest::Balance(_)
                | AdminRequest::SetReplication(_)
                | AdminRequest::Jobs
                | AdminRequest::ActOnJob(..)),
            ) => self.about_jobs(&asked, request).await.map(Response::Admin),
            Request::Admin(
                request @ (AdminRequest::MuteFinding(_) | AdminRequest::Mutes | AdminRequest::Events(_)),
            ) => self.about_events(&asked, request).await.map(Response::Admin),
            Request::Admin(request @ (AdminRequest::MakeJoinToken(_) | AdminRequest::RevokeKeys(_))) => {
                self.about_trust(&asked, peer, request).await.map(Response::Admin)
            }
            Request::Enroll(request) => match peer {
                Some(peer) => self.enroll(&asked, peer, request).await.map(Response::Enroll),
                None => Err(Status::new(StatusCode::Unsupported, "this process certifies itself")),
            },
            Request::Admin(AdminRequest::TakeInventories) => self.take_inventories().map(Response::Admin),
            Request::Admin(AdminRequest::GcStatus) => self.gc_status(&asked).await.map(Response::Admin),
            Request::Admin(AdminRequest::RunGc(word)) => self.run_gc(&asked, word).await.map(Response::Admin),
            Request::Admin(AdminRequest::ClusterStatus) => {
                let status = self.apart(ReadFor::Health, &asked, Self::status).await;
                status.map(|status| Response::Admin(AdminResponse::ClusterStatus(Box::new(status))))
            }
            Request::Admin(AdminRequest::Nodes) => {
                let nodes = self.apart(ReadFor::Health, &asked, Self::nodes).await;
                nodes.map(|nodes| Response::Admin(AdminResponse::Nodes(nodes)))
            }
            Request::Admin(request) => self.parts.admin.answer(&request).map(Response::Admin),
            other @ (Request::Chunk(_) | Request::Replication(_)) => {
                let text = format!("{} is answered by datanodes, not by a coordinator", other.name());
                Err(Status::new(StatusCode::Unsupported, text))
            }
        }
    }

    /// How many datanodes answer and are read last all the same, because their disks do not.
    pub fn nodes_read_last(&self) -> usize {
        self.view().nodes.iter().filter(|node| is_avoided(node)).count()
    }

    /// The latest picture of the cluster.
    pub fn view(&self) -> Arc<ClusterView> {
        Arc::clone(&self.parts.view.borrow())
    }

    /// What the metadata writer counts.
    pub fn writer_metrics(&self) -> &WriterMetrics {
        &self.parts.metrics
    }

    /// What repair does and has done.
    pub fn repair(&self) -> RepairTally {
        self.parts.repair.look()
    }

    /// What is wrong with the metadata store.
    pub fn store_trouble(&self) -> Option<StoreTrouble> {
        self.parts.examiner.store_trouble()
    }

    /// The cluster with its health, for this process to show. Without the metadata its counts are 0, and a finding says why.
    ///
    /// # Errors
    /// If a record is damaged, or the metadata does not answer within three seconds.
    pub async fn cluster_status(self: &Arc<Self>) -> Result<ClusterStatus, Status> {
        let service = Arc::clone(self);
        self.parts.reads.ask(ReadFor::Health, SHOWN_WITHIN, move |reader| service.status(reader)).await
    }

    fn status(&self, reader: &MetadataReader) -> Result<ClusterStatus, MetaError> {
        let mut examined = self.parts.examiner.examine(reader, DELETIONS_COUNTED)?;
        let outcomes = reader.outcomes().unwrap_or_default();
        annotate(&mut examined.findings, &self.parts.book.borrow(), self.parts.time.now_ms());
        let counting = examined.is_counting();
        let Examined { mut findings, view, totals, counted } = examined;
        let unsafe_modes = self.parts.config.unsafe_modes.clone();
        let up = || view.nodes.iter().filter(|n| n.counts_as_up());
        let silent = view.silent(self.parts.env.now(), 2 * self.parts.config.membership.heartbeat_interval);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let (space, replication) = (Space::of(up().map(|n| &n.load)), self.parts.config.policy.replication);
        let heard = findings.iter().filter(|finding| finding.muted_ms == 0).map(|finding| finding.level);
        let health = heard.max().unwrap_or(HealthLevel::Ok);
        // What is muted is cut off first.
        findings.sort_by_key(|finding| (finding.muted_ms > 0, std::cmp::Reverse(finding.level)));
        findings.truncate(FINDINGS_MAX);
        Ok(ClusterStatus {
            cluster: self.parts.reign.cluster,
            epoch: self.parts.reign.epoch,
            version: self.parts.config.version.clone(),
            health,
            findings,
            nodes_up: count(up().count()),
            nodes_silent: count(silent.len()),
            silent: silent.into_iter().take(SILENT_NAMED_MAX).collect(),
            nodes_total: count(view.nodes.iter().filter(|n| n.entry.state.belongs()).count()),
            capacity: space.capacity,
            available: space.available,
            usable: space.available / u64::from(replication.max(1)),
            replication,
            used: space.used,
            footers: space.footers,
            quarantine: space.quarantine,
            metadata: self.parts.metrics.health.room().map_or(0, |room| room.used),
            files: totals.files,
            directories: totals.directories,
            chunks: totals.chunks,
            health_of_chunks: ChunkHealth::ALL
                .iter()
                .map(|health| (*health, counted.census.of(*health).chunks))
                .collect(),
            counting,
            trash_entries: totals.trash,
            trash_bytes: totals.trash_usage.bytes,
            trash_raw_bytes: totals.trash_usage.raw_bytes,
            trash_counting: reader.trash_counting().unwrap_or_default(),
            tombstones: totals.tombstones,
            uploads_open: totals.uploads,
            outcomes: outcomes.rows,
            outcome_bytes: outcomes.bytes,
            outcome_bytes_max: self.parts.config.policy.outcome_bytes_max,
            outcomes_reach_ms: outcomes
                .reach_ms(self.parts.time.now_ms(), self.parts.config.policy.outcome_ms),
            unsafe_modes,
            uptime_ms: self.parts.admin.uptime_ms(),
        })
    }

    fn nodes(&self, reader: &MetadataReader) -> Result<Vec<NodeStatus>, MetaError> {
        let (view, now, now_ms) = (self.view(), self.parts.env.now(), self.parts.time.now_ms());
        let counted = self.parts.examiner.counted(reader, &view)?;
        let status = |node: &NodeView| -> Result<NodeStatus, MetaError> {
            let id = node.entry.node;
            let silent =
                node.heard.map(|heard| u64::try_from(now.since(heard).as_millis()).unwrap_or(u64::MAX));
            Ok(NodeStatus {
                node: id,
                name: node.entry.name.clone(),
                zone: node.entry.zone.clone(),
                address: node.entry.address.clone(),
                version: node.version.clone(),
                state: node.entry.state,
                state_ms: now_ms.saturating_sub(node.since_ms),
                grace_left_ms: node.grace_until_ms.map(|until| until.saturating_sub(now_ms)),
                last_seen_ms: silent,
                load: node.load.clone(),
                copies_expected: counted.census.expected(id),
                inventory_ms: self.parts.examiner.reports.inventory_age_ms(id, node.incarnation, now_ms),
                corrupt_copies: self.parts.examiner.reports.corrupt_count(id),
                tombstones: deletions(reader, id, DELETIONS_COUNTED)?,
                not_writable: not_writable(node).unwrap_or_default(),
            })
        };
        view.nodes.iter().map(|node| status(node)).collect()
    }

    /// Time left for a request.
    pub(super) fn left(&self, asked: &Asked) -> Duration {
        asked.until.since(self.parts.env.now())
    }

    /// Changes the metadata on behalf of a request.
    pub(super) async fn change(&self, asked: &Asked, mutation: Mutation) -> Result<Outcome, Status> {
        self.mutate(asked.op, mutation, self.left(asked)).await
    }

    /// Changes the metadata under an operation id of our own: repeating it is harmless by what it does.
    pub(super) async fn note(&self, asked: &Asked, mutation: Mutation) -> Result<Outcome, Status> {
        self.mutate(OpId(self.parts.env.rng.u128()), mutation, self.left(asked)).await
    }

    async fn mutate(&self, op: OpId, mutation: Mutation, limit: Duration) -> Result<Outcome, Status> {
        let what = mutation.name();
        match self.parts.writer.ask(WriterMsg::mutate(op, mutation), limit).await {
            Ok(result) => result,
            Err(error) if error.had_no_effect() => Err(refused("the metadata writer", error)),
            Err(error) => {
                let text = format!("{what} was handed to the metadata writer, but {error}");
                Err(Status::new(StatusCode::OutcomeUnknown, text)
                    .hint("repeat the request with the same operation id to learn its outcome"))
            }
        }
    }
}

/// A question to an actor that was not answered, where asking has no effect.
pub(super) fn refused(whom: &str, error: AskError) -> Status {
    let code = match error {
        AskError::Busy => StatusCode::Busy,
        AskError::Timeout => StatusCode::DeadlineExceeded,
        AskError::Down | AskError::Dead => StatusCode::Unavailable,
    };
    Status::new(code, format!("{whom} did not answer: {error}; nothing was done"))
        .hint("try again in a moment")
        .retry_after_ms(BUSY_PAUSE_MS)
}

/// An answer of another kind than the question's.
pub(super) fn unexpected(outcome: &Outcome) -> Status {
    Status::new(StatusCode::Internal, format!("the metadata writer answered something else: {outcome:?}"))
        .hint("the coordinator's log has more; report it")
}

/// A node that must register before it is listened to.
pub(super) fn not_registered(node: NodeId) -> Status {
    Status::new(StatusCode::NotRegistered, "this run of the node is not registered here")
        .hint("it registers by itself within seconds")
        .at_node(node)
}

/// Whether what is said of a node comes from that node, as far as a peer without credentials can be told apart.
pub(in crate::coordinator) fn speaks_for_itself(peer: &Peer, body: &Request) -> Result<(), Status> {
    let about = match body {
        Request::Membership(MembershipRequest::Register(word)) => word.node,
        Request::Membership(MembershipRequest::Heartbeat(word)) => word.node,
        Request::Membership(MembershipRequest::Leave(word)) => word.node,
        Request::Inventory(InventoryRequest::Report(report)) => report.node,
        Request::Inventory(InventoryRequest::Confirm(word)) => word.node,
        _ => return Ok(()),
    };
    match peer {
        Peer::Datanode(node) if node.node == about => Ok(()),
        _ => {
            let text = format!("{} is for datanode {about} itself to say", body.name());
            Err(Status::new(StatusCode::PermissionDenied, text))
        }
    }
}

impl Service for CoordinatorService {
    fn welcome<'a>(
        &'a self,
        hello: &'a Hello,
        version: ProtocolVersion,
        session: u64,
    ) -> BoxFuture<'a, Result<Welcome, Status>> {
        Box::pin(async move {
            let ours = self.parts.reign.cluster;
            if let Some(theirs) = hello.cluster.filter(|theirs| *theirs != ours) {
                let text = format!("this coordinator serves cluster {ours}, not {theirs}");
                return Err(Status::new(StatusCode::WrongCluster, text)
                    .hint("check the address, or whose data directory this is"));
            }
            if let Peer::Newcomer(_) = hello.peer {
                self.hear_newcomer(hello).await?;
            }
            let now_ms = self.parts.time.now_ms();
            let stamp = move |reader: &MetadataReader| reader.fresh_stamp(now_ms);
            let stamp = self.parts.reads.ask(ReadFor::Membership, STAMPED_WITHIN, stamp).await;
            // Where the metadata does not answer in time the stamp may be too old: then an operation that has it is refused as
            // `StaleOperation`, never done twice, and its client asks for another.
            let time_ms = stamp.unwrap_or(now_ms);
            Ok(Welcome { time_ms, ..self.parts.admin.welcome(Some(ours), version, session) })
        })
    }

    fn is_revoked(&self, key: &KeyDigest) -> bool {
        self.disbelieves(key)
    }

    fn serve(self: Arc<Self>, peer: Arc<PeerInfo>, incoming: Incoming) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let Incoming { head, tail, stream } = incoming;
            drop(tail);
            let name = head.body.name();
            let answer = match speaks_for_itself(&peer.peer, &head.body) {
                Ok(()) => self.answer_to(Some(&peer), head).await,
                Err(status) => Err(status),
            };
            if let Err(status) = &answer {
                tracing::info!(request = name, %status, "request failed");
            }
            if let Err(status) = stream.respond(answer, Bytes::new()).await {
                tracing::debug!(request = name, %status, "nobody to answer");
            }
        })
    }
}
