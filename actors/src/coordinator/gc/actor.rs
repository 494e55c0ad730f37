//! The coordinator's collector: [`super::state`] with the metadata writer.

use std::sync::Arc;
use std::time::Duration;

use dfs_wire::id::OpId;

use super::health::GcHealth;
use super::messages::GcMsg;
use super::state::{GcConfig, GcState};
use crate::coordinator::metadata::model::outcome::Outcome;
use crate::coordinator::metadata::ops::mutation::Mutation;
use crate::coordinator::metadata::writer::WriterMsg;
use crate::supervisor::{ActorError, Addr, Behaviour, Ctx};

/// How long one step may take, its wait in the writer's queue included.
const STEP_TIMEOUT: Duration = Duration::from_secs(20);

/// What the actor is built from.
#[derive(Clone)]
pub struct GcArgs {
    /// How long it rests, and how long it waits after a failure.
    pub config: GcConfig,
    /// Who carries the steps out.
    pub writer: Addr<WriterMsg>,
    /// Where it notes what fails.
    pub health: Arc<GcHealth>,
}

/// The garbage collector: runs the steps that `GcState` names, one group of transactions at a time.
pub struct Gc {
    writer: Addr<WriterMsg>,
    health: Arc<GcHealth>,
    state: GcState,
}

impl Gc {
    fn proceed(&mut self, ctx: &mut Ctx<GcMsg>) {
        let Some(step) = self.state.step(ctx.now()) else { return };
        let (writer, op) = (self.writer.clone(), OpId(ctx.env().rng.u128()));
        let task = async move { writer.ask(WriterMsg::mutate(op, Mutation::Step(step)), STEP_TIMEOUT).await };
        ctx.spawn_then(task, move |ended| GcMsg::Stepped(step, ended));
    }
}

impl Behaviour for Gc {
    type Msg = GcMsg;
    type Args = GcArgs;
    const KIND: &'static str = "gc";

    async fn start(args: GcArgs, ctx: &mut Ctx<GcMsg>) -> Result<Self, ActorError> {
        let state = GcState::new(args.config, ctx.now());
        ctx.set_tick((args.config.interval.min(args.config.retry) / 4).max(Duration::from_millis(10)));
        let mut this = Self { writer: args.writer, health: args.health, state };
        this.proceed(ctx);
        Ok(this)
    }

    async fn handle(&mut self, msg: GcMsg, ctx: &mut Ctx<GcMsg>) -> Result<(), ActorError> {
        match msg {
            GcMsg::Report(reply) => reply.send(self.state.report()),
            GcMsg::Begin(reply) => {
                self.state.hurry(ctx.now());
                reply.send(());
            }
            GcMsg::Stepped(step, Ok(Ok(Outcome::Progress(progress)))) => {
                self.health.done(step);
                self.state.done(ctx.now(), progress);
            }
            GcMsg::Stepped(step, outcome) => {
                let cause = match &outcome {
                    Ok(Err(status)) => status.to_string(),
                    Err(error) => error.to_string(),
                    Ok(Ok(other)) => format!("unexpected outcome {other:?}"),
                };
                // Said once: a damaged row fails in every cycle, and health goes on telling.
                if self.health.failed(step, cause.clone()) {
                    tracing::warn!(step = step.name(), %cause, "a step of garbage collection did not happen");
                }
                self.state.failed(ctx.now());
            }
        }
        self.proceed(ctx);
        Ok(())
    }

    async fn tick(&mut self, ctx: &mut Ctx<GcMsg>) -> Result<(), ActorError> {
        self.proceed(ctx);
        Ok(())
    }
}
