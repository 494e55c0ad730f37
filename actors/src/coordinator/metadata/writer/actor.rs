//! The shell around the queue of changes.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::messages::WriterMsg;
use super::state::GroupQueue;
use crate::coordinator::metadata::model::time::ReignClock;
use crate::coordinator::metadata::writer::committer::{CommitLane, Committer, GroupEnd, QueuedMutation};
use crate::supervisor::{ActorError, Behaviour, Ctx};

/// What a writer is built from. The committer and its lane outlive restarts of the actor.
#[derive(Clone)]
pub struct WriterArgs {
    /// Applies groups; the lock is held for one group.
    pub committer: Arc<Mutex<Committer>>,
    /// Where it runs.
    pub lane: Arc<dyn CommitLane>,
    /// What everything is dated by.
    pub time: ReignClock,
}

/// The metadata writer.
pub struct MetadataWriter {
    args: WriterArgs,
    queue: GroupQueue<QueuedMutation>,
}

impl MetadataWriter {
    fn enqueue(&mut self, job: QueuedMutation, ctx: &mut Ctx<WriterMsg>) {
        match self.queue.push(job) {
            Ok(()) => self.next_group(ctx),
            Err((job, busy)) => job.reply.send(Err(busy)),
        }
    }

    fn next_group(&mut self, ctx: &mut Ctx<WriterMsg>) {
        ctx.set_credits(self.queue.waiting());
        let Some(jobs) = self.queue.next_group() else { return };
        let (committer, clock) = (Arc::clone(&self.args.committer), Arc::clone(&ctx.env().clock));
        let now = self.args.time.moment();
        let (done, ended) = oneshot::channel();
        self.args.lane.run(Box::new(move || {
            // A poisoned lock only says that a group panicked outside a mutation; the store is as it was committed.
            let mut committer = committer.lock().unwrap_or_else(PoisonError::into_inner);
            let end = committer.run(jobs, now, &|| clock.now().as_micros());
            // A killed writer does not wait for it any more.
            let _killed = done.send(end);
        }));
        ctx.spawn_then(ended, |end| WriterMsg::GroupDone(end.unwrap_or(GroupEnd::StoreFailed)));
    }
}

impl Behaviour for MetadataWriter {
    type Msg = WriterMsg;
    type Args = WriterArgs;
    const KIND: &'static str = "metadata-writer";

    async fn start(args: WriterArgs, _ctx: &mut Ctx<WriterMsg>) -> Result<Self, ActorError> {
        Ok(Self { args, queue: GroupQueue::default() })
    }

    async fn handle(&mut self, msg: WriterMsg, ctx: &mut Ctx<WriterMsg>) -> Result<(), ActorError> {
        match msg {
            WriterMsg::Mutate { op, mutation, reply } => {
                let entropy = ctx.env().rng.u128();
                self.enqueue(QueuedMutation { op, entropy, mutation: *mutation, reply }, ctx);
            }
            WriterMsg::GroupDone(GroupEnd::Deposed) => {
                return Err(ActorError::fatal("write metadata", "another coordinator has taken over"));
            }
            WriterMsg::GroupDone(GroupEnd::Committed | GroupEnd::StoreFailed) => {
                self.queue.ended();
                self.next_group(ctx);
            }
        }
        Ok(())
    }
}
