//! The actor that empties a datanode's quarantine.

use std::sync::Arc;
use std::time::Duration;

use super::state::{OrphanGcConfig, OrphanGcState};
use crate::datanode::chunk_store::{ChunkStore, StoreError};
use crate::supervisor::{ActorError, Behaviour, Ctx};

/// Messages that may wait for the actor: only its own.
pub const ORPHAN_GC_MAILBOX: usize = 4;

/// What the actor is built from.
#[derive(Clone)]
pub struct OrphanGcArgs {
    /// Its times.
    pub config: OrphanGcConfig,
    /// The chunks.
    pub store: Arc<dyn ChunkStore>,
}

/// A message to the actor.
#[derive(Debug)]
pub enum OrphanGcMsg {
    /// Its own: a round ended.
    Ended(Result<u64, StoreError>),
}

/// The actor.
pub struct OrphanGc {
    store: Arc<dyn ChunkStore>,
    state: OrphanGcState,
}

impl OrphanGc {
    fn step(&mut self, ctx: &mut Ctx<OrphanGcMsg>) {
        if let Some(age) = self.state.step(ctx.now()) {
            let round = self.store.purge_quarantine(age);
            ctx.spawn_then(round, OrphanGcMsg::Ended);
        }
    }
}

impl Behaviour for OrphanGc {
    type Msg = OrphanGcMsg;
    type Args = OrphanGcArgs;
    const KIND: &'static str = "orphan-gc";

    async fn start(args: OrphanGcArgs, ctx: &mut Ctx<OrphanGcMsg>) -> Result<Self, ActorError> {
        let state = OrphanGcState::new(args.config, ctx.now());
        ctx.set_tick((args.config.interval / 4).max(Duration::from_millis(10)));
        let mut this = Self { store: args.store, state };
        this.step(ctx);
        Ok(this)
    }

    async fn handle(&mut self, msg: OrphanGcMsg, ctx: &mut Ctx<OrphanGcMsg>) -> Result<(), ActorError> {
        let OrphanGcMsg::Ended(outcome) = msg;
        match &outcome {
            Ok(0) => {}
            Ok(bytes) => tracing::info!(bytes, "emptied the quarantine"),
            Err(error) => tracing::warn!(%error, "the quarantine could not be emptied"),
        }
        self.state.ended(ctx.now(), outcome.ok());
        Ok(())
    }

    async fn tick(&mut self, ctx: &mut Ctx<OrphanGcMsg>) -> Result<(), ActorError> {
        self.step(ctx);
        Ok(())
    }
}

#[cfg(test)]
#[path = "actor_tests.rs"]
mod tests;
