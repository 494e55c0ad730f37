//! The heartbeat actor: the machine of [`super::state`] with a link to the coordinator, a chunk store and a clock.
//!
//! Every call, save and quarantine is a task whose result comes back as a message; no handler waits. A restart forgets
//! what was pending: the coordinator repeats its tombstones, and the inventory finds bad copies again.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use dfs_wire::id::ChunkKey;
use dfs_wire::message::membership::{
    self, DiskHealth, HeartbeatReply, Leave, MembershipRequest, MembershipResponse, NodeLoad, Register,
    Registered,
};
use dfs_wire::message::{Request, Response};
use dfs_wire::status::{Status, StatusCode};

use super::messages::HeartbeatMsg;
use super::state::{Effect, HeartbeatConfig, HeartbeatState, Learned};
use crate::datanode::authority::{ClockReading, CoordinatorView, IdentityStore, SelfDescription};
use crate::datanode::chunk_store::{ChunkStore, DiskState, StoreStats};
use crate::datanode::control::CoordinatorLink;
use crate::datanode::inventory::{DatanodeHealth, InventoryMsg};
use crate::env::MonoTime;
use crate::supervisor::{ActorError, Addr, Behaviour, Ctx};

/// How long the goodbye of an orderly stop may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often what was heard of the metadata is kept even if no order to delete comes.
const KEPT_EVERY: Duration = Duration::from_secs(30);

/// What this node is doing, for its reports.
pub trait LoadProbe: Send + Sync + 'static {
    /// Load and space now; never blocks.
    fn load(&self) -> NodeLoad;
}

/// The part of a report that the chunk store knows.
pub fn load_of_store(stats: &StoreStats) -> NodeLoad {
    let disk = match &stats.state {
        DiskState::Writable => DiskHealth::Writable,
        DiskState::Full => DiskHealth::Full,
        DiskState::ReadOnly(why) => DiskHealth::ReadOnly(why.clone()),
        DiskState::Stalled(why) | DiskState::Failed(why) => DiskHealth::Failed(why.clone()),
    };
    let kept = stats.reserve_bytes.saturating_add(stats.promised_bytes);
    NodeLoad {
        capacity: stats.capacity_bytes,
        available: stats.available_bytes.saturating_sub(kept),
        file_system: stats.file_system,
        used: stats.used_bytes,
        footers: stats.footer_bytes,
        quarantine: stats.quarantined_bytes,
        reserve: stats.reserve_bytes,
        chunks: stats.chunks,
        quarantined: stats.quarantined,
        disk_queue: u32::try_from(stats.queue_depth).unwrap_or(u32::MAX),
        disk,
        disk_silent_ms: u32::try_from(stats.oldest_job_ms).unwrap_or(u32::MAX),
        ..NodeLoad::default()
    }
}

/// What the actor is built from.
#[derive(Clone)]
pub struct HeartbeatArgs {
    /// How long calls may take, and how long it waits after failed ones.
    pub config: HeartbeatConfig,
    /// Who it speaks for.
    pub me: SelfDescription,
    /// The way to the coordinator.
    pub link: Arc<dyn CoordinatorLink>,
    /// Where it shares what it learns.
    pub view: Arc<CoordinatorView>,
    /// Where it keeps what must survive.
    pub identity: Arc<dyn IdentityStore>,
    /// Its chunks: how many there are, which are gone, and what is to be deleted.
    pub store: Arc<dyn ChunkStore>,
    /// What it reports of load.
    pub probe: Arc<dyn LoadProbe>,
    /// What needs attention on this node: told with each heartbeat.
    pub health: Arc<DatanodeHealth>,
    /// Whom it tells that an inventory is wanted.
    pub inventory: Addr<InventoryMsg>,
}

/// The heartbeat actor.
pub struct Heartbeat {
    args: HeartbeatArgs,
    state: HeartbeatState,
    /// When what was heard is kept again; `None` while that is under way.
    keep_at: Option<MonoTime>,
}

impl Heartbeat {
    fn call<T: Send + 'static>(
        &self,
        request: MembershipRequest,
        take: impl FnOnce(MembershipResponse) -> Option<T> + Send + 'static,
    ) -> impl Future<Output = Result<T, Status>> + Send + 'static {
        let asked = self.args.link.call(Request::Membership(request), self.args.config.call_timeout);
        async move {
            match asked.await? {
                Response::Membership(word) => take(word).ok_or_else(wrong_answer),
                _ => Err(wrong_answer()),
            }
        }
    }

    fn register(&self) -> impl Future<Output = Result<Box<Registered>, Status>> + Send + 'static {
        let (me, known) = (&self.args.me, self.args.view.get());
        let request = MembershipRequest::Register(Register {
            node: me.node,
            cluster: known.cluster,
            epoch: known.heard.epoch,
            position: known.heard.position,
            incarnation: me.incarnation,
            name: me.name.clone(),
            zone: me.zone.clone(),
            address: me.address.clone(),
            version: me.version.clone(),
            load: self.args.probe.load(),
        });
        self.call(request, |word| match word {
            MembershipResponse::Registered(word) => Some(Box::new(word)),
            _ => None,
        })
    }

    fn beat(
        &self,
        effect: Effect,
    ) -> impl Future<Output = Result<Box<HeartbeatReply>, Status>> + Send + 'static {
        // Heard before it is looked again.
        let heard_ms = self.args.view.get().clock.map_or(0, |clock| clock.coordinator_ms);
        let (deleted, corrupt, mut missing) = match effect {
            Effect::Heartbeat { deleted, corrupt, missing } => (deleted, corrupt, missing),
            _ => (Vec::new(), Vec::new(), Vec::new()),
        };
        missing.retain(|key| !self.args.store.holds(*key));
        let request = MembershipRequest::Heartbeat(membership::Heartbeat {
            node: self.args.me.node,
            incarnation: self.args.me.incarnation,
            state_version: self.args.view.get().state_version,
            revoked_version: self.args.view.get().revoked.version,
            load: self.args.probe.load(),
            deleted,
            corrupt,
            missing,
            heard_ms,
            findings: self.args.health.findings(),
        });
        self.call(request, |word| match word {
            MembershipResponse::Heartbeat(word) => Some(Box::new(word)),
            _ => None,
        })
    }

    fn carry_out(&mut self, effects: Vec<Effect>, ctx: &mut Ctx<HeartbeatMsg>) {
        for effect in effects {
            match effect {
                Effect::Register => drop(ctx.spawn_then(self.register(), HeartbeatMsg::Registered)),
                Effect::Heartbeat { .. } => drop(ctx.spawn_then(self.beat(effect), HeartbeatMsg::Answered)),
                Effect::Save(joined) => {
                    let saving = self.args.identity.save(joined.clone());
                    ctx.spawn_then(async move { saving.await.map(|()| joined) }, HeartbeatMsg::Saved);
                }
                Effect::Learn(learned) => {
                    self.learn(*learned, ctx.now());
                    self.keep(ctx);
                }
                Effect::Lost => {
                    tracing::warn!("the coordinator does not answer or does not know this run");
                    self.args.view.update(|k| k.active = false);
                }
                Effect::Distrust(status) => self.refused(&status),
                Effect::Quarantine(keys) => self.quarantine(keys, ctx),
                Effect::TakeInventory { anew } => {
                    let word = if anew { InventoryMsg::Take } else { InventoryMsg::Wanted };
                    // A full mailbox there means that it is wanted already.
                    let _wanted_already = self.args.inventory.try_send(word);
                }
                Effect::Stop(status) => {
                    tracing::error!(code = %status.code, reason = %status.message, "told to stop");
                    self.args.view.tell_to_stop(status);
                }
            }
        }
        ctx.wake_at(self.state.wakes_at(), HeartbeatMsg::Wake);
    }

    fn learn(&self, learned: Learned, now: MonoTime) {
        if learned.joined.is_some() {
            tracing::info!(epoch = %learned.epoch, "registered with the coordinator");
        }
        self.args.view.update(|known| {
            if let Some(joined) = learned.joined {
                known.cluster = Some(joined.cluster);
                known.key = Some(joined.key);
                known.taken_in(joined.epoch, joined.position);
            }
            known.hear(learned.epoch, learned.position);
            known.epoch = known.epoch.max(learned.epoch);
            known.clock = Some(ClockReading { coordinator_ms: learned.now_ms, heard: now });
            (known.active, known.refusal) = (true, None);
            known.apply(learned.update);
            if let Some(revoked) = learned.revoked {
                known.revoked = Arc::new(revoked);
            }
        });
    }

    /// Keeps what was heard, now and then: a node that stops suddenly has then forgotten little.
    fn keep(&mut self, ctx: &mut Ctx<HeartbeatMsg>) {
        if self.keep_at.is_none_or(|at| ctx.now() < at) {
            return;
        }
        self.keep_at = None;
        ctx.spawn_then(self.args.identity.keep(self.args.view.get().heard), HeartbeatMsg::Kept);
    }

    fn quarantine(&self, keys: Vec<ChunkKey>, ctx: &mut Ctx<HeartbeatMsg>) {
        let kept = self.args.identity.keep(self.args.view.get().heard);
        let store = Arc::clone(&self.args.store);
        let task = async move {
            if let Err(status) = kept.await {
                tracing::warn!(%status, "orders to delete wait until what was heard of the metadata can be kept");
                return keys.into_iter().map(|key| (key, false)).collect();
            }
            let outcomes = store.quarantine(keys).await;
            let mut failures =
                outcomes.iter().filter_map(|(key, outcome)| Some((key, outcome.as_ref().err()?)));
            // One line for all: a disk that fails, fails for a thousand at once.
            if let Some((key, error)) = failures.next() {
                let more = failures.count();
                tracing::warn!(chunk = %key.chunk, %error, more, "deleted chunks could not be put into quarantine");
            }
            outcomes.into_iter().map(|(key, outcome)| (key, outcome.is_ok())).collect()
        };
        ctx.spawn_then(task, HeartbeatMsg::Quarantined);
    }

    fn step(&mut self, ctx: &mut Ctx<HeartbeatMsg>) {
        let effects = self.state.step(ctx.now());
        self.carry_out(effects, ctx);
    }

    /// A call failed, or its answer is not to be trusted. The first of a series is news, and so is that it goes on; each
    /// one of it is not.
    fn refused(&self, status: &Status) {
        let failed = self.state.failed_in_a_row();
        match status.code {
            _ if !failed.is_power_of_two() => {
                tracing::debug!(%status, failed, "a call to the coordinator failed");
            }
            StatusCode::WrongCluster | StatusCode::StaleEpoch => {
                tracing::error!(%status, failed, "this node stays apart from the coordinator");
            }
            _ => tracing::warn!(%status, failed, "the coordinator cannot be reached or refuses this node"),
        }
        self.args.view.update(|known| known.refusal = Some(status.to_string()));
    }
}

fn wrong_answer() -> Status {
    Status::new(StatusCode::ProtocolViolation, "the coordinator answered something else than was asked")
}

impl Behaviour for Heartbeat {
    type Msg = HeartbeatMsg;
    type Args = HeartbeatArgs;
    const KIND: &'static str = "heartbeat";

    async fn start(args: HeartbeatArgs, ctx: &mut Ctx<HeartbeatMsg>) -> Result<Self, ActorError> {
        let state = HeartbeatState::new(args.config, args.identity.joined(), ctx.now());
        let mut this = Self { args, state, keep_at: Some(ctx.now() + KEPT_EVERY) };
        // A node that was told to stop does not come back by a restart of this actor.
        if this.args.view.verdict().is_none() {
            this.step(ctx);
        }
        Ok(this)
    }

    async fn handle(&mut self, msg: HeartbeatMsg, ctx: &mut Ctx<HeartbeatMsg>) -> Result<(), ActorError> {
        let (now, epoch, jitter) = (ctx.now(), self.args.view.epoch(), ctx.env().rng.u64());
        let effects = match msg {
            HeartbeatMsg::Wake => self.state.step(now),
            HeartbeatMsg::Corrupt(key) => {
                if !self.state.report_corrupt(key) {
                    tracing::warn!(chunk = %key.chunk, "too many bad copies wait to be reported: the inventory will tell");
                }
                Vec::new()
            }
            HeartbeatMsg::Missing(key) => {
                if !self.state.report_missing(key) {
                    tracing::warn!(chunk = %key.chunk, "too many missing copies wait to be reported: the inventory will tell");
                }
                Vec::new()
            }
            HeartbeatMsg::NewsWanted => {
                self.state.news_wanted(now);
                Vec::new()
            }
            HeartbeatMsg::Registered(Ok(word)) => self.state.registered(now, epoch, jitter, *word),
            HeartbeatMsg::Answered(Ok(word)) => self.state.answered(now, epoch, jitter, *word),
            HeartbeatMsg::Registered(Err(status)) | HeartbeatMsg::Answered(Err(status)) => {
                let effects = self.state.failed(now, jitter, &status);
                self.refused(&status);
                effects
            }
            HeartbeatMsg::Saved(outcome) => {
                match &outcome {
                    // From here on it is what the next run would name as well.
                    Ok(joined) => {
                        self.args.view.update(|known| known.taken_in(joined.epoch, joined.position))
                    }
                    Err(status) => tracing::error!(%status, "the node's identity could not be saved"),
                }
                self.state.saved(now, jitter, outcome)
            }
            HeartbeatMsg::Kept(outcome) => {
                if let Err(status) = outcome {
                    tracing::debug!(%status, "what was heard of the metadata could not be kept");
                }
                self.keep_at = Some(now + KEPT_EVERY);
                Vec::new()
            }
            HeartbeatMsg::Quarantined(outcomes) => {
                self.state.quarantined(now, &outcomes);
                Vec::new()
            }
        };
        self.carry_out(effects, ctx);
        Ok(())
    }

    async fn stop(&mut self, ctx: &mut Ctx<HeartbeatMsg>) {
        if !self.state.is_active() {
            return;
        }
        let keep = self.args.identity.keep(self.args.view.get().heard);
        let kept = ctx.env().clock.timeout(LEAVE_TIMEOUT, keep).await;
        if !matches!(kept, Ok(Ok(()))) {
            tracing::warn!(?kept, "what was heard of the metadata could not be kept");
        }
        let leave = Leave { node: self.args.me.node, incarnation: self.args.me.incarnation };
        let request = Request::Membership(MembershipRequest::Leave(leave));
        if let Err(status) = self.args.link.call(request, LEAVE_TIMEOUT).await {
            tracing::warn!(%status, "the coordinator could not be told that this node leaves");
        }
    }
}

#[cfg(test)]
mod tests;
