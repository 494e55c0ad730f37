//! The inventory actor: the machine of [`super::state`] with a chunk index and the link to the coordinator.
//!
//! It reports to, and obeys, only a coordinator that has taken this run in and is of no lower epoch than the node has
//! seen.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use dfs_wire::id::{ChunkKey, Epoch};
use dfs_wire::limits::INVENTORY_PAGE_MAX;
use dfs_wire::message::admin::{HealthFinding, HealthLevel};
use dfs_wire::message::inventory::{
    InventoryConfirm, InventoryEntry, InventoryReport, InventoryRequest, InventoryResponse,
};
use dfs_wire::message::{Request, Response};
use dfs_wire::status::{Status, StatusCode};

use super::messages::InventoryMsg;
use super::state::{Effect, IndexPage, InventoryConfig, InventoryState, Tripped};
use crate::datanode::authority::{CoordinatorView, IdentityStore, SelfDescription};
use crate::datanode::chunk_store::{ChunkInfo, ChunkStore, ReplicaState};
use crate::datanode::control::CoordinatorLink;
use crate::supervisor::{ActorError, Behaviour, Ctx};

/// What a datanode has to say of its own health: the heartbeat passes it on.
#[derive(Debug, Default)]
pub struct DatanodeHealth {
    breaker: Mutex<Option<Tripped>>,
    scrub: Mutex<Vec<HealthFinding>>,
    unsafe_modes: Mutex<Vec<HealthFinding>>,
}

impl DatanodeHealth {
    /// What needs attention.
    pub fn findings(&self) -> Vec<HealthFinding> {
        let tripped = *self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let scrub = self.scrub.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let modes = self.unsafe_modes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        tripped.map(finding).into_iter().chain(scrub).chain(modes).collect()
    }

    /// What is configured to be less safe than was promised, each in a sentence.
    pub(crate) fn set_unsafe(&self, modes: &[&str]) {
        let finding = |mode: &&str| {
            let text = format!("a weaker mode than the contract's is configured: {mode}");
            HealthFinding::new(
                "UNSAFE",
                HealthLevel::Warn,
                text,
                "set it back once it has served its purpose",
            )
        };
        let findings = modes.iter().map(finding).collect();
        *self.unsafe_modes.lock().unwrap_or_else(PoisonError::into_inner) = findings;
    }

    /// What the scrub has to say.
    pub(crate) fn set_scrub(&self, findings: Vec<HealthFinding>) {
        *self.scrub.lock().unwrap_or_else(PoisonError::into_inner) = findings;
    }

    fn set_breaker(&self, tripped: Option<Tripped>) {
        *self.breaker.lock().unwrap_or_else(PoisonError::into_inner) = tripped;
    }
}

fn finding(tripped: Tripped) -> HealthFinding {
    let Tripped { orders, chunks, percent } = tripped;
    HealthFinding::new(
        "MASS_DELETE_STOPPED",
        HealthLevel::Error,
        format!(
            "the coordinator wants {orders} or more of this node's {chunks} chunks gone, which is over {percent} %: none \
             was touched"
        ),
        "if the coordinator's metadata is an old copy, stop it and restore a newer one; if it is right, restart this \
         datanode with storage.mass_delete_percent=100 for one inventory",
    )
}

/// What the actor is built from.
#[derive(Clone)]
pub struct InventoryArgs {
    /// How often inventories are made, how long calls may take, and when the breaker trips.
    pub config: InventoryConfig,
    /// The node that reports.
    pub me: SelfDescription,
    /// The way to the coordinator.
    pub link: Arc<dyn CoordinatorLink>,
    /// What is known of the coordinator: whom to obey.
    pub view: Arc<CoordinatorView>,
    /// Where it keeps what it heard of the metadata, before it obeys.
    pub identity: Arc<dyn IdentityStore>,
    /// What is reported, and where quarantine happens.
    pub store: Arc<dyn ChunkStore>,
    /// Where the breaker's finding is shown.
    pub health: Arc<DatanodeHealth>,
}

/// The inventory actor.
pub struct Inventory {
    args: InventoryArgs,
    state: InventoryState,
}

/// Cuts a page out of the index: one more than a page is looked at, to know whether this is the last.
fn cut(after: Option<ChunkKey>, mut found: Vec<ChunkInfo>) -> (IndexPage, Vec<InventoryEntry>) {
    let more = found.len() > INVENTORY_PAGE_MAX;
    found.truncate(INVENTORY_PAGE_MAX);
    let upto = if more { found.last().map(ChunkInfo::key) } else { None };
    let entry = |info: &ChunkInfo| InventoryEntry {
        chunk: info.identity.chunk,
        generation: info.identity.generation,
        len: info.len,
        corrupt: info.state == ReplicaState::Corrupt,
    };
    (IndexPage { after, upto }, found.iter().map(entry).collect())
}

impl Inventory {
    /// Whether a coordinator of this reign is to be obeyed.
    fn obeys(&self, epoch: Epoch) -> bool {
        let known = self.args.view.get();
        known.active && epoch >= known.epoch
    }

    fn report(&mut self, after: Option<ChunkKey>, ctx: &mut Ctx<InventoryMsg>) {
        // Read before the index: what the coordinator recorded until then must be in the page.
        let known = self.args.view.get();
        if !known.active {
            self.state.failed(ctx.now());
            return;
        }
        let (page, copies) = cut(after, self.args.store.inventory(after, INVENTORY_PAGE_MAX + 1));
        let report = InventoryReport {
            node: self.args.me.node,
            incarnation: self.args.me.incarnation,
            after: page.after,
            upto: page.upto,
            heard_ms: known.clock.map_or(0, |clock| clock.coordinator_ms),
            copies,
        };
        self.state.cut(page);
        ctx.spawn_then(self.ask(InventoryRequest::Report(report)), InventoryMsg::Answered);
    }

    /// Asks the coordinator; gives its reign, and the chunks it names.
    fn ask(
        &self,
        request: InventoryRequest,
    ) -> impl Future<Output = Result<(Epoch, Vec<ChunkKey>), Status>> + Send + 'static {
        let page = matches!(request, InventoryRequest::Report(_));
        let asked = self.args.link.call(Request::Inventory(request), self.args.config.call_timeout);
        let view = Arc::clone(&self.args.view);
        async move {
            let word = match (page, asked.await?) {
                (true, Response::Inventory(InventoryResponse::Accepted(word))) => word,
                (false, Response::Inventory(InventoryResponse::Confirmed(word))) => word,
                _ => return Err(Status::new(StatusCode::ProtocolViolation, "not an answer to an inventory")),
            };
            view.update(|known| known.hear(word.epoch, word.position));
            Ok((word.epoch, word.quarantine))
        }
    }

    fn carry_out(&mut self, effect: Option<Effect>, ctx: &mut Ctx<InventoryMsg>) {
        match effect {
            None => {}
            Some(Effect::Report { after }) => self.report(after, ctx),
            Some(Effect::Confirm { reign, .. } | Effect::Quarantine { reign, .. }) if !self.obeys(reign) => {
                tracing::warn!(epoch = %reign, "orders of a coordinator that is not obeyed any more are dropped");
                self.state.abandon(ctx.now());
            }
            Some(Effect::Confirm { keys, .. }) => {
                let confirm = InventoryConfirm {
                    node: self.args.me.node,
                    incarnation: self.args.me.incarnation,
                    copies: keys,
                };
                ctx.spawn_then(self.ask(InventoryRequest::Confirm(confirm)), InventoryMsg::Confirmed);
            }
            Some(Effect::Quarantine { keys, .. }) => {
                tracing::info!(chunks = keys.len(), "putting chunks that nothing refers to into quarantine");
                let kept = self.args.identity.keep(self.args.view.get().heard);
                let store = Arc::clone(&self.args.store);
                let task = async move {
                    if let Err(status) = kept.await {
                        tracing::warn!(%status, "orders to delete wait until what was heard of the metadata can be kept");
                        return keys.len();
                    }
                    store.quarantine(keys).await.iter().filter(|(_, outcome)| outcome.is_err()).count()
                };
                ctx.spawn_then(task, InventoryMsg::Quarantined);
            }
            Some(Effect::Tripped(tripped)) => {
                tracing::error!(orders = tripped.orders, chunks = tripped.chunks, "mass delete stopped");
                self.args.health.set_breaker(Some(tripped));
            }
            Some(Effect::Done) => self.args.health.set_breaker(None),
        }
    }

    fn proceed(&mut self, effect: Option<Effect>, ctx: &mut Ctx<InventoryMsg>) {
        self.carry_out(effect, ctx);
        let next = self.state.step(ctx.now());
        self.carry_out(next, ctx);
        ctx.wake_at(self.state.wakes_at(), InventoryMsg::Wake);
    }
}

impl Behaviour for Inventory {
    type Msg = InventoryMsg;
    type Args = InventoryArgs;
    const KIND: &'static str = "inventory";

    async fn start(args: InventoryArgs, ctx: &mut Ctx<InventoryMsg>) -> Result<Self, ActorError> {
        let mut state = InventoryState::new(args.config, ctx.now());
        // The life before may have ended in the middle of one.
        state.want(ctx.now() + args.config.retry);
        let mut this = Self { args, state };
        this.proceed(None, ctx);
        Ok(this)
    }

    async fn handle(&mut self, msg: InventoryMsg, ctx: &mut Ctx<InventoryMsg>) -> Result<(), ActorError> {
        let now = ctx.now();
        let effect = match msg {
            InventoryMsg::Take => {
                self.state.want(now);
                None
            }
            InventoryMsg::Wanted => {
                self.state.want_one(now);
                None
            }
            InventoryMsg::Wake => None,
            InventoryMsg::Answered(Ok((epoch, _))) if !self.obeys(epoch) => {
                tracing::warn!(%epoch, "an answer of a coordinator that is not obeyed is dropped");
                self.state.abandon(now);
                None
            }
            InventoryMsg::Answered(Ok((epoch, orders))) => {
                self.state.answered(now, epoch, orders, self.args.store.stats().chunks)
            }
            InventoryMsg::Answered(Err(status)) => {
                tracing::debug!(%status, "a page of the inventory could not be told");
                self.state.failed(now);
                None
            }
            InventoryMsg::Confirmed(Ok((epoch, still))) => self.state.confirmed(now, epoch, &still),
            InventoryMsg::Confirmed(Err(status)) => {
                tracing::debug!(%status, "orders could not be confirmed and are dropped");
                self.state.abandon(now);
                None
            }
            InventoryMsg::Quarantined(failed) => {
                if failed > 0 {
                    tracing::warn!(
                        failed,
                        "chunks could not be put into quarantine: the next inventory tries again"
                    );
                }
                self.state.quarantined(now)
            }
        };
        self.proceed(effect, ctx);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
