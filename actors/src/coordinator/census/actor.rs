//! The taker of the census: each step is a task that reads, and comes back as a message.

use std::sync::Arc;
use std::time::Duration;

use super::messages::CensusMsg;
use super::state::{CensusState, Counted};
use crate::coordinator::membership::ViewReceiver;
use crate::coordinator::metadata::model::time::ReignClock;
use crate::coordinator::metadata::reader::{MetadataReader, MetadataReads, ReadFor};
use crate::supervisor::{ActorError, Behaviour, Ctx};
use crate::watch;

/// Patience with one step.
const STEP_WITHIN: Duration = Duration::from_secs(20);

/// A channel of counts that outlives each life of the actor.
pub(crate) fn census_channel() -> (Arc<watch::Sender<Counted>>, watch::Receiver<Counted>) {
    let (tx, rx) = watch::channel(Counted::default());
    (Arc::new(tx), rx)
}

/// What the actor is built from.
#[derive(Clone)]
pub(crate) struct CensusArgs {
    pub(crate) reads: MetadataReads,
    pub(crate) view: ViewReceiver,
    pub(crate) time: ReignClock,
    pub(crate) publish: Arc<watch::Sender<Counted>>,
}

/// Counts all chunks, again and again.
pub(crate) struct CensusTaker {
    args: CensusArgs,
    state: CensusState,
}

impl CensusTaker {
    fn step(&mut self, ctx: &mut Ctx<CensusMsg>) {
        let open = self.state.take(&self.args.view.borrow());
        let (reads, now_ms) = (self.args.reads.clone(), self.args.time.now_ms());
        let step = move |reader: &MetadataReader| reader.read(|rows| open.step(rows, now_ms));
        let task = async move { reads.ask(ReadFor::Health, STEP_WITHIN, step).await };
        ctx.spawn_then(task, CensusMsg::Stepped);
    }
}

impl Behaviour for CensusTaker {
    type Msg = CensusMsg;
    type Args = CensusArgs;
    const KIND: &'static str = "census";

    async fn start(args: CensusArgs, ctx: &mut Ctx<CensusMsg>) -> Result<Self, ActorError> {
        ctx.send_after(Duration::ZERO, CensusMsg::Step);
        Ok(Self { args, state: CensusState::default() })
    }

    async fn handle(&mut self, msg: CensusMsg, ctx: &mut Ctx<CensusMsg>) -> Result<(), ActorError> {
        let pause = match msg {
            CensusMsg::Step => {
                self.step(ctx);
                return Ok(());
            }
            CensusMsg::Stepped(Ok(stepped)) => {
                let current = self.args.view.borrow().version;
                let (counted, pause) = self.state.stepped(stepped, current);
                if let Some(counted) = counted {
                    self.args.publish.send_replace(counted);
                }
                pause
            }
            CensusMsg::Stepped(Err(status)) => {
                tracing::warn!(%status, "the chunks could not be counted");
                self.state.failed()
            }
        };
        ctx.send_after(pause, CensusMsg::Step);
        Ok(())
    }
}
