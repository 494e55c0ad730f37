//! The metadata writer: the one actor through which everything changes (R5 of the contract).
//!
//! ```text
//! Mutate --queue (bounded)--> [idle] --group--> lane: apply, commit, reply --GroupDone--> next group, or idle
//! ```
//!
//! While one group is being committed the next one gathers: under load every fsync is shared by many. The commit
//! runs on a [`CommitLane`], never in a handler, and replies itself, so that work in hand is answered even if the
//! actor is killed meanwhile. What waits in the queue of a killed actor was not begun; its askers are told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use dfs_wire::id::OpId;
use dfs_wire::status::{Status, StatusCode};
use tokio::sync::oneshot;

use crate::budgets::WRITER_QUEUE_MAX;
use crate::coordinator::metadata::model::time::ReignClock;
use crate::coordinator::metadata::ops::mutation::Mutation;
use crate::coordinator::metadata::writer::committer::{
    CommitLane, Committer, GroupEnd, MutationResult, QueuedMutation,
};
use crate::supervisor::{ActorError, Behaviour, Ctx, Reply};

/// Mutations of one group: bounds how long one commit may take, and what one failure may leave unknown.
pub const GROUP_MAX: usize = 128;

/// What the writer can be told.
pub enum WriterMsg {
    /// Change something; answered after the commit.
    Mutate {
        /// The operation: the client's id, or a fresh one for background work.
        op: OpId,
        /// What to change.
        mutation: Box<Mutation>,
        /// The outcome, or why there is none.
        reply: Reply<MutationResult>,
    },
    /// A group has ended.
    GroupDone(GroupEnd),
}

impl WriterMsg {
    /// The question for [`crate::supervisor::Addr::ask`].
    pub fn mutate(op: OpId, mutation: Mutation) -> impl FnOnce(Reply<MutationResult>) -> Self {
        move |reply| Self::Mutate { op, mutation: Box::new(mutation), reply }
    }
}

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
    queue: VecDeque<QueuedMutation>,
    committing: bool,
}

impl MetadataWriter {
    fn enqueue(&mut self, job: QueuedMutation, ctx: &mut Ctx<WriterMsg>) {
        if self.queue.len() >= WRITER_QUEUE_MAX {
            let text = format!("{WRITER_QUEUE_MAX} metadata changes are waiting; nothing was done");
            job.reply.send(Err(Status::new(StatusCode::Busy, text).retry_after_ms(100)));
            return;
        }
        self.queue.push_back(job);
        self.next_group(ctx);
    }

    fn next_group(&mut self, ctx: &mut Ctx<WriterMsg>) {
        ctx.set_credits(self.queue.len() as u64);
        if self.committing || self.queue.is_empty() {
            return;
        }
        self.committing = true;
        let jobs: Vec<QueuedMutation> = self.queue.drain(..self.queue.len().min(GROUP_MAX)).collect();
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
        Ok(Self { args, queue: VecDeque::new(), committing: false })
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
                self.committing = false;
                self.next_group(ctx);
            }
        }
        Ok(())
    }
}
