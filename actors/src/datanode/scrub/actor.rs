//! The actor of the scrub: the machine of [`super::state`] with a disk, a cursor, and whoever is told of what it finds.

use std::sync::Arc;
use std::time::Duration;

use dfs_wire::id::ChunkKey;
use dfs_wire::message::admin::{HealthFinding, HealthLevel, ScrubStatus};
use dfs_wire::status::{Status, StatusCode};

use super::cursor::{CursorStore, ScrubCursor};
use super::messages::ScrubMsg;
use super::state::{DiskSight, Finding, ScrubConfig, ScrubState};
use crate::datanode::chunk_store::{ChunkInfo, ChunkStore, DiskState, StoreError};
use crate::datanode::heartbeat::CopyFault;
use crate::datanode::inventory::DatanodeHealth;
use crate::supervisor::{ActorError, Behaviour, Ctx};
use crate::watch;

/// Patience with a disk that reads a chunk whole, twice if need be: 64 MiB, at 1 MiB/s.
const READ_TIMEOUT: Duration = Duration::from_secs(128);
/// Patience with a disk that reads or keeps the cursor.
const CURSOR_TIMEOUT: Duration = Duration::from_secs(30);
/// The same at an orderly stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// Jobs that wait for the disk, or are on it, while it counts as busy.
const QUEUE_BUSY: u64 = 16;
/// An operation that has taken so long says that the disk is busy.
const SLOW_MS: u64 = 250;

/// What the actor is built from.
#[derive(Clone)]
pub struct ScrubArgs {
    /// Its period, its budget, and how often the cursor is kept.
    pub config: ScrubConfig,
    /// What is read.
    pub store: Arc<dyn ChunkStore>,
    /// Where the cursor is kept.
    pub cursor: Arc<dyn CursorStore>,
    /// Who is told of copies that are bad or gone.
    pub found: Arc<dyn Fn(ChunkKey, CopyFault) + Send + Sync>,
    /// Whether somebody waits for a place to read or write: the scrub lets him go first.
    pub pressed: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Where it says what an operator must know.
    pub health: Arc<DatanodeHealth>,
    /// Where it shows how it does.
    pub status: watch::Sender<ScrubStatus>,
}

/// The actor of the scrub.
pub struct Scrub {
    args: ScrubArgs,
    state: ScrubState,
    /// The cursor could not be kept last time, which was said.
    is_unkept: bool,
}

fn findings(state: &ScrubState, status: &ScrubStatus) -> Vec<HealthFinding> {
    let warn =
        |code: &str, message: String, hint: &str| HealthFinding::new(code, HealthLevel::Warn, message, hint);
    let days = |ms: u64| format!("{:.1} days", ms as f64 / 86_400_000.0);
    let overdue = status.overdue.then(|| {
        let (since, period) = (days(status.since_ms), days(status.period_ms));
        let text = format!("nothing has been read whole for {since}: a round of the scrub is to end every {period}");
        warn(
            "SCRUB_OVERDUE",
            text,
            "`dfsctl scrub status` says how it does; a larger storage.scrub_bytes_per_second lets it read faster",
        )
    });
    let unreadable = state.unreadable().map(|(chunks, why)| {
        let text = format!("{chunks} copies cannot be read, so that nothing is known about them: {why}");
        warn("SCRUB_UNREADABLE", text, "check the disk and the system's log; they are read again every hour")
    });
    overdue.into_iter().chain(unreadable).collect()
}

/// What an answer of the store says of the copy.
fn judge(outcome: Option<Result<ChunkInfo, StoreError>>) -> Finding {
    match outcome {
        Some(Ok(_)) => Finding::Good,
        Some(Err(StoreError::Corrupt { .. })) => Finding::Bad,
        Some(Err(StoreError::NotFound { .. })) => Finding::Gone,
        Some(Err(other)) => Finding::Unknown(other.to_string()),
        None => Finding::Unknown(format!("the disk gave no answer for {} s", READ_TIMEOUT.as_secs())),
    }
}

fn late() -> Status {
    Status::new(StatusCode::DeadlineExceeded, "the disk gave no answer")
}

impl Scrub {
    fn sight(&self, ctx: &Ctx<ScrubMsg>) -> DiskSight {
        let store = &self.args.store;
        let stats = store.stats();
        let next = store.inventory(self.state.position(), 1);
        let waits = stats.queue_depth >= QUEUE_BUSY || stats.oldest_job_ms >= SLOW_MS;
        DiskSight {
            next: next.first().map(|info| (info.key(), info.len)),
            newest: store.newest(),
            chunks: stats.chunks,
            bytes: stats.used_bytes,
            busy: waits || (self.args.pressed)(),
            away: matches!(stats.state, DiskState::Stalled(_)),
            wall_ms: ctx.env().clock.wall_ms(),
        }
    }

    fn load(&self, ctx: &mut Ctx<ScrubMsg>) {
        let (cursor, clock) = (self.args.cursor.load(), Arc::clone(&ctx.env().clock));
        let loading = async move {
            let loaded = clock.timeout(CURSOR_TIMEOUT, cursor).await.unwrap_or_else(|_| Err(late()));
            loaded.map(|cursor| cursor.map(Box::new))
        };
        ctx.spawn_then(loading, ScrubMsg::Loaded);
    }

    fn read(&self, key: ChunkKey, ctx: &mut Ctx<ScrubMsg>) {
        let (verify, clock) = (self.args.store.verify(key), Arc::clone(&ctx.env().clock));
        let reading = async move { clock.timeout(READ_TIMEOUT, verify).await.ok() };
        ctx.spawn_then(reading, move |outcome| ScrubMsg::Read(key, outcome));
    }

    fn save(&self, cursor: ScrubCursor, ctx: &mut Ctx<ScrubMsg>) {
        let (save, clock) = (self.args.cursor.save(cursor), Arc::clone(&ctx.env().clock));
        let saving = async move { clock.timeout(CURSOR_TIMEOUT, save).await.unwrap_or_else(|_| Err(late())) };
        ctx.spawn_then(saving, ScrubMsg::Saved);
    }

    /// Does what is due, and shows how it is.
    fn proceed(&mut self, ctx: &mut Ctx<ScrubMsg>) {
        let before = self.args.status.borrow().round;
        while self.state.is_due(ctx.now()) {
            let sight = self.sight(ctx);
            if let Some(key) = self.state.step(ctx.now(), &sight) {
                self.read(key, ctx);
            }
        }
        if let Some(cursor) = self.state.save_due(ctx.now()) {
            self.save(cursor, ctx);
        }
        self.state.pass(ctx.now());
        let status = self.state.status();
        if before.round == status.round.round && before.ended_ms == 0 && status.round.ended_ms != 0 {
            let round = status.round;
            tracing::info!(
                round = round.round,
                chunks = round.chunks,
                bytes = round.bytes,
                bad = round.bad,
                unreadable = round.unreadable,
                "a round of the scrub has ended"
            );
        }
        self.args.health.set_scrub(findings(&self.state, &status));
        self.args.status.send_replace(status);
        ctx.wake_at(self.state.wakes_at(), ScrubMsg::Wake);
    }

    fn found(&mut self, key: ChunkKey, outcome: Option<Result<ChunkInfo, StoreError>>, ctx: &Ctx<ScrubMsg>) {
        let finding = judge(outcome);
        match &finding {
            Finding::Good => {}
            Finding::Bad => (self.args.found)(key, CopyFault::Corrupt),
            Finding::Gone => (self.args.found)(key, CopyFault::Missing),
            Finding::Unknown(why) => tracing::warn!(%key, why, "a copy could not be read by the scrub"),
        }
        self.state.found(ctx.now(), ctx.env().clock.wall_ms(), key, &finding);
    }

    fn saved(&mut self, outcome: Result<(), Status>, ctx: &Ctx<ScrubMsg>) {
        let failed = outcome.is_err();
        match outcome {
            Err(status) if !self.is_unkept => {
                tracing::warn!(%status, "the cursor of the scrub could not be kept: a restart will read some chunks again");
            }
            Err(status) => tracing::debug!(%status, "the cursor of the scrub could not be kept"),
            Ok(()) => {}
        }
        self.is_unkept = failed;
        self.state.saved(ctx.now());
    }
}

impl Behaviour for Scrub {
    type Msg = ScrubMsg;
    type Args = ScrubArgs;
    const KIND: &'static str = "scrub";

    async fn start(args: ScrubArgs, ctx: &mut Ctx<ScrubMsg>) -> Result<Self, ActorError> {
        let state = ScrubState::new(args.config, ctx.now());
        let this = Self { args, state, is_unkept: false };
        this.load(ctx);
        Ok(this)
    }

    async fn handle(&mut self, msg: ScrubMsg, ctx: &mut Ctx<ScrubMsg>) -> Result<(), ActorError> {
        match msg {
            ScrubMsg::Wake => {}
            ScrubMsg::Status(reply) => {
                self.state.pass(ctx.now());
                reply.send(self.state.status());
            }
            ScrubMsg::Start(pace, reply) => {
                if self.state.is_loaded() {
                    let sight = self.sight(ctx);
                    let round = self.state.begin(ctx.now(), pace, &sight);
                    tracing::info!(round, ?pace, "an operator begins a round of the scrub");
                    reply.send(round);
                }
            }
            ScrubMsg::Loaded(loaded) => {
                let cursor = loaded.unwrap_or_else(|status| {
                    tracing::warn!(%status, "the cursor of the scrub cannot be read: a new round begins");
                    None
                });
                self.state.loaded(ctx.now(), cursor.map(|cursor| *cursor));
            }
            ScrubMsg::Read(key, outcome) => self.found(key, outcome, ctx),
            ScrubMsg::Saved(outcome) => self.saved(outcome, ctx),
        }
        self.proceed(ctx);
        Ok(())
    }

    async fn stop(&mut self, ctx: &mut Ctx<ScrubMsg>) {
        if !self.state.is_loaded() {
            return;
        }
        let cursor = self.state.cursor(ctx.now());
        let save = ctx.env().clock.timeout(STOP_TIMEOUT, self.args.cursor.save(cursor));
        if let Err(status) = save.await.unwrap_or_else(|_| Err(late())) {
            tracing::debug!(%status, "the cursor of the scrub could not be kept at the end");
        }
    }
}

#[cfg(test)]
mod tests;
