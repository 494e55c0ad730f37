//! The keeper of events: looks, and writes what is news.

use std::sync::Arc;
use std::time::Duration;

use dfs_wire::id::{Epoch, OpId};
use dfs_wire::message::admin::{MuteFinding, MutedFinding};
use dfs_wire::status::{Status, StatusCode};

use super::messages::EventsMsg;
use super::state::EventsState;
use crate::coordinator::health::Examiner;
use crate::coordinator::metadata::model::records::HealthBook;
use crate::coordinator::metadata::ops::mutation::Mutation;
use crate::coordinator::metadata::reader::{MetadataReader, MetadataReads, ReadFor};
use crate::coordinator::metadata::writer::WriterMsg;
use crate::env::MonoTime;
use crate::supervisor::{ActorError, Addr, Behaviour, Ctx, Reply};
use crate::watch;

/// Patience with one look and one write.
const STEP_WITHIN: Duration = Duration::from_secs(20);
/// How often the nodes are looked at, and what is news is written.
const TICK: Duration = Duration::from_secs(1);
/// How often all is looked at that may need attention.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Where what is remembered of the health is to be had.
pub(in crate::coordinator) type BookReceiver = watch::Receiver<Arc<HealthBook>>;

/// A channel of it that outlives each life of the actor.
pub(in crate::coordinator) fn book_channel() -> (Arc<watch::Sender<Arc<HealthBook>>>, BookReceiver) {
    let (tx, rx) = watch::channel(Arc::new(HealthBook::default()));
    (Arc::new(tx), rx)
}

/// What the actor is built from.
#[derive(Clone)]
pub(in crate::coordinator) struct EventsArgs {
    pub(in crate::coordinator) epoch: Epoch,
    pub(in crate::coordinator) reads: MetadataReads,
    pub(in crate::coordinator) writer: Addr<WriterMsg>,
    pub(in crate::coordinator) examiner: Arc<Examiner>,
    pub(in crate::coordinator) publish: Arc<watch::Sender<Arc<HealthBook>>>,
}

/// Keeps what happened.
pub(in crate::coordinator) struct Events {
    args: EventsArgs,
    state: EventsState,
    /// Something is being written.
    writing: bool,
    /// Everything is being looked at.
    looking: bool,
    looked: Option<MonoTime>,
    /// Who waits until a mute is durable: those of the write under way, and those of the next one.
    waiting: (Vec<MuteReply>, Vec<MuteReply>),
}

type MuteReply = Reply<Result<Vec<MutedFinding>, Status>>;

impl Events {
    fn now_ms(&self) -> u64 {
        self.args.examiner.time.now_ms()
    }

    fn publish(&self) {
        if **self.args.publish.borrow() != *self.state.book() {
            self.args.publish.send_replace(Arc::new(self.state.book().clone()));
        }
    }

    fn look(&mut self, ctx: &mut Ctx<EventsMsg>) {
        if self.looking || self.looked.is_some_and(|looked| ctx.now().since(looked) < LOOK_EVERY) {
            return;
        }
        (self.looking, self.looked) = (true, Some(ctx.now()));
        let (reads, examiner) = (self.args.reads.clone(), Arc::clone(&self.args.examiner));
        // Whether any deletion waits for a node is enough: what is said of it is kept once.
        let look = move |reader: &MetadataReader| examiner.examine(reader, 1).map(|seen| seen.findings);
        let task = async move { reads.ask(ReadFor::Health, STEP_WITHIN, look).await };
        ctx.spawn_then(task, EventsMsg::Examined);
    }

    fn write(&mut self, ctx: &mut Ctx<EventsMsg>) {
        self.publish();
        if self.writing {
            return;
        }
        let Some((events, book)) = self.state.unwritten() else { return };
        self.writing = true;
        let next = std::mem::take(&mut self.waiting.1);
        self.waiting.0.extend(next);
        let (writer, op, count) = (self.args.writer.clone(), OpId(ctx.env().rng.u128()), events.len());
        let task = async move {
            let note = WriterMsg::mutate(op, Mutation::NoteEvents(events, book));
            let silent =
                |error| Status::new(StatusCode::Unavailable, format!("no word from within: {error}"));
            writer.ask(note, STEP_WITHIN).await.map_err(silent)?.map(|_| ())
        };
        ctx.spawn_then(task, move |written| EventsMsg::Written(count, written));
    }

    fn mute(&mut self, word: MuteFinding, by: &str, reply: MuteReply) {
        let MuteFinding { code, subject, for_ms } = word;
        let now_ms = self.now_ms();
        let until_ms = if for_ms == 0 { 0 } else { now_ms.saturating_add(for_ms) };
        if self.state.mute((code, subject), until_ms, by, now_ms) {
            self.waiting.1.push(reply);
        } else {
            let text = "too many findings are muted already";
            reply.send(Err(Status::new(StatusCode::Busy, text).hint("hear some of them again")));
        }
    }

    fn written(&mut self, events: usize, written: &Result<(), Status>) {
        self.writing = false;
        self.state.written(written.is_ok());
        if let Err(status) = written {
            tracing::warn!(%status, events, "what happened could not be kept; it is tried again");
        }
        let now_ms = self.now_ms();
        for reply in std::mem::take(&mut self.waiting.0) {
            let answer = match written {
                Ok(()) => Ok(self.state.mutes(now_ms)),
                Err(status) => Err(status.clone().hint("it counts already, but may not outlive a restart")),
            };
            reply.send(answer);
        }
    }
}

impl Behaviour for Events {
    type Msg = EventsMsg;
    type Args = EventsArgs;
    const KIND: &'static str = "events";

    async fn start(args: EventsArgs, ctx: &mut Ctx<EventsMsg>) -> Result<Self, ActorError> {
        let book = args.reads.ask(ReadFor::Membership, STEP_WITHIN, MetadataReader::health_book).await;
        let book = book.map_err(|e| ActorError::fatal("load what is remembered of the health", e))?;
        ctx.set_tick(TICK);
        let moment = args.examiner.time.moment();
        let state = EventsState::new(book, args.epoch, (moment.now_ms, moment.wall_ms));
        let waiting = (Vec::new(), Vec::new());
        let this = Self { args, state, writing: false, looking: false, looked: None, waiting };
        this.publish();
        Ok(this)
    }

    async fn handle(&mut self, msg: EventsMsg, ctx: &mut Ctx<EventsMsg>) -> Result<(), ActorError> {
        let now_ms = self.now_ms();
        self.state.at(self.args.examiner.time.moment().wall_ms);
        match msg {
            EventsMsg::Note(happening) => self.state.note(happening),
            EventsMsg::Mute(word, by, reply) => self.mute(word, &by, reply),
            EventsMsg::Mutes(reply) => reply.send(self.state.mutes(now_ms)),
            EventsMsg::Examined(found) => {
                self.looking = false;
                match found {
                    Ok(found) => self.state.found(&found, now_ms),
                    Err(status) => tracing::warn!(%status, "what needs attention could not be looked for"),
                }
            }
            EventsMsg::Written(events, written) => {
                self.written(events, &written);
                // After a failure the next tick is soon enough.
                if written.is_err() {
                    return Ok(());
                }
            }
        }
        self.write(ctx);
        Ok(())
    }

    async fn tick(&mut self, ctx: &mut Ctx<EventsMsg>) -> Result<(), ActorError> {
        let view = Arc::clone(&self.args.examiner.view.borrow());
        self.state.at(self.args.examiner.time.moment().wall_ms);
        self.state.nodes(&view);
        self.look(ctx);
        self.write(ctx);
        Ok(())
    }
}
