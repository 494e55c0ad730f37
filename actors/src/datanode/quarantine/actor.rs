//! The actor that empties a datanode's quarantine.

use std::sync::Arc;
use std::time::Duration;

use dfs_wire::message::admin::{Garbage, GarbageKind};

use super::messages::QuarantineMsg;
use super::state::{QuarantineConfig, QuarantineState, ROUND_MAX};
use crate::datanode::chunk_store::{ChunkStore, Purged};
use crate::supervisor::{ActorError, Behaviour, Ctx};

/// What the actor is built from.
#[derive(Clone)]
pub struct QuarantineArgs {
    /// How long chunks stay in quarantine, and how often it looks.
    pub config: QuarantineConfig,
    /// Where the quarantine is.
    pub store: Arc<dyn ChunkStore>,
}

/// Deletes what has been in quarantine for long enough.
pub struct Quarantine {
    store: Arc<dyn ChunkStore>,
    state: QuarantineState,
}

impl Quarantine {
    fn step(&mut self, ctx: &mut Ctx<QuarantineMsg>) {
        if let Some(age) = self.state.step(ctx.now()) {
            let round = self.store.purge_quarantine(age, ROUND_MAX);
            ctx.spawn_then(round, QuarantineMsg::Ended);
        }
    }

    fn look(&self) -> Garbage {
        let (stats, ends) = (self.store.stats(), self.store.quarantine_ends(self.state.retention()));
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Garbage {
            kind: GarbageKind::Quarantined,
            count: stats.quarantined,
            bytes: stats.quarantined_bytes,
            more: false,
            due: 0,
            first_ms: ends.map(|(first, _)| ms(first)),
            last_ms: ends.map(|(_, last)| ms(last)),
        }
    }
}

impl Behaviour for Quarantine {
    type Msg = QuarantineMsg;
    type Args = QuarantineArgs;
    const KIND: &'static str = "quarantine";

    async fn start(args: QuarantineArgs, ctx: &mut Ctx<QuarantineMsg>) -> Result<Self, ActorError> {
        let state = QuarantineState::new(args.config, ctx.now());
        ctx.set_tick((args.config.interval / 4).max(Duration::from_millis(10)));
        let mut this = Self { store: args.store, state };
        this.step(ctx);
        Ok(this)
    }

    async fn handle(&mut self, msg: QuarantineMsg, ctx: &mut Ctx<QuarantineMsg>) -> Result<(), ActorError> {
        let outcome = match msg {
            QuarantineMsg::Ended(outcome) => outcome,
            QuarantineMsg::Look(reply) => {
                reply.send(self.look());
                return Ok(());
            }
            QuarantineMsg::Begin(reply) => {
                self.state.hurry(ctx.now());
                self.step(ctx);
                reply.send(());
                return Ok(());
            }
        };
        match &outcome {
            Ok(Purged { files: 0, .. }) => {}
            Ok(Purged { files, bytes, more }) => {
                tracing::info!(files, bytes, more, "purged the quarantine of what was old enough");
            }
            Err(error) => tracing::warn!(%error, "the quarantine could not be emptied"),
        }
        self.state.ended(ctx.now(), outcome.ok());
        self.step(ctx);
        Ok(())
    }

    async fn tick(&mut self, ctx: &mut Ctx<QuarantineMsg>) -> Result<(), ActorError> {
        self.step(ctx);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
