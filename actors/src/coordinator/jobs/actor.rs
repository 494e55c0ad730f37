//! The actor of the jobs: makes durable what operators ask for, wishes, and looks how far things are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use dfs_wire::id::{ChunkId, NodeId, OpId};
use dfs_wire::message::job::{
    JobId, JobState, JobStatus, JobTask, NamedNode, ReplacedNode, WantedCopies, WorkAmount,
};
use dfs_wire::message::membership::NodeState;
use dfs_wire::message::metadata::CopyState;
use dfs_wire::status::{Status, StatusCode};

use super::balance::{Balancing, Chosen, choose, flows, unfinished, unsettled};
use super::messages::{Changes, JobAsked, JobsMsg};
use super::replication::{Advance, ReplicationTask, advance, is_over};
use super::state::JobsState;
use super::words::happened;
use crate::coordinator::census::Counted;
use crate::coordinator::events::EventsMsg;
use crate::coordinator::membership::{MembershipMsg, NodeView, ViewReceiver};
use crate::coordinator::metadata::model::time::ReignClock;
use crate::coordinator::metadata::ops::mutation::Mutation;
use crate::coordinator::metadata::reader::{MetadataReader, MetadataReads, ReadFor};
use crate::coordinator::metadata::table::keys;
use crate::coordinator::metadata::table::store::KeyRange;
use crate::coordinator::metadata::table::view::View as _;
use crate::coordinator::metadata::writer::WriterMsg;
use crate::coordinator::repair::{Move, RepairHealth, Wishes};
use crate::env::MonoTime;
use crate::supervisor::{ActorError, Addr, AskError, Behaviour, Ctx};
use crate::watch;

/// Patience with one read, with the register of nodes and with the writer.
const STEP_WITHIN: Duration = Duration::from_secs(20);
/// How often the jobs are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How long chunks that are to move may take: those that have not by then are left where they are.
const MOVES_WITHIN: Duration = Duration::from_secs(300);
/// After chunks have moved: the nodes delete and report, some heartbeats later.
const SETTLES_WITHIN: Duration = Duration::from_secs(10);
/// How often progress is stored.
const SAVE_EVERY: Duration = Duration::from_secs(10);

/// What the actor is built from.
#[derive(Clone)]
pub(crate) struct JobsArgs {
    pub(crate) reads: MetadataReads,
    pub(crate) view: ViewReceiver,
    pub(crate) census: watch::Receiver<Counted>,
    pub(crate) time: ReignClock,
    pub(crate) writer: Addr<WriterMsg>,
    pub(crate) membership: Addr<MembershipMsg>,
    pub(crate) repair: Arc<RepairHealth>,
    pub(crate) wishes: Arc<watch::Sender<Arc<Wishes>>>,
    pub(crate) events: Addr<EventsMsg>,
}

/// Runs the jobs.
pub(crate) struct Jobs {
    args: JobsArgs,
    state: JobsState,
    /// All rows could be read.
    whole: bool,
    /// A node is being told that it is to be emptied, or not any more.
    telling: bool,
    /// Jobs about which something is read or written at the moment.
    looking: BTreeSet<JobId>,
    balancing: Balancing,
    saved: MonoTime,
    /// The states of the jobs that were told of.
    told: BTreeMap<JobId, JobState>,
}

fn silent(error: AskError) -> Status {
    Status::new(StatusCode::Unavailable, format!("no word from within: {error}"))
        .hint("try again in a moment")
}

impl Jobs {
    fn store(&self, changes: Changes, waiting: Option<JobAsked>, ctx: &mut Ctx<JobsMsg>) {
        let (writer, op) = (self.args.writer.clone(), OpId(ctx.env().rng.u128()));
        let rows = changes.clone();
        let write = async move {
            let put = WriterMsg::mutate(op, Mutation::PutJobs(rows));
            writer.ask(put, STEP_WITHIN).await.map_err(silent)?.map(|_| ())
        };
        ctx.spawn_then(write, move |stored| JobsMsg::Stored(changes, stored, waiting));
    }

    /// The job that does already what is asked; refused if it does so in another way.
    fn status_as(&self, id: JobId, asked: &JobTask) -> Result<JobStatus, Status> {
        let job = self.status(id)?;
        match (&job.task, asked) {
            (JobTask::Balance(now), JobTask::Balance(asked)) if now != asked => {
                let text = format!("job {id} balances already, to within {now} percent and not {asked}");
                Err(Status::new(StatusCode::PreconditionFailed, text)
                    .hint(format!("end it first: `dfsctl jobs cancel {id}`")))
            }
            (now, asked) if now.empties().is_some() && now != asked => {
                let text = format!("job {id} ({}) empties it already", now.kind());
                Err(Status::new(StatusCode::PreconditionFailed, text)
                    .hint(format!("end it first: `dfsctl jobs cancel {id}`")))
            }
            (JobTask::Replication(now), JobTask::Replication(asked)) if now != asked => {
                let text = format!("job {id} has {} copies made of {} already", now.copies, now.path);
                Err(Status::new(StatusCode::PreconditionFailed, text)
                    .hint(format!("wait for it, or end it: `dfsctl jobs cancel {id}`")))
            }
            _ => Ok(job),
        }
    }

    fn status(&self, id: JobId) -> Result<JobStatus, Status> {
        let status = self.state.status(id, self.args.time.now_ms());
        status.ok_or_else(|| Status::new(StatusCode::NotFound, format!("job {id} is forgotten by now")))
    }

    fn wish(&self) {
        let running = |(_, task): &(JobId, JobTask)| matches!(task, JobTask::Balance(_));
        let moves = match self.state.running().iter().any(running) {
            true => self.balancing.moves.clone(),
            false => BTreeMap::new(),
        };
        let wishes = Arc::new(Wishes { leaving: self.state.leaving(), moves });
        if *self.args.wishes.borrow() != wishes {
            self.args.wishes.send_replace(wishes);
        }
    }

    /// Has one node that is in another state than its jobs want told, if there is one.
    fn tell(&mut self, ctx: &mut Ctx<JobsMsg>) {
        if self.telling {
            return;
        }
        let (view, draining) = (self.args.view.borrow().clone(), self.state.draining());
        let gone = |state: NodeState| matches!(state, NodeState::Lost | NodeState::Forgotten);
        let members = view.nodes.iter().filter(|known| !gone(known.entry.state));
        // While a job is not known, nobody knows whether it is what empties the node.
        let may_say = |known: &NodeView| self.whole || !known.draining;
        let wrong = |known: &&Arc<_>| is_wrong(known, &draining) && may_say(known);
        let Some(known) = members.into_iter().find(wrong) else { return };
        let (node, drains) = (known.entry.node, !known.draining);
        let (membership, writer) = (self.args.membership.clone(), self.args.writer.clone());
        let op = OpId(ctx.env().rng.u128());
        let task = async move {
            let drain = |reply| MembershipMsg::Drain(node, drains, reply);
            let record = membership.ask(drain, STEP_WITHIN).await.map_err(silent)??;
            let put = WriterMsg::mutate(op, Mutation::PutNodes(vec![(node, record)]));
            writer.ask(put, STEP_WITHIN).await.map_err(silent)?.map(|_| ())
        };
        self.telling = true;
        ctx.spawn_then(task, JobsMsg::NodeTold);
    }

    /// Has it kept which jobs have begun, or are in another state than before.
    fn tell_of_states(&mut self, now_ms: u64) {
        let jobs = self.state.list(now_ms);
        for job in &jobs {
            if self.told.insert(job.id, job.state) == Some(job.state) {
                continue;
            }
            let (id, happening) = (job.id, happened(job));
            if let Err(error) = self.args.events.try_send(EventsMsg::Note(happening)) {
                tracing::warn!(job = %id, %error, "the state of a job could not be kept as an event");
            }
        }
        self.told.retain(|id, _| jobs.iter().any(|job| job.id == *id));
    }

    /// Looks how far the emptying of a node is.
    fn look_at_drain(&mut self, id: JobId, node: NodeId, ctx: &mut Ctx<JobsMsg>) {
        let now_ms = self.args.time.now_ms();
        let counted = self.args.census.borrow().clone();
        let of = |state| counted.census.copies(node, state);
        let states = [CopyState::Good, CopyState::Unverified].map(of);
        let left = states.iter().fold(WorkAmount::default(), |sum, count| WorkAmount {
            chunks: sum.chunks.saturating_add(count.chunks),
            bytes: sum.bytes.saturating_add(count.bytes),
        });
        self.state.measured(id, left, now_ms);
        let bad =
            [CopyState::Corrupt, CopyState::Missing].map(of).iter().map(|count| count.chunks).sum::<u64>();
        if left.chunks == 0 && bad > 0 {
            self.state.exception(
                id,
                "what is left on it is bad or missing, and has no good copy: see `dfsctl fsck`",
            );
        }
        let state = self.args.view.borrow().state(node);
        if matches!(state, NodeState::Down | NodeState::Left) {
            let why =
                "the node does not answer: its copies are made elsewhere, and `dfsctl nodes forget` ends it";
            self.state.exception(id, why);
        }
        if let Some(why) = self.args.repair.look().stalled() {
            self.state.exception(id, why);
        }
        if left.chunks == 0 && self.looking.insert(id) {
            let reads = self.args.reads.clone();
            let nothing = move |reader: &MetadataReader| {
                let rows = KeyRange::prefix(&keys::copies(node));
                reader.read(|view| view.scan(&rows, 1)).map(|found| found.is_empty())
            };
            let task = async move { reads.ask(ReadFor::Health, STEP_WITHIN, nothing).await };
            ctx.spawn_then(task, move |empty| JobsMsg::Emptied(id, empty));
        }
    }

    /// Goes on with a balance: chooses chunks, waits until they have moved, and until nodes have said how full they are then.
    fn balance(&mut self, id: JobId, threshold_percent: u8, ctx: &mut Ctx<JobsMsg>) {
        let (now, now_ms) = (ctx.now(), self.args.time.now_ms());
        if self.balancing.job != Some(id) {
            self.balancing = Balancing::going_on(id, &self.state.cursor(id));
        }
        let view = self.args.view.borrow().clone();
        if unsettled(&view) {
            return;
        }
        let mut flows = flows(&view, threshold_percent);
        let even = flows.is_empty();
        let bytes = flows.iter().fold(0_u64, |sum, flow| sum.saturating_add(flow.bytes));
        self.state.measured(id, WorkAmount { chunks: 0, bytes }, now_ms);
        if self.balancing.reading {
            return;
        }
        if !self.balancing.moves.is_empty() {
            if now >= self.balancing.until {
                self.state.exception(id, "copies could not be moved in time; others are tried");
                return self.moved(now);
            }
            let (reads, moves) = (self.args.reads.clone(), self.balancing.moves.clone());
            let look = move |reader: &MetadataReader| reader.read(|rows| unfinished(rows, moves));
            self.balancing.reading = true;
            let task = async move { reads.ask(ReadFor::Health, STEP_WITHIN, look).await };
            ctx.spawn_then(task, move |left| JobsMsg::Unmoved(id, left));
            return;
        }
        flows.retain(|flow| !self.balancing.spent.contains(&flow.from));
        let Some(from) = flows.first().map(|flow| flow.from).filter(|_| now >= self.balancing.until) else {
            if flows.is_empty() {
                let end = if even { JobState::Done } else { JobState::Failed };
                tracing::info!(job = %id, state = end.name(), "a balance has ended");
                self.state.end(id, end, now_ms);
                self.save(ctx);
            }
            return;
        };
        let (reads, after) = (self.args.reads.clone(), self.state.cursor(id));
        let look = move |reader: &MetadataReader| reader.read(|rows| choose(rows, &view, &flows, &after));
        self.balancing.reading = true;
        let task = async move { reads.ask(ReadFor::Health, STEP_WITHIN, look).await };
        ctx.spawn_then(task, move |chosen| JobsMsg::Chosen(id, from, chosen));
    }

    /// What was to move has, or will not: nothing new begins before the nodes have said how full they are.
    fn moved(&mut self, now: MonoTime) {
        self.balancing.moves.clear();
        self.balancing.until = now + SETTLES_WITHIN;
        self.wish();
    }

    fn was_chosen(&mut self, id: JobId, from: NodeId, chosen: Result<Chosen, Status>, now: MonoTime) {
        self.balancing.reading = false;
        match chosen {
            Ok(chosen) if self.balancing.job == Some(id) => self.chosen(id, from, chosen, now),
            Ok(_) => {}
            Err(status) => tracing::warn!(job = %id, %status, "what is to move could not be looked for"),
        }
    }

    fn was_moved(&mut self, id: JobId, left: Result<BTreeMap<ChunkId, Move>, Status>, now: MonoTime) {
        self.balancing.reading = false;
        match left {
            Ok(_) if self.balancing.job != Some(id) => {}
            Ok(left) => {
                if left.len() < self.balancing.moves.len() {
                    // Many take long where clients are served: what gets on is given time.
                    self.balancing.moved = true;
                    (self.balancing.moves, self.balancing.until) = (left, now + MOVES_WITHIN);
                    self.wish();
                }
                if self.balancing.moves.is_empty() {
                    self.moved(now);
                }
            }
            Err(status) => tracing::warn!(job = %id, %status, "what has moved could not be looked at"),
        }
    }

    fn chosen(&mut self, id: JobId, from: NodeId, chosen: Chosen, now: MonoTime) {
        let found = !chosen.moves.is_empty();
        if found {
            (self.balancing.moves, self.balancing.until) = (chosen.moves, now + MOVES_WITHIN);
        }
        let at_the_end = chosen.all && !found;
        if at_the_end && !std::mem::take(&mut self.balancing.moved) {
            self.balancing.spent.insert(from);
            let name = self.args.view.borrow().name(from);
            self.state.exception(id, &format!("nothing more on {name} can go where it is missing"));
        }
        self.state.at(id, if at_the_end { Vec::new() } else { chosen.after });
        self.wish();
    }

    /// Goes on with another number of copies.
    fn replicate(&mut self, id: JobId, wanted: WantedCopies, ctx: &mut Ctx<JobsMsg>) {
        let look = self.args.repair.look();
        let view = self.args.view.borrow().clone();
        if let Some(why) = look.stalled().or(look.sparing.as_deref()) {
            self.state.exception(id, why);
        }
        if self.looking.insert(id) {
            let heard = view.nodes.iter().filter(|known| known.entry.state.answers());
            let heard = heard.map(|known| known.entry.node).collect();
            let (op, asked_ms) = (OpId(ctx.env().rng.u128()), self.state.asked_ms(id));
            let through = (self.args.reads.clone(), self.args.writer.clone());
            let task = ReplicationTask { job: id, wanted, asked_ms };
            let step = advance(through, op, task, self.state.cursor(id), heard);
            ctx.spawn_then(step, move |advanced| JobsMsg::Advanced(id, advanced));
        }
    }

    fn advanced(&mut self, id: JobId, advanced: Result<Advance, Status>, ctx: &mut Ctx<JobsMsg>) {
        self.looking.remove(&id);
        let now_ms = self.args.time.now_ms();
        let goes_on = self.state.running().into_iter().find(|(of, _)| *of == id);
        // One that was paused or ended meanwhile stays where it was.
        let Some((_, JobTask::Replication(wanted))) = goes_on else { return };
        match advanced {
            Ok(advance) => {
                self.state.at(id, advance.cursor);
                self.state.passed(id, advance.settled, now_ms);
                if advance.lost > 0 {
                    let lost = advance.lost;
                    self.state.exception(id, &format!("no copy is left of {lost} chunks: see `dfsctl fsck`"));
                }
                if advance.ended {
                    tracing::info!(job = %id, "all files have the copies that are wanted");
                    self.state.end(id, JobState::Done, now_ms);
                    return self.save(ctx);
                }
                if !advance.waits {
                    self.replicate(id, wanted, ctx);
                }
            }
            Err(status) if is_over(&status) => {
                self.state.exception(id, &format!("it cannot go on: {status}"));
                self.state.end(id, JobState::Failed, now_ms);
                self.save(ctx);
            }
            Err(status) => {
                tracing::warn!(job = %id, %status, "numbers of copies could not be seen to");
                self.state.exception(id, &status.to_string());
            }
        }
    }

    fn save(&mut self, ctx: &mut Ctx<JobsMsg>) {
        self.saved = ctx.now();
        let changes = self.state.unsaved();
        if !changes.is_empty() {
            self.store(changes, None, ctx);
        }
    }
}

/// Whether the register of nodes says otherwise than the jobs.
fn is_wrong(known: &NodeView, draining: &BTreeSet<NodeId>) -> bool {
    known.draining != draining.contains(&known.entry.node)
}

impl Behaviour for Jobs {
    type Msg = JobsMsg;
    type Args = JobsArgs;
    const KIND: &'static str = "jobs";

    async fn start(args: JobsArgs, ctx: &mut Ctx<JobsMsg>) -> Result<Self, ActorError> {
        let remembered = args.reads.ask(ReadFor::Membership, STEP_WITHIN, MetadataReader::jobs).await;
        let remembered = remembered.map_err(|e| ActorError::fatal("load the remembered jobs", e))?;
        ctx.set_tick(TICK);
        let whole = remembered.damaged.is_empty();
        for key in &remembered.damaged {
            tracing::error!(
                ?key,
                "a job cannot be read: it stands still, and no node is given back by mistake"
            );
        }
        let state = JobsState::new(remembered);
        let (looking, balancing) = (BTreeSet::new(), Balancing::default());
        let told = state.list(0).into_iter().map(|job| (job.id, job.state)).collect();
        let saved = ctx.now();
        let this = Self { args, state, whole, telling: false, looking, balancing, saved, told };
        this.wish();
        Ok(this)
    }

    async fn handle(&mut self, msg: JobsMsg, ctx: &mut Ctx<JobsMsg>) -> Result<(), ActorError> {
        let now_ms = self.args.time.now_ms();
        match msg {
            JobsMsg::Begin(asked, reply) => match self.state.like(&asked.task) {
                Some(id) => reply.send(self.status_as(id, &asked.task)),
                None => match self.state.begin(asked, now_ms) {
                    Ok((id, changes)) => self.store(changes, Some((id, reply)), ctx),
                    Err(status) => reply.send(Err(status)),
                },
            },
            JobsMsg::Act(id, action, reply) => match self.state.act(id, action, now_ms) {
                Ok(changes) => self.store(changes, Some((id, reply)), ctx),
                Err(status) => reply.send(Err(status)),
            },
            JobsMsg::List(reply) => reply.send(self.state.list(now_ms)),
            JobsMsg::Stored(changes, stored, Some((id, reply))) => {
                self.state.stored(changes, stored.is_ok());
                self.wish();
                self.tell(ctx);
                reply.send(stored.and_then(|()| self.status(id)));
            }
            JobsMsg::Stored(changes, stored, None) => {
                if let Err(status) = stored {
                    tracing::warn!(%status, "how far jobs are could not be stored");
                    self.state.not_saved(&changes);
                }
            }
            JobsMsg::NodeTold(told) => {
                self.telling = false;
                if let Err(status) = told {
                    tracing::warn!(%status, "a node is not known to be emptied yet, or still is");
                }
            }
            JobsMsg::Advanced(id, advanced) => self.advanced(id, advanced, ctx),
            JobsMsg::Chosen(id, from, chosen) => self.was_chosen(id, from, chosen, ctx.now()),
            JobsMsg::Unmoved(id, left) => self.was_moved(id, left, ctx.now()),
            JobsMsg::Emptied(id, empty) => {
                self.looking.remove(&id);
                match empty {
                    Ok(true) => {
                        tracing::info!(job = %id, "a node is empty");
                        self.state.end(id, JobState::Done, now_ms);
                        self.save(ctx);
                    }
                    Ok(false) => {}
                    Err(status) => {
                        tracing::warn!(job = %id, %status, "what a node has left could not be looked at")
                    }
                }
            }
        }
        Ok(())
    }

    async fn tick(&mut self, ctx: &mut Ctx<JobsMsg>) -> Result<(), ActorError> {
        let (view, now_ms) = (self.args.view.borrow().clone(), self.args.time.now_ms());
        let lost = view.nodes.iter().filter(|known| known.entry.state == NodeState::Lost);
        for node in lost.chain(&view.forgotten).map(|known| known.entry.node) {
            self.state.gone(node, now_ms);
        }
        for (id, task) in self.state.running() {
            match task {
                JobTask::Drain(NamedNode { node, .. })
                | JobTask::Replace(ReplacedNode { old: NamedNode { node, .. }, .. }) => {
                    self.look_at_drain(id, node, ctx);
                }
                JobTask::Balance(threshold_percent) => self.balance(id, threshold_percent, ctx),
                JobTask::Replication(wanted) => self.replicate(id, wanted, ctx),
            }
        }
        self.wish();
        self.tell(ctx);
        self.tell_of_states(now_ms);
        if ctx.now().since(self.saved) >= SAVE_EVERY {
            self.save(ctx);
        }
        Ok(())
    }
}
